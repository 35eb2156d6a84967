"""pytest's plug-in: the fixture `training_benchmark` and its options (docs/your-suite.md).

pytest loads it wherever this package is installed, so what takes time to import is imported when it
is used.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from mnistbench.schema.names import DatasetName

if TYPE_CHECKING:
    from mnistbench.output.suite_tables import SuiteReport
    from mnistbench.training_benchmark import TrainingBenchmark

_OPTIONS: dict[str, dict[str, Any]] = {
    "--bench-budget": {
        "choices": ("smoke", "quick", "full"),
        "default": "quick",
        "help": "How much to train. smoke: 8 steps of one seed, where a test does not say how many "
        "steps; full: what a suite keeps for records. Default: quick.",
    },
    "--bench-device": {
        "choices": ("auto", "cpu", "cuda"),
        "default": "auto",
        "help": "Where to train. Default: auto, which is the GPU if there is one.",
    },
    "--bench-dataset": {
        "choices": ("auto", *get_args(DatasetName)),
        "default": "auto",
        "help": "What a configuration that names no data trains on. Default: auto, which is MNIST "
        "if MNISTBENCH_DATA_DIR has it, else synthetic.",
    },
    "--bench-report": {
        "metavar": "DIR",
        "help": "Write the tables as Markdown and JSON, and all records, to this folder.",
    },
}
_REPORT = pytest.StashKey["SuiteReport"]()
_BESIDE = "training_benchmark does not measure beside other tests"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("mnistbench", "training benchmarks (mnistbench)")
    for flag, values in _OPTIONS.items():
        group.addoption(flag, **values)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None]:
    """Say in a line that a project has an option of the same name."""
    try:
        yield
    except (ValueError, argparse.ArgumentError) as error:
        for flag in _OPTIONS:
            if flag in str(error):
                raise pytest.UsageError(
                    f"{flag}: this project and mnistbench's plug-in both add it; rename yours, or "
                    "do without the plug-in by -p no:mnistbench"
                ) from None
        raise


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and define the fixture as pytest-benchmark is there or not."""
    device, folder = config.getoption("--bench-device"), config.getoption("--bench-report")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--bench-device cuda: no CUDA device here; use cpu")
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if folder:
        from mnistbench.schema.errors import InputError
        from mnistbench.schema.files import check_writable

        try:
            check_writable(Path(folder), name="--bench-report")
        except InputError as error:
            raise pytest.UsageError(str(error)) from None
    fixture = _Fixture() if _has_pytest_benchmark(config) else _NoFixture()
    config.pluginmanager.register(fixture, "training_benchmark")


def _has_pytest_benchmark(config: pytest.Config) -> bool:
    return hasattr(config.hook, "pytest_benchmark_update_json")


class _Fixture:
    @pytest.fixture
    def training_benchmark(
        self, benchmark: Any, request: pytest.FixtureRequest, tmp_path_factory: Any
    ) -> TrainingBenchmark:
        """Train configurations or functions, and report them to pytest-benchmark and in tables."""
        from mnistbench.training_benchmark import TrainingBenchmark

        config = request.config
        return TrainingBenchmark(
            benchmark,
            report=suite_report(config),
            folder=bench_folder(config, tmp_path_factory),
            dataset=bench_dataset(config),
            is_smoke=config.getoption("--bench-budget") == "smoke",
        )


class _NoFixture:
    @pytest.fixture
    def training_benchmark(self) -> None:
        """Say what is missing."""
        pytest.fail("training_benchmark: pip install pytest-benchmark, which is not here", False)


def suite_report(config: pytest.Config) -> SuiteReport:
    """The tables of this session, which are printed at its end."""
    from mnistbench.output.suite_tables import SuiteReport

    return config.stash.setdefault(_REPORT, SuiteReport())


def bench_dataset(config: pytest.Config) -> str:
    """The data set of ``--bench-dataset``: real MNIST where it is found, else the generated one."""
    asked = str(config.getoption("--bench-dataset"))
    if asked != "auto":
        return asked
    folder = os.environ.get("MNISTBENCH_DATA_DIR")
    return "mnist" if folder and (Path(folder) / "MNIST").is_dir() else "synthetic"


def bench_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are kept: below ``--bench-report``, or in pytest's own folder for a while."""
    asked = config.getoption("--bench-report")
    if not asked:
        return tmp_path_factory.mktemp("runs")
    folder = Path(asked).absolute() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests with the fixture the runs' clock; in a worker of pytest-xdist leave them out."""
    ours = [one for one in items if "training_benchmark" in getattr(one, "fixturenames", ())]
    if not ours or not _has_pytest_benchmark(config):
        return
    from mnistbench.training_benchmark import CLOCK

    beside = hasattr(config, "workerinput") and not config.getoption("--benchmark-disable")
    for item in ours:
        own = item.get_closest_marker("benchmark")
        told = {**(own.kwargs if own else {}), "timer": CLOCK}
        item.add_marker(pytest.mark.benchmark(**told), append=False)
        if beside:
            item.add_marker(pytest.mark.skip(_BESIDE))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None]:
    """Show the tables below pytest-benchmark's own."""
    try:
        return (yield)
    finally:
        skipped = terminalreporter.stats.get("skipped", ())
        if number := sum(_BESIDE in str(report.longrepr) for report in skipped):
            left_out = f"{number} test{'s' * (number > 1)} skipped: {_BESIDE}; run without -n"
            terminalreporter.write_line(left_out)
        if report := config.stash.get(_REPORT, None):
            _show(report, terminalreporter, config.getoption("--bench-report"))


def _show(report: SuiteReport, terminal: Any, folder: str | None) -> None:
    from mnistbench.output.tables import render_table

    for section in report.sections():
        terminal.section(section.title)
        terminal.write_line(render_table(section.table(), "table"))
        for line in section.lines():
            terminal.write_line(line)
    if folder and report.sections():
        terminal.write_line(f"\nreport: {report.write(Path(folder))}")
