"""The suites as their users run them: options, strict JSON, report files, saved comparisons."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[1]


def refuse(name):
    raise AssertionError(f"{name} is not strict JSON")


def run_suites(*arguments):
    command = [sys.executable, "-m", "pytest", "--benchmark-only", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--bench-dataset", "synthetic", "--bench-budget", "smoke", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of two suites that leaves every file it can."""
    folder = tmp_path_factory.mktemp("suites")
    finished = run_suites(
        "bench/bench_data_path.py",
        "bench/bench_convergence.py",
        *("-k", "resident or (cnn4 and (mse or kl))"),
        *("--bench-device", "cpu"),
        *("--bench-report", str(folder / "report")),
        *("--benchmark-json", str(folder / "benchmark.json")),
        *("--benchmark-storage", f"file://{folder / 'saved'}", "--benchmark-save", "first"),
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished, folder


def test_tables_follow_pytest_benchmarks_own(done):
    text = done[0].stdout
    own = text.index("Name (time in")
    for title in ("convergence per loss", "data path", "machine"):
        assert text.index(f" {title} ", own) > own
    assert "synthetic" in text


def test_benchmark_json_is_strict_and_names_the_machine(done):
    values = json.loads((done[1] / "benchmark.json").read_text(), parse_constant=refuse)
    info = values["machine_info"]
    assert {"torch", "device", "driver", "threads", "governor", "load"} <= set(info)
    losses = [b for b in values["benchmarks"] if b["group"] == "convergence per loss"]
    assert {b["extra_info"]["loss"] for b in losses} == {"mse", "kl"}
    for benchmark in losses:
        extra = benchmark["extra_info"]
        assert extra["model"] == "cnn4"
        assert extra["samples_per_s"] > 0
        assert 0 < extra["test_accuracy"] < 1
        assert extra["time_to_accuracy_s"] is None  # eight steps do not get to 97 %
        assert len(benchmark["stats"]["data"]) == benchmark["stats"]["rounds"]


def test_durations_are_the_runs_train_clocks(done):
    values = json.loads((done[1] / "benchmark.json").read_text())
    for benchmark in values["benchmarks"]:
        if benchmark["group"] != "convergence per loss":
            continue
        for run_id, round_s in zip(
            benchmark["extra_info"]["run_ids"], benchmark["stats"]["data"], strict=True
        ):
            (path,) = (done[1] / "report" / "runs").rglob(f"{run_id}/record.json")
            record = json.loads(path.read_text())
            assert Path(record["config"]["output_dir"]) == path.parents[1]
            assert round_s == pytest.approx(record["phases_s"]["train"])


def test_report_has_tables_figures_and_a_picture(done):
    folder = done[1] / "report"
    text = (folder / "report.md").read_text()
    assert "## convergence per loss" in text
    assert "| squared-hinge" not in text
    assert (folder / "convergence-cnn4.png").read_bytes().startswith(b"\x89PNG")
    values = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert {row["loss"] for row in values["convergence per loss"]} == {"mse", "kl"}


def test_saved_runs_compare_as_pytest_benchmarks_users_expect(done):
    again = run_suites(
        "bench/bench_data_path.py",
        *("-k", "resident", "--bench-device", "cpu"),
        *("--benchmark-storage", f"file://{done[1] / 'saved'}", "--benchmark-compare"),
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "(NOW)" in again.stdout
    assert "(0001_fi" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--bench-budget", "huge"), "invalid choice: 'huge'"),
        (("--bench-dataset", "cifar"), "invalid choice: 'cifar'"),
        (("--bench-report", "pyproject.toml"), "is not a folder; choose another"),
    ],
)
def test_wrong_options_are_refused_before_any_work(arguments, complaint):
    refused = run_suites("bench/bench_data_path.py", *arguments)
    assert refused.returncode == 4
    assert complaint in refused.stderr
