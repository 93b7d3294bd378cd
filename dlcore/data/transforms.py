"""What is done to a batch of inputs before the model gets it.

A transform is any function of a batch. Nothing is done that is not said: bytes are numbers as they are, unless a
`ScaleBytes` comes first, as it does for data sets of images. One that has ``config()`` and is registered is saved with
the model: as a plain description by name, from which no file can run code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np

from dlcore import _json
from dlcore._arguments import function, items, number, shown
from dlcore._from_data import asarray
from dlcore._tensor import Tensor, tensor
from dlcore.data.statistics import moments
from dlcore.dtypes import float32, float64, int32, int64, uint8
from dlcore.errors import ShapeError
from dlcore.ops.gather import take
from dlcore.ops.scaling import take_scaled

__all__ = [
    "TRANSFORMS", "Compose", "Normalize", "ScaleBytes", "apply", "composed", "described", "from_config", "made",
    "on_tensor", "register", "steps_of", "to_config",
]  # fmt: skip

_UNIT = (0.0, 1 / 255)  # the offset and the scale by which bytes become 0..1
TRANSFORMS: dict[str, Any] = {}  # name -> class
Kind = TypeVar("Kind", bound=type)


def register(kind: Kind) -> Kind:
    """Lets transforms of the class ``kind`` be saved with a model; a decorator.

    ``kind`` has a method ``config()``, which gives the arguments that make such a transform again as plain numbers,
    texts, lists and dicts. They come back as ``kind(**config)``, or to its classmethod ``from_config`` if it has one.
    Raises ValueError where another class has this name.

    >>> @dl.data.register
    ... class Doubled:
    ...     def __call__(self, x):
    ...         return 2 * x
    ...     def config(self):
    ...         return {}
    """
    if not isinstance(kind, type) or not callable(getattr(kind, "config", None)) or "__call__" not in dir(kind):
        raise TypeError(f"register: {shown(kind)} is not a class with the methods __call__ and config")
    held = TRANSFORMS.setdefault(kind.__name__, kind)
    if held is not kind and (held.__module__, held.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"register: {kind.__name__} is registered already, as {held.__module__}.{held.__qualname__}")
    TRANSFORMS[kind.__name__] = kind  # the same class, defined again
    return kind


@register
class ScaleBytes:
    """x / 255 for bytes (uint8), which become float32 in 0..1; every other dtype is left alone.

    Data sets of images that hold bytes come with it.

    >>> dl.data.ScaleBytes()(np.array([[0, 255]], np.uint8))
    array([[0., 1.]], dtype=float32)
    """

    def __call__(self, x: Any) -> Any:
        """``x`` in 0..1, if it holds bytes."""
        return on_tensor(lambda t: take_scaled(t, *_UNIT) if t.dtype is uint8 else t, x)

    def config(self) -> dict[str, Any]:
        """There are no arguments."""
        return {}

    def __repr__(self) -> str:
        return "ScaleBytes()"


@register
class Normalize:
    """(x - mean) / std, with 1 / std rounded once.

    ``mean``, ``std``: one number, or one for each feature (samples of one axis) or channel (images (C, H, W)). A
    deviation of 0 counts as 1, so that a constant feature becomes 0. It works on Tensors and NumPy arrays, and gives
    the same bits as in batches that a loader fetches. Floats keep their dtype, other numbers become float32.

    >>> dl.data.Normalize(mean=[1.0, 4.0], std=[2.0, 0.0])(dl.tensor([[3.0, 4.0]]))
    tensor([[1., 0.]])
    """

    def __init__(self, mean: Any, std: Any):
        mean, std = _moment_of(mean, "mean"), _moment_of(std, "std")
        if mean.ndim > 1 or std.ndim > 1:
            raise ShapeError(f"Normalize: mean {mean.shape} and std {std.shape} must be numbers or vectors")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise ValueError("Normalize: mean and std must be finite, std not negative")
        if mean.ndim and std.ndim and mean.shape != std.shape:
            raise ShapeError(f"Normalize: mean has shape {mean.shape}, std {std.shape}")
        std[std == 0] = 1.0
        mean.flags.writeable = std.flags.writeable = False  # recorded steps and the cache rely on them
        self._mean, self._std = mean, std
        self._cache: dict[Any, tuple[Any, Any]] = {}

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted, in float64; it cannot be changed."""
        return self._mean

    @property
    def std(self) -> np.ndarray:
        """What is divided by, in float64; it cannot be changed."""
        return self._std

    @classmethod
    def of(cls, dataset: Any) -> Self:
        """Normalisation by mean and deviation over the samples of ``dataset``, the training part.

        ``dataset``: whatever `as_dataset` takes; bytes of image data sets count as 0..1, as they do in training. The
        statistics are taken for each feature where a sample has one axis, for each channel of (C, H, W) images, and
        over everything for (H, W) images. Raises ValueError for NaN or infinities.
        """
        mean, std = moments(dataset, "Normalize.of", _axes)
        shape = () if mean.size == 1 and mean.ndim != 2 else (-1,)
        return cls(mean.reshape(shape), std.reshape(shape))

    def __call__(self, x: Any) -> Any:
        """``x`` normalised: (N, ...) for a batch."""
        if isinstance(x, Tensor):
            if _exceeds_float32(x):
                return self(x.astype(float64)).astype(float32)
            return take_scaled(x, *self.offset_and_scale(x))
        x = np.asarray(x)
        wider = {np.dtype(np.uint16): np.int64, np.dtype(np.uint32): np.int64, np.dtype(np.uint64): np.float64}
        result = on_tensor(self, x.astype(wider.get(x.dtype, x.dtype), copy=False))
        return result.astype(np.float32, copy=False) if x.dtype == np.uint64 else result

    def offset_and_scale(self, x: Tensor, unit: float = 1.0) -> tuple[Any, Any]:
        """What ``take_scaled`` needs to normalise ``x``, whose 1 is ``unit``: mean and 1 / std, both in that unit.

        They are computed in float64 and rounded once; numbers, or tensors that are the same in later calls.
        """
        dtype = "float64" if x.dtype.name == "float64" else "float32"
        key = (unit, dtype, x.device)
        if key not in self._cache:
            offset, scale = (
                tensor(value, dtype, device=x.device) if value.ndim else float(value)
                for value in (self.mean * unit, 1 / (self.std * unit))
            )
            self._cache[key] = offset, scale
        return self._cache[key]

    def config(self) -> dict[str, Any]:
        """The arguments that make this transform again."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def __repr__(self) -> str:
        if self.mean.ndim == 0 and self.std.ndim == 0:
            return f"Normalize(mean={float(self.mean):.4g}, std={float(self.std):.4g})"
        return f"Normalize({max(self.mean.size, self.std.size)} features)"


@register
class Compose:
    """Transforms one after another: ``Compose(a, b)(x)`` is ``b(a(x))``; ``Compose()`` leaves all as it is.

    ``steps``: transforms or functions of a batch. Those of a Compose among them become steps of this one. Where they
    begin with a `ScaleBytes` and a `Normalize`, these are one pass over memory.

    >>> x = dl.tensor([[0, 255]], dtype=dl.uint8)
    >>> dl.data.Compose(dl.data.ScaleBytes(), dl.data.Normalize(0.5, 0.25))(x)
    tensor([[-2.,  2.]])
    """

    def __init__(self, *steps: Callable[[Any], Any]):
        self._steps = tuple(s for k, step in enumerate(steps) for s in steps_of(function(step, f"Compose: steps[{k}]")))

    @property
    def steps(self) -> tuple[Callable[[Any], Any], ...]:
        """The transforms in their order."""
        return self._steps

    def __call__(self, x: Any) -> Any:
        """``x`` after all steps."""
        return on_tensor(lambda t: apply(self._steps, t), x)

    def config(self) -> dict[str, Any] | None:
        """The descriptions of the steps, or None where one of them is a function, which cannot be written down."""
        steps = [described(step) for step in self._steps]
        return None if None in steps else {"steps": steps}

    @classmethod
    def from_config(cls, steps: list[dict[str, Any]]) -> Self:
        """The transform that ``config`` has described."""
        return cls(*(made(step) for step in _json.typed(list[dict[str, Any]], steps, "steps")))

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self._steps))})"


def steps_of(transform: Any) -> tuple[Any, ...]:
    """The transforms that ``transform`` consists of; None consists of none."""
    if transform is None:
        return ()
    return transform.steps if type(transform) is Compose else (transform,)


def composed(*transforms: Any) -> Any:
    """What does ``transforms``, some of which may be None, one after another: None, one of them, or a Compose."""
    steps = [step for transform in transforms for step in steps_of(transform)]
    return None if not steps else steps[0] if len(steps) == 1 else Compose(*steps)


def apply(steps: tuple[Any, ...], x: Tensor, rows: Tensor | None = None) -> Tensor:
    """``x`` at ``rows`` (None: all of it) after ``steps``; gathering and what scales first are one pass over memory."""
    scaled, rest = _leading(steps, x)
    if scaled is not None:
        x = take_scaled(x, *scaled, rows)
    elif rows is not None:
        x = take(x, rows)
    for step in rest:
        x = step(x)
        if not isinstance(x, Tensor):
            raise TypeError(f"transform: a tensor must be returned for a batch, not {shown(x)}")
    return x


def _leading(steps: tuple[Any, ...], x: Tensor) -> tuple[tuple[Any, Any] | None, tuple[Any, ...]]:
    """The offset and the scale that the first of ``steps`` amount to for ``x``, or None; and the steps after them."""
    unit = 1.0
    while steps and type(steps[0]) is ScaleBytes:
        unit = 255.0 if x.dtype is uint8 else unit
        steps = steps[1:]
    if steps and type(steps[0]) is Normalize and not _exceeds_float32(x):
        return steps[0].offset_and_scale(x, unit), steps[1:]
    return (None if unit == 1.0 else _UNIT), steps


def on_tensor(called: Callable[[Tensor], Tensor], x: Any) -> Any:
    """What ``called`` makes of the tensor ``x``, or as an array of an array."""
    return called(x) if isinstance(x, Tensor) else np.asarray(called(asarray(np.asarray(x))).numpy())


def _exceeds_float32(x: Tensor) -> bool:
    """Whether float32 does not hold all numbers of the dtype of ``x``, though the normalised ones fit."""
    return x.dtype in (int32, int64)


def _moment_of(value: Any, name: str) -> np.ndarray:
    """A copy of ``value``, one number or several, in float64."""
    where, several = f"Normalize: {name}", items(value)
    if several is None and not (isinstance(value, np.ndarray) and value.ndim):
        return np.array(number(value, where))
    if several is None:
        return np.array(value, np.float64)  # of a shape that is refused
    return np.array([number(v, where) for v in several], np.float64)


def _axes(ndim: int) -> tuple[int, ...]:
    """The axes of a batch over which `Normalize` takes its statistics."""
    return {1: (0,), 2: (0,), 3: (0, 1, 2)}.get(ndim, (0, *range(2, ndim)))


def described(transform: Any) -> dict[str, Any] | None:
    """A plain description of ``transform`` by its name; None of a function, which cannot be written down."""
    name = type(transform).__name__
    if TRANSFORMS.get(name) is not type(transform):
        return None
    config = transform.config()
    return None if config is None else {"name": name, **config}


def made(description: Mapping[str, Any]) -> Any:
    """The transform that ``described`` has described; raises ValueError for a name that is not registered."""
    config = dict(description)
    kind = TRANSFORMS.get(_json.typed(str, config.pop("name", None), "name"))
    if kind is None:
        raise ValueError(f"{_json.short(description.get('name'))} is not registered: known are {', '.join(TRANSFORMS)}")
    return kind.from_config(**config) if hasattr(kind, "from_config") else kind(**config)


def to_config(transform: Any) -> str | None:
    """JSON that describes ``transform``; None of a function, which cannot be written down."""
    description = described(transform)
    return None if description is None else json.dumps(description)


def from_config(text: str) -> Any:
    """The transform that ``to_config`` has described; raises ValueError where ``text`` describes none."""
    try:
        return made(_json.typed(dict[str, Any], _json.parse(text)))
    except Exception as error:  # a class that a program has registered may raise anything
        raise ValueError(f"not the description of a transform: {_json.short(text)} ({error})") from None
