"""The clocks of a run: a ledger of phases that adds up to wall time, and step durations."""

from __future__ import annotations

import itertools
import os
import resource
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnistbench.schema.record import PHASES, TRAIN_CLOCK

_BEAT_S = 0.23
"""Beats fall anywhere in the tenths of a second by which kernels throttle containers."""
_LATE_S = 0.025
"""A beat is late by up to 10 ms where a neighbour of higher priority has the core, too."""


_counted_from: list[float] = []


def count_age_from_now() -> None:
    """Have `process_age_s` begin now: a run begins in a process that was there before it."""
    _counted_from[:] = [_wall_now_s()]


def process_age_s() -> float:
    """Seconds since this process started, the interpreter's own start included.

    Linux tells it to 10 ms by a clock that never jumps; elsewhere psutil's start time is used.
    """
    if _counted_from:
        return _wall_now_s() - _counted_from[0]
    stat = Path("/proc/self/stat")
    if stat.exists() and hasattr(time, "CLOCK_BOOTTIME"):
        # the second field is the program's name in brackets and may itself hold spaces
        started = int(stat.read_text().rpartition(")")[2].split()[19])
        age = _wall_now_s() - started / os.sysconf("SC_CLK_TCK")
    else:
        import psutil

        age = time.time() - psutil.Process().create_time()
    return max(age, 0.0)


def _wall_now_s() -> float:
    """A clock apart from ``perf_counter``: time since boot, sleep included, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


class Ledger:
    """Exclusive phases of one process: at any moment exactly one of them is running.

    Phases nest: inside ``with ledger.phase("eval")`` the outer phase is paused. What no phase
    claims is ``other``. Wall time is read from a second clock, which also runs while the machine
    sleeps, so that what both say can be compared: phases alone would agree with themselves.
    What they count may still be time in which nothing ran: `stood_still_s`, inside `watched`.
    """

    def __init__(
        self, *, age_s: float = 0.0, synchronize: Callable[[], None] | None = None
    ) -> None:
        """`age_s` seconds already spent count as ``import``; `synchronize` drains the device."""
        self.synchronize = synchronize
        self.phases_s: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.phases_s["import"] = age_s
        self.stood_still_s = 0.0
        self._running = "other"
        self._since = time.perf_counter()
        self._wall_started = _wall_now_s() - age_s

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the time inside to `name`; waits for the device on entry and on exit."""
        outer = self.switch(name)
        try:
            yield
        finally:
            self.switch(outer)

    def spent_s(self, name: str) -> float:
        """Seconds charged to `name` up to now, without a device wait."""
        running = time.perf_counter() - self._since if name == self._running else 0.0
        return self.phases_s.get(name, 0.0) + running

    def train_s(self) -> float:
        """The train clock, without a device wait [seconds]."""
        return sum(map(self.spent_s, TRAIN_CLOCK))

    def wall_s(self) -> float:
        """Seconds since the start, by the clock apart from the phases'."""
        return _wall_now_s() - self._wall_started

    def state(self) -> tuple[list[float], float]:
        """Seconds of all `PHASES`, in order, and of standing still; and those of the wall clock."""
        wall_s = self.close()
        return [*(self.phases_s[name] for name in PHASES), self.stood_still_s], wall_s

    def restore(self, phases_s: Sequence[float], wall_s: float) -> None:
        """Count what `state` gave in an earlier life of the run as if it had been in this one."""
        for name, spent in zip(PHASES, phases_s, strict=False):
            self.phases_s[name] += spent
        self.stood_still_s += sum(phases_s[len(PHASES) :])  # earlier releases did not say it
        self._wall_started -= wall_s

    def close(self) -> float:
        """Charge what is running and return the wall seconds since the start."""
        self.switch(self._running)
        return self.wall_s()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, notice when this process stands still: stopped, frozen or throttled.

        A thread wakes four times a second and adds to `stood_still_s` how late that was: no more
        than a lower bound, as of many short halts only some fall on a beat.
        """
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended.wait,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _watch(self, ended: Callable[[float], bool]) -> None:
        is_last, usual_s, before = False, _BEAT_S, _used()
        while not is_last:
            is_last, now = ended(_BEAT_S), _used()
            passed_s, busy_s, faults = (x - y for x, y in zip(now, before, strict=True))
            late_s = passed_s - _BEAT_S
            # a call that keeps Python from waking the thread computes, or reads from a disk
            if late_s > _LATE_S and busy_s - usual_s < late_s / 2 and not faults:
                self.stood_still_s += late_s
            usual_s, before = busy_s, now

    def switch(self, name: str, *, wait: bool = True) -> str:
        """Charge what comes to `name`; gives the phase before. Without `wait` no device is."""
        if wait and self.synchronize is not None:
            self.synchronize()
        now = time.perf_counter()
        outer = self._running
        self.phases_s[outer] = self.phases_s.get(outer, 0.0) + now - self._since
        self._running, self._since = name, now
        return outer


def _used() -> tuple[float, float, int]:
    """The clock, this process's processor time, and how many pages it has waited for so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_majflt


