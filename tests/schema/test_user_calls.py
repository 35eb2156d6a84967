"""Calls of code of the user's own: what fits a signature, and where an error was raised."""

import functools
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.schema.errors import InputError
from mnistbench.schema.user_calls import built_with, check_fits, takes, user_errors
from tests.workload.own_files import working_directory

NAMES = st.sampled_from(["params", "width", "depth", "self", "field"])


def plain(params, width): ...
def with_default(params, width=1): ...
def by_name(params, *, width): ...
def first_alone(params, /, width): ...
def open_to_all(params, width=1, **rest): ...


MADE = st.sampled_from([plain, with_default, by_name, first_alone, open_to_all])


@given(MADE, st.sets(NAMES, max_size=2), st.booleans())
def test_what_fits_is_what_python_would_call(made, arguments, positional):
    words, place = dict.fromkeys(arguments, 1), ([],) if positional else ()
    try:
        made(*place, **words)
    except TypeError:
        with pytest.raises(InputError) as error:
            built_with("optimizer", made, words, *place)
        name = made.__name__
        assert str(error.value).startswith((f"optimizer: {name} ", f"optimizer_args: {name} "))
    else:
        assert built_with("optimizer", made, words, *place) is None


def width_of(shape, width: int = 8, *, act: str = "relu") -> int:
    return width


@pytest.mark.parametrize(
    ("arguments", "given_", "said"),
    [
        ({"wdth": 1}, {"shape": 1}, "model_args: width_of takes no wdth; did you mean width?"),
        (
            {"zzz": 1},
            {"shape": 1},
            "model_args: width_of takes no zzz; it takes (shape, width=8, *, act='relu')",
        ),
        ({"shape": 1}, {"shape": 1}, "model_args: width_of gets shape from the run; leave it out"),
        ({}, {}, "model: width_of needs shape; write --model-args shape=VALUE"),
        (
            {},
            {"shape": 1, "lr": 1},
            "model: width_of takes (shape, width=8, *, act='relu'); it should be called with",
        ),
    ],
)
def test_what_does_not_fit_says_what_to_write(arguments, given_, said):
    with pytest.raises(InputError) as error:
        check_fits("model", width_of, arguments, **given_)
    assert str(error.value).startswith(said)


def test_what_has_no_signature_is_called_as_it_is():
    check_fits("loss", dict.fromkeys, {}, 1, 2)
    assert not takes(dict, "shape")
    assert takes(functools.partial(width_of, width=3), "shape")
    assert built_with("model", functools.partial(width_of, width=3), {}, shape=1) == 3


@pytest.mark.parametrize(
    ("code", "said"),
    {
        "1 / 0": "mine.py:2: ZeroDivisionError: division by zero",
        "int(\n    'x')": "mine.py:2: ValueError: invalid literal for int() with base 10: 'x'",
        "raise Exception": "mine.py:2: Exception",
        "raise OSError('no\\nfile')": "mine.py:2: OSError: no",
        "import json; json.loads('')": "mine.py:2: JSONDecodeError: Expecting value: line 1 ",
        "make()": "mine.py:2: RecursionError: maximum recursion depth exceeded",
        "exit(1)": "mine.py:2: SystemExit: it ends Python, which an import or a call must not",
    }.items(),
)
def test_an_error_is_told_where_the_users_code_raised_it(tmp_path, code, said):
    path = tmp_path / "mine.py"
    path.write_text(f"def make():\n  {code}")
    scope = runpy.run_path(str(path))
    with working_directory(tmp_path), pytest.raises(InputError) as error, user_errors("model"):
        scope["make"]()
    assert str(error.value).startswith(f"model: {said}")
    with pytest.raises(InputError) as error, user_errors("model"):
        scope["make"]()
    assert str(error.value).startswith(f"model: {path}:2: ")
    assert Path(__file__).name not in str(error.value)
