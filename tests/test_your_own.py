"""The first example of the page on one's own code, typed in a folder with nothing but its file."""

import json
from pathlib import Path

import numpy as np
import pytest

from mnistbench import compare, doctor, tune
from mnistbench.schema.plain_yaml import read_yaml
from mnistbench.schema.store import find_records, load_record
from tests.documented import ROOT, commands, fences

PAGE = ROOT / "docs/your-own.md"
SMALL = ["--dataset", "digits.npz", "--val-size", "100", "--max-steps", "4", "--num-threads", "1"]


def typed(name):
    """The words behind ``mnistbench NAME`` in the first command of that kind."""
    words = (command.words for command in commands(PAGE))
    return next(its[2:] for its in words if its[:2] == ["mnistbench", name])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    block = next(fence for fence in fences(PAGE) if fence.language == "python")
    assert len(block.lines) <= 40
    (tmp_path / "my_nets.py").write_text("\n".join(block.lines) + "\n")
    images = np.random.default_rng(0).integers(256, size=(500, 28, 28), dtype=np.uint8)
    labels = np.arange(500) % 10
    arrays = {"x_train": images[:400], "y_train": labels[:400]}
    np.savez(tmp_path / "digits.npz", **arrays, x_test=images[400:], y_test=labels[400:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.processes
def test_from_an_empty_folder_to_a_verdict(folder, capsys):
    assert doctor.main([*typed("doctor"), "--no-launch"]) == 0
    capsys.readouterr()
    small = [*SMALL, "--lr", "0.0003", "--format", "json"]
    assert tune.main([*typed("tune"), *small]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["loss"] for row in told["rows"]] == ["cross-entropy", "gce"]
    best = read_yaml(Path("tuned/gce.yaml"), what="a configuration")
    assert (best["loss"], best["optimizer"]) == ("my_nets:gce", "my_nets:Lion")
    words = typed("compare")
    assert [*told["next"].split()[2:], "--wide"] == words
    assert compare.main([*words, "--max-minutes", "0.001", "--output-dir", "pairs"]) == 0
    assert "time to 95 %" in capsys.readouterr().out
    records = [load_record(path) for path in find_records([folder / "pairs"])]
    assert sorted(run.config["loss"] for run in records) == ["cross-entropy", "my_nets:gce"]
    assert {run.seed for run in records} == {3}
    assert {len(run.code) for run in records} == {2, 3}  # of one the loss is built in
    left = {path.name for path in folder.iterdir()} - {"digits.npz", "__pycache__"}
    assert left == {"my_nets.py", "pairs", "tuned"}
