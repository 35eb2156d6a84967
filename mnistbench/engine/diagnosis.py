"""What a step of a trained run is made of, found by making some more that change nothing.

The learning rate of these steps is 0 and they come after the last evaluation: no weight, figure or
clock of the run is touched. All processes take part.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple, cast

import torch

from mnistbench.engine.distributed import decide_together
from mnistbench.engine.evaluation import widest_float
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.run import Run
from mnistbench.engine.unchanged import preserved_rng
from mnistbench.recorder.clock import Timer
from mnistbench.recorder.op_counter import Operation, count_ops, roofline_s
from mnistbench.recorder.peak_rates import peak_rates
from mnistbench.recorder.used_device import step_timer
from mnistbench.schema.insight import StepCosts
from mnistbench.schema.record import finite
from mnistbench.workload.batches import Batch

_FEWEST, _MOST = 5, 200
_ABOUT_S = 1.0
_SETTLING = 3
"""Calls before the first that is timed: a loader's workers start, caches fill."""

_SMALL_STEPS = 30
_FEW_SAMPLES = 2
"""With one, batch norm over a single value would be refused."""


class _Times(NamedTuple):
    """Seconds of a step: waiting for its batch, all of it, and the exchange within."""

    loader_s: float
    step_s: float
    exchange_s: float


def diagnose(run: Run) -> StepCosts:
    """Time full steps, steps of two samples and what is within them; all processes must call this.

    On a GPU each step is waited for: what overlaps in training does not here.
    """
    accelerator = run.context.accelerator
    number = decide_together(accelerator, lambda: _number_of_steps(run))
    with run.state.ledger.phase("profile"), preserved_rng(accelerator.device):
        dtype = getattr(torch, run.parts.plan.autocast_dtype)
        ceilings = peak_rates(accelerator.device, dtype, synchronize=run.state.ledger.synchronize)
        batch = next(_batches(run, number))
        part = batch.part._replace(indices=batch.part.indices[:_FEW_SAMPLES])
        few = Batch(batch.images[:_FEW_SAMPLES], batch.labels[:_FEW_SAMPLES], part)
        full = _time(run, _batches(run, number))
        communication_s = _communication_s(run, full, number)
        overhead_s = _overhead_s(run, few, sum(roofline_s(_operations(run, few), ceilings)))
        operations = _operations(run, batch)
    arithmetic_s, traffic_s = roofline_s(operations, ceilings)
    step_s, loader_s, communication_s, overhead_s = _means(
        run, [full.step_s, full.loader_s, communication_s, overhead_s]
    )
    return StepCosts(
        step_s=step_s,
        loader_s=loader_s,
        communication_s=communication_s,
        overhead_s=overhead_s,
        arithmetic_s=arithmetic_s,
        traffic_s=traffic_s,
        flops=sum(operation.flops for operation in operations),
        traffic_bytes=sum(operation.traffic_bytes for operation in operations),
        ceilings=ceilings,
        num_steps=number,
    )


def _number_of_steps(run: Run) -> int:
    """As many as take about a second, in whole calls."""
    durations = run.state.timer.durations_s()
    typical = median(durations) if durations else _ABOUT_S
    steps = min(max(int(_ABOUT_S / max(typical, 1e-6)), _FEWEST), _MOST)
    return -(-steps // run.parts.step.steps_per_call) * run.parts.step.steps_per_call


def _batches(run: Run, number: int) -> Iterator[Batch]:
    """The first batches of the run once more, and some before them for settling."""
    settling = _SETTLING * run.parts.step.steps_per_call
    return run.context.data.batches(
        replace(run.context.batch_plan, num_steps=number + settling), run.config
    )


def _time(
    run: Run,
    batches: Iterable[Batch],
    *,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> _Times:
    """Train on `batches`, each call `within` a context: medians over those after settling."""
    wait = run.state.ledger.synchronize or (lambda: None)
    per_call, source, found = run.parts.step.steps_per_call, iter(batches), list[_Times]()
    with _timed_exchanges(run) as exchanges:
        while True:
            wait()
            began = time.perf_counter()
            group = list(itertools.islice(source, per_call))
            fetched = time.perf_counter()
            if not group:
                break
            with within():
                run.parts.step.train_steps(group, lrs=[0.0] * len(group))
            wait()
            took_s = time.perf_counter() - began
            found.append(_Times((fetched - began) / len(group), took_s / len(group), 0.0))
    if exchanges is not None:
        each_s = exchanges.durations_s()
        found = [times._replace(exchange_s=s) for times, s in zip(found, each_s, strict=True)]
    return _Times(*(median(column) for column in zip(*found[_SETTLING:], strict=True)))


@contextmanager
def _timed_exchanges(run: Run) -> Iterator[Timer | None]:
    """A timer for exchanges, where the run times them."""
    step = run.parts.step
    if run.state.exchange_timer is None or not isinstance(step, FastStep):
        yield None
        return
    timer = step_timer(run.context.accelerator.device)
    with step.allreduce.timed(timer):
        yield timer


def _without_exchange(run: Run) -> AbstractContextManager[object]:
    """Where DDP leaves each process its own gradients."""
    if isinstance(run.parts.step, FastStep) or run.context.batch_plan.num_processes == 1:
        return nullcontext()
    return cast(
        "AbstractContextManager[object]", run.context.accelerator.no_sync(run.parts.step.model)
    )


def _communication_s(run: Run, full: _Times, number: int) -> float | None:
    """What exchanging takes of a full step; ``None`` within a graph, which does not tell."""
    if run.context.batch_plan.num_processes == 1:
        return None
    if isinstance(run.parts.step, FastStep):
        return full.exchange_s if run.state.exchange_timer is not None else None
    alone = _time(run, _batches(run, number), within=partial(_without_exchange, run))
    return max(full.step_s - alone.step_s, 0.0)


def _overhead_s(run: Run, batch: Batch, ideal_s: float) -> float | None:
    """What a step on a small `batch` takes, beyond the `ideal_s` of its work and its exchange.

    ``None`` for steps that are compiled or captured, which take no other batch than a full one.
    """
    if run.parts.plan.mode not in {"eager", "stock"} or run.parts.plan.compile:
        return None
    batches = itertools.repeat(batch, _SMALL_STEPS)
    times = _time(run, batches, within=partial(_without_exchange, run))
    return max(times.step_s - times.loader_s - times.exchange_s - ideal_s, 0.0)


def _operations(run: Run, batch: Batch) -> list[Operation]:
    """What a step on `batch` does, run operator by operator whatever the mode."""
    step = run.parts.step
    if isinstance(step, FastStep):
        inputs = batch.images, batch.labels, step.objective.preprocess.draw(batch.part)
        with _timed_exchanges(run):  # which are none of the run's own
            return count_ops(lambda: step.update(*inputs, batch.part.weight))
    return count_ops(lambda: step.update(batch, step.objective.network, lr=0.0))


def _means(run: Run, seconds: Sequence[float | None]) -> list[Any]:
    """Means over processes; what one does not know, none does."""
    if run.context.batch_plan.num_processes == 1:
        return list(seconds)
    values = [math.nan if value is None else value for value in seconds]
    device = run.context.accelerator.device
    mine = torch.tensor([values], dtype=widest_float(device), device=device)
    return [finite(mean) for mean in run.context.accelerator.gather(mine).mean(dim=0).tolist()]
