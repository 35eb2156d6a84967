"""A run speaks to nobody: no telemetry, no tracker, no look at a hub, unless it is asked for."""

import socket
import sys

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.recorder.clock import Ledger

TRACKERS = ("wandb", "mlflow", "comet_ml", "aim", "clearml", "trackio", "swanlab", "tensorboard")


@pytest.fixture
def calls(monkeypatch):
    """What was asked of names and connections to other machines, each of which fails."""
    made = []

    def refuse(*arguments, **named):
        made.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return made


@pytest.mark.parametrize("loop", ["stock", "fast"])
def test_a_run_asks_nobody_and_starts_no_tracker(small_config, calls, loop):
    before = set(sys.modules)
    (record,) = train(small_config(loop=loop, model="linear"), ledger=Ledger(age_s=0.0))
    assert record.status == "completed"
    assert calls == []
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & set(TRACKERS)