class StepTimer:
    """Durations of steps by the host clock: right where a step is done when its call returns."""

    def __init__(self) -> None:
        self._durations_s = array("d")
        self._last = 0.0

    def start(self) -> None:
        """Begin a window: what passed since the last step is no step's time."""
        self._last = time.perf_counter()

    def mark(self, num_steps: int = 1) -> None:
        """End a step, or `num_steps` made as one, which count as equally long."""
        now = time.perf_counter()
        if num_steps == 1:
            self._durations_s.append(now - self._last)
        else:
            self._durations_s.extend(itertools.repeat((now - self._last) / num_steps, num_steps))
        self._last = now

    def pause(self) -> None:
        """Until `resume`, what passes is not of the step that is under way."""
        self._last -= time.perf_counter()

    def resume(self) -> None:
        """Go on with the step."""
        self._last += time.perf_counter()

    def restore(self, durations_s: Iterable[float]) -> None:
        """Take over durations of an earlier life of the run, before any step."""
        self._durations_s.extend(durations_s)

    def durations_s(self) -> list[float]:
        """All step durations so far [seconds]."""
        return list(self._durations_s)


class EventTimer:
    """Durations of steps by device events: no wait for the device inside a window.

    Events are kept until a window begins after the device has come past them.
    """

    def __init__(
        self, new_event: Callable[[], Any], *, stream: Callable[[], Any] | None = None
    ) -> None:
        """`new_event` makes a timing event, such as ``torch.cuda.Event(enable_timing=True)``.

        It is recorded on the `stream`, by default the current one.
        """
        self._new_event, self._stream = new_event, stream
        self._known_s = array("d")
        self._windows: deque[_Window] = deque()
        self._begun_s = 0.0  # what is known of a step that was paused

    def restore(self, durations_s: Iterable[float]) -> None:
        """Take over durations of an earlier life of the run, before any step."""
        self._known_s.extend(durations_s)

    def start(self) -> None:
        """Begin a window; what is known by now of those before becomes numbers."""
        self._begin(_Window(is_new=True))

    def mark(self, num_steps: int = 1) -> None:
        """End a step, or `num_steps` made as one, which count as equally long."""
        event = self._new_event()
        event.record(*([self._stream()] if self._stream else []))
        self._windows[-1].events.append((event, num_steps))

    def pause(self) -> None:
        """Until `resume`, what passes is not of the step that is under way."""
        self.mark(0)

    def resume(self) -> None:
        """Go on with the step."""
        self._begin(_Window(is_new=False))

    def durations_s(self) -> list[float]:
        """All step durations so far [seconds]; the device must have been waited for."""
        return [*self._known_s, *self._durations_s(self._windows)[0]]

    def _begin(self, window: _Window) -> None:
        while self._windows and self._windows[0].events[-1][0].query():
            known_s, self._begun_s = self._durations_s([self._windows.popleft()])
            self._known_s.extend(known_s)
        self._windows.append(window)
        self.mark()

    def _durations_s(self, windows: Iterable[_Window]) -> tuple[list[float], float]:
        """Durations of the steps in `windows`, and what is known of the one after them."""
        known_s, begun_s = list[float](), self._begun_s
        for window in windows:
            begun_s = 0.0 if window.is_new else begun_s
            for (before, _), (after, num_steps) in itertools.pairwise(window.events):
                begun_s += before.elapsed_time(after) / 1e3
                if num_steps:
                    known_s += itertools.repeat(begun_s / num_steps, num_steps)
                    begun_s = 0.0
        return known_s, begun_s


@dataclass
class _Window:
    """Events of steps that followed each other, and how many steps each ended.

    One that is not new goes on with the step that the window before was left in.
    """

    is_new: bool
    events: list[tuple[Any, int]] = field(default_factory=list)


Timer = StepTimer | EventTimer
"""Either: what a device's steps are timed by."""
