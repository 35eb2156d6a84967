"""``import mnistbench``: the public names, none of which costs anything before it is used."""

import pickle
import subprocess
import sys

import pytest

import mnistbench

NAMES = {
    *("RunConfig", "InputError", "measure", "load_records", "summary", "plot"),
    *("compare_records", "record", "write_page", "__version__"),
}


def test_all_names_are_there_and_no_others():
    assert {*mnistbench.__all__} == NAMES
    assert {*dir(mnistbench)} == NAMES
    assert all(getattr(mnistbench, name) for name in NAMES)
    with pytest.raises(AttributeError, match="module 'mnistbench' has no attribute 'nonsense'"):
        mnistbench.nonsense  # noqa: B018


@pytest.mark.processes
def test_importing_the_package_or_reading_records_imports_no_torch():
    code = (
        "import sys, mnistbench\n"
        "print(*(sys.modules.keys() & {'torch', 'pydantic', 'matplotlib', 'numpy'}))\n"
        "mnistbench.summary, mnistbench.write_page, mnistbench.RunConfig(lr=0.5)\n"
        "print(*(sys.modules.keys() & {'torch', 'matplotlib'}))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["", ""]


def test_a_config_shows_what_differs_and_survives_being_copied():
    config = mnistbench.RunConfig(lr=0.5, per_device_batch_size=8, augment=("shift",))
    assert str(config) == repr(config)
    assert repr(config) == "RunConfig(augment=('shift',), lr=0.5, per_device_batch_size=8)"
    assert repr(mnistbench.RunConfig()) == "RunConfig()"
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own
    other = config.model_copy(update={"seed": 3})
    assert (other.seed, other.lr) == (3, 0.5)
    assert mnistbench.RunConfig(**config.model_dump()) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "momentum: has no effect with --optimizer adam"),
        ({"recipe": "cnn4-ce", "kernel_size": 5}, "kernel_size: has no effect with --model cnn4"),
        ({"recipe": "simple-cnn", "val_size": 0, "eval_split": "val"}, "val_size: 0 leaves no val"),
    ],
)
def test_measure_refuses_what_train_refuses(values, says, tmp_path):
    with pytest.raises(mnistbench.InputError, match=says):
        mnistbench.measure(mnistbench.RunConfig(**values, output_dir=str(tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_measure_starts_from_the_recipe_and_runs_what_a_record_holds(small_config):
    small = {"max_steps": 2, "eval_batch_size": 100}
    config = small_config(recipe="cnn4-ce", **small)
    (record,) = mnistbench.measure(config)
    assert (record.config["model"], record.config["lr"]) == ("cnn4", 0.025)
    assert record.config["global_batch_size"] == config.global_batch_size  # as it was given
    assert "lr" not in record.recipe.changed
    # the recipe's momentum is read by nothing now, but nobody asked for it
    (again,) = mnistbench.measure(
        mnistbench.RunConfig(**record.config | {"optimizer": "adam", "lr": 0.001})
    )
    assert again.config["momentum"] == 0.8
    assert repr(again).startswith(
        f"<RunRecord {again.run_id}: cnn4-ce, cnn4, cross-entropy, seed 0"
    )
    assert len(repr(again)) < 200
