"""Sizes of files and folders, and what is told of what was written."""

from pathlib import Path

import pytest

from mnistbench.schema.disk_space import disk_use, say_written, size_text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (7, "7 bytes"),
        (999, "999 bytes"),
        (1_000, "1 kB"),
        (1_649, "1.6 kB"),
        (412_345, "412 kB"),
        (999_600, "1 MB"),
        (1_649_000, "1.6 MB"),
        (152e6, "152 MB"),
        (3.97e9, "3.97 GB"),
        (2_345e9, "2.34e+03 GB"),
    ],
)
def test_sizes_have_two_or_three_digits(num_bytes, text):
    assert size_text(num_bytes) == text


def test_a_folder_is_all_that_it_holds_and_no_link(tmp_path, capsys):
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "one").write_bytes(bytes(1_500))
    (tmp_path / "folder" / "below" / ".two").write_bytes(bytes(500))
    (tmp_path / "elsewhere").write_bytes(bytes(10**6))
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    length = len(str(tmp_path / "elsewhere"))  # what a link itself takes
    assert disk_use(tmp_path / "folder") == 2_000 + length
    assert disk_use(tmp_path / "folder" / "one") == 1_500
    assert disk_use(Path("gone")) == 0
    say_written("page", tmp_path / "folder" / "one")
    assert capsys.readouterr().err == (
        f"mnistbench: page written to {tmp_path}/folder/one (1.5 kB)\n"
    )
