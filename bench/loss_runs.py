"""What the losses are compared on: two of the articles' networks, a learning rate for each loss.

The learning rates come from ``bench/tuning/``, where ``bench/search_learning_rates.py`` leaves what
it tried; all losses get the same search.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from mnistbench.schema.names import LossName

__all__ = ["LOSSES", "SETTINGS", "learning_rate", "search_settings", "tuning_file"]

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
        "eval_every_steps": 49,
    },
    "simple-cnn": {
        "model": "simple-cnn",
        "global_batch_size": 64,
        "optimizer": "sgd",
        "momentum": 0.5,
        "num_epochs": 4,
        "eval_every_steps": 391,
    },
}
"""Batch, optimizer and momentum as in the articles; val is read twice an epoch, test at the end."""


def tuning_file(model: str) -> Path:
    """Where the search on `model` is kept."""
    return Path(__file__).parent / "tuning" / f"{model}.json"


def search_settings(model: str) -> dict[str, Any]:
    """What a search on `model` trains with, but for the loss and the rate."""
    return {**SETTINGS[model], "dataset": "mnist", "num_epochs": 2, "seed": SEARCH_SEED}


def learning_rate(model: str, loss: str) -> float:
    """The learning rate that the search found for `loss` on `model`.

    Raises:
        ValueError: the search was made with other settings than the suite has now.
    """
    found = json.loads(tuning_file(model).read_text())
    if found["settings"] != search_settings(model):
        raise ValueError(f"{tuning_file(model)}: made for other settings; run {found['command']}")
    return float(found["losses"][loss]["lr"])
