"""What the table cannot say of poolings: public functions, layers, and values recorded from PyTorch 2.13."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.errors import DTypeError, ShapeError

RNG = np.random.default_rng(3)
NAN, INF = float("nan"), float("inf")


def adaptive(x, size, fold):
    """The windows of PyTorch's adaptive poolings over the last two axes."""
    h, w = x.shape[-2:]
    rows = [(i * h // size[0], -(-(i + 1) * h // size[0])) for i in range(size[0])]
    columns = [(i * w // size[1], -(-(i + 1) * w // size[1])) for i in range(size[1])]
    return np.array([[fold(x[..., a:b, c:d], (-1, -2)) for c, d in columns] for a, b in rows]).transpose(2, 3, 0, 1)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (6, 8), (4, 3), (9, 5)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_adaptive_windows_share_out_an_image(size, layout):
    x = RNG.standard_normal((2, 3, 6, 8))
    given = dl.tensor(x if layout == "NCHW" else np.moveaxis(x, 1, -1))
    for function, fold in ((dl.adaptive_avg_pool2d, np.mean), (dl.adaptive_max_pool2d, np.max)):
        out = np.asarray(function(given, size, layout=layout))
        np.testing.assert_allclose(
            out if layout == "NCHW" else np.moveaxis(out, -1, 1), adaptive(x, size, fold), rtol=1e-12
        )


def test_values_and_indices_are_those_of_pytorch():
    x = dl.tensor([[[NAN, 1.0, NAN, 2.0]]])
    for function in (dl.max_pool1d, dl.adaptive_max_pool1d):
        out, indices = function(x, 4 if function is dl.max_pool1d else 1, return_indices=True)
        assert np.isnan(out.item()) and indices.item() == 2
    out, indices = dl.max_pool2d(dl.full((1, 1, 2, 2), -INF), 2, padding=1, return_indices=True)
    assert np.isneginf(np.asarray(out)).all() and indices.tolist() == [[[[0, 1], [2, 3]]]]
    assert dl.avg_pool2d(dl.tensor([[[-1, -2, 4, 9]]]), (1, 2)).tolist() == [[[-1, 6]]]
    sums = dl.lp_pool2d(dl.tensor([[[-1.0, -2, 4, 9, 5]]]), 1, (1, 2), ceil_mode=True)
    assert sums.tolist() == [[[-3.0, 13.0, 10.0]]]
    roots = np.asarray(dl.lp_pool2d(dl.tensor([[[-1.0, -2, 4, 9]]]), 3, (1, 2)))
    np.testing.assert_allclose(roots, [[[NAN, 793 ** (1 / 3)]]], rtol=1e-6)
    assert dl.lp_pool1d(dl.tensor([[-1.0, -2, 4, 9, 5]]), INF, 2).tolist() == [[2.0, 9.0]]


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_the_root_of_a_window_of_zeros_has_no_gradient(p):
    x = dl.tensor([[[0.0, 0.0, 3.0, 0.0]]], requires_grad=True)
    dl.lp_pool1d(x, p, 2).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [[[0.0, 0.0, 1.0, 0.0]]], rtol=1e-6)


def test_a_window_of_nothing_but_padding_has_no_index():
    out, indices = dl.max_pool2d(dl.ones(1, 1, 2, 2), 2, padding=1, dilation=3, return_indices=True)
    assert np.isneginf(out.item()) and indices.item() == -1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unpooling_goes_back(layout):
    shape = (2, 3, 5, 6) if layout == "NCHW" else (2, 5, 6, 3)
    x = dl.tensor(RNG.standard_normal(shape), requires_grad=True)
    out, indices = dl.max_pool2d(x, 2, return_indices=True, layout=layout)
    back = dl.max_unpool2d(out, indices, 2, output_size=(5, 6), layout=layout)
    kept = np.asarray(back) != 0
    np.testing.assert_array_equal(np.asarray(back), np.where(kept, np.asarray(x.detach()), 0))
    assert kept.sum() == out.size
    back.sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), kept)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "lp_pool2d"])
