"""Steps to a target against the global batch: as measured, resampled over seeds, and fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mnistbench.analysis.scoring import Reading, at_risk, median_reading, reading_to_target
from mnistbench.analysis.statistics import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnistbench.analysis.scaling.setups import Setup

    Numbers: TypeAlias = NDArray[np.float64]

__all__ = [
    "FEWEST_SEEDS",
    "RESAMPLES",
    "StepsToTarget",
    "interval",
    "repeated_medians",
    "resampled_medians",
    "steps_to_target",
    "widened",
]

FEWEST_SEEDS = 5
"""Below this, resampled medians cover far less than they say."""

RESAMPLES = 500
"""Enough for the ends of a 95 % interval to stand within a tenth of its width."""


_ROUNDING = 1e-9

_NO_BOUND = 100.0
"""Logarithms beyond this, infinite ones too, bound nothing."""


@dataclass(frozen=True, kw_only=True)
class StepsToTarget:
    """Steps to the target by global batch: ``min_steps + min_samples / batch``.

    That is the empirical model of McCandlish et al. (2018), ``min_steps · (1 + noise_batch /
    batch)``, whose two regimes Shallue et al. (2019) found in all their workloads: up to about
    `noise_batch` samples a larger batch saves steps in proportion, far beyond it none.

    Attributes:
        medians: batch -> measured median steps; ``None`` where half of the seeds did not get there.
        drawn: batch -> the logarithm of that median over resampled seeds [RESAMPLES]; only batches
            with enough seeds.
        min_steps: steps that no batch goes below; ``None`` with fewer than two batches that did.
        min_samples: samples that no batch goes below; ``None`` alike.
        residual: deviation of a median's logarithm from the fit; 0 with two batches, which it
            meets.
    """

    medians: Mapping[int, float | None]
    drawn: Mapping[int, Numbers]
    min_steps: float | None
    min_samples: float | None
    residual: float

    @property
    def noise_batch(self) -> float | None:
        """Samples in the batch that needs `min_steps` twice; ``None`` if not known or endless."""
        if not self.min_steps or self.min_samples is None:
            return None
        return self.min_samples / self.min_steps

    @property
    def reached(self) -> list[int]:
        """Batches at which the target was reached, rising."""
        return sorted(batch for batch, median in self.medians.items() if median is not None)

    def at(self, global_batch_size: int) -> float | None:
        """Steps at that batch: as measured there, else as fitted; ``None`` if neither is known."""
        if global_batch_size in self.medians:
            return self.medians[global_batch_size]
        if self.min_steps is None or self.min_samples is None:
            return None
        return self.min_steps + self.min_samples / global_batch_size

    def drawn_at(self, global_batch_size: int) -> Numbers | None:
        """The logarithm of `at` over resampled seeds [RESAMPLES]; ``None`` for too few seeds."""
        if global_batch_size in self.medians:
            return self.drawn.get(global_batch_size)
        if not set(self.reached) <= self.drawn.keys() or self.min_steps is None:
            return None
        import numpy as np

        columns = np.stack([self.drawn[batch] for batch in self.reached])
        fits = [_fit(self.reached, np.exp(column)) for column in columns.T]
        steps = np.log([low + samples / global_batch_size for low, samples in fits])
        return steps + self.residual * _students(len(self.reached) - 2)


def steps_to_target(setups: Sequence[Setup], target: float) -> StepsToTarget:
    """Steps to `target` of each global batch among `setups`, and the model through them.

    Steps depend on the batch and not on the processes that share it, so a seed counts once for a
    batch: its run on the fewest processes.
    """
    readings: dict[int, dict[int, Reading]] = {}
    for setup in sorted(setups, key=lambda s: s.num_processes):
        seeds = readings.setdefault(setup.global_batch_size, {})
        for run in setup.runs:
            reading = reading_to_target(run, target, steps=True)
            seeds.setdefault(run.seed, reading._replace(value=max(1.0, reading.value)))
    medians = {batch: median_reading(list(r.values())).median for batch, r in readings.items()}
    reached = sorted(batch for batch, median in medians.items() if median is not None)
    low = samples = None
    if len(reached) > 1:
        low, samples = _fit(reached, [medians[batch] or 0.0 for batch in reached])
    return StepsToTarget(
        medians=medians,
        drawn={
            batch: _drawn(seeds, medians[batch])
            for batch, seeds in readings.items()
            if len(seeds) >= FEWEST_SEEDS and batch in reached
        },
        min_steps=low,
        min_samples=samples,
        residual=_residual({batch: medians[batch] or 0.0 for batch in reached}, low, samples),
    )


def resampled_medians(readings: Sequence[Reading], *, seeds: Sequence[int]) -> Numbers:
    """The median of `RESAMPLES` resamples of `readings`, see `repeated_medians`.

    The draw goes by `seeds`, so that two groups of the same seeds are resampled in pairs, as runs
    of one seed on the same batches have to be.
    """
    import numpy as np

    n = len(readings)
    draw = np.random.default_rng(list(seeds))
    return repeated_medians(readings, draw.multinomial(n, np.full(n, 1 / n), size=RESAMPLES))


def repeated_medians(readings: Sequence[Reading], counts: NDArray[np.int64]) -> Numbers:
    """Kaplan and Meier's median (1958) of `readings` repeated; inf where it is not reached.

    Args:
        readings: N runs.
        counts: how often each of them counts [R, N].
    """
    import numpy as np

    values, reached = at_risk(readings, among=readings)
    order = sorted(range(len(values)), key=lambda i: (values[i], not reached[i]))
    times, there, counts = np.array(values)[order], np.array(reached)[order], counts[:, order]
    under_way = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    arrived = np.where(there, counts, 0)
    survival = (1 - arrived / np.maximum(under_way, 1)).cumprod(axis=1)
    first = np.where(survival < 0.5 + _ROUNDING, times, np.inf).min(axis=1)
    later = (survival < 0.5 - _ROUNDING) & (arrived > 0)
    following = np.where(later, times, np.inf).min(axis=1)
    rests = np.isfinite(following) & (following > first)  # at one half: the middle of the step
    medians: Numbers = np.where(rests, (first + np.where(rests, following, 0)) / 2, first)
    return medians


def widened(logarithms: Numbers, centre: float, n: int) -> Numbers:
    """Resampled `logarithms` moved away from their `centre` for the few runs `n` they came from.

    Percentiles of resamples are too narrow by the degrees of freedom and by Student's t (Hesterberg
    2015).
    """
    from scipy.special import ndtri, stdtrit

    factor = math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, 0.975) / ndtri(0.975))
    moved: Numbers = centre + factor * (logarithms - centre)
    return moved


def interval(logarithms: Numbers, centre: float) -> Range:
    """The 95 % interval of what has these `logarithms`, itself no logarithm, around `centre` too.

    A bound is None where so many are infinite.
    """
    import numpy as np

    low, high = np.quantile(logarithms, [0.025, 0.975], method="inverted_cdf")
    if math.isnan(low) or math.isnan(high):
        return Range(None, None)
    return Range(_exp(min(low, centre)), _exp(max(high, centre)))


def _exp(logarithm: float) -> float | None:
    return math.exp(logarithm) if abs(logarithm) < _NO_BOUND else None


def _drawn(seeds: Mapping[int, Reading], median: float | None) -> Numbers:
    import numpy as np

    ordered = sorted(seeds)
    medians = resampled_medians([seeds[seed] for seed in ordered], seeds=ordered)
    return widened(np.log(medians), math.log(median or 1.0), len(seeds))


def _fit(batches: Sequence[int], steps: Sequence[float] | Numbers) -> tuple[float, float]:
    """`min_steps` and `min_samples` nearest in relative errors, neither negative."""
    import numpy as np
    from scipy.optimize import nnls

    known = [(b, s) for b, s in zip(batches, steps, strict=True) if math.isfinite(s)]
    if not known:
        return math.inf, 0.0
    matrix = np.array([[1 / s, 1 / (b * s)] for b, s in known])
    (low, samples), _ = nnls(matrix, np.ones(len(known)))
    return float(low), float(samples)


def _residual(medians: Mapping[int, float], low: float | None, samples: float | None) -> float:
    if len(medians) < 3 or low is None or samples is None:
        return 0.0
    errors = [math.log(median / (low + samples / batch)) for batch, median in medians.items()]
    return math.sqrt(sum(error**2 for error in errors) / (len(errors) - 2))


def _students(freedom: int) -> Numbers | float:
    """Draws of Student's t [RESAMPLES], for a deviation known from `freedom` figures."""
    import numpy as np

    return np.random.default_rng(freedom).standard_t(freedom, RESAMPLES) if freedom > 0 else 0.0
