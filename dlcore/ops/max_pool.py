"""Maxima of windows: max_pool1d, max_pool2d, max_pool3d, and the operations behind them and behind the adaptive ones.

What is kept for the gradient is not the index of each maximum but its position within its window, a byte where windows
have at most 256 elements. The gradient gathers: each element of the input looks at the windows that hold it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from dlcore._arguments import boolean, names_errors, operand
from dlcore.dtypes import FLOATS, float32, int32, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Choice, ErrorInput, Input, Sample, Shape, Spec, Workload
from dlcore.ops._windows import (
    Ints,
    Layout,
    Pooled,
    check_windows,
    pooled_cost,
    positions,
    spatial,
    volume,
    windows_on,
    with_space,
)
from dlcore.ops._workloads import bytes_of
from dlcore.ops.activation import relu_backward
from dlcore.ops.movement import reshape

if TYPE_CHECKING:
    from dlcore._commands import Array, Command

__all__ = ["max_pool1d", "max_pool2d", "max_pool3d"]

# ---- the operations -------------------------------------------------------------------------------------------------

_COMPARABLE = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64")


def _window(size: int | Ints, kernel: int | Ints, stride: Any = None, padding: Any = 0, dilation: Any = 1,
            layout: str = "NCHW", *, rank: int = 2) -> dict[str, Any]:  # fmt: skip
    """The attributes of a sample; one number stands for all axes."""
    def each(v: Any) -> Ints:
        return (v,) * rank if isinstance(v, int) else v

    return {"size": each(size), "kernel": each(kernel), "stride": each(kernel if stride is None else stride),
            "padding": each(padding), "dilation": each(dilation), "layout": layout}  # fmt: skip


_ADAPTIVE = {"kernel": (), "stride": (), "padding": (), "dilation": ()}
_CASES: list[tuple[Ints, dict[str, Any], str]] = [
    ((2, 3, 6, 8), _window((3, 4), 2), "2 by 2"), ((2, 3, 7, 9), _window((3, 4), 2), "2 by 2, odd lengths"),
    ((3, 2, 5, 37), _window((2, 18), 2), "2 by 2, long rows of odd length"),
    ((2, 4, 9, 35), _window((5, 18), 3, 2, 1), "3 by 3, stride 2, overlapping"),
    ((2, 3, 7, 5), _window((4, 3), 3, 2, 1, 1), "unaligned"),
    ((1, 2, 5, 7), _window((3, 4), 2, 2, 0, 1), "ceil mode"),
    ((2, 5, 7, 37), _window((4, 2), (2, 3), (1, 2), (0, 1), (1, 3), "NHWC"), "NHWC, dilated"),
    ((1, 70, 4, 2), _window((70, 3), (3, 2), (1, 2), 1, 1, "NHWC"), "NHWC, few channels"),
    ((2, 3, 11), _window(4, 3, 3, 1, rank=1), "1-d"),
    ((1, 2, 5, 4, 6), _window((2, 2, 3), (2, 3, 2), (2, 1, 2), rank=3), "3-d"),
    ((2, 2, 5, 5, 37), _window((2, 2, 18), 2, rank=3), "3-d, 2 by 2 by 2, odd lengths"),
    ((1, 2, 20, 18), _window((2, 2), (17, 16), (3, 2)), "more than 256 positions"),
    ((2, 2, 7, 5), {"size": (3, 4), **_ADAPTIVE, "layout": "NCHW"}, "adaptive"),
    ((1, 5, 4, 3), {"size": (7, 2), **_ADAPTIVE, "layout": "NHWC"}, "adaptive, NHWC, more windows than elements"),
    ((5, 7, 5, 7), _window(1, (5, 7)), "whole planes"), ((2, 5, 9, 13), _window((3, 4), 3), "stride 3, rows"),
    ((0, 2, 4, 4), _window(2, 2), "no images"),
]  # fmt: skip


def _place_dtype(positions: int) -> Any:
    return uint8 if positions <= 256 else int32


def _max_spec(name: str, x: Spec, size: Ints, windows: tuple[Any, ...], layout: str) -> tuple[Ints, Any]:
    check_windows(name, x.shape, size, windows, layout)
    if x.dtype.name not in _COMPARABLE:
        raise DTypeError(f"{name}: does not take {x.dtype.name}")
    space = spatial(x.shape, layout)
    return with_space(x.shape, size, layout), _place_dtype(volume(space, size, windows[0]))


class MaxPooled(Pooled):
    """Maxima of windows; `max_pool_indices` gives their indices too."""

    kinds: Sequence[str] = ("float", "int", "uint")
    extras = "places"
    dtypes = FLOATS

    def reference(self, x: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints,
                  layout: str) -> Any:  # fmt: skip
        """Maxima, and flat indices in space."""
        found = numpy_max(x, size, (kernel, stride, padding, dilation), layout)
        return found if self.name == "max_pool_indices" else found[0]

    def cost(self, x: Spec, size: Ints, kernel: Ints, layout: str) -> tuple[float, float]:
        """A comparison for each position of each window."""
        out = Spec(with_space(x.shape, size, layout), x.dtype)
        return pooled_cost(x, out, volume(spatial(x.shape, layout), size, kernel))

    def family_samples(self) -> Iterator[Sample]:
        for shape, attrs, why in _CASES:
            yield Sample(shape, **attrs, why=why)
        special = np.array([np.nan, 1, np.nan, 2, -np.inf, -np.inf, 3, 3, 0.0, -0.0, np.inf, np.nan], np.float32)
        yield Sample(np.tile(special, 4).reshape(1, 2, 6, 4), **_window((6, 2), (1, 2)), why="NaN, ties", grad=False)
        yield Sample(np.full((1, 1, 2, 3), -np.inf, np.float32), **_window((2, 2), 2, 2, 1), why="-inf", grad=False)
        integers = np.arange(48, dtype=np.int16).reshape(1, 3, 4, 4)[..., ::-1] - 20
        yield Sample(integers.copy(), **_window((3, 3), 2, 1), why="int16", grad=False)
        yield Sample(np.arange(200, 230, dtype=np.uint8).reshape(1, 2, 15), **_window(5, 3, rank=1), why="uint8",
                     grad=False)  # fmt: skip
        yield Sample((3, 2, 41, 90), **_window((21, 45), 3, 2, 1), why="several tiles", grad=False)
        yield Sample((2, 9, 60, 130), **_window((3, 20), 3, 3, 0, 1, "NHWC"), why="NHWC, tiles", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        def wrong(text: str, shape: Ints = (1, 1, 4, 4), **changes: Any) -> ErrorInput:
            given = {**_window((2, 2), 2), **changes}
            return ErrorInput(ShapeError, f"{self.name}: {text}", np.zeros(shape), **given)

        yield wrong("kernel_size (0, 2); each must be at least 1", kernel=(0, 2))
        yield wrong("stride (2, 0); each must be at least 1", stride=(2, 0))
        yield wrong("padding (-1, 0); each must be at least 0", padding=(-1, 0))
        yield wrong("dilation (0, 0); each must be at least 1", dilation=(0, 0))
        yield wrong("padding (2, 2) is more than half of windows of (2, 2)", padding=(2, 2))
        yield wrong("windows on shape (1, 1, 4, 4) give (0, 2) in space, not (2, 2)", kernel=(7, 2))
        yield wrong("windows on shape (1, 1, 4, 4) give (2, 2) in space, not (3, 2)", size=(3, 2))
        yield wrong("windows of 1 axes for shape (1, 1, 4, 4)", kernel=(2,))
        yield wrong("shape (4, 4) has no batch, channels and 1 to 3 axes in space", shape=(4, 4))
        yield wrong("size (-1, 2); each must be at least 0", size=(-1, 2), **_ADAPTIVE)
        yield ErrorInput(DTypeError, f"{self.name}: does not take uint16", np.zeros((1, 1, 4, 4), np.uint16),
                         **_window((2, 2), 2))  # fmt: skip

    def family_workloads(self) -> list[Workload]:
        def given(shape: Ints, size: Any, kernel: Any, *rest: Any, why: str, **kw: Any) -> Workload:
            attrs: dict[str, Any] = _window(size, kernel, *rest, rank=len(shape) - 2)
            return Workload((shape,), tuple(attrs.values()), why, **kw)

        return [
            given((64, 8, 28, 28), 14, 2, why="model c, 2 by 2", quick="both"),
            given((16, 64, 112, 112), 56, 3, 2, 1, why="ResNet, 3 by 3, stride 2", dtypes=(float32,)),
            given((16, 112, 112, 64), 56, 3, 2, 1, 1, "NHWC", why="ResNet, NHWC", dtypes=(float32,)),
            given((32, 16, 14, 14), 7, 2, why="a few elements a row", dtypes=(float32,)),
            given((8, 64, 13, 13), 13, 5, 1, 2, why="5 by 5, stride 1", dtypes=(float32,)),
            given((8, 32, 4096), 2048, 2, why="1-d", dtypes=(float32,)),
        ]

    def family_baselines(self) -> dict[str, str]:
        indices = ", return_indices=True" if self.name == "max_pool_indices" else ""
        pool = "(F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]"
        order = "x if layout == 'NCHW' else x.movedim(-1, 1)"
        return {"torch": f"{pool}({order}, kernel, stride, padding, dilation{indices})"}


def numpy_max(x: Any, size: Ints, windows: tuple[Ints, Ints, Ints, Ints], layout: str) -> tuple[Any, Any]:
    """Maxima of an array's windows, and their flat indices in space."""
    x = x if layout == "NCHW" else np.moveaxis(x, -1, 1)
    space, flat = x.shape[2:], x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    out = np.empty((*x.shape[:2], *size), x.dtype)
    indices = np.empty(out.shape, np.int64)
    for place, _, elements in positions(space, size, windows):
        at = (slice(None), slice(None), *place)
        values = flat[..., elements]
        nan = np.isnan(values)
        last = len(elements) - 1 - np.argmax(nan[..., ::-1], -1)
        out[at] = np.max(values, -1)
        indices[at] = elements[np.where(nan.any(-1), last, np.argmax(values, -1))]
    back = lambda a: a if layout == "NCHW" else np.moveaxis(a, 1, -1)  # noqa: E731
    return back(out), back(indices)


