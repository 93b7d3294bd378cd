"""Convolutions large enough to be cut: into boxes of positions, slices of their sums, panels of channels, tasks.

Operands are small integers, of which every sum is exact: the three forms must equal NumPy's to the last bit, however
they are cut and for any number of threads.
"""

import numpy as np
import pytest

import dlcore as dl
from dlcore.op import Spec
from dlcore.ops._convolution_kernels import OF_INPUT, OF_OUTPUT, OF_WEIGHT
from dlcore.ops._convolution_reference import input_of, output_of, weight_of
from dlcore.ops.conv import conv, conv_input, conv_weight

SHAPES = {  # images, weight, stride, padding, dilation, groups
    "bands of an image": ((2, 17, 90, 40), (35, 17, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "bands of a strided image": ((1, 16, 90, 71), (20, 16, 3, 3), (2, 2), (0, 1, 2, 1), (1, 1), 1),
    "parts of a line": ((1, 3, 5000), (16, 3, 5), (1,), (2, 2), (1,), 1),
    "tiles with empty lanes": ((5, 34, 31, 40), (36, 34, 3, 3), (1, 1), (1, 0, 0, 1), (1, 1), 1),
    "several images at once": ((40, 64, 4, 4), (70, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "slices of the sum": ((3, 600, 11), (20, 600, 3), (1,), (1, 1), (1,), 1),
    "phases of a stride": ((2, 40, 33, 35), (33, 40, 4, 2), (3, 2), (1, 2, 0, 1), (1, 2), 1),
    "rows a power of two apart": ((2, 512, 5, 6), (16, 512, 2, 3), (1, 1), (1, 0, 1, 1), (1, 1), 1),
    "groups": ((3, 96, 20, 20), (64, 24, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4),
    "depthwise": ((2, 5, 21, 37), (5, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 5),
    "depthwise, high kernels": ((1, 3, 9, 70), (3, 1, 6, 4), (1, 1), (2, 3, 0, 3), (1, 1), 3),
    "depthwise, low kernels": ((1, 3, 18, 65), (3, 1, 2, 3), (1, 1), (0, 0, 4, 4), (1, 2), 3),
    "depthwise, bands": ((1, 2, 95, 330), (2, 1, 5, 5), (1, 1), (6, 2, 1, 7), (1, 1), 2),
    "depthwise, blocks of channels": ((34, 37, 21, 22), (37, 1, 3, 3), (2, 1), (1, 1, 0, 1), (1, 1), 37),
    "planes": ((1, 16, 9, 24, 20), (32, 16, 3, 3, 3), (1, 2, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1), 1),
    "padding and nothing else": ((2, 16, 3, 4), (16, 16, 2, 2), (2, 2), (6, 5, 4, 7), (1, 1), 1),
    "many images": ((46, 8, 15, 13), (13, 8, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "many images, bands": ((31, 12, 29, 31), (12, 12, 4, 3), (1, 1), (2, 1, 1, 3), (1, 2), 1),
    "many images, groups": ((30, 9, 7, 6), (12, 3, 3, 3), (1, 1), (2, 3, 4, 2), (2, 1), 3),
    "one place": ((3, 40, 45, 40), (33, 40, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "one place, empty lanes": ((2, 160, 3, 6), (96, 160, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "one place, every second": ((2, 32, 40, 41), (48, 32, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = dl.get_num_threads()
    dl.set_num_threads(request.param)
    yield
    dl.set_num_threads(before)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_part_is_there_once(name, layout, threads):
    shape, filters, *walk, groups = SHAPES[name]
    rest = dict(zip(("stride", "padding", "dilation"), walk, strict=True), groups=groups, layout=layout)
    rng = np.random.default_rng(0)
    x, weight = (rng.integers(-2, 3, s).astype(np.float32) for s in (shape, filters))
    x = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    out = output_of(x, weight, **rest)
    y = rng.integers(-2, 3, out.shape).astype(np.float32)
    size = shape[2:]
    for got, wanted in (
        (conv(dl.tensor(x), dl.tensor(weight), **rest), out),
        (conv_input(dl.tensor(y), dl.tensor(weight), size=size, **rest), input_of(y, weight, size, **rest)),
        (conv_weight(dl.tensor(x), dl.tensor(y), kernel=filters[2:], **rest), weight_of(x, y, filters[2:], **rest)),
    ):
        np.testing.assert_array_equal(np.asarray(got), wanted)


def test_empty_lanes_are_weighed_against_multiplications_saved():
    """Kernels of 3 x 3 go to the general ones, which have Winograd's algorithm, unless too many lanes are empty."""

    def direct(inputs, outputs, padding=(1, 1, 1, 1), dtype=dl.float32):
        x, y, weight = (
            Spec(s, dtype) for s in ((16, inputs, 40, 40), (16, outputs, 40, 40), (outputs, inputs, 3, 3))
        )
        walk = ((1, 1), padding, (1, 1), 1, "NCHW")
        asked = (OF_OUTPUT, (x, weight)), (OF_INPUT, (y, weight)), (OF_WEIGHT, (x, y, (3, 3)))
        return [kernels["cpu"][0][1](*operands, *walk) for kernels, operands in asked]

    assert direct(24, 24) == [False, False, False]
    assert direct(17, 17) == direct(24, 24, dtype=dl.float64) == [True, True, True]
    assert direct(24, 24, (2, 2, 2, 2)) == [True, False, True]  # of the gradient's windows none is mostly padding
    assert direct(24, 24, (0, 0, 0, 0)) == [False, True, False]


def test_kernels_of_length_1_are_products():
    def direct(inputs, outputs, size=(7, 9), layout="NCHW", stride=(1, 1)):
        at = 1 if layout == "NCHW" else 3
        x, y = (Spec((*(2, *size)[:at], c, *(2, *size)[at:]), dl.float32) for c in (inputs, outputs))
        walk = (stride, (0, 0, 0, 0), (1, 1), 1, layout)
        operands = (x, Spec((outputs, inputs, 1, 1), dl.float32)), (y, Spec((outputs, inputs, 1, 1), dl.float32))
        asked = (OF_OUTPUT, operands[0]), (OF_INPUT, operands[1]), (OF_WEIGHT, (x, y, (1, 1)))
        return [kernels["cpu"][0][1](*given, *walk) for kernels, given in asked]

    assert direct(12, 8) == direct(3, 8, layout="NHWC") == [False, False, False]
    assert direct(12, 8, (16, 32)) == [False, False, True]  # planes of 2 KiB are copied
    assert direct(8, 8) == [False, False, True]
    assert direct(8, 4) == direct(4, 8, stride=(2, 2)) == [True, True, True]


def test_16_bit_images_that_are_widened_in_parts():
    rng = np.random.default_rng(0)
    x, y, weight = (rng.integers(-2, 3, s).astype(np.float32) for s in ((67, 16, 24, 24),) * 2 + ((16, 1, 3, 3),))
    rest = {"stride": (1, 1), "padding": (1,) * 4, "dilation": (1, 1), "groups": 16, "layout": "NCHW"}
    wide = output_of(x, weight, **rest), weight_of(x, y, (3, 3), **rest)
    x, y, weight = (dl.tensor(a).astype(dl.bfloat16) for a in (x, y, weight))
    for got, wanted in zip((conv(x, weight, **rest), conv_weight(x, y, kernel=(3, 3), **rest)), wide, strict=True):
        rounded = dl.tensor(wanted.astype(np.float32)).astype(dl.bfloat16)
        np.testing.assert_array_equal(np.asarray(got), np.asarray(rounded))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_image_has_the_same_bits_alone_and_among_others(layout):
    dl.manual_seed(0)
    x, weight = dl.randn(*((31, 5, 9, 8) if layout == "NCHW" else (31, 9, 8, 5))), dl.randn(7, 5, 3, 3)
    walk = {"stride": (1, 1), "padding": (1, 1, 2, 1), "dilation": (1, 1), "layout": layout}
    y = conv(x, weight, activation="gelu", **walk)
    dx = conv_input(y, weight, size=(9, 8), **walk)
    for k in (0, 15, 30):
        alone = conv(x[k : k + 1], weight, activation="gelu", **walk)
        np.testing.assert_array_equal(np.asarray(y[k : k + 1]), np.asarray(alone))
        alone = conv_input(y[k : k + 1], weight, size=(9, 8), **walk)
        np.testing.assert_array_equal(np.asarray(dx[k : k + 1]), np.asarray(alone))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("images", "filters", "groups"),
    [
        ((2, 3, 12, 18), (3, 1, 3, 3), 3), ((2, 3, 3, 40), (3, 1, 3, 3), 3),  # depthwise
        ((5, 5, 65, 64), (33, 5, 1, 1), 1),  # products of planes, some images at a time
    ],
)  # fmt: skip
def test_bias_and_activation_are_those_of_separate_operations(images, filters, groups, dtype):
    rng = np.random.default_rng(1)
    x, weight, bias = (dl.tensor(rng.integers(-2, 3, s).astype(np.float32)).to(dtype)
                       for s in (images, filters, filters[:1]))  # fmt: skip
    walk = {"stride": (1, 1), "padding": (filters[-1] // 2,) * 4, "dilation": (1, 1), "groups": groups}
    plain = conv(x, weight, None, **walk) + bias.reshape(-1, 1, 1)
    np.testing.assert_array_equal(np.asarray(conv(x, weight, bias, **walk)), np.asarray(plain))
    out = conv(x.requires_grad_(), weight, bias, **walk, activation="gelu")
    np.testing.assert_array_equal(np.asarray(out.detach()), np.asarray(dl.gelu(plain)))
    out.sum().backward()
    again = dl.gelu(conv(y := x.detach().requires_grad_(), weight, None, **walk) + bias.reshape(-1, 1, 1))
    again.sum().backward()
    np.testing.assert_array_equal(np.asarray(x.grad), np.asarray(y.grad))
