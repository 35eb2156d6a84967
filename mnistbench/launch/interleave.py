"""A against B, run in turn, so that a machine that drifts while they run is fair to both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from mnistbench.launch.runs import RunFailedError, check_arguments, run_once
from mnistbench.recorder.core_use import load_now
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import RunRecord
from mnistbench.schema.streams import progress

__all__ = ["Side", "check_turns", "run_interleaved"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two things compared.

    Attributes:
        name: what messages call it.
        arguments: flags of ``train``; seed and output folder are set by `run_interleaved`.
        python: interpreter that runs it.
        package_root: folder whose ``mnistbench`` it runs; none is that of this process.
    """

    name: str
    arguments: tuple[str, ...]
    python: str = sys.executable
    package_root: Path | None = None


def run_interleaved(  # noqa: PLR0913 - two sides, where to, how long, and whom to ask and tell
    a: Side,
    b: Side,
    *,
    output_dir: Path,
    max_minutes: float,
    settled: Callable[[Sequence[RunRecord], Sequence[RunRecord]], str | None],
    tell: Callable[[str], None],
) -> tuple[list[RunRecord], list[RunRecord]]:
    """Run pairs of `a` and `b`, with seed 0, 1, 2 and so on, in the order AB, BA, AB, BA.

    Args:
        a: one side; its records go to ``output_dir/A/<run_id>/``.
        b: the other, to ``output_dir/B/<run_id>/``.
        output_dir: a folder without records, or a new one.
        max_minutes: no pair is begun that would not end by then, judged by the mean of those
            before it; the first always runs [min].
        settled: asked after each pair with all records of both sides, seed by seed; a reason
            ends the runs, ``None`` asks for another pair.
        tell: takes a line for each pair and the reason for the end.

    Returns:
        The records of `a` and of `b`: as many of each, in the order of their seeds, all completed.

    Raises:
        InputError: a side's flags, `output_dir` or `max_minutes` have to be mended; flags are
            checked before the first run.
        RunFailedError: a run failed, diverged or was interrupted.
        KeyboardInterrupt: a signal came. In all these cases what was run stays in `output_dir`.
    """
    check_turns(output_dir, max_minutes)
    progress("checking the flags of both sides")
    for side in (a, b):
        with _naming(side):
            check_arguments(
                _arguments(side, seed=0), python=side.python, package_root=side.package_root
            )
    if line := load_now():
        tell(line)
    started = monotonic()
    of_a: list[RunRecord] = []
    of_b: list[RunRecord] = []
    turns = [(a, output_dir / "A", of_a), (b, output_dir / "B", of_b)]
    while True:
        seed = len(of_a)
        for side, folder, records in turns if seed % 2 == 0 else reversed(turns):
            progress(f"pair {seed + 1}: running {side.name}", only_terminal=seed > 0)
            records.append(_run(side, seed=seed, folder=folder))
        tell(f"pair {seed + 1}: {a.name} {_speed(of_a[-1])} samples/s, {b.name} {_speed(of_b[-1])}")
        reason = settled(of_a, of_b) or _out_of_time(monotonic() - started, len(of_a), max_minutes)
        if reason:
            tell(reason)
            return of_a, of_b


def check_turns(output_dir: Path, max_minutes: float) -> None:
    """Check, without writing, what `run_interleaved` is told apart from its sides.

    Raises:
        InputError: `max_minutes` is not above 0, or `output_dir` holds records or cannot be made.
    """
    if not max_minutes > 0:  # NaN is not
        raise InputError(f"max_minutes: should be above 0 (got {max_minutes:g})")
    check_writable(output_dir)
    if next(output_dir.rglob("record.json"), None):
        raise InputError(f"{output_dir}: already holds records; use a new folder for this")


def _run(side: Side, *, seed: int, folder: Path) -> RunRecord:
    with _naming(side):
        record = run_once(
            _arguments(side, seed=seed),
            output_dir=folder,
            python=side.python,
            package_root=side.package_root,
        )
        if record.status != "completed":
            why = f" ({record.error})" if record.error else ""
            path = folder / record.run_id / "record.json"
            raise RunFailedError(f"the run with seed {seed} {_ENDED[record.status]}{why}: {path}")
    return record


_ENDED = {"diverged": "diverged", "interrupted": "was interrupted", "failed": "failed"}


def _arguments(side: Side, *, seed: int) -> list[str]:
    return [*side.arguments, "--seed", str(seed), "--num-seeds", "1"]  # the last of a flag wins


def _out_of_time(elapsed_s: float, num_pairs: int, max_minutes: float) -> str | None:
    next_end_s = elapsed_s * (num_pairs + 1) / num_pairs
    if next_end_s <= 60 * max_minutes:
        return None
    pairs = "1 pair" if num_pairs == 1 else f"{num_pairs} pairs"
    return (
        f"not settled after {pairs} in {elapsed_s / 60:.1f} min; another would not end within "
        f"{max_minutes:g} min"
    )


def _speed(record: RunRecord) -> str:
    speed = record.throughput.samples_per_s
    return "–" if speed is None else f"{speed:,.0f}"


@contextmanager
def _naming(side: Side) -> Iterator[None]:
    """Say whose error it is."""
    try:
        yield
    except (InputError, RunFailedError) as error:
        raise type(error)(f"side {side.name}: {error}") from None
