"""Made numbers and records of which the truth is known, for `bench.validate_statistics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from mnistbench.analysis.comparison import compare
from mnistbench.analysis.gates import judge, parse_gate
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import PHASES, Result, RunRecord, Throughput
from mnistbench.stats.readings import Reading
from mnistbench.stats.resampling import best_shares, drawn_means, drawn_times

Random = np.random.Generator

NOISE: Mapping[str, Callable[[Random, int], np.ndarray]] = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy": lambda random, n: random.standard_t(3, size=n) / math.sqrt(3),
    "skewed": lambda random, n: random.exponential(size=n) - 1,
}
_SHAPES: tuple[Callable[[Random, int], np.ndarray], ...] = (
    lambda random, k: (np.arange(k) == random.integers(k)).astype(float),  # one is better
    lambda random, k: random.permutation(k) / (k - 1),
    lambda random, k: random.normal(size=k),
)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_GATE = parse_gate("samples_per_s < -5%")


def sides(random: Random, noise: str, n: int, *, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two sides of one thing; the differences of pairs have a variance of 1, as a side has."""
    a, b = NOISE[noise](random, n), NOISE[noise](random, n)
    if not paired:
        return a, b
    shared = random.normal(size=n)
    return shared + a / math.sqrt(2), shared + b / math.sqrt(2)


def is_within(truth: float, low: float | None, high: float | None) -> bool:
    """Whether an interval holds `truth`; an end that is not there is none."""
    return (low is None or low <= truth) and (high is None or truth <= high)


def read_between(random: Random, n: int, *, spacing: float) -> list[Reading]:
    """Times with median 1, read every `spacing` or so until 1.6, or as they are."""
    times = np.exp(0.2 * random.normal(size=n))
    if not spacing:
        return [Reading.of(t) if t <= 1.6 else Reading(1.6, math.inf) for t in times.tolist()]
    every = spacing * random.uniform(0.97, 1.03, size=n)
    lows = (every * np.floor(times / every)).tolist()
    ends = zip(lows, every.tolist(), strict=True)
    return [Reading(low, low + e if low + e <= 1.6 else math.inf) for low, e in ends]


def choice(random: Random, trial: int, *, times: bool) -> tuple[float, float]:
    """What is said of the configuration chosen of some, and how right that is (shared by equals).

    2, 4 or 12 of them, 3, 5 or 10 seeds (times 5 or 10), true differences of 0, 0.3, 1 or 3 noise
    standard deviations, seeds that are shared or not, normal noise or heavy tails.
    """
    k, n = random.choice([2, 4, 12]), random.choice([5, 10] if times else [3, 5, 10])
    true = random.choice([0.0, 0.3, 1.0, 3.0]) * _SHAPES[trial % 3](random, k)
    paired = bool(random.integers(2))
    kind = ("normal", "heavy")[random.integers(2)]
    noise = np.array([NOISE[kind](random, n) for _ in range(k)])
    runs = true[:, None] + noise + paired * random.normal(size=n)
    if times:
        groups = [[Reading.of(math.exp(0.3 * x)) for x in row] for row in runs]
        drawn = drawn_times(groups, paired=paired, draws=999, seed=trial)
        chosen, best = np.median(runs, axis=1).argmin(), true == true.min()
    else:
        drawn = drawn_means(runs.tolist(), paired=paired, draws=999, seed=trial)
        chosen, best = runs.mean(axis=1).argmax(), true == true.max()
    said = best_shares(drawn, higher_is_better=not times)[chosen]
    return said, float(best[chosen] / best.sum())


def gate_state(random: Random, n: int, *, noise: float, change: float) -> str:
    """What a gate of -5 % says of `n` runs of each side in turn, B changed by `change`."""
    speeds = 1000 * np.exp(noise / math.sqrt(2) * random.normal(size=(2, n)))
    speeds[1] *= 1 + change
    a, b = (
        [_record(speed, pair, of_b=of_b) for pair, speed in enumerate(side.tolist())]
        for of_b, side in enumerate(speeds)
    )
    (outcome,) = judge(compare(a, b, metrics=["samples_per_s"]), [_GATE])
    return outcome.state


def _record(speed: float, pair: int, *, of_b: int) -> RunRecord:
    """A run of B after that of A and the next time before it: ABBA."""
    place = 2 * pair + (of_b if pair % 2 == 0 else 1 - of_b)
    created = _START + timedelta(minutes=place)
    environment = {
        "device_type": "cpu",
        "num_processes": 1,
        "num_threads": 1,
        "mixed_precision": "no",
        "global_batch_size": 64,
    }
    return RunRecord(
        run_id=f"run-{of_b}-{pair}",
        status="completed",
        created_at=created.isoformat(),
        seed=pair,
        recipe=None,
        dataset=None,
        config=RunConfig(model="simple-cnn", seed=pair).model_dump(mode="json"),
        environment=environment,
        num_parameters=8490,
        num_epochs=1.0,
        num_steps=10,
        eval_points=[],
        train_points=[],
        phases_s=dict.fromkeys(PHASES, 0.0) | {"train": 6.0},
        wall_s=10.0,
        throughput=Throughput(samples_per_s=speed),
        result=Result(),
    )
