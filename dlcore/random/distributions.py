"""Further distributions. Parameters are numbers or tensors; a ``shape`` is what they broadcast to.

None of the draws has a gradient to its parameters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, integer, lengths, operand, shown
from dlcore._spelling import spelled
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import float64
from dlcore.errors import ShapeError
from dlcore.ops import distributions as operations
from dlcore.ops._shape import broadcast_shapes
from dlcore.ops.activation import sigmoid
from dlcore.ops.elementwise import div, gt, log, minimum, mul, sub, where
from dlcore.ops.gather import take
from dlcore.ops.movement import expand
from dlcore.ops.order import topk
from dlcore.ops.reduce import argmax
from dlcore.ops.scan import cumsum
from dlcore.ops.search import searchsorted
from dlcore.ops.softmax import softmax
from dlcore.random.draws import Shape, float_of, permutation, randint, uniform
from dlcore.random.generator import Generator, state_of

__all__ = [
    "beta", "categorical", "choice", "dirichlet", "exponential", "gamma", "multinomial", "poisson",
    "truncated_normal",
]  # fmt: skip


@spelled
def exponential(
    shape: Shape = (), scale: float = 1.0, dtype: Any = None, device: Any = None, generator: Generator | None = None
) -> Tensor:
    """Exponentially distributed numbers with mean ``scale``; float32 by default.

    See `dlcore.ops.distributions.exponential`.

    >>> dl.random.exponential(shape=(2, 3)).shape
    (2, 3)
    """
    state = state_of("exponential", generator, device)
    return operations.exponential(state, shape, scale, float_of(dtype, "exponential"))


@spelled
def truncated_normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0, dtype: Any = None,
    device: Any = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normally distributed numbers that lie in [low, high], not rescaled to it; float32 by default.

    See `dlcore.ops.distributions.truncated_normal`.

    >>> bool((dl.random.truncated_normal(shape=(100,)).abs() <= 2).all())
    True
    """
    state, chosen = state_of("truncated_normal", generator, device), float_of(dtype, "truncated_normal")
    return operations.truncated_normal(state, shape, mean, std, low, high, chosen)


def _parameter(value: Any, name: str, what: str, device: Any) -> Tensor:
    """A parameter as a tensor of float32 or float64, without its gradient."""
    given = value if isinstance(value, _C.TensorBase) else tensor(value, device=device)
    made = operand(given, name, what).detach()
    return made if made.dtype.is_float and made.dtype.itemsize >= 4 else made.astype(float_of(None, name))


def _spread(parameter: Tensor, shape: Any, name: str) -> Tensor:
    """``parameter`` with the shape asked for, to which it must broadcast."""
    if shape is None:
        return parameter
    wanted = lengths(shape, f"{name}: shape")
    if broadcast_shapes(name, wanted, parameter.shape) != wanted:
        raise ShapeError(f"{name}: a parameter of shape {parameter.shape} does not broadcast to {wanted}")
    return expand(parameter, wanted)


