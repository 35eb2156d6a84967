"""Tests and effect sizes against permutations, scipy and plain definitions."""

import math
from itertools import combinations, product
from statistics import fmean, median, variance

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mnistbench.stats import brunner_munzel
from mnistbench.stats.rank_tests import (
    beats_target,
    holm,
    rank_test,
    seeds_needed,
    shift,
    smallest_n,
)

DISTINCT = st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=24, unique=True)
TIED = st.integers(0, 4).map(float)
BOTH = pytest.mark.parametrize("paired", [True, False])


def permuted_signs(differences):
    """p of the signed-rank test by every choice of signs; |differences| are distinct."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    sums = [np.dot(signs, ranks) for signs in product([-1, 1], repeat=len(ranks))]
    seen = abs(np.dot(np.sign(differences), ranks))
    return np.mean(np.abs(sums) >= seen)


def statistic(a, b):
    """Brunner and Munzel's as they define it, by plain loops; endless for sides apart."""
    of_a = [fmean((y > x) + (y == x) / 2 for y in b) for x in a]
    of_b = [fmean((x < y) + (x == y) / 2 for x in a) for y in b]
    square = sum(variance(side) / len(side) for side in (of_a, of_b) if len(side) > 1)
    excess = fmean(of_b) - 0.5
    if square < 1e-12:
        return 0.0 if abs(excess) < 1e-9 else math.copysign(math.inf, excess)
    return excess / math.sqrt(square)


def permuted_sides(a, b):
    """p of the studentised test by every choice of sides; no number of a is one of b."""
    pooled, seen = [*a, *b], statistic(a, b)
    found = [
        statistic([pooled[i] for i in chosen], [x for i, x in enumerate(pooled) if i not in chosen])
        for chosen in combinations(range(len(pooled)), len(a))
    ]
    as_high, as_low = (np.mean([s * x >= s * seen - 1e-7 for x in found]) for s in (1, -1))
    return min(1.0, 2 * min(as_high, as_low))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9, unique=True), st.data())
def test_the_paired_p_is_that_of_all_signs(sizes, data):
    signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=9, max_size=9))
    differences = [size * sign for size, sign in zip(sizes, signs, strict=False)]
    p_value = rank_test([0.0] * len(sizes), differences, paired=True)
    assert p_value == pytest.approx(permuted_signs(differences))


@settings(max_examples=40)
@given(DISTINCT.filter(lambda values: len(values) <= 9), st.data())
def test_the_unpaired_p_is_that_of_all_splits(values, data):
    cut = data.draw(st.integers(1, len(values) - 1))
    p_value = rank_test(values[:cut], values[cut:], paired=False)
    assert p_value == pytest.approx(permuted_sides(values[:cut], values[cut:]))


def test_equal_values_of_one_side_are_equal_in_the_splits():
    a, b = [1.0, 1, 4, 4, 9], [2.0, 3, 3, 3, 7]
    assert rank_test(a, b, paired=False) == pytest.approx(permuted_sides(a, b))


@given(DISTINCT)
def test_without_ties_the_paired_p_is_scipys(values):
    assume(len({abs(value) for value in values}) == len(values) and 0 not in values)
    theirs = stats.wilcoxon(values, method="exact").pvalue
    assert rank_test([0] * len(values), values, paired=True) == pytest.approx(theirs)


def test_large_samples_get_scipys_approximations():
    draw = np.random.default_rng(2)
    a, b = draw.normal(size=150), draw.normal(0.2, 2, size=160)
    theirs = stats.brunnermunzel(a, b).pvalue
    assert rank_test(a, b, paired=False) == pytest.approx(theirs)
    theirs = stats.wilcoxon(a, b[:150], method="approx", correction=True).pvalue
    assert rank_test(a, b[:150], paired=True) == pytest.approx(theirs)


def test_drawn_splits_are_close_to_all_of_them(monkeypatch):
    draw = np.random.default_rng(4)
    a, b = draw.normal(size=6), draw.normal(0.9, 1, size=7)
    exact = rank_test(a, b, paired=False)
    monkeypatch.setattr(brunner_munzel, "_MOST_SPLITS", 100)
    brunner_munzel._splits.cache_clear()
    brunner_munzel._by_splits.cache_clear()
    drawn = rank_test(a, b, paired=False)
    brunner_munzel._splits.cache_clear()
    brunner_munzel._by_splits.cache_clear()
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=6 * math.sqrt(exact / 2 / 9999))


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 4), (3, 9), (12, 12), (60, 70)])
def test_sides_apart_have_the_least_p_there_is(n_a, n_b):
    p_value = rank_test(range(n_a), range(100, 100 + n_b), paired=False)
    assert p_value == pytest.approx(2 / math.comb(n_a + n_b, n_a))


