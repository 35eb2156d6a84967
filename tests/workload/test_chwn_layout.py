"""The batch innermost: the same function of the same weights, or one line that says what cannot."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload import chwn_layout
from mnistbench.workload.chwn_layout import ChwnNetwork
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.models import MODELS, build_model

NO_CONVOLUTION = {"linear", "mlp", "dnn4", "dnn5"}
NETWORKS = [
    *({"model": name} for name in MODELS.keys() - NO_CONVOLUTION),
    {"model": "cnn", "pooling": "stride", "batch_norm": True},
    {"model": "cnn", "pooling": "average", "kernel_size": 5, "conv_layers": 3},
    {"model": "cnn", "kernel_size": 4, "batch_norm": True, "dropout": 0.3},
    {"model": "cnn", "padding": "valid", "conv_layers": 3},
]


@pytest.fixture(autouse=True)
def _kernels():
    assert why_unavailable(kernels_folder()) is None


def check_same(model, shape=DIGIT_SHAPE):
    """The network's logits, gradients and statistics, in fp64, where nothing is near a tie."""
    model = model.double()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    twin = copy.deepcopy(model)
    images = torch.randn(12, *shape[:3], dtype=torch.float64)
    network = ChwnNetwork(twin, dtype=torch.float64)
    for call in (network, model):
        functional.cross_entropy(call(images).double(), torch.arange(12) % 5).backward()
    for training in (True, False):
        model.train(training)
        twin.train(training)
        torch.testing.assert_close(network(images), model(images).float(), rtol=1e-5, atol=1e-6)
    assert network(images).is_contiguous()  # a user's loss may view it
    grads = [[weight.grad for weight in one.parameters()] for one in (twin, model)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(list(twin.buffers()), list(model.buffers()), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [DIGIT_SHAPE, DataShape(3, 33, 28, 5)], ids=str)
@pytest.mark.parametrize("values", NETWORKS, ids=str)
def test_logits_gradients_and_statistics_are_torchs(values, shape):
    torch.manual_seed(0)
    check_same(build_model(RunConfig(**values), shape), shape)


ACTIVATION = nn.ReLU()
BEHIND = {
    "one ReLU twice": [nn.Conv2d(1, 4, 3), ACTIVATION, nn.Conv2d(4, 3, 3), ACTIVATION],
    "ReLU, pool": [nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2)],
    "pool, pool": [nn.Conv2d(1, 4, 3, stride=(2, 1)), nn.MaxPool2d(2), nn.MaxPool2d((2, 2))],
    "wide pool": [nn.Conv2d(1, 4, (3, 5), bias=False), nn.MaxPool2d(3, 2, 1, ceil_mode=True)],
    "sequences": [nn.Sequential(nn.Conv2d(1, 4, 1), nn.Sequential(nn.ReLU())), nn.AvgPool2d(3)],
    "no mean kept": [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.GELU()],
    "a plain mean": [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.LeakyReLU(0.1)],
    "single pixels": [
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 3, 1, bias=False),
        nn.Conv2d(3, 6, 1),
        nn.Conv2d(6, 2, 1, stride=2),
        nn.ReLU(),
    ],
    "frozen bias": [nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.ReLU()],
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_stands_behind_a_convolution_is_torchs(name):
    torch.manual_seed(0)
    model = nn.Sequential(*BEHIND[name], nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LazyLinear(10))
    model(torch.zeros(2, 1, 28, 28))
    if name == "frozen bias":
        model[0].bias.requires_grad_(False)
    check_same(model)


class Doubled(nn.Sequential):
    """A sequence with a forward pass of its own."""

    def forward(self, images):
        return 2 * super().forward(images)


class CalledTwice(nn.Sequential):
    """A sequence whose call does more than its forward pass."""

    def __call__(self, images):
        return 2 * super().__call__(images)


def hooked(name="forward_hook"):
    layer = nn.ReLU()
    getattr(layer, f"register_{name}")(lambda *_: None)
    return layer


FIRST = nn.Conv2d(1, 4, 3)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Doubled(FIRST), "Doubled is no plain sequence of layers"),
        (nn.Sequential(FIRST, nn.Sequential(Doubled())), "Doubled is no plain sequence"),
        (CalledTwice(FIRST), "CalledTwice is no plain sequence of layers"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), "Conv2d.*circular"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "Conv2d.*groups=2"),
        (nn.Sequential(nn.Conv2d(4, 4, 4, padding="same")), "Conv2d.*same"),
        (nn.Sequential(FIRST, nn.Dropout(0.1, inplace=True)), "Dropout"),
        (nn.Sequential(FIRST, hooked()), "ReLU"),
        (nn.Sequential(FIRST, hooked("full_backward_pre_hook")), "ReLU"),
        (nn.Sequential(FIRST, nn.Linear(26, 4)), "Linear"),
        (nn.Sequential(FIRST, nn.Flatten(2)), "Flatten"),
        (nn.Sequential(FIRST, nn.Softplus()), "Softplus"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), "no plain sequence"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "the network has no convolution"),
    ],
    ids=str,
)
def test_a_layer_that_would_be_run_otherwise_is_named(model, named):
    with pytest.raises(InputError, match=named):
        ChwnNetwork(model)


def test_a_kernel_of_one_pixel_is_part_of_the_convolution_before_it(monkeypatch):
    shapes = []

    def convolution(features, weight, bias, how):
        shapes.append(tuple(weight.shape))
        return original(features, weight, bias, how)

    original = chwn_layout.convolution
    monkeypatch.setattr(chwn_layout, "convolution", convolution)
    ChwnNetwork(build_model(RunConfig(model="cnn4"), DIGIT_SHAPE))(torch.randn(16, 1, 28, 28))
    assert shapes == [(6, 1, 3, 3), (1, 6, 3, 3)]
