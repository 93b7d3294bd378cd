"""Samples, wrong inputs, workloads and peers of the three forms of a convolution, from one list of shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dlcore.dtypes import bfloat16, float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Workload
from dlcore.ops._activations import ACTIVATIONS
from dlcore.ops._convolution import Geometry, image

__all__: list[str] = []

Lengths = tuple[int, ...]


class Case(NamedTuple):
    """A convolution by its lengths: channels of input and output, and those of each axis of space."""

    batch: int
    inputs: int
    outputs: int
    size: Lengths
    kernel: Lengths
    stride: Lengths = ()
    padding: Lengths = ()
    dilation: Lengths = ()
    groups: int = 1
    layout: str = "NCHW"
    why: str = ""

    @property
    def walk(self) -> Geometry:
        """Without what is 1 and 0 by default left out."""
        axes = len(self.size)
        ones, zeros = (1,) * axes, (0,) * (2 * axes)
        return Geometry(self.stride or ones, self.padding or zeros, self.dilation or ones, self.groups, self.layout)

    @property
    def attrs(self) -> dict[str, Any]:
        """Those that the three forms share."""
        return self.walk._asdict()

    @property
    def x(self) -> Lengths:
        """Shape of the input."""
        return image(self.batch, self.inputs, self.size, self.layout)

    @property
    def weight(self) -> Lengths:
        """Shape of the weight."""
        return self.outputs, self.inputs // self.groups, *self.kernel

    @property
    def y(self) -> Lengths:
        """Shape of the output."""
        return image(self.batch, self.outputs, self.walk.output(self.size, self.kernel), self.layout)

    @property
    def filters(self) -> Input:
        """Weights whose products with standard normal numbers have about that size."""
        size = math.prod(self.weight[1:]) ** -0.5
        return Input(self.weight, draw=lambda rng: rng.standard_normal(self.weight) * size)


_ALL = Case(2, 3, 4, (7, 6), (3, 2), (2, 1), (1, 0, 2, 1), (1, 2), why="no two lengths equal")
_SAMPLES = [
    _ALL,
    Case(2, 2, 5, (5, 5), (3, 3), padding=(1,) * 4, why="3 by 3"),
    Case(2, 5, 7, (4, 3), (1, 1), why="1 by 1"),
    Case(1, 6, 6, (6, 5), (3, 3), padding=(1,) * 4, groups=6, why="depthwise"),
    Case(2, 2, 6, (5, 7), (3, 3), (2, 2), (1,) * 4, groups=2, why="groups, strided"),
    Case(2, 3, 5, (11,), (4,), padding=(1, 2), why="one axis, even kernel"),
    Case(1, 2, 3, (4, 5, 3), (2, 3, 2), (1, 2, 1), (0, 1, 1, 1, 0, 0), why="three axes"),
    Case(2, 3, 4, (6, 5), (3, 3), (2, 2), (1, 1, 0, 1), layout="NHWC", why="NHWC"),
    Case(1, 4, 8, (5, 4), (3, 2), padding=(1, 1, 0, 1), groups=4, layout="NHWC", why="NHWC, depthwise, two of each"),
    Case(2, 3, 2, (7,), (3,), dilation=(2,), layout="NHWC", why="NHWC, one axis, dilated"),
    Case(2, 2, 3, (3, 3), (1, 2), (3, 2), (2, 0, 1, 3), why="windows of padding alone"),
    Case(0, 3, 2, (4, 4), (3, 3), why="no images"),
    Case(1, 2, 3, (9, 10), (3, 2), (4, 3), (1, 0, 2, 4), (2, 3), why="strides and dilations with common divisors"),
    Case(2, 3, 4, (3, 2), (1, 1), layout="NHWC", why="NHWC, 1 by 1"),
]
_LARGE = [
    Case(3, 16, 33, (14, 15), (3, 3), padding=(1,) * 4, why="several tiles and threads"),
    Case(17, 1, 9, (13, 12), (3, 3), padding=(1,) * 4, why="one channel, more than sixteen images"),
    Case(2, 17, 18, (7, 6), (3, 2), (2, 1), (1, 0, 2, 1), (1, 2), why="more channels than lanes"),
    Case(1, 40, 36, (5, 4), (2, 2), groups=2, layout="NHWC", why="groups of many channels"),
    Case(2, 19, 19, (8, 11), (3, 3), (2, 2), (1,) * 4, groups=19, why="depthwise, more channels than lanes"),
    Case(3, 16, 16, (9, 16), (4, 2), padding=(1, 1, 0, 1), groups=16, layout="NHWC", why="NHWC, lanes of channels"),
    Case(2, 1, 2, (40, 37), (3, 5), why="several bands of rows"),
    Case(1, 1, 2, (2100,), (3,), (2,), why="a line longer than a band"),
    Case(2, 3, 3, (9, 37), (3, 3), padding=(1,) * 4, groups=3, why="depthwise, rows of several vectors"),
    Case(30, 3, 13, (6, 5), (3, 2), padding=(1, 0, 2, 3), dilation=(1, 2), why="lanes of images, two without one"),
    Case(30, 10, 14, (5, 7), (2, 3), padding=(1,) * 4, groups=2, layout="NHWC", why="NHWC, lanes of images, groups"),
    Case(32, 5, 8, (11,), (4,), padding=(2, 4), layout="NHWC", why="NHWC, lanes of images, one axis"),
    Case(3, 1, 1, (4, 37), (3, 2), padding=(1,) * 4, layout="NHWC", why="NHWC, one channel, rows of several vectors"),
    Case(2, 16, 18, (13, 11), (3, 3), padding=(1, 1, 0, 1), layout="NHWC", why="NHWC, Winograd's tiles past the image"),
    Case(1, 36, 40, (20, 17), (3, 3), padding=(1,) * 4, groups=2, why="Winograd's tiles, groups"),
]
_TILES = Case(1, 16, 16, (15, 14), (3, 3), padding=(1, 1, 1, 0), why="special values in Winograd's tiles")


def _special(shape: Lengths) -> Any:
    x = np.linspace(-2, 2, math.prod(shape)).reshape(shape)
    x[0, 0, 1, 1], x[0, 1, 4, 5], x[0, 1, -1, 6] = np.nan, np.inf, -np.inf
    return x


def conv_samples() -> Iterator[Sample]:
    """Every shape, with and without a bias; every activation."""
    for k, case in enumerate((*_SAMPLES, *_LARGE)):
        bias = (case.outputs,) if k % 2 == 0 else None
        activation = (None, "relu", "gelu")[k % 3]
        grad = case not in _LARGE
        yield Sample(case.x, case.filters, bias, **case.attrs, activation=activation, why=case.why, grad=grad)
    for name in ACTIVATIONS:
        case = _SAMPLES[1]._replace(batch=1)
        yield Sample(case.x, case.filters, (case.outputs,), **case.attrs, activation=name, why=str(name))
    case = Case(1, 2, 3, (5, 5), (3, 2))
    x = np.linspace(-2, 2, math.prod(case.x)).reshape(case.x)
    x[0, 0, 1, 1], x[0, 1, 4, 4], x[0, 1, 0, 3] = np.nan, np.inf, -np.inf
    yield Sample(x, case.filters, None, **case.attrs, why="special values", grad=False)
    yield Sample(_special(_TILES.x), _TILES.filters, None, **_TILES.attrs, why=_TILES.why, grad=False)


def input_samples() -> Iterator[Sample]:
    """Every shape."""
    for case in (*_SAMPLES, *_LARGE):
        yield Sample(case.y, case.filters, size=case.size, **case.attrs, why=case.why, grad=case not in _LARGE)
    case = _TILES
    yield Sample(_special(case.y), case.filters, size=case.size, **case.attrs, why=case.why, grad=False)


def weight_samples() -> Iterator[Sample]:
    """Every shape."""
    for case in (*_SAMPLES, *_LARGE):
        yield Sample(case.x, case.y, kernel=case.kernel, **case.attrs, why=case.why, grad=case not in _LARGE)
    case = Case(2, 2, 3, (5, 5), (3, 2))
    x = np.linspace(-2, 2, math.prod(case.x)).reshape(case.x)
    x[0, 0, 1, 1], x[1, 1, 4, 4], x[1, 1, 0, 3] = np.nan, np.inf, -np.inf
    yield Sample(x, case.y, kernel=case.kernel, **case.attrs, why="special values", grad=False)
    case = _TILES
    yield Sample(_special(case.x), case.y, kernel=case.kernel, **case.attrs, why=case.why, grad=False)


# ---- wrong inputs ----------------------------------------------------------------------------------------------------


_PLAIN: dict[str, Any] = {"stride": (1, 1), "padding": (0,) * 4, "dilation": (1, 1)}
_X, _W = np.zeros((2, 3, 8, 8)), np.zeros((4, 3, 3, 3))
_GIVEN = "x (2, 3, 8, 8), weight (4, 3, 3, 3)"
_WOULD = f"{_GIVEN}; the output would be (2, 4, 6, 6)"


def conv_errors() -> Iterator[ErrorInput]:
    """Everything that does not fit."""
    wrong = partial(ErrorInput, ShapeError)
    yield wrong("conv: takes x (N, C, *space) and weight (D, C / groups, *kernel) with 1 to 3 axes of space each, not "
                "x (3, 8), weight (4, 3, 3, 3)", np.zeros((3, 8)), _W, **_PLAIN)  # fmt: skip
    yield wrong("conv: 3 channels, but weight takes 2: x (2, 3, 8, 8), weight (4, 2, 3, 3); the output would be "
                "(2, 4, 6, 6)", _X, np.zeros((4, 2, 3, 3)), **_PLAIN)  # fmt: skip
    yield wrong("conv: 3 channels, but weight takes 3 times 3 groups: x (2, 3, 8, 8), weight (6, 3, 3, 3); the output "
                "would be (2, 6, 6, 6)", _X, np.zeros((6, 3, 3, 3)), **_PLAIN, groups=3)  # fmt: skip
    yield wrong(f"conv: groups 2 does not divide both 3 channels of the input and 4 of the output: {_WOULD}",
                _X, _W, **_PLAIN, groups=2)  # fmt: skip
    yield wrong(f"conv: bias (3,) does not fit 4 channels of the output: {_WOULD}", _X, _W, np.zeros(3), **_PLAIN)
    yield wrong("conv: the kernel (3, 3), dilated (9, 3), does not fit into the padded input (8, 8): the output would "
                f"have size (0, 6); {_GIVEN}", _X, _W, **{**_PLAIN, "dilation": (4, 1)})  # fmt: skip
    yield wrong("conv: stride (1,) is not 2 numbers, for 2 axes of space", _X, _W, **{**_PLAIN, "stride": (1,)})
    yield wrong("conv: padding (1, 1) is not 4 numbers, for 2 axes of space", _X, _W, **{**_PLAIN, "padding": (1, 1)})
    yield wrong("conv: only the batch may be empty, not channels, space or kernel: x (2, 0, 8, 8), weight "
                "(4, 0, 3, 3)", np.zeros((2, 0, 8, 8)), np.zeros((4, 0, 3, 3)), **_PLAIN)  # fmt: skip
    for name, value, least in (("stride", (1, 0), 1), ("padding", (0, 0, -1, 0), 0), ("dilation", (0, 1), 1)):
        yield ErrorInput(ValueError, f"conv: {name} {value} has a number below {least}", _X, _W,
                         **{**_PLAIN, name: value})  # fmt: skip
    yield ErrorInput(ValueError, "conv: groups is 0; it must be at least 1", _X, _W, **_PLAIN, groups=0)
    yield ErrorInput(DTypeError, "conv: x (2, 3, 8, 8) is of uint8; it must be of a floating dtype: x.float(), and "
                     "bytes of a picture divided by 255", _X.astype(np.uint8), _W, **_PLAIN)  # fmt: skip


def input_errors() -> Iterator[ErrorInput]:
    """What does not fit the size asked for."""
    wrong, y = partial(ErrorInput, ShapeError), np.zeros((2, 4, 6, 6))
    given = "y (2, 4, 6, 6), weight (4, 3, 3, 3)"
    yield wrong("conv_input: an input of size (9, 8) has an output of size (7, 6), not that of y (2, 4, 6, 6): "
                f"{given}", y, _W, size=(9, 8), **_PLAIN)  # fmt: skip
    yield wrong(f"conv_input: size (0, 8) is not 2 lengths of at least 1: {given}", y, _W, size=(0, 8), **_PLAIN)
    yield wrong("conv_input: 4 channels, but weight takes 5: y (2, 4, 6, 6), weight (5, 3, 3, 3); "
                "the output would be (2, 3, 8, 8)", y, np.zeros((5, 3, 3, 3)), size=(8, 8), **_PLAIN)  # fmt: skip
    yield wrong(f"conv_input: groups 3 does not divide 4 channels: {given}; the output would be (2, 9, 8, 8)",
                y, _W, size=(8, 8), **_PLAIN, groups=3)  # fmt: skip
    yield wrong("conv_input: takes y (N, D, *space) and weight (D, C / groups, *kernel) with 1 to 3 axes of space "
                "each, not y (2, 4, 6, 6), weight (3, 3, 3)", y, _W[0], size=(8, 8), **_PLAIN)  # fmt: skip


def weight_errors() -> Iterator[ErrorInput]:
    """What does not fit the kernel asked for."""
    wrong, y = partial(ErrorInput, ShapeError), np.zeros((2, 4, 6, 6))
    given = "x (2, 3, 8, 8), y (2, 4, 6, 6)"
    yield wrong(f"conv_weight: y must be (2, 4, 5, 6), the output for the kernel (4, 3): {given}",
                _X, y, kernel=(4, 3), **_PLAIN)  # fmt: skip
    yield wrong(f"conv_weight: kernel (3,) is not 2 lengths: {given}", _X, y, kernel=(3,), **_PLAIN)
    yield wrong(f"conv_weight: groups 2 does not divide both 3 and 4 channels: {given}",
                _X, y, kernel=(3, 3), **_PLAIN, groups=2)  # fmt: skip
    yield wrong("conv_weight: takes x (N, C, *space) and y (N, D, *space) with 1 to 3 axes of space each, not "
                "x (2, 3, 8, 8), y (2, 4, 6)", _X, np.zeros((2, 4, 6)), kernel=(3, 3), **_PLAIN)  # fmt: skip


# ---- what is timed ---------------------------------------------------------------------------------------------------

_SAME = (1,) * 4
_LAYERS = [
    Case(8, 3, 4, (8, 8), (3, 3), padding=_SAME, why="dispatch"),
    Case(64, 1, 8, (28, 28), (3, 3), padding=_SAME, why="first layer of model c"),
    Case(64, 8, 16, (14, 14), (3, 3), padding=_SAME, why="second layer of model c"),
    Case(64, 16, 16, (32, 32), (3, 3), padding=_SAME, why="ResNet-20, first stage"),
    Case(64, 64, 64, (8, 8), (3, 3), padding=_SAME, why="ResNet-20, last stage"),
    Case(16, 64, 128, (28, 28), (3, 3), (2, 2), _SAME, why="ResNet-18, strided"),
    Case(16, 64, 64, (28, 28), (3, 3), padding=_SAME, layout="NHWC", why="ResNet-18, NHWC"),
    Case(32, 64, 64, (16, 16), (3, 3), padding=_SAME, groups=64, why="depthwise"),
    Case(32, 64, 128, (16, 16), (1, 1), why="pointwise"),
    Case(16, 32, 64, (512,), (5,), padding=(2, 2), why="one axis"),
]
_GPU = [
    Case(128, 256, 256, (14, 14), (3, 3), padding=_SAME, why="large"),
    Case(128, 256, 256, (14, 14), (3, 3), padding=_SAME, layout="NHWC", why="large, NHWC"),
]


def _timed(case: Case, operands: tuple[Any, ...], attrs: tuple[Any, ...]) -> Workload:
    if case in _GPU:
        return Workload(operands, attrs, case.why, (bfloat16,), ("cuda",))
    quick = "forward" if "model c" in case.why else ""
    return Workload(operands, attrs, case.why, () if case.why == "dispatch" else (float32,), quick=quick)


def _walked(case: Case) -> tuple[Any, ...]:
    walk = case.walk
    return walk.stride, walk.padding, walk.dilation, walk.groups


def conv_workloads() -> Iterator[Workload]:
    """Layers, with bias and ReLU."""
    for case in (*_LAYERS, *_GPU):
        operands = case.x, case.filters, (case.outputs,)
        yield _timed(case, operands, (*_walked(case), "relu", case.layout))


def input_workloads() -> Iterator[Workload]:
    """Layers."""
    for case in (*_LAYERS, *_GPU):
        yield _timed(case, (case.y, case.filters), (case.size, *_walked(case), case.layout))


def weight_workloads() -> Iterator[Workload]:
    """Layers."""
    for case in (*_LAYERS, *_GPU):
        yield _timed(case, (case.x, case.y), (case.kernel, *_walked(case), case.layout))


# Images in NHWC are torch's channels_last: strides alone tell them apart. Paddings of both sides are equal here.
_TORCH = """ahead = (lambda a: a.movedim(-1, 1)) if layout == "NHWC" else (lambda a: a)
behind = (lambda a: a.movedim(1, -1)) if layout == "NHWC" else (lambda a: a)
lengths = (lambda a: list(a.shape[1:-1])) if layout == "NHWC" else (lambda a: list(a.shape[2:]))
rank = len(stride)
backward = torch.ops.aten.convolution_backward
rest = (list(stride), list(padding[::2]), list(dilation), False, [0] * rank, groups)
"""
TORCH_CONV = (
    _TORCH + """function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
