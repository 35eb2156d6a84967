"""Who holds memory when: the allocations in a profiler's trace, each with its operator."""

from __future__ import annotations

import csv
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnistbench.recorder.trace_file import read_trace

__all__ = ["Allocation", "allocations", "write_memory_timeline"]


class Allocation(NamedTuple):
    """One allocation, or with a negative size one release.

    Attributes:
        time_us: since the first one [microseconds].
        device: ``cpu`` or ``cuda:0`` and the like.
        num_bytes: taken, or given back below 0.
        allocated_bytes: held by torch on the device after it.
        operator: the innermost one that it happened in, or nothing.
    """

    time_us: float
    device: str
    num_bytes: int
    allocated_bytes: int
    operator: str


def write_memory_timeline(trace: Path, target: Path) -> None:
    """Write the `allocations` of the trace in file `trace` to `target` as CSV, one a row."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Allocation._fields)
        writer.writerows(allocations(read_trace(trace)["traceEvents"]))


def allocations(events: Sequence[Mapping[str, Any]]) -> list[Allocation]:
    """The ``[memory]`` events among `events` of a Chrome trace, in order of time."""
    found = sorted(_memory_events(events), key=lambda event: float(event["ts"]))
    operators = {id(event): name for event, name in _with_operators(events, found)}
    return [
        Allocation(
            time_us=round(event["ts"] - found[0]["ts"], 3),
            device=_device(event["args"]),
            num_bytes=event["args"]["Bytes"],
            allocated_bytes=event["args"]["Total Allocated"],
            operator=operators[id(event)],
        )
        for event in found
    ]


def _memory_events(events: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (event for event in events if event.get("name") == "[memory]")


def _device(args: Mapping[str, Any]) -> str:
    kind, number = args["Device Type"], args["Device Id"]
    return "cpu" if kind == 0 else f"cuda:{number}"


def _with_operators(
    events: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each of the `found` with the innermost operator of its thread that lasts at its time."""
    starts = (event for event in events if event.get("cat") == "cpu_op")
    entered: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)  # per thread, operators nest
    for event in heapq.merge(sorted(starts, key=_start), found, key=_start):
        inside = entered[event["tid"]]
        while inside and inside[-1]["ts"] + inside[-1]["dur"] < event["ts"]:
            inside.pop()
        if event.get("cat") == "cpu_op":
            inside.append(event)
        else:
            yield event, inside[-1]["name"] if inside else ""


def _start(event: Mapping[str, Any]) -> float:
    return float(event["ts"])
