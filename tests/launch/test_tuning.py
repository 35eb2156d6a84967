"""Contenders of a comparison: each is tried as often as the others, with what it reads."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.cli import read_config
from mnistbench.launch.grid import cells_of, values_of
from mnistbench.launch.tuning import compared, contenders, settings, wider
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.plain_yaml import read_yaml
from mnistbench.workload.recipes import over_recipe


@pytest.fixture(autouse=True, scope="module")
def own(tmp_path_factory):
    """Files that references lead to; nothing is imported."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("my_nets", "my", "a", "b", "m"):
        (folder / f"{name}.py").write_text("def __getattr__(name): ...")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def found(by=None, config_file=None, **words):
    """The contenders of what is typed for fields; ``__`` is the dot of an argument."""
    typed = {name.replace("__", "."): text for name, text in words.items()}
    axes = {name: values_of(name, text) for name, text in typed.items()}
    grid = partial(cells_of, read=partial(read_config, config_file=config_file))
    return contenders(axes, by=compared(axes, by), grid=grid)


SEEDS = {"seed": "0..2"}
TUNED = [
    (
        {"loss": "cross-entropy,my_nets:gce"},
        {"cross-entropy": (7, 3), "gce": (7, 3)},
    ),
    (
        {"optimizer": "sgd,adam", "target_accuracy": "0.97", "lr": "0.1,0.2"},
        {"sgd": (2, 5), "adam": (2, 5)},
    ),
    (  # what only one reads
        {"optimizer": "sgd,adam", "momentum": "0,0.9", "lr": "0.01,0.1"},
        {"sgd": (4, 3), "adam": (4, 3)},
    ),
    (
        {"loss": "mse,my.py:gce", "loss_args__q": "0.5,0.7,0.9", **SEEDS, "lr": "0.1,1"},
        {"mse": (6, 3), "gce": (6, 3)},
    ),
    (
        {"optimizer": "a:Lion,b.py:Lion", "lr": "0.1", **SEEDS},
        {"a-Lion": (1, 3), "b.py-Lion": (1, 3)},
    ),
    ({"optimizer": "my_nets:Lion", "num_seeds": "4"}, {"Lion": (7, 4)}),
    ({"optimizer": "sgd,adam", "loss": "mse,kl", "by": "loss"}, {"mse": (14, 3), "kl": (14, 3)}),
]


@pytest.mark.parametrize(("words", "tries"), TUNED)
def test_each_is_tried_as_often_with_the_same_seeds(words, tries):
    sides = found(**words)
    assert {one.name: (one.num_tries, len(one.seeds)) for one in sides} == tries
    assert {len({cell.id for cell in one.cells}) for one in sides} == {len(sides[0].cells)}


def test_who_lacks_an_argument_gets_more_rates_between_the_same_ends():
    plain, own = found(loss="mse,m:gce", loss_args__q="0.5,0.7", lr="0.0111,0.1,1", **SEEDS)
    assert (plain.denser, plain.rates) == (True, [0.0111, 0.027, 0.067, 0.17, 0.41, 1.0])
    assert (own.denser, own.rates) == (False, [0.0111, 0.1, 1.0])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"lr": "0.1", "seed": "0,1"}, "seed: 3 seeds or more"),
        ({"num_seeds": "2"}, "seed: 3 seeds or more"),
        ({"eval_split": "test"}, "eval_split: what is best is chosen on val"),
        ({"recipe": "simple-cnn"}, "eval_split: what is best is chosen on val"),
        ({"dataset": "mnist,kmnist"}, "dataset: takes one value here"),
        ({"target_accuracy": "0.9,0.97"}, "target_accuracy: takes one value here"),
        ({"loss": "mse,kl", "optimizer": "sgd,adam"}, "say --by loss or --by optimizer"),
        ({"optimizer": "sgd,adam", "momentum": "0,0.9", "lr": "0.1"}, "optimizer: adam would be"),
        ({"loss": "mse,kl", "loss_args__q": "0.5"}, "loss_args: "),
        ({"optimizer": "adam", "momentum": "0.5"}, "momentum: has no effect"),
        ({"lr": "x"}, "lr: should be a valid number"),
    ],
)
def test_what_would_be_unfair_or_idle_is_a_line(words, says):
    with pytest.raises(InputError) as error:
        found(**words)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("rates", "best", "more"),
    [
        ([0.01, 0.03, 0.1], 0.03, [0.01, 0.03, 0.1]),
        ([0.01, 0.03, 0.1], 0.1, [0.01, 0.03, 0.1, 0.3, 1.0]),
        ([0.02, 0.06], 0.02, [0.003, 0.01, 0.02, 0.06]),
        ([0.1], 0.1, [0.1]),
        ([1.0, 1e4], 1e4, [1.0, 1e4]),
    ],
)
def test_a_search_is_wider_where_its_best_lies_at_an_end(rates, best, more):
    assert wider(rates, best) == more


@given(st.floats(1e-8, 1e4))
def test_rates_lie_around_that_of_the_file_and_are_valid(lr):
    made = contenders(
        {"seed": range(3)},
        by="loss",
        grid=partial(cells_of, read=lambda given: RunConfig(**{"lr": lr, **given})),
    )
    rates = made[0].rates
    assert 4 <= len(rates) <= 7
    assert rates[0] <= 2 * lr
    assert rates[-1] >= lr / 2


@pytest.mark.parametrize(
    "values",
    [
        {"loss": "mse", "lr": 0.3},
        {"recipe": "cnn4-mse", "lr": 0.01, "eval_split": "val", "val_size": 1000},
        {"loss": "m:gce", "loss_args": {"q": 0.5, "on": "no"}, "augment": ("shift", "rotate")},
        {"dataset": "digits.npz", "optimizer": "torch.optim:NAdam", "max_steps": None},
        {"recipe": "speedrun-99", "max_steps": None, "per_device_batch_size": 32},
    ],
)
def test_settings_make_the_same_run_but_for_its_seed(values, tmp_path):
    config = RunConfig(**over_recipe(values, {"seed": 3, "output_dir": "elsewhere"}))
    path = tmp_path / "best.yaml"
    path.write_text(f"# a line\n{settings(config)}")
    again = RunConfig(**over_recipe(read_yaml(path, what="a configuration")))
    assert again == config.model_copy(update={"seed": 0, "output_dir": "runs"})