@spelled
def gamma(
    concentration: Any, scale: Any = 1.0, shape: Shape | None = None, device: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of gamma distributions: density x^(a - 1) e^(-x / scale) / (scale^a Gamma(a)), a the ``concentration``.

    float32, or the concentration's float64. Raises ValueError for a concentration that is not positive and finite.

    >>> dl.random.gamma(2.0, shape=(4,)).shape
    (4,)
    """
    a = _spread(_parameter(concentration, "gamma", "concentration", device), shape, "gamma")
    return mul(operations.gamma(state_of("gamma", generator, a.device), a), scale)


@spelled
def beta(
    a: Any, b: Any, shape: Shape | None = None, device: Any = None, generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Numbers of beta distributions: density x^(a - 1) (1 - x)^(b - 1) / B(a, b).

    G(a) / (G(a) + G(b)), G gamma numbers, from their logarithms, so that small parameters give no 0 / 0. Raises
    ValueError for a parameter that is not positive and finite.

    >>> dl.random.beta(2.0, 3.0, shape=(4,)).shape
    (4,)
    """
    first, second = _parameter(a, "beta", "a", device), _parameter(b, "beta", "b", device)
    wanted = broadcast_shapes("beta", first.shape, second.shape) if shape is None else shape
    state = state_of("beta", generator, first.device)
    logs = [operations.gamma(state, _spread(x, wanted, "beta"), True) for x in (first, second)]
    return sigmoid(sub(*logs))


@spelled
def dirichlet(
    concentration: Any, shape: Shape = (), device: Any = None, generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Probabilities (*shape, ..., K) of Dirichlet distributions with the concentrations (..., K): gamma numbers over
    their sum.

    Raises ValueError for a concentration that is not positive and finite.

    >>> dl.random.dirichlet(dl.tensor([1.0, 2.0, 3.0])).sum().round(4)
    tensor(1.)
    """
    a = _parameter(concentration, "dirichlet", "concentration", device)
    if not a.ndim or not a.shape[-1]:
        raise ShapeError(f"dirichlet: concentrations have shape {a.shape}, not (..., K) with K > 0")
    a = expand(a, (*lengths(shape, "dirichlet: shape"), *a.shape))
    return softmax(operations.gamma(state_of("dirichlet", generator, a.device), a, True), -1)


@spelled
def poisson(
    rate: Any, shape: Shape | None = None, device: Any = None, generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Numbers of events (int64) of Poisson distributions: probability rate^k e^-rate / k!.

    Raises ValueError for a rate that is not between 0 and 2^52.

    >>> dl.random.poisson(dl.tensor([0.0]))
    tensor([0])
    """
    rates = _spread(_parameter(rate, "poisson", "rate", device), shape, "poisson")
    return operations.poisson(state_of("poisson", generator, rates.device), rates)


@spelled
def categorical(
    probabilities: Any = None, *, logits: Any = None, shape: Shape = (), device: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Classes (*shape, ...), int64, drawn with the ``probabilities`` (..., C), or their logarithms ``logits``; neither
    need be normalised.

    argmax(logits + g), g of a Gumbel distribution. Classes of probability 0 are never drawn; that none is negative or
    NaN is not looked at.

    >>> dl.random.categorical(dl.tensor([-dl.inf, 0.0]))
    tensor(0)
    """
    if (probabilities is None) == (logits is None):
        raise TypeError("categorical: takes either probabilities or logits")
    given = _parameter(probabilities if logits is None else logits, "categorical", "probabilities", device)
    if not given.ndim or not given.shape[-1]:
        raise ShapeError(f"categorical: probabilities have shape {given.shape}, not (..., C) with C > 0")
    scores = log(given) if logits is None else given
    scores = expand(scores, (*lengths(shape, "categorical: shape"), *scores.shape))
    waits = exponential(scores.shape, dtype=scores.dtype, device=scores.device, generator=generator)
    return argmax(sub(scores, log(waits)), -1)


@spelled
def multinomial(
    probabilities: Any, num_samples: int, replacement: bool = False, device: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """``num_samples`` classes (..., num_samples), int64, drawn with the ``probabilities`` (..., C) of each row, which
    need not be normalised; without ``replacement`` all of a row differ, and come in the order in which they are drawn.

    With replacement by the inverse of the distribution function, in float64; without by exponential races (Efraimidis
    & Spirakis 2006). Raises ShapeError where a row has fewer classes than are asked for; that as many have a
    probability above 0, and none below, is not looked at.

    >>> dl.random.multinomial(dl.tensor([0.0, 1.0, 0.0]), 1)
    tensor([1])
    """
    p = _parameter(probabilities, "multinomial", "probabilities", device)
    count = integer(num_samples, "multinomial: num_samples", 0)
    if not p.ndim or not p.shape[-1]:
        raise ShapeError(f"multinomial: probabilities have shape {p.shape}, not (..., C) with C > 0")
    if boolean(replacement, "multinomial: replacement"):
        sums = cumsum(p.astype(float64), -1)
        places = uniform((*p.shape[:-1], count), dtype=float64, device=p.device, generator=generator)
        found = searchsorted(sums, mul(places, sums[..., -1:]), "right")
        return minimum(found, p.shape[-1] - 1)  # a place may be rounded up to the whole sum
    if count > p.shape[-1]:
        raise ShapeError(f"multinomial: {count} samples without replacement from {p.shape[-1]} classes")
    waits = exponential(p.shape, dtype=p.dtype, device=p.device, generator=generator)
    races = where(gt(p, 0), div(waits, p), math.inf)
    return topk(races, count, -1, False)[1]


@spelled
def choice(
    a: Any, shape: Shape = (), replace: bool = True, p: Any = None, device: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Elements drawn from ``a``: rows of a tensor, or of the integers 0 to a - 1; with or without replacement.

    ``p``: the probability of each, a list, array or tensor. Raises ValueError where more are asked for than there are
    (of a probability above 0), and for probabilities that are negative or do not sum to 1.

    >>> dl.random.choice(5, shape=(3,)).shape
    (3,)
    """
    rows = None if isinstance(a, int | np.integer) else operand(a, "choice", "a")
    n = integer(a, "choice: a", 1) if rows is None else (rows.shape or (0,))[0]
    size = lengths(shape, "choice: shape")
    count = int(np.prod(size, dtype=np.int64))
    if n == 0 and count:
        raise ShapeError(f"choice: nothing to draw from in a of shape {rows.shape if rows is not None else (0,)}")
    device = device if rows is None else rows.device
    if p is not None:
        index = _weighted(n, size, p, boolean(replace, "choice: replace"), device, generator)
    elif boolean(replace, "choice: replace"):
        index = randint(0, n, size, device=device, generator=generator)
    elif count > n:
        raise ValueError(f"choice: {count} elements asked for without replacement, of {n}")
    else:
        index = permutation(n, device, generator)[:count].reshape(size)
    return index if rows is None else take(rows, index, 0)


def _weighted(n: int, size: tuple[int, ...], p: Any, replace: bool, device: Any, generator: Any) -> Tensor:
    """Indices drawn with probabilities ``p``."""
    chances = np.asarray(p, np.float64)
    if chances.shape != (n,):
        raise ShapeError(f"choice: p has shape {chances.shape}, not ({n},)")
    if not (chances >= 0).all() or abs(chances.sum() - 1) > 1e-6:
        raise ValueError(f"choice: p {shown(p)} are no probabilities: none is negative, and they sum to 1")
    count = int(np.prod(size, dtype=np.int64))
    if not replace and count > np.count_nonzero(chances):
        raise ValueError(f"choice: {count} elements asked for without replacement, of {np.count_nonzero(chances)}")
    return multinomial(tensor(chances, float64, device=device), count, replace, generator=generator).reshape(size)
