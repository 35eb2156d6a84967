"""The JSON Schema: it accepts what is read, says what each key is, and refuses what it can."""

import json
from pathlib import Path
from random import Random

import pytest

from bench.fuzz_records import damaged
from mnistbench.schema.errors import InputError
from mnistbench.schema.json_schema import record_schema
from mnistbench.schema.record import SCHEMA_VERSION
from mnistbench.schema.store import find_records, load_record

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.json"))
KEPT = find_records([Path(__file__).parents[2] / "bench"])
LEAST = {
    "schema_version": SCHEMA_VERSION,
    "run_id": "a",
    "status": "completed",
    "created_at": "2026-11-30T12:00:00Z",
    "seed": None,
    "workload": {"name": "org/bert:base", "framework": "torch"},
    "config": {"model": {"layers": 2}, "eval_split": 7},
    "environment": {},
    "phases_s": {"train": 1, "data_wait": 0.5, "sync: 2/2": 0},
    "wall_s": 1.5,
}
POINT = {"step": 1, "samples_seen": 2, "train_s": 1.0, "split": "dev/clean:1"}
OURS = {"workload": None, "config": {"model": "my_nets:Net", "eval_split": "val"}}


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="comes with Ray")
    jsonschema.Draft202012Validator.check_schema(record_schema())
    return jsonschema.Draft202012Validator(record_schema())


def is_read(values, folder):
    path = folder / "record.json"
    path.write_text(json.dumps(values))
    try:
        return bool(load_record(path))
    except InputError:
        return False


def test_every_key_has_a_sentence_and_any_other_key_is_accepted():
    schema = record_schema()
    parts = [schema, *schema["$defs"].values()]
    sentences = [its["description"] for part in parts for its in part["properties"].values()]
    assert len(sentences) > 120
    assert all(text.endswith((".", "…")) and "None" not in text for text in sentences)
    assert not any("additionalProperties" in part for part in parts)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:mnistbench:record:{SCHEMA_VERSION}"


def test_records_of_all_ages_are_valid(validator):
    assert EXAMPLES
    assert KEPT
    for path in [*EXAMPLES, *KEPT[::20]]:
        validator.validate(json.loads(path.read_text()))


def test_what_is_read_of_damaged_records_is_valid(validator, tmp_path):
    read = 0
    for number in range(150):
        random = Random(f"schema {number}")
        content = damaged(random.choice(EXAMPLES).read_bytes(), random)
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            continue
        if is_read(values, tmp_path):
            read += 1
            validator.validate(values)
    assert read > 10


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"target": {"metric": "val/f1:macro", "value": 0.9, "split": "dev"}}, True),
        ({"metrics": {"val/f1:macro": 0.9, "bleu": None}, "seed": 3}, True),
        ({"eval_points": [POINT | {"metrics": {"f1": 0.5}}]}, True),
        ({"tags": ["night run", "a/b:c"], "extra": {"any": [1]}, "ignored": ["log_dir"]}, True),
        ({"made by a later release": 1, "result": {"f2": 1}}, True),
        ({"workload": None}, False),
        (OURS, True),
        (OURS | {"eval_points": [POINT]}, True),
        ({"workload": {"name": "mine", "framework": "mnistbench"}}, False),
        (OURS | {"config": {"model": "<b>"}}, False),
        (OURS | {"config": {"model": "linear"}, "eval_points": [POINT]}, False),
        ({"schema_version": SCHEMA_VERSION + 1}, False),
        ({"schema_version": None}, False),
        ({"status": "fine"}, False),
        ({"run_id": "../a"}, False),
        ({"wall_s": -1}, False),
        ({"workload": {"name": "<b>", "framework": "torch"}}, False),
        ({"metrics": {"f1": "high"}}, False),
        ({"phases_s": {"train": "long"}}, False),
        ({"environment": {"num_processes": 0}}, False),
        ({"eval_points": [POINT | {"accuracy": 97.3}]}, False),
        ({"code": [{"component": "script", "reference": "train.py"}]}, False),
    ],
)
def test_the_schema_and_the_reader_agree(change, valid, validator, tmp_path):
    values = LEAST | change
    assert is_read(values, tmp_path) == valid
    assert validator.is_valid(values) == valid


@pytest.mark.parametrize("key", LEAST)
def test_each_of_the_least_keys_is_needed(key, validator, tmp_path):
    values = {name: value for name, value in LEAST.items() if name != key}
    is_ours = key == "workload"  # whose configuration holds other values
    assert is_read(values, tmp_path) == validator.is_valid(values) == False  # noqa: E712
    if is_ours:
        assert is_read(values | {"config": {}}, tmp_path)
