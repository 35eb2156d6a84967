r"""Reference curves from records: one for each recipe and data set, into the package's folder.

    for recipe in simple-cnn cnn4-ce cnn4-mse dnn4-ce dnn4-mse dnn5-ce fast-cnn; do
        mnistbench train --recipe $recipe --dataset mnist --num-seeds 10 \
            --output-dir runs/references
    done
    python -m bench.make_references runs/references      # records, or folders searched for them

Runs of changed recipes, other settings or no recipe, and profiled ones, are left out. A recipe
needs five seeds; ten or more make a band that is worth having.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.reference_curve import build_reference, save_reference
from mnistbench.analysis.stability import is_profiled
from mnistbench.cli import exit_on_input_error, show
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import load_records

__all__ = ["FOLDER", "main"]

FOLDER = Path(__file__).parents[1] / "mnistbench" / "analysis" / "references"
"""In this checkout, also where another mnistbench is installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the references of all recipes among the records that `argv` names."""
    paths = sys.argv[1:] if argv is None else argv
    with exit_on_input_error():
        if not paths or paths[0].startswith("-"):
            raise InputError("usage: python -m bench.make_references RECORDS...")
        records = load_records(map(Path, paths), strict=True).records
        made_by = shlex.join(["python", "-m", "bench.make_references", *map(_told, paths)])
        references = {
            FOLDER / f"{name}.json": build_reference(runs, made_by=made_by)
            for name, runs in _by_recipe(records).items()
        }
        for path, reference in references.items():
            save_reference(reference, path)
            show(f"{path}: {len(reference.points)} evaluations of {reference.n} seeds")
    return 0


def _by_recipe(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs of each unchanged recipe on each data set.

    Raises:
        InputError: there are none.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        if is_profiled(record):
            continue
        if record.recipe and not record.recipe.changed and record.dataset:
            groups.setdefault(f"{record.recipe.name}-{record.dataset.name}", []).append(record)
    if not groups:
        raise InputError("no run of an unchanged recipe among the records")
    return groups


def _told(path: str) -> str:
    """`path` as another machine can read it: what lies outside this folder by its name alone."""
    absolute = Path(path).absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


if __name__ == "__main__":
    sys.exit(main())
