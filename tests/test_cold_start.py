"""A start stays cheap: what is imported, what collections go through, what is compiled and kept."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

HEAVY = {
    *("scipy", "matplotlib", "torchinfo", "tensorboard", "pandas", "torchvision", "PIL"),
    # torch's compiler and what comes with it: the first step of an optimizer imports it, unless
    # its wrappers are left out, and so do shapes on the meta device
    *("torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "triton"),
}
RUN = [
    *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
    *("--model", "linear", "--max-steps", "1", "--no-compile", "--quiet"),
]


def told_by(code, *arguments):
    """What `code` prints as the last line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """One process, two runs by the door: what each leaves, and what the end has to go through."""
    code = (
        "import atexit, gc, json, sys\n"
        "from mnistbench.train import main\n"
        "runs = []\n"
        "atexit.register(lambda: print(json.dumps([*runs, len(gc.get_objects())])))\n"
        "for _ in range(2):\n"
        "    status = main(sys.argv[1:])\n"
        "    runs.append([status, gc.isenabled(), gc.get_freeze_count(), sorted(sys.modules)])\n"
    )
    return told_by(code, *RUN, "--output-dir", str(tmp_path_factory.mktemp("runs")))


def test_training_adds_few_libraries_to_torch_and_accelerate():
    code = (
        "import json, sys, torch, accelerate\n"
        "before = set(sys.modules)\n"
        "from mnistbench.engine.run_seeds import train\n"
        "print(json.dumps([sorted(before), sorted(sys.modules)]))\n"
    )
    before, after = (
        {name.partition(".")[0] for name in names} - sys.stdlib_module_names
        for names in told_by(code)
    )
    pydantic = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
    assert after - before <= {"mnistbench", "psutil", *pydantic}


def test_a_run_needs_nothing_heavy_and_no_compiler(two_runs):
    (status, _, _, modules), *_ = two_runs
    assert status == 0
    assert "mnistbench.engine.run_seeds" in modules
    assert not HEAVY & set(modules)


def test_collections_leave_out_what_was_imported_but_not_what_runs_leave(two_runs):
    (_, enabled, frozen, _), (_, still_enabled, still_frozen, _), _ = two_runs
    assert enabled
    assert still_enabled
    assert frozen > 100_000  # the objects of torch
    assert still_frozen <= frozen


def test_nothing_is_collected_at_the_end(two_runs):
    assert two_runs[2] < 1_000
