"""Who holds memory when: the allocations in a profiler's trace, each with its operator."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Allocation", "allocations", "memory_timeline"]


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


def memory_timeline(trace: Mapping[str, Any]) -> str:
    """The `allocations` of a Chrome trace as CSV, one a row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(Allocation._fields)
    writer.writerows(allocations(trace["traceEvents"]))
    return text.getvalue()


def allocations(events: Sequence[Mapping[str, Any]]) -> list[Allocation]:
    """The ``[memory]`` events among `events` of a Chrome trace, in order of time."""
    operators = [event for event in events if event.get("cat") == "cpu_op"]
    memory = [event for event in events if event.get("name") == "[memory]"]
    began_us = min((event["ts"] for event in memory), default=0.0)
    entered: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)  # per thread, operators nest
    found = []
    for event in sorted([*operators, *memory], key=lambda event: float(event["ts"])):
        inside = entered[event["tid"]]
        while inside and inside[-1]["ts"] + inside[-1]["dur"] < event["ts"]:
            inside.pop()
        if event.get("cat") == "cpu_op":
            inside.append(event)
            continue
        args = event["args"]
        found.append(
            Allocation(
                time_us=round(event["ts"] - began_us, 3),
                device="cpu" if args["Device Type"] == 0 else f"cuda:{args['Device Id']}",
                num_bytes=args["Bytes"],
                allocated_bytes=args["Total Allocated"],
                operator=inside[-1]["name"] if inside else "",
            )
        )
    return found
