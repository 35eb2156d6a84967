"""Whose convolutions run, where own ones cannot be had, and where a run goes on."""

import logging

import pytest

from mnistbench.engine import build
from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError
from mnistbench.workload.kernels.library import why_unavailable
from tests.engine.interrupted import LATEST, bits, interrupt

NETS = "tests/engine/own_nets.py"
LACKING = "no C++ compiler (g++, clang++) is installed"


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    build._say_once.cache_clear()
    yield
    why_unavailable.cache_clear()


def kernels(record):
    return record.environment["kernels"], record.environment["kernels_reason"]


def test_without_a_compiler_torchs_run_and_one_line_says_why(small_config, no_compiler, caplog):
    caplog.set_level(logging.INFO)
    records = train(small_config(model="simple-cnn", num_seeds=2, max_steps=2))
    assert [kernels(record) for record in records] == [("torch", LACKING)] * 2
    assert {record.environment["memory_format"] for record in records} == {"channels_last"}
    assert caplog.text.count(LACKING) == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model": "linear"}, "the network has no convolution"),
        ({"model": f"{NETS}:Viewing"}, "Viewing is no plain sequence of layers"),
        ({"model": "cnn2", "batch_last": False}, None),
        ({"model": "cnn2", "exact_parity": True}, None),
    ],
    ids=str,
)
def test_what_is_not_for_own_kernels_runs_by_torchs(small_config, values, reason):
    (record,) = train(small_config(max_steps=2, **values))
    assert kernels(record) == ("torch", reason)


@pytest.mark.parametrize("batch_last", [False, None])
def test_a_run_goes_on_with_the_kernels_that_it_began_with(
    small_config, tmp_path, monkeypatch, one_thread, batch_last
):
    values = {"model": "cnn2", "batch_last": batch_last, "checkpoint_every_steps": 2}
    whole = train(small_config(**values, output_dir=str(tmp_path / "whole")))[0]
    interrupt(monkeypatch, small_config(**values), at_step=3)
    resumed = train(small_config(**values | LATEST | {"batch_last": None}))[0]
    expected = ("own", None) if batch_last is None else ("torch", "the run began with them")
    assert kernels(resumed) == expected
    assert bits(resumed) == bits(whole)


def test_other_kernels_than_it_began_with_are_refused_where_asked_for(small_config, monkeypatch):
    values = {"model": "cnn2", "checkpoint_every_steps": 2}
    interrupt(monkeypatch, small_config(**values, batch_last=False), at_step=3)
    with pytest.raises(InputError, match="kernels torch there, own here"):
        train(small_config(**values | LATEST, batch_last=True))


def test_asked_for_and_not_to_be_had_is_an_error(small_config, no_compiler):
    with pytest.raises(InputError, match=r"^batch_last: no C\+\+ .*; use --no-batch-last$"):
        train(small_config(model="simple-cnn", batch_last=True))
