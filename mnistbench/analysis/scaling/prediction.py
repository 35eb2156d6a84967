"""Predictions of the cost model with intervals: for up to 1,024 processes, and for checking it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

from mnistbench.analysis.scaling.fit import Fit
from mnistbench.analysis.scaling.model import (
    CostModel,
    Setting,
    StepParts,
    StepTime,
    predict_step,
    ring_s,
)
from mnistbench.analysis.scaling.steps import RESAMPLES, StepsToTarget

if TYPE_CHECKING:
    import numpy as np

    from mnistbench.analysis.scaling.model import Numbers
    from mnistbench.analysis.scaling.setups import Setup

__all__ = ["SCALINGS", "Figure", "Predicted", "Predictor", "Scaling"]

Scaling = Literal["strong", "weak"]

SCALINGS: tuple[Scaling, ...] = ("strong", "weak")

_NO_BOUND = 100.0
"""Logarithms beyond this, infinite ones too, bound nothing."""


_LEAST_PART = 0.1
"""Of the mean: what takes a run even less counts as much, as its logarithm has no end."""


class Figure(NamedTuple):
    """A figure and its 95 % interval; None for a bound that is not known."""

    value: float
    low: float | None
    high: float | None

    def times(self, factor: float) -> Figure:
        """All of it times `factor`, above 0."""
        low, high = (None if x is None else factor * x for x in (self.low, self.high))
        return Figure(factor * self.value, low, high)


class Predicted(NamedTuple):
    """What is predicted of one setting: seconds of a step, samples per second, steps, seconds."""

    setting: Setting
    parts: StepParts
    samples_per_s: Figure
    steps: float | None
    time_s: Figure | None


@dataclass(frozen=True)
class Predictor:
    """The cost model of some setups, and of what it would have been with other runs.

    Intervals hold the spread between runs, drawn again, and how far the model is from the setups
    that it was fitted on, where there are more figures than it has parameters. There are none where
    no setup was run twice.
    """

    setups: tuple[Setup, ...]
    num_bytes: int
    steps: StepsToTarget

    @cached_property
    def fit(self) -> Fit:
        """The fit on the mean step of each setup."""
        return Fit(tuple(map(_mean_time, self.setups)), self.num_bytes)

    def predict(self, setting: Setting) -> Predicted | None:
        """What the model says of `setting`; ``None`` where it knows nothing of it."""
        parts = predict_step(self.fit.model, setting)
        if parts is None or parts.step_s <= 0:
            return None
        batch = setting.global_batch_size
        drawn = self._drawn_steps(setting)
        speeds = None if drawn is None else math.log(batch) - drawn
        steps = self.steps.at(batch)
        return Predicted(
            setting,
            parts,
            _figure(batch / parts.step_s, speeds),
            steps,
            None if steps is None else _figure(steps * parts.step_s, self._drawn_time(setting)),
        )

    def drawn_cost(self, setting: Setting, *, in_time: bool) -> Numbers | None:
        """The logarithm of the seconds to the target, or of a sample, of other runs [RESAMPLES].

        Without how far the model is off, which settings have in common; ``None`` if not known.
        """
        if in_time:
            return self._drawn_time(setting, residual=False)
        drawn = self._drawn_steps(setting, residual=False)
        return None if drawn is None else drawn - math.log(setting.global_batch_size)

    def _drawn_steps(self, setting: Setting, *, residual: bool = True) -> Numbers | None:
        """The logarithm of a step's seconds, as other runs would have it [RESAMPLES]."""
        import numpy as np

        if not self._models:
            return None
        if setting not in self._known:
            predicted = [predict_step(model, setting) for model in self._models]
            steps = [p.step_s if p and p.step_s > 0 else math.nan for p in predicted]
            self._known[setting] = np.log(steps)
        logarithms = self._known[setting]
        if not residual or self.fit.residual is None:
            return logarithms
        key = [setting.num_processes, setting.global_batch_size]
        noise = np.random.default_rng(key).standard_t(self.fit.num_free, RESAMPLES)
        return logarithms + self.fit.residual * noise

    def _drawn_time(self, setting: Setting, *, residual: bool = True) -> Numbers | None:
        """The logarithm of the seconds to the target, likewise."""
        drawn = self._drawn_steps(setting, residual=residual)
        counts = self.steps.drawn_at(setting.global_batch_size)
        return None if drawn is None or counts is None else drawn + counts

    @cached_property
    def _known(self) -> dict[Setting, Numbers]:
        return {}

    @cached_property
    def _models(self) -> list[CostModel]:
        """Models of other runs, drawn from those of all setups alike; none if none was run twice.

        What a run differs by from the mean of its setup, in all its parts together, is pooled over
        setups of one process and over those of several, each made as wide as the few runs have
        narrowed it (Davison and Hinkley 1997, §6.3).
        """
        import numpy as np

        draw = np.random.default_rng(len(self.setups))
        pools = [_spread(self.setups, several=several) for several in (False, True)]
        if not any(map(len, pools)):
            return []
        values = np.tile(self.fit.measured, (RESAMPLES, 1, 1))
        for index, setup in enumerate(self.setups):
            pool = pools[setup.num_processes > 1]
            if len(pool):
                chosen = draw.integers(len(pool), size=(RESAMPLES, len(setup.step_times)))
                values[:, index] *= np.exp(pool[chosen].mean(axis=1))
        factors = self._drawn_links(draw)
        return [
            self.fit.solve(drawn, link_factor=factor)
            for drawn, factor in zip(values, factors, strict=True)
        ]

    def _drawn_links(self, draw: np.random.Generator) -> list[float]:
        """By how much other runs would have found their link slower, in the median [RESAMPLES]."""
        import numpy as np

        ratios = [
            ring_s(run.link, 2, num_bytes=self.num_bytes) / whole_s
            for setup in self.setups
            if setup.link and (whole_s := ring_s(setup.link, 2, num_bytes=self.num_bytes)) > 0
            for run in setup.timed
            if run.link
        ]
        if not ratios:
            return [1.0] * RESAMPLES
        drawn = draw.choice(ratios, size=(RESAMPLES, len(ratios)))
        return [float(factor) for factor in np.median(drawn, axis=1)]


