"""Reference curves on disk: saved whole, read strictly."""

import json

import pytest

from bench.make_references import save_reference
from mnistbench.schema.errors import InputError
from mnistbench.schema.reference import (
    REFERENCE_SCHEMA_VERSION,
    ReferenceCurve,
    ReferencePoint,
    find_references,
    load_reference,
)


@pytest.fixture
def reference():
    return ReferenceCurve(
        recipe="cnn4-ce",
        dataset="mnist",
        sha256="0",
        split="test",
        num_train=60_000,
        global_batch_size=512,
        settings={"lr": 0.025},
        n=5,
        seeds=[0, 1, 2, 3, 4],
        points=[ReferencePoint(step=118, epoch=1.0, mean=0.9, low=0.8, high=0.95)],
        made_by="a command",
    )


def test_what_is_saved_is_what_is_read_and_a_newer_one_takes_its_place(reference, tmp_path):
    path = tmp_path / "references" / "cnn4-ce-mnist.json"
    save_reference(reference, path)
    assert load_reference(path) == reference
    newer = reference.model_copy(update={"n": 6})
    save_reference(newer, path)
    assert load_reference(path) == newer
    assert find_references(path.parent) == [path]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a reference curve"),
        ('{"schema_version": 1, "n": NaN}', "NaN is not strict JSON"),
        ("[]", "no schema_version"),
        (f'{{"schema_version": {REFERENCE_SCHEMA_VERSION + 1}}}', "newer"),
        ('{"schema_version": 1}', "recipe"),
        ("[" * 200_000, "nested too deeply for a reference curve"),
    ],
)
def test_what_is_no_reference_is_one_line_that_names_the_file(tmp_path, text, what):
    path = tmp_path / "curve.json"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as error:
        load_reference(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("points", []), ("n", "5"), ("split", "train"), ("extra", 1)]
)
def test_wrong_shapes_are_refused(reference, tmp_path, key, value):
    values = reference.model_dump(mode="json") | {key: value}
    (tmp_path / "curve.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=key):
        load_reference(tmp_path / "curve.json")


def test_a_folder_without_references_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no reference curve"):
            find_references(folder)
