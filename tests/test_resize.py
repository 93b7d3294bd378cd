"""Resized and sampled images against values of PyTorch 2.13 (recorded: it is not needed here), and their layers."""

import numpy as np
import pytest

import dlcore as dl
import dlcore.nn.functional as F
from dlcore import nn
from dlcore.ops.sampling import grid_sample_backward

X = np.array([[0.0, 1, 4, 2], [3, -1, 2, 5], [1, 6, -2, 0]])[None, None]
NEAR = {"scale_factor": (0.7, 1.3), "mode": "bilinear"}
RESIZED = [
    ({"size": (2, 6), "mode": "nearest"}, [[0, 0, 1, 4, 4, 2], [3, 3, -1, 2, 2, 5]]),
    ({"size": (2, 6), "mode": "nearest-exact"}, [[0, 1, 1, 4, 2, 2], [1, 6, 6, -2, 0, 0]]),
    ({"size": (2, 3), "mode": "area"}, [[0.75, 1.5, 3.25], [2.25, 1.25, 1.25]]),
    ({"size": (2, 6), "mode": "bilinear"}, [[0.75, 0.625, 1, 3, 3.125, 2.75],
                                            [1.5, 2.875, 3.375, -0.125, 0.125, 1.25]]),
    ({"size": (2, 6), "mode": "bilinear", "align_corners": True}, [[0, 0.6, 1.6, 3.4, 3.2, 2],
                                                                   [1, 4, 4.4, -0.4, -1.2, 0]]),
    (NEAR, [[0.6428571, 0.5961538, 1.8406593, 3.3928571, 2.6785714],
            [1.7142857, 2.8818681, 1.7774725, -0.1181319, 1.6950549]]),
    ({**NEAR, "recompute_scale_factor": True}, [[0.75, 0.575, 2, 3.275, 2.75], [1.5, 3.425, 1.625, -0.325, 1.25]]),
    ({"size": (2, 5), "mode": "bicubic"}, [[0.77729, 0.0527275, 2.0300293, 3.828749, 2.8049229],
                                           [1.3893955, 4.1739277, 1.6257324, -1.1010449, 1.3842236]]),
    ({"size": (2, 5), "mode": "bicubic", "align_corners": True}, [[0, 0.4570312, 2.78125, 3.8632812, 2],
                                                                  [1, 5.7109375, 2.28125, -2.390625, 0]]),
    ({"size": 2, "mode": "bilinear", "antialias": True}, [[1.0535714, 2.7678571], [2.125, 1.0714286]]),
    ({"size": 2, "mode": "bicubic", "antialias": True}, [[0.8209742, 3.0385034], [2.2755462, 0.8937227]]),
    ({"size": 2, "mode": "bicubic", "antialias": True, "align_corners": True},
     [[1.6376034, 2.9972965], [1.7671756, 0.1284079]]),
]  # fmt: skip
GRID = np.array([[-1.2, 0.3], [0.1, -0.8], [0.9, 1.5]])[None, None]
SAMPLED = {  # with align_corners False, then True
    ("bilinear", "zeros"): [[0.21, 2.48, 0.0], [1.68, 2.55, -0.15]],
    ("bilinear", "border"): [[2.1, 3.1, 0.0], [2.4, 2.55, -0.3]],
    ("bilinear", "reflection"): [[2.1, 3.1, 1.25], [2.01, 2.55, 2.125]],
    ("nearest", "zeros"): [[0.0, 4.0, 0.0], [3.0, 4.0, 0.0]],
    ("nearest", "border"): [[3.0, 4.0, 0.0], [3.0, 4.0, 0.0]],
    ("nearest", "reflection"): [[3.0, 4.0, 0.0], [3.0, 4.0, 0.0]],
    ("bicubic", "zeros"): [[0.2058443, 3.094538, -0.0232559], [2.232111, 3.0882532, -0.6947344]],
    ("bicubic", "border"): [[2.4221403, 3.69835, 0.2205], [2.9976876, 2.7731122, -0.8416963]],
    ("bicubic", "reflection"): [[2.4534968, 3.76525, 1.6166504], [2.4335372, 3.0470122, 2.1284307]],
}


@pytest.mark.parametrize(("options", "wanted"), RESIZED)
def test_interpolate_has_the_values_of_pytorch(options, wanted):
    np.testing.assert_allclose(np.asarray(dl.interpolate(dl.tensor(X), **options))[0, 0], wanted, atol=1e-7)
    last = dl.interpolate(dl.tensor(np.moveaxis(X, 1, -1)), layout="NHWC", **options)
    np.testing.assert_allclose(np.asarray(last)[0, ..., 0], wanted, atol=1e-7)


@pytest.mark.parametrize(("mode", "padding"), SAMPLED)
def test_grid_sample_has_the_values_of_pytorch(mode, padding):
    for align, wanted in zip((False, True), SAMPLED[mode, padding], strict=True):
        found = dl.grid_sample(dl.tensor(X), dl.tensor(GRID), mode, padding, align)
        np.testing.assert_allclose(np.asarray(found)[0, 0, 0], wanted, atol=1e-7)


