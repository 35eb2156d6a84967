"""What docs/ci.md tells a reader to copy: its workflows are read, and its comparison is run."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.documented import ROOT, fences

PAGE = ROOT / "docs" / "ci.md"
WORKFLOWS = [
    yaml.safe_load("\n".join(fence.lines)) for fence in fences(PAGE) if fence.language == "yaml"
]
COUNTS = json.loads((ROOT / "bench" / "results" / "statistics" / "validation.json").read_text())


def steps():
    return [step for one in WORKFLOWS for job in one["jobs"].values() for step in job["steps"]]


def test_workflows_may_no_more_than_they_need_and_come_to_an_end():
    speed, baseline = WORKFLOWS
    assert speed["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert baseline["permissions"] == {"contents": "read"}
    for one in WORKFLOWS:
        assert one.keys() >= {"name", True, "jobs"}  # `on` is read as true
        assert all(job["timeout-minutes"] <= 60 for job in one["jobs"].values())
    for step in steps():
        assert step.get("uses", "actions/x@v1").rpartition("@v")[2].isdigit()
        assert "${{" not in step.get("run", "")  # a title of a pull request would be run
    checkouts = [step["with"] for step in steps() if "checkout" in step.get("uses", "")]
    assert all(one["persist-credentials"] is False for one in checkouts)


def test_shares_are_those_that_were_counted():
    told = re.findall(r"\| (a (?:gate|verdict)[^|]*) \| ([^|]*) \| ([\d.]+) % \|", PAGE.read_text())
    counted = [
        ("false at any look", "up to 48 pairs"),
        *((f"gate of -5% fired at -{p}%", "5% noise, n = 8") for p in (4, 5, 10)),
        ("gate of -5% fired at -10%", "5% noise, n = 20"),
        *(("gate of -5% passed at no change", f"5% noise, n = {n}") for n in (8, 20)),
    ]
    shares = {(row["check"], row["case"]): row["share"] for row in COUNTS}
    assert [float(share) for *_, share in told] == [
        pytest.approx(100 * shares[case], abs=0.05) for case in counted
    ]


@pytest.fixture
def checkout(tmp_path):
    """A repository of this package whose last commit is a merge of a pull request."""
    folder = tmp_path / "repository"
    names = ("mnistbench", "pyproject.toml", "constraints.txt")
    for name in names:
        source, copy = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]

    def run(*words):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)

    run("init", "--quiet", "--initial-branch", "main")
    run("add", ".")
    run("commit", "--quiet", "--message", "base")
    run("checkout", "--quiet", "-b", "change")
    (folder / "note.txt").write_text("a change that changes no speed")
    run("add", ".")
    run("commit", "--quiet", "--message", "change")
    run("checkout", "--quiet", "main")
    run("merge", "--quiet", "--no-ff", "--message", "merge", "change")
    return folder


@pytest.mark.processes
@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_comparison_runs_as_it_stands_and_leaves_its_table(checkout, tmp_path):
    """Only its runs are made smaller; three pairs are too few for the gate, and it says so."""
    (step,) = (step for step in steps() if step.get("name", "").startswith("Compare"))
    small = step["run"].replace("--max-minutes 15", "--max-minutes 0.02")
    small = small.replace(
        "--recipe simple-cnn --dataset synthetic --max-steps 300",
        "--model linear --dataset synthetic --synthetic-train-size 1300 --val-size 200"
        " --num-threads 1 --max-steps 5",
    )
    assert small.count("linear") == small.count("0.02") == 1
    command = tmp_path / "bin" / "mnistbench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mnistbench "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    summary = tmp_path / "summary.md"
    environment = os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "GITHUB_STEP_SUMMARY": str(summary),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        ["bash", "-e", "-c", small],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "samples_per_s < -5%" in done.stderr
    table = Path(summary).read_text()
    assert re.search(r"^\| samples/s +\|", table, re.MULTILINE)
    assert "no verdict" in table
