"""Trackers: what they get and when, and that none of them can spoil a run."""

import sys
import threading

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.cli import read_config
from mnistbench.engine import one_tracker, trackers
from mnistbench.engine.run_seeds import train
from mnistbench.engine.trackers import check_trackers
from mnistbench.flags import CommandFlags, parse
from mnistbench.recorder.hooks import Hook
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError


class Fake(GeneralTracker):
    """Stands for wandb's; what it was told is in `told`, and `do` may do anything at a call."""

    name = "wandb"
    requires_logging_directory = False
    told = ()
    do = staticmethod(lambda call, number: None)

    def __init__(self, run_name, **arguments):
        super().__init__()
        self._tell("init", {"run_name": run_name} | arguments)

    @property
    def tracker(self):
        return self

    def start(self):
        self._tell("start")

    def store_init_configuration(self, values):
        self._tell("config", values)

    def log(self, values, step=None, **kwargs):
        self._tell("log", values, step)

    def finish(self):
        self._tell("finish")

    def _tell(self, call, *values):
        self.told.append((call, *values))
        self.do(call, sum(told[0] == call for told in self.told))


@pytest.fixture
def fake(monkeypatch):
    """wandb's place taken by `Fake`, with new memory and short patience."""
    monkeypatch.setattr(Fake, "told", [])
    monkeypatch.setattr(trackers.Trackers, "_proven", set())
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(trackers, "check_trackers", lambda config: None)
    monkeypatch.setattr("mnistbench.engine.run_hooks.check_trackers", lambda config: None)
    for name in ("_START_S", "_CALL_S", "_LAST_CALL_S"):
        monkeypatch.setattr(trackers, name, 0.5)
    return monkeypatch


def calls():
    return [told[0] for told in Fake.told]


@pytest.mark.parametrize(
    "typed",
    [
        "--log-with tensorboard,wandb",
        "--log-with=tensorboard,wandb",
        "--log_with tensorboard, wandb --seed 1",
        "--seed 1 --log-with tensorboard wandb",
    ],
)
def test_trackers_are_named_with_commas_or_spaces(typed):
    _, given = parse(CommandFlags, typed.split(), RunConfig.model_fields)
    assert given["log_with"] == ("tensorboard", "wandb")


def test_a_name_that_is_none_is_said():
    with pytest.raises(InputError, match="unknown name 'wnadb'; did you mean wandb"):
        read_config({"log_with": ("mlflow", "wnadb")}, None)


def test_a_missing_library_is_one_line_before_any_work(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["tensorboard"])
    check_trackers(small_config(log_with=("tensorboard",)))
    for name in ("wandb", "mlflow"):
        config = small_config(log_with=("tensorboard", name))
        with pytest.raises(InputError, match=rf"^log_with: {name} is not .*; pip install {name},"):
            train(config)
    assert not (tmp_path / "runs").exists()


def test_a_tracker_is_told_the_run_and_its_results(small_config, fake):
    config = small_config(
        num_epochs=2,
        log_with=("wandb",),
        augment=("shift", "rotate"),
        target_accuracy=0.01,
        eval_every_steps=5,
    )
    (record,) = train(config)
    assert calls() == ["init", "start", "config", "log", "log", "log", "log", "finish"]
    (_, arguments), _, (_, told), *logs, _ = Fake.told
    assert (arguments["run_name"], arguments["id"]) == ("mnistbench", record.run_id)
    assert told["num_processes"] == 1
    assert told["augment"] == "shift,rotate"
    assert [step for _, _, step in logs] == [5, 10, 10, 10]
    first = record.eval_points[0]
    assert logs[0][1]["samples_per_s"] == first.samples_seen / first.train_s
    assert logs[-1][1] == {
        "result/test_accuracy": record.result.test_accuracy,
        "result/time_to_accuracy_s": record.result.time_to_accuracy_s,
    }


OWN = {"model": "/home/someone/nets.py:Net"}
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "augment": st.sets(st.sampled_from(["shift", "rotate", "elastic"])).map(tuple),
        "profile": st.sets(st.sampled_from(["torch", "memory"])).map(tuple),
        "data_dir": st.none() | st.just("/home/someone/data"),
        "target_accuracy": st.none() | st.floats(0.1, 1),
        "eval_every_steps": st.none() | st.integers(1, 100),
        "anonymize": st.booleans(),
        "model_args": st.just({"sizes": [1, 2], "deep": {"a": 1}, "none": None}),
    },
)


@given(VALUES)
def test_any_configuration_is_scalars(values):
    watched = type("RunView", (), {"config": RunConfig(**OWN | values), "global_batch_size": 64})
    told = trackers.Trackers(watched.config, _Accelerator())._described(watched)
    assert all(isinstance(value, bool | int | float | str) for value in told.values())
    assert told["global_batch_size"] == 64
    if values.get("anonymize"):
        assert not {"data_dir", "output_dir"} & set(told)
        assert told["model"] == "…/nets.py:Net"
    if "model_args" in values:
        assert (told["model_args.sizes"], told["model_args.deep"]) == ("1,2", "{'a': 1}")


