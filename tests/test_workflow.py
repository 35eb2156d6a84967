"""The workflow on GitHub runs what the package promises, and no more than it may."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def commands(job):
    return " ".join(step["run"] for step in job["steps"] if "run" in step)


def test_each_python_that_the_package_names_runs_everything(workflow):
    checks = workflow["jobs"]["checks"]
    tried = [one["python"] for one in checks["strategy"]["matrix"]["include"]]
    named = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"]]
    assert tried == [name for name in named if name.startswith("3.")]
    assert PROJECT["requires-python"] == f">={tried[0]}"
    assert commands(checks) == "bash .ci/run"


def test_the_lowest_versions_are_tried_on_the_oldest_python(workflow):
    lowest = workflow["jobs"]["lowest"]
    assert "--resolution lowest-direct -e '.[dev]'" in commands(lowest)
    assert "-m pytest" in commands(lowest)
    assert PROJECT["requires-python"] == f">={lowest['steps'][1]['with']['python-version']}"


def test_it_reads_only_and_comes_to_an_end(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert "permissions" not in job
        for step in job["steps"]:
            assert step.get("uses", "actions/x@v1").rpartition("@v")[2].isdigit()
