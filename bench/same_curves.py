"""Does every recipe still train as at another revision, to the bit?

Both revisions train the same runs in fp32 on one process, and the losses of all steps, the weights
and the optimizer's state after the last are compared. What a recipe compiles is compiled at both.

    python -m bench.same_curves --against HEAD~10      # 20 steps of each recipe, and more
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

REPOSITORY = Path(__file__).parents[1]
EAGER = "--eager"
RECORDED = ("model.safetensors", "optimizer.safetensors")


def main() -> None:
    from mnistbench.launch.git import check_out, commit_of  # of this code; children run either

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", required=True, help="a git revision")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(EAGER, action="store_true", help="compile nothing, which takes seconds")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--only", default="", help="beginning of the names of runs, as printed")
    arguments = parser.parse_args()
    options = [
        str(arguments.steps),
        arguments.dataset,
        arguments.only,
        *([EAGER] * arguments.eager),
    ]
    with TemporaryDirectory() as scratch:
        before, now = Path(scratch) / "before", Path(scratch) / "now"
        tree = Path(scratch) / "tree"
        check_out(commit_of(arguments.against, REPOSITORY), REPOSITORY, tree)
        for code, runs in ((tree, before), (REPOSITORY, now)):
            train_at(code, runs, options)
        names = sorted({path.name for path in [*before.iterdir(), *now.iterdir()]})
        found = {name: difference(before / name, now / name) for name in names}
    for name, said in found.items():
        print(f"{name:<32} {said or 'the same bits'}")
    sys.exit(any(found.values()))


def train_at(code: Path, runs: Path, options: list[str]) -> None:
    """Make all runs with the package in `code`, each in a folder of `runs`."""
    command = [sys.executable, __file__, "--child", str(runs), *options]
    paths = os.environ | {"PYTHONPATH": str(code)}
    subprocess.run(command, check=True, env=paths, stdout=subprocess.DEVNULL)  # noqa: S603


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every recipe; then each optimizer, model and loss by itself, and the stock loop."""
    from mnistbench.schema.names import LossName, ModelName, OptimizerName, RecipeName

    for recipe in get_args(RecipeName):
        yield f"recipe {recipe}", {"recipe": recipe}
    small = {"model": "simple-cnn", "lr": 0.003, "lr_schedule": "linear"}
    axes = {"optimizer": OptimizerName, "model": ModelName, "loss": LossName}
    for field, names in axes.items():
        for name in get_args(names):
            yield f"{field} {name}", small | {field: name}
    pieces = {"gradient_accumulation_steps": 3, "augment": ("shift", "rotate")}
    for name in get_args(OptimizerName):
        yield f"stock {name}", small | {"optimizer": name, "loop": "stock"} | pieces


def train_all(runs: Path, num_steps: str, dataset: str, only: str, *flags: str) -> None:
    """Train those of `cases` that begin with `only` in this process, each to a checkpoint."""
    import mnistbench

    length = {"num_epochs": 1, "max_steps": num_steps, "checkpoint_every_steps": num_steps}
    fixed = length | {"dataset": dataset, "num_threads": 1} | ({"compile": False} if flags else {})
    print(f"training with {mnistbench.__file__}", file=sys.stderr)
    for name, values in cases():
        if name.startswith(only):
            given = values | fixed | {"output_dir": str(runs / name)}
            mnistbench.measure(mnistbench.RunConfig(**given))


def difference(before: Path, now: Path) -> str | None:
    """The first thing in which two runs differ, if any does."""
    from safetensors.torch import load_file

    folders = [sorted(runs.glob("*/checkpoints/*"))[-1:] for runs in (before, now)]
    if not all(folders):
        return f"only {'before' if folders[0] else 'now'}"
    (old,), (new,) = folders
    losses = [load_file(one / "processes.safetensors")["0.losses"].tolist() for one in (old, new)]
    for step, pair in enumerate(zip(*losses, strict=True), start=1):
        if pair[0] != pair[1]:
            return f"the loss of step {step}: {pair[0]!r} before, {pair[1]!r} now"
    differing = [
        name for name in RECORDED if (old / name).read_bytes() != (new / name).read_bytes()
    ]
    return f"{differing[0]} after the last step" if differing else None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        train_all(Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
