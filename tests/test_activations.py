"""Activations: gradients at the kinks, which no difference quotient tells, modules, and what takes several tensors."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn

RNG = np.random.default_rng(0)


def slopes(function, *points):
    x = dl.tensor(np.array(points, np.float64), requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


@pytest.mark.parametrize(
    ("function", "points", "expected"),
    [
        (dl.relu6, (0.0, 6.0, np.nan), [0, 0, 1]),
        (dl.hardtanh, (-1.0, 1.0, np.nan), [0, 0, 1]),
        (lambda x: dl.hardtanh(x, -0.5, 2.0), (-0.5, 0.0, 2.0), [0, 1, 0]),
        (dl.hardsigmoid, (-3.0, 3.0, np.nan), [0, 0, 0]),
        (dl.hardswish, (-3.0, -1.5, 3.0), [0, 0, 1]),
        (dl.hardshrink, (-0.5, 0.5, np.nan), [0, 0, 1]),
        (dl.softshrink, (-0.5, 0.5, np.nan), [0, 0, 1]),
        (lambda x: dl.threshold(x, 0.5, 7.0), (0.5, 0.75, np.nan), [0, 1, 1]),
        (lambda x: dl.leaky_relu(x, 0.25), (0.0, -1.0, 1.0, np.nan), [0.25, 0.25, 1, 0.25]),
        (lambda x: dl.elu(x, 0.5), (0.0, -0.0, 1.0, np.nan), [0.5, 0.5, 1, 1]),
        (lambda x: dl.celu(x, 0.5), (0.0, 1.0), [1, 1]),
        (dl.selu, (0.0, 1.0), [1.0507009873554805 * 1.6732632423543772, 1.0507009873554805]),
        (lambda x: dl.softplus(x, 2.0, 3.0), (1.5, 1.75, 0.0), [1 / (1 + np.exp(-3.0)), 1, 0.5]),
        (dl.softsign, (0.0,), [1]),
        (dl.silu, (-np.inf, np.inf, 0.0), [0, 1, 0.5]),
        (dl.mish, (-np.inf, np.inf, 0.0), [0, 1, 0.6]),
    ],
)
def test_gradients_at_kinks_and_ends_are_those_that_pytorch_takes(function, points, expected):
    np.testing.assert_allclose(slopes(function, *points), expected, rtol=1e-15, atol=0)


MODULES = [
    (nn.SiLU(), dl.silu), (nn.Mish(), dl.mish), (nn.ReLU6(), dl.relu6), (nn.SELU(), dl.selu),
    (nn.Hardsigmoid(), dl.hardsigmoid), (nn.Hardswish(), dl.hardswish), (nn.Softsign(), dl.softsign),
    (nn.LogSigmoid(), dl.logsigmoid), (nn.Tanhshrink(), dl.tanhshrink),
    (nn.LeakyReLU(), lambda x: dl.leaky_relu(x, 0.01)), (nn.LeakyReLU(0.2), lambda x: dl.leaky_relu(x, 0.2)),
    (nn.ELU(), lambda x: dl.elu(x, 1.0)), (nn.ELU(0.7), lambda x: dl.elu(x, 0.7)),
    (nn.CELU(0.7), lambda x: dl.celu(x, 0.7)), (nn.Softplus(), lambda x: dl.softplus(x, 1, 20)),
    (nn.Softplus(2, 1), lambda x: dl.softplus(x, 2, 1)), (nn.Hardtanh(), lambda x: dl.hardtanh(x, -1, 1)),
    (nn.Hardtanh(-0.5, 0.25), lambda x: dl.hardtanh(x, -0.5, 0.25)), (nn.Hardshrink(), lambda x: dl.hardshrink(x, 0.5)),
    (nn.Softshrink(0.25), lambda x: dl.softshrink(x, 0.25)), (nn.GLU(), dl.glu),
    (nn.Threshold(0.1, 20), lambda x: dl.threshold(x, 0.1, 20)), (nn.GLU(0), lambda x: dl.glu(x, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("module", "function"), MODULES, ids=[repr(m) for m, _ in MODULES])
def test_modules_are_the_functions_with_pytorch_s_defaults(module, function):
    x = dl.tensor(3 * RNG.standard_normal((6, 4)).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(module(x)), np.asarray(function(x)))


def test_modules_take_inplace_and_leave_their_input_alone():
    x = dl.tensor([-1.0, 2.0])
    for kind in (nn.ReLU, nn.SiLU, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.Hardtanh, nn.Hardswish, nn.Mish):
        assert kind(inplace=True)(x).tolist() == kind()(x).tolist() and x.tolist() == [-1.0, 2.0]
        with pytest.raises(TypeError, match="inplace 'yes' is neither True nor False"):
            kind(inplace="yes")
    for dropout in (nn.Dropout, nn.Dropout2d):
        ones = dl.ones(1, 2, 3, 3)
        assert not dropout(1.0, inplace=True)(ones).any() and ones.all()
        with pytest.raises(TypeError, match="inplace 'yes' is neither True nor False"):
            dropout(inplace="yes")
    with pytest.raises(ValueError, match=r"Hardtanh: min_val 2\.0 is not below max_val 1\.0"):
        nn.Hardtanh(2.0)
    with pytest.raises(ValueError, match=r"Softshrink: lambd -1\.0 is negative"):
        nn.Softshrink(-1)


def test_prelu_has_a_slope_for_each_channel():
    x = RNG.standard_normal((2, 3, 4, 5))
    dout = RNG.standard_normal(x.shape)
    for shape in ((), (1,), (3,)):
        weight = dl.tensor(RNG.standard_normal(shape), requires_grad=True)
        given = dl.tensor(x, requires_grad=True)
        out = dl.prelu(given, weight)
        slope = np.asarray(weight.detach()).reshape((3, 1, 1) if shape == (3,) else ())
        np.testing.assert_array_equal(np.asarray(out.detach()), np.where(x > 0, x, slope * x))
        out.backward(dl.tensor(dout))
        np.testing.assert_allclose(np.asarray(given.grad), np.where(x > 0, dout, slope * dout))
        each = np.where(x > 0, 0, x * dout).sum((0, 2, 3))
        np.testing.assert_allclose(np.asarray(weight.grad), each if shape == (3,) else each.sum().reshape(shape))
    assert dl.prelu(dl.tensor(-1.0), dl.tensor([0.5])).shape == ()
    assert nn.PReLU(3).weight.tolist() == [0.25] * 3 and nn.PReLU(init=0.5).weight.shape == (1,)
    for shape in ((4,), (3, 1), (2,)):
        with pytest.raises(dl.ShapeError, match="prelu: "):
            dl.prelu(dl.tensor(x), dl.zeros(shape))


def test_glu_gates_one_half_by_the_other():
    x = RNG.standard_normal((2, 6, 3))
    a, b = x[:, :3], x[:, 3:]
    given = dl.tensor(x, requires_grad=True)
    out = dl.glu(given, 1)
    gate = 1 / (1 + np.exp(-b))
    np.testing.assert_allclose(np.asarray(out.detach()), a * gate, rtol=1e-14)
    out.sum().backward()
    np.testing.assert_allclose(np.asarray(given.grad), np.concatenate([gate, a * gate * (1 - gate)], 1), rtol=1e-13)
    with pytest.raises(dl.ShapeError, match=r"glu: axis 2 of shape \(2, 6, 3\) cannot be halved"):
        dl.glu(given)
    with pytest.raises(IndexError, match=r"glu: axis 3 is out of range for shape \(2, 6, 3\)"):
        dl.glu(given, 3)
    with pytest.raises(TypeError, match="tanhshrink"):
        dl.tanhshrink("x")
