"""Components of the user's own train as in a plain loop, whatever they keep, in every mode."""

import inspect
from functools import partial

import pytest
import torch
from accelerate.utils import set_seed

from mnistbench.engine import plan
from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError
from mnistbench.workload.losses import build_loss
from mnistbench.workload.models import build_model
from mnistbench.workload.optimizers import build_optimizer
from tests.engine import own_nets
from tests.engine.built import batches, built_run
from tests.engine.interrupted import LATEST, bits, end_of, interrupt

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


@pytest.mark.parametrize(
    ("name", "loop"),
    [
        *((f"torch.optim:{name}", "fast") for name in OPTIMIZERS),
        *(
            ("torch.optim:NAdam", "stock"),
            (f"{NETS}:Counted", "fast"),
            (f"{NETS}:Counted", "stock"),
        ),
    ],
)
def test_an_optimizer_starts_as_if_nothing_had_been_warmed_up(own_config, name, loop):
    assert_as_by_hand(own_config(optimizer=name, loop=loop))


@pytest.mark.parametrize(
    "values",
    [
        {"model": f"{NETS}:Counting"},
        {"loss": f"{NETS}:Annealed"},
        {"loss": f"{NETS}:counted_loss"},
        {"loss": f"{NETS}:Falling"},
        {"loss": f"{NETS}:read_loss"},
        {"optimizer": f"{NETS}:two_rates"},
        {"optimizer": f"{NETS}:watching"},
        {"model": f"{NETS}:Viewing"},
    ],
    ids=lambda values: next(iter(values.values())).partition(":")[2],
)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_what_a_component_keeps_is_as_in_a_plain_loop(own_config, values, loop):
    run = assert_as_by_hand(own_config(**values, loop=loop))
    views = values.get("model") == f"{NETS}:Viewing"
    assert run.parts.plan.memory_format == ("contiguous" if views else "channels_last")


RESUMED = {
    "nadam": {"optimizer": "torch.optim:NAdam"},
    "what Python keeps": {
        "model": f"{NETS}:Counting",
        "loss": f"{NETS}:Annealed",
        "optimizer": f"{NETS}:Counted",
    },
    "stock": {"loop": "stock", "loss": f"{NETS}:Falling", "optimizer": f"{NETS}:Counted"},
}


@pytest.mark.parametrize("values", RESUMED.values(), ids=RESUMED)
def test_interrupted_it_ends_with_the_same_bits(own_config, tmp_path, monkeypatch, values):
    values = values | {"num_epochs": 2, "checkpoint_every_steps": 4}
    whole = train(own_config(**values, output_dir=str(tmp_path / "whole")))[0]
    config = own_config(**values | LATEST)
    interrupt(monkeypatch, config.model_copy(update={"resume": None}), at_step=6)
    resumed = train(config)[0]
    assert bits(resumed) == bits(whole)
    assert end_of(config.output_dir, resumed) == end_of(tmp_path / "whole", whole)


def test_beside_a_compiled_network_an_optimizer_starts_afresh(own_config, monkeypatch):
    """Without the backend, which takes seconds and changes nothing here."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    own = {"optimizer": f"{NETS}:Counted", "loss": f"{NETS}:Tracked"}
    run = built_run(own_config(**own, compile=True))
    assert run.parts.plan.mode == "compiled"
    assert not run.parts.optimizer.state
    rates = [0.01] * run.context.batch_plan.num_steps
    losses = [run.parts.step.train_steps([batch], lrs=[0.01])[0] for batch in batches(run)]
    torch.testing.assert_close(losses, by_hand(run, rates)[0])


CHANGES = "each step of the model or the loss changes a variable of Python's"
NOT_COMPILED = {
    "loss:read_loss": "data-dependent expression .* \\(own_nets.py:\\d+\\)",
    "loss:counted_loss": CHANGES,
    "loss:Annealed": CHANGES,
    "model:Counting": CHANGES,
    "optimizer:watching": CHANGES,
    "model:NotCompiled": "\\(own_nets.py:\\d+\\)",
}


@pytest.mark.parametrize(("name", "said"), NOT_COMPILED.items(), ids=NOT_COMPILED)
def test_what_cannot_be_compiled_ends_in_a_line_that_says_why(own_config, name, said):
    field, _, attribute = name.partition(":")
    config = own_config(**{field: f"{NETS}:{attribute}"}, compile=True)
    with pytest.raises(InputError, match=f"^compile: .*{said}; use --no-compile$") as error:
        built_run(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", ["counted_loss", "Annealed", "Rebinding"])
def test_a_graph_would_keep_constants_so_it_falls_to_a_plain_loop(own_config, monkeypatch, loss):
    monkeypatch.setattr(plan, "_fast_mode", lambda *_: ("graph", None))
    config = own_config(loss=f"{NETS}:{loss}", optimizer="sgd", fused_optimizer=False)
    run = assert_as_by_hand(config)
    assert (run.parts.plan.mode, run.parts.plan.fallback_reason) == ("eager", f"graph: {CHANGES}")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"exact_parity": True, "model": f"{NETS}:Counting"}, "exact_parity: model or loss draw"),
        ({"exact_parity": True, "loss": f"{NETS}:Annealed"}, "exact_parity: model or loss draw"),
        ({"batch_last": True}, "batch_last: the network has no convolution; use --no-batch-last"),
        (
            {"optimizer": f"{NETS}:Nested", "checkpoint_every_steps": 2},
            "optimizer: Nested cannot be saved: its state_dict leaves out the optimizer in inner",
        ),
        (
            {"optimizer": f"{NETS}:Holding", "checkpoint_every_steps": 2},
            "optimizer: Holding cannot be saved: a object cannot be saved",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_had_is_refused_in_a_line(own_config, values, said):
    with pytest.raises(InputError, match=f"^{said}") as error:
        built_run(own_config(**values))
    assert "\n" not in str(error.value)
