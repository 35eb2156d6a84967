"""Damage to a sealed folder is noticed, whatever it is and wherever it lies."""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.errors import InputError
from mnistbench.schema.sealed_folder import MANIFEST, is_aside, seal, unseal

FILES = {"weights": bytes(range(256)) * 5, "state.json": b'{"step": 1}\n', "empty": b""}
OTHERS = {"weights": bytes(range(255, -1, -1)) * 5, "state.json": b'{"step": 2}\n', "empty": b"x"}


@pytest.fixture
def sealed(tmp_path):
    seal(tmp_path / "sealed", FILES)
    return tmp_path / "sealed"


def test_what_was_sealed_comes_back(sealed):
    assert unseal(sealed, FILES) == FILES
    assert [path.name for path in sealed.parent.iterdir()] == ["sealed"]


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path):
    path.write_bytes(b"")


def extended(path):
    path.write_bytes(path.read_bytes() + b"\n")


def deleted(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)  # to read it would wait for ever


def swapped(path):
    other = path.parent.with_name("other")
    seal(other, OTHERS)
    shutil.copy(other / path.name, path)


DAMAGES = (truncated, emptied, extended, deleted, a_folder, a_link_to_itself, a_pipe, swapped)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_is_noticed(sealed, name, damage):
    if name == "empty" and damage in {truncated, emptied}:
        return  # is none
    damage(sealed / name)
    with pytest.raises(InputError) as noticed:
        unseal(sealed, FILES)
    assert str(sealed / name if name != MANIFEST else sealed) in str(noticed.value)
    assert "\n" not in str(noticed.value)


@pytest.mark.parametrize("name", ["weights", "state.json", MANIFEST])
def test_every_single_bit_counts(sealed, name):
    path = sealed / name
    whole, draw = path.read_bytes(), random.Random(0)
    for bit in draw.sample(range(8 * len(whole)), min(8 * len(whole), 300)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            unseal(sealed, FILES)
    path.write_bytes(whole)
    assert unseal(sealed, FILES) == FILES


@given(text=st.text() | st.binary())
def test_any_other_manifest_is_refused(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed") / "x"
    seal(folder, FILES)
    manifest = folder / MANIFEST
    manifest.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    with pytest.raises(InputError):
        unseal(folder, FILES)


def test_a_manifest_cannot_point_elsewhere(sealed):
    with pytest.raises(InputError, match="is not in the manifest"):
        unseal(sealed, ["../../etc/passwd"])


def test_what_is_there_is_not_sealed_over(sealed):
    with pytest.raises(OSError, match="not empty"):
        seal(sealed, OTHERS)
    assert unseal(sealed, FILES) == FILES
    assert [path.name for path in sealed.parent.iterdir()] == ["sealed"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        seal(tmp_path / "sealed", FILES)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_seal_left_is_known():
    assert is_aside(Path("runs/.0002-step-00000008-0123abcd"))
    assert not is_aside(Path("runs/.snapshot"))
    assert not is_aside(Path("runs/0002-step-00000008"))
