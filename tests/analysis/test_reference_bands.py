"""Reference curves: honest runs stay inside, wrong ones and too fast ones do not."""

import math
import random
from dataclasses import replace

import pytest
from scipy import stats

from bench.make_references import build_reference
from mnistbench.analysis.reference_bands import check_against, check_group, packaged_references
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import RecipeInfo

LEVELS = (2.2, 2.9, 3.3, 3.6, 3.8, 3.9, 4.0, 4.0)  # log odds: from 90 to 98.2 %


def draw_curve(draw, *, levels=LEVELS):
    """An honest run: a level of its own, and noise in which neighbours share."""
    own, noise, accuracies = draw.gauss(0, 0.08), 0.0, []
    for level in levels:
        noise = 0.6 * noise + draw.gauss(0, 0.05)
        accuracies.append(round(1 / (1 + math.exp(-(level + own + noise))), 4))
    return tuple(accuracies)


@pytest.fixture
def make_run(make_record):
    """Makes a run of a recipe by its accuracies, each of ten thousand images."""
    data = make_record().dataset.model_copy(update={"num_test": 10_000})

    def make(seed, accuracies, **changes):
        return make_record(seed, accuracies, **{"dataset": data} | changes)

    return make


@pytest.fixture
def seeds(make_run):
    draw = random.Random(0)
    return [make_run(seed, draw_curve(draw)) for seed in range(10)]


def reference_of(records):
    return build_reference(records, made_by="a command")


def with_config(record, **values):
    return record.model_copy(update={"config": record.config | values})


def test_the_band_is_the_prediction_interval_of_one_more_normal_value(make_run):
    accuracies = [(0.90, 0.91), (0.92, 0.94), (0.93, 0.92), (0.94, 0.95), (0.95, 0.93)]
    points = reference_of([make_run(s, a) for s, a in enumerate(accuracies)]).points
    for point, column in zip(points, zip(*accuracies, strict=True), strict=True):
        logits = [math.log((1e4 * a + 0.5) / (1e4 * (1 - a) + 0.5)) for a in column]
        low, high = stats.t.interval(
            1 - 0.01 / 2, 4, stats.tmean(logits), stats.tstd(logits) * math.sqrt(1 + 1 / 5)
        )
        assert point.mean == pytest.approx(stats.tmean(column))
        assert (point.low, point.high) == pytest.approx(stats.logistic.cdf([low, high]))
    assert [(point.step, point.epoch) for point in points] == [(10, 1.0), (20, 2.0)]


def test_seeds_that_agree_leave_room_for_counting_errors(make_run):
    (point,) = reference_of([make_run(seed, (0.98,)) for seed in range(5)]).points
    deviation = math.sqrt(0.98 * 0.02 / 1e4) * math.sqrt(1 + 1 / 5)
    expected = stats.norm.ppf(1 - 0.01 / 2) * deviation
    assert point.high - point.low == pytest.approx(2 * expected, rel=0.05)
    (perfect,) = reference_of([make_run(seed, (1.0,)) for seed in range(5)]).points
    assert perfect.low < 1 - 1e-4 < perfect.high <= 1


def test_honest_runs_leave_the_band_at_most_two_times_in_a_hundred(make_run):
    draw = random.Random(1)
    trials, left = 250, 0
    for _ in range(trials):
        reference = reference_of([make_run(seed, draw_curve(draw)) for seed in range(5)])
        runs = [make_run(9, draw_curve(draw)) for _ in range(4)]
        left += sum(bool(check_against(run, reference)) for run in runs)
    assert 0.001 <= left / (4 * trials) <= 0.02  # nor is it a band that nothing can leave


def test_no_seed_leaves_the_band_of_the_others(seeds):
    for record in seeds:
        others = [other for other in seeds if other is not record]
        assert check_against(record, reference_of(others)) == []


@pytest.mark.parametrize("change", [-0.03, -0.05, 0.012])
def test_a_wrong_step_is_caught_on_either_side(make_run, seeds, change):
    draw = random.Random(2)
    reference = reference_of(seeds)
    wrong = [make_run(20 + k, [min(a + change, 1.0) for a in draw_curve(draw)]) for k in range(20)]
    assert sum(bool(check_against(run, reference)) for run in wrong) >= 19


def test_a_deviation_names_epoch_accuracy_and_band(make_run, seeds):
    curve = [point.mean for point in reference_of(seeds).points]
    reference = reference_of(seeds)
    (text,) = check_against(make_run(9, [*curve[:2], 0.881, *curve[3:]]), reference)
    band = reference.points[2]
    assert text == f"epoch 3 (88.10 %, band {100 * band.low:.2f}–{100 * band.high:.2f})"


