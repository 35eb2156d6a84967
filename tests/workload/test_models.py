"""Every network of the registry: its size, what it returns, and what it refuses."""

from __future__ import annotations

import hashlib
import itertools
import math
from typing import get_args

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.names import ModelName
from mnistbench.workload.generated import DIGIT_SHAPE
from mnistbench.workload.models import MODELS, build_model, check_model
from mnistbench.workload.models.configurable import MAX_WEIGHTS

NAMES = get_args(ModelName)
PIXELS = 28 * 28


def dense(*sizes):
    """Weights and biases of linear layers between `sizes`."""
    return sum(a * b + b for a, b in itertools.pairwise(sizes))


def conv(inputs, outputs, kernel, *, bias=True):
    return inputs * outputs * kernel**2 + outputs * bias


def normed(inputs, outputs, kernel):
    """A convolution without bias and the gain and offset of its batch norm."""
    return conv(inputs, outputs, kernel, bias=False) + 2 * outputs


def residual(inputs, outputs):
    shortcut = normed(inputs, outputs, 1) if inputs != outputs else 0
    return normed(inputs, outputs, 3) + normed(outputs, outputs, 3) + shortcut


CNN4_CONVOLUTIONS = conv(1, 6, 3) + conv(6, 6, 3) + conv(6, 6, 1) + conv(6, 1, 1)
RESIDUAL_BLOCKS = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64))
PARAMETERS = {
    "cnn4": CNN4_CONVOLUTIONS + dense(PIXELS, 500, 400, 200, 10),
    "simple-cnn": 8_490,
    "dnn4": dense(PIXELS, 500, 400, 200, 10),
    "dnn5": dense(PIXELS, 512, 256, 128, 64, 10),
    "cnn2": conv(1, 8, 3) + conv(8, 16, 3) + dense(16 * 7 * 7, 64, 10),
    "cnn": conv(1, 16, 3) + conv(16, 32, 3) + dense(32 * 7 * 7, 128, 10),
    "lenet5": 61_706,
    "resnet-mini": normed(1, 16, 3) + sum(residual(*b) for b in RESIDUAL_BLOCKS) + dense(64, 10),
    "mlp": dense(PIXELS, 512, 10),
    "linear": dense(PIXELS, 10),
    "example-cnn": 1_199_882,
    "fast-cnn": 215_194,
    "speedrun-cnn": 109_050,
}
WEIGHTS_SHA256 = {
    "cnn4": "da0f040a603c18de",
    "simple-cnn": "a079326e9fb74180",
    "dnn4": "d6ebedbe42faaab5",
    "dnn5": "b0bc9b7e122f8a83",
    "cnn2": "6d2f73766a03788f",
    "cnn": "c24a29b5fafd430a",
    "lenet5": "2a2d133895b1684e",
    "resnet-mini": "50425c531ff118ea",
    "mlp": "45a67898ccd6f36b",
    "linear": "a02bc35110b82d97",
    "example-cnn": "2d2b94264c69af85",
    "fast-cnn": "5c6f330009c67730",
    "speedrun-cnn": "538568da821bdfd9",
}
"""Of each network's weights at seed 0: records of earlier versions began with them."""

LETTERS = {nn.Conv2d: "c", nn.MaxPool2d: "m", nn.AvgPool2d: "a"}
LETTERS |= {nn.BatchNorm2d: "b", nn.BatchNorm1d: "b"}
LETTERS |= {nn.ReLU: "r", nn.Tanh: "t", nn.Dropout: "d", nn.Flatten: "-", nn.Linear: "l"}
LAYOUTS = {
    "cnn4": "cccc-lrlrlrl",
    "simple-cnn": "cmrcmr-l",
    "dnn4": "-lrlrlrl",
    "dnn5": "-lrlrlrlrl",
    "cnn2": "crmcrm-lrl",
    "cnn": "crmcrm-lrl",
    "lenet5": "ctactact-ltl",
    "mlp": "-lrl",
    "linear": "-l",
    "example-cnn": "crcrmd-lrdl",
    "fast-cnn": "cmrcmr-lrl",
    "speedrun-cnn": "cbrcbr-lbrl",
}


def build(name="cnn", **fields):
    torch.manual_seed(0)
    return build_model(RunConfig(model=name, **fields), DIGIT_SHAPE)


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def images(count):
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(count))


def features_of(model):
    return list(itertools.takewhile(lambda layer: not isinstance(layer, nn.Flatten), model))


