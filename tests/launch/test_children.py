"""Child processes: how they end, and that none is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from mnistbench.launch import children
from mnistbench.launch.children import Child, run_child, wait_for
from mnistbench.schema.errors import InputError, Terminated

pytestmark = pytest.mark.processes


def test_a_child_says_how_it_ended():
    code = "import os, sys; sys.stderr.write('dying'); sys.stderr.flush(); os.abort()"
    assert run_child([sys.executable, "-c", code]) == (-signal.SIGABRT, "dying")


def waiting(started, *, stubborn=False, apart=False):
    """A command of two processes that say so in `started` and then wait to be ended."""
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        f"if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if len(sys.argv) > 2: subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]], "
        f"start_new_session={apart})\n"
        "with open(sys.argv[1], 'a') as file: file.write(f'{os.getpid()}\\n')\n"
        "time.sleep(600)\n"
    )
    return [sys.executable, "-c", code, str(started), code]


def when_started(started, act):
    """Calls `act` once both processes have said that they run; gives where they will be."""
    processes = []

    def watch():
        while not started.exists() or len(started.read_text().splitlines()) < 2:
            time.sleep(0.01)
        processes.extend(psutil.Process(int(pid)) for pid in started.read_text().split())
        act()

    threading.Thread(target=watch, daemon=True).start()
    return processes


def assert_gone(processes):
    assert len(processes) == 2
    patience = time.monotonic() + 10
    while any(map(runs_still, processes)):
        assert time.monotonic() < patience
        time.sleep(0.01)


def runs_still(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # an orphan may wait for init to reap it
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("sent", "raised"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
    ],
)
def test_a_signal_ends_the_child_and_what_it_started(tmp_path, heard_hangup, sent, raised):
    handler = signal.getsignal(sent)
    started = tmp_path / "started"
    processes = when_started(started, lambda: os.kill(os.getpid(), sent))
    with pytest.raises(KeyboardInterrupt) as stop:
        run_child(waiting(started))
    assert stop.type is raised
    assert_gone(processes)
    assert signal.getsignal(sent) is handler


def test_a_child_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "_GRACE_S", 0.1)
    started = tmp_path / "started"
    processes = when_started(started, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        run_child(waiting(started, stubborn=True))
    assert_gone(processes)


def test_what_a_child_leaves_behind_in_a_session_of_its_own_is_ended(tmp_path, monkeypatch):
    """As workers of torchrun are left by one that was killed."""
    monkeypatch.setattr(children, "_GRACE_S", 0.1)
    started = tmp_path / "started"
    processes = when_started(
        started, lambda: [p.kill() for p in processes if p.ppid() == os.getpid()]
    )
    run_child(waiting(started, apart=True))
    assert_gone(processes)


def test_any_exception_ends_the_child(tmp_path):
    def alarm(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        started = tmp_path / "started"
        processes = when_started(started, lambda: os.kill(os.getpid(), signal.SIGALRM))
        with pytest.raises(TimeoutError):
            run_child(waiting(started))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_gone(processes)


def test_a_signal_that_comes_while_the_child_starts_is_not_lost():
    started = []

    def start(*args, **options):
        started.append(subprocess.Popen(*args, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(Terminated):
        wait_for(lambda: Child(command, start=start))
    assert started[0].poll() is not None


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code = "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"
        assert run_child([sys.executable, "-c", code])[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_can_run_a_child_too():
    results = []
    thread = threading.Thread(target=lambda: results.append(run_child([sys.executable, "-c", ""])))
    thread.start()
    thread.join()
    assert results == [(0, "")]


def test_a_program_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing: cannot be started"):
        run_child([str(tmp_path / "missing")])
