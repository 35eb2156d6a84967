"""What tests of scaling share."""

import pytest

from mnistbench.analysis.scaling import prediction, steps


@pytest.fixture
def few_resamples(monkeypatch):
    """Enough resamples to print intervals, for tests that do not judge them."""
    monkeypatch.setattr(prediction, "RESAMPLES", 40)
    monkeypatch.setattr(steps, "RESAMPLES", 40)
