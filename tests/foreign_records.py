"""Records as loops that are not ours leave them, without running."""

from datetime import UTC, datetime, timedelta

from mnistbench.schema.record import EvalPoint, RunRecord, Target, Throughput, WorkloadInfo

_START = datetime(2026, 3, 1, tzinfo=UTC)
PERPLEXITY = Target(metric="perplexity", value=20.0, higher_is_better=False)


def foreign_record(seed=0, values=(40.0, 25.0, 18.0), *, metric="perplexity", **changes):
    """A run that evaluated `metric` each ten steps; `changes` are keys of its record.

    A time to a target of it grows by a tenth of a second with each seed, its speed falls.
    """
    index = changes.pop("index", seed or 0)
    split = changes.pop("split", "val")
    named = {"accuracy", "loss"} & {metric}
    points = [
        EvalPoint(
            step=10 * number,
            samples_seen=320 * number,
            train_s=2.0 * number + index / 10,
            split=split,
            **({metric: value} if named else {"metrics": {metric: value}}),
        )
        for number, value in enumerate(values, start=1)
    ]
    written = {
        "run_id": f"run-lm-{index}",
        "status": "completed",
        "created_at": (_START + timedelta(minutes=index)).isoformat(),
        "seed": seed,
        "workload": WorkloadInfo(name=changes.pop("name", "org/lm:small"), framework="torch"),
        "config": {"lr": 0.1, "seed": seed, "optim": {"beta": 0.9}},
        "environment": {"device_type": "cpu", "num_processes": 1, "global_batch_size": 32},
        "num_steps": 10 * len(values),
        "eval_points": points,
        "metrics": {metric: values[-1]} if values else {},
        "target": PERPLEXITY if metric == "perplexity" else None,
        "phases_s": {"train": 4.0, "data_wait": 2.0 + index / 10, "eval": 1.0, "other": 1.0},
        "wall_s": 8.0 + index / 10,
        "throughput": Throughput(samples_per_s=max(1, 160 - index), step_s_p50=0.2, from_step=2),
    }
    return RunRecord(**written | changes)
