"""Commands that are forked off a server are, from outside, the processes that they stand for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import warm_commands
from tests.processes import SMALL_FLAGS
from tests.started_processes import Watch

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each has an interpreter"),
]
TRAIN = [sys.executable, "-u", "-m", "mnistbench.train", *SMALL_FLAGS, "--model", "linear"]


@pytest.fixture
def facts(tmp_path):
    """What the system and the parent know of a command under way, and of its end."""

    def find(command):
        with subprocess.Popen(
            [*command, "--num-epochs", "90000", "--output-dir", str(tmp_path)],
            env=os.environ | {"TOLD": "yes"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as child:
            started = "mnistbench: training linear"  # the first line, but where imports are slow
            assert any(line.startswith(started) for line in child.stderr)
            process = psutil.Process(child.pid)
            found = {
                "command": [word for word in process.cmdline() if word],
                "variable": process.environ()["TOLD"],
                "parent": process.ppid() == os.getpid(),
                "session": os.getsid(child.pid) == child.pid,
                "folder": process.cwd(),
                "input": str(Path(f"/proc/{child.pid}/fd/0").readlink()),
                "young": time.time() - process.create_time() < 30,
            }
            child.send_signal(signal.SIGINT)
            said = child.communicate(timeout=60)
        last = said[1].splitlines()[-1].partition(" after step")[0]
        return found | {"status": child.returncode, "stdout": said[0], "last": last}

    return find


def test_a_fork_is_what_an_interpreter_would_be(facts, tmp_path):
    warm = facts(TRAIN)
    with warm_commands.cold():
        assert facts(TRAIN) == warm
    assert warm["status"] == 130
    assert warm["last"] == "mnistbench: interrupted"
    assert warm["command"][:4] == TRAIN[:4]


def is_warm(*words, **options):
    told = {"args": words, "env": None, "cwd": None, "preexec_fn": None, "executable": None}
    told |= {"start_new_session": False, "pass_fds": ()}
    return warm_commands._request(told | options) is not None


def test_what_an_interpreter_would_read_at_its_start_gets_one(tmp_path):
    assert is_warm(*TRAIN)
    assert not is_warm(*TRAIN, env=os.environ | {"PYTHONHASHSEED": "1"})
    assert not is_warm(*TRAIN, preexec_fn=os.getpid)
    assert not is_warm(TRAIN[0], "-X", "utf8", *TRAIN[2:])
    assert not is_warm(TRAIN[0], "-c", "print()")
    assert not is_warm("/bin/true", "-m", "mnistbench.train")
    with warm_commands.cold():
        assert not is_warm(*TRAIN)


def test_another_package_in_the_folder_gets_an_interpreter(tmp_path):
    assert is_warm(*TRAIN, cwd=tmp_path)
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert is_warm(*TRAIN, env=path)
    (tmp_path / "mnistbench").mkdir()
    assert not is_warm(*TRAIN, cwd=tmp_path)
    assert not is_warm(*TRAIN, env=path)
    assert is_warm(*TRAIN, cwd=tmp_path, env=os.environ | {"PYTHONSAFEPATH": "1"})


def test_what_outlives_a_test_is_told_with_its_name(monkeypatch):
    monkeypatch.setattr(sys, "addaudithook", lambda hook: None)
    monkeypatch.setattr("tests.started_processes._OURS", "ANOTHER_NAME")
    monkeypatch.setenv("ANOTHER_NAME", "")
    watch = Watch()
    with subprocess.Popen(["sleep", "60"]) as child:
        patience = time.monotonic() + 5
        while not watch._running() and time.monotonic() < patience:
            time.sleep(0.01)  # its variables can be read a moment after it was started
        watch.note("its test")
        assert watch.left_behind(grace_s=0) == ["its test: sleep 60"]
        child.kill()
    assert watch.left_behind(grace_s=5) == []
