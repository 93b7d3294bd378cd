"""Convolutions under PyTorch's names: its values, arguments, errors. The operations are tested by the table."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import DTypeError, ShapeError

F = dl.nn.functional


def numbers(shape):
    """Small integers, of which every sum is exact."""
    return None if shape is None else dl.tensor((np.arange(np.prod(shape)).reshape(shape) * 7 % 11 - 5).astype(float))


RECORDED = [
    ("conv2d", (1, 2, 5, 4), (2, 2, 3, 2), (2,),
     {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, (1, 2, 3, 6),
     [-14, -14, -46, 33, 22, -20, -12, 35, -57, 18, 0, -16, -1, 14, -32, -33, -10, -26, -6, 3, 14, -10, -40, 48, 6,
      -27, 10, 46, -32, -7, -6, 29, -9, 19, 3, -4]),
    ("conv2d", (4, 4, 3), (4, 2, 2, 2), None,
     {"groups": 2, "padding": "same"}, (4, 4, 3),
     [36, -60, 37, -21, -62, 39, -23, -64, 41, -3, -16, 27, 26, -25, 41, -17, -24, 39, -16, -23, 37, -7, -25, 24, 4,
      -13, 8, 8, -9, 13, 12, 17, -37, 31, -25, 21, 18, -9, 2, 14, -13, 3, 10, 16, -40, 28, -22, 24]),
    ("conv1d", (2, 2, 7), (3, 2, 3), (3,),
     {"stride": 3, "padding": 1}, (2, 3, 3),
     [-7, 42, 26, 14, 25, -2, 2, -25, -8, 17, 11, 23, 24, -27, -8, -24, 12, -6]),
    ("conv3d", (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), None,
     {"stride": 2, "padding": 1}, (1, 2, 2, 2, 2),
     [0, 8, -15, 10, 15, -39, 12, 55, -5, 8, -6, 4, -15, 9, 1, 18]),
    ("conv_transpose1d", (1, 2, 3), (2, 1, 3), (1,),
     {"stride": 2, "padding": 1, "output_padding": 1}, (1, 1, 6),
     [-10, -15, 0, -17, -12, 8]),
    ("conv_transpose2d", (1, 2, 2, 3), (2, 2, 2, 2), (2,),
     {"stride": (3, 1), "padding": (0, 1), "output_padding": (2, 0)}, (1, 2, 7, 2),
     [-13, 25, -54, 13, -5, -5, 13, 29, 4, 16, -5, -5, -5, -5, 11, -14, 14, -26, 2, 2, -20, -12, 4, -36, 2, 2, 2, 2]),
    ("conv_transpose1d", (1, 1, 3), (1, 1, 2), (1,),
     {"dilation": 4, "output_padding": 3}, (1, 1, 10),
     [20, -15, 5, -5, -15, -1, -9, -5, -5, -5]),
    ("conv_transpose3d", (1, 2, 1, 2, 2), (2, 1, 2, 1, 2), None,
     {"groups": 2, "stride": 2}, (1, 2, 2, 3, 4),
     [25, -10, -10, 4, 0, 0, 0, 0, 10, -4, -25, 10, 10, -25, -4, 10, 0, 0, 0, 0, 4, -10, -10, 25, 1, -3, -3, 9, 0, 0,
      0, 0, 4, -12, 0, 0, 4, 0, -12, 0, 0, 0, 0, 0, 16, 0, 0, 0]),
]  # fmt: skip
"""(function, input, weight, bias, arguments, shape, values) as torch 2.13 gives them."""


@pytest.mark.parametrize(("name", "x", "weight", "bias", "arguments", "shape", "values"), RECORDED)
def test_values_are_those_of_torch(name, x, weight, bias, arguments, shape, values):
    out = getattr(F, name)(numbers(x), numbers(weight), numbers(bias), **arguments)
    assert out.shape == shape
    assert np.ravel(out).tolist() == values


MODES = {
    "reflect": [67, -41, 0, -57, 67, -41, -14, -1, 40, -17, -14, -1, 19, 10, -26, -28, 19, 10],
    "replicate": [-13, -13, 56, -56, -39, -39, 26, 26, 40, -17, -44, -44, -10, -10, -18, -20, -3, -3],
    "circular": [-58, 19, -1, -58, 19, -1, -17, -28, 40, -17, -28, 40, 19, 63, -45, 19, 63, -45],
}


@pytest.mark.parametrize("mode", MODES)
def test_padding_modes_are_those_of_torch(mode):
    x, weight = numbers((1, 2, 3, 3)), numbers((1, 2, 3, 2))
    out = dl.conv2d(x, weight, padding=(1, 2), padding_mode=mode)
    assert np.ravel(out).tolist() == MODES[mode]
    behind = dl.conv2d(x.permute(0, 2, 3, 1), weight, padding=(1, 2), padding_mode=mode, layout="NHWC")
    np.testing.assert_array_equal(behind.permute(0, 3, 1, 2), out)


def test_spellings_of_padding():
    x, weight = numbers((1, 2, 6, 5)), numbers((3, 2, 2, 3))
    same = dl.conv2d(x, weight, padding="same")
    assert same.shape == (1, 3, 6, 5)
    for padding in (((0, 1), (1, 1)), [(0, 1), 1], ((0, 1), (1,))):
        np.testing.assert_array_equal(dl.conv2d(x, weight, padding=padding), same)
    valid = dl.conv2d(x, weight, padding="valid")
    np.testing.assert_array_equal(valid, dl.conv2d(x, weight))
    np.testing.assert_array_equal(dl.conv2d(x, weight, padding=(0, 1))[..., 1:-1], valid)


@pytest.mark.parametrize(("function", "axes"), [(F.conv1d, 1), (F.conv_transpose2d, 2), (F.conv3d, 3)])
def test_one_image_without_a_batch_in_both_layouts(function, axes):
    x, weight, bias = numbers((4, *range(5, 5 + axes))), numbers((4, 4, *[3] * axes)), numbers((4,))
    out = function(x[None], weight, bias, stride=2, padding=1)
    np.testing.assert_array_equal(function(x, weight, bias, stride=2, padding=1), out[0])
    behind = function(x.permute(*range(1, axes + 1), 0), weight, bias, stride=2, padding=1, layout="NHWC")
    np.testing.assert_array_equal(behind.permute(axes, *range(axes)), out[0])


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_activations_are_applied_to_the_result(function):
    x, weight, bias = numbers((2, 3, 4, 4)) / 5, numbers((3, 3, 3, 3)) / 9, numbers((3,)) / 5
    plain = function(x, weight, bias)
    for name, activation in (("relu", dl.relu), ("tanh", dl.tanh), ("gelu", dl.gelu)):
        np.testing.assert_allclose(function(x, weight, bias, activation=name), activation(plain), rtol=1e-12)


def test_recorded_steps_have_the_bits_of_the_calls():
    x, weight = dl.rand(2, 3, 6, 6), dl.rand(4, 3, 3, 3, requires_grad=True)

    def step(x):
        weight.grad = None
        inner = F.conv2d(x, weight, padding="same", padding_mode="reflect")
        loss = F.conv_transpose2d(inner, weight, stride=2).tanh().sum()
        loss.backward()
        return loss, weight.grad

    called = [np.array(t.detach()) for t in step(x)]
    recorded = dl.capture(step)
    for _ in range(3):
        for ours, theirs in zip(recorded(x), called, strict=True):
            np.testing.assert_array_equal(ours.detach(), theirs)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_no_images_are_padded_to_none(mode):
    assert F.conv2d(dl.zeros(0, 3, 5, 5), dl.zeros(2, 3, 3, 3), padding=1, padding_mode=mode).shape == (0, 2, 5, 5)


X, W = np.zeros((2, 3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32)
T = np.zeros((3, 4, 3, 3), np.float32)
WRONG = [
    (lambda: F.conv2d(X, W[:, :2]), ShapeError, r"conv2d: 3 channels, but weight takes 2: .* would be \(2, 4, 6, 6\)"),
    (lambda: F.conv2d(X[..., :2], W), ShapeError, r"conv2d: the kernel \(3, 3\) does not fit .* size \(6, 0\)"),
    (lambda: F.conv2d(X, W, stride=0), ValueError, r"conv2d: stride \(0, 0\) has a number below 1"),
    (lambda: F.conv2d(X, W, stride=(1, 2, 3)), ShapeError, r"conv2d: stride \(1, 2, 3\) is not one number or 2"),
    (lambda: F.conv2d(X, W, groups=2), ShapeError, "conv2d: groups 2 does not divide both 3 channels"),
    (lambda: F.conv2d(X.astype(np.uint8), W), DTypeError, r"conv2d: x \(2, 3, 8, 8\) is of uint8; it must be"),
    (lambda: F.conv2d(X, W, padding="some"), ValueError, "conv2d: padding 'some' is not one of 'same', 'valid'"),
    (lambda: F.conv2d(X, W, stride=2, padding="same"), ValueError, "conv2d: padding 'same' takes stride 1"),
    (lambda: F.conv2d(X, W, padding=((1, 1),)), ShapeError, "conv2d: padding .* is not 2 pairs"),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "conv2d: padding .* has a number below 0"),
    (lambda: F.conv2d(X, W, padding=8, padding_mode="reflect"), ShapeError, r"conv2d: padding \(8, 8\) with 'reflect'"),
    (lambda: F.conv2d(X, W, padding=1, padding_mode="edge"), ValueError, "conv2d: padding_mode 'edge' is not one of"),
    (lambda: F.conv2d(X, W, stride=0, padding=1, padding_mode="circular"), ValueError, r"conv2d: stride \(0, 0\)"),
    (lambda: F.conv2d(X, W, layout="NC"), ValueError, "conv2d: layout 'NC' is not one of 'NCHW', 'NHWC'"),
    (lambda: F.conv2d(X[0, 0], W), ShapeError, r"conv2d: takes an input of 4 axes, or of 3 for one image"),
    (lambda: F.conv1d(X[0], W), ShapeError, r"conv1d: takes a weight of 3 axes, not of shape \(4, 3, 3, 3\)"),
    (lambda: F.conv_transpose2d(X, T, output_padding=1), ValueError, "conv_transpose2d: output_padding .* not below"),
    (lambda: F.conv_transpose2d(X, T, padding=5), ShapeError, r"conv_transpose2d: the output would have size \(0, 0\)"),
    (lambda: F.conv_transpose2d(X, W), ShapeError, "takes 4.*; the output would be"),
    (lambda: F.conv_transpose2d(X, T, np.zeros(3)), ShapeError, r"conv_transpose2d: bias \(3,\) does not fit 4"),
    (lambda: F.conv_transpose2d(X, T, activation="elu"), ValueError, "conv_transpose2d: activation 'elu' is not"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), WRONG, ids=[text[:40] for _, _, text in WRONG])
def test_what_does_not_fit_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


LAYERS = {
    "a sum in slices": ((1, 130, 4, 4), (20, 65, 3, 3), {"padding": 1, "groups": 2, "activation": "relu"}),
    "a product, NHWC": ((1, 12, 12, 40), (20, 40, 1, 1), {"layout": "NHWC"}),
    "a product, NCHW": ((1, 40, 12, 12), (20, 40, 1, 1), {}),
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_in_c(layer, tmp_path):
    shape, filters, rest = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    weight = dl.tensor(rng.standard_normal(filters).astype(np.float32))

    class Layer(dl.nn.Module):
        def forward(self, x):
            return dl.conv2d(x, weight, **rest)

    dl.export.c(Layer(), tmp_path / "layer.c", example=x)
    command = ["cc", "-O1", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", "-o", "layer.so", "layer.c", "-lm"]
    subprocess.run(command, check=True, cwd=tmp_path)
    wanted = np.asarray(Layer()(dl.tensor(x)))
    got = np.empty_like(wanted)
    function = ctypes.CDLL(str(tmp_path / "layer.so")).layer_predict
    function(x.ctypes.data_as(ctypes.c_void_p), got.ctypes.data_as(ctypes.c_void_p))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
