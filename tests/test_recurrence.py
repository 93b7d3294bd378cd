"""Linear recurrences and MinGRU: what the table of operations cannot say of them."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn


def drawn(*shape, seed=0):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_long_decays_do_not_vanish():
    a, b = dl.full((1, 20_000, 3), 0.999), dl.ones(1, 20_000, 3)
    h = dl.linear_recurrence(a, b, dl.full((1, 3), 5.0))
    assert np.allclose(h.numpy()[0, -1], 1000.0, rtol=1e-4)  # where products of a are 0 in float32
    tiny = dl.linear_recurrence(dl.full((1, 3000, 1), 1e-3), b[:, :3000, :1])
    assert np.allclose(tiny.numpy()[0, 1:], 1.001001, rtol=1e-5)


def test_the_end_of_one_part_begins_the_next():
    a, b = dl.sigmoid(drawn(2, 9, 4)), drawn(2, 9, 4, seed=1)
    whole = dl.linear_recurrence(a, b)
    second = dl.linear_recurrence(a[:, 5:], b[:, 5:], whole[:, 4])
    assert np.allclose(second.numpy(), whole.numpy()[:, 5:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_min_gru_is_its_loop(positive):
    module, x, h0 = nn.MinGRU(5, 6, positive=positive), drawn(3, 7, 5), dl.abs(drawn(3, 6, seed=1))
    out, last = module(x, h0)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (module.linear.weight, module.linear.bias))
    h = h0.numpy().astype(np.float64)
    for t in range(7):
        gate, y = np.split(x.numpy()[:, t] @ weight.T + bias, 2, -1)
        z = 1 / (1 + np.exp(-gate))
        g = np.where(y >= 0, y + 0.5, 1 / (1 + np.exp(-y))) if positive else y
        h = (1 - z) * h + z * g
        assert np.allclose(out.detach().numpy()[:, t], h, rtol=1e-5, atol=1e-6)
    assert np.array_equal(last.detach().numpy(), out.detach().numpy()[:, -1])
    assert not positive or out.detach().numpy().min() > 0


def test_min_gru_learns_and_is_recorded():
    module, x = nn.MinGRU(2, 8), drawn(4, 12, 2)
    optimizer = dl.optim.Adam(module.parameters(), lr=0.05)
    target = dl.cumsum(dl.abs(x), 1)[..., :1] / 12

    @dl.capture
    def step(x):
        loss = ((module(x)[0].mean(-1, True) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x).item() for _ in range(60)]
    assert losses[-1] < losses[0] / 10
    assert step.recordings == 1


def test_wrong_shapes():
    module = nn.MinGRU(5, 6)
    with pytest.raises(dl.ShapeError, match=r"MinGRU: x has shape \(3, 5\), expected \(B, T, 5\)"):
        module(drawn(3, 5))
    with pytest.raises(dl.ShapeError, match=r"MinGRU: h0 has shape \(2, 6\), expected \(3, 6\)"):
        module(drawn(3, 7, 5), drawn(2, 6))
