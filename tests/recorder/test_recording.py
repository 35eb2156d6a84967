"""A loop that is not ours, recorded in this process: counts, clocks, status and misuse."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import mnistbench
from mnistbench.recorder import loop_run
from mnistbench.recorder.config_values import NOT_WRITTEN
from mnistbench.recorder.script_identity import Script
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import find_records, load_record

PROBE = loop_run._probe
BATCHES = [(torch.zeros(4, 2), torch.zeros(4))] * 5


@pytest.fixture(autouse=True)
def plain_runs(tmp_path, monkeypatch):
    """Runs below `tmp_path`, without a look at the code, which starts git, or at the machine."""
    monkeypatch.setenv("MNISTBENCH_OUTPUT_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(loop_run, "find_script", Script)
    monkeypatch.setattr(loop_run, "_probe", lambda _device: None)
    yield
    if loop_run.LoopRun._open:
        loop_run.LoopRun._open._end("interrupted", "a test left it")


def recorded(body=lambda run: None, **told):
    with mnistbench.record("net", **told) as run:
        for _ in run.steps(BATCHES):
            pass
        body(run)
    return run.record


def test_a_plain_loop_leaves_a_whole_record():
    with mnistbench.record(
        "org/net:v1",
        config={"lr": 0.1, "log_dir": "x"},
        seed=3,
        target={"accuracy": 0.9},
        ignore="log_dir",
        tags=("fast",),
        extra={"note": "hi"},
    ) as run:
        for epoch in range(3):
            for _ in run.steps(BATCHES):
                time.sleep(0.002)
            with run.evaluating():
                time.sleep(0.05)
            run.evaluated(accuracy=torch.tensor(0.75 + epoch / 8), loss=2, **{"val/f1:macro": 0.5})
        run.evaluated(split="test", accuracy=0.7, num_samples=10)
    record = load_record(run.run_folder / "record.json")
    assert record == run.record
    assert (record.status, record.seed, record.num_steps, record.num_epochs) == (
        *("completed", 3, 15, 3.0),
    )
    assert [(p.step, p.samples_seen, p.epoch) for p in record.eval_points] == [
        *((5, 20, 1.0), (10, 40, 2.0), (15, 60, 3.0), (15, 60, 3.0)),
    ]
    assert record.metrics == {"accuracy": 1.0, "loss": 2.0, "val/f1:macro": 0.5}
    assert record.result.test_accuracy == 0.7
    assert (record.target.split, record.target.steps) == ("val", 15)
    assert record.target.time_s == record.eval_points[2].train_s
    assert (record.ignored, record.tags, record.extra) == (["log_dir"], ["fast"], {"note": "hi"})
    assert record.environment["global_batch_size"] == 4
    assert record.environment["num_processes"] == 1
    assert record.phases_s["eval"] >= 0.15
    assert sum(record.phases_s.values()) == pytest.approx(record.wall_s, rel=0.01)
    assert record.throughput.from_step == 2
    timed_s = record.train_s - record.throughput.first_step_s
    assert record.throughput.samples_per_s == pytest.approx(56 / timed_s)


def test_waits_for_the_loader_are_a_phase_of_the_train_clock():
    def slow():
        for batch in BATCHES:
            time.sleep(0.02)
            yield batch

    with mnistbench.record("net") as run:
        for _ in run.steps(slow()):
            time.sleep(0.01)
        time.sleep(0.05)
    phases = run.record.phases_s
    assert phases["data_wait"] >= 0.1
    assert phases["train"] >= 0.05
    assert phases["other"] >= 0.05
    assert run.record.train_s == phases["data_wait"] + phases["train"]
    assert run.record.num_epochs == 0  # a generator does not say how long an epoch is


@pytest.mark.parametrize(("per_step", "num_steps"), [(1, 5), (2, 3), (5, 1), (8, 1)])
def test_the_last_batches_of_a_pass_are_a_step(per_step, num_steps):
    with mnistbench.record("net") as run:
        batches = run.steps(BATCHES, batches_per_step=per_step)
        assert len(batches) == 5
        assert len(list(batches)) == 5
        assert run.num_steps == num_steps
        run.evaluated(loss=1)
    assert run.record.eval_points[0].samples_seen == 20
    assert run.record.num_steps == num_steps
    assert run.record.throughput.from_step == (1 if num_steps == 1 else 2)
    assert run.record.throughput.samples_per_s > 0


@pytest.mark.parametrize(("given", "num_lines"), [({}, 1), ({"num_samples": len}, 0)])
def test_a_number_of_samples_that_is_in_doubt_is_said_once(given, num_lines, capfd):
    batches = [{"mask": torch.ones(8, 8), "x": torch.zeros(4, 2)}] * 5
    with mnistbench.record("net") as run:
        for _ in range(2):
            list(run.steps(batches, **given))
    assert capfd.readouterr().err.count("8 samples are counted in a batch") == num_lines


def test_an_accuracy_that_rounding_puts_above_one_is_one():
    record = recorded(lambda run: run.evaluated(accuracy=1.0000001))
    assert record.eval_points[0].accuracy == 1.0


@pytest.mark.parametrize("per_step", [1, 2])
def test_a_pass_that_is_begun_anew_before_its_end_is_ended_as_by_break(per_step):
    with mnistbench.record("net") as run:
        for _ in range(3):
            batches = iter(run.steps(BATCHES, batches_per_step=per_step))
            for _ in range(2):
                next(batches)
                time.sleep(0.002)
            with run.evaluating():
                time.sleep(0.02)
            run.evaluated(loss=1)
    assert run.record.num_steps == 6 // per_step
    assert run.record.num_epochs == pytest.approx(6 / 5)
    assert run.record.train_s < 0.02 + run.record.phases_s["eval"]
    assert [p.samples_seen for p in run.record.eval_points] == [8, 16, 24]
    assert sum(run.record.phases_s.values()) == pytest.approx(run.record.wall_s, rel=0.01)


def test_torch_that_comes_while_a_loop_runs_ends_no_training(monkeypatch):
    monkeypatch.setattr(loop_run, "_probe", PROBE)
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "torch")
        run = mnistbench.record("net").__enter__()
        list(run.steps(BATCHES[:2]))
    list(run.steps(BATCHES))
    run.__exit__(None, None, None)
    assert (run.record.status, run.record.error) == ("completed", None)


def test_a_device_whose_memory_is_full_ends_no_training(monkeypatch):
    def full(*_args, **_named):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(loop_run, "_probe", PROBE)
    monkeypatch.setattr(loop_run, "probe_machine", full)
    record = recorded()
    assert (record.status, record.canary) == ("completed", None)


def test_a_batch_counts_that_a_loop_was_left_in_by_break():
    with mnistbench.record("net") as run:
        for number, _ in enumerate(run.steps(BATCHES)):
            if number == 2:
                time.sleep(0.02)
                break
        time.sleep(0.1)
        assert run.num_steps == 3
        for _ in run.steps(BATCHES, batches_per_step=2):
            break  # half a step is none
    assert run.record.num_steps == 3
    assert run.record.throughput.step_s_p95 < 0.1
    assert run.record.num_epochs == pytest.approx(0.6 + 0.2)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("no\nmore"), "failed", "ValueError: no"),
        (RuntimeError(), "failed", "RuntimeError"),
        (KeyboardInterrupt(), "interrupted", "stopped by SIGINT"),
        (SystemExit(3), "failed", "exit status: 3"),
        (SystemExit("bad"), "failed", "exit status: bad"),
        (SystemExit(0), "completed", None),
        (SystemExit(), "completed", None),
    ],
)
def test_what_ends_a_loop_is_its_status_and_goes_on(error, status, said):
    run = mnistbench.record("net")

    def fails():
        with run:
            for number, _ in enumerate(run.steps(BATCHES)):
                if number == 3:
                    raise error

    with pytest.raises(type(error)):
        fails()
    assert (run.record.status, run.record.error, run.record.num_steps) == (status, said, 3)
    assert load_record(run.run_folder / "record.json") == run.record


@pytest.mark.parametrize("metrics", [{"loss": float("nan")}, {"val/loss": torch.tensor(torch.inf)}])
def test_a_loss_that_is_not_finite_is_a_run_that_diverged(metrics):
    record = recorded(lambda run: run.evaluated(**metrics), target={"loss": 9})
    assert record.status == "diverged"
    assert record.eval_points[0].diverged
    assert record.eval_points[0].value_of(next(iter(metrics))) is None
    assert record.target.time_s is None


def test_evaluations_inside_a_step_are_no_part_of_it():
    with mnistbench.record("net") as run:

        @run.evaluating()
        def evaluate():
            time.sleep(0.05)

        for number, _ in enumerate(run.steps(BATCHES)):
            time.sleep(0.005)
            if number % 2:
                evaluate()
                run.evaluated(loss=1.0 / number)
                with run.paused("checkpoint"):
                    time.sleep(0.02)
            time.sleep(0.005)
    record = run.record
    assert [point.step for point in record.eval_points] == [2, 4]
    assert record.phases_s["checkpoint"] >= 0.04
    assert 0.05 <= record.train_s < 0.09
    assert 0.01 <= record.throughput.step_s_p95 < 0.03


def test_steps_of_a_loop_without_a_loader():
    with mnistbench.record("net") as run:
        for number in range(1, 4):
            time.sleep(0.01)
            with run.step(num_samples=8, number=10 * number):
                time.sleep(0.01)
        run.evaluated(loss=1, step=30)
        with pytest.raises(InputError, match="step 30 comes after step 30"), run.step(number=30):
            pass
        with pytest.raises(ZeroDivisionError), run.step():
            1 / 0  # noqa: B018 - fails
    record = run.record
    assert (record.num_steps, record.eval_points[0].samples_seen) == (30, 24)
    assert record.phases_s["train"] < 0.03 + record.phases_s["other"]
    assert record.throughput.samples_per_s < 8 / 0.01


def test_steps_that_do_not_tell_their_samples_have_no_samples_per_s():
    with mnistbench.record("net") as run:
        for _ in range(3):
            with run.step():
                pass
    assert run.record.throughput.samples_per_s is None
    assert run.record.throughput.step_s_p50 is not None
    assert run.record.environment["global_batch_size"] is None


@pytest.mark.parametrize(
    ("sizes", "full"), [([4, 4, 4, 1], 4), ([4, 1], 4), ([3, 5, 4, 6, 3], None), ([], None)]
)
def test_a_full_step_is_what_most_have_and_none_has_more(sizes, full):
    with mnistbench.record("net") as run:
        for _ in run.steps([torch.zeros(size, 3) for size in sizes]):
            pass
    assert run.record.environment["global_batch_size"] == full


def test_a_run_without_a_step_is_a_record_too():
    with mnistbench.record("net"):
        pass
    (path,) = find_records([Path(mnistbench.record("net").run_folder).parent])
    assert load_record(path).num_steps == 0


def test_the_target_is_on_the_split_that_was_evaluated(capsys):
    def body(run):
        run.evaluated(split="train", perplexity=5)
        run.evaluated(split="test", perplexity=20.0)

    target = recorded(body, target={"perplexity": 30}).target
    assert (target.split, target.steps, target.higher_is_better) == ("test", 5, False)
    assert capsys.readouterr().err == ""


def test_a_target_that_was_never_evaluated_is_said_at_the_end(capsys):
    recorded(lambda run: run.evaluated(acuracy=0.5), target={"accuracy": 0.9})
    said = capsys.readouterr().err
    assert said.startswith("mnistbench: target: accuracy was never evaluated")
    assert "did you mean acuracy?" in said
    assert said.count("\n") == 1


def test_a_run_without_a_step_is_said_at_the_end(capsys):
    with mnistbench.record("net"):
        pass
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("mnistbench: steps: none was recorded; iterate over run.steps(loader)")


def test_who_asks_for_it_gets_one_line(capsys):
    recorded(lambda run: run.evaluated(accuracy=0.95), target={"accuracy": 0.9}, quiet=False)
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("net: completed, 5 steps", "samples/s", "waits for data: ", "accuracy 0.9 after"):
        assert part in line


def test_the_seed_is_of_the_argument_else_of_the_variable(monkeypatch):
    assert recorded().seed is None
    monkeypatch.setenv("MNISTBENCH_SEED", "7")
    assert recorded().seed == 7
    assert recorded(seed=2).seed == 2
    monkeypatch.setenv("MNISTBENCH_SEED", "x")
    with pytest.raises(InputError, match="MNISTBENCH_SEED: should be a whole number"):
        mnistbench.record("net")


def test_config_gets_what_a_sweep_varies_where_it_lacks_the_name(monkeypatch):
    monkeypatch.setenv("MNISTBENCH_VALUES", '{"lr": 0.1, "width": 8, "hf_token": "abc"}')
    config = recorded(config={"lr": "0.10"}).config
    assert config == {"lr": "0.10", "width": 8, "hf_token": NOT_WRITTEN}
    monkeypatch.setenv("MNISTBENCH_VALUES", "lr=0.1")
    with pytest.raises(InputError, match="MNISTBENCH_VALUES: should be a JSON object; unset it"):
        mnistbench.record("net")


def test_the_variable_says_where_runs_go(tmp_path, monkeypatch):
    run = mnistbench.record("a b/c", seed=1, output_dir=tmp_path / "mine")
    assert run.run_folder.parent == tmp_path / "runs"
    assert "-a-b-c-seed1-" in run.run_folder.name
    monkeypatch.delenv("MNISTBENCH_OUTPUT_DIR")
    assert mnistbench.record("net", output_dir=tmp_path / "mine").run_folder.parent.name == "mine"


def test_secrets_and_odd_values_of_a_configuration(capsys):
    @dataclass
    class Odd:
        size: int = 1

    config = {"api_key": "s3cret", "odd": Odd, "path": Path("a"), "dim": torch.tensor(3)}
    record = recorded(config=config, extra={"nested": {"token": ["s3cret"], "fn": print}})
    assert "s3cret" not in json.dumps(record.model_dump(mode="json"))
    assert record.config["path"] == "a"
    assert record.config["dim"] == 3
    assert "Odd" in record.config["odd"]
    said = capsys.readouterr().err
    assert "odd, extra.nested.fn" in said
    assert said.count("\n") == 1


TOLD = {
    "an empty name": ({"name": ""}, "name: should"),
    "a name of lines": ({"name": "a\nb"}, "name: should begin with"),
    "a long name": ({"name": "a" * 201}, "name: should have at most 200"),
    "a name that is none": ({"name": None}, "name: should be"),
    "no mapping": (
        {"config": [1]},
        r"config: should be a mapping, such as vars\(args\) \(got list",
    ),
    "a huge one": ({"config": {str(i): "x" * 100 for i in range(20_000)}}, "more than 1 MiB"),
    "two metrics": ({"target": {"a": 1, "b": 2}}, "target: should be one metric"),
    "no metric": ({"target": {}}, "target: should be one metric"),
    "a target alone": ({"target": 0.9}, "target: should be one metric"),
    "a target of words": ({"target": {"loss": "low"}}, "target: loss should be a finite number"),
    "a target of nothing": ({"target": {"loss": float("nan")}}, "should be a finite number"),
    "percent": ({"target": {"accuracy": 97.3}}, "use a fraction: 0.973"),
    "no such direction": ({"target": {"f1": 1}, "higher_is_better": "yes"}, "True or False"),
    "a direction alone": ({"higher_is_better": True}, "there is no target"),
    "an ignored typo": (
        {"config": {"log_dir": 1}, "ignore": ["log_dirr"]},
        "no key 'log_dirr'; did you mean log_dir",
    ),
    "tags that are none": ({"tags": 3}, "tags: should be a list"),
    "a tag of lines": ({"tags": ["a\nb"]}, "tags: should begin"),
    "half a seed": ({"seed": 1.5}, "seed: should be a whole number"),
    "a seed of truth": ({"seed": True}, "seed: should be a whole number"),
}


@pytest.mark.parametrize(("told", "said"), TOLD.values(), ids=TOLD)
def test_wrong_arguments_are_one_line_at_once(told, said):
    with pytest.raises(InputError, match=said) as raised:
        mnistbench.record(**{"name": "net", **told})
    assert "\n" not in str(raised.value)


def nested(run):
    for _ in run.steps(BATCHES):
        list(run.steps(BATCHES))


def in_turn(run):
    list(zip(run.steps(BATCHES), run.steps(BATCHES), strict=True))


def of_a_step(run):
    with run.step(), run.step():
        pass


def while_evaluating(run):
    with run.evaluating():
        list(run.steps(BATCHES))


def twice(run):
    run.evaluated(loss=1)
    run.evaluated(accuracy=1)


MISUSE = {
    "evaluated": (lambda run: run.evaluated(accuracy=97.3), "use a fraction: 0.973"),
    "no metrics": (lambda run: run.evaluated(), "should be given metrics"),
    "a metric of words": (lambda run: run.evaluated(f1="high"), "f1: should be a number"),
    "a metric of truth": (lambda run: run.evaluated(f1=True), "f1: should be a number"),
    "none": (lambda run: run.evaluated(f1=None), "f1: should be a number"),
    "several": (lambda run: run.evaluated(f1=torch.zeros(2)), r"Tensor of shape \(2,\)"),
    "a metric's name": (lambda run: run.evaluated(**{"a b": 1}), "evaluated: should begin"),
    "twice": (twice, "val was evaluated at step 5 already"),
    "a step before": (lambda run: run.evaluated(loss=1, step=2), "not the number of steps made, 5"),
    "a step after": (lambda run: run.evaluated(loss=1, step=9), "not the number of steps made, 5"),
    "a split of lines": (lambda run: run.evaluated(loss=1, split="a\n"), "split: should begin"),
    "half a sample": (lambda run: run.evaluated(loss=1, num_samples=0), "num_samples: should be"),
    "nested steps": (nested, r"steps\(\): another one began inside it"),
    "steps in turn": (in_turn, r"steps\(\): another one began inside it"),
    "nested step": (of_a_step, r"step\(\): is inside step\(\)"),
    "steps to evaluate": (while_evaluating, r"steps\(\): is inside evaluating\(\)"),
    "no loader": (lambda run: run.steps(3), r"steps: should be given a loader .*got int"),
    "no batches": (lambda run: run.steps([], batches_per_step=0), "whole number from 1 on"),
    "half a batch": (lambda run: run.steps([], batches_per_step=1.5), "whole number from 1 on"),
    "half samples": (lambda run: run.steps([], num_samples=1.5), "num_samples: should be a whole"),
    "odd samples": (lambda run: list(run.steps([1], num_samples=str)), "num_samples: should be"),
    "no size": (lambda run: list(run.steps([["a", "b"]])), "a batch of type list holds no array"),
    "a phase of lines": (lambda run: run.paused("a\nb").__enter__(), "phase: should"),
    "its own phase": (lambda run: run.paused("train").__enter__(), "phase: train is what the loop"),
    "a step of 0": (lambda run: run.step(number=0), "number: should be a whole number from 1"),
    "another run": (
        lambda run: mnistbench.record("b").__enter__(),
        "has not ended in this process",
    ),
    "again": (lambda run: run.__enter__(), "was entered before"),
}


@pytest.mark.parametrize(("wrong", "said"), MISUSE.values(), ids=MISUSE)
def test_misuse_is_one_line_at_once(wrong, said):
    with pytest.raises(InputError, match=said) as raised:
        recorded(wrong)
    assert "\n" not in str(raised.value)
    (path,) = find_records([Path(mnistbench.record("net").run_folder).parent])
    assert load_record(path).status == "failed"


def test_what_is_not_entered_or_has_ended_takes_nothing():
    run = mnistbench.record("net")
    with pytest.raises(InputError, match="has not begun; use `with mnistbench"):
        run.steps(BATCHES)
    with run:
        with pytest.raises(InputError, match="no step has been made"):
            run.evaluated(loss=1)
        left = run.steps(BATCHES)
        next(left)
        assert run.num_steps == 1  # all its batches were given
    for call in (lambda: run.steps(BATCHES), run.step, lambda: run.evaluated(loss=1)):
        with pytest.raises(InputError, match="the run has ended"):
            call()
    del left
    assert run.num_steps == run.record.num_steps == 1


def test_an_output_dir_that_is_a_file_is_refused_and_a_full_one_is_said_once(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MNISTBENCH_OUTPUT_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"output_dir: .*file is not a folder"):
        mnistbench.record("net")
    monkeypatch.setenv("MNISTBENCH_OUTPUT_DIR", "/proc/nothing")
    record = recorded()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mnistbench: warning: output_dir: ")
    assert load_record(Path(line.rpartition(" ")[2]) / "record.json") == record


@pytest.mark.parametrize("place", ["find_script", "loop_record", "saved", "tally_of"])
def test_a_recorder_that_fails_ends_no_training(place, monkeypatch, capsys):
    def fails(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop_run, place, fails)
    recorded()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mnistbench: warning: the ")
    assert "No space left" in line
