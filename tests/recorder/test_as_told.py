"""What who starts a process tells it of its runs: where their records go, and their seed."""

import pytest

from mnistbench.engine.run_seeds import measure
from mnistbench.launch.commands import child_environment
from mnistbench.recorder.loop_settings import as_told
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import find_records

TINY = {"dataset": "synthetic", "synthetic_train_size": 256, "val_size": 64, "max_steps": 2}


@pytest.fixture
def told(monkeypatch, tmp_path):
    monkeypatch.setenv("MNISTBENCH_OUTPUT_DIR", str(tmp_path / "told"))
    monkeypatch.setenv("MNISTBENCH_SEED", "7")
    return tmp_path / "told"


def test_our_own_runs_go_where_a_command_in_turn_or_a_sweep_looks(told, tmp_path):
    (record,) = measure(RunConfig(output_dir=str(tmp_path / "mine"), **TINY))
    assert [path.parent.name for path in find_records([told])] == [record.run_id]
    assert record.seed == 7
    assert not (tmp_path / "mine").exists()


def test_a_seed_that_was_given_is_what_runs(told):
    assert as_told(RunConfig(seed=0, recipe="simple-cnn")).seed == 0
    assert as_told(RunConfig(recipe="simple-cnn")).seed == 7


def test_what_is_no_seed_is_refused_in_one_line(told, monkeypatch):
    monkeypatch.setenv("MNISTBENCH_SEED", "seven")
    with pytest.raises(InputError, match=r"^MNISTBENCH_SEED: should be a whole number"):
        as_told(RunConfig())


def test_without_these_a_configuration_stays_as_it_is(monkeypatch):
    monkeypatch.delenv("MNISTBENCH_OUTPUT_DIR", raising=False)
    monkeypatch.delenv("MNISTBENCH_SEED", raising=False)
    config = RunConfig(recipe="simple-cnn", lr=0.1)
    assert as_told(config) == config
    assert as_told(config).model_fields_set == config.model_fields_set


def test_children_of_ours_are_told_by_flags_alone(told):
    assert not {"MNISTBENCH_OUTPUT_DIR", "MNISTBENCH_SEED"} & child_environment().keys()
