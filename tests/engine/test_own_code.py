"""Code of the user's own in a run: on record, kept beside it, and the same when it goes on."""

import hashlib
import sys
from dataclasses import replace

import pytest

from mnistbench.engine import setting
from mnistbench.engine.run_seeds import train
from mnistbench.recorder import own_code
from mnistbench.schema.config import RunConfig
from mnistbench.schema.errors import InputError
from mnistbench.schema.provenance import OWN_CODE
from mnistbench.schema.store import load_record
from mnistbench.schema.user_code import EXPECTED_CODE
from tests.engine.interrupted import LATEST, interrupt
from tests.workload.own_files import MY_NETS, working_directory

OWN = {
    "model": "nets.py:TinyNet",
    "loss": "nets.py:gce",
    "optimizer": "torch.optim:NAdam",
    "lr": 0.001,
    "eval_every_steps": 5,
}
PARTS = "nothing = 0\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(own_code, "_imported", {})
    (tmp_path / "nets.py").write_text(f"import parts\n{MY_NETS}")
    (tmp_path / "parts.py").write_text(PARTS)
    with working_directory(tmp_path):
        yield tmp_path


@pytest.fixture
def as_new_process(monkeypatch):
    """Forgets what was imported, as another process knows nothing of it."""
    from mnistbench.workload import components

    def forget():
        monkeypatch.setattr(own_code, "_imported", {})
        components._loaded.cache_clear()
        for name in [name for name in sys.modules if name.startswith(("nets_", "parts"))]:
            del sys.modules[name]

    return forget


def change(folder, name="parts.py", text="nothing = 1\n"):
    before = (folder / name).read_text()
    (folder / name).write_text(text)
    return before


def copies(run_folder):
    return {path.name: path.read_text() for path in (run_folder / "code").iterdir()}


def test_a_run_has_its_code_on_record_and_beside_it(small_config, tmp_path):
    records = train(small_config(**OWN, num_seeds=2))
    source = (tmp_path / "nets.py").read_text()
    for record in records:
        run_folder = tmp_path / "runs" / record.run_id
        assert load_record(run_folder / "record.json").code == record.code
        model, loss, optimizer = record.code
        assert [code.component for code in record.code] == ["model", "loss", "optimizer"]
        assert model.sha256 == loss.sha256 != hashlib.sha256(source.encode()).hexdigest()
        assert set(loss.files) == {"nets.py", "parts.py"}
        assert (optimizer.files, optimizer.version is None) == ([], False)
        assert copies(run_folder) == {"nets.py": source, "parts.py": PARTS}
    (built_in,) = train(small_config())
    assert built_in.code == []
    assert not (tmp_path / "runs" / built_in.run_id / "code").exists()


def test_a_failed_run_keeps_what_failed(small_config, tmp_path):
    late = "        calls.append(1)\n        assert len(calls) < 20, 'late'\n        for group in"
    text = MY_NETS.replace("        for group in", late)
    change(tmp_path, "nets.py", f"calls = []\n{text}")
    values = OWN | {"optimizer": "nets.py:Lion", "num_epochs": 9, "loop": "stock"}
    with pytest.raises(AssertionError, match="late"):
        train(small_config(**values))
    (path,) = tmp_path.glob("runs/*/record.json")
    record = load_record(path)
    assert (record.status, record.code[2].files) == ("failed", ["nets.py"])
    assert copies(path.parent) == {"nets.py": (tmp_path / "nets.py").read_text()}


def test_what_changed_since_it_was_imported_is_not_run_under_its_name(
    small_config, tmp_path, as_new_process
):
    config = small_config(**OWN)
    (first,) = train(config)
    before = change(tmp_path)
    with pytest.raises(InputError, match=r"^model: nets.py:TinyNet changed since it was imported"):
        train(config)
    change(tmp_path, text=before)
    assert train(config)[0].code == first.code
    change(tmp_path)
    as_new_process()
    assert train(config)[0].code[0].sha256 != first.code[0].sha256


def test_what_a_sweep_planned_is_what_runs(small_config, monkeypatch):
    monkeypatch.setenv(EXPECTED_CODE, "nets.py 0123456789")
    with pytest.raises(InputError, match=r"^code: nets.py 0123456789 was planned to run, and nets"):
        train(small_config(**OWN))


def test_a_run_goes_on_with_the_code_that_it_had(
    small_config, tmp_path, monkeypatch, as_new_process
):
    config = small_config(**OWN, num_epochs=3, checkpoint_every_steps=4)
    assert "saved in" in interrupt(monkeypatch, config, at_step=6)
    before = change(tmp_path)
    as_new_process()
    again = config.model_copy(update=LATEST)
    with pytest.raises(InputError) as refused:
        train(again)
    said = str(refused.value)
    assert "is of another run: code of your own nets.py " in said
    assert "/code has a copy; --force-code takes this one); ask for the same" in said
    (run_folder,) = tmp_path.glob("runs/*")
    assert copies(run_folder)["parts.py"] == before
    as_new_process()
    (record,) = train(again.model_copy(update={"force_code": True}))
    assert list(record.interruptions[-1].code_changes) == [OWN_CODE]
    assert record.interruptions[-1].code_changes[OWN_CODE][0] in said
    kept = copies(run_folder)
    assert kept["parts.py"] == "nothing = 1\n"  # as the record says
    old = f"parts-{hashlib.sha256(before.encode()).hexdigest()[:12]}.py"
    assert kept[old] == before
    assert set(kept) == {*record.code[0].files, old}


def test_a_run_goes_on_where_code_is_as_it_was(small_config, tmp_path, monkeypatch, as_new_process):
    config = small_config(**OWN, num_epochs=3, checkpoint_every_steps=4, anonymize=True)
    assert "saved in" in interrupt(monkeypatch, config, at_step=6)
    as_new_process()
    (record,) = train(config.model_copy(update=LATEST))
    assert (record.status, record.interruptions[-1].code_changes) == ("completed", {})


def test_copies_go_nowhere_but_into_the_runs_folder(
    small_config, tmp_path, monkeypatch, as_new_process
):
    config = small_config(**OWN, num_epochs=3, checkpoint_every_steps=4)
    interrupt(monkeypatch, config, at_step=6)
    (code,), elsewhere = tmp_path.glob("runs/*/code"), tmp_path / "elsewhere"
    code.rename(elsewhere)
    code.symlink_to(elsewhere)
    (elsewhere / "parts.py").write_text("mine")
    as_new_process()
    with pytest.raises(InputError, match=r"code: cannot be written .is a symbolic link"):
        train(config.model_copy(update=LATEST))
    assert (elsewhere / "parts.py").read_text() == "mine"


def test_a_process_with_other_code_than_the_main_one_is_named(monkeypatch):
    def of_main(_accelerator, decide):
        return [replace(code, files={}) for code in decide()]

    told = []
    monkeypatch.setattr(setting, "decide_together", of_main)
    monkeypatch.setattr(setting, "agree", lambda _, problem: told.append(str(problem)))
    setting._same_code(RunConfig(loss="parts:gce"), None)
    assert told == ["loss: parts:gce is other code than the main process has"]
