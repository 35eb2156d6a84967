"""A limit on what waits for other processes or the device, where the backend sets none.

A step that NCCL never ends holds the main thread in the driver; exchanges in a replayed CUDA graph
are watched by nobody else.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class Watchdog:
    """Calls `give_up` from a thread when what it is armed for takes too long.

    A context: the thread is there while inside, and joined at its end, for it holds tensors, whose
    end aborts a process that is ending. It sleeps until the earliest moment that can be too late.
    """

    def __init__(self, timeout_s: float, give_up: Callable[[float], object]) -> None:
        """`give_up` is told the seconds that were waited; usually it ends the process.

        `timeout_s` is longer than any wait that ends by itself; infinite, there is no thread.
        """
        self._timeout_s, self._give_up = timeout_s, give_up
        self._since: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def arm(self) -> None:
        """Begin to count; anew if it did already."""
        self._since = monotonic()

    def disarm(self) -> None:
        """Stop counting."""
        self._since = None

    @contextmanager
    def armed(self, give_up: Callable[[float], object] | None = None) -> Iterator[None]:
        """Count inside; another such block around it begins anew at the end.

        Inside, `give_up` is what is called, if it is given.
        """
        outer = self._since, self._give_up
        self._give_up = give_up or self._give_up
        self.arm()
        try:
            yield
        finally:
            since, self._give_up = outer
            self._since = None if since is None else monotonic()

    def __enter__(self) -> Watchdog:
        if self._timeout_s < math.inf:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.disarm()
        self._ended.set()
        if self._thread.ident:  # it was started
            self._thread.join()

    def _watch(self) -> None:
        resumed_s = 0.0
        while True:
            since = self._since
            # what is armed from now on cannot be too late before this has passed
            due_s = self._timeout_s + (monotonic() if since is None else max(since, resumed_s))
            left_s = due_s - monotonic()
            if left_s > 0:
                if self._ended.wait(left_s):
                    return
                if monotonic() > due_s + 5:  # it was stopped, by Ctrl-Z say: nobody could answer
                    resumed_s = monotonic()
            elif since == self._since and since is not None:
                self._give_up(monotonic() - since)
                return
