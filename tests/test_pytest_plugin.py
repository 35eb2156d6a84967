"""The plug-in of pytest in projects of users' own, as they run it."""

import json
import subprocess
import sys

import pytest

import mnistbench.engine.run_seeds  # noqa: F401 - torch is imported once in a process
from mnistbench.schema.store import find_records, load_record
from tests.documented import ROOT, fences

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.processes  # pytest-benchmark asks git

HEAD = """
from functools import partial
import pytest
import mnistbench
from mnistbench import RunConfig
from tests.foreign_records import foreign_record
from tests.made_records import make_record

def test_other(): pass
"""


@pytest.fixture
def run(pytester):
    """Runs a suite in an empty project, in which a warning is an error; gives what it said."""

    def run_suite(text, *arguments):
        pytester.makepyfile(HEAD + text)
        return pytester.runpytest_inprocess(
            *("-p", "no:randomly", "--strict-markers", "-W", "error", *arguments)
        )

    return run_suite


MADE = """
@pytest.mark.benchmark(group="mine")
@pytest.mark.parametrize("lr", [0.1])
def test_made(training_benchmark, lr):
    runs = training_benchmark(lambda seed: make_record(seed, num_steps=30), num_seeds=3)
    assert [run.seed for run in runs] == [0, 1, 2]

def test_several(training_benchmark):
    seeds = []
    def lm(seed):
        seeds.append(seed)
        return [foreign_record(seed)]
    runs = training_benchmark({"lm": lm, "f1": lambda: foreign_record(metric="f1")}, num_seeds=2)
    assert seeds == [0, 1]
    assert {name: len(found) for name, found in runs.items()} == {"lm": 2, "f1": 2}

def test_rates(training_benchmark):
    def loop(rate, seed):  # what is imported by then differs
        versions = {"versions": {"torch": str(seed)}}
        return foreign_record(seed, config={"lr": rate}, environment=versions)
    runs = training_benchmark({rate: partial(loop, rate) for rate in (0.1, 0.2)}, num_seeds=2)
    assert [len(its) for its in runs.values()] == [2, 2]
"""


def test_runs_are_rounds_on_their_own_clocks_and_rows_of_three_tables(run, pytester):
    done = run(MADE, "--benchmark-json", "out.json")
    done.assert_outcomes(passed=4)
    benchmarks = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    told = {one["name"]: one for one in benchmarks}
    assert list(told) == [
        *("test_made[0.1]", "test_several[lm]", "test_several[f1]"),
        *("test_rates[0.1]", "test_rates[0.2]"),
    ]
    assert told["test_made[0.1]"]["group"] == "mine"
    assert told["test_made[0.1]"]["stats"]["data"] == [6.0, 6.0, 6.0]
    assert told["test_several[lm]"]["stats"]["data"] == pytest.approx([6.0, 6.1])
    assert told["test_several[lm]"]["fullname"].endswith("py::test_several[lm]")
    extra = told["test_several[lm]"]["extra_info"]
    assert (extra["target"], extra["metrics"]) == ("perplexity ≤ 20", {"perplexity": 18.0})
    assert told["test_made[0.1]"]["extra_info"]["samples_per_s"] == 1010
    done.stdout.fnmatch_lines(
        [
            *("*benchmark 'mine': 1 tests*", "=* throughput =*"),
            *("test_made?0.1? *mnist*1,010 ± *", "test_several?lm? *34 %*160 ± * 2"),
            *("=* time to target =*", "test_several?lm? *perplexity ≤ 20*2 of 2*"),
            *("=* convergence =*", "test_several?f1? *val f1*"),
        ]
    )


def test_a_configuration_trains_as_the_options_say_where_it_leaves_that_open(run, pytester):
    done = run(
        """
def test_ours(training_benchmark):
    training_benchmark(RunConfig(model="linear", val_size=100, synthetic_train_size=400), 3)
""",
        *("--bench-budget=smoke", "--bench-report=told", "--bench-dataset=auto"),
    )
    done.assert_outcomes(passed=2)
    (path,) = find_records([pytester.path / "told"])  # smoke is one seed
    record = load_record(path)
    assert (record.num_steps, record.config["dataset"]) == (8, "synthetic")
    assert "test_ours" in (pytester.path / "told/report.md").read_text()
    assert json.loads((pytester.path / "told/report.json").read_text())["throughput"]


def test_a_recorded_loop_is_told_seed_and_folder(run):
    done = run(
        """
def loop(seed):
    with mnistbench.record("loop", target={"score": 1}, output_dir="elsewhere") as run:
        assert run.seed == seed
        for _ in run.steps([None] * 3, num_samples=4):
            pass
        run.evaluated(score=seed)

def test_loop(training_benchmark):
    runs = training_benchmark(loop, num_seeds=2)
    assert [run.metrics["score"] for run in runs] == [0, 1]
"""
    )
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["test_loop *score ≥ 1*1 of 2*"])


