"""Scaling as measured, and how near one plain model of a step comes to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import NamedTuple

from mnistbench.analysis.scaling.model import StepModel, fit_step
from mnistbench.analysis.scaling.speedup import SCALINGS, Measured, Scaling, measure
from mnistbench.analysis.scaling.topology import Topology, common_target, group_by_configuration
from mnistbench.analysis.scoring import Asked
from mnistbench.analysis.stability import without_profiled
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Link, RunRecord

_ENOUGH_COUNTS = 3  # of processes, to hold the largest out


class Check(NamedTuple):
    """Samples per second as measured and as predicted, if they are, and the latter's error."""

    topology: Topology
    measured: float
    predicted: float | None
    error: float | None


class Forecast(NamedTuple):
    """What the model says of processes that were not run, with `speedup` over one of its own.

    There is no interval: one of the fit would say nothing of whether the model holds there.
    """

    scaling: Scaling
    num_processes: int
    global_batch_size: int
    samples_per_s: float
    speedup: float


@dataclass(frozen=True, kw_only=True)
class ScalingReport:
    """All that is known of one configuration's scaling; times are read at `target`.

    The `model` of a step (``None`` where too little is known) is fitted on topologies with a core
    for each thread and as many threads as the most processes have. Those that were not `fitted` are
    `held_out`, and `forecasts` are of the next two doublings; `unseen` says what had no part.
    """

    name: str
    target: Asked
    measured: tuple[Measured, ...]
    model: StepModel | None
    fitted: tuple[Check, ...]
    held_out: tuple[Check, ...]
    forecasts: tuple[Forecast, ...]
    unseen: tuple[str, ...]


def analyse_scaling(
    records: Sequence[RunRecord], *, fit_on: Sequence[int] = (), target: float | None = None
) -> list[ScalingReport]:
    """A report for each configuration among `records` that was run on one process and on several.

    The model is fitted on the process counts `fit_on`, by default all, but the largest of three.
    Times are scored at `target`, a fraction, by default the one that the runs were told.

    Raises:
        InputError: nothing to compare, no target, or nothing left to fit on or hold out.
    """
    kept, unseen = without_profiled(records, command="scaling")
    found = group_by_configuration(kept)
    counts = sorted({t.num_processes for topologies in found.values() for t in topologies})
    if missing := sorted({*fit_on} - {*counts}):
        known = ", ".join(map(str, counts))
        raise InputError(f"fit_on: no run is of {missing[0]} processes; there are {known}")
    if fit_on and {*fit_on} == {*counts}:
        raise InputError("fit_on: names all process counts; leave out the one to predict")
    told = [
        (name, topologies, common_target(topologies, target)) for name, topologies in found.items()
    ]
    return [_analyse(*each, fit_on=fit_on, unseen=unseen) for each in told]


def _analyse(
    name: str,
    topologies: Sequence[Topology],
    target: Asked,
    *,
    fit_on: Sequence[int],
    unseen: Sequence[str],
) -> ScalingReport:
    threads = topologies[-1].num_threads
    offered = [t for t in topologies if t.step_s and t.num_threads == threads]
    with_cores = [t for t in offered if t.threads_per_core == 1]
    counts = sorted({t.num_processes for t in with_cores})
    chosen = fit_on or (counts[:-1] if len(counts) >= _ENOUGH_COUNTS else counts)
    fitted = [t for t in with_cores if t.num_processes in chosen]
    model = _fit(fitted)
    return ScalingReport(
        name=name,
        target=target,
        measured=tuple(measure(t, topologies, target=target) for t in topologies),
        model=model,
        fitted=tuple(_check(model, t) for t in fitted),
        held_out=tuple(_check(model, t) for t in offered if t not in fitted),
        forecasts=tuple(_forecasts(model, topologies, counts[-1])) if model else (),
        unseen=tuple(unseen),
    )


def _fit(topologies: Sequence[Topology]) -> StepModel | None:
    """The model of `topologies`, over the median of all links that their runs found."""
    links = [run.link for topology in topologies for run in topology.timed if run.link]
    link = links and Link(
        latency_s=median(link.latency_s for link in links),
        bandwidth_bytes_per_s=median(link.bandwidth_bytes_per_s for link in links),
    )
    times = [(t.num_processes, t.global_batch_size, t.step_s or 0.0) for t in topologies]
    num_parameters = topologies[0].runs[0].num_parameters if topologies else None
    return fit_step(times, link or None, num_bytes=4 * (num_parameters or 0))


def _check(model: StepModel | None, topology: Topology) -> Check:
    batch, step_s = topology.global_batch_size, topology.step_s or 1.0
    predicted_s = model.step_s(topology.num_processes, batch) if model else None
    error = step_s / predicted_s - 1 if predicted_s else None
    return Check(topology, batch / step_s, predicted_s and batch / predicted_s, error)


def _forecasts(model: StepModel, topologies: Sequence[Topology], most: int) -> Iterator[Forecast]:
    """Of two and four times the `most` processes, up to the training set or a sample for each."""
    bases = sorted({t.global_batch_size for t in topologies if t.num_processes == 1})
    dataset = topologies[0].runs[0].dataset
    for scaling, base, factor in product(SCALINGS, bases, (2, 4)):
        count = factor * most
        batch = base * count if scaling == "weak" else base
        alone_s, step_s = model.step_s(1, base), model.step_s(count, batch)
        if alone_s and step_s and dataset and count <= batch <= dataset.num_train:
            speedup = alone_s / step_s * batch / base
            yield Forecast(scaling, count, batch, batch / step_s, speedup)
