"""Choose a learning rate for each loss on one of the networks, by the same small search on val.

Each loss gets the same ladder of rates, the same seed (one that no suite measures) and two epochs;
the rate with the smallest mean error over the evaluations wins. Where that is the first or the
last rate tried, the ladder is climbed on until it is not; then the two half rungs beside it are
tried. Nothing reads the test set to choose. What was tried is kept, so a search that was stopped
goes on where it was.

    python -m bench.search_learning_rates cnn4          # about 20 minutes on two cores
    python -m bench.search_learning_rates simple-cnn
"""

from __future__ import annotations

import argparse
import json
import tempfile

from bench.loss_runs import LOSSES, SETTINGS, search_settings, tuning_file
from mnistbench.engine.trainer import train
from mnistbench.schema.config import RunConfig

LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FIRST_TRIED = LADDER[2:8]
HALF_RUNG = 1.8
WRONG = 1.0
"""The error of a run that diverged: worse than guessing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=SETTINGS)
    model = parser.parse_args().model
    path = tuning_file(model)
    path.parent.mkdir(exist_ok=True)
    settings = search_settings(model)
    kept = json.loads(path.read_text()) if path.exists() else {}
    same = kept.get("settings") == settings
    losses = kept["losses"] if same else {}
    for loss in LOSSES:
        tried = {float(lr): e for lr, e in losses.get(loss, {}).get("mean_val_error", {}).items()}
        best = search(tried, settings | {"loss": loss})
        errors = {f"{lr:g}": tried[lr] for lr in sorted(tried)}
        losses[loss] = {"lr": best, "mean_val_error": errors}
        command = f"python -m bench.search_learning_rates {model}"
        values = {"command": command, "split": "val", "settings": settings, "losses": losses}
        path.write_text(json.dumps(values, indent=1) + "\n")
        print(f"{model} {loss}: {best:g} of {errors}", flush=True)


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
