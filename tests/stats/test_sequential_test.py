"""Adding runs until it is settled: an end, the right one, and few false ones."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from mnistbench.analysis.comparison import after_looks, compare
from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.samples import sample_of
from mnistbench.analysis.settled import settled
from mnistbench.schema.record import Result, Throughput
from mnistbench.stats.sequential_test import look_factor, looks

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_pairs(make_record):
    """Makes pairs of runs, AB, BA and so on, whose speeds differ by noise, and by `factor`."""
    record = make_record()

    def make(n, *, factor=1.0, noise=0.03, seed=0):
        draw = random.Random(seed)
        sides = [], []
        for pair in range(n):
            for place, (side, level) in enumerate(zip(sides, (1000, 1000 * factor), strict=True)):
                minute = (place + pair) % 2
                speed = Throughput(samples_per_s=level * draw.lognormvariate(0, noise))
                time = (START + timedelta(minutes=2 * pair + minute)).isoformat()
                update = {"seed": pair, "throughput": speed, "created_at": time}
                side.append(record.model_copy(update=update))
        return sides

    return make


def ended_after(a, b, **rule):
    """Pairs and reason at the end of a comparison that adds a pair at a time."""
    for n in range(1, len(a) + 1):
        reason = settled([as_one(a[:n], b[:n])], **rule)
        if reason:
            return n, reason
    return len(a), None


def test_looks_come_ever_later():
    assert list(islice(looks(), 8)) == [8, 11, 15, 20, 27, 36, 48, 64]


@pytest.mark.parametrize(
    ("n", "factor"), [(1, 2), (7, 2), (8, 2), (9, 6), (11, 6), (12, 12), (36, 42), (37, 56)]
)
def test_each_look_has_a_stricter_level(n, factor):
    assert look_factor(n) == factor


def test_the_levels_of_all_looks_add_up_to_no_more_than_one_test():
    assert sum(0.05 / look_factor(n) for n in islice(looks(), 1000)) < 0.05


def test_a_clear_difference_ends_at_the_first_look_with_the_same_verdict(make_pairs):
    a, b = make_pairs(20, factor=0.8)
    n, reason = ended_after(a, b)
    assert n == 8
    assert reason == "settled after 8 pairs: B is slower than A (samples/s)"
    table = after_looks(compare(a[:n], b[:n]), "samples_per_s")
    assert table.rows[0].verdict == "slower"


def test_no_difference_ends_once_a_larger_one_is_ruled_out(make_pairs):
    a, b = make_pairs(64, noise=0.004)
    n, reason = ended_after(a, b, min_effect=0.02)
    assert n in list(islice(looks(), 8))
    assert (
        reason
        == f"settled after {n} pairs: no difference in samples/s larger than 2 % between A and B"
    )
    assert ended_after(a[:11], b[:11], min_effect=0.0001) == (11, None)


def test_by_default_accuracies_have_to_be_ten_times_as_close(make_pairs):
    def with_accuracies(runs, *accuracies):
        results = [Result(test_accuracy=accuracies[n % len(accuracies)]) for n in range(len(runs))]
        return [
            r.model_copy(update={"result": result}) for r, result in zip(runs, results, strict=True)
        ]

    a, b = make_pairs(8)
    a, b = with_accuracies(a, 0.98, 0.985), with_accuracies(b, 0.985, 0.98)
    assert settled([as_one(a, b)], metric="test_accuracy") is None
    assert settled([as_one(a, b)], metric="test_accuracy", min_effect=0.02)
    assert settled([as_one(a, with_accuracies(b, 0.98, 0.985))], metric="test_accuracy") == (
        "settled after 8 pairs: no difference in test accuracy larger than 0.2 points "
        "between A and B"
    )


def test_sides_end_together_and_share_the_error(make_pairs):
    a, b = make_pairs(8, factor=0.8)
    pair = as_one(a, b)
    p = sample_of(pair, METRICS["samples_per_s"], None).p_value()
    assert 0.05 / 2 / 4 < p < 0.05 / 2 / 3  # the least that eight pairs can have
    rule = {"metric": "samples_per_s", "min_effect": 1e-9}
    assert settled([pair] * 3, **rule) == settled([pair], **rule)
    assert settled([pair] * 4, **rule) is None
    other = as_one(a, make_pairs(8, seed=1)[1], names=("A", "C"))
    assert settled([pair, other], **rule) is None
    close = settled([pair, other], metric="samples_per_s", min_effect=0.9)
    assert close.endswith(
        "; settled after 8 pairs: no difference in samples/s larger than 90 % between A and C"
    )


def test_between_looks_nothing_ends(make_pairs):
    a, b = make_pairs(10, factor=0.5)
    assert settled([as_one(a, b)]) is None


def test_what_cannot_be_measured_ends_at_once(make_pairs):
    a, b = make_pairs(1)
    assert settled([as_one(a, b)], metric="val_accuracy") == (
        "val accuracy cannot be compared: not measured in A and B"
    )


@pytest.mark.slow
def test_looking_again_and_again_rarely_tells_a_thing_from_itself(make_pairs):
    ended = 0
    for seed in range(200):
        a, b = make_pairs(36, seed=seed)
        ended += ended_after(a, b, min_effect=1e-9)[1] is not None
    assert ended <= 10  # 5 %


def test_a_verdict_that_ended_the_runs_is_that_of_the_table(make_pairs):
    for seed in range(30):
        a, b = make_pairs(36, factor=0.97, seed=seed)
        n, reason = ended_after(a, b, min_effect=1e-9)
        verdict = after_looks(compare(a[:n], b[:n]), "samples_per_s").rows[0].verdict
        assert (reason is not None) == (verdict == "slower")
