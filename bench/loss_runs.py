"""What the losses are compared on: two of the articles' networks, a learning rate for each loss.

The learning rates come with the package; ``bench/search_learning_rates.py`` leaves what it tried
there. All losses get the same search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from bench.learning_rates import tuned_rates
from mnistbench.schema.names import LossName

__all__ = ["LOSSES", "SETTINGS", "learning_rate", "search_settings"]

SEARCH_SEED = 1000
"""No suite measures this seed."""

LOSSES: tuple[LossName, ...] = get_args(LossName)

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cnn4": {
        "model": "cnn4",
        "global_batch_size": 512,
        "optimizer": "sgd",
        "momentum": 0.8,
        "num_epochs": 5,
    },
    "simple-cnn": {
        "model": "simple-cnn",
        "global_batch_size": 64,
        "optimizer": "sgd",
        "momentum": 0.5,
        "num_epochs": 4,
    },
}
"""Batch, optimizer and momentum as in the articles; val is read at least each epoch."""

_SEARCH_EVALS = {"cnn4": 49, "simple-cnn": 391}
"""Steps between evaluations of the search: twice an epoch."""


def search_settings(model: str) -> dict[str, Any]:
    """What a search on `model` trains with, but for the loss and the rate."""
    evals = {"eval_every_steps": _SEARCH_EVALS[model]}
    return {**SETTINGS[model], **evals, "dataset": "mnist", "num_epochs": 2, "seed": SEARCH_SEED}


def learning_rate(model: str, loss: LossName) -> float:
    """The learning rate that the search found for `loss` on `model`.

    Raises:
        ValueError: the search was made with other settings than the suite has now.
    """
    found = tuned_rates(model)
    if found.settings != search_settings(model):
        raise ValueError(f"{model}: its rates are for other settings; run {found.command}")
    return found.losses[loss].lr
