"""YAML of configurations: as PyYAML's safe reader has it, or refused before it costs anything."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.errors import InputError
from mnistbench.schema.plain_yaml import read_yaml
from tests.bad_files import LAUGHS

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


def read(path, text):
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, what="a thing")


@given(PLAIN)
def test_what_is_plain_is_read_as_the_safe_reader_has_it(tmp_path_factory, value):
    text = yaml.safe_dump(value)
    found = read(tmp_path_factory.mktemp("any") / "thing.yaml", text)
    assert repr(found) == repr(yaml.safe_load(text))


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
        "seed: " + "1:" * 30_000 + "1",
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
