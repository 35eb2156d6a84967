"""Strict JSON: what is just within its limits is read as it is, what is beyond is one line."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.errors import InputError
from mnistbench.schema.files import MAX_DEPTH
from mnistbench.schema.strict_json import read_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(-1e100, 1e100)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def read(path, content, max_bytes=10_000):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_json(path, max_bytes=max_bytes, what="a thing")


@given(JSON)
def test_what_json_has_is_read_as_it_is(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "thing.json"
    found = read(path, json.dumps(value), max_bytes=10**6)
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_has_a_limit_of_its_own(tmp_path, opening, closing):
    path = tmp_path / "thing.json"
    read(path, opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
    for beyond in (MAX_DEPTH + 1, 200, 2000):
        with pytest.raises(InputError, match="nested too deeply for a thing: 32 levels at most"):
            read(path, opening * beyond + "1" + closing * beyond, max_bytes=10**6)


def test_no_more_is_read_than_was_asked_for(tmp_path):
    path = tmp_path / "thing.json"
    assert read(path, "[1, 2]", max_bytes=6) == [1, 2]
    with pytest.raises(InputError, match="too large for a thing, which has 5 bytes at most"):
        read(path, "[1, 2]", max_bytes=5)
    os.truncate(path, 2**40)  # takes no room, and would take all of the memory
    with pytest.raises(InputError, match="too large for a thing"):
        read_json(path, max_bytes=5, what="a thing")


def test_a_name_that_is_no_unicode_is_read_as_python_has_it(tmp_path):
    # a folder's name may be any bytes, and records hold folders
    value = {"data_dir": os.fsdecode(b"caf\xe9")}
    assert read(tmp_path / "thing.json", json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e101", "'1e101' is too large a number"),
        ("18446744073709551616", "'18446744073709551616' is too large a number"),
        ("-9223372036854775809", "'-9223372036854775809' is too large a number"),
        ("-" + "1" * 50, "is too large a number"),
        ('{"a": 1, "b": {}, "a": 1}', "key 'a' is there twice"),
        (b"\xef\xbb\xbf1", "not a thing: Unexpected UTF-8 BOM"),
        (" \n", "not a thing: the file is empty"),
    ],
)
def test_what_is_beyond_is_one_line(tmp_path, text, says):
    with pytest.raises(InputError) as error:
        read(tmp_path / "thing.json", text)
    assert says in str(error.value)
    assert str(error.value).isprintable()
