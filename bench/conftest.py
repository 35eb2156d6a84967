"""Options and fixtures of the suites, and what they add to pytest-benchmark's output."""

from __future__ import annotations

import functools
import gc
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
import torch

from bench.suite_report import MACHINE, SuiteReport
from mnistbench.analysis.stability import DRIFT_BOUND, drift
from mnistbench.engine.run_seeds import train
from mnistbench.output.tables import render_table
from mnistbench.recorder.environment import describe_environment, set_threads
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.names import DatasetName
from mnistbench.schema.record import Canary, RunRecord
from mnistbench.schema.store import load_records
from mnistbench.workload import datasets
from mnistbench.workload.generated import generate_digits

_REPORT = pytest.StashKey[SuiteReport]()
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def pytest_addoption(parser):
    parser.addoption(
        "--bench-budget",
        choices=("smoke", "quick", "full"),
        default="quick",
        help="how much to run: smoke proves that it runs, quick is minutes, full is for records",
    )
    parser.addoption(
        "--bench-device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to run; auto is the GPU where there is one",
    )
    parser.addoption(
        "--bench-dataset",
        choices=("auto", *get_args(DatasetName)),
        default="auto",
        help="what to train on; auto is MNIST where MNISTBENCH_DATA_DIR has it, else generated",
    )
    parser.addoption(
        "--bench-report",
        metavar="DIR",
        help="write the tables as Markdown and JSON, pictures of the curves and all records here",
    )
    parser.addoption(
        "--bench-from",
        metavar="DIR",
        help="take runs from the records in DIR where they are there, and train only the others",
    )


def pytest_configure(config):
    config.option.randomly_reorganize = False  # tables have an order, also beside pytest-randomly
    config.stash[_REPORT] = SuiteReport()
    device = config.getoption("--bench-device")
    if device == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--bench-device cuda: no CUDA device here; use cpu")
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    folder = config.getoption("--bench-report")
    if folder:
        try:
            check_writable(Path(folder), name="--bench-report")
        except InputError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_collection_finish():
    """Leave what was imported out of garbage collections, of which each run makes one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def budget(request):
    return request.config.getoption("--bench-budget")


@pytest.fixture(scope="session")
def dataset(request):
    """Real MNIST where it is found, else the generated set; every table names it."""
    asked = request.config.getoption("--bench-dataset")
    if asked != "auto":
        return asked
    folder = os.environ.get("MNISTBENCH_DATA_DIR")
    return "mnist" if folder and (Path(folder) / "MNIST").is_dir() else "synthetic"


@pytest.fixture(scope="session")
def device(request):
    asked = request.config.getoption("--bench-device")
    cuda = asked != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


@pytest.fixture(scope="session", autouse=True)
def _all_threads():
    """The threads that runs use, also for what is measured before the first of them."""
    set_threads(None)


@pytest.fixture(scope="session", autouse=True)
def _digits_are_drawn_once():
    """The generated set costs a second, and no suite measures that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "generate_digits", functools.cache(generate_digits))
        yield


@pytest.fixture(scope="session")
def report(request) -> SuiteReport:
    return request.config.stash[_REPORT]


@pytest.fixture(scope="session")
def make_config(request, dataset, budget, tmp_path_factory) -> Callable[..., RunConfig]:
    """Makes a configuration with a folder of its own for its runs, below the report's if any."""
    sizes = {"val_size": 500} if budget == "smoke" else {}
    asked = request.config.getoption("--bench-report")
    runs = Path(asked) / "runs" if asked else tmp_path_factory.mktemp("runs")
    runs.mkdir(parents=True, exist_ok=True)

    def make(**values: Any) -> RunConfig:
        folder = tempfile.mkdtemp(prefix="runs-", dir=runs)
        return RunConfig(**{"dataset": dataset, "output_dir": folder} | sizes | values)

    return make


def _unplaced(config: RunConfig) -> RunConfig:
    """`config` wherever its results go."""
    return config.model_copy(update={"output_dir": "-"})


