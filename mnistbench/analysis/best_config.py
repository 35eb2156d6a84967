"""Configurations of a grid, ranked by one metric, and how surely the first of them is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mnistbench.analysis.comparability import machine_problem
from mnistbench.analysis.differences import values_of
from mnistbench.analysis.free_metrics import canonical, check_name, metric_named
from mnistbench.analysis.grouping import full_names, group_runs
from mnistbench.analysis.metrics import METRICS, Metric
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.repeats import by_seed, num_lost, one_per_seed
from mnistbench.analysis.samples import sample_of
from mnistbench.analysis.stability import spoiled, without_profiled
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.stats.rank_tests import Shift
from mnistbench.stats.readings import Reading
from mnistbench.stats.resampling import (
    FEWEST_FOR_MEDIANS,
    best_shares,
    change_range,
    drawn_means,
    drawn_times,
    num_draws,
)

_READ_ONCE = ("test_accuracy", "test_loss")
_A_GRIDS = {
    *("num_processes", "num_threads", "global_batch_size", "num_train", "from_step"),
    *("loss", "code of the loss"),
}
"""What a grid may vary, though a comparison of two sides would ask for it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One configuration: its runs in the order of their seeds, and what they measured.

    `readings` are of those that measured the metric, `score` is their estimate: none if not
    measured, or not reached by half. `lost` are runs that diverged or failed, where the metric does
    not count them by itself. `share` is the probability that it is the best, or of censored times
    the share of draws in which it is (`Selection.redrawn`); none without draws.
    """

    name: str
    runs: tuple[RunRecord, ...]
    readings: tuple[Reading, ...]
    seeds: tuple[int | None, ...]
    score: float | None
    lost: int
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`candidates`, the best first, and what is known of the first against the second.

    `change` is from the winner to the runner-up: a fraction, or a difference.
    `redrawn`: shares are of resampled runs, and no probabilities.
    `why_unsure` says why no share of draws could be worked out, if so. `paired`: of the same seeds.
    `left_out` has a line on runs that had no part in it, if any.
    """

    metric: str
    definition: Metric
    candidates: tuple[Candidate, ...]
    change: Shift | None
    paired: bool
    why_unsure: str | None
    left_out: tuple[str, ...] = ()

    @property
    def redrawn(self) -> bool:
        """Whether a time was not reached, so that its runs were resampled."""
        entered = (c for c in self.candidates if c.share is not None)
        return not all(reading.reached for c in entered for reading in c.readings)

    @property
    def draws(self) -> int:
        """How often each that has a share was drawn."""
        return num_draws(sum(c.share is not None for c in self.candidates))

    @property
    def winner(self) -> Candidate:
        """The best; others may be as good."""
        return self.candidates[0]

    @property
    def as_good(self) -> tuple[Candidate, ...]:
        """Others of the same score."""
        _, *others = self.candidates
        return tuple(c for c in others if c.score == self.winner.score and not c.lost)


def check_metric(name: str, *, free: bool = False) -> str:
    """`name`, if runs may be chosen by it; where it is `free`, scripts may evaluate anything.

    Raises:
        InputError: unknown, or read from the test set, which is there to judge what was chosen.
    """
    known = canonical(name)
    if known in _READ_ONCE:
        raise InputError(
            f"select: {name} is read once, after the choice, and cannot make it; use val_accuracy"
        )
    if free and known not in METRICS:
        return known
    return check_name(name, field="select", unfit=(*_READ_ONCE, "duration_s"))


def select(records: Sequence[RunRecord], metric: str) -> Selection:
    """Rank the configurations among `records` by `metric`, runs of one but for the seed together.

    A configuration of which a run diverged or failed comes after all others: the mean of the rest
    would be of survivors. Profiled runs are left out.

    Raises:
        InputError: as `check_metric`; no run but profiled ones, nothing measured, runs that are
            not comparable in it, or times that are in no comparison (`spoiled`).
    """
    name = check_metric(metric, free=True)
    records, left_out = without_profiled(records, command="select")
    its = metric_named(name, records, field="select")
    _require_comparable(records, name, its)
    groups = group_runs(records, across_commits=True)
    found = [
        _candidate(group, called, its)
        for group, called in zip(groups, full_names(groups), strict=True)
    ]
    ranked = sorted(found, key=partial(_place, higher_is_better=its.higher_is_better))
    _require_winner(ranked[0], name, its)
    return replace(_drawn_again(ranked, name, its), left_out=tuple(left_out))


def _candidate(group: Sequence[RunRecord], name: str, metric: Metric) -> Candidate:
    runs = sorted(group, key=by_seed)
    apart = one_per_seed(runs) if metric.independent == "seed" else runs
    measured = [(run.seed, reading) for run in apart for reading in metric.samples([run])]
    readings = tuple(reading for _, reading in measured)
    return Candidate(
        name=name,
        runs=tuple(runs),
        readings=readings,
        seeds=tuple(seed for seed, _ in measured),
        score=metric.level(readings).value,
        lost=0 if metric.to_target else num_lost(runs),
    )


