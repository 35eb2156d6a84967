"""Real runs, asked what limits them."""

import json
import time
from pathlib import Path

import pytest

from mnistbench.analysis.bottleneck import limits
from mnistbench.engine import data, diagnosis
from mnistbench.engine.run_seeds import train
from mnistbench.recorder import peak_rates
from mnistbench.schema.store import load_record


@pytest.fixture(autouse=True)
def ceilings_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(peak_rates, "_SIDES", {"cpu": 256})
    monkeypatch.setattr(peak_rates, "_COPY_BYTES", {"cpu": 2**22})


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_parts_of_a_step_are_found_and_nothing_else_changes(small_config, loop):
    plain = train(small_config(loop=loop))[0]
    [record] = train(small_config(loop=loop, diagnose=True))
    found = record.step_costs
    assert found.step_s > found.loader_s >= 0
    assert found.overhead_s >= 0
    assert found.communication_s is None
    assert found.flops > 2 * 64 * record.num_parameters
    assert found.num_steps >= 20
    assert limits(record) is not None
    assert record.result == plain.result
    assert [p.loss for p in record.train_points] == [p.loss for p in plain.train_points]
    assert record.num_steps == plain.num_steps
    assert record.phases_s["profile"] > 0
    folder = Path(small_config().output_dir) / record.run_id
    assert load_record(folder / "record.json") == record


@pytest.mark.slow
def test_both_loops_do_the_same_work(small_config):
    fast, stock = (
        train(small_config(loop=loop, diagnose=True))[0].step_costs for loop in ("fast", "stock")
    )
    assert fast.flops == stock.flops


@pytest.mark.slow
def test_dropout_and_batch_norm_draw_as_if_nobody_asked(small_config):
    values = {"model": "cnn", "batch_norm": True, "dropout": 0.2, "num_seeds": 2}
    plain, asked = (train(small_config(**values, diagnose=ask)) for ask in (False, True))
    assert [r.result for r in plain] == [r.result for r in asked]


@pytest.mark.slow
def test_a_slow_loader_is_found(small_config, monkeypatch):
    collate = data._collate

    def slow(samples):
        time.sleep(0.05)
        return collate(samples)

    monkeypatch.setattr(data, "_collate", slow)
    [record] = train(small_config(loader="streaming", diagnose=True, max_steps=2))
    assert record.step_costs.loader_s > 0.05
    assert limits(record).advice == "--loader resident" or limits(record).name == "host-noise"


@pytest.mark.slow
def test_a_diagnosis_that_fails_takes_nothing_from_the_run(small_config, monkeypatch, caplog):
    def fail(work):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(diagnosis, "count_ops", fail)
    [record] = train(small_config(diagnose=True))
    assert record.status == "completed"
    assert record.step_costs is None
    assert "diagnose: not found out: no such operator" in caplog.text


@pytest.mark.processes
def test_compiled_steps_take_no_small_batch(small_config):
    config = small_config(model="linear", compile=True, diagnose=True, max_steps=2)
    [record] = train(config)
    assert record.environment["loop_floor"] == "compiled"
    assert record.step_costs.overhead_s is None


@pytest.mark.processes
def test_two_processes_find_what_exchanging_takes(launch):
    done, [record] = launch(
        *("--dataset", "synthetic", "--synthetic-train-size", "400", "--val-size", "100"),
        *("--num-epochs", "1", "--diagnose", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    assert record.step_costs.communication_s > 0
    assert record.step_costs.step_s > record.step_costs.communication_s
    assert record.throughput.step_split is not None
    assert json.loads(done.stdout)["step_costs"]["num_steps"] == record.step_costs.num_steps
