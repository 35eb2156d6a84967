"""The command `compare`: what is faster or slower than a baseline, and does it pass the gates?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mnistbench.analysis.benchmarks import compare_benchmarks
from mnistbench.analysis.comparison import (
    after_looks,
    between,
    compare_matches,
    compare_sets,
    default_metrics,
)
from mnistbench.analysis.free_metrics import check_name, metric_named
from mnistbench.analysis.gates import Gate, Outcome, gated, judge, parse_gate
from mnistbench.analysis.number_text import numbered
from mnistbench.analysis.pairing import against_first, side_labels
from mnistbench.analysis.rows import Comparison
from mnistbench.analysis.settled import settled
from mnistbench.analysis.splitting import split
from mnistbench.cli import at_home, exit_on_input_error, say, show
from mnistbench.compare_flags import CompareFlags, short_names
from mnistbench.flags import parse
from mnistbench.output.comparison_table import gate_line, render_comparison
from mnistbench.output.screen import Screen
from mnistbench.schema.benchmark_json import BenchmarkFile, load_benchmarks
from mnistbench.schema.disk_space import say_written
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord
from mnistbench.schema.record_sets import baseline_first, load_sets, path_names, require_apart
from mnistbench.schema.store import load_records
from mnistbench.schema.streams import progress

if TYPE_CHECKING:
    from mnistbench.launch.interleave import Side

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a gate fired or a run failed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_on_input_error(argv):
        flags, train_flags = _parse(argv)
        gates = [parse_gate(text) for text in flags.fail_if]
        if flags.makes_runs:
            comparison = _run_in_turn(flags, train_flags, gates)
        else:
            comparison = _stored(flags, gates)
        outcomes = judge(comparison, gates)
        comparison = gated(comparison, outcomes)
        screen = Screen.of(sys.stdout, wide=flags.wide)
        show(render_comparison(comparison, outcomes, table_format=flags.format, screen=screen))
        return _status(outcomes, flags)


def _status(outcomes: Sequence[Outcome], flags: CompareFlags) -> int:
    """Exit status 1 if a gate fails, which wins over those that cannot be judged; else 0.

    Raises:
        InputError: a gate cannot be judged.
    """
    failing = {"fired", "not settled"} if flags.unsettled == "fail" else {"fired"}
    failed = [outcome for outcome in outcomes if outcome.state in failing]
    for outcome in failed if flags.format != "table" else ():  # the others are read later
        say(gate_line(outcome))
    unknown = [gate_line(o) for o in outcomes if o.state == "cannot be judged"]
    if unknown and not failed:
        more = f"; and {len(unknown) - 1} more, which the result names" * (len(unknown) > 1)
        raise InputError(unknown[0] + more)
    return 1 if failed else 0


def _parse(argv: list[str]) -> tuple[CompareFlags, tuple[str, ...]]:
    """The command's own flags, and those of train that follow ``--``."""
    cut = argv.index("--") if "--" in argv else len(argv)
    train_flags = tuple(argv[cut + 1 :])
    flags, _ = parse(CompareFlags, argv[:cut])
    _refuse_contradictions(flags)
    num_sides = len(flags.paths or flags.commands)
    if num_sides < (0 if flags.revisions else 1 if flags.by else 2):
        what = "commands" if "commands" in flags.model_fields_set else "paths (or --by KEY and one)"
        raise InputError(f"compare: takes two or more {what}, not {num_sides}; see --help")
    if train_flags and (flags.revisions is None or flags.command):
        raise InputError(
            "flags after -- are for --revisions without --command; other sides have theirs"
        )
    _refuse_set_here(train_flags)
    return _baseline_first(flags), train_flags


def _refuse_contradictions(flags: CompareFlags) -> None:
    given = [name for name in flags.given if getattr(flags, name) is not False]
    others = ("paths", "interleave", "commands", "baseline")
    if flags.revisions and (unfit := [name for name in others if name in given]):
        raise InputError(f"revisions: are all that is run; leave out {' and '.join(unfit)}")
    if flags.commands and (unfit := [name for name in others[:2] if name in given]):
        raise InputError(f"commands: are all that is run; leave out {' and '.join(unfit)}")
    if flags.command is not None and not flags.revisions:
        raise InputError("command: is what --revisions runs; --commands runs two or more in turn")
    for name in given:
        if name in {"by", "strict"} and flags.makes_runs:
            raise InputError(f"{name}: is for stored records; leave it out where runs are made")
        if name in {"max_minutes", "min_effect", "output_dir", "seed"} and not flags.makes_runs:
            raise InputError(
                f"{name}: has no effect without --interleave, --commands or --revisions"
            )


def _baseline_first(flags: CompareFlags) -> CompareFlags:
    """`flags`, with the path or the command first that is to be the baseline."""
    if flags.baseline is None or flags.by is not None:
        return flags
    if flags.commands:
        known = [*zip(short_names(flags.commands), flags.commands, strict=True)]
        commands = baseline_first(flags.commands, known, flags.baseline)
        return flags.model_copy(update={"commands": tuple(commands)})
    known = [*zip(path_names(flags.paths), map(os.path.realpath, flags.paths), strict=True)]
    paths = baseline_first(flags.paths, known, flags.baseline)
    return flags.model_copy(update={"paths": tuple(paths)})


def _refuse_set_here(train_flags: Sequence[str]) -> None:
    for flag in train_flags:
        name = flag.partition("=")[0].replace("_", "-")
        if name in {"--seed", "--num-seeds", "--output-dir"}:
            raise InputError(
                f"{name} after --: seeds and folders are set for each pair of runs; leave it out, "
                "or give compare's own --output-dir before the --"
            )
        if name == "--profile":
            raise InputError("--profile after --: profiled runs are not compared; leave it out")


