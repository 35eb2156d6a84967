"""Signals that end a run: obeyed between steps; a second one, or time, ends it at once."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.errors import Terminated

__all__ = ["StopSignals", "deferred_signals", "exit_now", "obeyed_in_time", "stop_error"]

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PATIENCE_S = 8.0
"""What a process has to finish its step and save; what it must be gone in is 10 s."""

_LAST_PATIENCE_S = 1.0
"""What it has, after a second signal, to leave what it cannot be interrupted in."""

_ONE_STOP_S = 1.5
"""Launchers pass on what the terminal has sent already, or end, which sends SIGTERM as well; and a
terminal that closes sends SIGHUP, as does its shell."""


class StopSignals:
    """What signals have asked for.

    Attributes:
        asked: the number of the first that came; 0 while none has.
    """

    def __init__(self) -> None:
        """Remember how signals are reacted to."""
        self.asked = 0
        self._since = 0.0
        told = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in _STOPS if told}

    def taken(self) -> list[signal.Signals]:
        """The signals that have an effect in Python: not those ignored, or the system's own."""
        return [number for number, handler in self._before.items() if callable(handler)]

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take the first signal down; pass a second one to the previous handler."""
        if not self.asked:
            self.asked, self._since = number, monotonic()
        elif not _is_echo({self.asked, number}, monotonic() - self._since):
            handler = self._before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

    def put_back(self) -> None:
        """Leave the reactions to signals as they were."""
        for number in self.taken():
            signal.signal(number, self._before[number])


@contextmanager
def deferred_signals(give_up: Callable[[int], None]) -> Iterator[StopSignals]:
    """Note stop signals inside, instead of raising wherever they come.

    A second one raises as it would have before. Where neither leads out in time, see
    `obeyed_in_time`. Outside the main thread, which alone is told of signals, nothing is changed.
    """
    stops = StopSignals()
    try:
        with obeyed_in_time(give_up):
            for number in stops.taken():
                signal.signal(number, stops.note)
            yield stops
    finally:
        stops.put_back()


@contextmanager
def obeyed_in_time(give_up: Callable[[int], None]) -> Iterator[None]:
    """Have `give_up` called where a signal does not lead out of here in time.

    It is given the signal's number, in another thread: the main one may wait inside a library, for
    other processes or a device. It ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, heard = socket.socketpair()
    told.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(heard, give_up), daemon=True)
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        watcher.start()
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        told.shutdown(socket.SHUT_RDWR)  # ends the watcher, though forked workers hold copies
        told.close()
        if watcher.ident:
            watcher.join()  # it holds tensors, whose end aborts a process that is ending itself
        heard.close()


def _watch(heard: socket.socket, give_up: Callable[[int], None]) -> None:
    """Give up in time after the first of the signals that are `heard`."""
    first, since, deadline = 0, 0.0, float("inf")
    while True:
        left = None if deadline == float("inf") else max(0.0, deadline - monotonic())
        if not select.select([heard], [], [], left)[0]:
            give_up(first)
            return
        numbers = heard.recv(16)
        if not numbers:
            return  # the run has ended
        for number in numbers:
            if number not in _STOPS:
                continue
            now = monotonic()
            if not first:
                first, since, deadline = number, now, now + _PATIENCE_S
            elif not _is_echo({first, number}, now - since):
                deadline = min(deadline, now + _LAST_PATIENCE_S)


def stop_error(number: int, said: str = "") -> KeyboardInterrupt:
    """What to raise for signal `number`; `said` is for the user."""
    return KeyboardInterrupt(said) if number == signal.SIGINT else Terminated(said)


def _is_echo(numbers: set[int], elapsed_s: float) -> bool:
    several = signal.SIGHUP in numbers or this_launch().started_by != "python"
    return several and elapsed_s < _ONE_STOP_S


def exit_now(number: int) -> None:
    """End the process with the exit status of signal `number`, whatever its main thread is in."""
    os._exit(130 if number == signal.SIGINT else 143)
