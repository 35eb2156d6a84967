"""What belongs to what on two sides, and which runs were taken in turn."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.metrics import METRICS
from mnistbench.analysis.pairing import match_groups, order_of
from mnistbench.analysis.samples import sample_of
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import PHASES, RunRecord
from tests.made_records import profiled

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(seed, created_at):
    return RunRecord(
        run_id=f"run-{seed}",
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


def balanced(twos):
    """Whether each side goes first as often as the other, to within one."""
    return abs(twos.count("AB") - twos.count("BA")) <= 1


@given(
    st.lists(st.sampled_from(["AB", "BA"]), min_size=2, max_size=20).filter(balanced), st.randoms()
)
def test_runs_in_turn_are_paired_by_their_times_whatever_their_order_here(twos, random):
    a, b = sides("".join(twos))
    for side in (a, b):
        random.shuffle(side)
    order, pairs = order_of(a, b)
    assert order == "in turn"
    assert len(pairs) == len(twos)
    for first, second in pairs:
        assert first in a
        assert second in b
        assert abs(first.seed - second.seed) == 1  # here a seed is a second


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("ABABABAB", "A first"),
        ("BABABA", "B first"),
        ("ABABABBAAB", "A first"),
        *((order, "apart") for order in ("AABB", "AB", "ABB", "AABBAB", "ABBAA", "BBAA")),
    ],
)
def test_other_orders_are_no_pairs(order, said):
    assert order_of(*sides(order)) == (said, ())


def test_times_that_are_equal_or_no_times_are_no_pairs():
    a, b = sides("ABBA")
    same = [record.model_copy(update={"created_at": a[0].created_at}) for record in b]
    assert order_of(a, same) == ("unknown", ())
    noon = [record.model_copy(update={"created_at": "noon"}) for record in b]
    assert order_of(a, noon) == ("unknown", ())


def test_runs_at_the_same_time_were_not_taken_in_turn():
    a, b = sides("ABBAAB")
    for side in (a, b):
        side[1] = side[1].model_copy(update={"phases_s": {"train": 0.6, "eval": 0.3}})
    assert len(order_of(a, b)[1]) == 3
    longer = b[0].model_copy(update={"phases_s": {"train": 0.6, "eval": 0.6}})
    assert order_of(a, [longer, *b[1:]]) == ("at the same time", ())
    started_long_ago = b[0].model_copy(update={"phases_s": {"import": 9.0, "data": 9.0}})
    assert len(order_of(a, [started_long_ago, *b[1:]])[1]) == 3


def at_commit(record, commit, *, dirty=False):
    around = {"git_commit": commit, "git_dirty": dirty}
    return record.model_copy(update={"environment": record.environment | around})


def test_runs_of_one_configuration_are_one_group_whatever_their_commits(make_record):
    a = [at_commit(make_record(seed), "x" * 40) for seed in range(2)]
    a += [at_commit(make_record(seed), "y" * 40, dirty=True) for seed in (2, 3)]
    b = [at_commit(make_record(seed), "z" * 40) for seed in range(4)]
    (match,) = match_groups(a, b).found
    assert (list(match.a), list(match.b)) == (a, b)
    again = at_commit(make_record(0, created_at="2026-02-01T00:00:00+00:00"), "y" * 40)
    found = match_groups([*a, again], b)
    assert list(found.found[0].a) == [*a, again]


def test_one_group_on_each_side_is_compared_whatever_it_differs_in(make_record):
    found = match_groups([make_record()], [make_record(name="cnn4-ce")])
    assert [match.name for match in found.found] == ["simple-cnn / cnn4-ce"]
    assert found[1:4] == ([], [], [])


def test_several_groups_are_matched_by_configuration_then_by_name(make_record):
    quick = make_record(0)
    slow = quick.model_copy(update={"config": quick.config | {"lr": 0.5}})
    other, newer = make_record(0, name="cnn4-ce"), make_record(0, name="cnn4-ce")
    newer = newer.model_copy(update={"config": newer.config | {"lr": 0.3}})
    alone = make_record(1, name="dnn4-ce")
    matches, *rest, _ = match_groups([quick, slow, other, alone], [newer, slow, quick])
    assert [(match.a, match.b) for match in matches] == [
        ((quick,), (quick,)),
        ((slow,), (slow,)),
        ((other,), (newer,)),
    ]
    assert [match.name for match in matches] == [
        *("simple-cnn, lr 0.01", "simple-cnn, lr 0.5", "cnn4-ce")
    ]
    assert rest == [["dnn4-ce"], [], []]


def test_what_users_bring_is_matched_without_the_arguments_that_only_it_has(make_record):
    def own(**config):
        record = make_record(recipe=None)
        told = {"recipe": None, "model": "nets:Tiny", "loss_args": {}} | config
        return record.model_copy(update={"config": record.config | told})

    a = [own(loss="mse", lr=lr) for lr in (0.1, 0.2)]
    b = [own(loss="nets:gce", loss_args={"q": 0.5}, lr=lr) for lr in (0.2, 0.1)]
    found = match_groups(a, b, by="loss").found
    assert [match.name for match in found] == ["Tiny, lr 0.1", "Tiny, lr 0.2"]
    c = [own(loss="nets:gce", loss_args={"q": 0.7}, lr=lr) for lr in (0.1, 0.2)]
    assert len(match_groups(b, c, by="loss_args.q").found) == 2


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
    assert [match.name for match in match_groups(a, b).found] == [
        "simple-cnn",
        "cnn4-ce",
        "cnn4-mse",
    ]


def test_nothing_in_common_is_an_error_that_names_both(make_record):
    a = [make_record(), make_record(name="cnn4-ce")]
    b = [make_record(name="dnn4-ce"), make_record(name="dnn4-mse")]
    with pytest.raises(InputError, match=r"A \(simple-cnn; .*; dnn4-mse\) have nothing in common"):
        match_groups(a, b)
    with pytest.raises(InputError, match="no run in B"):
        match_groups(a, [])


def test_a_seed_run_again_is_a_sample_of_a_speed_and_not_of_an_accuracy(make_record):
    again = make_record(0, created_at="2026-02-01T00:00:00+00:00")
    (match,) = match_groups([make_record(0), again], [make_record(0)]).found
    assert match.a == (make_record(0), again)
    sizes = {name: len(sample_of(match, METRICS[name], None).a) for name in METRICS}
    assert (sizes["samples_per_s"], sizes["test_accuracy"], sizes["time_to_accuracy_s"]) == (
        2,
        1,
        1,
    )


def test_profiled_runs_are_left_out_of_their_side(make_record):
    a = [make_record(0), profiled(make_record(1)), make_record(2)]
    b = [make_record(0), profiled(make_record(2), kinds=[], hooks=["Watcher"])]
    found = match_groups(a, b)
    (match,) = found.found
    assert ([r.seed for r in match.a], [r.seed for r in match.b]) == ([0, 2], [0])
    assert found.notes == [
        "1 of 3 runs of A were profiled and are left out: that costs time",
        "1 of 2 runs of B were profiled and are left out: that costs time",
    ]
    with pytest.raises(InputError, match="compare: the run of B was profiled"):
        match_groups(a, b[1:])