def _to_input(
    dout: Any, places: Any, x_shape: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str
) -> Any:
    space = spatial(x_shape, layout)
    return max_pool_backward(
        dout, places, size=space, kernel=kernel, stride=stride, padding=padding, dilation=dilation, layout=layout
    )


@MaxPooled.definition(gradient={"x": _to_input})
def max_pool(
    x: Spec, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, layout: Layout = "NCHW"
) -> list[Spec]:
    """The maxima of windows, `size` of them in space; with kernel () those of adaptive poolings."""
    shape, places = _max_spec("max_pool", x, size, (kernel, stride, padding, dilation), layout)
    return [Spec(shape, x.dtype), Spec(shape, places)]


@MaxPooled.definition(outputs="out indices", gradient={"x": _to_input})
def max_pool_indices(
    x: Spec, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, layout: Layout = "NCHW"
) -> list[Spec]:
    """(out, indices): the maxima of windows as `max_pool` has them, and their flat indices in space (int64)."""
    shape, places = _max_spec("max_pool_indices", x, size, (kernel, stride, padding, dilation), layout)
    return [Spec(shape, x.dtype), Spec(shape, int64), Spec(shape, places)]


# ---- gradients ------------------------------------------------------------------------------------------------------


class _OfPlaces(Pooled):
    """An operation that goes by the positions that `max_pool` chose in its windows."""

    dtypes = FLOATS

    def promote(self, specs: Sequence[Spec | None]) -> Sequence[Any]:
        """All to the dtype of operand 0, but for places."""
        return [s and (s if k == 1 else specs[0]).dtype for k, s in enumerate(specs)]  # type: ignore[union-attr]


