"""Several processes against one: is it the same run, and what does it cost or gain?

Parity: one global batch over 1, 2 and 4 processes, every training loss beside those of one process.
Gain: the same cores as two processes of one thread or as one process of two, to the same target.
DDP alone: Accelerate's step with its model wrapped for several processes, and not, in one process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

import pytest
import torch
from torch import distributed

from bench.suite_format import HEADLINE, interval_text, mark, ratio, reached_text
from mnistbench.analysis.metrics import score_target
from mnistbench.analysis.number_text import seconds
from mnistbench.engine.build import build_parts
from mnistbench.engine.run import RunContext
from mnistbench.engine.setting import run_context, start_setting
from mnistbench.engine.stock_step import StockStep
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.launch.own_cells import RunCell
from mnistbench.output.suite_tables import run_info
from mnistbench.recorder.clock import Ledger
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import RunRecord
from mnistbench.training_benchmark import CLOCK
from mnistbench.workload.batches import Batch

PARITY_STEPS = {"smoke": 20, "quick": 200, "full": 200}
PARITY_WAYS = {"smoke": 1, "quick": 2, "full": 4}
PARITY_PROCESSES = {"smoke": (1, 2), "quick": (1, 2), "full": (1, 2, 4)}
GAIN_STEPS = {"smoke": 40, "quick": 400, "full": 1_200}
GAIN_ROUNDS = {"smoke": 1, "quick": 2, "full": 6}
DDP_ROUNDS = {"smoke": 2, "quick": 10, "full": 20}
DDP_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way in which several processes may differ from one, and how far they may.

    `pieces` is processes times accumulated batches where each run cuts a step into as many, or 0.
    """

    model: str
    tolerance: float
    loop: str = "fast"
    pieces: int = 0

    @property
    def name(self) -> str:
        cut = f", exact, {self.pieces} pieces a step" if self.pieces else ""
        return f"{self.model}, {self.loop}{cut}"

    def values(self, num_processes: int) -> dict[str, object]:
        cut = {
            "exact_parity": True,
            "gradient_accumulation_steps": self.pieces // num_processes,
        }
        return {"model": self.model, "loop": self.loop} | (cut if self.pieces else {})


WAYS = (
    Way(model="simple-cnn", tolerance=0.0, pieces=4),
    Way(model="mlp", tolerance=1e-5),
    Way(model="mlp", tolerance=1e-5, loop="stock"),
    # rounding picks another pixel in a max pooling, and the curves part
    Way(model="simple-cnn", tolerance=0.05),
)
GAINS = {"1 × 2": (1, 2), "2 × 1": (2, 1), "4 × 1": (4, 1)}


@pytest.fixture(scope="module")
def run(make_config):
    """Makes a run in processes of its own; gives its record."""

    def make(num_processes: int, **values: object) -> RunRecord:
        config = make_config(**values)
        cell = RunCell(config=config, num_processes=num_processes)
        executor = LocalExecutor(fresh=True)  # as the processes of a launcher are
        (attempt,) = executor.run([cell], folder=Path(mkdtemp(dir=config.output_dir)))
        assert attempt.record is not None, attempt.error
        assert attempt.record.environment["num_processes"] == num_processes
        return attempt.record

    return make


@pytest.mark.benchmark(group="parity", timer=CLOCK)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def bench_parity(benchmark, run, budget, report, way):
    if way not in WAYS[: PARITY_WAYS[budget]]:
        pytest.skip("a larger budget's")
    records = [
        run(count, max_steps=PARITY_STEPS[budget], num_threads=1, **way.values(count))
        for count in PARITY_PROCESSES[budget]
    ]
    alone = records[0]
    section = report.section("parity")
    for record in records:
        difference = loss_difference(record, alone)
        section.add(
            {
                "network, loop": way.name,
                "processes": str(record.environment["num_processes"]),
                "steps": str(record.num_steps),
                "largest relative difference of a loss": f"{difference:.1e}",
                "may be": f"{way.tolerance:.0e}" if way.tolerance else "0: the same bits",
                "images evaluated": evaluated(record),
                "test correct": f"{correct(record):,}",
            },
            way=way.name,
            num_processes=record.environment["num_processes"],
            difference=difference,
            tolerance=way.tolerance,
            run_ids=[record.run_id],
        )
        assert difference <= way.tolerance, f"{way.name}: {difference}"
        assert evaluated(record) == evaluated(alone)
    section.note("losses of every step beside those of one process, float32, one thread each")
    CLOCK.replay(benchmark, [record.phases_s["train"] for record in records])
    benchmark.extra_info |= run_info(records)


def loss_difference(record: RunRecord, alone: RunRecord) -> float:
    assert len(record.train_points) == record.num_steps == alone.num_steps
    return max(
        abs(ours.loss - theirs.loss) / theirs.loss
        for ours, theirs in zip(record.train_points, alone.train_points, strict=True)
    )


def evaluated(record: RunRecord) -> str:
    return ", ".join(f"{point.split} {point.num_samples:,}" for point in record.eval_points)


