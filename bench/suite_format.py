"""Figures of the suites as cells: means and medians with their intervals and n."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from mnistbench.analysis.grouping import accuracy_by_epoch
from mnistbench.analysis.machine_drift import DRIFT_BOUND
from mnistbench.analysis.metrics import METRICS, Level, score_target
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.number_text import seconds as seconds_text
from mnistbench.analysis.stability import is_unstable
from mnistbench.output.number_format import level_text, median_text
from mnistbench.output.suite_tables import Section, SuiteReport
from mnistbench.schema.record import EvalPoint, RunRecord
from mnistbench.stats.intervals import median_interval
from mnistbench.stats.readings import Reading

_ACCURACY = METRICS["test_accuracy"]

TARGETS = (0.90, 0.95, 0.97, 0.98, 0.99)
HEADLINE = 0.97
"""The target that has a place of its own in a table and in ``extra_info``."""


def interval_text(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The median of independent `values`, with its 95 % interval where they are enough for one."""
    found = median_interval(values)
    if found.low is None or found.high is None:
        return show(found.value)
    return f"{show(found.value)} ({show(found.low)}–{show(found.high)})"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def accuracy_after(record: RunRecord, epoch: int) -> float | None:
    """Accuracy on the eval split after a whole epoch; ``None`` where it was not read then."""
    found = accuracy_by_epoch([record]).get(epoch)
    return found.value if found else None


def mean_error(curve: Sequence[EvalPoint]) -> float:
    """The mean error over the epochs between the first and last of `curve`, by trapezoids.

    However close together the evaluations are, each epoch counts the same.
    """
    epochs = curve[-1].epoch - curve[0].epoch
    if not epochs:
        return 1 - curve[-1].accuracy
    parts = ((b.epoch - a.epoch) * (1 - (a.accuracy + b.accuracy) / 2) for a, b in pairwise(curve))
    return sum(parts) / epochs


def shares(values: Iterable[float | None]) -> Level | None:
    """What seeds say of an accuracy, as `METRICS` has it; ``None`` if one did not measure it."""
    known = list(values)
    measured = [Reading.of(value) for value in known if value is not None]
    return _ACCURACY.level(measured) if measured and len(measured) == len(known) else None


def shares_text(found: Level | None) -> str:
    """The median of fractions in percent, with the smallest and the largest."""
    return NOT_MEASURED if found is None else level_text(found, _ACCURACY)


def reached_text(found: Level, show: Callable[[float], str]) -> str:
    """The median of times to a target with its interval, and k of n; or that only k got there."""
    if found.value is None:
        return f"{found.reached}/{found.n} reached"
    median_and_ends = median_text(found, show)
    return f"{median_and_ends}, {found.reached}/{found.n}"


def counted_text(records: Sequence[RunRecord]) -> str:
    """How many seeds the means are of: all, or those that completed."""
    completed = sum(record.status == "completed" for record in records)
    return str(completed) if completed == len(records) else f"{completed} of {len(records)}"


def mark(section: Section, records: Sequence[RunRecord]) -> str:
    """A mark for times of runs during which the machine's own speed moved, said below the table."""
    if not any(map(is_unstable, records)):
        return ""
    section.note(
        f"† the machine's own speed moved by more than {100 * DRIFT_BOUND:g} % during one of these "
        "runs: their times are unstable"
    )
    return "†"


def targets_rows(
    report: SuiteReport,
    title: str,
    head: Mapping[str, str],
    *,
    records: Sequence[RunRecord],
) -> None:
    """Rows with seconds, and with steps, to each of `TARGETS`, scored from the stored curves."""
    seconds, steps = {}, {}
    figures = {}
    for target in TARGETS:
        score = score_target(records, target)
        seconds[f"s to {target:.0%}"] = reached_text(score.time_s, seconds_text)
        steps[f"steps to {target:.0%}"] = reached_text(score.steps, lambda n: f"{n:.0f}")
        figures[f"{target:g}"] = {
            "time_s": score.time_s._asdict(),
            "expected_time_s": score.expected_s._asdict(),
            "steps": score.steps._asdict(),
        }
    n = {"n": str(len(records))}
    timed = report.section(f"{title}: seconds to target")
    unstable = mark(timed, records)
    seconds = {target: text + unstable for target, text in seconds.items()}
    counted = report.section(f"{title}: steps to target")
    for section, cells in ((timed, seconds), (counted, steps)):
        section.add({**head, **cells, **n}, **head, targets=figures)
        section.note(
            "median of times between two evaluations (95 % interval), and k of n got there"
        )
        section.note("≤: half of the runs were there at their first evaluation")
    timed.note("seconds are of the train clock of the slowest process")
