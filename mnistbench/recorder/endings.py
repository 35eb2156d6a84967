"""How a process that records a run ends, and that it leaves its record first."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

from mnistbench.recorder.config_values import without_secrets
from mnistbench.recorder.stop_signals import exit_now, obeyed_in_time
from mnistbench.schema.errors import Terminated, first_line
from mnistbench.schema.record import Status
from mnistbench.schema.signals import ENDS, stop_error

_LONGEST = 500  # letters of an error


class Endings:
    """What asked this process to end: the signal that is `asked`, ``None`` while none came."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._is_ending, self._wakes = False, False
        self._before: dict[int, Any] = {}

    def take(self, *numbers: signal.Signals, instead_of: object) -> bool:
        """Hear those of these signals that `instead_of` is called for; whether any is."""
        if threading.current_thread() is threading.main_thread():
            ours = [number for number in numbers if signal.getsignal(number) == instead_of]
            self._before |= {n: signal.signal(n, self._note) for n in ours}
        return bool(self._before)

    def defer(self) -> None:
        """The run ends already: from now on signals are noted, and obeyed when it is on record."""
        self._is_ending = True
        self.take(signal.SIGINT, instead_of=signal.default_int_handler)

    def give_back(self) -> None:
        """Let signals do what they did, but where the script has taken them meanwhile."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, before)

    @contextmanager
    def obeyed(self, in_time: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
        """End the process where Python does not hear of a signal in time, after `in_time`."""

        def give_up(number: int) -> None:
            if self.asked is None and signal.getsignal(number) == self._note:
                in_time(stop_error(number))
                exit_now(number)

        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        self._wakes = descriptor == -1  # else asyncio is told of signals, as in a notebook
        with obeyed_in_time(give_up) if self._wakes else nullcontext():
            yield

    def leave_to_parent(self) -> None:
        """In a forked child, such as a loader's worker, signals are nothing of the run's."""
        self.give_back()
        if self._wakes:
            signal.set_wakeup_fd(-1)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Raise where the process is, which leads out of the run."""
        self.asked = signal.Signals(number)
        if not self._is_ending:
            raise stop_error(number)


def status_of(
    error: BaseException | None, asked: signal.Signals | None
) -> tuple[Status, str | None]:
    """How a run ended that was left by `error`, or by none, and what is said of it."""
    if asked is not None or isinstance(error, KeyboardInterrupt):
        number = asked or (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        return "interrupted", f"stopped by {number.name}"
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return "completed", None
    if isinstance(error, GeneratorExit):
        return "interrupted", "the generator that held the run was closed"
    what = "exit status" if isinstance(error, SystemExit) else type(error).__name__
    try:
        said = without_secrets(first_line(error))
    except Exception:  # an exception of the user's own may raise anything
        said = what
    return "failed", (what if said == what else f"{what}: {said}")[:_LONGEST]


@contextmanager
def heard_endings(
    at_exit: Callable[[], None], *, in_time: Callable[[KeyboardInterrupt], None]
) -> Iterator[Endings]:
    """Inside, signals that end a process raise; where it exits without leaving, call `at_exit`.

    A script that has handlers of its own keeps them. In the end the process ends by the signal that
    came. One that does not hear it for seconds, inside a library, is ended once `in_time` was
    called, in another thread.
    """
    endings = Endings()
    atexit.register(at_exit)
    with ExitStack() as leaving:
        leaving.callback(atexit.unregister, at_exit)
        leaving.callback(endings.give_back)
        if endings.take(*ENDS, instead_of=signal.SIG_DFL):
            leaving.enter_context(endings.obeyed(in_time))
        _heard.append(endings)
        leaving.callback(_heard.remove, endings)
        yield endings
    if endings.asked == signal.SIGINT:
        raise KeyboardInterrupt
    if endings.asked:
        os.kill(os.getpid(), endings.asked)


_heard: list[Endings] = []
_mask: set[int] = set()


def _hold() -> None:
    """Around a fork signals wait: a child that has our handlers would miss its own."""
    if _heard:
        _mask.update(signal.pthread_sigmask(signal.SIG_BLOCK, ENDS))


def _let_go() -> None:
    if _heard:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask)
        _mask.clear()


def _let_go_in_child() -> None:
    for endings in _heard:
        endings.leave_to_parent()
    _let_go()
    _heard.clear()


os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go_in_child)