def correct(record: RunRecord) -> int:
    last = record.eval_points[-1]
    return round(last.accuracy * last.num_samples)


@pytest.fixture(scope="module")
def gains(run, budget, report):
    """Records of each of `GAINS` by the fast and the stock loop, a seed a round."""
    ways = [(name, loop) for loop in ("fast", "stock") for name in GAINS]
    if budget != "full":
        ways = ways[:2]
    rounds = GAIN_ROUNDS[budget]
    records: dict[tuple[str, str], list[RunRecord]] = {way: [] for way in ways}
    for seed in range(rounds):
        for (name, loop), taken in records.items():
            processes, threads = GAINS[name]
            taken.append(
                run(
                    processes,
                    recipe="simple-cnn",
                    loop=loop,
                    lr=0.05,
                    num_threads=threads,
                    max_steps=GAIN_STEPS[budget],
                    eval_every_steps=100,
                    target_accuracy=HEADLINE,
                    seed=seed,
                )
            )
    for way, taken in records.items():
        tabulate_gain(report.section("processes against threads"), way, taken, records)
    return records


def tabulate_gain(section, way, taken, records):
    base = records["1 × 2", way[1]]
    speeds = [record.throughput.samples_per_s for record in taken]
    ratios = [
        speed / other.throughput.samples_per_s for speed, other in zip(speeds, base, strict=True)
    ]
    score, unstable = score_target(taken, HEADLINE).time_s, mark(section, taken)
    splits = [record.throughput.step_split for record in taken]
    known = [split for split in splits if split is not None]

    def part(name: str) -> str:
        return ratio(1e3 * median(getattr(split, name) for split in known)) if known else "–"

    section.add(
        {
            "loop": way[1],
            "processes × threads": way[0],
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}") + unstable,
            "times one process": interval_text(ratios, ratio),
            f"s to {HEADLINE:.0%}": reached_text(score, seconds) + unstable,
            "computing ms": part("compute_s"),
            "exchange ms": part("communication_s"),
            "wait ms": part("wait_s"),
            "n": str(len(taken)),
        },
        loop=way[1],
        way=way[0],
        samples_per_s=speeds,
        time_s=score._asdict(),
        run_ids=[record.run_id for record in taken],
    )
    section.note("simple-cnn, global batch 64, rows in turn; medians over rounds")
    section.note("stock: DDP exchanges while it computes, so that neither has a time of its own")


@pytest.mark.benchmark(group="processes against threads", timer=CLOCK)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def bench_gain(benchmark, gains, loop):
    found = {way: taken for way, taken in gains.items() if way[1] == loop}
    if not found:
        pytest.skip("the full budget's")
    records = [record for taken in found.values() for record in taken]
    CLOCK.replay(benchmark, [record.phases_s["train"] for record in records])
    benchmark.extra_info |= run_info(records)


@pytest.mark.benchmark(group="DDP at one process", timer=CLOCK)
def bench_ddp_alone(benchmark, make_config, budget, report):
    config = make_config(recipe="simple-cnn", loop="stock")
    (context, plain), (_, wrapped) = stock_step(config), stock_step(config)
    batches = list(islice(context.data.batches(context.batch_plan, config), DDP_STEPS))
    with group_of_one():
        model = torch.nn.parallel.DistributedDataParallel(wrapped.model)
        wrapped.model = model
        taken = [
            (steps_s(plain, batches), steps_s(wrapped, batches)) for _ in range(DDP_ROUNDS[budget])
        ]
    for ours, theirs in zip(plain.model.parameters(), model.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    ratios = [with_ddp / without for without, with_ddp in taken]
    columns = zip(("plain", "wrapped by DDP"), zip(*taken, strict=True), strict=True)
    for name, values in columns:
        report.section("DDP at one process").add(
            {
                "Accelerate's step": name,
                "µs per step": interval_text([1e6 * v for v in values], lambda x: f"{x:,.0f}"),
                "times the plain one": interval_text(ratios, ratio) if name != "plain" else "1.00",
                "n": str(len(values)),
            },
            step_s=list(values),
        )
    CLOCK.replay(benchmark, [with_ddp for _, with_ddp in taken])
    benchmark.extra_info |= {"model": config.model, "loss": config.loss, "ratio": median(ratios)}


def stock_step(config: RunConfig) -> tuple[RunContext, StockStep]:
    ledger = Ledger()
    context = run_context(start_setting(config, ledger, held=ExitStack()), seed=config.seed)
    step = build_parts(context, ledger).step
    assert isinstance(step, StockStep)
    return context, step


@contextmanager
def group_of_one():
    """A group of this process alone, which DDP needs."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def steps_s(step: StockStep, batches: Sequence[Batch]) -> float:
    """Seconds of a step, over `batches`."""
    began = time.perf_counter()
    for batch in batches:
        step.train_steps([batch], lrs=[0.01])
    return (time.perf_counter() - began) / len(batches)
