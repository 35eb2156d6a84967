"""What layers really compute in, seen by hooks of torch: nothing of the engine is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

_CALLS_MEASURED = 3
_IEEE_ERROR = 2e-5
"""Sums of a thousand float32 products stay below; TF32 rounds its factors to 1 part in 2,000."""

_TF32_ERROR = 3e-3


@dataclass
class SeenLayers:
    """Products and convolutions of a network in training mode.

    Attributes:
        dtypes: those of what they gave, by the name of their class.
        errors: of each class, how far a result was from the same in float64 [of its largest].
        names: of all classes of layers that were called.
    """

    dtypes: dict[str, set[torch.dtype]] = field(default_factory=dict)
    errors: dict[str, list[Tensor]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def all_dtypes(self) -> set[str]:
        """As a record names them, such as ``bfloat16``."""
        return {
            str(dtype).removeprefix("torch.") for seen in self.dtypes.values() for dtype in seen
        }

    def error(self, kind: str) -> float | None:
        """The largest error that class `kind` made; ``None`` where it was not measured."""
        return max((error.item() for error in self.errors.get(kind, ())), default=None)

    def float32_arithmetic(self, kind: str) -> str | None:
        """``ieee``, ``tf32`` or ``bf16``, by the size of the error; ``None`` if not float32."""
        error = self.error(kind)
        if error is None or self.dtypes[kind] != {torch.float32}:
            return None
        return "ieee" if error < _IEEE_ERROR else "tf32" if error < _TF32_ERROR else "bf16"

    def text(self) -> str:
        parts = []
        for kind, dtypes in sorted(self.dtypes.items()):
            names = "/".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
            error = self.error(kind)
            parts.append(f"{kind} {names}" + ("" if error is None else f" (error {error:.0e})"))
        return ", ".join(parts) or "no layer"


@contextmanager
def watched_layers() -> Iterator[SeenLayers]:
    """Watch all layers of this process while inside."""
    seen = SeenLayers()

    def note(module: nn.Module, given: Any, out: Any) -> None:
        if not module.training or torch.compiler.is_compiling():
            return
        seen.names.add(type(module).__name__)
        if isinstance(module, nn.Conv2d | nn.Linear) and isinstance(out, Tensor):
            _note(seen, module, given[0], out)

    handle = register_module_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def _note(seen: SeenLayers, module: nn.Conv2d | nn.Linear, given: Tensor, out: Tensor) -> None:
    kind = type(module).__name__
    seen.dtypes.setdefault(kind, set()).add(out.dtype)
    errors = seen.errors.setdefault(kind, [])
    plain = type(module) in {nn.Conv2d, nn.Linear} and not _is_captured(out)
    if plain and len(errors) < _CALLS_MEASURED:
        errors.append(_error(module, given, out))


def _is_captured(out: Tensor) -> bool:
    return out.is_cuda and torch.cuda.is_current_stream_capturing()


@torch.no_grad()
def _error(module: nn.Conv2d | nn.Linear, given: Tensor, out: Tensor) -> Tensor:
    """How far `out` is from the same in float64, as a fraction of the largest value."""
    bias = None if module.bias is None else module.bias.double()
    factors = given.detach().double(), module.weight.double(), bias
    with torch.autocast(out.device.type, enabled=False):
        if isinstance(module, nn.Linear):
            exact = functional.linear(*factors)
        else:
            exact = module._conv_forward(*factors)  # noqa: SLF001 - with its padding and strides
    return (out.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30)
