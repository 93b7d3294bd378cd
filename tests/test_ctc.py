"""The CTC loss: what the table of operations cannot say."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn


def sequences(steps, samples, classes, seed=0):
    x = np.random.default_rng(seed).standard_normal((steps, samples, classes), np.float32)
    return dl.tensor(x, requires_grad=True)


def recorded_case():
    """Numbers that anyone can make again."""
    x = dl.tensor(np.sin(np.arange(6 * 2 * 4, dtype=np.float64)).reshape(6, 2, 4), requires_grad=True)
    return x, dl.tensor([[1, 1, 2], [3, 2, 0]]), dl.tensor([6, 4]), dl.tensor([3, 2])


def test_values_of_pytorch():
    """Recorded from torch.nn.functional.ctc_loss behind log_softmax."""
    x, *rest = recorded_case()
    each = dl.ctc_loss(dl.log_softmax(x, -1), *rest, reduction="none")
    np.testing.assert_allclose(each.numpy(), EACH, rtol=1e-12)
    loss = nn.CTCLoss()(dl.log_softmax(x, -1), *rest)
    np.testing.assert_allclose(float(loss), (EACH[0] / 3 + EACH[1] / 2) / 2, rtol=1e-12)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy()[2], GRADIENT, rtol=1e-9)
    assert not x.grad.numpy()[4:, 1].any()


EACH = [4.965311565470854, 2.328504584305445]
GRADIENT = [
    [-0.029757013468497562, -0.06868354091234145, 0.02843680681820978, 0.07000374756262923],
    [-0.03480717595545785, 0.09278319412033752, -0.07050751466099828, 0.012531496496118597],
]


def test_one_row_of_targets_and_numbers_for_lengths():
    x, targets, steps, lengths = recorded_case()
    padded = dl.ctc_loss(dl.log_softmax(x, -1), targets, steps, lengths)
    joined = dl.ctc_loss(dl.log_softmax(x, -1), dl.tensor([1, 1, 2, 3, 2]), (6, 4), [3, 2])
    assert float(padded) == float(joined)
    alone = dl.ctc_loss(dl.log_softmax(x[:, 0], -1), dl.tensor([1, 1, 2]), 6, 3, reduction="sum")
    np.testing.assert_allclose(float(alone), EACH[0], rtol=1e-12)


def test_long_sequences_keep_their_digits():
    """2000 steps of float32: losses of thousands, and gradients that are float64's to four digits."""
    x, targets = sequences(2000, 2, 20), dl.tensor(np.random.default_rng(1).integers(1, 20, (2, 300)))
    wide = dl.tensor(x.numpy().astype(np.float64), requires_grad=True)
    for given in (x, wide):
        dl.ctc_loss(dl.log_softmax(given, -1), targets, [2000, 1900], [300, 200]).backward()
    np.testing.assert_allclose(x.grad.numpy(), wide.grad.numpy(), rtol=0, atol=2e-4 * np.abs(wide.grad.numpy()).max())


def test_what_is_impossible():
    x = sequences(3, 2, 5)
    arguments = dl.tensor([[1, 1, 1], [1, 2, 3]]), dl.tensor([3, 3]), dl.tensor([3, 3])
    losses = dl.ctc_loss(dl.log_softmax(x, -1), *arguments, reduction="none").numpy()
    assert losses[0] == np.inf and np.isfinite(losses[1])
    dl.ctc_loss(dl.log_softmax(x, -1), *arguments, zero_infinity=True).backward()
    assert not x.grad.numpy()[:, 0].any() and x.grad.numpy()[:, 1].all()
    y = dl.tensor(x.numpy(), requires_grad=True)
    dl.ctc_loss(y, *arguments).backward()
    assert np.isnan(y.grad.numpy()[:, 0]).all() and np.isfinite(y.grad.numpy()[:, 1]).all()


def test_probabilities_of_zero():
    """A label that cannot be makes the loss infinite, another one nothing."""
    half = float(np.log(0.5))
    with_zeros = dl.tensor([[[half, half, -dl.inf]]] * 2)
    assert float(dl.ctc_loss(with_zeros, dl.tensor([[2]]), [2], [1])) == np.inf
    np.testing.assert_allclose(float(dl.ctc_loss(with_zeros, dl.tensor([[1]]), [2], [1])), -np.log(0.75), rtol=1e-6)


def test_recorded_steps():
    def run(recorded):
        dl.manual_seed(0)
        layer = nn.Linear(5, 7)
        optimizer = dl.optim.SGD(layer.parameters(), lr=0.1)

        def step(x, targets, lengths):
            loss = dl.ctc_loss(dl.log_softmax(layer(x), -1), targets, dl.tensor([9, 9, 9]), lengths)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        call = dl.capture(step) if recorded else step
        rng = np.random.default_rng(0)
        found = []
        for _ in range(5):
            x = dl.tensor(rng.standard_normal((9, 3, 5), np.float32))
            found.append(float(call(x, dl.tensor(rng.integers(1, 7, (3, 4))), dl.tensor(rng.integers(0, 5, 3)))))
        return found, layer.weight.numpy()

    (eager, weight), (replayed, same) = run(False), run(True)
    assert eager == replayed
    np.testing.assert_array_equal(weight, same)


def test_wrong_values_in_a_replay():
    x = dl.log_softmax(sequences(5, 2, 4).detach(), -1)
    step = dl.capture(lambda targets, lengths: dl.ctc_loss(x, targets, dl.tensor([5, 5]), lengths))
    targets = dl.tensor([[1, 2], [3, 1]])
    for _ in range(3):
        step(targets, dl.tensor([2, 1]))
    with pytest.raises(ValueError, match="ctc_loss: target length 3 at position 0 is not between 0 and 2"):
        step(targets, dl.tensor([3, 1]))
    with pytest.raises(IndexError, match=r"ctc_loss: label 0 at position \(1, 0\) is the blank"):
        step(dl.tensor([[1, 2], [0, 1]]), dl.tensor([2, 1]))


def test_layer():
    assert repr(nn.CTCLoss(2, "sum", True)) == "CTCLoss(blank=2, reduction='sum', zero_infinity=True)"
    with pytest.raises(ValueError, match="CTCLoss: reduction 'all' is not one of 'none', 'mean', 'sum'"):
        nn.CTCLoss(reduction="all")
