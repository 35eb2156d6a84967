"""Counts are exact: in float64, where the device has it."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from mnistbench.engine import evaluation
from mnistbench.engine.evaluation import Evaluator, widest_float

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tried_anew():
    widest_float.cache_clear()
    yield
    widest_float.cache_clear()


def test_the_cpu_adds_in_float64():
    assert widest_float(CPU) == torch.float64


@pytest.mark.parametrize("error", [RuntimeError("Required aspect fp64"), TypeError("MPS")])
def test_a_device_without_float64_is_found_by_trying_and_evaluates(monkeypatch, error):
    real = {"ones": torch.ones, "zeros": torch.zeros}

    def without(name):
        def make(*sizes, dtype=None, **more):
            if dtype == torch.float64:
                raise error
            return real[name](*sizes, dtype=dtype, **more)

        return make

    for name in real:
        monkeypatch.setattr(evaluation.torch, name, without(name))
    assert widest_float(CPU) == torch.float32
    model = nn.Linear(784, 10)
    found = Evaluator(
        accelerator=Accelerator(cpu=True),
        model=model,
        logits=lambda images: model(images.flatten(1) / 255),
        loss_fn=nn.CrossEntropyLoss(),
        eval_batch_size=4,
    )(
        torch.randint(256, (9, 28, 28)).byte(),
        torch.randint(10, (9,)),
        train_s=1.0,
        train_losses=torch.ones(2),
    )
    assert found.num_samples == 9
    assert found.train_loss == 1


def test_an_evaluation_that_does_not_compile_leaves_the_model_in_training(monkeypatch):
    def logits(_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = nn.Linear(784, 10)
    evaluator = Evaluator(
        accelerator=Accelerator(cpu=True),
        model=model,
        logits=logits,
        loss_fn=nn.CrossEntropyLoss(),
        eval_batch_size=4,
    )
    with pytest.raises(RuntimeError, match="no compiler"):
        evaluator.compiled(torch.zeros(1, 28, 28))
    assert model.training
