"""Learning rates: a pure function of the step number, so that a resumed run needs no state.

Each schedule gives a factor in [0, 1] of the peak ``config.lr``. Past the last step a schedule
stays where it ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mnistbench.schema.component import is_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.user_calls import name_of, user_errors
from mnistbench.workload.components import load_component

_RISE_SHARE = 0.3
_START_FACTOR = 1 / 25
_END_FACTOR = _START_FACTOR / 1e4


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
        A finite learning rate of 0 or more; of a built-in schedule ``config.lr`` at most.

    Raises:
        ValueError: `step` is negative, or one of the lengths is below 1.
        InputError: a schedule of the user's own gives no such number.
    """
    if step < 0 or num_steps < 1 or steps_per_epoch < 1:
        raise ValueError(f"no learning rate at {step=} with {num_steps=}, {steps_per_epoch=}")
    warmup = 0 if config.lr_schedule == "one-cycle" else config.lr_warmup_steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    schedule = _own if is_reference(config.lr_schedule) else SCHEDULES[config.lr_schedule]
    return config.lr * schedule(step - warmup, max(num_steps - warmup, 1), steps_per_epoch, config)


def _own(step: int, num_steps: int, steps_per_epoch: int, config: RunConfig) -> float:
    """What the user's function gives, which has to be a finite number of 0 or more."""
    schedule = load_component("lr_schedule", config.lr_schedule)
    step = min(step, num_steps - 1)
    with user_errors("lr_schedule"):
        factor = schedule(step, num_steps, steps_per_epoch)
        value = float(factor) if hasattr(factor, "__float__") else math.nan
    if not 0 <= value < math.inf:
        raise InputError(
            f"lr_schedule: {name_of(schedule)} gives {factor!r} at step {step} of {num_steps}; it "
            "should give a finite factor of the learning rate, 0 or more"
        )
    return value


def _step(step: int, _num_steps: int, steps_per_epoch: int, config: RunConfig) -> float:
    """Times ``lr_decay`` at the end of every ``lr_decay_epochs`` epochs."""
    return math.pow(config.lr_decay, step // (config.lr_decay_epochs * steps_per_epoch))


def _exponential(step: int, _num_steps: int, steps_per_epoch: int, config: RunConfig) -> float:
    """Times ``lr_decay`` per epoch, spread evenly over its steps rather than all at its end."""
    return math.pow(config.lr_decay, step / steps_per_epoch)


def _cosine(step: int, num_steps: int, *_: object) -> float:
    """Half a cosine wave, to reach 0 one step after the last (Loshchilov and Hutter 2017)."""
    return _cosine_fall(min(step / num_steps, 1.0))


def _linear(step: int, num_steps: int, *_: object) -> float:
    """A straight line, to reach 0 one step after the last."""
    return 1 - min(step / num_steps, 1.0)


def _one_cycle(step: int, num_steps: int, *_: object) -> float:
    """Rise from 1/25 over 30 % of the steps, then fall to 1/250,000 (Smith and Topin 2018).

    Step by step that of ``torch.optim.lr_scheduler.OneCycleLR``, whose rise ends one step early;
    momentum is left alone.
    """
    last = num_steps - 1
    peak = _RISE_SHARE * num_steps - 1
    step = min(step, last)
    if step <= peak:
        return _START_FACTOR + (1 - _START_FACTOR) * _cosine_fall(1 - step / peak)
    return _END_FACTOR + (1 - _END_FACTOR) * _cosine_fall((step - peak) / (last - peak))


def _cosine_fall(share: float) -> float:
    """From 1 at `share` 0 to 0 at 1, level at both ends."""
    return (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, Callable[[int, int, int, RunConfig], float]] = {
    "constant": lambda *_: 1.0,
    "step": _step,
    "exponential": _exponential,
    "cosine": _cosine,
    "linear": _linear,
    "one-cycle": _one_cycle,
}
"""Every schedule by the name that a user types: the factor of ``config.lr``.

Each takes the step from 0, counted after any warm-up, the schedule's steps, those of an epoch, both
1 or more, and the config.
"""
