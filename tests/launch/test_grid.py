"""From lists of values to cells."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.launch.grid import cells_of, values_of
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("seed", "0..3", (0, 1, 2, 3)),
        ("seed", "7..7", (7,)),
        ("seed", "0..1,9", (0, 1, "9")),
        ("max_steps", "1..2,none", (1, 2, None)),
        ("processes", "1,2,4", (1, 2, 4)),
        ("processes", "1..3", (1, 2, 3)),
        ("lr", "0.1,1e-3", ("0.1", "1e-3")),
        ("lr", "0.1,0.1", ("0.1",)),
        ("nesterov", "true,False", (True, False)),
        ("compile", "none,true", (None, True)),
        ("lr_scaling", "none,linear", ("none", "linear")),
        ("profile", "torch,nvtx+memory", (("torch",), ("nvtx", "memory"))),
        ("augment", "none,shift,shift+rotate", ((), ("shift",), ("shift", "rotate"))),
        ("data_dir", "a,b", ("a,b",)),
        ("recipe", "cnn4-ce,none", ("cnn4-ce", None)),
        ("loss", "mse,nets:gce,l.py:a.b", ("mse", "nets:gce", "l.py:a.b")),
        ("loss_args.q", "0.5,1e-3,none,null", (0.5, 0.001, "none", None)),
        ("loss_args.k", "1..3,3", (1, 2, 3)),
        ("loss_args.betas", "[0.9,0.99],[0.8,[1]]", ([0.9, 0.99], [0.8, [1]])),
        ("loss_args.on", "true,1,'a,b',{a: 1,b: 2}", (True, 1, "a,b", {"a": 1, "b": 2})),
    ],
)
def test_text_is_a_list_of_values(name, text, values):
    assert values_of(name, text) == values


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("seed", "1,,2", "seed: an empty value"),
        ("lr", "", "lr: an empty value"),
        ("loss_args.q", "1,,2", "loss_args: q, line 1: malformed YAML"),
        ("loss_args.q", "", "loss_args: q: has no value"),
        ("loss_args.q", "0..100000", "loss_args: q: 0..100000 has more than"),
        ("seed", "3..1", "seed: 3..1 runs backwards; write 1..3"),
        ("seed", "1..x", "seed: '1..x' is no range"),
        ("seed", "0..100000", "seed: 0..100000 has more than 100,000 values"),
        ("nesterov", "maybe", "nesterov: should be true or false"),
        ("seed", f"0..{'9' * 5000}", "is no range"),
        ("processes", "two", "processes: should be a whole number"),
        ("processes", "9" * 5000, "processes: should be a whole number"),
        ("processes", "-1", "processes: should be a whole number"),
    ],
)
def test_text_that_is_no_list_is_refused_by_the_name_of_its_flag(name, text, says):
    with pytest.raises(InputError, match=re.escape(says)):
        values_of(name, text)


def cells(read=lambda given: RunConfig(**given), **axes):
    return cells_of({name: values_of(name, text) for name, text in axes.items()}, read=read)


def test_cells_are_every_combination_seed_after_seed():
    found = cells(processes="1,2", seed="0..1", lr="0.1,0.2")
    assert [(c.config.seed, c.num_processes, c.config.lr) for c in found] == [
        (seed, processes, lr) for seed in (0, 1) for processes in (1, 2) for lr in (0.1, 0.2)
    ]


def test_no_list_is_the_one_default_cell():
    (only,) = cells()
    assert only.config == RunConfig()


def test_identical_cells_are_one():
    assert len(cells(seed="0..3,2..5,1", lr="0.1,1e-1,0.10")) == 6


def test_num_seeds_makes_cells_as_it_makes_runs():
    assert [c.config.seed for c in cells(seed="3", num_seeds="2")] == [3, 4]
    assert {c.config.num_seeds for c in cells(num_seeds="2")} == {1}


@given(st.permutations(["seed", "lr", "model", "processes"]))
def test_the_same_grid_in_another_order_is_the_same_cells(order):
    texts = {"seed": "0..1", "lr": "0.1,0.2", "model": "mlp,linear", "processes": "1,2"}
    turned = {name: ",".join(reversed(texts[name].split(","))) for name in order}
    assert {c.id for c in cells(**turned)} == {c.id for c in cells(**texts)}


def test_arguments_are_for_values_of_the_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("gce = 1")
    axes = {"loss": "cross-entropy,nets:gce", "lr": "0.01,0.1", "loss_args.q": "0.5,0.7"}
    found = [(c.config.loss, c.config.lr, c.config.loss_args) for c in cells(**axes)]
    assert found == [
        *(("cross-entropy", lr, {}) for lr in (0.01, 0.1)),
        *(("nets:gce", lr, {"q": q}) for lr in (0.01, 0.1) for q in (0.5, 0.7)),
    ]


def test_cells_know_the_contents_of_the_users_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures" / "train" / "one").mkdir(parents=True)
    found = []
    for text in ("a", "b", "a"):
        (tmp_path / "digits.npz").write_text(text)
        (tmp_path / "pictures" / "train" / "one" / "1.png").write_text(text)
        found.append({c.id for c in cells(dataset="mnist,digits.npz,pictures/,none.npz")})
    assert found[0] == found[2]
    assert len(found[0] & found[1]) == 2


def test_cells_know_the_contents_of_the_users_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for text in ("gce = 1", "gce = 2", "gce = 1"):
        (tmp_path / "own_nets.py").write_text(text)
        found.append(cells(loss="mse,own_nets.py:gce", seed="0..1"))
    assert [[c.code is None for c in its] for its in found] == [[True, False, True, False]] * 3
    ids = [[c.id for c in its] for its in found]
    assert ids[0] == ids[2]
    assert set(ids[0]) & set(ids[1]) == {c.id for c in found[0] if not c.code}
    with pytest.raises(InputError) as refused:
        cells(loss="mse,own_net.py:gce")
    assert str(refused.value) == (
        "cell --loss own_net.py:gce: loss: there is no file own_net.py; did you mean own_nets.py?"
    )


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"loss_args.q": "1,2"}, "cell --loss-args q=1: loss_args: loss cross-entropy takes none"),
        ({"loss": "mse,bce", "loss_args.q": "1"}, "cell --loss mse: loss_args: loss mse takes"),
        ({"lr": "0.1,-1"}, "cell --lr -1: lr: should be greater than 0"),
        ({"lr": "-1", "seed": "0..1"}, "cell --seed 0: lr: should be greater than 0"),
        ({"lr": "-1"}, "lr: should be greater than 0"),
        ({"loss": "mse,no-such"}, "cell --loss no-such: loss: should be"),
        (
            {"nesterov": "false,true", "momentum": "0.5,0"},
            "cell --nesterov true --momentum 0: nesterov: needs a momentum above 0",
        ),
        (
            {"global_batch_size": "64,50", "processes": "1,4"},
            "cell --global-batch-size 50 --processes 4: global_batch_size: 50",
        ),
        ({"processes": "0"}, "processes: should be at least 1"),
        (
            {"dataset": "mnist", "per_device_batch_size": "30000", "processes": "1,2"},
            "cell --processes 2: per_device_batch_size: a step of 60000 samples is larger",
        ),
        ({"seed": "0..99999", "lr": "1,2"}, "the grid has 200,000 cells; at most 100,000"),
        ({"num_seeds": "100000", "lr": "1,2"}, "the grid has 200,000 cells; at most 100,000"),
        ({"seed": "2147483647", "num_seeds": "2"}, "seed: should be less than 2147483648"),
    ],
)
def test_a_cell_that_cannot_be_is_named(axes, says):
    with pytest.raises(InputError) as refused:
        cells(**axes)
    assert str(refused.value).startswith(says)


def test_a_sweep_goes_on_by_itself():
    with pytest.raises(InputError, match="resume: a sweep goes on by itself"):
        cells_of({"seed": (0,)}, read=lambda given: RunConfig(resume="latest", **given))
