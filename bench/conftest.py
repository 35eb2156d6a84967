"""Options of the suites, and the tables below pytest-benchmark's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tabulate import tabulate

from mnistbench.schema.config import RunConfig

_ROWS = pytest.StashKey[list[dict[str, str]]]()


def pytest_addoption(parser):
    parser.addoption(
        "--bench-budget",
        choices=("smoke", "quick", "full"),
        default="quick",
        help="how much to run: smoke proves that it runs, quick is minutes, full is for records",
    )


def pytest_configure(config):
    config.stash[_ROWS] = []


@pytest.fixture(scope="session")
def budget(request):
    return request.config.getoption("--bench-budget")


@pytest.fixture(scope="session")
def dataset():
    """Real MNIST where it is found, else the generated set; every table names it."""
    folder = os.environ.get("MNISTBENCH_DATA_DIR")
    return "mnist" if folder and (Path(folder) / "MNIST").is_dir() else "synthetic"


@pytest.fixture(scope="session")
def report(request):
    """Takes rows for the throughput table."""
    return request.config.stash[_ROWS].append


@pytest.fixture(scope="session")
def make_config(dataset, tmp_path_factory):
    """Makes a configuration whose runs go to a temporary folder."""

    def make(**values) -> RunConfig:
        folder = tmp_path_factory.mktemp("runs")
        return RunConfig(dataset=dataset, output_dir=str(folder), **values)

    return make


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[_ROWS]
    if rows:
        terminalreporter.section("throughput")
        terminalreporter.write_line(tabulate(rows, headers="keys", disable_numparse=True))
        terminalreporter.write_line(
            "ratios are of pairs run in turn: median, and the smallest and largest of n"
        )
