"""The notes below tables of runs: what figures mean, and which runs they are not of."""

from __future__ import annotations

from collections.abc import Sequence

from mnistbench.analysis.metrics import METRICS, Asked, told_target
from mnistbench.analysis.number_text import WALL_NOTE
from mnistbench.analysis.reference_bands import unchecked_notes
from mnistbench.analysis.repeats import counted, one_per_seed, seed_of
from mnistbench.analysis.scoring import fell_again
from mnistbench.analysis.stability import mark_notes
from mnistbench.schema.record import RunRecord
from mnistbench.schema.reference import ReferenceCurve

RANGE_NOTE = "an accuracy is the median over seeds (smallest–largest)"
MEDIAN_NOTE = "(95 % interval; – where so few runs give none)"


def notes(groups: Sequence[Sequence[RunRecord]], references: Sequence[ReferenceCurve]) -> list[str]:
    """The lines below the main table, each of them once."""
    lines = [
        f"* {record.recipe.name} changed in: {', '.join(record.recipe.changed)}"
        for group in groups
        for record in group
        if record.recipe and record.recipe.changed
    ]
    if any(len(group) > 1 for group in groups):
        foreign = any(run.is_foreign for group in groups for run in group)
        spread = RANGE_NOTE.replace("an accuracy", "what was evaluated") if foreign else RANGE_NOTE
        lines += ["± is half the width of the 95 % interval of the mean over n runs", spread]
    lines.append(WALL_NOTE)
    lines += target_notes([(g, told_target(g)) for g in groups])
    lines += _left_out(groups)
    resumed = sum(bool(record.interruptions) for group in groups for record in group)
    if resumed:
        lines.append(f"runs interrupted that went on: {resumed}; time between does not count")
    lines += mark_notes(groups)
    firsts = [group[0] for group in groups]
    lines += [_protocol(r) for r in firsts if sum(p.split == "test" for p in r.eval_points) > 1]
    lines += unchecked_notes(groups, references)
    return list(dict.fromkeys(lines))


def target_notes(scored: Sequence[tuple[Sequence[RunRecord], Asked]]) -> list[str]:
    """What times of groups to their targets are, and how sharply evaluations let them be known."""
    asked = [(group, target) for group, target in scored if target is not None]
    metric = METRICS["time_to_accuracy_s"]
    levels = [metric.of(group, target) for group, target in asked]
    grains = [1 - (level.above or 0.0) / level.at_most for level in levels if level.at_most]
    if not grains:
        return []
    widest = f"up to {100 * max(grains):.0f} % of it here"
    known = f"a time to a target is known to the spacing of its evaluations, {widest}"
    lines = [f"{known}; ≤: the first evaluation was there already"]
    if any(level.n > 1 for level in levels):
        lines.append(f"time to target of several seeds is their median {MEDIAN_NOTE}")
    fell = {id(run) for group, target in asked for run in group if fell_again(run, target)}
    if fell:
        count = f"{len(fell)} of {len({id(run) for group, _ in asked for run in group})} runs"
        lines.append(
            f"{count} fell below a target again: the first of two evaluations in a row at the "
            "target counts"
        )
    return lines


def _left_out(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Runs that some figures are not of."""
    lines = []
    unfinished = sum(len(group) - len(counted(group)) for group in groups)
    if unfinished:
        count = "1 run" if unfinished == 1 else f"{unfinished} runs"
        lines.append(f"in the time to target only: {count} that did not complete")
    repeats = sum(len(group) - len(one_per_seed(group)) for group in groups)
    if repeats:
        apart = 100 * max(map(_repeat_spread, groups))
        spread = f"; test accuracies of repeats are up to {apart:.2f} points apart" * (apart > 0)
        lines.append(
            f"repeats of a seed ({repeats}) count in times and speeds, not in accuracies and times "
            f"to a target, which are of each seed's newest run{spread}"
        )
    return lines


def _repeat_spread(group: Sequence[RunRecord]) -> float:
    """How far apart the test accuracies of one seed's runs are, at most."""
    found: dict[int | str, list[float]] = {}
    for run in group:
        if run.result.test_accuracy is not None and run.status == "completed":
            found.setdefault(seed_of(run), []).append(run.result.test_accuracy)
    return max((max(values) - min(values) for values in found.values()), default=0.0)


def _protocol(record: RunRecord) -> str:
    changed = set(record.recipe.changed) if record.recipe else {"eval_split"}
    if changed & {"eval_split", "eval_every_steps"}:
        return "the test set was read while training"
    return "the test set was read after each epoch, as the recipe's source did"
