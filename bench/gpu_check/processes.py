"""Processes: NCCL with one process, two that share the card, and one of two that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bench.gpu_check.commands import Ended, Started, records_in, torchrun
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import attempted
from mnistbench.launch.commands import torchrun_command
from mnistbench.schema.record import RunRecord

_FLAGS = (
    *("--dataset", "synthetic", "--synthetic-train-size", "6900", "--val-size", "500"),
    *("--model", "simple-cnn", "--lr", "0.02"),
)
_SHORT = ("--max-steps", "200", "--num-epochs", "10")
_LONG = ("--num-epochs", "100000", "--process-timeout-s", "20")
_ENDS_IN_S = 90.0
_NOTICED_IN_S = 45.0


def check(setup: Setup) -> Iterator[Finding]:
    for one in (check_nccl, check_nccl_run):
        yield from attempted(one.__name__, lambda one=one: [one(setup)])
    shared = _check_shared(setup)
    yield shared
    ran = setup.device_type == "cuda" and shared.values["ran"] == "yes"
    yield check_killed(setup, device_type="cuda" if ran else "cpu")


def check_nccl(setup: Setup) -> Finding:
    """Plain torch: what the engine relies on."""
    command = torchrun_command("bench.gpu_check.nccl_alone", [], num_processes=1)
    folder = setup.scratch / "nccl"
    ended = Started(command, folder=folder, device_type=setup.device_type).end(timeout_s=_ENDS_IN_S)
    found: dict[str, Any] = {}
    for line in ended.said.splitlines():
        with suppress(ValueError):
            found = json.loads(line) if line.startswith("{") else found
    on_cuda = setup.device_type == "cuda"
    expected = {"backend": "nccl", "by call": 3.0, "in a graph": 8.0}
    if not on_cuda:
        expected = {"backend": "gloo", "by call": 3.0}
    return Finding(
        check="plain torch, one process: all-reduce by call, in a graph, side group, end",
        expected=f"{_told(expected)}; status 0",
        found=f"{_told(found) or 'nothing'}; {ended.text()}",
        holds=ended.status == 0 and found == expected,
    )


def _told(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def check_nccl_run(setup: Setup) -> Finding:
    """The engine, started by torchrun with one process."""
    folder = setup.scratch / "torchrun-1"
    command = torchrun([*_FLAGS, *_SHORT, *setup.thread_flags()], folder, num_processes=1)
    ended = Started(command, folder=folder, device_type=setup.device_type).end(timeout_s=_ENDS_IN_S)
    records = records_in(folder)
    said = ", ".join(map(_told_of, records)) or "no record"
    right = len(records) == 1 and records[0].status == "completed"
    right = right and records[0].environment["device_type"] == setup.device_type
    return Finding(
        check="torchrun --nproc-per-node 1 -m mnistbench.train",
        expected=f"status 0, one completed record, on {setup.device_type}",
        found=f"{ended.text()}; {said}",
        holds=ended.status == 0 and right,
    )


def _told_of(record: RunRecord) -> str:
    said = record.environment
    kind = f"{said.get('distributed_type')}, {said.get('loop_floor')}"
    return f"{record.status} on {said.get('device_type')} ({kind})"


def _check_shared(setup: Setup) -> Finding:
    """Two processes and one card: they train, or one line says why not."""
    folder = setup.scratch / "shared"
    command = torchrun([*_FLAGS, *_SHORT, *setup.thread_flags()], folder, num_processes=2)
    ended = Started(command, folder=folder, device_type=setup.device_type).end(timeout_s=_ENDS_IN_S)
    records = records_in(folder)
    ran = ended.status == 0 and [record.status for record in records] == ["completed"]
    refused = ended.status not in {0, None} and len(ended.errors) == 1 and not records
    return Finding(
        check="two processes that share the card",
        expected="one completed record, or a refusal in one line and no record",
        found=f"{ended.text()}; {', '.join(map(_told_of, records)) or 'no record'}",
        holds=ran or refused,
        values={"ran": "yes" if ran else "refused" if refused else "no"},
    )


def check_killed(setup: Setup, *, device_type: str) -> Finding:
    """Process 1 of 2 gets SIGKILL; where they cannot share the card, both are on the CPU."""
    folder = setup.scratch / "killed"
    command = torchrun([*_FLAGS, *_LONG, *setup.thread_flags()], folder, num_processes=2)
    started = Started(command, folder=folder, device_type=device_type)
    if started.wait_until_it_trains():
        started.strike(signal.SIGKILL, rank=1)
    else:
        started.kill()
    ended = started.end(timeout_s=_NOTICED_IN_S)
    return Finding(
        check=f"two processes on {device_type}, one gets SIGKILL",
        expected=f"within {_NOTICED_IN_S:.0f} s one line of the other and a record that says so",
        found=_fate(ended, records := records_in(folder)),
        holds=_is_told(ended, records),
    )


def _fate(ended: Ended, records: list[RunRecord]) -> str:
    told = [f"{record.status}: {record.error}" for record in records]
    return f"{ended.text()}; record: {', '.join(told) or 'none'}"


def _is_told(ended: Ended, records: list[RunRecord]) -> bool:
    if ended.status in {0, None} or len(ended.errors) != 1 or len(records) != 1:
        return False
    return records[0].status in {"failed", "interrupted"} and bool(records[0].error)
