"""From a record, a folder of records or a file to flags that make the same run again."""

import json
from pathlib import Path

import pytest
import yaml

from mnistbench import train
from mnistbench.launch.replay import arguments_of
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.record import DatasetInfo, RunRecord
from mnistbench.schema.store import save_record
from mnistbench.schema.user_code import code_of


@pytest.fixture
def leave(tmp_path):
    """Leaves the record of a run with some values; gives its path."""

    def save(run_id="run", *, environment=None, config=None, dataset=None, code=(), **values):
        record = RunRecord(
            run_id=run_id,
            status="completed",
            created_at="2026-01-01T00:00:00+00:00",
            seed=values.get("seed", 0),
            recipe=None,
            config=config or RunConfig(**values).model_dump(mode="json"),
            environment=environment or {},
            dataset=dataset,
            code=list(code),
            phases_s={},
            wall_s=1.0,
        )
        return save_record(record, tmp_path / "runs" / run_id)

    return save


@pytest.fixture
def resolve(tmp_path, capsys, monkeypatch):
    """The values that the real door makes of the flags for a path, from another folder."""

    def run(path, *more):
        arguments = arguments_of(path, work_dir=tmp_path / "work")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.chdir(elsewhere)
            assert train.main([*arguments, *more, "--print-config"]) == 0
        return RunConfig(**yaml.safe_load(capsys.readouterr().out))

    return run


def test_code_that_is_not_what_a_record_ran_is_said(leave, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("q = 1")
    config = RunConfig(loss="nets:gce")
    path = leave(loss="nets:gce", code=code_of(config))
    for text, is_said in (("q = 1", False), ("q = 2", True)):
        (tmp_path / "nets.py").write_text(text)
        flag, file = arguments_of(path, work_dir=tmp_path / "work")
        assert (flag, yaml.safe_load(Path(file).read_text())["loss"]) == ("--config", "nets:gce")
        assert (f"{path} ran nets " in capsys.readouterr().err) == is_said


def test_a_record_gives_its_run_without_seed_and_folder(leave, resolve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {
        "recipe": "cnn4-mse",
        "lr": 1e-05,
        "augment": ("shift", "rotate"),
        "per_device_batch_size": 32,
        "mixed_precision": "no",
        "target_accuracy": 0.97,
    }
    path = leave(**values, seed=5, num_seeds=3, output_dir="there")
    expected = RunConfig(**values)  # where the recipe's other values were not used, neither here
    assert resolve(path.relative_to(tmp_path)) == expected
    assert resolve(path, "--seed", "2") == expected.model_copy(update={"seed": 2})


def test_a_folder_of_seeds_is_one_configuration(leave, resolve, tmp_path):
    for seed in range(3):
        leave(f"run-{seed}", seed=seed, num_seeds=3, lr=0.5)
    assert resolve(tmp_path / "runs") == RunConfig(lr=0.5)


def test_a_folder_of_several_configurations_is_refused_with_what_differs(leave, tmp_path):
    leave("one", lr=0.5)
    leave("two", lr=0.25, model="cnn4")
    with pytest.raises(InputError, match=r"runs: holds runs that differ in model, lr; name one"):
        arguments_of(tmp_path / "runs", work_dir=tmp_path)


def test_what_was_left_open_is_as_it_came_out(leave, resolve):
    data = DatasetInfo(name="synthetic", source="generated", sha256="", num_train=1, num_val=0,
                       num_test=1)  # fmt: skip
    path = leave(environment={"mixed_precision": "bf16", "num_processes": 1}, dataset=data)
    assert resolve(path) == RunConfig(dataset="synthetic", mixed_precision="bf16")
    path = leave("chosen", environment={"mixed_precision": "bf16"}, mixed_precision="no",
                 dataset=data.model_copy(update={"name": "mnist"}))  # fmt: skip
    assert resolve(path) == RunConfig(dataset="mnist", mixed_precision="no")


@pytest.mark.parametrize("gone", ["not/here", "~nobody-of-this-name/data", "\0", "~\0"])
def test_a_data_folder_of_another_machine_gives_way_to_the_default(leave, resolve, gone):
    assert resolve(leave(data_dir=gone)).data_dir is None


def test_a_data_folder_that_is_here_is_found_from_anywhere(leave, resolve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    path = leave(data_dir="data")
    assert resolve(path).data_dir == str(tmp_path / "data")
    leave("again", data_dir=str(tmp_path / "gone"))
    assert arguments_of(tmp_path / "runs", work_dir=tmp_path)


def test_a_run_of_several_processes_is_refused(leave, tmp_path):
    path = leave(environment={"num_processes": 2})
    with pytest.raises(InputError, match="was run by 2 processes"):
        arguments_of(path, work_dir=tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"flux_capacitor": 1}, "flux_capacitor: unknown key"),
        ({"model": "vgg"}, "model: should be"),
        ({"lr": "fast"}, "lr: should be a valid number"),
        ({"mixed_precision": ["no"]}, "mixed_precision: should be"),
    ],
)
def test_a_configuration_of_another_version_is_one_line_that_names_the_record(
    leave, tmp_path, changes, says
):
    path = leave(config=RunConfig().model_dump(mode="json") | changes)
    with pytest.raises(InputError) as refusal:
        arguments_of(path, work_dir=tmp_path)
    assert str(refusal.value).startswith(f"{path}: cannot be run by this version: {says}")
    assert "\n" not in str(refusal.value)


def test_what_is_no_record_is_refused(leave, tmp_path):
    path = leave()
    path.write_text(json.dumps({"benchmarks": []}))
    for bad, says in [
        (path, "not a record"),
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "missing.yaml", "does not exist"),
    ]:
        with pytest.raises(InputError, match=says):
            arguments_of(bad, work_dir=tmp_path)
    (tmp_path / "empty.yaml").mkdir()
    with pytest.raises(InputError, match=r"no record\.json in this folder"):
        arguments_of(tmp_path / "empty.yaml", work_dir=tmp_path)


def test_a_work_folder_that_cannot_be_written_is_refused(leave, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        arguments_of(leave(), work_dir=tmp_path / "file")


def test_a_yaml_file_is_passed_on_from_anywhere(resolve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.yml").write_text("recipe: cnn4-ce\nlr: 0.5\nseed: 3\n")
    config = resolve(Path("fast.yml"), "--seed", "0")
    assert (config.model, config.lr, config.seed) == ("cnn4", 0.5, 0)


def test_a_profiled_run_is_run_again_without_its_profile(leave, resolve, tmp_path):
    watched = {"profile": ("torch",), "profile_steps": "5:10", "profile_details": ("stacks",)}
    path = leave(lr=0.5, diagnose=True, **watched)
    assert resolve(path) == RunConfig(lr=0.5)
    leave("again", lr=0.5)
    assert resolve(tmp_path / "runs") == RunConfig(lr=0.5)


@pytest.mark.parametrize(("value", "refused"), [("[torch]", True), ("[]", False), ("null", False)])
def test_a_file_that_asks_for_a_profile_is_refused(tmp_path, value, refused):
    file = tmp_path / "traced.yaml"
    file.write_text(f"lr: 0.5\nprofile: {value}\n")
    if not refused:
        assert arguments_of(file, work_dir=tmp_path) == ("--config", str(file))
        return
    with pytest.raises(InputError, match=r"traced\.yaml: profile: costs time"):
        arguments_of(file, work_dir=tmp_path)


def test_a_file_that_cannot_be_read_is_left_to_the_run_to_refuse(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("profile: [torch\n")
    assert arguments_of(file, work_dir=tmp_path) == ("--config", str(file))
