"""Sequences of several lengths as batches."""

import numpy as np
import pytest

import dlcore as dl
from dlcore.data import LengthBuckets, pad_sequences


def test_padding():
    found = pad_sequences([np.array([1, 2], np.int32), [3], []], 4, value=-1)
    assert found.tolist() == [[1, 2, -1, -1], [3, -1, -1, -1], [-1] * 4]
    assert pad_sequences([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)]).dtype == np.float32
    assert pad_sequences([np.ones((2, 3)), np.ones((1, 3))])[1].tolist() == [[1] * 3, [0] * 3]
    assert pad_sequences([]).shape == (0, 0) and pad_sequences([[], []], 2).tolist() == [[0, 0], [0, 0]]
    assert pad_sequences([[True], [True, True]]).tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    ("error", "text", "given"),
    [
        (dl.ShapeError, "pad_sequences: sequence 1 has 3 places, more than length 2", ([[1], [1, 2, 3]], 2)),
        (dl.ShapeError, "pad_sequences: sequence 1 has shape (2, 1), the first one (2,)", ([[1, 2], [[1], [2]]],)),
        (TypeError, "pad_sequences: sequence 0 an array of shape () and dtype int64 is no array of numbers with axes",
         ([1, 2],)),
        (TypeError, "pad_sequences: sequences 'ab' is not a list of sequences", ("ab",)),
        (ValueError, "pad_sequences: length is -1; it must be at least 0", ([], -1)),
        (ValueError, "pad_sequences: value 0.5 is no int64", ([[1, 2]], None, 0.5)),
    ],
)  # fmt: skip
def test_what_padding_refuses(error, text, given):
    with pytest.raises(error) as raised:
        pad_sequences(*given)
    assert str(raised.value) == text


def test_buckets_hold_each_row_once_and_pad_little():
    lengths = np.random.default_rng(0).integers(0, 33, 500)
    buckets = LengthBuckets(lengths, 16, [8, 16, 24, 32], seed=3, drop_last=False)
    first, second = list(buckets), list(buckets)
    assert len(first) == len(buckets)
    for batches in (first, second):
        assert sorted(np.concatenate([rows for rows, _ in batches]).tolist()) == list(range(500))
        assert all(length - 8 <= lengths[rows].min() and lengths[rows].max() <= length for rows, length in batches)
    orders = [np.concatenate([rows for rows, _ in batches]).tolist() for batches in (first, second)]
    assert orders[0] != orders[1]
    again = list(LengthBuckets(lengths, 16, [8, 16, 24, 32], seed=3, drop_last=False))
    assert np.concatenate([rows for rows, _ in again]).tolist() == orders[0]
    full = LengthBuckets(lengths, 16, [32, 16, 24, 8], seed=3)
    assert {len(rows) for rows, _ in full} == {16} and len(list(full)) == len(full) < len(first)


def test_orders_are_drawn_from_the_generator():
    dl.manual_seed(1)
    one = [rows.tolist() for rows, _ in LengthBuckets([1] * 20, 5, [1])]
    dl.manual_seed(1)
    assert one == [rows.tolist() for rows, _ in LengthBuckets([1] * 20, 5, [1])]
    assert one != [rows.tolist() for rows, _ in LengthBuckets([1] * 20, 5, [1])]


@pytest.mark.parametrize(
    ("error", "text", "given"),
    [
        (ValueError, "LengthBuckets: length 9 at 1 is not within 0 and the last edge, 8", ([3, 9], 2, [4, 8])),
        (ValueError, "LengthBuckets: length -1 at 0 is not within 0 and the last edge, 8", ([-1, 3], 2, [4, 8])),
        (ValueError, "LengthBuckets: edges () are no lengths", ([3], 2, [])),
        (ValueError, "LengthBuckets: batch_size is 0; it must be at least 1", ([3], 0, [4])),
        (TypeError, "LengthBuckets: lengths [1.5] are no vector of integers", ([1.5], 2, [4])),
    ],
)
def test_what_buckets_refuse(error, text, given):
    with pytest.raises(error) as raised:
        LengthBuckets(*given)
    assert str(raised.value) == text
