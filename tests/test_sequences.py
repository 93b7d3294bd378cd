"""Sequences of several lengths as batches."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import models, optim
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


# ---- labels of tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, -12])
def test_a_tagger_reads_both_ways_and_no_padding(padding):
    dl.manual_seed(0)
    model = models.LSTMTagger(12, 3, width=8, hidden=6, padding=padding)
    tokens = np.array([[3, 1, 4, 0, 0], [5, 9, 2, 6, 1]])
    out = model(dl.tensor(tokens))
    assert out.shape == (2, 5, 3)
    np.testing.assert_allclose(np.asarray(model(dl.tensor(tokens[:1, :3]))), np.asarray(out[:1, :3]), rtol=1e-5)
    assert out[0, 3].tolist() == out[0, 4].tolist() == model.head.bias.tolist()
    tokens[1, 4] = 7  # the last token changes what is said of the first one, of its own sequence alone
    changed = model(dl.tensor(tokens))
    assert changed[0].tolist() == out[0].tolist() and changed[1, 0].tolist() != out[1, 0].tolist()
    with pytest.raises(dl.ShapeError, match=r"LSTMTagger: tokens have shape \(5,\), not \(N, L\)"):
        model(dl.tensor(tokens[0]))


def test_steps_over_buckets_are_recorded_once_for_each_length():
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 9, 40)
    tokens = pad_sequences([rng.integers(1, 5, n) for n in lengths], 8)
    labels = np.where(tokens, tokens % 2, -100)  # odd or even
    losses = []
    for recorded in (False, True):
        dl.manual_seed(0)
        model = models.LSTMTagger(5, 2, width=4, hidden=8)
        update = optim.Adam(model.parameters(), lr=0.05)

        def step(tokens, labels, model=model, update=update):
            update.zero_grad()
            loss = dl.cross_entropy(model(tokens).reshape(-1, 2), labels.reshape(-1))
            loss.backward()
            update.step()
            return loss

        run = dl.capture(step) if recorded else step
        buckets = LengthBuckets(lengths, 4, [4, 6, 8], seed=2)
        found = [run(*(dl.tensor(a[rows, :length]) for a in (tokens, labels))).item()
                 for _ in range(6) for rows, length in buckets]  # fmt: skip
        losses.append(found)
    assert losses[0] == losses[1] and losses[0][-1] < 0.1
    assert run.recordings == 3
