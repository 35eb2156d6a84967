"""How fast are our own convolutions, layer by layer, beside PyTorch's?

Each convolution of each network is run by itself on random features: its forward pass, the gradient
of its weights, and that of its input, by our kernels (batch innermost) and by PyTorch's (channels
first and channels last). Each time is the shortest of many [ms]. The rates beside it are those of
our kernels, and what share they are of a large matrix product's, the fastest arithmetic that
PyTorch has here.

    python -m bench.kernel_speed --models simple-cnn cnn4 --batch 64 --threads 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import torch
from tabulate import tabulate
from torch import Tensor, nn

from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.kernels.operators import convolution  # noqa: F401 - defines the operators
from mnistbench.workload.models import MODELS, build_model

_FORMATS = (torch.contiguous_format, torch.channels_last)
_Times = list[float]


def main() -> None:
    """Print one table of all layers of the networks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--batch", type=int, default=128, help="Samples. Default: 128.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=100, help="Best of how many. Default: 100.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if problem := why_unavailable(Path(gettempdir()) / "mnistbench-kernel-speed"):
        raise SystemExit(problem)
    square = torch.randn(2048, 2048)
    peak = 2 * 2048**3 / _best_ms(lambda: square @ square, 5) / 1e6
    rows = []
    for model in given.models:
        for layer, features in _convolutions(model, given.batch):
            name = f"{model} {layer.in_channels}→{layer.out_channels} {layer.kernel_size[0]}×"
            rows += _rows(f"{name}{layer.kernel_size[1]}", layer, features, given.repeats, peak)
    print(f"matrix product: {peak:.0f} GFLOP/s; batch {given.batch}, {given.threads} threads")
    headers = ("layer", "pass", "ours", "torch", "channels last", "GFLOP/s", "of product")
    print(tabulate(rows, headers=headers, disable_numparse=True))


def _convolutions(model: str, batch: int) -> Iterator[tuple[nn.Conv2d, Tensor]]:
    """Each convolution of `model` with the shape of what it sees, as random features."""
    network = build_model(RunConfig(model=model), DataShape(1, 28, 28, 10))
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, given, _: seen.append((layer, torch.randn_like(given[0])))
            )
    with torch.no_grad():
        network(torch.randn(batch, 1, 28, 28))
    yield from seen


def _rows(
    name: str, layer: nn.Conv2d, features: Tensor, repeats: int, peak: float
) -> list[list[str]]:
    """One row a pass; the input's gradient only where the layer is not the first."""
    with torch.no_grad():
        made = layer(features)
        ours = _own_times(layer, features, made.shape, repeats)
        theirs = [_torch_times(layer, features, at, repeats) for at in _FORMATS]
    flops = 2 * made.numel() * layer.weight[0].numel()
    rows = []
    for index, kind in enumerate(("forward", "weights", "input")[: 2 + (layer.in_channels > 1)]):
        times = [ours[index], *(each[index] for each in theirs)]
        rate = flops / ours[index] / 1e6
        shown = [*(f"{ms:.3f}" for ms in times), f"{rate:.0f}", f"{rate / peak:.0%}"]
        rows.append([name, kind, *shown])
    return rows


def _own_times(layer: nn.Conv2d, features: Tensor, made: torch.Size, repeats: int) -> _Times:
    operators = torch.ops.mnistbench
    x = features.permute(1, 2, 3, 0).contiguous()
    grad, none = torch.randn(*made[1:], made[0]), x.new_empty(0)
    how = [*layer.stride, *_padding(layer), 1, 0]
    rest = (grad, x, layer.weight, none, none.byte(), how)

    def backward(*, features: bool) -> object:
        return operators.batch_last_convolution_backward(*rest, features, False)

    forward_ms = _best_ms(
        lambda: operators.batch_last_convolution(x, layer.weight, None, how), repeats
    )
    weights_ms = _best_ms(lambda: backward(features=False), repeats)
    both_ms = _best_ms(lambda: backward(features=True), repeats)
    return [forward_ms, weights_ms, both_ms - weights_ms]


def _torch_times(
    layer: nn.Conv2d, features: Tensor, memory_format: torch.memory_format, repeats: int
) -> _Times:
    x = features.to(memory_format=memory_format).requires_grad_()
    weight = layer.weight.detach().to(memory_format=memory_format).requires_grad_()

    def forward() -> Tensor:
        return nn.functional.conv2d(x, weight, None, layer.stride, _padding(layer))

    with torch.enable_grad():
        made = forward()
    grad = torch.randn_like(made)
    forward_ms = _best_ms(forward, repeats)
    backward_ms = [
        _best_ms(partial(torch.autograd.grad, made, of, grad, retain_graph=True), repeats)
        for of in (weight, x)
    ]
    return [forward_ms, *backward_ms]


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    if isinstance(layer.padding, str):
        height, width = layer.kernel_size
        return (height // 2, width // 2) if layer.padding == "same" else (0, 0)
    return layer.padding[0], layer.padding[1]


def _best_ms(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
        if sum(times) > 1.0:  # some of PyTorch's take seconds
            break
    return min(times) * 1e3


if __name__ == "__main__":
    main()
