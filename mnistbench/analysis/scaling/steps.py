"""Steps to a target against the global batch: as measured, drawn again over seeds, and fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mnistbench.analysis.scoring import reading_to_target
from mnistbench.stats.readings import Reading
from mnistbench.stats.resampling import FEWEST_FOR_MEDIANS, drawn_medians
from mnistbench.stats.survival import median_reading

if TYPE_CHECKING:
    from mnistbench.analysis.scaling.model import Numbers
    from mnistbench.analysis.scaling.setups import Setup

__all__ = ["RESAMPLES", "StepsToTarget", "steps_to_target"]

RESAMPLES = 500
"""Enough for the ends of a 95 % interval to stand within a tenth of its width."""


@dataclass(frozen=True, kw_only=True)
class StepsToTarget:
    """Steps to the target by global batch: ``min_steps + min_samples / batch``.

    That is the empirical model of McCandlish et al. (2018), ``min_steps · (1 + noise_batch /
    batch)``, whose two regimes Shallue et al. (2019) found in all their workloads: up to about
    `noise_batch` samples a larger batch saves steps in proportion, far beyond it none.

    Attributes:
        medians: batch -> measured median steps; ``None`` where half of the seeds did not get there.
        drawn: batch -> the logarithm of that median as it might have come out [RESAMPLES]; only
            batches with enough seeds.
    """

    medians: Mapping[int, float | None]
    drawn: Mapping[int, Numbers]

    @cached_property
    def reached(self) -> dict[int, float]:
        """The medians of batches at which the target was reached, by rising batch."""
        return {batch: m for batch, m in sorted(self.medians.items()) if m is not None}

    @cached_property
    def curve(self) -> tuple[float, float] | None:
        """`min_steps` and `min_samples`; ``None`` with fewer than two batches that got there."""
        if len(self.reached) < 2:
            return None
        return _fit(list(self.reached), list(self.reached.values()))

    @property
    def noise_batch(self) -> float | None:
        """Samples in the batch that needs `min_steps` twice; ``None`` if not known or endless."""
        return self.curve[1] / self.curve[0] if self.curve and self.curve[0] else None

    @property
    def lost_from(self) -> int | None:
        """The smallest batch that did not get there though a smaller one did."""
        fewest = min(self.reached, default=math.inf)
        return min((b for b, m in self.medians.items() if m is None and b > fewest), default=None)

    def at(self, global_batch_size: int) -> float | None:
        """Steps at that batch: as measured there, else as fitted; ``None`` if neither is known.

        Beyond `lost_from` nothing is known but what was measured.
        """
        if global_batch_size in self.medians:
            return self.medians[global_batch_size]
        if self.curve is None or global_batch_size > (self.lost_from or math.inf):
            return None
        return self.curve[0] + self.curve[1] / global_batch_size

    def drawn_at(self, global_batch_size: int) -> Numbers | None:
        """The logarithm of `at` as it might have come out [RESAMPLES]; ``None`` if not known.

        That takes enough seeds, and for a batch that was not measured three others: two are met by
        the curve, however far it is off between and beyond them.
        """
        if global_batch_size in self.medians:
            return self.drawn.get(global_batch_size)
        if self.at(global_batch_size) is None or self._curves is None:
            return None
        import numpy as np

        low, samples = self._curves.T
        freedom = len(self.reached) - 2
        noise = np.random.default_rng(freedom).standard_t(freedom, RESAMPLES)
        steps: Numbers = np.log(low + samples / global_batch_size) + self._residual * noise
        return steps

    @cached_property
    def _curves(self) -> Numbers | None:
        """The curve through medians drawn again [RESAMPLES, 2]."""
        if len(self.reached) < 3 or not self.reached.keys() <= self.drawn.keys():
            return None
        import numpy as np

        columns = np.exp([self.drawn[batch] for batch in self.reached])
        return np.array([_fit(list(self.reached), column) for column in columns.T])

    @property
    def _residual(self) -> float:
        """Deviation of a median's logarithm from the curve through three or more."""
        low, samples = self.curve or (math.nan, math.nan)
        errors = [math.log(m / (low + samples / batch)) for batch, m in self.reached.items()]
        return math.sqrt(sum(error**2 for error in errors) / (len(errors) - 2))


def steps_to_target(setups: Sequence[Setup], target: float) -> StepsToTarget:
    """Steps to `target` of each global batch among `setups`.

    Steps depend on the batch and not on the processes that share it, so a seed counts once for a
    batch: its run that came to an end, on the fewest processes.
    """
    readings: dict[int, dict[int, Reading]] = {}
    ended = [
        (run.status not in {"completed", "diverged"}, setup.num_processes, index, run, setup)
        for index, setup in enumerate(setups)
        for run in setup.runs
    ]
    for *_, run, setup in sorted(ended, key=lambda found: found[:3]):
        reading = reading_to_target(run, target, steps=True)
        seeds = readings.setdefault(setup.global_batch_size, {})
        seeds.setdefault(run.seed, Reading(*(max(1.0, end) for end in reading)))
    medians = {batch: median_reading(list(r.values())).median for batch, r in readings.items()}
    enough = {
        batch: dict(sorted(seeds.items()))
        for batch, seeds in readings.items()
        if len(seeds) >= FEWEST_FOR_MEDIANS and medians[batch] is not None
    }
    return StepsToTarget(medians=medians, drawn=_drawn(enough))


def _drawn(readings: Mapping[int, Mapping[int, Reading]]) -> dict[int, Numbers]:
    if not readings:
        return {}
    import numpy as np

    paired = len({tuple(seeds) for seeds in readings.values()}) == 1
    groups = [list(seeds.values()) for seeds in readings.values()]
    columns = np.log(drawn_medians(groups, paired=paired, draws=RESAMPLES)).T
    return dict(zip(readings, columns, strict=True))


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
