"""From argv to a valid `RunConfig`, and from an `InputError` to one line and exit status 2.

What the doors share. Flags are made from `RunConfig`'s declarations by tyro; values are layered
recipe, then ``--config`` file, then flags, and validated once, as one.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_origin, get_type_hints

import tyro

from mnistbench.schema.config import RunConfig, config_from
from mnistbench.schema.config_rules import check_applies
from mnistbench.schema.errors import InputError, SaidElsewhereError, first_line
from mnistbench.schema.plain_yaml import read_yaml, yaml_text
from mnistbench.schema.streams import mend_streams, say, show, written
from mnistbench.schema.whole_number import whole_number
from mnistbench.workload.recipes import BATCH_SIZES, over_recipe

__all__ = [
    "at_home",
    "config_yaml",
    "exit_on_input_error",
    "importing",
    "parse",
    "read_config",
    "run_flags",
    "say",
    "show",
]

T = TypeVar("T")

_PATIENCE_S = 2.0
_NARROWEST = 20  # columns that a terminal is taken to have at least
_USAGE = 2  # tyro's status


@contextlib.contextmanager
def exit_on_input_error(*, quiet: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Turn an `InputError` inside into one line on stderr and exit status 2.

    One thread more than the system allows is one line as well, and status 1. Streams are mended
    before. `quiet` tells whether another process of the run says it already.
    """
    mend_streams()
    try:
        yield
    except InputError as error:
        if isinstance(error, SaidElsewhereError) or quiet():
            with contextlib.suppress(KeyboardInterrupt):  # being told to end is no other error
                time.sleep(_PATIENCE_S)  # a launcher ends all processes as soon as one has gone
        else:
            say(f"error: {' '.join(str(error).split())}")
        raise SystemExit(2) from None
    except RuntimeError as error:
        if str(error) != "can't start new thread":  # Python's words, wherever the limit is met
            raise
        say("error: no thread can be started; raise the limit (`ulimit -u`, a container's pids)")
        raise SystemExit(1) from None


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


def parse(flags: type[T], argv: Sequence[str], *, prog: str, description: str) -> T:
    """Parse `argv` into `flags` (a dataclass or TypedDict) by tyro.

    Raises:
        InputError: tyro's complaint, as one line; ``--help`` exits as usual.
    """
    for name in ("COLUMNS", "LINES"):  # at "²" rich fails, and it draws as many as there are told
        if whole_number(os.environ.get(name, "1"), lowest=1, highest=10_000) is None:
            del os.environ[name]
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)  # of fewer, rich finds no end
    stderr = io.StringIO()
    with written(), contextlib.redirect_stderr(stderr):
        try:
            words = _one_by_one(argv, flags)
            return tyro.cli(flags, args=words, prog=prog, description=description)
        except SystemExit as stop:
            if stop.code != _USAGE:
                raise
        raise InputError(_complaint(stderr.getvalue()) + f"; see {prog} --help")
    raise SystemExit(0)  # nobody reads the help


def _one_by_one(argv: Sequence[str], flags: Any) -> list[str]:
    """`argv` with ``--x a,b`` as ``--x a b``, where x takes several of some names."""
    several = {name for name, kind in get_type_hints(flags).items() if _takes_names(kind)}
    words: list[str] = []
    takes_names = False
    for word in argv:
        flag, equals, value = word.partition("=")
        if word.startswith("--"):
            takes_names = flag.removeprefix("--").replace("-", "_") in several
            words += [flag, *value.split(",")] if takes_names and equals else [word]
        else:
            words += filter(None, word.split(",")) if takes_names else [word]
    return words


def _takes_names(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal


def run_flags(extra: Mapping[str, Any]) -> Any:
    """A TypedDict type with `extra` flags, then one for each field of `RunConfig`.

    Parsing it gives only the flags that were typed, so that layers beneath keep their values.
    """
    fields = dict(extra)
    for name, field in RunConfig.model_fields.items():
        default = field.get_default()
        shown = "none" if default in (None, ()) else str(default)
        argument = tyro.conf.arg(help=field.description, help_behavior_hint=f"(default: {shown})")
        annotation = bool if field.annotation == bool | None else field.annotation  # --x, --no-x
        fields[name] = Annotated[annotation, argument]
    return TypedDict("RunFlags", fields, total=False)  # type: ignore[operator]


def read_config(given: Mapping[str, Any], config_file: Path | None) -> RunConfig:
    """The run that a recipe, then `config_file`, then the `given` flags describe.

    Raises:
        InputError: one line on the first thing that is wrong.
    """
    from_file = _read_values(config_file) if config_file else {}
    if given.keys() >= BATCH_SIZES:
        raise InputError("global_batch_size: set either this or --per-device-batch-size")
    try:
        config = config_from(over_recipe(from_file, given))
    except InputError as error:
        field = re.split(r"[:.]", str(error))[0]
        unknown = field not in RunConfig.model_fields  # of flags, the parser refuses these
        if (field in from_file or unknown) and field not in given:
            raise InputError(f"{config_file}: {error}") from None
        raise
    check_applies(given, config)
    for name in ("output_dir", "data_dir", "resume"):
        at_home(name, Path(getattr(config, name) or ""))
    return config


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


def _complaint(text: str) -> str:
    """The first paragraph in tyro's box, without its frame, as one line."""
    lines = [re.sub(r"[╭╮╰╯│]", " ", line).strip() for line in text.splitlines()]
    body: list[str] = []
    for line in lines[1:]:  # the first line is the frame with the title
        if set(line) <= {"─"}:
            break
        body.append(line)
    return " ".join(" ".join(body).split()).rstrip(".") or "bad usage"
