"""Data of any shape are trained by both loops and every loader; what they do not fit is refused."""

import numpy as np
import pytest
import torch

from mnistbench.engine.run_seeds import train
from mnistbench.schema.errors import InputError

SHAPE, CLASSES = (3, 20, 33), 5


@pytest.fixture
def coloured(tmp_path):
    """Makes a file of colour images that are wider than high, of five classes."""

    def make(dtype=np.uint8, shape=SHAPE):
        rng = np.random.default_rng(0)
        kinds = rng.random((CLASSES, *shape))

        def split(num):
            labels = np.arange(num) % CLASSES
            pixels = 0.7 * kinds[labels] + 0.3 * rng.random((num, *shape))
            return (255 * pixels if dtype == np.uint8 else pixels).astype(dtype), labels

        (x_train, y_train), (x_test, y_test) = split(240), split(60)
        path = tmp_path / "coloured.npz"
        np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        return {"dataset": str(path), "val_size": 40}

    return make


def curve(record):
    points = [(point.loss, point.accuracy) for point in record.eval_points]
    return [*points, (record.train_points[-1].loss, 0.0)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_loops_and_loaders_have_one_curve(small_config, coloured, dtype):
    values = coloured(dtype) | {"augment": ("shift", "rotate"), "eval_shift_px": 1, "lr": 0.05}

    def trained(**more):
        (record,) = train(small_config(**values, **more))
        return record

    resident = trained()
    assert curve(trained(loader="streaming")) == curve(trained(loader="mapped")) == curve(resident)
    stock = torch.tensor(curve(trained(loop="stock")))
    torch.testing.assert_close(stock, torch.tensor(curve(resident)), rtol=1e-4, atol=1e-4)
    info = resident.dataset
    assert (info.image_shape, info.num_classes) == (list(SHAPE), CLASSES)
    assert info.class_counts == [48] * CLASSES
    assert len(info.pixel_mean) == len(info.pixel_std) == 3


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
def test_images_that_are_too_small_are_refused_before_training(
    small_config, coloured, tmp_path, values, said
):
    with pytest.raises(InputError, match=f"^{said}"):
        train(small_config(**coloured(shape=(1, 8, 9)), **values))
    assert not list(tmp_path.rglob("record.json"))
