"""Hooks, profilers and the diagnosis of loops that are not ours."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch

import mnistbench
from mnistbench.recorder.hooks import Hook
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import load_records
from tests.processes import free_port, rendezvous


class Noting(Hook):
    def __init__(self):
        self.told = []

    def note(self, point, watched):
        self.told.append((point, watched.step))

    @contextmanager
    def run(self, watched):
        self.note("run", watched)
        yield
        self.note("ran", watched)

    @contextmanager
    def eval(self, watched):
        before = len(watched.eval_points)
        yield
        new = [point.accuracy for point in watched.eval_points[before:]]
        self.told.append(("eval", watched.step, new, watched.config))

    @contextmanager
    def checkpoint(self, watched):
        yield
        self.note("checkpoint", watched)


class Slow(Noting):
    """Surrounds steps, and takes its time."""

    @contextmanager
    def step(self, watched):
        time.sleep(0.02)
        self.note("step", watched)
        assert (watched.num_steps, watched.steps_per_epoch) == (None, None)
        yield
        time.sleep(0.02)


class Broken(Hook):
    @contextmanager
    def run(self, _watched):
        try:
            yield
        finally:
            raise OSError("no room")


@pytest.fixture
def recorded(tmp_path):
    """Records a loop of `num_steps` steps, two batches to each; gives what was recorded."""

    def loop(num_steps=12, *, body=lambda: torch.ones(8, 8) @ torch.ones(8, 8), **told):
        run = mnistbench.record("toy", config={"lr": 1}, output_dir=tmp_path, **told)
        with run:
            for _ in run.steps([torch.zeros(4)] * 2 * num_steps, batches_per_step=2):
                body()
            with run.evaluating():
                accuracy = 0.5
            run.evaluated(accuracy=accuracy)
            run.evaluated(accuracy=0.25, split="test")
            with run.evaluating():
                pass  # nothing comes of it
            with run.step(num_samples=4):
                body()
            with run.paused("checkpoint"):
                pass
        return run

    return loop


def test_hooks_are_told_of_what_the_loop_does(recorded):
    hook = Noting()
    record = recorded(3, hooks=[hook]).record
    told = [("run", 0), ("eval", 3, [0.5], {"lr": 1}), ("eval", 3, [0.25], {"lr": 1})]
    assert hook.told == [*told, ("eval", 3, [], {"lr": 1}), ("checkpoint", 4), ("ran", 4)]
    assert record.profile is None  # its steps are as they would be
    assert (record.status, record.step_costs) == ("completed", None)


def test_a_hook_that_surrounds_steps_marks_the_run_and_is_not_in_its_time(recorded):
    hook = Slow()
    record = recorded(3, hooks=[hook]).record
    assert [step for point, step, *_ in hook.told if point == "step"] == [0, 1, 2, 3]
    assert record.profile.hooks == ["Slow"]
    assert record.phases_s["profile"] >= 4 * 0.04
    assert record.throughput.step_s_p50 < 0.02
    assert record.train_s < 4 * 0.04
    assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)


def test_a_hook_that_fails_at_the_end_leaves_the_record_there(recorded, tmp_path):
    record = recorded(1, hooks=[Broken()]).record
    assert (record.status, record.error) == ("failed", "OSError: no room")
    with pytest.raises(ZeroDivisionError):
        recorded(1, hooks=[Broken()], body=lambda: 1 / 0)
    _, record = sorted(
        load_records([tmp_path]).records, key=lambda run: run.num_steps, reverse=True
    )
    assert (record.status, record.error) == ("failed", "ZeroDivisionError: division by zero")


def test_chosen_steps_are_profiled_and_the_run_says_so(recorded):
    run = recorded(profile="torch", profile_steps="3:5")
    profile = run.record.profile
    assert (profile.kinds, profile.first_step, profile.end_step) == (["torch"], 3, 5)
    assert profile.slowdown > 0
    assert {operator.name: operator.calls for operator in profile.operators}["aten::mm"] == 4
    [trace] = run.run_folder.glob("traces/*.pt.trace.json")
    assert f"traces/{trace.name}" in profile.files
    steps = [e for e in json.loads(trace.read_text())["traceEvents"] if "ProfilerStep" in e["name"]]
    assert len(steps) == 2
    assert run.record.error is None


def test_steps_that_never_came_are_said(recorded):
    record = recorded(2, profile=["torch"]).record
    assert (record.status, record.error) == (
        "completed",
        "profile_steps: not all of 5:10 were profiled",
    )


def test_a_loop_left_among_the_profiled_steps_keeps_its_record(recorded, tmp_path):
    def fail():
        made.append(None)
        if len(made) == 9:
            raise RuntimeError("a loop's own")

    made = []
    with pytest.raises(RuntimeError, match="a loop's own"):
        recorded(body=fail, profile="torch", profile_steps="3:9")
    [record] = load_records([tmp_path]).records
    assert (record.status, record.num_steps) == ("failed", 4)
    assert record.profile.kinds == ["torch"]


def slow_batches(number, pause_s):
    for _ in range(number):
        time.sleep(pause_s)
        yield torch.zeros(4)


def test_a_diagnosis_tells_waiting_from_the_rest(tmp_path):
    run = mnistbench.record("toy", output_dir=tmp_path, diagnose=True)
    with run:
        for _ in run.steps(slow_batches(6, 0.02)):
            time.sleep(0.005)
    costs = run.record.step_costs
    assert costs.num_steps == 5
    assert costs.step_s > costs.loader_s >= 0.02
    assert (costs.communication_s, costs.overhead_s, costs.flops, costs.work) == (None,) * 4
    assert run.record.profile is None


DDP = """
import sys, torch, mnistbench
import torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(64, 1024))
with mnistbench.record("ddp", diagnose=True, output_dir=sys.argv[1]) as run:
    for batch in run.steps([torch.ones(4, 64)] * 12):
        model(batch).sum().backward()
dist.destroy_process_group()
"""


@pytest.mark.processes
def test_a_diagnosis_of_several_processes_sees_what_they_exchange(tmp_path):
    port = free_port()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", DDP, tmp_path],
            env={**os.environ, "OMP_NUM_THREADS": "1", **rendezvous(rank, port=port)},
        )
        for rank in range(2)
    ]
    assert [child.wait(60) for child in children] == [0, 0]
    [record] = load_records([tmp_path]).records
    costs = record.step_costs
    assert (record.status, record.error) == ("completed", None)
    assert costs.communication_s > 0
    assert record.profile.kinds == ["torch"]  # which took time, so it is in no comparison


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"profile": "tensor"}, "profile: should be one or more of torch, .* \\(got 'tensor'\\)"),
        ({"profile": 3}, "profile: should be one or more of"),
        ({"profile": "sampling"}, "profile_steps: name some, such as"),
        ({"profile": "torch", "profile_steps": "3"}, "profile_steps: should be A:B"),
        ({"profile_steps": "1:3"}, "profile_steps: nothing is profiled; add profile="),
        ({"profile": "nvtx"}, "profile: nvtx needs an NVIDIA GPU"),
        ({"diagnose": "yes"}, "diagnose: should be True or False"),
        ({"hooks": [Noting]}, r"hooks: .* not the class Noting; write Noting\(\)"),
        ({"hooks": "mine"}, "hooks: takes a list of hooks, not str"),
    ],
)
def test_what_cannot_watch_is_refused_at_once(told, said):
    if told.get("profile") == "nvtx" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match=said):
        mnistbench.record("toy", **told)
