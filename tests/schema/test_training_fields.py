"""Which settings decide the curve of a run."""

import pytest

from mnistbench.schema.config import RunConfig
from mnistbench.schema.training_fields import NOT_TRAINING, SAME_RUN, curve_settings


def settings(**values):
    return curve_settings(RunConfig(**values).model_dump(mode="json"))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"loader": "streaming", "num_workers": 2},
        {"mixed_precision": "bf16"},
        {"compile": True, "channels_last": False, "num_threads": 2},
        {"eval_every_steps": 7, "eval_batch_size": 10, "target_accuracy": 0.9},
        {"target_accuracy": 0.9, "stop_at_target": True, "require_target": True},
        {"output_dir": "elsewhere", "data_dir": "here", "num_seeds": 4},
        {"num_epochs": 3},
        {"max_steps": 10},
        {"beta1": 0.5},  # which sgd does not read
        {"dropout": 0.5},  # nor simple-cnn
    ],
)
def test_speed_place_report_and_what_is_not_read_decide_nothing(change):
    assert settings(**change) == settings()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "cnn4"},
        {"loss": "mse"},
        {"lr": 0.02},
        {"momentum": 0.9},
        {"augment": ("shift",)},
        {"pixel_mean": 0.5},
        {"lr_schedule": "cosine"},
        {"lr_warmup_steps": 5},
    ],
)
def test_what_the_learning_depends_on_decides(change):
    assert settings(**change) != settings()


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one-cycle"])
def test_the_length_decides_where_the_schedule_is_spread_over_it(schedule):
    assert settings(lr_schedule=schedule, num_epochs=3) != settings(lr_schedule=schedule)
    assert settings(lr_schedule=schedule, max_steps=3) != settings(lr_schedule=schedule)


def test_runs_of_one_group_differ_in_fields_that_exist_and_train_nothing():
    assert RunConfig.model_fields.keys() >= NOT_TRAINING > SAME_RUN


def test_settings_of_settings_and_of_older_records_are_the_same():
    full = RunConfig(lr_schedule="cosine", augment=("shift",)).model_dump(mode="json")
    assert curve_settings(curve_settings(full)) == curve_settings(full)
    older = {k: v for k, v in full.items() if k not in {"batch_norm", "label_smoothing"}}
    assert curve_settings(older) == curve_settings(full)