def _stored(flags: CompareFlags, gates: Sequence[Gate]) -> Comparison:
    progress("reading records")
    if flags.by is None:
        require_apart(flags.paths)
        if benchmarks := [its for path in flags.paths if (its := _benchmarks(path))]:
            return _compare_benchmarks(benchmarks, flags, gates)
        sides = load_sets(flags.paths, strict=flags.strict)
        told = zip(side_labels([side.name for side in sides]), sides, strict=True)
        notes = [f"{label}: {side.note}" for label, side in told if side.note]
    else:
        loaded = load_records(flags.paths, strict=flags.strict)
        sides = split(loaded.records, flags.by, baseline=flags.baseline)
        notes = [loaded.note] if loaded.note else []
    comparison = compare_sets(
        sides,
        by=flags.by,
        metrics=_metrics([side.records for side in sides], flags, gates),
        target_accuracy=flags.target_accuracy,
        force=flags.force,
    )
    for note in notes if flags.format == "json" else ():
        say(note)
    return replace(comparison, notes=(*notes, *comparison.notes))


def _compare_benchmarks(
    benchmarks: Sequence[BenchmarkFile], flags: CompareFlags, gates: Sequence[Gate]
) -> Comparison:
    if not len(benchmarks) == len(flags.paths) == 2:
        raise InputError("compare: takes two benchmark files, or records alone")
    asked = {*flags.metrics, *(gate.metric for gate in gates)} - {"duration_s"}
    if asked:
        raise InputError(
            f"metrics: benchmark files are compared by duration_s, not {', '.join(sorted(asked))}"
        )
    if flags.target_accuracy is not None:
        raise InputError("target_accuracy: has no effect on benchmark files; compare records")
    table = compare_benchmarks(*benchmarks, force=flags.force)
    return between(table, path_names(flags.paths), flags.paths)


def _benchmarks(path: Path) -> BenchmarkFile | None:
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        raise InputError(f"{path}: a configuration has no figures; run it with --interleave")
    return None if path.is_dir() else load_benchmarks(path)


def _metrics(
    sides: Sequence[Sequence[RunRecord]], flags: CompareFlags, gates: Sequence[Gate]
) -> tuple[str, ...]:
    runs = [record for side in sides for record in side]
    _check_metrics(flags, gates, partial(metric_named, records=runs))
    names = flags.metrics or default_metrics(*sides, target_accuracy=flags.target_accuracy)
    return (*names, *(gate.metric for gate in gates))


def _check_metrics(
    flags: CompareFlags, gates: Sequence[Gate], check: Callable[..., object] = check_name
) -> None:
    for name in flags.metrics:
        check(name)
    for gate in gates:
        check(gate.metric, field="fail_if")


def _settling(sides: Sequence[Sequence[RunRecord]], flags: CompareFlags) -> str:
    """The metric that ends runs in turn: the first."""
    return (flags.metrics or default_metrics(*sides))[0]


def _run_in_turn(
    flags: CompareFlags, train_flags: tuple[str, ...], gates: Sequence[Gate]
) -> Comparison:
    from mnistbench.launch.interleave import check_turns, run_interleaved
    from mnistbench.launch.runs import RunFailedError

    if not (flags.commands or flags.command):  # our own loop evaluates what is known before
        _check_metrics(flags, gates)
    if "duration_s" in {*flags.metrics, *(gate.metric for gate in gates)}:
        raise InputError("metrics: duration_s is what benchmark files hold; runs have wall_s")
    minutes = 10.0 if flags.max_minutes is None else flags.max_minutes
    began = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    output_dir = at_home("output_dir", flags.output_dir or Path("runs/compare") / began)
    check_turns(output_dir, minutes)
    sources = flags.revisions or flags.commands or flags.paths
    names = flags.revisions or short_names(flags.commands) or numbered(path_names(flags.paths))
    labels = side_labels(names)

    def why_to_end(sides: Sequence[Sequence[RunRecord]]) -> str | None:
        return settled(
            against_first(sides, labels),
            metric=_settling(sides, flags),
            min_effect=flags.min_effect,
            target_accuracy=flags.target_accuracy,
            force=flags.force,
        )

    try:
        with TemporaryDirectory() as folder:
            sides = run_interleaved(
                _sides(flags, train_flags, labels=labels, work_dir=Path(folder)),
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
    found = compare_matches(
        against_first(sides, labels),
        metrics=_metrics(sides, flags, gates),
        target_accuracy=flags.target_accuracy,
        force=flags.force,
    )
    found = after_looks(found, _settling(sides, flags))
    ended = why_to_end(sides) or f"not settled within {minutes:g} min"
    found = replace(found, notes=(ended, *found.notes))
    return between(found, names, sources)


def _sides(
    flags: CompareFlags, train_flags: tuple[str, ...], *, labels: Sequence[str], work_dir: Path
) -> Sequence[Side]:
    if flags.commands:
        from mnistbench.launch.scripts import Script, ScriptSide

        scripts = [Script.parse(text, flag="commands") for text in flags.commands]
        return [ScriptSide(name=x, script=its) for x, its in zip(labels, scripts, strict=True)]
    if flags.revisions:
        from mnistbench.launch import revisions, script_revisions

        at = [*zip(flags.revisions, labels, strict=True)]
        if flags.command is not None:
            return script_revisions.script_sides(at, command=flags.command, checkouts=work_dir)
        side = partial(revisions.side_at, arguments=train_flags, repository=Path.cwd())
        return [side(revision, name=name) for revision, name in at]
    from mnistbench.launch.replay import arguments_of
    from mnistbench.launch.runs import TrainSide

    arguments = [arguments_of(path, work_dir=work_dir) for path in flags.paths]
    return [TrainSide(name=x, arguments=its) for x, its in zip(labels, arguments, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
