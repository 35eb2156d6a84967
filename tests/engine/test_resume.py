"""A run that was interrupted and resumed is, to the bit, the run without interruption."""

import fcntl
import importlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load, save

from mnistbench.engine import run_seeds
from mnistbench.engine.resume import new_invocation
from mnistbench.engine.run_seeds import train
from mnistbench.engine.training_loop import TrainingLoop
from mnistbench.recorder.code_identity import running_code
from mnistbench.schema.checkpoint import FILES, checkpoints_of
from mnistbench.schema.errors import InputError
from mnistbench.schema.sealed_folder import seal
from mnistbench.schema.store import find_records, load_record
from tests.engine.interrupted import LATEST, bits, end_of, interrupt
from tests.processes import SMALL_FLAGS

# 15 steps: 5 in an epoch, the last of each smaller
VALUES = {
    "model": "cnn",
    "channels": 3,
    "dropout": 0.3,
    "augment": ("shift", "rotate"),
    "num_epochs": 3,
    "checkpoint_every_steps": 4,
    "target_accuracy": 0.05,
}
KINDS = {
    "fast, adam": {"optimizer": "adam"},
    "stock, sgd, pieces": {"loop": "stock", "gradient_accumulation_steps": 3},
    "stock, muon, one-cycle": {"loop": "stock", "optimizer": "muon", "lr_schedule": "one-cycle"},
    "fast, adadelta, streaming": {"optimizer": "adadelta", "lr": 1.0, "loader": "streaming"},
    "fast, rmsprop, batch norm": {"optimizer": "rmsprop", "lr": 0.001, "batch_norm": True},
    "fast, evaluations between": {"eval_every_steps": 3},
    "stock, bf16, mapped": {"loop": "stock", "mixed_precision": "bf16", "loader": "mapped"},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def run_folder(tmp_path):
    """Gives the folder of the only run that there is."""

    def find(name="runs"):
        (folder,) = (tmp_path / name).glob("*/checkpoints")
        return folder.parent

    return find


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_interrupted_anywhere_it_ends_with_the_same_bits(
    small_config, tmp_path, monkeypatch, one_thread, kind
):
    whole = train(small_config(**VALUES | kind, output_dir=str(tmp_path / "whole")))[0]
    config = small_config(**VALUES | kind | LATEST)
    for step in (2, 5, 6, 8, 12):  # mid-epoch, an epoch's last step, where a checkpoint is due
        assert "saved in" in interrupt(monkeypatch, config, at_step=step)
    resumed = train(config)[0]
    assert bits(resumed) == bits(whole)
    assert end_of(tmp_path / "runs", resumed) == end_of(tmp_path / "whole", whole)
    assert [i.cause for i in resumed.interruptions] == ["SIGINT"] * 5
    assert len(checkpoints_of(tmp_path / "runs" / resumed.run_id)) == 2
    assert sum(resumed.phases_s.values()) == pytest.approx(resumed.wall_s, rel=0.01)
    clock = [point.train_s for point in resumed.eval_points]
    assert clock == sorted(clock)
    assert clock[-1] <= resumed.phases_s["train"]
    assert resumed.throughput.samples_per_s == pytest.approx(900 / resumed.phases_s["train"])


@pytest.mark.processes
def test_the_compiled_step_goes_on_too(small_config, tmp_path, monkeypatch, one_thread):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    values = {"num_epochs": 2, "checkpoint_every_steps": 100}
    values |= {"optimizer": "adam", "model": "linear", "compile": True}
    whole = train(small_config(**values, output_dir=str(tmp_path / "whole")))[0]
    interrupt(monkeypatch, small_config(**values), at_step=7)
    resumed = train(small_config(**values | LATEST))[0]
    assert resumed.environment["loop_floor"] == "compiled"
    assert bits(resumed) == bits(whole)
    assert end_of(tmp_path / "runs", resumed) == end_of(tmp_path / "whole", whole)


@pytest.mark.slow
def test_killed_at_any_call_that_saves_it_goes_on_from_the_one_before(
    small_config, tmp_path, monkeypatch, one_thread, run_folder
):
    class KilledError(BaseException):
        """As good as SIGKILL: nothing is tidied up."""

    whole = train(small_config(**VALUES, output_dir=str(tmp_path / "whole")))[0]
    for number in (13, 17, 18, 19):  # the first and last file of the second, the folder, its name
        config = small_config(**VALUES, output_dir=str(tmp_path / f"runs-{number}"))
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", lambda *_args, **_kwargs: None)
            fail_at(patch, KilledError(), number)
            with pytest.raises(KilledError):
                train(config)
        folder = run_folder(f"runs-{number}")
        assert list(folder.glob("checkpoints/.0002*"))
        resumed = train(config.model_copy(update=LATEST))[0]
        assert not list(folder.glob("checkpoints/.0002*"))
        assert [(i.step, i.cause) for i in resumed.interruptions] == [(4, None)]
        assert bits(resumed) == bits(whole)


def fail_at(patch, error, number):
    """Make the `number`-th call that puts something on the disk raise `error`."""
    calls = []

    def counted(real):
        def call(*args):
            calls.append(args)
            if len(calls) == number:
                raise error
            return real(*args)

        return call

    patch.setattr(os, "fsync", counted(os.fsync))
    patch.setattr(Path, "rename", counted(Path.rename))


def test_code_that_changed_meanwhile_is_on_record(small_config, monkeypatch, caplog, run_folder):
    versions, code = running_code()
    for number, commit in enumerate(("a" * 40, "a" * 40, "b" * 40)):
        now = versions, code | {"git_commit": commit}
        monkeypatch.setattr("mnistbench.engine.checkpoint.running_code", lambda now=now: now)
        config = small_config(**VALUES | (LATEST if number else {}))
        interrupt(monkeypatch, config, at_step=3 + number)
    record = load_record(run_folder() / "record.json")  # it is read as it was written
    assert [i.code_changes for i in record.interruptions] == [
        {},
        {"git_commit": ["a" * 40, "b" * 40]},
    ]
    warned = [r.message for r in caplog.records if "other code" in r.message]
    assert warned == ["it goes on under other code: git_commit aaaaaaaaaa → bbbbbbbbbb"]


def test_two_lives_of_one_run_do_not_mix(small_config, monkeypatch, run_folder):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    monkeypatch.setattr("mnistbench.engine.checkpoint_writer.LOCK_S", 0.2)
    other = os.open(run_folder(), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    before = (run_folder() / "record.json").read_text()
    with pytest.raises(InputError, match="is under way in another process"):
        train(small_config(**VALUES | LATEST))
    os.close(other)
    assert (run_folder() / "record.json").read_text() == before
    assert train(small_config(**VALUES | LATEST))[0].interruptions[0].step == 3


def test_a_run_that_went_on_meanwhile_is_not_gone_on_with_from_before(
    small_config, monkeypatch, run_folder
):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    (path,) = checkpoints_of(run_folder())

    plain = run_seeds.build_parts

    def build(context, ledger):
        parts = plain(context, ledger)
        shutil.copytree(path, path.with_name("0002-step-00000007"))  # by the life before
        return parts

    monkeypatch.setattr(run_seeds, "build_parts", build)
    with pytest.raises(InputError, match="went on meanwhile; give the same command again"):
        train(small_config(**VALUES | LATEST))


def test_what_lies_beside_checkpoints_is_left_alone(small_config, monkeypatch, run_folder):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    (path,) = checkpoints_of(run_folder())
    for name in ("best", "0001-keep", ".snapshot"):
        shutil.copytree(path, path.with_name(name))
    train(small_config(**VALUES | LATEST))
    left = {p.name for p in path.parent.iterdir()} - {p.name for p in checkpoints_of(run_folder())}
    assert left == {"best", "0001-keep", ".snapshot"}
    again = train(small_config(**VALUES, resume=str(path.with_name("best"))))[0]
    assert again.status == "completed"


def test_its_own_damaged_record_is_found_before_it_trains(small_config, monkeypatch, run_folder):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    (run_folder() / "record.json").write_text("{")
    with pytest.raises(InputError, match="not a record"):
        train(small_config(**VALUES | LATEST))


def test_damage_to_another_run_does_not_matter(small_config, monkeypatch, tmp_path):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    interrupt(monkeypatch, small_config(**VALUES, lr=0.5), at_step=3)
    other = max((tmp_path / "runs").iterdir(), key=lambda p: (p / "checkpoints").stat().st_mtime)
    (checkpoints_of(other)[0] / "model.safetensors").unlink()
    (record,) = train(small_config(**VALUES | LATEST))
    assert (record.config["lr"], record.interruptions[0].step) == (0.01, 3)


def test_an_interruption_before_it_goes_on_leaves_the_record(small_config, monkeypatch, tmp_path):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    (path,) = find_records([tmp_path / "runs"])
    before = path.read_text()

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    for place in ("mnistbench.engine.build.build_model", "mnistbench.engine.run_seeds.restore"):
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(KeyboardInterrupt):
                train(small_config(**VALUES | LATEST))
        assert find_records([tmp_path / "runs"]) == [path]
        assert path.read_text() == before


def test_latest_is_the_last_of_the_same_configuration(small_config, monkeypatch):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    interrupt(monkeypatch, small_config(**VALUES, seed=1), at_step=2)
    (record,) = train(small_config(**VALUES | LATEST))
    assert (record.seed, record.interruptions[0].step) == (0, 3)


@pytest.mark.slow
def test_what_one_launcher_starts_is_told_apart(small_config, monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "ROLE_RANK"):
        monkeypatch.setenv(name, "0")  # as torchrun does
    fast, slow = small_config(lr=0.5), small_config(lr=0.01)
    assert new_invocation(fast).id == new_invocation(fast).id
    assert new_invocation(fast).id != new_invocation(slow).id
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    other = small_config(**VALUES, seed=1)
    interrupt(monkeypatch, other, at_step=4)
    assert train(small_config(**VALUES))[0].interruptions[0].step == 3
    assert train(other)[0].interruptions[0].step == 4


def test_a_run_that_stopped_at_its_target_is_over(small_config, monkeypatch, tmp_path):
    values = VALUES | {"stop_at_target": True, "num_epochs": 9}
    interrupt(monkeypatch, small_config(**values), at_step=5)
    record = train(small_config(**values | LATEST))[0]
    assert record.num_steps == 5
    again = train(small_config(**values | LATEST))[0]
    assert again == record  # nothing was left to do
    assert len(find_records([tmp_path / "runs"])) == 1


def test_seeds_that_ended_are_taken_from_their_records(small_config, monkeypatch, one_thread):
    values = VALUES | {"num_seeds": 3, "seed": 4, "num_epochs": 1}
    plain, steps = TrainingLoop._show_step, iter(range(100))

    def step(self, number):
        if next(steps) == 7:  # in the second seed
            raise KeyboardInterrupt
        plain(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_show_step", step)
        with pytest.raises(KeyboardInterrupt):
            train(small_config(**values))
    records = train(small_config(**values | LATEST))
    assert [record.seed for record in records] == [4, 5, 6]
    assert [len(record.interruptions) for record in records] == [0, 0, 0]  # before its fourth step
    assert len({record.invocation for record in records}) == 1
    assert train(small_config(**values | LATEST)) == records
    alone = train(small_config(**values | {"seed": 5, "num_seeds": 1}))[0]
    assert bits(records[1]) == bits(alone)


@pytest.mark.parametrize("place", ["recording.save_somewhere", "training_loop.probe_machine"])
def test_a_signal_when_a_seed_is_done_is_not_lost(small_config, monkeypatch, tmp_path, place):
    sent, plain = [], importlib.import_module(f"mnistbench.engine.{place.split('.')[0]}")
    real = getattr(plain, place.split(".")[1])

    def call(*args, **kwargs):
        sent.append(place)
        if len(sent) == (2 if "probe" in place else 1):  # the one after training, or the record's
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(plain, real.__name__, call)
    values = {"num_seeds": 3, "checkpoint_every_steps": 4}
    with pytest.raises(KeyboardInterrupt, match="after seed 0, saved in"):
        train(small_config(**values))
    (path,) = find_records([tmp_path / "runs"])
    assert load_record(path).status == "completed"
    records = train(small_config(**values | LATEST))
    assert [(r.seed, r.status) for r in records] == [(n, "completed") for n in range(3)]


def test_without_a_checkpoint_latest_begins_anew(small_config):
    assert train(small_config(**LATEST))[0].interruptions == []


def test_signals_save_also_where_no_checkpoint_was_asked_for(
    small_config, monkeypatch, run_folder, tmp_path
):
    assert interrupt(monkeypatch, small_config(), at_step=3).startswith("after step 3 of 5, saved")
    record = load_record(run_folder() / "record.json")
    assert (record.status, record.num_steps) == ("interrupted", 3)
    assert record.checkpoints.saved == 1
    resumed = train(small_config(resume=str(run_folder())))[0]
    assert resumed.run_id == record.run_id
    assert load_record(run_folder() / "record.json") == resumed
    assert len(checkpoints_of(run_folder())) == 1


REFUSED = {
    "lr": ({"lr": 0.02}, "lr 0.01 there, 0.02 here"),
    "a longer run": ({"num_epochs": 4}, "num_epochs 3 there, 4 here"),
    "seed": ({"seed": 1}, "seed 0 there, 1 here"),
    "four things": (
        {"lr": 0.02, "loss": "mse", "model": "mlp", "dropout": 0.1},
        "loss cross-entropy there, mse here, lr 0.01 there, 0.02 here and 1 more",
    ),
    "data": ({"synthetic_seed": 1}, "synthetic_seed 0 there, 1 here"),
    "pieces, with dropout": (
        {"gradient_accumulation_steps": 2},
        "gradient_accumulation_steps 1 there, 2 here (Dropout goes by the process and its batch)",
    ),
    "precision": ({"mixed_precision": "bf16"}, "mixed_precision None there, bf16 here"),
}


@pytest.mark.parametrize(("values", "says"), REFUSED.values(), ids=REFUSED)
def test_another_run_is_refused_with_the_difference(small_config, monkeypatch, values, says):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    with pytest.raises(InputError) as refused:
        train(small_config(**VALUES | LATEST | values))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_data_that_changed_under_the_same_name_is_refused(small_config, monkeypatch, run_folder):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    change_state(run_folder(), dataset={"sha256": "0" * 64})
    with pytest.raises(InputError, match="dataset 000000000000 there, "):
        train(small_config(**VALUES | LATEST))


def change_state(folder, **changes):
    """Seal the only checkpoint anew, with other values in its state, as another program might."""
    (path,) = checkpoints_of(folder)
    files = {name: (path / name).read_bytes() for name in FILES}
    state = json.loads(files["state.json"])
    for key, value in changes.items():
        state[key] = state[key] | value if isinstance(value, dict) else value
    reseal(path, files | {"state.json": json.dumps(state).encode()})


def reseal(path, files):
    shutil.rmtree(path)
    seal(path, files)


def test_pieces_may_differ_where_the_curve_does_not(small_config, monkeypatch):
    values = {"num_epochs": 2, "model": "mlp"}
    whole = train(small_config(**values))[0]
    interrupt(monkeypatch, small_config(**values), at_step=3)
    record = train(small_config(**values | LATEST, gradient_accumulation_steps=2))[0]
    assert record.interruptions[0].step == 3
    for ours, theirs in zip(record.eval_points, whole.eval_points, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


@pytest.mark.processes
@pytest.mark.usefixtures("whole_test_set")
def test_another_number_of_processes_goes_on_where_the_curve_does_not_depend_on_it(
    launch, small_config, tmp_path
):
    flags = [*SMALL_FLAGS, "--model", "mlp", "--max-steps", "5", "--checkpoint-every-steps", "3"]
    done, (by_two,) = launch(*flags, folder=tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / by_two.run_id
    shutil.rmtree(checkpoints_of(folder)[-1])  # as if it had been killed after its third step
    (folder / "record.json").unlink()
    values = {"model": "mlp", "max_steps": 5}
    record = train(small_config(**values | LATEST))[0]
    assert [(i.step, i.num_processes) for i in record.interruptions] == [(3, 2)]
    assert record.run_id == by_two.run_id
    alone = train(small_config(**values, output_dir=str(tmp_path / "alone")))[0]
    ours, theirs = ([p.loss for p in one.train_points] for one in (record, alone))
    assert ours == pytest.approx(theirs, rel=1e-4)


HOSTILE = {
    "a newer version": ({"schema_version": 2}, "newer than this version reads"),
    "an unknown key": ({"run": "me"}, "unknown key 'run'"),
    "a path for a name": ({"run_id": "../../x"}, "run_id: "),
    "more steps than losses": ({"step": 4}, "does not fit this run"),
    "more steps than the run has": ({"step": 10**9}, "it is at step 1000000000 of 15"),
    "a world of processes": ({"num_processes": 10**15}, "num_processes: should be less"),
    "another device": ({"device_type": "cuda"}, "device_type cuda there, cpu here"),
    "another floor": ({"loop_floor": "graph"}, "loop_floor graph there, eager here"),
    "another number of processes": ({"num_processes": 2}, "num_processes 2 there, 1 here"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_state_that_was_made_up_is_refused(small_config, monkeypatch, run_folder, changes, says):
    interrupt(monkeypatch, small_config(**VALUES), at_step=3)
    change_state(run_folder(), **changes)
    with pytest.raises(InputError) as refused:
        train(small_config(**VALUES | LATEST))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def other_shape(tensors):
    name = next(name for name in tensors if tensors[name].ndim)
    return save(tensors | {name: tensors[name].flatten()[:-1]})


MADE_UP = {
    "weights of another shape": ("model.safetensors", other_shape),
    "weights missing": ("model.safetensors", lambda _: save({})),
    "state for no weight": ("optimizer.safetensors", lambda t: save({"99.step": t["0.step"]})),
    "state of another shape": ("optimizer.safetensors", other_shape),
    "no random state": ("processes.safetensors", lambda _: save({})),
    "durations that are none": (
        "processes.safetensors",
        lambda t: save(t | {"0.steps_s": -t["0.steps_s"]}),
    ),
    "state that is whole numbers": (
        "optimizer.safetensors",
        lambda t: save(t | {"0.exp_avg": t["0.exp_avg"].long()}),
    ),
    "a shape beyond all memory": (
        "model.safetensors",
        lambda _: (
            (62).to_bytes(8, "little")
            + b'{"a":{"dtype":"F32","shape":[0,1099511627776,1099511627776],'
            + b'"data_offsets":[0,0]}}'
        ),
    ),
    "a pickle": ("model.safetensors", lambda _: b"\x80\x04cos\nsystem\n(S'touch owned'\ntR."),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), MADE_UP.values(), ids=MADE_UP)
@pytest.mark.parametrize("loop", ["fast", "stock"])
def test_tensors_that_do_not_fit_are_refused(
    small_config, monkeypatch, run_folder, tmp_path, name, make, loop
):
    values = VALUES | {"optimizer": "adam", "loop": loop}
    interrupt(monkeypatch, small_config(**values), at_step=3)
    (path,) = checkpoints_of(run_folder())
    files = {file: (path / file).read_bytes() for file in FILES}
    reseal(path, files | {name: make(load(files[name]))})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"does not fit this run|not safetensors") as refused:
        train(small_config(**values | LATEST))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("what", ["missing", "empty", "pickle", "weights"])
def test_what_is_no_checkpoint_is_refused(small_config, monkeypatch, tmp_path, what):
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(InputError, match=r"resume: .* is (not there|no run's folder)"):
        train(small_config(resume=str(path)))
    assert not (tmp_path / "runs").exists()
