"""Losses and weights that are not finite: noticed by all at one step, before anything is saved."""

import pytest
import torch
from safetensors.torch import load

from mnistbench.engine.health_check import HealthCheck
from mnistbench.engine.run_seeds import train
from mnistbench.schema.checkpoint import checkpoints_of, load_newest
from tests.engine.poisoned_train import poison
from tests.processes import SMALL_FLAGS

WEIGHTS = (torch.ones(3), torch.ones(2, 2))


class Alone:
    num_processes = 1


def look(losses, weights=WEIGHTS, health=None):
    health = health or HealthCheck(Alone())
    return health.check(torch.tensor(losses), weights, elapsed_s=0.01, signal=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_bad_step_of_a_window_is_named(value):
    assert look([1.0, 2.0]).bad_step is None
    assert look([1.0, value, 2.0, value]).bad_step == 2
    assert look([1.0, 2.0, 3.0], [torch.ones(2), torch.tensor([1.0, value])]).bad_step == 3
    assert look([], [torch.tensor(value)]).bad_step == 1


def test_windows_grow_to_half_a_second_and_hold_whole_graphs():
    health = HealthCheck(Alone(), at_once=3)
    sizes = []
    for _ in range(8):
        sizes.append(health.window_steps)
        health.check(
            torch.zeros(health.window_steps),
            WEIGHTS,
            elapsed_s=0.01 * health.window_steps,
            signal=0,
        )
    assert sizes == [3, 6, 12, 24, 48, 48, 48, 48]


@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_a_poisoned_step_ends_the_run_before_anything_is_saved(
    small_config, monkeypatch, tmp_path, loop
):
    poison(step=7, patch=monkeypatch.setattr)
    (record,) = train(
        small_config(
            num_epochs=4,
            checkpoint_every_steps=2,
            loop=loop,
            target_accuracy=0.9999,
            eval_every_steps=5,
        )
    )
    assert record.status == "diverged"
    assert record.error == "the loss or a weight was not finite at step 8"
    assert record.result.time_to_accuracy_s is None
    assert [point.step for point in record.eval_points] == [5]
    folder = tmp_path / "runs" / record.run_id
    saved, skipped = load_newest(folder)
    assert (saved.state.step, list(skipped)) == (6, [])
    weights = load(saved.files["model.safetensors"])
    assert all(bool(weight.isfinite().all()) for weight in weights.values())
    assert len(checkpoints_of(folder)) == 2


@pytest.mark.processes
def test_all_processes_notice_what_one_has_seen(launch):
    flags = [*SMALL_FLAGS, "--model", "linear", "--num-epochs", "9", "--loop", "stock"]
    done, (record,) = launch(*flags, module="tests.engine.poisoned_train")
    assert done.returncode == 1
    assert record.status == "diverged"
    assert record.error == "the loss or a weight was not finite at step 8"
    assert "exitcode  : 1" in done.stderr  # each ended by itself, and none was lost
    assert "mnistbench: error" not in done.stderr


def test_a_run_that_diverged_is_over_and_is_not_trained_again(small_config, monkeypatch):
    poison(step=7, patch=monkeypatch.setattr)
    values = {"num_epochs": 4, "checkpoint_every_steps": 2}
    (record,) = train(small_config(**values))
    assert train(small_config(**values, resume="latest")) == [record]
