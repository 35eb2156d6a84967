"""Runs one after the other in one process: as in processes of their own, or it takes no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mnistbench.schema.store import find_records, load_record
from tests.conftest import SMALL

pytestmark = pytest.mark.processes

FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
ONE_AFTER_THE_OTHER = """
import json, os, signal, sys, warnings
import torch
from mnistbench.engine.in_process import may_go_on, run_here
first, told = None, []
for name, module, arguments, variables, folder in json.load(open(sys.argv[1])):
    before = (dict(os.environ), os.getcwd(), sys.argv, signal.getsignal(signal.SIGTERM))
    status = run_here(module, arguments, variables=os.environ | variables, work_dir=folder)
    after = (dict(os.environ), os.getcwd(), sys.argv, signal.getsignal(signal.SIGTERM))
    held = may_go_on(status, first)
    first = first or held
    told.append([name, status, held is not None, before == after])
json.dump(told, open(sys.argv[2], "w"))
"""
LEAVES = {
    "a thread": "import threading, time; threading.Thread(target=time.sleep, args=(99,),"
    " daemon=True).start()",
    "a child": "import subprocess, sys; subprocess.Popen([sys.executable, '-c',"
    " 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)",
    "memory": "import builtins; builtins.left = bytearray(3 * 2**28)",
    "an error": "raise SystemExit('no')",
}


@pytest.fixture
def one_after_the_other(tmp_path):
    """Runs (name, module, arguments, variables) in one process; by name, what came of each."""

    def run(*runs):
        plan, told = tmp_path / "plan.json", tmp_path / "told.json"
        plan.write_text(json.dumps([[*run, str(tmp_path)] for run in runs]))
        command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(plan), str(told)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2], capture_output=True)
        return {name: tuple(rest) for name, *rest in json.loads(told.read_text())}

    return run


def train(name, *flags, **variables):
    return name, "mnistbench.train", [*FLAGS, "--output-dir", name, "--quiet", *flags], variables


def record(folder):
    (path,) = find_records([folder])
    return load_record(path)


def curve(run):
    losses = [point.loss for point in run.train_points]
    return losses, [(point.step, point.loss, point.accuracy) for point in run.eval_points]


def test_a_run_is_what_it_is_in_a_process_of_its_own_whatever_came_before(
    one_after_the_other, tmp_path
):
    asked = ["--model", "simple-cnn", "--dropout", "0.2", "--augment", "shift", "--seed", "3"]
    found = one_after_the_other(
        train("bf16", "--mixed-precision", "bf16", "--deterministic", "--seed", "8"),
        train("stock", "--loop", "stock", "--num-threads", "2", MNISTBENCH_SHARED_CORES="1"),
        train("again", *asked),
        train("refused", "--lr", "-1"),
    )
    assert found == {
        **dict.fromkeys(("bf16", "stock", "again"), (0, True, True)),
        "refused": (2, False, True),
    }
    command = [sys.executable, "-m", "mnistbench.train", *train("", *asked)[2]]
    command[command.index("")] = str(tmp_path / "fresh")
    subprocess.run(command, check=True, capture_output=True)
    again, fresh = record(tmp_path / "again"), record(tmp_path / "fresh")
    assert curve(again) == curve(fresh)
    differing = {
        name for name, value in fresh.environment.items() if again.environment[name] != value
    }
    assert differing <= {"load_average_1min", "process"}
    assert record(tmp_path / "stock").environment["measured_alone"] is False
    assert sum(again.phases_s.values()) == pytest.approx(again.wall_s, rel=0.01)
    assert again.phases_s["import"] < fresh.phases_s["import"]


def test_a_process_takes_no_more_after_a_run_that_may_have_changed_it(
    one_after_the_other, tmp_path
):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\ndef flat():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    for what, code in LEAVES.items():
        (tmp_path / f"{what.replace(' ', '_')}.py").write_text(code)
    left = [(what, what.replace(" ", "_"), [], {}) for what in LEAVES]
    found = one_after_the_other(
        train("well"),
        *left,
        train("diverged", "--lr", "1e30", "--optimizer", "sgd"),
        train("own", "--model", str(tmp_path / "nets.py:flat")),
    )
    assert found.pop("well") == (0, True, True)
    assert {name: is_fit for name, (_, is_fit, _) in found.items()} == dict.fromkeys(found, False)
    assert (found["an error"][0], found["diverged"][0], found["own"][0]) == (1, 1, 0)
