"""Checks beside NCCL go over gloo and name who is silent; the group is left once."""

import math
import os
import sys
from contextlib import ExitStack
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch

from mnistbench.engine import process_group, process_loss
from mnistbench.engine.health_check import HealthCheck
from mnistbench.engine.process_group import check_group, keep_alive_at_loss, leave_group
from tests.processes import SMALL_FLAGS, Process, free_port, rendezvous

dist = torch.distributed


@pytest.mark.processes
@pytest.mark.parametrize(
    ("how", "told"), [("silent", "process 1 did not answer within 3 s"), ("gone", "has gone")]
)
def test_all_others_are_told_which_process_is_lost(how, told, tmp_path):
    port = free_port()
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                Process(
                    *(sys.executable, "-m", "tests.engine.silent_process", how),
                    environment=os.environ | rendezvous(rank, port=port, num_processes=3),
                    folder=tmp_path,
                )
            )
            for rank in range(3)
        ]
        ended = [process.end(timeout_s=120) for process in started]
    said = [process.stdout.splitlines() or [process.stderr] for process in ended]
    assert [lines[0] for lines in said] == [
        "HealthStatus(bad_step=None, signal=2, same_weights=True)"
    ] * 3
    for rank in (0, 2):
        assert ended[rank].returncode == 3
        assert said[rank][1].startswith(f"process {rank} of 3: ")
        assert told in said[rank][1]


class Two:
    num_processes, device = 2, torch.device("meta")

    def gather(self, mine):
        raise AssertionError("asked the device")


@pytest.fixture
def beside_nccl(monkeypatch):
    """A process beside another whose gradients go over NCCL; gives its calls of c10d."""
    calls = []
    monkeypatch.setattr(process_group, "_side_groups", {})
    monkeypatch.setattr(process_loss, "_lost", [])
    monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(dist, "is_initialized", lambda: "left" not in calls)
    monkeypatch.setattr(dist, "new_group", lambda **made: calls.append(made) or "side")
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("left"))
    monkeypatch.setattr(
        dist.distributed_c10d,
        "_abort_process_group",
        lambda: calls.append("left") or calls.append(0),
    )
    monkeypatch.setattr(dist, "monitored_barrier", lambda *how, **more: calls.append((how, more)))

    def all_gather(parts, mine, *, group):
        calls.append((mine.device.type, group))
        parts[0].copy_(mine)
        parts[1].copy_(torch.tensor([4.0, 15.0, 0.5, 3.0]))

    monkeypatch.setattr(dist, "all_gather", all_gather)
    return calls


def test_a_look_beside_nccl_asks_neither_it_nor_the_device(beside_nccl):
    two = Two()
    group = check_group(two, timeout_s=20)
    assert 20 < group.watchdog_s < 30
    check = HealthCheck(two, group=group)
    status = check.check(torch.ones(9), [torch.ones(2)], elapsed_s=0.1, signal=2)
    assert status == (4, 15, False)
    limit = timedelta(seconds=20)
    assert beside_nccl == [
        {"backend": "gloo", "timeout": limit},
        (("side", limit), {"wait_all_ranks": True}),
        ("cpu", "side"),
    ]
    assert check_group(two, timeout_s=20) == group
    assert len(beside_nccl) == 3  # the group is made once


def test_where_gloo_is_all_there_is_no_other_group_is_made(beside_nccl, monkeypatch):
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    assert check_group(Two(), timeout_s=20).side is None
    assert check_group(Two(), timeout_s=20).watchdog_s == math.inf  # gloo ends waits itself
    assert check_group(SimpleNamespace(num_processes=1), timeout_s=20).side is None
    assert beside_nccl == []


def test_the_group_is_left_once(beside_nccl):
    leave_group()
    leave_group()
    assert beside_nccl == ["left"]


def test_after_a_loss_no_communicator_is_waited_for(beside_nccl, monkeypatch):
    monkeypatch.setattr(process_loss, "_lost", ["process 1"])
    leave_group()
    assert beside_nccl == ["left", 0]


def test_nccl_leaves_the_process_alive_whatever_the_launcher_has_set(monkeypatch):
    monkeypatch.setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")  # as torchrun does
    keep_alive_at_loss()
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"


@pytest.mark.processes
def test_exchanges_that_never_end_leave_one_line_each_and_a_record(launch):
    flags = [*SMALL_FLAGS, "--model", "linear", "--num-epochs", "9", "--process-timeout-s", "3"]
    done, (record,) = launch(*flags, module="tests.engine.hung_train")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("mnistbench: error: ")]
    assert len(said) == 2
    assert all("did not answer within" in line for line in said)
    assert record.status == "failed"
    assert "process 0 of 2: process 1 did not answer" in record.error
