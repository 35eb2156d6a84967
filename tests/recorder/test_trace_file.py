import csv
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mnistbench.recorder.trace_file import exchange_s, exported, memory_timeline, without_names


def operator(name, ts, dur, tid=1):
    return {"cat": "cpu_op", "name": name, "ts": ts, "dur": dur, "tid": tid}


def allocation(ts, num_bytes, total, tid=1):
    args = {"Bytes": num_bytes, "Total Allocated": total, "Device Type": 0, "Device Id": -1}
    return {"name": "[memory]", "ts": ts, "tid": tid, "args": args}


def test_each_allocation_has_the_innermost_operator_of_its_thread():
    events = [
        operator("outer", 0, 100),
        operator("inner", 10, 20),
        operator("sibling", 40, 10),
        operator("elsewhere", 0, 1000, tid=2),
        allocation(15, 8, 8),
        allocation(35, 8, 16),
        allocation(45, -8, 8),
        allocation(200, -8, 0),
        allocation(20, 4, 12, tid=2),
    ]
    rows = csv.DictReader(memory_timeline({"traceEvents": events}).splitlines())
    assert [(float(r["time_us"]), int(r["num_bytes"]), r["operator"]) for r in rows] == [
        (0, 8, "inner"),
        (5, 4, "elsewhere"),
        (20, 8, "outer"),
        (30, -8, "sibling"),
        (185, -8, ""),
    ]


def test_a_real_trace_becomes_a_table_whose_sums_are_what_is_held():
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = torch.ones(1000) + 1
        del kept
    trace = exported(profiler.export_chrome_trace)
    rows = list(csv.DictReader(memory_timeline(trace).splitlines()))
    assert {row["operator"] for row in rows} >= {"aten::ones", "aten::add"} or any(
        row["operator"].startswith("aten::empty") for row in rows
    )
    assert max(int(row["num_bytes"]) for row in rows) == 4000
    assert sum(int(row["num_bytes"]) for row in rows) == 0


def event(name, ts, dur, cat="user_annotation"):
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": 1}


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([event("aten::mm", 0, 100, "cpu_op")], None),
        ([event("gloo:all_reduce", 0, 100)], 100e-6),
        (  # half behind computing, of which the call that starts it is no part
            [
                event("gloo:all_reduce", 0, 100),
                event("autograd::engine::evaluate_function: X", 0, 80, "cpu_op"),
                event("c10d::allreduce_", 0, 10, "cpu_op"),
                event("aten::mm", 10, 50, "cpu_op"),
                event("aten::add", 20, 20, "cpu_op"),
            ],
            50e-6,
        ),
        (  # two at once are one; on a device, what the host does meanwhile is no computing
            [
                event("ncclDevKernel_AllReduce", 0, 100, "kernel"),
                event("ncclDevKernel_AllGather", 50, 100, "kernel"),
                event("sgemm", 120, 100, "kernel"),
                event("aten::mm", 0, 500, "cpu_op"),
            ],
            120e-6,
        ),
    ],
)
def test_an_exchange_counts_where_nothing_is_computed(events, seconds):
    trace = {"traceEvents": [*events, {"name": "no duration", "ts": 3}]}
    assert exchange_s(trace) == (None if seconds is None else pytest.approx(seconds))


def test_an_anonymous_trace_is_the_same_but_for_names(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "secret-host")
    trace = {"host_name": "secret-host", "traceEvents": [{"ts": 1.5, "on secret-host_1": None}]}
    assert without_names(trace) == {
        "host_name": "…",
        "traceEvents": [{"ts": 1.5, "on …_1": None}],
    }


def test_half_a_trace_is_none_and_nothing_of_one_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match="not written whole"):
        exported(lambda path: Path(path).write_text('{"traceEvents": ['))
    assert exported(lambda path: Path(path).write_text("{}")) == {}
    assert list(tmp_path.iterdir()) == []
