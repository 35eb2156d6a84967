"""Near names and fractions: what is suggested, and where nothing is near, nothing."""

import pytest

from mnistbench.schema.config import RunConfig
from mnistbench.schema.suggestions import did_you_mean, use_a_fraction


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("epochs", "num_epochs"),
        ("Learning-Rate", "lr"),
        ("batch_size", "global_batch_size or per_device_batch_size"),
        ("momentun", "momentum"),
        ("lr_sched", "lr_schedule"),
        ("label", "label_smoothing"),
    ],
)
def test_a_near_name_is_suggested(typed, meant):
    assert did_you_mean(typed, RunConfig.model_fields) == f"; did you mean {meant}?"


def test_a_flag_is_suggested_as_a_flag():
    assert did_you_mean("optim", ["optimizer"], flag=True) == "; did you mean --optimizer?"


@pytest.mark.parametrize(
    "typed", ["", "x", "epochs", 3, None, [10**5000], "m" * 10**6], ids=range(7)
)
def test_of_names_that_are_far_none_is_suggested(typed):
    assert did_you_mean(typed, ["mse", "kl"]) == ""


@pytest.mark.parametrize(
    ("value", "highest", "said"),
    [
        (97, 1, "; use a fraction: 0.97"),
        ("2.5", 1, "; use a fraction: 0.025"),
        ("97%", float("inf"), "; use a fraction: 0.97"),
        ("0.5 %", 1, "; use a fraction: 0.005"),
        ("%", 1, ""),
        (1.5, 1, ""),
        ("97", 100, ""),
        (101, 1, ""),
        (0.5, 0.1, ""),
        ("x", 1, ""),
        (None, 1, ""),
        ([97], 1, ""),
        pytest.param(10**5000, 1, "", id="huge"),
    ],
)
def test_a_percentage_is_told_as_a_fraction(value, highest, said):
    assert use_a_fraction(value, highest) == said
