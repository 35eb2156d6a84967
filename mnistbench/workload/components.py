"""Code of the user's own: a reference is imported, and what it names is called.

Whatever goes wrong in it ends in one line, which says where in the user's files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
import reprlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from torch import nn

from mnistbench.schema.component import ARGUMENTS_OF, Reference, parse_reference
from mnistbench.schema.errors import InputError, RunError, first_line
from mnistbench.schema.suggestions import did_you_mean

__all__ = ["built_with", "check_fits", "load_component", "name_of", "takes", "user_errors"]

_MOST_NAMES = 8  # that an error lists
_NOT_THE_USERS = {
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    Path(__file__).parents[1],
}
"""Folders of Python, of installed libraries and of this package."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_EXPECTED = {
    "model": "(**model_args), with shape where it takes that",
    "loss": "(logits, labels)",
    "optimizer": "(params, lr=…) of a class, (model, lr=…) of a function",
    "lr_schedule": "(step, num_steps, steps_per_epoch)",
    "dataset": "(**dataset_args)",
}
"""How a component of each field is called."""


def load_component(field: str, reference: str) -> Callable[..., Any]:
    """Import what `reference`, the value of `field`, names: a class or a function.

    The working directory comes first on the search path. A file is imported by its path, under a
    module name of its own, so that no other module hides it; its folder is searched as well.

    Raises:
        InputError: there is no such module, file or attribute, its import fails, or it is nothing
            that can be called.
    """
    return _loaded(field, reference, str(Path.cwd()))


@functools.cache
def _loaded(field: str, reference: str, folder: str) -> Callable[..., Any]:
    place = parse_reference(reference)
    _search_in(folder, 0)
    value: Any = _file(field, place) if place.is_file else _module(field, place, Path(folder))
    for name in place.attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise InputError(f"{field}: {_no_attribute(place, value, name)}") from None
    if isinstance(value, nn.Module):
        raise InputError(
            f"{field}: {reference} is made already, and seeds would share it; name its class, or "
            "a function that returns it"
        )
    if not callable(value):
        raise InputError(
            f"{field}: {reference} should be a class or a function; it is {reprlib.repr(value)}"
        )
    return value  # type: ignore[no-any-return]


def _search_in(folder: str, index: int) -> None:
    if folder not in (sys.path if index else sys.path[:1]):
        sys.path.insert(index, folder)


