"""Signals that end a run: obeyed between steps; a second one, or time, ends it at once."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.signals import STOPS, Handler, kept_reactions

_PATIENCE_S = 8.0
"""What a process has to finish its step and save; what it must be gone in is 10 s."""

_LAST_PATIENCE_S = 1.0
"""What it has, after a second signal, to leave what it cannot be interrupted in."""

_ONE_STOP_S = 1.5
"""Launchers pass on what the terminal has sent already, or end, which sends SIGTERM as well; and a
terminal that closes sends SIGHUP, as does its shell."""


class StopSignals:
    """What signals have asked for: the number of the first is in `asked`, 0 while none came."""

    def __init__(self, before: Mapping[int, Handler]) -> None:
        """`before` is what is called at a second one."""
        self.asked = 0
        self._since, self._before = 0.0, before

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take the first signal down; pass a second one to the previous handler."""
        if not self.asked:
            self.asked, self._since = number, monotonic()
        elif not _is_echo({self.asked, number}, monotonic() - self._since):
            self._before[number](number, frame)


@contextmanager
def deferred_signals(give_up: Callable[[int], None]) -> Iterator[StopSignals]:
    """Note stop signals inside, instead of raising wherever they come.

    A second one raises as it would have before. Where neither leads out in time, see
    `obeyed_in_time`. Outside the main thread, which alone is told of signals, nothing is changed.
    """
    with kept_reactions() as before, obeyed_in_time(give_up):
        # not those that are ignored, or the system's own
        taken: dict[int, Handler] = {n: found for n, found in before.items() if callable(found)}
        stops = StopSignals(taken)
        for number in taken:
            signal.signal(number, stops.note)
        yield stops


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
            if number not in STOPS:
                continue
            now = monotonic()
            if not first:
                first, since, deadline = number, now, now + _PATIENCE_S
            elif not _is_echo({first, number}, now - since):
                deadline = min(deadline, now + _LAST_PATIENCE_S)


def _is_echo(numbers: set[int], elapsed_s: float) -> bool:
    several = signal.SIGHUP in numbers or this_launch().started_by != "python"
    return several and elapsed_s < _ONE_STOP_S


def exit_now(number: int) -> None:
    """End the process with the exit status of signal `number`, whatever its main thread is in."""
    os._exit(130 if number == signal.SIGINT else 143)
