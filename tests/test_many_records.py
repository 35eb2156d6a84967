"""Thousands of records: what is done for each stays the same as they grow in number."""

import gc
import json

import pytest

from mnistbench.analysis import machine_drift
from mnistbench.analysis.comparison import compare
from mnistbench.analysis.gates import Outcome, gated, parse_gate
from mnistbench.analysis.metrics import METRICS, Level
from mnistbench.analysis.rows import Comparison, Row
from mnistbench.analysis.samples import A_AND_B, MOST_TESTED, Sample, evenly_spaced
from mnistbench.output.charts import curve_pictures, figure
from mnistbench.output.comparison_table import headlines
from mnistbench.schema import store, strict_json
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading
from mnistbench.schema.store import load_records, save_record
from mnistbench.stats import brunner_munzel, expected_time, resampling
from mnistbench.stats.readings import Reading


class CountedName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    compared = 0

    def __eq__(self, other):
        CountedName.compared += 1
        return str.__eq__(self, other)


@pytest.fixture
def counted(monkeypatch):
    """Counts calls of a function of a module."""

    def count(module, name):
        calls, whole = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: calls.append(1) or whole(*a, **k))
        return calls

    return count


def test_a_usual_record_is_read_once_by_the_fast_parser(
    make_record, tmp_path, counted, monkeypatch
):
    for seed in range(3):
        save_record(make_record(seed), tmp_path / str(seed))
    reads = counted(store, "load_record")
    monkeypatch.setattr(json, "loads", None)
    assert len(load_records([tmp_path]).records) == len(reads) == 3


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "\\u0061": 2}',
        '{"a" : 1, "a":":"}',
        '{"b": [{"a:": 1, "a:": ":"}]}',
        '{"a": "\\u003a", "a": 1}',
        '{"a": {"b": 1, "c": ":"}, "a": {}}',
    ],
)
def test_a_key_that_is_there_twice_is_seen_however_it_is_spelled(tmp_path, text):
    path = tmp_path / "thing.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"'a:?' is there twice"):
        strict_json.read_json(path, max_bytes=100, what="a thing")


def test_points_take_no_mapping_each_and_the_collector_is_left_as_it_was(make_record, tmp_path):
    save_record(make_record(), tmp_path)
    [record] = load_records([tmp_path]).records
    assert record == make_record()
    assert not any(hasattr(p, "__dict__") for p in (*record.eval_points, *record.train_points))
    assert gc.isenabled()
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(InputError):
        load_records([tmp_path])
    assert gc.isenabled()


def test_rows_find_their_headlines_and_gates_without_a_look_at_each_other():
    level, n = Level(1.0, None, None, 1, 1), 200
    names = [CountedName(f"row {i}") for i in range(n)]
    speed = {"metric": "samples_per_s", "definition": METRICS["samples_per_s"]}
    rows = tuple(Row(name=name, a=level, b=level, **speed) for name in names)
    gate = parse_gate("samples_per_s < -5%")
    outcomes = [Outcome(gate, name, A_AND_B, state="passed", why="") for name in names]
    CountedName.compared = 0
    comparison = gated(Comparison(rows=rows, notes=()), outcomes)
    assert len(headlines(comparison)) == n
    assert all(row.gates == ((gate.text, "passed"),) for row in comparison.rows)
    assert CountedName.compared <= 5 * n


def test_of_very_many_runs_some_are_tested_and_that_is_said(make_side):
    a, b = ([factor * (1000 + i % 97) for i in range(MOST_TESTED + 1)] for factor in (1, 1.2))
    found = compare(make_side(a), make_side(b, minute=2000), metrics=["samples_per_s"])
    [row] = found.rows
    assert row.a.n == len(a)
    assert row.sample.n == MOST_TESTED
    assert any("evenly spaced" in note for note in found.notes)
    assert row.change.estimate == pytest.approx(0.2, abs=0.01)
    assert evenly_spaced([1, 2, 3, 4], 2) == (1, 3)


def test_a_direction_needs_no_interval(monkeypatch):
    monkeypatch.setattr(brunner_munzel, "brunner_munzel_interval", None)
    a, b = (tuple(Reading.of(x + more) for x in range(1, 9)) for more in (0.0, 0.5))
    assert Sample(METRICS["samples_per_s"], a, b, paired=False).direction() > 0


def test_the_mean_of_a_side_is_taken_once(make_side, counted):
    reading = CanaryReading(matmul_flops_per_s=1e9, copy_bytes_per_s=1e9)
    sides = [make_side([1.0] * 50, canary=Canary(before=reading, after=reading)) for _ in "AB"]
    means = counted(machine_drift, "fmean")
    machine_drift.machine_change(*sides)
    assert len(means) <= 8


def test_resamples_that_are_drawn_in_parts_are_the_same(monkeypatch):
    times, reached = [1.0 + i % 7 for i in range(40)], [i % 5 > 0 for i in range(40)]
    whole = expected_time.expected_running_time(times, reached)
    monkeypatch.setattr(expected_time, "_MOST_AT_ONCE", 40 * 999)
    assert expected_time.expected_running_time(times, reached) == pytest.approx(whole)


def test_of_very_many_configurations_few_are_drawn(make_record, tmp_path, counted):
    config = make_record().config
    records = [make_record(config=config | {"lr": 0.01 * i}) for i in range(1, 61)]
    drawn = counted(curve_pictures, "lines_of")
    figure.plot_curves(records, tmp_path / "curves.svg")
    assert len(drawn) == 2 * 48


def test_of_very_many_configurations_fewer_draws_are_made():
    assert resampling.num_draws(10) == resampling.DRAWS
    assert resampling.num_draws(10_000) == 1000
