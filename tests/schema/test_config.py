"""RunConfig: every field documented, every value in its range, one line for what is wrong."""

import math
import re
from collections import Counter
from functools import partial
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.help_page import choices_of
from mnistbench.schema.config import RunConfig
from mnistbench.schema.config_rules import APPLIES_TO, OWN, check_split
from mnistbench.schema.errors import InputError

NUMBERS = {
    name
    for name, field in RunConfig.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
}


def bad(**values):
    with pytest.raises(InputError) as error:
        RunConfig(**values)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_every_field_says_what_it_is_in_sentences():
    for name, field in RunConfig.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_every_number_has_both_bounds():
    for name in NUMBERS - {"pixel_std"}:
        kinds = {type(rule).__name__ for rule in RunConfig.model_fields[name].metadata}
        assert kinds & {"Ge", "Gt"}, name
        assert kinds & {"Le", "Lt"}, name


def test_it_is_frozen_and_keyword_only():
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.lr = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        RunConfig(0.1)  # type: ignore[misc]


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.sampled_from([math.nan, math.inf, -math.inf, -1, -0.5, 1e30, "x", True, [], {}]),
)
def test_no_number_field_takes_nonsense(name, value):
    assert name in bad(**{name: value})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"lr": 0}, "lr: should be greater than 0"),
        ({"target_accuracy": 0}, "target_accuracy"),
        ({"target_accuracy": 1.01}, "target_accuracy"),
        ({"learning_rate": 0.1}, "learning_rate: unknown key"),
        ({"model": "vgg"}, "'simple-cnn'"),
        ({"dataset": "imagenet"}, "'fashion-mnist'"),
        ({"dropout": 1}, "dropout"),
        ({"augment": ["shift", "flip"]}, "augment"),
        ({"augment": ["shift", "shift"]}, "augment: names one change twice"),
        ({"val_size": 0}, "or --eval-split test"),
        ({"val_size": 60_000, "dataset": "mnist"}, "leaves nothing to train on"),
        ({"global_batch_size": 50_001, "dataset": "mnist"}, "larger than the training split"),
        (
            {"global_batch_size": 8, "per_device_batch_size": 8},
            "global_batch_size: set either this or",
        ),
        ({"nesterov": True, "momentum": 0}, "nesterov"),
        ({"require_target": True}, "require_target: needs --target-accuracy"),
        ({"stop_at_target": True}, "stop_at_target: needs --target-accuracy"),
        ({"compile": "perhaps"}, "compile"),
        ({"output_dir": ""}, "output_dir"),
    ],
)
def test_bad_values_are_one_line_that_names_them(values, names):
    assert names in bad(**values)


def test_yaml_spelling_of_small_numbers_is_read():
    # PyYAML gives 1e-3 (no dot) as a string
    assert RunConfig(lr="1e-3").lr == 0.001


def test_a_batch_size_is_always_set_exactly_once():
    assert RunConfig().global_batch_size == 64
    config = RunConfig(per_device_batch_size=16)
    assert (config.global_batch_size, config.per_device_batch_size) == (None, 16)


def test_split_check_counts_processes_for_a_batch_per_device():
    config = RunConfig(per_device_batch_size=30, val_size=10)
    check_split(config, 70, num_processes=2)
    with pytest.raises(InputError, match="a step of 120 samples"):
        check_split(config, 70, num_processes=4)


def test_arguments_are_shown_and_told_apart():
    own = {"model": "nets:Tiny", "model_args": {"width": [8, 16]}}
    config = RunConfig(**own)
    assert repr(config) == "RunConfig(model='nets:Tiny', model_args={'width': [8, 16]})"
    assert len({config, RunConfig(**own), RunConfig(model="nets:Tiny")}) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model_args": None}, "model_args: should be a mapping, such as {width: 32} (got None)"),
        ({"model_args": "width=8"}, "should be a mapping, such as {width: 32} (got 'width=8')"),
        ({"model_args": {"a b": 1}}, "model_args: 'a b' is no name of an argument"),
        ({"model_args": {"a": object()}}, "model_args: a: should be a text, a finite number"),
        ({"model_args": {"a": {1: 2}}}, "model_args: a: keys should be texts"),
        ({"loss_args": {"q": 1}}, "loss_args: loss cross-entropy takes none; only components of"),
    ],
)
def test_arguments_that_are_none_are_refused(given, says):
    with pytest.raises(InputError, match=re.escape(says)):
        RunConfig(**{"model": "nets:Tiny", **given})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Counter, "collections:Counter"),
        (Counter.update, "collections:Counter.update"),
        (partial(sum), "functools:partial"),
    ],
)
def test_a_class_or_function_itself_is_answered_with_its_name(value, name):
    with pytest.raises(InputError, match=f"^loss: should be a name; write '{name}'$"):
        RunConfig(loss=value)


def test_what_a_notebook_holds_belongs_into_a_file():
    net = type("Net", (), {"__module__": "__main__"})
    with pytest.raises(InputError, match=r"keep it in a file and write 'FILE.py:Net'"):
        RunConfig(model=net)


def test_applies_to_names_real_fields_and_real_choices():
    for name, (field, choices) in APPLIES_TO.items():
        assert name in RunConfig.model_fields
        names = choices_of(RunConfig.model_fields[field])
        assert names
        assert choices <= {*names, OWN}
