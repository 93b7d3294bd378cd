"""Attention where the table cannot say it: PyTorch's values and arguments, bands, caches, dropout, errors."""

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn

SHAPE = (1, 2, 3, 4)


def waves():
    """What the recorded values were computed from."""
    i = np.arange(24.0)
    found = np.sin(i), np.cos(i * 1.3), np.sin(i * 0.7 + 1)
    return [dl.tensor(x.reshape(SHAPE), dtype=dl.float64, requires_grad=True) for x in found]


def randn(*shape, dtype=dl.float64, seed=0):
    return dl.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype=dtype)


# Of torch 2.13: every fifth value, every seventh of each gradient.
RECORDED = [
    ({}, [0.080567, 0.479155, 0.109847, -0.35905, 0.304735],
     [[0.102162, 0.15636, -0.052536, 0.135592], [-0.293534, -0.519703, 0.098003, 0.468603],
      [-0.106914, -0.173313, 0.018633, -0.304616]]),
    ({"is_causal": True}, [0.841471, 0.172365, 0.109847, -0.875452, 0.304735],
     [[0.0, 0.038222, 0.0, 0.135592], [-0.443767, -0.506985, 0.272334, 0.13909],
      [0.545893, 0.315377, 0.159966, -0.315534]]),
    ({"scale": 0.3, "attn_mask": np.cos(np.arange(9.0)).reshape(3, 3)},
     [0.163394, 0.552947, 0.106088, -0.378146, 0.052667],
     [[0.084821, 0.090264, -0.002002, 0.127672], [-0.186361, -0.31042, 0.028889, 0.254948],
      [0.237247, -0.262099, -0.238841, -0.248235]]),
]  # fmt: skip


@pytest.mark.parametrize("arguments, values, gradients", RECORDED, ids=["plain", "causal", "mask"])
def test_values_and_gradients_are_those_of_pytorch(arguments, values, gradients):
    q, k, v = waves()
    out = dl.scaled_dot_product_attention(q, k, v, **arguments)
    np.testing.assert_allclose(out.detach().numpy().ravel()[::5], values, atol=1e-6)
    (out * dl.tensor(np.cos(np.arange(24.0)).reshape(SHAPE))).sum().backward()
    for x, expected in zip((q, k, v), gradients, strict=True):
        np.testing.assert_allclose(x.grad.numpy().ravel()[::7], expected, atol=1e-6)


def plain(q, k, v, seen=None, scale=None):
    """Attention of (..., T, D) in NumPy."""
    s = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    s = s if seen is None else np.where(seen, s, -np.inf)
    top = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total) @ v


def near(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found.detach()), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4), (2, 3, 5, 4), (2, 3, 2, 5, 4)])
def test_leading_axes_may_be_few_or_many(shape):
    q, k, v = (randn(*shape, seed=s) for s in range(3))
    near(dl.scaled_dot_product_attention(q, k, v), plain(q.numpy(), k.numpy(), v.numpy()))


def test_leading_axes_broadcast():
    q, k, v, mask = randn(2, 3, 4, 5, 6), randn(3, 1, 7, 6), randn(1, 1, 4, 7, 6), randn(3, 1, 5, 7)
    found = dl.scaled_dot_product_attention(q, k, v, mask)
    s = q.numpy() @ np.swapaxes(k.numpy(), -1, -2) / math.sqrt(6) + mask.numpy()
    e = np.exp(s)
    near(found, e / e.sum(-1, keepdims=True) @ v.numpy())


def test_heads_of_keys_are_shared_when_that_is_said():
    q, k, v = randn(2, 6, 5, 4), randn(2, 2, 7, 4), randn(2, 2, 7, 4)
    with pytest.raises(dl.ShapeError, match=r"heads differ: query \(2, 6, 5, 4\).*enable_gqa=True"):
        dl.scaled_dot_product_attention(q, k, v)
    found = dl.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    near(found, plain(q.numpy(), np.repeat(k.numpy(), 3, 1), np.repeat(v.numpy(), 3, 1)))
    assert nn.functional.scaled_dot_product_attention is dl.scaled_dot_product_attention


