"""Schedules against torch's own, step by step."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

import mnistbench
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import ScheduleName
from mnistbench.workload.schedules import SCHEDULES, lr_at

NAMES: tuple[ScheduleName, ...] = get_args(ScheduleName)

lengths = st.integers(1, 60)
epochs = st.integers(1, 7)


def ours(config: RunConfig, num_steps: int, steps_per_epoch: int = 5) -> list[float]:
    return [
        lr_at(step, config=config, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        for step in range(num_steps)
    ]


def theirs(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], lr: float, num_steps: int
) -> list[float]:
    """The learning rates that a torch scheduler sets for each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    values = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_steps - 1):
        optimizer.step()
        scheduler.step()
        values.append(optimizer.param_groups[0]["lr"])
    return values


def near(values: list[float]):
    return pytest.approx(values, rel=1e-6, abs=1e-12)


def test_registry_has_exactly_the_names():
    assert tuple(SCHEDULES) == NAMES


def test_constant_is_the_peak():
    assert ours(RunConfig(lr=0.3, lr_schedule="constant"), 4) == [0.3] * 4


@settings(max_examples=30, deadline=None)
@given(num_steps=lengths, per_epoch=epochs, every=st.integers(1, 3), decay=st.floats(0.1, 1))
def test_step_is_steplr(num_steps, per_epoch, every, decay):
    config = RunConfig(lr=0.5, lr_schedule="step", lr_decay=decay, lr_decay_epochs=every)
    expected = theirs(
        lambda o: lr_scheduler.StepLR(o, step_size=every * per_epoch, gamma=decay), 0.5, num_steps
    )
    assert ours(config, num_steps, per_epoch) == near(expected)


@settings(max_examples=30, deadline=None)
@given(num_steps=lengths, per_epoch=epochs, decay=st.floats(0.1, 1))
def test_exponential_is_exponentiallr_of_the_root(num_steps, per_epoch, decay):
    config = RunConfig(lr=0.5, lr_schedule="exponential", lr_decay=decay)
    root = decay ** (1 / per_epoch)
    expected = theirs(lambda o: lr_scheduler.ExponentialLR(o, gamma=root), 0.5, num_steps)
    assert ours(config, num_steps, per_epoch) == near(expected)


def test_exponential_has_decayed_once_after_an_epoch():
    config = RunConfig(lr=1.0, lr_schedule="exponential", lr_decay=0.7)
    assert ours(config, 11)[5::5] == pytest.approx([0.7, 0.49])


@settings(max_examples=30, deadline=None)
@given(num_steps=lengths)
def test_cosine_is_cosineannealinglr(num_steps):
    config = RunConfig(lr=0.5, lr_schedule="cosine")
    expected = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=num_steps), 0.5, num_steps)
    assert ours(config, num_steps) == near(expected)


@settings(max_examples=30, deadline=None)
@given(num_steps=lengths)
def test_linear_is_linearlr(num_steps):
    config = RunConfig(lr=0.5, lr_schedule="linear")
    expected = theirs(
        lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=num_steps), 0.5, num_steps
    )
    assert ours(config, num_steps) == near(expected)


@settings(max_examples=60, deadline=None)
@given(num_steps=st.integers(1, 200), lr=st.floats(1e-6, 1e3))
def test_one_cycle_is_onecyclelr(num_steps, lr):
    expected = theirs(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=lr, total_steps=num_steps, cycle_momentum=False
        ),
        lr,
        num_steps,
    )
    assert ours(RunConfig(lr=lr, lr_schedule="one-cycle"), num_steps) == near(expected)


def test_one_cycle_has_its_own_rise_and_ignores_the_warmup():
    plain = RunConfig(lr=0.5, lr_schedule="one-cycle")
    warmed = RunConfig(lr=0.5, lr_schedule="one-cycle", lr_warmup_steps=7)
    assert ours(warmed, 20) == ours(plain, 20)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one-cycle"])
@pytest.mark.parametrize("warmup", [1, 6])
def test_warmup_is_linearlr_and_then_the_schedule_from_its_start(name, warmup):
    config = RunConfig(lr=0.5, lr_schedule=name, lr_warmup_steps=warmup)
    values = ours(config, 20)
    rise = theirs(
        lambda o: lr_scheduler.LinearLR(o, 1 / (warmup + 1), 1.0, total_iters=warmup),
        0.5,
        warmup + 1,
    )
    assert values[: warmup + 1] == near(rise)
    assert values[warmup:] == ours(RunConfig(lr=0.5, lr_schedule=name), 20 - warmup)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_reaches_zero_where_the_run_ends_and_stays(name):
    config = RunConfig(lr=0.5, lr_schedule=name, lr_warmup_steps=3)
    past = [lr_at(s, config=config, num_steps=9, steps_per_epoch=2) for s in (9, 10, 500)]
    assert past == [0.0, 0.0, 0.0]


def test_one_cycle_stays_at_its_end():
    config = RunConfig(lr=0.5, lr_schedule="one-cycle")
    values = [lr_at(s, config=config, num_steps=9, steps_per_epoch=2) for s in (8, 9, 500)]
    assert values == pytest.approx([0.5 / 250_000] * 3)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    step=st.one_of(st.integers(0, 50), st.integers(0, 2**31)),
    num_steps=st.one_of(st.integers(1, 50), st.integers(1, 2**31)),
    per_epoch=st.integers(1, 10_000),
    warmup=st.one_of(st.just(0), st.integers(0, 60), st.integers(0, 2**31 - 1)),
    lr=st.floats(1e-300, 1e4),
    decay=st.floats(1e-300, 1),
)
def test_finite_and_between_zero_and_the_peak(  # one argument per thing drawn
    name, step, num_steps, per_epoch, warmup, lr, decay
):
    config = RunConfig(lr=lr, lr_schedule=name, lr_warmup_steps=warmup, lr_decay=decay)
    value = lr_at(step, config=config, num_steps=num_steps, steps_per_epoch=per_epoch)
    assert math.isfinite(value)
    assert 0 <= value <= lr


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_one_step_learns(name):
    value = lr_at(0, config=RunConfig(lr=0.5, lr_schedule=name), num_steps=1, steps_per_epoch=1)
    assert value == pytest.approx(0.5 / 250_000 if name == "one-cycle" else 0.5)


@pytest.mark.parametrize(("step", "num_steps", "per_epoch"), [(-1, 5, 5), (0, 0, 5), (0, 5, 0)])
def test_refuses_impossible_lengths(step, num_steps, per_epoch):
    with pytest.raises(ValueError, match="no learning rate"):
        lr_at(step, config=RunConfig(), num_steps=num_steps, steps_per_epoch=per_epoch)


@pytest.mark.processes
def test_needs_no_torch():
    root = str(Path(mnistbench.__file__).parents[1])
    code = "import sys, mnistbench.workload.schedules; sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert done.returncode == 0
