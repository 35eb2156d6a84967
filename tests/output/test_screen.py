"""Where tables are read: how wide that is, and that all draw the same cells."""

import io
import math
import re

import pytest

from mnistbench.output.row_names import name_columns
from mnistbench.output.screen import WIDE, Screen
from mnistbench.output.tables import render_runs, render_targets
from tests.made_records import make_record
from tests.output.table_text import cells

ROWS = [{"name": "[red]a[/red] :smile:", "x": "1.5"}, {"name": "b", "x": "–"}]


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "term", "columns", "wide", "expected"),
    [
        (False, "xterm", None, False, (80, False)),
        (False, "xterm", "100", False, (100, False)),
        (False, "xterm", "nonsense", False, (80, False)),
        (False, "xterm", "3", False, (20, False)),
        (True, "xterm", "100", False, (100, True)),
        (True, "dumb", "100", False, (100, False)),
        (True, "xterm", "100", True, (math.inf, True)),
    ],
)
def test_a_stream_is_as_wide_as_columns_says_or_80(
    monkeypatch, is_terminal, term, columns, wide, expected
):
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", io.StringIO())  # that of the tests may be a terminal
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    screen = Screen.of(Stream(is_terminal), wide=wide)
    assert (screen.width, screen.is_terminal) == expected


def test_a_terminal_and_plain_text_have_the_same_cells_and_markup_is_text(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    drawn = Screen(80, is_terminal=True).table(ROWS)
    assert "\x1b[1m" in drawn
    plain = re.sub(r"\x1b\[\d*m", "", drawn)
    told = [line.split("  ") for line in plain.splitlines()]
    expected = [
        line.split("  ") for line in Screen(80).table(ROWS).splitlines() if "---" not in line
    ]
    assert [[cell.strip() for cell in line if cell.strip()] for line in told] == [
        [cell.strip() for cell in line if cell.strip()] for line in expected
    ]
    assert "[red]a[/red] :smile:" in plain


def test_sentences_are_wrapped_but_not_in_markdown():
    sentence = "runs are of 3 commits: " + ", ".join(["abc"] * 20)
    lines = Screen(40).text(sentence).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(line.strip() for line in lines) == sentence
    path = f"record: /{'x' * 60}/record.json"
    assert Screen(40).text(path).split()[1] == path.split()[1]  # to be copied
    assert Screen(40).in_format("markdown").text("a*b") == "a\\*b"
    assert WIDE.text(sentence) == sentence


def optimized(seed, name, **settings):
    config = make_record().config | {"optimizer": name, "momentum": None} | settings
    return make_record(seed, config=config)


def test_no_two_rows_have_the_same_name_nor_a_blank_one():
    records = [
        optimized(0, "sgd", momentum=0.9),
        optimized(0, "lion"),
        make_record(0, environment=make_record().environment | {"num_processes": 4}),
        make_record(0, name="cnn4-ce"),
    ]
    names = name_columns([[record] for record in records])
    assert [(row["optimizer"], row["momentum"]) for row in names[:2]] == [
        ("sgd", "0.9"),
        ("lion", "–"),
    ]
    assert len({tuple(row.values()) for row in names}) == 4
    assert all(map(str.strip, (text for row in names for text in row.values())))
    screen = Screen(100)
    rows = cells(render_targets(records, [0.97], table_format="table", screen=screen))[:4]
    shown = {tuple(row.get(k) for k in ("recipe", "optimizer", "momentum")) for row in rows}
    assert len(shown) == 4
    twice = name_columns([[make_record()], [make_record()]])
    assert [row["recipe"] for row in twice] == ["simple-cnn #1", "simple-cnn #2"]


def test_without_recipes_model_and_loss_are_columns_and_many_settings_are_one():
    plain = [make_record(0, recipe=None), make_record(0, recipe=None)]
    plain[1] = plain[1].model_copy(update={"config": plain[1].config | {"loss": "mse"}})
    assert name_columns([[r] for r in plain]) == [
        {"model": "simple-cnn", "loss": "cross-entropy"},
        {"model": "simple-cnn", "loss": "mse"},
    ]
    odd = {f"setting_{k}": k for k in range(9)}
    many = [make_record(), make_record(config=make_record().config | odd)]
    first, second = name_columns([[record] for record in many])
    assert first["differs in"].startswith("setting_0 –, setting_1 –")
    assert second["differs in"].startswith("setting_0 0, setting_1 1")


def test_markdown_and_wide_tables_have_all_columns():
    records = [make_record(seed) for seed in range(2)]
    wide = render_runs(records, table_format="table")
    markdown = render_runs(records, table_format="markdown", screen=Screen(20)).splitlines()
    heads = [cell.strip() for cell in markdown[0].strip("|").split("|")]
    assert list(cells(wide)[0]) == heads
    assert {"dataset", "device", "batch", "loop", "wall s", "start s"} <= set(heads)


@pytest.mark.parametrize(("epochs", "text"), [(0.383632, "0.384"), (10.0, "10"), (1234.0, "1234")])
def test_epochs_have_no_more_digits_than_they_need(epochs, text):
    (row, *_) = cells(render_runs([make_record(num_epochs=epochs)], table_format="table"))
    assert row["epochs"] == text
