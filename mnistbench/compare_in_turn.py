"""The part of `compare` that makes runs of its sides in turn, until their difference is settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mnistbench.analysis.comparison import after_looks, between, compare_matches, default_metrics
from mnistbench.analysis.free_metrics import canonical, evaluated_names, last_value
from mnistbench.analysis.gates import Gate
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.number_text import numbered
from mnistbench.analysis.pairing import against_first, side_labels
from mnistbench.analysis.rows import Comparison
from mnistbench.analysis.settled import settled
from mnistbench.cli import at_home, say
from mnistbench.compare_flags import CompareFlags, short_names
from mnistbench.launch import interleave, revisions
from mnistbench.launch.children import Child
from mnistbench.launch.preloaded import Preloaded
from mnistbench.launch.replay import arguments_of
from mnistbench.launch.runs import RunFailedError, TrainSide
from mnistbench.launch.scripts import Script, ScriptSide, one_sample
from mnistbench.schema.disk_space import say_written
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord
from mnistbench.schema.record_sets import path_names
from mnistbench.schema.suggestions import did_you_mean


def run_in_turn(
    flags: CompareFlags, train_flags: tuple[str, ...], gates: Sequence[Gate]
) -> Comparison:
    """Run the sides that `flags` name, with `train_flags` for revisions, and compare them.

    Raises:
        InputError: as `mnistbench.launch.interleave.run_interleaved`.
        SystemExit: a run failed, or a signal came; that is told.
    """
    if not (flags.commands or flags.command):  # our own loop evaluates what is known before
        flags.check_metrics(gates)
    if "duration_s" in {*flags.metrics, *(gate.metric for gate in gates)}:
        raise InputError("metrics: duration_s is what benchmark files hold; runs have wall_s")
    names = flags.revisions or short_names(flags.commands) or numbered(path_names(flags.paths))
    labels = side_labels(names)

    def metric(sides: Sequence[Sequence[RunRecord]]) -> str:
        return (flags.metrics or default_metrics(*sides))[0]

    def why_to_end(sides: Sequence[Sequence[RunRecord]]) -> str | None:
        asked = (metric(sides), *flags.metrics, *(gate.metric for gate in gates))
        for label, runs in zip(labels, sides, strict=True):
            _require_metrics(label, runs, asked, target_accuracy=flags.target_accuracy)
        return settled(
            against_first([*map(one_sample, sides)], labels),
            metric=metric(sides),
            min_effect=flags.min_effect,
            target_accuracy=flags.target_accuracy,
            force=flags.force,
        )

    minutes = 10.0 if flags.max_minutes is None else flags.max_minutes
    runs = _run(flags, train_flags, labels=labels, minutes=minutes, why_to_end=why_to_end)
    sampled = [*map(one_sample, runs)]
    found = compare_matches(
        against_first(sampled, labels),
        metrics=flags.metrics_of(sampled, gates),
        target_accuracy=flags.target_accuracy,
        force=flags.force,
    )
    ended = why_to_end(runs) or f"not settled within {minutes:g} min"
    notes = [
        f"{label}: each run evaluated the same, so all are one sample of it; have the command use "
        "{seed} or MNISTBENCH_SEED"
        for label, its, ran in zip(labels, sampled, runs, strict=True)
        if its is not ran
    ]
    found = after_looks(replace(found, notes=(ended, *notes, *found.notes)), metric(runs))
    return between(found, names, flags.revisions or flags.commands or flags.paths)


def _require_metrics(
    label: str, runs: Sequence[RunRecord], asked: Sequence[str], *, target_accuracy: float | None
) -> None:
    """Check that a script has left what is asked for, after the first round.

    Raises:
        InputError: it has not; it has something else.
    """
    if len(runs) > 1 or not runs[0].is_foreign:
        return
    measured = [name for name, its in METRICS.items() if its.samples(runs, target_accuracy)]
    for name in asked:
        if canonical(name) not in measured and last_value(runs[0], name) is None:
            has = [*measured, *evaluated_names(runs)]
            mend = did_you_mean(name, has) or f"; it has {', '.join(has)}"
            raise InputError(f"side {label}: its record has no {name}{mend}")


def _run(
    flags: CompareFlags,
    train_flags: tuple[str, ...],
    *,
    labels: Sequence[str],
    minutes: float,
    why_to_end: Callable[[Sequence[Sequence[RunRecord]]], str | None],
) -> list[list[RunRecord]]:
    began = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    output_dir = at_home("output_dir", flags.output_dir or Path("runs/compare") / began)
    interleave.check_turns(output_dir, minutes)
    try:
        with (
            TemporaryDirectory(prefix="mnistbench-") as folder,
            closing(Preloaded()) as preloaded,
        ):
            sides = _sides(flags, train_flags, labels=labels, work_dir=Path(folder))
            start_child = Child if flags.fresh else preloaded.start
            return interleave.run_interleaved(
                [
                    replace(x, start_child=start_child) if isinstance(x, TrainSide) else x
                    for x in sides
                ],
                output_dir=output_dir,
                max_minutes=minutes,
                first_seed=flags.seed or 0,
                settled=why_to_end,
            )
    except RunFailedError as error:
        say(f"error: {' '.join(str(error).split())}")
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        say("terminated" if terminated else "interrupted")
        raise SystemExit(143 if terminated else 130) from None
    finally:
        if next(output_dir.rglob("record.json"), None):
            say_written("runs", output_dir)


def _sides(
    flags: CompareFlags, train_flags: tuple[str, ...], *, labels: Sequence[str], work_dir: Path
) -> Sequence[interleave.Side]:
    if flags.commands:
        scripts = [Script.parse(text, flag="commands") for text in flags.commands]
        return [ScriptSide(name=x, script=its) for x, its in zip(labels, scripts, strict=True)]
    if flags.revisions:
        at = [*zip(flags.revisions, labels, strict=True)]
        if flags.command is not None:
            return revisions.script_sides(at, command=flags.command, checkouts=work_dir)
        return revisions.train_sides(at, arguments=train_flags, checkouts=work_dir)
    arguments = [arguments_of(path, work_dir=work_dir) for path in flags.paths]
    return [TrainSide(name=x, arguments=its) for x, its in zip(labels, arguments, strict=True)]
