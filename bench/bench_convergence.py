"""Convergence per loss: every loss on two of the articles' networks, each at its own learning rate.

``val`` scores the curves, ``test`` is read once at the end. Evaluations lie close together up to
the headline target (`mnistbench.engine.evaluation_schedule`); from there on they are at each
epoch's end, so that higher targets are known to an epoch. Every target is scored from the one
stored curve; a run that never gets there is censored, not dropped.
"""

from __future__ import annotations

import pytest

from bench.loss_runs import LOSSES, SETTINGS, learning_rate
from bench.suite_format import (
    HEADLINE,
    accuracy_after,
    counted_text,
    mark,
    mean_error,
    reached_text,
    shares,
    shares_text,
    targets_rows,
)
from mnistbench.analysis.metrics import score_target
from mnistbench.analysis.number_text import seconds

SEEDS = {"smoke": 1, "quick": 1, "full": 6}
CNN4 = {"smoke": ("mse", "kl"), "quick": ("cross-entropy", "mse", "kl")}
"""Losses of the slower network, where these are not all."""

SHORTER = {
    "smoke": {"max_steps": 8},
    "quick": {"num_epochs": 1},
}


@pytest.fixture(scope="module")
def measured(budget, chosen, make_config, train_in_turn):
    """Records of each chosen model and loss."""

    def config(model, loss):
        settings = SETTINGS[model] | SHORTER.get(budget, {})
        lr = learning_rate(model, loss)
        return make_config(loss=loss, lr=lr, target_accuracy=HEADLINE, **settings)

    wanted = chosen("model", "loss")
    if budget in CNN4:
        kept = CNN4[budget]
        wanted = [(model, loss) for model, loss in wanted if model != "cnn4" or loss in kept]
    configs = {(model, loss): config(model, loss) for model, loss in wanted}
    return train_in_turn(configs, num_seeds=SEEDS[budget])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", SETTINGS)
@pytest.mark.benchmark(group="convergence per loss")
def bench_loss(training_benchmark, measured, report, *, model, loss):
    if (model, loss) not in measured:
        pytest.skip("a larger budget's")
    records, lr = measured[model, loss], learning_rate(model, loss)
    training_benchmark(lambda: records, tables=False, may_diverge=True)
    head = {"model": model, "loss": loss, "lr": f"{lr:g}"}
    section = report.section("convergence per loss")
    tabulate_curves(section, head, records)
    section.pictures.setdefault(f"convergence-{model}", []).extend(records)
    targets_rows(report, "convergence per loss", head, records=records)
    training_benchmark.benchmark.extra_info |= {"lr": lr}


def tabulate_curves(section, head, records):
    """A row on where the curves of `records` were after an epoch, at their best and at the end.

    Medians are over the seeds that completed, whose number the row gives.
    """
    completed = [record for record in records if record.status == "completed"]
    curves = [[p for p in record.eval_points if p.split == "val"] for record in completed]
    figures = {
        "val % after epoch 1": shares(accuracy_after(record, 1) for record in completed),
        "final val %": shares(curve[-1].accuracy for curve in curves),
        "best val %": shares(max(p.accuracy for p in curve) for curve in curves),
        "test %": shares(record.result.test_accuracy for record in completed),
        "area under error %": shares(mean_error(curve) for curve in curves),
    }
    cells = {name: shares_text(figure) for name, figure in figures.items()}
    time_s = score_target(records, HEADLINE).time_s
    cells[f"s to {HEADLINE:.0%}"] = reached_text(time_s, seconds) + mark(section, records)
    dataset = records[0].dataset.name
    section.add(
        {**head, "dataset": dataset, **cells, "n": counted_text(records)},
        **head,
        dataset=dataset,
        n=len(records),
        completed=len(completed),
        fractions={name: figure and figure._asdict() for name, figure in figures.items()},
        run_ids=[record.run_id for record in records],
    )
    section.note("accuracies: median over the n seeds (smallest–largest)")
    section.note(
        "area under error: the mean error over the epochs from the first evaluation to the last, "
        "straight lines between; the smaller the better"
    )
    if len(completed) < len(records):
        section.note("n of all: the others diverged; they count in the time to target only")
