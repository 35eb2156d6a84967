"""Whether more processes help, and why not, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mnistbench.analysis.number_text import goal
from mnistbench.analysis.scaling.gains import Gain, Measured
from mnistbench.analysis.scaling.outlook import MOST_PROCESSES, NO_GAIN, Outlook
from mnistbench.analysis.scaling.prediction import Scaling
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scaling.study import ScalingReport
from mnistbench.analysis.stability import time_mark
from mnistbench.output.scaling_notes import link_text

__all__ = ["check_line", "verdict_lines"]

_GOOD = 0.8
"""Efficiency from which on nothing needs to be explained."""

_HOW = {
    "processes": "over the link of those",
    "cores": "over the link of those",
    "link": "over their own link",
}


def verdict_lines(report: ScalingReport) -> list[str]:
    """A sentence for each batch of one process and each kind of scaling that was measured from it.

    What several processes gained and why no more than that, then how far the model expects gains
    on cores of their own, and what ends them.
    """
    found: dict[tuple[Scaling, int], list[tuple[Measured, Gain]]] = {}
    for row in report.measured:
        for gain in row.gains:
            key = (gain.scaling, gain.base.global_batch_size)
            found.setdefault(key, []).append((row, gain))
    outlooks = {(outlook.scaling, outlook.base_batch): outlook for outlook in report.outlooks}
    return [
        f"{_title(*key)}: {_sentence(found[key], outlooks.get(key), target=report.target)}"
        for key in sorted(found)
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
    how = dict.fromkeys(_HOW[check.reason] for check in report.checks)
    if any(check.measured.setup.contention > 1 for check in report.checks):
        how |= {"some with more threads than cores": None}
    return (
        f"checked: fitted on {', '.join(map(str, counts))} process{'es' * (counts != [1])}, the "
        f"model is within {100 * max(known):.0f} % of the samples/s of {len(known)} of "
        f"{len(errors)} setups held out ({', '.join(how)})"
    )


def _title(scaling: Scaling, base_batch: int) -> str:
    each = " on each process" if scaling == "weak" else ""
    return f"{scaling}, batch {base_batch}{each}"


def _sentence(
    found: Sequence[tuple[Measured, Gain]], outlook: Outlook | None, *, target: float
) -> str:
    setups = [row.setup for row, _ in found]
    said = [
        f"{row.setup.num_processes} processes{_which(row.setup, setups)}: "
        f"{_gain_text(row, gain, target=target)}"
        for row, gain in found
    ]
    own = "on cores of their own, " if any(s.contention > 1 for s in setups) and outlook else ""
    return "; ".join([*said, own + _outlook_text(outlook, target=target)])


def _which(setup: Setup, setups: Sequence[Setup]) -> str:
    """What tells `setup` from others of as many processes."""
    same = [s for s in setups if s.num_processes == setup.num_processes]
    told = {
        f"{setup.num_threads} thread{'s' * (setup.num_threads > 1)} each": "num_threads",
        f"{setup.num_machines} machine{'s' * (setup.num_machines > 1)}": "num_machines",
        f"{setup.num_cores} cores": "num_cores",
        link_text(setup.link) or "link not measured": "link",
    }
    names = [
        text
        for text, name in told.items()
        if any(getattr(s, name) != getattr(setup, name) for s in same)
    ]
    return f" ({', '.join(names)})" if names else ""


def _gain_text(row: Measured, gain: Gain, *, target: float) -> str:
    mark = time_mark([*row.setup.alone, *gain.base.alone])
    speed, time = "samples/s not measured alone", f"no ratio of times to {goal(target)}"
    if gain.speed is not None:
        speed = f"{_times(gain.speed.value)} samples/s{mark}"
        low, high = gain.speed.low, gain.speed.high
        if low is not None and high is not None and low <= 1 <= high:
            speed += " (no difference seen)"
    if gain.time is not None:
        time = f"{_times(gain.time.value)} to {goal(target)}{mark}"
    why = "; ".join(_reasons(row, gain))
    return f"{speed}, {time}" + (f" ({why})" if why else "")


def _reasons(row: Measured, gain: Gain) -> list[str]:
    """Why `row` gained so little over one process; none where it gained nearly all it could."""
    setup, base, processes = row.setup, gain.base, row.setup.num_processes
    said = []
    at_once = gain.workers * base.contention / setup.contention
    if gain.speed is not None and gain.speed.value < _GOOD * processes:
        if setup.contention > 1:
            said.append("the cores are all in use")
        if setup.num_threads < base.num_threads:
            said.append(f"one process had {base.num_threads} threads")
        if gain.speed.value < _GOOD * min(at_once, processes):
            said += _largest_loss(row, gain, at_once=min(at_once, processes))
    if gain.scaling == "weak" and gain.steps and gain.steps.value < _GOOD * processes:
        said.append(
            f"{processes} times the batch takes {100 / gain.steps.value:.0f} % of the steps"
        )
    return said


def _largest_loss(row: Measured, gain: Gain, *, at_once: float) -> list[str]:
    """The part of a step that keeps it from its ideal most, `at_once` times as fast as one."""
    split, base_s = row.split, gain.base_step_s
    if split is None or base_s is None or row.step_s is None:
        return ["the parts of a step were not measured"]
    growth = row.setup.global_batch_size / gain.base.global_batch_size
    ideal_s = base_s * growth / at_once
    losses = {
        "communication": split.communication_s,
        "wait": split.wait_s,
        "compute": split.compute_s - ideal_s,
    }
    largest = max(losses, key=lambda name: losses[name])
    part = f"{100 * losses[largest] / row.step_s:.0f} %"
    if largest == "communication":
        return [f"communication is {part} of a step"]
    if largest == "wait":
        return [f"processes wait {part} of a step, mostly for process {split.slowest_process}"]
    return [f"computing takes {split.compute_s / ideal_s:.2g} times its share"]


def _outlook_text(outlook: Outlook | None, *, target: float) -> str:
    if outlook is None:
        return "more processes were not predicted"
    last, useful = outlook.rows[-1].setting.num_processes, outlook.useful
    low, high = outlook.useful_low, outlook.useful_high
    between = f" ({low:,} to {high:,})" if low is not None and high and low < high else ""
    gain = "gain" if outlook.in_time else "gain in samples/s"
    text = f"beyond {useful:,}{between}, no {gain}"
    if useful == last:
        text = f"{gain}s up to {last:,}"
    unknown = ""
    if not outlook.in_time:
        unknown = "; steps at larger batches are not known"
        if outlook.rows[0].steps is None:
            unknown = f"; {goal(target)} was not reached"
    return f"{text}: {_why_no_more(outlook, target=target)}{unknown}"


def _why_no_more(outlook: Outlook, *, target: float) -> str:
    """What ends the gain at the outlook's useful number of processes."""
    counts = [row.setting.num_processes for row in outlook.rows]
    at = counts.index(outlook.useful)
    if at + 1 == len(counts):
        return _end(outlook, target=target)
    row, following = outlook.rows[at : at + 2]
    if outlook.scaling == "weak" and row.steps and following.steps:
        saved = math.log(row.steps / following.steps)
        longer = math.log(following.parts.step_s / row.parts.step_s)
        if saved < math.log(NO_GAIN) or longer < saved / 2:
            return "the batch is past its useful size"
    share = 1.0 if outlook.scaling == "weak" else 0.5
    growth = {
        "communication": following.parts.communication_s - row.parts.communication_s,
        "waiting for the last process": following.parts.wait_s - row.parts.wait_s,
        "": following.parts.compute_s - share * row.parts.compute_s,
    }
    largest = max(growth, key=lambda what: growth[what])
    if not largest:
        weak, strong = "is slower beside others", "does not shrink with the samples"
        return f"computing {weak if outlook.scaling == 'weak' else strong}"
    spared = (1 - share) * row.parts.compute_s
    if outlook.scaling == "strong" and sum(growth.values()) < spared:
        return f"{largest} takes most of what it saves"
    return f"{largest} costs more than it saves"


def _end(outlook: Outlook, *, target: float) -> str:
    if outlook.lost_at is not None:
        return f"at batch {outlook.lost_at:,}, {goal(target)} was not reached"
    if outlook.rows[-1].setting.num_processes == MOST_PROCESSES:
        return "as far as is predicted"
    if outlook.scaling == "weak":
        return "the next batch is more than the training set"
    return f"a batch of {outlook.base_batch} has no samples for more"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 1 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:,.0f}×"
