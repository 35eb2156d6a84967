"""Several processes are one run, by the real launchers; or it does not start."""

import json
import os
import subprocess
import sys

import pytest
import torch
from accelerate.state import AcceleratorState

from mnistbench.engine.distributed import decide_together, start_accelerator
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import find_records

pytestmark = pytest.mark.usefixtures("whole_test_set")

# 301 training images in batches of 64, and 99 of val: nothing divides by two
FLAGS = [
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "99"),
    *("--model", "simple-cnn", "--num-epochs", "2", "--num-threads", "1", "--lr", "0.05"),
    *("--augment", "shift", "rotate"),
]


def expected_config(small_config, model="simple-cnn"):
    return small_config(
        val_size=99, model=model, num_epochs=2, lr=0.05, augment=("shift", "rotate")
    )


def check_parity(record, alone):
    torch.testing.assert_close(
        torch.tensor([point.loss for point in record.train_points]),
        torch.tensor([point.loss for point in alone.train_points]),
        rtol=1e-4,
        atol=1e-5,
    )
    for ours, theirs in zip(record.eval_points, alone.eval_points, strict=True):
        assert (ours.step, ours.samples_seen, ours.split) == (
            theirs.step,
            theirs.samples_seen,
            theirs.split,
        )
        assert ours.accuracy == pytest.approx(theirs.accuracy, abs=0.011)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("model", "choice", "floor"),
    [
        ("simple-cnn", ["--loop", "stock"], "stock"),
        ("simple-cnn", ["--compile", "--no-batch-last"], "compiled"),
    ],
)
def test_two_processes_by_torchrun_train_as_one(launch, small_config, model, choice, floor):
    done, records = launch(*FLAGS, "--model", model, *choice)
    assert done.returncode == 0, done.stderr
    (record,) = records
    assert record.environment["num_processes"] == 2
    assert record.environment["launcher"] == "torchrun"
    assert record.environment["loop_floor"] == floor
    assert record.environment["world_size"] == 2
    assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)
    assert done.stdout.count("record: ") == 1  # one process prints
    check_parity(record, train(expected_config(small_config, model=model))[0])


@pytest.mark.processes
def test_two_processes_train_from_one_mapped_file(launch, small_config, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done, records = launch(*FLAGS, "--loader", "mapped")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("kept for later runs") == 1  # one process writes
    assert len(list((tmp_path / "cache").rglob("synthetic-*"))) == 1
    check_parity(records[0], train(expected_config(small_config))[0])


@pytest.mark.processes
@pytest.mark.parametrize("num_processes", [1, 2])
def test_accelerate_launch_does_the_same_run(launch, small_config, num_processes):
    done, records = launch(*FLAGS, launcher="accelerate", num_processes=num_processes)
    assert done.returncode == 0, done.stderr
    (record,) = records
    assert record.environment["num_processes"] == num_processes
    assert record.environment["launcher"] == "accelerate"
    assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)
    check_parity(record, train(expected_config(small_config))[0])


@pytest.mark.processes
def test_bad_input_under_a_launcher_is_said_once(launch):
    done, records = launch("--recipe", "simple-cnn", "--lr", "nan")
    assert done.returncode != 0
    assert records == []
    said = [line for line in done.stderr.splitlines() if "mnistbench: error" in line]
    assert said == ["mnistbench: error: --lr: should be a finite number (got 'nan')"]


@pytest.mark.processes
def test_a_graph_that_is_asked_for_without_cuda_is_refused_once(launch, tmp_path):
    done, records = launch(*FLAGS, "--cuda-graph", folder=tmp_path / "runs")
    assert done.returncode != 0
    assert records == []
    (said,) = [line for line in done.stderr.splitlines() if "mnistbench: error" in line]
    assert said.startswith("mnistbench: error: --cuda-graph: ")
    assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.processes
def test_what_only_the_main_process_found_is_said_once(launch, tmp_path):
    (tmp_path / "file").write_text("")
    done, records = launch(*FLAGS, folder=tmp_path / "file" / "runs")
    assert done.returncode != 0
    assert records == []
    said = [line for line in done.stderr.splitlines() if "mnistbench: error" in line]
    assert len(said) == 1
    assert "is not a folder" in said[0]


@pytest.mark.processes
def test_more_than_all_samples_in_a_step_is_said_once(launch):
    done, records = launch(*FLAGS, "--per-device-batch-size", "160")
    assert done.returncode != 0
    assert records == []
    said = [line for line in done.stderr.splitlines() if "mnistbench: error" in line]
    assert len(said) == 1
    assert "--per-device-batch-size: a step of 320 samples is larger than the training" in said[0]


@pytest.mark.processes
def test_a_network_with_batch_norm_trains_on_two_processes(launch, small_config):
    done, (record,) = launch(*FLAGS, "--model", "resnet-mini")
    assert done.returncode == 0, done.stderr
    assert record.num_parameters == 100_986
    assert [point.split for point in record.eval_points] == ["val", "val", "test"]
    assert record.status == "completed"


def test_a_launchers_compiler_is_refused(monkeypatch):
    AcceleratorState._reset_state(True)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    try:
        with pytest.raises(InputError, match="leave it out and use --compile"):
            start_accelerator(RunConfig())
    finally:
        AcceleratorState._reset_state(True)


@pytest.mark.processes
def test_a_world_without_a_rendezvous_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "mnistbench.train", *FLAGS],
        env=os.environ | {"WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("mnistbench: error: WORLD_SIZE is 2 but RANK is not set")
    assert done.stderr.count("\n") == 1


def test_processes_that_would_train_alone_are_refused(monkeypatch):
    start_accelerator(RunConfig())  # Accelerate now knows one process, whatever comes
    rendezvous = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in (rendezvous | {"WORLD_SIZE": "2"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"WORLD_SIZE is 2 but Accelerate sees 1 .*torchrun"):
        start_accelerator(RunConfig())


@pytest.mark.parametrize("value", ["0", "two", "-1"])
def test_a_senseless_world_size_is_refused(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(InputError, match="WORLD_SIZE: should be a whole number"):
        start_accelerator(RunConfig())


def test_a_launchers_gradient_accumulation_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(InputError, match="accumulation would change the global batch"):
        start_accelerator(RunConfig())


def test_one_process_decides_for_itself():
    accelerator = start_accelerator(RunConfig())
    assert decide_together(accelerator, lambda: 7) == 7


@pytest.mark.processes
def test_processes_of_debug_launcher_are_one_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.debug_launched", str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == [["completed", 2, 2, 1, "python"]] * 2, done.stderr
    assert len(find_records([tmp_path])) == 1
