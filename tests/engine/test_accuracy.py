"""What training reaches, on whole sets: short runs whose outcome has a wide, known range."""

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.schema.config import RunConfig
from mnistbench.workload.recipes import RECIPES

GENERATED = {"dataset": "synthetic", "synthetic_train_size": 20_000, "num_threads": 1}


@pytest.fixture
def run_recipe(tmp_path):
    def run(name, **values):
        settings = RECIPES[name].settings | {"recipe": name, "output_dir": str(tmp_path)} | values
        (record,) = train(RunConfig(**settings))
        return record

    return run


def test_simple_cnn_learns_real_mnist_in_one_epoch(run_recipe, mnist_dir):
    record = run_recipe("simple-cnn", dataset="mnist", data_dir=mnist_dir, num_epochs=1)
    assert record.num_parameters == 8490
    assert record.dataset.source == "local"
    assert record.dataset.num_train == 60_000
    assert 0.95 <= record.result.test_accuracy <= 0.99
    assert record.recipe.changed == ["num_epochs"]


@pytest.mark.slow
def test_simple_cnn_finds_the_generated_set_learnable_and_not_trivial(run_recipe):
    record = run_recipe("simple-cnn", num_epochs=3, **GENERATED)
    assert record.dataset.source == "generated"
    assert 0.93 <= record.result.test_accuracy <= 0.99


@pytest.mark.slow
def test_mse_trails_cross_entropy_on_the_generated_set(run_recipe):
    accuracies = {
        name: run_recipe(name, num_epochs=3, **GENERATED).result.test_accuracy
        for name in ("dnn4-mse", "dnn4-ce")
    }
    assert accuracies["dnn4-ce"] > 0.85
    assert accuracies["dnn4-mse"] < accuracies["dnn4-ce"] - 0.08
