"""Processes that end with the one that started them."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from mnistbench.recorder.parent_death_signal import PARENT

ENDS = "from mnistbench.recorder.parent_death_signal import die_with_parent; die_with_parent(); "
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux's kernel"),
    pytest.mark.processes,
]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def gone(pid):
    patience = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > patience:
            return False
        time.sleep(0.01)
    return True


def test_a_killed_parent_takes_its_child_along():
    child = f"{ENDS} print('ready', flush=True); import time; time.sleep(600)"
    code = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = python(code)
    assert killed.returncode == -9
    assert gone(int(killed.stdout))


def test_a_child_whose_named_parent_is_gone_ends_at_once():
    assert python(f"{ENDS} print('alive')", **{PARENT: "1"}).returncode == -9


def test_a_child_of_its_named_parent_goes_on():
    done = python(f"{ENDS} print('alive')", **{PARENT: str(os.getpid())})
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_without_a_name_any_parent_will_do():
    assert python(f"{ENDS} print('alive')", **{PARENT: ""}).stdout == "alive\n"
