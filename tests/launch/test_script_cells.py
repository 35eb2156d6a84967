"""Cells of commands: what lists of values and files make of them."""

import copy
import hashlib
import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mnistbench.launch.script_cells import script_cells
from mnistbench.schema.errors import InputError
from tests.launch.script_stand_in import write_script


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_script(tmp_path)


def values(text, name="x"):
    command = "python train.py" if name == "seed" else f"python train.py {{{name}}}"
    return [cell.values[name] for cell in script_cells(command, {name: text})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.01,0.1", ["0.01", "0.1"]),
        ("1e-3, 1E-3", ["1e-3", "1E-3"]),
        ("0..2,7,2", ["0", "1", "2", "7"]),
        ("'0..2'", ["0..2"]),
        ("../data,a..b", ["../data", "a..b"]),
        ("-1,--fast", ["-1", "--fast"]),
        ("'a, b',\"it's\",c d", ["a, b", "it's", "c d"]),
        ("it's,b's", ["it's", "b's"]),
        ("[0.9,0.99],[0.8,0.9]", ["[0.9,0.99]", "[0.8,0.9]"]),
        ('{"a": 1, "b": "]}"},{}', ['{"a": 1, "b": "]}"}', "{}"]),
        ("f(1,2),g)", ["f(1,2)", "g)"]),
        ("'',a", ["", "a"]),
        ("true,none", ["true", "none"]),
    ],
)
def test_a_list_is_split_at_its_commas(text, expected):
    assert values(text) == expected


@pytest.mark.parametrize(
    ("command", "lists", "says"),
    [
        ("python train.py {lr}", {}, "values: {lr} has none; give it some, such as lr=0.1,0.2"),
        ("python train.py {seed}", {}, "such as seed=0..4"),
        ("python train.py {lr}", {"lr": "1", "lrr": "2"}, "no {lrr}; did you mean lr?"),
        ("python train.py", {"seed": "a"}, "seed: should be a whole number (got 'a')"),
        ("python train.py", {"seed": "-1"}, "seed: should be a whole number (got '-1')"),
        ("python train.py", {"seed": "0..b"}, "values: seed: '0..b' is no range"),
        ("python train.py {x}", {"x": "4..0"}, "values: x: 4..0 runs backwards"),
        ("python train.py {x}", {"x": "a,,b"}, "values: x: an empty value in 'a,,b'"),
        ("python train.py {x}", {"x": ""}, "values: x: an empty value"),
        ("python train.py {x}", {"x": "[1,2"}, "values: x: a bracket is not closed in '[1,2'"),
        ("python train.py {x} {y}", {"x": "0..999", "y": "0..999"}, "1,000,000 cells; at most"),
        ("{x} train.py", {"x": "python,no-such-program"}, "command: no-such-program: no such"),
        ("python other.py", {}, "command: other.py: does not exist"),
    ],
)
def test_what_does_not_fit_is_one_line(command, lists, says):
    with pytest.raises(InputError) as raised:
        script_cells(command, lists)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.lists(st.text(st.characters(exclude_characters="'\0\ud800", exclude_categories=["Cs"]))))
@example(["{x}", "--a b", '"', "a,b", "[", "$HOME", "..", "1..2"])
def test_a_quoted_value_is_one_word_of_the_command_as_it_is(words):
    words = list(dict.fromkeys(words)) or [""]
    found = script_cells("python -c pass {x} 'a {x}'", {"x": ",".join(f"'{w}'" for w in words)})
    assert [cell.script.filled(cell.values)[3:] for cell in found] == [[w, f"a {w}"] for w in words]
    assert len({cell.id for cell in found}) == len(words)
    assert all(len(cell.id) < 200 and "/" not in cell.id for cell in found)


@given(st.text())
def test_any_list_is_read_or_refused_in_one_line(text):
    for name in ("x", "seed"):
        try:
            found = values(text, name)
        except InputError as error:
            found = str(error).startswith("values: ")
        assert found


def test_cells_are_known_by_script_values_and_seed_and_run_seed_by_seed():
    found = script_cells("python train.py --lr {lr}", {"lr": "0.1,2", "seed": "1..2"})
    assert [cell.id.rpartition("-")[0] for cell in found] == [
        f"train-lr-{lr}-seed-{seed}" for seed in (1, 2) for lr in (0.1, 2)
    ]
    again = script_cells("python  train.py --lr '{lr}'", {"seed": "2,1", "lr": "2,0.1"})
    assert {cell.id for cell in again} == {cell.id for cell in found}
    assert copy.deepcopy(found[0]).id == found[0].id


def test_a_seed_is_a_number_however_it_is_spelled():
    found = script_cells("python train.py", {"seed": "007,7,0..1"})
    assert [(cell.seed, cell.values["seed"]) for cell in found] == [(0, "0"), (1, "1"), (7, "7")]


def test_what_names_a_secret_is_in_no_name_or_plan():
    (cell,) = script_cells("python train.py {hf_token}", {"hf_token": "abc123"})
    assert "abc123" not in f"{cell.id} {cell.planned} {cell.settings}"
    assert cell.script.filled(cell.values)[-1] == "abc123"
    one, other = (script_cells(f"python train.py --token {it}", {})[0] for it in ("abc123", "b"))
    assert "abc123" not in f"{one.id} {one.planned}"
    assert one.id != other.id


@pytest.mark.parametrize(
    ("command", "edited"),
    [
        ("python train.py", "train.py"),
        ("python train.py", "beside.py"),
        ("env torchrun --nproc-per-node 2 train.py", "train.py"),
        ("sh -c 'python -u train.py; true'", "train.py"),
        ("python -m pkg.main", "pkg/main.py"),
        ("python -m pkg", "pkg/__main__.py"),
        ("env accelerate launch -m pkg.main --config=base.yaml", "base.yaml"),
        ("sh {x}", "run.sh"),
    ],
)
def test_an_edited_file_makes_another_cell(here, command, edited):
    here.write_text("import beside")
    for name in ("beside.py", "pkg/__init__.py", "pkg/main.py", "pkg/__main__.py", "base.yaml"):
        (here.parent / name).parent.mkdir(exist_ok=True)
        (here.parent / name).write_text("x = 1")
    (here.parent / "run.sh").write_text("true")
    (here.parent / "other.py").write_text("true")

    def cell():
        (one,) = script_cells(command, {"x": "run.sh"} if "{x}" in command else {})
        return one

    before = cell()
    (here.parent / "other.py").write_text("false")
    assert cell().id == before.id
    (here.parent / edited).write_text("x = 2")
    assert cell().id != before.id
    if edited == "train.py":
        digest = hashlib.sha256(b"x = 2").hexdigest()[:10]
        assert cell().code == f"train.py {digest}"


@pytest.mark.parametrize("word", ["x" * 5000, "/etc/passwd/x.py", "a\\b.py", "é.py", "../n.py"])
def test_odd_words_name_no_file(word):
    (cell,) = script_cells(f"python -c pass {shlex.quote(word)}", {})
    assert cell.code is None
