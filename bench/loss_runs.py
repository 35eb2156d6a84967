"""What the losses are compared on: two of the articles' networks, a learning rate for each loss.

The learning rates come with the package; ``bench/search_learning_rates.py`` leaves what it tried
there. All losses get the same search.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, get_args

from mnistbench.schema.errors import InputError
from mnistbench.schema.names import LossName
from mnistbench.schema.strict_json import read_json, shaped
from mnistbench.schema.strict_model import StrictModel

_MAX_BYTES = 2**20

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


class RateSearch(StrictModel):
    """The rate `lr` that won, and the mean error on val of each rate that was tried."""

    lr: float
    mean_val_error: dict[str, float]


class TunedRates(StrictModel):
    """What the search on one network found: `command` makes it again, with `settings`."""

    command: str
    split: Literal["val"] = "val"
    settings: dict[str, Any]
    losses: dict[LossName, RateSearch]


def tuned_rates(model: str) -> TunedRates:
    """The learning rates that come with the package for the network `model`.

    Raises:
        InputError: none were searched on it.
    """
    file = files("mnistbench.workload").joinpath("tuned_rates", f"{model}.json")
    if not file.is_file():
        raise InputError(f"{model}: no learning rates were searched on it")
    with as_file(file) as path:
        return load_rates(path)


def load_rates(path: Path) -> TunedRates:
    """The learning rates of one file.

    Raises:
        InputError: not readable, too large, not strict JSON, or of another shape.
    """
    what = "tuned learning rates"
    return shaped(
        read_json(path, max_bytes=_MAX_BYTES, what=what), TunedRates, path=path, what=what
    )


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
