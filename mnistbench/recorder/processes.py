"""Several processes that train together, and what each tells the main one of what it counted.

They meet in the store of torch.distributed, which needs neither the device nor a process group that
is still there: scripts end theirs before the run is over.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from mnistbench.recorder.launcher import this_launch
from mnistbench.schema.record import Status

_PATIENCE_S = 30.0
"""How long the main process waits for one that takes part."""
_NO_SIGN_S = 3.0
"""The same for one that gave no sign so far."""
_EVERY_S = 0.02
_num_joined = 0


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What one process counted, or all of them together; times in seconds on its clocks."""

    num_processes: int = 1
    num_steps: int
    num_samples: int | None
    first_samples: int
    step_size: int | None
    train_s: float
    first_step_s: float | None
    step_s_p50: float | None
    step_s_p95: float | None
    stood_still_s: float
    num_pauses: int
    status: Status
    error: str | None


class Processes:
    """Who trains together; this process alone until torch.distributed says otherwise.

    `index` is the number of this process among `count`, from 0, which is the main one's.
    """

    def __init__(self) -> None:
        self.index, self.count = 0, 1
        self._store: Any = None
        self._has_joined = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes the record; before they met, by what a launcher said."""
        return (self.index if self._has_joined else this_launch().rank) == 0

    def join(self) -> None:
        """Find out who trains together, once torch.distributed is initialised; tell the others."""
        global _num_joined  # noqa: PLW0603 - processes count their runs alike
        distributed: Any = sys.modules.get("torch.distributed")
        is_there = distributed is not None and distributed.is_available()
        if self._has_joined or not is_there or not distributed.is_initialized():
            return
        self._has_joined = True
        self.index, self.count = distributed.get_rank(), distributed.get_world_size()
        if self.count == 1:
            return
        _num_joined += 1
        with suppress(Exception):  # a backend without a store: then nobody hears of the others
            store = distributed.distributed_c10d._get_default_store()  # noqa: SLF001
            self._store = distributed.PrefixStore(f"mnistbench/{_num_joined}", store)
            self._store.set(f"{self.index}/here", "")

    def report(self, tally: Tally) -> None:
        """Tell the main process what was counted here; one that is gone is told nothing."""
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.set(f"{self.index}/tally", json.dumps(asdict(tally)))

    def collect(self, own: Tally, *, is_over: Callable[[], bool]) -> Sequence[Tally | None]:
        """What each process told, in their order; ``None`` of one that did not in time.

        `own` is of this one. Once the wait `is_over`, those are taken that are there.
        """
        tallies: list[Tally | None] = [own, *[None] * (self.count - 1)]
        began = time.monotonic()
        while self._store is not None:
            waited_s = time.monotonic() - began
            missing = [i for i, tally in enumerate(tallies) if tally is None]
            for index in missing:
                if self._has(key := f"{index}/tally"):
                    tallies[index] = Tally(**json.loads(self._store.get(key)))
            limits = [_PATIENCE_S if self._has(f"{i}/here") else _NO_SIGN_S for i in missing]
            if None not in tallies or waited_s > max(limits) or is_over():
                break
            time.sleep(_EVERY_S)
        return tallies

    def _has(self, key: str) -> bool:
        try:
            return bool(self._store.check([key]))
        except RuntimeError:  # who keeps the store is gone
            return False
