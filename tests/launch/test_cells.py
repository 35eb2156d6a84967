"""What a cell of a sweep is known by."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mnistbench.launch.cells import attempt_folder
from mnistbench.launch.own_cells import RunCell
from mnistbench.schema.config import RunConfig
from mnistbench.schema.record import Name
from mnistbench.workload.recipes import RECIPES


def cell(num_processes=1, **values):
    return RunCell(config=RunConfig(**values), num_processes=num_processes)


def test_an_identity_does_not_change_from_release_to_release():
    assert cell(lr=0.1, seed=3).id == "simple-cnn-lr-0.1-seed-3-b27703b280"


def test_what_decides_a_run_decides_its_cell():
    different = [
        cell(),
        cell(seed=1),
        cell(lr=0.1),
        cell(2),
        cell(recipe="simple-cnn", **RECIPES["simple-cnn"].settings),
        cell(global_batch_size=128),
        cell(per_device_batch_size=64),
        cell(num_threads=1),
        cell(augment=("shift",)),
    ]
    assert len({one.id for one in different}) == len(different)


def test_other_contents_of_ones_own_file_are_another_cell_of_the_same_slug():
    cells = [replace(cell(loss="nets:gce"), code=code) for code in (None, "nets 1", "nets 2")]
    assert len({one.id for one in cells}) == 3
    assert len({one.slug for one in cells}) == 1
    assert cells[0].id == cell(loss="nets:gce").id


def test_where_a_run_reads_and_writes_does_not():
    elsewhere = cell(output_dir="there", data_dir="here", num_seeds=3)
    assert elsewhere.id == cell().id
    assert elsewhere.values == {}


def test_values_given_as_they_are_anyway_do_not():
    assert cell(lr=RunConfig().lr, global_batch_size=64, seed=0).id == cell().id


def test_a_slug_says_what_was_changed_in_a_recipe():
    settings = RECIPES["cnn4-ce"].settings | {"lr": 0.5, "loss": "mse", "augment": ("shift",)}
    changed = cell(2, recipe="cnn4-ce", seed=7, **settings)
    assert changed.slug == "cnn4-ce-mse-shift-lr-0.5-seed-7-2p"


def test_a_slug_without_a_recipe_begins_with_the_model():
    assert cell(model="mlp", optimizer="adam").slug == "mlp-adam-seed-0"
    own = cell(model="nets.py:Tiny", model_args={"width": 8, "act": "a/b"}, loss="nets:gce")
    assert own.slug == "Tiny-gce-width-8-act-b-seed-0"
    assert cell(per_device_batch_size=32).slug == "simple-cnn-per-device-batch-size-32-seed-0"


@given(
    lr=st.floats(1e-12, 1e4),
    data_dir=st.text(min_size=1, max_size=5),
    augment=st.permutations(["shift", "rotate", "elastic"]),
    seed=st.integers(0, 2**31 - 1),
    dataset=st.sampled_from(["auto", "emnist-digits", "../any where/.npz", "own/", "a_b:_load.it"]),
    model=st.sampled_from(["cnn4", "nets:Tiny_Net", "a b/c.py:_N", f"n:{'x' * 99}"]),
    arguments=st.dictionaries(
        st.from_regex(r"\w{1,9}", fullmatch=True).filter(str.isidentifier),
        st.text(max_size=9) | st.lists(st.text(max_size=3) | st.floats(0, 1), max_size=2),
        max_size=3,
    ),
)
def test_an_identity_is_a_name_and_short_enough_for_a_folder(arguments, **values):
    if ":" in values["model"]:
        values["model_args"] = arguments
    one = cell(64, lr_schedule="one-cycle", loss="multi-margin", **values)
    TypeAdapter(Name).validate_python(one.id)
    assert len(one.id) < 150
    assert json.loads(json.dumps(one.values)) == one.values
    assert RunCell(config=RunConfig(**one.values), num_processes=64).id == one.id


def test_each_attempt_has_a_folder_of_its_own(tmp_path):
    names = [attempt_folder(tmp_path, cell()).name for _ in range(2)]
    assert names[0] != names[1]
    assert all(re.fullmatch(re.escape(cell().id) + "-[0-9a-f]{8}", name) for name in names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RECIPES)
def test_an_unchanged_recipe_is_named_by_itself(name):
    assert cell(recipe=name, **RECIPES[name].settings).slug == f"{name}-seed-0"
