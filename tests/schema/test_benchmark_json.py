"""Files of pytest-benchmark: read strictly, and only what is compared."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.benchmark_json import load_benchmarks
from mnistbench.schema.errors import InputError

STATS = {"median": 0.5, "rounds": 2, "data": [0.4, 0.6], "iterations": 1, "ops": 2.0}
FILE = {
    "machine_info": {"node": "here", "cpu": {"brand_raw": "A CPU"}},
    "commit_info": {"id": "abc"},
    "benchmarks": [{"fullname": "bench_a.py::bench_one", "stats": STATS, "extra_info": {}}],
    "datetime": "2026-01-01T00:00:00+00:00",
    "version": "5.3.1",
}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "benchmarks.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return path

    return write


@pytest.mark.processes
def test_it_reads_what_pytest_benchmark_writes(tmp_path):
    suite = tmp_path / "test_suite.py"
    suite.write_text(
        "def test_sum(benchmark):\n"
        "    benchmark.extra_info['loss'] = 'mse'\n"
        "    benchmark.pedantic(sum, args=(range(10),), rounds=3, iterations=2)\n"
    )
    flags = ["--benchmark-json=all.json", "--benchmark-save=medians", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(suite), *flags],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    found = load_benchmarks(tmp_path / "all.json")
    (benchmark,) = found.benchmarks
    assert benchmark.fullname.endswith("test_suite.py::test_sum")
    assert benchmark.extra_info == {"loss": "mse"}
    assert len(benchmark.stats.data) == benchmark.stats.rounds == 3
    assert sorted(benchmark.stats.data)[1] == benchmark.stats.median
    assert found.machine_info["cpu"]["count"] >= 1
    (medians,) = (tmp_path / ".benchmarks").rglob("*.json")
    assert load_benchmarks(medians).benchmarks[0].stats.data is None


def test_other_json_is_none_of_these(write):
    assert load_benchmarks(write({"schema_version": 1})) is None
    assert load_benchmarks(write({"schema_version": 1, "benchmarks": []})) is None
    assert load_benchmarks(write([])) is None


def changed(**stats):
    return FILE | {"benchmarks": [{"fullname": "a", "stats": STATS | stats}]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(FILE)[:-40], "not a record or a benchmark file"),
        ("", "not a record or a benchmark file"),
        ("[" * 1_000_000, "nested too deeply"),
        (json.dumps(FILE).replace("0.4", "NaN"), "NaN is not strict JSON"),
        (json.dumps(FILE).replace("0.4", "1e999"), "'1e999' is too large a number"),
        (FILE | {"benchmarks": []}, "holds no benchmark"),
        (FILE | {"benchmarks": FILE["benchmarks"] * 2}, "'bench_a.py::bench_one' twice"),
        (FILE | {"benchmarks": [{"stats": STATS}]}, "benchmarks.0.fullname: Field required"),
        ({"benchmarks": FILE["benchmarks"]}, "machine_info: Field required"),
        (changed(median=-1.0), "benchmarks.0.stats.median"),
        (changed(median="fast"), "benchmarks.0.stats.median"),
        (changed(rounds=0), "benchmarks.0.stats.rounds"),
    ],
)
def test_a_broken_file_is_one_line(write, content, says):
    with pytest.raises(InputError) as error:
        load_benchmarks(write(content))
    assert says in str(error.value)
    assert "\n" not in str(error.value).strip()


def test_a_file_too_large_is_not_read(write, monkeypatch):
    monkeypatch.setattr("mnistbench.schema.benchmark_json._MAX_BYTES", 10)
    with pytest.raises(InputError, match="too large"):
        load_benchmarks(write(FILE))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["benchmarks", "machine_info", "stats", "fullname"]), inner
            )
        ),
    )
)
def test_any_json_is_read_or_refused_in_words(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "file.json"
    path.write_text(json.dumps(value))
    said = str(path)
    try:
        load_benchmarks(path)
    except InputError as error:
        said = str(error)
    assert said.startswith(str(path))
