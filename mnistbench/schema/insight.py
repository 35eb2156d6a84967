"""What a record holds of the why: profile, telemetry, and what a step's time is made of.

Durations are in seconds, utilisations fractions; what could not be read is ``None``.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from mnistbench.schema.names import ProfileKind
from mnistbench.schema.strict_model import StrictModel

_Text = Annotated[str, Field(max_length=300)]
_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0)]
_Rate = Annotated[float, Field(gt=0)]


class OperatorTime(StrictModel):
    """What one kind of operator took in all profiled steps, without what it called."""

    name: _Text
    """Its name."""
    calls: _Count
    """How often it was called."""
    cpu_s: _Amount
    """Time on the CPU [seconds]."""
    device_s: _Amount | None = None
    """Time on the device [seconds]."""
    memory_bytes: int | None = None
    """What it allocated less what it freed [bytes]."""
    flops: _Count | None = None
    """Floating-point operations, by torch's formulas."""


class Profile(StrictModel):
    """How the steps of a run were watched, which makes their times nobody's measure."""

    kinds: list[ProfileKind]
    """The profilers."""
    hooks: list[_Text] = Field(default_factory=list)
    """Hooks of Python that surrounded steps."""
    first_step: _Count | None = None
    """The first step that was watched, from 0."""
    end_step: _Count | None = None
    """The step after the last."""
    slowdown: _Rate | None = None
    """The median step while profiled by the median of the others."""
    files: list[_Text] = Field(default_factory=list)
    """What was written, relative to the run's folder."""
    operators: list[OperatorTime] = Field(default_factory=list)
    """The operators that took longest."""


class Telemetry(StrictModel):
    """The main process's machine while a run trained, sampled between timed windows."""

    num_samples: _Count
    """How often it was sampled."""
    rss_peak_bytes: _Count | None = None
    """Peak of the process's memory [bytes]."""
    device_memory_peak_bytes: _Count | None = None
    """Peak of the device's memory [bytes]."""
    cores_used: _Amount | None = None
    """Cores that this run's processes kept busy."""
    others_cores_before: _Amount | None = None
    """Cores that all else kept busy before, a hypervisor's share included."""
    others_cores_during: _Amount | None = None
    """The same while it trained."""
    load_average_1min: _Amount | None = None
    """Load average."""
    cpu_clock_hz: _Rate | None = None
    """Mean clock of the processor [Hz]."""
    cpu_temperature_c: float | None = None
    """Mean temperature of the processor [°C]."""
    cpu_energy_j: _Amount | None = None
    """Energy that the processor took [joules]."""
    gpu_utilization: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the time in which the main process's GPU was busy."""
    gpu_clock_hz: _Rate | None = None
    """Its mean clock [Hz]."""
    gpu_temperature_c: float | None = None
    """Its highest temperature [°C]."""
    gpu_power_w: _Amount | None = None
    """Its mean power [watts]."""
    gpu_energy_j: _Amount | None = None
    """Energy that it took [joules]."""
    gpu_throttle_reasons: list[_Text] | None = None
    """Why it slowed itself down."""


class Ceilings(StrictModel):
    """The most this machine was seen to do with the run's threads and precision."""

    matmul_flops_per_s: _Rate
    """Floating-point operations per second of a large matrix product."""
    copy_bytes_per_s: _Rate
    """Bytes per second of a copy of more than any cache holds."""
    cached_copy_bytes_per_s: _Rate
    """Bytes per second of a copy that fits into the cache."""


class StepCosts(StrictModel):
    """What a full step is made of, found out after training: medians over steps.

    Of a loop that is not ours they are means over the steps that it made, and of the work itself
    nothing is known.
    """

    step_s: _Rate
    """All of it [seconds]."""
    loader_s: _Amount
    """Waiting for its batch [seconds]."""
    communication_s: _Amount | None = None
    """Exchanging with other processes, waiting for them included [seconds]."""
    overhead_s: _Amount | None = None
    """What a step of two samples per process takes beyond its own `arithmetic_s` and `traffic_s`:
    calls, whatever the batch; ``None`` where such a step cannot be run [seconds]."""
    arithmetic_s: _Amount | None = None
    """The least that operators bound by arithmetic could take, at the ceilings [seconds]."""
    traffic_s: _Amount | None = None
    """The least that the others could, bound by memory [seconds]."""
    flops: _Count | None = None
    """Floating-point operations of a step on one process, by torch's counter."""
    traffic_bytes: _Count | None = None
    """What its operators read and write on one process, each by itself [bytes]."""
    ceilings: Ceilings | None = None
    """The ceilings of the main process's machine."""
    num_steps: Annotated[int, Field(ge=1)]
    """Steps that were timed."""

    @property
    def work(self) -> StepWork | None:
        """What is known of the work itself, if anything is."""
        known = (self.arithmetic_s, self.traffic_s, self.flops, self.traffic_bytes, self.ceilings)
        return None if None in known else StepWork(self.step_s, *known)  # type: ignore[arg-type]


class StepWork(NamedTuple):
    """The work of a step, as `StepCosts` has it, where it is known."""

    step_s: float
    arithmetic_s: float
    traffic_s: float
    flops: int
    traffic_bytes: int
    ceilings: Ceilings