def test_a_part_of_the_curve_and_other_evaluations_are_checked_where_they_meet(seeds, make_run):
    reference, whole = reference_of(seeds), seeds[0]
    start = whole.model_copy(update={"eval_points": whole.eval_points[:2]})
    assert check_against(with_config(start, num_epochs=2), reference) == []
    elsewhere = [replace(p, step=p.step + 1) for p in whole.eval_points]
    assert check_against(whole.model_copy(update={"eval_points": elsewhere}), reference) is None
    mixed = [*elsewhere[:3], *whole.eval_points[3:]]
    assert check_against(whole.model_copy(update={"eval_points": mixed}), reference) == []


def test_what_does_not_change_the_training_is_checked_and_other_training_is_not(seeds):
    reference, run = reference_of(seeds), seeds[0]
    for same in ({"loader": "streaming"}, {"compile": True}, {"mixed_precision": "bf16"}):
        assert check_against(with_config(run, **same), reference) == []
    for other in ({"lr": 0.5}, {"model": "cnn4"}, {"eval_split": "val"}):
        assert check_against(with_config(run, **other), reference) is None
    batch = run.environment | {"global_batch_size": 128}
    other_data = run.dataset.model_copy(update={"sha256": "1"})
    for changes in ({"environment": batch}, {"dataset": other_data}, {"dataset": None}):
        assert check_against(run.model_copy(update=changes), reference) is None


def test_at_chance_no_curve_is_wrong_and_a_seed_may_leave_it_one_evaluation_sooner(make_run):
    plateaus = (0.098, 0.1135, 0.1028, 0.1009, 0.0974)
    late = [make_run(s, (p, p, 0.7 + s / 100)) for s, p in enumerate(plateaus)]
    reference = reference_of(late)
    assert check_against(make_run(9, (0.0892, 0.1032, 0.72)), reference) == []
    assert check_against(make_run(9, (0.098, 0.69, 0.74)), reference) == []
    first, second, third = reference.points
    assert (first.low, second.low) == (0.0, 0.0)
    assert first.high < 0.5 < second.high == third.high


def test_evaluations_whose_band_is_wider_than_half_are_no_check(make_run):
    lucky = [make_run(s, (a, 0.9 + s / 1000)) for s, a in enumerate((0.11, 0.5, 0.8, 0.85, 0.9))]
    reference = reference_of(lucky)
    wide, narrow = reference.points
    assert wide.high - wide.low > 0.5 > narrow.high - narrow.low
    assert check_against(make_run(9, (0.6,)), reference) is None
    assert check_group([make_run(9, (0.6,))], [reference]) is None
    assert check_against(make_run(9, (0.6, 0.902)), reference) == []
    (text,) = check_against(make_run(9, (0.6, 0.6)), reference)
    assert text.startswith("epoch 2 (")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda runs: runs[:4], "needs 5 seeds, here are 4"),
        (lambda runs: [*runs[:4], runs[0]], "needs 5 seeds, here are 4"),
        (lambda runs: [*runs[:5], runs[5].model_copy(update={"status": "diverged"})], "diverged"),
        (lambda runs: [*runs[:5], with_config(runs[5], lr=0.5)], "differ in settings"),
        (
            lambda runs: [
                *runs[:5],
                runs[5].model_copy(update={"recipe": RecipeInfo(name="other", source="")}),
            ],
            "differ in recipe",
        ),
        (
            lambda runs: [*runs[:5], runs[5].model_copy(update={"eval_points": []})],
            "share no evaluation",
        ),
    ],
)
def test_runs_that_make_no_reference_are_one_line(seeds, change, says):
    with pytest.raises(InputError, match=says) as error:
        reference_of(change(seeds))
    assert "\n" not in str(error.value)


def test_a_group_tells_how_many_were_checked_and_left(make_run, seeds):
    reference = reference_of(seeds)
    wrong = make_run(7, [point.mean - 0.05 for point in reference.points])
    other = with_config(make_run(8, (0.5,)), lr=0.5)
    assert check_group(seeds[:3], [reference]) == {
        "checked": 3,
        "left": 0,
        "seeds": [],
        "first": None,
    }
    found = check_group([seeds[0], wrong, other], [reference])
    assert (found["checked"], found["left"], found["seeds"]) == (2, 1, [7])
    assert found["first"].startswith("epoch ")
    assert check_group([other], [reference]) is None
    assert check_group(seeds, []) is None


def test_evaluations_of_another_split_are_not_compared(seeds):
    reference, run = reference_of(seeds), seeds[0]
    point = replace(run.eval_points[0], split="val", accuracy=0.1)
    added = run.model_copy(update={"eval_points": [*run.eval_points, point]})
    assert check_against(added, reference) == []


def test_the_packages_bands_are_found_from_any_folder(tmp_path, monkeypatch):
    here = packaged_references()
    monkeypatch.chdir(tmp_path)
    assert packaged_references() == here != []
