"""Growth: speed and memory as the training set grows, with either loader, and as the batch grows.

Generated digits only, for they come in any number. Speeds are of runs in turn in this process;
memory is the peak of a process of its own. Memory that the C library keeps for reuse would blur how
much is needed, so it is told to give all of it back.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from statistics import linear_regression

import pytest

from bench.child_memory import peak_memory
from bench.suite_format import interval_text, mark, ratio
from mnistbench.engine.run_seeds import train

RESIDENT, MAPPED = "resident", "mapped"
BATCH = 512
BATCHES = {"smoke": (), "quick": (32, BATCH, 16_384), "full": (32, 128, BATCH, 2_048, 16_384)}
SIZES = {
    "smoke": (10_000,),
    "quick": (10_000, 60_000),
    "full": (10_000, 60_000, 600_000, 6_000_000),
}
SAMPLES = {"smoke": 1_024, "quick": 5_120, "full": 102_400}
ROUNDS = {"smoke": 1, "quick": 2, "full": 7}
IMAGE_BYTES = 28 * 28
SLOPE_FROM = 600_000
"""Images below which the 20 MB that peaks differ by from run to run would hide a slope."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One size of the training file, one loader and one batch."""

    num_images: int
    loader: str = RESIDENT
    global_batch_size: int = BATCH

    @property
    def name(self) -> str:
        return f"{self.num_images // 1000}k, {self.loader}, batch {self.global_batch_size}"


def cells_of(budget: str) -> list[Cell]:
    """Each size with either loader, then each batch at 60,000 images."""
    sizes = [Cell(num_images=n, loader=how) for n in SIZES[budget] for how in (RESIDENT, MAPPED)]
    batches = [Cell(num_images=60_000, global_batch_size=batch) for batch in BATCHES[budget]]
    return list(dict.fromkeys([*sizes, *batches]))


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        cells = cells_of(metafunc.config.getoption("--bench-budget"))
        metafunc.parametrize("cell", cells, ids=lambda cell: cell.name)


@pytest.fixture(scope="module", autouse=True)
def _data():
    """A cache folder that goes with the suite, up to 5.4 GB."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, report):
    """Records of each chosen cell, one a round, and its peaks of memory."""
    cells = chosen("cell")

    def config_of(cell: Cell, seed: int = 0):
        steps = max(SAMPLES[budget] // cell.global_batch_size, 1)
        return make_config(
            dataset="synthetic",
            synthetic_train_size=cell.num_images,
            val_size=1_000,
            loader=cell.loader,
            global_batch_size=cell.global_batch_size,
            max_steps=steps,
            eval_every_steps=steps,
            seed=seed,
            compile=False,
            reuse_memory=False,
        )

    peaks = {cell: peak_memory(config_of(cell)) for cell in cells}
    rounds = [
        {cell: train(config_of(cell, seed))[0] for cell in cells} for seed in range(ROUNDS[budget])
    ]
    for cell in cells:
        tabulate_cell(report, cell, rounds, peaks)
    tabulate_slopes(report.section("growth: bytes per training image"), peaks)
    return rounds, peaks


def tabulate_cell(report, cell, rounds, peaks):
    """A row for the table of sizes, of batches, or both."""
    records = [taken[cell] for taken in rounds]
    speeds = [record.throughput.samples_per_s for record in records]
    beside = Cell(num_images=cell.num_images, global_batch_size=cell.global_batch_size)
    ratios = [
        taken[cell].throughput.samples_per_s / taken[beside].throughput.samples_per_s
        for taken in rounds
        if beside in taken
    ]
    sections = []
    if cell.global_batch_size == BATCH:
        sections.append(report.section("growth: training set"))
    if cell.num_images == 60_000 and cell.loader == RESIDENT:
        sections.append(report.section("growth: batch size"))
    for section in sections:
        unstable = mark(section, records)
        section.add(
            {
                "images": f"{cell.num_images:,}",
                "as uint8 MB": f"{cell.num_images * IMAGE_BYTES / 1e6:,.0f}",
                "loader": cell.loader,
                "batch": f"{cell.global_batch_size:,}",
                "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}") + unstable,
                "times resident's": interval_text(ratios, ratio) + unstable if ratios else "–",
                "n": str(len(records)),
                "own peak MB": f"{peaks[cell].own_bytes / 1e6:,.0f}",
                "with file pages": f"{peaks[cell].resident_bytes / 1e6:,.0f}",
            },
            cell=cell.name,
            samples_per_s=speeds,
            times_resident=ratios,
            peak=peaks[cell]._asdict(),
        )
        section.note(
            f"simple-cnn on {records[0].environment['device_type']}, eager; medians over n rounds "
            "in which all rows ran in turn (95 % interval from n = 6 on)"
        )
        section.note(
            "peak: the most host memory of one process of its own, without and with the pages of "
            "libraries and mapped files, which the kernel may take back"
        )


def tabulate_slopes(section, peaks):
    """How much each loader's own memory grows by, from the smallest to the largest set."""
    for loader in (RESIDENT, MAPPED):
        points = [
            (cell.num_images, peak.own_bytes)
            for cell, peak in peaks.items()
            if (cell.loader, cell.global_batch_size) == (loader, BATCH)
        ]
        sizes, own_bytes = [n for n, _ in points], [peak for _, peak in points]
        if len(points) < 2 or max(sizes) < SLOPE_FROM:
            continue
        line = linear_regression(sizes, own_bytes)
        section.add(
            {
                "loader": loader,
                "own bytes per image": f"{line.slope:,.0f}",
                "times the image's": ratio(line.slope / IMAGE_BYTES),
                "from": f"{min(sizes):,}",
                "to": f"{max(sizes):,}",
                "processes": str(len(points)),
            },
            loader=loader,
            bytes_per_image=line.slope,
        )
        section.note(
            "slope of a straight line through the peaks; an image is 784 bytes, its label 8, its "
            "place in the order of an epoch 4"
        )


@pytest.mark.benchmark(group="growth")
def bench_cell(training_benchmark, measured, cell):
    rounds, peaks = measured
    records = [taken[cell] for taken in rounds]
    training_benchmark(lambda: records, tables=False)
    training_benchmark.benchmark.extra_info |= {
        "num_images": cell.num_images,
        "loader": cell.loader,
        "own_peak_bytes": peaks[cell].own_bytes,
    }
