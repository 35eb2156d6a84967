"""The cluster file: as Ray takes it, each key explained, its command one that sweeps."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mnistbench.sweep import main

FILE = Path(__file__).parents[2] / "launch_configs" / "ray" / "cluster.yaml"


def test_ray_takes_the_file_and_starts_every_worker():
    util = pytest.importorskip(
        "ray.autoscaler._private.util", reason='needs Ray: pip install "mnistbench[ray]"'
    )
    config = yaml.safe_load(FILE.read_text())
    prepared = util.prepare_config(config)
    util.validate_config(prepared)
    (nodes,) = prepared["available_node_types"].values()
    assert nodes["min_workers"] == len(config["provider"]["worker_ips"])


def test_every_key_has_a_comment():
    lines = FILE.read_text().splitlines()
    keys = [line for line in lines if re.match(r"\s*[\w~/-]+:( |$)", line)]
    assert len(keys) > 10
    assert [line for line in keys if " # " not in line] == []


def test_the_command_in_its_header_is_a_sweep_that_could_start(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"'(mnistbench sweep [^']*)'", FILE.read_text())
    assert main([*shlex.split(command)[2:], "--dry-run"]) == 0
    assert capsys.readouterr().out.count("to run") == 15


def test_ray_tells_nobody_that_it_is_used():
    config = yaml.safe_load(FILE.read_text())
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_USAGE_STATS_ENABLED=0; ray start" in command for command in starts)
