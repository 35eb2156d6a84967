"""What is found of the user's own code, and its hash, without running any of it."""

import hashlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mnistbench.schema.component import parse_reference
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import CodeInfo, sources, sources_text
from mnistbench.schema.record import Name
from mnistbench.schema.user_code import (
    UserCode,
    code_of,
    copies_of,
    find_source,
    read_code,
    require_code,
)
from tests.workload.own_files import working_directory

RAISES = "raise RuntimeError('this was imported')\n"
GCE = "gce = 1\n"
FILES = {
    "alone.py": "import torch, numpy.linalg\nfrom mnistbench.schema import errors\n" + GCE + RAISES,
    "several.py": GCE
    + "import part\nfrom pack import inner\nif True:\n    import pack.deep.last\n",
    "part.py": "def late():\n    from other import value\n",
    "other.py": RAISES,
    "unused.py": RAISES,
    "pack/__init__.py": "",
    "pack/inner.py": "from . import near\nfrom .deep import *\n",
    "pack/near.py": "from ..missing import nothing\nfrom .inner import circle\n",
    "pack/deep/__init__.py": "import other\n",
    "pack/deep/last.py": RAISES,
    "wrong.py": "import part\ndef (:\n",
    "odd name/é loss.py": "import beside\n",
    "odd name/beside.py": RAISES,
    "site-packages/installed.py": RAISES,
    "random.py": RAISES,
}
PACK = {"pack/inner.py", "pack/near.py", "pack/deep/__init__.py", "other.py"}
SEVERAL = {"several.py", "part.py", "pack/deep/last.py"} | PACK


@pytest.fixture(autouse=True)
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with working_directory(tmp_path):
        yield tmp_path


def read(reference, component="loss"):
    (code,) = read_code(RunConfig(**{component: reference}))
    return code


@pytest.mark.parametrize(
    ("reference", "files"),
    [
        ("alone:gce", {"alone.py"}),
        ("./alone.py:gce", {"alone.py"}),
        ("several:gce", SEVERAL),
        ("several.py:gce.inner", SEVERAL),
        ("pack.inner:gce", PACK),
        ("pack:gce", {"pack/__init__.py"}),
        ("pack.deep.last:gce", {"pack/deep/last.py", "pack/deep/__init__.py", "other.py"}),
        ("wrong:gce", {"wrong.py"}),  # who imports it says why it cannot be
        ("odd name/é loss.py:gce", {"é loss.py", "beside.py"}),
    ],
)
def test_a_reference_leads_to_its_file_and_what_that_imports_from_beside_it(reference, files):
    before = set(sys.modules)
    code = read(reference)
    assert set(code.files) == files
    assert (code.info.component, code.info.reference) == ("loss", reference)
    assert set(sys.modules) == before


def test_the_hash_of_one_file_is_its_own_and_of_several_that_of_all(folder):
    alone, several = (read(f"{name}:gce").info.sha256 for name in ("alone", "several"))
    assert alone == hashlib.sha256(FILES["alone.py"].encode()).hexdigest()
    assert several != hashlib.sha256(FILES["several.py"].encode()).hexdigest()
    (folder / "unused.py").write_text("changed = True")
    assert read("several:gce").info.sha256 == several
    (folder / "other.py").write_text("changed = True")
    assert read("several:gce").info.sha256 != several
    assert read("alone:gce").info.sha256 == alone


def test_the_hash_does_not_depend_on_where_a_command_is_typed(folder):
    here = read(f"{folder}/several.py:gce").info.sha256
    (folder / "link").symlink_to(folder)
    assert read(f"{folder}/link/several.py:gce").info.sha256 == here
    for other in ("pack", "link/pack", "link"):
        with working_directory(folder / other):
            assert read(f"{folder}/several.py:gce").info.sha256 == here
            assert read(f"{folder}/link/several.py:gce").info.sha256 == here


def test_what_is_imported_from_the_users_other_folders_is_in_the_hash(folder, monkeypatch):
    (folder / "part.py").rename(folder / "pack" / "part.py")
    (folder / "lib").mkdir()
    monkeypatch.setenv("PYTHONPATH", f":{folder}/lib")
    monkeypatch.syspath_prepend(f"{folder}/lib")
    (folder / "odd name" / "main.py").write_text("import part, beside")
    hashes = []
    with working_directory(folder / "pack"):
        for text in ("a = 1", "a = 2", "a = 1"):
            (folder / "lib" / "other.py").write_text(text)
            code = read(f"{folder}/odd name/main.py:gce")
            assert set(code.files) == {"main.py", "beside.py", "part.py", "other.py"}
            hashes.append(code.info.sha256)
    assert hashes[0] == hashes[2] != hashes[1]


def test_of_what_is_installed_a_record_has_version_and_hash_and_no_copy():
    code = read("torch.optim:NAdam", "optimizer")
    assert code.info.version == __import__("torch").__version__.partition("+")[0]
    assert len(code.info.sha256) == 64
    assert not code.files
    loose = read("site-packages/installed.py:gce")
    assert (loose.info.version, loose.files) == (None, {})
    assert loose.info.sha256 == hashlib.sha256(RAISES.encode()).hexdigest()


