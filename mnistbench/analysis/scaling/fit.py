"""Fitting the cost model of a step: what the measured settings can tell, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from mnistbench.analysis.scaling.model import (
    CostModel,
    Setting,
    StepTime,
    alike,
    expected_maximum,
    predict_step,
    ring_s,
)
from mnistbench.schema.record import Link

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

__all__ = ["Fit", "fit_cost_model"]

_TELLING = 1.5
"""Exchanges have to differ by this factor before the link's share in them can be told."""

_THREAD_POWERS = tuple(-0.5 + 0.05 * index for index in range(31))
"""From threads that are in each other's way to threads that share out samples perfectly."""

_NO_LIMIT = 1e30
"""Bytes per second of a link whose bandwidth was not seen to cost anything."""


def fit_cost_model(times: Sequence[StepTime], num_bytes: int) -> CostModel:
    """The `CostModel` nearest to `times` in relative errors of the step, none of it negative.

    Non-negative least squares (Lawson and Hanson 1974). What the settings cannot tell apart is not
    fitted: the link counts in full unless several were measured, and threads are taken to share
    out samples perfectly unless their number varied at a known load.

    Raises:
        ValueError: no times.
    """
    if not times:
        raise ValueError("a model needs at least one time to be fitted on")
    return Fit(tuple(times), num_bytes).model


