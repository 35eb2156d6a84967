"""Records as runs leave them, without running."""

from dataclasses import replace

from mnistbench.schema.config import RunConfig
from mnistbench.schema.insight import Profile
from mnistbench.schema.record import (
    PHASES,
    CodeInfo,
    DatasetInfo,
    EvalPoint,
    Interruption,
    RecipeInfo,
    Result,
    RunRecord,
    Throughput,
    TrainPoint,
)


def make_record(seed=0, accuracies=(0.90, 0.95, 0.98), name="simple-cnn", **changes):
    """A run over three epochs whose test accuracies are given; `changes` are keys of its record."""
    target = changes.pop("target", 0.97)
    points = [
        EvalPoint(
            step=10 * epoch,
            epoch=epoch,
            samples_seen=640 * epoch,
            train_s=2.0 * epoch + seed / 10,
            split="test",
            loss=1 - accuracy,
            accuracy=accuracy,
        )
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]
    config = RunConfig(recipe=name, seed=seed, eval_split="test", target_accuracy=target)
    values = {
        "run_id": f"run-{name}-{seed}",
        "status": "completed",
        "created_at": "2026-01-01T00:00:00+00:00",
        "seed": seed,
        "recipe": RecipeInfo(name=name, source="a page"),
        "config": config.model_dump(mode="json"),
        "environment": {
            "device_type": "cpu",
            "num_processes": 2,
            "num_threads": 1,
            "mixed_precision": "no",
            "global_batch_size": 64,
        },
        "dataset": DatasetInfo(
            name="mnist", source="local", sha256="0", num_train=640, num_val=0, num_test=100
        ),
        "num_parameters": 8490,
        "num_epochs": float(len(accuracies)),
        "num_steps": 10 * len(accuracies),
        "eval_points": points,
        "train_points": [TrainPoint(step=s, epoch=s / 10, loss=1 / s) for s in range(1, 31)],
        "phases_s": dict.fromkeys(PHASES, 0.0) | {"train": 6.0, "other": 4.0 + seed},
        "wall_s": 10.0 + seed,
        "throughput": Throughput(samples_per_s=1000.0 + 10 * seed),
        "result": Result(test_accuracy=accuracies[-1], target_accuracy=target),
    }
    return RunRecord(**values | changes)


def of_reference(reference, *, off=0.0, **changes):
    """A run that trained as those of `reference`, its accuracies `off` from their mean."""
    data = DatasetInfo(
        name=reference.dataset,
        source="local",
        sha256=reference.sha256,
        num_train=reference.num_train,
        num_val=0,
        num_test=10_000,
    )
    record = make_record(name=reference.recipe, dataset=data, **changes)
    points = [
        replace(
            record.eval_points[0], step=point.step, epoch=point.epoch, accuracy=point.mean + off
        )
        for point in reference.points
    ]
    return record.model_copy(
        update={
            "config": record.config | reference.settings | {"eval_split": reference.split},
            "environment": record.environment | {"global_batch_size": reference.global_batch_size},
            "eval_points": points,
        }
    )


def interruption(**code_changes):
    """Where a run went on after its fourth step, under other code if anything of it changed."""
    times = {"saved_at": "2026-01-01", "resumed_at": "2026-01-02"}
    return Interruption(
        step=4, cause="SIGINT", num_processes=1, code_changes=code_changes or None, **times
    )


def profiled(record, *, kinds=("torch",), hooks=()):
    """`record` as of a run whose steps were watched by profilers, by `hooks` of Python, or both."""
    profile = Profile(kinds=list(kinds), hooks=list(hooks), first_step=5, end_step=10)
    config = record.config | {"profile": list(kinds)}
    return record.model_copy(update={"profile": profile, "config": config})


def slower(records, factor):
    """`records` with all times to targets `factor` as long."""
    return [
        record.model_copy(
            update={
                "eval_points": [
                    replace(point, train_s=factor * point.train_s) for point in record.eval_points
                ]
            }
        )
        for record in records
    ]


def own_code(digit, *, components=("loss",), place="my_nets"):
    """Code of the user's own, all of whose hash is `digit`."""
    return [
        CodeInfo(component=name, reference=f"{place}:{name}", sha256=str(digit) * 64)
        for name in components
    ]
