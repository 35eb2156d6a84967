"""Where compiled steps are kept: for each processor and torch on its own, if there is a place."""

import os
from importlib.metadata import version

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


def test_they_are_kept_in_the_users_cache_and_nothing_is_made_yet(tmp_path):
    keep_compiled()
    folder = tmp_path / "cache" / "mnistbench" / "compiled"
    assert os.environ[NAME].startswith(f"{folder}{os.sep}torch-{version('torch')}-")
    assert list(tmp_path.iterdir()) == []


def test_the_users_own_choice_wins():
    os.environ[NAME] = "/elsewhere"
    keep_compiled()
    assert os.environ[NAME] == "/elsewhere"


def test_pytorch_decides_where_nothing_can_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    keep_compiled()
    assert NAME not in os.environ


def test_another_processor_has_another_folder_and_its_clock_none(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    folders = []
    for flags, mhz in (("avx2", 2000), ("avx2", 3000), ("avx2 avx512f", 3000)):
        cpuinfo.write_text(f"model\t\t: 17\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n")
        folders.append(kept_in(monkeypatch, cpuinfo))
    assert folders[0] == folders[1] != folders[2]
    assert kept_in(monkeypatch, tmp_path / "no such file") not in folders