def _check_places(name: str, places: Spec, shape: Ints, x: Ints, windows: tuple[Any, ...], layout: str) -> None:
    size = spatial(shape, layout)
    check_windows(name, x, size, windows, layout)
    if places.shape != shape:
        raise ShapeError(f"{name}: places of shape {places.shape} for windows of shape {shape}")
    wanted = _place_dtype(volume(spatial(x, layout), size, windows[0]))
    if places.dtype is not wanted:
        raise DTypeError(f"{name}: places are of dtype {places.dtype.name}, not {wanted.name}")


def _places(shape: Ints, attrs: dict[str, Any]) -> Input:
    """Positions that there are, in windows of an input of this shape."""
    most = volume(spatial(shape, attrs["layout"]), attrs["size"], attrs["kernel"])
    out = with_space(shape, attrs["size"], attrs["layout"])
    return Input(out, 0, most, _place_dtype(most))


def _kept(shape: Ints) -> Input:
    """Maxima behind a ReLU: such as are not near 0, where they are rounded to another dtype."""
    return Input(shape, draw=partial(relu_backward.op.signature.operands[1].domain.draw, shape=shape))


def _samples_of_places(backward: bool) -> Iterator[Sample]:
    for shape, attrs, why in _CASES:
        given = {k: v for k, v in attrs.items() if k != "size"}
        out, space = with_space(shape, attrs["size"], attrs["layout"]), spatial(shape, attrs["layout"])
        places = _places(shape, attrs)
        if not backward:
            yield Sample(shape, places, **given, why=why)
            continue
        yield Sample(out, places, None, **given, size=space, why=why)
        if attrs["kernel"] and why not in ("unaligned", "no images"):
            yield Sample(out, places, _kept(out), **given, size=space, activation="relu", why=f"{why}, behind a ReLU")