@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_the_slope_at_the_middle_of_the_last_pixel_is_that_of_pytorch(padding):
    """Beyond it the place is another one again: the slope there is 0, not the one towards a pixel of 0 outside."""
    x = dl.tensor([[[[1.0, 4.0, 9.0], [16.0, 25.0, 36.0]]]])
    grid = dl.tensor([[[[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]]])
    wanted = [[0.0, 7.5], [8.0, 10.5], [0.0, 13.5], [0.0, 0.0], [5.0, 0.0]]
    given = (x, grid, dl.ones(1, 1, 1, 5), "bilinear", padding, True, "NCHW", (True, True))
    with dl.no_grad():
        for _, found in (grid_sample_backward(*given), grid_sample_backward.op.by_position(*given)):
            assert found[0, 0].tolist() == wanted
    row = (dl.ones(1, 1, 1, 4), grid[:, :, :1] * 0, dl.ones(1, 1, 1, 1))
    assert grid_sample_backward(*row, padding_mode="border")[1].tolist() == [[[[0.0, 0.0]]]]  # y alone has one place


def test_affine_grid_has_the_values_of_pytorch():
    theta = dl.tensor([[[np.cos(np.pi / 6), -0.5, 0.25], [0.5, 2.0, -1.0]]], dtype=dl.float64)
    found = np.asarray(F.affine_grid(theta, (1, 1, 2, 2)))[0].reshape(4, 2)
    wanted = [[0.0669873, -2.25], [0.9330127, -1.75], [-0.4330127, -0.25], [0.4330127, 0.25]]
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    found = np.asarray(F.affine_grid(theta, (1, 1, 2, 2), True))[0].reshape(4, 2)
    wanted = [[-0.1160254, -3.5], [1.6160254, -2.5], [-1.1160254, 0.5], [0.6160254, 1.5]]
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_nan_at_a_place_is_nan_and_at_a_pixel_stays_near():
    grid = np.zeros((1, 1, 2, 2))
    grid[0, 0, 0] = np.nan
    for mode in ("bilinear", "nearest", "bicubic"):
        for layout, x in (("NCHW", X), ("NHWC", np.moveaxis(X, 1, -1))):
            found = np.asarray(dl.grid_sample(dl.tensor(x), dl.tensor(grid), mode, layout=layout)).ravel()
            assert np.isnan(found[0]) and np.isfinite(found[1]), mode
    x = X.copy()
    x[..., 0] = np.inf
    wide = np.asarray(dl.interpolate(dl.tensor(x), (3, 8), mode="bilinear"))
    assert np.isfinite(wide[..., 4:]).all() and np.isinf(wide[..., 0]).all()


def test_layers_are_their_functions():
    x = dl.randn(2, 4, 6, 8)
    for layer, wanted in (
        (nn.Upsample(scale_factor=2), dl.interpolate(x, scale_factor=2)),
        (nn.Upsample((3, 5), mode="bicubic", align_corners=True), dl.interpolate(x, (3, 5), None, "bicubic", True)),
        (nn.UpsamplingNearest2d(scale_factor=(2, 3)), dl.interpolate(x, scale_factor=(2.0, 3.0))),
        (nn.UpsamplingBilinear2d((9, 9)), dl.interpolate(x, (9, 9), None, "bilinear", True)),
        (nn.PixelShuffle(2), dl.pixel_shuffle(x, 2)), (nn.PixelUnshuffle(2), dl.pixel_unshuffle(x, 2)),
        (nn.ChannelShuffle(2), dl.channel_shuffle(x, 2)),
        (nn.Unfold((3, 2), padding=1, stride=2), dl.im2col(x, (3, 2), 1, 1, 2)),
        (nn.Fold((3, 3), 2), dl.col2im(x[:, 0, :4, :4], (3, 3), 2)),
    ):  # fmt: skip
        given = x[:, 0, :4, :4] if isinstance(layer, nn.Fold) else x
        assert np.array_equal(np.asarray(layer(given)), np.asarray(wanted)), layer
        assert layer.state_dict() == {} and "=" in repr(layer)
    shuffled = nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2))
    assert np.array_equal(np.asarray(shuffled(x)), np.asarray(x))
    last = dl.permute(x, (0, 2, 3, 1))
    for made, layout in ((F.unfold(last, 3, layout="NHWC"), "NHWC"), (F.unfold(x, 3), "NCHW")):
        assert np.array_equal(np.asarray(made), np.asarray(dl.im2col(x, 3)))
        folded = np.asarray(F.fold(made, (6, 8), 3, layout=layout))
        assert np.array_equal(np.moveaxis(folded, -1, 1) if layout == "NHWC" else folded,
                              np.asarray(dl.col2im(made, (6, 8), 3)))  # fmt: skip


def test_wrong_arguments_of_layers_and_functions_are_refused():
    for make, error, said in (
        (lambda: nn.Upsample(), ValueError, "Upsample: one of size and scale_factor must be given"),
        (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode 'cubic' is not one of"),
        (lambda: nn.PixelShuffle(0), ValueError, "PixelShuffle: upscale_factor is 0; it must be at least 1"),
        (lambda: nn.Unfold("x"), TypeError, "Unfold: kernel_size 'x' is not a sequence of integers"),
        (lambda: F.unfold(dl.zeros(1, 1, 2, 2), 3), dl.ShapeError, r"unfold: kernel_size \(3, 3\) with dilation"),
        (lambda: F.fold(dl.zeros(3, 4), 3, 2), dl.ShapeError, "fold: 3 rows are no multiple of the 4"),
        (lambda: F.upsample(dl.zeros(2, 2), 2), dl.ShapeError, r"upsample: images \(N, C, L\)"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            make()
