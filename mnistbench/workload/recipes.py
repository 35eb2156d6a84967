"""Named starting points: training runs with their source and the accuracy they claim.

Article 000: "CNN Practice Workflow" (LeafLight, 2022-02-24). Article 002: "Construct A Simple CNN
for Solving MNIST Image Classification with PyTorch" (What a starry night, 2023-04-13). Both train
on all 60,000 images and read the test set after each epoch; so do the recipes that repeat them.
The speedruns are this project's own, searched on val; they read the test set once, at their end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnistbench.schema.component import ARGUMENTS_OF
from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import RecipeName
from mnistbench.schema.record import RecipeInfo
from mnistbench.schema.training_fields import NOT_TRAINING

BATCH_SIZES = frozenset({"global_batch_size", "per_device_batch_size"})
"""Fields that take each other's place."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that differ from `RunConfig`'s defaults, where they come from, what they claim."""

    settings: Mapping[str, Any]
    source: str
    claim: str | None = None
    claimed_accuracy: float | None = None


_TEST_EACH_EPOCH = {"val_size": 0, "eval_split": "test"}
_ARTICLE_000 = _TEST_EACH_EPOCH | {
    "global_batch_size": 512,
    "optimizer": "sgd",
    "lr": 0.025,
    "momentum": 0.8,
    "num_epochs": 8,
}
_ARTICLE_002 = _TEST_EACH_EPOCH | {
    "global_batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.5,
    "num_epochs": 10,
    "pixel_mean": 0.1370,  # as printed there; 0.1307 is the set's own mean
}

_SPEEDRUN = {
    "val_size": 0,
    "eval_split": "test",
    "eval_every_steps": 2**31 - 1,  # once, at the end
    "eval_batch_size": 2000,
    "model": "speedrun-cnn",
    "loss": "label-smoothing",
    "label_smoothing": 0.1,
    "global_batch_size": 256,
    "optimizer": "adam",
    "beta1": 0.7,
    "beta2": 0.9,
    "lr_schedule": "linear",
    "num_epochs": 1,
    "mixed_precision": "bf16",
    "compile": True,
}

RECIPES: dict[RecipeName, Recipe] = {
    "cnn4-mse": Recipe(
        settings=_ARTICLE_000 | {"model": "cnn4", "loss": "mse"},
        source="article 000",
        claim="about 30 % after epoch 1, rarely 95 %",
    ),
    "cnn4-ce": Recipe(
        settings=_ARTICLE_000 | {"model": "cnn4", "loss": "cross-entropy"},
        source="article 000",
        claim="93 % after epoch 1, 97 % after 8",
        claimed_accuracy=0.97,
    ),
    "dnn4-mse": Recipe(
        settings=_ARTICLE_000 | {"model": "dnn4", "loss": "mse"},
        source="article 000",
        claim="about 90 %",
        claimed_accuracy=0.90,
    ),
    "dnn4-ce": Recipe(
        settings=_ARTICLE_000 | {"model": "dnn4", "loss": "cross-entropy"}, source="article 000"
    ),
    "dnn5-ce": Recipe(
        settings=_ARTICLE_002 | {"model": "dnn5", "loss": "cross-entropy"},
        source="article 002 (the fully connected network before it)",
    ),
    "simple-cnn": Recipe(
        settings=_ARTICLE_002 | {"model": "simple-cnn", "loss": "cross-entropy"},
        source="article 002",
        claim="curve over 10 epochs, final figure only in its picture",
    ),
    "example-cnn": Recipe(
        settings=_TEST_EACH_EPOCH
        | {
            "model": "example-cnn",
            "global_batch_size": 64,
            "optimizer": "adadelta",
            "lr": 1.0,
            "lr_schedule": "step",
            "lr_decay": 0.7,
            "lr_decay_epochs": 1,
            "num_epochs": 14,
        },
        source="pytorch/examples, mnist/main.py",
    ),
    "fast-cnn": Recipe(
        settings=_TEST_EACH_EPOCH
        | {
            "model": "fast-cnn",
            "global_batch_size": 256,
            "optimizer": "adam",
            "lr": 0.01,
            "beta1": 0.7,
            "beta2": 0.9,
            "lr_schedule": "one-cycle",
            "num_epochs": 1,
        },
        source="tuomaso/train_mnist_fast, notebook 8",
        claim="99.04 % mean of 30 seeds",
        claimed_accuracy=0.9904,
    ),
    "speedrun-99": Recipe(
        settings=_SPEEDRUN
        | {
            "max_steps": 150,
            "lr": 0.06,
            "lr_warmup_steps": 36,
            "eval_shift_px": 1,
            "eval_shift_share": 0.032,
        },
        source="mnistbench",
        claim="99 %, the mean of 100 seeds",
        claimed_accuracy=0.99,
    ),
    "speedrun-99.5": Recipe(
        settings=_SPEEDRUN
        | {
            "num_epochs": 100,
            "max_steps": 1100,
            "lr": 0.03,
            "lr_warmup_steps": 220,
            "label_smoothing": 0.2,
            "augment": ("shift",),
            "eval_shift_px": 1,
            "eval_shift_share": 0.05,
        },
        source="mnistbench",
        claim="99.5 %, the mean of 40 seeds",
        claimed_accuracy=0.995,
    ),
}
"""Recipe name -> recipe. Each is measured against its claim in the README."""


def over_recipe(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the recipe that the last of `layers` with one names, and over them `layers`.

    A later layer goes over an earlier one, also with the other of `BATCH_SIZES`. Arguments go over
    others of their name, and those of a component go with it where a later layer names another.
    """
    name = next((layer["recipe"] for layer in reversed(layers) if "recipe" in layer), None)
    values = dict(RECIPES[name].settings) if isinstance(name, str) and name in RECIPES else {}
    for layer in layers:
        if any(layer.get(size) is not None for size in BATCH_SIZES):
            values = {k: v for k, v in values.items() if k not in BATCH_SIZES}
        values |= {**layer, **_arguments(values, layer)}
    return values


def _arguments(below: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of components where `layer` goes over the values `below`."""
    merged = {}
    for field, name in ARGUMENTS_OF.items():
        old, new = below.get(name, {}), layer.get(name, {})
        if isinstance(old, dict) and isinstance(new, dict) and (old or new):
            is_other = layer.get(field, below.get(field)) != below.get(field, layer.get(field))
            merged[name] = new if is_other else old | new
    return merged


def describe(config: RunConfig) -> RecipeInfo | None:
    """The recipe of `config`, with the names of the training values that differ from it."""
    if config.recipe is None:
        return None
    recipe = RECIPES[config.recipe]
    plain = RunConfig(recipe=config.recipe, **recipe.settings)
    changed = [
        name
        for name in RunConfig.model_fields
        if name not in NOT_TRAINING and getattr(config, name) != getattr(plain, name)
    ]
    return RecipeInfo(
        name=config.recipe,
        source=recipe.source,
        claim=recipe.claim,
        claimed_accuracy=recipe.claimed_accuracy,
        changed=changed,
    )
