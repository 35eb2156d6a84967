"""Predictions of the cost model with intervals: for up to 1,024 processes, and for checking it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from mnistbench.analysis.scaling.fit import Fit
from mnistbench.analysis.scaling.model import (
    CostModel,
    Setting,
    StepParts,
    StepTime,
    predict_step,
)
from mnistbench.analysis.scaling.steps import RESAMPLES, StepsToTarget, interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnistbench.analysis.scaling.setups import Setup

    Numbers: TypeAlias = NDArray[np.float64]

__all__ = ["MOST_PROCESSES", "NO_GAIN", "Figure", "Outlook", "Predicted", "Predictor", "Scaling"]

Scaling = Literal["strong", "weak"]

MOST_PROCESSES = 1024
"""Up to here is predicted."""

NO_GAIN = 1.05
"""Processes that save less than this factor are no gain."""


class Figure(NamedTuple):
    """A predicted figure and its 95 % interval; None for a bound that is not known."""

    value: float
    low: float | None
    high: float | None


class Predicted(NamedTuple):
    """What is predicted of one setting: seconds of a step, samples per second, steps, seconds."""

    setting: Setting
    parts: StepParts
    samples_per_s: Figure
    steps: float | None
    time_s: Figure | None


class Outlook(NamedTuple):
    """Predictions from one process upwards, and where they stop to gain.

    `scaling` is strong where the global batch stays, weak where it grows with the processes from
    `base_batch` samples; `useful` is the number of processes beyond which no more of them gain,
    with its 95 % interval.
    """

    scaling: Scaling
    base_batch: int
    rows: tuple[Predicted, ...]
    useful: int
    useful_low: int | None
    useful_high: int | None


@dataclass(frozen=True)
class Predictor:
    """The cost model of some setups, and of what it would have been with other runs.

    Intervals hold the spread between runs, resampled, and how far the model is from the setups that
    it was fitted on, where there are more of these than it has parameters.
    """

    setups: tuple[Setup, ...]
    num_bytes: int
    steps: StepsToTarget

    @cached_property
    def fit(self) -> Fit:
        """The fit on the mean step of each setup."""
        return Fit(tuple(map(_mean_time, self.setups)), self.num_bytes)

    @property
    def repeated(self) -> bool:
        """Whether a setup was run more than once, so that runs have a spread."""
        return any(len(setup.step_times) > 1 for setup in self.setups)

    def predict(self, setting: Setting) -> Predicted | None:
        """What the model says of `setting`; ``None`` where it knows nothing of it."""
        parts = predict_step(self.fit.model, setting)
        if parts is None or parts.step_s <= 0:
            return None
        batch = setting.global_batch_size
        drawn, centre = self._drawn_steps(setting), math.log(parts.step_s)
        speed = Figure(batch / parts.step_s, None, None)
        if drawn is not None:
            low, high = interval(math.log(batch) - drawn, math.log(batch) - centre)
            speed = Figure(batch / parts.step_s, low, high)
        steps = self.steps.at(batch)
        return Predicted(setting, parts, speed, steps, self._time(setting, parts, steps))

    def outlook(self, scaling: Scaling, base: Setting, *, num_train: int) -> Outlook | None:
        """Predictions for 1, 2, 4 and so on up to 1,024 processes; ``None`` where it has none.

        Each has cores of its own and the threads and link of `base`. A fixed global batch ends at a
        sample for each process, a growing one at `num_train` samples.
        """
        rows: list[Predicted] = []
        count = 1
        while count <= MOST_PROCESSES:
            batch = base.global_batch_size * (count if scaling == "weak" else 1)
            if count > batch or batch > num_train:
                break
            row = self.predict(replace(base, num_processes=count, global_batch_size=batch))
            if row is not None:
                rows.append(row)
            count *= 2
        if not rows or rows[0].setting.num_processes > 1 or len(rows) < 2:
            return None
        return Outlook(scaling, base.global_batch_size, tuple(rows), *self._useful(rows))

    def _time(self, setting: Setting, parts: StepParts, steps: float | None) -> Figure | None:
        if steps is None:
            return None
        time_s = steps * parts.step_s
        drawn, drawn_steps = self._drawn_steps(setting), self._drawn_counts(setting)
        if drawn is None or drawn_steps is None:
            return Figure(time_s, None, None)
        return Figure(time_s, *interval(drawn + drawn_steps, math.log(time_s)))

    def _drawn_counts(self, setting: Setting) -> Numbers | None:
        return self.steps.drawn_at(setting.global_batch_size)

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

    @cached_property
    def _known(self) -> dict[Setting, Numbers]:
        return {}

    @cached_property
    def _models(self) -> list[CostModel]:
        """Models of other runs, resampled from those of all setups alike.

        What a run differs by from others of its setup is pooled as logarithms over the setups, each
        made as wide as the few runs have narrowed it (Davison and Hinkley 1997, §6.3). Where no
        setup was run twice, runs are taken to differ by as much as from the model; none if that is
        not known either.
        """
        import numpy as np

        draw = np.random.default_rng(len(self.setups))
        figures = [[time[1:] for time in setup.step_times] for setup in self.setups]
        pools = [_spread([[f[part] for f in runs] for runs in figures]) for part in range(3)]
        if not self.repeated:
            if self.fit.residual is None:
                return []
            pools = [self.fit.residual * draw.normal(size=RESAMPLES)] * 3
        values = np.tile(self.fit.measured, (RESAMPLES, 1, 1))
        for part, pool in enumerate(pools):
            for index, setup in enumerate(self.setups):
                if len(pool):
                    noise = draw.choice(pool, size=(RESAMPLES, len(setup.step_times)))
                    values[:, index, part] *= np.exp(noise.mean(axis=1))
        models = [self.fit.solve(drawn) for drawn in values]
        factors = self._drawn_links(draw)
        return [
            replace(model, link_share=model.link_share * factor)
            for model, factor in zip(models, factors, strict=True)
        ]

    def _drawn_links(self, draw: np.random.Generator) -> list[float]:
        """By how much other runs would have found the link slower [RESAMPLES]."""
        import numpy as np

        rings = [setup.exchanges_s(self.num_bytes) for setup in self.setups]
        pool = _spread(rings)
        if not len(pool):
            return [1.0] * RESAMPLES
        fewest = min(len(found) for found in rings if found)
        drawn = draw.choice(pool, size=(RESAMPLES, fewest))
        return [float(factor) for factor in np.exp(drawn.mean(axis=1))]

    def _useful(self, rows: Sequence[Predicted]) -> tuple[int, int | None, int | None]:
        """From where on no more processes gain, and its interval over what was drawn."""
        import numpy as np

        counts = [row.setting.num_processes for row in rows]
        timed = all(row.time_s is not None for row in rows)
        costs = [row.time_s.value if row.time_s else 1 / row.samples_per_s.value for row in rows]
        useful = counts[_first_good(costs)]
        drawn = [self._drawn_cost(row.setting, timed=timed) for row in rows]
        if any(column is None for column in drawn):
            return useful, None, None
        table = np.exp(np.stack([column for column in drawn if column is not None], axis=1))
        found = np.array([counts[_first_good(line)] for line in table.tolist()])
        low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
        return useful, min(useful, int(low)), max(useful, int(high))

    def _drawn_cost(self, setting: Setting, *, timed: bool) -> Numbers | None:
        steps = self._drawn_steps(setting, residual=False)
        if not timed:
            return steps
        counts = self._drawn_counts(setting)
        return None if steps is None or counts is None else steps + counts


def _first_good(costs: Sequence[float]) -> int:
    """The first that is within `NO_GAIN` of the best."""
    best = min(costs)
    return next(i for i, cost in enumerate(costs) if cost <= NO_GAIN * best)


def _mean_time(setup: Setup) -> StepTime:
    times = setup.step_times
    step_s = math.exp(fmean(math.log(time.step_s) for time in times))
    if any(time.communication_s is None for time in times):
        return StepTime(setup.setting, step_s, None, None)
    return StepTime(
        setup.setting,
        step_s,
        fmean(time.communication_s or 0.0 for time in times),
        fmean(time.wait_s or 0.0 for time in times),
    )


def _spread(setups: Sequence[Sequence[float | None]]) -> Numbers:
    """By how much single runs differ from the mean of their setup, in logarithms."""
    import numpy as np

    pool: list[float] = []
    for values in setups:
        if len(values) > 1 and all(values):
            logarithms = np.log(np.array(values, dtype=float))
            wider = math.sqrt(len(values) / (len(values) - 1))
            pool += (wider * (logarithms - logarithms.mean())).tolist()
    return np.array(pool)
