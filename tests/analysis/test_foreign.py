"""Records of loops that are not ours: nothing of their configuration is taken for ours."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistbench.analysis.best_config import check_metric, select
from mnistbench.analysis.bottleneck import limits_notes
from mnistbench.analysis.comparison import compare, compare_sets, default_metrics
from mnistbench.analysis.free_metrics import check_name, metric_named
from mnistbench.analysis.gates import judge, parse_gate
from mnistbench.analysis.grouping import (
    accuracy_by_epoch,
    full_names,
    group_labels,
    group_runs,
    identify,
)
from mnistbench.analysis.metrics import METRICS, score_target
from mnistbench.analysis.pairing import as_one
from mnistbench.analysis.reference_bands import check_group, packaged_references
from mnistbench.analysis.rows import change_text, label_text, verdict_text
from mnistbench.analysis.rules import score_rules
from mnistbench.analysis.scaling.analysis import analyse_scaling
from mnistbench.analysis.settled import settled
from mnistbench.analysis.splitting import split
from mnistbench.analysis.stability import mark_notes
from mnistbench.analysis.standing import standing
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import CodeInfo, RunRecord, Target, Throughput, WorkloadInfo
from tests.foreign_records import foreign_record
from tests.made_records import make_record


def side(values, *, first=0, n=10, **changes):
    """Runs of `n` seeds, taken in turn with those of a side whose `first` is the other of 0 and 1;
    the last of `values` differs a little from seed to seed."""
    return [
        foreign_record(
            seed if changes.get("seeds", True) else None,
            (*values[:-1], values[-1] + seed / 1000),
            index=2 * seed + (seed + first) % 2,
            **{key: value for key, value in changes.items() if key != "seeds"},
        )
        for seed in range(n)
    ]


def row(comparison, metric):
    return next(row for row in comparison.rows if row.metric == metric)


@pytest.mark.parametrize(
    ("metric", "values", "other", "verdict", "change"),
    [
        ("perplexity", (40.0, 18.0), (40.0, 19.5), "higher (worse)", "+8"),
        ("eval/loss", (2.0, 1.0), (2.0, 0.9), "lower (better)", "-10"),
        ("f1", (0.5, 0.7), (0.5, 0.8), "higher (better)", "+1"),
        ("val/accuracy", (0.5, 0.7), (0.5, 0.8), "higher", "+10.00 points"),
        ("reward", (-9.0, -3.0), (-9.0, -1.0), "higher (better)", "+2 "),
    ],
)
def test_any_metric_that_was_evaluated_is_compared_by_its_name(
    metric, values, other, verdict, change
):
    a, b = (side(its, first=first, metric=metric) for first, its in enumerate((values, other)))
    assert default_metrics(a, b)[-1] == metric
    found = row(compare(a, b), metric)
    assert verdict_text(found) == verdict
    assert change_text(found).startswith(change)
    assert found.caveat is None


def test_the_metric_of_the_target_is_compared_before_others():
    (point,) = foreign_record(values=(18.0,)).eval_points
    point = replace(point, metrics={"a": 1.0, "b": 1.0, "c": 1.0} | point.metrics, loss=1.0)
    runs = [foreign_record(eval_points=[point], throughput=Throughput(step_s_p50=0.1))]
    names = default_metrics(runs, runs)
    assert names[:3] == ("step_s_p50", "time_to_accuracy_s", "perplexity")
    assert len(names) == 5


def test_the_target_says_which_way_is_better():
    told = {"target": Target(metric="score", value=1.0, higher_is_better=False)}
    runs = side((3.0, 2.0), metric="score", **told)
    assert not metric_named("score", runs).higher_is_better
    assert metric_named("score", side((3.0, 2.0), metric="score")).higher_is_better


def test_a_time_to_a_target_of_any_metric_has_two_names():
    a, b = side((40.0, 18.0)), side((40.0, 35.0, 30.0, 18.0), first=1)
    table = compare(a, b, metrics=["time_to_target_s", "time_to_accuracy_s", "steps_to_target"])
    assert [r.metric for r in table.rows] == ["time_to_accuracy_s", "steps_to_accuracy"]
    assert label_text(table.rows[0]) == "time to perplexity ≤ 20"
    assert table.rows[0].target.accuracy is None
    assert [r.verdict for r in table.rows] == ["slower", "slower"]
    a, b = side((40.0, 18.0), n=20), side((40.0, 35.0, 30.0, 18.0), n=20, first=1)
    said = settled([as_one(a, b)], metric="steps_to_target")
    assert said == "settled after 20 pairs: B is slower than A (steps)"
    assert score_target(a, None).time_s.reached == 20
    assert "perplexity" not in {r.rule for r in score_rules(a, None)}


def test_a_run_that_misses_a_target_is_censored_and_a_diverged_one_never_there():
    missed = foreign_record(0, (40.0, 30.0))
    assert METRICS["time_to_accuracy_s"].of([missed]).value is None
    points = [replace(p, diverged=True) for p in foreign_record().eval_points]
    assert not METRICS["steps_to_accuracy"].of([foreign_record(eval_points=points)]).reached


def test_a_target_that_is_asked_for_is_no_time_where_it_was_never_evaluated():
    runs = side((40.0, 18.0))
    found = row(compare(runs, runs, target_accuracy=0.9), "time_to_accuracy_s")
    assert (found.a.n, found.reason) == (0, "no target that was evaluated in A and B")


def test_evaluations_of_other_metrics_do_not_bound_a_time():
    record = foreign_record(values=(40.0, 18.0))
    between = replace(record.eval_points[0], step=15, train_s=3.0, metrics={"f1": 0.5})
    first, last = record.eval_points
    record = record.model_copy(update={"eval_points": [first, between, last]})
    time = METRICS["time_to_accuracy_s"].of([record])
    assert (time.above, time.at_most) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("gate", "state"),
    [
        ("perplexity > +2%", "fired"),
        ("perplexity > +20%", "passed"),
        ("perplexity < 19", "passed"),
        ("steps_to_target > 20", "passed"),
        ("samples_per_s < -50%", "passed"),
    ],
)
def test_a_gate_takes_any_metric(gate, state):
    a, b = side((40.0, 18.0)), side((40.0, 19.5), first=1)
    gate = parse_gate(gate)
    (found,) = judge(compare(a, b, metrics=[gate.metric]), [gate])
    assert found.state == state


def test_a_metric_below_0_has_no_change_in_percent():
    a, b = (side((-9.0, -3.0), first=x, metric="reward") for x in (0, 1))
    table = compare(a, b, metrics=["reward"])
    found = judge(table, [parse_gate("reward < -5%"), parse_gate("reward < -5")])
    assert [outcome.state for outcome in found] == ["cannot be judged", "passed"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("perplexiti", "did you mean perplexity?"),
        ("nothing", "use one of perplexity, samples_per_s, step_s_p50"),
        ("time_to_targets", "did you mean time_to_target_s?"),
    ],
)
def test_a_metric_that_no_run_has_is_one_line_with_those_there_are(name, says):
    with pytest.raises(InputError, match=r"^metrics: unknown metric") as error:
        compare(side((40.0, 18.0)), side((40.0, 18.0)), metrics=[name])
    assert says in str(error.value)
    with pytest.raises(InputError, match=r"^fail_if: unknown metric"):
        check_name(parse_gate(f"{name} < -5%").metric, field="fail_if")


def test_a_grid_is_chosen_by_any_metric_and_not_on_test():
    runs = [
        *side((40.0, 18.0), config={"lr": 0.1}),
        *side((40.0, 15.0), first=1, config={"lr": 0.2}),
    ]
    assert select(runs, "perplexity").winner.name == "org/lm:small, lr 0.2"
    assert select(runs, "time_to_target_s").metric == "time_to_accuracy_s"
    with pytest.raises(InputError, match=r"^select: f1 of these .*read on test.*split=\"val\""):
        select(side((0.5, 0.7), metric="f1", split="test"), "f1")
    with pytest.raises(InputError, match=r"^select: unknown metric 'f1'"):
        check_metric("f1")
    assert check_metric("f1", free=True) == "f1"


def test_what_varies_names_runs_and_what_is_ignored_does_not():
    told = {"ignored": ["log_dir", "optim.beta"], "code": []}
    runs = [
        foreign_record(seed, index=index, config=config, **told)
        for index, (seed, config) in enumerate(
            (seed, {"lr": lr, "data_seed": seed, "optim": {"beta": lr}, "log_dir": f"x{seed}"})
            for lr in (0.1, 0.2)
            for seed in range(2)
        )
    ]
    groups = group_runs(runs)
    assert full_names(groups) == ["org/lm:small, lr 0.1", "org/lm:small, lr 0.2"]
    assert group_labels(groups)[0] == "org/lm:small, lr 0.1 (n = 2)"
    assert [x.name for x in split(runs, "lr")] == ["lr 0.1", "lr 0.2"]
    assert compare_sets(split(runs, "lr"), metrics=["perplexity"], by="lr").rows


def test_workloads_are_compared_in_all_that_is_the_same_but_their_name():
    sides = [
        foreign_record(seed, index=100 * place + 10 * int(10 * lr) + seed, name=name, config=config)
        for place, name in enumerate(("org/a", "org/b"))
        for lr in (0.1, 0.2)
        for config in [{"lr": lr}]
        for seed in range(2)
    ]
    found = compare_sets(split(sides, "name"), metrics=["perplexity"], by="name")
    assert [r.name for r in found.rows] == ["lr 0.1", "lr 0.2"]
    assert not found.missing


def test_keys_that_mean_something_of_ours_are_the_users_own():
    config = {
        "model": ["a", "list"],
        "loss": 0.3,
        "eval_split": "test",
        "target_accuracy": "high",
        "profile": True,
        "stop_at_target": True,
        "loop": "fast",
        "mixed_precision": "bf16",
        "device": "mine",
    }
    a = side((40.0, 18.0), config=config)
    b = side((40.0, 18.0), first=1, config=config | {"mixed_precision": "no", "loss": 0.4})
    told = identify(a)
    assert (told["recipe"], told["model"], told["loop"]) == ("org/lm:small", None, None)
    assert told["profiled_runs"] == 0
    assert len(group_runs(a + b)) == 2
    assert {x.name for x in split(a + b, "loss")} == {"0.3", "0.4"}
    with pytest.raises(InputError, match=r"^by: device is mine in all 20 runs"):
        split(a + b, "device")
    (note,) = (x for x in compare(a, b).notes if x.startswith("B differs in"))
    assert note == (
        "B differs in: loss 0.4 instead of 0.3, config.mixed_precision no instead of bf16"
    )


ON_CPU = {"device_type": "cpu", "num_processes": 1, "global_batch_size": 32}


@pytest.mark.parametrize(
    ("changes", "num_groups"),
    [
        ({}, 1),
        ({"environment": ON_CPU | {"global_batch_size": 64}}, 2),
        ({"environment": ON_CPU | {"global_batch_size": None}, "status": "failed"}, 1),
        ({"environment": ON_CPU | {"device_type": "cuda"}}, 2),
        ({"workload": WorkloadInfo(name="org/lm:small", framework="jax")}, 2),
    ],
)
def test_runs_of_one_name_are_told_apart_by_what_ran(changes, num_groups):
    runs = [foreign_record(0), foreign_record(1, **changes), foreign_record(2)]
    groups = group_runs(runs)
    assert len(groups) == num_groups
    assert sum(map(len, groups)) == 3
    assert groups[0][-1] is runs[2]
    assert len(set(group_labels(groups))) == num_groups


def test_scripts_of_one_name_are_told_apart_by_their_code():
    codes = [
        [CodeInfo(component="script", reference=f"{x}.py:__main__", sha256=x * 64)] for x in "ab"
    ]
    groups = group_runs([foreign_record(i, code=code) for i, code in enumerate(codes)])
    names = full_names(groups)
    assert names == ["org/lm:small, script a.py:__main__", "org/lm:small, script b.py:__main__"]


def test_a_seed_that_was_not_told_makes_each_run_a_sample():
    runs = side((0.5, 0.7), metric="f1", seeds=False)
    assert metric_named("f1", runs).of(runs).n == 10
    assert identify(runs)["num_seeds"] == 10
    same = [foreign_record(0, (0.5, 0.7), metric="f1", index=i) for i in range(6)]
    assert metric_named("f1", same).of(same).n == 1


@pytest.mark.parametrize(
    ("changes", "refusal", "caveat"),
    [
        ({}, None, "dataset not told of B"),
        ({"split": "val"}, "different eval_split", "dataset not told of B"),
        ({"environment": {"device_type": "cuda"}}, None, "dataset not told of B"),
    ],
)
def test_what_one_side_does_not_tell_is_said_and_forbids_nothing(changes, refusal, caveat):
    ours = [make_record(seed) for seed in range(6)]
    told = {"metric": "accuracy", "split": "test", "target": None} | changes
    theirs = side((0.90, 0.97), **told)
    found = row(compare(ours, theirs, metrics=["accuracy"]), "accuracy")
    assert (found.refusal, found.caveat) == (refusal, caveat)
    assert (found.verdict == "no verdict") == (refusal is not None)


def test_speeds_from_different_steps_on_are_said():
    a = side((40.0, 18.0))
    b = side((40.0, 18.0), first=1, throughput=Throughput(samples_per_s=100, from_step=5))
    assert row(compare(a, b), "samples_per_s").caveat == "speed from step 2 on in A, 5 in B"


def test_waiting_for_data_is_training_and_is_said():
    record = foreign_record()
    assert METRICS["train_s"].of([record]).value == 6.0
    assert limits_notes([[record]]) == ["waits for data: 33 % of training"]


def test_more_processes_are_compared_without_data_or_target():
    def run(processes, speed, seed):
        batch = {"num_processes": processes, "num_threads": 1, "global_batch_size": 32 * processes}
        return foreign_record(
            seed,
            (),
            environment={"device_type": "cpu", "num_usable_cores": 4} | batch,
            config={"batch_size": 32, "seed": seed},
            index=10 * processes + seed,
            target=None,
            throughput=Throughput(samples_per_s=speed + seed),
        )

    runs = [run(*at, seed) for at in ((1, 100), (2, 190)) for seed in range(3)]
    (report,) = analyse_scaling(runs)
    assert (report.name, report.target) == ("org/lm:small", None)
    (gain,) = report.measured[1].speedups
    assert (gain.scaling, round(gain.speed.value, 1)) == ("weak", 1.9)
    assert (gain.time, gain.steps) == (None, None)


_KEYS = st.sampled_from(
    [
        *("model", "loss", "lr", "seed", "eval_split", "target_accuracy", "recipe", "profile"),
        *("dataset", "optim", "optim.lr", "num_processes", "torch", "lr_scaling", "loop", "", "ü"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=2),
    max_leaves=4,
)
_NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
_REFERENCES = packaged_references()
_METRICS = st.sampled_from(["f1", "val/loss", "accuracy:top5", "test/accuracy", "perplexity"])


@st.composite
def _records(draw):
    metric = draw(_METRICS)
    values = draw(st.lists(_NUMBERS, max_size=3))
    made = foreign_record(
        draw(st.none() | st.integers(0, 2)),
        (),
        index=draw(st.integers(0, 10**6)),
        config=draw(st.dictionaries(_KEYS, _VALUES, max_size=4)),
        ignored=draw(st.lists(_KEYS, max_size=2)),
        workload=WorkloadInfo(name=draw(st.sampled_from(["a b:c/d@1", "mlp"])), framework="python"),
        status=draw(st.sampled_from(["completed", "diverged", "failed", "interrupted"])),
        environment=draw(
            st.sampled_from([{}, {"num_processes": 2}, {"device_type": "cuda", "versions": {}}])
        ),
        phases_s=draw(st.sampled_from([{}, {"train": 1.0}, {"data_wait": 0.0, "x/y:z": 2.0}])),
        target=draw(
            st.none()
            | st.builds(
                Target,
                metric=_METRICS,
                value=st.floats(-1e300, 1e300),
                higher_is_better=st.booleans(),
                split=st.sampled_from(["val", "test"]),
            )
        ),
    )
    point = foreign_record().eval_points[0]
    points = [replace(point, step=i, metrics={metric: v}) for i, v in enumerate(values)]
    return RunRecord(**made.model_dump() | {"eval_points": points, "metrics": {}})


@settings(max_examples=50)
@given(st.lists(_records(), min_size=1, max_size=4), st.lists(_records(), min_size=1, max_size=2))
def test_no_analysis_fails_on_a_record_of_another_loop(a, b):
    runs = [*a, *b]
    groups = group_runs(runs)
    assert sum(map(len, groups)) == len(runs)
    assert len(group_labels(groups)) == len(full_names(groups)) == len(groups)
    for group in groups:
        identify(group), accuracy_by_epoch(group), check_group(group, _REFERENCES)
        score_rules(group, None), score_rules(group, 0.5), score_target(group, 0.5)
    limits_notes(groups), mark_notes(groups)
    for metric in ("samples_per_s", "time_to_target_s", "f1", "val/loss", "perplexity"):
        for asked in (
            lambda name: standing(groups, name),
            lambda name: select(runs, name),
            lambda name: compare(a, b, metrics=[name]),
        ):
            _one_line(asked, metric)
    for key in ("lr", "model", "optim.lr", "workload"):
        _one_line(split, runs, key)
    _one_line(analyse_scaling, runs)
    _one_line(compare, a, [make_record()])


def _one_line(asked, *arguments):
    said = ""
    try:
        asked(*arguments)
    except InputError as error:
        said = str(error)
    assert said.isprintable()