def _numpy_back(
    dout: Any, places: Any, out: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str
) -> Any:
    dout = dout if out is None else np.where(out <= 0, 0, dout)
    dout, places = (a if layout == "NCHW" else np.moveaxis(a, -1, 1) for a in (dout, places))
    dx = np.zeros((*dout.shape[:2], math.prod(size)), dout.dtype)
    for place, numbers, elements in positions(size, dout.shape[2:], (kernel, stride, padding, dilation)):
        at = (slice(None), slice(None), *place)
        for number, element in zip(numbers, elements, strict=True):
            dx[..., element] += np.where(places[at] == number, dout[at], 0)
    dx = dx.reshape(*dout.shape[:2], *size)
    return dx if layout == "NCHW" else np.moveaxis(dx, 1, -1)


def _to_windows(
    ddx: Any, places: Any, out: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str
) -> Any:
    found = max_pool_at(ddx, places, kernel, stride, padding, dilation, layout)
    return found if out is None else relu_backward(found, out)


def _merged(first: Command, second: Command, maker: Callable[[Array | None], Command | None]) -> Command | None:
    """The gradient of a maximum, then that of a ReLU before it: both by the maxima, which are the ReLU's results."""
    if first.op is not max_pool_backward.op or first.inputs[2] is not None or second.op is not relu_backward.op:
        return None
    dout, places, _ = first.inputs
    kept, forward = second.inputs[1], maker(places)
    if forward is None or kept is None or maker(kept) is None or forward.op not in (max_pool.op, max_pool_indices.op):
        return None
    given, made = forward.inputs[0], forward.outputs[0]
    if given is None or not given.same_elements(kept) or maker(made) is not forward:
        return None
    return first._replace(inputs=(dout, places, made), attrs=(*first.attrs[:-1], "relu"), outputs=second.outputs)


