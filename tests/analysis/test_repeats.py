"""Several runs of one seed: which of them a figure is of."""

from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.grouping import group_runs
from mnistbench.analysis.repeats import began_a_process, counted, one_per_seed
from mnistbench.output.export import export_rows
from mnistbench.schema.record import PHASES, Throughput
from tests.made_records import make_record

LATER = {"created_at": "2026-02-01T00:00:00+00:00"}


def test_of_each_seed_the_newest_run_counts():
    first, again, other = make_record(0), make_record(0, **LATER), make_record(1)
    for runs in ([first, again, other], [other, again, first]):
        assert sorted(one_per_seed(runs), key=lambda run: run.seed) == [again, other]


def test_a_repeat_without_an_end_of_its_own_hides_none_that_has_one():
    done, stopped = make_record(0), make_record(0, status="interrupted", **LATER)
    failed, mended = make_record(1, status="failed"), make_record(1, **LATER)
    assert one_per_seed([done, stopped, mended, failed]) == [done, mended]
    diverged = make_record(0, status="diverged", **LATER)
    assert one_per_seed([done, diverged]) == [diverged]


def test_what_did_not_complete_counts_where_nothing_did():
    failed, done = make_record(0, status="failed"), make_record(1)
    assert counted([failed, done]) == [done]
    assert counted([failed]) == [failed]


def test_a_later_seed_of_a_command_began_no_process():
    assert not began_a_process(make_record())
    phases = dict.fromkeys(PHASES, 0.0) | {"import": 2.0}
    assert began_a_process(make_record(phases_s=phases))


RUNS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["completed", "failed", "diverged", "interrupted"]),
        st.sampled_from(["2026-01-01", "2026-02-01"]),
        st.sampled_from([0.9, 0.96, 0.97, 0.98]),
        st.floats(1, 1e4),
    ),
    min_size=1,
    max_size=8,
)


@given(RUNS, st.randoms(use_true_random=False))
def test_the_order_of_records_changes_no_figure(drawn, random):
    runs = [
        make_record(
            seed,
            (0.9, accuracy),
            run_id=f"run-{number}",
            status=status,
            created_at=created_at,
            throughput=Throughput(samples_per_s=speed),
        )
        for number, (seed, status, created_at, accuracy, speed) in enumerate(drawn)
    ]
    shuffled = random.sample(runs, len(runs))
    (one,), (other,) = group_runs(runs), group_runs(shuffled)
    listed = {"seeds", "run_ids", "status"}  # as they came
    assert {k: v for k, v in export_rows([one])[0].items() if k not in listed} == {
        k: v for k, v in export_rows([other])[0].items() if k not in listed
    }
