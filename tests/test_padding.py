"""Layers that pad, Unflatten, and initialisers of convolutions' weights."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn
from dlcore.errors import ShapeError

RNG = np.random.default_rng(4)
KINDS = {"Zero": "constant", "Constant": "constant", "Reflection": "reflect", "Replication": "edge", "Circular": "wrap"}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_numpys(kind, axes):
    x = RNG.standard_normal((2, 3, 4, 3, 5)[: 2 + axes])
    widths = (1, 2, 2, 1, 0, 2)[: 2 * axes]
    extra = (1.5,) if kind == "Constant" else ()
    layer = getattr(nn, f"{kind}Pad{axes}d")(widths, *extra)
    pairs = [widths[2 * k : 2 * k + 2] for k in reversed(range(axes))]
    values = {"constant_values": extra[0]} if extra else {}
    want = np.pad(x, [(0, 0), (0, 0), *pairs], KINDS[kind], **values)
    np.testing.assert_array_equal(np.asarray(layer(dl.tensor(x))), want)
    np.testing.assert_array_equal(np.asarray(layer(dl.tensor(x[0]))), want[0], "without a batch")
    one = getattr(nn, f"{kind}Pad{axes}d")(1, *extra)
    want = np.pad(x, [(0, 0), (0, 0), *[(1, 1)] * axes], KINDS[kind], **values)
    np.testing.assert_array_equal(np.asarray(one(dl.tensor(x))), want)
    layer.layout = "NHWC"
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    want = np.pad(last, [(0, 0), *pairs, (0, 0)], KINDS[kind], **values)
    np.testing.assert_array_equal(np.asarray(layer(dl.tensor(last))), want)


def test_negative_padding_of_constants_takes_away():
    x = RNG.standard_normal((1, 2, 4, 5))
    got = nn.ZeroPad2d((-1, 2, 1, -2))(dl.tensor(x))
    np.testing.assert_array_equal(np.asarray(got), np.pad(x[:, :, :2, 1:], [(0, 0), (0, 0), (1, 0), (0, 2)]))
    with pytest.raises(ShapeError, match=r"ZeroPad2d: padding \(-3, -3\) takes more away than x \(1, 2, 4, 5\)"):
        nn.ZeroPad2d((-3, -3, 0, 0))(dl.tensor(x))
    cut = nn.functional.pad(dl.tensor(x), (-1, 2, 1, -2), value=3.0)
    np.testing.assert_array_equal(
        np.asarray(cut), np.pad(x[:, :, :2, 1:], [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=3.0)
    )
    with pytest.raises(ShapeError, match=r"pad: padding \(-6, 0\) takes more away than x \(1, 2, 4, 5\) has"):
        nn.functional.pad(dl.tensor(x), (-6, 0))


def test_gradients_of_padding_reach_the_inside():
    x = dl.ones(1, 1, 2, 2).requires_grad_()
    nn.ReplicationPad2d(1)(x).sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), np.full((1, 1, 2, 2), 4.0))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.ZeroPad2d((1, 2)), ValueError, r"ZeroPad2d: padding \(1, 2\) is not one number, nor"),
        (lambda: nn.ReflectionPad1d(-1), ValueError, "ReflectionPad1d: padding is -1; it must be at least 0"),
        (lambda: nn.ZeroPad1d(1.5), TypeError, "ZeroPad1d: padding 1.5 is not"),
        (lambda: nn.ConstantPad1d(1, "x"), TypeError, "ConstantPad1d: value 'x' is not a number"),
        (lambda: nn.CircularPad2d(1)(dl.zeros(3, 3)), ShapeError, r"CircularPad2d: x \(3, 3\) has 2 axes"),
        (lambda: nn.Unflatten(1, ()), ValueError, "Unflatten: unflattened_size"),
        (lambda: nn.Unflatten(1, (-1, -1)), ValueError, "of which one may be -1"),
        (lambda: nn.Unflatten(1, (3, 2))(dl.zeros(1, 5)), ShapeError, "unflatten: axis 1"),
    ],
)
def test_what_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_unflatten_is_the_reverse_of_flatten():
    x = dl.tensor(RNG.standard_normal((2, 3, 4)))
    again = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, -1)))
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(x))
    assert repr(nn.Unflatten(1, (1, 28))) == "Unflatten(dim=1, unflattened_size=(1, 28))"
    assert repr(nn.ZeroPad1d(2)) == "ZeroPad1d((2, 2))"
    assert repr(nn.ConstantPad1d((1, 0), 0.5)) == "ConstantPad1d(padding=(1, 0), value=0.5)"


def test_padding_is_kept_in_files(tmp_path):
    model = nn.Sequential(nn.ConstantPad2d((1, 2, 0, 1), 0.25), nn.ReflectionPad2d(1), nn.Unflatten(1, (1, -1)))
    dl.save(model, tmp_path / "m")
    again, x = dl.load(tmp_path / "m"), dl.randn(2, 3, 4, 4)
    assert repr(again) == repr(model) and again(x).tolist() == model(x).tolist()


# ---- initialisers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 3, 2, 2), (40, 3), (5, 5)])
def test_orthogonal_rows_or_columns(shape):
    dl.manual_seed(0)
    w = nn.init.orthogonal_(dl.empty(shape, dtype=dl.float64), 2.0)
    m = np.asarray(w).reshape(shape[0], -1)
    product = m @ m.T if len(m) <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)
    assert nn.init.orthogonal_(dl.empty(0, 3)).shape == (0, 3)


def test_dirac_passes_channels_on():
    w = np.asarray(nn.init.dirac_(dl.empty(4, 2, 3, 3), groups=2))
    want = np.zeros((4, 2, 3, 3))
    for output, source in enumerate((0, 1, 0, 1)):
        want[output, source, 1, 1] = 1
    np.testing.assert_array_equal(w, want)
    np.testing.assert_array_equal(np.asarray(nn.init.eye_(dl.empty(2, 3))), np.eye(2, 3))


def test_fans_of_kernels_count_their_places():
    dl.manual_seed(0)
    w = nn.init.kaiming_normal_(dl.empty(64, 32, 3, 3), nonlinearity="relu")
    assert np.asarray(w).std() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.03)
    w = nn.init.kaiming_normal_(dl.empty(64, 32, 3, 3), mode="fan_out", nonlinearity="relu")
    assert np.asarray(w).std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    w = nn.init.xavier_uniform_(dl.empty(64, 32, 3, 3))
    assert np.abs(np.asarray(w)).max() == pytest.approx((6 / (96 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.init.dirac_(dl.empty(2, 2)), ShapeError, "dirac_: a weight .* not shape"),
        (lambda: nn.init.dirac_(dl.empty(3, 2, 1), 2), ValueError, "3 outputs are not divisible by groups 2"),
        (lambda: nn.init.orthogonal_(dl.empty(3)), ShapeError, "orthogonal_: a weight has at least 2 axes"),
        (lambda: nn.init.eye_(dl.empty(3)), ShapeError, "eye_: a matrix is needed"),
    ],
)
def test_initialisers_refuse(call, error, text):
    with pytest.raises(error, match=text):
        call()
