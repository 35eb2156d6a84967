"""Whether more processes help, and why not, in plain words."""

from __future__ import annotations

import math

from mnistbench.analysis.cells import goal
from mnistbench.analysis.scaling.gains import Gain, Measured
from mnistbench.analysis.scaling.prediction import (
    MOST_PROCESSES,
    NO_GAIN,
    Outlook,
    Predicted,
    Scaling,
)
from mnistbench.analysis.scaling.study import ScalingReport

__all__ = ["check_line", "reason_for", "verdict_lines", "why_no_more"]

_GOOD = 0.8
"""Efficiency from which on nothing needs to be explained."""


def verdict_lines(report: ScalingReport) -> list[str]:
    """A sentence for each batch of one process and each kind of scaling that was measured from it.

    What several processes gained and why no more than that, then how far the model expects gains
    on cores of their own, and what ends them.
    """
    found: dict[tuple[Scaling, int], list[str]] = {}
    for row in report.measured:
        for gain in row.gains:
            series = found.setdefault((gain.scaling, gain.base.global_batch_size), [])
            series.append(_gain_text(row, gain, report.target))
    outlooks = {(outlook.scaling, outlook.base_batch): outlook for outlook in report.outlooks}
    return [
        f"{_title(*key)}: {'; '.join([*said, _outlook_text(outlooks.get(key))])}"
        for key, said in sorted(found.items())
    ]


def check_line(report: ScalingReport) -> str | None:
    """How near the model came to what it was not fitted on; ``None`` if nothing was held out."""
    if not report.checks:
        return None
    errors = [check.speed_error for check in report.checks]
    known = [abs(error) for error in errors if error is not None]
    if report.predictor is None or not known:
        return "checked: the model could not predict what was held out"
    counts = sorted({setup.num_processes for setup in report.predictor.setups})
    return (
        f"checked: fitted on {_listed(counts)}, the model predicts the samples/s of "
        f"{len(known)} held out within {100 * max(known):.0f} %"
    )


def reason_for(row: Measured, gain: Gain) -> str | None:
    """Why `row` gained so little over one process; ``None`` where it gained nearly all it could."""
    processes = row.setup.num_processes
    if gain.speed is None or gain.speed.value >= _GOOD * processes:
        return None
    ideal = row.setup.cores_used / gain.base.cores_used
    full = "the cores are all in use" if ideal < processes else None
    if gain.speed.value >= _GOOD * min(ideal, processes):
        return full
    return "; ".join(filter(None, [full, _largest_loss(row, gain)]))


def why_no_more(outlook: Outlook) -> str:
    """What ends the gain at the outlook's useful number of processes."""
    counts = [row.setting.num_processes for row in outlook.rows]
    at = counts.index(outlook.useful)
    row = outlook.rows[at]
    if at + 1 == len(counts):
        return _end(outlook, row)
    following = outlook.rows[at + 1]
    if outlook.scaling == "weak":
        return _why_no_more_batch(row, following)
    saved = row.parts.compute_s - following.parts.compute_s
    cost, what = _growth(row, following)
    if cost > saved:
        return f"{what} costs more than it saves"
    if 2 * cost > saved:
        return f"{what} takes most of what it saves"
    return "what is fixed in a step's computing does not shrink"


def _title(scaling: str, base_batch: int) -> str:
    each = " on each process" if scaling == "weak" else ""
    return f"{scaling}, batch {base_batch}{each}"


def _gain_text(row: Measured, gain: Gain, target: float) -> str:
    setup = row.setup
    threads = "" if setup.num_threads == gain.base.num_threads else f" ({_threads(gain)})"
    speed = "samples/s not measured alone"
    if gain.speed is not None:
        speed = f"{gain.speed.value:.2g}× samples/s"
        low, high = gain.speed.low, gain.speed.high
        if low is not None and high is not None and low <= 1 <= high:
            speed += " (no difference seen)"
    time = f"no ratio of times to {goal(target)}"
    if gain.time is not None:
        time = f"{gain.time.value:.2g}× to {goal(target)}"
    why = reason_for(row, gain)
    return f"{setup.num_processes} processes{threads}: {speed}, {time}" + (
        f" ({why})" if why else ""
    )


def _threads(gain: Gain) -> str:
    return f"against one of {gain.base.num_threads} threads"


def _largest_loss(row: Measured, gain: Gain) -> str | None:
    """The part of a step that keeps it from its ideal most."""
    split, base_s = row.split, gain.base_step_s
    step_s = split.compute_s + split.communication_s + split.wait_s if split else 0.0
    if split is None or base_s is None or step_s == 0:
        return "the parts of a step were not measured"
    share = 1.0 if gain.scaling == "weak" else 1 / row.setup.num_processes
    losses = {
        "communication": split.communication_s,
        "wait": split.wait_s,
        "compute": split.compute_s - base_s * share * row.setup.setting.contention,
    }
    largest = max(losses, key=lambda name: losses[name])
    part = f"{100 * losses[largest] / step_s:.0f} %"
    if largest == "communication":
        return f"communication is {part} of a step"
    if largest == "wait":
        return f"processes wait {part} of a step, mostly for process {split.slowest_process}"
    same = f"{100 * share:.0f} % of the samples take {100 * split.compute_s / base_s:.0f} %"
    return f"{same} of the computing"


def _outlook_text(outlook: Outlook | None) -> str:
    if outlook is None:
        return "more processes were not predicted"
    why = why_no_more(outlook)
    last = outlook.rows[-1].setting.num_processes
    if outlook.useful == last:
        return f"with cores of their own, gains up to {last:,}: {why}"
    between = ""
    low, high = outlook.useful_low, outlook.useful_high
    if low is not None and high is not None and low < high:
        between = f" ({low:,} to {high:,})"
    if outlook.useful == 1:
        return f"also with cores of their own, no gain{between}: {why}"
    return f"with cores of their own, beyond {outlook.useful:,}{between} no gain: {why}"


def _end(outlook: Outlook, row: Predicted) -> str:
    if row.setting.num_processes == MOST_PROCESSES:
        return "as far as is predicted"
    if outlook.scaling == "weak":
        return "the next batch is more than the training set"
    return f"a batch of {row.setting.global_batch_size:,} has no samples for more"


def _why_no_more_batch(row: Predicted, following: Predicted) -> str:
    """Twice the batch saves steps, and its exchange costs time."""
    _, what = _growth(row, following)
    if row.steps is None or following.steps is None:
        return f"{what} costs more than it saves"
    saved = math.log(row.steps / following.steps)
    longer = math.log(following.parts.step_s / row.parts.step_s)
    if saved < math.log(NO_GAIN) or longer < saved / 2:
        return "the batch is past its useful size"
    return f"{what} costs more than fewer steps save"


def _growth(row: Predicted, following: Predicted) -> tuple[float, str]:
    """What twice the processes cost more, and the larger part of that."""
    communication_s = following.parts.communication_s - row.parts.communication_s
    wait_s = following.parts.wait_s - row.parts.wait_s
    what = "communication" if communication_s >= wait_s else "waiting for the last process"
    return communication_s + wait_s, what


def _listed(counts: list[int]) -> str:
    return f"{', '.join(map(str, counts))} process{'es' * (counts != [1])}"
