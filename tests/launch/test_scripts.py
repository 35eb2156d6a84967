"""Commands of a user's own: how they are read, and what is made of what they leave."""

import sys

import pytest

from mnistbench.launch.runs import RunFailedError
from mnistbench.launch.scripts import Script, ScriptSide
from mnistbench.schema.errors import InputError
from mnistbench.schema.store import record_json
from tests.made_records import make_record

WRITES = """
import os, sys
from pathlib import Path
status, *names = sys.argv[1].split(",")
for name in names:
    folder = Path(os.environ["MNISTBENCH_OUTPUT_DIR"]) / name
    folder.mkdir()
    (folder / "record.json").write_text(Path("record.json").read_text())
print(os.environ["MNISTBENCH_SEED"], *sys.argv[2:], file=sys.stderr)
if status == "import":
    import mnistbench
sys.exit(int(status))
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("python train.py --lr 0.1", ["python", "train.py", "--lr", "0.1"]),
        ("python train.py --seed {seed}", ["python", "train.py", "--seed", "3"]),
        ("t --out=run-{seed}-{seed}", ["t", "--out=run-3-3"]),
        ("t --json '{{\"lr\": {seed}}}'", ["t", "--json", '{"lr": 3}']),
        ("t 'a b' \"c 'd'\" e\\ f", ["t", "a b", "c 'd'", "e f"]),
        ("t \\\n  --lr 0.1", ["t", "--lr", "0.1"]),
        ("t '$HOME' '*.png' '~/x' 'a > b'", ["t", "$HOME", "*.png", "~/x", "a > b"]),
        ("sh -c 'cd x && t {seed}'", ["sh", "-c", "cd x && t 3"]),
        ("t dir=~/x a~b", ["t", "dir=~/x", "a~b"]),
        ("env A=1 t", ["env", "A=1", "t"]),
    ],
)
def test_a_command_is_its_words_with_values_filled_in(text, words):
    assert Script.parse(text, flag="command").filled({"seed": 3}) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; write what trains"),
        ("  \n", "is empty"),
        ("t 'a", "no closing quotation; close its quotes"),
        ("t \\", "no escaped character"),
        ("A=1 python t.py", "write env A=1 python t.py"),
        ("a && b", "&& is for a shell"),
        ("a | b", "| is for a shell"),
        ("a; b", "; is for a shell"),
        ("a > log", "> is for a shell"),
        ("a 2>&1", "2>&1 is for a shell"),
        ("a &", "& is for a shell"),
        ("a ~/x.py", "~/x.py is for a shell"),
        ("a $X", "$X is for a shell"),
        ("a ${X}", "${X is for a shell"),
        ('a "$X"', "a variable is for a shell"),
        ("a `b`", "` is for a shell"),
        ("a *.npz", "* is for a shell"),
        ("t --lr {lr}", "{lr}: nothing has this name; known: {seed}"),
        ("t {sed}", "known: {seed}; did you mean seed?"),
        ("t {}", "braces are for names"),
        ("t {seed", "braces are for names"),
        ("t {seed:03d}", "braces are for names"),
        ("t {seed!r}", "braces are for names"),
        ("t {a,b}", "braces are for names"),
        ("t '{\"lr\": 0.1}'", "write {{ and }} for braces of the command's own"),
    ],
)
def test_what_cannot_be_run_as_it_stands_is_one_line(text, says):
    with pytest.raises(InputError) as refusal:
        Script.parse(text, flag="commands")
    assert str(refusal.value).startswith("commands: ")
    assert says in str(refusal.value)


def test_a_program_that_is_not_there_is_found_before_a_run(tmp_path):
    (tmp_path / "train.py").write_text("")
    (tmp_path / "train.sh").write_text("")
    (tmp_path / "fine.sh").touch(0o755)
    for command, says in [
        ("no-such-thing x", "no-such-thing: no such program; give its path"),
        ("train.py", r'train\.py: is no program; write "python train\.py", in quotes'),
        ("./train.sh", r"\./train\.sh: is no program; write chmod \+x \./train\.sh"),
    ]:
        with pytest.raises(InputError, match=f"^command: {says}"):
            Script.parse(command, flag="command").check_program(tmp_path)
    with pytest.raises(InputError, match=r"^command: other\.py: does not exist in /"):
        Script.parse("python3 -u other.py", flag="command").check_program(tmp_path)
    for command in ("./fine.sh", "python train.py", "python x-{seed}.py", sys.executable, "sh"):
        Script.parse(command, flag="command").check_program(tmp_path)


@pytest.fixture
def run(tmp_path):
    """Runs a script that leaves records as it is told; gives the record's run id."""
    (tmp_path / "train.py").write_text(WRITES)
    (tmp_path / "record.json").write_text(record_json(make_record(4)))

    def use(does, python=sys.executable):
        script = Script.parse(f"{python} train.py {does} '{{seed}} x'", flag="command")
        return ScriptSide(name="A", script=script, work_dir=tmp_path).run(4, tmp_path / "new")

    return use


@pytest.mark.processes
def test_the_one_record_is_read(run):
    assert run("0,a") == make_record(4)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("does", "error", "says"),
    [
        ("0", InputError, "left no record: no mnistbench.record in it, or it ended before"),
        ("0,a,b", InputError, "left 2 records, and one run at a time is measured"),
        ("3", RunFailedError, "left no record: 4 4 x"),
        (
            "3,a",
            RunFailedError,
            r"failed after its record, with exit status 3 \(4 4 x\): .*/new/seed-4/a/record",
        ),
    ],
)
def test_what_is_no_run_is_one_line(run, does, error, says):
    with pytest.raises(error, match=f"^{says}"):
        run(does)


@pytest.mark.processes
def test_an_interpreter_without_the_package_is_named(run):
    with pytest.raises(
        RunFailedError, match=f"^{sys._base_executable} runs a Python without mnistbench; install"
    ):
        run("import", python=f"{sys._base_executable} -I")
