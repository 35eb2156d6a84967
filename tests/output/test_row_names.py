"""Rows of a page are told apart by as little as tells them apart."""

from mnistbench.output.row_names import name_columns, row_names
from tests.page_records import page_record


def names_of(*records):
    return row_names([[record] for record in records])


def test_what_is_unlike_others_needs_no_more_than_its_name():
    assert names_of(page_record(), page_record(name="cnn4-ce")) == ["simple-cnn", "cnn4-ce"]


def test_rows_of_one_name_say_what_they_differ_in():
    slow = page_record(config={"lr": 0.5})
    assert names_of(page_record(), slow, page_record(name="cnn4-ce")) == [
        "simple-cnn, lr 0.01",
        "simple-cnn, lr 0.5",
        "cnn4-ce",
    ]
    watched = page_record(config={"profile": ["torch", "memory"]})
    assert names_of(page_record(), watched) == [
        "simple-cnn, profile none",
        "simple-cnn, profile torch+memory",
    ]
    large = page_record(config={"global_batch_size": 128})
    assert names_of(page_record(), large) == ["simple-cnn, batch 64", "simple-cnn, batch 128"]


def own(**config):
    return page_record(recipe=None, config={"recipe": None, "model": "nets:Tiny", **config})


def test_what_users_bring_is_named_in_short_unless_another_is_named_so():
    mse, gce = own(loss="mse"), own(loss="nets:gce", loss_args={"q": 0.5})
    assert names_of(mse, gce) == ["Tiny, mse", "Tiny, gce"]
    other = own(loss="nets:gce", loss_args={"q": 0.7, "t": 1})
    assert names_of(gce, other) == [
        "Tiny, gce, loss_args.q 0.5, loss_args.t –",
        "Tiny, gce, loss_args.q 0.7, loss_args.t 1",
    ]
    assert [row["loss_args.q"] for row in name_columns([[gce], [other]])] == ["0.5", "0.7"]
    assert names_of(own(loss="a:gce"), own(loss="b.py:gce")) == [
        "Tiny, gce, loss a:gce",
        "Tiny, gce, loss b.py:gce",
    ]
    assert [row["loss"] for row in name_columns([[own(loss="a:gce")], [own(loss="b:gce")]])] == [
        "a:gce",
        "b:gce",
    ]


def test_what_a_column_shows_comes_last():
    several = page_record(environment={"num_processes": 2})
    assert names_of(page_record(), several) == [
        "simple-cnn, cpu × 1 × 1 threads",
        "simple-cnn, cpu × 2 × 1 threads",
    ]
    half = page_record(environment={"mixed_precision": "bf16"})
    assert names_of(page_record(), half) == ["simple-cnn, no", "simple-cnn, bf16"]


def test_rows_that_nothing_tells_apart_are_numbered_and_long_names_cut():
    assert names_of(page_record(), page_record()) == ["simple-cnn #1", "simple-cnn #2"]
    odd = [page_record(environment={"device_type": "x", "device_name": c * 99}) for c in "ab"]
    names = names_of(*odd)
    assert all(len(name) <= 60 for name in names)
    assert len(set(names)) == 2
    assert len(names_of(page_record(recipe=None, config={"model": "m" * 500}))[0]) == 60
    assert names_of(page_record(environment={"versions": {"\x1b": "1"}}))[0].isprintable()
