"""The record of a run as it stands, at its end or wherever it was stopped."""

from __future__ import annotations

from statistics import quantiles
from typing import Any

import torch
from torch import Tensor

from mnistbench.analysis.scoring import time_to_accuracy
from mnistbench.engine.gradient_allreduce import pairwise_sum
from mnistbench.engine.run import Run
from mnistbench.recorder.environment import describe_environment
from mnistbench.recorder.redaction import redacted
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import (
    Result,
    RunRecord,
    Status,
    StepSplit,
    Throughput,
    TrainPoint,
    finite,
)
from mnistbench.workload.recipes import describe

__all__ = ["record_of", "split_of"]

_MAX_TRAIN_POINTS = 200


def record_of(
    run: Run, status: Status, *, error: str | None = None, measured: bool = True
) -> RunRecord:
    """The record of `run`; where all processes ended it together, each must call this.

    Not `measured` is for another thread than the run's: what would wait for the device is left out.
    """
    together = status in {"completed", "diverged"} or run.stopped_together  # else some may be gone
    throughput, train_points, durations_s = Throughput(), list[TrainPoint](), list[float]()
    if status == "failed" or not measured:
        run.ledger.synchronize = None  # a device that failed may never answer again
    else:
        throughput = _throughput(run, together=together)
        train_points = _train_points(run, together=together)
        durations_s = run.timer.durations_s()
    environment = _environment(run)
    wall_s = run.ledger.close()
    return RunRecord(
        run_id=run.run_id,
        invocation=run.invocation.id,
        status=status,
        error=_said(run, error or (_profile_complaint(run) if status == "completed" else None)),
        created_at=run.created_at,
        seed=run.config.seed,
        recipe=describe(run.config),
        config=_config(run),
        environment=environment,
        dataset=run.data.info,
        num_parameters=run.num_parameters,
        num_epochs=run.step / run.plan.steps_per_epoch,
        num_steps=run.step,
        eval_points=run.eval_points,
        train_points=train_points,
        phases_s=dict(run.ledger.phases_s),
        wall_s=wall_s,
        canary=run.canary,
        link=run.link,
        interruptions=run.interruptions,
        checkpoints=run.saver.counts,
        telemetry=run.telemetry,
        profile=run.watch.profile(run.config, durations_s, run.run_folder),
        step_costs=run.step_costs,
        throughput=throughput,
        result=_result(run),
    )


def _said(run: Run, text: str | None) -> str | None:
    return redacted(text) if text and run.config.anonymize else text


def _profile_complaint(run: Run) -> str | None:
    last = run.interruptions[-1].step if run.interruptions else 0
    return run.watch.complaint(went_on_from=last)


def _config(run: Run) -> dict[str, Any]:
    values = run.config.model_dump(mode="json")
    if run.config.anonymize:
        plain = RunConfig()
        values |= {"output_dir": plain.output_dir, "data_dir": plain.data_dir}
    return values


def _environment(run: Run) -> dict[str, Any]:
    return describe_environment(run.accelerator.device) | {
        "loop_floor": run.loop_floor,
        "loop_floor_reason": _said(run, run.loop_floor_reason),
        "num_processes": run.accelerator.num_processes,
        "distributed_type": run.accelerator.distributed_type.value,
        "mixed_precision": run.accelerator.mixed_precision,
        "global_batch_size": run.plan.global_batch_size,
        "lr_peak": run.config.lr * run.lr_factor,
    }


def _throughput(run: Run, *, together: bool) -> Throughput:
    """Speed of the slowest process."""
    durations = run.timer.durations_s()
    if not durations:
        return Throughput()
    cuts = quantiles(durations, n=20, method="inclusive") if len(durations) > 1 else durations
    p50, p95 = cuts[(len(cuts) - 1) // 2], cuts[-1]
    slowest = torch.tensor([p50, p95, run.ledger.spent_s("train")], dtype=torch.float64)
    if together and run.accelerator.num_processes > 1:
        mine = slowest.to(run.accelerator.device).unsqueeze(0)
        slowest = run.accelerator.gather(mine).amax(dim=0).cpu()
    p50, p95, train_s = slowest.tolist()
    timed = run.accelerator.device.type in {"cpu", "cuda"}  # elsewhere a call returns too early
    return Throughput(
        samples_per_s=run.plan.samples_seen(run.step) / train_s,
        step_s_p50=p50 if timed else None,
        step_s_p95=p95 if timed else None,
        step_split=_step_split(run, durations, together=together) if timed else None,
    )


def _step_split(run: Run, durations: list[float], *, together: bool) -> StepSplit | None:
    """Computing, exchange and wait, told apart without comparing clocks.

    The process that comes last to an exchange waits for nobody: the shortest that any process saw
    is the exchange itself, and what the others saw beyond that was waiting. ``None`` where the
    exchange has no time of its own.
    """
    exchanges = [0.0] * len(durations)
    if run.accelerator.num_processes > 1:
        if run.exchange_timer is None or not together:
            return None
        exchanges = run.exchange_timer.durations_s()
        if len(exchanges) != len(durations):  # of two lives on different floors
            return None
    mine = torch.tensor([durations, exchanges], dtype=torch.float64, device=run.accelerator.device)
    steps, inside = run.accelerator.gather(mine.unsqueeze(0)).cpu().unbind(dim=1)
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


def _train_points(run: Run, *, together: bool) -> list[TrainPoint]:
    """Means of the training loss over at most two hundred equal windows of steps."""
    if not run.step:
        return []
    losses = run.losses.until(run.step)
    if together and run.accelerator.num_processes > 1:
        every = run.accelerator.gather(losses.unsqueeze(0))
        losses = pairwise_sum(every, torch.add) / len(every)  # as one process adds its batches
    window = -(-run.step // _MAX_TRAIN_POINTS)
    points, step = [], 0
    for part in torch.split(losses.cpu(), window):
        step += len(part)
        epoch = step / run.plan.steps_per_epoch
        points.append(TrainPoint(step=step, epoch=epoch, loss=finite(part.mean().item())))
    return points


def _result(run: Run) -> Result:
    last = {point.split: point for point in run.eval_points}
    target, reached = run.config.target_accuracy, None
    if target is not None:
        reached = time_to_accuracy(run.eval_points, target, split=run.config.eval_split)
    return Result(
        test_accuracy=last["test"].accuracy if "test" in last else None,
        test_loss=last["test"].loss if "test" in last else None,
        val_accuracy=last["val"].accuracy if "val" in last else None,
        target_accuracy=target,
        time_to_accuracy_s=reached.time_s if reached else None,
        steps_to_accuracy=reached.steps if reached else None,
    )
