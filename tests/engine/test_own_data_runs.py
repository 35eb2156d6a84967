"""Runs on data of any shape: by all loaders and loops, resumed, and refused where too small."""

import numpy as np
import pytest

from mnistbench.engine import data
from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError
from tests.engine.interrupted import LATEST, bits, interrupt
from tests.workload.own_images import arrays, write_npz, write_pictures

CIFAR = arrays(train=120, test=40, shape=(32, 32, 3), classes=5)
WIDE = arrays(train=120, test=40, shape=(20, 33, 3), classes=5)
FLOATS = WIDE | {name: WIDE[name].astype(np.float32) / 255 for name in ("x_train", "x_test")}
CHANGED = {"augment": ("shift", "rotate"), "eval_shift_px": 1}
FORMS = [
    {"loop": "stock"},
    {"loader": "streaming"},
    {"loader": "mapped"},
    {"loop": "stock", "loader": "mapped"},
]


@pytest.fixture
def own_config(small_config, tmp_path, monkeypatch):
    """A small run on images as CIFAR's, of five classes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    values = {"dataset": write_npz(tmp_path / "cifar.npz", **CIFAR), "val_size": None}
    small = {"model": "mlp", "global_batch_size": 16, "num_epochs": 2}
    return lambda **given: small_config(**values | small | given)


def losses(record):
    return [point.loss for point in (*record.train_points, *record.eval_points)]


@pytest.mark.parametrize(
    ("values", "more", "shape"), [(CIFAR, {}, [3, 32, 32]), (FLOATS, CHANGED, [3, 20, 33])]
)
def test_every_loader_and_loop_trains_on_the_same_images(
    own_config, tmp_path, one_thread, values, more, shape
):
    write_npz(tmp_path / "cifar.npz", **values)
    (plain,) = train(own_config(**more))
    assert plain.status == "completed"
    data = plain.dataset
    assert (data.name, data.source, data.image_shape) == ("cifar.npz", "local", shape)
    assert (data.num_train, data.num_val, data.num_test) == (100, 20, 40)
    assert (data.num_classes, data.class_counts, data.num_duplicates) == (5, [24] * 5, 0)
    assert len(data.pixel_mean) == len(data.pixel_std) == 3
    assert plain.result.test_accuracy > 0.3
    in_bytes = values["x_train"].dtype == np.uint8
    pictures = [{"dataset": write_pictures(tmp_path / "pictures", values)}] if in_bytes else []
    for form in [*FORMS, *pictures]:
        (other,) = train(own_config(**more, **form))
        assert losses(other) == pytest.approx(losses(plain), rel=1e-4), form
        assert other.dataset.sha256 == data.sha256


def test_a_run_goes_on_with_the_same_bits_and_with_the_same_data_only(
    own_config, tmp_path, monkeypatch, one_thread
):
    values = {"checkpoint_every_steps": 3}
    (whole,) = train(own_config(**values, output_dir=str(tmp_path / "whole")))
    config = own_config(**values | LATEST)
    interrupt(monkeypatch, config, at_step=5)
    write_npz(tmp_path / "cifar.npz", **CIFAR | {"x_train": CIFAR["x_train"] // 2})
    with pytest.raises(InputError, match=r"^[^\n]*data[^\n]*$"):
        train(config)
    write_npz(tmp_path / "cifar.npz", **CIFAR)
    (resumed,) = train(config)
    assert bits(resumed) == bits(whole)


def test_images_that_are_in_both_files_are_told(own_config, tmp_path, caplog):
    write_npz(tmp_path / "cifar.npz", **CIFAR | {"x_test": CIFAR["x_train"][:40]})
    (record,) = train(own_config(max_steps=2))
    assert record.dataset.num_duplicates == 40
    assert "40 of 40 test images are in the training file as well" in caplog.text


def test_processes_that_would_train_on_other_data_are_refused(own_config, monkeypatch):
    decide = data.decide_together

    def elsewhere(accelerator, what):
        answer = decide(accelerator, what)
        return "0" * 64 if isinstance(answer, str) and len(answer) == 64 else answer

    monkeypatch.setattr(data, "decide_together", elsewhere)
    with pytest.raises(InputError, match=r"^dataset: has other images or labels than on the main "):
        train(own_config())


def test_a_built_in_set_has_its_shape_on_record(small_config):
    (record,) = train(small_config())
    info = record.dataset
    assert (info.image_shape, info.num_classes, info.num_duplicates) == ([1, 28, 28], 10, None)
    assert (sum(info.class_counts), len(info.class_counts)) == (400, 10)
    assert (info.pixel_mean, info.pixel_std) == ([0.1305], [0.29])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "lenet5"}, "model: lenet5 needs images of at least 28 × 28 pixels; these are 8"),
        ({"model": "linear", "eval_shift_px": 8}, "eval_shift_px: 8 pixels leave nothing of"),
    ],
    ids=str,
)
def test_images_that_are_too_small_are_refused_before_training(own_config, tmp_path, values, said):
    write_npz(tmp_path / "cifar.npz", **arrays(shape=(8, 9)))
    with pytest.raises(InputError, match=f"^{said}"):
        train(own_config(**values))
    assert not list(tmp_path.rglob("record.json"))
