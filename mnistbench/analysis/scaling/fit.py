"""Fitting the cost model of a step: what the measured settings can tell, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mnistbench.analysis.scaling.model import (
    CostModel,
    Setting,
    StepTime,
    alike,
    expected_maximum,
    predict_step,
    ring_s,
)

if TYPE_CHECKING:
    from mnistbench.analysis.scaling.model import Numbers

__all__ = ["Fit"]


@dataclass(frozen=True)
class Fit:
    """The cost model nearest to `times`, which parameters these can tell, and how near it comes.

    Non-negative least squares (Lawson and Hanson 1974) of relative errors of the step. What the
    settings cannot tell apart is not fitted: the link counts in full unless several were measured.
    """

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

    @cached_property
    def used(self) -> list[StepTime]:
        """Those of `times` that are fitted on: not a step whose exchange cannot be told."""
        return [
            t
            for t in self.times
            if t.setting.num_processes == 1 or t.is_split or self.exchange_known
        ]

    @property
    def num_free(self) -> int:
        """Measured figures beyond the parameters fitted on them."""
        return self._num_figures - len(self._columns) - any(t.is_split for t in self.times)

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
    def exchange_known(self) -> bool:
        """Whether the model can say what an exchange costs."""
        return bool(self._several) and all(t.setting.link for t in self._several)

    @property
    def _num_figures(self) -> int:
        return sum(2 + self.exchange_known if t.is_split else 1 for t in self.used)

    @property
    def assumptions(self) -> list[str]:
        """What the model takes for granted because `times` could not tell it, and the mend."""
        if not self._several:
            return ["fitted on one process alone: what an exchange costs is not known"]
        said = []
        if len(self._batches) == 1:
            said.append(
                "each process had the same batch everywhere, and computing is known at no other; "
                "sweep with --num-threads 1 or a second --global-batch-size"
            )
        if not self._split:
            said.append("a step's parts were not measured, and waiting counts as computing")
        if self._split and "several" not in self._columns:
            said.append("a process is taken to compute as fast beside others as alone")
        if not self.exchange_known:
            said.append(
                "what an exchange costs is not known: no link was measured between processes with "
                "a core each"
            )
        return said

    def solve(self, values: Numbers, *, link_factor: float = 1.0) -> CostModel:
        """The model of other figures in the same settings.

        Args:
            values: step, communication and wait of each [S, 3], in seconds.
            link_factor: by how much slower the links are than they were found to be.
        """
        columns = self._columns
        found = self._best(values, columns, link_factor=link_factor)
        if found.get("call") == 0 and "ring" not in columns:
            # exchanges take less than their link: part of it is hidden, not none
            columns = tuple("ring" if name == "call" else name for name in columns)
            found = self._best(values, columns, link_factor=link_factor)
        return CostModel(
            fixed_s=found.get("fixed", 0.0),
            per_sample_s=found["per_sample"],
            several_s=found.get("several", 0.0),
            call_s=found.get("call", 0.0),
            link_share=found.get("ring", 1.0) * link_factor,
            wait_share=self._wait_share(values),
            num_bytes=self.num_bytes,
            only_local_batch=None if "fixed" in columns else self._batches[0],
        )

    def _best(
        self, values: Numbers, columns: Sequence[str], *, link_factor: float
    ) -> dict[str, float]:
        """The parameters named by `columns`, in seconds, or as a share of the link."""
        import numpy as np
        from scipy.optimize import nnls

        rows: list[dict[str, float]] = []
        target: list[float] = []
        scale: list[float] = []
        for time, (step_s, communication_s, wait_s) in zip(self.times, values, strict=True):
            local, shared = self._coefficients(time.setting, link_factor=link_factor)
            known = 0.0 if "ring" in columns else shared["ring"]
            if time.is_split:
                rows += [local, shared]
                target += [step_s - communication_s - wait_s, communication_s - known]
            elif time in self.used:
                rows.append(local | shared)
                target.append(step_s - known)
            scale += [step_s] * (len(rows) - len(scale))
        matrix = np.array([[row.get(name, 0.0) for name in columns] for row in rows])
        matrix, wanted = matrix / np.array(scale)[:, None], np.maximum(target, 0.0) / scale
        parameters, _ = nnls(matrix, wanted)
        return dict(zip(columns, parameters.tolist(), strict=True))

    def _wait_share(self, values: Numbers) -> float:
        """The wait as a share of what the last of so many is expected to be late."""
        waited = expected = 0.0
        for time, (step_s, communication_s, wait_s) in zip(self.times, values, strict=True):
            if time.is_split:
                local_s = step_s - communication_s - wait_s
                waited += wait_s / step_s
                expected += expected_maximum(time.setting.num_processes) * local_s / step_s
        return max(0.0, float(waited / expected)) if expected > 0 else 0.0

    def _coefficients(
        self, setting: Setting, *, link_factor: float
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Of what a process does alone, and of the exchange."""
        crowd, count, link = setting.contention, setting.num_processes, setting.link
        local = {"fixed": crowd, "per_sample": crowd * setting.local_batch}
        if count == 1:
            return local, {"ring": 0.0}
        ring = ring_s(link, count, num_bytes=self.num_bytes) if link else 0.0
        return local | {"several": crowd}, {"call": crowd, "ring": link_factor * ring}

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """The parameters that these settings can tell."""
        alone = _local_batches([t for t in self.times if t.setting.num_processes == 1])
        local = ("fixed", "per_sample") if len(self._batches) > 1 else ("per_sample",)
        if alone and self._split and max(len(alone), len(_local_batches(self._split))) > 1:
            local = (*local, "several")
        if not self.exchange_known or (not self._split and len(alone) < 2):
            return local
        return (*local, "call", "ring") if self._links_vary else (*local, "call")

    @cached_property
    def _several(self) -> list[StepTime]:
        return [t for t in self.times if t.setting.num_processes > 1]

    @cached_property
    def _split(self) -> list[StepTime]:
        return [t for t in self.times if t.is_split]

    @property
    def _links_vary(self) -> bool:
        """Whether as many processes were measured over several links.

        More processes make the exchange longer too, but also the call where they share cores.
        """
        found = {(t.setting.num_processes, t.setting.link) for t in self._split}
        return len(found) > len({count for count, _ in found})

    @cached_property
    def _batches(self) -> list[float]:
        return _local_batches(self.times)


def _local_batches(times: Sequence[StepTime]) -> list[float]:
    """Samples of each process that differ, rising."""
    found: list[float] = []
    for batch in sorted(t.setting.local_batch for t in times):
        if not found or not alike(batch, found[-1]):
            found.append(batch)
    return found
