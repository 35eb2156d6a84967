"""From typed values to a valid `RunConfig`, and from an `InputError` to one line and status 2.

What the commands share. Values are layered recipe, then ``--config`` file, then flags, and
validated once, as one.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnistbench.schema.component import OWN_FIELDS
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import check_applies
from mnistbench.schema.errors import InputError, SaidElsewhereError, first_line
from mnistbench.schema.plain_yaml import read_yaml, yaml_text
from mnistbench.schema.streams import mend_streams, say, show
from mnistbench.workload.recipes import BATCH_SIZES, over_recipe

__all__ = ["say", "show"]

_PATIENCE_S = 2.0


@contextlib.contextmanager
def exit_on_input_error(
    argv: Sequence[str] = (), *, quiet: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Turn an `InputError` inside into one line on stderr and exit status 2.

    One thread more than the system allows is one line as well, and status 1. Streams are mended
    before.

    Args:
        argv: what was typed; an error about a value names its flag.
        quiet: tells whether another process of the run says it already.
    """
    mend_streams()
    try:
        yield
    except InputError as error:
        if isinstance(error, SaidElsewhereError) or quiet():
            with contextlib.suppress(KeyboardInterrupt):  # being told to end is no other error
                time.sleep(_PATIENCE_S)  # a launcher ends all processes as soon as one has gone
        else:
            say(f"error: {_by_flag(' '.join(str(error).split()), argv)}")
        raise SystemExit(2) from None
    except RuntimeError as error:
        if str(error) != "can't start new thread":  # Python's words, wherever the limit is met
            raise
        say("error: no thread can be started; raise the limit (`ulimit -u`, a container's pids)")
        raise SystemExit(1) from None


def _by_flag(message: str, argv: Sequence[str]) -> str:
    """``lr: …`` as ``--lr: …`` where that flag was typed."""
    typed = {word.partition("=")[0].replace("_", "-").replace("--no-", "--") for word in argv}

    def named(found: re.Match[str]) -> str:
        flag = f"--{found[2].replace('_', '-')}"
        return f"{found[1]}{flag}: " if flag in typed else found[0]

    return re.sub(r"(^|: )([a-z0-9_]+)(?:\.[0-9]+)?: ", named, message, count=1)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Have a library that a variable of its own keeps from being imported end in one line."""
    try:
        yield
    except Exception as error:
        raise InputError(
            "a library cannot be imported, and a variable of its own, such as TORCH_LOGS, may be "
            f"why: {type(error).__name__}: {first_line(error)}"
        ) from None


def read_config(given: Mapping[str, Any], config_file: Path | None) -> RunConfig:
    """The run that a recipe, then `config_file`, then the `given` flags describe.

    Raises:
        InputError: one line on the first thing that is wrong.
    """
    from_file = _read_values(config_file) if config_file else {}
    if given.keys() >= BATCH_SIZES:
        raise InputError("global_batch_size: set either this or --per-device-batch-size")
    try:
        config = RunConfig(**over_recipe(from_file, given))
    except InputError as error:
        field = re.split(r"[:.]", str(error))[0]
        if here := _own_here(field, {**from_file, **given}.get(field)):
            error = InputError(f"{field}: {here}")
        unknown = field not in RunConfig.model_fields  # of flags, the parser refuses these
        if (field in from_file or unknown) and field not in given:
            raise InputError(f"{config_file}: {error}") from None
        raise error from None
    check_applies(given, config)
    for name in ("output_dir", "data_dir", "resume", *OWN_FIELDS):
        at_home(name, Path(getattr(config, name) or ""))
    return config


def _own_here(field: str, value: Any) -> str | None:
    """What to write for a `value` that names a file or folder here, but has no colon or slash."""
    if field not in OWN_FIELDS or not str(value).isidentifier():
        return None
    with contextlib.suppress(OSError):  # too long for a name
        if field != "dataset" and Path(f"{value}.py").is_file():
            return f"write {value}:NAME, with the name of what to take from {value}.py"
        for place in (f"{value}.npz", f"{value}/") if field == "dataset" else ():
            if Path(place).exists():
                return f"no built-in one is called {value}; write {place}, which is here"
    return None


def at_home(name: str, path: Path) -> Path:
    """`path`, of the flag `name`, with a home folder for its ``~``, which a shell may have left.

    Raises:
        InputError: there is no such home.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{name}: {path}: no such user's home") from None


def config_yaml(config: RunConfig) -> str:
    """`config` as YAML that makes the same run when passed back by ``--config``."""
    return yaml_text(config.model_dump(mode="json")).rstrip("\n")


def _read_values(path: Path) -> dict[str, Any]:
    values = read_yaml(path, what="a configuration")
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{path}: should hold `name: value` lines")
    return values
