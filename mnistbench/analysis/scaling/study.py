"""Scaling as measured, and as a cost model that was fitted on it predicts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mnistbench.analysis.scaling.gains import Measured, measure
from mnistbench.analysis.scaling.model import Setting, ring_s
from mnistbench.analysis.scaling.prediction import Outlook, Predicted, Predictor, Scaling
from mnistbench.analysis.scaling.setups import (
    OTHER_LINK,
    Family,
    Setup,
    families_of,
    median_link,
    target_of,
)
from mnistbench.analysis.scaling.steps import steps_to_target
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord

__all__ = ["Check", "ScalingReport", "study_scaling"]

_SCALINGS: tuple[Scaling, ...] = ("strong", "weak")


class Check(NamedTuple):
    """A timed setup that was left out of the fit: what was `predicted` of it beside what it did.

    Errors are predicted over measured less 1; ``None`` where one of the two is missing.
    """

    measured: Measured
    predicted: Predicted | None

    @property
    def speed_error(self) -> float | None:
        """Of samples per second."""
        speed = self.measured.samples_per_s
        return _error(self.predicted and self.predicted.samples_per_s.value, speed and speed.mean)

    @property
    def step_error(self) -> float | None:
        """Of the mean step."""
        predicted = self.predicted and self.predicted.parts.step_s
        return _error(predicted, self.measured.step_s)

    @property
    def time_error(self) -> float | None:
        """Of the median time to the target."""
        predicted = self.predicted and self.predicted.time_s and self.predicted.time_s.value
        return _error(predicted, self.measured.time_s and self.measured.time_s.median)


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """All that is known of one family's scaling.

    Attributes:
        target: accuracy that times are read at, a fraction.
        measured: a row for each setup.
        predictor: the model, fitted on the setups that were not held out; ``None`` where none of
            these was timed.
        outlooks: predictions for each batch that one process was measured at.
        checks: the setups that the model was not fitted on.
    """

    family: Family
    target: float
    measured: tuple[Measured, ...]
    predictor: Predictor | None
    outlooks: tuple[Outlook, ...]
    checks: tuple[Check, ...]


def study_scaling(
    records: Sequence[RunRecord],
    *,
    target: float | None = None,
    fit_on: Sequence[int] = (),
    hold_out_slowest_link: bool = False,
) -> list[ScalingReport]:
    """A report for each configuration among `records` that was run on one process and on several.

    Args:
        records: of any configurations, processes, batches, links and seeds.
        target: accuracy to score times at; by default the one that the runs were told.
        fit_on: process counts to fit the model on, to predict the others. By default all whose
            threads have a core each: those that have not are predicted, too.
        hold_out_slowest_link: leave the slowest of several links out of the fit, to predict it.

    Raises:
        InputError: nothing to compare, no target, or nothing left to fit on or to hold out.
    """
    families = families_of(records)
    held_out = [_held_out(family, fit_on, hold_out_slowest_link) for family in families]
    _check_choice(families, held_out, fit_on, hold_out_slowest_link)
    return [
        _study(family, target_of(family, target), held, crowded=_crowded(family, fit_on))
        for family, held in zip(families, held_out, strict=True)
    ]


def _study(
    family: Family, target: float, held_out: Sequence[Setup], *, crowded: Sequence[Setup]
) -> ScalingReport:
    measured = measure(family.setups, target)
    not_fitted = [*held_out, *crowded]
    fitted = tuple(s for s in family.setups if s.step_times and s not in not_fitted)
    predictor = None
    outlooks: list[Outlook | None] = []
    if fitted:
        steps = steps_to_target([s for s in family.setups if s not in held_out], target)
        predictor = Predictor(fitted, 4 * family.num_parameters, steps)
        outlooks = [
            predictor.outlook(scaling, base, num_train=family.num_train)
            for base in _bases(fitted, predictor.num_bytes)
            for scaling in _SCALINGS
        ]
    return ScalingReport(
        family=family,
        target=target,
        measured=tuple(measured),
        predictor=predictor,
        outlooks=tuple(outlook for outlook in outlooks if outlook is not None),
        checks=tuple(
            Check(row, predictor.predict(row.setup.setting) if predictor else None)
            for row in measured
            if row.setup in not_fitted and row.setup.step_times
        ),
    )


def _crowded(family: Family, fit_on: Sequence[int]) -> list[Setup]:
    """Setups with more threads than cores, unless asked for or there are no others of several.

    Who waits there waits for a core: that says nothing of processes that have their own.
    """
    crowded = [s for s in family.setups if s.setting.contention > 1]
    several = [s for s in family.setups if s.num_processes > 1]
    return [] if fit_on or len(crowded) == len(several) else crowded


def _held_out(family: Family, fit_on: Sequence[int], slowest_link: bool) -> list[Setup]:
    held_out = [s for s in family.setups if fit_on and s.num_processes not in fit_on]
    return held_out + (_slowest_link(family) if slowest_link else [])


def _slowest_link(family: Family) -> list[Setup]:
    """Setups over the slowest link, where the same processes and batch were run over several."""
    places: dict[tuple[int, ...], list[Setup]] = {}
    for setup in family.setups:
        place = (setup.num_processes, setup.num_threads, setup.global_batch_size)
        places.setdefault(place, []).append(setup)
    return [same[-1] for same in places.values() if len(same) > 1]


def _check_choice(
    families: Sequence[Family],
    held_out: Sequence[Sequence[Setup]],
    fit_on: Sequence[int],
    slowest_link: bool,
) -> None:
    counts = sorted({s.num_processes for family in families for s in family.setups})
    if missing := sorted({*fit_on} - {*counts}):
        known = ", ".join(map(str, counts))
        raise InputError(f"fit_on: no run is of {missing[0]} processes; there are {known}")
    if fit_on and not any(held_out):
        raise InputError("fit_on: names all process counts; leave out the one to predict")
    if slowest_link and not any(map(_slowest_link, families)):
        raise InputError("hold_out_slowest_link: all runs were over one link; leave it out")


def _bases(setups: Sequence[Setup], num_bytes: int) -> list[Setting]:
    """What predictions start from: each batch of one process, with the threads and link of more."""
    threads = max(setups, key=lambda s: s.num_processes).num_threads
    batches = sorted({s.global_batch_size for s in setups if s.num_processes == 1})
    link = _fastest_link(setups, num_bytes)
    return [
        Setting(num_processes=1, global_batch_size=batch, num_threads=threads, link=link)
        for batch in batches
    ]


def _fastest_link(setups: Sequence[Setup], num_bytes: int) -> Link | None:
    """The median of the links that are one with the fastest."""
    links = [setup.link for setup in setups if setup.link]
    seconds = [ring_s(link, 2, num_bytes) for link in links]
    near = [x for x, s in zip(links, seconds, strict=True) if s <= OTHER_LINK * min(seconds)]
    return median_link(near)


def _error(predicted: float | None, measured: float | None) -> float | None:
    return predicted / measured - 1 if predicted and measured else None