def test_an_interval_of_hundreds_of_runs_is_students():
    draw = np.random.default_rng(6)
    a, b = draw.normal(size=400), draw.normal(0.5, 3, size=300)
    estimate, low, high = shift(a, b, paired=False)
    theirs = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert low < 0.5 < high
    assert low < estimate < high
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.15)


@pytest.mark.parametrize("sizes", [(1, 2, 3, 4, 5, 6, 7, 8), (1, 1, 2, 2, 2, 3, 0, 0, 4), (1,) * 9])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_at_most_alpha_of_all_signs_are_rejected(sizes, alpha):
    p_values = [
        rank_test([0.0] * len(sizes), np.multiply(sizes, signs), paired=True)
        for signs in product([-1, 1], repeat=len(sizes))
    ]
    assert np.mean(np.array(p_values) < alpha) <= alpha


@pytest.mark.parametrize("pooled", [range(10), (1, 1, 1, 2, 2, 2, 3, 3, 4, 9), (0,) * 7 + (1,) * 3])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_at_most_alpha_of_all_arrangements_are_rejected(pooled, alpha):
    p_values = []
    for chosen in combinations(range(10), 5):
        a = [pooled[i] for i in chosen]
        b = [pooled[i] for i in range(10) if i not in chosen]
        p_values.append(rank_test(a, b, paired=False))
    assert np.mean(np.array(p_values) < alpha) <= alpha


@BOTH
def test_equal_runs_have_p_1_and_no_shift(paired):
    assert rank_test([3.0] * 8, [3.0] * 8, paired=paired) == 1.0
    assert shift([3.0] * 8, [3.0] * 8, paired=paired) == (0, 0, 0)


@BOTH
def test_the_smallest_n_is_the_first_whose_most_extreme_runs_are_significant(paired):
    for alpha in (0.2, 0.05, 0.01, 0.001):
        n = smallest_n(paired=paired, alpha=alpha)
        extreme = [rank_test(range(k), range(100, 100 + k), paired=paired) for k in (n - 1, n)]
        assert extreme[1] < alpha <= extreme[0]
    assert smallest_n(paired=paired, alpha=0.05) == (6 if paired else 4)
    with pytest.raises(ValueError, match="level"):
        smallest_n(paired=paired, alpha=0.0)


@given(
    st.booleans(),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
    st.one_of(
        st.lists(st.tuples(TIED, TIED), min_size=1, max_size=14),
        st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=14),
    ),
)
def test_zero_is_outside_the_interval_if_and_only_if_the_test_rejects(paired, confidence, runs):
    a, b = zip(*runs, strict=True)
    estimate, low, high = shift(a, b, paired=paired, confidence=confidence)
    rejects = rank_test(a, b, paired=paired) < round(1 - confidence, 12)
    assert (low is None) == (high is None)
    if low is None:
        assert not rejects
    else:
        assert low <= estimate <= high
        assert rejects == (not low <= 0 <= high)


@given(st.booleans(), st.lists(st.tuples(TIED, TIED), min_size=6, max_size=12), TIED)
def test_the_interval_holds_what_the_test_does_not_reject(paired, runs, moved):
    a, b = zip(*runs, strict=True)
    _, low, high = shift(a, b, paired=paired)
    rejects = rank_test([x + moved for x in a], b, paired=paired) < 0.05
    assert rejects == (not low <= moved <= high)


@given(st.lists(st.tuples(TIED, TIED), min_size=1, max_size=8))
def test_the_estimates_are_hodges_and_lehmanns(runs):
    a, b = zip(*runs, strict=True)
    differences = [y - x for x, y in runs]
    walsh = [(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]]
    assert shift(a, b, paired=True).estimate == median(walsh)
    assert shift(a, b, paired=False).estimate == median(y - x for x in a for y in b)


def test_the_interval_of_hollander_and_wolfes_example():
    # Depression scores before and after (Hollander and Wolfe 1999, table 3.1).
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    estimate, low, high = shift(before, after, paired=True, confidence=0.96)
    assert estimate == pytest.approx(-0.46, abs=1e-9)
    assert (low, high) == pytest.approx((-0.786, -0.010), abs=1e-9)
    assert rank_test(before, after, paired=True) == pytest.approx(0.0390625)


@BOTH
def test_few_runs_have_an_estimate_without_bounds(paired):
    assert shift([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], paired=paired) == (1, None, None)


def test_runs_that_cannot_be_compared_are_errors():
    for paired in (True, False):
        with pytest.raises(ValueError, match="at least one run"):
            rank_test([], [], paired=paired)
        with pytest.raises(ValueError, match="finite"):
            rank_test([1.0, math.nan], [1.0, 2.0], paired=paired)
    with pytest.raises(ValueError, match="1 runs of a and 2 of b"):
        rank_test([1.0], [1.0, 2.0], paired=True)
    with pytest.raises(ValueError, match="confidence"):
        shift([1.0], [1.0], paired=True, confidence=1.0)


