"""What a record holds of the why: profile, telemetry, and what a step's time is made of.

Durations are in seconds, utilisations fractions; what could not be read is ``None``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mnistbench.schema.names import ProfileKind
from mnistbench.schema.strict_model import StrictModel

__all__ = ["Ceilings", "OperatorTime", "Profile", "StepCosts", "Telemetry"]

_Text = Annotated[str, Field(max_length=300)]
_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0)]
_Rate = Annotated[float, Field(gt=0)]


class OperatorTime(StrictModel):
    """What one kind of operator took in all profiled steps, without what it called.

    `memory_bytes` is what it allocated less what it freed; `flops` by torch's formulas.
    """

    name: _Text
    calls: _Count
    cpu_s: _Amount
    device_s: _Amount | None = None
    memory_bytes: int | None = None
    flops: _Count | None = None


class Profile(StrictModel):
    """How the steps of a run were watched, which makes their times nobody's measure.

    Steps are from `first_step` (0-based) to before `end_step`; `files` are relative to the run's
    folder; `hooks` are those that Python added and that watch steps. `slowdown` is the median step
    while profiled by the median of the others.
    """

    kinds: list[ProfileKind]
    hooks: list[_Text] = Field(default_factory=list)
    first_step: _Count | None = None
    end_step: _Count | None = None
    slowdown: _Rate | None = None
    files: list[_Text] = Field(default_factory=list)
    operators: list[OperatorTime] = Field(default_factory=list)


class Telemetry(StrictModel):
    """The main process's machine while a run trained, sampled between timed windows.

    `cores_used` is how many cores this run's processes on it kept busy, `others_cores_before` and
    `others_cores_during` how many all else did, time stolen by a hypervisor included. GPU values
    are of the main process's device: peaks of memory and temperature, means of the rest.
    """

    num_samples: _Count
    rss_peak_bytes: _Count | None = None
    device_memory_peak_bytes: _Count | None = None
    cores_used: _Amount | None = None
    others_cores_before: _Amount | None = None
    others_cores_during: _Amount | None = None
    load_average_1min: _Amount | None = None
    cpu_clock_hz: _Rate | None = None
    cpu_temperature_c: float | None = None
    cpu_energy_j: _Amount | None = None
    gpu_utilization: Annotated[float, Field(ge=0, le=1)] | None = None
    gpu_clock_hz: _Rate | None = None
    gpu_temperature_c: float | None = None
    gpu_power_w: _Amount | None = None
    gpu_energy_j: _Amount | None = None
    gpu_throttle_reasons: list[_Text] | None = None


class Ceilings(StrictModel):
    """The most this machine was seen to do with the run's threads and precision.

    A large matrix product, a copy of more than any cache holds, and one that fits into the cache.
    """

    matmul_flops_per_s: _Rate
    copy_bytes_per_s: _Rate
    cached_copy_bytes_per_s: _Rate


class StepCosts(StrictModel):
    """What a full step is made of, found out after training: medians over steps [seconds].

    Attributes:
        step_s: all of it.
        loader_s: waiting for its batch.
        communication_s: exchanging with other processes, waiting for them included.
        overhead_s: what a step of two samples per process takes beyond its own `arithmetic_s` and
            `traffic_s`: calls, whatever the batch. None where such a step cannot be run.
        arithmetic_s: the least that operators bound by arithmetic could take, at the ceilings.
        traffic_s: the least that the others could, bound by memory.
        flops: floating-point operations of a step on one process, by torch's counter.
        traffic_bytes: what its operators read and write on one process, each by itself.
        ceilings: of the main process.
        num_steps: steps that were timed.
    """

    step_s: _Rate
    loader_s: _Amount
    communication_s: _Amount | None = None
    overhead_s: _Amount | None = None
    arithmetic_s: _Amount
    traffic_s: _Amount
    flops: _Count
    traffic_bytes: _Count
    ceilings: Ceilings
    num_steps: Annotated[int, Field(ge=1)]
