"""The examples of loops that are not ours, each run small and as its reader would start it."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mnistbench.launch.commands import cpu_environment
from mnistbench.schema.store import find_records, load_record
from tests.documented import ROOT, fences

EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))
PAGE = ROOT / "docs/your-loop.md"
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
ACCELERATE = (
    *("-m", "accelerate.commands.accelerate_cli", "launch"),
    *("--config_file", str(ROOT / "launch_configs/cpu_2.yaml")),
)
SMALL = ("--epochs", "2", "--num-samples", "1000")


def first_example():
    return next(fence for fence in fences(PAGE) if fence.language == "python").lines


@pytest.mark.parametrize("path", [*EXAMPLES, PAGE], ids=lambda path: path.name)
def test_recording_takes_at_most_five_lines(path):
    lines = first_example() if path == PAGE else path.read_text().splitlines()
    assert (
        0
        < len([line for line in lines if re.search(r"\brecord\(|import record|\brun\.", line)])
        <= 5
    )


def run_script(path, *argv, launcher=(), folder):
    """The one record that a script leaves in `folder`."""
    command = [sys.executable, *launcher, str(path), *argv]
    variables = cpu_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = find_records([folder / "runs"])
    record = load_record(found)
    assert (record.status, record.error) == ("completed", None)
    return record


LOOPS = {
    # 1,000 samples are 32 batches of 32, the last of which Accelerate fills up: on each of two
    # processes 16, of which four are a step
    "accelerate_loop": ("accelerate", ACCELERATE, SMALL, 2, 8, 2048),
    # 500 a process are 8 batches of 64
    "ddp_loop": ("torch", TORCHRUN, SMALL, 2, 16, 2000),
    "lightning_loop": ("lightning", (), SMALL, 1, 16, 2000),
    "trainer_loop": ("transformers", (), SMALL, 1, 16, 2000),
    "sklearn_loop": ("sklearn", (), ("--epochs", "2"), 1, 88, 2800),
}
METRICS = {
    "accelerate_loop": {"accuracy"},
    "ddp_loop": {"loss", "accuracy"},
    "lightning_loop": {"loss", "accuracy"},
    "trainer_loop": {"loss", "accuracy", "f1"},
    "sklearn_loop": {"accuracy"},
}


@pytest.mark.processes
@pytest.mark.parametrize("name", LOOPS)
def test_an_example_leaves_the_record_of_its_loop(name, tmp_path):
    framework, launcher, argv, num_processes, num_steps, samples_seen = LOOPS[name]
    needed = {"lightning": "lightning", "transformers": "transformers", "sklearn": "sklearn"}
    if framework in needed and find_spec(framework) is None:
        pytest.skip(f"needs {framework}")
    record = run_script(
        ROOT / f"docs/examples/{name}.py", *argv, "--seed", "7", launcher=launcher, folder=tmp_path
    )
    assert record.workload.framework == framework
    assert (record.seed, record.config["epochs"]) == (7, 2)
    assert record.environment["num_processes"] == num_processes
    assert (record.num_steps, record.eval_points[-1].samples_seen) == (num_steps, samples_seen)
    assert [point.step for point in record.eval_points] == [num_steps // 2, num_steps]
    assert {point.split for point in record.eval_points} == {"val"}
    assert record.metrics.keys() == METRICS[name]
    has_loader = name != "sklearn_loop"
    phases = {"train", "eval", *(["data_wait"] if has_loader else [])}
    assert min(record.phases_s[phase] for phase in phases) > 0
    assert record.throughput.from_step == 2
    assert ("torch" in record.environment["versions"]) == (name != "sklearn_loop")


@pytest.mark.processes
def test_the_page_begins_with_a_script_that_works(tmp_path):
    (tmp_path / "train.py").write_text("\n".join(first_example()))
    record = run_script(tmp_path / "train.py", "--seed", "3", folder=tmp_path)
    assert (record.target.metric, record.num_steps) == ("accuracy", 8 * 157)
    assert record.target.time_s
