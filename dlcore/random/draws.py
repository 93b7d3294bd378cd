"""The draws that others are made of: uniform and normal numbers, integers, masks, permutations, dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import boolean, instance, integer, lengths, operand
from dlcore._spelling import spelled
from dlcore._tensor import Tensor
from dlcore.dtypes import DType, as_dtype, check_size, default_float, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops import random as operations
from dlcore.ops.elementwise import lt
from dlcore.ops.gather import take
from dlcore.random.generator import Generator, state_of

__all__ = [
    "Shape", "bernoulli", "drawn_seed", "dropout", "float_of", "normal", "permutation", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "shuffle", "uniform",
]  # fmt: skip

Shape = int | Sequence[int]


def drawn_seed() -> int:
    """A seed drawn from the default generator of the CPU: another one at every call, the same after `manual_seed`.

    >>> 0 <= dl.random.drawn_seed() < 2**62
    True
    """
    return int(randint(0, 2**62, device="cpu").item())


def float_of(dtype: Any, name: str) -> DType:
    """The floating dtype asked for; the default one for None."""
    chosen = default_float() if dtype is None else as_dtype(dtype, f"{name}: dtype")
    if not chosen.is_float:
        raise DTypeError(f"{name}: {chosen.name} is not a floating-point dtype")
    return chosen


def _sizes(shape: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """The lengths given as ``rand(2, 3)`` or as ``rand((2, 3))``."""
    sizes = lengths(shape[0] if len(shape) == 1 else shape, f"{name}: shape")
    check_size(name, sizes, float64)
    return sizes


def _made(value: Tensor, requires_grad: bool) -> Tensor:
    return value.requires_grad_() if boolean(requires_grad, "requires_grad:") else value


@spelled
def uniform(
    shape: Shape,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers uniform in [low, high); float32 by default. See `dlcore.ops.random.uniform`.

    >>> dl.random.uniform((2, 3)).shape
    (2, 3)
    """
    return operations.uniform(state_of("uniform", generator, device), shape, low, high, float_of(dtype, "uniform"))


@spelled
def normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers; float32 by default. See `dlcore.ops.random.normal`.

    >>> dl.random.normal(shape=(2, 3)).shape
    (2, 3)
    """
    return operations.normal(state_of("normal", generator, device), shape, mean, std, float_of(dtype, "normal"))


@spelled
def bernoulli(
    shape: Any, p: Any = 0.5, device: Any = None, generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """A boolean mask, true with probability ``p``. See `dlcore.ops.random.bernoulli`.

    ``shape`` may instead be a floating tensor of probabilities, one for each element of the mask (``p`` is then not
    used): those of at most 0 are never true, those of 1 and above always.

    >>> dl.random.bernoulli(dl.tensor([0.0, 1.0]))
    tensor([False,  True])
    """
    if isinstance(shape, _C.TensorBase):
        chances = operand(shape, "bernoulli")
        if not chances.dtype.is_float:
            raise DTypeError(f"bernoulli: {chances.dtype.name} tensors are no probabilities")
        dtype = float64 if chances.dtype is float64 else None
        return lt(uniform(chances.shape, dtype=dtype, device=chances.device, generator=generator), chances.detach())
    return operations.bernoulli(state_of("bernoulli", generator, device), shape, p)


def permutation(x: Any, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The integers 0 to x - 1 in random order, int64; of a tensor a copy with its rows in random order.

    See `dlcore.ops.random.permutation`.

    >>> sorted(dl.random.permutation(4).tolist())
    [0, 1, 2, 3]
    """
    if not isinstance(x, _C.TensorBase):
        return operations.permutation(state_of("permutation", generator, device), x)
    rows = operand(x, "permutation")
    return take(rows, permutation(_rows(rows, "permutation"), rows.device, generator), 0)


