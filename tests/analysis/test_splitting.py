"""One set of records as sides: which key, in which order, by which names."""

import pytest

from mnistbench.analysis.splitting import split
from mnistbench.schema.errors import InputError


@pytest.fixture
def make_runs(make_record):
    """Makes a run for each value of a key of the configuration, or of the environment."""

    def make(key, values, of="config"):
        runs = [make_record(n, created_at=f"2026-01-01T00:0{n}") for n in range(len(values))]
        return [
            run.model_copy(update={of: getattr(run, of) | {key: value}})
            for run, value in zip(runs, values, strict=True)
        ]

    return make


@pytest.mark.parametrize(
    ("key", "values", "of", "names"),
    [
        ("loss", ["mse", "mae", "mse"], "config", ["mse", "mae"]),
        ("lr", [0.1, 0.02, 0.1, 1e-5], "config", ["lr 1e-05", "lr 0.02", "lr 0.1"]),
        ("nesterov", [True, False], "config", ["nesterov false", "nesterov true"]),
        ("max_steps", [None, 5], "config", ["max_steps 5", "max_steps none"]),
        ("augment", [["shift"], []], "config", ["augment shift", "augment none"]),
        ("num_processes", [2, 1], "environment", ["num_processes 1", "num_processes 2"]),
        ("platform", ["x", "y"], "environment", ["platform x", "platform y"]),
    ],
)
def test_each_value_of_a_key_is_a_side(make_runs, key, values, of, names):
    runs = make_runs(key, values, of)
    sides = split(runs, key)
    assert [side.name for side in sides] == names
    assert sorted(run.seed for side in sides for run in side.records) == [*range(len(runs))]


def test_an_argument_is_a_key(make_runs):
    runs = make_runs("loss_args", [{"q": 0.7}, {"q": 0.5, "t": [1, 2]}, {"t": [1, 2]}])
    names = [side.name for side in split(runs, "loss_args.q")]
    assert names == ["loss_args.q 0.5", "loss_args.q 0.7", "loss_args.q none"]
    with pytest.raises(InputError, match=r"what varies: .*loss_args\.q \(3 values\)"):
        split(runs, "loss_args")


@pytest.mark.parametrize(
    ("key", "field", "names"),
    [
        ("precision", "mixed_precision", ["precision no", "precision bf16"]),
        ("device", "device_name", ["no", "bf16"]),
        ("commit", "git_commit", ["commit no", "commit bf16"]),
        ("torch", "versions", ["torch no", "torch bf16"]),
    ],
)
def test_what_really_ran_goes_before_what_was_asked_for(make_runs, key, field, names):
    values = ["no", "bf16"]
    if field == "versions":
        values = [{"torch": value} for value in values]
    runs = make_runs(field, values, "environment")
    assert [side.name for side in split(runs, key)] == names


def test_values_without_an_order_are_in_that_of_their_first_runs(make_record):
    days = {"cnn4-ce": "2026-01-03", "cnn4-mse": "2026-01-04", "dnn4-ce": "2026-01-02"}
    runs = [make_record(name=name, created_at=day) for name, day in days.items()]
    assert [side.name for side in split(runs, "recipe")] == ["dnn4-ce", "cnn4-ce", "cnn4-mse"]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("lr", "by: lr is 0.01 in all 2 runs; what varies: loss (2 values)"),
        ("seed", "by: runs of one configuration may differ in seed; what varies: loss"),
        ("output_dir", "by: runs of one configuration may differ in output_dir"),
        ("los", "by: no record holds los (did you mean loss?); what varies: loss"),
        ("wall_s", "by: no record holds wall_s"),
        ("", "by: no record holds "),
        ("learning_rate", "by: no record holds learning_rate (did you mean lr?)"),
    ],
)
def test_a_key_that_makes_no_sides_is_refused_with_what_varies(make_runs, key, says):
    with pytest.raises(InputError) as refused:
        split(make_runs("loss", ["mse", "mae"]), key)
    assert str(refused.value).startswith(says)
    with pytest.raises(InputError, match=r"in the run; what varies: nothing"):
        split(make_runs("loss", ["mse"]), "loss")
