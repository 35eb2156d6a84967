"""What measures: the machine probe, telemetry, traces with kernels in them, memory snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench.gpu_check.curves import run
from bench.gpu_check.findings import Finding, Setup
from bench.gpu_check.results import attempted
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.recorder.peak_rates import peak_rates
from mnistbench.schema.record import RunRecord

_LEAST_SHARE = 0.5
"""What the probe has to reach of the peak, to measure the card and not the launch of a kernel."""

_READINGS = 3
_MOST_SPREAD = 0.1
_NETWORK = {"model": "cnn", "optimizer": "adam", "lr": 1e-3}
_WATCHED = {"profile_steps": "8:12"}
_SENSORS = (
    *("gpu_utilization", "gpu_clock_hz", "gpu_temperature_c", "gpu_power_w", "gpu_energy_j"),
    "gpu_throttle_reasons",
)


def check(setup: Setup) -> Iterator[Finding]:
    yield from attempted("machine probe", lambda: check_probe(setup))
    loops: dict[str, dict[str, Any]] = {
        "graph": {},
        "eager": {"cuda_graph": False},
        "stock": {"loop": "stock"},
    }
    traces = {
        f"profile torch, {name}": partial(check_trace, setup, name, fields)
        for name, fields in loops.items()
    }
    others = {
        "telemetry": partial(check_telemetry, setup),
        "profile memory": partial(check_memory, setup),
        "profile nvtx, and diagnose": partial(_check_ranges, setup),
    }
    for name, one in {**traces, **others}.items():
        yield from attempted(name, lambda one=one: [one()])


def check_probe(setup: Setup) -> Iterator[Finding]:
    """Its readings against the peak of this device, and against each other."""
    device = torch.device(setup.device_type)
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    peak = peak_rates(device, torch.float32, synchronize=wait)
    readings = [probe_machine(device, synchronize=wait) for _ in range(_READINGS)]
    rates = {
        "product": ([r.matmul_flops_per_s for r in readings], peak.matmul_flops_per_s),
        # the peak counts bytes that are read and those that are written
        "copy": ([r.copy_bytes_per_s for r in readings], peak.copy_bytes_per_s / 2),
    }
    for name, (found, most) in rates.items():
        share, spread = max(found) / most, (max(found) - min(found)) / max(found)
        yield Finding(
            check=f"machine probe, {name}",
            expected=f"at least {100 * _LEAST_SHARE:.0f} % of the peak, {_READINGS} readings "
            f"within {100 * _MOST_SPREAD:.0f} % of each other",
            found=f"{100 * share:.0f} % of the peak, within {100 * spread:.0f} %",
            holds=share >= _LEAST_SHARE and spread <= _MOST_SPREAD,
            values={"best per s": max(found), "peak per s": most},
        )


def check_telemetry(setup: Setup) -> Finding:
    """A run long enough to be sampled; NVML is a package of its own."""
    record = run(setup, **_NETWORK, max_steps=20 * setup.steps)
    told = record.telemetry.model_dump() if record.telemetry else {}
    wanted = ["device_memory_peak_bytes"] if setup.device_type == "cuda" else ["rss_peak_bytes"]
    has_nvml = bool(find_spec("pynvml")) and setup.device_type == "cuda"
    wanted += _SENSORS if has_nvml else ()
    lacking = [name for name in wanted if told.get(name) is None]
    text = ", ".join(f"{name} {told.get(name)}" for name in wanted)
    return Finding(
        check="telemetry",
        expected=f"a value of each: {', '.join(wanted)}",
        found=text if has_nvml else f"{text}; nvidia-ml-py is missing: sensors not tried",
        holds=not lacking,
        values={"samples": told.get("num_samples")},
    )


def check_trace(setup: Setup, name: str, fields: dict[str, Any]) -> Finding:
    """A trace of operators that has the device's kernels and their times."""
    record = run(setup, **_NETWORK, **_WATCHED, **fields, profile=("torch",))
    operators = record.profile.operators if record.profile else []
    timed = [operator for operator in operators if operator.device_s]
    kernels = sum(map(_kernels_in, _files(setup, record, ".json")))
    on_cuda = setup.device_type == "cuda"
    return Finding(
        check=f"profile torch, {name}",
        expected="operators with time on the device, and kernels in the trace"
        if on_cuda
        else "operators in the record, and a trace",
        found=f"{len(timed)} of {len(operators)} operators have time on the device; "
        f"{kernels} kernels in the trace",
        holds=bool(timed and kernels) if on_cuda else bool(operators),
        values={"ran as": record.environment.get("loop_floor"), "error": record.error},
    )


def check_memory(setup: Setup) -> Finding:
    """A snapshot of the device's memory; on a CPU there is a timeline alone."""
    record = run(setup, **_NETWORK, **_WATCHED, profile=("memory",))
    names = record.profile.files if record.profile else []
    snapshots = _files(setup, record, ".pickle")
    on_cuda = setup.device_type == "cuda"
    sizes = [path.stat().st_size for path in snapshots]
    return Finding(
        check="profile memory",
        expected="a snapshot that is not empty" if on_cuda else "a timeline",
        found=f"{', '.join(names) or 'no file'}; snapshots of {sizes} bytes",
        holds=bool(sizes) and min(sizes) > 0 if on_cuda else bool(names),
        values={"ran as": record.environment.get("loop_floor"), "error": record.error},
    )


def _check_ranges(setup: Setup) -> Finding:
    """NVTX ranges, and a diagnosis at the end of the same run."""
    record = run(setup, **_NETWORK, **_WATCHED, profile=("nvtx",), diagnose=True)
    costs, slowdown = record.step_costs, record.profile.slowdown if record.profile else None
    return Finding(
        check="profile nvtx, and diagnose",
        expected="a slowdown, and what a step is made of",
        found=f"slowdown {slowdown or 'none'}; {costs.flops if costs else 'no'} operations a step",
        holds=bool(slowdown and costs and costs.flops and costs.step_s),
        values={
            "step ms": 1e3 * costs.step_s if costs else None,
            "overhead ms": 1e3 * costs.overhead_s if costs and costs.overhead_s else None,
        },
    )


def _files(setup: Setup, record: RunRecord, ending: str) -> list[Path]:
    """Files of the profile of `record` with that ending."""
    names = record.profile.files if record.profile else []
    folder = setup.scratch / "runs" / record.run_id
    return [folder / name for name in names if name.endswith(ending)]


def _kernels_in(trace: Path) -> int:
    """Events of the device in a Chrome trace."""
    events = json.loads(trace.read_text(encoding="utf-8")).get("traceEvents", [])
    return sum(event.get("cat") == "kernel" for event in events)
