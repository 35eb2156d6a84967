"""Search the settings of a speed record on val: every combination of what is given to try.

Each combination is run with the same seeds, in turn, and judged by its accuracy at the end on val,
the last 10,000 training images, which it is then not trained on: a recipe that trains on all 60,000
makes the same steps here, on fewer images. A run reads the test set at its end, as all runs do, but
what it finds there is neither shown nor kept.

    python -m bench.search_speedrun --recipe fast-cnn --try lr=0.01,0.02 --try max_steps=160,175
    python -m bench.search_speedrun --recipe fast-cnn --try "augment=,shift" -- --num-threads 2

Values are those that the flag of ``train`` takes; fixed flags follow ``--``. What was found is
added to ``bench/tuning/speedrun.json``, round by round, so that a search may be stopped.
"""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bench.record_entry import FIRST_FRESH_SEED
from bench.suite_format import interval_text
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.cli import exit_on_input_error, read_config, say, show
from mnistbench.flags import REPEATED, CommandFlags, parse
from mnistbench.output.tables import render_table
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.strict_json import read_json

KEPT = Path(__file__).parent / "tuning" / "speedrun.json"

_MAX_KEPT_BYTES = 2**26
_ON_VAL = ("--eval-split", "val", "--val-size", "10000")
_NOT_SEARCHED = frozenset(
    {
        *("recipe", "seed", "num_seeds", "output_dir", "data_dir"),
        *("eval_split", "val_size", "stop_at_target", "require_target"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A combination of `settings`, as they were typed, and what each seed of it gave on val.

    `val_accuracy` holds fractions, `train_s` seconds of training without any evaluation.
    """

    settings: dict[str, str]
    config: RunConfig
    val_accuracy: list[float] = field(default_factory=list)
    train_s: list[float] = field(default_factory=list)


class _Flags(CommandFlags):
    """Search combinations of settings on val. Flags of train follow a bare --."""

    prog: ClassVar = "python -m bench.search_speedrun"

    recipe: str
    """Recipe that the settings are changes of."""
    tries: Annotated[tuple[str, ...], REPEATED] = Field((), alias="try")
    """A setting and its values, such as lr=0.03,0.045; may be given several times."""
    num_seeds: int = 5
    """Seeds to run each combination with [runs]."""
    first_seed: int = 0
    """The first of them; those from 1000 on are for claims."""
    kept: Path = KEPT
    """File that what was found is added to."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the search that `argv` describes and print its combinations, the best on val first."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    with exit_on_input_error():
        flags, _ = parse(_Flags, given[:cut])
        if flags.num_seeds < 1 or not 0 <= flags.first_seed <= FIRST_FRESH_SEED - flags.num_seeds:
            raise InputError(f"first_seed: seeds of a search are 0 to {FIRST_FRESH_SEED - 1}")
        trials = trials_of(flags.recipe, flags.tries, fixed=given[cut + 1 :])
        search = {
            "command": shlex.join(["python", "-m", "bench.search_speedrun", *given]),
            "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "split": "val",
        }
        seeds = range(flags.first_seed, flags.first_seed + flags.num_seeds)
        for number, seed in enumerate(seeds, start=1):
            environment = _round(trials, seed)
            _keep(search | environment | {"seeds": list(seeds[:number])}, trials, flags.kept)
            say(f"seed {seed}: {number} of {flags.num_seeds} rounds of {len(trials)} runs")
    show(_table(trials))
    return 0


def trials_of(recipe: str, tries: Sequence[str], *, fixed: Sequence[str] = ()) -> list[Trial]:
    """Every combination of the values in `tries` (``name=value,value``), in their order.

    Args:
        recipe: what they change.
        tries: none is the recipe itself.
        fixed: flags of ``train`` that all of them share.

    Raises:
        InputError: one of them is malformed, no setting, not to be searched, or makes no valid run.
    """
    shared = _parsed(fixed)
    axes = [_axis(text) for text in tries]
    names = [name for name, _ in axes]
    for name in (*shared, *names):
        if name in _NOT_SEARCHED:
            raise InputError(f"{name}: is not for a search to set; leave it out")
    if twice := [name for name in names if names.count(name) > 1 or name in shared]:
        raise InputError(f"try: {twice[0]} is given twice; give all of its values at once")
    return [
        _trial(recipe, dict(zip(names, values, strict=True)), fixed)
        for values in itertools.product(*(values for _, values in axes))
    ]


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in RunConfig.model_fields:
        raise InputError(f"try: {text!r} names no setting; write NAME=VALUE,VALUE, a flag of train")
    return name, list(dict.fromkeys(value.strip() for value in values.split(",")))


def _trial(recipe: str, settings: dict[str, str], fixed: Sequence[str]) -> Trial:
    flags = [flag for name, value in settings.items() for flag in _flag(name, value)]
    try:
        given = _parsed(["--recipe", recipe, *fixed, *flags, *_ON_VAL])
        return Trial(settings=settings, config=read_config(given, None))
    except InputError as error:
        tried = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise InputError(f"try {tried}: {error}" if tried else str(error)) from None


def _flag(name: str, value: str) -> list[str]:
    option = name.replace("_", "-")
    if RunConfig.model_fields[name].annotation is not bool:
        return [f"--{option}", *value.split()]
    if value.lower() not in {"true", "false"}:
        raise InputError(f"try {name}: true or false, not {value!r}")
    return [f"--{option}" if value.lower() == "true" else f"--no-{option}"]


def _parsed(flags: Sequence[str]) -> dict[str, Any]:
    return parse(CommandFlags, flags, RunConfig.model_fields)[1]


def _round(trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    """Run `seed` of all `trials`, add what it gave, and tell on what machine."""
    from mnistbench.engine.run_seeds import train

    for trial in trials:
        with TemporaryDirectory() as folder:
            (record,) = train(trial.config.model_copy(update={"seed": seed, "output_dir": folder}))
        trial.val_accuracy.append(record.result.val_accuracy)
        trial.train_s.append(round(record.phases_s["train"], 6))
    names = ("device_name", "num_threads", "versions", "git_commit", "git_dirty")
    return {name: record.environment[name] for name in names}


def _keep(search: dict[str, Any], trials: Sequence[Trial], path: Path) -> None:
    """Write `search` with its `trials` so far behind what other searches left."""
    kept = read_json(path, max_bytes=_MAX_KEPT_BYTES, what="kept searches") if path.exists() else []
    others = [earlier for earlier in kept if earlier["began"] != search["began"]]
    found = [
        {"settings": t.settings, "val_accuracy": t.val_accuracy, "train_s": t.train_s}
        for t in trials
    ]
    search = search | {"trials": found}
    write_whole(path, json.dumps([*others, search], indent=1, allow_nan=False) + "\n")


def _table(trials: Sequence[Trial]) -> str:
    best_first = sorted(trials, key=lambda trial: fmean(trial.val_accuracy), reverse=True)
    return render_table([_row(trial) for trial in best_first], "table")


def _row(trial: Trial) -> dict[str, str]:
    found, n = trial.val_accuracy, len(trial.val_accuracy)
    return {
        **trial.settings,
        "val acc %": f"{100 * fmean(found):.3f}",
        "sd": f"{100 * stdev(found):.3f}" if n > 1 else NOT_MEASURED,
        "n": str(n),
        "train s": interval_text(trial.train_s, "{:.3f}".format),
    }


if __name__ == "__main__":
    sys.exit(main())
