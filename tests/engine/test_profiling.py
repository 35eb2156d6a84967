"""Profiles of real runs: what is in the files, and what cannot be had."""

import csv
import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from mnistbench.engine.run_seeds import train
from mnistbench.recorder.hooks import Hook
from mnistbench.recorder.profiling import profiled_steps
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from tests.workload.own_files import MY_NETS


def files_of(config, record):
    folder = Path(config.output_dir) / record.run_id
    return {name.partition(".")[2]: folder / name for name in record.profile.files}


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A run with a trace, memory and samples of its steps 3 and 4."""
    config = RunConfig(
        dataset="synthetic",
        synthetic_train_size=500,
        val_size=100,
        num_epochs=1,
        global_batch_size=50,
        num_threads=1,
        profile=("torch", "memory", "sampling"),
        profile_steps="3:5",
        output_dir=str(tmp_path_factory.mktemp("profiled")),
    )
    [record] = train(config)
    return config, record


def test_the_trace_holds_just_the_steps_asked_for(profiled):
    config, record = profiled
    [trace] = [path for path in files_of(config, record).values() if path.match("*.pt.trace.json")]
    assert re.fullmatch(r"node0_0\.\d+\.pt\.trace\.json", trace.name)
    events = json.loads(trace.read_text())["traceEvents"]
    steps = [e for e in events if e.get("name", "").startswith("ProfilerStep#") and e["ph"] == "X"]
    assert len(steps) == 2
    updates = [e for e in events if e.get("name", "").startswith("aten::_fused_sgd")]
    assert len(updates) == 2
    assert any("Input Dims" in e.get("args", {}) for e in events)


def test_the_record_says_what_was_watched_and_what_it_cost(profiled):
    _, record = profiled
    assert record.profile.kinds == ["torch", "memory", "sampling"]
    assert (record.profile.first_step, record.profile.end_step) == (3, 5)
    assert record.profile.slowdown > 0
    assert record.error is None
    names = {operator.name: operator for operator in record.profile.operators}
    assert names["mnistbench::batch_last_convolution_backward"].calls == 4  # two layers, two steps
    own = [operator.cpu_s for operator in record.profile.operators]
    assert own == sorted(own, reverse=True)


def test_memory_becomes_a_timeline_with_operators(profiled):
    config, record = profiled
    with files_of(config, record)["memory.csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["operator"] for row in rows)
    assert {row["device"] for row in rows} == {"cpu"}
    times = [float(row["time_us"]) for row in rows]
    assert times == sorted(times)


def test_samples_become_a_flame_graph_of_the_steps(profiled):
    config, record = profiled
    files = files_of(config, record)
    frames = json.loads(files["sampling.speedscope.json"].read_text())["shared"]["frames"]
    assert any("_train_some" in frame["name"] for frame in frames)
    assert not any("_evaluate" in frame["name"] for frame in frames)
    assert files["sampling.html"].read_text().lstrip().startswith("<!DOCTYPE html>")
    assert "aten::" in files["operators.txt"].read_text()


def test_a_profile_changes_nothing_that_is_learnt(profiled):
    config, record = profiled
    plain = config.model_copy(update={"profile": (), "profile_steps": None})
    [other] = train(plain)
    assert other.profile is None
    assert [p.loss for p in other.train_points] == [p.loss for p in record.train_points]


@pytest.mark.parametrize("kind", ["torch", "memory", "sampling"])
@pytest.mark.parametrize(("steps", "asked"), [(9, None), (20, "15:21"), (1, "1:2")])
def test_steps_that_a_run_does_not_have_are_refused(kind, steps, asked):
    config = RunConfig(profile=(kind,), profile_steps=asked or "5:10")
    with pytest.raises(InputError, match=f"profile_steps: .* this one has {steps}"):
        profiled_steps(config, steps)


def test_the_second_half_is_sampled_unless_said_otherwise():
    assert profiled_steps(RunConfig(profile=("sampling",)), 100) == range(50, 100)
    assert profiled_steps(RunConfig(profile=("sampling", "torch")), 100) == range(5, 10)
    assert profiled_steps(RunConfig(), 3) == range(0)


def test_nothing_is_trained_where_the_run_is_too_short(small_config, tmp_path):
    with pytest.raises(InputError, match="profile_steps: 5:10 needs a run of 10 steps"):
        train(small_config(profile=("torch",)))
    assert not (tmp_path / "runs").exists()


def test_a_run_that_ends_before_its_profile_says_so(small_config):
    config = small_config(
        profile=("torch",),
        profile_steps="3:5",
        eval_every_steps=2,
        target_accuracy=0.001,
        stop_at_target=True,
    )
    [record] = train(config)
    assert record.error == "profile_steps: not all of 3:5 were profiled"
    assert record.profile.operators == []


def test_a_run_that_goes_on_after_its_profile_has_nothing_to_complain_of(small_config):
    config = small_config(profile=("torch",), profile_steps="2:3", checkpoint_every_steps=4)
    [whole] = train(config)
    folder = Path(config.output_dir) / whole.run_id
    (folder / "record.json").unlink()  # as if it had been killed after step 4
    for path in sorted((folder / "checkpoints").iterdir())[1:]:
        shutil.rmtree(path)
    [record] = train(config.model_copy(update={"resume": "latest"}))
    assert record.interruptions[-1].step == 4
    assert (record.status, record.error) == ("completed", None)
    assert [name for name in record.profile.files if name.endswith(".pt.trace.json")]


def test_a_profile_that_has_no_room_leaves_nothing_and_the_run_its_record(
    small_config, tmp_path, monkeypatch, caplog
):
    def full(path, content, **_):
        raise InputError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("mnistbench.recorder.profilers.write_whole", full)
    [record] = train(small_config(profile=("torch", "memory"), profile_steps="2:3"))
    (folder,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in folder.rglob("*")] == ["record.json"]
    assert record.status == "completed"
    assert record.error == "profile_steps: not all of 2:3 were profiled"
    assert "trace.json: cannot be written (No space left on device)" in caplog.text


def test_a_trace_is_written_nowhere_but_to_its_runs_folder(small_config, tmp_path):
    class Plant(Hook):
        """Puts a link where the traces go, as another user of a shared folder might."""

        @contextmanager
        def run(self, watched):
            watched.run_folder.mkdir(parents=True)
            (watched.run_folder / "traces").symlink_to(tmp_path / "elsewhere")
            yield

    (tmp_path / "elsewhere").mkdir()
    config = small_config(profile=("torch",), profile_steps="2:3")
    [record] = train(config, hooks=[Plant()])
    assert record.status == "completed"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_missing_library_is_one_line(small_config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="sampling needs pyinstrument; pip install"):
        train(small_config(profile=("sampling",), profile_steps="1:2"))


def test_samples_name_files_of_the_machine(small_config):
    config = small_config(profile=("sampling",), profile_steps="1:2", anonymize=True)
    with pytest.raises(InputError, match="sampling names files of this machine"):
        train(config)


def test_ranges_for_nsight_need_a_gpu(small_config):
    with pytest.raises(InputError, match="nvtx needs an NVIDIA GPU"):
        train(small_config(profile=("nvtx",), profile_steps="1:2"))


def test_no_file_of_an_anonymous_run_names_host_user_or_home(small_config, tmp_path, monkeypatch):
    names = {"host": "zq-host.example", "user": "zq-user", "home": str(tmp_path / "zq-home")}
    monkeypatch.setattr("socket.gethostname", lambda: names["host"])
    monkeypatch.setattr("getpass.getuser", lambda: names["user"])
    monkeypatch.setenv("HOME", names["home"])
    own = tmp_path / "zq-home" / "nets" / "named_nets.py"
    own.parent.mkdir(parents=True)
    own.write_text(f"WEIGHTS = '{own.parent}/weights.pt'  # of zq-user\n{MY_NETS}")
    config = small_config(
        model=f"{own}:TinyNet",
        optimizer=f"{own}:Lion",
        optimizer_args={"betas": [0.9, 0.99]},
        profile=("torch", "memory"),
        profile_details=("stacks", "shapes"),
        profile_steps="2:3",
        log_with=("tensorboard",),
        mllog=True,
        checkpoint_every_steps=2,
        anonymize=True,
        output_dir=f"{names['home']}/runs",
    )
    [record] = train(config)
    [path] = [p for p in files_of(config, record).values() if p.match("*.pt.trace.json")]
    assert json.loads(path.read_text())["traceEvents"]
    files = [path for path in Path(config.output_dir).rglob("*") if path.is_file()]
    written = {"record.json", "mllog.txt", "state.json", "hparams.yml", "named_nets.py"}
    assert written <= {file.name for file in files}
    for path in files:
        assert "zq-" not in str(path.relative_to(config.output_dir))
        assert not re.search(rb"zq-|%s" % str(tmp_path).encode(), path.read_bytes()), path