def test_strides_are_any_integers_and_by_default_the_kernel(name):
    pool = getattr(dl, name) if name != "lp_pool2d" else lambda x, *window: dl.nn.functional.lp_pool2d(x, 2.0, *window)
    x = dl.tensor(RNG.standard_normal((1, 2, 7, 6)))
    np.testing.assert_array_equal(pool(x, 2, np.int64(3)), pool(x, 2, 3))
    for default in (None, ()):
        np.testing.assert_array_equal(pool(x, 2, default), pool(x, 2, 2))


def test_no_batch_and_any_layout_give_the_same():
    x = RNG.standard_normal((2, 3, 7, 6))
    whole = np.asarray(dl.max_pool2d(dl.tensor(x), 3, 2, 1))
    np.testing.assert_array_equal(np.asarray(dl.max_pool2d(dl.tensor(x[1]), 3, 2, 1)), whole[1])
    turned = dl.max_pool2d(dl.tensor(np.moveaxis(x, 1, -1)), 3, 2, 1, layout="NHWC")
    np.testing.assert_array_equal(np.moveaxis(np.asarray(turned), -1, 1), whole)
    each = dl.func.vmap(lambda one: dl.avg_pool2d(one, 2))(dl.tensor(x))
    np.testing.assert_array_equal(np.asarray(each), np.asarray(dl.avg_pool2d(dl.tensor(x), 2)))


WRONG = [
    (lambda x: dl.max_pool2d(x, 5), ShapeError,
     "max_pool2d: windows of (5, 5) on shape (1, 1, 4, 4) with padding (0, 0): the output would be (0, 0) in space"),
    (lambda x: dl.max_pool2d(x, 3, padding=2), ShapeError, "max_pool2d: padding (2, 2) is more than half of windows"),
    (lambda x: dl.avg_pool2d(x, 2, 0), ShapeError, "avg_pool2d: stride (0, 0); each must be at least 1"),
    (lambda x: dl.max_pool2d(x, (2, 2, 2)), ShapeError, "max_pool2d: kernel_size (2, 2, 2) has 3 numbers; there are 2"),
    (lambda x: dl.max_pool1d(x, 2), ShapeError, "max_pool1d: shape (1, 1, 4, 4) is neither (C, W) nor (N, C, W)"),
    (lambda x: dl.max_pool2d(x, 2, layout="CHWN"), ValueError, "max_pool2d: layout 'CHWN' is not one of"),
    (lambda x: dl.max_pool2d(x, 2.5), TypeError, "max_pool2d: kernel_size 2.5 is not a sequence of integers"),
    (lambda x: dl.max_pool2d(x > 0, 2), DTypeError, "max_pool2d: does not take bool"),
    (lambda x: dl.avg_pool2d(x, 2, divisor_override=0), ValueError, "avg_pool2d: divisor_override is 0"),
    (lambda x: dl.adaptive_avg_pool2d(x, (1, 2, 3)), ShapeError, "adaptive_avg_pool2d: output_size (1, 2, 3) has 3"),
    (lambda x: dl.adaptive_max_pool2d(x, -1), ValueError, "adaptive_max_pool2d: output_size is -1; it must be"),
    (lambda x: dl.adaptive_avg_pool2d(x[:, :, :0], 2), ShapeError, "adaptive_avg_pool2d: shape (1, 1, 0, 4) has no"),
    (lambda x: dl.lp_pool2d(x, 0, 2), ValueError, "lp_pool2d: norm_type 0.0 has no root"),
    (lambda x: dl.max_unpool2d(x, dl.full(x.shape, 99), 2), IndexError, "max_unpool2d: "),
    (lambda x: dl.max_unpool2d(x, dl.zeros(x.shape, dtype="int64"), 2, 2**40), ShapeError,
     "max_unpool2d: an array of shape (1, 1, 3298534883330, 3298534883330) has more elements than can be counted"),
    (lambda x: dl.max_unpool2d(x, x, 2), DTypeError, "max_unpool2d: indices are float32, not int64"),
    (lambda x: dl.max_unpool2d(x, dl.zeros(x.shape, dtype="int64"), 2, output_size=(8, 11)), ShapeError,
     "max_unpool2d: output_size (8, 11): 11 is not between 6 and 10"),
    (lambda x: nn.MaxPool2d((2, 2, 2)), ValueError, "MaxPool2d: kernel_size (2, 2, 2) is not one number, nor one for"),
]  # fmt: skip