activate = {None: lambda y: y, "relu": torch.relu_, "sigmoid": torch.sigmoid_, "tanh": torch.tanh_,
    "gelu": F.gelu, "gelu_tanh": lambda y: F.gelu(y, approximate="tanh")}[activation]
def forward(x, weight, bias):
    return behind(activate(function(ahead(x), weight, bias, stride, padding[::2], dilation, groups)))""",
    "forward(x, weight, bias)",
)
TORCH_INPUT = (
    _TORCH + """def gradient(y, weight):
    x = y.new_empty(1).expand(y.shape[0], weight.shape[1] * groups, *size)
    return behind(backward(ahead(y), x, weight, None, *rest, [True, False, False])[0])""",
    "gradient(y, weight)",
)
TORCH_WEIGHT = (
    _TORCH + """def gradient(x, y):
    given, arriving = ahead(x), ahead(y)
    weight = x.new_empty(1).expand(arriving.shape[1], given.shape[1] // groups, *kernel)
    return backward(arriving, given, weight, None, *rest, [False, True, False])[1]""",
    "gradient(x, y)",
)
_JAX = """rank = len(stride)
letters = "DHW"[-rank:]
images = "NC" + letters if layout == "NCHW" else "N" + letters + "C"
pairs = list(zip(padding[::2], padding[1::2]))
def forward(x, weight):
    return jax.lax.conv_general_dilated(x, weight, stride, pairs, rhs_dilation=dilation, feature_group_count=groups,
        dimension_numbers=(images, "OI" + letters, images))
"""
JAX_CONV = (
    _JAX + """activate = {None: lambda y: y, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh,
    "gelu": lambda y: jax.nn.gelu(y, approximate=False), "gelu_tanh": jax.nn.gelu}[activation]
place = (-1, *[1] * rank) if layout == "NCHW" else (-1,)""",
    "activate(forward(x, weight) + (0 if bias is None else bias.reshape(place)))",
)
JAX_INPUT = (
    _JAX + """def gradient(y, weight):
    inputs = weight.shape[1] * groups
    shape = (y.shape[0], inputs, *size) if layout == "NCHW" else (y.shape[0], *size, inputs)
    return jax.linear_transpose(lambda x: forward(x, weight), jax.ShapeDtypeStruct(shape, y.dtype))(y)[0]""",
    "gradient(y, weight)",
)
JAX_WEIGHT = (
    _JAX + """def gradient(x, y):
    at = 1 if layout == "NCHW" else -1
    shape = (y.shape[at], x.shape[at] // groups, *kernel)
    return jax.linear_transpose(lambda w: forward(x, w), jax.ShapeDtypeStruct(shape, y.dtype))(y)[0]""",
    "gradient(x, y)",
)
