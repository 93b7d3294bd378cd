"""The cross-entropy of a linear layer without its logits: what the table of operations cannot say of it."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C, nn


def drawn(*shape, seed=0, dtype=np.float32):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def gradients(function, *leaves):
    leaves = [dl.tensor(leaf.numpy()) for leaf in leaves]
    for leaf in leaves:
        leaf.requires_grad = True
    loss = function(*leaves)
    (loss * 3).backward()
    return loss.item(), [leaf.grad.numpy() for leaf in leaves]


@pytest.mark.parametrize(("rows", "classes"), [(70, 33), (70, 140_000)])  # one chunk, and several
def test_it_is_the_cross_entropy_of_linear(rows, classes):
    x, weight, bias = drawn(rows, 6), drawn(classes, 6, seed=1), drawn(classes, seed=2)
    target = dl.tensor(np.where(np.arange(rows) % 5 == 0, -100, np.arange(rows) * 7 % classes))
    for options in ({}, {"label_smoothing": 0.1}, {"reduction": "sum"}):
        loss, got = gradients(
            lambda x, w, b, o=options: dl.linear_cross_entropy(x, w, target, linear_bias=b, **o), x, weight, bias
        )
        expected, want = gradients(lambda x, w, b, o=options: dl.cross_entropy(dl.linear(x, w, b), target, **o),
                                   x, weight, bias)  # fmt: skip
        assert np.isclose(loss, expected, rtol=1e-5)
        for a, b in zip(got, want, strict=True):
            assert np.allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max())


def test_class_weights_and_losses_one_by_one():
    x, weight, target = drawn(2, 3, 4), drawn(5, 4, seed=1), dl.tensor([[0, 1, 2], [3, 4, 0]])
    factors, logits = dl.tensor([1.0, 2.0, 0.5, 1.0, 3.0]), dl.linear(x, weight).reshape(6, 5)
    for reduction in ("mean", "none"):
        got = dl.linear_cross_entropy(x, weight, target, weight=factors, reduction=reduction)
        want = dl.cross_entropy(logits, target.reshape(6), factors, reduction=reduction)
        assert np.allclose(got.numpy().ravel(), want.numpy().ravel(), rtol=1e-6)
    assert dl.linear_cross_entropy(x, weight, target, reduction="none").shape == (2, 3)


def test_logits_are_never_there_as_a_whole():
    x, weight, target = drawn(1024, 8), drawn(50_000, 8, seed=1), dl.tensor(np.arange(1024))
    weight.requires_grad = True
    before = _C.memory_stats()["in_use"]
    _C.reset_peak_memory()
    dl.linear_cross_entropy(x, weight, target).backward()
    assert _C.memory_stats()["peak"] - before < 1024 * 50_000 * 4 / 4


def test_recorded():
    weight, target = drawn(140_000, 2, seed=1), dl.tensor(np.arange(70))
    weight.requires_grad = True

    @dl.capture
    def step(x):
        loss = dl.linear_cross_entropy(x, weight, target)
        weight.grad = None
        loss.backward()
        return loss, weight.grad

    found = [[t.numpy().copy() for t in step(drawn(70, 2, seed=k))] for k in (0, 1, 2, 0)]
    for a, b in zip(found[0], found[3], strict=True):
        assert a.tobytes() == b.tobytes()
    assert step.recordings == 1


def test_a_label_out_of_range_changes_nothing():
    x, weight = drawn(2, 3), drawn(4, 3)
    with pytest.raises(IndexError, match="linear_cross_entropy: label 4 at position 1 is out of range for 4 classes"):
        dl.linear_cross_entropy(x, weight, dl.tensor([0, 4]))


def test_module():
    module = nn.LinearCrossEntropyLoss(6, 9, bias=True, label_smoothing=0.1, ignore_index=2)
    x, target = drawn(4, 6), dl.tensor([0, 2, 8, 1])
    want = dl.cross_entropy(module.linear(x), target, ignore_index=2, label_smoothing=0.1)
    assert np.isclose(module(x, target).item(), want.item(), rtol=1e-6)
    assert [name for name, _ in module.named_parameters()] == ["linear.weight", "linear.bias"]
