"""Chrome traces as torch's profiler writes them: read back whole, without names, or as a table."""

from __future__ import annotations

import csv
import errno
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mnistbench.recorder.redaction import redacted

_ON_HOST = ("gloo:", "mpi:", "ucc:")
"""How torch names exchanges that threads of the host make; on a GPU they are kernels of NCCL's."""
_NO_WORK = ("c10d::", "autograd::engine::")
"""What only starts an exchange, and what is around all that is called in backward."""
_ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


def exported(export: Callable[[str], object]) -> Any:
    """The trace that `export` writes to a file, which nobody else sees, and goes.

    Raises:
        OSError: it is not whole, as on a full disk, of which torch does not tell.
    """
    with TemporaryDirectory(prefix="mnistbench-") as folder:
        path = Path(folder) / "trace.json"
        export(str(path))
        try:
            return json.loads(path.read_bytes())
        except ValueError:
            raise OSError(errno.ENOSPC, "not written whole; make room", folder) from None


def without_names(trace: Any) -> Any:
    """`trace` without the names of host and user, and without folders."""
    cut = lru_cache(maxsize=None)(redacted)  # it says the same things many times

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return cut(value)
        if isinstance(value, list):
            return [cleaned(one) for one in value]
        if isinstance(value, dict):
            return {cut(key): cleaned(one) for key, one in value.items()}
        return value

    return cleaned(trace)


def memory_timeline(trace: Mapping[str, Any]) -> str:
    """Who holds memory when: the allocations of `trace` as CSV, one a row, in order of time.

    Columns are the time since the first one [microseconds]; the device; the bytes taken or, below
    0, given back; what torch holds on it then; and the innermost operator that it happened in.
    """
    operators = [event for event in trace["traceEvents"] if event.get("cat") == "cpu_op"]
    memory = [event for event in trace["traceEvents"] if event.get("name") == "[memory]"]
    began_us = min((event["ts"] for event in memory), default=0.0)
    entered: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)  # per thread, operators nest
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("time_us", "device", "num_bytes", "allocated_bytes", "operator"))
    for event in sorted([*operators, *memory], key=lambda event: float(event["ts"])):
        inside = entered[event["tid"]]
        while inside and inside[-1]["ts"] + inside[-1]["dur"] < event["ts"]:
            inside.pop()
        if event.get("cat") == "cpu_op":
            inside.append(event)
            continue
        args, since_us = event["args"], round(event["ts"] - began_us, 3)
        device = "cpu" if args["Device Type"] == 0 else f"cuda:{args['Device Id']}"
        operator = inside[-1]["name"] if inside else ""
        writer.writerow((since_us, device, args["Bytes"], args["Total Allocated"], operator))
    return text.getvalue()


def exchange_s(trace: Mapping[str, Any]) -> float | None:
    """How long processes exchanged while nothing was computed [seconds]; ``None`` if none was seen.

    It holds the wait for processes that came later, and not what hides behind computing.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    on_device = [event for event in events if event.get("cat") in _ON_DEVICE]
    exchanging = [event for event in on_device if "nccl" in event["name"].lower()]
    exchanging += [event for event in events if event["name"].startswith(_ON_HOST)]
    if not exchanging:
        return None
    on_host = (event for event in events if event.get("cat") == "cpu_op")
    computing = [
        event
        for event in on_device or on_host
        if "nccl" not in event["name"].lower() and not event["name"].startswith(_NO_WORK)
    ]
    return (_covered_us([*exchanging, *computing]) - _covered_us(computing)) * 1e-6


def _covered_us(events: Iterable[Mapping[str, Any]]) -> float:
    """How much time at least one of `events` takes up."""
    covered_us, until = 0.0, 0.0
    for began, ended in sorted((event["ts"], event["ts"] + event["dur"]) for event in events):
        covered_us += max(ended - max(began, until), 0.0)
        until = max(until, ended)
    return covered_us
