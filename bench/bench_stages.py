"""Why the fast loop is fast: its ingredients turned on one after the other, a row for each.

Every row changes one field of the row before. All rows run once in each round, in an order that
turns round from round to round, and gains are ratios within a round. What a row has to compile is
outside its clock. Speeds count only if the losses agree: closely, or to a few per cent where Adam
makes whole steps of rounding errors, and where products have fewer digits than those of fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from bench.plain_loops import LOOSE, loss_differences
from bench.suite_format import interval_text, mark, ratio
from mnistbench.analysis.number_text import NOT_MEASURED
from mnistbench.engine.run_seeds import train
from mnistbench.schema.record import RunRecord
from mnistbench.workload.recipes import RECIPES

NETWORKS = ("simple-cnn", "cnn4-ce", "speedrun-99")
PLAIN = {
    "loop": "stock",
    "loader": "streaming",
    "channels_last": False,
    "compile": None,
    "cuda_graph": False,
    "steps_per_graph": 1,
    "batch_last": False,
    "fused_optimizer": False,
    "matmul_precision": "highest",
    "flush_denormals": False,
    "reuse_memory": False,
    "mixed_precision": "no",
}
FIRST = "stock loop, streaming loader"
_EVERYWHERE = {
    "resident data": {"loader": "resident"},
    "channels innermost": {"channels_last": True},
    "fast loop, eager": {"loop": "fast"},
    "fused optimizer": {"fused_optimizer": True},
}
STAGES = {
    "cpu": {
        **_EVERYWHERE,
        "freed memory kept": {"reuse_memory": True},
        "denormals flushed": {"flush_denormals": True},
        "matmul precision medium": {"matmul_precision": "medium"},
        "own kernels": {"batch_last": True},
        "bf16": {"mixed_precision": "bf16"},
    },
    "cuda": {
        **_EVERYWHERE,
        "CUDA graph": {"cuda_graph": True},
        "ten steps a graph": {"steps_per_graph": 10},
        "matmul precision medium": {"matmul_precision": "medium"},
        "bf16": {"mixed_precision": "bf16"},
    },
}
"""Device -> what each row adds to the row before."""

SAMPLES = {"smoke": 1_024, "quick": 2_560, "full": 12_800}
ROUNDS = {"smoke": 1, "quick": 2, "full": 15}
COMPARED_STEPS = 10


def ladder(device_type: str) -> dict[str, dict[str, Any]]:
    """The values of each row: those of the row before and one change."""
    values = dict(PLAIN)
    rows = {FIRST: dict(values)}
    for stage, change in STAGES[device_type].items():
        values |= change
        rows[stage] = dict(values)
    return rows


def pytest_generate_tests(metafunc):
    if "stage" in metafunc.fixturenames:
        option = metafunc.config.getoption
        cuda = option("--bench-device") != "cpu" and torch.cuda.is_available()
        budget, device_type = option("--bench-budget"), "cuda" if cuda else "cpu"
        networks = NETWORKS[:1] if budget == "smoke" else NETWORKS
        pairs = [(net, row) for net in networks for row in ladder(device_type)]
        metafunc.parametrize(("network", "stage"), pairs)


@pytest.fixture(scope="module")
def measured(budget, chosen, device, make_config, report):
    """Network -> the record of each row, in each round."""
    rows = ladder(device.type)

    def config(network, stage):
        settings = RECIPES[network].settings
        steps = max(SAMPLES[budget] // settings["global_batch_size"], 2)
        return make_config(recipe=network, **settings | rows[stage] | {"max_steps": steps})

    found = {}
    for network in chosen("network"):
        stages = list(ladder(device.type))
        configs = {stage: config(network, stage) for stage in stages}
        train(configs[FIRST].model_copy(update={"max_steps": 2}))  # what is done once is no row's
        found[network] = [one_round(configs, index) for index in range(ROUNDS[budget])]
        tabulate(report.section("stages"), rows, found[network])
    return found


def one_round(configs: Mapping[str, Any], index: int) -> dict[str, RunRecord]:
    """The record of each row; `index` is also the seed."""
    order = list(configs)[:: -1 if index % 2 else 1]
    return {row: train(configs[row].model_copy(update={"seed": index}))[0] for row in order}


def tabulate(section, rows: Mapping[str, Any], rounds: Sequence[Mapping[str, RunRecord]]) -> None:
    names = [stage for stage in rows if stage in rounds[0]]
    losses = {
        name: [point.loss for point in rounds[0][name].train_points[:COMPARED_STEPS]]
        for name in names
    }
    adam = rounds[0][FIRST].config["optimizer"] == "adam"
    loose = [name for name in names if adam or is_coarse(rows[name])]
    apart = loss_differences(losses, base=FIRST, loose=loose)
    for name, before in zip(names, [None, *names], strict=False):
        tabulate_row(section, name, before=before, apart=apart[name], rounds=rounds)
    section.note("each row adds one thing to the row before it, and keeps all above")
    section.note(
        f"loss apart: largest relative difference in the first {len(losses[FIRST])} steps' losses; "
        f"at most 0.1 %, with Adam and from medium precision on {100 * LOOSE:g} %"
    )
    section.note("medians of rounds run in turn, ratios within a round (95 % interval from n = 6)")


def is_coarse(values: Mapping[str, Any]) -> bool:
    """Whether products may have fewer digits than those of fp32."""
    return values["matmul_precision"] != "highest" or values["mixed_precision"] != "no"


def tabulate_row(section, name, *, before, apart, rounds):
    records = [taken[name] for taken in rounds]
    first, environment = records[0], records[0].environment
    speeds = [record.throughput.samples_per_s for record in records]
    step_us = [1e6 * record.phases_s["train"] / record.num_steps for record in records]
    gains = {base: [faster(taken, name, base) for taken in rounds] for base in (before, FIRST)}
    unstable = mark(section, records)
    section.add(
        {
            "recipe": first.recipe.name,
            "batch": str(environment["global_batch_size"]),
            "dataset": first.dataset.name,
            "device × threads": f"{environment['device_type']} × {environment['num_threads']}",
            "adds": name,
            "run as": environment["loop_floor"],
            "µs per step": interval_text(step_us, lambda x: f"{x:,.0f}") + unstable,
            "samples/s": interval_text(speeds, lambda x: f"{x:,.0f}") + unstable,
            "times the row before": (
                interval_text(gains[before], ratio) if before else NOT_MEASURED
            ),
            "times the first": interval_text(gains[FIRST], ratio),
            "loss apart": f"{apart:.0e}" if apart else "0",
            "n": str(len(rounds)),
        },
        recipe=first.recipe.name,
        stage=name,
        step_us=step_us,
        samples_per_s=speeds,
        over_row_before=gains[before] if before else None,
        over_first=gains[FIRST],
        largest_loss_difference=apart,
        run_ids=[record.run_id for record in records],
    )


def faster(taken: Mapping[str, RunRecord], name: str, base: str | None) -> float | None:
    """How many times as fast as row `base` row `name` was in one round."""
    if base is None:
        return None
    return taken[base].phases_s["train"] / taken[name].phases_s["train"]


@pytest.mark.benchmark(group="stages")
def bench_stage(training_benchmark, measured, *, network, stage):
    records = [taken[stage] for taken in measured[network]]
    training_benchmark(lambda: records, tables=False)
    training_benchmark.benchmark.extra_info |= {"stage": stage}
