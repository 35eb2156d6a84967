"""The door to comparisons: is B faster or slower than A, and does it pass the gates?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import tyro

from mnistbench.analysis.benchmarks import compare_benchmarks
from mnistbench.analysis.comparability import not_alike
from mnistbench.analysis.comparison import after_looks, compare, compare_matches, default_metrics
from mnistbench.analysis.gates import Gate, Outcome, gated, judge, parse_gate
from mnistbench.analysis.metrics import METRICS, MetricName
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.rows import Comparison
from mnistbench.analysis.settled import settled
from mnistbench.cli import at_home, exit_on_input_error, parse, say, show
from mnistbench.output.comparison_table import ComparisonFormat, gate_line, render_comparison
from mnistbench.output.screen import Screen
from mnistbench.schema.benchmark_json import BenchmarkFile, load_benchmarks
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import find_records, load_records

if TYPE_CHECKING:
    from mnistbench.launch.interleave import Side

__all__ = ["main"]

_DESCRIPTION = "Tell whether B is faster or slower than A: runs that are stored, or run in turn."


@dataclass(frozen=True, kw_only=True)
class _Flags:
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """A and B: each a record.json, a folder of records, or a JSON file of pytest-benchmark."""
    metrics: tuple[MetricName, ...] = ()
    """Metrics to compare. Default: samples_per_s, time_to_accuracy_s (if a target is set),
    test_accuracy."""
    target_accuracy: float | None = None
    """Accuracy that runs are timed to [fraction]; none is each run's own."""
    fail_if: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Exit 1 if "samples_per_s < -5%" (B against A), or "test_accuracy < 0.98" (B alone).

    A change has to be surely beyond its bound, at 5 %. With too few runs to tell: status 2.
    """
    unsettled: Literal["pass", "fail"] = "pass"
    """What a gate does that is neither surely crossed nor surely not: fail is status 1."""
    force: bool = False
    """Give verdicts even if hardware or data differ, or B lacks some configurations."""
    strict: bool = False
    """End with status 2 where a record in a folder cannot be read, instead of leaving it out."""
    format: ComparisonFormat = "table"
    """How to print the rows."""
    wide: bool = False
    """Show all columns of tables, however wide the terminal is."""
    interleave: bool = False
    """Run A and B, or .yaml configurations, in turn until the first metric is settled."""
    revisions: tuple[str, str] | None = None
    """Run two git revisions of this checkout in turn instead; flags of train follow a bare --."""
    max_minutes: float | None = None
    """Time limit [minutes]. Default: 10."""
    min_effect: float | None = None
    """Settled as well once the change is surely smaller than this [fraction].

    None is 0.02, or of accuracies 0.002 (0.2 points).
    """
    output_dir: Path | None = None
    """New folder for these runs; none is one of runs/compare."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door with `argv`; exit status 1 if a gate fired or a run failed."""
    with exit_on_input_error():
        flags, train_flags = _parse(list(sys.argv[1:] if argv is None else argv))
        gates = [parse_gate(text) for text in flags.fail_if]
        if flags.interleave or flags.revisions:
            comparison = _run_in_turn(flags, train_flags, gates)
        else:
            comparison = _stored(flags, gates)
        outcomes = judge(comparison, gates)
        comparison = gated(comparison, outcomes)
        names = flags.revisions or tuple(map(str, flags.paths))
        comparison = comparison.told(f"A is {names[0]}, B is {names[1]}")
        screen = Screen.of(sys.stdout, wide=flags.wide)
        show(render_comparison(comparison, outcomes, table_format=flags.format, screen=screen))
        return _status(outcomes, flags)


def _status(outcomes: Sequence[Outcome], flags: _Flags) -> int:
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
        raise InputError("; ".join(unknown))
    return 1 if failed else 0


def _parse(argv: list[str]) -> tuple[_Flags, tuple[str, ...]]:
    """The door's own flags, and those of train that follow ``--``."""
    cut = argv.index("--") if "--" in argv else len(argv)
    train_flags = tuple(argv[cut + 1 :])
    flags = parse(_Flags, argv[:cut], prog="mnistbench.compare", description=_DESCRIPTION)
    runs = flags.interleave or flags.revisions is not None
    if flags.revisions and (flags.paths or flags.interleave):
        raise InputError("revisions: are run in place of A and B; leave paths and --interleave out")
    if not flags.revisions and len(flags.paths) != 2:
        raise InputError(f"compare: takes two paths, A and B, not {len(flags.paths)}; see --help")
    if flags.strict and runs:
        raise InputError("strict: is for stored records; leave it out where runs are made")
    if train_flags and not flags.revisions:
        raise InputError("flags after -- are for --revisions; A and B have their own")
    _refuse_set_here(train_flags)
    for name in ("max_minutes", "min_effect", "output_dir"):
        if getattr(flags, name) is not None and not runs:
            raise InputError(f"{name}: has no effect without --interleave or --revisions")
    if flags.target_accuracy is not None and not 0 < flags.target_accuracy <= 1:
        raise InputError(f"target_accuracy: a fraction above 0, not {flags.target_accuracy:g}")
    if flags.min_effect is not None and not 0 < flags.min_effect < 1:
        raise InputError(f"min_effect: a fraction between 0 and 1, not {flags.min_effect:g}")
    return flags, train_flags


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