class _Accelerator:
    mixed_precision = "no"
    num_processes = 1
    device = type("Device", (), {"type": "cpu"})


def test_an_anonymous_run_tells_nobody_where_it_was(small_config, fake, tmp_path):
    train(small_config(anonymize=True, log_with=("wandb",)))
    (_, arguments), _, (_, told), *_ = Fake.told
    assert not any(str(tmp_path) in str(value) for value in told.values())
    assert arguments["settings"]["x_disable_meta"]


def fail(at, number=1):
    def do(call, count):
        if (call, count) == (at, number):
            raise ConnectionError("the server is gone\nand more of it")

    return staticmethod(do)


@pytest.mark.parametrize("number", [1, 2])
def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(small_config, fake, caplog, number):
    fake.setattr(Fake, "do", fail("log", number))
    config = small_config(num_epochs=2, log_with=("wandb", "tensorboard"), num_seeds=2)
    records = train(config)
    assert [record.status for record in records] == ["completed"] * 2
    assert all(record.error is None for record in records)
    said = [text for text in caplog.messages if "log_with" in text]
    assert said == ["log_with: the run goes on without wandb: the server is gone"]
    of_a_run = ["init", "start", "config"]
    assert calls() == [*of_a_run, *["log"] * number, "finish", *of_a_run, *["log"] * 4, "finish"]


def test_a_tracker_that_fails_at_the_end_is_one_warning(small_config, fake, caplog):
    fake.setattr(Fake, "do", fail("finish"))
    (record,) = train(small_config(log_with=("wandb",)))
    assert record.status == "completed"
    said = "log_with: wandb may not have all of the run: the server is gone"
    assert said in caplog.messages


@pytest.mark.slow
def test_a_tracker_that_does_not_answer_is_not_waited_for(small_config, fake, caplog):
    stuck = threading.Event()
    fake.setattr(Fake, "do", staticmethod(lambda call, count: call == "log" and stuck.wait()))
    (record,) = train(small_config(num_epochs=2, log_with=("wandb",)))
    stuck.set()
    assert record.status == "completed"
    assert "log_with: the run goes on without wandb: it does not answer" in caplog.messages


@pytest.mark.parametrize("at", ["init", "start", "config"])
def test_a_tracker_that_does_not_start_is_one_line(small_config, fake, tmp_path, at):
    pytest.importorskip("tensorboard")
    fake.setattr(Fake, "do", fail(at))
    said = "^log_with: wandb does not start: the server is gone; run `wandb login`, or set .*$"
    with pytest.raises(InputError, match=said):
        train(small_config(log_with=("tensorboard", "wandb")))
    assert list((tmp_path / "runs").iterdir()) == []  # tensorboard's first file neither


def test_a_tracker_that_does_not_start_for_a_later_seed_is_left_out(small_config, fake, caplog):
    fake.setattr(Fake, "do", fail("start", 2))
    records = train(small_config(log_with=("wandb",), num_seeds=3))
    assert [record.status for record in records] == ["completed"] * 3
    said = [text for text in caplog.messages if "log_with" in text]
    assert said == ["log_with: the run goes on without wandb: the server is gone"]
    assert calls().count("log") == 2 * 3


def test_a_tracker_that_would_end_the_process_does_not(small_config, fake):
    fake.setattr(Fake, "do", staticmethod(lambda call, count: sys.exit(1)))
    with pytest.raises(InputError, match=r"wandb does not start: SystemExit\(1\)"):
        train(small_config(log_with=("wandb",)))


def test_nobody_is_asked_to_log_in(small_config, fake, monkeypatch):
    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            pytest.fail("asked")

    monkeypatch.setattr(sys, "stdin", Terminal())
    fake.setattr(Fake, "do", staticmethod(lambda call, count: input("API key? ")))
    with pytest.raises(InputError, match="wandb does not start: EOF"):
        train(small_config(log_with=("wandb",)))
    assert isinstance(sys.stdin, Terminal)


def test_what_a_tracker_prints_is_not_among_the_results(small_config, fake, capsys):
    fake.setattr(Fake, "do", staticmethod(lambda call, count: print(call)))  # noqa: T201
    train(small_config(log_with=("wandb",)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.split() == calls()


class Interrupting(Hook):
    def checkpoint(self, watched):
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_ends_its_trackers(small_config, fake):
    config = small_config(num_epochs=2, log_with=("wandb",), checkpoint_every_steps=7)
    with pytest.raises(KeyboardInterrupt):
        train(config, hooks=[Interrupting()])
    assert calls()[-2:] == ["log", "finish"]
    assert not [thread for thread in threading.enumerate() if "tracker" in thread.name]


@given(st.text())
def test_whatever_a_library_says_is_a_short_line(text):
    said = one_tracker._said(ValueError(text))
    assert said
    assert len(said) <= 160
    assert "\n" not in said
