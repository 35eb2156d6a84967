"""How code of the user's own is called: by its signature, and with one line for what it raises."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

from mnistbench.schema.component import ARGUMENTS_OF
from mnistbench.schema.errors import InputError, RunError, first_line
from mnistbench.schema.suggestions import did_you_mean

_NOT_THE_USERS = {
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    Path(__file__).parents[1],
}
"""Folders of Python, of installed libraries and of this package."""

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_EXPECTED = {
    "model": "with --model-args, and with shape where it takes that",
    "loss": "with (logits, labels); a class with --loss-args",
    "optimizer": "with (params, lr=…), a function with (model, lr=…)",
    "lr_schedule": "with (step, num_steps, steps_per_epoch)",
    "dataset": "with --dataset-args; a data set of torchvision's with (root, train=…) as well",
}
"""How a component of each field is called."""


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
        InputError: an argument is unknown, missing, or given by the run; or `component` is called
            in another way than those of `field`.
    """
    try:
        known = signature(component)
    except (TypeError, ValueError):
        return  # one written in C may have none
    try:
        known.bind(*positional, **given, **arguments)
    except TypeError:
        taken = {*list(known.parameters)[: len(positional)], *given}
        where, why = _misfit(field, known, taken=taken, arguments=arguments)
        raise InputError(f"{where}: {name_of(component)} {why}") from None


def takes(component: Callable[..., Any], name: str) -> bool:
    """Whether `component` has a parameter `name`, besides ``**kwargs``."""
    try:
        parameter = signature(component).parameters.get(name)
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind in _NAMED


def name_of(component: object) -> str:
    """What the user calls `component`."""
    return str(getattr(component, "__name__", type(component).__name__))


def _misfit(
    field: str, known: Signature, *, taken: set[str], arguments: Mapping[str, Any]
) -> tuple[str, str]:
    """The field to mend, and why a call does not fit."""
    flag, parameters = ARGUMENTS_OF.get(field, field), known.parameters.values()
    free = {one.name: one.default for one in parameters if one.kind in _NAMED}
    is_open = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    shown = _without_types(known)
    expected = f"takes {shown}; it should be called {_EXPECTED[field]}"
    if not (is_open or taken <= free.keys()):
        return field, expected  # for want of what the run gives
    for name in arguments:
        if name in taken:
            return flag, f"gets {name} from the run; leave it out"
        if name not in free and not is_open:
            near = did_you_mean(name, free.keys() - taken)
            return flag, f"takes no {name}{near or f'; it takes {shown}'}"
    for name, default in free.items():
        if default is Parameter.empty and name not in {*taken, *arguments} and flag != field:
            return field, f"needs {name}; write --{flag.replace('_', '-')} {name}=VALUE"
    return field, expected


def _without_types(known: Signature) -> Signature:
    plain = [one.replace(annotation=Parameter.empty) for one in known.parameters.values()]
    return known.replace(parameters=plain, return_annotation=Signature.empty)


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


def raised_by_user(error: BaseException) -> str | None:
    """What `user_errors` says of `error`, if it was raised in or below a line of the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    return _said(error) if any(_is_the_users(Path(frame.filename)) for frame in frames) else None


def _said(error: BaseException) -> str:
    """``my_nets.py:3: NameError: …``, from the deepest line in the user's files, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    words = first_line(error)
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
        words = error.msg
    if isinstance(error, SystemExit):
        words = "it ends Python, which an import or a call must not"
    own = [(path, line) for file, line in places if _is_the_users(path := Path(file))]
    kind = type(error).__name__
    said = kind if words == kind else f"{kind}: {words}"
    if not own:
        return said
    (path, line), here = own[-1], Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}: {said}"


def _is_the_users(path: Path) -> bool:
    return path.is_file() and _NOT_THE_USERS.isdisjoint(path.parents)
