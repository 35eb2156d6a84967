"""Whose code is recorded: found from the process or the caller, hashed, with its commit."""

import hashlib
import runpy
import subprocess
import sys
from types import ModuleType

import pytest

from mnistbench.recorder import script_identity
from mnistbench.recorder.script_identity import Script, find_script

TEXT = "import numpy\nimport helper\nfrom mnistbench.recorder.script_identity import find_script\n"
TEXT += "found = find_script()\n"

pytestmark = pytest.mark.processes  # git


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(TEXT)
    (tmp_path / "helper.py").write_text("import torch\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def as_main(monkeypatch, path, name=None):
    main = ModuleType("__main__")
    main.__file__ = str(path)
    main.__spec__ = name and type("Spec", (), {"name": name})()
    monkeypatch.setitem(sys.modules, "__main__", main)


def git(folder, *arguments):
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_script_is_hashed_with_the_files_that_it_imports(folder, monkeypatch):
    as_main(monkeypatch, folder / "train.py")
    found = find_script()
    (code,) = found.code
    assert (code.component, code.reference, code.files) == ("script", "train.py:__main__", [])
    assert found.framework() == "torch"
    assert found.revision["git_commit"] is None
    (folder / "helper.py").write_text("import torch  # changed\n")
    assert find_script().code[0].sha256 != code.sha256
    (folder / "other.py").write_text("1\n")
    (folder / "helper.py").write_text("import torch\n")
    assert find_script() == found


def test_a_module_and_a_script_elsewhere(folder, monkeypatch):
    as_main(monkeypatch, folder / "train.py", "train")
    assert find_script().code[0].reference == "train:__main__"
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    as_main(monkeypatch, folder / "train.py")
    assert find_script().code[0].reference == "train.py:__main__"  # no private folder
    monkeypatch.chdir(folder.parent)
    assert find_script().code[0].reference == f"{folder.name}/train.py:__main__"


def test_under_a_tool_it_is_the_file_that_calls(folder):
    found = runpy.run_path(str(folder / "train.py"))["found"]  # pytest is no script of a user's
    assert found.path == folder / "train.py"
    assert found.code[0].reference == "train.py:__main__"


def test_a_notebook_has_no_file(monkeypatch):
    monkeypatch.setattr(script_identity, "is_own_source", lambda _path: False)
    assert find_script() == Script()
    assert Script().framework() == "torch"  # which the tests have imported


def test_one_file_has_the_hash_that_sha256sum_says(folder, monkeypatch):
    text = b"import sklearn\n"
    (folder / "train.py").write_bytes(text)
    as_main(monkeypatch, folder / "train.py")
    found = find_script()
    assert found.code[0].sha256 == hashlib.sha256(text).hexdigest()
    monkeypatch.setitem(sys.modules, "sklearn", ModuleType("sklearn"))
    assert found.framework() == "sklearn"
    monkeypatch.delitem(sys.modules, "sklearn")
    assert found.framework() == "python"  # imported it nowhere, though torch is loaded


def test_commit_and_changes_are_those_of_the_users_repository(folder, monkeypatch):
    as_main(monkeypatch, folder / "train.py")
    git(folder, "init")
    assert find_script().revision["git_commit"] is None  # it is not tracked
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    (folder / "runs").mkdir()
    (folder / "runs" / "result.json").touch()
    clean = find_script().revision
    assert len(clean["git_commit"]) == 40
    assert (clean["git_dirty"], clean["git_diff_sha256"]) == (False, None)
    (folder / "helper.py").write_text("import torch  # changed\n")
    changed = find_script().revision
    assert (changed["git_commit"], changed["git_dirty"]) == (clean["git_commit"], True)
    assert len(changed["git_diff_sha256"]) == 12
