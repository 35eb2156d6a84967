"""The first line of what an error says."""

import pytest

from mnistbench.schema.errors import first_line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ValueError("shapes\ndo not fit"), "shapes"),
        (ValueError("\n\n  shapes do not fit  \n"), "shapes do not fit"),
        (ValueError(), "ValueError"),
        (ValueError("\n"), "ValueError"),
        ("one\ntwo", "one"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_an_error_without_words_has_a_first_line_too(said, line):
    assert first_line(said) == line
