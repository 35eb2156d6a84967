"""The command that tunes: what it chooses, writes and says to type next."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from mnistbench import compare, train
from mnistbench import tune as command
from mnistbench.launch.cells import Attempt, attempt_folder
from mnistbench.launch.local_executor import LocalExecutor
from mnistbench.schema.record import DatasetInfo, Result
from mnistbench.schema.store import save_record
from tests.made_records import make_record
from tests.output.table_text import cells

BEST = {"cross-entropy": 0.1, "mse": 0.3, "kl": 0.3}
"""The learning rate at which made-up runs of a loss learn best."""


def run_of(cell):
    """A run whose val accuracy falls with each step of its learning rate from the best."""
    config, seed = cell.config, cell.config.seed
    off = min(abs(math.log10(config.lr / BEST.get(config.loss, 0.01))), 2)
    accuracy = 0.98 - 0.015 * off + 0.0001 * (seed % 2)
    made = make_record(seed, (accuracy - 0.02, accuracy))
    points = [replace(point, split="val") for point in made.eval_points]
    data = DatasetInfo(
        name="mnist", source="local", sha256="0", num_train=640, num_val=90, num_test=100
    )
    told = {"config": config.model_dump(mode="json"), "eval_points": points, "dataset": data}
    result = Result(
        val_accuracy=accuracy, test_accuracy=accuracy, target_accuracy=config.target_accuracy
    )
    told |= {"run_id": f"run-{cell.id}", "result": result, "recipe": None, "num_steps": 20}
    return made.model_copy(update=told)


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Cells that were run, by a stand-in that needs no process."""
    ran = []

    def run(_, cells, *, folder):
        for cell in cells:
            ran.append(cell)
            record = run_of(cell)
            save_record(record, attempt_folder(folder, cell) / record.run_id)
            yield Attempt(cell, record)

    monkeypatch.setattr(LocalExecutor, "run", run)
    monkeypatch.chdir(tmp_path)
    return ran


@pytest.fixture
def tune(capsys):
    def run(*argv):
        try:
            status = command.main(argv)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, [line.removeprefix("mnistbench: ") for line in err.splitlines()]

    return run


def next_of(out):
    return shlex.split(out.partition("next:\n")[2])


def test_each_gets_a_file_and_the_next_command_has_seeds_of_its_own(started, tune, capsys):
    status, out, told = tune("--loss", "cross-entropy,mse", "--lr", "0.03,0.1,0.3,1")
    assert status == 0
    assert out.startswith("all rows: n 3\n")
    rows = cells(out.split("\n\n")[0])
    assert [(row["loss"], row["lr"]) for row in rows] == [("cross-entropy", "0.1"), ("mse", "0.3")]
    said = " ".join(out.split())
    assert "mse: lr 0.3 (best in >99 % of draws); runner-up: lr 0.1, against the best -0.7" in said
    assert told[-1].startswith("search written to tuned (")
    assert next_of(out) == [
        *("mnistbench", "compare", "--interleave", "tuned/cross-entropy.yaml", "tuned/mse.yaml"),
        *("--seed", "3", "--metrics", "test_accuracy"),
    ]
    assert "by val_accuracy\nlr: 0.3\nloss: mse\n" in Path("tuned/mse.yaml").read_text()
    train.main(["--config", "tuned/mse.yaml", "--print-config"])
    assert "lr: 0.3\n" in capsys.readouterr().out
    assert {cell.config.seed for cell in started} == {0, 1, 2}
    assert [cell.config.seed for cell in started] == sorted(cell.config.seed for cell in started)
    assert not any("held another choice" in line for line in told)
    _, _, told = tune("--loss", "mse,kl", "--lr", "0.03,0.1,0.3,1", "--model", "linear")
    assert "tuned/mse.yaml held another choice, which is replaced; its runs stay" in told


def test_a_search_goes_on_where_its_best_lies_at_an_end(started, tune):
    first = ("--loss", "cross-entropy,mse", "--lr", "0.03,0.1", "--quiet")
    _, out, _ = tune(*first)
    assert "mse: the best learning rate, 0.1, is the last at its end: search on there" in out
    assert next_of(out) == [
        *("mnistbench", "tune", "--loss", "cross-entropy,mse", "--quiet"),
        *("--lr", "0.03,0.1,0.3,1"),
    ]
    assert len(started) == 12
    _, out, _ = tune(*next_of(out)[2:])
    assert len(started) == 24  # the others were there
    assert next_of(out)[1] == "compare"


