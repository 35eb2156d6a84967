"""The record of a run as it stands, at its end or wherever it was stopped."""

from __future__ import annotations

from secrets import token_hex
from statistics import quantiles
from typing import Any

import torch

from mnistbench.analysis.scoring import time_to_accuracy
from mnistbench.engine.run import Run
from mnistbench.instruments.environment import describe_environment
from mnistbench.schema.record import Result, RunRecord, Status, Throughput, TrainPoint, finite
from mnistbench.workload.recipes import describe

__all__ = ["record_of"]

_MAX_TRAIN_POINTS = 200


def record_of(run: Run, status: Status, *, error: str | None = None) -> RunRecord:
    """The record of `run`; where it ended by itself, every process must call this."""
    together = status in {"completed", "diverged"}  # else other processes may be gone
    throughput, train_points = Throughput(), list[TrainPoint]()
    if status == "failed":
        run.ledger.synchronize = None  # a device that failed may never answer again
    else:
        throughput = _throughput(run, together=together)
        train_points = _train_points(run, together=together)
    environment = _environment(run)
    wall_s = run.ledger.close()
    return RunRecord(
        run_id=_run_id(run),
        status=status,
        error=error,
        created_at=run.created_at.isoformat(timespec="milliseconds"),
        seed=run.config.seed,
        recipe=describe(run.config),
        config=run.config.model_dump(mode="json"),
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
        throughput=throughput,
        result=_result(run),
    )


def _run_id(run: Run) -> str:
    name = run.config.recipe or run.config.model
    return f"{run.created_at:%Y%m%d-%H%M%S}-{name}-seed{run.config.seed}-{token_hex(2)}"


def _environment(run: Run) -> dict[str, Any]:
    return describe_environment(run.accelerator.device) | {
        "loop_floor": run.loop_floor,
        "loop_floor_reason": run.loop_floor_reason,
        "num_processes": run.accelerator.num_processes,
        "distributed_type": run.accelerator.distributed_type.value,
        "mixed_precision": run.accelerator.mixed_precision,
        "global_batch_size": run.plan.global_batch_size,
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
    )


def _train_points(run: Run, *, together: bool) -> list[TrainPoint]:
    """Means of the training loss over at most two hundred equal windows of steps."""
    if not run.step:
        return []
    losses = torch.cat(run.losses)[: run.step]
    if together and run.accelerator.num_processes > 1:
        losses = run.accelerator.reduce(losses, "mean")
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
