"""What a record says of the code that made it, in checkouts made for it."""

import os
import subprocess
import sys

import pytest

from mnistbench.recorder import code_identity as module
from mnistbench.recorder.code_identity import code_identity, running_code
from mnistbench.recorder.environment import describe_environment

pytestmark = pytest.mark.processes

NOTHING = {"git_commit": None, "git_dirty": None, "git_diff_sha256": None, "code_sha256": None}


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package of one file, committed."""

    def git(*arguments):
        own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *own, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "mnistbench").mkdir()
    (tmp_path / "mnistbench" / "a.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path, git


def digits(root):
    return code_identity(root)["git_diff_sha256"]


def test_a_clean_tree_has_a_commit_and_no_hash(checkout):
    root, _ = checkout
    found = code_identity(root)
    assert (found["git_dirty"], found["git_diff_sha256"]) == (False, None)
    assert len(found["git_commit"]) == 40


def test_the_same_changes_have_the_same_hash_and_others_another(checkout):
    root, git = checkout
    file = root / "mnistbench" / "a.py"
    file.write_text("one = 2\n")
    first = digits(root)
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert digits(root) == first
    git("add", ".")  # staged or not is the same code
    assert digits(root) == first
    git("config", "diff.noprefix", "true")  # so it is however a user has set up git
    git("config", "diff.context", "0")
    assert digits(root) == first
    file.write_text("one = 3\n")
    assert digits(root) not in {first, None}
    file.write_text("one = 1\n")
    assert digits(root) is None  # what runs is the commit's, whatever is staged


def test_files_that_git_does_not_know_count_by_name_and_content(checkout):
    root, _ = checkout
    new = root / "mnistbench" / "new.py"
    new.write_text("two = 2\n")
    first = digits(root)
    new.write_text("two = 3\n")
    second = digits(root)
    new.rename(root / "mnistbench" / "other.py")
    third = digits(root)
    (root / "mnistbench" / "link.py").symlink_to("a.py")
    os.mkfifo(root / "mnistbench" / "pipe")  # is not waited for
    (root / "mnistbench" / os.fsdecode(b"\xff.py")).write_text("")
    assert None not in {first, second, third, digits(root)}
    assert len({first, second, third, digits(root)}) == 4


def test_what_is_ignored_or_no_code_of_the_package_does_not_count(checkout):
    root, _ = checkout
    (root / "mnistbench" / "a.pyc").write_text("x")
    (root / "results").mkdir()
    (root / "results" / "record.json").write_text("{}")
    (root / "README.md").write_text("text")
    assert code_identity(root)["git_diff_sha256"] is None
    assert code_identity(root)["git_dirty"] is False


def test_what_is_too_large_has_no_hash(checkout, monkeypatch):
    root, _ = checkout
    monkeypatch.setattr(module, "_MOST_BYTES", 2000)
    (root / "mnistbench" / "large").write_text("x" * 1000)
    assert digits(root)
    (root / "mnistbench" / "more").write_text("x" * 1000)
    assert digits(root)
    (root / "mnistbench" / "yet").write_text("x")
    assert code_identity(root)["git_dirty"] is True
    assert digits(root) is None
    (root / "mnistbench" / "a.py").write_text("x\n" * 5000)
    assert digits(root) is None


def test_without_a_repository_a_commit_or_git_nothing_is_told(checkout, tmp_path, monkeypatch):
    root, _ = checkout
    assert code_identity(tmp_path / "nowhere") == NOTHING
    (root / "mnistbench" / "a.py").write_text("x")
    assert digits(root)
    empty = tmp_path / "empty"
    subprocess.run(["git", "init", str(empty)], check=True, capture_output=True)
    assert code_identity(empty)["git_commit"] is None


def test_where_git_does_not_tell_the_files_of_the_package_do(checkout, tmp_path, monkeypatch):
    root, _ = checkout
    assert code_identity(root)["code_sha256"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    first = code_identity(root)
    assert first == NOTHING | {"code_sha256": first["code_sha256"]}
    made = root / "mnistbench" / "__pycache__"
    made.mkdir()
    (made / "a.pyc").write_bytes(b"x")
    assert code_identity(root) == first
    for change in ("one = 2\n", "one = 3\n"):
        (root / "mnistbench" / "a.py").write_text(change)
        assert code_identity(root)["code_sha256"] not in {first["code_sha256"], None}
    (root / ".git").rename(root / "elsewhere")  # an installed package has none
    assert code_identity(root)["code_sha256"] not in {first["code_sha256"], None}


def test_a_git_that_does_not_answer_is_not_waited_for(checkout, tmp_path, monkeypatch):
    root, _ = checkout
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    slow = f"#!{sys.executable}\nimport time\ntime.sleep(60)\n"
    (bin_ / "git").write_text(slow)
    (bin_ / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    assert code_identity(root) | {"code_sha256": None} == NOTHING


def test_a_record_has_what_was_there_when_the_process_began(checkout, monkeypatch):
    import torch

    root, git = checkout
    began = code_identity(root)
    monkeypatch.setattr(module, "code_identity", lambda: code_identity(root))
    running_code.cache_clear()
    try:
        running_code()
        (root / "mnistbench" / "a.py").write_text("one = 2\n")
        git("commit", "-am", "while it trains")
        monkeypatch.setattr(module.importlib.metadata, "version", lambda _name: "new")
        told = describe_environment(torch.device("cpu"))
    finally:
        running_code.cache_clear()
    assert began != code_identity(root)
    assert {name: told[name] for name in NOTHING} == began
    assert "new" not in told["versions"].values()
