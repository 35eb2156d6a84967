"""Two sessions of pytest-benchmark against each other."""

import random
from collections import Counter

import pytest

from mnistbench.analysis.benchmarks import compare_benchmarks
from mnistbench.analysis.gates import judge, parse_gate
from mnistbench.output.comparison_table import render_comparison
from mnistbench.schema.benchmark_json import BenchmarkFile
from mnistbench.schema.errors import InputError

MACHINE = {"cpu": {"brand_raw": "A CPU", "count": 2}, "threads": 2, "load_average_1min": 0.5}
FAST = [1.0 + n / 1000 for n in range(8)]
SLOW = [1.1 + n / 1000 for n in range(8)]


def session(*, machine=MACHINE, info=None, **durations_s):
    return BenchmarkFile.model_validate(
        {
            "machine_info": machine,
            "benchmarks": [
                {
                    "fullname": name,
                    "stats": {"median": sorted(data)[len(data) // 2], "rounds": len(data)}
                    | {"data": data},
                    "extra_info": info or {},
                }
                for name, data in durations_s.items()
            ],
        }
    )


def test_benchmarks_of_one_name_are_compared_by_their_rounds():
    table = compare_benchmarks(session(one=FAST, two=FAST), session(two=FAST, one=SLOW))
    assert [(row.name, row.verdict) for row in table.rows] == [
        ("one", "slower"),
        ("two", "no difference seen"),
    ]
    assert table.rows[0].change.estimate == pytest.approx(0.1, abs=0.01)
    assert table.rows[0].p_adjusted == pytest.approx(2 * table.rows[0].p)
    text = render_comparison(table, [], table_format="table")
    assert "one: B is slower than A: duration" in text
    assert "n = 8 rounds each" in text


def test_a_benchmark_that_one_side_lacks_is_named():
    table = compare_benchmarks(session(one=FAST, old=FAST), session(one=FAST, new=FAST))
    assert "only in A: old" in table.notes
    assert "only in B: new" in table.notes
    with pytest.raises(InputError, match="no benchmark is in both"):
        compare_benchmarks(session(old=FAST), session(new=FAST))


@pytest.mark.parametrize(
    ("b", "named"),
    [
        (
            session(one=SLOW, machine=MACHINE | {"cpu": {"brand_raw": "Other", "count": 2}}),
            "cpu (A CPU against Other)",
        ),
        (session(one=SLOW, machine=MACHINE | {"threads": 1}), "threads (2 against 1)"),
        (session(one=SLOW, machine=MACHINE | {"device": "a GPU"}), "device (– against a GPU)"),
        (session(one=SLOW, info={"dataset": "kmnist"}), "dataset (mnist against kmnist)"),
        (session(one=SLOW, info={"num_steps": 99}), "num_steps (10 against 99)"),
        (session(one=SLOW, info={"global_batch_size": 8}), "global_batch_size (64 against 8)"),
    ],
)
def test_other_hardware_or_data_is_named_and_gets_no_verdict(b, named):
    a = session(one=FAST, info={"dataset": "mnist", "num_steps": 10, "global_batch_size": 64})
    table = compare_benchmarks(a, b)
    assert table.rows[0].verdict == "no verdict"
    assert table.rows[0].reason.startswith("different ")
    assert any(named in note for note in table.notes)
    assert compare_benchmarks(a, b, force=True).rows[0].verdict == "slower"


def test_what_only_one_session_says_of_its_benchmark_forbids_nothing():
    said = session(one=SLOW, info={"dataset": "kmnist", "unstable_runs": "many"})
    assert compare_benchmarks(session(one=FAST), said).rows[0].verdict == "slower"


@pytest.mark.parametrize("side", ["A", "B"])
def test_rounds_on_a_machine_that_moved_get_no_verdict(side):
    def compared(unstable, **options):
        info = {"unstable_runs": unstable}
        sides = {"A": session(one=FAST), "B": session(one=SLOW)}
        sides[side] = session(one=FAST if side == "A" else SLOW, info=info)
        return compare_benchmarks(*sides.values(), **options).rows[0]

    assert compared(4).verdict == "slower"
    refused = compared(5)
    assert refused.reason == f"the machine's own speed moved during 5 of 8 rounds of {side}"
    assert (refused.verdict, refused.b_problem) == (
        "no verdict",
        refused.reason if side == "B" else None,
    )
    assert compared(5, force=True).verdict == "slower"


def test_another_load_is_no_other_machine():
    busy = session(one=SLOW, machine=MACHINE | {"load_average_1min": 9.0})
    assert compare_benchmarks(session(one=FAST), busy).rows[0].verdict == "slower"


def test_without_rounds_the_change_of_medians_is_shown_without_a_verdict():
    values = session(one=SLOW).model_dump()
    values["benchmarks"][0]["stats"]["data"] = None
    (row,) = compare_benchmarks(session(one=FAST), BenchmarkFile.model_validate(values)).rows
    assert row.verdict == "no verdict"
    assert "--benchmark-save-data" in row.reason
    assert row.change == pytest.approx((1.104 / 1.004 - 1, None, None))


def test_of_very_many_rounds_some_are_compared_and_that_is_said():
    many = [1.0 + (n % 97) / 1000 for n in range(50_000)]
    table = compare_benchmarks(session(one=many), session(one=many))
    assert table.rows[0].sample.n == 500
    assert table.rows[0].a.n == 50_000
    assert table.rows[0].verdict == "no difference seen"
    assert any("evenly spaced" in note for note in table.notes)


def durations(draw, *names, n=6):
    """A session of benchmarks whose rounds differ by a tenth."""

    def one(name):
        data = [draw.lognormvariate(0, 0.1) for _ in range(n)]
        stats = {"median": sorted(data)[n // 2], "rounds": n, "data": data}
        return {"fullname": name, "stats": stats}

    return BenchmarkFile.model_validate(
        {"machine_info": {}, "benchmarks": [one(name) for name in names]}
    )


def test_of_many_rows_with_too_few_rounds_for_all_none_fires_by_its_estimate():
    draw, names = random.Random(0), [f"bench {n}" for n in range(25)]
    table = compare_benchmarks(durations(draw, *names), durations(draw, *names))
    found = judge(table, [parse_gate("duration_s > 5%")])
    states = Counter(one.state for one in found)
    assert states["not settled"] >= 4
    assert states["passed"] + states["not settled"] == 25
    unsettled = next(one for one in found if one.state == "not settled")
    assert "more rounds on each side would settle it" in unsettled.why


def test_a_benchmark_that_b_lacks_does_not_pass():
    draw = random.Random(0)
    sides = durations(draw, "one", "old"), durations(draw, "one", "new")
    gates = [parse_gate("duration_s > 9")]
    assert [(o.name, o.state) for o in judge(compare_benchmarks(*sides), gates)] == [
        ("one", "passed"),
        ("old", "cannot be judged"),
    ]
    assert len(judge(compare_benchmarks(*sides, force=True), gates)) == 1


def test_durations_without_their_rounds_cannot_be_judged_against_each_other():
    stats = {"median": 1.0, "rounds": 5}
    files = [
        BenchmarkFile.model_validate(
            {"machine_info": {}, "benchmarks": [{"fullname": "a", "stats": stats}]}
        )
        for _ in "AB"
    ]
    table = compare_benchmarks(*files)
    relative, absolute = judge(table, [parse_gate("duration_s > 5%"), parse_gate("duration_s > 9")])
    assert relative.state == "cannot be judged"
    assert "--benchmark-save-data" in relative.why
    assert absolute.state == "passed"
