"""A comparison in words: for a terminal, as Markdown, as strict JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mnistbench.analysis.comparison import compare, compare_sets
from mnistbench.output.comparison_table import headlines, render_comparison
from mnistbench.schema.record import Throughput
from mnistbench.schema.record_sets import RecordSet

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_pair(make_record):
    """Makes n runs of A and of B, taken in turn AB, BA, AB …, B `factor` times as fast."""

    def run(seed, side, speed, **changes):
        return make_record(
            seed,
            throughput=Throughput(samples_per_s=speed + seed),
            created_at=(START + timedelta(minutes=2 * seed + (side + seed) % 2)).isoformat(),
            **changes,
        )

    def make(n, factor, **changes):
        return [
            [run(seed, side, level, **changes) for seed in range(n)]
            for side, level in enumerate((1000.0, 1000.0 * factor))
        ]

    return make


def test_a_row_has_medians_the_change_the_verdict_and_what_more_it_takes(make_pair):
    text = render_comparison(compare(*make_pair(8, 0.95)), [], table_format="table")
    lines = text.splitlines()
    assert lines[0].split("  ")[0] == "metric"
    assert lines[2].split() == [
        *("samples/s", "1,004", "±", "2", "954", "±", "2", "8"),
        *("-5.0", "%", "(-5.0", "to", "-5.0)", "0.023", "slower", "–"),
    ]
    assert lines[4].endswith("more each to see 0.2 points")
    assert "p is adjusted for 3 rows" in text


def test_what_is_compared_has_a_column_where_there_are_several(make_pair):
    sides = zip(make_pair(3, 0.95), make_pair(3, 0.9, name="cnn4-ce"), strict=True)
    table = compare(*([*one, *other] for one, other in sides))
    assert render_comparison(table, [], table_format="table").startswith("compared ")
    assert [line.split(":")[0] for line in headlines(table)] == ["simple-cnn", "cnn4-ce"]


def test_of_several_sides_the_baseline_stands_once_above_its_others(make_pair):
    a, b = make_pair(8, 0.95)
    c = [run.model_copy(update={"config": run.config | {"lr": 0.5}}) for run in b]
    sides = zip(("before", "after", "later"), (a, b, c), strict=True)
    table = compare_sets(
        [RecordSet(name=name, records=runs) for name, runs in sides], metrics=["samples_per_s"]
    )
    lines = render_comparison(table, [], table_format="table").splitlines()
    assert [line.split("  ")[0] for line in lines[2:5]] == ["samples/s", "", ""]
    assert [line.split()[0] for line in lines[3:5]] == ["after", "later"]
    assert lines[2].split()[1:] == ["before", "1,004", "±", "2", "8", *"––", "baseline", "–"]
    assert " side " in lines[0]
    assert headlines(table)[1].startswith("later is slower than before: samples/s -5.0 %")
    assert "before differs" not in "".join(lines)


def test_sides_without_a_verdict_share_a_sentence(make_pair):
    a, same = make_pair(8, 1.0)
    slower = make_pair(8, 0.9)[1]
    runs = [
        [run.model_copy(update={"config": run.config | {"lr": lr}}) for run in side]
        for lr, side in enumerate((a, same, slower, same), start=1)
    ]
    sides = [RecordSet(name=f"lr {k}", records=side) for k, side in enumerate(runs, start=1)]
    slow, others = headlines(compare_sets(sides, metrics=["samples_per_s", "test_accuracy"]))
    assert slow.startswith("lr 3 is slower than lr 1: samples/s ")
    assert others == "no difference seen between lr 1 and any of lr 2, lr 4: samples/s"


def test_json_has_every_figure_in_full_and_nothing_else(make_pair):
    table = compare(*make_pair(8, 0.95))
    values = json.loads(
        render_comparison(table, [], table_format="json"), parse_constant=pytest.fail
    )
    speed = values["rows"][0]
    assert speed["change"] == table.rows[0].change.estimate
    assert (speed["verdict"], speed["paired"], speed["a"]["n"]) == ("slower", True, 8)
    assert values["headlines"] == headlines(table)
    assert values["gates"] == []


def test_the_headline_says_it_in_a_sentence(make_pair):
    (line,) = headlines(compare(*make_pair(10, 0.95)))
    assert line.startswith("B is slower than A: samples/s -")
    assert "95 % interval -" in line
    assert line.endswith("n = 10 pairs")


def test_what_a_verdict_stands_on_is_said_beside_it(make_pair):
    a, b = make_pair(8, 0.8)
    later = [r.model_copy(update={"created_at": r.created_at.replace("2026", "2027")}) for r in b]
    (line,) = headlines(compare(a, later))
    assert line.endswith(" (not run in turn, and no probe tells how the machine changed)")
    first = [
        r.model_copy(update={"created_at": f"2026-01-01T0{side}:{2 * r.seed + side:02}:00"})
        for side in (0,)
        for r in a
    ]
    second = [
        r.model_copy(update={"created_at": f"2026-01-01T00:{2 * r.seed + 1:02}:00"}) for r in b
    ]
    (line,) = headlines(compare(first, second))
    assert line.endswith(" (not balanced: A first each time)")
    text = render_comparison(compare(first, second), [], table_format="table")
    assert "  slower [1]  " in text
    assert "\n[1] not balanced: A first each time\n" in text
    assert "A and B are means of speeds and times over runs, medians of times to the target" in text
    assert "(Turnbull), medians over seeds of the rest" in text


def test_names_from_a_record_are_text_in_markdown_and_harmless_in_a_terminal(make_pair):
    a, b = make_pair(3, 1.0)
    evil = {"loss": "<script>alert(1)</script>|\x1b[2J\ud800"}
    b = [record.model_copy(update={"config": record.config | evil}) for record in b]
    table = compare(a, b)
    markdown = render_comparison(table, [], table_format="markdown")
    assert "<script>" not in markdown
    assert "&lt;script&gt;" in markdown
    terminal = render_comparison(table, [], table_format="table")
    assert "<script>" in terminal
    for text in (markdown, terminal):
        assert "\x1b" not in text
        text.encode()
