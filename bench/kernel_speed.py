"""How fast are our own convolutions, layer by layer, beside PyTorch's?

Each convolution of each network is run by itself on random features, forward and backward (the
gradient of its weights, and of its input where it is not the first), by our kernels (batch
innermost) and by PyTorch's (channels first and channels last). Each time is the shortest of 100
[ms]. The rates beside it are those of our kernels, and what share they are of a large matrix
product's, the fastest arithmetic that PyTorch has here.

    python -m bench.kernel_speed --models simple-cnn cnn4 --batch 64 --threads 2
    python -m bench.kernel_speed --models speedrun-cnn --batch 256 --dtype bfloat16
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from timeit import repeat

import torch
from tabulate import tabulate
from torch import Tensor, nn

from mnistbench.recorder.compile_cache import kernels_folder
from mnistbench.schema.component import DataShape
from mnistbench.schema.config import RunConfig
from mnistbench.workload.chwn_layout import border
from mnistbench.workload.kernels.library import why_unavailable
from mnistbench.workload.kernels.operators import convolution
from mnistbench.workload.models import MODELS, build_model


def main() -> None:
    """Print one table of all layers of the networks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--batch", type=int, default=128, help="Samples. Default: 128.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if problem := why_unavailable(kernels_folder()):
        raise SystemExit(problem)
    dtype = getattr(torch, given.dtype)
    square = torch.randn(2048, 2048).to(dtype)
    peak = 2 * 2048**3 / _best_ms(lambda: square @ square, 10) / 1e6
    print(f"{given.dtype} product of 2,048: {peak:.0f} GFLOP/s; {given.threads} threads")
    rows = [
        [model, *row]
        for model in given.models
        for layer, features in _convolutions(model, given.batch)
        for row in _rows(layer, features.to(dtype), peak)
    ]
    headers = ("model", "layer", "pass", "ours", "torch", "channels last", "GFLOP/s", "of product")
    print(tabulate(rows, headers=headers, disable_numparse=True))


def _convolutions(model: str, batch: int) -> list[tuple[nn.Conv2d, Tensor]]:
    """Each convolution of `model`, and random features of the shape that it sees."""
    network = build_model(RunConfig(model=model), DataShape(1, 28, 28, 10))
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, given, _: seen.append((layer, torch.randn_like(given[0])))
            )
    with torch.no_grad():
        network(torch.randn(batch, 1, 28, 28))
    return seen


def _rows(layer: nn.Conv2d, features: Tensor, peak: float) -> Iterator[list[str]]:
    padding = border(layer) or ()
    own = partial(convolution, bias=None, how=[*layer.stride, *padding, 1, 0])
    torchs = partial(nn.functional.conv2d, stride=layer.stride, padding=padding)
    weight, last = layer.weight.to(features.dtype), torch.channels_last
    flops = 2 * torchs(features, weight).numel() * weight[0].numel()
    times = (
        _times(own, features.permute(1, 2, 3, 0).contiguous(), layer.weight),
        _times(torchs, features, weight),
        _times(torchs, features.to(memory_format=last), weight.to(memory_format=last)),
    )
    name = f"{layer.in_channels}→{layer.out_channels} {'×'.join(map(str, layer.kernel_size))}"
    products = 1, 1 + (layer.in_channels > 1)
    for index, kind in enumerate(("forward", "backward")):
        each_ms = [one[index] for one in times]
        rate = products[index] * flops / each_ms[0] / 1e6
        yield [name, kind, *(f"{ms:.3f}" for ms in each_ms), f"{rate:.0f}", f"{rate / peak:.0%}"]


def _times(
    convolve: Callable[[Tensor, Tensor], Tensor], features: Tensor, weight: Tensor
) -> tuple[float, float]:
    """Forward and backward of `convolve` [ms]."""
    weight = weight.detach().requires_grad_()
    of = [weight] if weight.size(1) == 1 else [weight, features.requires_grad_()]
    made = convolve(features, weight)
    backward = partial(torch.autograd.grad, made, of, torch.randn_like(made), retain_graph=True)
    return _best_ms(lambda: convolve(features, weight)), _best_ms(backward)


def _best_ms(work: Callable[[], object], tries: int = 100) -> float:
    return min(repeat(work, number=1, repeat=tries)) * 1e3


if __name__ == "__main__":
    main()
