"""The short form of the validation by simulation: its bounds fail on a method that is broken."""

import json

import pytest

from bench.made_samples import Row
from bench.validate_statistics import CHECKS, SHORT, main, validate
from mnistbench.stats import rank_tests

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_said_holds(name):
    rows = validate(SHORT, only=name)
    assert [row for row in rows if not row.holds] == []


def test_power_is_not_bought_with_bounds_that_nothing_breaks():
    power = {row.case: row.share for row in validate(SHORT, only="levels") if row.most == 1}
    assert power["paired, normal noise, n = 20"] > 0.95
    assert power["unpaired, normal noise, n = 20"] > 0.9


def test_a_method_that_claims_too_much_does_not_hold(monkeypatch):
    monkeypatch.setattr("bench.validate_statistics.holm", lambda p_values: p_values)
    monkeypatch.setattr("bench.validate_statistics.look_factor", lambda n: 1)
    honest = rank_tests.rank_test
    monkeypatch.setattr("bench.validate_statistics.rank_test", lambda *a, **b: honest(*a, **b) / 4)
    for name in ("levels", "families", "sequential"):
        assert not all(row.holds for row in validate(SHORT, only=name))


def test_the_table_is_written_and_its_status_says_whether_all_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.validate_statistics.CHECKS", {"one": lambda _: [ROW]})
    assert main(["--short", "--output", str(tmp_path)]) == 1
    assert "| no " in (tmp_path / "validation.md").read_text()
    (row,) = json.loads((tmp_path / "validation.json").read_text())
    assert row == ROW._asdict() | {"holds": False}


ROW = Row("false difference", "made up", 1000, 0.2, 0.0, 0.05)
