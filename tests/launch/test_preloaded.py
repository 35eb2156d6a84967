"""Forks of a process that has imported what runs need: as processes of their own, but sooner."""

import json
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from mnistbench.launch.children import Child, end_all
from mnistbench.launch.commands import child_environment
from mnistbench.launch.preloaded import Preloaded
from mnistbench.schema.store import load_record
from tests.processes import SMALL_FLAGS

pytestmark = pytest.mark.processes

TRAIN = (sys.executable, "-m", "mnistbench.train")
QUICK = (*SMALL_FLAGS, "--model", "linear", "--max-steps", "5")
LONG = (*SMALL_FLAGS, "--model", "linear", "--num-epochs", "100000")
LATE = """
from torch.nn.functional import cross_entropy
calls = []


def late(logits, labels):
    calls.append(1)
    return cross_entropy(logits, labels) if len(calls) < 9 else 1 / 0
"""
NETS = """
import json, os, sys, threading
from pathlib import Path
import numpy as np
from torch import nn

DRAWN = np.random.rand()  # before the run sets a seed


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        print(os.environ.get("ASKED"), os.environ.get("MNISTBENCH_ASKED"), file=sys.stderr)
        self.log = open("log.txt", "w")
        self.log.write("not flushed")
        product = np.ones((300, 300)) @ np.ones((300, 300))  # has OpenBLAS start its threads
        told = [os.getcwd(), os.getsid(0) == os.getpid(), float(product.sum()), DRAWN]
        told += [Path(sys.argv[0]).name, sys.modules["__main__"].__name__]
        Path("told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def preloaded():
    with closing(Preloaded()) as found:
        yield found


@pytest.fixture
def start(preloaded, tmp_path):
    started = []

    def use(*flags, **variables):
        environment = {**child_environment(), **variables}
        command = [*TRAIN, *flags, "--output-dir", str(tmp_path / "out")]
        started.append(preloaded.start(command, environment=environment, work_dir=tmp_path))
        return started[-1]

    yield use
    end_all(started)


def ended(child):
    assert child.wait(60)
    end_all([child])
    return child.status


def record_in(folder):
    (path,) = folder.rglob("record.json")
    return load_record(path)


def server_of(preloaded):
    server = preloaded._servers[-1]
    return server.child._process.pid


def test_a_fork_leaves_the_record_of_a_process_of_its_own(preloaded, tmp_path):
    records = []
    for name, start in (("warm", preloaded.start), ("fresh", Child)):
        flags = [*QUICK, "--output-dir", str(tmp_path / name), "--quiet"]
        assert ended(start([*TRAIN, *flags], environment=child_environment())) == 0
        records.append(record_in(tmp_path / name))
    warm, fresh = records
    assert [r.environment["process"] for r in records] == ["warm", "fresh"]
    assert warm.train_points == fresh.train_points
    assert [p.loss for p in warm.eval_points] == [p.loss for p in fresh.eval_points]
    alike = {"versions", "launcher", "git_commit", "num_threads", "measured_alone", "loop_floor"}
    assert {k: warm.environment[k] for k in alike} == {k: fresh.environment[k] for k in alike}
    assert (warm.dataset, warm.config | {"output_dir": ""}) == (
        fresh.dataset,
        fresh.config | {"output_dir": ""},
    )
    assert sum(warm.phases_s.values()) == pytest.approx(warm.wall_s, rel=0.01)


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (["--lr", "-1"], 2, "error: --lr: should be greater than 0"),
        (["--target-accuracy", "1", "--require-target"], 3, ""),
        (["--lr", "1e4", "--loss", "mse"], 1, ""),
        (["--loss", "losses.py:late"], 1, "error: the run failed: losses.py:"),
        (["--help"], 0, ""),
    ],
)
def test_a_fork_ends_as_a_process_of_its_own(start, tmp_path, flags, status, says):
    (tmp_path / "losses.py").write_text(LATE)
    child = start(*QUICK, *flags)
    assert ended(child) == status
    assert says in child.said


def test_a_fork_has_what_it_was_asked_for_and_others_do_not(start, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    draws = []
    for told in ("one", "two"):
        child = start(*QUICK, "--model", "nets.py:Net", MNISTBENCH_ASKED=told)
        assert ended(child) == 0
        assert f"None {told}" in child.said
        assert (tmp_path / "log.txt").read_text() == "not flushed"
        folder, leads, product, drawn, *named = json.loads((tmp_path / "told.json").read_text())
        assert (folder, leads, product) == (str(tmp_path), True, 300.0**3)
        assert named == ["train.py", "mnistbench.train"]
        draws.append(drawn)
    assert draws[0] != draws[1]


def test_other_variables_are_told_to_a_process_that_began_with_them(start, preloaded, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    assert ended(start("--help")) == 0
    before = server_of(preloaded)
    child = start(*QUICK, "--model", "nets.py:Net", ASKED="before torch")
    assert ended(child) == 0
    assert "before torch None" in child.said
    assert server_of(preloaded) != before
    preloaded._servers.pop().end()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_signal_ends_one_fork_alone(start, preloaded, tmp_path, number, status):
    child = start(*LONG)
    _trains(child)
    before = server_of(preloaded)
    child.signal(number)
    assert ended(child) == status
    assert ended(start(*QUICK)) == 0
    assert server_of(preloaded) == before


def test_a_server_that_was_killed_is_replaced(start, preloaded, tmp_path):
    assert ended(start(*QUICK)) == 0
    before = server_of(preloaded)
    os.kill(before, signal.SIGKILL)
    assert ended(start(*QUICK)) == 0
    assert server_of(preloaded) != before
    assert {load_record(path).environment["process"] for path in tmp_path.rglob("record.json")} == {
        "warm"
    }


def test_code_that_changed_is_imported_again(preloaded, start, tmp_path):
    """Also what this run has not imported: a later one would, under the name of the code before."""
    assert ended(start(*QUICK)) == 0
    before = server_of(preloaded)
    file = Path(__file__).parents[2] / "mnistbench" / "workload" / "image_folders.py"
    was = file.stat()
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
    try:
        assert ended(start(*QUICK)) == 0
        assert server_of(preloaded) != before
    finally:
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_nothing_is_left_once_it_is_closed(tmp_path):
    with closing(Preloaded()) as own:
        child = own.start(
            [*TRAIN, *LONG, "--output-dir", str(tmp_path / "out")], environment=child_environment()
        )
        _trains(child)
        pids = [child._process.pid, server_of(own)]
    child.wait(10)
    end_all([child])
    assert not any(map(psutil.pid_exists, pids))


def test_code_without_a_server_runs_as_before(tmp_path, capsys):
    (tmp_path / "mnistbench").mkdir()
    (tmp_path / "mnistbench" / "__init__.py").write_text("")
    (tmp_path / "mnistbench" / "train.py").write_text("raise SystemExit(3)")
    with closing(Preloaded()) as own:
        for _ in range(2):
            assert ended(own.start(TRAIN, environment=child_environment(tmp_path))) == 3
    assert capsys.readouterr().err.count("each run imports all it needs") == 1


def _trains(child):
    """Wait until `child` trains, and so leaves a record where it is told to end."""
    while b"parameters" not in os.pread(child._log.fileno(), 10_000, 0):
        assert not child.wait(0.02)