@_OfPlaces.definition(
    outputs="dx", merge=_merged, samples=lambda: _samples_of_places(True), reference=_numpy_back,
    magnitude=lambda dout, places, out, size, kernel, stride, padding, dilation, layout: _numpy_back(
        np.abs(dout), places, out, size, kernel, stride, padding, dilation, layout
    ),
    gradient={"dout": _to_windows},
    cost=lambda dout, places, out, size, layout: (
        float(math.prod(dout.shape)),
        bytes_of(dout, places, out, Spec(with_space(dout.shape, size, layout), dout.dtype)),
    ),
    error_inputs=[
        ErrorInput(ShapeError, "max_pool_backward: places of shape (1, 1, 2, 1) for windows of shape (1, 1, 2, 2)",
                   np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 1), np.uint8), **_window((4, 4), 2)),
        ErrorInput(DTypeError, "max_pool_backward: places are of dtype int64, not uint8",
                   np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2), np.int64), **_window((4, 4), 2)),
        ErrorInput(ShapeError, "max_pool_backward: out (1, 1, 2, 1) does not fit dout (1, 1, 2, 2) and activation "
                   "'relu'", np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2), np.uint8), np.zeros((1, 1, 2, 1)),
                   **_window((4, 4), 2), activation="relu"),
        ErrorInput(ShapeError, "max_pool_backward: out None does not fit dout (1, 1, 2, 2) and activation 'relu'",
                   np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2), np.uint8), **_window((4, 4), 2), activation="relu"),
    ],
    workloads=[Workload(((64, 8, 14, 14), Input((64, 8, 14, 14), 0, 4, uint8), None),
                        tuple(_window((28, 28), 2).values()), "model c, 2 by 2")],
    baselines={"torch": (
        "x = torch.randn((*dout.shape[:2], *size), dtype=dout.dtype)\n"
        "indices = F.max_pool2d(x, kernel, stride, padding, dilation, return_indices=True)[1]",
        "torch.ops.aten.max_pool2d_with_indices_backward(dout, x, kernel, stride, padding, dilation, False, indices)",
    )},
)  # fmt: skip
def max_pool_backward(
    dout: Spec, places: Spec, out: Spec | None, size: Shape, kernel: Shape, stride: Shape, padding: Shape,
    dilation: Shape, layout: Layout = "NCHW", activation: Annotated[str | None, Choice(None, "relu")] = None,
) -> Spec:  # fmt: skip
    """The gradient of `max_pool` for an input of lengths `size` in space: that of each window goes to its maximum.

    Gradients of windows that overlap are summed in float32 or wider, in the order of the positions. With `activation`
    "relu" it is the gradient of `max_pool` of a ReLU, whose results the maxima `out` are among: where one is not above
    0 nothing goes on.
    """
    if (activation is not None) != (out is not None) or (out is not None and out.shape != dout.shape):
        given = None if out is None else out.shape
        raise ShapeError(
            f"max_pool_backward: out {given} does not fit dout {dout.shape} and activation {activation!r}"
        )
    shape = with_space(dout.shape, size, layout)
    windows = kernel, stride, padding, dilation
    _check_places("max_pool_backward", places, dout.shape, shape, windows, layout)
    return Spec(shape, dout.dtype)


def _numpy_at(
    x: Any, places: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str
) -> Any:
    x, places = (a if layout == "NCHW" else np.moveaxis(a, -1, 1) for a in (x, places))
    out, flat = np.zeros(places.shape, x.dtype), x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    for place, numbers, elements in positions(x.shape[2:], places.shape[2:], (kernel, stride, padding, dilation)):
        at = (slice(None), slice(None), *place)
        for number, element in zip(numbers, elements, strict=True):
            out[at] = np.where(places[at] == number, flat[..., element], out[at])
    return out if layout == "NCHW" else np.moveaxis(out, 1, -1)


@_OfPlaces.definition(
    samples=lambda: _samples_of_places(False), reference=_numpy_at,
    params=lambda places, kernel, stride, padding, dilation, layout: _numbers(
        places, kernel, stride, padding, dilation, layout
    ),
    gradient={"x": _to_input},
    cost=lambda x, places: (0.0, bytes_of(places) + 2.0 * math.prod(places.shape) * x.dtype.itemsize),
    error_inputs=[
        ErrorInput(ShapeError, "max_pool_at: windows on shape (1, 1, 4, 4) give (2, 2) in space, not (2, 1)",
                   np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 2, 1), np.uint8),
                   **{k: v for k, v in _window((4, 4), 2).items() if k != "size"}),
    ],
    workloads=[Workload(((64, 8, 28, 28), Input((64, 8, 14, 14), 0, 4, uint8)),
                        tuple(_window((28, 28), 2).values())[1:], "model c, 2 by 2")],
    baselines={"torch": (
        "indices = F.max_pool2d(x, kernel, stride, padding, dilation, return_indices=True)[1].flatten(2)",
        "x.flatten(2).gather(2, indices)",
    )},
)  # fmt: skip
def max_pool_at(
    x: Spec, places: Spec, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, layout: Layout = "NCHW"
) -> Spec:
    """The elements of `x` at the positions of the windows that `places` says: the adjoint of `max_pool_backward`."""
    shape = with_space(x.shape, spatial(places.shape, layout), layout)
    _check_places("max_pool_at", places, shape, x.shape, (kernel, stride, padding, dilation), layout)
    return Spec(shape, x.dtype)


