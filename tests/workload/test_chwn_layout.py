"""The batch innermost: the same function of the same weights, or one line that says what cannot."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mnistbench.schema.component import DataShape
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


def logits_and_gradients(network, model, shape):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, *shape[:3], generator=generator)
    logits = network(images)
    loss = functional.cross_entropy(logits, torch.arange(12) % shape.num_classes)
    return [logits, *torch.autograd.grad(loss, list(model.parameters())), *model.buffers()]


@pytest.mark.parametrize("shape", [DIGIT_SHAPE, DataShape(3, 33, 28, 5)], ids=str)
@pytest.mark.parametrize("values", NETWORKS, ids=str)
def test_logits_gradients_and_statistics_are_torchs(values, shape):
    torch.manual_seed(0)
    model, twin = (build_model(RunConfig(**values), shape) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    ours = logits_and_gradients(ChwnNetwork(twin), twin, shape)
    torchs = logits_and_gradients(model, model, shape)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)


def test_a_network_that_is_no_plain_sequence_is_refused_in_one_line():
    model = build_model(RunConfig(model="resnet-mini"), DIGIT_SHAPE)
    with pytest.raises(InputError, match=r"^batch_last: .*Residual.*; use --no-batch-last$"):
        ChwnNetwork(model)


class Doubled(nn.Sequential):
    """A sequence with a forward pass of its own."""

    def forward(self, images):
        return 2 * super().forward(images)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Doubled(nn.Flatten()), "Doubled is no plain sequence of layers"),
        (nn.Sequential(nn.Sequential(Doubled())), "Doubled is no plain sequence of layers"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), "Conv2d.*circular"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "Conv2d.*groups=2"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), "MaxPool2d"),
        (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), "AvgPool2d"),
        (nn.Sequential(nn.BatchNorm2d(3, momentum=None)), "BatchNorm2d"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "BatchNorm2d"),
        (nn.Sequential(nn.Flatten(2)), "Flatten"),
        (nn.Sequential(nn.GELU()), "GELU"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), "no plain sequence"),
    ],
    ids=str,
)
def test_a_layer_that_would_be_run_otherwise_is_refused_in_one_line(model, named):
    with pytest.raises(InputError, match=rf"^batch_last: .*{named}.*; use --no-batch-last$"):
        ChwnNetwork(model)
