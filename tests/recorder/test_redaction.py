"""What is left of texts when neither machine nor user may be named."""

import getpass
import json
import socket

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.recorder.redaction import redacted
from mnistbench.schema.store import record_json


@pytest.fixture(autouse=True)
def known_names(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setenv("HOME", "/srv/people/a friend")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/ada/runs/x/record.json: is not a file", "…/record.json: is not a file"),
        ("~/data/mnist is empty", "…/mnist is empty"),
        ("runs/x/record.json is relative", "runs/x/record.json is relative"),
        ("on node-7.lab.example or node-7", "on … or …"),
        ("ada, adamw and /ada", "…, adamw and /…"),
        ("2 / 3 and 1/2", "2 / 3 and 1/2"),
        ("events.1.node-7.lab.example.0", "events.1.….0"),
        ("node-7_0 of ada_1, nodes of adam", "…_0 of …_1, nodes of adam"),
        ("/srv/people/a friend/x, or just /srv/people/a friend", "~/x, or just ~"),
    ],
)
def test_folders_and_names_are_cut_out(text, left):
    assert redacted(text) == left


def test_a_user_without_a_name_is_no_error(monkeypatch):
    def nobody():
        raise OSError("no user")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert redacted("ada") == "ada"


def test_a_record_names_nobody(small_config, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError(f"ada on node-7: {tmp_path}/file is gone")

    (record,) = train(small_config(anonymize=True, data_dir=str(tmp_path)))
    text = record_json(record)
    assert str(tmp_path) not in text
    assert json.loads(text)["config"]["data_dir"] is None
    monkeypatch.setattr("mnistbench.engine.evaluation.Evaluator.__call__", fail)
    with pytest.raises(RuntimeError):
        train(small_config(anonymize=True, seed=1))
    (path,) = (tmp_path / "runs").glob("*-seed1-*/record.json")
    assert json.loads(path.read_text())["error"] == "RuntimeError: … on …: …/file is gone"
