"""What several processes gained over one, as measured, and what kept it from more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from mnistbench.analysis.metrics import METRICS, Asked, Level
from mnistbench.analysis.samples import Sample
from mnistbench.analysis.scaling.topology import Topology
from mnistbench.analysis.stability import is_unstable
from mnistbench.schema.record import RunRecord, StepSplit
from mnistbench.stats.intervals import Interval, ratio_interval

_GOOD = 0.8
Scaling = Literal["strong", "weak"]
"""With the same global batch, and with the same batch on each process."""

SCALINGS: tuple[Scaling, ...] = ("strong", "weak")


class Speedup(NamedTuple):
    """How a topology compares with `base`, one process: ratios above 1 are better.

    Of samples per second (`speed`), and of median `time` and `steps` to the target; ``None`` where
    one side was not measured or did not reach it. `efficiency` is `speed` for each of so many
    `workers`, threads or accelerators, over those of `base`.
    """

    scaling: Scaling
    base: Topology
    workers: float
    speed: Interval | None
    efficiency: float | None
    time: Interval | None
    steps: Interval | None


class Measured(NamedTuple):
    """What was measured of a topology: speeds of all `timed` runs, the target by one a seed."""

    topology: Topology
    n: int
    timed: int
    unstable: int
    step_s: float | None
    split: StepSplit | None
    samples_per_s: Level
    time_s: Level
    steps: Level
    speedups: tuple[Speedup, ...]


def why_no_more(topology: Topology, gain: Speedup) -> str:
    """What keeps `gain` most from its ideal, in words; empty where it gains four fifths of that.

    Ideal is the step of `base`, shared by as many workers as have a core.
    """
    said, split, step_s = [], topology.split, topology.step_s or 0.0
    shared = topology.threads_per_core / gain.base.threads_per_core
    ideal = min(topology.num_processes, gain.workers / shared)
    growth = topology.global_batch_size / gain.base.global_batch_size
    if gain.speed and shared > 1:
        said.append("the cores are all in use")
    if gain.speed and gain.speed.value < _GOOD * ideal and split is None:
        said.append("the parts of a step were not measured")
    elif gain.speed and gain.speed.value < _GOOD * ideal and split:
        more_s = split.compute_s - (gain.base.step_s or 0.0) * growth / ideal
        lost_s, part = max(
            (split.communication_s, "communication"),
            (split.wait_s, f"waiting, mostly for process {split.slowest_process},"),
            (more_s, "computing more than its share"),
        )
        said.append(f"{part} is {100 * lost_s / step_s:.0f} % of a step")
    if gain.scaling == "weak" and gain.steps and gain.steps.value < _GOOD * topology.num_processes:
        said.append(f"so large a batch takes {100 / gain.steps.value:.0f} % of the steps")
    return "; ".join(said)


def measure(topology: Topology, others: Sequence[Topology], *, target: Asked) -> Measured:
    """What was measured of `topology`, compared with one process among `others`."""
    return Measured(
        topology=topology,
        n=len(topology.runs),
        timed=len(topology.timed),
        unstable=sum(map(is_unstable, topology.timed)),
        step_s=topology.step_s,
        split=topology.split,
        samples_per_s=METRICS["samples_per_s"].of(topology.timed),
        time_s=METRICS["time_to_accuracy_s"].of(topology.alone, target),
        steps=METRICS["steps_to_accuracy"].of(topology.per_seed, target),
        speedups=tuple(
            _speedup(base, topology, scaling=scaling, target=target)
            for scaling in SCALINGS
            if (base := _base(topology, others, scaling=scaling))
        ),
    )


def _base(topology: Topology, others: Sequence[Topology], *, scaling: Scaling) -> Topology | None:
    """One process to compare with: of as many threads, else of the most."""
    batch = topology.global_batch_size / (topology.num_processes if scaling == "weak" else 1)
    several = topology.num_processes > 1
    alone = [t for t in others if t.num_processes == 1 and t.global_batch_size == batch and several]
    same = [t for t in alone if t.num_threads == topology.num_threads]
    return max(same or alone, key=lambda t: t.num_threads, default=None)


def _speedup(base: Topology, topology: Topology, *, scaling: Scaling, target: Asked) -> Speedup:
    speeds = [[r.throughput.samples_per_s or 1.0 for r in t.timed] for t in (base, topology)]
    speed = ratio_interval(*speeds) if all(speeds) else None
    workers = topology.num_workers / base.num_workers
    return Speedup(
        scaling=scaling,
        base=base,
        workers=workers,
        speed=speed,
        efficiency=speed.value / workers if speed else None,
        time=_ratio(base.alone, topology.alone, name="time_to_accuracy_s", target=target),
        steps=_ratio(base.per_seed, topology.per_seed, name="steps_to_accuracy", target=target),
    )


def _ratio(
    base: Sequence[RunRecord], runs: Sequence[RunRecord], *, name: str, target: Asked
) -> Interval | None:
    """The median of `base` over that of `runs`, as a comparison has it, with its interval.

    Runs of one seed are on the same batches: the same seeds on both sides are pairs.
    """
    seeds = [run.seed for run in base]
    paired = seeds == [run.seed for run in runs] and None not in seeds
    a, b = (METRICS[name].samples(side, target) for side in (runs, base))
    if not a or not b:
        return None
    if paired and a == b and all(reading.reached for reading in a):
        return Interval(1.0, 1.0, 1.0)  # of the same steps nothing is left open
    change = Sample(METRICS[name], a, b, paired=paired).change()
    if change is None:
        return None
    low, high = (None if end is None else 1 + end for end in change[1:])
    return Interval(1 + change.estimate, low, high)
