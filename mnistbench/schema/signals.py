"""Signals that ask a process to end: which they are, what is raised, and who is told of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from mnistbench.schema.errors import Terminated

ENDS = (signal.SIGTERM, signal.SIGHUP)
STOPS = (signal.SIGINT, *ENDS)
Handler = Callable[[int, FrameType | None], Any]


def stop_error(number: int, said: str = "") -> KeyboardInterrupt:
    """What to raise for signal `number`; `said` is for the user."""
    return KeyboardInterrupt(said) if number == signal.SIGINT else Terminated(said)


def raise_stop(number: int, _frame: FrameType | None = None) -> NoReturn:
    """Raise `stop_error` of signal `number`, as a handler."""
    raise stop_error(number)


@contextmanager
def kept_reactions() -> Iterator[Mapping[signal.Signals, Handler | int]]:
    """Put back at the end how this process reacts to `STOPS`, whatever is set inside.

    Gives how it does, but of a handler that was not set by Python and could not be put back.
    Outside the main thread, which alone is told of signals and may set handlers, that is nothing.
    """
    told = STOPS if threading.current_thread() is threading.main_thread() else ()
    found = {number: signal.getsignal(number) for number in told}
    before = {number: reaction for number, reaction in found.items() if reaction is not None}
    try:
        yield before
    finally:
        for number, reaction in before.items():
            signal.signal(number, reaction)
