"""Fast but wrong is not fast: a run's curve held to the band of the recipe's honest seeds.

The idea is MLPerf Training's reference convergence points: a reference is run over many seeds, and
an entry that converges clearly faster is refused just as one that does not converge.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from importlib.resources import as_file, files
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mnistbench.analysis.repeats import one_per_seed
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import EvalPoint, RecipeInfo, RunRecord
from mnistbench.schema.reference import ReferenceCurve, ReferencePoint, load_reference
from mnistbench.schema.training_fields import curve_settings

__all__ = [
    "MIN_SEEDS",
    "build_reference",
    "check_against",
    "check_group",
    "packaged_references",
    "unchecked_notes",
]

MIN_SEEDS = 5
_OUTSIDE = 0.01
"""How often an honest run may leave the band anywhere."""
_TELLS_NOTHING = 0.5
"""A band wider than this passes right and wrong alike, as where seeds leave chance by luck."""
_AT_CHANCE = 0.15
"""Below this a net of ten classes tells nothing apart; one that always says "1" gets 11.35 %."""


class _Interval(NamedTuple):
    low: float
    high: float


def packaged_references() -> list[ReferenceCurve]:
    """The reference curves that come with the package, in order of their files' names."""
    found = []
    folder = files(__package__).joinpath("references")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".json"):
            with as_file(file) as path:
                found.append(load_reference(path))
    return found


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
    curves = [_curve(record, str(record.config.get("eval_split"))) for record in runs]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not shared:
        raise InputError(f"{name}: its runs share no evaluation; give all the same steps between")
    accuracies = [[curve[step].accuracy for curve in curves] for step in shared]
    bands = _bands(accuracies, num_images=_num_images(runs[0]))
    return ReferenceCurve(
        recipe=name,
        dataset=runs[0].dataset.name if runs[0].dataset else "",
        **_terms(runs[0]),
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


def check_against(record: RunRecord, reference: ReferenceCurve) -> list[str] | None:
    """Where the curve of `record` leaves the band of `reference`: a text for each evaluation.

    A curve may be a part of the reference's, and its evaluations others; those that both have are
    held to the band, below which a run is wrong and above which it is suspiciously fast. Where the
    band is wider than half of all accuracies it can tell nothing, and is left out.

    Returns:
        No text where it stays inside; ``None`` where it cannot be checked: the run trains in
        another way or on other data, or they share no evaluation whose band tells something.
    """
    if record.dataset is None or record.dataset.sha256 != reference.sha256:
        return None
    # what is told at once comes first: of thousands of runs most have no band
    if record.environment.get("global_batch_size") != reference.global_batch_size:
        return None
    if _terms(record) != _terms_of(reference):
        return None
    curve = _curve(record, reference.split)
    telling = [p for p in reference.points if p.high - p.low <= _TELLS_NOTHING]
    shared = [(point, curve[point.step]) for point in telling if point.step in curve]
    if not shared:
        return None
    return [
        f"epoch {band.epoch:.4g} ({100 * point.accuracy:.2f} %, "
        f"band {100 * band.low:.2f}–{100 * band.high:.2f})"
        for band, point in shared
        if not band.low <= point.accuracy <= band.high
    ]


def check_group(
    group: Sequence[RunRecord], references: Sequence[ReferenceCurve]
) -> dict[str, Any] | None:
    """How many runs of `group` were checked and left their band; ``None`` if none could be.

    ``seeds`` are those that left, ``first`` is where the first of them did.
    """
    checked = {record.seed: _check(record, references) for record in one_per_seed(group)}
    known = {seed: texts for seed, texts in checked.items() if texts is not None}
    if not known:
        return None
    left = {seed: texts[0] for seed, texts in known.items() if texts}
    return {
        "checked": len(known),
        "left": len(left),
        "seeds": list(left),
        "first": next(iter(left.values()), None),
    }


def unchecked_notes(
    groups: Sequence[Sequence[RunRecord]], references: Sequence[ReferenceCurve]
) -> list[str]:
    """At most one line: the recipes among `groups` that none of `references` could check, and why.

    Without references nothing was asked, and nothing is said.
    """
    if not references:
        return []
    known = {(reference.recipe, reference.dataset) for reference in references}
    told = [
        _why_not(group[0].recipe, group[0].dataset.name, known)
        for group in groups
        if group[0].recipe and group[0].dataset and check_group(group, references) is None
    ]
    each_once = ", ".join(dict.fromkeys(told))
    return [f"not held to a reference band: {each_once}"] if told else []


def _why_not(recipe: RecipeInfo, dataset: str, known: Container[tuple[str, str]]) -> str:
    if (recipe.name, dataset) not in known:
        return f"{recipe.name} on {dataset} (there is none)"
    if recipe.changed:
        return f"{recipe.name}* on {dataset} (its values were changed)"
    return f"{recipe.name} on {dataset} (its band is for other data, settings or evaluations)"


def _check(record: RunRecord, references: Sequence[ReferenceCurve]) -> list[str] | None:
    verdicts = (check_against(record, reference) for reference in references)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _check_runs(runs: Sequence[RunRecord], name: str) -> None:
    if len(runs) < MIN_SEEDS:
        raise InputError(
            f"{name}: a reference curve needs {MIN_SEEDS} seeds, here are {len(runs)}; run more"
        )
    for record in runs:
        if record.status != "completed" or record.dataset is None:
            raise InputError(f"{name}: {record.run_id} is {record.status}; leave it out")
    first = _terms(runs[0]) | {"recipe": runs[0].recipe}
    for record in runs[1:]:
        terms = _terms(record) | {"recipe": record.recipe}
        differing = [key for key, value in terms.items() if value != first[key]]
        if differing:
            raise InputError(
                f"{name}: {runs[0].run_id} and {record.run_id} differ in {', '.join(differing)}; "
                "give the runs of one kind"
            )


def _terms(record: RunRecord) -> dict[str, Any]:
    """All that two runs must share for their curves to be of one kind; needs a data set."""
    if record.dataset is None:
        raise ValueError(f"{record.run_id} has no data set")
    return {
        "sha256": record.dataset.sha256,
        "num_train": record.dataset.num_train,
        "split": record.config.get("eval_split"),
        "global_batch_size": record.environment.get("global_batch_size"),
        "settings": curve_settings(record.config),
    }


def _terms_of(reference: ReferenceCurve) -> dict[str, Any]:
    return {
        "sha256": reference.sha256,
        "num_train": reference.num_train,
        "split": reference.split,
        "global_batch_size": reference.global_batch_size,
        "settings": curve_settings(reference.settings),
    }


def _curve(record: RunRecord, split: str) -> dict[int, EvalPoint]:
    return {point.step: point for point in record.eval_points if point.split == split}


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
