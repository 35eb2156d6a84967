"""Git revisions as sides: the checkout and the environment that each runs in."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mnistbench.launch import git as git_module
from mnistbench.launch import revisions, script_revisions
from mnistbench.launch.revisions import side_at
from mnistbench.launch.runs import RunFailedError
from mnistbench.schema.errors import InputError

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")

ANSWER = "mnistbench/answer.py"
PROJECT = '[project]\nname = "mnistbench"\ndependencies = {}\n'


def git(folder, *arguments):
    settings = ("user.name=Test", "user.email=test@localhost", "commit.gpgsign=false")
    options = [word for setting in settings for word in ("-c", setting)]
    command = ["git", "-C", str(folder), *options, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder, files):
    write(folder, files)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "change")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # these tests may run in a hook of a real repository
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnistbench"


@pytest.fixture
def repository(tmp_path):
    """A checkout of a small package of this name with two commits, which answer one and two."""
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", folder.name)
    first = {"mnistbench/__init__.py": "", "mnistbench/train.py": "", ANSWER: "one"}
    commit(folder, first | {"pyproject.toml": PROJECT.format([])})
    commit(folder, {ANSWER: "two"})
    return folder


@pytest.fixture(autouse=True)
def told(monkeypatch):
    lines = []
    for module in (revisions, git_module, script_revisions):
        monkeypatch.setattr(module, "say", lines.append)
    return lines


@pytest.fixture
def at(repository):
    """Makes the side for a revision."""

    def make(revision, *, repository=repository):
        arguments = ("--lr", "1")
        return side_at(revision, name="A", arguments=arguments, repository=repository)

    return make


@pytest.fixture
def commands(monkeypatch):
    """The commands that would have made environments; what they would have left is there."""
    commands = []

    def run_child(command):
        commands.append(command)
        if "venv" in command:
            write(Path(command[-1]), {"bin/python": ""})
        failed = "no-such-thing" in command
        return (1, "a remark\nERROR: none\nERROR: really\n") if failed else (0, "")

    monkeypatch.setattr(revisions, "run_child", run_child)
    return commands


def answer(side):
    return (side.package_root / ANSWER).read_text()


def test_a_revision_is_checked_out_apart_and_the_working_tree_is_left_alone(
    at, repository, cache, told
):
    (repository / ANSWER).write_text("three")
    before = git(repository, "rev-parse", "--symbolic-full-name", "HEAD")
    sides = [at(revision) for revision in ("HEAD~1", "HEAD")]
    assert [answer(side) for side in sides] == ["one", "two"]
    for side, revision in zip(sides, ("HEAD~1", "HEAD"), strict=True):
        assert side.package_root == cache / "revisions" / git(repository, "rev-parse", revision)
        assert (side.name, side.arguments, side.python) == ("A", ("--lr", "1"), sys.executable)
    assert git(repository, "rev-parse", "--symbolic-full-name", "HEAD") == before
    assert git(repository, "status", "--porcelain") == f"M {ANSWER}"
    assert git(repository, "worktree", "list").count("\n") == 0
    assert [line.partition(" in ")[0] for line in told] == [
        f"checking out {git(repository, 'rev-parse', name)[:10]}" for name in ("HEAD~1", "HEAD")
    ]


def test_a_checkout_is_used_again_with_what_python_left_in_it(at):
    tree = at("HEAD").package_root
    first = (tree / ANSWER).stat()
    write(tree, {"mnistbench/__pycache__/train.cpython-311.pyc": ""})
    assert (at("HEAD~0").package_root / ANSWER).stat().st_ino == first.st_ino


def test_a_dot_is_the_working_tree_as_it_stands(at, repository, cache):
    (repository / ANSWER).write_text("three")
    side = at(".", repository=repository / "mnistbench")
    assert answer(side) == "three"
    assert side.package_root == repository
    assert not cache.exists()


@pytest.mark.parametrize(
    "revision",
    ["nowhere", "", "-h", "--all", "HEAD..HEAD~1", f"HEAD:{ANSWER}", "HEAD HEAD", "0123"],
)
def test_what_names_no_commit_is_refused_in_one_line(at, revision, cache):
    with pytest.raises(InputError, match="names no commit in") as refusal:
        at(revision)
    assert str(refusal.value).startswith(repr(revision))
    assert not cache.exists()


@pytest.mark.parametrize("revision", ["HEAD", "."])
def test_a_folder_outside_git_and_a_machine_without_git_are_refused(
    at, revision, tmp_path, monkeypatch
):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="not a git repository"):
        at(revision, repository=tmp_path)
    with pytest.raises(InputError, match="gone: cannot change to"):
        at(revision, repository=tmp_path / "gone")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        at(revision)


@pytest.mark.parametrize("revision", ["HEAD", "."])
def test_a_revision_without_the_package_is_refused(at, repository, revision):
    git(repository, "rm", "--quiet", "mnistbench/train.py")
    commit(repository, {})
    with pytest.raises(InputError, match=r"has no mnistbench/train\.py to run"):
        at(revision)


def test_git_hooks_neither_run_nor_mislead(at, repository, tmp_path, monkeypatch):
    hook = repository / ".git" / "hooks" / "post-checkout"
    write(hook.parent, {hook.name: f"#!/bin/sh\ntouch {tmp_path}/ran\n"})
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert answer(at("HEAD")) == "two"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: write(tree, {ANSWER: "two and a half"}),
        lambda tree: write(tree, {"mnistbench/more.py": ""}),
        lambda tree: git(tree, "checkout", "--quiet", "HEAD~1"),
    ],
    ids=["edited", "added to", "moved"],
)
def test_a_checkout_changed_by_hand_is_refused_and_renewed_once_removed(at, change):
    tree = at("HEAD").package_root
    change(tree)
    with pytest.raises(InputError, match=r"was changed after its checkout; remove this folder"):
        at("HEAD")
    shutil.rmtree(tree)
    assert answer(at("HEAD")) == "two"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_code_that_others_could_have_put_there_is_not_run(at, cache, level):
    tree = at("HEAD").package_root
    shared = [tree, *tree.parents][level]
    mode = shared.stat().st_mode
    shared.chmod(0o777)
    with pytest.raises(InputError, match="is not yours alone to write"):
        at("HEAD")
    shared.chmod(mode)
    assert answer(at("HEAD")) == "two"


def test_a_checkout_that_was_cut_short_is_made_again(at, repository, cache):
    tree = cache / "revisions" / git(repository, "rev-parse", "HEAD")
    git(repository, "init", "--quiet", str(tree))
    write(tree, {ANSWER: "half"})
    assert answer(at("HEAD")) == "two"


def test_what_a_killed_comparison_left_is_removed_by_the_next(at, cache):
    tree = at("HEAD~1").package_root
    (cache / "revisions" / f"{tree.name}.whole").unlink()  # as until it is whole
    at("HEAD")
    assert not tree.exists()


def test_worktrees_of_version_0_2_are_removed_also_from_the_users_repository(at, repository, cache):
    known = git(repository, "rev-parse", "HEAD~1")
    tree = cache / "revisions" / known
    git(repository, "worktree", "add", "--detach", str(tree), known)
    write(tree.parent, {f"{known}.whole": "", f"{known}.lock": ""})
    git(repository, "worktree", "lock", str(tree))
    at("HEAD")
    assert git(repository, "worktree", "list").count("\n") == 0
    left = {path.name.rpartition(".")[2] for path in (cache / "revisions").glob(f"{known}*")}
    assert left == set()


def test_only_what_was_used_last_is_kept_and_what_is_in_use(at, repository, cache, monkeypatch):
    monkeypatch.setitem(revisions._MOST_KEPT, "revisions", 1)
    trees = [at(revision).package_root for revision in ("HEAD~1", "HEAD")]
    assert all(tree.is_dir() for tree in trees)  # this process runs both
    while revisions._in_use:
        os.close(revisions._in_use.pop())
    at("HEAD")
    assert [tree.is_dir() for tree in trees] == [False, True]
    names = {path.name for path in (cache / "revisions").iterdir()}
    assert names == {trees[1].name, f"{trees[1].name}.whole", "lock"}


def test_a_checkout_whose_repository_has_gone_is_made_again(at, repository, tmp_path):
    at("HEAD")
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    shutil.rmtree(repository)
    assert answer(at("HEAD", repository=tmp_path / "clone")) == "two"


@pytest.mark.parametrize(
    "command",
    [
        ("clone", "--depth=2"),
        ("clone", "--filter=blob:none", "--no-checkout"),
        ("worktree", "add", "--detach"),
    ],
    ids=["shallow clone", "partial clone", "linked worktree"],
)
def test_every_kind_of_repository_is_read(at, repository, tmp_path, command):
    git(repository, "config", "uploadpack.allowFilter", "true")
    source = [f"file://{repository}"] if "clone" in command else []
    git(repository, *command, "--quiet", *source, str(tmp_path / "other"))
    shutil.copy(repository / "pyproject.toml", tmp_path / "other")
    assert answer(at("HEAD~1", repository=tmp_path / "other")) == "one"


def test_a_checkout_without_its_repository_is_made_again_also_inside_a_repository(at, tmp_path):
    git(tmp_path, "init", "--quiet")  # such as a home folder under git
    shutil.rmtree(at("HEAD").package_root / ".git")
    assert (at("HEAD").package_root / ".git").exists()


def test_many_at_once_make_one_checkout(at):
    with ThreadPoolExecutor(4) as pool:  # each opens the lock for itself, as processes do
        trees = [side.package_root for side in pool.map(at, ["HEAD"] * 4)]
    assert len(set(trees)) == 1
    assert (trees[0] / ANSWER).read_text() == "two"


def test_waiting_for_another_process_is_told(at, repository, cache, told):
    lock = cache / "revisions" / "lock"
    write(lock.parent, {lock.name: ""})
    with lock.open("w") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        side = pool.submit(at, "HEAD")
        while not (told or side.done()):
            time.sleep(0.01)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert answer(side.result()) == "two"
    assert told[0] == "waiting for another process that prepares revisions"


@pytest.mark.parametrize(
    "files",
    [
        {ANSWER: "three"},
        {"pyproject.toml": PROJECT.format([]) + "# dependencies are unchanged\n"},
        {"constraints.txt": "# nothing is pinned\n"},
    ],
)
def test_the_same_dependencies_keep_the_interpreter(at, repository, files, commands):
    commit(repository, files)
    assert at("HEAD~1").python == sys.executable
    assert commands == []


def test_other_dependencies_get_an_environment_made_once(at, repository, commands, cache, told):
    pinned = {"constraints.txt": "tyro==1.0\n"}
    commit(repository, pinned | {"pyproject.toml": PROJECT.format(["torch>=2", "tyro"])})
    write(repository, {"constraints.txt": "tyro==1.1\n"})  # the working tree as it stands counts
    side = at("HEAD")
    environment = Path(side.python).parents[1]
    assert environment.parent == cache / "environments"
    assert side.python == str(environment / "bin" / "python")
    pip = [side.python, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = ["-c", str(side.package_root / "constraints.txt")]
    assert commands == [
        [sys.executable, "-P", "-m", "venv", str(environment)],
        [*pip, *pins, "torch>=2", "tyro"],
    ]
    assert ["minutes, but only once" in line for line in told] == [False, True]
    assert at("HEAD") == side
    assert len(commands) == 2


def test_an_environment_that_could_not_be_made_is_one_line_and_tried_again(
    at, repository, commands
):
    commit(repository, {"pyproject.toml": PROJECT.format(["no-such-thing"])})
    write(repository, {"pyproject.toml": PROJECT.format([])})
    for _ in range(2):
        with pytest.raises(
            RunFailedError, match=r"^dependencies cannot be installed: ERROR: none$"
        ):
            at("HEAD")
    assert [command[3] for command in commands] == ["venv", "pip", "venv", "pip"]


@pytest.mark.processes
def test_an_environment_is_really_made(at, repository):
    write(repository, {"constraints.txt": "tyro==1.0\n"})
    python = at("HEAD").python
    command = [python, "-I", "-c", "import sys, pip; print(sys.prefix)"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == Path(python).parents[1]


def test_a_project_file_that_cannot_be_read_is_refused(at, repository):
    commit(repository, {"pyproject.toml": "[project\n"})
    with pytest.raises(InputError, match=r"pyproject\.toml: does not tell what to install"):
        at("HEAD")


def test_a_cache_that_cannot_be_written_is_refused(at, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be made"):
        at("HEAD")


@pytest.fixture
def scripts(repository, tmp_path, monkeypatch):
    """Makes the sides of a command in the folder `sub` of the repository, which is no package."""
    commit(repository, {"sub/train.py": "", "src/mine/__init__.py": "", ".gitignore": ".venv\n"})
    write(repository, {"sub/.venv/python": ""})
    monkeypatch.chdir(repository / "sub")
    monkeypatch.setenv("PYTHONPATH", "theirs")
    (tmp_path / "checkouts").mkdir()

    def make(*revisions, command="python train.py"):
        named = [*zip(revisions, "AB", strict=False)]
        return script_revisions.script_sides(
            named, command=command, checkouts=tmp_path / "checkouts"
        )

    return make


def test_a_command_runs_in_the_same_folder_of_each_checkout(scripts, repository, cache, told):
    write(repository, {"sub/train.py": "changed"})
    a, b = scripts("HEAD", ".")
    assert [(side.name, (side.work_dir / "train.py").read_text()) for side in (a, b)] == [
        ("A", ""),
        ("B", "changed"),
    ]
    assert b.work_dir == repository / "sub"
    for side in (a, b):
        tree = side.work_dir.parent
        path = [str(tree / "src"), str(tree), "theirs"]
        assert side.environment["PYTHONPATH"].split(os.pathsep) == path
    assert not cache.exists()
    assert len(told) == 1


def test_what_a_script_leaves_in_its_checkout_is_gone_with_the_comparison(scripts):
    """Each side has a checkout of its own, also of one commit."""
    a, b = scripts("HEAD", "HEAD")
    write(a.work_dir, {"model.pt": "", "train.py": "another"})
    assert [path.name for path in b.work_dir.iterdir()] == ["train.py"]


def test_a_program_that_only_the_working_tree_has_is_run_from_there(scripts, repository):
    sides = scripts("HEAD", ".", command=".venv/python train.py")
    program = str(repository / "sub/.venv/python")
    assert [side.script.words[0] for side in sides] == [program, ".venv/python"]


def test_whole_paths_into_the_repository_lead_into_the_checkout(scripts, repository, monkeypatch):
    """But for what only the working tree has."""
    monkeypatch.setenv("PYTHONPATH", f"{repository / 'sub'}{os.pathsep}/elsewhere")
    there = [repository / "sub" / name for name in ("train.py", ".venv")]
    (side,) = scripts("HEAD", command="python {} --data {}".format(*there))
    assert side.script.words == ("python", str(side.work_dir / "train.py"), "--data", str(there[1]))
    path = side.environment["PYTHONPATH"].split(os.pathsep)
    assert path[-2:] == [str(side.work_dir), "/elsewhere"]


def test_other_dependencies_of_a_users_own_are_told(scripts, repository, told):
    commit(repository, {"requirements-dev.txt": "torch"})
    scripts("HEAD~1", "HEAD")
    assert told[-1] == (
        "requirements-dev.txt: not the same; each side runs with what is installed here"
    )


def test_a_folder_that_a_revision_does_not_have_is_refused(scripts):
    with pytest.raises(InputError, match=r"^'HEAD~1': has no folder sub/ to run in"):
        scripts("HEAD", "HEAD~1")
