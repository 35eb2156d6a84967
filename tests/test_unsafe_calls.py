"""Nothing in the package runs what a file holds, or hands a shell a line."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNSAFE = {
    # that of safetensors reads numbers only
    "torch.load": r"(?<![\w.])torch\.load\(",
    # torch writes its memory snapshots so, for a page in the browser; nothing here reads one
    "pickle": r"(?<!\"memory\.)\b(c?pickle|dill|joblib|shelve|marshal)\b",
    "numpy's pickles": r"\b(np|numpy)\.load\(|allow_pickle",
    "yaml.load": r"\byaml\.(unsafe_|full_)?load(_all)?\(|UnsafeLoader|\bFullLoader",
    "eval": r"(?<![\w.])(?<!def )eval\(",  # model.eval() is torch's, def eval(…) a hook's
    "exec": r"(?<![\w.])exec\(",
    "a shell": r"shell=True|\bos\.(system|popen)\(",
    "markup from files": r"\|\s*safe\b|\bMarkup\((?!svg_text\()|autoescape=False",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_the_package_has_no_unsafe_call(name):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "mnistbench").rglob("*"))
        if path.suffix in {".py", ".jinja"}
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(UNSAFE[name], line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "state = torch.load(path)",
        "import pickle",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "x = eval(text)",
        "subprocess.run(line, shell=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_such_a_line_would_be_found(line):
    assert any(re.search(pattern, line) for pattern in UNSAFE.values())


@pytest.mark.parametrize(
    "line",
    ["model.eval()", "x = safetensors.torch.load(packed)", "    def eval(self, watched):"],
)
def test_a_harmless_line_is_not(line):
    assert not any(re.search(pattern, line) for pattern in UNSAFE.values())