def layout_of(layers):
    return "".join(LETTERS[type(layer)] for layer in layers)


def test_the_registry_has_the_names_that_a_user_may_type():
    assert sorted(MODELS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters(name):
    model = build(name)
    assert num_parameters(model) == PARAMETERS[name]
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_a_seed_are_those_of_earlier_versions(name):
    weights = parameters_to_vector(build(name).parameters()).detach().numpy()
    assert hashlib.sha256(weights.tobytes()).hexdigest()[:16] == WEIGHTS_SHA256[name]


@pytest.mark.parametrize("shape", [(3, 32, 32, 5), (1, 28, 40, 2), (4, 61, 30, 20)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_data(name, shape):
    shape = DataShape(*shape)
    model = build_model(RunConfig(model=name), shape)
    with torch.no_grad():
        assert model(torch.rand(2, *shape[:3])).shape == (2, shape.num_classes)


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_too_small_are_refused_with_the_smallest_that_fit(name):
    config, drawn = RunConfig(model=name), torch.get_rng_state()

    def refusal(height, width):
        try:
            check_model(config, DataShape(1, height, width, 10))
        except InputError as error:
            return str(error)
        return None

    said = refusal(3, 40)
    least = {"lenet5": 28, "simple-cnn": 16, "speedrun-cnn": 10, "fast-cnn": 12, "example-cnn": 6}
    if name in least:
        side = least[name]
        size = f"{side} × {side} pixels; these are 3 × 40"
        assert said == f"model: {name} needs images of at least {size}"
        assert refusal(side, side) is None
        assert refusal(40, side - 1)
    elif name in {"cnn", "cnn2"}:
        assert "\n" not in said
    else:
        assert said is None
    assert torch.equal(torch.get_rng_state(), drawn)


def test_an_error_that_is_not_of_the_size_stays_what_it_is(monkeypatch):
    def full(*_):
        if torch.get_default_device().type == "meta":
            return nn.Identity()
        raise RuntimeError("not enough memory")

    monkeypatch.setitem(MODELS, "mlp", full)
    with pytest.raises(RuntimeError, match="not enough memory"):
        build("mlp")


@pytest.mark.parametrize(("name", "layout"), LAYOUTS.items())
def test_layers_in_order(name, layout):
    assert layout_of(build(name)) == layout


def test_resnet_mini_adds_each_block_to_its_input_and_ends_at_7x7():
    stem_and_blocks = build("resnet-mini").eval()[:8]
    with torch.no_grad():
        features = stem_and_blocks[:3](images(2))
        stem_and_blocks[3].body[-1].weight.zero_()
        assert torch.equal(stem_and_blocks[3](features), features.relu())
        assert stem_and_blocks(images(2)).shape == (2, 64, 7, 7)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_ten_logits_for_each_image(name, count):
    model = build(name).eval()
    with torch.no_grad():
        logits = model(images(count))
    assert logits.shape == (count, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_judged_by_itself(name):
    model = build(name).eval()
    with torch.no_grad():
        together, alone = model(images(5)), [model(image[None]) for image in images(5)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_not_normalised(name):
    model = build(name).eval()
    *_, last = (module for module in model.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        before = model(images(2))
        last.weight.mul_(3)
        last.bias.mul_(3)
        after = model(images(2))
    torch.testing.assert_close(after, 3 * before, rtol=1e-4, atol=1e-5)
    assert (before.logsumexp(dim=1).abs() > 0.1).all()
    assert ((before.sum(dim=1) - 1).abs() > 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    model = build(name)
    functional.cross_entropy(model(images(5)), torch.arange(5)).backward()
    still = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_the_same_weights(name):
    first, again = (parameters_to_vector(build(name).parameters()) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("name", "dropout"), [("cnn", 0.5), ("mlp", 0.5), ("example-cnn", 0.0)], ids=str
)
def test_dropout_acts_in_training_only(name, dropout):
    model = build(name, dropout=dropout)
    with torch.no_grad():
        training = [model.train()(images(2)) for _ in range(2)]
        evaluated = [model.eval()(images(2)) for _ in range(2)]
    assert not torch.equal(*training)
    assert torch.equal(*evaluated)


def test_where_dropout_stands_and_its_share():
    cnn, mlp = build(linear_layers=4, dropout=0.25), build("mlp", dropout=0.25)
    drops = [index for index, layer in enumerate(cnn) if isinstance(layer, nn.Dropout)]
    assert [type(cnn[index + 1]) for index in drops] == [nn.Linear] * 3
    assert layout_of(mlp) == "-lrdl"
    assert {cnn[index].p for index in drops} == {mlp[3].p} == {0.25}
    shares = [layer.p for layer in build("example-cnn") if isinstance(layer, nn.Dropout)]
    assert shares == [0.25, 0.5]


@pytest.mark.parametrize("linear_layers", [2, 3, 4])
@pytest.mark.parametrize("conv_layers", [2, 3, 4])
def test_cnn_has_the_layers_asked_for(conv_layers, linear_layers):
    layout = layout_of(build(conv_layers=conv_layers, linear_layers=linear_layers, channels=4))
    assert (layout.count("c"), layout.count("l")) == (conv_layers, linear_layers)
    assert layout.count("m") == 2


@pytest.mark.parametrize(
    ("pooling", "layout", "stride"),
    [("max", "crmcrmcr", 1), ("average", "cracracr", 1), ("stride", "crcrcr", 2)],
)
def test_cnn_halves_the_image_twice(pooling, layout, stride):
    features = features_of(build(conv_layers=3, pooling=pooling, channels=4))
    strides = [layer.stride[0] for layer in features if isinstance(layer, nn.Conv2d)]
    assert layout_of(features) == layout
    assert strides == [stride, stride, 1]
    assert nn.Sequential(*features)(images(2)).shape == (2, 16, 7, 7)


def test_cnn_puts_batch_norm_between_convolution_and_relu():
    model = build(batch_norm=True)
    assert layout_of(model) == "cbrmcbrm-lrl"
    assert model[0].bias is None


def side_after(config):
    """Independent account of `cnn`: the side [pixels] left at the end, None where it cannot be."""
    side, kernel = 28, config.kernel_size
    for index in range(config.conv_layers):
        if config.padding == "valid":
            if kernel > side:
                return None
            side -= kernel - 1
        if index < 2 and config.pooling == "stride":
            side = math.ceil(side / 2)
        elif index < 2:
            side //= 2
    return side or None


def expected_parameters(config, side):
    total, inputs = 0, 1
    parameters = normed if config.batch_norm else conv
    for index in range(config.conv_layers):
        outputs = config.channels * 2**index
        total += parameters(inputs, outputs, config.kernel_size)
        inputs = outputs
    return total + dense(inputs * side**2, *[128] * (config.linear_layers - 1), 10)


def cnn_configs(channels, kernel_sizes):
    return st.builds(
        RunConfig,
        model=st.just("cnn"),
        conv_layers=st.integers(2, 4),
        linear_layers=st.integers(2, 4),
        channels=channels,
        kernel_size=kernel_sizes,
        pooling=st.sampled_from(["max", "average", "stride"]),
        padding=st.sampled_from(["same", "valid"]),
        batch_norm=st.booleans(),
        dropout=st.sampled_from([0.0, 0.25, 0.9]),
    )


def heaviest_convolution(config):
    """Weights of `cnn`'s largest convolution."""
    outputs = [config.channels * 2**index for index in range(config.conv_layers)]
    pairs = itertools.pairwise([1, *outputs])
    return max(a * b for a, b in pairs) * config.kernel_size**2


def check_cnn(config):
    """`config` gives a network of the expected size, or one line that names a convolution."""
    side = side_after(config)
    if side is None or heaviest_convolution(config) > MAX_WEIGHTS:
        event("refused")
        with pytest.raises(InputError, match=r"\A.* convolution [1-4] of cnn .*\Z"):
            build_model(config, DIGIT_SHAPE)
        return None
    event("built")
    model = build_model(config, DIGIT_SHAPE)
    assert num_parameters(model) == expected_parameters(config, side)
    return model


@settings(deadline=None, max_examples=100, database=None)
@given(cnn_configs(st.integers(1, 3), st.integers(1, 12) | st.sampled_from([27, 28, 29, 64])))
def test_cnn_runs_or_says_why_not(config):
    model = check_cnn(config)
    if model is not None:
        with torch.no_grad():
            assert model(images(2)).shape == (2, 10)


@pytest.mark.slow
@settings(deadline=None, max_examples=200, database=None)
@given(cnn_configs(st.integers(1, 1024), st.integers(1, 64)))
def test_cnn_is_refused_or_built_on_the_meta_device_over_all_ranges(config):
    with torch.device("meta"):
        model = check_cnn(config)
        if model is not None:
            assert model(torch.empty(2, 1, 28, 28)).shape == (2, 10)