@pytest.fixture(scope="session")
def train_in_turn(request) -> Callable[..., dict[Any, list[RunRecord]]]:
    """Trains configurations over seeds, each seed of all of them before the next seed.

    A machine that drifts is so fair to all. What a suite trained already, or what is in the folder
    of ``--bench-from``, is not run again.
    """
    folder = request.config.getoption("--bench-from")
    stored = load_records([Path(folder)]).records if folder else ()
    known = {_unplaced(RunConfig(**record.config)): record for record in stored}

    def train_one(config: RunConfig, seed: int) -> RunRecord:
        one = config.model_copy(update={"seed": seed})
        key = _unplaced(one)
        if key not in known:
            known[key] = train(one)[0]
        return known[key]

    def run(configs: Mapping[Any, RunConfig], *, num_seeds: int) -> dict[Any, list[RunRecord]]:
        records: dict[Any, list[RunRecord]] = {name: [] for name in configs}
        for seed in range(num_seeds):
            for name, config in configs.items():
                records[name].append(train_one(config, seed))
        return records

    return run


@pytest.fixture(scope="module")
def chosen(request) -> Callable[..., list[Any]]:
    """The values of parameters that are about to be benchmarked in this suite."""

    def values(*parameters: str) -> list[Any]:
        found = [
            tuple(item.callspec.params[name] for name in parameters)
            for item in request.session.items
            if item.path == request.path and hasattr(item, "callspec")
        ]
        distinct = list(dict.fromkeys(found))
        return distinct if len(parameters) > 1 else [value for (value,) in distinct]

    return values


@pytest.fixture(scope="module", autouse=True)
def watched_machine(request, report, device):
    """Reads the host canary before and after each suite."""
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    others = [section.title for section in report.sections()]
    if request.config.getoption("--bench-from"):
        yield  # runs of another day
        return
    before = probe_machine(device, synchronize=wait)
    yield
    canary = Canary(before=before, after=probe_machine(device, synchronize=wait))
    moved = drift(canary)
    section = report.section(MACHINE)
    suite = request.path.stem.removeprefix("bench_")
    section.add(
        {
            "suite": suite,
            "matrix product GFLOP/s": _before_after(canary, "matmul_flops_per_s"),
            "copy GB/s": _before_after(canary, "copy_bytes_per_s"),
            "drift": f"{100 * moved:.0f} %" + (" †" if moved > DRIFT_BOUND else ""),
        },
        suite=suite,
        canary=canary.model_dump(),
        drift=moved,
        unstable=moved > DRIFT_BOUND,
    )
    if moved > DRIFT_BOUND:
        for written in report.sections():
            if written.title == MACHINE or written.title not in others:
                written.note(
                    f"† the machine's own speed moved by {100 * moved:.0f} % during suite {suite}: "
                    "compare no times across its rows"
                )


def _before_after(canary: Canary, name: str) -> str:
    before, after = getattr(canary.before, name), getattr(canary.after, name)
    return f"{before / 1e9:.1f}, then {after / 1e9:.1f}"


def pytest_benchmark_update_machine_info(config, machine_info):
    cuda = config.getoption("--bench-device") != "cpu" and torch.cuda.is_available()
    environment = describe_environment(torch.device("cuda" if cuda else "cpu"))
    machine_info["torch"] = environment["versions"]["torch"]
    machine_info["device"] = environment["device_name"]
    machine_info["driver"] = environment["driver"]
    machine_info["threads"] = environment["num_threads"]
    machine_info["governor"] = _GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None
    machine_info["load"] = psutil.getloadavg()[0]


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_compare_machine_info(machine_info, compared_benchmark):
    """Load and clock always differ; only another machine is worth pytest-benchmark's warning."""
    before = compared_benchmark["machine_info"]
    if "load" in before:
        before["load"] = machine_info["load"]
    for name in ("hz_actual", "hz_actual_friendly"):
        if name in before.get("cpu", {}) and name in machine_info["cpu"]:
            before["cpu"][name] = machine_info["cpu"][name]


def pytest_benchmark_update_json(output_json):
    """pytest-benchmark would write NaN and Infinity, which no strict reader takes."""
    output_json |= _strict(output_json)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter, config):
    result = yield  # pytest-benchmark's own tables stand above ours
    report = config.stash[_REPORT]
    for section in report.sections():
        terminalreporter.section(section.title)
        terminalreporter.write_line(render_table(section.rows, "table"))
        for note in section.notes:
            terminalreporter.write_line(note)
    folder = config.getoption("--bench-report")
    if folder and report.sections():
        report.write(Path(folder))
        terminalreporter.write_line(f"\nreport: {Path(folder) / 'report.md'}")
    return result
