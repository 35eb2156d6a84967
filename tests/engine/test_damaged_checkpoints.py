"""Every file of a checkpoint, damaged in every way: never loaded, the one before is used."""

import logging
import random
import shutil

import pytest
from accelerate import Accelerator

from mnistbench.engine.checkpoint_writer import CheckpointWriter
from mnistbench.engine.run_seeds import train
from mnistbench.schema import sealed_folder
from mnistbench.schema.checkpoint import FILES, checkpoints_of, load_checkpoint, load_newest
from mnistbench.schema.errors import InputError, RunError
from mnistbench.schema.sealed_folder import MANIFEST, unseal
from tests.engine.interrupted import LATEST, bits, interrupt

VALUES = {"num_epochs": 3, "checkpoint_every_steps": 4, "model": "linear"}
NAMES = (*FILES, MANIFEST)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The two checkpoints of a run, and those of another of the same shape."""
    from mnistbench.schema.config import RunConfig
    from tests.conftest import SMALL

    folders = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp(f"seed-{seed}")
        record = train(RunConfig(**SMALL | VALUES, seed=seed, output_dir=str(folder)))[0]
        folders.append(folder / record.run_id)
    return folders


@pytest.fixture
def run_folder(checkpoints, tmp_path):
    return shutil.copytree(checkpoints[0], tmp_path / "run")


def truncate(path, _other, draw):
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def empty(path, _other, _draw):
    path.write_bytes(b"")


def delete(path, _other, _draw):
    path.unlink()


def swap(path, other, _draw):
    shutil.copy(other, path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [truncate, empty, delete, swap], ids=lambda d: d.__name__)
def test_a_damaged_one_is_named_and_the_one_before_is_used(
    checkpoints, run_folder, name, damage, one_thread
):
    before, newest = checkpoints_of(run_folder)
    other = checkpoints_of(checkpoints[1])[-1]
    damage(newest / name, other / name, random.Random(name))
    saved, skipped = load_newest(run_folder)
    assert saved.path == before
    assert len(skipped) == 1
    assert str(newest) in skipped[0]


@pytest.mark.parametrize("name", NAMES)
def test_bits_that_flip_are_noticed_wherever_they_are(run_folder, name):
    before, newest = checkpoints_of(run_folder)
    whole, draw = (newest / name).read_bytes(), random.Random(name)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        (newest / name).write_bytes(damaged)
        assert load_newest(run_folder)[0].path == before
    (newest / name).write_bytes(whole)
    assert load_newest(run_folder)[0].path == newest


def test_the_run_goes_on_from_the_one_before_and_says_so(
    small_config, monkeypatch, tmp_path, one_thread, caplog
):
    whole = train(small_config(**VALUES, output_dir=str(tmp_path / "whole")))[0]
    interrupt(monkeypatch, small_config(**VALUES), at_step=10)
    (folder,) = (tmp_path / "runs").iterdir()
    _, newest = checkpoints_of(folder)
    empty(newest / "optimizer.safetensors", None, None)
    with caplog.at_level(logging.WARNING):
        resumed = train(small_config(**VALUES | LATEST))[0]
    (said,) = [text for text in caplog.messages if text.startswith("skipped: ")]
    assert str(newest / "optimizer.safetensors") in said
    assert resumed.interruptions[0].step == 8
    assert bits(resumed) == bits(whole)
    # the damaged one neither counts as one of two nor takes the place of a new one
    assert len([p for p in checkpoints_of(folder) if p != newest and load_checkpoint(p)]) == 2


def test_where_none_can_be_trusted_nothing_begins(small_config, monkeypatch, tmp_path):
    interrupt(monkeypatch, small_config(**VALUES), at_step=10)
    (folder,) = (tmp_path / "runs").iterdir()
    for path in checkpoints_of(folder):
        delete(path / MANIFEST, None, None)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="has no checkpoint that can be trusted") as refused:
        train(small_config(**VALUES | LATEST))
    assert str(refused.value).count(MANIFEST) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_checkpoints_that_a_link_leads_to_are_left_as_they_are(
    small_config, monkeypatch, tmp_path, run_folder
):
    interrupt(monkeypatch, small_config(**VALUES), at_step=10)
    (folder,) = (tmp_path / "runs").iterdir()
    (tmp_path / "runs" / "z").symlink_to(run_folder)
    (folder / "checkpoints").rename(tmp_path / "kept")
    (tmp_path / "kept" / ".0009-step-00000009-0123abcd").mkdir()
    (folder / "checkpoints").symlink_to(tmp_path / "kept")
    before = sorted(tmp_path.glob("[kr]*[!s]/**/*"))
    with pytest.raises(RunError, match="checkpoints: is a symbolic link, and none of ours"):
        train(small_config(**VALUES | LATEST))
    assert sorted(tmp_path.glob("[kr]*[!s]/**/*")) == before


def test_one_that_was_named_is_used_or_refused(small_config, monkeypatch, tmp_path):
    interrupt(monkeypatch, small_config(**VALUES), at_step=10)
    (folder,) = (tmp_path / "runs").iterdir()
    before, newest = checkpoints_of(folder)
    delete(newest / "state.json", None, None)
    with pytest.raises(InputError, match=r"state\.json: cannot be read"):
        train(small_config(**VALUES, resume=str(newest)))
    assert train(small_config(**VALUES, resume=str(before)))[0].interruptions[0].step == 8


def test_a_folder_that_vanishes_while_it_is_saved_to_is_made_again(tmp_path, monkeypatch):
    write_new, calls = sealed_folder.write_new, []

    def write(path, content):
        if not calls:
            shutil.rmtree(path.parent.parent)
        calls.append(path)
        write_new(path, content)

    monkeypatch.setattr(sealed_folder, "write_new", write)
    with CheckpointWriter(tmp_path / "run", Accelerator(cpu=True), go_on=False) as writer:
        assert writer.save(7, {"a": b"1"})
        (saved,) = checkpoints_of(tmp_path / "run")
    assert unseal(saved, ["a"]) == {"a": b"1"}
