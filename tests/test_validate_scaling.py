"""What the simulation of scaling reports shows: intervals that cover, a model that may be wrong."""

from statistics import median

import pytest

from bench.validate_scaling import model_errors, model_law, shared_link_law, speedup_coverage


@pytest.mark.parametrize("num_runs", [5, 8])
@pytest.mark.parametrize(("spreads", "slow"), [((0.02, 0.02), 0.0), ((0.01, 0.05), 0.1)])
def test_the_interval_of_a_speedup_covers_the_true_one(num_runs, spreads, slow):
    covered = speedup_coverage(num_runs, spreads, slow_share=slow, trials=1500)
    assert 0.93 <= covered <= 0.97 + 0.03 * (slow > 0)


def test_setups_that_vary_by_five_percent_move_predictions_by_as_much():
    errors = [abs(error) for error in model_errors(model_law, 0.05, at=8, trials=100)]
    assert median(errors) < 0.05
    assert max(errors) < 0.25
    assert max(abs(error) for error in model_errors(model_law, 0.0, at=8, trials=1)) < 1e-6


def test_another_law_is_no_small_error():
    assert min(model_errors(shared_link_law, 0.0, at=8, trials=1)) > 1
