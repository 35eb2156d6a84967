"""Scaling as measured, and as a cost model that was fitted on it predicts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mnistbench.analysis.scaling.families import families_of, median_link
from mnistbench.analysis.scaling.gains import Measured, measure
from mnistbench.analysis.scaling.model import Setting
from mnistbench.analysis.scaling.outlook import Outlook, look_ahead
from mnistbench.analysis.scaling.prediction import SCALINGS, Predicted, Predictor
from mnistbench.analysis.scaling.setups import Family, Setup, target_of
from mnistbench.analysis.scaling.steps import steps_to_target
from mnistbench.analysis.stability import without_profiled
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord

__all__ = ["Check", "Choice", "Reason", "ScalingReport", "study_scaling"]

Reason = Literal["processes", "link", "cores"]
"""Why a setup was held out: it was asked for, by processes or link, or has too few cores."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the model is to be fitted on.

    Attributes:
        fit_on: process counts, to predict the others; none for all.
        hold_out_slowest_link: leave the slowest of several links out, to predict it.
    """

    fit_on: tuple[int, ...] = ()
    hold_out_slowest_link: bool = False


class Check(NamedTuple):
    """A timed setup that was left out of the fit: what was `predicted` of it beside what it did.

    Errors are predicted over measured less 1; ``None`` where one of the two is missing.
    """

    measured: Measured
    predicted: Predicted | None
    reason: Reason

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
        predictor: the model, fitted on some setups; ``None`` where these tell too little.
        outlooks: predictions for each batch that one process was measured at.
        checks: the setups that were held out.
        left_out: those that were not fitted as the machine moved, or of other threads than are
            predicted.
        unseen: a line on runs that had no part in this, if any.
    """

    family: Family
    target: float
    measured: tuple[Measured, ...]
    predictor: Predictor | None
    outlooks: tuple[Outlook, ...]
    checks: tuple[Check, ...]
    left_out: tuple[Setup, ...]
    unseen: tuple[str, ...] = ()


def study_scaling(
    records: Sequence[RunRecord], choice: Choice | None = None, *, target: float | None = None
) -> list[ScalingReport]:
    """A report for each configuration among `records` that was run on one process and on several.

    Args:
        records: of any configurations, processes, batches, links and seeds; profiled runs are left
            out.
        choice: what to fit on; by default all whose threads have a core each: those that have not
            are predicted, too.
        target: accuracy to score times at; by default the one that the runs were told.

    Raises:
        InputError: nothing to compare, no target, or nothing left to fit on or to hold out.
    """
    choice = choice or Choice()
    records, unseen = without_profiled(records, door="scaling")
    families = families_of(records, several_links=choice.hold_out_slowest_link)
    _check_choice(families, choice)
    reports = [_study(family, choice, target=target_of(family, target)) for family in families]
    return [replace(report, unseen=tuple(unseen)) for report in reports]


def _study(family: Family, choice: Choice, *, target: float) -> ScalingReport:
    threads = max((s.num_processes, s.num_threads) for s in family.setups)[1]
    rows = measure(family.setups, target)
    offered = [row for row in rows if row.setup.step_times and row.setup.num_threads == threads]
    reasons = _reasons([row.setup for row in offered], choice)
    held_out = [(row, why) for row, why in zip(offered, reasons, strict=True) if why]
    fitted = _steady([row.setup for row, why in zip(offered, reasons, strict=True) if not why])
    asked = [row.setup for row, why in held_out if why != "cores"]
    steps = steps_to_target([s for s in family.setups if s not in asked], target)
    predictor = Predictor(_linked(fitted), 4 * family.num_parameters, steps)
    told = predictor if predictor.fit.used else None
    settled = [*fitted, *(row.setup for row, _ in held_out)]
    return ScalingReport(
        family=family,
        target=target,
        measured=tuple(rows),
        predictor=told,
        outlooks=_outlooks(told, family) if told else (),
        checks=tuple(
            Check(row, _predict(told, row.setup, why) if told else None, why)
            for row, why in held_out
        ),
        left_out=tuple(s for s in family.setups if s.step_times and s not in settled),
    )


