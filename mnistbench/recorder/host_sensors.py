"""What the host's own sensors say: memory held, processor clock, temperature and energy."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import psutil

__all__ = ["EnergyCounter", "MemoryPeak", "Sensor", "clock_hz", "temperature_c"]

_COSTLY_S = 1e-3
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_POWERCAP = Path("/sys/class/powercap")


def clock_hz() -> float | None:
    """The processor's clock, the mean over cores [Hz]; on a virtual machine often a constant."""
    try:
        clock = psutil.cpu_freq()
    except (AttributeError, OSError, RuntimeError):  # no such function, file or number
        return None
    return 1e6 * clock.current if clock and clock.current > 0 else None


def temperature_c() -> float | None:
    """The hottest reading of the processor's own sensors [°C]."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    try:
        chips = psutil.sensors_temperatures()
    except (OSError, RuntimeError, ValueError):
        return None
    found = [reading.current for chip in _CPU_CHIPS for reading in chips.get(chip, [])]
    return max(found, default=None)


class Sensor:
    """A value read again and again, unless that costs more than a millisecond.

    Some kernels ask every core for its clock and wait for the answers. A costly value is read
    once, at the end; one that cannot be read is never asked for again.
    """

    def __init__(self, read: Callable[[], float | None]) -> None:
        """`read` gives the value, ``None`` where it cannot; it is called twice here."""
        self._read, self._values = read, list[float]()
        known = read() is not None  # the first call may have more to do than later ones
        started = time.perf_counter()
        self._known = known and read() is not None
        self._costly = time.perf_counter() - started > _COSTLY_S

    def sample(self) -> None:
        """Read it, if that is cheap."""
        if not self._costly:
            self._take()

    def mean(self) -> float | None:
        """Of all samples."""
        return fmean(self._values_so_far()) if self._values_so_far() else None

    def peak(self) -> float | None:
        """The highest of all samples."""
        return max(self._values_so_far(), default=None)

    def _values_so_far(self) -> list[float]:
        if self._costly and not self._values:
            self._take()
        return self._values

    def _take(self) -> None:
        value = self._read() if self._known else None
        if value is not None:
            self._values.append(value)


class MemoryPeak:
    """The most memory that this process held since this was made, shared pages included.

    The system's own peak is of the whole life of a process, which may have had other runs before:
    it counts only if it grew since. Else the peak is the most that samples saw.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before_bytes = _life_peak_bytes()
        self._seen_bytes = 0
        self.sample()

    def sample(self) -> None:
        """See what is held now."""
        with suppress(psutil.Error, OSError):
            self._seen_bytes = max(self._seen_bytes, int(self._process.memory_info().rss))

    def peak_bytes(self) -> int | None:
        """Up to now; ``None`` where it cannot be read."""
        self.sample()
        ever_bytes = _life_peak_bytes()
        grown_bytes = ever_bytes if ever_bytes > self._before_bytes else 0
        return max(self._seen_bytes, grown_bytes) or None


def _life_peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class EnergyCounter:
    """Energy of all processor packages since this was made, by Intel's RAPL, which AMD has too.

    A counter starts again from 0 beyond its range, at full load after some minutes: `sample` has
    to be called more often than that.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        """`root` has a folder for each package; most systems let only root read them."""
        self._folders = [folder for folder in sorted(root.glob("intel-rapl:*")) if _whole(folder)]
        self._ranges_uj = self._read("max_energy_range_uj")
        self._last_uj = self._read("energy_uj") if self._ranges_uj else None
        self._used_uj = 0

    def sample(self) -> None:
        """Add what was used since the last call; once unreadable, always unknown."""
        now_uj = self._read("energy_uj")
        if self._ranges_uj and self._last_uj and now_uj:
            steps = zip(self._last_uj, now_uj, self._ranges_uj, strict=True)
            self._used_uj += sum((after - before) % (whole + 1) for before, after, whole in steps)
        self._last_uj = now_uj if self._last_uj else None

    def used_j(self) -> float | None:
        """Up to now [joules]; ``None`` where a package could not be read."""
        self.sample()
        return None if self._last_uj is None else self._used_uj / 1e6

    def _read(self, file: str) -> list[int] | None:
        """That file's number of each package; ``None`` without packages or if any is missing."""
        read = [_number(folder / file) for folder in self._folders]
        known = [value for value in read if value is not None]
        return known if known and len(known) == len(read) else None


def _whole(folder: Path) -> bool:
    """Whether it is of a whole package: neither of a part of one, nor of the whole platform."""
    try:
        return (folder / "name").read_text(encoding="ascii").startswith("package")
    except (OSError, ValueError):
        return False


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
