"""Throughput: model x batch x loader x loop x precision x compile, in this process and in others.

Each run trains a fixed number of steps; its own clock leaves warm-up, compiler and start-up out,
also where a real launcher starts it. The machine's speed drifts, so all chosen cells run once in
each round, and ratios to the first cell are taken within a round.
"""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
import torch

from bench.suite_format import interval_text, mark, ratio
from mnistbench.cli import config_yaml
from mnistbench.engine.run_seeds import train
from mnistbench.launch.children import run_child
from mnistbench.launch.commands import cpu_environment
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import find_records, load_record

LAUNCH_CONFIGS = Path(__file__).parents[1] / "launch_configs"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to train; `num_processes` above 0 is that of a real ``accelerate launch``."""

    model: str = "simple-cnn"
    global_batch_size: int = 64
    loader: str = "resident"
    loop: str = "stock"
    mixed_precision: str = "no"
    compile: bool = False
    num_processes: int = 0

    @property
    def name(self) -> str:
        launched = f"launched x {self.num_processes}" if self.num_processes else ""
        compiled = "compiled" if self.compile else ""
        precision = "" if self.mixed_precision == "no" else self.mixed_precision
        loop = "" if self.loop == "stock" else self.loop
        parts = (self.model, str(self.global_batch_size), self.loader, loop)
        return ", ".join(part for part in (*parts, precision, compiled, launched) if part)

    def config_values(self) -> dict[str, object]:
        return {
            "model": self.model,
            "global_batch_size": self.global_batch_size,
            "loader": self.loader,
            "loop": self.loop,
            "mixed_precision": self.mixed_precision,
            "compile": self.compile,
        }


QUICK = (
    Cell(),
    Cell(global_batch_size=512),
    Cell(loader="streaming"),
    Cell(loop="fast"),
    Cell(mixed_precision="bf16"),
    Cell(model="cnn4", global_batch_size=512),
    Cell(model="cnn4", global_batch_size=512, loop="fast"),
    Cell(model="dnn5"),
    Cell(num_processes=1),
)
CELLS = {
    "smoke": (Cell(), Cell(loader="streaming"), Cell(loop="fast")),
    "quick": QUICK,
    "full": tuple(
        dict.fromkeys(
            (
                *QUICK,
                Cell(num_processes=2),
                *(
                    Cell(
                        model=model,
                        global_batch_size=batch,
                        loader=loader,
                        loop=loop,
                        mixed_precision=precision,
                        compile=compiled,
                    )
                    for model, batch, (loader, loop), precision, compiled in itertools.product(
                        ("simple-cnn", "cnn4", "fast-cnn", "dnn5"),
                        (64, 512),
                        (("resident", "stock"), ("streaming", "stock"), ("resident", "fast")),
                        ("no", "bf16"),
                        (False, True),
                    )
                ),
            )
        )
    ),
}
SAMPLES = {"smoke": 640, "quick": 2_560, "full": 40_960}
ROUNDS = {"smoke": 1, "quick": 3, "full": 7}


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        cells = CELLS[metafunc.config.getoption("--bench-budget")]
        num_gpus = torch.cuda.device_count()
        on_cpu = metafunc.config.getoption("--bench-device") == "cpu" or not num_gpus
        possible = [cell for cell in cells if on_cpu or cell.num_processes <= num_gpus]
        metafunc.parametrize("cell", possible, ids=lambda cell: cell.name)


@pytest.fixture(scope="module")
def measured(budget, chosen, device, make_config, report):
    """Records of each chosen cell, one a round."""
    cells = chosen("cell")

    def run(cell: Cell, seed: int) -> RunRecord:
        steps = max(SAMPLES[budget] // cell.global_batch_size, 2)
        config = make_config(max_steps=steps, seed=seed, **cell.config_values())
        if cell.num_processes:
            return launched(config, cell.num_processes, device)
        if cell.compile:
            torch.compiler.reset()  # many shapes in one process would end in eager
        return train(config)[0]

    rounds = [{cell: run(cell, seed) for cell in cells} for seed in range(ROUNDS[budget])]
    for cell in cells:
        tabulate_cell(report.section("throughput"), cell, rounds, first=cells[0])
    return rounds


def launched(config: RunConfig, num_processes: int, device: torch.device) -> RunRecord:
    """The record that ``accelerate launch`` leaves for `config`."""
    file = Path(config.output_dir) / "config.yaml"
    file.write_text(config_yaml(config), encoding="utf-8")
    where = ("--num_processes", str(num_processes), "--num_machines", "1")
    environment = os.environ
    if device.type == "cpu":
        where = ("--config_file", str(LAUNCH_CONFIGS / f"cpu_{num_processes}.yaml"))
        environment = cpu_environment()
    command = [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *where),
        *("-m", "mnistbench.train", "--config", str(file), "--quiet"),
    ]
    status, said = run_child(command, environment=environment)
    assert status == 0, said
    return load_record(find_records([Path(config.output_dir)])[0])


def tabulate_cell(section, cell, rounds, *, first):
    records = [taken[cell] for taken in rounds]
    speeds = [record.throughput.samples_per_s for record in records]
    base = [taken[first].throughput.samples_per_s for taken in rounds]
    ratios = [a / b for a, b in zip(speeds, base, strict=True)]
    p50, p95 = (
        [1e3 * getattr(record.throughput, name) for record in records]
        for name in ("step_s_p50", "step_s_p95")
    )
    environment = records[0].environment
    unstable = mark(section, records)
    section.add(
        {
            "model": cell.model,
            "batch": str(cell.global_batch_size),
            "loader": cell.loader,
            "loop": cell.loop,
            "run as": environment["loop_floor"],
            "precision": environment["mixed_precision"],
            "compiled": "yes" if cell.compile else "no",
            "started by": environment["launcher"],
            "device": environment["device_type"],
            "processes × threads": f"{environment['num_processes']} × {environment['num_threads']}",
            "dataset": records[0].dataset.name,
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}") + unstable,
            "step ms p50": interval_text(p50, ratio) + unstable,
            "p95": interval_text(p95, ratio) + unstable,
            "times the first row": interval_text(ratios, ratio),
            "n": str(len(records)),
        },
        cell=cell.name,
        samples_per_s=speeds,
        step_ms_p50=p50,
        step_ms_p95=p95,
        run_ids=[record.run_id for record in records],
    )
    section.note("medians over rounds in which all rows ran in turn (95 % interval from n = 6 on)")


@pytest.mark.benchmark(group="throughput")
def bench_cell(training_benchmark, measured, cell):
    records = [taken[cell] for taken in measured]
    training_benchmark(lambda: records, tables=False)
    training_benchmark.benchmark.extra_info |= {
        "step_s_p50": median(record.throughput.step_s_p50 for record in records),
        "step_s_p95": median(record.throughput.step_s_p95 for record in records),
    }
