"""Records of a sweep over processes and batches, drawn from a law of a step that is known."""

import math
import random
from dataclasses import dataclass

from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import (
    Canary,
    CanaryReading,
    EvalPoint,
    Link,
    Result,
    StepSplit,
    Throughput,
)
from tests.made_records import make_record

__all__ = ["LINK", "MOVED", "TRUTH", "Truth", "make_run", "make_sweep", "true_step_s"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a step takes in seconds; `wait_share` is of its computing, which no model knows of."""

    fixed_s: float = 2e-3
    per_sample_s: float = 5e-5
    call_s: float = 3e-4
    wait_share: float = 0.0
    num_parameters: int = 100_000

    def parts_s(self, count, batch, *, link, crowd=1.0):
        """Computing, exchange and wait of `count` processes, with `crowd` threads for a core."""
        compute = crowd * (self.fixed_s + self.per_sample_s * batch / count)
        if count == 1:
            return compute, 0.0, 0.0
        ring = 0.0
        if link:
            messages = 2 * (count - 1)  # each of a part of the gradients, to the next in the ring
            message = link.latency_s + 4 * self.num_parameters / count / link.bandwidth_bytes_per_s
            ring = messages * message
        return compute, crowd * self.call_s + ring, self.wait_share * compute


TRUTH = Truth()
LINK = Link(latency_s=5e-5, bandwidth_bytes_per_s=2e9)
_BEFORE, _AFTER = (CanaryReading(matmul_flops_per_s=x, copy_bytes_per_s=1.0) for x in (1.0, 2.0))
MOVED = Canary(before=_BEFORE, after=_AFTER)
"""Of a run during which the machine itself became twice as fast."""

MIN_STEPS, NOISE_BATCH = 100, 500


def make_sweep(processes=(1, 2, 4), batches=(64, 256), seeds=range(5), **values):
    """A run for each setup and seed; see `make_run`."""
    return [
        make_run(count, batch, seed, **values)
        for count in processes
        for batch in batches
        for seed in seeds
    ]


def make_run(count, batch, seed, *, truth=TRUTH, link=LINK, noise=0.02, threads=1, **values):
    """A run of `count` processes whose figures are those of `truth` times lognormal `noise`."""
    cores, split = values.pop("cores", 2), values.pop("split", True)
    threads = threads(count) if callable(threads) else threads
    draw = random.Random(f"{values.pop('draw', 0)} {count} {batch} {seed} {threads} {link}")
    link = link if count > 1 else None
    crowd = max(1.0, count * threads / cores) if cores else 1.0
    parts = truth.parts_s(count, batch / threads**0.7, link=link, crowd=crowd)
    parts = [part * draw.lognormvariate(0, noise) for part in parts]
    steps = round(_steps(batch, random.Random(f"{seed} {batch}"), values.pop("step_noise", 0.03)))
    base = make_record(seed)
    config = RunConfig(seed=seed, global_batch_size=batch, num_threads=threads, eval_split="test")
    config = config.model_dump(mode="json") | values.pop("config", {})
    environment = base.environment | {
        "num_processes": count,
        "num_threads": threads,
        "num_usable_cores": cores,
        "global_batch_size": batch,
        "device_type": "cpu" if cores else "cuda",
    }
    changes = {
        "run_id": f"run-{count}-{batch}-{seed}-{threads}",
        "config": config,
        "environment": environment | values.pop("environment", {}),
        "dataset": base.dataset.model_copy(update={"num_train": 50_000}),
        "num_parameters": truth.num_parameters,
        "num_steps": 2 * steps,
        "link": link,
        "eval_points": _curve(steps, sum(parts), reached=values.pop("reached", True)),
        "throughput": Throughput(
            samples_per_s=batch / sum(parts),
            step_s_p50=sum(parts),
            step_split=_split(parts, count) if split else None,
        ),
        "result": Result(target_accuracy=0.97),
    }
    return base.model_copy(update=changes | values)


def true_step_s(count, batch, *, truth=TRUTH, link=LINK, crowd=1.0):
    """What the truth says of a step, without noise."""
    return sum(truth.parts_s(count, batch, link=link, crowd=crowd))


def _steps(batch, draw, noise):
    return MIN_STEPS * (1 + NOISE_BATCH / batch) * math.exp(draw.gauss(0, noise))


def _curve(steps, step_s, *, reached):
    accuracies = (0.5, 0.98 if reached else 0.6)
    return [
        EvalPoint(
            step=step,
            epoch=1.0,
            samples_seen=step,
            train_s=step * step_s,
            split="test",
            loss=1.0,
            accuracy=accuracy,
        )
        for step, accuracy in zip((steps // 2, steps), accuracies, strict=True)
    ]


def _split(parts, count):
    compute_s, communication_s, wait_s = parts
    return StepSplit(
        compute_s=compute_s,
        communication_s=communication_s,
        wait_s=wait_s,
        skew_s=2 * wait_s,
        slowest_process=count - 1,
    )
