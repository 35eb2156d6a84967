"""Attempt a speed record: n fresh seeds of a recipe, a verdict, and a row in the history.

The first seeds are run cold, each in a process of its own; then all n of them in this one, with
nothing told of their accuracy before the last has ended. Claimed or not, the attempt is kept in
``bench/records/``. The steps are the recipe's or are fixed by flags of ``train`` after ``--``.

    python -m bench.claim_record --recipe speedrun-99 --target 0.99 --what-changed "batch last"
    python -m bench.claim_record --render           # the page of all attempts once more
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from bench.record_entry import (
    FIRST_FRESH_SEED,
    FOLDER,
    RecordEntry,
    entry_of,
    find_entries,
    save_entry,
)
from bench.record_table import write_history
from bench.speed_record import speed_runs
from bench.suite_format import interval_text
from mnistbench.analysis.number_text import goal
from mnistbench.cli import (
    config_yaml,
    exit_on_input_error,
    read_config,
    say,
    show,
)
from mnistbench.flags import CommandFlags, parse
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import RunRecord

_SET_HERE = {"recipe", "seed", "num_seeds", "output_dir"}


class _Flags(CommandFlags):
    """Attempt a speed record. Flags of train follow a bare --."""

    prog: ClassVar = "python -m bench.claim_record"

    recipe: str | None = None
    """Recipe to attempt the record with."""
    target: float | None = None
    """Mean test accuracy to show [fraction]."""
    what_changed: str | None = None
    """One line on what is new since the row before."""
    num_seeds: int = 100
    """Seeds to run warm, in this process [runs]."""
    first_seed: int | None = None
    """The first of them. Default: the first from 1000 on that no attempt of this recipe ran."""
    cold_runs: int = 3
    """Seeds to run in a fresh process as well [runs]."""
    folder: Path = FOLDER
    """Where the history is kept."""
    render: bool = False
    """Only write the page of all attempts again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 3 if it is not claimed, 1 if a run failed."""
    with exit_on_input_error():
        flags, train_flags = _parse(list(sys.argv[1:] if argv is None else argv))
        if flags.render:
            show(str(write_history(flags.folder)))
            return 0
        config = _config(flags, train_flags)
        try:
            entry, folder = _attempt(config, flags)
        except RunFailedError as error:
            say(f"error: {error}")
            return 1
        write_history(flags.folder)
    show(_verdict(entry) + f"\nkept: {folder}")
    return 0 if entry.claim().claimed else 3


def _parse(argv: list[str]) -> tuple[_Flags, list[str]]:
    cut = argv.index("--") if "--" in argv else len(argv)
    flags, _ = parse(_Flags, argv[:cut])
    if flags.render:
        return flags, []
    for name in ("recipe", "target", "what_changed"):
        if getattr(flags, name) is None:
            raise InputError(f"{name}: an attempt needs it; see --help")
    if not 0 < flags.target <= 1:
        raise InputError(f"target: a fraction above 0, not {flags.target:g}")
    for name, least in (("num_seeds", 2), ("cold_runs", 1), ("first_seed", FIRST_FRESH_SEED)):
        value = getattr(flags, name)
        if value is not None and value < least:
            raise InputError(f"{name}: at least {least}, not {value}")
    if not 0 < len(flags.what_changed) <= 300 or not flags.what_changed.isprintable():
        raise InputError("what_changed: one line of at most 300 characters")
    check_writable(flags.folder, name="folder")
    return flags, argv[cut + 1 :]


def _config(flags: _Flags, train_flags: Sequence[str]) -> RunConfig:
    """The run that is to be attempted, with its first seed.

    Raises:
        InputError: flags are wrong, or an attempt of this recipe has run one of the seeds.
    """
    given = parse(CommandFlags, train_flags, RunConfig.model_fields)[1]
    if wrong := sorted(given.keys() & _SET_HERE):
        raise InputError(f"{wrong[0]}: is set by this command; leave it out after --")
    earlier = {
        run.seed: name
        for name, entry in find_entries(flags.folder).items()
        if entry.recipe.name == flags.recipe
        for run in entry.runs
    }
    first = flags.first_seed
    if first is None:
        first = max([FIRST_FRESH_SEED - 1, *earlier]) + 1
    if used := sorted(earlier.keys() & set(range(first, first + flags.num_seeds))):
        raise InputError(
            f"first_seed: seed {used[0]} is not fresh, {earlier[used[0]]} ran it; "
            f"use {max(earlier) + 1}"
        )
    return read_config(given | {"recipe": flags.recipe, "seed": first}, None)


def _attempt(config: RunConfig, flags: _Flags) -> tuple[RecordEntry, Path]:
    with TemporaryDirectory() as name:
        work_dir = Path(name)
        cold = [
            _cold(config, config.seed + index, work_dir)
            for index in range(min(flags.cold_runs, flags.num_seeds))
        ]
        say(f"warm: {flags.num_seeds} seeds from {config.seed}")
        warm = _warm(config, flags.num_seeds, work_dir / "warm")
    entry = entry_of(warm, cold, target=flags.target, what_changed=flags.what_changed)
    return entry, save_entry(entry, warm[0], root=flags.folder)


def _cold(config: RunConfig, seed: int, work_dir: Path) -> RunRecord:
    """Run `seed` in a fresh process.

    Raises:
        InputError: no claim could be made of such runs; better found before the others are made.
        RunFailedError: it left no record, or failed.
    """
    path = work_dir / "config.yaml"
    path.write_text(config_yaml(config), encoding="utf-8")
    cold = TrainSide(name="cold", arguments=("--config", str(path)))
    record = cold.run(seed, work_dir / "cold")
    if record.status not in {"completed", "diverged"}:
        raise RunFailedError(f"cold run of seed {seed}: {record.status} ({record.error})")
    speed_runs([record])
    say(f"cold: seed {seed}, {record.wall_s:.2f} s")
    return record


def _warm(config: RunConfig, num_seeds: int, output_dir: Path) -> list[RunRecord]:
    from mnistbench.engine.run_seeds import train

    gc.freeze()  # as the door does: torch's half a million objects are not worth a collection
    return train(config.model_copy(update={"num_seeds": num_seeds, "output_dir": str(output_dir)}))


def _verdict(entry: RecordEntry) -> str:
    claim = entry.claim()
    word = "claimed" if claim.claimed else "not claimed"
    warm = interval_text([run.time_s for run in entry.runs], "{:.3f}".format)
    cold = interval_text([run.wall_s for run in entry.cold_runs], "{:.2f}".format)
    return (
        f"{entry.recipe.name} to {goal(entry.target)}: {word}; {claim.reason}; "
        f"{warm} s warm, {cold} s cold"
    )


if __name__ == "__main__":
    sys.exit(main())