@pytest.mark.parametrize("wrong, error, text", WRONG, ids=[text[:40] for _, _, text in WRONG])
def test_wrong_calls_are_refused(wrong, error, text):
    with pytest.raises(error) as raised:
        wrong(dl.ones(1, 1, 4, 4))
    assert str(raised.value).startswith(text)


LAYERS = {
    "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)": nn.MaxPool2d(2),
    "MaxPool1d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)": nn.MaxPool1d(3, 2, 1),
    "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))": nn.AvgPool1d(2),
    "AvgPool2d(kernel_size=2, stride=2, padding=0)": nn.AvgPool2d(2),
    "AdaptiveAvgPool2d(output_size=(None, 2))": nn.AdaptiveAvgPool2d((None, 2)),
    "AdaptiveMaxPool1d(output_size=3)": nn.AdaptiveMaxPool1d(3),
    "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)": nn.LPPool2d(2, 3),
    "MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))": nn.MaxUnpool2d(2),
    "AvgPool3d(kernel_size=2, stride=2, padding=0)": nn.AvgPool3d(2),
}


@pytest.mark.parametrize("text", LAYERS)
def test_layers_are_written_as_pytorch_writes_them(text):
    assert repr(LAYERS[text]) == text


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_layers_call_their_functions(axes):
    x = dl.tensor(RNG.standard_normal((2, 3, *(6, 4, 8)[:axes])).astype(np.float32))
    of = lambda name: getattr(nn, f"{name}{axes}d")  # noqa: E731
    to = lambda name: getattr(nn.functional, f"{name}{axes}d")  # noqa: E731
    pairs = [
        (of("MaxPool")(3, 2, 1, ceil_mode=True)(x), to("max_pool")(x, 3, 2, 1, ceil_mode=True)),
        (of("AvgPool")(3, 2, 1, True, False)(x), to("avg_pool")(x, 3, 2, 1, True, False)),
        (of("AdaptiveAvgPool")(3)(x), to("adaptive_avg_pool")(x, 3)),
        (of("AdaptiveMaxPool")(3)(x), to("adaptive_max_pool")(x, 3)),
        (of("LPPool")(2, 2)(x), to("lp_pool")(x, 2, 2)),
    ]
    for got, want in pairs:
        assert got.size and np.array_equal(np.asarray(got), np.asarray(want))
    out, indices = of("MaxPool")(2, return_indices=True)(x)
    back = of("MaxUnpool")(2)(out, indices)
    assert back.shape == x.shape and float(back.sum()) == pytest.approx(float(out.sum()), rel=1e-5)


# ---- recorded steps -------------------------------------------------------------------------------------------------


class Blocks(nn.Module):
    """Convolutions, each with a ReLU and maxima of windows behind it."""

    def __init__(self, pool, layout):
        self.first, self.second = nn.Conv2d(2, 5, (2, 3)), nn.Conv2d(5, 3, 2)
        self.pool, self.layout = pool, layout

    def forward(self, x):
        for conv in (self.first, self.second):
            x = dl.relu(dl.conv2d(x, conv.weight, conv.bias, layout=self.layout))
            x = dl.max_pool2d(x, *self.pool, layout=self.layout)
        return x


