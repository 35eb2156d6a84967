"""Files and folders of ours: nothing planted in their place is opened, emptied or followed."""

import errno
import os
import stat

import pytest

from mnistbench.schema import files
from mnistbench.schema.errors import InputError
from mnistbench.schema.files import check_writable, lock_file, no_link, own_alone, write_whole


@pytest.fixture
def kept(tmp_path):
    """A file that belongs to somebody."""
    path = tmp_path / "kept"
    path.write_text("precious")
    return path


PLANTED = {
    "a link": lambda path, kept: path.symlink_to(kept),
    "a link to nothing": lambda path, kept: path.symlink_to("nowhere"),
    "a pipe": lambda path, kept: os.mkfifo(path),
    "a folder": lambda path, kept: path.mkdir(),
    "a socket": lambda path, kept: os.mknod(path, 0o600 | stat.S_IFSOCK),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_lock_is_a_file_of_its_own_or_refused(planted, tmp_path, kept):
    PLANTED[planted](tmp_path / "lock", kept)
    with pytest.raises(OSError, match=r"link|regular|[Dd]irectory|address"):
        lock_file(tmp_path / "lock")
    assert kept.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_is_made_once_and_what_it_holds_stays(tmp_path):
    os.close(lock_file(tmp_path / "lock"))
    (tmp_path / "lock").write_text("whose it is")
    os.close(lock_file(tmp_path / "lock"))
    assert (tmp_path / "lock").read_text() == "whose it is"


def test_a_link_is_replaced_unless_the_user_named_it(tmp_path, kept):
    link = tmp_path / "link"
    link.symlink_to(kept)
    write_whole(link, "named", named=True)
    assert (link.is_symlink(), kept.read_text()) == (True, "named")
    write_whole(link, b"ours")
    assert (link.is_symlink(), link.read_text(), kept.read_text()) == (False, "ours", "named")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pipe", "no regular file"),
        ("folder", "Is a directory"),
        ("x" * 300, "File name too long"),
        ("kept/x", "File exists"),
        ("a\0b", "null byte"),
    ],
)
def test_a_named_file_that_cannot_be_written_is_one_line(tmp_path, kept, name, says):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"cannot be written .*{says}"):
        write_whole(tmp_path / name, "text", named=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("x" * 300, "File name too long"),
        ("new/" + "é" * 150, "File name too long"),
        ("new/" * 1010, "File name too long"),
        ("kept/runs", "kept is not a folder"),
        ("nowhere", "No such file or directory"),
        ("nowhere/runs", "No such file or directory"),
        ("a\0b", "null"),
        ("\udcff", "surrogates"),
        ("/proc/x", "No such file or directory"),
    ],
)
def test_a_folder_that_the_system_refuses_is_found_before_work(tmp_path, kept, folder, says):
    (tmp_path / "nowhere").symlink_to("gone/away")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=rf"^output_dir: .*{says}.*; choose another$"):
        check_writable(tmp_path / folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_found_before_work(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "TemporaryFile", full)
    with pytest.raises(InputError, match="No space left on device"):
        check_writable(tmp_path / "runs")


def test_a_folder_by_a_link_and_one_called_as_a_link_elsewhere_may_be_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    (tmp_path / "b").symlink_to("nowhere")
    check_writable(tmp_path / "runs" / "a")
    check_writable(tmp_path / "a" / "b")


def test_what_is_run_lies_in_folders_of_this_user_alone(tmp_path):
    cache = tmp_path / "home" / "mnistbench"
    mask = os.umask(0)
    try:
        own_alone(cache / "code" / "x", within=cache)
    finally:
        os.umask(mask)
    made = [cache.parent, cache, cache / "code", cache / "code" / "x"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 4
    cache.chmod(0o755)
    assert own_alone(cache / "code", within=cache) == cache / "code"


@pytest.mark.parametrize("wrong", ["mode", "group", "parent", "owner", "link", "file"])
def test_code_is_not_taken_from_where_others_may_write(tmp_path, monkeypatch, wrong):
    cache, code = tmp_path / "mnistbench", tmp_path / "mnistbench" / "code"
    cache.mkdir()
    if wrong == "link":
        code.symlink_to(tmp_path)
    elif wrong == "file":
        code.write_text("")
    else:
        code.mkdir(mode=0o700)
    if wrong == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: code.stat().st_uid + 1)
    if wrong in {"mode", "group"}:
        code.chmod(0o777 if wrong == "mode" else 0o770)
    if wrong == "parent":
        tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="not yours alone"):
        own_alone(code, within=cache)
    tmp_path.chmod(0o1777)
    if wrong == "parent":
        own_alone(code, within=cache)  # nobody else may rename what lies there, as in /tmp


def test_a_link_in_our_place_is_named(tmp_path):
    assert no_link(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "new").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic link"):
        no_link(tmp_path / "new")
