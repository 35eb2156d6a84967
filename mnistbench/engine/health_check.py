"""Between windows of steps, all processes check together: is all well, is anybody to stop?

Nothing inside a window waits for another process or the device on this account: the more often
it is asked, the more it costs, so windows are as long as half a second has steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from mnistbench.engine.process_group import CheckGroup

_WINDOW_S = 0.5
_MOST_STEPS = 10_000


class HealthStatus(NamedTuple):
    """What all processes found together, the same on each.

    `bad_step` is the first of the window, from 1, after which a loss or weight was not finite on
    any process; `signal` asks for an end, or is 0. `same_weights` add up alike on all processes.
    """

    bad_step: int | None
    signal: int
    same_weights: bool = True


class HealthCheck:
    """Checks after each window, and says how many steps the next may have.

    Attributes:
        window_steps: steps until the next check.
    """

    def __init__(
        self, accelerator: Accelerator, *, group: CheckGroup | None = None, at_once: int = 1
    ) -> None:
        """`at_once` steps are made as one, so that a window holds a multiple of them.

        Several processes tell each other in `group`; the one that exchanges gradients by default.
        """
        self.window_steps = at_once
        self._num_processes, self._at_once = accelerator.num_processes, at_once
        self._group = group or CheckGroup(accelerator)

    def check(
        self, losses: Tensor, weights: Iterable[Tensor], *, elapsed_s: float, signal: int
    ) -> HealthStatus:
        """Check a window that took this process `elapsed_s`.

        Its `losses` ``[n]`` are in order, none after an evaluation; `signal` is what it was sent,
        or 0.
        """
        sums = torch.stack([_share(weight).float().sum() for weight in weights])
        bad = _first_bad(losses, sums)
        found = torch.tensor([[bad, signal, elapsed_s, float(sums.sum())]], dtype=torch.float32)
        every = self._group.gather(found[0]) if self._num_processes > 1 else found
        first = every[:, 0].amin().item()
        _, asked, slowest_s, total = every.amax(dim=0).tolist()
        if len(losses):
            # twice the steps at most: the first of a run is not as fast as others
            in_window = int(len(losses) / max(slowest_s, 1e-6) * _WINDOW_S)
            wanted = min(in_window, 2 * self.window_steps, _MOST_STEPS)
            self.window_steps = max(wanted // self._at_once, 1) * self._at_once
        same = bool((every[:, 3] == total).all())
        return HealthStatus(None if math.isinf(first) else int(first), int(asked), same)


def _first_bad(losses: Tensor, sums: Tensor) -> float:
    """The first step, from 1, whose loss is not finite; the last if only weights add up so."""
    well = torch.isfinite(losses)
    if bool(well.all()):
        return math.inf if bool(torch.isfinite(sums).all()) else float(max(len(losses), 1))
    return float(int(well.logical_not().nonzero()[0]) + 1)


def _share(weight: Tensor) -> Tensor:
    """What this process holds of `weight`: all of it, but under FSDP."""
    held: Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    return held.detach()
