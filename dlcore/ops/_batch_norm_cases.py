"""Samples, wrong inputs and workloads of batch normalisation: training, its gradient and inference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import float32
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Workload
from dlcore.ops.activation import relu_backward

__all__: list[str] = []

LAYERS = (((64, 16, 32, 32), "ResNet-20, first layers"), ((128, 64, 16, 16), "64 channels of 16 x 16"),
          ((64, 512), "features"))  # fmt: skip


def _far(rng: np.random.Generator, shape: tuple[int, ...] = (4, 3, 50)) -> Any:
    """Values whose mean is a thousand times their spread."""
    return rng.standard_normal(shape) + 4096.0


def _kept(channels: int, count: int | None = 3) -> list[Any]:
    """Running statistics, and how many batches there were."""
    found: list[Any] = [Input((channels,)), Input((channels,), 0.5, 2.0)]
    return found if count is None else [*found, np.array(count)]


def _kept_by_relu(shape: tuple[int, ...]) -> Input:
    """Results of a ReLU, as its gradient takes them."""
    domain = relu_backward.op.signature.operands[1].domain
    return Input(shape, draw=partial(domain.draw, shape=shape))


def training_samples() -> Iterator[Sample]:
    """Images, features and sequences in both layouts, with and without what may be absent."""
    image, vector = (4, 3, 5, 7), (3,)
    yield Sample(image, vector, vector, None, [], why="images")
    yield Sample((6, 70), None, None, None, [], why="features alone")
    yield Sample((3, 4, 5, 2), (2,), None, None, [], layout="NHWC", eps=0.1, why="channels last, no bias")
    yield Sample(image, vector, vector, None, _kept(3), grad=False, why="running statistics")
    yield Sample((2, 9, 6), None, (9,), None, _kept(9, 0), momentum=None, grad=False, why="mean of batches, the first")
    yield Sample((70, 5), (5,), (5,), None, _kept(5, 7), momentum=None, grad=False, why="mean of all batches, features")
    yield Sample((5, 4, 300), None, None, None, _kept(300, None), layout="NHWC", grad=False, why="many channels last")
    yield Sample(Input((4, 3, 50), draw=_far), None, None, None, _kept(3), grad=False, why="far from 0")
    far = Input((40, 6), draw=partial(_far, shape=(40, 6)))
    yield Sample(far, None, None, None, [], grad=False, why="far, features")
    bad = np.array([[1.0, np.inf, 2.0], [0.5, 1.0, np.nan], [0.25, 3.0, 1.0]])
    yield Sample(bad, None, None, None, _kept(3), grad=False, why="NaN and infinity: nothing is kept")
    yield Sample((2, 2, 70, 70), (2,), (2,), None, [], grad=False, why="planes of several blocks")
    yield Sample((4, 0, 3), np.zeros(0), None, None, [], why="no channels")
    yield Sample(image, vector, vector, None, [], activation="relu", why="ReLU")
    yield Sample(image, vector, vector, image, _kept(3), activation="relu", grad=False, why="residual and ReLU")
    yield Sample((6, 70), (70,), (70,), (6, 70), [], activation="relu", why="residual and ReLU, features")
    yield Sample((3, 4, 5, 2), None, (2,), (3, 4, 5, 2), [], layout="NHWC", why="residual, channels last")
    yield Sample(bad, None, None, bad, [], activation="relu", grad=False, why="residual and ReLU, NaN and infinity")


def training_errors() -> Iterator[ErrorInput]:
    """What does not fit, and batches without a variance."""
    x, v, name = np.zeros((2, 3, 4)), np.zeros(3), "batch_norm_training"
    text = f"{name}: x has shape (3,), without an axis of channels"
    yield ErrorInput(ShapeError, text, v, None, None, None, [])
    text = f"{name}: x of shape (1, 3) has 1 value a channel; a variance needs 2"
    yield ErrorInput(ShapeError, text, np.zeros((1, 3)), None, None, None, [])
    text = f"{name}: x of shape (0, 3, 4) has 0 values a channel; a variance needs 2"
    yield ErrorInput(ShapeError, text, np.zeros((0, 3, 4)), None, None, None, [])
    text = f"{name}: weight has shape (3,), not (4,), for x of shape (2, 3, 4)"
    yield ErrorInput(ShapeError, text, x, v, None, None, [], layout="NHWC")
    text = f"{name}: residual has shape (3, 4), not that of x, (2, 3, 4)"
    yield ErrorInput(ShapeError, text, x, None, None, np.zeros((3, 4)), [])
    text = f"{name}: running_var has shape (1,), not (3,), for x of shape (2, 3, 4)"
    yield ErrorInput(ShapeError, text, x, None, None, None, [v, np.zeros(1)])
    text = f"{name}: running_mean is of dtype int64, not a float"
    yield ErrorInput(DTypeError, text, x, None, None, None, [np.zeros(3, np.int64), v])
    text = f"{name}: 1 running tensors; there are a mean, a variance and a count"
    yield ErrorInput(ShapeError, text, x, None, None, None, [v])
    text = f"{name}: num_batches_tracked has shape () and dtype float64, not () and int64"
    yield ErrorInput(DTypeError, text, x, None, None, None, [v, v, np.array(0.0)])
    text = f"{name}: with momentum None num_batches_tracked is needed"
    yield ErrorInput(ValueError, text, x, None, None, None, [v, v], momentum=None)
    text = f"{name}: momentum is -0.5, not a number from 0 on or None"
    yield ErrorInput(ValueError, text, x, None, None, None, [v, v], momentum=-0.5)
    yield ErrorInput(ValueError, f"{name}: eps is -1.0, not a number from 0 on", x, None, None, None, [], eps=-1.0)
    text = f"{name}: x (2, 3, 4) is of uint8; it must be of a floating dtype: "
    text += "x.float(), and bytes of a picture divided by 255"
    yield ErrorInput(DTypeError, text, np.zeros((2, 3, 4), np.uint8), None, None, None, [])


def training_workloads() -> Iterator[Workload]:
    """Layers."""
    for shape, why in LAYERS:
        vector = (shape[1],)
        yield Workload((shape, vector, vector, None, _kept(shape[1], None)), (), why)
    yield Workload(((64, 32, 32, 16), (16,), (16,), None, []), (0.1, 1e-5, "NHWC"), "channels last")
    shape, v = LAYERS[0][0], (16,)
    yield Workload((shape, v, v, shape, _kept(16, None)), (0.1, 1e-5, "NCHW", "relu"), "end of a residual block")


def backward_samples() -> Iterator[Sample]:
    """Images, features and sequences in both layouts, with outputs left out."""
    image, v = (4, 3, 5, 7), (3,)
    yield Sample(image, image, v, v, v, why="images")
    yield Sample((6, 70), (6, 70), (70,), (70,), None, mask=(True, False, True), why="features, no weight")
    yield Sample((3, 4, 5, 2), (3, 4, 5, 2), (2,), (2,), (2,), layout="NHWC", why="channels last")
    yield Sample((2, 300, 3), (2, 300, 3), v, v, v, layout="NHWC", mask=(False, True, True), why="no dx")
    yield Sample((2, 2, 70, 70), (2, 2, 70, 70), (2,), (2,), (2,), grad=False, why="planes of several blocks")
    yield Sample((0, 3, 4), (0, 3, 4), v, v, v, why="empty")
    yield Sample(Input(image, dtype=float32), image, v, v, v, grad=False, why="dout of another dtype")
    yield Sample(image, image, v, v, v, _kept_by_relu(image), activation="relu", why="ReLU")
    yield Sample((6, 70), (6, 70), (70,), (70,), None, _kept_by_relu((6, 70)), activation="relu", why="ReLU, features")
    yield Sample((2, 300, 3), (2, 300, 3), v, v, v, _kept_by_relu((2, 300, 3)), layout="NHWC", activation="relu",
                 why="ReLU, channels last")  # fmt: skip
    for shape, layout in (((9, 4, 8, 8), "NCHW"), ((1, 135, 48), "NHWC"), ((1, 67, 144), "NHWC")):
        v = (shape[-1] if layout == "NHWC" else shape[1],)
        yield Sample(shape, shape, v, v, v, _kept_by_relu(shape), layout=layout, activation="relu", grad=False,
                     why=f"ReLU, whole vectors of {layout}")  # fmt: skip


def backward_errors() -> Iterator[ErrorInput]:
    """What does not fit."""
    x, v = np.zeros((2, 3)), np.zeros(3)
    text = "batch_norm_backward: dout has shape (2,), x (2, 3)"
    yield ErrorInput(ShapeError, text, np.zeros(2), x, v, v, v)
    text = "batch_norm_backward: mean has shape (2,), not (3,), for x of shape (2, 3)"
    yield ErrorInput(ShapeError, text, x, x, np.zeros(2), v, v)
    text = "batch_norm_backward: saved None does not fit dout (2, 3) and activation 'relu'"
    yield ErrorInput(ShapeError, text, x, x, v, v, v, activation="relu")
    text = "batch_norm_backward: saved (3,) does not fit dout (2, 3) and activation 'relu'"
    yield ErrorInput(ShapeError, text, x, x, v, v, v, v, activation="relu")


def backward_workloads() -> Iterator[Workload]:
    """Layers."""
    for shape, why in LAYERS:
        v = (shape[1],)
        kept = Input(v, dtype=float32), Input(v, 0.5, 2.0, float32)
        yield Workload((shape, shape, *kept, v, None), (), why, (float32,))
        if len(shape) > 2:
            yield Workload((shape, shape, *kept, v, shape), ("NCHW", "relu"), f"{why}, ReLU", (float32,))


def inference_samples() -> Iterator[Sample]:
    """Images, features and sequences in both layouts."""
    v = (3,)
    yield Sample((4, 3, 5, 7), v, v, v, v, why="images")
    yield Sample((5, 6, 3), v, v, None, v, layout="NHWC", eps=0.1, why="channels last")
    yield Sample((6, 300), (300,), (300,), None, None, why="features")
    yield Sample(Input((4, 3, 2), draw=partial(_far, shape=(4, 3, 2))), np.array([4096.0, 4095.0, 4097.0]), v, v, v,
                 grad=False, why="far from 0")  # fmt: skip
    yield Sample(np.array([[np.nan, np.inf, 1.0]]), v, v, v, v, grad=False, why="NaN and infinity")
    yield Sample((0, 3, 4), v, v, v, v, why="no images")


def inference_errors() -> Iterator[ErrorInput]:
    """What does not fit."""
    x, v = np.zeros((2, 3)), np.ones(3)
    text = "batch_norm_inference: var has shape (2,), not (3,), for x of shape (2, 3)"
    yield ErrorInput(ShapeError, text, x, v, np.zeros(2), None, None)
    text = "batch_norm_inference: x (2, 3) is of int64; it must be of a floating dtype: x.float()"
    yield ErrorInput(DTypeError, text, np.zeros((2, 3), np.int64), v, v, None, None)


def inference_workloads() -> Iterator[Workload]:
    """Layers."""
    for shape, why in LAYERS:
        v = (shape[1],)
        yield Workload((shape, v, Input(v, 0.5, 2.0), v, v), (), why)