def trained(model, x, capture):
    """Losses, gradients and weights of some steps as bits, and the launches of the recording."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    weights = dl.tensor(np.random.default_rng(2).standard_normal(model(x).shape).astype(np.float32))

    def step(x):
        optimizer.zero_grad()
        loss = (model(x) * weights).sum()
        loss.backward()
        optimizer.step()
        return loss

    run, found = dl.capture(step) if capture else step, []
    for _ in range(4):
        loss = run(x)
        values = (loss, *(p.grad for p in model.parameters()), *model.parameters())
        found += [v.detach().numpy().tobytes() for v in values]
    return found, [row.fused or row.operation for row in run.explain(repeats=1).rows] if capture else []


@pytest.mark.parametrize("pool", [(2,), ((2, 3), (3, 4)), (3, 2, 1), (2, 2, 0, 2)], ids=str)
@pytest.mark.parametrize("images", [3, 31])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_blocks_train_in_merged_launches(layout, images, pool):
    """The gradient of a ReLU goes by the maxima, which are taken before results are written where lanes are images."""
    shape = (images, 2, 23, 21) if layout == "NCHW" else (images, 23, 21, 2)
    x = RNG.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[::401] = NAN if images == 3 else 0
    results = []
    for capture in (False, True):
        dl.manual_seed(0)
        model = Blocks(pool, layout)
        results.append(trained(model, dl.tensor(x), capture))
    assert results[0][0] == results[1][0]
    launches = results[1][1]
    assert launches.count("max_pool_backward + relu") == 2 and "relu_backward" not in launches
    side_by_side = len(pool) < 3
    together = launches.count("conv_max_pool + bias + relu")
    assert together == (2 if images == 31 and side_by_side else 0), launches


def test_what_is_needed_between_stays():
    x, layer = dl.tensor(RNG.standard_normal((16, 2, 6, 6)).astype(np.float32)), nn.Conv2d(2, 5, 3)
    doubled = lambda v: v.mul_(2)  # noqa: E731
    hazards = {
        "none": (lambda x: dl.max_pool2d(layer(x), 2), ["conv_max_pool + bias"]),
        "returned": (lambda x: (a := dl.relu(layer(x)), dl.max_pool2d(a, 2)), ["conv + bias + relu", "max_pool"]),
        "padding": (lambda x: dl.max_pool2d(layer(x[..., :5, :5] * 1), 2, 4, 1), ["mul", "conv + bias", "max_pool"]),
        "dilation": (lambda x: dl.max_pool2d(layer(x), 2, 3, 0, 2), ["conv + bias", "max_pool"]),
        "ceil_mode": (lambda x: dl.max_pool2d(layer(x), 3, 3, 0, 1, True), ["conv + bias", "max_pool"]),
        "indices": (lambda x: dl.max_pool2d(layer(x), 2, return_indices=True), ["conv + bias", "max_pool_indices"]),
        "changed": (lambda x: dl.max_pool2d(doubled(layer(x)), 2), ["conv + bias", "mul", "max_pool"]),
    }
    with dl.no_grad():
        for function, expected in hazards.values():
            step = dl.capture(function)
            for _ in range(4):
                got, want = step(x), function(x)
            for g, w in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
                assert np.array_equal(np.asarray(g), np.asarray(w))
            assert [row.fused or row.operation for row in step.explain(repeats=1).rows] == expected


def test_maxima_that_were_changed_mask_nothing():
    """The gradient of a ReLU goes by its own results where the maxima are no more what they were."""
    x = dl.tensor(RNG.standard_normal((2, 2, 6, 6)).astype(np.float32), requires_grad=True)

    def function(x):
        out = dl.max_pool2d(dl.relu(x * 1), 2)
        with dl.no_grad():
            out.detach().sub_(1)
        out.backward(dl.ones(2, 2, 3, 3))

    step, grads = dl.capture(function), []
    for call in (function, step, step, step):
        x.grad = None
        call(x)
        grads.append(np.asarray(x.grad))
    assert all(np.array_equal(g, grads[0]) for g in grads)
    x.grad = None
    names = [row.fused or row.operation for row in step.explain(repeats=1).rows]
    assert "relu_backward" in names and "max_pool_backward" in names
