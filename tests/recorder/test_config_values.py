"""A user's configuration as JSON holds it."""

import argparse
import enum
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.recorder.config_values import (
    NOT_WRITTEN,
    is_secret,
    plain_values,
    without_secrets,
)
from mnistbench.schema.errors import InputError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from(
    [
        float("nan"),
        2**70,
        {1, 2},
        b"x",
        print,
        object(),
        torch.zeros(3),
        torch.float32,
        1j,
        "\ud800",
    ]
)
ANYTHING = st.recursive(
    PLAIN | ODD | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc"), PLAIN, max_size=4))
def test_what_json_holds_stays_as_it_is(config):
    assert plain_values(config, field="config") == (config, [])


@given(st.dictionaries(st.text(), ANYTHING, max_size=4))
def test_whatever_is_told_becomes_strict_json(config):
    plain, _ = plain_values(config, field="config")
    text = json.dumps(plain, allow_nan=False)
    text.encode()
    assert json.loads(text) == plain


class Level(enum.Enum):
    HIGH = "high"


@dataclass
class Given:
    lr: float = 0.1
    token: str | None = None


class Unsayable:
    def __repr__(self):
        raise RuntimeError


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "plain", "is_odd"),
    [
        (Path("a/b"), "a/b", False),
        (Level.HIGH, "high", False),
        (Given(0.1, "s3cret"), {"lr": 0.1, "token": NOT_WRITTEN}, False),
        (np.float32(0.5), 0.5, False),
        (torch.tensor(3), 3, False),
        ((1, 2), [1, 2], False),
        (float("inf"), "inf", True),
        (torch.bfloat16, "torch.bfloat16", True),
        (Unsayable(), "<Unsayable>", True),
        (argparse.Namespace(a=1), "Namespace(a=1)", True),
    ],
)
def test_odd_values(value, plain, is_odd):
    assert plain_values({"it": value}, field="config") == ({"it": plain}, ["it"] * is_odd)


def test_no_address_in_memory_makes_another_configuration():
    first, second = (plain_values({"a": {"it": object()}}, field="config") for _ in range(2))
    assert first == second == ({"a": {"it": "<object object>"}}, ["a.it"])


def test_long_texts_are_told_apart_by_a_hash():
    one, other = (plain_values({"it": "x" * 20_000 + end}, field="config")[0] for end in "ab")
    assert one != other
    assert len(one["it"]) < 300
    assert plain_values({"it": LOOP}, field="config")


SECRETS = """
token hf_token API_KEY apiKey APIKey passwd db.password secrets auth Authorization
aws-credentials pwd wandbApiKey apikey passphrase private_key hftoken dbPassword secretkey passcode
"""


@pytest.mark.parametrize("key", SECRETS.split())
def test_secrets_are_not_written(key):
    assert is_secret(key)
    config = {key: "s3cret", "in": [{key: ["s3cret", {"user": Path("s3cret")}]}], "n": {key: 3}}
    plain, by_repr = plain_values(config, field="config")
    assert "s3cret" not in json.dumps(plain)
    assert plain[key] == NOT_WRITTEN
    assert plain["n"] == {key: 3}
    assert by_repr == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("python t.py --hf-token S --lr 0.1", "python t.py --hf-token … --lr 0.1"),
        ("python t.py --token=S", "python t.py --token=…"),
        ("env WANDB_API_KEY=S python t.py", "env WANDB_API_KEY=… python t.py"),
        ("Config(lr=0.1, token='S', max_tokens=100)", "Config(lr=0.1, token='…', max_tokens=100)"),
        ("{'password': 'S', 'a': 1}", "{'password': '…', 'a': 1}"),
        ("401 for https://me:S@host/x", "401 for https://me:…@host/x"),
        ("Authorization: Bearer S", "Authorization: Bearer …"),
        ("no key: conv1.weight, tokenizer=gpt2", "no key: conv1.weight, tokenizer=gpt2"),
        ("tcp://host:1234/x and a@b", "tcp://host:1234/x and a@b"),
    ],
)
def test_texts_lose_the_secrets_that_they_name(text, left):
    assert without_secrets(text) == left
    assert plain_values({"it": text}, field="config")[0] == {"it": left}


@pytest.mark.parametrize(
    "key", ["tokenizer", "key_dim", "num_tokens", "author", "monkey", "keys_per_layer", "keyword"]
)
def test_names_that_hold_such_a_word_are_none(key):
    value = 64 if "key_" in key or "keys" in key or "num" in key else "gpt2"
    assert plain_values({key: value}, field="config")[0] == {key: value}


@pytest.mark.parametrize("config", [argparse.Namespace(), [("a", 1)], "a=1", 3])
def test_what_is_no_mapping_is_refused(config):
    with pytest.raises(InputError, match=r"config: should be a mapping, such as vars\(args\)"):
        plain_values(config, field="config")
