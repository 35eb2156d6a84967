"""Records: saved whole, never replaced, read strictly."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable
from mnistbench.schema.record import PHASES, SCHEMA_VERSION, RunRecord
from mnistbench.schema.store import (
    find_records,
    load_record,
    load_records,
    record_json,
    save_record,
)
from mnistbench.schema.target import Target

needs_user = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)


@pytest.fixture
def record():
    return RunRecord(
        run_id="one",
        status="completed",
        created_at="2026-01-01T00:00:00+00:00",
        seed=0,
        recipe=None,
        config={"lr": 0.1},
        environment={},
        dataset=None,
        phases_s=dict.fromkeys(PHASES, 0.0),
        wall_s=0.0,
    )


def test_what_is_saved_is_what_is_read(record, tmp_path):
    path = save_record(record, tmp_path / "run")
    assert load_record(path) == record
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_a_record_is_never_replaced(record, tmp_path):
    save_record(record, tmp_path)
    with pytest.raises(InputError, match="already holds a record"):
        save_record(record.model_copy(update={"run_id": "two"}), tmp_path)
    assert load_record(tmp_path / "record.json").run_id == "one"


def test_a_folder_that_is_a_file_is_one_line(record, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        save_record(record, tmp_path / "file" / "run")
    with pytest.raises(InputError, match="is not a folder"):
        check_writable(tmp_path / "file" / "runs")


@needs_user
def test_a_read_only_folder_is_found_before_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no right to write"):
        check_writable(tmp_path / "runs")


@needs_user
def test_a_folder_that_may_not_be_entered_is_one_line(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="cannot be read"):
        find_records([tmp_path / "closed" / "record.json"])
    with pytest.raises(InputError, match="no right to write"):
        check_writable(tmp_path / "closed" / "runs")


def test_check_writable_writes_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a record"),
        ("{", "not a record"),
        ('{"schema_version": 1, "wall_s": NaN}', "NaN is not strict JSON"),
        ("[]", "no schema_version"),
        ('{"schema_version": "1"}', "no schema_version"),
        (f'{{"schema_version": {SCHEMA_VERSION + 1}}}', "newer"),
        ('{"schema_version": 1}', "run_id"),
        ("[" * 200_000, "nested too deeply"),
        ("\udcff", "not a record"),
    ],
)
def test_what_is_no_record_is_one_line_that_names_the_file(tmp_path, text, what):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=what) as error:
        load_record(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wall_s", -1),
        ("wall_s", "1"),
        ("status", "fine"),
        ("phases_s", {"coffee": "long"}),
        ("phases_s", {"coffee": -1.0, "other": True}),
        ("result", {"test_accuracy": 98.5}),
        ("run_id", "../elsewhere"),
        ("config", {"model": "<script>alert(1)</script>"}),
        ("config", {"model": "../../etc/nets.py:Net"}),
        ("code", [{"component": "loss", "reference": "../nets.py:gce"}]),
        ("code", [{"component": "loss", "reference": "nets:gce", "files": ["../../nets.py"]}]),
        ("recipe", {"name": "simple\u001b[31m", "source": "a page"}),
    ],
)
def test_wrong_shapes_are_refused(record, tmp_path, key, value):
    values = json.loads(record_json(record)) | {key: value}
    (tmp_path / "record.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=key):
        load_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_norms": [1.0]},
        {"result": {"f1\n": 0.9}},
        {"\x1b": 1},
        {"throughput": {"step_split": None, "per_layer": {"deep": [{"er": 1}]}}},
        {"checkpoints": {"saved": 2, "failed": 0, "bytes": 10**6}},
    ],
)
def test_keys_of_a_newer_release_are_passed_over_and_all_else_is_read(record, tmp_path, change):
    values = json.loads(record_json(record))
    parts = {
        k: v | change[k] if k in values else change[k] for k, v in values.items() if k in change
    }
    (tmp_path / "record.json").write_text(json.dumps(values | change | parts))
    known = load_record(tmp_path / "record.json")
    assert known.run_id == record.run_id
    assert known.eval_points == record.eval_points
    assert set(json.loads(record_json(known))) == set(json.loads(record_json(record)))


def test_what_makes_a_record_holds_to_its_keys(record):
    values = json.loads(record_json(record))
    for change in ({"more": 1}, {"result": {"f1": 0.9}}, {"phases_s": {"<b>": 1.0}}):
        with pytest.raises(ValidationError):
            RunRecord.model_validate(values | change)


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
def test_phases_are_free_and_keep_their_seconds(version, record, tmp_path):
    values = json.loads(record_json(record)) | {"schema_version": version}
    values["phases_s"] |= {"other": 1.0, "upload": 2.0, "Warm-up: 2nd": 3}
    (tmp_path / "record.json").write_text(json.dumps(values))
    assert load_record(tmp_path / "record.json").phases_s == values["phases_s"]


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
@pytest.mark.parametrize("loss", [None, 0.5])
def test_a_loss_that_is_null_was_not_finite_in_version_1_alone(version, loss, record, tmp_path):
    point = {"step": 1, "epoch": 1, "samples_seen": 2, "train_s": 1.0, "split": "val"}
    values = json.loads(record_json(record)) | {"schema_version": version}
    values |= {"config": {"eval_split": "val"}}
    values |= {"eval_points": [point | {"accuracy": 0.5, "loss": loss}]}
    (tmp_path / "record.json").write_text(json.dumps(values))
    read = load_record(tmp_path / "record.json")
    assert read.eval_points[0].diverged == (version == 1 and loss is None)
    again = save_record(read, tmp_path / "again")
    assert load_record(again).eval_points == read.eval_points


@pytest.fixture
def folder(record, tmp_path):
    """Three records and the number asked for of files that are none."""

    def make(bad, good=3):
        for number in range(good):
            save_record(record, tmp_path / f"good-{number}")
        for number in range(bad):
            (tmp_path / f"bad-{number}").mkdir()
            (tmp_path / f"bad-{number}" / "record.json").write_text("{")
        return tmp_path

    return make


def test_a_record_of_a_folder_that_cannot_be_read_is_named_counted_and_left_out(folder):
    path = folder(bad=1)
    loaded = load_records([path])
    assert len(loaded.records) == 3
    start = "1 of 4 records could not be read and is left out: "
    assert loaded.note.startswith(f"{start}{path / 'bad-0' / 'record.json'}: not a record: ")
    assert load_records([path / "good-0"]).note == ""
    with pytest.raises(InputError, match=r"^/.*bad-0/record.json: not a record"):
        load_records([path], strict=True)


def test_of_many_the_first_three_are_named(folder):
    note = load_records([folder(bad=5)]).note
    assert note.startswith("5 of 8 records could not be read and are left out: ")
    assert [f"bad-{number}" in note for number in range(5)] == [True, True, True, False, False]
    assert note.endswith("; and 2 more")


def test_a_record_that_was_named_itself_is_never_left_out(folder):
    path = folder(bad=1)
    with pytest.raises(InputError, match=r"bad-0/record\.json: not a record"):
        load_records([path / "bad-0" / "record.json", path])


def test_where_none_can_be_read_the_first_is_named(folder):
    path = folder(bad=2, good=0)
    with pytest.raises(
        InputError, match=r"none of 2 records could be read: .*bad-0/record\.json: "
    ):
        load_records([path])
    with pytest.raises(InputError, match=r"^/.*bad-0/record\.json: not a record"):
        load_records([path / "bad-0"])


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_json_is_refused_in_one_line(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("fuzz") / "record.json"
    path.write_text(json.dumps({"schema_version": 1, "run_id": value}))
    with pytest.raises(InputError) as error:
        load_record(path)
    assert "\n" not in str(error.value)


def test_find_records_searches_folders_and_names_what_is_missing(record, tmp_path):
    first = save_record(record, tmp_path / "a")
    second = save_record(record, tmp_path / "b" / "c")
    assert find_records([tmp_path]) == [first, second]
    assert find_records([second, tmp_path]) == [second, first]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no record\.json"):
        find_records([tmp_path / "empty"])
    with pytest.raises(InputError, match="does not exist"):
        find_records([tmp_path / "nowhere"])


def test_what_a_folder_holds_is_found_through_links_once_each(record, tmp_path):
    runs = tmp_path / "runs"
    here = save_record(record, runs / "b")
    away = save_record(record, tmp_path / "disk" / "run")
    links = {
        "a": here.parent,  # comes first, and is not what is named
        "c": away.parent,
        "d": tmp_path / "disk",
        "b/loop": runs,
        "b/gone": "nowhere",  # a library's, as in a run's folder
        "log": tmp_path / "disk" / "run" / "record.json",
    }
    for name, target in links.items():
        (runs / name).symlink_to(target)
    (runs / "e").mkdir()
    (runs / "e" / "record.json").symlink_to(here)
    assert find_records([runs]) == [here, runs / "c" / "record.json"]
    assert find_records([runs, tmp_path / "disk"]) == [here, runs / "c" / "record.json"]
    assert len(load_records([runs]).records) == 2
    assert load_records([runs]).note == ""


@pytest.mark.parametrize(
    "kind", ["link to nothing", "closed", "loop", "record to nothing", "folder"]
)
def test_a_run_that_cannot_be_read_is_named_and_counted(folder, monkeypatch, kind):
    path, scandir = folder(bad=0), os.scandir
    lost = path / "lost"
    if kind in {"link to nothing", "loop"}:
        lost.symlink_to("nowhere" if kind == "link to nothing" else "lost")
    else:
        lost.mkdir()
    if kind == "record to nothing":
        (lost / "record.json").symlink_to("nowhere")
    if kind == "folder":
        (lost / "record.json").mkdir()

    def closed(folder):
        if folder == lost and kind == "closed":
            raise PermissionError(13, os.strerror(13), str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    loaded = load_records([path])
    assert len(loaded.records) == 3
    assert loaded.note.startswith("1 of 4 records could not be read and is left out: ")
    assert f"{lost / 'record.json'}: cannot be read" in loaded.note
    with pytest.raises(InputError, match=r"lost/record\.json: cannot be read"):
        load_records([path], strict=True)


@pytest.mark.parametrize(("metric", "is_higher"), [("val/f1", True), ("val/perplexity", False)])
def test_a_target_without_a_direction_has_its_metric_s(metric, is_higher):
    target = Target.model_validate({"metric": metric, "value": 3})
    assert target.higher_is_better == is_higher
    with pytest.raises(ValidationError, match="metric"):
        Target.model_validate({"value": 3})
