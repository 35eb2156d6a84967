"""A launcher that ends with the process before it."""

import os
import subprocess
import sys

import pytest

from mnistbench.recorder.parent_death_signal import PARENT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux's kernel"),
    pytest.mark.processes,
]


def tied(code, parent):
    return subprocess.run(
        [sys.executable, "-m", "mnistbench.launch.tied", sys.executable, "-c", code],
        env=os.environ | {PARENT: str(parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_becomes_the_command_which_names_itself_to_its_children():
    code = f"import os, sys; print(os.environ['{PARENT}'] == str(os.getpid())); sys.exit(7)"
    done = tied(code, os.getpid())
    assert (done.returncode, done.stdout) == (7, "True\n")


def test_it_does_not_start_a_command_whose_parent_is_gone():
    done = tied("print('started')", 1)
    assert (done.returncode, done.stdout) == (-9, "")
