"""The single-GPU launch configurations, by the real launcher: do they train the curve of fp32?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mnistbench.schema.checkpoint import checkpoints_of
from mnistbench.schema.store import find_records, load_record

CONFIGS = Path(__file__).parents[2] / "launch_configs"
FLAGS = [
    *("--dataset", "synthetic", "--synthetic-train-size", "2000", "--val-size", "100"),
    *("--model", "simple-cnn", "--num-epochs", "2", "--lr", "0.05"),
]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def trained(name, folder, *flags):
    command = [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
        *("--config_file", str(CONFIGS / f"{name}.yaml"), "-m", "mnistbench.train"),
        *(*FLAGS, *flags, "--output-dir", str(folder)),
    ]
    environment = {k: v for k, v in os.environ.items() if k != "ACCELERATE_USE_CPU"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = find_records([folder])
    return load_record(path)


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [("gpu_1", "no", 0.02), ("gpu_1_bf16", "bf16", 0.1), ("gpu_1_fp16", "fp16", 0.05)],
)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_gpu_trains_the_curve_of_the_cpu(tmp_path, name, precision, tolerance, loop):
    record = trained(name, tmp_path / "gpu", "--loop", loop)
    assert record.environment["device_type"] == "cuda"
    assert record.environment["mixed_precision"] == precision
    cpu = trained("cpu_1", tmp_path / "cpu", "--loop", "stock")
    torch.testing.assert_close(
        torch.tensor([point.loss for point in record.train_points]),
        torch.tensor([point.loss for point in cpu.train_points]),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("name", ["gpu_1", "gpu_1_fp16"])
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_run_on_a_gpu_goes_on(tmp_path, name, loop):
    flags = ("--loop", loop, "--checkpoint-every-steps", "25", "--steps-per-graph", "4")
    flags = flags if loop == "fast" else flags[:4]
    whole = trained(name, tmp_path, *flags)
    folder = tmp_path / whole.run_id
    shutil.rmtree(checkpoints_of(folder)[-1])  # as if it had been killed after step 50
    (folder / "record.json").unlink()
    resumed = trained(name, tmp_path, *flags, "--resume", "latest")
    assert resumed.run_id == whole.run_id
    assert resumed.interruptions[0].step == 50
    torch.testing.assert_close(
        torch.tensor([point.loss for point in resumed.train_points]),
        torch.tensor([point.loss for point in whole.train_points]),
        rtol=1e-3,  # some kernels add in whatever order
        atol=1e-3,
    )


@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_gpu_is_profiled_and_diagnosed(tmp_path, loop):
    flags = ("--loop", loop, "--profile-steps", "8:12", "--diagnose")
    record = trained("gpu_1", tmp_path / "nvtx", *flags, "--profile", "nvtx")
    assert record.profile.slowdown > 0
    record = trained("gpu_1", tmp_path / "torch", *flags, "--profile", "torch", "memory")
    endings = {name.rpartition(".")[2] for name in record.profile.files}
    assert {"json", "txt", "csv", "pickle"} <= endings
    assert any(operator.device_s for operator in record.profile.operators)
    assert record.step_costs.flops > 0
    assert record.step_costs.step_s > 0
    assert record.telemetry.device_memory_peak_bytes > 0