def _numbers(places: Spec, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, layout: str) -> Ints:
    return Pooled.params(spatial(places.shape, layout), kernel, stride, padding, dilation, layout)


# ---- public functions -----------------------------------------------------------------------------------------------


def maxima(input: Any, rank: int, name: str, windows: tuple[Any, Any, Any, Any], ceil_mode: Any, indices: Any,
           layout: str) -> Any:  # fmt: skip
    """`max_pool1d` and the others. ``windows``: kernel, stride (None: the kernel), padding and dilation as given."""
    x = operand(input, name, "input")
    rounds, both = boolean(ceil_mode, f"{name}: ceil_mode"), boolean(indices, f"{name}: return_indices")
    alone, given = windows_on(x.shape, rank, name, windows, int(rounds), layout)
    x = reshape(x, (1, *x.shape)) if alone else x
    found = (max_pool_indices if both else max_pool)(x, *given, layout)
    if not alone:
        return found
    return tuple(reshape(f, f.shape[1:]) for f in found) if both else reshape(found, found.shape[1:])


@names_errors
def max_pool1d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False,
    return_indices: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The maxima of windows along one axis: (N, C, L) or (C, L) gives (N, C, L_out) or (C, L_out).

    Arguments, values and errors as in `max_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.max_pool1d(dl.tensor([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[3.0, 2.0]]
    """
    return maxima(input, 1, "max_pool1d", (kernel_size, stride, padding, dilation), ceil_mode, return_indices, layout)


@names_errors
def max_pool2d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False,
    return_indices: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The maxima of windows: (N, C, H, W) or (C, H, W) gives (N, C, H_out, W_out) or (C, H_out, W_out).

    ``kernel_size``, ``stride`` (default: the kernel's), ``padding`` and ``dilation``: a number, or one for each axis.
    H_out = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, with ``ceil_mode`` rounded up where the
    last window begins within the input or the padding before it. Padding counts as -inf. With ``return_indices`` the
    result is (maxima, indices): the flat index of each in its plane (int64), of equal ones the first, -1 where a window
    holds nothing but padding. NaN counts as the largest, the last one of several. ``layout="NHWC"``: (N, H, W, C).

    Floats, int8 to int64 and uint8; integers have no gradient. It goes to the maximum of each window, and is summed
    where windows overlap, in float32 or wider and a fixed order.

    Raises ShapeError where windows are larger than the padded input, padding is more than half a window, or a number is
    too small; DTypeError for other dtypes.

    >>> dl.max_pool2d(dl.tensor([[[1.0, 5.0], [4.0, 2.0]]]), 2, return_indices=True)
    (tensor([[[5.]]]), tensor([[[1]]]))
    """
    return maxima(input, 2, "max_pool2d", (kernel_size, stride, padding, dilation), ceil_mode, return_indices, layout)


@names_errors
def max_pool3d(
    input: Any, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False,
    return_indices: bool = False, layout: str = "NCHW",
) -> Any:  # fmt: skip
    """The maxima of windows along three axes: (N, C, D, H, W) or (C, D, H, W).

    Arguments, values and errors as in `max_pool2d`; with ``layout="NHWC"`` channels are the last axis.

    >>> dl.max_pool3d(dl.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[7.0]]]]
    """
    return maxima(input, 3, "max_pool3d", (kernel_size, stride, padding, dilation), ceil_mode, return_indices, layout)
