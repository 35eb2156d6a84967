"""Where compiled steps are kept: for each processor and torch on its own, if there is a place."""

import os
import re
import stat
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnistbench.recorder import compile_cache
from mnistbench.recorder.compile_cache import keep_compiled

NAME = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch, tmp_path):
    """A user's cache folder, and nothing of the environment left behind."""
    monkeypatch.setattr(os, "environ", {"XDG_CACHE_HOME": str(tmp_path / "cache")})


def kept_in(monkeypatch, cpuinfo):
    """The folder's name on a machine whose kernel tells `cpuinfo`."""
    monkeypatch.setattr(compile_cache, "_CPUINFO", cpuinfo)
    os.environ.pop(NAME, None)
    keep_compiled()
    return os.environ[NAME]


def test_they_are_kept_in_the_users_cache_where_nobody_else_can_look(tmp_path):
    assert keep_compiled() is None
    folder = tmp_path / "cache" / "mnistbench" / "compiled"
    assert os.environ[NAME].startswith(f"{folder}{os.sep}torch-{version('torch')}-")
    assert stat.S_IMODE(Path(os.environ[NAME]).stat().st_mode) == 0o700


def test_the_users_own_choice_wins():
    os.environ[NAME] = "/elsewhere"
    keep_compiled()
    assert os.environ[NAME] == "/elsewhere"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("file", "cache/mnistbench: Not a directory"),
        ("open", "mnistbench: is not yours alone to write; remove it, or set XDG_CACHE_HOME"),
        ("homeless", "no home folder to keep anything in"),
        ("space", "my cache/mnistbench/.*: PyTorch cannot compile below a name with a space"),
        ("noexec", r"nothing can be run there \(noexec\)"),
    ],
)
def test_where_none_will_do_there_is_a_new_one_which_goes(tmp_path, monkeypatch, wrong, says):
    cache = tmp_path / "cache"
    if wrong == "file":
        cache.write_text("a file in the way")
    elif wrong == "open":
        (cache / "mnistbench").mkdir(parents=True)
        (cache / "mnistbench").chmod(0o777)
    elif wrong == "homeless":
        del os.environ["XDG_CACHE_HOME"]
        monkeypatch.setattr(Path, "home", nobody)
    elif wrong == "space":
        os.environ["XDG_CACHE_HOME"] = str(tmp_path / "my cache")
    else:
        flags = {True: os.ST_NOEXEC, False: 0}
        monkeypatch.setattr(
            os, "statvfs", lambda path: SimpleNamespace(f_flag=flags["compiled/" in str(path)])
        )
    told = []
    monkeypatch.setattr("atexit.register", lambda *call, **_: told.append(call))
    assert re.search(says, keep_compiled())
    ((remove, folder),) = told
    assert os.environ[NAME] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert " " not in str(folder)
    remove(folder)


def nobody():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(("mode", "off"), [(0o700, False), (0o777, True)])
def test_headers_that_others_may_have_compiled_are_not_used(tmp_path, monkeypatch, mode, off):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    (tmp_path / "torchinductor_ada").mkdir()
    (tmp_path / "torchinductor_ada").chmod(mode)
    keep_compiled()
    assert (os.environ.get("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS") == "0") is off


def test_another_processor_has_another_folder_and_its_clock_none(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    folders = []
    for flags, mhz in (("avx2", 2000), ("avx2", 3000), ("avx2 avx512f", 3000)):
        cpuinfo.write_text(f"model\t\t: 17\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n")
        folders.append(kept_in(monkeypatch, cpuinfo))
    assert folders[0] == folders[1] != folders[2]
    assert kept_in(monkeypatch, tmp_path / "no such file") not in folders
