"""The record of a run as it stands, at its end or wherever it was stopped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from mnistbench.engine.evaluation import widest_float
from mnistbench.engine.evaluation_schedule import describe_schedule
from mnistbench.engine.gradient_allreduce import pairwise_sum
from mnistbench.engine.observed import Observed
from mnistbench.engine.run import BuiltParts, RunContext, TrainingOutcome, TrainingState
from mnistbench.recorder.environment import describe_environment
from mnistbench.recorder.own_code import keep_code, kept_as
from mnistbench.recorder.redaction import redacted, values_redacted
from mnistbench.recorder.run_log import assemble_record, save_somewhere, throughput_of
from mnistbench.schema.component import short_name
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import (
    RunRecord,
    Status,
    StepSplit,
    Throughput,
    TrainPoint,
    WorkloadInfo,
    finite,
)
from mnistbench.workload.recipes import describe

_log = logging.getLogger(__name__)
_LAST_WORDS_S = 1.0
_MAX_TRAIN_POINTS = 200


def record_of(
    context: RunContext,
    parts: BuiltParts | None,
    state: TrainingState,
    outcome: TrainingOutcome,
    *,
    measured: bool = True,
) -> RunRecord:
    """The record of a run; where all processes ended it together, each must call this.

    Without `parts` it was not built. Not `measured` is for another thread than the run's: what
    would wait for the device is left out.
    """
    ended = outcome.status in {"completed", "diverged"}
    together = ended or outcome.stopped_together  # else some may be gone
    throughput, train_points, stood_still_s = Throughput(), list[TrainPoint](), None
    if outcome.status == "failed" or not measured:
        state.ledger.synchronize = None  # a device that failed may never answer again
    else:
        throughput = _throughput(context, state, together=together)
        train_points = _train_points(context, state, together=together)
        (stood_still_s,) = _slowest(context, [state.ledger.stood_still_s], together=together)
    config = context.config
    made_of = ", ".join(short_name(name)[:60] for name in (config.model, config.loss))
    return assemble_record(
        state,
        outcome,
        target=config.target,
        split=config.eval_split,
        error=_said(context, outcome.error),
        run_id=context.run_id,
        invocation=context.invocation.id,
        created_at=context.created_at,
        seed=config.seed,
        workload=WorkloadInfo(name=config.recipe or made_of, framework="mnistbench"),
        recipe=describe(config),
        config=_config(context),
        environment=_environment(context, parts),
        dataset=context.data.info,
        code=kept_as(context.code, config)[0],
        num_parameters=parts.num_parameters if parts else None,
        num_epochs=state.step / context.batch_plan.steps_per_epoch,
        train_points=train_points,
        stood_still_s=stood_still_s,
        link=context.interconnect,
        interruptions=state.interruptions,
        checkpoints=state.counts,
        throughput=throughput,
    )


def put_on_record_at_once(
    context: RunContext,
    rest: tuple[BuiltParts | None, TrainingState, TrainingOutcome],
    status: Status,
    said: str,
) -> None:
    """From another thread than the run's, which may be held by the device, or the disk."""
    parts, state, outcome = rest

    def put_on_record() -> None:
        outcome.status, outcome.error = status, said
        save(context, record_of(context, parts, state, outcome, measured=False))

    last_words = Thread(target=put_on_record, daemon=True)
    last_words.start()
    last_words.join(_LAST_WORDS_S)


def save(context: RunContext, record: RunRecord) -> RunRecord:
    """Write `record` on the main process; where that fails, the run still counts and says so."""
    if not context.accelerator.is_main_process:
        return record
    keep = partial(keep_code, context.code, context.config, context.run_folder)
    cleaned = redacted if context.config.anonymize else str
    folder = context.run_folder
    return save_somewhere(record, folder, keep=keep, tell=_log.error, cleaned=cleaned)[0]


def _said(context: RunContext, text: str | None) -> str | None:
    return redacted(text) if text and context.config.anonymize else text


def _config(context: RunContext) -> dict[str, Any]:
    values = context.config.model_dump(mode="json")
    if context.config.anonymize:
        plain = RunConfig()
        values |= {"output_dir": plain.output_dir, "data_dir": plain.data_dir}
        values = values_redacted(values)
    return values


def _environment(context: RunContext, parts: BuiltParts | None) -> dict[str, Any]:
    """Where it ran, and how."""
    accelerator = context.accelerator
    return {
        **describe_environment(accelerator.device),
        **_how_it_computed(context, parts),
        **describe_schedule(context.config),
        "num_processes": accelerator.num_processes,
        "distributed_type": accelerator.distributed_type.value,
        "mixed_precision": accelerator.mixed_precision,
        "global_batch_size": context.batch_plan.global_batch_size,
        "lr_peak": context.config.lr * context.lr_factor,
    }


