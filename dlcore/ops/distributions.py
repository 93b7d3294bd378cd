"""Random numbers of further distributions: exponential, truncated normal, gamma, Poisson.

They are drawn as those of `dlcore.ops.random` are, from a generator's state that moves on. Exponential and truncated
normal numbers are functions of uniform ones; gamma and Poisson numbers are drawn by rejection, each element by attempts
of its own (csrc/random/distributions.inl), and depend on the element's parameter. None has a gradient. What devices
compute differs by rounding only, but where that decides about an attempt, which is as rare as a rounding error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from dlcore.dtypes import DType, bfloat16, float16, float32, float64, int32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Domain, Dtype, ErrorInput, Sample, Shape, Spec, Workload
from dlcore.ops._draw import (
    RNG,
    Draw,
    Lengths,
    a_state,
    after_draw,
    check_finite,
    check_float,
    draw,
    numpy_philox,
    words_of,
)

__all__ = ["exponential", "gamma", "poisson", "truncated_normal"]

# ---- functions of uniform numbers ---------------------------------------------------------------------------------


def _open_uniforms(state: Any, shape: Lengths, dtype: DType) -> tuple[Any, Any]:
    """The state after a draw, and the words in units of 2^-32 (float64: 2^-53)."""
    after, words = words_of(state, shape, dtype is float64)
    return after, (words >> np.uint64(11)) * 2.0**-53 if dtype is float64 else words * 2.0**-32


@draw(
    drawn=(1.0, float32), kernels={"cuda": "random.distributions:exponential"}, ulp=4,
    samples=[
        Sample(a_state(), shape=(33, 65), scale=2.5, why="not whole groups"),
        *(Sample(a_state(), shape=(129,), dtype=dtype, why=dtype.name) for dtype in (float64, float16, bfloat16)),
        Sample(a_state(), shape=(), why="0-d"), Sample(a_state(), shape=(0, 3), why="empty"),
    ],
    error_inputs=[
        ErrorInput(DTypeError, "exponential: int32 is not a floating-point dtype", a_state(), shape=(2,), dtype=int32),
        ErrorInput(ValueError, "exponential: scale is -1.0, below 0", a_state(), shape=(2,), scale=-1.0),
    ],
    baselines={
        "numpy": (RNG, "rng.standard_exponential(shape, dtype)"), "torch": "torch.empty(shape).exponential_(1 / scale)",
    },
)  # fmt: skip
def exponential(state: Spec, shape: Shape, scale: float = 1.0, dtype: Dtype = float32) -> Spec:
    """Exponentially distributed numbers -scale log u, u uniform in (0, 1]; their mean is `scale`.

    u has 32 bits, so that values reach 22.9 scales; float64: 53 bits. `state`: int64 (2,), moved on in place.
    """
    check_float("exponential", dtype)
    check_finite("exponential", dtype, scale=scale)
    if scale < 0:
        raise ValueError(f"exponential: scale is {scale}, below 0")
    return Spec(shape, dtype)


@exponential.reference
def _(state: Any, shape: Lengths, scale: float, dtype: DType) -> tuple[Any, Any]:
    after, u = _open_uniforms(state, shape, dtype)
    if dtype is float64:
        return after, -scale * np.log(u + 2.0**-53)
    unit = (u * 2.0**32).astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)
    return after, -scale * np.log(unit.astype(np.float64))


_cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[float])


def _tails(mean: float, std: float, low: float, high: float) -> tuple[float, float, float]:
    """(deviation, probability below the interval, that within); the deviation is negative, and both are of the
    interval's mirror image, where the interval lies above the mean: there probabilities are near 0 and not near 1."""
    a, b = ((limit - mean) / std for limit in (low, high))
    if a > 0:
        std, a, b = -std, -b, -a
    first = float(_cdf(a))
    return std, first, float(_cdf(b)) - first