@pytest.mark.parametrize(
    "reference", ["nowhere:gce", "nowhere.py:gce", "math:sin", "sys:path", "pack.nowhere:gce"]
)
def test_without_a_source_there_is_no_hash(reference):
    assert find_source(reference) is None
    assert code_of(RunConfig(loss=reference)) == [CodeInfo(component="loss", reference=reference)]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("alnoe.py:gce", "loss: there is no file alnoe.py; did you mean alone.py?"),
        ("pack/iner.py:gce", "loss: there is no file pack/iner.py; did you mean inner.py?"),
        ("severall:gce", "loss: there is no module severall; did you mean several?"),
        ("~no-such-user/a.py:gce", "loss: there is no file ~no-such-user/a.py"),
        ("alone.py:gc", "loss: alone.py has no gc; did you mean gce?"),
        ("alone:gce.inner", None),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest(reference, said):
    config = RunConfig(loss=reference)
    if said is None:  # only an import tells
        require_code(config)
        return
    with pytest.raises(InputError) as wrong:
        require_code(config)
    assert str(wrong.value) == said
    require_code(RunConfig(loss="several:gce", model="torch.nn:Linear", optimizer="sys:x"))


def test_what_cannot_be_source_ends_in_one_line(folder):
    (folder / "large.py").write_bytes(b"#" * (4 * 2**20 + 1))
    with pytest.raises(InputError, match=r"^loss: .*large.py: has more than 4 MiB"):
        read("large:gce")


def test_components_of_one_file_share_a_copy_and_equal_names_do_not():
    codes = read_code(RunConfig(model="several:Net", loss="several:gce", optimizer="other:Lion"))
    infos, copies = copies_of(codes)
    assert infos[0].files == infos[1].files
    assert infos[2].files == ["other.py"]
    assert set(copies) == {name.replace("/", ".") for name in SEVERAL}
    info = CodeInfo(component="loss", reference="a:b")
    same = [UserCode(info, {"a/x.py": b"1"}), UserCode(info, {"a.x.py": b"2"})]
    first, second = (found.files[0] for found in copies_of(same)[0])
    assert first == "a.x.py" != second
    assert copies_of(same)[1] == {first: b"1", second: b"2"}


def test_copies_have_a_sensible_size():
    info = CodeInfo(component="loss", reference="a:b")
    large = {f"{number}.py": bytes(2**20) + b"%d" % number for number in range(9)}
    assert list(copies_of([UserCode(info, large)])[1]) == ["0.py", "1.py", "2.py"]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), max_size=4))
def test_a_copy_has_a_name_that_leads_nowhere(paths):
    info = CodeInfo(component="loss", reference="a:b")
    files = {path: str(number).encode() for number, path in enumerate(paths)}
    (found,), copies = copies_of([UserCode(info, files)])
    assert sorted(copies.values()) == sorted(files.values())
    for name in found.files:
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "../../etc/x.py:gce"},
        {"reference": "a/../../x.py:gce"},
        {"reference": "no colon"},
        {"reference": "a:b\x1b[31m"},
        {"files": ["../x.py"]},
        {"files": ["/etc/x.py"]},
        {"files": [".."]},
        {"component": "recipe"},
    ],
)
def test_a_record_names_no_code_that_leads_out_of_its_folder(changes):
    good = {"component": "loss", "reference": "/home/me/my nets.py:gce", "files": ["my_nets.py"]}
    assert parse_reference(CodeInfo(**good).reference).is_file
    with pytest.raises(ValidationError):
        CodeInfo(**good | changes)


def test_code_is_told_once_for_all_that_comes_from_one_place():
    codes = [
        CodeInfo(component="model", reference="a/nets.py:Net", sha256="1" * 64),
        CodeInfo(component="loss", reference="a/nets.py:gce", sha256="1" * 64),
        CodeInfo(component="optimizer", reference="b/nets.py:Lion", sha256="2" * 64),
        CodeInfo(component="lr_schedule", reference="some.thing:f", version="1.0"),
        CodeInfo(component="dataset", reference="math:sin"),
    ]
    assert sources(codes) == {
        "nets.py": "1111111111 and 2222222222",
        "some.thing": "1.0",
        "math": "no source",
    }
    assert sources_text(codes[3:]) == "some.thing 1.0, math no source"
    assert sources_text([]) is None


@pytest.mark.parametrize(
    ("source", "is_there"),
    [
        ("def f(): pass", True),
        ("async def f(): pass", True),
        ("class f: pass", True),
        ("import a.b as f", True),
        ("import f.a", True),
        ("try:\n    from a import f\nexcept ImportError:\n    g = 1", True),
        ("if True:\n    with open(''):\n        f, g = 1, 2", True),
        ("f: int = 1", True),
        ("for f in (): pass", True),
        ("from a import *", True),
        ("def __getattr__(name): return name", True),
        ("globals()['f'] = 1", True),
        ("def (", True),
        ("", False),
        ("g = 1", False),
        ("def g():\n    f = 1", False),
        ("class g:\n    def f(self): pass", False),
    ],
)
def test_a_name_is_missed_only_where_a_file_cannot_define_it(folder, source, is_there):
    (folder / "names.py").write_text(source)
    config = RunConfig(loss="names.py:f")
    if is_there:
        require_code(config)
    else:
        with pytest.raises(InputError, match=r"^loss: names.py has no f"):
            require_code(config)
