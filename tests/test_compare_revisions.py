"""Two git revisions compared for real, in a repository of the test's own: what is told and left."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnistbench import compare as door
from mnistbench.recorder import parent_death_signal
from mnistbench.schema.store import record_json
from tests.compare_runs import record
from tests.json_script import SCRIPT

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not shutil.which("git"), reason="needs git"),
]

ROOT = Path(__file__).parents[1]
# Leaves a record of 1,000 samples/s and a little more, times the revision's FACTOR.
TRAIN = f"""
import json, os, runpy, sys, time
from datetime import UTC, datetime
from pathlib import Path
runpy.run_path({parent_death_signal.__file__!r})["die_with_parent"]()
if "--print-config" in sys.argv:
    sys.exit()
told = {{name: sys.argv[sys.argv.index(name) + 1] for name in ("--seed", "--output-dir")}}
seed = int(told["--seed"])
if seed == 1 and "HANGS" in os.environ:
    time.sleep(600)
record = json.loads((Path(__file__).parents[1] / "record.json").read_text())
record |= {{"run_id": f"run-{{seed}}", "created_at": datetime.now(UTC).isoformat(), "seed": seed}}
record["throughput"]["samples_per_s"] = FACTOR * (1000 + seed)
folder = Path(told["--output-dir"]) / record["run_id"]
folder.mkdir(parents=True)
(folder / "record.json").write_text(json.dumps(record))
"""


def git(folder, *arguments):
    settings = ("user.name=Test", "user.email=test@localhost", "commit.gpgsign=false")
    options = [word for setting in settings for word in ("-c", setting)]
    command = ["git", "-C", str(folder), *options, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout of a package with two revisions, the second of which is a tenth slower."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", folder.name)
    (folder / "mnistbench").mkdir()
    (folder / "mnistbench" / "__init__.py").write_text("")
    (folder / "pyproject.toml").write_text('[project]\nname = "mnistbench"\n')
    (folder / "record.json").write_text(record_json(record(0, 1.0, minute=0)))
    for factor in ("1.0", "0.9"):
        (folder / "mnistbench" / "train.py").write_text(TRAIN.replace("FACTOR", factor))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", factor)
    return folder


def comparison(repository, tmp_path, *arguments, **variables):
    """The command under way, with its standard error as a pipe."""
    words = ["-P", "-m", "mnistbench", "compare", "--revisions", "HEAD~1", "HEAD", *arguments]
    here = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=repository, env=os.environ | here | variables,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_comparison_leaves_nothing_in_the_repository_also_after_a_kill(repository, tmp_path):
    before = git(repository, "worktree", "list")
    with comparison(repository, tmp_path, "--output-dir", "killed", HANGS="1") as killed:
        said = []
        while not said or "samples/s" not in said[-1]:
            said.append(killed.stderr.readline())
            if "other processes use" in said[-1]:
                said.pop()  # as it may be
        killed.send_signal(signal.SIGKILL)
    assert [line.partition(" in ")[0] for line in said[:2]] == [
        f"mnistbench: checking out {git(repository, 'rev-parse', name)[:10]}"
        for name in ("HEAD~1", "HEAD")
    ]
    assert git(repository, "worktree", "list") == before

    with comparison(repository, tmp_path, "--output-dir", "runs") as again:
        out, err = again.communicate()
    assert again.returncode == 0, err
    assert "B (HEAD) is slower than A (HEAD~1): samples/s -10.0 %" in out
    assert "\nmnistbench: runs written to runs (" in err
    assert git(repository, "worktree", "list") == before
    assert not (repository / ".git" / "worktrees").exists()
    assert not (tmp_path / "cache").exists()


def test_a_users_own_script_is_compared_at_two_revisions(tmp_path, monkeypatch, capsys):
    """What it imports is as it was, too, and what it leaves lies in no revision's way."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "theirs"
    git(tmp_path, "init", "--quiet", folder.name)
    for path in (folder / "src" / "mine" / "__init__.py", folder / "sub" / "train.py"):
        path.parent.mkdir(parents=True)
    for factor in (1.0, 0.9):
        (folder / "src" / "mine" / "__init__.py").write_text(f"factor = {factor}")
        script = SCRIPT.replace("float(sys.argv[1])", "100 * __import__('mine').factor")
        (folder / "sub" / "train.py").write_text(script + "\nPath('model.pt').touch()")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", "change")
    monkeypatch.chdir(folder / "sub")
    monkeypatch.setenv("COLUMNS", "1000")
    command = f"{sys.executable} train.py"
    argv = ["--revisions", "HEAD~1", "HEAD", "--command", command]
    assert door.main([*argv, "--output-dir", str(tmp_path / "runs")]) == 0
    assert "B (HEAD) is slower than A (HEAD~1): samples/s -9.7 %" in capsys.readouterr().out
    assert git(folder, "status", "--porcelain") == ""
    assert [path.name for path in Path().iterdir()] == ["train.py"]
