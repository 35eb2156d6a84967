"""What NVML says of a GPU: use, clock, temperature, power, energy and throttling."""

from __future__ import annotations

import importlib
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from mnistbench.recorder.host_sensors import Sensor, Watch, try_read

if TYPE_CHECKING:
    import torch

_THROTTLES = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "too hot (driver)",
    "HwThermalSlowdown": "too hot (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
}
"""What really holds a GPU back; idle, clocks as set and the like are no throttling."""


class Gpu(NamedTuple):
    """A GPU as NVML knows it: `nvml` is the module pynvml of nvidia-ml-py, `handle` NVML's own."""

    nvml: Any
    handle: Any

    def throttle_reasons(self) -> frozenset[str]:
        """What holds it back at this moment."""
        # the older of the function's two names, which every release has
        bits = self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle)
        masks = {
            getattr(self.nvml, f"nvmlClocksThrottleReason{name}", 0): text
            for name, text in _THROTTLES.items()
        }
        return frozenset(text for mask, text in masks.items() if bits & mask)

    def utilization(self) -> float:
        """The share of the last second or less in which it computed."""
        return float(self.nvml.nvmlDeviceGetUtilizationRates(self.handle).gpu / 100)

    def num_processes(self) -> int:
        """How many processes have it open, this one included once it computes."""
        return len(self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle))

    def energy_j(self) -> float:
        """What it used since its driver was loaded [joules]."""
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3)


def gpu_sensors(gpu: Gpu) -> dict[str, Watch]:
    """What watches `gpu` from now on, by field of `mnistbench.schema.insight.Telemetry`."""
    nvml, handle = gpu
    return {
        "gpu_utilization": Sensor(gpu.utilization, fmean),
        "gpu_clock_hz": Sensor(
            lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) or None, fmean
        ),
        "gpu_temperature_c": Sensor(
            lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)), max
        ),
        "gpu_power_w": Sensor(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3, fmean),
        "gpu_throttle_reasons": Sensor(
            gpu.throttle_reasons, lambda seen: sorted(frozenset().union(*seen))
        ),
        "gpu_energy_j": _Energy(gpu),
    }


class _Energy:
    """What a GPU used since this was made [joules]: the difference of a counter's two readings."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu, self._before_j = gpu, try_read(gpu.energy_j)

    def sample(self) -> None:
        """Nothing: the counter itself adds up."""

    def value(self) -> float | None:
        now_j = try_read(self._gpu.energy_j)
        if now_j is None or self._before_j is None or now_j < self._before_j:
            return None  # not told, or its driver was loaded again
        return now_j - self._before_j


def find_gpu(device: torch.device | None) -> Gpu | None:
    """The GPU of a CUDA `device`; ``None`` for others, without NVML, or where it is not found.

    By what the GPU itself is called, since ``CUDA_VISIBLE_DEVICES`` renumbers torch's devices and
    not NVML's.
    """
    if device is None or device.type != "cuda":
        return None
    import torch

    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:  # the extra `gpu` is not installed
        return None
    return gpu_of(torch.cuda.get_device_properties(device), nvml)


def gpu_of(properties: Any, nvml: Any) -> Gpu | None:
    """The GPU with torch's `properties`, by its UUID, else its place on the bus."""

    def by_uuid() -> Any:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")

    def handle() -> Any:
        nvml.nvmlInit()
        place = properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id
        return try_read(by_uuid) or nvml.nvmlDeviceGetHandleByPciBusId(
            "{:08X}:{:02X}:{:02X}.0".format(*place)
        )

    found = try_read(handle)
    return Gpu(nvml, found) if found else None
