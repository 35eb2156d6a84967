"""What the engine takes of NCCL for granted, in plain torch and one process; torchrun starts it.

An all-reduce by call and in a CUDA graph, a gloo group beside it with a monitored barrier, and an
end that does not hang once the graph is freed. Prints one line of JSON.
"""

from __future__ import annotations

import json
from datetime import timedelta

import torch
import torch.distributed as dist

_WAIT = timedelta(seconds=30)


def main() -> None:
    on_cuda = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_cuda else torch.device("cpu")
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=_WAIT)
    side = dist.new_group(backend="gloo", timeout=_WAIT)
    found = {"backend": dist.get_backend(), "by call": _reduced(device)}
    if on_cuda:
        found["in a graph"] = _replayed(device)
    dist.monitored_barrier(side, timeout=_WAIT)
    dist.destroy_process_group()
    print(json.dumps(found), flush=True)


def _reduced(device: torch.device) -> float:
    values = torch.full((1000,), 3.0, device=device)
    dist.all_reduce(values)
    return values.mean().item()


def _replayed(device: torch.device) -> float:
    """Doubles, then reduces, three times over: 8 of 1; the graph is freed before it returns."""
    values = torch.ones(1000, device=device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # as the engine does
        values.mul_(2)
        dist.all_reduce(values)
    values.fill_(1)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    result = values.mean().item()
    graph.reset()
    return result


if __name__ == "__main__":
    main()
