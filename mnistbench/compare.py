"""The command `compare`: what is faster or slower than a baseline, and does it pass the gates?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mnistbench.analysis.benchmarks import compare_benchmarks
from mnistbench.analysis.comparison import (
    between,
    compare_sets,
)
from mnistbench.analysis.gates import Gate, Outcome, gated, judge, parse_gate
from mnistbench.analysis.pairing import side_labels
from mnistbench.analysis.rows import Comparison
from mnistbench.analysis.splitting import split
from mnistbench.cli import exit_on_input_error, say, show
from mnistbench.compare_flags import CompareFlags, short_names
from mnistbench.flags import parse
from mnistbench.output.comparison_table import gate_line, render_comparison
from mnistbench.output.screen import Screen
from mnistbench.schema.benchmark_json import BenchmarkFile, load_benchmarks
from mnistbench.schema.errors import InputError
from mnistbench.schema.record_sets import baseline_first, load_sets, path_names, require_apart
from mnistbench.schema.store import load_records
from mnistbench.schema.streams import progress


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`; exit status 1 if a gate fired or a run failed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_on_input_error(argv):
        flags, train_flags = _parse(argv)
        gates = [parse_gate(text) for text in flags.fail_if]
        if flags.makes_runs:
            from mnistbench.compare_in_turn import run_in_turn

            comparison = run_in_turn(flags, train_flags, gates)
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
    given = [name for name in type(flags).model_fields if getattr(flags, name) not in (None, ())]
    runs = [name for name in ("revisions", "commands", "interleave") if getattr(flags, name)]
    unfit = {*runs[1:], "paths"} | ({"baseline"} if flags.revisions else set())
    if runs[:1] != ["interleave"] and runs and (more := [x for x in given if x in unfit]):
        raise InputError(f"{runs[0]}: are all that is run; leave out {' and '.join(more)}")
    if flags.command is not None and not flags.revisions:
        raise InputError("command: is what --revisions runs; --commands runs two or more in turn")
    if runs and (stored := "by" if flags.by else "strict" if flags.strict else None):
        raise InputError(f"{stored}: is for stored records; leave it out where runs are made")
    if flags.fresh and not (flags.interleave or (flags.revisions and not flags.command)):
        raise InputError("fresh: is for runs of mnistbench train, by --interleave or --revisions")
    alone = [x for x in ("max_minutes", "min_effect", "output_dir", "seed") if x in given]
    if alone and not runs:
        raise InputError(
            f"{alone[0]}: has no effect without --interleave, --commands or --revisions"
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
        metrics=flags.metrics_of([side.records for side in sides], gates),
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


if __name__ == "__main__":
    sys.exit(main())
