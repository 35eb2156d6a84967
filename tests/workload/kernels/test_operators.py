"""Own convolutions against torch's in fp64, with their gradients, whatever the shape."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.kernels.operators import convolution

TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-1},
}


@pytest.fixture(scope="module", autouse=True)
def _kernels():
    assert why_unavailable(kernels_folder()) is None


@st.composite
def cases(draw):
    """Shapes of features, weight; `how`; whether there is a bias."""
    batch = draw(st.sampled_from([1, 3, 8, 16, 17, 33, 64]))
    channels, outputs = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    border = tuple(draw(st.integers(0, side - 1)) for side in kernel)
    pool, relu = draw(st.sampled_from([1, 2])), draw(st.sampled_from([0, 1]))
    sides = [
        max(1, k + s * (pool - 1) - 2 * p) + draw(st.integers(0, 6))
        for k, s, p in zip(kernel, stride, border, strict=True)
    ]
    return (channels, *sides, batch), (outputs, channels, *kernel), [*stride, *border, pool, relu]


def by_torch(features, weight, bias, how):
    made = functional.conv2d(features.permute(3, 0, 1, 2), weight, bias, how[:2], how[2:4])
    made = functional.max_pool2d(made, 2) if how[4] == 2 else made
    return (made.relu() if how[5] else made).permute(1, 2, 3, 0)


@settings(max_examples=60)
@given(case=cases(), dtype=st.sampled_from([torch.float64, torch.float32]), has_bias=st.booleans())
@example(((1, 28, 28, 64), (10, 1, 5, 5), [1, 1, 0, 0, 2, 1]), torch.float32, True)
@example(((16, 12, 12, 100), (32, 16, 3, 3), [2, 2, 0, 0, 1, 0]), torch.float32, False)
@example(((33, 7, 7, 65), (65, 33, 3, 3), [1, 1, 1, 1, 1, 1]), torch.float32, True)
def test_values_and_gradients_are_torchs(case, dtype, has_bias):
    size, kernels, how = case
    generator = torch.Generator().manual_seed(0)

    def some(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True)

    given_ones = [some(*size), some(*kernels), *([some(kernels[0])] if has_bias else [])]
    exact = [one.detach().double().requires_grad_() for one in given_ones]
    ours = convolution(*given_ones[:2], given_ones[2] if has_bias else None, how)
    theirs = by_torch(*exact[:2], exact[2] if has_bias else None, how)
    torch.testing.assert_close(ours.double(), theirs, **TOLERANCE[dtype])
    grad = torch.randn(ours.shape, generator=generator, dtype=dtype)
    found = torch.autograd.grad(ours, given_ones, grad)
    expected = torch.autograd.grad(theirs, exact, grad.double())
    if dtype == torch.float64:  # else a tie within rounding may choose another pixel
        torch.testing.assert_close([*found], [*expected], **TOLERANCE[dtype])
    again = convolution(*given_ones[:2], given_ones[2] if has_bias else None, how)
    assert torch.equal(ours, again)
    pairs = zip(found, torch.autograd.grad(again, given_ones, grad), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("how", [[1, 1, 1, 1, 1, 1], [2, 1, 0, 0, 1, 0]], ids=str)
def test_features_in_bf16_give_what_rounded_factors_give(how):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 9, 9, 37, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(5, 3, 3, 3, generator=generator).requires_grad_()
    ours = convolution(features, weight, None, how)
    rounded = weight.detach().bfloat16().double().requires_grad_()
    exact = features.detach().double().requires_grad_()
    theirs = by_torch(exact, rounded, None, how)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-2, atol=1e-2)
    grad = torch.randn(ours.shape, generator=generator).bfloat16()
    found = torch.autograd.grad(ours, (features, weight), grad)
    expected = torch.autograd.grad(theirs, (exact, rounded), grad.double())
    assert [one.dtype for one in found] == [torch.bfloat16, torch.float32]
    for mine, its in zip(found, expected, strict=True):
        largest = float(its.abs().max())
        torch.testing.assert_close(mine.double(), its, rtol=5e-2, atol=0.02 * largest)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own look
@pytest.mark.parametrize("how", [[1, 1, 0, 0, 2, 1], [2, 1, 1, 0, 1, 0]], ids=str)
def test_autograd_fake_tensors_and_the_compilers_front_know_the_operator(how):
    torch.manual_seed(0)
    shapes = ((2, 8, 7, 3), (3, 2, 3, 2), (3,))
    told = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *given: convolution(*given, how), told)
    torch.library.opcheck(torch.ops.mnistbench.batch_last_convolution.default, (*told, how))


def test_numbers_that_lie_apart_in_memory_are_read_where_they_lie():
    features = torch.randn(2, 6, 5, 18)[..., ::2]
    weight = torch.randn(3, 3, 2, 4).permute(3, 2, 0, 1)
    bias, how = torch.randn(8)[::2], [1, 1, 0, 0, 2, 1]
    theirs = by_torch(features, weight, bias, how)
    torch.testing.assert_close(convolution(features, weight, bias, how), theirs)


def test_what_is_not_a_number_stays_so():
    features = torch.zeros(1, 4, 4, 2)
    features[0, 1, 1, 1] = float("nan")
    made = convolution(features, torch.ones(1, 1, 1, 1), None, [1, 1, 0, 0, 2, 1])
    assert made.isnan().tolist() == [[[[False, True], [False] * 2], [[False] * 2] * 2]]
