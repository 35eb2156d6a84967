"""The articles' small convolutions and pools: what our networks take torch to do, and expect.

Inputs and expected tables are those of "Construct A Simple CNN for Solving MNIST Image
Classification with PyTorch" (2023); each can be checked by hand.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import build_model

FIVE_BY_FIVE = [
    [3, 4, 6, 5, 7],
    [2, 4, 6, 8, 2],
    [1, 6, 7, 8, 4],
    [9, 7, 4, 6, 2],
    [3, 7, 5, 4, 1],
]
FOUR_BY_FOUR = [[3, 4, 6, 5], [2, 4, 6, 8], [1, 6, 7, 8], [9, 7, 4, 6]]
THREE_BY_THREE = [[3, 4, 6], [2, 4, 6], [1, 6, 7]]
TWO_BY_TWO = [[3, 4], [2, 4]]


def plane(rows):
    """One image of one channel, [1, 1, rows, columns]."""
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def convolve(rows, first_weight, kernel_size, **options):
    """`rows` under a kernel that counts up from `first_weight`, row by row."""
    layer = nn.Conv2d(1, 1, kernel_size, bias=False, **options)
    weights = torch.arange(float(kernel_size**2)) + first_weight
    with torch.no_grad():
        layer.weight.copy_(weights.view_as(layer.weight))
        return layer(plane(rows))[0, 0].tolist()


def test_a_3x3_kernel_without_padding_takes_one_pixel_off_each_edge():
    layer = nn.Conv2d(5, 10, kernel_size=3)
    assert layer(torch.zeros(1, 5, 100, 100)).shape == (1, 10, 98, 98)


def test_weights_are_ordered_output_channels_input_channels_rows_columns():
    layer = nn.Conv2d(5, 10, kernel_size=3)
    assert layer.weight.shape == (10, 5, 3, 3)
    assert sum(p.numel() for p in layer.parameters()) == 10 * 5 * 3 * 3 + 10


def test_every_output_channel_adds_up_all_input_channels():
    layer = nn.Conv2d(5, 2, kernel_size=3, bias=False)
    with torch.no_grad():  # whole numbers, so that the order of the sum does not matter
        layer.weight.copy_(torch.arange(90.0).view(2, 5, 3, 3))
    images = torch.arange(80.0).view(1, 5, 4, 4)
    by_channel = [
        functional.conv2d(images[:, c : c + 1], layer.weight[:, c : c + 1]) for c in range(5)
    ]
    assert torch.equal(layer(images), torch.stack(by_channel).sum(0))


def test_padding_1_keeps_the_size_under_a_3x3_kernel():
    assert convolve(FIVE_BY_FIVE, 1, 3, padding=1) == [
        [91, 168, 224, 215, 127],
        [114, 211, 295, 262, 149],
        [192, 259, 282, 214, 122],
        [194, 251, 253, 169, 86],
        [96, 112, 110, 68, 31],
    ]


def test_stride_2_keeps_every_other_place():
    unit_stride = convolve(FIVE_BY_FIVE, 1, 3)
    assert unit_stride == [[211, 295, 262], [259, 282, 214], [251, 253, 169]]
    assert convolve(FIVE_BY_FIVE, 1, 3, stride=2) == [[211, 262], [251, 169]]


@pytest.mark.parametrize(("padding", "padded"), [(0, "2 x 2"), (1, "4 x 4")])
def test_a_kernel_larger_than_the_padded_input_is_refused(padding, padded):
    with pytest.raises(RuntimeError) as refusal:
        convolve(TWO_BY_TWO, 0, 5, padding=padding)
    assert f"padded input size per channel: ({padded})" in str(refusal.value)
    assert "Kernel size can't be greater than actual input size" in str(refusal.value)


def test_padding_2_makes_room_for_a_5x5_kernel_on_2x2():
    assert convolve(TWO_BY_TWO, 0, 5, padding=2) == [[194, 181], [129, 116]]


def test_padding_3_makes_the_output_larger_than_the_input():
    assert convolve(TWO_BY_TWO, 0, 5, padding=3) == [
        [272, 259, 246, 233],
        [207, 194, 181, 168],
        [142, 129, 116, 103],
        [77, 64, 51, 38],
    ]


def test_same_padding_is_half_the_kernel():
    assert convolve(TWO_BY_TWO, 0, 5, padding="same") == convolve(TWO_BY_TWO, 0, 5, padding=2)


def test_same_padding_allows_no_stride():
    with pytest.raises(ValueError, match="not supported for strided convolutions"):
        nn.Conv2d(1, 1, 5, padding="same", stride=2)


@pytest.mark.parametrize(
    ("pool", "rows", "expected"),
    [
        (nn.MaxPool2d(2), FOUR_BY_FOUR, [[4, 8], [9, 8]]),
        (nn.MaxPool2d(2), THREE_BY_THREE, [[4]]),
        (nn.MaxPool2d(2, stride=1), THREE_BY_THREE, [[4, 6], [6, 7]]),
        (nn.AvgPool2d(2), FOUR_BY_FOUR, [[3.25, 6.25], [5.75, 6.25]]),
        (nn.AvgPool2d(2), THREE_BY_THREE, [[3.25]]),
    ],
    ids=["max", "max-odd-side", "max-stride-1", "average", "average-odd-side"],
)
def test_pools(pool, rows, expected):
    assert pool(plane(rows))[0, 0].tolist() == expected


def test_a_pool_keeps_the_channels_and_has_no_parameters():
    pool = nn.MaxPool2d(2)
    assert pool(torch.zeros(3, 7, 24, 24)).shape == (3, 7, 12, 12)
    assert list(pool.parameters()) == []


def test_a_pool_larger_than_its_input_is_refused():
    with pytest.raises(RuntimeError, match="Output size is too small"):
        nn.MaxPool2d(2)(torch.zeros(1, 1, 1, 1))


def test_pooling_before_relu_gives_what_relu_before_pooling_gives():
    images = torch.arange(-18.0, 18.0).view(1, 1, 6, 6)
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    assert torch.equal(relu(pool(images)), pool(relu(images)))
    assert relu(pool(images)).max() == 17


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel_size", [1, 2, 4, 5])
def test_the_border_of_model_cnn_is_torchs_own_same_padding(kernel_size):
    torch.manual_seed(0)
    model = build_model(RunConfig(model="cnn", kernel_size=kernel_size), DIGIT_SHAPE)
    border = [layer for layer in model[:1] if isinstance(layer, nn.ZeroPad2d)]
    layer = model[len(border)]
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = functional.conv2d(images, layer.weight, layer.bias, padding="same")
    assert len(border) == (kernel_size % 2 == 0)
    torch.testing.assert_close(nn.Sequential(*border, layer)(images), expected)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("simple-cnn", 320),
        ("cnn2", 784),
        ("cnn4", 784),
        ("lenet5", 120),
        ("example-cnn", 9_216),
        ("fast-cnn", 800),
    ],
)
def test_flattened_features_that_the_linear_layers_take(model, size):
    layers = build_model(RunConfig(model=model), DIGIT_SHAPE).modules()
    assert next(layer.in_features for layer in layers if isinstance(layer, nn.Linear)) == size


def test_parameters_of_simple_cnn_by_the_articles_formula():
    model = build_model(RunConfig(model="simple-cnn"), DIGIT_SHAPE)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in model]
    convolutions = [1 * 10 * 5 * 5 + 10, 10 * 20 * 5 * 5 + 20]
    assert [count for count in counts if count] == [*convolutions, 320 * 10 + 10]
    assert sum(counts) == 260 + 5_020 + 3_210 == 8_490


REFUSALS = {
    "kernel": (
        {"conv_layers": 3, "kernel_size": 6, "padding": "valid"},
        (
            "kernel_size: convolution 3 of cnn has a 6x6 kernel, which leaves it or its pool "
            "nothing of a padded input of 3x3; use a smaller --kernel-size or --padding same"
        ),
    ),
    "pool": (
        {"kernel_size": 28, "padding": "valid"},
        (
            "kernel_size: convolution 1 of cnn has a 28x28 kernel, which leaves it or its pool "
            "nothing of a padded input of 28x28; use a smaller --kernel-size or --padding same"
        ),
    ),
    "weights": (
        {"conv_layers": 4, "channels": 1024, "kernel_size": 64},
        (
            "channels: convolution 2 of cnn has 8,589,934,592 weights, more than 1,073,741,824; "
            "use fewer --channels or a smaller --kernel-size"
        ),
    ),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("fields", "message"), REFUSALS.values(), ids=REFUSALS)
def test_our_networks_refuse_earlier_and_name_the_layer_and_the_mend(fields, message, device):
    with torch.device(device), pytest.raises(InputError) as refusal:
        build_model(RunConfig(model="cnn", **fields), DIGIT_SHAPE)
    assert str(refusal.value) == message