@draw(
    drawn=(0.0, 1.0, -2.0, 2.0, float32), kernels={"cuda": "random.distributions:truncated_normal"}, ulp=8,
    magnitude=lambda mean, std, low, high: (2.0**63, abs(mean) + 6 * abs(std)),
    samples=[
        Sample(a_state(), shape=(33, 65), mean=0.5, std=2.0, low=-1.0, high=3.0, why="not whole groups"),
        *(Sample(a_state(), shape=(129,), dtype=dtype, why=dtype.name) for dtype in (float64, float16, bfloat16)),
        Sample(a_state(), shape=(200,), low=4.0, high=math.inf, dtype=float64, why="a tail"),
        Sample(a_state(), shape=(200,), low=-math.inf, high=-7.0, dtype=float64, why="the other tail"),
        Sample(a_state(), shape=(), why="0-d"), Sample(a_state(), shape=(0, 3), why="empty"),
    ],
    error_inputs=[
        ErrorInput(DTypeError, "truncated_normal: int32 is not a floating-point dtype", a_state(), shape=(2,),
                   dtype=int32),
        ErrorInput(ValueError, "truncated_normal: std is 0.0, not above 0", a_state(), shape=(2,), std=0.0),
        ErrorInput(ValueError, "truncated_normal: low is 2.0, not below high, 1.0", a_state(), shape=(2,), low=2.0,
                   high=1.0),
        ErrorInput(ValueError, "truncated_normal: no number of a normal distribution with mean 0.0 and deviation 1.0 "
                   "lies between 50.0 and inf", a_state(), shape=(2,), low=50.0, high=math.inf),
    ],
    baselines={"torch": "torch.nn.init.trunc_normal_(torch.empty(shape), mean, std, low, high)"},
)  # fmt: skip
def truncated_normal(
    state: Spec, shape: Shape, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0,
    dtype: Dtype = float32,
) -> Spec:  # fmt: skip
    """Numbers of a normal distribution that lie in [low, high]: mean + std q(p), q the quantile function (Wichura's
    AS 241), p uniform between the probabilities of the two limits, which may be infinite.

    Computed in float64 from 32 random bits (float64: 52). `state`: int64 (2,), moved on in place.
    """
    check_float("truncated_normal", dtype)
    check_finite("truncated_normal", dtype, mean=mean, std=std)
    if not std > 0:
        raise ValueError(f"truncated_normal: std is {std}, not above 0")
    if not low < high:
        raise ValueError(f"truncated_normal: low is {low}, not below high, {high}")
    if not _tails(mean, std, low, high)[2] > 0:
        raise ValueError(
            f"truncated_normal: no number of a normal distribution with mean {mean} and deviation {std} lies between "
            f"{low} and {high}"
        )
    return Spec(shape, dtype)


@truncated_normal.params
def _(mean: float, std: float, low: float, high: float, dtype: DType) -> tuple[float, ...]:
    """Mean, deviation, probabilities, and the outermost numbers of the dtype in the interval."""
    numpy = dtype.numpy.type
    inner = [float(numpy(low)), float(numpy(high))]
    if inner[0] < low:
        inner[0] = float(np.nextafter(numpy(low), numpy(np.inf)))
    if inner[1] > high:
        inner[1] = float(np.nextafter(numpy(high), numpy(-np.inf)))
    return (mean, *_tails(mean, std, low, high), *inner)


@truncated_normal.reference
def _(
    state: Any, shape: Lengths, mean: float, std: float, low: float, high: float, dtype: DType
) -> tuple[Any, Any]:  # fmt: skip
    after, words = words_of(state, shape, dtype is float64)
    u = ((words >> np.uint64(12)) + 0.5) * 2.0**-52 if dtype is float64 else (words + 0.5) * 2.0**-32
    signed, first, width = _tails(mean, std, low, high)
    quantile = np.vectorize(statistics.NormalDist().inv_cdf, otypes=[float])
    return after, np.clip(mean + signed * quantile(first + width * u), low, high) if u.size else u


# ---- by rejection -------------------------------------------------------------------------------------------------


