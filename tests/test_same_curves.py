"""The comparison of runs at two revisions finds what differs."""

import pytest
import torch
from safetensors.torch import save_file

from bench.same_curves import difference


def made_run(folder, *, loss=0.25, weight=1.0, momentum=1.0):
    path = folder / "run" / "checkpoints" / "0000-step-00000002"
    path.mkdir(parents=True)
    save_file({"0.losses": torch.tensor([0.5, loss])}, path / "processes.safetensors")
    save_file({"weight": torch.tensor([weight])}, path / "model.safetensors")
    save_file({"0.momentum": torch.tensor([momentum])}, path / "optimizer.safetensors")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({}, None),
        ({"loss": 0.25 + 2**-25}, "the loss of step 2: 0.25 before"),
        ({"weight": 1 + 2**-23}, "model.safetensors after"),
        ({"momentum": 1 + 2**-23}, "optimizer.safetensors after"),
    ],
)
def test_a_difference_of_one_bit_is_named(tmp_path, now, said):
    made_run(tmp_path / "before")
    made_run(tmp_path / "now", **now)
    found = difference(tmp_path / "before", tmp_path / "now")
    assert found is None if said is None else found.startswith(said)


def test_a_run_that_one_revision_lacks_is_no_agreement(tmp_path):
    made_run(tmp_path / "before")
    (tmp_path / "now").mkdir()
    assert difference(tmp_path / "before", tmp_path / "now") == "only before"
