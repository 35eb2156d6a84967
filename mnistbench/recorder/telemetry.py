"""The machine while a run trains: memory, cores, clocks, heat, energy, and what others took."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from mnistbench.recorder.core_use import CoreTimes, CoreUse, core_use, read_core_times
from mnistbench.recorder.gpu_sensors import GpuWatch, find_gpu
from mnistbench.recorder.host_sensors import (
    EnergyCounter,
    MemoryPeak,
    Sensor,
    clock_hz,
    temperature_c,
)
from mnistbench.schema.insight import Telemetry

__all__ = ["Telemeter"]

_EVERY_S = 0.5


class Telemeter:
    """Watches this process's machine without a thread of its own, which would take from a core.

    Made when a run starts; told when training begins, and of moments at which nothing is timed.
    """

    def __init__(self, device: torch.device) -> None:
        """`device` is what this process trains on; what others do is counted from here on."""
        self._device = device
        self._gpu = find_gpu(device)
        self._made = read_core_times()
        self._training: _Training | None = None

    def begin(self) -> None:
        """Training begins: all counts start here. A second call starts them again."""
        now = read_core_times()
        before = core_use(self._made, now)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._training = _Training(
            self._device,
            gpu=GpuWatch(self._gpu) if self._gpu else None,
            began=now,
            others_before=before and before.others,
        )

    def sample(self) -> None:
        """Look at the sensors, unless less than half a second has passed since the last time."""
        if self._training and time.monotonic() - self._training.sampled_at_s >= _EVERY_S:
            self._training.sample()

    def reading(self) -> Telemetry | None:
        """All that was found from `begin` to this call; ``None`` before `begin`.

        To be called as soon as training has ended: what comes later would count too. A run too
        short to have been sampled is sampled here.
        """
        return self._training.reading() if self._training else None


class _Training:
    """What is counted from the beginning of training."""

    def __init__(
        self,
        device: torch.device,
        *,
        gpu: GpuWatch | None,
        began: CoreTimes | None,
        others_before: float | None,
    ) -> None:
        self.sampled_at_s = time.monotonic()
        self._device, self._gpu = device, gpu
        self._began, self._others_before = began, others_before
        self._num_samples = 0
        self._memory, self._energy = MemoryPeak(), EnergyCounter()
        self._clock, self._temperature = Sensor(clock_hz), Sensor(temperature_c)
        self._load_average = _load_average()

    def sample(self) -> None:
        self.sampled_at_s = time.monotonic()
        self._num_samples += 1
        for sensor in (self._memory, self._energy, self._clock, self._temperature):
            sensor.sample()
        if self._gpu:
            self._gpu.sample()

    def use(self) -> CoreUse | None:
        return core_use(self._began, read_core_times())

    def reading(self) -> Telemetry:
        if not self._num_samples:
            self.sample()
        use = self.use()
        gpu: dict[str, Any] = self._gpu.values() if self._gpu else {}
        return Telemetry(
            num_samples=self._num_samples,
            rss_peak_bytes=self._memory.peak_bytes(),
            device_memory_peak_bytes=self._device_peak_bytes(),
            cores_used=use and use.ours,
            others_cores_before=self._others_before,
            others_cores_during=use and use.others,
            load_average_1min=self._load_average,
            cpu_clock_hz=self._clock.mean(),
            cpu_temperature_c=self._temperature.peak(),
            cpu_energy_j=self._energy.used_j(),
            **gpu,
        )

    def _device_peak_bytes(self) -> int | None:
        if self._device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self._device)


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # a system without it
        return None
