"""References to code of the user's own: what is imported, and the line for what is not."""

import inspect
import sys

import pytest

from mnistbench.schema.errors import InputError
from mnistbench.workload.components import load_component
from tests.workload.own_files import MY_NETS, working_directory

FILES = {
    "my_nets.py": MY_NETS + "\nmade = nn.Linear(1, 1)\nnumber = 3\n",
    "random.py": "class Net: pass",
    "sub/deep.py": "from beside import width\ndef net(): return width",
    "sub/beside.py": "width = 7",
    "pack/__init__.py": "",
    "pack/nets.py": "from .parts import Net",
    "pack/parts.py": "class Net: pass",
    "typo.py": "import os\nimport torcch",
    "syntax.py": "x = 1\ny = (\n",
    "inner.py": "import syntax",
    "ends.py": "import sys\n\nsys.exit(0)",
    "raises.py": "def check():\n    raise ValueError('no width\\nsecond line')\n\ncheck()",
    "says.py": "print('hello')\nclass Net: pass",
}


@pytest.fixture(autouse=True)
def _my_files(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with working_directory(tmp_path):
        yield


@pytest.mark.parametrize(
    "reference",
    [
        *("my_nets:TinyNet", "my_nets.py:TinyNet", "./my_nets.py:TinyNet", "my_nets:Lion.step"),
        *("pack.nets:Net", "pack.parts:Net", "./random.py:Net", "sub/deep.py:net"),
        *("torch.optim:NAdam", "torchvision.models:resnet18", "torch.nn.functional:cross_entropy"),
    ],
)
def test_what_is_named_is_imported(reference):
    found = load_component("model", reference)
    assert found.__name__ == reference.rpartition(":")[2].rpartition(".")[2]
    assert load_component("model", reference) is found
    if reference.endswith("deep.py:net"):
        assert found() == 7


def test_a_file_is_a_module_that_python_knows(tmp_path):
    found = load_component("model", f"{tmp_path}/my_nets.py:TinyNet")
    assert inspect.getsource(found).startswith("class TinyNet")
    assert vars(sys.modules[found.__module__])[found.__qualname__] is found
    assert found is not load_component("model", "my_nets:TinyNet")  # which any import finds
    assert sys.path[0] == str(tmp_path)


def test_a_file_runs_as_it_is_now(tmp_path):
    """Python's own cache of compiled files knows contents by second and length."""
    for content in "123":
        (tmp_path / f"quick{content}.py").write_text(f"def f(): return {content}")
        assert load_component("loss", f"quick{content}.py:f")() == int(content)
    assert not list(tmp_path.rglob("quick*.pyc"))


@pytest.mark.parametrize(
    ("reference", "said"),
    {
        "my_net:TinyNet": "there is no module my_net; did you mean my_nets?",
        "my_nets.more:TinyNet": "there is no module my_nets.more",
        "pack.net:Net": "there is no module pack.net; did you mean pack.nets?",
        "torchvision.modles:resnet18": "there is no module torchvision.modles; did you mean "
        "torchvision.models?",
        "my_net.py:TinyNet": "there is no file my_net.py; did you mean my_nets.py?",
        "none/my_nets.py:TinyNet": "there is no file none/my_nets.py",
        "my_nets:TinyNett": "my_nets has no TinyNett; did you mean TinyNet?",
        "my_nets.py:zzz": "my_nets.py has no zzz",
        "my_nets:TinyNet.zzz": "my_nets has no zzz",
        "torch.optim:Nadam": "torch.optim has no Nadam; did you mean NAdam?",
        "my_nets:made": "my_nets:made is Linear(in_fea...=1, bias=True), one object for all seeds; "
        "name a class or a function that makes it",
        "my_nets:number": "my_nets:number is 3, one object for all seeds; name a class or a "
        "function that makes it",
        "typo:Net": "typo.py:2: ModuleNotFoundError: No module named 'torcch'",
        "typo.py:Net": "typo.py:2: ModuleNotFoundError: No module named 'torcch'",
        "syntax:Net": "syntax.py:2: SyntaxError: '(' was never closed",
        "inner.py:Net": "syntax.py:2: SyntaxError: '(' was never closed",
        "ends:Net": "ends.py:3: SystemExit: it ends Python, which an import or a call must not",
        "raises.py:Net": "raises.py:2: ValueError: no width",
        "pack/nets.py:Net": "pack/nets.py:1: ImportError: attempted relative import with no known "
        "parent package",
    }.items(),
)
def test_what_cannot_be_had_is_one_line(reference, said):
    for _ in range(2):  # a failed import leaves nothing half made
        with pytest.raises(InputError) as error:
            load_component("model", reference)
        assert str(error.value) == f"model: {said}"


def test_a_module_that_hides_the_users_is_named():
    with pytest.raises(InputError) as error:
        load_component("loss", "random:Net")
    assert str(error.value).startswith("loss: ./random.py is hidden by the module random of /")
    assert str(error.value).endswith("/random.py; write ./random.py:Net")


def test_what_it_prints_is_no_result(capsys):
    load_component("model", "says.py:Net")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_signal_is_no_mistake_in_the_file(tmp_path):
    (tmp_path / "long.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_component("model", "long:Net")


def test_no_compiled_form_is_left_for_a_file_that_changes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    load_component("model", "pack.nets:Net")
    assert not list(tmp_path.rglob("__pycache__"))
