"""The fuzzer of ``bench/fuzz_records.py``, shortly: what it makes, what it finds, and that it would
find something."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bench import fuzz_records
from bench.fuzz_records import EXAMPLES, FoundError, damaged, fuzz, main, outcome


@pytest.mark.slow
def test_damaged_records_are_shown_or_refused_in_one_line():
    outcomes = fuzz(250, seed=20)
    assert outcomes.total() == 250
    assert outcomes["shown"] > 30
    assert outcomes["refused when read"] > 100


def test_the_same_seed_damages_in_the_same_way():
    content = min(EXAMPLES.glob("*.json")).read_bytes()
    made = [damaged(content, Random("0 7")) for _ in range(2)]
    assert made[0] == made[1] != content


def test_many_kinds_of_damage_are_made():
    content = min(EXAMPLES.glob("*.json")).read_bytes()
    keys, kinds = json.loads(content).keys(), Counter()
    for number in range(300):
        try:
            document = json.loads(damaged(content, Random(str(number))))
        except (ValueError, RecursionError):
            kinds["no JSON"] += 1
        else:
            kinds["same keys" if document.keys() == keys else "other keys"] += 1
    assert len(kinds) == 3
    assert min(kinds.values()) > 5


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda argv: 1 / 0, "ZeroDivisionError"),
        (lambda argv: print("\x1b[31m") or 0, "may obey: ['\\x1b']"),  # noqa: T201
        (lambda argv: 1, "exit status 1"),
    ],
)
def test_a_fault_is_found_named_and_kept(fault, says, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(fuzz_records, "damaged", lambda content, rng: content)
    monkeypatch.setattr(fuzz_records.report, "main", fault)
    assert main(["--count", "3", "--seed", "5"]) == 1
    err = capsys.readouterr().err
    assert "seed 5, number 0, from 2026-" in err
    assert says in err
    (kept,) = tmp_path.glob("fuzzed-record-5-0.json")
    assert str(kept) in err
    assert kept.read_bytes() in [path.read_bytes() for path in EXAMPLES.glob("*.json")]


def test_two_lines_on_stderr_are_a_fault(monkeypatch, capsys):
    def refuse(argv):
        raise SystemExit(2)

    monkeypatch.setattr(fuzz_records.report, "main", refuse)
    with pytest.raises(FoundError, match="refused not in one line"):
        outcome(Path("none"), sorted(EXAMPLES.glob("*.json")), Random(0))
    assert capsys.readouterr().err == ""


def test_the_command_prints_a_table(capsys):
    assert main(["--count", "20"]) == 0
    assert "refused when read" in capsys.readouterr().out
