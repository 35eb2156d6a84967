"""What belongs to what on two sides, and which runs were taken in turn."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.sides import in_turn, match_groups
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import PHASES, RunRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(seed, created_at):
    return RunRecord(
        run_id=f"run-{created_at}",
        status="completed",
        created_at=created_at,
        seed=seed,
        recipe=None,
        config={"eval_split": "test"},
        environment={},
        dataset=None,
        phases_s=dict.fromkeys(PHASES, 0.0),
        wall_s=0.0,
    )


def sides(order):
    """Runs of A and of B in the order of that word, a second apart."""
    runs = {"A": [], "B": []}
    for second, side in enumerate(order):
        runs[side].append(run(second, (START + timedelta(seconds=second)).isoformat()))
    return runs["A"], runs["B"]


@given(st.lists(st.sampled_from(["AB", "BA"]), min_size=2, max_size=20), st.randoms())
def test_runs_in_turn_are_paired_by_their_times_whatever_their_order_here(twos, random):
    a, b = sides("".join(twos))
    for side in (a, b):
        random.shuffle(side)
    pairs = in_turn(a, b)
    assert len(pairs) == len(twos)
    for first, second in pairs:
        assert first in a
        assert second in b
        assert abs(first.seed - second.seed) == 1  # here a seed is a second


@pytest.mark.parametrize("order", ["AABB", "AB", "ABB", "AABBAB", "ABBAA", "BBAA"])
def test_other_orders_are_no_pairs(order):
    assert in_turn(*sides(order)) == ()


def test_times_that_are_equal_or_no_times_are_no_pairs():
    a, b = sides("ABAB")
    same = [record.model_copy(update={"created_at": a[0].created_at}) for record in b]
    assert in_turn(a, same) == ()
    assert in_turn(a, [record.model_copy(update={"created_at": "noon"}) for record in b]) == ()


def test_one_group_on_each_side_is_compared_whatever_it_differs_in(make_record):
    ((match,), notes) = match_groups([make_record()], [make_record(name="cnn4-ce")])
    assert match.name == "simple-cnn / cnn4-ce"
    assert notes == []


def test_several_groups_are_matched_by_configuration_then_by_name(make_record):
    quick = make_record(0)
    slow = quick.model_copy(update={"config": quick.config | {"lr": 0.5}})
    other, newer = make_record(0, name="cnn4-ce"), make_record(0, name="cnn4-ce")
    newer = newer.model_copy(update={"config": newer.config | {"lr": 0.3}})
    alone = make_record(1, name="dnn4-ce")
    matches, notes = match_groups([quick, slow, other, alone], [newer, slow, quick])
    assert [(match.a, match.b) for match in matches] == [
        ((quick,), (quick,)),
        ((slow,), (slow,)),
        ((other,), (newer,)),
    ]
    assert [match.name for match in matches] == ["simple-cnn #1", "simple-cnn #2", "cnn4-ce"]
    assert notes == ["only in A: dnn4-ce on mnist"]


def test_revisions_that_know_other_settings_still_match_by_configuration(make_record):
    a = [make_record(0), make_record(0, name="cnn4-ce"), make_record(0, name="cnn4-mse")]
    b = [
        record.model_copy(
            update={
                "config": record.config | {"ema_decay": None},
                "environment": record.environment | {"git_commit": "abc"},
            }
        )
        for record in a
    ]
    matches, _ = match_groups(a, b)
    assert [match.name for match in matches] == ["simple-cnn", "cnn4-ce", "cnn4-mse"]


def test_nothing_in_common_is_an_error_that_names_both(make_record):
    a = [make_record(), make_record(name="cnn4-ce")]
    b = [make_record(name="dnn4-ce"), make_record(name="dnn4-mse")]
    with pytest.raises(InputError, match=r"simple-cnn .*dnn4-mse .*nothing in common"):
        match_groups(a, b)
    with pytest.raises(InputError, match="no run in B"):
        match_groups(a, [])


def test_a_seed_run_again_is_told_of(make_record):
    again = make_record(0, created_at="2026-02-01T00:00:00+00:00")
    ((match,), notes) = match_groups([make_record(0), again], [make_record(0)])
    assert match.a == (again,)
    assert notes == ["A: 1 repeated runs of a seed are left out; it counts once"]
