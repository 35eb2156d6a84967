"""Several runs of one configuration: which of them a figure is of."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.schema.record import RunRecord


def one_per_seed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Of each seed the newest run, before one that did not come to an end of its own.

    A run whose seed was not told is of a seed of its own.
    """
    kept: dict[int | str, RunRecord] = {}
    for run in runs:
        before = kept.get(seed_of(run))
        if before is None or _rank(before) <= _rank(run):
            kept[seed_of(run)] = run
    return list(kept.values())


def seed_of(run: RunRecord) -> int | str:
    """What stands for the seed of `run`: its name, if no seed was told."""
    return run.run_id if run.seed is None else run.seed


def by_seed(run: RunRecord) -> tuple[bool, int, str]:
    """What runs are sorted by: their seeds, if told, and when they began."""
    return run.seed is None, run.seed or 0, run.created_at


def seed_text(run: RunRecord) -> str:
    """``seed 3``, or the run's name where no seed was told."""
    return run.run_id if run.seed is None else f"seed {run.seed}"


def counted(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that speeds and accuracies are of: the completed ones, or all where none is.

    For its time to a target a group counts in full, whatever became of its runs.
    """
    return [run for run in runs if run.status == "completed"] or list(runs)


def num_lost(runs: Sequence[RunRecord]) -> int:
    """Seeds whose run came to nothing by itself: not those that someone stopped, or made again."""
    return sum(run.status in {"diverged", "failed"} for run in one_per_seed(runs))


def began_a_process(record: RunRecord) -> bool:
    """Whether the ledger holds the start of a process, which later seeds of a command share."""
    return record.phases_s.get("import", 0.0) > 0


def _rank(record: RunRecord) -> tuple[bool, str, str]:
    return record.status in {"completed", "diverged"}, record.created_at, record.run_id
