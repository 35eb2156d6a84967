"""Which runs are one, and which of them count."""

import pytest

from mnistbench.analysis.grouping import differences, group_labels, group_runs, identify
from mnistbench.analysis.stability import mark_notes
from mnistbench.output.export import export_rows
from mnistbench.schema.record import DatasetInfo, RecipeInfo, Result
from tests.made_records import interruption, own_code, profiled
from tests.made_records import make_record as make_one


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
    # which images of a batch are seen shifted depends on the others in it
    shifted = [with_config(n, eval_shift_share=0.1, eval_batch_size=n) for n in (1, 2)]
    assert list(map(len, group_runs(shifted))) == [1, 1]


def test_a_seed_that_was_run_again_stays_in_its_group(make_record):
    runs = [make_record(0), make_record(0, created_at="2026-02-01"), make_record(1)]
    assert group_runs(runs) == [runs]
    told = identify(runs)
    assert (told["n"], told["num_seeds"]) == (3, 2)
    (row,) = export_rows([runs])
    assert (row["samples_per_s_n"], row["test_accuracy_n"]) == (3, 2)
    assert row["time_to_accuracy_s_n"] == 2


@pytest.mark.parametrize(
    "key", ["launcher", "git_diff_sha256", "git_dirty", "git_commit", "code_sha256"]
)
def test_another_launcher_or_other_code_is_another_row(make_record, key):
    one, other = (
        make_record(seed, environment=make_record().environment | {key: f"value {seed}"})
        for seed in range(2)
    )
    assert group_runs([one, other]) == [[one], [other]]
    assert differences([[one], [other]]) == [f"{key} value 0", f"{key} value 1"]
    assert len(group_runs([one, other], across_commits=True)) == 1 + (key == "launcher")


def test_two_contents_of_one_file_are_two_rows_told_apart_by_it(make_record):
    beside = own_code(7, components=("model",), place="torch.optim")
    runs = [make_record(seed, code=[*own_code(1 + seed // 2), *beside]) for seed in range(4)]
    plain = make_record(4)
    groups = group_runs([*runs, plain])
    assert groups == group_runs([*runs, plain], across_commits=True)
    assert groups == [runs[:2], runs[2:], [plain]]
    assert differences(groups[:2]) == ["code of my_nets 1111111111", "code of my_nets 2222222222"]
    assert differences([runs[:2]]) == [""]
    rows = export_rows(groups)
    assert [row["code"] for row in rows] == [
        "my_nets 1111111111, torch.optim 7777777777",
        "my_nets 2222222222, torch.optim 7777777777",
        None,
    ]
    assert not [name for name in rows[0] if name.startswith("code_of")]


def test_a_file_that_only_some_use_is_told_by_their_components(make_record):
    plain = make_record()
    own = make_record(
        config=plain.config | {"optimizer": "torch.optim:NAdam"},
        code=own_code(7, components=("optimizer",), place="torch.optim"),
    )
    told = f"optimizer {plain.config['optimizer']}"
    assert differences([[own], [plain]]) == ["optimizer torch.optim:NAdam", told]


def test_a_run_that_went_on_under_other_code_is_a_row_of_its_own(make_record):
    changes = {"git_commit": ["a" * 40, "b" * 40], "torch": ["2.11", "2.14"]}
    runs = [make_record(seed) for seed in range(2)]
    runs += [make_record(seed, interruptions=[interruption()]) for seed in (2, 3)]
    mixed = [make_record(seed, interruptions=[interruption(**changes)]) for seed in (4, 5)]
    groups = group_runs([*runs, *mixed])
    assert groups == [runs, mixed[:1], mixed[1:]]
    change = "changed at step 4: git_commit aaaaaaaaaa → bbbbbbbbbb, torch 2.11 → 2.14"
    said = ["git_commit –", *[f"git_commit {change} ({run.run_id})" for run in mixed]]
    assert differences(groups) == said
    assert mark_notes([mixed]) == [f"code {change}"] * 2
    assert len(group_runs([*runs, *mixed], across_commits=True)) == 1


def foreign(make_record, **changes):
    bare = {"recipe": None, "dataset": None, "eval_points": [], "config": {}, "environment": {}}
    return make_record(**{"num_parameters": None, **bare, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"num_parameters": 5_000_000},
        {"num_epochs": 2.0},
        {"num_steps": 7},
        {"recipe": RecipeInfo(name="theirs", source="a page")},
        {"dataset": make_one().dataset},
        {"result": Result(target_accuracy=0.5)},
    ],
)
def test_records_without_a_configuration_are_told_apart_by_what_there_is(make_record, changes):
    known = {"num_parameters": 1000, "num_epochs": 5.0, "num_steps": 50}
    alike = [foreign(make_record, seed=seed, **known) for seed in range(2)]
    other = foreign(make_record, seed=2, **known | changes)
    assert group_runs([*alike, other]) == [alike, [other]]


def test_records_that_say_nothing_are_never_one(make_record):
    nothing = {"num_epochs": 0.0, "num_steps": 0}
    runs = [foreign(make_record, seed=0, run_id=name, **nothing) for name in ("one", "two")]
    assert len(group_runs(runs)) == 2


def test_a_profiled_run_stays_apart_and_hides_none(make_record):
    plain = make_record(0)
    later = {"created_at": "2026-02-01T00:00:00+00:00"}
    traced = profiled(make_record(0, **later))
    hooked = profiled(make_record(0, **later), kinds=[], hooks=["Watcher"])
    groups = group_runs([plain, traced, hooked], across_commits=True)
    assert groups == [[plain], [traced], [hooked]]
    assert differences(groups) == [
        "profile none, hooks –",
        "profile torch, hooks –",
        "profile none, hooks Watcher",
    ]
    assert hooked.config == plain.config
    labels = [
        "simple-cnn, profile none, hooks – on mnist",
        "simple-cnn, profile torch, hooks – on mnist, profiled",
        "simple-cnn, profile none, hooks Watcher on mnist, profiled",
    ]
    assert group_labels(groups) == labels


def test_seeds_that_were_profiled_alike_are_one_group(make_record):
    traced = [profiled(make_record(seed), hooks=["Watcher"]) for seed in range(3)]
    assert group_runs(traced) == [traced]
