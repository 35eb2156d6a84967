"""The host's own sensors: what they give, what they cost, and what they cannot say."""

from statistics import fmean
from types import SimpleNamespace

import psutil
import pytest

from mnistbench.recorder import host_sensors
from mnistbench.recorder.host_sensors import (
    EnergyCounter,
    MemoryPeak,
    Sensor,
    clock_hz,
    temperature_c,
)

MEBIBYTE = 2**20


@pytest.fixture
def package(tmp_path):
    """Makes a folder as the kernel does for a package; gives a way to set its counter."""

    def make(name, energy_uj, *, said="package-0", range_uj=1_000_000):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(f"{said}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        return lambda energy_uj: (folder / "energy_uj").write_text(f"{energy_uj}\n")

    return make


def test_energy_is_of_all_packages_and_of_nothing_else(tmp_path, package):
    first, second = package("intel-rapl:0", 100_000), package("intel-rapl:1", 500_000)
    platform = package("intel-rapl:2", 0, said="psys")
    part = package("intel-rapl:0:0", 0, said="core")
    counter = EnergyCounter(tmp_path)
    first(350_000), second(600_000), platform(900_000), part(900_000)
    assert counter.value() == pytest.approx(0.35)


def test_energy_goes_on_where_the_counter_starts_again(tmp_path, package):
    energy = package("intel-rapl:0", 900_000, range_uj=999_999)
    counter = EnergyCounter(tmp_path)
    for now_uj in (200_000, 800_000, 100_000):
        energy(now_uj)
        counter.sample()
    assert counter.value() == pytest.approx(1.2)


def test_energy_that_one_package_hides_is_not_known(tmp_path, package):
    energy = package("intel-rapl:0", 0)
    hide = package("intel-rapl:1", 0)
    counter = EnergyCounter(tmp_path)
    hide("")
    counter.sample()
    energy(1000), hide(1000)
    assert counter.value() is None


def test_without_packages_no_energy_is_known(tmp_path):
    assert EnergyCounter(tmp_path).value() is None
    assert EnergyCounter(tmp_path / "nowhere").value() is None


@pytest.mark.parametrize(("summary", "value"), [(fmean, 3.0), (max, 5.0)])
def test_a_sensor_gives_the_summary_of_its_samples(summary, value):
    values = iter((1.0, None, 5.0, 3.0))
    sensor = Sensor(lambda: next(values), summary)
    for _ in range(5):  # the last one raises
        sensor.sample()
    assert sensor.value() == value


def test_a_sensor_that_is_not_there_has_no_value():
    sensor = Sensor(lambda: None, fmean)
    sensor.sample()
    assert sensor.value() is None


def test_memory_that_a_sample_saw_is_in_the_peak():
    peak = MemoryPeak()
    before = peak.value()
    held = b"\1" * (100 * MEBIBYTE)
    peak.sample()
    del held
    assert peak.value() > before + 50 * MEBIBYTE


def test_memory_beyond_all_before_is_in_the_peak_though_no_sample_saw_it():
    held = psutil.Process().memory_info().rss
    ever = host_sensors._life_peak_bytes()
    peak = MemoryPeak()
    more = b"\1" * (ever - held + 100 * MEBIBYTE)
    del more
    assert peak.value() > ever + 50 * MEBIBYTE


def test_memory_that_was_given_back_before_is_not_in_the_peak():
    held = b"\1" * (200 * MEBIBYTE)
    del held
    now = psutil.Process().memory_info().rss
    assert MemoryPeak().value() < now + 50 * MEBIBYTE


def test_memory_that_is_not_told_is_none(monkeypatch):
    def refuse(self):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    monkeypatch.setattr(host_sensors, "_life_peak_bytes", lambda: 0)
    assert MemoryPeak().value() is None


def test_a_clock_is_in_hertz(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=2400.0))
    assert clock_hz() == 2.4e9


@pytest.mark.parametrize("error", [NotImplementedError, FileNotFoundError])
def test_a_clock_that_cannot_be_read_is_none(monkeypatch, error):
    def read():
        raise error

    monkeypatch.setattr(psutil, "cpu_freq", read)
    assert clock_hz() is None


@pytest.mark.parametrize("told", [SimpleNamespace(current=0.0), None])
def test_a_clock_that_is_not_told_is_none(monkeypatch, told):
    monkeypatch.setattr(psutil, "cpu_freq", lambda: told)
    assert clock_hz() is None


def test_the_temperature_is_the_processors_hottest(monkeypatch):
    chips = {
        "nvme": [SimpleNamespace(current=90.0)],
        "coretemp": [SimpleNamespace(current=51.0), SimpleNamespace(current=63.0)],
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    assert temperature_c() == 63.0


def test_a_temperature_that_is_not_told_is_none(monkeypatch):
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    assert temperature_c() is None
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert temperature_c() is None
