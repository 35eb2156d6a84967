"""The door to comparisons: is B faster or slower than A, and does it pass the gates?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from mnistbench.analysis.benchmarks import compare_benchmarks
from mnistbench.analysis.comparison import Comparison, after_looks, compare, default_metrics
from mnistbench.analysis.comparison_table import ComparisonFormat, gate_line, render_comparison
from mnistbench.analysis.differences import conditions
from mnistbench.analysis.gates import Gate, judge, parse_gate
from mnistbench.analysis.looks import settled
from mnistbench.analysis.metrics import MetricName
from mnistbench.cli import exit_on_input_error, parse, say, show
from mnistbench.schema.benchmark_json import BenchmarkFile, load_benchmarks
from mnistbench.schema.errors import InputError, Terminated
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import find_records, load_record

if TYPE_CHECKING:
    from mnistbench.launch.interleave import Side

__all__ = ["main"]

_DESCRIPTION = "Tell whether B is faster or slower than A: runs that are stored, or run in turn."


@dataclass(frozen=True, kw_only=True)
class _Flags:
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """A and B: each a record.json, a folder of records, or a JSON file of pytest-benchmark."""
    metrics: tuple[MetricName, ...] = ()
    """What to compare; none is speed, time to the target where there is one, and test accuracy."""
    target_accuracy: float | None = None
    """Accuracy that runs are timed to [fraction]; none is each run's own."""
    fail_if: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Exit 1 if "samples_per_s < -5%" (B against A), or "test_accuracy < 0.98" (B alone)."""
    force: bool = False
    """Give a verdict also where the runs or the machine are not comparable."""
    format: ComparisonFormat = "table"
    """How to print the rows."""
    interleave: bool = False
    """Run A and B, or .yaml configurations, in turn until the first metric is settled."""
    revisions: tuple[str, str] | None = None
    """Run two git revisions of this checkout in turn instead; flags of train follow a bare --."""
    max_minutes: float | None = None
    """When to end runs that are not settled [minutes]; none is 10."""
    min_effect: float | None = None
    """Settled as well once the change is surely smaller than this [fraction]; none is 0.02."""
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
        names = flags.revisions or tuple(map(str, flags.paths))
        comparison = comparison.told(f"A is {names[0]}, B is {names[1]}")
        show(render_comparison(comparison, outcomes, table_format=flags.format))
        fired = [outcome for outcome in outcomes if outcome.state == "fired"]
        for outcome in fired if flags.format != "table" else ():  # the others are read later
            say(gate_line(outcome))
        unknown = [gate_line(o) for o in outcomes if o.state == "cannot be judged"]
        if unknown:
            raise InputError("; ".join(unknown))
    return 1 if fired else 0


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
    if train_flags and not flags.revisions:
        raise InputError("flags after -- are for --revisions; A and B have their own")
    for name in ("max_minutes", "min_effect", "output_dir"):
        if getattr(flags, name) is not None and not runs:
            raise InputError(f"{name}: has no effect without --interleave or --revisions")
    if flags.target_accuracy is not None and not 0 < flags.target_accuracy <= 1:
        raise InputError(f"target_accuracy: a fraction above 0, not {flags.target_accuracy:g}")
    if flags.min_effect is not None and not 0 < flags.min_effect < 1:
        raise InputError(f"min_effect: a fraction between 0 and 1, not {flags.min_effect:g}")
    return flags, train_flags


def _stored(flags: _Flags, gates: Sequence[Gate]) -> Comparison:
    a, b = flags.paths
    if a.resolve() == b.resolve():
        raise InputError(f"A and B are the same: {a}; name two")
    benchmarks = [None if path.is_dir() else _benchmarks(path) for path in (a, b)]
    if benchmarks[0] and benchmarks[1]:
        _require_durations(flags, gates)
        return compare_benchmarks(benchmarks[0], benchmarks[1], force=flags.force)
    if benchmarks[0] or benchmarks[1]:
        raise InputError("compare: a benchmark file compares with another only, not with records")
    found = [find_records([path]) for path in (a, b)]
    if shared := {path.resolve() for path in found[0]} & {path.resolve() for path in found[1]}:
        raise InputError(f"A and B are not apart: both hold {sorted(shared)[0]}")
    of_a, of_b = ([load_record(path) for path in paths] for paths in found)
    return _compare(of_a, of_b, flags, gates)


def _benchmarks(path: Path) -> BenchmarkFile | None:
    if not path.exists():
        raise InputError(f"{path}: does not exist")
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


def _compare(
    a: Sequence[RunRecord], b: Sequence[RunRecord], flags: _Flags, gates: Sequence[Gate]
) -> Comparison:
    target = flags.target_accuracy
    names = flags.metrics or default_metrics(a, b, target_accuracy=target)
    wanted = (*names, *(gate.metric for gate in gates))
    return compare(a, b, metrics=wanted, target_accuracy=target, force=flags.force)


def _run_in_turn(flags: _Flags, train_flags: tuple[str, ...], gates: Sequence[Gate]) -> Comparison:
    from mnistbench.launch.interleave import run_interleaved
    from mnistbench.launch.runs import RunFailedError

    metric: MetricName = flags.metrics[0] if flags.metrics else "samples_per_s"
    if "duration_s" in {*flags.metrics, *(gate.metric for gate in gates)}:
        raise InputError("metrics: duration_s is what benchmark files hold; runs have wall_s")
    minutes = 10.0 if flags.max_minutes is None else flags.max_minutes
    began = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    output_dir = flags.output_dir or Path("runs/compare") / began
    look = partial(_look, flags=flags, metric=metric)
    try:
        a, b = run_interleaved(
            *_sides(flags, train_flags, output_dir),
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
    comparison = after_looks(_compare(a, b, flags, gates), metric)
    return comparison.told(look(a, b) or f"not settled within {minutes:g} min")


def _look(
    a: Sequence[RunRecord], b: Sequence[RunRecord], *, flags: _Flags, metric: MetricName
) -> str | None:
    """Why to end the runs, if so."""
    target = flags.target_accuracy
    differing = conditions(a, b, target_accuracy=target)
    if differing and not flags.force:
        return f"not comparable: different {', '.join(differing)}"
    effect = flags.min_effect or 0.02
    return settled(a, b, metric=metric, min_effect=effect, target_accuracy=target)


def _sides(flags: _Flags, train_flags: tuple[str, ...], output_dir: Path) -> tuple[Side, Side]:
    if flags.revisions is None:
        from mnistbench.launch.interleave import Side
        from mnistbench.launch.replay import arguments_of

        arguments = [arguments_of(path, work_dir=output_dir) for path in flags.paths]
        return Side(name="A", arguments=arguments[0]), Side(name="B", arguments=arguments[1])
    from mnistbench.launch.revisions import side_at

    a, b = flags.revisions
    at = partial(side_at, arguments=train_flags, repository=Path.cwd(), tell=say)
    return at(a, name="A"), at(b, name="B")


if __name__ == "__main__":
    sys.exit(main())
