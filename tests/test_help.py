"""The help of every command: short, in groups, and with the real default of each flag, once."""

import re

import pytest

from mnistbench import compare, doctor, record_schema, report, sweep, train, tune
from mnistbench.schema.config import FLAG_GROUPS, RunConfig

HELPS = {
    "train": train,
    "report": report,
    "report targets": report,
    "report epochs": report,
    "report rules": report,
    "report scaling": report,
    "report watch": report,
    "compare": compare,
    "sweep": sweep,
    "tune": tune,
    "doctor": doctor,
    "schema": record_schema,
}
LONGEST = {"train": 40, "compare": 67, "sweep": 55}
"""Lines of the help at 80 columns; 50 of other commands."""

NOT_USED = re.compile(r"\b(doors?|looks?|sights?|goes|told|None|True|False|none is|is none)\b")


@pytest.fixture
def help_of(monkeypatch, capsys):
    def ask(name, *, flag="--help", columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as stop:
            HELPS[name].main([*name.split()[1:], flag])
        assert stop.value.code == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return ask


def flags_of(page):
    """Flag -> its text, in one line."""
    found = {}
    for line in page.splitlines():
        if start := re.match(
            r"  (--[\w-]+)(?:, --no-[\w-]+| [^ ]+(?: …| TEXT)?)?(?:  +(.*))?$", line
        ):
            flag = start[1]
            found[flag] = start[2] or ""
        elif line.startswith(" " * 6) and found:
            found[flag] += " " + line.strip()
    return found


@pytest.mark.parametrize("name", HELPS)
@pytest.mark.parametrize("columns", [80, 100])
def test_help_is_short_and_fits(name, columns, help_of):
    page = help_of(name, columns=columns)
    lines = page.splitlines()
    assert lines[0].startswith(f"usage: mnistbench {name} ")
    assert lines[0].endswith("[OPTIONS]")
    assert len(lines) <= LONGEST.get(name, 50)
    assert max(map(len, lines)) <= columns
    assert NOT_USED.findall(page) == []


@pytest.mark.parametrize("name", HELPS)
def test_each_flag_says_one_default(name, help_of):
    told = flags_of(help_of(name, flag="--help-all"))
    assert {flag: text for flag, text in told.items() if text.count("Default: ") != 1} == {}


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_the_default_that_is_shown_is_the_real_one(name, help_of):
    told = flags_of(help_of(name, flag="--help-all"))
    real = RunConfig()
    assert real.global_batch_size == 64
    assert "Default: 64, unless" in told["--global-batch-size"]
    for field in RunConfig.model_fields:
        text = told.get(f"--{field.replace('_', '-')}")
        if text is None or (name, field) == ("sweep", "output_dir"):
            continue
        shown = re.search(r"Default: (.+)\.", text)[1]
        default = RunConfig.model_fields[field].default
        if default in (None, (), {}):
            continue  # what happens then, in words
        typed = {"on": True, "off": False}.get(shown, shown)
        typed = tuple(shown.split()) if isinstance(default, tuple) else typed
        assert getattr(RunConfig(**{field: typed}), field) == getattr(real, field), field


def test_all_flags_are_there_in_their_groups(help_of):
    page = help_of("train", flag="--help-all")
    headings = [line for line in page.splitlines() if line and not line.startswith(" ")]
    assert headings[2:] == list(FLAG_GROUPS)
    assert set(flags_of(page)) > {f"--{name.replace('_', '-')}" for name in RunConfig.model_fields}
    group = page[page.index("\nCheckpoints") : page.index("\nProfiling")]
    assert list(flags_of(group)) == [
        "--checkpoint-every-steps", "--resume", "--force-code", "--on-checkpoint-error",
    ]  # fmt: skip


def test_switches_lists_and_choices_are_shown_in_one_way(help_of):
    page = help_of("train", flag="--help-all")
    assert "  --nesterov, --no-nesterov\n" in page
    assert "  --augment NAME …        Random" in page
    assert "One of sgd, adam, adamw" in page
    assert (
        "  --lr X                  Learning rate at the schedule's peak. Default: 0.01.\n" in page
    )
    assert "  --fail-if TEXT  " in help_of("compare")
    assert "true|false …" in help_of("sweep", flag="--help-all")


def test_a_narrow_terminal_has_its_lines(help_of):
    assert max(map(len, help_of("train", columns=45).splitlines())) <= 45
