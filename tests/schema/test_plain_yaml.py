"""YAML of configurations: as YAML 1.2 has it, or refused before it costs anything."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.errors import InputError
from mnistbench.schema.plain_yaml import read_yaml, yaml_text, yaml_value, yaml_word
from tests.bad_files import LAUGHS

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


def read(path, text):
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, what="a thing")


ODD_WORDS = st.from_regex(
    r"[-+]?0?[xob]?[0-9_]{1,4}([:.eE-][-+]?[0-9]{1,3}){0,2}|[yYnNoOtTfF~.<=]{1,2}[a-zA-Z]{0,4}",
    fullmatch=True,
)


@given(st.dictionaries(TEXT, PLAIN | ODD_WORDS))
def test_what_is_written_is_read_the_same_by_any_reader(tmp_path_factory, values):
    text = yaml_text(values)
    assert text.isascii()
    found = read(tmp_path_factory.mktemp("any") / "thing.yaml", text)
    assert repr(found) == repr(values) == repr(yaml.safe_load(text))


@given(PLAIN | ODD_WORDS)
def test_a_value_is_one_line_on_a_command_line_and_is_read_the_same(value):
    word = yaml_word(value)
    assert word.isascii()
    assert word.isprintable()
    assert repr(yaml_value(word, of="x")) == repr(value) == repr(yaml.safe_load(word))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[(word, word) for word in ("no", "on", "Yes", "off", "y", "5:10", "1:30.5", "0b11", "NO")],
        *[(word, word) for word in ("2024-01-01", "2024-01-01 10:00:00", "1_000", "1e", ".", "=")],
        *[("true", True), ("FALSE", False), ("~", None), ("Null", None), ("", None)],
        *[("08", "08"), ("010", "010"), ("-12", -12), ("+3", 3), ("0x1F", 31), ("0", 0)],
        *[("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("-1.", -1.0), ("-.INF", -math.inf)],
        ("!!str 10", "10"),
    ],
)
def test_a_word_is_what_yaml_1_2_says(tmp_path, word, value):
    found = read(tmp_path / "thing.yaml", f"a: {word}\n")["a"]
    assert (type(found), found) == (type(value), value)


@given(st.text(alphabet="&*!?|>%@{}[]:,-#'\"\n \\ax1.<~0"))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "thing.yaml"
    said = str(path)
    try:
        read(path, text)
    except InputError as error:
        said = str(error)
    assert said.startswith(str(path))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: &a {k: 1}\n" + "b: {<<: [" + "*a, " * 10_000 + "]}\n",
        "[" * 60_000,
        "{a: " * 15_000,
        "- " * 30_000,
        "seed: !!int " + "1:" * 30_000 + "1",
        "seed: 0x" + "f" * 60_000,
        "a: 'b\n" + "\n" * 60_000,
        "{" + "a " * 30_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_bomb_is_refused_before_it_goes_off(tmp_path, text):
    with pytest.raises(InputError, match="malformed YAML"):
        read(tmp_path / "thing.yaml", text)


def test_an_anchor_that_nothing_refers_to_does_no_harm(tmp_path):
    assert read(tmp_path / "thing.yaml", "lr: &lr 0.1\n") == {"lr": 0.1}


def test_a_merged_mapping_counts_once(tmp_path):
    assert read(tmp_path / "thing.yaml", "<<: {lr: 1}\nlr: 2\n") == {"lr": 2}
