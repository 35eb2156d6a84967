"""What several processes gained over one, as measured, split into hardware and statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from mnistbench.analysis.scaling.prediction import SCALINGS, Figure, Scaling
from mnistbench.analysis.scaling.setups import Setup
from mnistbench.analysis.scoring import reading_to_target
from mnistbench.schema.record import RunRecord, StepSplit
from mnistbench.stats.intervals import Estimate, complete_mean
from mnistbench.stats.resampling import FEWEST_FOR_MEDIANS, change_range, drawn_medians
from mnistbench.stats.survival import CensoredMedian, median_reading

__all__ = ["Gain", "Measured", "measure"]


class Gain(NamedTuple):
    """How a setup compares with one process: ratios above 1 are better.

    Attributes:
        scaling: strong with the same global batch, weak with the same batch on each process.
        base: the setup of one process.
        base_step_s: its mean step; ``None`` where not measured.
        workers: threads, or accelerators, over those of `base`.
        speed: in samples per second, with its 95 % interval; ``None`` where not measured.
        time: in time to the target, as a ratio of medians; ``None`` where one was not reached.
        hardware: the part of that from the time of a step.
        steps: the part of it from the number of steps.
    """

    scaling: Scaling
    base: Setup
    base_step_s: float | None
    workers: float
    speed: Figure | None
    time: Figure | None
    hardware: Figure | None
    steps: Figure | None

    @property
    def efficiency(self) -> float | None:
        """Samples per second gained for each of `workers`."""
        return self.speed.value / self.workers if self.speed else None

    @property
    def time_efficiency(self) -> float | None:
        """Time to the target gained for each of `workers`."""
        return self.time.value / self.workers if self.time else None


class Measured(NamedTuple):
    """What was measured of a setup, and its gains over one process.

    Times are of runs that had the cores to themselves, `steps` to the target of all; `step_s` is
    the mean step, `split` where it goes, with the process that most runs found slowest.
    """

    setup: Setup
    samples_per_s: Estimate | None
    step_s: float | None
    time_s: CensoredMedian | None
    steps: CensoredMedian
    split: StepSplit | None
    gains: tuple[Gain, ...]


def measure(setups: Sequence[Setup], target: float) -> list[Measured]:
    """What was measured of each of `setups`, compared with one process among them."""
    return [_measured(setup, setups, target=target) for setup in setups]


def _measured(setup: Setup, setups: Sequence[Setup], *, target: float) -> Measured:
    gains = []
    for scaling in SCALINGS if setup.num_processes > 1 else ():
        base = _base(setup, setups, scaling=scaling)
        if base is not None:
            gains.append(_gain(base, setup, scaling=scaling, target=target))
    return Measured(
        setup=setup,
        samples_per_s=complete_mean(run.throughput.samples_per_s for run in setup.timed),
        step_s=_mean_step_s(setup),
        time_s=_median(setup.alone, target, steps=False) if setup.alone else None,
        steps=_median(setup.runs, target, steps=True),
        split=_mean_split(setup),
        gains=tuple(gains),
    )


def _base(setup: Setup, setups: Sequence[Setup], *, scaling: Scaling) -> Setup | None:
    """The setup of one process to compare with: of as many threads, else of the most."""
    parts = setup.num_processes if scaling == "weak" else 1
    alone = [
        s
        for s in setups
        if s.num_processes == 1 and s.global_batch_size * parts == setup.global_batch_size
    ]
    same = [s for s in alone if s.num_threads == setup.num_threads]
    return max(same or alone, key=lambda s: s.num_threads, default=None)


def _gain(base: Setup, setup: Setup, *, scaling: Scaling, target: float) -> Gain:
    speed = _speed_ratio(base.timed, setup.timed)
    growth = base.global_batch_size / setup.global_batch_size
    return Gain(
        scaling=scaling,
        base=base,
        base_step_s=_mean_step_s(base),
        workers=setup.num_workers / base.num_workers,
        speed=speed,
        time=_median_ratio(base.alone, setup.alone, target=target, steps=False),
        hardware=speed and speed.times(growth),
        steps=_median_ratio(base.runs, setup.runs, target=target, steps=True),
    )


def _mean_step_s(setup: Setup) -> float | None:
    return fmean(time.step_s for time in setup.step_times) if setup.step_times else None


def _median(runs: Sequence[RunRecord], target: float, *, steps: bool) -> CensoredMedian:
    return median_reading([reading_to_target(run, target, steps=steps) for run in runs])


def _speed_ratio(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> Figure | None:
    """Samples per second of `b` over those of `a`, by Welch's interval (1947) of logarithms."""
    if not a or not b:
        return None
    logs = [[math.log(run.throughput.samples_per_s or 1) for run in side] for side in (a, b)]
    change = fmean(logs[1]) - fmean(logs[0])
    if min(len(a), len(b)) < 2:
        return Figure(math.exp(change), None, None)
    from scipy.special import stdtrit

    squares = [stdev(side) ** 2 / len(side) for side in logs]
    if sum(squares) == 0:
        return Figure(math.exp(change), math.exp(change), math.exp(change))
    parts = sum(x**2 / (len(side) - 1) for x, side in zip(squares, logs, strict=True))
    half = float(stdtrit(sum(squares) ** 2 / parts, 0.975)) * math.sqrt(sum(squares))
    return Figure(math.exp(change), math.exp(change - half), math.exp(change + half))


def _median_ratio(
    a: Sequence[RunRecord], b: Sequence[RunRecord], *, target: float, steps: bool
) -> Figure | None:
    """The median time, or number of `steps`, of `a` over that of `b`; drawn again over seeds.

    Runs of one seed are on the same batches: the same seeds on both sides are drawn in pairs.
    """
    if not a or not b:
        return None
    sides = [[reading_to_target(run, target, steps=steps) for run in side] for side in (a, b)]
    medians = [median_reading(side).median for side in sides]
    if not medians[0] or not medians[1]:
        return None
    value = medians[0] / medians[1]
    if min(len(a), len(b)) < FEWEST_FOR_MEDIANS:
        return Figure(value, None, None)
    paired = [run.seed for run in a] == [run.seed for run in b]
    drawn = drawn_medians(sides, paired=paired)
    low, high = change_range(drawn, best=1, other=0, ratio=True)
    return Figure(
        value,
        None if low is None else min(1 + low, value),
        None if high is None else max(1 + high, value),
    )


def _mean_split(setup: Setup) -> StepSplit | None:
    splits = [split for split in setup.splits if split is not None]
    if not splits or len(splits) < len(setup.splits):
        return None
    slowest = [split.slowest_process for split in splits]
    return StepSplit(
        compute_s=fmean(split.compute_s for split in splits),
        communication_s=fmean(split.communication_s for split in splits),
        wait_s=fmean(split.wait_s for split in splits),
        skew_s=fmean(split.skew_s for split in splits),
        slowest_process=max(sorted(set(slowest)), key=slowest.count),
    )
