"""The link: what two machines reach as the cable between them gets slower.

Opt-in, for it makes network namespaces and so needs root: MNISTBENCH_NETWORK_TESTS=1. Each machine
is a namespace of this one, with one process of one thread; rounds take all rows in turn. Delays are
added where the kernel has ``netem``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from bench.network_link import network_link, why_no_latency, why_no_links
from bench.suite_format import interval_text, mark, ratio
from mnistbench.analysis.scaling.model import ring_s
from mnistbench.launch.children import run_child
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.record import RunRecord
from mnistbench.schema.store import find_records, load_record

PORT = 29_500
ROUNDS = {"smoke": 1, "quick": 3, "full": 5}
STEPS = {"smoke": 20, "quick": 150, "full": 300}
RATES = {"smoke": (20,), "quick": (5, 20, 100), "full": (10, 30, 100, 1_000)}
DELAYS_MS = {"smoke": (), "quick": (2.0,), "full": (0.5, 2.0, 10.0)}
FAST_MEGABITS_PER_S = 1_000
BYTES_PER_NUMBER = 4
TITLE = "link: two machines of one process and one thread"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cable between two machines; without a rate there is none, and one machine."""

    megabits_per_s: int | None = None
    delay_ms: float = 0.0

    @property
    def name(self) -> str:
        if self.megabits_per_s is None:
            return "one process"
        delay = f", {self.delay_ms:g} ms" if self.delay_ms else ""
        return f"{self.megabits_per_s} Mbit/s{delay}"


ALONE = Cell()


def why_not() -> str | None:
    if os.environ.get("MNISTBENCH_NETWORK_TESTS") != "1":
        return "opt-in: set MNISTBENCH_NETWORK_TESTS=1 (makes network namespaces, needs root)"
    return why_no_links()


pytestmark = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))


def cells_of(budget: str) -> list[Cell]:
    """One process, the rates, and the delays where this kernel can make them."""
    rates = [Cell(megabits_per_s=rate) for rate in RATES[budget]]
    delays = () if why_not() or why_no_latency() else DELAYS_MS[budget]
    slow = [Cell(megabits_per_s=FAST_MEGABITS_PER_S, delay_ms=delay) for delay in delays]
    return [ALONE, *rates, *slow]


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        cells = cells_of(metafunc.config.getoption("--bench-budget"))
        metafunc.parametrize("cell", cells, ids=lambda cell: cell.name)


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, report):
    """Records of each chosen cell, one a round."""
    cells, steps = chosen("cell"), STEPS[budget]

    def run(cell: Cell, seed: int) -> RunRecord:
        config = make_config(global_batch_size=256, seed=seed)
        flags = [
            *("--dataset", config.dataset, "--output-dir", config.output_dir),
            *("--seed", str(seed), "--global-batch-size", "256", "--num-threads", "1"),
            *("--num-epochs", "100", "--max-steps", str(steps), "--eval-every-steps", str(steps)),
            *("--no-compile", "--quiet"),
        ]
        return run_on_machines(cell, flags, Path(config.output_dir))

    rounds = [{cell: run(cell, seed) for cell in cells} for seed in range(ROUNDS[budget])]
    for cell in cells:
        tabulate(report.section(TITLE), cell, rounds)
    return {cell: [taken[cell] for taken in rounds] for cell in cells}


def run_on_machines(cell: Cell, flags: Sequence[str], folder: Path) -> RunRecord:
    """Train once by ``torchrun`` on both machines, or alone, and read the record."""
    train = ["-m", "mnistbench.train", *flags]
    rate = cell.megabits_per_s
    made = (
        nullcontext() if rate is None else network_link(megabits_per_s=rate, delay_ms=cell.delay_ms)
    )
    with made as link:
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        commands = [[sys.executable, *train]]
        if link is not None:
            environment |= link.variables
            commands = [
                [
                    *(*link.inside(rank), sys.executable, "-m", "torch.distributed.run"),
                    *("--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"),
                    *("--master-addr", link.address, "--master-port", str(PORT)),
                    *("--rdzv-conf", "timeout=60", *train),
                ]
                for rank in range(2)
            ]
        with ThreadPoolExecutor(len(commands)) as pool:
            ended = list(pool.map(lambda c: run_child(c, environment=environment), commands))
    if any(status for status, _ in ended):
        raise RunFailedError("\n".join(said for _, said in ended))
    (path,) = find_records([folder])
    return load_record(path)


def tabulate(section, cell, rounds):
    """A row: the link as made and as measured, speed, and where the time of a step goes."""
    records = [taken[cell] for taken in rounds]
    speeds = [record.throughput.samples_per_s for record in records]
    ratios = [
        taken[cell].throughput.samples_per_s / taken[ALONE].throughput.samples_per_s
        for taken in rounds
        if ALONE in taken
    ]
    links = [record.link for record in records if record.link]
    splits = [record.throughput.step_split for record in records if record.throughput.step_split]
    unstable = mark(section, records)

    def middle(values, show):
        return interval_text(list(values), show) if values else "–"

    predicted = [predicted_s(record) for record in records if record.link]
    section.add(
        {
            "link": cell.name,
            "measured Mbit/s": middle(
                [link.bandwidth_bytes_per_s * 8e-6 for link in links], lambda x: f"{x:,.1f}"
            ),
            "µs one way": middle([link.latency_s * 1e6 for link in links], lambda x: f"{x:,.0f}"),
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}") + unstable,
            "times one process": middle(ratios, ratio) + unstable,
            **{
                f"{part} ms": middle([getattr(split, f"{part}_s") * 1e3 for split in splits], ratio)
                for part in ("compute", "communication", "wait", "skew")
            },
            "by the link ms": middle([seconds * 1e3 for seconds in predicted], ratio),
            "n": str(len(records)),
        },
        cell=cell.name,
        megabits_per_s=cell.megabits_per_s,
        delay_ms=cell.delay_ms,
        samples_per_s=speeds,
        times_one_process=ratios,
        links=[link.model_dump() for link in links],
        step_splits=[split.model_dump() for split in splits],
        predicted_communication_s=predicted,
    )
    section.note(
        f"{records[0].config['model']}, {records[0].num_parameters:,} parameters, global batch "
        f"{records[0].environment['global_batch_size']}, {records[0].dataset.name}; medians over n "
        "rounds in which all rows ran in turn (95 % interval from n = 6 on)"
    )
    section.note(
        "by the link: the ring's time for the gradients from the latency and bandwidth that the "
        "run measured before it trained; to hold against communication"
    )
    reason = why_no_latency()
    if reason:
        section.note(f"no delays were added: {reason}")


def predicted_s(record: RunRecord) -> float:
    """Seconds that a ring takes for the gradients, by the link as measured."""
    num_bytes = BYTES_PER_NUMBER * record.num_parameters
    return ring_s(record.link, record.environment["num_processes"], num_bytes=num_bytes)


@pytest.mark.benchmark(group="link")
def bench_cell(training_benchmark, measured, cell):
    records = measured[cell]
    training_benchmark(lambda: records, tables=False)
    training_benchmark.benchmark.extra_info |= {
        "megabits_per_s": cell.megabits_per_s,
        "delay_ms": cell.delay_ms,
        "measured_bytes_per_s": median(
            [record.link.bandwidth_bytes_per_s for record in records if record.link] or [0.0]
        )
        or None,
    }
