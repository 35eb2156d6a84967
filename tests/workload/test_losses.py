"""Losses against per-sample formulas in plain Python, and against what calculus says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnistbench.schema.config import RunConfig
from mnistbench.schema.names import LossName
from mnistbench.workload.losses import LOSSES, LossFn, build_loss

NAMES: tuple[LossName, ...] = get_args(LossName)
CLASSES = 10
SMOOTHING = 0.1

Logits = Sequence[float]


def log_p(z: Logits, k: int) -> float:
    top = max(z)
    return z[k] - top - math.log(math.fsum(math.exp(v - top) for v in z))


def other_mass(z: Logits, y: int) -> float:
    """1 - p of class y, as a sum over the other classes."""
    return math.fsum(math.exp(log_p(z, k)) for k in range(CLASSES) if k != y)


def target(y: int, k: int) -> float:
    return 1.0 if k == y else 0.0


def soft_target(y: int, k: int) -> float:
    return 1 - SMOOTHING + SMOOTHING / CLASSES if k == y else SMOOTHING / CLASSES


def class_mean(term: Callable[[float, float], float], z: Logits, y: int) -> float:
    return math.fsum(term(z[k], target(y, k)) for k in range(CLASSES)) / CLASSES


def huber(z: float, t: float) -> float:
    gap = abs(z - t)
    return gap * gap / 2 if gap < 1 else gap - 0.5


def sigmoid_nll(z: float, t: float) -> float:
    signed = z if t else -z
    return math.log1p(math.exp(-abs(signed))) + max(-signed, 0.0)


def brier(z: Logits, y: int) -> float:
    return math.fsum((math.exp(log_p(z, k)) - target(y, k)) ** 2 for k in range(CLASSES))


def margins(z: Logits, y: int) -> float:
    return math.fsum(max(0.0, 1 - z[y] + z[k]) for k in range(CLASSES) if k != y) / CLASSES


def soft_nll(z: Logits, y: int) -> float:
    return -math.fsum(soft_target(y, k) * log_p(z, k) for k in range(CLASSES))


def divergence(z: Logits, y: int) -> float:
    return math.fsum(
        soft_target(y, k) * (math.log(soft_target(y, k)) - log_p(z, k)) for k in range(CLASSES)
    )


PER_SAMPLE: dict[LossName, Callable[[Logits, int], float]] = {
    "cross-entropy": lambda z, y: -log_p(z, y),
    "label-smoothing": soft_nll,
    "mse": lambda z, y: class_mean(lambda a, t: (a - t) ** 2, z, y),
    "brier": brier,
    "mae": lambda z, y: class_mean(lambda a, t: abs(a - t), z, y),
    "smooth-l1": lambda z, y: class_mean(huber, z, y),
    "bce": lambda z, y: class_mean(sigmoid_nll, z, y),
    "focal": lambda z, y: -(other_mass(z, y) ** 2) * log_p(z, y),
    "poly1": lambda z, y: other_mass(z, y) - log_p(z, y),
    "multi-margin": margins,
    "squared-hinge": lambda z, y: class_mean(
        lambda a, t: max(0.0, 1 - a if t else 1 + a) ** 2, z, y
    ),
    "kl": divergence,
}

samples = st.lists(
    st.tuples(
        st.lists(st.floats(-50, 50), min_size=CLASSES, max_size=CLASSES),
        st.integers(0, CLASSES - 1),
    ),
    min_size=1,
    max_size=4,
)


def loss_of(name: LossName) -> LossFn:
    return build_loss(RunConfig(loss=name, label_smoothing=SMOOTHING))


def random_batch(size: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(CLASSES, (size,), generator=generator)


def best_logits(name: LossName, labels: Tensor) -> Tensor:
    """The logits at, or for losses whose best is infinitely far, near the minimum."""
    one_hot = torch.zeros(len(labels), CLASSES, dtype=torch.float64)
    one_hot[torch.arange(len(labels)), labels] = 1
    if name in {"mse", "mae", "smooth-l1"}:
        return one_hot
    if name in {"label-smoothing", "kl"}:
        return (one_hot * (1 - SMOOTHING) + SMOOTHING / CLASSES).log()
    return one_hot * 60 - 30


def test_registry_has_exactly_the_names():
    assert tuple(LOSSES) == NAMES
    assert tuple(PER_SAMPLE) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(batch=samples)
def test_equals_the_mean_of_the_formula(name, batch):
    logits = torch.tensor([z for z, _ in batch], dtype=torch.float64)
    labels = torch.tensor([y for _, y in batch])
    expected = math.fsum(PER_SAMPLE[name](z, y) for z, y in batch) / len(batch)
    value = loss_of(name)(logits, labels)
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_batch_times_size_is_the_sum_over_samples(name):
    logits, labels = random_batch(7, scale=3)
    loss_fn = loss_of(name)
    alone = [loss_fn(logits[i : i + 1], labels[i : i + 1]) for i in range(7)]
    torch.testing.assert_close(loss_fn(logits, labels) * 7, torch.stack(alone).sum())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_value(name):
    logits, labels = random_batch(3)
    loss_fn = loss_of(name)
    assert torch.autograd.gradcheck(
        lambda z: loss_fn(z, labels), (logits.requires_grad_(),), eps=1e-7, atol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [50.0, 1e3])
def test_finite_at_large_logits(name, scale):
    signs = torch.tensor([[1.0, -1.0] * 5, [-1.0, 1.0] * 5, [1.0] * 10, [-1.0] * 10])
    logits = (signs * scale).requires_grad_()
    value = loss_of(name)(logits, torch.tensor([0, 0, 3, 9]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()
    if name != "brier":  # flat once the softmax has saturated
        assert gradient[1, 0] < 0, "a confident wrong answer must be pulled to the right class"


@pytest.mark.parametrize("name", NAMES)
def test_lowest_at_the_best_logits(name):
    labels = torch.arange(CLASSES)
    best = best_logits(name, labels)
    floor = loss_of(name)(best, labels).item()
    entropy = -sum(soft_target(0, k) * math.log(soft_target(0, k)) for k in range(CLASSES))
    expected = entropy if name == "label-smoothing" else 0.0
    assert floor == pytest.approx(expected, abs=1e-9)
    for scale in (0.1, 1.0, 40.0):
        noise, _ = random_batch(CLASSES, scale=scale)
        assert loss_of(name)(best + noise, labels).item() >= floor - 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_one_gradient_step_lowers_it(name):
    logits, labels = random_batch(16)
    loss_fn = loss_of(name)
    before = loss_fn(logits.requires_grad_(), labels)
    (gradient,) = torch.autograd.grad(before, logits)
    after = loss_fn(logits - 0.1 * gradient, labels)
    assert after.item() < before.item()


@settings(max_examples=25, deadline=None)
@given(smoothing=st.floats(0, 0.99), size=st.integers(1, 5))
def test_kl_is_label_smoothing_less_the_entropy_of_its_targets(smoothing, size):
    logits, labels = random_batch(size, scale=5)
    logits.requires_grad_()
    values = [
        build_loss(RunConfig(loss=name, label_smoothing=smoothing))(logits, labels)
        for name in ("label-smoothing", "kl")
    ]
    gradients = [torch.autograd.grad(value, logits)[0] for value in values]
    torch.testing.assert_close(gradients[0], gradients[1])
    right, wrong = 1 - smoothing + smoothing / CLASSES, smoothing / CLASSES
    entropy = -right * math.log(right) - 9 * (wrong * math.log(wrong) if wrong else 0.0)
    assert (values[0] - values[1]).item() == pytest.approx(entropy, abs=1e-9)


def test_no_smoothing_is_cross_entropy():
    logits, labels = random_batch(5)
    plain = loss_of("cross-entropy")(logits, labels)
    for name in ("label-smoothing", "kl"):
        loss_fn = build_loss(RunConfig(loss=name, label_smoothing=0.0))
        torch.testing.assert_close(loss_fn(logits, labels), plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_traces_as_one_graph(name):
    """A loss that looked at its data from Python would break the graph, and so raise."""
    logits, labels = random_batch(4)
    loss_fn = loss_of(name)
    traced = torch.compile(loss_fn, backend="eager", fullgraph=True)
    assert torch.equal(traced(logits, labels), loss_fn(logits, labels))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_graph_replays_it(name):
    logits, labels = (tensor.cuda() for tensor in random_batch(4))
    loss_fn = loss_of(name)
    with torch.cuda.stream(torch.cuda.Stream()):
        loss_fn(logits, labels)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss_fn(logits, labels)
    logits.mul_(2)
    graph.replay()
    torch.testing.assert_close(value, loss_fn(logits, labels))
