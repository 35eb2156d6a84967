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

import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from mnistbench.analysis.reference_bands import curve_of, terms_of
from mnistbench.analysis.stability import is_profiled
from mnistbench.cli import exit_on_input_error, show
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import write_whole
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve, ReferencePoint
from mnistbench.schema.store import load_records

FOLDER = Path(__file__).parents[1] / "mnistbench" / "analysis" / "references"
"""In this checkout, also where another mnistbench is installed."""

MIN_SEEDS = 5
_OUTSIDE = 0.01
"""How often an honest run may leave the band anywhere."""
_AT_CHANCE = 0.15
"""Below this a net of ten classes tells nothing apart; one that always says "1" gets 11.35 %."""


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


class _Interval(NamedTuple):
    low: float
    high: float


def build_reference(records: Sequence[RunRecord], *, made_by: str) -> ReferenceCurve:
    """The reference curve of one recipe, from its seeds; of a repeated seed the newest run.

    The band is one in which all of a further honest run's curve lies with 99 % probability: at each
    of the K evaluations that all n runs share, with y = logit((k + 1/2) / (N + 1)) of k hits in N
    images, mean(y) and s their deviation over the runs,

        logit(band) = mean(y) ± max(t(n - 1) · s, z / sqrt((N + 1) p (1 - p))) · sqrt(1 + 1/n)

    which is the prediction interval for one more draw of a normal variable, at the quantile
    1 - 0.01 / (2 K) for K intervals to hold together (Bonferroni), with p = expit(mean(y)). No band
    is narrower than counting errors: the second term is that of N independent images.

    Where every run is still at chance the lower end is 0 and the upper one is the next
    evaluation's: that a seed leaves the plateau a little sooner is nothing to suspect.

    Args:
        records: completed runs of one recipe on one data set.
        made_by: the command to make the reference again.

    Raises:
        InputError: fewer than five seeds, a run that did not complete, runs that do not train the
            same way on the same data, or no evaluation that all of them share.
    """
    runs = list({r.seed: r for r in sorted(records, key=lambda r: r.created_at)}.values())
    name = runs[0].recipe.name if runs and runs[0].recipe else "no recipe"
    _check_runs(runs, name)
    curves = [curve_of(record, str(record.config.get("eval_split"))) for record in runs]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not shared:
        raise InputError(f"{name}: its runs share no evaluation; give all the same steps between")
    accuracies = [[curve[step].accuracy for curve in curves] for step in shared]
    bands = _bands(accuracies, num_images=_num_images(runs[0]))
    return ReferenceCurve(
        recipe=name,
        dataset=runs[0].dataset.name if runs[0].dataset else "",
        **terms_of(runs[0]),
        n=len(runs),
        seeds=sorted(record.seed for record in runs),
        points=[
            ReferencePoint(
                step=step, epoch=curves[0][step].epoch, mean=fmean(values), low=low, high=high
            )
            for step, values, (low, high) in zip(shared, accuracies, bands, strict=True)
        ],
        made_by=made_by,
    )


def _check_runs(runs: Sequence[RunRecord], name: str) -> None:
    if len(runs) < MIN_SEEDS:
        raise InputError(
            f"{name}: a reference curve needs {MIN_SEEDS} seeds, here are {len(runs)}; run more"
        )
    for record in runs:
        if record.status != "completed" or record.dataset is None:
            raise InputError(f"{name}: {record.run_id} is {record.status}; leave it out")
    first = terms_of(runs[0]) | {"recipe": runs[0].recipe}
    for record in runs[1:]:
        terms = terms_of(record) | {"recipe": record.recipe}
        differing = [key for key, value in terms.items() if value != first[key]]
        if differing:
            raise InputError(
                f"{name}: {runs[0].run_id} and {record.run_id} differ in {', '.join(differing)}; "
                "give the runs of one kind"
            )


def _num_images(record: RunRecord) -> int:
    if record.dataset is None:
        return 1
    test = record.config["eval_split"] == "test"
    return max(record.dataset.num_test if test else record.dataset.num_val, 1)


def _bands(accuracies: Sequence[Sequence[float]], *, num_images: int) -> list[_Interval]:
    """The band at each evaluation, of all runs' accuracies there."""
    quantile = 1 - _OUTSIDE / (2 * len(accuracies))
    bands = [_band(values, num_images=num_images, quantile=quantile) for values in accuracies]
    later = [*bands[1:], bands[-1]]
    return [
        _Interval(0.0, max(band.high, following.high)) if max(values) < _AT_CHANCE else band
        for band, following, values in zip(bands, later, accuracies, strict=True)
    ]


def _band(accuracies: Sequence[float], *, num_images: int, quantile: float) -> _Interval:
    from scipy.special import ndtri, stdtrit

    shares = [(a * num_images + 0.5) / (num_images + 1) for a in accuracies]
    logits = [math.log(share / (1 - share)) for share in shares]
    n, centre = len(logits), fmean(logits)
    p = _expit(centre)
    counting = float(ndtri(quantile)) / math.sqrt((num_images + 1) * p * (1 - p))
    seeds = float(stdtrit(n - 1, quantile)) * stdev(logits)
    half = max(counting, seeds) * math.sqrt(1 + 1 / n)
    return _Interval(_expit(centre - half), _expit(centre + half))


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def save_reference(reference: ReferenceCurve, path: Path) -> None:
    """Write `reference` to `path` as strict JSON, whole or not at all, over an older one.

    Raises:
        InputError: it cannot be written there.
    """
    content = json.dumps(reference.model_dump(mode="json"), indent=1, allow_nan=False)
    write_whole(path, f"{content}\n")


if __name__ == "__main__":
    sys.exit(main())