@pytest.mark.parametrize("arguments, seen", [
    ({"is_causal": True}, lambda i, j: j <= i),
    ({"is_causal": True, "lower_right": True}, lambda i, j: j <= i + 4),
    ({"window": 2}, lambda i, j: abs(i - j) < 2),
    ({"window": 3, "is_causal": True}, lambda i, j: (j <= i) & (j > i - 3)),
    ({"window": (2, 1), "lower_right": True}, lambda i, j: (j <= i + 5) & (j >= i + 2)),
    ({"window": (-1, 1)}, lambda i, j: j <= i + 1),
    ({"lengths": [6, 0]}, lambda i, j: (j < np.array([6, 0]).reshape(2, 1, 1, 1)) & (i >= 0)),
    ({"lengths": [6, 5], "is_causal": True, "lower_right": True},
     lambda i, j: j <= i + np.array([1, 0]).reshape(2, 1, 1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("layout", ["BHTD", "BTHD"])
def test_bands_and_lengths(arguments, seen, layout):
    q, k, v = randn(2, 3, 5, 4), randn(2, 3, 9, 4), randn(2, 3, 9, 4)
    arguments = {n: dl.tensor(x) if isinstance(x, list) else x for n, x in arguments.items()}
    where = np.broadcast_to(seen(np.arange(5)[:, None], np.arange(9)), (2, 3, 5, 9))
    other = layout == "BTHD"
    found = dl.scaled_dot_product_attention(
        *(x.transpose(1, 2) if other else x for x in (q, k, v)), layout=layout, **arguments
    )
    near(found.transpose(1, 2) if other else found, plain(q.numpy(), k.numpy(), v.numpy(), where))


def test_one_projection_is_as_its_parts():
    qkv, mask = randn(2, 7, (4 + 2 * 2) * 5), randn(1, 1, 7, 7)
    qkv.requires_grad_()
    out = dl.qkv_attention(qkv, 4, mask, is_causal=True, num_kv_heads=2)
    assert out.shape == (2, 7, 20)
    weights = randn(2, 7, 20, seed=5)
    (whole,) = dl.grad((out * weights).sum(), [qkv])
    q, k, v = (x.reshape(2, 7, -1, 5) for x in (qkv[..., :20], qkv[..., 20:30], qkv[..., 30:]))
    parts = dl.scaled_dot_product_attention(q, k, v, mask, is_causal=True, layout="BTHD").reshape(2, 7, 20)
    near(out, np.asarray(parts.detach()))
    near(whole, np.asarray(dl.grad((parts * weights).sum(), [qkv])[0]))


def test_sequences_behind_each_other_see_only_themselves():
    qkv, offsets = randn(1, 11, 3 * 2, 4), dl.tensor([0, 4, 4, 11])
    found = dl.qkv_attention(qkv, 2, is_causal=True, offsets=offsets)
    for a, b in ((0, 4), (4, 11)):
        near(found[:, a:b], np.asarray(dl.qkv_attention(qkv[:, a:b], 2, is_causal=True)))


def test_what_sees_nothing_is_zero_and_has_no_gradient():
    q, k, v = (x.requires_grad_() for x in (randn(1, 1, 3, 4), randn(1, 1, 5, 4), randn(1, 1, 5, 4)))
    mask = np.ones((3, 5), bool)
    mask[1] = False
    out = dl.scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()
    assert not out[0, 0, 1].any() and not q.grad[0, 0, 1].any()
    assert all(dl.isfinite(x.grad).all() for x in (q, k, v))
    hidden = dl.scaled_dot_product_attention(q, k, v, dl.full((3, 5), -math.inf, dl.float64))
    assert not hidden.any()


def test_keys_beyond_the_lengths_are_not_read():
    q, k, v = randn(1, 2, 1, 4), randn(1, 2, 9, 4), randn(1, 2, 9, 4)
    k[:, :, 6:], v[:, :, 6:] = math.nan, math.inf
    found = dl.scaled_dot_product_attention(q, k, v, lengths=dl.tensor([6]), is_causal=True, lower_right=True)
    near(found, plain(q.numpy(), k.numpy()[:, :, :6], v.numpy()[:, :, :6]))


@pytest.mark.parametrize("shape", [(1, 1, 700, 24), (2, 2, 70, 9)])
@pytest.mark.parametrize("dtype", [dl.float32, dl.bfloat16])
def test_the_bits_do_not_depend_on_the_number_of_threads(shape, dtype):
    q, k, v, dout = (randn(*shape, dtype=dtype, seed=s) for s in range(4))
    threads, found = dl.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            dl.set_num_threads(n)
            parts = [x.detach().requires_grad_() for x in (q, k, v)]
            out = dl.scaled_dot_product_attention(*parts, is_causal=True)
            made = [out.detach(), *dl.grad(out, parts, dout)]
            found.append([np.asarray(x.astype(dl.float32)).tobytes() for x in made])
    finally:
        dl.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("arguments, text", [
    ({"lengths": [3, 10]}, "length 10 at position 1 is not between 0 and the number of keys, 9"),
    ({"lengths": [-1]}, "length -1 at position 0 is not between 0 and the number of keys, 9"),
    ({"query_offsets": [0, 5], "key_offsets": [4, 3]}, "key_offsets 3 at position 1 is below the one before"),
    ({"query_offsets": [0, 6], "key_offsets": [0, 9]}, "query_offsets 6 at position 1 is beyond the 5 that there are"),
])  # fmt: skip
def test_lengths_and_offsets_out_of_range_are_refused(arguments, text):
    b = 1 if "query_offsets" in arguments else 2
    q, k = randn(b, 2, 5, 4), randn(b, 2, 9, 4)
    with pytest.raises(ValueError) as raised:
        dl.scaled_dot_product_attention(q, k, k, **{n: dl.tensor(x) for n, x in arguments.items()})
    assert str(raised.value) == f"scaled_dot_product_attention: {text}"


def test_distances_of_alibi_need_no_square():
    """slope j in the place of -slope (i - j), as docs/sequences.md says: one row of numbers for each head."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 4, 10, 8)) for _ in range(3))
    slopes = np.array([0.25, 0.0625, 0.015625, 0.00390625])[:, None, None]
    i, j = np.arange(10)[:, None], np.arange(10)
    scores = q @ k.swapaxes(2, 3) / np.sqrt(8) - slopes * (i - j)
    weights = np.where(j <= i, np.exp(scores), 0)
    want = weights / weights.sum(-1, keepdims=True) @ v
    for dtype, rows in (("float64", slopes * j), ("float64", -slopes * (i - j)), ("float32", slopes * j)):
        q_, k_, v_, mask = (dl.tensor(x.astype(dtype)) for x in (q, k, v, rows))
        found = dl.scaled_dot_product_attention(q_, k_, v_, mask, is_causal=True)
        np.testing.assert_allclose(found.numpy(), want, atol=1e-12 if dtype == "float64" else 2e-6)


def test_a_mask_has_a_gradient():
    q, k, v, mask = waves()[0].detach(), *(x.detach() for x in waves()[1:]), randn(1, 2, 1, 3).requires_grad_()
    dl.scaled_dot_product_attention(q, k, v, mask).square().sum().backward()
    by_hand = mask.detach().requires_grad_()
    p = dl.softmax(q @ k.transpose() / 2 + by_hand)
    (p @ v).square().sum().backward()
    near(mask.grad, np.asarray(by_hand.grad))


def test_dropout_is_that_of_the_square_and_moves_the_generator():
    q, k, v = randn(2, 2, 5, 4), randn(2, 2, 7, 4), randn(2, 2, 7, 4)
    first, second = dl.random.Generator(3), dl.random.Generator(3)
    found = dl.scaled_dot_product_attention(q, k, v, dropout_p=0.4, generator=first)
    p = dl.random.dropout(dl.softmax(q @ k.transpose() / 2), 0.4, second)
    near(found, np.asarray(p @ v))
    assert first.get_state().tolist() == second.get_state().tolist()
    with pytest.raises(dl.ShapeError):
        dl.scaled_dot_product_attention(q, k[:1], v, dropout_p=0.4, generator=first, enable_gqa=True,
                                        attn_mask=dl.zeros(3, 3))  # fmt: skip
    assert first.get_state().tolist() == second.get_state().tolist(), "a call that is refused draws nothing"


def test_a_recorded_step_draws_anew_and_a_growing_cache_needs_no_new_recording():
    g, lengths = dl.random.Generator(1), dl.tensor([3])
    q, k, v = randn(1, 2, 1, 4, dtype=dl.float32), randn(1, 2, 9, 4), randn(1, 2, 9, 4)
    k, v = k.astype(dl.float32), v.astype(dl.float32)

    @dl.capture
    def step(q):
        seen = dl.scaled_dot_product_attention(q, k, v, lengths=lengths, is_causal=True, lower_right=True)
        return seen, dl.scaled_dot_product_attention(q, k, v, dropout_p=0.5, generator=g)

    drawn = []
    for n in range(3, 9):
        lengths[...] = n
        seen, dropped = step(q)
        drawn.append(dropped.tolist())
        cut = dl.scaled_dot_product_attention(q, k[:, :, :n], v[:, :, :n])
        np.testing.assert_allclose(np.asarray(seen), np.asarray(cut), rtol=1e-6, atol=1e-6)
    assert len({str(d) for d in drawn}) == len(drawn)


def test_under_autocast_it_is_computed_in_16_bits():
    q = dl.randn(1, 2, 8, 4)
    with dl.autocast(dl.bfloat16):
        assert dl.scaled_dot_product_attention(q, q, q).dtype is dl.bfloat16


@pytest.mark.parametrize("call, error, text", [
    (lambda q: dl.scaled_dot_product_attention(q, q, q, dl.zeros(4, 5)), dl.ShapeError,
     "attn_mask has shape (1, 1, 4, 5), which does not broadcast to (batch, heads, queries, keys) = (2, 3, 5, 5)"),
    (lambda q: dl.scaled_dot_product_attention(q, q[..., :2], q), dl.ShapeError,
     "queries of size 4, but keys of size 2: q (2, 3, 5, 4), k (2, 3, 5, 2), v (2, 3, 5, 4)"),
    (lambda q: dl.scaled_dot_product_attention(q, q, q, dropout_p=2), ValueError,
     "dropout_p is 2.0, not a probability"),
    (lambda q: dl.scaled_dot_product_attention(q, q, q, window=0), ValueError, "window is 0; it must be at least 1"),
    (lambda q: dl.scaled_dot_product_attention(q, q, q, lengths=dl.tensor([1, 2, 3])), dl.ShapeError,
     "lengths has shape (3,), not (2,): one for each example"),
    (lambda q: dl.scaled_dot_product_attention(q[0, 0, 0], q, q), dl.ShapeError,
     "takes time and width at least, not (4,), (2, 3, 5, 4), (2, 3, 5, 4)"),
])  # fmt: skip
def test_what_does_not_fit_is_named(call, error, text):
    with pytest.raises(error) as raised:
        call(randn(2, 3, 5, 4))
    assert str(raised.value) == f"scaled_dot_product_attention: {text}"


def test_a_projection_without_that_many_heads_is_named():
    with pytest.raises(dl.ShapeError, match=r"qkv_attention: qkv of shape \(2, 5, 10\) has not 2 heads of queries"):
        dl.qkv_attention(randn(2, 5, 10), 2)
