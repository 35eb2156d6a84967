"""Which columns of a table fit a line, what stands above it, and what is said to be left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.output.fitted_table import fit, is_figure, split_shared

ROW = {
    "model": "simple-cnn",
    "loss": "cross-entropy",
    "lr": "0.1",
    "dataset": "mnist (local)",
    "device": "cpu × 1 × 2 threads",
    "samples/s": "20,218 ± 1,327",
    "val acc %": "–",
    "test acc %": "97.45 (97.34–97.47)",
    "time to 97 % s": "2.03 (–), 3 of 3",
    "wall s": "4.13 ± 0.37",
    "start s": "3.27 ± 3.90",
    "n": "3",
    "status": "completed",
}
ROWS = [ROW, ROW | {"lr": "0.2", "time to 97 % s": "1 of 3 reached"}]


def test_what_all_rows_share_stands_above_them_and_what_is_empty_or_expected_nowhere():
    shared, rows = split_shared(ROWS)
    assert shared == {k: ROW[k] for k in ("model", "loss", "dataset", "device", "n")}
    assert next(iter(rows[0])) == "lr"
    assert not {"val acc %", "status"} & rows[0].keys()
    assert list(split_shared([ROW])[1][0])[:2] == ["model", "lr"]  # one row keeps its name
    assert split_shared([{"n": "3"}]) == ({}, [{"n": "3"}])  # a table is never of no columns


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (100, ""),
        (80, "start s"),
        (60, "start s, wall s"),
        (40, "start s, wall s, test acc %"),
    ],
)
def test_the_least_important_columns_are_left_out_first_and_named(width, left_out):
    fitted = fit(ROWS, width)
    below = f"left out for {width} columns: {left_out}; --wide shows them" if left_out else ""
    assert fitted.below == below
    assert len(fitted.rows) == 2
    told = " ".join(fitted.above.split())
    assert told.startswith("all rows: model simple-cnn, loss cross-entropy, dataset mnist (local)")
    lines = fitted.above.split("\n")
    assert width == 40 or not any(line.endswith(("dataset", "mnist", "loss")) for line in lines)


def test_where_no_columns_are_enough_each_cell_has_a_line():
    fitted = fit(ROWS, 20)
    assert (fitted.rows, fitted.below) == ([], "")
    assert fitted.lines[:3] == ["lr: 0.1", "samples/s: 20,218 ±", "  1,327"]
    assert fitted.lines.count("") == 1


def test_settings_that_tell_nothing_apart_are_left_out_before_rows_take_several_lines():
    names = ("num_epochs", "max_steps", "target_accuracy", "weight_decay")
    settings = [dict.fromkeys(names, text) for text in ("1", "2")]
    rows = [{"model": "linear"} | its | {"samples/s": "1,000"} for its in settings]
    fitted = fit(rows, 40, names=names)
    assert [*fitted.rows[0]] == ["num_epochs", "max_steps", "samples/s"]
    assert "weight_decay" in fitted.below


def test_a_setting_by_which_rows_are_told_apart_is_not_left_out():
    devices = ["cpu × 1 × 1 threads", "cpu × 2 × 1 threads"]
    rows = [ROW | {"lr": str(k // 2), "device": devices[k % 2]} for k in range(4)]
    for width in range(20, 120):
        shown = fit(rows, width).rows
        assert len({(row["lr"], row["device"]) for row in shown}) in {0, 4}
    rows = [row | {"n": str(k)} for k, row in enumerate(rows)]  # by which they are not known
    assert all("device" in row for row in fit(rows, 70).rows)


def test_long_names_lose_their_middle_only_while_no_two_become_the_same():
    alike = [f"{'a' * 40}{k}{'b' * 40}" for k in range(2)]
    apart = [f"{name}-{k}" for k, name in enumerate(alike)]
    cells = [
        row["cell"] for row in fit([{"cell": c, "x": "1"} for c in apart], 40, names=["cell"]).rows
    ]
    assert [(len(cell), cell[-1]) for cell in cells] == [(37, "0"), (37, "1")]
    assert all("…" in cell for cell in cells)
    assert fit([{"cell": c, "x": "1"} for c in alike], 40, names=["cell"]).rows == []


def test_sentences_take_several_lines_of_what_the_others_leave():
    (row,) = fit([{"check": "disk", "found": "one two three four five six seven eight"}], 30).rows
    assert row["found"] == "one two three four five\nsix seven eight"


def test_sentences_keep_names_of_settings_whole():
    row = ROW | {"differs in": "loss_args.q 0.3, optimizer_args.momentum 0.8, code of nets 23"}
    shown, *_ = fit([row, row | {"lr": "0.2"}], 80).rows
    assert "\n" in shown["differs in"]
    assert shown["differs in"].split() == row["differs in"].split()


@pytest.mark.parametrize(
    ("cell", "figure"),
    [
        *(
            (text, True)
            for text in ("–", "1,010 ± 25", "≤ 1.20", "5.20 (–), 5 of 5†", "2 of 6", "<0.001")
        ),
        *(
            (text, True)
            for text in ("2 of 6 reached", "not reached", "not reached†", "98.00 (55.00–98.10)")
        ),
        *((text, False) for text in ("", "mse", "2 seeds", "97 %", "1a")),
    ],
)
def test_figures_stand_at_the_right(cell, figure):
    assert is_figure(cell) == figure


NAMES = st.sampled_from(["recipe", "lr", "n", "remark", "samples/s", "test acc %", "x" * 30])


@given(
    st.lists(NAMES, min_size=1, unique=True),
    st.lists(
        st.lists(st.text("ab1 .±–()", max_size=60), min_size=7, max_size=7), min_size=1, max_size=4
    ),
    st.integers(20, 120),
)
def test_no_line_is_longer_than_the_width(names, texts, width):
    rows = [dict(zip(names, map(str.strip, cells), strict=False)) for cells in texts]
    fitted = fit(rows, width, names=["recipe"])
    assert all(len(line) <= width for line in fitted.lines)
    for line in (*fitted.rows, {k: k for k in fitted.rows[0]} if fitted.rows else {}):
        widest = [max(map(len, [*text.split("\n"), *k.split("\n")])) for k, text in line.items()]
        assert sum(widest) + 2 * (len(widest) - 1) <= width
