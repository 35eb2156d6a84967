"""The choice of a grid: the winner, how sure it is, and what cannot be chosen by."""

import csv
import io
import json
from dataclasses import replace

import pytest

from mnistbench.analysis.best_config import check_metric
from mnistbench.output.selection_table import render_selection
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, DatasetInfo, Result, Throughput
from tests.made_records import profiled
from tests.output.table_text import cells


@pytest.fixture
def make_cell(make_record):
    """A run of a grid over learning rates: it reads val while training, and test at its end."""

    def make(seed, lr, val_accuracy, **changes):
        made = make_record(seed, (val_accuracy - 0.02, val_accuracy))
        points = [replace(point, split="val") for point in made.eval_points]
        config = made.config | {"lr": lr, "eval_split": "val"} | changes.pop("config", {})
        environment = made.environment | changes.pop("environment", {})
        values = {
            "eval_points": points,
            "num_steps": 20,
            "result": Result(
                val_accuracy=val_accuracy, test_accuracy=val_accuracy - 0.01, target_accuracy=0.97
            ),
        }
        return made.model_copy(
            update=values | {"config": config, "environment": environment} | changes
        )

    return make


def grid(make_cell, accuracies, **changes):
    """Runs of each learning rate in `accuracies`, with the seeds 0, 1, 2 and so on."""
    return [
        make_cell(seed, lr, accuracy, **changes)
        for lr, of_it in accuracies.items()
        for seed, accuracy in enumerate(of_it)
    ]


NOISE = [0.0, 0.002, -0.001, 0.001, -0.002]
CLEAR = {0.1: [0.97 + x for x in NOISE], 0.5: [0.98 + x for x in NOISE], 1.0: [0.90] * 5}


