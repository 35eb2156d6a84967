"""How many samples a batch of any form has."""

import re
from collections import UserDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnistbench.recorder.batch_size import batch_counter, differing_sizes, leading_size
from mnistbench.schema.errors import InputError


@dataclass
class Sample:
    name: str
    pixels: object


Pair = namedtuple("Pair", "inputs labels")
SIZE = 3
ARRAYS = st.sampled_from([torch.zeros(SIZE, 2), np.zeros((SIZE,)), torch.zeros(SIZE).to_sparse()])
SIZELESS = st.one_of(
    st.none(), st.integers(), st.text(), st.just(torch.tensor(1.0)), st.just(np.float32(2))
)
FORMS = st.sampled_from(
    [
        tuple,
        list,
        lambda parts: dict(enumerate(parts)),
        lambda parts: UserDict(enumerate(parts)),
        lambda parts: Sample("a", parts),
        lambda parts: Pair(parts, None),
    ]
)


@given(data=st.data(), depth=st.integers(0, 4))
def test_the_first_array_is_found_in_whatever_holds_it(data, depth):
    batch = data.draw(ARRAYS)
    for _ in range(depth):
        before = data.draw(st.lists(SIZELESS, max_size=2))
        after = data.draw(st.lists(st.one_of(SIZELESS, st.just(torch.zeros(9))), max_size=2))
        batch = data.draw(FORMS)([*before, batch, *after])
    assert leading_size(batch) == SIZE
    assert batch_counter(None)(batch) == SIZE


@given(st.recursive(SIZELESS, lambda inner: st.builds(lambda form, parts: form(parts), FORMS,
       st.lists(inner, max_size=3)), max_leaves=5))  # fmt: skip
def test_what_holds_no_array_has_no_size(batch):
    assert leading_size(batch) is None
    with pytest.raises(InputError, match="num_samples: a batch of type"):
        batch_counter(None)(batch)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(4, 2), torch.zeros(4)), None),
        ({"weight": torch.tensor(1.0), "x": torch.zeros(4, 2), "id": ["a"] * 4}, None),
        ((["a"] * 4, torch.zeros(4)), None),
        ({"mask": torch.ones(8, 8), "x": torch.zeros(4, 2)}, "8 samples .* arrays of 8, 4;"),
        (([torch.zeros(3, 9)] * 2, [{"boxes": torch.zeros(5, 4)}] * 2), "3 samples .* of 3, 5;"),
        ([torch.zeros(size) for size in range(1, 9)], "arrays of 1, 2, 3, 4, 5, …;"),
    ],
)
def test_arrays_of_different_sizes_put_the_number_in_doubt(batch, said):
    told = differing_sizes(batch)
    assert told is None if said is None else re.search(said, told)


def test_a_batch_that_holds_itself_has_no_size():
    batch = []
    batch.append(batch)
    assert leading_size(batch) is None


def test_tensors_of_uneven_parts_do_not_tell_their_size():
    parts = [torch.zeros(1), torch.zeros(2)]
    with pytest.warns(UserWarning, match="prototype"):
        batch = torch.nested.nested_tensor(parts)
    assert leading_size(batch) is None


@pytest.mark.parametrize("told", [7, np.int64(7), lambda _: 7, lambda _: torch.tensor(7)])
def test_numbers_of_samples_may_be_told(told):
    assert batch_counter(told)("anything") == 7


@pytest.mark.parametrize("told", [-1, 1.5, True, "7", lambda _: 1.5, lambda _: -1])
def test_numbers_of_samples_are_whole(told):
    with pytest.raises(InputError, match="num_samples: should be a whole number from 0 on"):
        batch_counter(told)("anything")
