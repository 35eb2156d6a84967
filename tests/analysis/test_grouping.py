"""Which runs are one, and which of them count."""

from mnistbench.analysis.grouping import differences, group_labels, group_runs
from mnistbench.schema.record import DatasetInfo
from tests.made_records import profiled


def test_runs_that_differ_in_anything_but_the_seed_stay_apart(make_record):
    data = make_record().dataset.model_dump()
    downloaded = DatasetInfo(**data | {"source": "downloaded"})
    other_data = DatasetInfo(**data | {"sha256": "1"})
    records = [
        make_record(0),
        make_record(1),
        make_record(2, dataset=downloaded),
        make_record(3, dataset=other_data),
        make_record(4, target=0.98),
        make_record(5, status="diverged"),  # an outcome, not another run
        make_record(6, environment=make_record().environment | {"num_threads": 2}),
        make_record(7, environment=make_record().environment | {"git_dirty": True}),
    ]
    sizes = [len(group) for group in group_runs(records)]
    assert sizes == [4, 1, 1, 1, 1]


def test_places_and_what_only_the_exit_status_reads_make_no_other_run(make_record):
    def with_config(seed, **values):
        return make_record(seed, config=make_record(seed).config | values)

    same = [
        make_record(0),
        with_config(1, output_dir="elsewhere", data_dir="here"),
        with_config(2, num_seeds=3, require_target=True, eval_batch_size=10),
    ]
    assert list(map(len, group_runs([*same, with_config(3, lr=0.5)]))) == [3, 1]


def test_a_seed_that_was_run_again_is_no_second_sample(make_record):
    first = make_record(0, wall_s=10.0)
    again = make_record(0, wall_s=20.0, created_at="2026-02-01T00:00:00+00:00")
    for records in ([first, again], [again, first]):
        assert group_runs(records) == [[again]]


def test_an_interrupted_repeat_hides_no_run_that_came_to_its_end(make_record):
    done = make_record(0)
    later = {"created_at": "2026-02-01T00:00:00+00:00"}
    stopped = make_record(0, status="interrupted", **later)
    failed = make_record(1, status="failed")
    mended = make_record(1, **later)
    assert group_runs([done, stopped, mended, failed]) == [[done, mended]]
    diverged = make_record(0, status="diverged", **later)
    assert group_runs([done, diverged]) == [[diverged]]


def test_a_profiled_run_stays_apart_and_hides_none(make_record):
    plain = make_record(0)
    later = {"created_at": "2026-02-01T00:00:00+00:00"}
    traced = profiled(make_record(0, **later))
    hooked = profiled(make_record(0, **later), kinds=[], hooks=["Watcher"])
    groups = group_runs([plain, traced, hooked], across_commits=True)
    assert groups == [[plain], [traced], [hooked]]
    assert differences(groups) == ["profile []", "profile ['torch']", "profile [], hooks Watcher"]
    assert hooked.config == plain.config
    labels = ["simple-cnn on mnist", *(f"simple-cnn on mnist, profiled #{n}" for n in (1, 2))]
    assert group_labels(groups) == labels


def test_seeds_that_were_profiled_alike_are_one_group(make_record):
    traced = [profiled(make_record(seed), hooks=["Watcher"]) for seed in range(3)]
    assert group_runs(traced) == [traced]
