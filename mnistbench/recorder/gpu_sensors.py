"""What NVML says of a GPU: use, clock, temperature, power, energy and throttling."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch

__all__ = ["GpuSample", "GpuSensors", "GpuWatch", "find_gpu", "sensors_of"]

_T = TypeVar("_T")

_THROTTLES = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "too hot (driver)",
    "HwThermalSlowdown": "too hot (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
}
"""What really holds a GPU back; idle, clocks as set and the like are no throttling."""


class GpuSample(NamedTuple):
    """What was read at one moment; ``None`` is what could not be."""

    utilization: float | None
    clock_hz: float | None
    temperature_c: float | None
    power_w: float | None
    throttle_reasons: frozenset[str] | None


class GpuSensors:
    """Sensors of one GPU, read by `nvml` (the module pynvml of nvidia-ml-py)."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        """`handle` is NVML's own of the GPU."""
        self._nvml, self._handle = nvml, handle
        self._errors = (nvml.NVMLError, AttributeError)  # older releases lack functions

    def sample(self) -> GpuSample:
        """Read all but the energy."""
        nvml, gpu = self._nvml, self._handle
        return GpuSample(
            utilization=self._try(lambda: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
            clock_hz=self._try(lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
            temperature_c=self._try(
                lambda: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
            ),
            power_w=self._try(lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
            throttle_reasons=self._try(self._throttle_reasons),
        )

    def energy_j(self) -> float | None:
        """What the GPU used since its driver was loaded [joules]."""
        return self._try(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3)

    def _throttle_reasons(self) -> frozenset[str]:
        # the older of the function's two names, which every release has
        bits = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        masks = {
            getattr(self._nvml, f"nvmlClocksThrottleReason{name}", 0): text
            for name, text in _THROTTLES.items()
        }
        return frozenset(text for mask, text in masks.items() if bits & mask)

    def _try(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except self._errors:
            return None


class GpuWatch:
    """One GPU over a stretch of time, from when this was made."""

    def __init__(self, sensors: GpuSensors) -> None:
        self._sensors, self._samples = sensors, list[GpuSample]()
        self._energy_before_j = sensors.energy_j()

    def sample(self) -> None:
        """Read it now."""
        self._samples.append(self._sensors.sample())

    def values(self) -> dict[str, Any]:
        """Fields of `mnistbench.schema.insight.Telemetry`, up to now."""
        samples = list(self._samples)
        reasons = _known([sample.throttle_reasons for sample in samples])
        clocks_hz = [clock for clock in _known([s.clock_hz for s in samples]) if clock > 0]
        return {
            "gpu_utilization": _mean(_known([s.utilization for s in samples])),
            "gpu_clock_hz": _mean(clocks_hz),
            "gpu_temperature_c": max(_known([s.temperature_c for s in samples]), default=None),
            "gpu_power_w": _mean(_known([s.power_w for s in samples])),
            "gpu_energy_j": self._energy_j(),
            "gpu_throttle_reasons": sorted(frozenset().union(*reasons)) if reasons else None,
        }

    def _energy_j(self) -> float | None:
        now_j = self._sensors.energy_j()
        if now_j is None or self._energy_before_j is None:
            return None
        used_j = now_j - self._energy_before_j
        return used_j if used_j >= 0 else None  # its driver was loaded again


def find_gpu(device: torch.device) -> GpuSensors | None:
    """The sensors of a CUDA `device`; ``None`` for others, without NVML, or where it is not found.

    By what the GPU itself is called, since ``CUDA_VISIBLE_DEVICES`` renumbers torch's devices and
    not NVML's.
    """
    if device.type != "cuda":
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:  # the extra `gpu` is not installed
        return None
    return sensors_of(torch.cuda.get_device_properties(device), nvml)


def sensors_of(properties: Any, nvml: Any) -> GpuSensors | None:
    """The sensors of the GPU with torch's `properties`, by its UUID, else its place on the bus."""
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError, AttributeError, OSError):
        return None
    for find in (_by_uuid, _by_place):
        try:
            return GpuSensors(nvml, find(properties, nvml))
        except (nvml.NVMLError, AttributeError):
            continue
    return None


def _by_uuid(properties: Any, nvml: Any) -> Any:
    return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")


def _by_place(properties: Any, nvml: Any) -> Any:
    place = properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id
    return nvml.nvmlDeviceGetHandleByPciBusId("{:08X}:{:02X}:{:02X}.0".format(*place))


def _known(values: list[_T | None]) -> list[_T]:
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None
