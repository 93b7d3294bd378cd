"""Gated activations: what the table of operations cannot say of them."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn


def drawn(*shape, seed=0):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("function", [dl.swiglu, dl.geglu, dl.reglu])
def test_halves_and_two_tensors_have_the_same_bits(function):
    x, dout = drawn(6, 3, 10), drawn(6, 3, 5, seed=1)
    gate, up = (x[..., :5], x[..., 5:])
    whole = dl.tensor(x.numpy())
    leaves = [whole, dl.tensor(gate.numpy().copy()), dl.tensor(up.numpy().copy())]
    for leaf in leaves:
        leaf.requires_grad = True
    for out in (function(whole), function(*leaves[1:])):
        assert np.array_equal(out.detach().numpy(), function(gate, up).numpy())
        out.backward(dout)
    assert np.array_equal(whole.grad.numpy()[..., :5], leaves[1].grad.numpy())
    assert np.array_equal(whole.grad.numpy()[..., 5:], leaves[2].grad.numpy())


def test_only_the_gradients_that_are_asked_for():
    gate, up = drawn(4, 5), drawn(4, 5, seed=1)
    up.requires_grad = True
    dl.swiglu(gate, up).sum().backward()
    assert gate.grad is None
    assert np.allclose(up.grad.numpy(), dl.silu(gate).numpy(), rtol=1e-6)


def test_modules():
    x = drawn(3, 8)
    assert np.array_equal(nn.SwiGLU()(x).numpy(), dl.swiglu(x).numpy())
    assert np.array_equal(nn.SwiGLU(0)(drawn(4, 3)).numpy(), dl.swiglu(drawn(4, 3), axis=0).numpy())
    assert np.array_equal(nn.GEGLU(approximate="tanh")(x).numpy(), dl.geglu(x, approximate="tanh").numpy())
    assert repr(nn.GEGLU()) == "GEGLU(dim=-1, approximate='none')"
    with pytest.raises(ValueError, match="GEGLU: approximate 'erf' is not one of 'none', 'tanh'"):
        nn.GEGLU(approximate="erf")
