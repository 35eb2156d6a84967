"""Paths as named sides of a comparison."""

from pathlib import Path

import pytest

from mnistbench.schema.errors import InputError
from mnistbench.schema.record_sets import baseline_first, path_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/before", "runs/after/"], ["before", "after"]),
        (["1/runs", "2/runs", "other"], ["1/runs", "2/runs", "other"]),
        (["x/1/runs", "y/1/runs"], ["x/1/runs", "y/1/runs"]),
        (["runs/a/record.json", "b.yaml"], ["a", "b.yaml"]),
        (["runs", "x/runs"], ["here/runs", "x/runs"]),
        ([".", "../there"], ["here", "there"]),
        (["a", "a"], ["a", "a"]),
    ],
)
def test_a_path_is_named_by_as_much_as_tells_it_from_the_others(
    paths, names, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = path_names([*map(Path, paths)])
    assert [name.removeprefix(f"{str(tmp_path)[1:]}/here/").lstrip("/") for name in found] == names


def test_the_baseline_comes_first_by_any_of_its_names(tmp_path):
    names = [("a", str(tmp_path / "a")), ("b", str(tmp_path / "b")), ("c", "0.1")]
    for asked in ("b", str(tmp_path / "x" / ".." / "b")):
        assert baseline_first([1, 2, 3], names, asked) == [2, 1, 3]
    assert baseline_first([1, 2, 3], names, "0.1") == [3, 1, 2]
    with pytest.raises(InputError, match="baseline: d is none of the sides: a, b, c"):
        baseline_first([1, 2, 3], names, "d")
