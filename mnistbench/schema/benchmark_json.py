"""What pytest-benchmark leaves: ``--benchmark-json`` and ``--benchmark-save`` files, version 5.

Only what is compared is declared; all else in the file is ignored.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mnistbench.schema.errors import InputError
from mnistbench.schema.strict_json import read_json, shaped
from mnistbench.schema.strict_model import StrictModel

_MAX_BYTES = 64 * 2**20

_Seconds = Annotated[float, Field(ge=0)]


class BenchmarkStats(StrictModel):
    """Durations of one call [s]: their median, and each round's where these were kept."""

    median: _Seconds
    rounds: int = Field(ge=1)
    data: list[_Seconds] | None = None


class Benchmark(StrictModel):
    """One benchmark; `fullname` is its file, function and parameters."""

    fullname: str
    stats: BenchmarkStats
    extra_info: dict[str, Any] = Field(default_factory=dict)


class BenchmarkFile(StrictModel):
    """All benchmarks of one session, and the machine it ran on."""

    machine_info: dict[str, Any]
    benchmarks: list[Benchmark]


def load_benchmarks(path: Path) -> BenchmarkFile | None:
    """The benchmarks in the file at `path`, or ``None`` if it is JSON of something else.

    Raises:
        InputError: not readable, above 64 MiB, nested too deeply, not strict JSON, of wrong shape,
            without a benchmark, or with one name twice.
    """
    values = read_json(path, max_bytes=_MAX_BYTES, what="a record or a benchmark file")
    if not isinstance(values, dict) or "benchmarks" not in values or "schema_version" in values:
        return None
    what = "a benchmark file"
    found = shaped(values, BenchmarkFile, path=path, what=what, unknown_keys="ignore")
    counts = Counter(benchmark.fullname for benchmark in found.benchmarks)
    if not counts:
        raise InputError(f"{path}: holds no benchmark; run pytest with --benchmark-json again")
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}: holds {reprlib.repr(name)} twice; keep one of them")
    return found