@dataclass(frozen=True)
class Fit:
    """A fit on `times`: which parameters these can tell, the `model`, and how near it comes."""

    times: tuple[StepTime, ...]
    num_bytes: int

    @cached_property
    def model(self) -> CostModel:
        """The model of `times` themselves."""
        return self.solve(self.measured)

    @cached_property
    def measured(self) -> Numbers:
        """Step, communication and wait of each of `times` [S, 3], 0 where not told apart."""
        import numpy as np

        return np.array([[t.step_s, t.communication_s or 0.0, t.wait_s or 0.0] for t in self.times])

    @property
    def num_free(self) -> int:
        """Measured figures beyond the parameters fitted on them."""
        parameters = len(self._columns) + (len(self._powers) > 1) + any(self._split)
        return self._num_figures - parameters

    @property
    def residual(self) -> float | None:
        """Deviation of the logarithm of a step from the model; ``None`` if nothing is left over.

        Of all steps, as if they had shared the figures that are free.
        """
        if self.num_free < 1:
            return None
        predicted = [predict_step(self.model, t.setting) for t in self.times]
        errors = [
            math.log(t.step_s / parts.step_s)
            for t, parts in zip(self.times, predicted, strict=True)
            if parts is not None and parts.step_s > 0
        ]
        square = sum(error**2 for error in errors) / max(1, len(errors))
        return math.sqrt(square * self._num_figures / self.num_free)

    @property
    def _num_figures(self) -> int:
        known = [t for t in self.times if t.setting.num_processes == 1 or self._exchange_known]
        return sum(3 if t.is_split else 1 for t in known)

    @property
    def assumptions(self) -> list[str]:
        """What the model takes for granted because `times` could not tell it."""
        said = []
        if self._threads_vary and len(self._powers) == 1:
            said.append("threads are taken to share out samples perfectly")
        if len(self._loads) == 1:
            said.append("one load was measured, so that compute is known at no other")
        if self._several and not self._split:
            said.append("a step's parts were not measured, and waiting counts as computing")
        if not self._exchange_known:
            said.append("neither the link nor several process counts tell what an exchange costs")
        return said

    def solve(self, values: Numbers) -> CostModel:
        """The model of other figures in the same settings.

        Args:
            values: step, communication and wait of each [S, 3], in seconds.
        """
        model, at_bound = self._best(values, self._columns)
        if at_bound:  # exchanges take less than their link: part of it is hidden, not none
            columns = tuple("ring" if name == "call" else name for name in self._columns)
            model, _ = self._best(values, columns)
        return model

    def _best(self, values: Numbers, columns: tuple[str, ...]) -> tuple[CostModel, bool]:
        from scipy.optimize import nnls

        solved = []
        for power in self._powers:
            matrix, target, scale = self._equations(values, columns, power)
            parameters, error = nnls(matrix / scale[:, None], target / scale)
            solved.append((float(error), power, parameters.tolist()))
        _, power, parameters = min(solved)
        found = dict(zip(columns, parameters, strict=True))
        at_bound = found.get("call") == 0 and "ring" not in columns and self._linked
        return self._model(found, power, values), at_bound

    def _model(self, found: dict[str, float], power: float, values: Numbers) -> CostModel:
        link = None
        if "latency" in found:
            speed = 1 / found["per_byte"] if found["per_byte"] else _NO_LIMIT
            link = Link(latency_s=found["latency"], bandwidth_bytes_per_s=speed)
        return CostModel(
            fixed_s=found.get("fixed", 0.0),
            per_sample_s=found["per_sample"],
            thread_power=power,
            call_s=found.get("call", 0.0),
            link_share=found.get("ring", 1.0),
            wait_share=self._wait_share(values),
            num_bytes=self.num_bytes,
            link=link,
            only_load=None if "fixed" in self._columns else self._loads[0],
        )

    def _wait_share(self, values: Numbers) -> float:
        """The wait as a share of what the last of so many is expected to be late."""
        waited = expected = 0.0
        for time, (step_s, communication_s, wait_s) in zip(self.times, values, strict=True):
            if time.is_split:
                local_s = step_s - communication_s - wait_s
                waited += wait_s / step_s
                expected += expected_maximum(time.setting.num_processes) * local_s / step_s
        return max(0.0, float(waited / expected)) if expected > 0 else 0.0

    def _equations(
        self, values: Numbers, columns: Sequence[str], power: float
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Coefficients [R, C] of `columns`, what they should come to [R], and a step's time [R]."""
        import numpy as np

        rows: list[dict[str, float]] = []
        target: list[float] = []
        scale: list[float] = []
        for time, (step_s, communication_s, wait_s) in zip(self.times, values, strict=True):
            local, shared = self._coefficients(time.setting, power)
            known = 0.0 if {"ring", "latency"} & {*columns} else shared["ring"]
            if time.is_split:
                rows += [local, shared]
                target += [step_s - communication_s - wait_s, communication_s - known]
            elif time.setting.num_processes == 1 or self._exchange_known:
                rows.append(local | shared)
                target.append(step_s - known)
            scale += [step_s] * (len(rows) - len(scale))
        matrix = [[row.get(name, 0.0) for name in columns] for row in rows]
        return np.array(matrix), np.maximum(target, 0.0), np.array(scale)

    def _coefficients(
        self, setting: Setting, power: float
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Of what a process does alone, and of the exchange."""
        local = {
            "fixed": setting.contention,
            "per_sample": setting.contention * setting.load(power),
        }
        if setting.num_processes == 1:
            return local, {"ring": 0.0}
        others = 2.0 * (setting.num_processes - 1)
        link = setting.link
        return local, {
            "call": setting.contention,
            "ring": ring_s(link, setting.num_processes, self.num_bytes) if link else 0.0,
            "latency": others,
            "per_byte": others / setting.num_processes * self.num_bytes,
        }

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """The parameters that these settings can tell."""
        local = ("fixed", "per_sample") if len(self._loads) > 1 else ("per_sample",)
        alone = [t for t in self.times if t.setting.num_processes == 1]
        told = self._split or (self._several and len(_distinct_loads(alone, 1.0)) > 1)
        if not told:
            return local
        if not self._linked:
            counts = {t.setting.num_processes for t in self._several}
            return (*local, "latency", "per_byte") if len(counts) > 1 else local
        return (*local, "call", "ring") if self._links_vary else (*local, "call")

    @cached_property
    def _several(self) -> list[StepTime]:
        return [t for t in self.times if t.setting.num_processes > 1]

    @cached_property
    def _split(self) -> list[StepTime]:
        return [t for t in self.times if t.is_split]

    @property
    def _links_vary(self) -> bool:
        """Whether as many processes were measured over links that differ.

        More processes make the exchange longer too, but also the call where they share cores.
        """
        rings: dict[int, list[float]] = {}
        for setting in (t.setting for t in self._split):
            if setting.link:
                seconds = ring_s(setting.link, setting.num_processes, self.num_bytes)
                rings.setdefault(setting.num_processes, []).append(seconds)
        return any(max(found) > _TELLING * min(found) for found in rings.values())

    @property
    def _exchange_known(self) -> bool:
        return self._linked or "latency" in self._columns

    @property
    def _linked(self) -> bool:
        return all(t.setting.link for t in self._several)

    @property
    def _threads_vary(self) -> bool:
        return len({t.setting.num_threads for t in self.times}) > 1

    @cached_property
    def _loads(self) -> list[float]:
        """Loads that differ, threads taken as perfect."""
        return _distinct_loads(self.times, 1.0)

    @cached_property
    def _powers(self) -> tuple[float, ...]:
        """Powers of the threads to choose among; 1 alone where the times cannot tell."""
        by_threads: dict[int, list[StepTime]] = {}
        for time in self.times:
            by_threads.setdefault(time.setting.num_threads, []).append(time)
        known = any(len(_distinct_loads(times, 0.0)) > 1 for times in by_threads.values())
        if len(by_threads) == 1 or not known:
            return (1.0,)
        return _THREAD_POWERS


def _distinct_loads(times: Sequence[StepTime], power: float) -> list[float]:
    loads: list[float] = []
    for load in sorted(t.setting.load(power) for t in times):
        if not loads or not alike(load, loads[-1]):
            loads.append(load)
    return loads
