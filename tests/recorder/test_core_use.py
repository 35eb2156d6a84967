"""Whose processor time it was: ours or others'."""

import os
import subprocess
import sys
import time
from threading import Thread

import psutil
import pytest

from mnistbench.recorder import core_use as module
from mnistbench.recorder.core_use import CoreTimes, CoreUse, core_use, load_now, read_core_times

SPIN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass\n"
SAY_SPENT = "print(time.process_time())"
MOST_LOST_S = 0.15
"""Of the time of a stretch: what ticks of 10 ms and stolen time may hide."""


def times(at_s, ours_s, busy_s, cores=(0, 1)):
    return CoreTimes(at_s, ours_s, tuple(busy_s), frozenset(cores))


def spin(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def spun_in(work):
    """Seconds that ours and others spun while `work` was done, and what it gave."""
    before = read_core_times()
    gave = work()
    after = read_core_times()
    use, elapsed_s = core_use(before, after), after.at_s - before.at_s
    return use.ours * elapsed_s, use.others * elapsed_s, gave


def test_others_are_what_was_busy_and_not_ours():
    use = core_use(times(0.0, 5.0, (10.0, 20.0)), times(2.0, 8.0, (11.5, 22.0)))
    assert use == CoreUse(ours=1.5, others=pytest.approx(0.25), num_cores=2)


def test_only_cores_that_ours_may_run_on_count():
    use = core_use(times(0.0, 0.0, (0.0, 0.0), (1,)), times(1.0, 0.25, (1.0, 0.5), (1,)))
    assert use == CoreUse(ours=0.25, others=0.25, num_cores=1)


def test_counters_that_fell_give_nothing_below_zero():
    use = core_use(times(0.0, 9.0, (1.0, 1.0)), times(1.0, 2.0, (1.5, 1.5)))
    assert use == CoreUse(ours=0.0, others=1.0, num_cores=2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, times(1.0, 0.0, (1.0, 1.0))),
        (times(0.0, 0.0, (0.0, 0.0)), None),
        (times(0.0, 0.0, (0.0, 0.0)), times(0.1, 0.0, (0.1, 0.1))),
        (times(0.0, 0.0, (0.0,)), times(1.0, 0.0, (1.0, 1.0))),
    ],
    ids=["no first", "no second", "too short", "a core more"],
)
def test_what_is_not_known_is_none(before, after):
    assert core_use(before, after) is None


def test_own_threads_are_ours():
    def work():
        thread = Thread(target=spin, args=(0.4,))
        thread.start()
        thread.join()
        time.sleep(0.2)

    ours_s, _, _ = spun_in(work)
    assert ours_s > 0.4 - MOST_LOST_S


@pytest.mark.processes
def test_a_child_is_ours_while_it_runs_and_when_it_has_ended():
    command = [sys.executable, "-c", SPIN + "print(flush=True); time.sleep(600)", "0.4"]

    def work():
        with subprocess.Popen([*command[:2], SPIN, "0.4"]) as ended:
            ended.wait()
        running = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.stdout.readline()
        return running

    ours_s, _, running = spun_in(work)
    with running:
        running.kill()
    assert ours_s > 0.8 - 2 * MOST_LOST_S


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="an orphan is made by a shell")
def test_a_neighbour_is_another():
    """One that a shell left behind, so that it is no child of ours; it says what it spun."""
    neighbour = [sys.executable, "-c", SPIN + SAY_SPENT, "0.6"]

    def work():
        began_s, by_children_s = time.process_time(), os.times()
        shell = ["sh", "-c", '"$@" & exec true', "sh", *neighbour]
        said = subprocess.run(shell, stdout=subprocess.PIPE, check=True).stdout
        now = os.times()
        mine_s = time.process_time() - began_s
        mine_s += now.children_user - by_children_s.children_user
        return float(said), mine_s + now.children_system - by_children_s.children_system

    ours_s, others_s, (spun_s, mine_s) = spun_in(work)
    assert others_s > spun_s - MOST_LOST_S
    assert ours_s < mine_s + MOST_LOST_S


READER = """
import os, time
from mnistbench.recorder.core_use import core_use, read_core_times
def read(local_world_size):
    os.environ["WORLD_SIZE"] = os.environ["LOCAL_WORLD_SIZE"] = local_world_size
    return read_core_times()
before = [read(size) for size in "12"]
print("ready", flush=True)
input()
time.sleep(0.25)
for first, last in zip(before, [read(size) for size in "12"]):
    print(core_use(first, last).ours * (last.at_s - first.at_s))
"""
LAUNCHER = """
import subprocess, sys
reader_code, spin_code = sys.argv[1:]
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
reader = subprocess.Popen([sys.executable, "-c", reader_code], **pipes)
reader.stdout.readline()
subprocess.run([sys.executable, "-c", spin_code, "0.6"], check=True)
print(reader.communicate("\\n")[0])
"""


@pytest.mark.processes
def test_other_processes_of_a_launcher_are_ours_only_if_it_started_several():
    command = [sys.executable, "-c", LAUNCHER, READER, SPIN]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    alone_s, with_others_s = map(float, said.split())
    assert with_others_s - alone_s > 0.6 - MOST_LOST_S


@pytest.mark.processes
def test_a_process_that_ended_meanwhile_is_passed_over(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        gone = psutil.Process(child.pid)
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [gone])
    with pytest.raises(psutil.NoSuchProcess):
        gone.cpu_times()
    assert read_core_times().ours_s > 0


@pytest.mark.parametrize("error", [PermissionError(), psutil.AccessDenied()])
def test_a_system_that_does_not_tell_gives_none(monkeypatch, error):
    def refuse(percpu):
        raise error

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    assert read_core_times() is None


@pytest.mark.parametrize(
    ("others", "threads", "gpu", "says"),
    [
        (1.5, None, False, "other processes use 1.5 of 2 cores: times will be longer and vary"),
        (0.1, None, False, None),
        (1.0, "1", False, None),
        (1.5, "1", False, "other processes use 1.5 of 2 cores"),
        (1.0, None, True, None),
        (2.0, None, True, "other processes use 2.0 of 2 cores"),
    ],
    ids=["crowded", "idle", "a core left", "half a core left", "beside a GPU", "no core left"],
)
def test_load_is_told_where_it_leaves_too_few_cores(
    monkeypatch, tmp_path, others, threads, gpu, says
):
    told = iter([times(0.0, 0.0, (0.0, 0.0)), times(1.0, 0.0, (others / 2, others / 2))])
    monkeypatch.setattr(module, "read_core_times", lambda: next(told))
    monkeypatch.setattr(module, "_NVIDIA_DRIVER", tmp_path if gpu else tmp_path / "none")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = load_now()
    assert found is None if says is None else found.startswith(says)


def test_a_system_that_does_not_tell_is_no_idle_one():
    assert load_now() is None  # read_core_times gives none in these tests
