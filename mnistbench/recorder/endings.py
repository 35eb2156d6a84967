"""How a process that records a run ends, and that it leaves its record first."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mnistbench.schema.errors import first_line
from mnistbench.schema.record import Status
from mnistbench.schema.signals import ENDS, Handler, stop_error

__all__ = ["Endings", "heard_endings", "status_of"]

_LONGEST = 500  # letters of an error


class Endings:
    """What asked this process to end.

    Attributes:
        asked: the signal that came; ``None`` while none did.
        is_ending: the run ends already: signals are noted, and obeyed when it is on record.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.is_ending = False
        self._pid = os.getpid()

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Raise where the process is, which leads out of the run; a forked child just ends."""
        if os.getpid() != self._pid:
            _end_by(number)
        self.asked = signal.Signals(number)
        if not self.is_ending:
            raise stop_error(number)


def status_of(
    error: BaseException | None, asked: signal.Signals | None
) -> tuple[Status, str | None]:
    """How a run ended that was left by `error`, or by none, and what is said of it."""
    if asked is not None or isinstance(error, KeyboardInterrupt):
        return "interrupted", f"stopped by {(asked or signal.SIGINT).name}"
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return "completed", None
    if isinstance(error, GeneratorExit):
        return "interrupted", "the generator that held the run was closed"
    what = "exit status" if isinstance(error, SystemExit) else type(error).__name__
    said = first_line(error)
    return "failed", (what if said == what else f"{what}: {said}")[:_LONGEST]


@contextmanager
def heard_endings(at_exit: Callable[[], None]) -> Iterator[Endings]:
    """Inside, signals that end a process raise; where it exits without leaving, call `at_exit`.

    A script that has handlers of its own keeps them. In the end the process ends by the signal that
    came, as it would have without a record.
    """
    endings, ours = Endings(), dict[int, Handler | int | None]()
    atexit.register(at_exit)
    if threading.current_thread() is threading.main_thread():
        ours = {n: found for n in ENDS if (found := signal.getsignal(n)) == signal.SIG_DFL}
        for number in ours:
            signal.signal(number, endings.note)
    try:
        yield endings
    finally:
        atexit.unregister(at_exit)
        for number, before in ours.items():
            if signal.getsignal(number) == endings.note:
                signal.signal(number, before)
    if endings.asked:
        _end_by(endings.asked)


def _end_by(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise stop_error(number)  # another thread was given it
