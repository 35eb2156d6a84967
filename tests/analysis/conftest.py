"""Records as runs leave them, without running."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import (
    PHASES,
    DatasetInfo,
    EvalPoint,
    RecipeInfo,
    Result,
    RunRecord,
    Throughput,
    TrainPoint,
)

_START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_record():
    """Makes a record of a run over three epochs whose test accuracies are given."""

    def make(seed=0, accuracies=(0.90, 0.95, 0.98), name="simple-cnn", **changes):
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
            "phases_s": dict.fromkeys(PHASES, 0.0) | {"train": 6.0},
            "wall_s": 10.0 + seed,
            "throughput": Throughput(samples_per_s=1000.0 + 10 * seed),
            "result": Result(test_accuracy=accuracies[-1], target_accuracy=target),
        }
        return RunRecord(**values | changes)

    return make


@pytest.fixture
def make_side(make_record):
    """Makes the runs of a side from their speeds; a minute apart from `minute` on."""

    def make(speeds, *, minute=0, every=1, **changes):
        accuracies = changes.pop("accuracies", (0.9, 0.95, 0.98))
        return [
            make_record(
                seed,
                accuracies,
                throughput=Throughput(samples_per_s=speed),
                created_at=(_START + timedelta(minutes=minute + every * seed)).isoformat(),
                **changes,
            )
            for seed, speed in enumerate(speeds)
        ]

    return make


@pytest.fixture
def make_pairs(make_side):
    """Makes A and B as runs taken in turn, on a machine that drifts, B `factor` times as fast."""

    def make(n, *, factor=1.0, noise=0.01, seed=0, **changes):
        draw = random.Random(seed)
        drift = [1000 * (1 + 0.3 * draw.random()) for _ in range(n)]
        a, b = ([speed * draw.lognormvariate(0, noise) for speed in drift] for _ in "AB")
        b = [factor * speed for speed in b]
        return make_side(a, every=2, **changes), make_side(b, minute=1, every=2, **changes)

    return make
