"""Choose a learning rate for each loss on one of the networks, by the same small search on val.

Each loss gets the same ladder of rates, the same seed (one that no suite measures) and two epochs;
the rate with the smallest mean error over the evaluations wins. Where that is the first or the
last rate tried, the ladder is climbed on until it is not; then the two half rungs beside it are
tried. Nothing reads the test set to choose. What was tried is kept, so a search that was stopped
goes on where it was: in ``mnistbench/workload/tuned_rates/``, which ships with the package.

    python -m bench.search_learning_rates cnn4          # about 20 minutes on two cores
    python -m bench.search_learning_rates simple-cnn
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bench.loss_runs import (
    LOSSES,
    SETTINGS,
    RateSearch,
    TunedRates,
    load_rates,
    search_settings,
)
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.files import write_whole
from mnistbench.schema.names import LossName

FOLDER = Path(__file__).parents[1] / "mnistbench" / "workload" / "tuned_rates"
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FIRST_TRIED = LADDER[2:8]
HALF_RUNG = 1.8
WRONG = 1.0
"""The error of a run that diverged: worse than guessing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=SETTINGS)
    model = parser.parse_args().model
    path = FOLDER / f"{model}.json"
    settings = search_settings(model)
    command = f"python -m bench.search_learning_rates {model}"
    losses = kept_losses(path, settings)
    for loss in LOSSES:
        kept = losses[loss].mean_val_error if loss in losses else {}
        tried = {float(lr): error for lr, error in kept.items()}
        best = search(tried, settings | {"loss": loss})
        errors = {f"{lr:g}": tried[lr] for lr in sorted(tried)}
        losses[loss] = RateSearch(lr=best, mean_val_error=errors)
        save(TunedRates(command=command, settings=settings, losses=losses), path)
        print(f"{model} {loss}: {best:g} of {errors}", flush=True)


def kept_losses(path: Path, settings: dict[str, object]) -> dict[LossName, RateSearch]:
    """What an earlier search with the same settings tried."""
    kept = load_rates(path) if path.exists() else None
    return dict(kept.losses) if kept and kept.settings == settings else {}


def save(rates: TunedRates, path: Path) -> None:
    write_whole(path, json.dumps(rates.model_dump(), indent=1) + "\n")


def search(tried: dict[float, float], settings: dict[str, object]) -> float:
    """The rate with the smallest mean error on val; `tried` holds and gets what is measured."""
    wanted = list(FIRST_TRIED)
    while wanted:
        for lr in wanted:
            if lr not in tried:
                tried[lr] = mean_error(settings | {"lr": lr})
        wanted = next_rungs(tried)
    return best_of(tried)


def best_of(tried: dict[float, float]) -> float:
    return min(tried, key=lambda lr: tried[lr])


def next_rungs(tried: dict[float, float]) -> list[float]:
    """Past the end of the ladder's part that was tried, or beside its best rung; then none."""
    rungs = {lr: tried[lr] for lr in LADDER if lr in tried}
    best = best_of(rungs)
    index = LADDER.index(best)
    if best == max(rungs) and best < LADDER[-1]:
        return [LADDER[index + 1]]
    if best == min(rungs) and best > LADDER[0]:
        return [LADDER[index - 1]]
    halves = [float(f"{best * factor:.2g}") for factor in (1 / HALF_RUNG, HALF_RUNG)]
    return [lr for lr in halves if lr not in tried]


def mean_error(settings: dict[str, object]) -> float:
    """Mean error on val over the evaluations of a short run."""
    with tempfile.TemporaryDirectory() as folder:
        record = train(RunConfig(output_dir=folder, **settings))[0]
    if record.status != "completed":
        return WRONG
    errors = [1 - point.accuracy for point in record.eval_points if point.split == "val"]
    return round(sum(errors) / len(errors), 5)


if __name__ == "__main__":
    main()
