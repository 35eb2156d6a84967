"""Records of odd shape: reports and comparisons work, or say in one line why not."""

import contextlib
import io
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.make_references import build_reference, save_reference
from mnistbench import compare, report
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import (
    PHASES,
    DatasetInfo,
    EvalPoint,
    RecipeInfo,
    Result,
    RunRecord,
    Target,
    Throughput,
)
from mnistbench.schema.store import record_json, save_record
from tests.foreign_records import foreign_record

ENVIRONMENT = {
    "versions": {"python": "3.11.0", "torch": "2.5.0"},
    "device_type": "cpu",
    "device_name": "a processor",
    "cpu_name": "a processor",
    "driver": None,
    "num_threads": 1,
    "num_processes": 1,
    "launcher": "python",
    "mixed_precision": "no",
    "global_batch_size": 64,
    "git_commit": "0123456789abcdef",
    "git_dirty": False,
}
CONFIG = RunConfig(recipe="simple-cnn", target_accuracy=0.9).model_dump(mode="json")
REPORTS = (
    ("--references", "references"),
    ("--references", "references", "--format", "markdown"),
    ("--references", "references", "--format", "csv"),
    ("--format", "json", "--per-run"),
    ("epochs",),
    ("rules", "--format", "csv"),
    ("targets", "--targets=0.8", "--format", "json"),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "\x1b[31m", "a\nb"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def make_record(seed):
    point = EvalPoint(
        step=10,
        epoch=1.0,
        samples_seen=640,
        train_s=2.0 + seed / 10,
        split="val",
        loss=0.1,
        accuracy=0.9 + seed / 100,
    )
    return RunRecord(
        run_id=f"run-{seed}",
        status="completed",
        created_at="2026-01-01T00:00:00+00:00",
        seed=seed,
        recipe=RecipeInfo(name="simple-cnn", source="a page"),
        config=CONFIG | {"seed": seed},
        environment=ENVIRONMENT,
        dataset=DatasetInfo(
            name="mnist", source="local", sha256="0", num_train=640, num_val=100, num_test=100
        ),
        num_epochs=1.0,
        num_steps=10,
        eval_points=[point],
        phases_s=dict.fromkeys(PHASES, 0.0) | {"train": 3.0},
        wall_s=10.0,
        throughput=Throughput(samples_per_s=1000.0 + seed),
        result=Result(val_accuracy=point.accuracy, test_accuracy=0.9, target_accuracy=0.9),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder a has two records, b will have a third of odd shape, references has the curve."""
    root = tmp_path_factory.mktemp("odd")
    for seed in range(2):
        save_record(make_record(seed), root / "a" / str(seed))
    reference = build_reference([make_record(seed) for seed in range(5)], made_by="a command")
    save_reference(reference, root / "references" / "curve.json")
    (root / "b").mkdir()
    return root


def run(door, argv):
    """What `door` leaves on `argv`: its status and stderr, with streams as strict as real ones."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = door.main(argv)
        except SystemExit as stop:
            status = stop.code
    err.flush()
    return status, err.buffer.getvalue().decode()


@pytest.mark.slow
@given(
    part=st.sampled_from(
        [("config", key) for key in CONFIG] + [("environment", key) for key in ENVIRONMENT]
    ),
    value=JSON,
    gone=st.booleans(),
    flags=st.sampled_from(REPORTS),
)
@example(part=("config", "eval_split"), value=None, gone=True, flags=REPORTS[0])
@example(part=("config", "eval_split"), value="train", gone=False, flags=REPORTS[4])
@example(part=("config", "lr_schedule"), value=["x"], gone=False, flags=REPORTS[0])
@example(part=("config", "target_accuracy"), value="x", gone=False, flags=REPORTS[0])
@example(part=("config", "loop"), value="\ud800", gone=False, flags=REPORTS[2])
@example(part=("environment", "versions"), value=[1], gone=False, flags=REPORTS[0])
@example(part=("environment", "mixed_precision"), value=[1], gone=False, flags=REPORTS[0])
@settings(max_examples=150)
def test_any_value_of_a_record_is_shown_or_refused_in_one_line(folder, part, value, gone, flags):
    values = json.loads(record_json(make_record(2)))
    if gone:
        del values[part[0]][part[1]]
    else:
        values[part[0]][part[1]] = value
    (folder / "b" / "record.json").write_text(json.dumps(values))
    flags = [str(folder / flag) if flag == "references" else flag for flag in flags]
    a, b = str(folder / "a"), str(folder / "b")
    for door, argv in ((report, [*flags, a, b]), (compare, [a, b])):
        status, err = run(door, argv)
        assert status in {0, 2}
        left_out = err.startswith("mnistbench: 1 of 3 records could not be read")
        assert err.count("\n") == (status == 2 or left_out)
        assert err.startswith("mnistbench: error: ") == (status == 2)


@pytest.mark.slow
@given(
    config=st.dictionaries(
        st.text(max_size=4) | st.sampled_from(["n", "run", "target", "status", "model", "lr"]),
        JSON,
        max_size=4,
    ),
    metric=st.sampled_from(["loss", "accuracy", "val/f1:macro", "n", "samples_per_s"]),
    values=st.lists(st.floats(0, 1), max_size=3),
    target=st.none() | st.floats(-1, 2),
    flags=st.sampled_from([*REPORTS, ("--html", "page.html"), ("--plot", "plot.svg")]),
)
@settings(max_examples=25)
def test_any_configuration_and_metric_of_another_loop_is_shown_or_refused_in_one_line(
    folder, config, metric, values, target, flags
):
    made = foreign_record(0, values, metric=metric, config=config).model_copy(
        update={"target": None if target is None else Target(metric=metric, value=target)}
    )
    other = foreign_record(1, (0.5,), metric="loss", config=config | {"lr": 1})
    for number, record in enumerate((made, other)):
        (folder / "foreign" / str(number)).mkdir(parents=True, exist_ok=True)
        (folder / "foreign" / str(number) / "record.json").write_text(record_json(record))
    names = {"references", "page.html", "plot.svg"}
    flags = [str(folder / flag) if flag in names else flag for flag in flags]
    a, b = str(folder / "a"), str(folder / "foreign")
    for door, argv in ((report, [*flags, a, b]), (report, [*flags, b]), (compare, [a, b])):
        status, err = run(door, argv)
        known = (" written to ", " could not be read ")
        said = [line for line in err.splitlines() if not any(word in line for word in known)]
        assert status in {0, 2}
        assert len(said) == (status == 2)
        assert "".join(said).startswith("mnistbench: error: ") == (status == 2)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"config": {}}, "config: eval_split is missing"),
        ({"config": CONFIG | {"eval_split": "train"}}, "config: eval_split: should be 'val' or"),
        ({"config": CONFIG | {"lr_schedule": ["x"]}}, "config: lr_schedule: "),
        ({"config": CONFIG | {"target_accuracy": 97}}, "config: target_accuracy: "),
        ({"environment": {"versions": [1]}}, "environment: versions: "),
        ({"environment": {"mixed_precision": 16}}, "environment: mixed_precision: "),
        ({"environment": {"global_batch_size": "64"}}, "environment: global_batch_size: "),
    ],
)
def test_what_readers_rely_on_is_refused_by_its_name(tmp_path, values, says):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(json.loads(record_json(make_record(0))) | values))
    status, err = run(report, [str(path)])
    assert status == 2
    assert f"{path}: not a record: {says}" in err
    assert err.count("\n") == 1


def test_a_run_that_failed_before_an_evaluation_needs_no_split(tmp_path):
    bare = json.loads(record_json(make_record(0))) | {"config": {}, "eval_points": []}
    (tmp_path / "record.json").write_text(json.dumps(bare | {"status": "failed"}))
    for flags in ([], ["rules"], ["targets", "--targets=0.9"]):
        assert run(report, [*flags, str(tmp_path)]) == (0, "")
