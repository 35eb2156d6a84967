"""The kernels are compiled once, kept, and where they cannot be had one line says why."""

import ctypes
import re
import shutil
import subprocess

import pytest

from mnistbench.workload.kernels import library
from mnistbench.workload.kernels.library import why_unavailable

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
TINY = 'extern "C" { void (*mb_answer)(int*) = [](int* to) { *to = omp_get_level() ? 0 : 42; }; }\n'


@pytest.fixture(autouse=True)
def tiny_source(tmp_path, monkeypatch):
    """A source that takes no time; gives the folder to compile into."""
    (tmp_path / "convolution.cpp").write_text("#include <omp.h>\n" + TINY)
    monkeypatch.setattr(library, "files", lambda _package: tmp_path)
    monkeypatch.setattr(library, "_loaded", [])
    return tmp_path / "kept"


@pytest.fixture
def compiled(monkeypatch):
    """Commands of the compiler, as they are run."""
    commands, plain = [], subprocess.run
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **rest: (commands.append(command), plain(command, **rest))[1],
    )
    return commands


def load(folder):
    """As another process does."""
    why_unavailable.cache_clear()
    return why_unavailable(folder)


@needs_compiler
def test_what_was_compiled_is_kept_and_half_of_it_is_made_again(tiny_source, compiled):
    for _ in range(2):
        assert load(tiny_source) is None
    (kept,) = tiny_source.glob("*.so")
    for damage in (b"", kept.read_bytes()[:100]):
        folder = tiny_source.with_name(f"{len(damage)} bytes")
        folder.mkdir()
        (folder / kept.name).write_bytes(damage)
        assert load(folder) is None
        answer = ctypes.c_int()
        library.kernel("answer", 1)(ctypes.byref(answer))
        assert answer.value == 42
        assert {path.name for path in folder.iterdir()} == {"lock", kept.name}
    assert len(compiled) == 3


@needs_compiler
def test_another_source_or_compiler_is_compiled_anew(tiny_source, compiled, tmp_path, monkeypatch):
    for change in ("source", "flags", "nothing"):
        if change == "source":
            (tmp_path / "convolution.cpp").write_text("#include <omp.h>\n\n" + TINY)
        elif change == "flags":
            monkeypatch.setenv("CXX", "g++ -DOTHER")
        assert load(tiny_source) is None
    assert len(compiled) == 2


@needs_compiler
def test_what_is_kept_on_a_disk_that_is_only_read_is_used(tiny_source, compiled):
    assert load(tiny_source) is None
    (tiny_source / "lock").unlink()
    (tiny_source / "lock").mkdir()  # nor can it be opened, also by root
    assert load(tiny_source) is None
    assert len(compiled) == 1


def broken(folder, text):
    path = folder / "broken-c++"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("none", "no C\\+\\+ compiler \\(g\\+\\+, clang\\+\\+\\) is installed"),
        ("not there", "no C\\+\\+ compiler \\(/no/such\\) is installed"),
        ("half quoted", "CXX: No closing quotation"),
        ("fails", "the C\\+\\+ compiler failed: x.cpp:1: fatal error: omp.h is missing"),
        ("silent", "the C\\+\\+ compiler failed: status 4"),
        ("nothing", "no kernels here: .*"),
        ("folder", "no kernels here: .*kept: .*"),
    ],
)
def test_without_kernels_one_line_says_why(tiny_source, tmp_path, monkeypatch, wrong, says):
    monkeypatch.delenv("CXX", raising=False)
    scripts = {
        "fails": "echo In file: >&2; echo 'x.cpp:1: fatal error: omp.h is missing' >&2; exit 1",
        "silent": "exit 4",
        "nothing": "exit 0",
    }
    if wrong in scripts:
        monkeypatch.setenv("CXX", broken(tmp_path, scripts[wrong]))
    elif wrong == "none":
        monkeypatch.setenv("PATH", "")
    elif wrong in (commands := {"not there": "/no/such", "half quoted": 'g++ "'}):
        monkeypatch.setenv("CXX", commands[wrong])
    else:
        tiny_source.write_text("a file in the folder's place")
    found = load(tiny_source)
    assert found is not None
    assert "\n" not in found
    assert re.fullmatch(says, found), found
