"""bf16 kernels: what torch makes of the rounded numbers in fp64, for shapes of all kinds."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.workload.kernels import norm, operators
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.kernels.operators import batch_last, convolution

STEP = 2.0**-8
"""The relative error of one rounding to bf16."""


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    assert why_unavailable(kernels_folder()) is None


def close(made, expected):
    scale = expected.abs().max().clamp_min(1e-3).item()
    torch.testing.assert_close(made.double(), expected, rtol=STEP, atol=STEP * scale)


@st.composite
def convolutions(draw):
    side, kernel = st.integers(4, 9), st.integers(1, 4)
    small = st.integers(0, 2)
    return {
        "size": (draw(st.integers(1, 5)), draw(side), draw(side), draw(st.integers(1, 70))),
        "kernel": (draw(st.integers(1, 19)), draw(kernel), draw(kernel)),
        "stride": [1 + draw(small), 1 + draw(small)],
        "padding": [draw(small), draw(small)],
        "relu": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }


@pytest.mark.parametrize("has_bf16", [True, False], ids=["by bf16 if it can", "by float32"])
@settings(max_examples=25, deadline=None)
@given(how=convolutions())
def test_a_convolution_and_its_gradients_are_those_of_the_rounded_numbers(has_bf16, how):
    real = operators.has_kernel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "has_kernel", lambda name: has_bf16 and real(name))
        check_convolution(how)


def check_convolution(how):
    torch.manual_seed(0)
    features = torch.randn(how["size"]).bfloat16().requires_grad_()
    outputs, *sides = how["kernel"]
    weight = torch.randn(outputs, how["size"][0], *sides).requires_grad_()
    bias = torch.randn(outputs, requires_grad=True) if how["bias"] else None
    inputs = [one for one in (features, weight, bias) if one is not None]
    told = [*how["stride"], *how["padding"], 1, int(how["relu"])]
    made = convolution(features, weight, bias, told)
    given_grad = torch.randn(made.shape).bfloat16()
    grads = torch.autograd.grad(made, inputs, given_grad)

    twins = [one.detach().bfloat16().double().requires_grad_() for one in (features, weight)]
    if bias is not None:
        twins.append(bias.detach().double().requires_grad_())
    plain = functional.conv2d(
        twins[0].permute(3, 0, 1, 2),
        *twins[1:],
        stride=told[:2],
        padding=told[2:4],
    ).permute(1, 2, 3, 0)
    expected = plain.relu() if how["relu"] else plain
    close(made, expected)
    # the sign at a ReLU is that of the rounded sum
    mask = (made > 0).double() if how["relu"] else torch.ones_like(plain)
    for one, other in zip(
        grads, torch.autograd.grad(plain, twins, given_grad.double() * mask), strict=True
    ):
        close(one, other)


def test_a_pool_takes_the_first_of_equals_and_any_nan():
    features = torch.zeros(1, 4, 4, 33, dtype=torch.bfloat16)
    features[0, 0, 1] = 2
    features[0, 1, 0] = 2
    features[0, 2, 3] = torch.nan
    weight = torch.ones(1, 1, 1, 1, requires_grad=True)
    features.requires_grad_()
    made = convolution(features, weight, None, [1, 1, 0, 0, 2, 0])
    assert made[0, :, :, 32].detach().nan_to_num(9).tolist() == [[2, 0], [0, 9]]
    (grad,) = torch.autograd.grad(made, [features], torch.ones_like(made))
    chosen = {(0, 1), (0, 2), (2, 0), (2, 3)}
    assert {(int(i), int(j)) for i, j in grad[0, :, :, 5].nonzero()} == chosen


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 70)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    affine=st.booleans(),
    relu=st.booleans(),
    training=st.booleans(),
)
def test_batch_norm_its_gradients_and_statistics_are_torchs(size, dtype, affine, relu, training):
    torch.manual_seed(0)
    layer = nn.BatchNorm1d(size[0], affine=affine).train(training)
    if affine:
        nn.init.normal_(layer.weight, 1)
        nn.init.normal_(layer.bias)
    twin = copy.deepcopy(layer).double()
    features = (torch.randn(size) * 2 + 3).to(dtype).requires_grad_()
    assert norm.knows(layer, features)
    made = norm.batch_norm(layer, features, relu=relu)
    same = features.detach().double().requires_grad_()
    plain = twin(same.flatten(1)[None]).view(size)
    expected = plain.relu() if relu else plain
    given_grad = torch.randn(size).to(dtype)
    grads = torch.autograd.grad(made, [features, *layer.parameters()], given_grad)
    wanted = torch.autograd.grad(expected, [same, *twin.parameters()], given_grad.double())
    for one, other in zip((made, *grads), (expected, *wanted), strict=True):
        close(one, other)
    torch.testing.assert_close(
        [buffer.double() for buffer in layer.buffers()],
        [buffer.double() for buffer in twin.buffers()],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("shape", [(33, 1, 28, 28), (1, 3, 5, 7), (64, 2, 1, 9)])
def test_images_with_the_batch_turned_innermost_are_rounded_to_nearest(shape):
    images = torch.randn(shape)
    turned = batch_last(images, torch.bfloat16)
    assert torch.equal(turned, images.permute(1, 2, 3, 0).bfloat16())