def _reasons(setups: Sequence[Setup], choice: Choice) -> list[Reason | None]:
    """Why each of `setups` is held out of the fit; ``None`` for those to fit on.

    Those with more threads than cores are, unless process counts were chosen or there are no others
    of several: who waits there waits for a core, which says nothing of processes that have one.
    """
    slowest = 0
    if choice.hold_out_slowest_link:
        slowest = max((s.link_rank for s in setups), default=0)
    with_cores = any(s.num_processes > 1 and s.contention == 1 for s in setups)

    def reason(setup: Setup) -> Reason | None:
        if choice.fit_on and setup.num_processes not in choice.fit_on:
            return "processes"
        if slowest and setup.link_rank == slowest:
            return "link"
        return "cores" if setup.contention > 1 and with_cores and not choice.fit_on else None

    return [reason(setup) for setup in setups]


def _steady(setups: Sequence[Setup]) -> list[Setup]:
    """`setups` less those during which the machine moved, if one and several processes are left."""
    steady = [s for s in setups if not s.mostly_unstable]
    kinds = [{s.num_processes > 1 for s in some} for some in (steady, setups)]
    return steady if kinds[0] == kinds[1] else list(setups)


def _outlooks(predictor: Predictor, family: Family) -> tuple[Outlook, ...]:
    """From each batch that one process was measured at, over the fastest link that was fitted."""
    batches = sorted({s.global_batch_size for s in family.setups if s.num_processes == 1})
    link = _median_link(predictor.setups)
    bases = [Setting(num_processes=1, global_batch_size=batch, link=link) for batch in batches]
    found = [
        look_ahead(predictor, base, scaling=scaling, num_train=family.num_train)
        for base in bases
        for scaling in SCALINGS
    ]
    return tuple(outlook for outlook in found if outlook is not None)


def _predict(predictor: Predictor, setup: Setup, reason: Reason) -> Predicted | None:
    """What the model says of `setup`: over its own link if it was held out for that.

    Else over the link that was fitted.
    """
    if reason == "link":
        return predictor.predict(setup.setting)
    link = _median_link(predictor.setups, rank=setup.link_rank)
    return predictor.predict(replace(setup.setting, link=link))


def _linked(setups: Sequence[Setup]) -> tuple[Setup, ...]:
    """`setups`, where processes shared a core with the link that others found."""
    return tuple(replace(s, link=s.link or _median_link(setups)) for s in setups)


def _median_link(setups: Sequence[Setup], *, rank: int = 0) -> Link | None:
    """The median over `setups`, of that link or, if none of them is over it, of the fastest."""
    linked = [s for s in setups if s.link]
    fastest = min((s.link_rank for s in linked), default=0)
    same = [s for s in linked if s.link_rank == rank] or [
        s for s in linked if s.link_rank == fastest
    ]
    return median_link([s.link for s in same if s.link])


def _check_choice(families: Sequence[Family], choice: Choice) -> None:
    counts = sorted({s.num_processes for family in families for s in family.setups})
    if missing := sorted({*choice.fit_on} - {*counts}):
        known = ", ".join(map(str, counts))
        raise InputError(f"fit_on: no run is of {missing[0]} processes; there are {known}")
    if choice.fit_on and {*choice.fit_on} == {*counts}:
        raise InputError("fit_on: names all process counts; leave out the one to predict")
    ranks = {s.link_rank for family in families for s in family.setups}
    if choice.hold_out_slowest_link and ranks == {0}:
        raise InputError("hold_out_slowest_link: all runs were over one link; leave it out")


def _error(predicted: float | None, measured: float | None) -> float | None:
    return predicted / measured - 1 if predicted and measured else None
