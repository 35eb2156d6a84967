"""Learning rates that a search on val found for each loss; they ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

from mnistbench.schema.errors import InputError
from mnistbench.schema.names import LossName
from mnistbench.schema.strict_json import read_json, shaped
from mnistbench.schema.strict_model import StrictModel

__all__ = ["RateSearch", "TunedRates", "load_rates", "tuned_rates"]

_MAX_BYTES = 2**20


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
