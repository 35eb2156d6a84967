"""Made numbers and records of which the truth is known, and what is counted of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from mnistbench.analysis import rows
from mnistbench.analysis.comparison import compare_matches, judged
from mnistbench.analysis.gates import judge, parse_gate
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.samples import Sample
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import PHASES, Canary, CanaryReading, RunRecord, Throughput
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
_CONFIG = RunConfig(model="simple-cnn").model_dump(mode="json")


class Row(NamedTuple):
    """What was counted: a share of `trials`, and the bounds `least` and `most` it should keep."""

    check: str
    case: str
    trials: int
    share: float
    least: float = 0.0
    most: float = 1.0

    @property
    def holds(self) -> bool:
        """Whether it keeps its bounds, but for the chance of so many trials."""
        chance = [
            3 * math.sqrt(max(bound * (1 - bound), 0.02) / max(self.trials, 1))
            for bound in (self.least, self.most)
        ]
        return self.least - chance[0] <= self.share <= self.most + chance[1]


class Draw(NamedTuple):
    """The random numbers of a check, and how often it is repeated."""

    random: Random
    trials: int

    def share(self, one: Callable[[], bool | None]) -> tuple[int, float]:
        """How many trials said anything, and the share of them that said yes."""
        found = [said for _ in range(self.trials) if (said := one()) is not None]
        return len(found), float(np.mean(found)) if found else math.nan


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
    """What a gate of -5 % says of `n` pairs of runs, B changed by `change`."""
    speeds = 1000 * np.exp(noise / math.sqrt(2) * random.normal(size=(2, n)))
    speeds[1] *= 1 + change
    metric = METRICS["samples_per_s"]
    a, b = (tuple(map(Reading.of, side)) for side in speeds.tolist())
    sample = Sample(metric, a, b, paired=True)
    row = rows.Row(
        name="",
        metric="samples_per_s",
        definition=metric,
        a=metric.level(a),
        b=metric.level(b),
        sample=sample,
    )
    (outcome,) = judge(judged(rows.Comparison(rows=(row,), notes=())), [_GATE])
    return outcome.state


def is_told_apart(random: Random, order: str, *, machine: float, code: float = 0.0) -> bool:
    """Whether runs in `order` (``ABBA``…) have a verdict on their speed.

    The machine changes steadily by `machine` from the first run to the last or, in an order with
    all of A first, between A and B; `code` is what B itself changes. Runs vary by 1 %, the probe's
    readings by 5 % (product) and 20 % (copy), as on two shared cores.
    """
    last = len(order) - 1
    sides: dict[str, list[RunRecord]] = {"A": [], "B": []}
    for place, side in enumerate(order):
        past = float(side == "B") if order == "".join(sorted(order)) else place / last
        level = 1 + machine * past
        speed = 1000 * level * (1 + code * (side == "B")) * math.exp(0.01 * random.normal())
        seed = len(sides[side])
        run = _record(speed, seed, minute=place, canary=_canary(random, level))
        sides[side].append(run)
    match = as_one(sides["A"], sides["B"])
    (row,) = compare_matches([match], metrics=["samples_per_s"]).rows
    return row.verdict in {"faster", "slower"}


def _canary(random: Random, level: float) -> Canary:
    def reading() -> CanaryReading:
        product, copy = np.exp(np.array([0.05, 0.2]) * random.normal(size=2)).tolist()
        return CanaryReading(
            matmul_flops_per_s=1e11 * level * product, copy_bytes_per_s=1e10 * level * copy
        )

    return Canary(before=reading(), after=reading())


def _record(speed: float, seed: int, *, minute: int, canary: Canary) -> RunRecord:
    created = _START + timedelta(minutes=minute)
    return RunRecord(
        run_id=f"run-{minute}",
        status="completed",
        created_at=created.isoformat(),
        seed=seed,
        recipe=None,
        dataset=None,
        config=_CONFIG,
        environment={"device_type": "cpu", "num_processes": 1, "num_threads": 1},
        phases_s=dict.fromkeys(PHASES, 0.0) | {"train": 6.0},
        wall_s=10.0,
        canary=canary,
        throughput=Throughput(samples_per_s=speed),
    )
