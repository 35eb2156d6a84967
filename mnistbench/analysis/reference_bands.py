"""Fast but wrong is not fast: a run's curve held to the band of the recipe's honest seeds.

The idea is MLPerf Training's reference convergence points: a reference is run over many seeds, and
an entry that converges clearly faster is refused just as one that does not converge.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from importlib.resources import as_file, files
from typing import Any

from mnistbench.analysis.repeats import one_per_seed
from mnistbench.schema.record import EvalPoint, RecipeInfo, RunRecord
from mnistbench.schema.reference import ReferenceCurve, load_reference
from mnistbench.schema.training_fields import curve_settings

_TELLS_NOTHING = 0.5
"""A band wider than this passes right and wrong alike, as where seeds leave chance by luck."""


def packaged_references() -> list[ReferenceCurve]:
    """The reference curves that come with the package, in order of their files' names."""
    found = []
    folder = files(__package__).joinpath("references")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".json"):
            with as_file(file) as path:
                found.append(load_reference(path))
    return found


def check_against(record: RunRecord, reference: ReferenceCurve) -> list[str] | None:
    """Where the curve of `record` leaves the band of `reference`: a text for each evaluation.

    The evaluations that both have are held to the band, below which a run is wrong and above which
    it is suspiciously fast; a band wider than half of all accuracies tells nothing. ``None`` where
    none is left, or the run trains in another way, on other data or by code of the user's own.
    """
    if record.code or record.is_foreign or record.dataset is None:
        return None
    if record.dataset.sha256 != reference.sha256:
        return None
    # what is told at once comes first: of thousands of runs most have no band
    if record.environment.get("global_batch_size") != reference.global_batch_size:
        return None
    if terms_of(record) != _terms_of_reference(reference):
        return None
    curve = curve_of(record, reference.split)
    telling = [p for p in reference.points if p.high - p.low <= _TELLS_NOTHING]
    shared = [(band, curve[band.step].accuracy) for band in telling if band.step in curve]
    if not shared:
        return None
    return [
        f"epoch {band.epoch:.4g} ({100 * accuracy:.2f} %, "
        f"band {100 * band.low:.2f}–{100 * band.high:.2f})"
        for band, accuracy in shared
        if accuracy is not None and not band.low <= accuracy <= band.high
    ]


def check_group(
    group: Sequence[RunRecord], references: Sequence[ReferenceCurve]
) -> dict[str, Any] | None:
    """How many runs of `group` were checked and left their band; ``None`` if none could be.

    ``seeds`` are those that left, ``first`` is where the first of them did.
    """
    checked = [(record.seed, _check(record, references)) for record in one_per_seed(group)]
    known = {seed: texts for seed, texts in checked if texts is not None}
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


def terms_of(record: RunRecord) -> dict[str, Any]:
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


def _terms_of_reference(reference: ReferenceCurve) -> dict[str, Any]:
    told = reference.model_dump(include={"sha256", "num_train", "split", "global_batch_size"})
    return told | {"settings": curve_settings(reference.settings)}


def curve_of(record: RunRecord, split: str) -> dict[int, EvalPoint]:
    """The evaluations of `record` on `split`, by step."""
    return {point.step: point for point in record.eval_points if point.split == split}
