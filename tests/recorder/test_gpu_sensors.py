"""What NVML says of a GPU, by a small NVML of our own."""
# ruff: noqa: N802, N815 - these are NVML's names

import sys
from types import SimpleNamespace

import pytest
import torch

from mnistbench.recorder.gpu_sensors import find_gpu, gpu_of, gpu_sensors

PROPERTIES = SimpleNamespace(
    uuid="1b2c", pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0, name="a GPU"
)
UNKNOWN = {
    "gpu_utilization": None,
    "gpu_clock_hz": None,
    "gpu_temperature_c": None,
    "gpu_power_w": None,
    "gpu_energy_j": None,
    "gpu_throttle_reasons": None,
}


class NVMLError(Exception):
    pass


class Nvml:
    """The functions of pynvml that are used, over values that a test sets."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0
    nvmlClocksThrottleReasonGpuIdle = 0x1
    nvmlClocksThrottleReasonApplicationsClocksSetting = 0x2
    nvmlClocksThrottleReasonSwPowerCap = 0x4
    nvmlClocksThrottleReasonHwSlowdown = 0x8
    nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80

    def __init__(self, **values):
        self.values = {
            "utilization": 80,
            "clock": 1980,
            "temperature": 61,
            "power": 350_000,
            "energy": 10_000_000,
            "reasons": 0,
            "uuids": ["GPU-1b2c"],
            "places": ["00000000:1B:00.0"],
        } | values

    def get(self, name):
        value = self.values[name]
        if isinstance(value, Exception):
            raise value
        return value

    def handle(self, name, known):
        if name not in self.get(known):
            raise NVMLError
        return name

    def nvmlInit(self):
        self.get("uuids")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return self.handle(uuid, "uuids")

    def nvmlDeviceGetHandleByPciBusId(self, place):
        return self.handle(place, "places")

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return SimpleNamespace(gpu=self.get("utilization"), memory=5)

    def nvmlDeviceGetClockInfo(self, gpu, kind):
        assert kind == self.NVML_CLOCK_SM
        return self.get("clock")

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self.get("temperature")

    def nvmlDeviceGetPowerUsage(self, gpu):
        return self.get("power")

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        return self.get("energy")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu):
        return self.get("reasons")


class Watched:
    """All sensors of the GPU of an `nvml`."""

    def __init__(self, nvml):
        self._watches = gpu_sensors(gpu_of(PROPERTIES, nvml))

    def sample(self):
        for watch in self._watches.values():
            watch.sample()

    def values(self):
        return {field: watch.value() for field, watch in self._watches.items()}


def test_means_and_peaks_over_samples():
    nvml = Nvml()
    watched = Watched(nvml)
    watched.sample()
    nvml.values |= {
        "utilization": 100,
        "clock": 1000,
        "temperature": 70,
        "power": 450_000,
        "energy": 10_900_500,
        "reasons": 0x4,
    }
    watched.sample()
    nvml.values |= {"temperature": 60, "utilization": 90, "clock": 1490, "power": 400_000}
    watched.sample()
    assert watched.values() == {
        "gpu_utilization": pytest.approx(0.9),
        "gpu_clock_hz": pytest.approx(1.49e9),
        "gpu_temperature_c": 70.0,
        "gpu_power_w": pytest.approx(400.0),
        "gpu_energy_j": pytest.approx(900.5),
        "gpu_throttle_reasons": ["power cap"],
    }


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, []),
        (0x1 | 0x2, []),
        (0x4 | 0x1, ["power cap"]),
        (0x8, ["hardware slowdown"]),
        (0x20 | 0x40, ["too hot (driver)", "too hot (hardware)"]),
        (0x80, ["power brake"]),
    ],
)
def test_only_what_holds_a_gpu_back_is_throttling(bits, reasons):
    watched = Watched(Nvml(reasons=bits))
    watched.sample()
    assert watched.values()["gpu_throttle_reasons"] == reasons


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ("utilization", "gpu_utilization"),
        ("clock", "gpu_clock_hz"),
        ("temperature", "gpu_temperature_c"),
        ("power", "gpu_power_w"),
        ("energy", "gpu_energy_j"),
        ("reasons", "gpu_throttle_reasons"),
    ],
)
@pytest.mark.parametrize("error", [NVMLError("not supported"), AttributeError("too old")])
def test_one_value_that_cannot_be_read_is_none_and_the_others_are_there(broken, field, error):
    watched = Watched(Nvml(**{broken: error}))
    watched.sample()
    assert [name for name, value in watched.values().items() if value is None] == [field]


def test_a_gpu_that_is_lost_meanwhile_keeps_what_was_read():
    nvml = Nvml()
    watched = Watched(nvml)
    watched.sample()
    for name in ("utilization", "clock", "temperature", "power", "energy", "reasons"):
        nvml.values[name] = NVMLError("GPU is lost")
    watched.sample()
    values = watched.values()
    assert (values["gpu_utilization"], values["gpu_energy_j"]) == (0.8, None)


def test_without_samples_nothing_but_energy_is_known():
    assert Watched(Nvml()).values() == UNKNOWN | {"gpu_energy_j": 0.0}


def test_energy_that_starts_again_is_not_known():
    nvml = Nvml()
    watched = Watched(nvml)
    nvml.values["energy"] = 5
    assert watched.values()["gpu_energy_j"] is None


def test_a_gpu_is_found_by_its_place_where_its_uuid_is_not_known():
    nvml = Nvml(uuids=["GPU-another"])
    assert gpu_of(PROPERTIES, nvml).energy_j() == pytest.approx(10_000)


@pytest.mark.parametrize(
    "values",
    [{"uuids": NVMLError("no driver")}, {"uuids": ["GPU-another"], "places": []}],
    ids=["no driver", "a GPU that NVML does not know"],
)
def test_a_gpu_that_nvml_does_not_know_has_no_sensors(values):
    assert gpu_of(PROPERTIES, Nvml(**values)) is None


def test_the_cpu_has_no_sensors():
    assert find_gpu(torch.device("cpu")) is None


def test_without_the_library_a_gpu_has_no_sensors(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpu(torch.device("cuda", 0)) is None


def test_the_installed_library_has_every_name_that_is_used():
    """The real module, where there is one: its names, not a GPU."""
    pynvml = pytest.importorskip("pynvml")
    used = [name for name in vars(Nvml) if name.lower().startswith("nvml")]
    assert [name for name in used if not hasattr(pynvml, name)] == []