def _figure(value: float, logarithms: Numbers | None) -> Figure:
    """`value` with the 95 % interval of what has these `logarithms`, itself among it.

    A bound is None where so many are infinite.
    """
    if logarithms is None:
        return Figure(value, None, None)
    import numpy as np

    low, high = np.quantile(logarithms, [0.025, 0.975], method="inverted_cdf")
    if math.isnan(low) or math.isnan(high):
        return Figure(value, None, None)
    centre = math.log(value)
    return Figure(value, _exp(min(low, centre)), _exp(max(high, centre)))


def _exp(logarithm: float) -> float | None:
    return math.exp(logarithm) if abs(logarithm) < _NO_BOUND else None


def _mean_time(setup: Setup) -> StepTime:
    times = setup.step_times
    communication = [t.communication_s for t in times if t.communication_s is not None]
    wait = [t.wait_s for t in times if t.wait_s is not None]
    split = len(communication) == len(times)
    return StepTime(
        setup.setting,
        fmean(time.step_s for time in times),
        fmean(communication) if split else None,
        fmean(wait) if split else None,
    )


def _spread(setups: Sequence[Setup], *, several: bool) -> Numbers:
    """How single runs of one process, or of several, differ from the mean of their setup [N, 3].

    In logarithms of step, communication and wait; 0 where a part is not known or nothing.
    """
    import numpy as np

    pool: list[Numbers] = []
    for setup in setups:
        n = len(setup.step_times)
        if n > 1 and (setup.num_processes > 1) == several:
            runs = np.array([[t[1], t[2] or 0.0, t[3] or 0.0] for t in setup.step_times])
            mean = runs.mean(axis=0)
            ratios = np.where(mean > 0, runs / np.where(mean > 0, mean, 1.0), 1.0)
            logarithms = np.log(np.maximum(ratios, _LEAST_PART))
            pool.append(math.sqrt(n / (n - 1)) * (logarithms - logarithms.mean(axis=0)))
    return np.concatenate(pool) if pool else np.empty((0, 3))