def _how_it_computed(context: RunContext, parts: BuiltParts | None) -> dict[str, Any]:
    """The plan as it came out, then what was seen; all null of a run that was not warmed up."""
    plan = parts.plan if parts else context.plan
    observed = parts.observed if parts else None
    planned = {
        "loop_floor": plan.mode,
        "loop_floor_reason": _said(context, plan.fallback_reason),
        "autocast_dtype": plan.autocast_dtype,
        "grad_scaler": plan.uses_grad_scaler,
        "memory_format": plan.memory_format,
        "kernels": plan.kernels,
        "kernels_reason": _said(context, plan.kernels_reason),
        "gradient_exchange": plan.gradient_exchange,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    if observed is None:
        return dict.fromkeys([*planned, *(field.name for field in fields(Observed))])
    return planned | asdict(observed) | {"layer_dtypes": list(observed.layer_dtypes)}


def _throughput(context: RunContext, state: TrainingState, *, together: bool) -> Throughput:
    """Speed of the slowest process."""
    seen, train_s = context.batch_plan.samples_seen(state.step), state.ledger.train_s()
    speed = throughput_of(state.timer.durations_s(), num_samples=seen, train_s=train_s)
    if speed.step_s_p50 is None or speed.step_s_p95 is None:
        return speed
    mine = [speed.step_s_p50, speed.step_s_p95, train_s]
    p50, p95, train_s = _slowest(context, mine, together=together)
    timed = context.accelerator.device.type in {"cpu", "cuda"}  # elsewhere a call returns too early
    return Throughput(
        samples_per_s=seen / train_s,
        step_s_p50=p50 if timed else None,
        step_s_p95=p95 if timed else None,
        step_split=_step_split(context, state, together=together) if timed else None,
    )


def _slowest(context: RunContext, mine: Sequence[float], *, together: bool) -> list[float]:
    """The largest of each of `mine` [seconds] over all processes."""
    accelerator = context.accelerator
    if not together or accelerator.num_processes == 1:
        return list(mine)
    device = accelerator.device
    told = torch.tensor([mine], dtype=widest_float(device), device=device)
    return list(accelerator.gather(told).amax(dim=0).tolist())


def _step_split(context: RunContext, state: TrainingState, *, together: bool) -> StepSplit | None:
    """Computing, exchange and wait, told apart without comparing clocks.

    Who comes last to an exchange waits for nobody: the shortest that any process saw is exchange,
    the rest was waiting. ``None`` where the exchange has no time of its own.
    """
    accelerator, durations = context.accelerator, state.timer.durations_s()
    exchanges = [0.0] * len(durations)
    if accelerator.num_processes > 1:
        if state.exchange_timer is None or not together:
            return None
        exchanges = state.exchange_timer.durations_s()
        if len(exchanges) != len(durations):  # of two lives in different modes
            return None
    device = accelerator.device
    mine = torch.tensor([durations, exchanges], dtype=widest_float(device), device=device)
    steps, inside = accelerator.gather(mine.unsqueeze(0)).cpu().unbind(dim=1)
    return split_of(steps, inside)


def split_of(steps: Tensor, inside: Tensor) -> StepSplit:
    """The split of steps that took `steps` seconds ``[P, S]``, `inside` the exchange ``[P, S]``."""
    outside, shortest = steps - inside, inside.amin(dim=0)
    parts = {
        "compute_s": outside.mean(dim=0),
        "communication_s": shortest,
        "wait_s": (inside - shortest).mean(dim=0),
        "skew_s": outside.amax(dim=0) - outside.amin(dim=0),
    }
    return StepSplit(
        **{name: max(part.quantile(0.5).item(), 0.0) for name, part in parts.items()},
        slowest_process=int(inside.sum(dim=1).argmin()),
    )


def _train_points(context: RunContext, state: TrainingState, *, together: bool) -> list[TrainPoint]:
    """Means of the training loss over at most two hundred equal windows of steps."""
    if not state.step:
        return []
    losses = state.losses[: state.step]
    if together and context.accelerator.num_processes > 1:
        every = context.accelerator.gather(losses.unsqueeze(0))
        losses = pairwise_sum(every, torch.add) / len(every)  # as one process adds its batches
    window = -(-state.step // _MAX_TRAIN_POINTS)
    points, step = [], 0
    for part in torch.split(losses.cpu(), window):
        step += len(part)
        epoch = step / context.batch_plan.steps_per_epoch
        points.append(TrainPoint(step=step, epoch=epoch, loss=finite(part.mean().item())))
    return points
