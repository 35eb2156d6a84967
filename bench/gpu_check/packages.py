"""What is missing in this environment, and what that leaves out: a line each."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

_ENGINE = (
    *("torchvision", "accelerate", "numpy", "pydantic", "pyyaml"),
    *("safetensors", "psutil", "tqdm"),
)
_USES = {
    **dict.fromkeys(_ENGINE, "every run"),
    "tabulate": "`python -m mnistbench.train` in processes",
    "nvidia-ml-py": "telemetry of the GPU",
    "scipy": "intervals of the recipes' times",
}
"""Package, as pip calls it -> what it is for."""
_MODULES = {"pyyaml": "yaml", "nvidia-ml-py": "pynvml"}
_FP8 = ("torchao", "transformer_engine")

_Has = Callable[[str], bool]


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def missing_for(section: str, *, has: _Has = _is_there) -> list[str]:
    """What `section` cannot do without, by pip's names."""
    needed = {*_ENGINE, "tabulate" if section in {"processes", "resuming"} else ""}
    return [name for name in _missing(has) if name in needed]


def remarks(*, has: _Has = _is_there) -> list[str]:
    """A line for each package that is not there: what it is for, and the mend."""
    lines = [f"{name} is missing ({_USES[name]}): pip install {name}" for name in _missing(has)]
    if not any(map(has, _FP8)):
        lines.append("torchao is missing (fp8; TransformerEngine would do): pip install torchao")
    return lines


def _missing(has: _Has) -> list[str]:
    return [name for name in _USES if not has(_MODULES.get(name, name))]