def test_the_best_on_val_wins_and_its_test_accuracy_is_told(make_cell):
    text = render_selection(grid(make_cell, CLEAR), metric="val_accuracy", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [row["lr"] for row in rows] == ["0.5", "0.1", "1.0"]
    assert rows[0]["val accuracy %"] == "98.00 (97.80–98.20)"
    assert "val accuracy is the median over seeds (smallest–largest)" in text
    assert [row["best in %"] for row in rows] == [">99", "<1", "<1"]
    assert "best by val accuracy %: simple-cnn, lr 0.5 (best in >99 % of draws)" in text
    behind = "runner-up: simple-cnn, lr 0.1, against the best -1.00 points (95 % interval -1."
    assert behind in text
    assert "test accuracy of simple-cnn, lr 0.5, which had no part in this: 97.00 (" in text
    assert "what runs of one seed share is left out" in text


def test_a_choice_that_noise_could_turn_is_not_sure(make_cell):
    close = {0.1: [0.97, 0.98, 0.96], 0.5: [0.981, 0.958, 0.974]}
    text = render_selection(grid(make_cell, close), metric="val_accuracy", table_format="json")
    choice = json.loads(text)
    assert choice["winner"] == "simple-cnn, lr 0.5"
    assert 0.5 < choice["confidence"] < 0.7
    assert sum(row["share_best"] for row in choice["rows"]) == pytest.approx(1)
    assert choice["low"] < choice["change"] < 0 < choice["high"]
    assert choice["paired"]
    text = render_selection(grid(make_cell, close), metric="val_accuracy", table_format="table")
    assert "more seeds would make it surer" in text


def test_the_shares_are_of_the_estimate_that_ranks(make_cell):
    one_low = {0.1: [0.970 + x for x in (*NOISE, -0.035)], 0.5: [0.967 + x for x in (*NOISE, 0.0)]}
    text = render_selection(grid(make_cell, one_low), metric="val_accuracy", table_format="json")
    first, second = json.loads(text)["rows"]
    assert first["lr"] == 0.1  # its median is the higher one, its mean the lower
    assert first["share_best"] > second["share_best"]


def test_seeds_that_are_not_shared_are_not_paired(make_cell):
    records = grid(make_cell, CLEAR)[:-1]
    choice = json.loads(render_selection(records, metric="val_accuracy", table_format="json"))
    assert not choice["paired"]
    assert choice["low"] < choice["change"] < choice["high"] < 0
    text = render_selection(records, metric="val_accuracy", table_format="table")
    assert "what runs of one seed share is left out" not in text


def test_one_seed_gives_no_confidence(make_cell):
    records = grid(make_cell, {0.1: [0.97, 0.98], 0.5: [0.98]})
    text = render_selection(records, metric="val_accuracy", table_format="table")
    assert "one seed of simple-cnn, lr 0.5: no confidence in the choice" in text
    assert {row["best in %"] for row in cells(text.split("\n\n")[0])} == {"–"}
    few = grid(make_cell, {0.1: [0.97] * 4, 0.5: [0.98] * 4})
    text = render_selection(few, metric="steps_to_accuracy", table_format="table")
    assert "4 seeds of simple-cnn, lr 0.1: no confidence in the choice; have 5 or more" in text
    alone = render_selection(few[:4], metric="val_accuracy", table_format="markdown")
    assert "a single configuration: there was nothing to choose" in alone


def test_steps_to_the_target_count_by_their_median_with_misses(make_cell):
    accuracies = {
        0.1: [0.98, 0.98, 0.98, 0.98, 0.96],
        0.5: [0.99, 0.99, 0.99, 0.99, 0.99],
        1.0: [0.98, 0.96, 0.96, 0.96, 0.96],
    }
    records = grid(make_cell, accuracies)
    text = render_selection(records, metric="steps_to_accuracy", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [row["lr"] for row in rows] == ["0.5", "0.1", "1.0"]
    column = [row["steps to 97 %"] for row in rows]
    assert column[0].startswith("≤ 10 (")
    assert column[0].endswith("5 of 5")
    assert column[2] == "1 of 5 reached"
    choice = json.loads(render_selection(records, metric="steps_to_accuracy", table_format="json"))
    assert (choice["winner"], choice["runner_up"]) == ("simple-cnn, lr 0.5", "simple-cnn, lr 0.1")
    # from the middle of (0, 10] to where half of five are there, of whom four are within (10, 20]
    assert choice["change"] == pytest.approx(16.25 / 5 - 1)
    assert choice["relative"]


def test_equal_scores_are_said_to_be_equal(make_cell):
    records = grid(make_cell, {0.1: [0.98] * 5, 0.5: [0.98] * 5, 1.0: [0.9] * 5})
    for metric in ("steps_to_accuracy", "val_accuracy"):
        text = render_selection(records, metric=metric, table_format="table")
        assert "equally good by" in text
        assert "simple-cnn, lr 0.1; simple-cnn, lr 0.5 (one of them is best in >99 % of" in text
        two = render_selection(records[:10], metric=metric, table_format="table")
        assert "simple-cnn, lr 0.5 (nothing sets them apart)" in two


def test_a_configuration_that_lost_a_run_is_not_chosen_by_the_rest(make_cell):
    records = grid(make_cell, CLEAR)
    lost = [r.model_copy(update={"status": "diverged"}) if r.seed == 3 else r for r in records[5:]]
    text = render_selection([*records[:5], *lost], metric="val_accuracy", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [row["lr"] for row in rows] == ["0.1", "0.5", "1.0"]
    assert [row["n"] for row in rows] == ["5", "4, 1 lost", "4, 1 lost"]
    assert "what lost a run (diverged or failed) comes last" in text
    assert "(the only one that was measured and lost no run: no confidence" in text
    with pytest.raises(InputError, match="every configuration has a run that diverged"):
        render_selection(lost, metric="val_accuracy", table_format="table")


def test_a_seed_that_was_run_again_counts_once_and_is_not_lost(make_cell):
    records = grid(make_cell, CLEAR)
    failed = records[5].model_copy(update={"status": "failed", "created_at": "2025-12-31"})
    text = render_selection([*records, failed], metric="val_accuracy", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [(row["lr"], row["n"]) for row in rows[:2]] == [("0.5", "5"), ("0.1", "5")]


@pytest.mark.parametrize(("moved", "share"), [(1.0, ">99"), (0.8, "–")])
def test_a_speed_that_the_machine_may_have_changed_is_no_sure_choice(make_cell, moved, share):
    records = []
    for lr, speed, factor in ((0.1, 1000.0, 1.0), (0.5, 800.0, moved)):
        reading = CanaryReading(matmul_flops_per_s=1e9 * factor, copy_bytes_per_s=1e9 * factor)
        records += [
            make_cell(
                seed,
                lr,
                0.98,
                throughput=Throughput(samples_per_s=speed + seed),
                canary=Canary(before=reading, after=reading),
            )
            for seed in range(5)
        ]
    text = render_selection(records, metric="samples_per_s", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [row["lr"] for row in rows] == ["0.1", "0.5"]
    assert rows[0]["best in %"] == share
    assert ("the machine's own speed moved: no confidence" in text) == (moved < 1)


@pytest.mark.parametrize("metric", ["test_accuracy", "test_loss"])
def test_nothing_is_chosen_by_test(metric):
    with pytest.raises(InputError, match=f"{metric} is read once, after the choice"):
        check_metric(metric)


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(
        InputError, match=r"unknown metric 'beauty'; use one of accuracy, loss, samples_per_s, .*"
    ) as e:
        check_metric("beauty")
    assert "test" not in str(e.value)
    assert "duration_s" not in str(e.value)
    assert check_metric("steps_to_accuracy") == "steps_to_accuracy"


def test_times_to_a_target_that_was_read_on_test_choose_nothing(make_record):
    records = [make_record(seed) for seed in range(3)]
    for metric in ("steps_to_accuracy", "time_to_accuracy_s"):
        with pytest.raises(InputError, match="was read on test"):
            render_selection(records, metric=metric, table_format="table")
    with pytest.raises(InputError, match="no run measured val_accuracy; sweep with --eval-split"):
        render_selection(records, metric="val_accuracy", table_format="table")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"environment": {"measured_alone": False}}, "were measured beside other runs"),
        ({"stood_still_s": 6.0}, "stood still"),
    ],
)
def test_spoiled_times_choose_nothing_but_steps_and_accuracies_do(make_cell, change, what):
    records = grid(make_cell, CLEAR, **change)
    for metric in ("samples_per_s", "time_to_accuracy_s", "wall_s"):
        with pytest.raises(InputError, match=f"15 of 15 runs {what}"):
            render_selection(records, metric=metric, table_format="table")
    for metric in ("val_accuracy", "steps_to_accuracy"):
        text = render_selection(records, metric=metric, table_format="table")
        assert "simple-cnn, lr 0.5" in text.split("\n\n")[1]
        assert "‡" not in text


@pytest.mark.parametrize(
    ("metric", "changes", "named"),
    [
        ("val_accuracy", {"dataset": ("name", "kmnist")}, "dataset (kmnist, mnist)"),
        ("val_accuracy", {"dataset": ("num_val", 100)}, "num_val (0, 100)"),
        ("steps_to_accuracy", {"result": ("target_accuracy", 0.9)}, "target (90 %, 97 %)"),
        ("samples_per_s", {"environment": ("cpu_name", "old")}, "cpu_name (new, old)"),
    ],
)
def test_what_has_no_common_rank_is_named(make_cell, metric, changes, named):
    records = grid(make_cell, CLEAR, environment={"cpu_name": "new"})
    for part, (key, value) in changes.items():
        old = getattr(records[-1], part)
        kinds = {"dataset": DatasetInfo, "result": Result, "environment": dict}
        values = old if isinstance(old, dict) else old.model_dump()
        records[-1] = records[-1].model_copy(update={part: kinds[part](**values | {key: value})})
    with pytest.raises(InputError) as error:
        render_selection(records, metric=metric, table_format="table")
    assert f"runs of different {named} have no common rank" in str(error.value)


def test_speeds_choose_the_highest_mean(make_cell):
    speeds = {64: 1000.0, 128: 1500.0}
    records = [
        make_cell(
            seed,
            0.1,
            0.98,
            environment={"global_batch_size": batch},
            config={"global_batch_size": batch},
            throughput=Throughput(samples_per_s=speed + seed),
        )
        for batch, speed in speeds.items()
        for seed in range(3)
    ]
    text = render_selection(records, metric="samples_per_s", table_format="table")
    rows = cells(text.split("\n\n")[0])
    assert [row["batch"] for row in rows] == ["128", "64"]
    assert rows[0]["samples/s"].startswith("1,501 ± ")
    assert "runner-up: simple-cnn, global_batch_size 64, against the best -33.3 %" in text


def test_nothing_to_choose_from_is_refused(make_cell):
    with pytest.raises(InputError, match="no run to choose from"):
        render_selection([], metric="val_accuracy", table_format="table")
    missed = grid(make_cell, {0.1: [0.5] * 5, 0.5: [0.6] * 5})
    with pytest.raises(InputError, match="no configuration reached the target in half"):
        render_selection(missed, metric="steps_to_accuracy", table_format="table")


def test_markup_in_names_stays_text_and_csv_has_the_rows(make_cell):
    records = grid(make_cell, CLEAR, config={"output_dir": "x", "odd|<b>": "y|z"})
    records = records[:5] + [
        r.model_copy(update={"config": r.config | {"odd|<b>": "other"}}) for r in records[5:]
    ]
    text = render_selection(records, metric="val_accuracy", table_format="markdown")
    assert "<b>" not in text
    assert text.splitlines()[0].startswith("|")
    values = render_selection(records, metric="val_accuracy", table_format="csv")
    rows = list(csv.DictReader(io.StringIO(values)))
    assert [float(row["score"]) for row in rows] == pytest.approx([0.98, 0.97, 0.90])


@pytest.mark.parametrize("metric", ["val_accuracy", "samples_per_s"])
def test_profiled_runs_are_not_chosen_from(make_cell, metric):
    runs = grid(make_cell, {0.1: [0.97, 0.98], 0.5: [0.96, 0.97]})
    best = [profiled(run) for run in grid(make_cell, {1.0: [0.99, 0.99]})]
    text = render_selection([*runs, *best], metric=metric, table_format="json")
    choice = json.loads(text)
    assert {row["lr"] for row in choice["rows"]} == {0.1, 0.5}
    assert choice["winner"] in {row["candidate"] for row in choice["rows"]}
    assert "2 of 6 runs were profiled and are left out: that costs time" in choice["notes"]
    with pytest.raises(InputError, match="select: all 2 runs were profiled"):
        render_selection(best, metric=metric, table_format="table")