class Rejection(Draw):
    """A draw whose second operand has each element's parameter."""

    promote = staticmethod(lambda specs: [int64, specs[1].dtype if specs[1].dtype.is_float else float32])

    def cost(self, *args: Any) -> tuple[float, float]:
        """One block of words, three logarithms and a root of doubles, and a tenth more for the attempts rejected."""
        parameters, n = args[1], math.prod(args[1].shape)
        return 250.0 * n, float(n * (parameters.dtype.itemsize + self.infer(*args).dtype.itemsize))

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"random:{self.name}", "cuda": f"random.distributions:{self.name}"}

    def family_samples(self) -> Iterator[Sample]:
        yield Sample(a_state(), (33, 65), why="not whole groups", grad=False)
        yield Sample(a_state(2**40), (100,), why="an offset beyond 32 bits", grad=False)
        yield Sample(a_state(), (), why="0-d", grad=False)
        yield Sample(a_state(), (0, 3), why="empty", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        text = f"{self.name}: the state has shape (3,) and dtype int64, not (2,) and int64"
        yield ErrorInput(ShapeError, text, np.zeros(3, np.int64), np.ones(2))

    def family_workloads(self) -> Iterator[Workload]:
        for shape, why in (((64, 128), "small"), ((1 << 18,), "256K")):
            yield Workload((a_state(), shape), why=why, dtypes=(float32,))


rejection = Rejection.definition


def _attempt(state: Any, elements: Any, attempt: int) -> Any:
    """The four words of an attempt of each of ``elements``, as (4, N)."""
    at = elements.astype(np.uint64) + np.uint64(int(state[1]) % 2**64)
    rest = np.full_like(at, attempt), np.ones_like(at)
    seed = int(state[0])
    return numpy_philox(np.stack([at, at >> np.uint64(32), *rest], -1), (seed, seed >> 32)).T.astype(np.uint64)


def _wide(low: Any, high: Any) -> Any:
    """Uniform numbers in [0, 1) with 53 bits."""
    return ((low | high << np.uint64(32)) >> np.uint64(11)) * 2.0**-53


def _rejected(state: Any, parameters: Any, one: Any) -> tuple[Any, Any]:
    """The state after a draw, and what ``one(parameters, words)``, which returns (values, whether they are accepted),
    makes of the first attempt that it accepts."""
    flat = np.asarray(parameters, float).ravel()
    made, left, attempt = np.zeros(flat.size), np.arange(flat.size), 0
    while left.size:
        values, good = one(flat[left], _attempt(state, left, attempt))
        made[left[good]] = values[good]
        left, attempt = left[~good], attempt + 1
    return after_draw(state, flat.size, 4), made.reshape(np.shape(parameters))


@rejection(
    ulp=16, dtypes=(float32, float64),
    magnitude=lambda state, concentration, log: (2.0**63, _magnitude(state, concentration, log)),
    samples=[
        Sample(a_state(), np.array([0.01, 0.1, 0.5, 1.0, 2.0, 1000.0, 1e6]), log=log, why="small and large", grad=False)
        for log in (False, True)
    ],
    baselines={
        "numpy": (RNG, "rng.standard_gamma(concentration, dtype=concentration.dtype)"),
        "torch": "torch._standard_gamma(concentration)",
    },
)  # fmt: skip
def gamma(state: Spec, concentration: Annotated[Spec, Domain(0.3, 30.0)], log: bool = False) -> Spec:
    """Numbers of gamma distributions with scale 1, density x^(a - 1) e^-x / Gamma(a), a the `concentration` of each
    (Marsaglia & Tsang 2000); `log`: their logarithms, which are finite where numbers of small concentrations are 0.

    The concentration's shape and dtype, integers give float32; computed in float64. `state`: int64 (2,), moved on in
    place. Raises ValueError for a concentration that is not positive and finite.
    """
    return Spec(concentration.shape, concentration.dtype)


def _magnitude(state: Any, concentration: Any, log: bool) -> Any:
    """Of logarithms: what they are made of cancels near 1. Of numbers: rounding of an exponent grows with it."""
    logs = np.abs(_numpy_gamma(state, concentration, True)[1])
    return 1 + logs if log else np.exp(_numpy_gamma(state, concentration, True)[1]) * (1 + logs / 16)


@gamma.reference
def _numpy_gamma(state: Any, concentration: Any, log: bool) -> tuple[Any, Any]:
    def one(a: Any, words: Any) -> tuple[Any, Any]:
        u = (words + 0.5) * 2.0**-32
        d = np.where(a < 1, a + 1, a) - 1 / 3
        x = np.sqrt(-2 * np.log(u[0])) * np.cos(2 * np.pi * (words[1] * 2.0**-32))
        v = np.maximum(1 + x / np.sqrt(9 * d), 0) ** 3
        with np.errstate(divide="ignore"):
            good = (v > 0) & (np.log(u[2]) < 0.5 * x * x + d * (1 - v + np.log(v)))
            logs = np.log(d) + np.log(v) + np.where(a < 1, np.log(u[3]) / a, 0.0)
        return logs if log else np.exp(logs), good

    return _rejected(state, concentration, one)


@rejection(
    ulp=0, dtypes=(float32, float64),
    samples=[Sample(a_state(), np.array([0.0, 1e-6, 9.99, 10.0, 700.0, 1e5, 2.0**40]), why="ends", grad=False)],
    baselines={"numpy": (RNG, "rng.poisson(rate)"), "torch": "torch.poisson(rate)"},
)  # fmt: skip
def poisson(state: Spec, rate: Annotated[Spec, Domain(0.0, 60.0)]) -> Spec:
    """Numbers of events (int64) of Poisson distributions, rate^k e^-rate / k!, with the `rate` of each: below 10 by
    inversion, from there by transformed rejection (Hörmann 1993, PTRS).

    `state`: int64 (2,), moved on in place. Raises ValueError for a rate that is not between 0 and 2^52.
    """
    return Spec(rate.shape, int64)


_log_factorial = np.vectorize(lambda k: math.lgamma(k + 1) if k >= 0 else math.nan, otypes=[float])


@poisson.reference
def _(state: Any, rate: Any) -> tuple[Any, Any]:
    def inverted(rate: float, u: float) -> int:
        k, p = 0, math.exp(-rate)
        total = p
        while u > total and p > 1e-300:
            k += 1
            p *= rate / k
            total += p
        return k

    def one(rate: Any, words: Any) -> tuple[Any, Any]:
        u, v, large = _wide(*words[:2]), _wide(*words[2:]), np.maximum(rate, 10)
        b = 0.931 + 2.53 * np.sqrt(large)
        a, inverse, accepted = -0.059 + 0.02483 * b, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
        near = 0.5 - np.abs(u - 0.5)
        with np.errstate(divide="ignore"):
            k = np.floor((2 * a / near + b) * (u - 0.5) + large + 0.43)
            bound = k * np.log(large) - large - _log_factorial(k)
            rest = (k >= 0) & ~((near < 0.013) & (v > near)) & (np.log(v * inverse / (a / near**2 + b)) <= bound)
        values = np.where(rate < 10, [inverted(r, x) if r < 10 else 0 for r, x in zip(rate, u, strict=True)], k)
        return values, (rate < 10) | ((near >= 0.07) & (v <= accepted)) | rest

    after, made = _rejected(state, rate, one)
    return after, made.astype(np.int64)
