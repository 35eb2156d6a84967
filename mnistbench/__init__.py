"""Time-to-accuracy in seconds, with error bars, from a laptop core to a cluster.

The names below are all that Python needs: docs/python.md. Each is imported when it is first used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

_IS_FIRST = not sys.flags.safe_path and "-m mnistbench" in " ".join(sys.orig_argv)
if _IS_FIRST and sys.argv[:1] == ["-m"]:
    # ``python -m`` begins in the working directory, where a random.py would hide Python's
    sys.path.append(sys.path.pop(0))

if TYPE_CHECKING:
    from mnistbench.engine.run_seeds import measure
    from mnistbench.output.python_calls import (
        compare_records,
        load_records,
        plot,
        summary,
        write_page,
    )
    from mnistbench.recorder.recording import record
    from mnistbench.schema.config import RunConfig
    from mnistbench.schema.errors import InputError

__version__ = "0.2.0"

__all__ = [
    "InputError",
    "RunConfig",
    "__version__",
    "compare_records",
    "load_records",
    "measure",
    "plot",
    "record",
    "summary",
    "write_page",
]

_CALLS = "output.python_calls"
_MODULES = {
    "InputError": "schema.errors",
    "RunConfig": "schema.config",
    "measure": "engine.run_seeds",
    "record": "recorder.recording",
    **dict.fromkeys(("compare_records", "load_records", "plot", "summary", "write_page"), _CALLS),
}


if not TYPE_CHECKING:  # which knows the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
