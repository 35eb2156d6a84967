"""``mnistbench.train`` that writes down which arithmetic it really did; fp16 is for the CPU, too.

Each process writes JSON to the file of its number in the folder that the variable `FOLDER` names.
Where it is asked to compile, that is all it looks for: a hook would be compiled with its layer.
"""

import functools
import json
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from itertools import groupby
from pathlib import Path

from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import mnistbench.train
from tests.engine import fp16_on_cpu

FOLDER = "MNISTBENCH_TESTS_SEEN"
THEN = "then"
_IMPLEMENTATIONS = {"_fused": "fused", "_multi_tensor": "foreach", "_single_tensor": "for-loop"}


@contextmanager
def watched():
    """Gives what is seen inside: dtypes of layers' outputs in training, how weights are updated."""
    seen = {"layer_dtypes": set(), "optimizer_implementation": set()}

    def note(layer, _inputs, output):
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.training:
            seen["layer_dtypes"].add(str(output.dtype).removeprefix("torch."))

    handle = register_module_forward_hook(note)
    chwn = import_module("mnistbench.workload.chwn_layout")
    plain = {(chwn, "convolution"): chwn.convolution}

    def noted_convolution(features, *rest):  # which runs in place of a layer
        made = chwn.convolution.__wrapped__(features, *rest)
        seen["layer_dtypes"].add(str(made.dtype).removeprefix("torch."))
        return made

    chwn.convolution = functools.wraps(chwn.convolution)(noted_convolution)
    for optimizer in ("sgd", "adam"):
        module = import_module(f"torch.optim.{optimizer}")
        for prefix, implementation in _IMPLEMENTATIONS.items():
            name = f"{prefix}_{optimizer}"
            plain[module, name] = getattr(module, name)
            noted = _noting(plain[module, name], seen["optimizer_implementation"], implementation)
            setattr(module, name, noted)
    try:
        yield seen
    finally:
        handle.remove()
        for (module, name), function in plain.items():
            setattr(module, name, function)


def _noting(function, names, name):
    @functools.wraps(function)
    def noting(*args, **kwargs):
        names.add(name)
        return function(*args, **kwargs)

    return noting


@contextmanager
def watched_compiler():
    """Gives, at its end, how many graphs torch compiled inside: 0 if its compiler did nothing."""
    from torch._dynamo.utils import counters

    counters.clear()
    seen = {"graphs": set()}
    try:
        yield seen
    finally:
        seen["graphs"].add(counters["stats"]["unique_graphs"])


def main():
    """Train once for each list of flags, parted by `THEN`, and leave the file whatever the end is.

    All have the output folder of the last, where whoever launched them looks.
    """
    fp16_on_cpu.allow()
    *runs, last = (list(flags) for then, flags in groupby(sys.argv[1:], THEN.__eq__) if not then)
    folder = last[last.index("--output-dir") :]
    file, found = Path(os.environ[FOLDER]) / f"{os.environ.get('RANK', '0')}.json", []
    try:
        for flags in (*(run + folder for run in runs), last):
            with watched_compiler() if "--compile" in flags else watched() as seen:
                status = mnistbench.train.main(flags)
            found.append({name: sorted(values) for name, values in seen.items()})
        return status
    finally:
        file.write_text(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
