"""Gates: read strictly, fired by what is no chance, and never passed for want of figures."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.analysis.comparison import after_looks, compare
from mnistbench.analysis.gates import gated, judge, parse_gate
from mnistbench.output.comparison_table import gate_line, render_comparison
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import Canary, CanaryReading, Throughput
from tests.made_records import make_record as make_one

RELATIONS = {
    "<": lambda x, y: x < y,
    ">": lambda x, y: x > y,
    "<=": lambda x, y: x <= y,
    ">=": lambda x, y: x >= y,
}


@pytest.fixture
def make_side(make_record):
    """Makes the runs of a side from their speeds."""

    def make(*speeds, **changes):
        return [
            make_record(seed, throughput=Throughput(samples_per_s=speed), **changes)
            for seed, speed in enumerate(speeds)
        ]

    return make


def outcome(a, b, gate, **settings):
    parsed = parse_gate(gate)
    (found,) = judge(compare(a, b, metrics=[parsed.metric], **settings), [parsed])
    return found


@given(
    st.sampled_from(["samples_per_s", "wall_s", "time_to_accuracy_s"]),
    st.sampled_from(list(RELATIONS)),
    st.floats(-99, 1e6, allow_nan=False),
    st.sampled_from(["", "%"]),
    st.tuples(*[st.sampled_from(["", " ", "  "])] * 4),
)
def test_a_gate_reads_as_it_was_written(metric, relation, number, percent, spaces):
    before, left, right, after = spaces
    text = f"{before}{metric}{left}{relation}{right}{number!r}{after}{percent}"
    if number < 0 and not percent:
        with pytest.raises(InputError, match=f'did you mean "{metric} {relation} -.*%"'):
            parse_gate(text)
        return
    gate = parse_gate(text)
    threshold = number / 100 if percent else number
    assert (gate.metric, gate.relative, gate.threshold) == (metric, percent == "%", threshold)
    for value in (threshold - 1, threshold, threshold + 1):
        assert gate.beyond(value) == RELATIONS[relation](value, threshold)
    assert parse_gate(gate.text) == gate


@given(st.text(max_size=30))
def test_whatever_is_no_gate_is_one_line(text):
    try:
        said = parse_gate(text).text
    except InputError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no gate"),
        ("samples_per_s", "is no gate"),
        ("samples_per_s < fast", "is no gate"),
        ("samples_per_s == 5", "is no gate"),
        ("samples_per_s < 5 % 3", "is no gate"),
        ("samples_per_s < nan", "is no gate"),
        ("samples_per_s < 1e999", "no finite number"),
        ("samples_per_s < -100%", "more than 100 %"),
        ("test_accuracy < 98%", 'a change of 98 points; did you mean "test_accuracy < 0.98"?'),
        ("test_accuracy < 98", "a fraction from 0 to 1"),
        ("test_accuracy < 98", "is a fraction from 0 to 1; use a fraction: 0.98"),
        ("accuracy < 98", "is a fraction from 0 to 1; use a fraction: 0.98"),
    ],
)
def test_a_wrong_gate_says_what_is_wrong(text, says):
    with pytest.raises(InputError, match="fail_if: ") as error:
        parse_gate(text)
    assert says in str(error.value)


def test_a_change_beyond_the_threshold_and_beyond_chance_fires(make_side):
    a = make_side(*(1000.0 + seed for seed in range(8)))
    b = make_side(*(900.0 + seed for seed in range(8)))
    fired = outcome(a, b, "samples_per_s < -5%")
    assert fired.state == "fired"
    assert fired.value == pytest.approx(-0.1, abs=0.01)
    assert "95 % interval -" in gate_line(fired)
    assert outcome(a, b, "samples_per_s < -20%").state == "passed"
    assert outcome(b, a, "samples_per_s < -5%").state == "passed"
    assert outcome(a, b, "samples_per_s >= -20%").state == "fired"


def test_a_change_that_may_be_chance_is_not_settled_and_says_what_would(make_side):
    a = make_side(1000.0, 1300.0, 800.0, 1100.0, 900.0)
    b = make_side(900.0, 1250.0, 700.0, 1000.0, 850.0)
    unsettled = outcome(a, b, "samples_per_s < -5%")
    assert unsettled.state == "not settled"
    assert "more seeds on each side would settle it" in unsettled.why
    nearer = outcome(a, b, "samples_per_s < -9.1%")
    assert (nearer.state, "too near the threshold to tell" in nearer.why) == ("not settled", True)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("factor", [0.5, 0.94, 0.99, 1.1])
def test_with_too_few_runs_for_any_test_nothing_can_be_judged(make_side, n, factor):
    a, b = ([speed + seed for seed in range(n)] for speed in (1000.0, 1000.0 * factor))
    found = outcome(make_side(*a), make_side(*b), "samples_per_s < -5%")
    assert found.state == "cannot be judged"
    assert f"n = {n}: too few for a test ({4 - n} more seeds on each side needed)" in found.why


def test_runs_added_in_turn_need_more_for_their_repeated_looks(make_side):
    a, b = (make_side(*(speed + seed for seed in range(5))) for speed in (1000.0, 900.0))
    for order, side in (("03478", a), ("12569", b)):  # AB, BA, AB …
        side[:] = [
            run.model_copy(update={"created_at": f"2026-01-01T00:0{minute}:00"})
            for minute, run in zip(order, side, strict=True)
        ]
    table = compare(a, b, metrics=["samples_per_s"])
    gate = parse_gate("samples_per_s < -5%")
    assert [o.state for o in judge(table, [gate])] == ["fired"]
    (found,) = judge(after_looks(table, "samples_per_s"), [gate])
    assert found.state == "cannot be judged"
    assert "too few for a test" in found.why


@pytest.mark.slow
@pytest.mark.parametrize(("change", "at_most"), [(-0.04, 0.01), (-0.05, 0.05)])
def test_a_change_gate_fires_by_chance_in_at_most_5_percent(make_side, change, at_most):
    draw, fired = random.Random(3), 0
    for _ in range(300):
        a, b = (
            [draw.gauss(level, 10.0) for _ in range(8)] for level in (1000.0, 1000.0 * (1 + change))
        )
        found = outcome(make_side(*a), make_side(*b), "samples_per_s < -5%")
        assert found.state != "cannot be judged"
        fired += found.state == "fired"
    assert fired / 300 <= at_most + 2 * (0.05 * 0.95 / 300) ** 0.5


def test_gates_say_nothing_against_the_estimates(make_side):
    """By ranks B is 10 % faster; by the means, which one run carries, it is far slower."""
    a = make_side(*(1000.0 + k for k in range(9)), 1e6)
    b = make_side(*(1100.0 + k for k in range(10)))
    for gate in ("samples_per_s > 5%", "samples_per_s < 5%"):
        found = outcome(a, b, gate)
        assert found.state == "not settled"
        assert "by the rank test B is faster, by the means it is slower" in found.why


def seconds(make_record, times):
    return [
        make_record(
            seed,
            eval_points=[
                replace(make_record().eval_points[-1], train_s=low, accuracy=0.9),
                replace(make_record().eval_points[-1], train_s=high),
            ],
        )
        if high is not None
        else make_record(seed, (0.9,), phases_s={"train": low})
        for seed, (low, high) in enumerate(times)
    ]


TIMES = st.lists(
    st.tuples(st.floats(1, 10), st.one_of(st.none(), st.floats(0.01, 5))), min_size=4, max_size=9
).map(lambda drawn: [(low, None if more is None else low + more) for low, more in drawn])


@given(
    TIMES, TIMES, st.sampled_from(list(RELATIONS)), st.sampled_from([-50, -20, -5, 0, 5, 20, 100])
)
def test_a_gate_and_its_row_never_contradict_each_other(times_a, times_b, relation, percent):
    gate = parse_gate(f"time_to_accuracy_s {relation} {percent}%")
    a, b = (seconds(make_one, times) for times in (times_a, times_b))
    table = compare(a, b, metrics=[gate.metric])
    (found,) = judge(table, [gate])
    (row,) = gated(table, [found]).rows
    assert row.gates == ((gate.text, found.state),)
    changed = {"slower": 1.0, "faster": -1.0}.get(row.verdict, 0.0)
    if found.state == "fired":
        assert gate.beyond(found.value)
        if not gate.beyond(0):  # surely a change, and the row names its direction
            assert changed == (1.0 if relation.startswith(">") else -1.0)
    if found.state == "passed" and percent == 0:
        assert changed != (1.0 if relation.startswith(">") else -1.0)


def test_the_row_of_a_fired_gate_has_its_verdict(make_side):
    """Two rows share the chance of a false verdict where their gates, one-sided, are settled."""
    a, b = (make_side(*(speed + seed for seed in range(4))) for speed in (1000.0, 900.0))
    table = compare(a, b)
    assert table.rows[0].verdict == "no verdict"
    outcomes = judge(table, [parse_gate("samples_per_s < -5%")])
    row = gated(table, outcomes).rows[0]
    assert (row.verdict, row.reason) == ("slower", "by its gate")
    text = render_comparison(gated(table, outcomes), outcomes, table_format="table")
    assert "  slower [1,2,3]  " in text
    assert "\n[1] by its gate\n[2] not run in turn" in text
    assert "\n[3] gate fired (samples_per_s < -5%)\n" in text
    assert "B is slower than A: samples/s" in text
    assert "each (by its gate; not run in turn" in text


def test_runs_that_diverge_do_not_pass_by_those_that_did_not(make_record):
    a = [make_record(seed) for seed in range(10)]
    b = a[:1] + [make_record(seed, (0.1,), status="diverged") for seed in range(1, 10)]
    for gate in ("test_accuracy < 0.95", "samples_per_s < -5%", "test_accuracy < -1%"):
        found = outcome(a, b, gate)
        assert (found.state, found.why) == (
            "cannot be judged",
            "9 of 10 runs of B diverged or failed",
        )
        forced = outcome(a, b, gate, force=True).state
        assert forced == ("cannot be judged" if "%" in gate else "passed")  # one run is left
    assert outcome(a, b, "time_to_accuracy_s > 9").state == "fired"


def test_a_bound_on_b_does_not_ask_about_a(make_side):
    readings = [CanaryReading(matmul_flops_per_s=x, copy_bytes_per_s=x) for x in (1e9, 5e8)]
    moved = Canary(before=readings[0], after=readings[1])
    a = make_side(1e3, 1.1e3, canary=moved, status="diverged", environment={"num_threads": 7})
    b = make_side(1e3, 1.1e3)
    for gate in ("test_accuracy < 0.97", "samples_per_s < 900"):
        assert outcome(a, b, gate).state == "passed"
    unstable = make_side(1e3, 1.1e3, canary=moved)
    assert outcome(b, unstable, "test_accuracy < 0.97").state == "passed"
    found = outcome(b, unstable, "samples_per_s < 900")
    assert found.state == "cannot be judged"
    assert "speed moved during 2 of 2 runs of B" in found.why


def test_a_comparison_that_shrinks_does_not_pass(make_record):
    a = [make_record(0), make_record(0, name="cnn4-ce")]
    b = [make_record(0), make_record(0, name="dnn4-ce")]
    gate = parse_gate("test_accuracy < 0.9")
    passed, lacking = judge(compare(a, b), [gate])
    assert passed.state == "passed"
    assert (lacking.state, lacking.name) == ("cannot be judged", "cnn4-ce")
    assert [o.state for o in judge(compare(a, b, force=True), [gate])] == ["passed"]
    assert [o.state for o in judge(compare(a[:1], b[:1]), [gate])] == ["passed"]


def test_a_gain_that_is_demanded_fires_where_it_is_surely_not_there(make_side):
    a = make_side(*(1000.0 + seed for seed in range(8)))
    same = make_side(*(1000.5 + seed for seed in range(8)))
    assert outcome(a, same, "samples_per_s < 5%").state == "fired"
    assert outcome(a, make_side(*(1060.0 + s for s in range(8))), "samples_per_s < 5%").state == (
        "passed"
    )


def test_several_gates_share_the_chance_of_a_false_alarm(make_side):
    a, b = (make_side(*(speed + seed for seed in range(5))) for speed in (1000.0, 900.0))
    table = compare(a, b, metrics=["samples_per_s", "test_accuracy", "train_s"])
    (alone,) = judge(table, [parse_gate("samples_per_s < -5%")])
    three = judge(
        table,
        [
            parse_gate(text)
            for text in ("samples_per_s < -5%", "test_accuracy < -1%", "train_s > 5%")
        ],
    )
    one_sided = table.rows[0].p / 2  # at its threshold the ranks are those at no change
    assert alone.p_adjusted == pytest.approx(one_sided)
    assert three[0].p_adjusted == pytest.approx(3 * one_sided)


def test_gates_too_many_for_their_runs_to_fire_cannot_be_judged(make_side):
    a, b = (make_side(*(speed + seed for seed in range(4))) for speed in (1000.0, 500.0))
    same = make_side(*(1001.0 - seed for seed in range(4)))
    one, *four = (parse_gate(f"samples_per_s < -{bound}%") for bound in (5, 5, 6, 7, 8))
    assert [o.state for o in judge(compare(a, b), [one])] == ["fired"]
    found = judge(compare(a, b), four)
    assert {o.state for o in found} == {"cannot be judged"}
    assert "n = 4: too few for a test (1 more seeds on each side needed)" in found[0].why
    assert {o.state for o in judge(compare(a, same), four)} == {"passed"}


def test_accuracies_change_in_points_and_are_fractions(make_record):
    a = [make_record(seed, (0.9, 0.95, 0.98)) for seed in range(4)]
    b = [make_record(seed, (0.9, 0.95, 0.97)) for seed in range(4)]
    assert outcome(a, b, "test_accuracy < -0.9%").value == pytest.approx(-0.01)
    assert outcome(a, b, "test_accuracy < -1.1%").state == "passed"
    absolute = outcome(a, b, "test_accuracy < 0.975")
    assert (absolute.state, absolute.value) == ("fired", 0.97)
    assert outcome(a, b, "test_accuracy < 0.97").state == "passed"
    assert outcome(a, b, "test_accuracy <= 0.97").state == "fired"


def test_a_target_that_only_a_reached_is_an_endless_increase(make_record):
    a = [make_record(seed, (0.9, 0.98, 0.98)) for seed in range(8)]  # by 4 s
    b = [make_record(seed, (0.9, 0.95, 0.96)) for seed in range(8)]  # not in 6 s
    fired = outcome(a, b, "time_to_accuracy_s > 10%")
    assert outcome(a, b, "time_to_accuracy_s > 100%").state == "not settled"  # who knows
    lost = [record.model_copy(update={"status": "diverged"}) for record in b]
    assert outcome(a, lost, "time_to_accuracy_s > 100%").state == "fired"
    assert fired.state == "fired"
    assert fired.value == float("inf")
    assert "not reached by B" in fired.why
    assert outcome(b, a, "time_to_accuracy_s > 10%").state == "passed"
    assert outcome(a, b, "time_to_accuracy_s > 60").state == "fired"
    assert outcome(a, a, "time_to_accuracy_s > 60").state == "passed"
    text = render_comparison(compare(a, b), [fired], table_format="json")
    assert "Infinity" not in text


@pytest.mark.parametrize(
    ("gate", "changes", "why"),
    [
        ("samples_per_s < -5%", {"environment": {"num_threads": 7}}, "different num_proc"),
        ("val_accuracy < -5%", {}, "not measured in A and B"),
        ("val_accuracy < 0.9", {}, "not measured in B"),
        ("time_to_accuracy_s > 5", {"target": None}, "no target that was evaluated in B"),
        ("time_to_accuracy_s > 5%", {"target": None}, "no target that was evaluated in B"),
        ("duration_s > 5%", {}, "not measured"),
    ],
)
def test_what_cannot_be_judged_never_passes(make_side, gate, changes, why):
    a, b = make_side(1e3, 1.1e3), make_side(1e3, 1.1e3, **changes)
    found = outcome(a, b, gate)
    assert found.state == "cannot be judged"
    assert why in found.why or "different" in found.why


def test_a_target_that_neither_reached_cannot_be_judged(make_record):
    a, b = ([make_record(seed, (0.9, 0.95, 0.96)) for seed in range(4)] for _ in "AB")
    found = outcome(a, b, "time_to_accuracy_s > 5%")
    assert (found.state, found.why) == ("cannot be judged", "reached by neither side")


def test_forced_gates_are_judged_on_what_is_not_comparable(make_side):
    a, b = [1000.0, 1001.0, 1002.0, 1003.0], [500.0, 501.0, 502.0, 503.0]
    a, b = make_side(*a), make_side(*b, environment={"num_threads": 7})
    assert outcome(a, b, "samples_per_s < -5%").state == "cannot be judged"
    assert outcome(a, b, "samples_per_s < -5%", force=True).state == "fired"


def test_a_gate_is_judged_on_every_pair(make_record):
    slower = Throughput(samples_per_s=1.0)
    same = [make_record(seed) for seed in range(8)]
    a = [*same, *(make_record(seed, name="cnn4-ce") for seed in range(8))]
    b = [*same, *(make_record(seed, name="cnn4-ce", throughput=slower) for seed in range(8))]
    found = judge(compare(a, b), [parse_gate("samples_per_s < -5%")])
    assert [(o.name, o.state) for o in found] == [("simple-cnn", "passed"), ("cnn4-ce", "fired")]
