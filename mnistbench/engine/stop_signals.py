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

from mnistbench.recorder.environment import launcher
from mnistbench.schema.errors import Terminated

__all__ = ["StopSignals", "deferred_signals", "exit_now", "stop_error"]

_STOPS = (signal.SIGINT, signal.SIGTERM)

_PATIENCE_S = 8.0
"""What a process has to finish its step and save; what it must be gone in is 10 s."""

_LAST_PATIENCE_S = 1.0
"""What it has, after a second signal, to leave what it cannot be interrupted in."""

_ONE_STOP_S = 1.5
"""Launchers pass on what the terminal has sent already, or end, which sends SIGTERM as well."""


class StopSignals:
    """What signals have asked for.

    Attributes:
        asked: the number of the first that came; 0 while none has.
    """

    def __init__(self, give_up: Callable[[int], None]) -> None:
        """`give_up` ends the process, called from a thread with the signal's number."""
        self.asked = 0
        self._since = 0.0
        self._give_up = give_up
        self._before = {number: signal.getsignal(number) for number in _STOPS}

    def taken(self) -> list[signal.Signals]:
        """The signals that have an effect in Python: not those ignored, or the system's own."""
        return [number for number, handler in self._before.items() if callable(handler)]

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take the first signal down; pass a second one to the previous handler."""
        if not self.asked:
            self.asked, self._since = number, monotonic()
        elif not _is_echo(monotonic() - self._since):
            handler = self._before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

    def put_back(self) -> None:
        """Leave the reactions to signals as they were."""
        for number in self.taken():
            signal.signal(number, self._before[number])

    def watch(self, heard: socket.socket) -> None:
        """Give up where the main thread does not come to obey: it may wait inside the library."""
        first, since, deadline = 0, 0.0, float("inf")
        while True:
            left = None if deadline == float("inf") else max(0.0, deadline - monotonic())
            if not select.select([heard], [], [], left)[0]:
                self._give_up(first)
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
                elif not _is_echo(now - since):
                    deadline = min(deadline, now + _LAST_PATIENCE_S)


@contextmanager
def deferred_signals(give_up: Callable[[int], None]) -> Iterator[StopSignals]:
    """Note SIGINT and SIGTERM inside, instead of raising wherever they come.

    A second one raises as it would have before. Where neither leads out in time, because the main
    thread waits for other processes or a device, `give_up` is called with the signal's number, from
    another thread. Outside the main thread, which alone is told of signals, nothing is changed.
    """
    stops = StopSignals(give_up)
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    told, heard = socket.socketpair()
    told.setblocking(False)
    watcher = threading.Thread(target=stops.watch, args=(heard,), daemon=True)
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        for number in stops.taken():
            signal.signal(number, stops.note)
        watcher.start()
        yield stops
    finally:
        signal.set_wakeup_fd(wakeup)
        told.shutdown(socket.SHUT_RDWR)  # ends the watcher, though forked workers hold copies
        told.close()
        if watcher.ident:
            watcher.join()  # it holds tensors, whose end aborts a process that is ending itself
        heard.close()
        stops.put_back()


def stop_error(number: int, said: str = "") -> KeyboardInterrupt:
    """What to raise for signal `number`; `said` is for the user."""
    return Terminated(said) if number == signal.SIGTERM else KeyboardInterrupt(said)


def _is_echo(elapsed_s: float) -> bool:
    return launcher() != "python" and elapsed_s < _ONE_STOP_S


def exit_now(number: int) -> None:
    """End the process as signal `number` does, whatever its main thread is in."""
    os._exit(128 + number)