def _module(field: str, place: Reference, folder: Path) -> ModuleType:
    """Import a module by its name; refuse another one than the working directory's."""
    base = folder.joinpath(*place.place.split("."))
    mine = [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    found = None
    with user_errors(field):
        try:
            found = importlib.import_module(place.place)
        except ModuleNotFoundError as error:
            if not f"{place.place}.".startswith(f"{error.name}."):
                raise
            if not mine:
                raise InputError(f"{field}: {_no_module(place, str(error.name))}") from None
    where = getattr(found, "__file__", None)
    if found is None or (mine and not (where and any(path.samefile(where) for path in mine))):
        other = sys.modules[place.place.partition(".")[0]]
        where = getattr(other, "__file__", None) or "Python"
        path = f"./{mine[0].relative_to(folder)}"
        raise InputError(
            f"{field}: {path} is hidden by the module {other.__name__} of {where}; "
            f"write {path}:{place.attribute}"
        )
    return found


class _FreshLoader(SourceFileLoader):
    """Compiles what the file holds now; a cached form may be older by less than a second."""

    def get_code(self, _fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _file(field: str, place: Reference) -> ModuleType:
    """Import a file under a name that no other module has."""
    path = Path(place.place).expanduser().absolute()
    if not path.is_file():
        others = (one.name for one in path.parent.glob("*.py"))
        near = did_you_mean(path.name, others)
        raise InputError(f"{field}: there is no file {place.place}{near}")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = f"{re.sub('[^0-9A-Za-z_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    _search_in(str(path.parent), 1)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        with user_errors(field):
            _FreshLoader(name, str(path)).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _no_module(place: Reference, missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    search = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    names = () if parent and not search else (one.name for one in pkgutil.iter_modules(search))
    near = did_you_mean(name, names)
    if near and parent:
        near = near.replace("mean ", f"mean {parent}.")
    return f"there is no module {missing}{near or f' for {place.place}:{place.attribute}'}"


def _no_attribute(place: Reference, holder: object, name: str) -> str:
    names = [one for one in dir(holder) if not one.startswith("_")]
    own = [one for one in names if _is_of(holder, getattr(holder, one))]
    near = did_you_mean(name, names) or _it_has("has", own)
    return f"{place.place} has no {name}{near}"


def _is_of(module: object, value: object) -> bool:
    return callable(value) and value.__module__ == getattr(module, "__name__", None)


def _it_has(verb: str, names: Iterable[str]) -> str:
    listed = list(names)
    more = ", …" if len(listed) > _MOST_NAMES else ""
    return f"; it {verb} {', '.join(listed[:_MOST_NAMES])}{more}" if listed else ""


def built_with(
    field: str,
    component: Callable[..., Any],
    arguments: Mapping[str, Any],
    /,
    *positional: Any,
    **given: Any,
) -> Any:
    """Call `component` with what it is given and the user's `arguments`.

    Raises:
        InputError: as `check_fits`, or the call raises.
    """
    check_fits(field, component, arguments, *positional, **given)
    with user_errors(field):
        return component(*positional, **given, **arguments)


def check_fits(
    field: str,
    component: Callable[..., Any],
    arguments: Mapping[str, Any],
    /,
    *positional: Any,
    **given: Any,
) -> None:
    """Check a call against the signature of `component`, without making it.

    Raises:
        InputError: an argument is unknown, missing, or given by the run.
    """
    try:
        signature = inspect.signature(component)
    except (TypeError, ValueError):
        return  # one written in C may have none
    try:
        signature.bind(*positional, **given, **arguments)
    except TypeError as error:
        taken = {*list(signature.parameters)[: len(positional)], *given}
        said = _misfit(field, signature, taken=taken, arguments=arguments)
        raise InputError(f"{said[0]}: {name_of(component)} {said[1]}") from error


def takes(component: Callable[..., Any], name: str) -> bool:
    """Whether `component` has a parameter `name`, besides ``**kwargs``."""
    try:
        parameter = inspect.signature(component).parameters.get(name)
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind in _NAMED


def name_of(component: object) -> str:
    """What the user calls `component`."""
    return str(getattr(component, "__name__", type(component).__name__))


def _misfit(
    field: str, signature: inspect.Signature, *, taken: set[str], arguments: Mapping[str, Any]
) -> tuple[str, str]:
    """The field to mend, and why a call does not fit `signature`."""
    parameters = signature.parameters.values()
    named = [one.name for one in parameters if one.kind in _NAMED]
    is_open = any(one.kind is one.VAR_KEYWORD for one in parameters)
    flag = ARGUMENTS_OF.get(field, field)
    free = [name for name in named if name not in taken]
    for name in arguments:
        if name in taken:
            return flag, f"gets {name} from the run; leave it out"
        if name not in named and not is_open:
            near = did_you_mean(name, free)
            return flag, f"takes no {name}{near}{'' if near else _it_has('takes', free)}"
    empty = inspect.Parameter.empty
    needed = [one.name for one in parameters if one.kind in _NAMED and one.default is empty]
    for name in needed:
        if name in free and name not in arguments and field in ARGUMENTS_OF:
            return flag, f"needs {name}; write --{flag.replace('_', '-')} {name}=VALUE"
    return field, f"takes {signature}, which is not how it is called: {_EXPECTED[field]}"


@contextlib.contextmanager
def user_errors(field: str) -> Iterator[None]:
    """Have what the user's code raises inside end in one line.

    What the code prints goes to stderr: stdout is for results.

    Raises:
        InputError: where in the user's files it was raised, its type and its words.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (InputError, RunError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{field}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """``my_nets.py:3: NameError: …``, from the deepest line in the user's files, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
    own = [place for place in places if _is_the_users(place[0])]
    where = f"{_short(own[-1][0])}:{own[-1][1]}: " if own else ""
    if isinstance(error, SystemExit):
        return f"{where}it ends Python (SystemExit), which an import or a call must not"
    words = error.msg if isinstance(error, SyntaxError) else first_line(error)
    kind = type(error).__name__
    return f"{where}{kind if words == kind else f'{kind}: {words}'}"


def _is_the_users(filename: str) -> bool:
    path = Path(filename)
    return path.is_file() and _NOT_THE_USERS.isdisjoint(path.parents)


def _short(filename: str) -> str:
    """`filename` from the working directory, where it is in there."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
