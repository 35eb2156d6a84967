"""What tests of the door to comparisons share: sides on record, and how it refuses."""

from datetime import UTC, datetime, timedelta

import pytest

from mnistbench import compare as door
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import PHASES, DatasetInfo, Result, RunRecord, Throughput
from mnistbench.schema.store import save_record

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(seed, speed, *, minute, **config):
    return RunRecord(
        run_id=f"run-{seed}-{minute}",
        status="completed",
        created_at=(START + timedelta(minutes=minute)).isoformat(),
        seed=seed,
        recipe=None,
        config=RunConfig(seed=seed, **config).model_dump(mode="json"),
        environment={"num_threads": 1, "global_batch_size": 64},
        dataset=DatasetInfo(
            name="mnist", source="local", sha256="0", num_train=50_000, num_val=10_000, num_test=1
        ),
        phases_s=dict.fromkeys(PHASES, 0.0),
        wall_s=1.0,
        throughput=Throughput(samples_per_s=speed),
        result=Result(test_accuracy=0.98),
    )


def pairs(n, factor):
    """Runs of A and of B in turn, AB, BA, AB and so on, B `factor` times as fast."""
    speeds = [(seed, 1000.0 + seed, 2 * seed) for seed in range(n)]
    a = [record(seed, speed, minute=first + seed % 2) for seed, speed, first in speeds]
    b = [
        record(seed, factor * speed, minute=first + 1 - seed % 2, lr=0.1)
        for seed, speed, first in speeds
    ]
    return a, b


def store_pairs(folder):
    """Folders a and b with eight runs each, B a tenth slower."""
    for name, side in zip("ab", pairs(8, 0.9), strict=True):
        for run in side:
            save_record(run, folder / name / run.run_id)
    return folder


def refused(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        door.main(argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert err.startswith("mnistbench: error: ")
    assert err.count("\n") == 1
    return out, err
