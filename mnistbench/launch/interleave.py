"""Two or more sides, run in turn, so that a machine that drifts meanwhile is fair to all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import ascii_uppercase
from time import monotonic
from typing import Protocol

from mnistbench.launch.runs import RunFailedError
from mnistbench.recorder.core_use import load_now
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.provenance import sources_text
from mnistbench.schema.record import RunRecord
from mnistbench.schema.streams import progress, say


class Side(Protocol):
    """One of the things compared.

    Both methods raise `InputError` for what has to be mended, and `RunFailedError`.
    """

    @property
    def name(self) -> str:
        """What messages call it."""

    def check(self, seed: int) -> None:
        """Find within seconds, without a run, what would stop `run`."""

    def run(self, seed: int, folder: Path) -> RunRecord:
        """Run it once; its record comes into `folder`, which its earlier runs share."""


def run_interleaved(
    sides: Sequence[Side],
    *,
    output_dir: Path,
    max_minutes: float,
    first_seed: int = 0,
    settled: Callable[[Sequence[Sequence[RunRecord]]], str | None],
) -> list[list[RunRecord]]:
    """Run rounds of `sides`, 26 at most, in the order ABC, CBA, ABC, CBA, with one seed a round.

    Records go to ``output_dir/A/<run_id>/`` for the first side, ``B`` for the second and so on;
    those of each side come back in the order of their seeds, as many of each, all completed. Where
    a user changes code of a side meanwhile, the round that ran it is the last, and left out.

    Args:
        sides: what is compared, the baseline first.
        output_dir: a folder without records, or a new one.
        max_minutes: no round is begun that would not end by then, judged by the mean of those
            before it; the first always runs [min].
        first_seed: of the first round; others count up from it.
        settled: asked after each round with all records of each side; a reason ends the runs.

    Raises:
        InputError: a side's flags, `output_dir` or `max_minutes` have to be mended; flags are
            checked before the first run.
        RunFailedError: a run failed, diverged or was interrupted.
        KeyboardInterrupt: a signal came. In all these cases what was run stays in `output_dir`.
    """
    check_turns(output_dir, max_minutes)
    _check_sides(sides, first_seed)
    if line := load_now():
        say(line)
    started = monotonic()
    found: list[list[RunRecord]] = [[] for _ in sides]
    turns = [*zip(sides, (output_dir / name for name in ascii_uppercase), found, strict=False)]
    what = "pair" if len(sides) == 2 else "round"
    while True:
        done = len(found[0])
        for side, folder, records in turns if done % 2 == 0 else reversed(turns):
            progress(f"{what} {done + 1}: running {side.name}", only_terminal=done > 0)
            records.append(_run(side, seed=first_seed + done, folder=folder))
        if changed := [side.name for side, _, records in turns if _has_changed(records)]:
            say(f"the code of {changed[0]} changed; {what} {done + 1} is left out, and runs end")
            return [records[:-1] for records in found]
        first, *others = (f"{side.name} {_speed(its[-1])}" for side, _, its in turns)
        say(f"{what} {done + 1}: {', '.join([f'{first} samples/s', *others])}")
        reason = settled(found) or _out_of_time(
            monotonic() - started, done + 1, max_minutes, what=what
        )
        if reason:
            say(reason)
            return found


def _check_sides(sides: Sequence[Side], first_seed: int) -> None:
    """Check their number and what each is told, before any is run."""
    if len(sides) > len(ascii_uppercase):
        raise InputError(f"interleave: at most {len(ascii_uppercase)} sides, not {len(sides)}")
    progress("checking what all sides are told")
    for side in sides:
        with _naming(side):
            side.check(first_seed)


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
        record = side.run(seed, folder)
        if record.status != "completed":
            why = f" ({record.error})" if record.error else ""
            path = next(folder.rglob(f"{record.run_id}/record.json"), folder)
            ended = "was " * (record.status == "interrupted") + record.status
            raise RunFailedError(f"the run with seed {seed} {ended}{why}: {path}")
    return record


def _has_changed(records: Sequence[RunRecord]) -> bool:
    """Whether the last run had other code of the user's own than the first."""
    return sources_text(records[-1].code) != sources_text(records[0].code)


def _out_of_time(elapsed_s: float, num_rounds: int, max_minutes: float, *, what: str) -> str | None:
    next_end_s = elapsed_s * (num_rounds + 1) / num_rounds
    if next_end_s <= 60 * max_minutes:
        return None
    rounds = f"{num_rounds} {what}{'s' * (num_rounds != 1)}"
    return (
        f"not settled after {rounds} in {elapsed_s / 60:.1f} min; another would not end within "
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
