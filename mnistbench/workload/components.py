"""Code of the user's own: what a reference names is imported."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
import reprlib
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from mnistbench.schema.component import parse_reference
from mnistbench.schema.errors import InputError
from mnistbench.schema.suggestions import did_you_mean
from mnistbench.schema.user_calls import built_with, user_errors

__all__ = ["built_with"]


def load_component(field: str, reference: str) -> Callable[..., Any]:
    """Import what `reference`, the value of `field`, names: a class or a function.

    The working directory comes first on the search path. A file is imported by its path, under a
    module name of its own, so that no other module hides it; its folder is searched as well.

    Raises:
        InputError: there is no such module, file or attribute, its import fails, or it is nothing
            that can be called.
    """
    return _loaded(field, reference, os.getcwd())  # noqa: PTH109  # this is asked in each step


def has_own_code() -> bool:
    """Whether this process has imported code of the user's own, which may have changed it."""
    return _loaded.cache_info().currsize > 0


@functools.cache
def _loaded(field: str, reference: str, here: str) -> Callable[..., Any]:
    place, attribute, is_file = parse_reference(reference)
    sys.dont_write_bytecode = True  # it would be taken for that of what a file is a moment later
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # a file may have been written a moment ago
    with user_errors(field):
        value: Any = _file(field, place) if is_file else _module(field, reference, Path(here))
        for name in attribute.split("."):
            if not hasattr(value, name):
                raise InputError(f"{field}: {place} has no {name}{did_you_mean(name, dir(value))}")
            value = getattr(value, name)
    is_made = hasattr(value, "named_parameters") and not inspect.isclass(value)
    if is_made or not callable(value):
        said = f"{field}: {reference} is {reprlib.repr(value)}, one object for all seeds"
        raise InputError(f"{said}; name a class or a function that makes it")
    return value  # type: ignore[no-any-return]


def _module(field: str, reference: str, here: Path) -> ModuleType:
    """Import a module by its name; refuse another one than the working directory's."""
    name, attribute, _ = parse_reference(reference)
    base = here.joinpath(*name.split("."))
    files = (base / "__init__.py", base.with_suffix(".py"))
    own = [file for file in files if file.is_file()]
    module = None
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # of another module, inside
        if not own:
            near = _near_module(str(error.name))
            raise InputError(f"{field}: there is no module {error.name}{near}") from None
    found = getattr(module, "__file__", None)
    if module is None or (own and not (found and own[0].samefile(found))):
        top = sys.modules[name.partition(".")[0]]
        path = f"./{own[0].relative_to(here)}"
        raise InputError(
            f"{field}: {path} is hidden by the module {top.__name__} of "
            f"{getattr(top, '__file__', None) or 'Python'}; write {path}:{attribute}"
        )
    return module


def _near_module(missing: str) -> str:
    """Which module of the same package, or of all at the top, may be meant."""
    parent = missing.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", []) if parent else None
    before = f"{parent}." if parent else ""
    return did_you_mean(missing, (before + one.name for one in pkgutil.iter_modules(path)))


def _file(field: str, place: str) -> ModuleType:
    """Import a file under a name that no other module has."""
    path = Path(place).expanduser().absolute()
    if not path.is_file():
        near = did_you_mean(path.name, (one.name for one in path.parent.glob("*.py")))
        raise InputError(f"{field}: there is no file {place}{near}")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = f"{re.sub('[^0-9A-Za-z_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.insert(1, str(path.parent))  # for what it imports from beside it
    module = sys.modules[name] = ModuleType(name)
    module.__file__, module.__package__ = str(path), ""
    try:
        SourceFileLoader(name, str(path)).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
