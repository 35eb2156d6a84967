"""Git revisions as sides: the checkout and the environment that each runs in."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import pytest

from mnistbench.launch import git as git_module
from mnistbench.launch import revisions, virtual_environments
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
    for module in (revisions, git_module, virtual_environments):
        monkeypatch.setattr(module, "say", lines.append)
    return lines


@pytest.fixture
def at(repository, tmp_path, monkeypatch):
    """Makes the sides for some revisions, or the one for a single revision."""

    def make(*names, repository=repository):
        monkeypatch.chdir(repository)
        named = [*zip(names, "AB", strict=False)]
        checkouts = Path(mkdtemp(dir=tmp_path))
        sides = revisions.train_sides(named, arguments=("--lr", "1"), checkouts=checkouts)
        return sides if len(sides) > 1 else sides[0]

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

    monkeypatch.setattr(virtual_environments, "run_child", run_child)
    return commands


def answer(side):
    return (side.package_root / ANSWER).read_text()


def test_a_revision_is_checked_out_apart_and_the_working_tree_is_left_alone(
    at, repository, cache, told
):
    (repository / ANSWER).write_text("three")
    before = git(repository, "rev-parse", "--symbolic-full-name", "HEAD")
    sides = at("HEAD~1", "HEAD")
    assert [answer(side) for side in sides] == ["one", "two"]
    for side, name in zip(sides, "AB", strict=True):
        assert not side.package_root.is_relative_to(repository)
        assert (side.name, side.arguments, side.python) == (name, ("--lr", "1"), sys.executable)
    assert not cache.exists()
    assert git(repository, "rev-parse", "--symbolic-full-name", "HEAD") == before
    assert git(repository, "status", "--porcelain") == f"M {ANSWER}"
    assert git(repository, "worktree", "list").count("\n") == 0
    assert [line.partition(" in ")[0] for line in told] == [
        f"checking out {git(repository, 'rev-parse', name)[:10]}" for name in ("HEAD~1", "HEAD")
    ]


def test_a_dot_is_the_working_tree_as_it_stands(at, repository):
    (repository / ANSWER).write_text("three")
    side = at(".", repository=repository / "mnistbench")
    assert answer(side) == "three"
    assert side.package_root == repository


@pytest.mark.parametrize(
    "revision",
    ["nowhere", "", "-h", "--all", "HEAD..HEAD~1", f"HEAD:{ANSWER}", "HEAD HEAD", "0123"],
)
def test_what_names_no_commit_is_refused_in_one_line(at, revision):
    with pytest.raises(InputError, match="names no commit in") as refusal:
        at(revision)
    assert str(refusal.value).startswith(repr(revision))


@pytest.mark.parametrize("revision", ["HEAD", "."])
def test_a_folder_outside_git_and_a_machine_without_git_are_refused(
    at, revision, tmp_path, monkeypatch
):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="not a git repository"):
        at(revision, repository=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        at(revision)


@pytest.mark.parametrize("revision", ["HEAD", "."])
def test_a_revision_without_the_package_is_refused(at, repository, revision):
    git(repository, "rm", "--quiet", "mnistbench/train.py")
    commit(repository, {})
    with pytest.raises(InputError, match=r"has no mnistbench/train\.py;"):
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
    assert at("HEAD").python == side.python
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


@pytest.fixture
def other(at, repository, commands):
    """Makes the environment of a revision that needs the package of this name."""

    def make(needs="tyro"):
        commit(repository, {"pyproject.toml": PROJECT.format([needs])})
        write(repository, {"pyproject.toml": PROJECT.format([])})
        return Path(at("HEAD").python).parents[1]

    return make


@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_environment_that_others_could_have_written_is_not_run(other, at, level):
    folder = other()
    shared = [folder, *folder.parents][level]
    mode = shared.stat().st_mode
    shared.chmod(0o777)
    with pytest.raises(InputError, match="is not yours alone to write"):
        at("HEAD")
    shared.chmod(mode)
    assert Path(at("HEAD").python).parents[1] == folder


def test_an_environment_that_was_cut_short_is_made_again(other, at, commands):
    folder = other()
    (folder.parent / f"{folder.name}.whole").unlink()  # as until it is whole
    at("HEAD")
    assert [command[3] for command in commands] == ["venv", "pip"] * 2


def test_only_environments_used_last_are_kept_and_those_in_use(other, at, monkeypatch):
    monkeypatch.setattr(virtual_environments, "_MOST_KEPT", 1)
    folders = [other("torch"), other("tyro")]
    assert all(folder.is_dir() for folder in folders)  # this process runs both
    while virtual_environments._in_use:
        os.close(virtual_environments._in_use.pop())
    at("HEAD")
    assert [folder.is_dir() for folder in folders] == [False, True]
    names = {path.name for path in folders[1].parent.iterdir()}
    assert names == {folders[1].name, f"{folders[1].name}.whole", "lock"}


def test_one_process_at_a_time_makes_an_environment(other, at, told, cache, commands):
    folder = other()
    shutil.rmtree(folder)
    with (cache / "environments" / "lock").open("w") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        told.clear()
        side = pool.submit(at, "HEAD")
        while not (len(told) > 1 or side.done()):
            time.sleep(0.01)
        assert told[1] == "waiting for another process that makes an environment"
        assert len(commands) == 2
        fcntl.flock(file, fcntl.LOCK_UN)
        assert Path(side.result().python).parents[1] == folder
    assert len(commands) == 4


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


def test_a_cache_that_cannot_be_written_is_refused(at, repository, tmp_path, monkeypatch):
    write(repository, {"constraints.txt": "tyro==1.0\n"})
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

    def make(*names, command="python train.py"):
        named = [*zip(names, "AB", strict=False)]
        return revisions.script_sides(named, command=command, checkouts=tmp_path / "checkouts")

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
    with pytest.raises(InputError, match=r"^'HEAD~1': has no sub/;"):
        scripts("HEAD", "HEAD~1")
