"""Whether B is faster or slower than A: medians, the change with its interval, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mnistbench.analysis.comparability import machine_share, problem_of_b, refusal, said_beside
from mnistbench.analysis.differences import code_of, conditions, subject
from mnistbench.analysis.free_metrics import canonical, evaluated_names, metric_named
from mnistbench.analysis.metrics import METRICS, Asked, Metric, target_of
from mnistbench.analysis.number_text import goal
from mnistbench.analysis.pairing import Matches, match_groups, side_labels
from mnistbench.analysis.repeats import one_per_seed, seed_text
from mnistbench.analysis.rows import Comparison, Row
from mnistbench.analysis.samples import MOST_TESTED, Match, sample_of
from mnistbench.analysis.splitting import field_of
from mnistbench.analysis.stability import is_profiled, is_unstable, product_note
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.record_sets import RecordSet
from mnistbench.stats.rank_tests import holm
from mnistbench.stats.sequential_test import ALPHA


def compare(
    a: Sequence[RunRecord],
    b: Sequence[RunRecord],
    *,
    metrics: Sequence[str] | None = None,
    target_accuracy: float | None = None,
    force: bool = False,
) -> Comparison:
    """Compare the runs of `a` and `b`, group by group as `match_groups` finds them.

    Args:
        a: what is compared against.
        b: what is judged.
        metrics: the rows, each as `metric_named` knows it; by default `default_metrics`.
        target_accuracy: scores times to accuracy in place of each run's own target.
        force: judge also what is not comparable, and ask B for nothing that only A has.

    Raises:
        InputError: a side is empty but for profiled runs, nothing on them belongs together, or a
            metric is none of theirs.
    """
    return compare_sets(
        [RecordSet(name="A", records=a), RecordSet(name="B", records=b)],
        metrics=metrics or default_metrics(a, b, target_accuracy=target_accuracy),
        target_accuracy=target_accuracy,
        force=force,
    )


def compare_sets(
    sides: Sequence[RecordSet],
    *,
    metrics: Sequence[str],
    by: str | None = None,
    target_accuracy: float | None = None,
    force: bool = False,
) -> Comparison:
    """One table of all `sides`, each against the first, as `compare` compares two.

    `by` is the key by whose values one set was split. Verdicts are adjusted for all rows.

    Raises:
        InputError: as `compare`; or nothing in one set is as the first but for `by`.
    """
    names = [side.name for side in sides]
    field = by and field_of(by, [record for side in sides for record in side.records])
    first, *others = zip(side_labels(names), sides, strict=True)
    matched = [
        match_groups(first[1].records, other.records, names=(first[0], label), by=field)
        for label, other in others
    ]
    matches = [match for side in matched for match in side.found]
    if not matches:
        raise InputError(f"by: nothing agrees with {names[0]} in all but {by}; name fewer records")
    found = compare_matches(matches, metrics=metrics, target_accuracy=target_accuracy, force=force)
    notes = dict.fromkeys((*found.notes, *(note for side in matched for note in _alone(side))))
    lacking = {side.names: tuple(side.only_in_a) for side in matched if side.only_in_a}
    found = replace(found, notes=tuple(notes), missing={} if force else lacking)
    return between(found, names, [side.source or side.name for side in sides])


def between(comparison: Comparison, names: Sequence[str], sources: Sequence[object]) -> Comparison:
    """`comparison`, with the names of its sides and a line that says where each is from."""
    known = zip(side_labels(names), map(str, sources), strict=True)
    about = ", ".join(f"{label} is {source}" for label, source in known if label != source)
    return replace(comparison, sides=tuple(names), about=about)


def _alone(side: Matches) -> list[str]:
    """What was left out, and what has no partner."""
    a, b = side.names
    alone = ((a, b, side.only_in_a), (b, a, side.only_in_b))
    return side.notes + [f"only in {x}, not in {y}: {'; '.join(its)}" for x, y, its in alone if its]


def _named_alike(matches: Sequence[Match]) -> list[Match]:
    """All matches of one group of the baseline together, under one name: what all share."""
    groups: dict[int, list[Match]] = {}
    for match in matches:
        groups.setdefault(id(match.a[0]), []).append(match)
    named = ((min((match.name for match in its), key=len), its) for its in groups.values())
    return [replace(match, name=name) for name, its in named for match in its]


def compare_matches(
    matches: Sequence[Match],
    *,
    metrics: Sequence[str],
    target_accuracy: Asked = None,
    force: bool = False,
) -> Comparison:
    """Compare what `matches` brought together; all else as for `compare`."""
    matches = _named_alike(matches)
    rows: list[Row] = []
    notes: dict[str, dict[str, None]] = {}  # each with what it is said of
    runs = [run for match in matches for run in (*match.a, *match.b)]
    asked = {canonical(name): metric_named(name, runs) for name in metrics}
    for match in matches:
        told = _notes(match, list(asked.values()), target_accuracy)
        for name, metric in asked.items():
            row = _measured(match, name, metric, target_accuracy)
            refused = _refused(row, match, target_accuracy)
            rows.append(row if force else refused)
            told += [f"forced: {refused.refusal}"] if force and refused.refusal else []
        for note in told:
            notes.setdefault(note, {})[match.name] = None
    places = {name: place for place, name in enumerate(dict.fromkeys(m.name for m in matches))}
    rows.sort(key=lambda row: (places[row.name], [*asked].index(row.metric)))
    lines = [
        line
        for note, said_of in notes.items()
        for line in ([note] if len(said_of) == len(places) else [f"{x}: {note}" for x in said_of])
    ]
    return judged(Comparison(rows=tuple(rows), notes=tuple(lines)))


def default_metrics(
    *sides: Sequence[RunRecord], target_accuracy: float | None = None
) -> tuple[str, ...]:
    """Speed and test accuracy, and between them the time to a target that all sides have.

    Of other loops it is what all sides evaluated, if none left a test accuracy.
    """
    compared = [[record for record in side if not is_profiled(record)] for side in sides]
    timed = all(any(target_of(r, target_accuracy) for r in side) for side in compared)
    times = ["time_to_accuracy_s"] * timed
    runs = [record for side in compared for record in side]
    if not any(run.is_foreign for run in runs):
        return ("samples_per_s", *times, "test_accuracy")
    counted, tested = (METRICS[name].of(runs).n for name in ("samples_per_s", "test_accuracy"))
    shared = set.intersection(*(set(evaluated_names(side)) for side in compared))
    steered = [run.target.metric for run in runs if run.target]
    named = dict.fromkeys(["test_accuracy"] if tested else [*steered, *evaluated_names(runs)])
    learnt = [name for name in named if tested or name in shared][:3]  # to fit a table
    return ("samples_per_s" if counted else "step_s_p50", *times, *learnt)


def after_looks(comparison: Comparison, looked_at: str) -> Comparison:
    """The same, judged as what it is if runs were added until `settled` ended it.

    Every p is multiplied by the correction of `look_factor` and intervals are widened by it, since
    each metric may have moved the end. Holm's adjustment leaves out the rows of `looked_at`, whose
    share of false verdicts the looks have already spent.
    """
    return judged(replace(comparison, looked_at=canonical(looked_at)))


def judged(comparison: Comparison) -> Comparison:
    """`comparison` with the change, p and verdict of every row that has a sample."""
    factor = comparison.look_factor
    rows = [_tested(row, factor) for row in comparison.rows]
    for of_looks in (True, False):
        family = [
            index
            for index, row in enumerate(rows)
            if row.p is not None and (row.metric == comparison.looked_at) == of_looks
        ]
        adjusted = holm([rows[index].p or 0.0 for index in family])
        for index, p in zip(family, adjusted, strict=True):
            row = replace(rows[index], p_adjusted=p)
            rows[index] = _with_verdict(row, alpha=ALPHA / factor, family=len(family))
    return replace(comparison, rows=tuple(rows))


def _measured(match: Match, name: str, metric: Metric, asked: Asked) -> Row:
    told = [target_of(record, asked) for record in (*match.a, *match.b)]
    shared = metric.to_target and len({target and goal(target) for target in told}) == 1
    return Row(
        name=match.name,
        metric=name,
        definition=metric,
        names=match.names,
        target=told[0] if shared else None,
        a=metric.of(match.a, asked),
        b=metric.of(match.b, asked),
        sample=sample_of(match, metric, asked),
        caveat=said_beside(match, metric),
        machine=machine_share(match, metric),
    )


def _refused(row: Row, match: Match, asked: Asked) -> Row:
    if row.sample is None:
        return row
    why = refusal(match, row.sample, asked=asked)
    return replace(row, refusal=why, b_problem=problem_of_b(match, row.definition))


def _tested(row: Row, factor: int) -> Row:
    sample = row.sample
    if sample is None:
        return row
    row = replace(row, verdict="no verdict", reason=None, more_runs=None)  # it may be judged anew
    problem = sample.problem()
    if problem:
        return replace(row, reason=problem)
    change = sample.change(confidence=1 - ALPHA / factor)
    if row.refusal:
        return replace(row, change=change, reason=row.refusal)
    return replace(row, change=change, p=min(1.0, factor * sample.p_value()))


def _with_verdict(row: Row, *, alpha: float, family: int) -> Row:
    """The verdict on a row of a `family` of so many that `alpha` is shared by."""
    sample = row.sample
    if sample is None or row.p_adjusted is None:
        return row
    if row.p_adjusted < ALPHA:
        if why := sample.contradiction():
            return replace(row, reason=f"they differ, but {why}")
        if sign := sample.direction():
            return replace(row, verdict=row.definition.word(sign))
    lacking, needed = sample.lacking(alpha / family), sample.runs_needed(alpha / family)
    more = max(lacking, (needed or 0) - sample.n)
    row = replace(row, more_runs=more, spread_known=needed is not None)
    if lacking:
        return replace(row, reason=f"n = {sample.n} is too few")
    if row.definition.to_target and sample.p_of_first() < alpha / family:
        inside = "the spacing of the evaluations"
        if sample.factor_spread(1 - ALPHA):
            inside += " and what is known of seconds per step"
        return replace(row, reason=f"the difference is inside {inside}")
    return replace(row, verdict="no difference seen")


def _notes(match: Match, metrics: Sequence[Metric], asked: Asked) -> list[str]:
    """What has to be said of the runs of `match` below the table."""
    notes, (a, b) = [], match.names
    needs = dict.fromkeys(name for metric in metrics for name in metric.needs)
    differing = conditions(match.a, match.b, needs, asked=asked)
    if differing:
        text = ", ".join(f"{name} ({values})" for name, values in differing.items())
        notes.append(f"{a} and {b} differ in {text}")
    about = subject(match.a, match.b, needs, by=match.by)
    if about:
        notes.append(f"{b} differs in: " + ", ".join(f"{k} {v}" for k, v in about.items()))
    if max(len(match.a), len(match.b)) > MOST_TESTED:
        notes.append(f"of more than {MOST_TESTED:,} runs as many, evenly spaced, are tested")
    if match.pairs:
        notes.append(f"{a} and {b} were run in turn and are compared pair by pair")
    if any(metric.to_target for metric in metrics) and (line := product_note((*match.a, *match.b))):
        notes.append(line)
    by_seed = any(metric.independent == "seed" for metric in metrics)
    for side, runs in ((a, match.a), (b, match.b)):
        notes += _side_notes(side, runs)
        repeats = len(runs) - len(one_per_seed(runs))
        if repeats and by_seed:
            notes.append(
                f"{side}: {repeats} repeated runs of a seed count in times and speeds; accuracies, "
                "losses and times to a target are of each seed's newest run"
            )
    return notes


def _side_notes(side: str, runs: Sequence[RunRecord]) -> list[str]:
    notes = []
    commits = dict.fromkeys(map(code_of, runs))
    if len(commits) > 1:
        notes.append(f"several commits on side {side}: {', '.join(commits)}")
    ended = [f"{seed_text(r)} {r.status}" for r in runs if r.status != "completed"]
    if ended:
        notes.append(
            f"{side}: {len(ended)} of {len(runs)} runs did not complete ({', '.join(ended)}); "
            "they count at most in times and steps to a target"
        )
    unstable = sum(map(is_unstable, runs))
    if unstable and 2 * unstable <= len(runs):
        notes.append(f"{side}: the machine's own speed moved during {unstable} of {len(runs)} runs")
    return notes
