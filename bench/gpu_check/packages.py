"""What is missing in this environment, and what that leaves out: a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple

__all__ = ["missing_for", "remarks"]


class _Package(NamedTuple):
    """What is imported, what pip calls it, and what it is for."""

    module: str
    pip_name: str
    use: str


_ENGINE = (
    _Package("torchvision", "torchvision", "every run"),
    _Package("accelerate", "accelerate", "every run"),
    _Package("numpy", "numpy", "every run"),
    _Package("pydantic", "pydantic", "every run"),
    _Package("yaml", "pyyaml", "every run"),
    _Package("safetensors", "safetensors", "every run"),
    _Package("psutil", "psutil", "every run"),
    _Package("tqdm", "tqdm", "every run"),
)
_COMMANDS = (_Package("tabulate", "tabulate", "`python -m mnistbench.train` in processes"),)
_OPTIONAL = (
    _Package("pynvml", "nvidia-ml-py", "telemetry of the GPU"),
    _Package("scipy", "scipy", "intervals of the recipes' times"),
)
_FP8 = ("torchao", "transformer_engine")

_NEEDS: Mapping[str, Sequence[_Package]] = {
    **dict.fromkeys(("labels", "graphs", "speed", "recipes", "instruments"), _ENGINE),
    **dict.fromkeys(("processes", "resuming"), (*_ENGINE, *_COMMANDS)),
}

_Has = Callable[[str], bool]


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def missing_for(section: str, *, has: _Has = _is_there) -> list[str]:
    """What `section` cannot do without, by pip's names."""
    return [one.pip_name for one in _NEEDS.get(section, _ENGINE) if not has(one.module)]


def remarks(*, has: _Has = _is_there) -> list[str]:
    """A line for each package that is not there: what it is for, and the mend."""
    lines = [
        f"{one.pip_name} is missing ({one.use}): pip install {one.pip_name}"
        for one in (*_ENGINE, *_COMMANDS, *_OPTIONAL)
        if not has(one.module)
    ]
    if not any(map(has, _FP8)):
        lines.append("torchao is missing (fp8; TransformerEngine would do): pip install torchao")
    return lines