def steps_down(p_values, alpha):
    """Which hypotheses Holm's procedure rejects, step by step."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        rejected[index] = True
    return rejected


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 0.999))
def test_an_adjusted_p_is_small_if_and_only_if_holms_steps_reject(p_values, alpha):
    assert [p <= alpha for p in holm(p_values)] == steps_down(p_values, alpha)


def test_holms_adjustment_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


PILOT_A = [1.2, 0.4, -0.3, 0.9, -1.1, 0.2, -0.6, 0.1, 1.6, -0.8]
PILOT_B = [0.3, -1.4, 0.8, 0.6, -0.2, 1.3, -0.9, 0.0, -0.5, 1.0]


@BOTH
def test_what_both_sides_gain_does_not_change_the_seeds_needed(paired):
    n = seeds_needed(PILOT_A, PILOT_B, difference=0.8, paired=paired)
    moved = [x + 64 for x in PILOT_B]
    assert seeds_needed(PILOT_A, moved, difference=-0.8, paired=paired) == n
    scaled = ([4 * x for x in side] for side in (PILOT_A, PILOT_B))
    assert seeds_needed(*scaled, difference=3.2, paired=paired) == n


@BOTH
def test_smaller_differences_more_power_and_stricter_levels_need_more_seeds(paired):
    def needed(difference=0.8, **settings):
        return seeds_needed(PILOT_A, PILOT_B, difference=difference, paired=paired, **settings)

    sizes = [needed(difference) for difference in (0.1, 0.2, 0.4, 0.8, 1.6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(4 * sizes[1], rel=0.02)
    assert needed(power=0.95) > needed() > needed(power=0.8)
    assert needed(alpha=0.01) > needed()


@BOTH
def test_seeds_needed_without_correction_for_the_pilot_is_noethers_count(paired):
    draw = np.random.default_rng(4)
    a, b = draw.normal(size=(2, 400))
    difference, spread = 0.9 * math.sqrt(2 if paired else 1), math.sqrt(1 if paired else 2)
    chance = stats.norm.cdf(difference / spread)
    n = (stats.norm.ppf(0.975) + stats.norm.ppf(0.9)) ** 2 / (chance - 0.5) ** 2
    noether = n / (3 if paired else 6)
    # The binomial's smaller spread away from one half takes off up to a quarter at this chance.
    assert 0.7 * noether < seeds_needed(a, b, difference=difference, paired=paired) < noether + 2


@BOTH
def test_equal_pilots_ask_for_about_the_smallest_n(paired):
    n = seeds_needed([2.0] * 10, [3.0] * 10, difference=0.5, paired=paired)
    assert smallest_n(paired=paired, alpha=0.05) <= n <= 10


def test_pilots_that_show_nothing_are_errors():
    with pytest.raises(ValueError, match="two runs on each side"):
        seeds_needed([1.0], [1.0, 2.0], difference=1.0, paired=False)
    with pytest.raises(ValueError, match="other than zero"):
        seeds_needed([1.0, 2.0], [1.0, 2.0], difference=0.0, paired=False)
    with pytest.raises(ValueError, match="power"):
        seeds_needed([1.0, 2.0], [1.0, 2.0], difference=1.0, paired=False, power=1.0)
    with pytest.raises(ValueError, match="level"):
        seeds_needed([1.0, 2.0], [1.0, 2.0], difference=1.0, paired=False, alpha=1.0)


@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=20).filter(lambda xs: len(set(xs)) > 1),
    st.floats(0, 1),
)
def test_the_record_test_is_scipys_t_test(thousandths, target):
    values = [x / 1000 for x in thousandths]
    result = beats_target(values, target)
    theirs = stats.ttest_1samp(values, target, alternative="greater")
    assert (result.mean, result.n) == (pytest.approx(np.mean(values)), len(values))
    assert result.p_value == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)


def test_one_run_and_equal_runs_claim_no_more_than_they_show():
    assert beats_target([0.99], 0.9) == (0.99, 1.0, 1)
    assert beats_target([0.99] * 6, 0.9).p_value == 1 / 64
    assert beats_target([0.99] * 7, 0.9).p_value < 0.01
    assert beats_target([0.9] * 7, 0.9).p_value == 1.0
    with pytest.raises(ValueError, match="at least one run"):
        beats_target([], 0.9)


@pytest.mark.parametrize("fewer", [2, 3, 5])
def test_few_values_against_very_many_have_the_level_that_is_said(fewer):
    draw = np.random.default_rng(1)
    p = [
        rank_test(*(draw.normal(size=n).tolist() for n in (fewer, 100)), paired=False)
        for _ in range(400)
    ]
    assert sum(x < 0.05 for x in p) <= 0.075 * 400
    assert sum(x < 0.01 for x in p) <= 0.025 * 400
