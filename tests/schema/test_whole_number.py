"""Numbers in variables and flags: decimal digits, and nothing that `int` takes besides."""

import pytest

from mnistbench.schema.whole_number import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("2147483647", 2**31 - 1)])
def test_plain_digits_are_a_number(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "²", "\uff11", "\u0661", "+1", "-1", " 1", "1 ", "1\n", "1_0", "1.0", "1e3", "0x1"]
)
def test_everything_else_is_none(text):
    assert whole_number(text) is None


@pytest.mark.parametrize("text", ["2147483648", "1" + "0" * 30, "9" * 5000])
def test_a_number_that_nobody_means_is_none(text):
    assert whole_number(text) is None


def test_bounds_are_within():
    assert [whole_number(text, lowest=1, highest=3) for text in "01234"] == [None, 1, 2, 3, None]
