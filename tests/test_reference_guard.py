"""The fast-but-wrong guard on real runs, against the reference curves of the package."""

import pytest
import torch

from bench.make_references import FOLDER
from mnistbench.analysis.reference_bands import check_against, packaged_references
from mnistbench.engine.fast_step import FastStep
from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.schema.training_fields import curve_settings
from mnistbench.workload.recipes import RECIPES

REFERENCES = {f"{r.recipe}-{r.dataset}": r for r in packaged_references()}


@pytest.fixture
def first_epoch(mnist_dir, tmp_path):
    """Trains the first epoch of simple-cnn and holds it to its reference."""

    def run():
        values = RECIPES["simple-cnn"].settings | {"num_epochs": 1, "output_dir": str(tmp_path)}
        config = RunConfig(recipe="simple-cnn", dataset="mnist", data_dir=mnist_dir, **values)
        record = train(config.model_copy(update={"seed": 77}))[0]
        return check_against(record, REFERENCES["simple-cnn-mnist"])

    return run


def test_an_honest_run_stays_inside_its_reference(first_epoch):
    assert first_epoch() == []


def test_a_loop_that_is_fast_because_it_skips_updates_is_caught(first_epoch, monkeypatch):
    honest_step = FastStep.update
    calls = iter(range(10**6))

    def skipping(self, *inputs):
        return torch.zeros(()) if next(calls) % 10 else honest_step(self, *inputs)

    monkeypatch.setattr(FastStep, "update", skipping)
    (left,) = first_epoch()
    assert left.startswith("epoch 1 (")


def test_each_file_is_named_for_what_it_is_of():
    assert {path.stem for path in FOLDER.glob("*.json")} == REFERENCES.keys()


@pytest.mark.parametrize("name", REFERENCES)
def test_references_belong_to_the_recipes_as_they_are_now(name):
    reference = REFERENCES[name]
    config = RunConfig(recipe=reference.recipe, **RECIPES[reference.recipe].settings)
    assert curve_settings(reference.settings) == curve_settings(config.model_dump(mode="json"))
    assert reference.n >= 10
    assert all(point.low <= point.mean <= point.high for point in reference.points)
