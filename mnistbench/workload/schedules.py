"""Learning rates: a pure function of the step number, so that a resumed run needs no state.

Each schedule gives a factor in [0, 1] of the peak ``config.lr``. Past the last step a schedule
stays where it ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import ScheduleName

__all__ = ["SCHEDULES", "ScheduleStep", "lr_at", "lr_factor"]

_RISE_SHARE = 0.3
_START_FACTOR = 1 / 25
_END_FACTOR = _START_FACTOR / 1e4


@dataclass(frozen=True, kw_only=True)
class ScheduleStep:
    """One optimizer step of a schedule, counted after any warm-up.

    Attributes:
        step: from 0 [steps].
        num_steps: length of the schedule, 1 or more [steps].
        steps_per_epoch: 1 or more [steps].
    """

    step: int
    num_steps: int
    steps_per_epoch: int

    @property
    def elapsed(self) -> float:
        """Share of the schedule's steps that lie behind this one, at most 1."""
        return min(self.step / self.num_steps, 1.0)


def lr_factor(config: RunConfig, num_processes: int) -> float:
    """What ``config.lr_scaling`` multiplies the learning rate by, as the batch grows by processes.

    ``linear``: Goyal et al. 2017; ``sqrt``: Krizhevsky 2014.
    """
    factors = {"none": 1.0, "sqrt": math.sqrt(num_processes), "linear": float(num_processes)}
    return factors[config.lr_scaling]


def lr_at(step: int, *, config: RunConfig, num_steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimizer step.

    With ``lr_warmup_steps`` W, step s < W runs at ``lr * (s + 1) / (W + 1)`` and the schedule
    begins, at the peak, with step W; its length and its epochs are counted from there.
    ``one-cycle`` has a rise of its own and ignores W.

    Args:
        step: optimizer step from 0; past the end, the last value holds.
        config: gives ``lr``, ``lr_schedule`` and what that schedule reads.
        num_steps: steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.

    Returns:
        A finite learning rate in ``[0, config.lr]``.

    Raises:
        ValueError: `step` is negative, or one of the lengths is below 1.
    """
    if step < 0 or num_steps < 1 or steps_per_epoch < 1:
        raise ValueError(f"no learning rate at {step=} with {num_steps=}, {steps_per_epoch=}")
    warmup = 0 if config.lr_schedule == "one-cycle" else config.lr_warmup_steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    now = ScheduleStep(
        step=step - warmup, num_steps=max(num_steps - warmup, 1), steps_per_epoch=steps_per_epoch
    )
    return config.lr * SCHEDULES[config.lr_schedule](now, config)


def _step(now: ScheduleStep, config: RunConfig) -> float:
    """Times ``lr_decay`` at the end of every ``lr_decay_epochs`` epochs."""
    decays = now.step // (config.lr_decay_epochs * now.steps_per_epoch)
    return math.pow(config.lr_decay, decays)


def _exponential(now: ScheduleStep, config: RunConfig) -> float:
    """Times ``lr_decay`` per epoch, spread evenly over its steps rather than all at its end."""
    return math.pow(config.lr_decay, now.step / now.steps_per_epoch)


def _one_cycle(now: ScheduleStep, _config: RunConfig) -> float:
    """Rise from 1/25 over 30 % of the steps, then fall to 1/250,000 (Smith and Topin 2018).

    Step by step that of ``torch.optim.lr_scheduler.OneCycleLR``, whose rise ends one step early;
    momentum is left alone.
    """
    last = now.num_steps - 1
    peak = _RISE_SHARE * now.num_steps - 1
    step = min(now.step, last)
    if step <= peak:
        return _START_FACTOR + (1 - _START_FACTOR) * _cosine_fall(1 - step / peak)
    return _END_FACTOR + (1 - _END_FACTOR) * _cosine_fall((step - peak) / (last - peak))


def _cosine_fall(share: float) -> float:
    """From 1 at `share` 0 to 0 at 1, level at both ends."""
    return (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[ScheduleName, Callable[[ScheduleStep, RunConfig], float]] = {
    "constant": lambda _now, _config: 1.0,
    "step": _step,
    "exponential": _exponential,
    # half a cosine wave, to reach 0 one step after the last (Loshchilov and Hutter 2017)
    "cosine": lambda now, _config: _cosine_fall(now.elapsed),
    # a straight line, to reach 0 one step after the last
    "linear": lambda now, _config: 1 - now.elapsed,
    "one-cycle": _one_cycle,
}
"""Every schedule by the name that a user types: the factor of ``config.lr`` at a now."""
