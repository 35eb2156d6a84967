"""Runs one after the other in one process: as in processes of their own, or it takes no more."""

import json
import os
import subprocess
import sys

import pytest

from mnistbench.launch.children import end_all
from mnistbench.launch.preloaded import Preloaded
from mnistbench.schema.store import find_records, load_record
from tests.conftest import SMALL

pytestmark = pytest.mark.processes

FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
TRAIN = [sys.executable, "-m", "mnistbench.train"]
ASKED = ["--model", "cnn", "--dropout", "0.2", "--augment", "shift", "--seed", "3"]
WHAT_MAY_STAY = """
import builtins, json, os, subprocess, sys, threading, time
from types import SimpleNamespace
from mnistbench.engine.in_process import may_go_on
from mnistbench.engine.preloaded import run_here

def sleep():
    subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)

LEFT = {
    "nothing": lambda: 0,
    "missed its target": lambda: sys.exit(3),
    "failed": lambda: sys.exit(1),
    "raised": lambda: 1 / 0,
    "ended in words": lambda: sys.exit("no"),
    "a thread": lambda: threading.Thread(target=time.sleep, args=(99,), daemon=True).start() or 0,
    "a child": lambda: sleep() or 0,
    "memory": lambda: setattr(builtins, "left", bytearray(3 * 2**28)) or 0,
}
first, found, path = None, {}, sys.argv[1]
for what, main in LEFT.items():
    with open(path, "w+") as log:
        os.dup2(log.fileno(), 2)
        status = run_here(SimpleNamespace(main=main))
        held = may_go_on(status, first)
        first = first or held
        sys.stderr.flush()
        log.seek(0)
        found[what] = [status, held is not None, log.read().strip().rpartition("\\n")[2]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def start():
    """Starts a run in the process that takes all of them; gives it and its process, once ended."""
    preloaded = Preloaded(in_process=True)

    def run(*flags, folder, **variables):
        run = preloaded.start(
            [*TRAIN, *FLAGS, "--output-dir", "runs", "--quiet", *flags],
            environment=os.environ | variables,
            work_dir=folder,
        )
        run.wait()
        end_all([run])
        return run, preloaded._servers[-1].child

    yield run
    preloaded.close()


def record(folder):
    (path,) = find_records([folder])
    return load_record(path)


def curve(run):
    losses = [point.loss for point in run.train_points]
    return losses, [(point.step, point.loss, point.accuracy) for point in run.eval_points]


@pytest.fixture
def folders(tmp_path):
    for name in ("bf16", "stock", "again", "next"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_run_is_what_it_is_in_a_process_of_its_own_whatever_came_before(start, folders):
    _, first = start("--mixed-precision", "bf16", "--seed", "8", folder=folders / "bf16")
    _, second = start("--loop=stock", folder=folders / "stock", MNISTBENCH_SHARED_CORES="1")
    run, third = start(*ASKED, folder=folders / "again")
    assert first is second is third
    assert (run.status, run.said) == (0, "")
    command = [*TRAIN, *FLAGS, "--output-dir", "fresh", *ASKED]
    subprocess.run(command, check=True, capture_output=True, cwd=folders)
    again, fresh = record(folders / "again"), record(folders / "fresh")
    assert curve(again) == curve(fresh)
    differing = {k: v for k, v in again.environment.items() if fresh.environment[k] != v}
    assert differing.pop("process") == "warm"
    assert differing.keys() <= {"load_average_1min"}
    assert record(folders / "stock").environment["measured_alone"] is False
    assert again.environment["measured_alone"] is True
    assert sum(again.phases_s.values()) == pytest.approx(again.wall_s, rel=0.01)


def test_a_process_takes_no_more_after_code_of_the_users_own_or_its_end(start, folders):
    (folders / "again" / "nets.py").write_text(
        "import os, signal\nfrom torch import nn\n\n\ndef flat():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n\n\n"
        "def ends():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run, with_own_code = start("--model=nets.py:flat", folder=folders / "again")
    assert (run.status, with_own_code.wait(), with_own_code.status) == (0, True, 0)
    run, killed = start("--model=nets.py:ends", folder=folders / "again")
    assert (run.status, killed.status) == (-9, -9)
    run, last = start("--max-steps=1", folder=folders / "next")
    assert (run.status, last.status) == (0, None)
    assert record(folders / "next").environment["process"] == "warm"


def test_what_a_run_leaves_behind_is_seen(tmp_path):
    command = [sys.executable, "-c", WHAT_MAY_STAY, str(tmp_path / "log")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(told) == {
        "nothing": [0, True, ""],
        "missed its target": [3, True, ""],
        "failed": [1, False, ""],
        "raised": [1, False, "ZeroDivisionError: division by zero"],
        "ended in words": [1, False, "no"],
        "a thread": [0, False, ""],
        "a child": [0, False, ""],
        "memory": [0, False, ""],
    }
