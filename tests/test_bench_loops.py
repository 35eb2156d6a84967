"""What the suites time beside our loops: that it does the same work, and what each row changes."""

import shutil
from itertools import pairwise

import pytest
import torch

from bench.bench_stages import NETWORKS, PLAIN, STAGES, ladder
from bench.hand_written import train_by_hand
from bench.plain_loops import loss_differences, published_run, train_bare, train_like_the_articles
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO
from mnistbench.workload.recipes import RECIPES

CPU = torch.device("cpu")
WHOLE_BATCHES = 4  # of 64 in the 300 images of a small run
ADAM = {"optimizer": "adam", "lr": 0.003, "lr_schedule": "linear", "lr_warmup_steps": 2}
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


@pytest.fixture
def curves(small_config, one_thread):
    """The losses of a plain loop and of ours, on whole batches."""

    def make(train_plainly, **values):
        config = small_config(max_steps=WHOLE_BATCHES, **values)
        ours = [point.loss for point in train(config)[0].train_points]
        return train_plainly(config, num_steps=WHOLE_BATCHES, device=CPU)[1], ours

    return make


def assert_same(curves, *, rtol=1e-5):
    theirs, ours = curves
    assert len(theirs) == len(ours) == WHOLE_BATCHES
    torch.testing.assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"model": "simple-cnn"},
        {"model": "simple-cnn", "channels_last": False, "fused_optimizer": False},
        {"model": "speedrun-cnn", "loss": "label-smoothing", **ADAM},
        {"model": "cnn2", "mixed_precision": "bf16", **ADAM},
    ],
)
def test_the_hand_written_loop_draws_the_fast_loops_curve(curves, values):
    assert_same(curves(train_by_hand, **values))


@pytest.mark.processes
@needs_compiler
@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_so_does_the_hand_written_loop_compiled_as_one(curves, mixed_precision):
    values = {"model": "linear", "compile": True, **ADAM}
    assert_same(curves(train_by_hand, mixed_precision=mixed_precision, **values))


@pytest.mark.parametrize("baseline", [train_like_the_articles, train_bare])
def test_the_baselines_draw_the_stock_loops_curve(curves, baseline):
    assert_same(curves(baseline, model="simple-cnn", loop="stock", val_size=0, eval_split="test"))


@pytest.mark.parametrize("loop", ["stock", "fast"])
def test_a_baseline_never_gets_the_fast_loops_kernels(small_config, monkeypatch, loop):
    asked = []
    plain_sgd = torch.optim.SGD
    monkeypatch.setattr(
        torch.optim, "SGD", lambda *a, **k: asked.append(k["fused"]) or plain_sgd(*a, **k)
    )
    train_bare(small_config(loop=loop), num_steps=1, device=CPU)
    assert asked == [None]


def published_config(small_config, **values):
    settings = RECIPES["fast-cnn"].settings | {"global_batch_size": 64, "max_steps": 4}
    return small_config(loop="stock", channels_last=False, **settings | values)


def test_the_published_run_reaches_what_the_recipe_does(small_config, one_thread):
    config = published_config(small_config)
    record = train(config)[0]
    seconds, accuracy = published_run(config, device=CPU)(0)
    assert seconds > 0
    assert accuracy == record.result.test_accuracy


def test_all_seeds_of_the_published_run_see_one_order(small_config, one_thread, monkeypatch):
    drawn = []
    manual_seed = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: drawn.append(seed) or manual_seed(0))
    run = published_run(published_config(small_config, model="linear"), device=CPU)
    assert run(1)[1] == run(2)[1]  # the same weights and the same batches
    assert drawn == [1, 2]


@pytest.mark.parametrize("device_type", STAGES)
def test_each_row_of_the_ladder_changes_one_field(device_type):
    rows = list(ladder(device_type).values())
    assert rows[0] == PLAIN
    for before, after in pairwise(rows):
        assert sum(before[name] != after[name] for name in PLAIN) == 1
        assert before.keys() == after.keys()


def test_the_ladders_show_every_ingredient_of_the_fast_loop():
    ingredients = {name for name, needed in APPLIES_TO.items() if needed == ("loop", {"fast"})}
    shown = {name for stages in STAGES.values() for change in stages.values() for name in change}
    assert ingredients
    assert ingredients - {"exact_parity"} <= shown  # which is for equal bits, not for speed


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("device_type", STAGES)
def test_every_row_is_a_valid_run(network, device_type):
    for values in ladder(device_type).values():
        config = RunConfig(recipe=network, **RECIPES[network].settings | values)
        assert {name: getattr(config, name) for name in values} == values


def test_a_loop_that_does_other_work_is_not_timed():
    losses = {"ours": [2.0, 1.0], "other": [2.0, 1.01]}
    with pytest.raises(AssertionError, match="other: "):
        loss_differences(losses, base="ours")
    apart = loss_differences(losses, base="ours", loose=["other"])
    assert apart == {"ours": 0.0, "other": pytest.approx(0.01, rel=1e-3)}
