"""The fast loop: the stock loop's curve on every floor, and no trace of its warm-up."""

import copy
import shutil
from typing import get_args

import pytest
import torch

from mnistbench.engine import fast_step, plan
from mnistbench.engine.observed import compiled_graphs
from mnistbench.engine.run_seeds import train
from mnistbench.schema.names import LossName, OptimizerName
from mnistbench.workload.losses import LOSSES
from tests.engine.built import batches, built_run, warmed_up

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)
MODELS = {"simple-cnn": 0.01, "cnn2": 0.01, "resnet-mini": 0.001}
"""Learning rates; the last network, with batch norm, soon parts from fp64 by any order of sums."""


@pytest.fixture
def curves(small_config, monkeypatch):
    """The training losses of both loops; 300 images in batches of 64 leave a smaller last one."""
    monkeypatch.setattr("mnistbench.workload.datasets.TEST_IMAGES", 100)  # nothing is read of it

    def make(**values):
        records = [train(small_config(loop=loop, **values))[0] for loop in ("stock", "fast")]
        assert [record.status for record in records] == ["completed"] * 2
        return [torch.tensor([p.loss for p in record.train_points]) for record in records], records

    return make


def assert_same_curve(losses, *, rtol=1e-4):
    stock, fast = losses
    torch.testing.assert_close(fast, stock, rtol=rtol, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_eager_steps_draw_the_stock_curve(curves, model):
    losses, (_, fast) = curves(
        model=model, lr=MODELS[model], num_epochs=2, augment=("shift", "rotate")
    )
    assert_same_curve(losses)
    assert fast.environment["loop_floor"] == "eager"


@pytest.mark.slow
@pytest.mark.parametrize("loss", get_args(LossName))
def test_every_loss_draws_the_stock_curve(curves, loss):
    losses, _ = curves(model="simple-cnn", loss=loss)
    assert_same_curve(losses)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("fused_optimizer", [True, False])
def test_every_optimizer_draws_the_stock_curve(curves, optimizer, fused_optimizer):
    losses, _ = curves(
        model="cnn2", optimizer=optimizer, lr=0.003, weight_decay=0.01, lr_schedule="linear",
        fused_optimizer=fused_optimizer,
    )  # fmt: skip
    assert_same_curve(losses)


@pytest.mark.processes
@needs_compiler
@pytest.mark.parametrize(
    "values",
    [
        {"model": "simple-cnn", "compile": True, "optimizer": "adam", "lr": 0.003},
        {"model": "speedrun-cnn", "compile": True, "loss": "label-smoothing", "nesterov": True},
        {"model": "linear", "compile": True, "optimizer": "muon", "augment": ("shift",)},
    ],
    ids=lambda values: values["model"],
)
def test_compiled_steps_draw_the_stock_curve(curves, values):
    losses, (_, fast) = curves(num_epochs=2, **values)
    assert_same_curve(losses, rtol=1e-3)  # batch norm multiplies rounding
    assert fast.environment["loop_floor"] == "compiled"


@pytest.mark.processes
@needs_compiler
def test_every_loss_compiles(curves, monkeypatch):
    """All in one step: each alone would be compiled for seconds."""
    builders = list(LOSSES.values())

    def sum_of_all(config):
        losses = [build(config) for build in builders]
        return lambda logits, labels: sum(loss(logits, labels) for loss in losses)

    monkeypatch.setitem(LOSSES, "mse", sum_of_all)
    losses, (_, fast) = curves(model="linear", loss="mse", compile=True)
    assert_same_curve(losses)
    assert fast.environment["loop_floor"] == "compiled"


def state(run):
    return copy.deepcopy(run.parts.model.state_dict()), torch.get_rng_state()


def weights_after(run):
    """Every weight and buffer after an epoch, and the next random number."""
    for batch in batches(run):
        run.parts.step.train_steps([batch], lrs=[0.01])
    return [tensor.clone() for tensor in run.parts.model.state_dict().values()], torch.rand(3)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("model", ["resnet-mini", "example-cnn"])  # batch norm; dropout
def test_warming_up_changes_nothing_that_training_sees(small_config, model, optimizer, one_thread):
    config = small_config(model=model, optimizer=optimizer, weight_decay=0.01, lr=0.003)
    (cold, cold_draw), (warm, warm_draw) = (
        weights_after(built_run(config, warm=warm)) for warm in (False, True)
    )
    assert torch.equal(cold_draw, warm_draw)
    assert all(torch.equal(*pair) for pair in zip(cold, warm, strict=True))


@pytest.mark.processes
@needs_compiler
def test_compiling_leaves_no_trace(small_config):
    config = small_config(model="speedrun-cnn", compile=True, optimizer="adam")
    run = built_run(config, warm=False)
    before, random = state(run)
    warmed_up(run)
    after, random_after = state(run)
    assert torch.equal(random, random_after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    states = run.parts.optimizer.state.values()
    assert states
    assert not any(value.count_nonzero() for one in states for value in one.values())


@pytest.mark.processes
@needs_compiler
def test_what_was_compiled_for_blank_data_is_what_runs(small_config):
    run = built_run(small_config(model="linear", compile=True, eval_batch_size=100))
    before = compiled_graphs()
    assert before
    for batch in batches(run):
        run.parts.step.train_steps([batch], lrs=[0.01])
    for images, labels in (run.context.data.val, run.context.data.test):
        run.parts.evaluator(images, labels, train_s=0.0, train_losses=torch.zeros(1))
    assert compiled_graphs() == before


def test_a_graph_that_cannot_be_captured_falls_to_the_same_curve(curves, monkeypatch):
    values = {"model": "cnn2", "optimizer": "sgd", "lr": 0.003, "lr_schedule": "linear"}
    expected, _ = curves(**values)

    def no_graph(*_, **__):
        raise RuntimeError("no capture here")

    monkeypatch.setattr(plan, "_fast_mode", lambda *_: ("graph", None))
    monkeypatch.setattr(fast_step, "CapturedSteps", no_graph)
    losses, (_, fast) = curves(**values)
    assert_same_curve(losses)
    assert torch.equal(losses[1], expected[1])
    assert fast.environment["loop_floor"] == "eager"
    assert fast.environment["loop_floor_reason"].startswith("graph: ")
