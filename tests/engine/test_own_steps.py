"""Components of the user's own train as in a plain loop, whatever they keep, in every mode."""

import inspect

import pytest
import torch
from accelerate.utils import set_seed

from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from tests.engine import own_nets
from tests.engine.built import batches, built_run

NETS = "tests.engine.own_nets"
# a closure; sparse gradients
NOT_RUN = {"LBFGS", "SparseAdam", "Optimizer"}
OPTIMIZERS = sorted(
    name
    for name, kind in inspect.getmembers(torch.optim, inspect.isclass)
    if issubclass(kind, torch.optim.Optimizer) and name not in NOT_RUN
)


@pytest.fixture
def own_config(small_config, one_thread):
    """Components of `own_nets`, but for what is named, at a few steps of two shapes."""

    def make(**values):
        own = {"model": f"{NETS}:Matrices", "optimizer": "sgd", "lr": 0.01}
        own_nets.COUNT = 0
        return small_config(**own | values)

    return make


def by_hand(run, rates):
    """Losses and weights of a plain loop over the run's batches."""
    own_nets.COUNT = 0
    config = run.config
    set_seed(config.seed)
    model, loss_fn = build_model(config, run.context.data.loaded.shape), build_loss(config)
    optimizer = build_optimizer(model, config)
    set_seed(config.seed, device_specific=True)
    starts = [group["lr"] for group in optimizer.param_groups]
    losses = []
    for batch, rate in zip(batches(run), rates, strict=True):
        for group, start in zip(optimizer.param_groups, starts, strict=True):
            group["lr"] = start * rate / config.lr
        images = run.parts.step.objective.preprocess(batch.images, batch.part)
        loss = loss_fn(model(images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, list(model.parameters())


def assert_as_by_hand(config):
    run = built_run(config)
    own_nets.COUNT = 0
    rates = [config.lr * 0.5**step for step in range(run.context.batch_plan.num_steps)]
    losses = [
        run.parts.step.train_steps([batch], lrs=[rate])[0]
        for batch, rate in zip(batches(run), rates, strict=True)
    ]
    weights = list(run.parts.model.parameters())
    expected = by_hand(run, rates)
    for ours, theirs in zip((losses, weights), expected, strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    return run


@pytest.mark.parametrize("name", [*(f"torch.optim:{name}" for name in OPTIMIZERS), f"{NETS}:Counted"])
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_an_optimizer_starts_as_if_nothing_had_been_warmed_up(own_config, name, loop):
    assert_as_by_hand(own_config(optimizer=name, loop=loop))


@pytest.mark.parametrize(
    "values",
    [
        {"model": f"{NETS}:Counting"},
        {"loss": f"{NETS}:Annealed"},
        {"loss": f"{NETS}:counted_loss"},
        {"loss": f"{NETS}:read_loss"},
        {"optimizer": f"{NETS}:two_rates"},
        {"model": f"{NETS}:Viewing"},
    ],
    ids=lambda values: next(iter(values.values())).partition(":")[2],
)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_what_a_component_keeps_is_as_in_a_plain_loop(own_config, values, loop):
    run = assert_as_by_hand(own_config(**values, loop=loop))
    views = values.get("model") == f"{NETS}:Viewing"
    assert run.parts.plan.memory_format == ("contiguous" if views else "channels_last")