def test_a_target_is_chosen_for_by_steps_and_else_by_accuracy(started, tune):
    argv = ("--loss", "mse,kl", "--lr", "0.1,0.3,1", "--target-accuracy")
    _, out, _ = tune(*argv, "0.97")
    assert len(started) == 30
    assert "steps to 97 %" in out
    assert next_of(out)[-5:] == ["--seed", "5", "--metrics", "time_to_accuracy_s", "test_accuracy"]
    _, out, _ = tune(*argv, "0.999")
    assert "no configuration reached 99.9 % in half of its runs; val_accuracy chose" in out
    assert "val accuracy %" in out


def test_one_alone_is_tuned_to_be_compared_later(started, tune):
    _, out, _ = tune("--optimizer", "adam", "--output-dir", "t", "--format", "json", "--quiet")
    told = json.loads(out)
    row = told["rows"][0]
    assert (told["by"], row["file"], row["lr"]) == ("optimizer", "t/adam.yaml", "0.1")
    assert (row["num_tries"], row["seeds"], row["at_end"]) == (7, [0, 1, 2], False)
    assert told["next"] == "mnistbench train --config t/adam.yaml --seed 3 --num-seeds 5"


def test_of_rates_that_are_as_good_the_middle_one_is_taken(started, tune, monkeypatch):
    monkeypatch.setattr("tests.test_tune_door.run_of", lambda cell, made=run_of: same(made(cell)))
    _, out, _ = tune("--loss", "mse", "--lr", "0.1,0.3,1", "--format", "csv")
    assert "mse,tuned/mse.yaml,0.3" in out


def same(record):
    return record.model_copy(
        update={"result": record.result.model_copy(update={"val_accuracy": 0.9})}
    )


def test_seconds_per_step_are_measured_after_all_runs_and_not_after_the_first(
    started, tune, monkeypatch
):
    measured = []
    monkeypatch.setattr(
        "mnistbench.grid_search.measure_alone", lambda c, _: measured.append(len(c))
    )
    tune("--loss", "mse,kl", "--lr", "0.1,0.3,1", "--target-accuracy", "0.97", "--jobs", "2")
    assert measured == [len(started)]


@pytest.mark.parametrize(("seed", "failed", "ran"), [(0, "1 of 2", 1), (2, "4 of 12", 8)])
def test_nothing_is_chosen_from_a_part(started, tune, monkeypatch, seed, failed, ran):
    """What fails for every configuration is known after one run of each contender."""
    whole = LocalExecutor.run

    def lacking(self, cells, *, folder):
        lost = [c for c in cells if c.config.seed == seed and (seed or c.config.loss == "kl")]
        yield from (Attempt(cell, None, "no luck", refused=True) for cell in lost)
        yield from whole(self, [cell for cell in cells if cell not in lost], folder=folder)

    monkeypatch.setattr(LocalExecutor, "run", lacking)
    status, out, told = tune("--loss", "mse,kl", "--lr", "0.1,1")
    assert (status, out, len(started)) == (1, "", ran)
    assert told[-1].startswith(f"{failed} runs failed, and nothing is chosen from a part; the same")
    assert not Path("tuned/mse.yaml").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--loss", "mse,kl", "--seed", "0"], "--seed: 3 seeds or more"),
        (["--recipe", "simple-cnn"], "eval_split: what is best is chosen on val"),
        (["--select", "test_accuracy"], "select: test_accuracy is read once"),
        (["--select", "wall_s", "--jobs", "2"], "select: wall_s depends on speed"),
        (["--by", "lr"], "--by: "),
        (["--processes", "2"], "--processes: unknown flag"),
        (["--loss", "my_nets:"], "--loss: should be module:attribute"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(started, tune, argv, says):
    status, out, told = tune(*argv)
    assert (status, out, len(told), started) == (2, "", 1, [])
    assert says in told[0]
    assert [*Path.cwd().iterdir()] == []


def test_runs_in_turn_begin_with_the_seed_that_is_given(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.yaml").write_text("lr: 0.1\n")

    def run(_, seed, folder):
        asked.append(seed)
        return make_record(seed)

    monkeypatch.setattr("mnistbench.launch.runs.TrainSide.run", run)
    monkeypatch.setattr("mnistbench.launch.runs.TrainSide.check", lambda *_: None)
    argv = ["a.yaml", "b.yaml", "--interleave", "--seed", "5", "--max-minutes", "0.000001"]
    assert compare.main(argv) == 0
    assert asked == [5, 5]
    with pytest.raises(SystemExit):
        compare.main(["a", "b", "--seed", "5"])
    assert "--seed: has no effect without --interleave" in capsys.readouterr().err