def _stored(flags: _Flags, gates: Sequence[Gate]) -> Comparison:
    a, b = flags.paths
    found = [find_records([path]) for path in (a, b)]
    if os.path.realpath(a) == os.path.realpath(b):
        raise InputError(f"A and B are the same: {a}; name two")
    benchmarks = [None if path.is_dir() else _benchmarks(path) for path in (a, b)]
    if benchmarks[0] and benchmarks[1]:
        _require_durations(flags, gates)
        return compare_benchmarks(benchmarks[0], benchmarks[1], force=flags.force)
    if benchmarks[0] or benchmarks[1]:
        raise InputError("compare: a benchmark file compares with another only, not with records")
    if shared := set.intersection(*({*map(os.path.realpath, paths)} for paths in found)):
        raise InputError(f"A and B are not apart: both hold {sorted(shared)[0]}")
    loaded = [load_records([path], strict=flags.strict) for path in (a, b)]
    of_a, of_b = (side.records for side in loaded)
    names, target = _metrics(of_a, of_b, flags, gates), flags.target_accuracy
    comparison = compare(of_a, of_b, metrics=names, target_accuracy=target, force=flags.force)
    for note in (
        f"{name}: {side.note}" for name, side in zip("AB", loaded, strict=True) if side.note
    ):
        comparison = comparison.told(note)
        if flags.format == "json":
            say(note)
    return comparison


def _benchmarks(path: Path) -> BenchmarkFile | None:
    if path.suffix in {".yaml", ".yml"}:
        raise InputError(f"{path}: a configuration has no figures; run it with --interleave")
    return load_benchmarks(path)


def _require_durations(flags: _Flags, gates: Sequence[Gate]) -> None:
    asked = {*flags.metrics, *(gate.metric for gate in gates)} - {"duration_s"}
    if asked:
        raise InputError(
            f"metrics: benchmark files are compared by duration_s, not {', '.join(sorted(asked))}"
        )
    if flags.target_accuracy is not None:
        raise InputError("target_accuracy: has no effect on benchmark files; compare records")


def _metrics(
    a: Sequence[RunRecord], b: Sequence[RunRecord], flags: _Flags, gates: Sequence[Gate]
) -> tuple[MetricName, ...]:
    names = flags.metrics or default_metrics(a, b, target_accuracy=flags.target_accuracy)
    return (*names, *(gate.metric for gate in gates))


def _run_in_turn(flags: _Flags, train_flags: tuple[str, ...], gates: Sequence[Gate]) -> Comparison:
    from mnistbench.launch.interleave import check_turns, run_interleaved
    from mnistbench.launch.runs import RunFailedError

    metric: MetricName = flags.metrics[0] if flags.metrics else "samples_per_s"
    if "duration_s" in {*flags.metrics, *(gate.metric for gate in gates)}:
        raise InputError("metrics: duration_s is what benchmark files hold; runs have wall_s")
    minutes = 10.0 if flags.max_minutes is None else flags.max_minutes
    began = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    output_dir = at_home("output_dir", flags.output_dir or Path("runs/compare") / began)
    check_turns(output_dir, minutes)
    look = partial(_look, flags=flags, metric=metric)
    try:
        with TemporaryDirectory() as folder:
            a, b = run_interleaved(
                *_sides(flags, train_flags, Path(folder)),
                output_dir=output_dir,
                max_minutes=minutes,
                settled=look,
                tell=say,
            )
    except RunFailedError as error:
        say(f"error: {' '.join(str(error).split())}")
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        say("terminated" if terminated else "interrupted")
        raise SystemExit(143 if terminated else 130) from None
    found = compare_matches(
        [as_one(a, b)],
        metrics=_metrics(a, b, flags, gates),
        target_accuracy=flags.target_accuracy,
        force=flags.force,
    )
    comparison = after_looks(found, metric)
    return comparison.told(look(a, b) or f"not settled within {minutes:g} min")


def _look(
    a: Sequence[RunRecord], b: Sequence[RunRecord], *, flags: _Flags, metric: MetricName
) -> str | None:
    """Why to end the runs, if so."""
    target = flags.target_accuracy
    problem = not_alike(a, b, METRICS[metric], target_accuracy=target)
    if problem and not flags.force:
        return f"not comparable: {problem}"
    return settled(a, b, metric=metric, min_effect=flags.min_effect, target_accuracy=target)


def _sides(flags: _Flags, train_flags: tuple[str, ...], work_dir: Path) -> tuple[Side, Side]:
    if flags.revisions is None:
        from mnistbench.launch.interleave import Side
        from mnistbench.launch.replay import arguments_of

        arguments = [arguments_of(path, work_dir=work_dir) for path in flags.paths]
        return Side(name="A", arguments=arguments[0]), Side(name="B", arguments=arguments[1])
    from mnistbench.launch.revisions import side_at

    a, b = flags.revisions
    at = partial(side_at, arguments=train_flags, repository=Path.cwd(), tell=say)
    return at(a, name="A"), at(b, name="B")


if __name__ == "__main__":
    sys.exit(main())
