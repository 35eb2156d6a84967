"""Options and fixtures of the suites, and what they add to pytest-benchmark's output."""

from __future__ import annotations

import functools
import gc
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from mnistbench.analysis.machine_drift import DRIFT_BOUND, drift
from mnistbench.engine.run_seeds import train
from mnistbench.output.suite_tables import SuiteReport
from mnistbench.pytest_plugin import bench_dataset, bench_folder, suite_report
from mnistbench.recorder.environment import describe_environment, set_threads
from mnistbench.recorder.machine_probe import probe_machine
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import Canary, RunRecord
from mnistbench.schema.store import load_records
from mnistbench.workload import datasets
from mnistbench.workload.generated import generate_digits

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def pytest_addoption(parser):
    parser.addoption(
        "--bench-from",
        metavar="DIR",
        help="take runs from the records in DIR where they are there, and train only the others",
    )


def pytest_configure(config):
    config.option.randomly_reorganize = False  # tables have an order, also beside pytest-randomly


def pytest_collection_finish():
    """Leave what was imported out of garbage collections, of which each run makes one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def budget(request):
    return request.config.getoption("--bench-budget")


@pytest.fixture(scope="session")
def dataset(request):
    """Every table names it."""
    return bench_dataset(request.config)


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
    return suite_report(request.config)


@pytest.fixture(scope="session")
def make_config(request, dataset, budget, tmp_path_factory) -> Callable[..., RunConfig]:
    """Makes a configuration with a folder of its own for its runs, below the report's if any."""
    sizes = {"val_size": 500} if budget == "smoke" else {}
    runs = bench_folder(request.config, tmp_path_factory)

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
    section = report.section("machine", is_last=True)
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
            if written.is_last or written.title not in others:
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