def _place(candidate: Candidate, *, higher_is_better: bool) -> tuple[float, ...]:
    """What candidates are sorted by."""
    score, missed = candidate.score or 0.0, sum(not r.reached for r in candidate.readings)
    lacking = (bool(candidate.lost), not candidate.readings, candidate.score is None)
    return (*lacking, -score if higher_is_better else score, missed)


def _require_comparable(records: Sequence[RunRecord], name: str, metric: Metric) -> None:
    if not records:
        raise InputError("select: no run to choose from")
    if metric.timed and (why := spoiled(records, to_target=metric.to_target)):
        raise InputError(
            f"select: {name} means nothing where {why}; choose by val_accuracy or steps, or run "
            "those again, with --jobs 1"
        )
    if not metric.timed or metric.to_target:
        _require_not_test(records, name)
    for key in (key for key in metric.needs if key not in _A_GRIDS):
        values = values_of(records, key)
        if len(values) > 1:
            which = ", ".join(sorted(values))
            raise InputError(f"select: runs of different {key} ({which}) have no common rank")


def _require_not_test(records: Sequence[RunRecord], name: str) -> None:
    if not any(record.eval_split == "test" for record in records) or name == "val_accuracy":
        return
    mend = "sweep with --eval-split val and a --val-size"
    if any(record.is_foreign for record in records):
        mend = 'choose on other data, evaluated with split="val"'
    raise InputError(
        f"select: {name} of these runs was read on test, which is there to judge the choice; {mend}"
    )


def _require_winner(first: Candidate, name: str, metric: Metric) -> None:
    if first.lost:
        raise InputError("select: every configuration has a run that diverged or failed")
    if not first.readings:
        mend = "sweep with --eval-split val and a --val-size"
        if metric.to_target:
            mend = "give a --target-accuracy"
        elif name != "val_accuracy":
            mend = "choose by val_accuracy"
        raise InputError(f"select: no run measured {name}; {mend}")
    if first.score is None:
        raise InputError(
            "select: no configuration reached the target in half of its runs; choose by "
            "val_accuracy, or lower --target-accuracy"
        )


def _drawn_again(ranked: Sequence[Candidate], name: str, metric: Metric) -> Selection:
    """The selection, with shares and an interval if the runs are enough for it."""
    entered = [c for c in ranked if c.readings and not c.lost]  # the first of them, by their place
    paired = len({c.seeds for c in entered}) == 1 and None not in entered[0].seeds
    why = _why_unsure(entered, metric, among=len(ranked)) or _moved(entered, metric)
    change = _change(entered, metric)
    if why is None:
        drawn = _draw(entered, metric, paired=paired)
        shares = best_shares(drawn, higher_is_better=metric.higher_is_better)
        entered = [replace(c, share=share) for c, share in zip(entered, shares, strict=True)]
        if change is not None:
            low, high = change_range(drawn, best=0, other=1, ratio=metric.ratio)
            at = change.estimate  # the interval is of shrunk values and may lie beside it
            ends = (None if low is None else min(low, at), None if high is None else max(high, at))
            change = Shift(at, *ends)
    return Selection(
        metric=name,
        definition=metric,
        candidates=(*entered, *ranked[len(entered) :]),
        change=change,
        paired=paired,
        why_unsure=why,
    )


def _draw(entered: Sequence[Candidate], metric: Metric, *, paired: bool) -> NDArray[np.float64]:
    draws = num_draws(len(entered))
    if metric.to_target:
        return drawn_times([c.readings for c in entered], paired=paired, draws=draws)
    values = [[reading.value for reading in c.readings] for c in entered]
    by_median = metric.estimator == "median"
    return drawn_means(values, paired=paired, of_medians=by_median, draws=draws)


def _why_unsure(entered: Sequence[Candidate], metric: Metric, *, among: int) -> str | None:
    """Why the ranking of those that `entered`, `among` so many, cannot be drawn again, if so."""
    if len(entered) == 1:
        if among > 1:
            return "the only one that was measured and lost no run: no confidence in the choice"
        return "a single configuration: there was nothing to choose"
    fewest = min(entered, key=lambda c: len(c.readings))
    n, needed = len(fewest.readings), FEWEST_FOR_MEDIANS if metric.to_target else 2
    if n >= needed:
        return None
    few = "one seed" if n == 1 else f"{n} seeds"
    return f"{few} of {fewest.name}: no confidence in the choice; have {needed} or more of each"


def _moved(entered: Sequence[Candidate], metric: Metric) -> str | None:
    """That the machine may be why the first is ahead, as `compare` has it, if so."""
    if not metric.timed:
        return None
    first, *others = entered
    for other in others:
        match = as_one(first.runs, other.runs)
        if machine_problem(match, sample_of(match, metric, None)):
            return (
                f"{other.name} was not run in turn with it, and the machine's own speed moved: no "
                "confidence in the choice"
            )
    return None


def _change(entered: Sequence[Candidate], metric: Metric) -> Shift | None:
    """From the first to the second, without an interval yet."""
    if len(entered) < 2 or entered[0].score is None or entered[1].score is None:
        return None
    best, other = entered[0].score, entered[1].score
    if not metric.ratio:
        return Shift(other - best, None, None)
    return Shift(other / best - 1, None, None) if best > 0 else None