def shuffle(x: Tensor, generator: Generator | None = None) -> None:
    """Puts the rows of ``x`` (its elements along axis 0) into random order, in place; returns None, as NumPy's does.

    >>> x = dl.tensor([3, 1, 2])
    >>> dl.random.shuffle(x)
    >>> sorted(x.tolist())
    [1, 2, 3]
    """
    x = instance(x, Tensor, "shuffle: x", "a tensor")
    x[...] = take(x, permutation(_rows(x, "shuffle"), x.device, generator), 0)


def _rows(x: Tensor, name: str) -> int:
    if not x.ndim:
        raise ShapeError(f"{name}: a 0-d tensor has no rows")
    return x.shape[0]


def rand(
    *shape: Any, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Numbers uniform in [0, 1): ``rand(2, 3)`` or ``rand((2, 3))``.

    >>> dl.random.rand(2, 3).shape
    (2, 3)
    """
    return _made(uniform(_sizes(shape, "rand"), 0.0, 1.0, float_of(dtype, "rand"), device, generator), requires_grad)


def randn(
    *shape: Any, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers: ``randn(2, 3)`` or ``randn((2, 3))``.

    >>> dl.random.randn(2, 3).shape
    (2, 3)
    """
    return _made(normal(_sizes(shape, "randn"), 0.0, 1.0, float_of(dtype, "randn"), device, generator), requires_grad)


def rand_like(
    x: Tensor, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Numbers uniform in [0, 1) of the shape, dtype and device of ``x``, unless others are given.

    >>> dl.random.rand_like(dl.zeros(2, 3)).shape
    (2, 3)
    """
    x = operand(x, "rand_like")
    made = uniform(x.shape, 0.0, 1.0, float_of(dtype or x.dtype, "rand_like"), device or x.device, generator)
    return _made(made, requires_grad)


def randn_like(
    x: Tensor, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of ``x``, unless others are given.

    >>> dl.random.randn_like(dl.zeros(2, 3)).shape
    (2, 3)
    """
    x = operand(x, "randn_like")
    made = normal(x.shape, 0.0, 1.0, float_of(dtype or x.dtype, "randn_like"), device or x.device, generator)
    return _made(made, requires_grad)


def randint_like(
    x: Tensor, low: int, high: int | None = None, dtype: Any = None, device: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Integers uniform in [low, high), or in [0, low), of the shape, dtype (int64 for floats) and device of ``x``.

    >>> dl.random.randint_like(dl.zeros(2, 3), 3, 4)
    tensor([[3, 3, 3],
            [3, 3, 3]])
    """
    x = operand(x, "randint_like")
    chosen = dtype or (int64 if x.dtype.is_float else x.dtype)
    return randint(low, high, x.shape, chosen, device or x.device, generator)


@spelled
def randint(
    low: int,
    high: Any = None,
    shape: Shape | None = None,
    dtype: Any = int64,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers uniform in [low, high), or in [0, low) where ``high`` is None. See `dlcore.ops.random.randint`.

    ``randint(10, (2, 3))`` is ``randint(0, 10, (2, 3))``, as in PyTorch.

    >>> dl.random.randint(3, 4, shape=(2,))
    tensor([3, 3])
    """
    if shape is None and isinstance(high, tuple | list):
        high, shape = None, high
    first, last = (0, low) if high is None else (low, high)
    state = state_of("randint", generator, device)
    return operations.randint(state, () if shape is None else shape, first, last, dtype)


def randperm(n: int, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The integers 0 to n - 1 in random order, int64: another name for `permutation`.

    >>> sorted(dl.random.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    return permutation(integer(n, "randperm: n", 0), device, generator)


def dropout(x: Tensor, p: float = 0.5, generator: Generator | None = None) -> Tensor:
    """``x`` with each element set to 0 with probability ``p``, the others divided by 1 - p.

    See `dlcore.ops.random.dropout`.

    >>> dl.random.dropout(dl.ones(4), 0.0)
    tensor([1., 1., 1., 1.])
    """
    x = operand(x, "dropout")
    return operations.dropout(x, state_of("dropout", generator, x.device), p)
