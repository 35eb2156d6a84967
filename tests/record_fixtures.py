"""Records as runs leave them, without running."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from mnistbench.schema.record import Throughput
from tests.made_records import make_record

_START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(name="make_record")
def made_record():
    return make_record


@pytest.fixture(name="make_side")
def made_side(make_record):
    """Makes the runs of a side from their speeds; a minute apart from `minute` on."""

    def make(speeds, *, minute=0, every=1, minutes=None, **changes):
        minutes = minutes or [minute + every * seed for seed in range(len(speeds))]
        accuracies = changes.pop("accuracies", (0.9, 0.95, 0.98))
        return [
            make_record(
                seed,
                accuracies,
                throughput=Throughput(samples_per_s=speed),
                created_at=(_START + timedelta(minutes=minutes[seed])).isoformat(),
                **changes,
            )
            for seed, speed in enumerate(speeds)
        ]

    return make


@pytest.fixture(name="make_pairs")
def made_pairs(make_side):
    """Makes A and B as runs taken in turn, on a machine that drifts, B `factor` times as fast."""

    def make(n, *, factor=1.0, noise=0.01, seed=0, **changes):
        draw = random.Random(seed)
        drift = [1000 * (1 + 0.3 * draw.random()) for _ in range(n)]
        a, b = ([speed * draw.lognormvariate(0, noise) for speed in drift] for _ in "AB")
        b = [factor * speed for speed in b]
        first = [2 * pair + pair % 2 for pair in range(n)]  # AB, BA, AB …
        second = [2 * pair + 1 - pair % 2 for pair in range(n)]
        return make_side(a, minutes=first, **changes), make_side(b, minutes=second, **changes)

    return make
