"""What the host's own sensors say: memory held, processor clock, temperature and energy."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil

_T = TypeVar("_T")

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_POWERCAP = Path("/sys/class/powercap")


class Watch(Protocol):
    """Something about the machine over a stretch of time, from when this was made."""

    def sample(self) -> None:
        """Look at it now."""

    def value(self) -> Any:
        """What it came to up to now; ``None`` where that is not known."""


def try_read(read: Callable[[], _T]) -> _T | None:
    """What `read` gives; ``None`` where this system lacks it or does not tell.

    Whatever a sensor's library raises, no run ends for it.
    """
    try:
        return read()
    except Exception:
        return None


def clock_hz() -> float | None:
    """The processor's clock, the mean over cores [Hz]; on a virtual machine often a constant."""
    return try_read(lambda: 1e6 * psutil.cpu_freq().current) or None


def temperature_c() -> float | None:
    """The hottest reading of the processor's own sensors [°C]."""

    def hottest() -> float:
        chips = psutil.sensors_temperatures()
        return max(reading.current for chip in _CPU_CHIPS for reading in chips.get(chip, []))

    return try_read(hottest)


class Sensor:
    """A value read again and again; a reading that fails is none."""

    def __init__(
        self, read: Callable[[], _T | None], summary: Callable[[Sequence[_T]], object]
    ) -> None:
        """`summary` makes one value of all that `read` gave."""
        self._read, self._summary, self._values = read, summary, list[Any]()

    def sample(self) -> None:
        """Read it now."""
        value = try_read(self._read)
        if value is not None:
            self._values.append(value)

    def value(self) -> Any:
        """The summary of all samples; ``None`` without one."""
        return self._summary(self._values) if self._values else None


class MemoryPeak:
    """The most memory that this process held since this was made, shared pages included [bytes].

    The system's own peak, which may be of a run before, counts only if it grew since. Else the peak
    is the most that samples saw.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before_bytes = _life_peak_bytes()
        self._seen_bytes = 0
        self.sample()

    def sample(self) -> None:
        """See what is held now."""
        held_bytes = try_read(lambda: self._process.memory_info().rss) or 0
        self._seen_bytes = max(self._seen_bytes, held_bytes)

    def value(self) -> int | None:
        """Up to now; ``None`` where it cannot be read."""
        self.sample()
        ever_bytes = _life_peak_bytes()
        grown_bytes = ever_bytes if ever_bytes > self._before_bytes else 0
        return max(self._seen_bytes, grown_bytes) or None


def _life_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class EnergyCounter:
    """Energy of all processor packages since this was made [joules], by Intel's RAPL, also AMD's.

    A counter starts again from 0 beyond its range, at full load after some minutes: `sample` has
    to be called more often than that.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        """`root` has a folder for each package; most systems let only root read them."""
        # a folder may also be of a part of a package, or of the whole platform
        self._packages = [
            folder
            for folder in sorted(root.glob("intel-rapl:*"))
            if (try_read((folder / "name").read_text) or "").startswith("package")
        ]
        self._ranges_uj, self._last_uj = self._read("max_energy_range_uj"), self._read("energy_uj")
        self._used_uj = 0

    def sample(self) -> None:
        """Add what was used since the last call; once unreadable, always unknown."""
        now_uj = self._read("energy_uj")
        if self._ranges_uj and self._last_uj and now_uj:
            steps = zip(self._last_uj, now_uj, self._ranges_uj, strict=True)
            self._used_uj += sum((after - before) % (whole + 1) for before, after, whole in steps)
        self._last_uj = now_uj if self._last_uj else None

    def value(self) -> float | None:
        """Up to now; ``None`` where a package could not be read."""
        self.sample()
        return self._used_uj / 1e6 if self._ranges_uj and self._last_uj else None

    def _read(self, file: str) -> list[int] | None:
        """That file's number of each package; ``None`` if any is missing."""
        return try_read(lambda: [int((p / file).read_text()) for p in self._packages])
