"""The batch innermost: the same function of the same weights, or one line that says what cannot."""

import pytest
import torch
from torch.nn import functional

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import build_model

NETWORKS = [
    *({"model": name} for name in ("cnn4", "simple-cnn", "lenet5", "mlp", "speedrun-cnn")),
    {"model": "cnn", "pooling": "stride", "batch_norm": True},
    {"model": "cnn", "pooling": "average", "kernel_size": 5, "conv_layers": 3},
    {"model": "cnn", "padding": "valid", "conv_layers": 3},
]


def logits_and_gradients(network, model):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 1, 28, 28, generator=generator)
    logits = network(images)
    loss = functional.cross_entropy(logits, torch.arange(12) % 10)
    return [logits, *torch.autograd.grad(loss, list(model.parameters())), *model.buffers()]


@pytest.mark.parametrize("values", NETWORKS, ids=str)
def test_logits_gradients_and_statistics_are_torchs(values):
    torch.manual_seed(0)
    model, twin = (build_model(RunConfig(**values), DIGIT_SHAPE) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    ours, torchs = logits_and_gradients(ChwnNetwork(twin), twin), logits_and_gradients(model, model)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)


def test_a_network_that_is_no_plain_sequence_is_refused_in_one_line():
    model = build_model(RunConfig(model="resnet-mini"), DIGIT_SHAPE)
    with pytest.raises(InputError, match=r"^batch_last: .*Residual.*; use --no-batch-last$"):
        ChwnNetwork(model)
