"""Processes that train together, and what they make of what each counted."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import distributed

import mnistbench
from mnistbench.recorder import loop_run, processes, stop_signals
from mnistbench.recorder.loop_record import together
from mnistbench.recorder.processes import Processes, Tally
from mnistbench.recorder.script_identity import Script
from mnistbench.schema.store import find_records, load_record

TALLY = Tally(
    num_steps=10,
    num_samples=40,
    first_samples=4,
    step_size=4,
    train_s=2.0,
    first_step_s=1.0,
    step_s_p50=0.1,
    step_s_p95=0.2,
    stood_still_s=0.0,
    num_pauses=1,
    status="completed",
    error=None,
)


def test_samples_add_up_and_the_slowest_clock_counts():
    slow = replace(TALLY, train_s=3.0, first_step_s=0.5, stood_still_s=0.1)
    counted = together([TALLY, slow])
    assert (counted.num_processes, counted.num_samples, counted.step_size) == (2, 80, 8)
    assert (counted.train_s, counted.first_step_s, counted.stood_still_s) == (3.0, 0.5, 0.1)
    assert (counted.status, counted.error) == ("completed", None)


def test_who_waited_for_the_others_to_pause_is_not_slow():
    waited = replace(TALLY, train_s=9.0, num_pauses=0)
    assert together([TALLY, waited]).train_s == 2.0


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (None, "process 1 did not tell what it counted; call mnistbench.record in every process"),
        (replace(TALLY, num_steps=9), "process 1 made 9 steps, and the main one 10"),
        (replace(TALLY, status="failed", error="ValueError: no"), "process 1: ValueError: no"),
        (replace(TALLY, status="interrupted"), "process 1: interrupted"),
    ],
)
def test_who_does_not_fit_is_named(other, said):
    counted = together([TALLY, other])
    assert counted.status == "failed"
    assert counted.error.startswith(said)
    ended = replace(TALLY, status="interrupted", error="stopped by SIGTERM")
    assert together([ended, other]).error == "stopped by SIGTERM"
    if other is None:
        assert counted.num_samples is counted.step_size is None


def met(index, store):
    one = Processes()
    one.index, one.count, one._store = index, 2, store
    return one


def test_what_others_count_is_collected_in_the_store(monkeypatch):
    store = distributed.HashStore()
    main, other = met(0, store), met(1, store)
    monkeypatch.setattr(processes, "_NO_SIGN_S", 0.0)
    assert main.collect(TALLY, is_over=lambda: False) == [TALLY, None]
    store.set("1/here", "")
    asked = count()
    assert main.collect(TALLY, is_over=lambda: next(asked) == 3) == [TALLY, None]
    told = replace(TALLY, num_steps=3, error="x")
    other.report(told)
    assert main.collect(TALLY, is_over=lambda: False) == [TALLY, told]


def trained(index, mode, folder):
    """A process of two, in which gloo adds up gradients."""
    os.environ["MNISTBENCH_OUTPUT_DIR"] = f"{folder}/runs"
    loop_run.find_script = Script
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=index, world_size=2)
    gradient = torch.ones(3)
    with mnistbench.record("two") as run:
        for epoch in range(2):
            for number, _ in enumerate(run.steps([torch.zeros(4)] * 5)):
                if (mode, index, epoch, number) == ("killed", 1, 1, 2):
                    os.kill(os.getpid(), signal.SIGKILL)
                distributed.all_reduce(gradient)
            if index == 0:
                with run.evaluating():
                    time.sleep(0.2)
                run.evaluated(accuracy=epoch / 2)
        distributed.destroy_process_group()


@pytest.mark.processes
@pytest.mark.parametrize("mode", ["well", "killed"])
def test_two_processes_leave_one_record(mode, tmp_path):
    fork = multiprocessing.get_context("fork")
    two = [fork.Process(target=trained, args=(index, mode, tmp_path)) for index in range(2)]
    for one in two:
        one.start()
    for one in two:
        one.join(60)
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert record.environment["num_processes"] == 2
    if mode == "killed":
        assert [one.exitcode for one in two] == [1, -signal.SIGKILL]
        assert record.status == "failed"
        assert record.num_steps == 7
        assert record.throughput.samples_per_s is None
        return
    assert [one.exitcode for one in two] == [0, 0]
    assert (record.status, record.num_steps) == ("completed", 10)
    assert [point.samples_seen for point in record.eval_points] == [40, 80]
    assert record.environment["global_batch_size"] == 8
    assert record.train_s < 0.2  # the other one waited for the evaluation
    assert record.throughput.samples_per_s > 72 / 0.2


def never_returns():
    """Wait inside a library, which no signal interrupts: for a mutex that this thread has."""
    mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    for _ in range(2):
        libc.pthread_mutex_lock(mutex)


def stopped(where, folder):
    """A process that is sent SIGTERM while it trains, waits for its loader, or evaluates."""
    os.environ["MNISTBENCH_OUTPUT_DIR"] = f"{folder}/runs"
    loop_run.find_script = Script

    stop_signals._PATIENCE_S = 0.05

    def stop_at(number, place):
        if (number, place) == (3, where):
            if where == "deaf":
                threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
                never_returns()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    def loader():
        for number in range(9):
            stop_at(number, "waiting")
            yield number

    with mnistbench.record("stopped") as run:
        for number in run.steps(loader(), num_samples=2):
            stop_at(number, "training")
            stop_at(number, "deaf")
            with suppress(KeyboardInterrupt):
                stop_at(number, "caught")


def forked(folder):
    """A process whose own child, such as a loader's worker, is sent SIGTERM."""
    os.environ["MNISTBENCH_OUTPUT_DIR"] = f"{folder}/runs"
    loop_run.find_script = Script
    stop_signals._PATIENCE_S = 0.05
    with mnistbench.record("forked") as run:
        for _ in run.steps(range(3), num_samples=1):
            if not (child := os.fork()):
                time.sleep(30)
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
            time.sleep(0.2)


@pytest.mark.processes
def test_a_signal_to_a_child_ends_that_child_alone(tmp_path):
    one = multiprocessing.get_context("fork").Process(target=forked, args=(tmp_path,))
    one.start()
    one.join(60)
    assert one.exitcode == 0
    (path,) = find_records([tmp_path / "runs"])
    assert (load_record(path).status, load_record(path).num_steps) == ("completed", 3)


@pytest.mark.processes
@pytest.mark.parametrize("where", ["training", "waiting", "caught", "deaf"])
def test_a_signal_leaves_a_record_and_ends_the_process_as_ever(where, tmp_path):
    one = multiprocessing.get_context("fork").Process(target=stopped, args=(where, tmp_path))
    one.start()
    one.join(60)
    assert one.exitcode == {"deaf": 143}.get(where, -signal.SIGTERM)
    (path,) = find_records([tmp_path / "runs"])
    record = load_record(path)
    assert (record.status, record.error) == ("interrupted", "stopped by SIGTERM")
    assert record.num_steps == (9 if where == "caught" else 3)