WRONG = {
    "RunConfig": "takes a RunConfig(…) or a function that trains, * not the class RunConfig",
    "'simple-cnn'": "takes a RunConfig(…) or a function that trains, * not str",
    "{}": "there is nothing to train; give a RunConfig or a function",
    "RunConfig(), 0": "num_seeds: should be 1 or more runs, not 0",
    "RunConfig(model='nets.py:Net')": "model: there is no file nets.py",
    "lambda: 3": "<lambda> left no record; train inside *, or return records, not int",
    "lambda lr, seed=1: 3": "<lambda>: missing a required argument: 'lr'; it is given seed*",
    "lambda seed: foreign_record(seed, config={'stamp': seed}), 2": (
        "records of one function differ in stamp; give each configuration a function*"
    ),
    "lambda: [foreign_record(name=name) for name in 'ab']": "records of * are of a, b; *",
    "lambda seed: make_record(seed, status='diverged', error='nan at 3'), 2": (
        "of 2 runs 2 diverged: run-simple-cnn-0: nan at 3"
    ),
    "lambda: make_record()); training_benchmark(1": "is called once a test; *",
}
"""What is given -> what is said."""


def test_what_is_wrong_fails_the_test_in_a_line(run):
    calls = enumerate(WRONG)
    done = run(
        "".join(f"def test_{i}(training_benchmark): training_benchmark({c})\n" for i, c in calls)
    )
    done.assert_outcomes(passed=1, failed=len(WRONG))
    done.stdout.fnmatch_lines([f"training_benchmark: {line}" for line in WRONG.values()])
    assert "Error" not in done.stdout.str()


def test_runs_may_diverge_and_what_a_function_raises_is_shown(run):
    done = run(
        """
def test_diverged(training_benchmark):
    training_benchmark(lambda: make_record(status="diverged"), may_diverge=True)
def test_raises(training_benchmark):
    training_benchmark(lambda: 1 / 0)
def test_own_tables(training_benchmark):
    training_benchmark(lambda: make_record(), tables=False)
"""
    )
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(["E *ZeroDivisionError*", "test_diverged * diverged"])
    assert done.stdout.str().count("test_own_tables") == 1  # by pytest-benchmark alone


COUNTED = """
def test_counted(training_benchmark):
    assert len(training_benchmark(lambda seed: make_record(seed), num_seeds=3)) == 1
"""


def test_the_suite_of_the_page_runs(run):
    (fence,) = (f for f in fences(ROOT / "docs/your-suite.md") if f.language == "python")
    run("\n".join(fence.lines), "-k", "my_loop").assert_outcomes(passed=1, deselected=2)


@pytest.mark.parametrize(
    ("arguments", "outcomes"),
    [
        (["--benchmark-disable"], {"passed": 2}),
        (["--bench-budget=smoke", "--benchmark-only"], {"passed": 1, "skipped": 1}),
        (["--benchmark-skip"], {"passed": 1, "skipped": 1}),
        (["-n1"], {"passed": 1, "skipped": 1}),
        (["-p", "no:benchmark"], {"passed": 1, "errors": 1}),
        (["-p", "no:mnistbench"], {"passed": 1, "errors": 1}),
    ],
)
def test_pytests_own_options_hold(run, arguments, outcomes):
    done = run(COUNTED, *arguments)
    done.assert_outcomes(**outcomes)
    assert ("= throughput =" in done.stdout.str()) == ("--benchmark-only" in arguments)
    said = {
        "-n1": "1 test skipped: training_benchmark does not measure beside other tests; *",
        "no:benchmark": "training_benchmark: pip install pytest-benchmark*",
        "no:mnistbench": "*fixture 'training_benchmark' not found",
    }
    done.stdout.fnmatch_lines([said[a] for a in arguments if a in said])


def test_an_option_of_the_projects_own_is_named(run, pytester):
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--bench-budget')")
    done = run(COUNTED)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: --bench-budget: this project and mnistbench*"])
    run(COUNTED, "-p", "no:mnistbench", "-k", "other").assert_outcomes(passed=1, deselected=1)


def test_a_regression_of_another_run_is_told_below_our_tables_too(run):
    run(MADE, "--benchmark-autosave")
    slower = MADE.replace("num_steps=30", "phases_s={'train': 9.0}")
    done = run(slower, "--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert done.ret != 0
    done.stdout.fnmatch_lines(["=* throughput =*"])


def test_it_costs_nothing_where_it_is_not_used(pytester):
    pytester.makepyfile("def test_other(): pass")
    code = (
        "import sys, pytest; pytest.main(['-q', '-p', 'no:randomly']); "
        "print(sorted({'torch', 'pydantic', 'mnistbench.schema.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "1 passed" in done.stdout
