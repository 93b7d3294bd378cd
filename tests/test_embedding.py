"""Embeddings: what the table of operations cannot say."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim


def table(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_values_of_pytorch():
    """Recorded from torch.nn.functional.embedding: norms of 5, 5 and 1, rows 0 and 2 looked up."""
    weight = dl.tensor([[3.0, 4.0], [0.0, 5.0], [0.6, 0.8]], requires_grad=True)
    out = dl.embedding(dl.tensor([2, 0, 2]), weight, padding_idx=0, max_norm=2.0, scale_grad_by_freq=True)
    np.testing.assert_allclose(out.numpy(), [[0.6, 0.8], [1.2, 1.6], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(weight.numpy(), [[1.2, 1.6], [0.0, 5.0], [0.6, 0.8]], rtol=1e-6)
    (out * dl.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), [[0, 0], [0, 0], [3, 4]])


@pytest.mark.parametrize("width", [1, 5, 16, 33, 128, 260])
@pytest.mark.parametrize("skew", [False, True])
def test_sums_are_those_of_rows_in_order(width, skew):
    rng = np.random.default_rng(width)
    tokens = np.where(rng.random(3000) < 0.9, 7, rng.integers(0, 50, 3000)) if skew else rng.integers(0, 50, 3000)
    dout = rng.standard_normal((3000, width), np.float32)
    want = np.zeros((50, width), np.float32)
    for token, row in zip(tokens, dout, strict=True):
        want[token] += row
    got = dl.ops.embedding.embedding_backward(dl.tensor(dout), dl.tensor(tokens), (50, width))
    np.testing.assert_array_equal(got.numpy(), want)


def test_large_tables_are_zero_where_no_token_is():
    """Zeros go past the caches there, row by row and in unaligned runs."""
    tokens = dl.tensor([5, 99_999, 5, 40_000])
    got = dl.ops.embedding.embedding_backward(dl.ones(4, 33), tokens, (100_000, 33)).numpy()
    assert got[5].tolist() == [2.0] * 33
    assert got[99_999].tolist() == got[40_000].tolist() == [1.0] * 33
    assert got.sum() == 4 * 33


def test_wrong_tokens_change_nothing():
    weight = dl.tensor(table(5, 3))
    before = weight.numpy().copy()
    with pytest.raises(IndexError, match=r"embedding: token 9 at position \(1, 0\) is outside of the vocabulary of 5"):
        dl.embedding(dl.tensor([[0, 1], [9, 2]]), weight, max_norm=0.1)
    np.testing.assert_array_equal(weight.numpy(), before)


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_wrong_tokens_in_a_replay(max_norm):
    layer = nn.Embedding(5, 3, max_norm=max_norm)
    step = dl.capture(lambda tokens: layer(tokens).sum())
    for tokens in ([0, 1], [2, 3], [4, 4]):
        step(dl.tensor(tokens))
    before = layer.weight.numpy().copy()
    with pytest.raises(IndexError, match=r"embedding\w*: token 5 at position 1 is outside of the vocabulary of 5"):
        step(dl.tensor([0, 5]))
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_wrong_arguments():
    weight, tokens = dl.ones(5, 3), dl.tensor([0])
    for error, text, arguments in (
        (ValueError, "embedding: padding_idx 5 is outside of the vocabulary of 5", {"padding_idx": 5}),
        (ValueError, "embedding: sparse=True: gradients are dense here", {"sparse": True}),
        (ValueError, "embedding: norm_type -1.0 is not a number from 0 on", {"max_norm": 1.0, "norm_type": -1.0}),
        (TypeError, "embedding: max_norm 'a' is not a number", {"max_norm": "a"}),
    ):
        with pytest.raises(error, match=text):
            dl.embedding(tokens, weight, **arguments)
    with pytest.raises(dl.DTypeError, match="embedding: input is of dtype float32, not integers"):
        dl.embedding(dl.ones(2), weight)
    with pytest.raises(dl.ShapeError, match=r"embedding: weight has shape \(3,\), not \(vocabulary, width\)"):
        dl.embedding(tokens, dl.ones(3))


class Tied(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.table(tokens))


def tied_losses(recorded):
    dl.manual_seed(0)
    model = Tied()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(tokens, labels):
        loss = dl.cross_entropy(model(tokens), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = dl.capture(step) if recorded else step
    rng = np.random.default_rng(1)
    losses = [float(run(dl.tensor(rng.integers(0, 11, 6)), dl.tensor(rng.integers(0, 11, 6)))) for _ in range(5)]
    return losses, model.table.weight.numpy()


def test_tied_weights_get_both_gradients():
    model, tokens, labels = Tied(), dl.tensor([1, 1, 7]), dl.tensor([0, 2, 7])
    assert len(list(model.parameters())) == 1
    dl.cross_entropy(model(tokens), labels).backward()
    weight = model.table.weight
    looked_up, product = (dl.tensor(weight.numpy(), requires_grad=True) for _ in range(2))
    dl.cross_entropy(dl.linear(dl.embedding(tokens, looked_up), product), labels).backward()
    np.testing.assert_array_equal(weight.grad.numpy(), looked_up.grad.numpy() + product.grad.numpy())


def test_tied_weights_are_recorded():
    (eager, weights), (replayed, again) = tied_losses(False), tied_losses(True)
    assert eager == replayed
    np.testing.assert_array_equal(weights, again)


def test_rows_are_made_shorter_in_a_recording():
    def run(recorded):
        layer = nn.Embedding(6, 4, max_norm=1.0, _weight=dl.tensor(10 * table(6, 4)))
        step = dl.capture(layer) if recorded else layer
        found = [step(dl.tensor(tokens)).numpy() for tokens in ([0, 0], [1, 2], [2, 2], [5, 0])]
        return np.concatenate([*found, layer.weight.numpy()])

    np.testing.assert_array_equal(run(False), run(True))
    assert np.linalg.norm(run(True)[:8], axis=1).max() < 1.0 + 1e-6


def test_layers():
    layer = nn.Embedding(10, 3, padding_idx=-1, norm_type=1.0, scale_grad_by_freq=True)
    assert repr(layer) == "Embedding(10, 3, padding_idx=9, norm_type=1.0, scale_grad_by_freq=True)"
    assert list(layer.state_dict()) == ["weight"]
    assert layer.weight.numpy()[9].tolist() == [0.0] * 3
    frozen = nn.Embedding.from_pretrained(dl.tensor(table(4, 2)))
    assert not frozen.weight.requires_grad and frozen.weight.shape == (4, 2)
    assert nn.Embedding.from_pretrained(dl.tensor(table(4, 2)), freeze=False).weight.requires_grad
    with pytest.raises(ValueError, match="Embedding: padding_idx 10 is outside of the vocabulary of 10"):
        nn.Embedding(10, 3, padding_idx=10)
    with pytest.raises(dl.ShapeError, match=r"Embedding: weight has shape \(2, 2\), not \(2, 3\)"):
        nn.Embedding(2, 3, _weight=dl.ones(2, 2))
    with pytest.raises(dl.ShapeError, match=r"Embedding\.from_pretrained: embeddings have shape"):
        nn.Embedding.from_pretrained(dl.ones(2))


def test_examples_of_a_vmap():
    tables, tokens = dl.tensor(table(3, 6, 4)), dl.tensor([[1, 5], [0, 1]])
    both = dl.func.vmap(dl.embedding, in_axes=(None, 0))(tokens, tables)
    each = np.stack([dl.embedding(tokens, tables[k]).numpy() for k in range(3)])
    np.testing.assert_array_equal(both.numpy(), each)

    def loss(weight):
        return (dl.embedding(tokens, weight, padding_idx=5) ** 2).sum()

    gradients = dl.func.vmap(dl.func.grad(loss))(tables).numpy()
    np.testing.assert_array_equal(gradients, np.stack([dl.func.grad(loss)(tables[k]).numpy() for k in range(3)]))
