"""Bags of embeddings: what the table of operations cannot say."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn

TOKENS = [1, 3, 3, 0, 2, 1]


def numbers(*shape):
    """Numbers that anyone can make again."""
    return dl.tensor(np.sin(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape), requires_grad=True)


def test_two_forms_of_bags_agree():
    weight = numbers(5, 3)
    for mode in ("sum", "mean", "max"):
        rows = dl.embedding_bag(dl.tensor(TOKENS).reshape(2, 3), weight, mode=mode)
        joined = dl.embedding_bag(dl.tensor(TOKENS), weight, dl.tensor([0, 3]), mode=mode)
        ended = dl.embedding_bag(dl.tensor(TOKENS), weight, dl.tensor([0, 3, 6]), mode=mode, include_last_offset=True)
        np.testing.assert_array_equal(rows.numpy(), joined.numpy())
        np.testing.assert_array_equal(rows.numpy(), ended.numpy())


def test_bags_are_sums_of_embeddings():
    weight, again, factors = numbers(5, 40), numbers(5, 40), numbers(2, 3)
    tokens = dl.tensor(TOKENS).reshape(2, 3)
    out = dl.embedding_bag(tokens, weight, mode="sum", per_sample_weights=factors, padding_idx=3)
    (out**2).sum().backward()
    other = numbers(2, 3)
    rows = dl.embedding(tokens, again) * (other * (tokens != 3))[..., None]
    want = rows.sum(1)
    (want**2).sum().backward()
    np.testing.assert_allclose(out.numpy(), want.numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(weight.grad.numpy(), again.grad.numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(factors.grad.numpy(), other.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_composite_agrees(mode):
    """What a second gradient goes through."""
    from dlcore.ops.bags import embedding_bag_forward

    weight, again = numbers(5, 7), numbers(5, 7)
    given = dl.tensor(TOKENS), dl.tensor([0, 2, 2, 5, 6]), None, mode, 1, True, False
    out, want = embedding_bag_forward(weight, *given), embedding_bag_forward.op.by_position(again, *given)
    np.testing.assert_allclose(out.numpy(), want.numpy(), rtol=1e-12)
    (out * out).sum().backward()
    (want * want).sum().backward()
    np.testing.assert_allclose(weight.grad.numpy(), again.grad.numpy(), rtol=1e-12)


def test_wrong_calls():
    weight, tokens = numbers(5, 3), dl.tensor(TOKENS)
    for error, text, arguments in (
        (ValueError, "embedding_bag: offset 1 at position 0 is not 0", {"offsets": [1, 3]}),
        (ValueError, "offset 2 at position 2 is not between the one before, 4, and 6", {"offsets": [0, 4, 2]}),
        (ValueError, "offset 7 at position 1 is not between the one before, 0, and 6", {"offsets": [0, 7]}),
        (ValueError, "embedding_bag: mode 'prod' is not one of", {"offsets": [0], "mode": "prod"}),
        (ValueError, "embedding_bag: sparse=True: gradients are dense here", {"offsets": [0], "sparse": True}),
        (dl.ShapeError, r"embedding_bag: input has shape \(6,\): without offsets", {}),
    ):
        with pytest.raises(error, match=text):
            dl.embedding_bag(tokens, weight, **arguments)
    with pytest.raises(IndexError, match=r"embedding_bag: token 5 at position \(0, 1\) is outside"):
        dl.embedding_bag(dl.tensor([[0, 5]]), weight)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_recorded_steps(mode):
    def run(recorded):
        layer = nn.EmbeddingBag(6, 4, mode=mode, max_norm=2.0, _weight=dl.tensor(3 * numbers(6, 4).numpy()))
        optimizer = dl.optim.SGD(layer.parameters(), lr=0.1)

        def step(tokens, offsets):
            loss = (layer(tokens, offsets) ** 2).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        call = dl.capture(step) if recorded else step
        rng = np.random.default_rng(0)
        losses = []
        for _ in range(5):
            offsets = dl.tensor(np.concatenate([[0], np.sort(rng.integers(0, 9, 3))]))
            losses.append(float(call(dl.tensor(rng.integers(0, 6, 8)), offsets)))
        return losses, layer.weight.numpy()

    (eager, weight), (replayed, same) = run(False), run(True)
    assert eager == replayed
    np.testing.assert_array_equal(weight, same)


def test_layers():
    layer = nn.EmbeddingBag(10, 3, mode="sum", padding_idx=0, include_last_offset=True)
    assert repr(layer) == "EmbeddingBag(10, 3, padding_idx=0, mode='sum', include_last_offset=True)"
    assert not layer.weight.numpy()[0].any()
    table = nn.EmbeddingBag.from_pretrained(numbers(4, 2).detach(), mode="max")
    assert not table.weight.requires_grad and table.mode == "max"
