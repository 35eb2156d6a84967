"""Two files of pytest-benchmark against each other: the durations of benchmarks of one name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mnistbench.analysis.comparability import mostly_unstable
from mnistbench.analysis.comparison import judged
from mnistbench.analysis.metrics import METRICS, Level
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.analysis.rows import Comparison, Row
from mnistbench.analysis.samples import A_AND_B, MOST_TESTED, Sample, evenly_spaced, ratio_of_levels
from mnistbench.schema.benchmark_json import Benchmark, BenchmarkFile
from mnistbench.schema.errors import InputError
from mnistbench.stats.readings import Reading

_HARDWARE = ("device", "threads", "machine")
_CONDITIONS = ("dataset", "global_batch_size", "num_steps", "target_accuracy")
_APART = "not run in turn, and no probe tells how the machine changed"


def compare_benchmarks(a: BenchmarkFile, b: BenchmarkFile, *, force: bool = False) -> Comparison:
    """Compare the benchmarks that `a` and `b` both have, by the durations of their rounds.

    Without `force` there is no verdict between sessions on different hardware, nor between
    benchmarks that both say in `extra_info` what they ran on, such as data, where that differs,
    nor where most rounds of a side were ``unstable_runs``.

    Raises:
        InputError: they have no benchmark in common.
    """
    others = {benchmark.fullname: benchmark for benchmark in b.benchmarks}
    both = [(one, others[one.fullname]) for one in a.benchmarks if one.fullname in others]
    if not both:
        raise InputError("compare: no benchmark is in both A and B; run the same suite")
    machine = _differing(_machine(a), _machine(b))
    notes, rows = _notes(a, b, machine), []
    for one, other in both:
        data = _different_data(one, other)
        row = _row(one, other)
        rows.append(row if force else _refused(row, one, other, differing=(*machine, *data)))
        notes += [f"{one.fullname}: A and B differ in {_list(data)}"] if data else []
    missing = () if force else sorted({x.fullname for x in a.benchmarks} - set(others))
    lacking = {A_AND_B: tuple(missing)} if missing else {}
    return judged(
        Comparison(rows=tuple(rows), notes=tuple(notes), counted="rounds", missing=lacking)
    )


def _refused(row: Row, a: Benchmark, b: Benchmark, *, differing: Collection[str]) -> Row:
    """`row` with all that forbids a verdict on it, and what forbids to speak of B alone."""
    of_b = _unstable("B", b)
    why = [f"different {', '.join(differing)}" if differing else None, _unstable("A", a), of_b]
    refusal = "; ".join(filter(None, why)) or None
    return replace(row, refusal=refusal, b_problem=of_b, reason=refusal or row.reason)


def _unstable(side: str, benchmark: Benchmark) -> str | None:
    unstable, rounds = benchmark.extra_info.get("unstable_runs"), benchmark.stats.rounds
    if not isinstance(unstable, int):
        return None
    return mostly_unstable(side, unstable=unstable, of=rounds, what="rounds")


def _row(a: Benchmark, b: Benchmark) -> Row:
    level_a, level_b = map(_level, (a, b))
    sample, reason = None, None
    if a.stats.data and b.stats.data:
        readings = _readings(a.stats.data), _readings(b.stats.data)
        sample = Sample(METRICS["duration_s"], *readings, paired=False)
    else:
        reason = "no single rounds stored; save with --benchmark-save-data"
    return Row(
        name=a.fullname,
        metric="duration_s",
        definition=METRICS["duration_s"],
        a=level_a,
        b=level_b,
        sample=sample,
        caveat=_APART,
        reason=reason,
        change=ratio_of_levels(level_a, level_b),
    )


def _level(benchmark: Benchmark) -> Level:
    rounds = benchmark.stats.rounds
    return Level(benchmark.stats.median, None, None, rounds, rounds)


def _readings(durations_s: Sequence[float]) -> tuple[Reading, ...]:
    return tuple(map(Reading.of, evenly_spaced(durations_s)))


def _machine(file: BenchmarkFile) -> dict[str, Any]:
    info, cpu = file.machine_info, file.machine_info.get("cpu")
    known = cpu if isinstance(cpu, dict) else {}
    brand = {"cpu": known.get("brand_raw"), "cores": known.get("count")}
    return brand | {name: info.get(name) for name in _HARDWARE}


def _different_data(a: Benchmark, b: Benchmark) -> dict[str, str]:
    """What both say that they ran on, where that differs."""
    said = [x for x in _CONDITIONS if None not in (a.extra_info.get(x), b.extra_info.get(x))]
    return _differing(*({name: x.extra_info[name] for name in said} for x in (a, b)))


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    def text(value: Any) -> str:
        return NOT_MEASURED if value is None else str(value)

    return {name: f"{text(a[name])} against {text(b[name])}" for name in a if a[name] != b[name]}


def _list(differing: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({values})" for name, values in differing.items())


def _notes(a: BenchmarkFile, b: BenchmarkFile, machine: Mapping[str, str]) -> list[str]:
    notes = ["rounds of one session are compared: they do not tell how much sessions differ"]
    notes += [f"A and B differ in {_list(machine)}"] if machine else []
    longest = max(len(x.stats.data or ()) for file in (a, b) for x in file.benchmarks)
    if longest > MOST_TESTED:
        notes.append(f"of more than {MOST_TESTED:,} rounds as many, evenly spaced, are tested")
    names_a, names_b = ({x.fullname for x in file.benchmarks} for file in (a, b))
    for side, alone in (("A", names_a - names_b), ("B", names_b - names_a)):
        notes += [f"only in {side}: {', '.join(sorted(alone))}"] if alone else []
    return notes
