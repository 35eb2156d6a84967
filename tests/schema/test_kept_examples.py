"""What earlier states of the project wrote stays readable: there is one schema, and keys were only
ever added to it.

Each example was written by a run of the commit in its name, but for 3b3f840, which is from
``bench/results``, and the one that is made by hand. The next state that adds a key leaves one here
as well.
"""

import json
from pathlib import Path

import pytest

from mnistbench import report
from mnistbench.schema.component import short_name
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import SCHEMA_VERSION
from mnistbench.schema.store import find_records, load_record, record_json, save_record

FOLDER = Path(__file__).parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.json"))
LACKS = {  # keys that were added since
    "2026-11-22-afc3702-first": {"canary", "link"},
    "2026-11-22-3b3f840-no-recipe": {"link"},
    "2026-11-22-70ed08a-canary": {"link"},
    "2026-11-23-88cd413-fast-loop": {"link"},
    "2026-11-23-b1ae0db-two-processes": set(),
    "2026-11-23-b1ae0db-diverged": set(),
    "2026-11-28-7a3a63c-checkpoints": set(),
    "2026-11-28-a1423c9-insight": set(),
    "2026-11-29-79b16ce-own-code": set(),
    "2026-11-29-made-by-hand": {"canary", "link"},
}


def by_name(path):
    return path.stem


def is_within(part, whole):
    """Whether `whole` says all that `part` does, with nothing changed, and keys added at most."""
    if isinstance(part, dict):
        return all(key in whole and is_within(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(is_within, part, whole))
    return part == whole and type(part) is type(whole)


def test_the_examples_are_old():
    for path in EXAMPLES:
        known = json.loads(path.read_text()).keys()
        assert {"canary", "link"} - known == LACKS[path.stem]
    assert len(EXAMPLES) == len(LACKS)


@pytest.mark.parametrize("path", EXAMPLES, ids=by_name)
def test_an_old_record_is_read_and_says_the_same_when_it_is_written_again(path, tmp_path):
    record = load_record(path)
    again = save_record(record, tmp_path)
    assert load_record(again) == record
    assert is_within(json.loads(path.read_text()), json.loads(again.read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=by_name)
@pytest.mark.parametrize("flags", [[], ["--format", "json"], ["targets"], ["epochs"]])
def test_an_old_record_is_reported(path, flags, capsys):
    if "epochs" in flags and path.stem.endswith("diverged"):
        pytest.skip("has no whole epoch")
    assert report.main([*flags, str(path)]) == 0
    out, err = capsys.readouterr()
    assert short_name(load_record(path).config["model"]) in out
    assert err == ""


def test_old_and_new_are_reported_together(capsys):
    assert report.main([str(FOLDER / f"{name}.json") for name in LACKS]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(LACKS) + 2


def test_the_results_that_are_kept_are_readable():
    kept = find_records([Path(__file__).parents[2] / "bench"])
    assert len(kept) > 100
    for path in kept:
        load_record(path)


@pytest.mark.parametrize("path", EXAMPLES, ids=by_name)
def test_the_same_of_a_newer_schema_is_refused(path, tmp_path):
    newer = tmp_path / "record.json"
    newer.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3}))
    assert SCHEMA_VERSION == 2
    with pytest.raises(InputError, match=r"schema 3 is newer than this version reads .*upgrade"):
        load_record(newer)


def test_what_a_run_writes_is_strict_json():
    for path in EXAMPLES:
        values = json.loads(record_json(load_record(path)), parse_constant=pytest.fail)
        assert values["run_id"] == load_record(path).run_id
