"""The machine while a run trains: memory, cores, clocks, heat, energy, and what others took."""

from __future__ import annotations

import os
import time
from statistics import fmean
from typing import TYPE_CHECKING

from mnistbench.recorder.core_use import CoreTimes, core_use, load_line, read_core_times
from mnistbench.recorder.gpu_sensors import find_gpu, gpu_sensors
from mnistbench.recorder.host_sensors import (
    EnergyCounter,
    MemoryPeak,
    Sensor,
    Watch,
    clock_hz,
    temperature_c,
    try_read,
)
from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.insight import Telemetry

if TYPE_CHECKING:
    import torch

_EVERY_S = 0.5
_BUSY = 0.1
_MOST_OF_TIME = 0.01
"""Some kernels ask every core for its clock and wait for the answers: then samples are fewer."""


class Telemeter:
    """Watches this process's machine without a thread of its own, which would take from a core.

    Made when a run starts; told when training begins, and of moments at which nothing is timed.
    """

    def __init__(self, device: torch.device | None) -> None:
        """`device` is what this process trains on; what others do is counted from here on.

        Where it is not known yet, see `trains_on`.
        """
        self._made = read_core_times()
        self.trains_on(device)
        self._began: CoreTimes | None = None
        self._watches: dict[str, Watch] = {}  # by field of Telemetry; none before training
        self._num_samples, self._next_at_s = 0, 0.0
        self._load_average: float | None = None

    def trains_on(self, device: torch.device | None) -> None:
        """Say, before training begins, which device it will be on."""
        self._device, self._gpu = device, find_gpu(device)
        self._on_cuda = device is not None and device.type == "cuda"
        self._gpu_share = self._gpu and try_read(self._gpu.utilization)  # before it is ours

    @property
    def is_new(self) -> bool:
        """Whether no training has begun."""
        return not self._watches

    def load(self) -> list[str]:
        """Lines on what others took of cores and GPU since this was made, where it matters."""
        import torch

        processes = this_launch().local_world_size
        wanted = processes * (1 if self._on_cuda else torch.get_num_threads())
        use = core_use(self._made, read_core_times())
        lines = [load_line(use, wanted=wanted)] if use else []
        share = self._gpu_share or 0.0
        if self._gpu and share > _BUSY and (try_read(self._gpu.num_processes) or 0) > 1:
            lines.append(f"another process keeps the GPU busy {share:.0%} of the time")
        return [line for line in lines if line]

    def begin(self) -> None:
        """Training begins: all counts start here. A second call starts them again."""
        self._began = read_core_times()
        if self._on_cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        self._num_samples, self._next_at_s = 0, time.monotonic() + _EVERY_S
        self._watches = {
            "rss_peak_bytes": MemoryPeak(),
            "cpu_clock_hz": Sensor(clock_hz, fmean),
            "cpu_temperature_c": Sensor(temperature_c, max),
            "cpu_energy_j": EnergyCounter(),
            **(gpu_sensors(self._gpu) if self._gpu else {}),
        }
        self._load_average = try_read(lambda: os.getloadavg()[0])

    def sample(self) -> None:
        """Look at the sensors: every half a second, and for 1 % of the time at most."""
        if self._watches and time.monotonic() >= self._next_at_s:
            self._sample()

    def reading(self) -> Telemetry | None:
        """All that was found from `begin` to this call; ``None`` before `begin`.

        To be called as soon as training has ended: what comes later would count too. A run too
        short to have been sampled is sampled here.
        """
        if not self._watches:
            return None
        if not self._num_samples:
            self._sample()
        peak_bytes = None
        if self._on_cuda:
            import torch

            peak_bytes = torch.cuda.max_memory_allocated(self._device)
        before = core_use(self._made, self._began)
        during = core_use(self._began, read_core_times())
        return Telemetry(
            num_samples=self._num_samples,
            device_memory_peak_bytes=peak_bytes,
            cores_used=during and during.ours,
            others_cores_before=before and before.others,
            others_cores_during=during and during.others,
            load_average_1min=self._load_average,
            **{field: watch.value() for field, watch in self._watches.items()},
        )

    def _sample(self) -> None:
        began_s = time.monotonic()
        for watch in self._watches.values():
            watch.sample()
        now_s = time.monotonic()
        self._next_at_s = now_s + max(_EVERY_S, (now_s - began_s) / _MOST_OF_TIME)
        self._num_samples += 1
