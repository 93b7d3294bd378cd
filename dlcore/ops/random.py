"""Random numbers: Philox 4x32-10, a counter-based generator (Salmon et al. 2011), and dropout.

A generator's state is an int64 tensor (seed, offset) in device memory. Every operation that draws takes it as an
operand, reads it, and moves the offset past the blocks of four 32-bit words it used: a count that follows from the
number of elements alone. Element i depends on (seed, offset, i) only, so results do not depend on threads or devices;
csrc/random/random.inl tells which words make it. Uniforms, integers, masks and permutations have the same bits on
every device, normals agree within 2 ulp. `dlcore.random` has the functions that keep the state for you.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore.dtypes import INTEGERS, DType, bfloat16, bool_, float16, float32, float64, int16, int32, int64, uint8
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import Dtype, ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given, floating, operation
from dlcore.ops._draw import (
    KEY,
    RNG,
    Lengths,
    a_state,
    after_draw,
    check_finite,
    check_float,
    check_state,
    draw,
    numpy_philox,
    words_of,
)
from dlcore.ops._workloads import MILLION, RAGGED
from dlcore.ops.elementwise import mul, ne, where

__all__ = [
    "bernoulli", "dropout", "dropout_backward", "normal", "permutation", "philox", "randint", "reserve", "uniform",
]  # fmt: skip

# ---- the generator ---------------------------------------------------------------------------------------

@operation(
    family="random", kernels={"cuda": "random.philox:philox"}, promote=lambda specs: [int64, int64], dtypes=(float32,),
    cost=lambda counters: (20.0 * math.prod(counters.shape), 16.0 * math.prod(counters.shape)),
    samples=[
        Sample(Input((n, 4), 0, 2**32, int64), Input((2,), 0, 2**32, int64), why=why)
        for n, why in ((37, "not a multiple of the lanes"), (0, "empty"))
    ],
    error_inputs=[
        ErrorInput(ShapeError, f"philox: takes counters (N, 4) and a key (2,), not {counters} and {key}",
                   np.zeros(counters, np.int64), np.zeros(key, np.int64))
        for counters, key in (((3, 5), (2,)), ((3, 4), (1,)))
    ],
    workloads=[
        Workload((Input((n, 4), 0, 2**32, int64), Input((2,), 0, 2**32, int64)), why=f"{4 * n} words")
        for n in (16, 1 << 18)
    ],
)  # fmt: skip
def philox(counters: Spec, key: Spec) -> Spec:
    """The four 32-bit words of Philox 4x32-10 for each counter: the bits all other operations draw from.

    `counters` (N, 4) and `key` (2,): int64 holding 32-bit words, lowest first; the output (N, 4) likewise.
    """
    if len(counters.shape) != 2 or counters.shape[1] != 4 or key.shape != (2,):
        raise ShapeError(f"philox: takes counters (N, 4) and a key (2,), not {counters.shape} and {key.shape}")
    return Spec(counters.shape, int64)


philox.reference(numpy_philox)


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is {p}, not a probability")


def _threshold(p: float) -> int:
    """Words below it are events of probability p."""
    return round(p * 2**32)


def _mask_of_shared(call: Any) -> Any:
    """One mask for all examples: of a gradient that is taken in several directions (see dlcore/ops/_batching.py)."""
    if call.is_batched[1]:
        return NotImplemented
    dout, state = call.values
    ones = _C.full(call.specs[0].shape, 1, call.outputs[0].dtype, dout.device.code)
    factor = dropout_backward(ones, state, *call.attrs)
    return where(ne(factor, 0), mul(dout, factor), 0)


# ---- floating-point numbers ---------------------------------------------------------------------------------------

_BITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


@draw(
    drawn=(0.0, 1.0, float32), ulp=2, magnitude=lambda low, high: (2.0**63, max(abs(low), abs(high))),
    samples=[
        Sample(a_state(), shape=(33, 65), why="not whole groups"),
        Sample(a_state(2**40), shape=(1000,), low=-2.0, high=3.0, dtype=float64,
               why="float64, an offset beyond 32 bits"),
        Sample(a_state(), shape=(129,), dtype=float16, why="float16"),
        Sample(a_state(), shape=(129,), low=-1.0, dtype=bfloat16, why="bfloat16"),
        Sample(a_state(), shape=(), why="0-d"), Sample(a_state(), shape=(0, 3), why="empty"),
        Sample(a_state(), shape=MILLION, why="large"),
    ],
    error_inputs=[
        ErrorInput(ValueError, "uniform: low is 2.0, above high, 1.0", a_state(), shape=(2,), low=2.0),
        ErrorInput(DTypeError, "uniform: int32 is not a floating-point dtype", a_state(), shape=(2,), dtype=int32),
        ErrorInput(OverflowError, f"uniform: high: Python float 1e+300 does not fit in float32 ({float32.range})",
                   a_state(), shape=(2,), high=1e300),
        ErrorInput(OverflowError, f"uniform: width: Python float 4e+38 does not fit in float32 ({float32.range})",
                   a_state(), shape=(2,), low=-2e38, high=2e38),
        ErrorInput(OverflowError, "uniform: high is inf, which is not finite", a_state(), shape=(2,), high=math.inf),
    ],
    baselines={
        "numpy": (RNG, "rng.random(shape, dtype)"), "torch": "torch.empty(shape).uniform_(low, high)",
        "jax": f"jax.random.uniform({KEY}, shape, dtype, low, high)",
    },
)  # fmt: skip
def uniform(state: Spec, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Dtype = float32) -> Spec:
    """Numbers uniform in [low, high): low + (high - low) u, u a multiple of 2^-24 (float64: 2^-53, float16: 2^-11,
    bfloat16: 2^-8) in [0, 1).

    `state`: int64 (2,), moved on in place. The same bits on every device.
    """
    if not low <= high:
        raise ValueError(f"uniform: low is {low}, above high, {high}")
    check_float("uniform", dtype)
    check_finite("uniform", dtype, low=low, high=high)
    check_finite("uniform", float64 if dtype is float64 else float32, width=high - low)  # it is computed in
    return Spec(shape, dtype)


@uniform.reference
def _(state: Any, shape: Lengths, low: float, high: float, dtype: DType) -> tuple[Any, Any]:
    bits, wide = _BITS[dtype], dtype is float64
    after, words = words_of(state, shape, wide)
    return after, low + (high - low) * ((words >> np.uint64((64 if wide else 32) - bits)) * 2.0**-bits)


@uniform.params
def _(low: float, high: float, dtype: DType) -> tuple[float, float, float]:
    """The interval, and the largest number of ``dtype`` in it: rounding must not reach ``high``."""
    last = dtype.numpy.type(high)
    last = last if float(last) < high else np.nextafter(last, dtype.numpy.type(-np.inf))
    return low, high, max(low, float(last))


@draw(
    drawn=(0.0, 1.0, float32), ulp=4,  # of the radius: near the zeros of sine and cosine errors are absolute
    magnitude=lambda state, shape, mean, std, dtype: (
        2.0**63, abs(mean) + abs(std) * _normal_parts(state, shape, dtype)[1]
    ),
    samples=[
        Sample(a_state(), shape=(33, 65), mean=0.5, std=2.0, why="not whole groups"),
        Sample(a_state(), shape=(1000,), dtype=float64, why="float64"),
        Sample(a_state(), shape=(129,), dtype=float16, why="float16"), Sample(a_state(), shape=(), why="0-d"),
        Sample(a_state(), shape=(0, 3), why="empty"), Sample(a_state(), shape=MILLION, why="large"),
    ],
    error_inputs=[
        ErrorInput(DTypeError, "normal: int32 is not a floating-point dtype", a_state(), shape=(2,), dtype=int32),
        ErrorInput(
            OverflowError, "normal: std: Python float 70000.0 does not fit in float16 (-65504 to 65504)", a_state(),
            shape=(2,), std=70000, dtype=float16,
        ),
        ErrorInput(ValueError, "normal: std is -1.0; it must not be negative", a_state(), shape=(2,), std=-1.0),
    ],
    baselines={
        "numpy": (RNG, "rng.standard_normal(shape, dtype)"), "torch": "torch.empty(shape).normal_(mean, std)",
        "jax": f"jax.random.normal({KEY}, shape, dtype)",
    },
)  # fmt: skip
def normal(state: Spec, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: Dtype = float32) -> Spec:
    """Normally distributed numbers: mean + std sqrt(-2 log u) (cos 2 pi v, sin 2 pi v), u and v uniform (Box &
    Muller 1958).

    float32 (and the 16-bit floats, rounded from it): u has 32 bits, so that values reach 6.6 std; float64: 53 bits.
    `state`: int64 (2,), moved on in place. Devices agree within 2 ulp.
    """
    if std < 0:
        raise ValueError(f"normal: std is {std}; it must not be negative")
    check_float("normal", dtype)
    check_finite("normal", dtype, mean=mean, std=std)
    return Spec(shape, dtype)


def _normal_parts(state: Any, shape: Lengths, dtype: DType) -> tuple[Any, Any, Any]:
    """(state after, radii sqrt(-2 log u), standard normals); see the kernel for which words make u and v."""
    n, wide = math.prod(shape), dtype is float64
    _, words = words_of(state, (-(-n // 64) * 2, 2, 16), wide)
    first, second = words[:, 0], words[:, 1]
    if wide:
        u, v = ((first >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, (second >> np.uint64(11)) * 2.0**-53
    else:
        u = (first.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)).astype(np.float64)
        v = (second >> np.uint64(8)) * 2.0**-24
    r, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    pairs = ((r, r), (r * np.cos(angle), r * np.sin(angle)))
    radii, normals = (np.stack(pair, 1).reshape(-1)[:n].reshape(shape) for pair in pairs)
    return after_draw(state, n, 1 + wide), radii, normals


@normal.reference
def _(state: Any, shape: Lengths, mean: float, std: float, dtype: DType) -> tuple[Any, Any]:
    after, _, normals = _normal_parts(state, shape, dtype)
    return after, mean + std * normals


# ---- integers, masks, permutations --------------------------------------------------------------------------------


@draw(
    drawn=(0, 1000, int64),
    samples=[
        Sample(a_state(), shape=(33, 5), low=-3, high=10, why="not whole groups"),
        Sample(a_state(), shape=(70,), low=-(2**62), high=2**62 + 1, why="beyond 32 bits"),
        Sample(a_state(), shape=(70,), low=-(2**63), high=2**63, why="all int64"),
        Sample(a_state(), shape=(100,), low=0, high=256, dtype=uint8, why="all uint8"),
        Sample(a_state(), shape=(100,), low=-5, high=5, dtype=int16, why="int16"),
        Sample(a_state(), shape=(), low=0, high=2, dtype=int32, why="0-d"),
        Sample(a_state(), shape=(0,), low=0, high=2, why="empty"),
    ],
    error_inputs=[
        ErrorInput(error, f"randint: {text}", a_state(), shape=(2,), low=low, high=high, dtype=dtype)
        for error, text, low, high, dtype in (
            (ValueError, "low is 3, not below high, 3", 3, 3, int64),
            (OverflowError, "[0, 300) does not fit in uint8 (0 to 255)", 0, 300, uint8),
            (DTypeError, "float32 is not an integer dtype", 0, 3, float32),
        )
    ],
    baselines={
        "numpy": (RNG, "rng.integers(low, high, shape)"), "torch": "torch.randint(low, high, shape)",
        "jax": f"jax.random.randint({KEY}, shape, low, high, dtype)",
    },
)  # fmt: skip
def randint(state: Spec, shape: Shape, low: int, high: int, dtype: Dtype = int64) -> Spec:
    """Integers uniform in [low, high): low + floor((high - low) w / 2^64), w a 64-bit word (Lemire 2019, without
    its rejections: probabilities are off by at most 2^-64).

    `state`: int64 (2,), moved on in place. The same on every device and for every dtype.
    """
    if dtype not in INTEGERS:
        raise DTypeError(f"randint: {dtype.name} is not an integer dtype")
    limits = np.iinfo(dtype.numpy)
    if not low < high:
        raise ValueError(f"randint: low is {low}, not below high, {high}")
    if low < limits.min or high - 1 > limits.max:
        raise OverflowError(f"randint: [{low}, {high}) does not fit in {dtype.name} ({dtype.range})")
    return Spec(shape, dtype)


@randint.reference
def _(state: Any, shape: Lengths, low: int, high: int, dtype: DType) -> tuple[Any, Any]:
    after, words = words_of(state, shape, wide=True)
    values = [low + (int(w) * (high - low) >> 64) for w in words.ravel()]
    return after, np.array(values, np.int64).reshape(shape).astype(dtype.numpy)


@randint.params
def _(low: int, high: int) -> tuple[int, int]:
    span = high - low
    return low, span if span < 2**63 else span - 2**64  # the kernel reads it as unsigned


@draw(
    drawn=(0.5,), params=lambda p: (_threshold(p),),
    samples=[
        Sample(a_state(), shape=(33, 65), p=0.3, why="not whole groups"),
        *(Sample(a_state(), shape=(70,), p=p, why="certain") for p in (0.0, 1.0)),
        Sample(a_state(), shape=(), p=0.5, why="0-d"),
    ],
    error_inputs=[ErrorInput(ValueError, "bernoulli: p is 1.5, not a probability", a_state(), shape=(2,), p=1.5)],
    baselines={
        "numpy": (RNG, "rng.random(shape, np.float32) < p"),
        "torch": "torch.empty(shape, dtype=torch.bool).bernoulli_(p)",
        "jax": f"jax.random.bernoulli({KEY}, p, shape)",
    },
)  # fmt: skip
def bernoulli(state: Spec, shape: Shape, p: float = 0.5) -> Spec:
    """A mask whose elements are true with probability `p` (a multiple of 2^-32). The same on every device.

    `state`: int64 (2,), moved on in place.
    """
    _check_probability("bernoulli", p)
    return Spec(shape, bool_)


@bernoulli.reference
def _(state: Any, shape: Lengths, p: float) -> tuple[Any, Any]:
    after, words = words_of(state, shape)
    return after, words < np.uint64(_threshold(p))


@draw(
    kernels={"cuda": "random.permutation:permutation"}, cost=lambda n: (120.0 * n, 48.0 * n),
    samples=[
        Sample(a_state(), n=n, why=why) for n, why in ((0, "empty"), (1, "one"), (100, "some"), (60000, "an epoch"))
    ],
    workloads=[
        Workload((a_state(),), (n,), why, (float32,)) for n, why in ((1797, "an epoch of digits"), (60000, "an epoch"))
    ],
    baselines={
        "numpy": (RNG, "rng.permutation(n)"), "torch": "torch.randperm(n)",
        "jax": f"jax.random.permutation({KEY}, n)",
    },
)  # fmt: skip
def permutation(state: Spec, n: int) -> Spec:
    """The integers 0 to n - 1 in random order, int64: the stable order of n 64-bit words.

    Any stable sort gives it, so it is the same on every device. `state`: int64 (2,), moved on in place.
    """
    return Spec((n,), int64)


@permutation.reference
def _(state: Any, n: int) -> tuple[Any, Any]:
    after, words = words_of(state, (n,), wide=True)
    return after, np.argsort(words, kind="stable")


@operation(
    family="random", kernels={"cuda": "random.draws:reserve"}, promote=as_given, writes="state", random=True,
    dtypes=(float32,), cost=lambda: (1.0, 32.0), outputs="saved",
    samples=[
        Sample(a_state(), n=100, why="not whole groups"), Sample(a_state(2**40), n=640, why="whole groups"),
        Sample(a_state(), n=0, why="nothing"),
    ],
    error_inputs=[
        ErrorInput(ShapeError, "reserve: the state has shape (3,) and dtype int64, not (2,) and int64",
                   np.zeros(3, np.int64), n=1),
        ErrorInput(ValueError, "reserve: n is -1; it must be at least 0", a_state(), n=-1),
    ],
    workloads=[Workload((a_state(),), (100,), "dispatch", (float32,))],
    params=lambda n: (-(-n // 64) * 16,),
)  # fmt: skip
def reserve(state: Spec, n: int) -> Spec:
    """A copy of the state, which is moved on as by a draw of `n` numbers of 32 bits: for what draws them later, or
    twice, as attention does for its dropout. `state`: int64 (2,), moved on in place.
    """
    check_state("reserve", state)
    if n < 0:
        raise ValueError(f"reserve: n is {n}; it must be at least 0")
    return Spec((2,), int64)


reserve.reference(lambda state, n: (after_draw(state, n, 1), np.array([int(state[0]), int(state[1])])))

# ---- dropout ------------------------------------------------------------------------------------------------------


class Masked(Op):
    """dropout and its gradient: a tensor under the mask that a state gives. The shape rule is empty."""

    family = "random"
    promote = staticmethod(lambda specs: [*floating(specs[:1]), int64])

    def infer(self, *args: Any) -> Sequence[Spec]:
        """The tensor's shape and dtype; and a state where one is kept."""
        x, state, p = args
        check_state(self.name, state)
        _check_probability(self.name, p)
        return [Spec(x.shape, x.dtype), *[Spec((2,), int64)] * len(self.extra_names)]

    def params(self, p: float) -> tuple[int, float]:
        """The threshold below which an element is dropped, and the factor of the others."""
        return _threshold(p), 1 / (1 - p) if p < 1 else 0.0

    def cost(self, *args: Any) -> tuple[float, float]:
        """The words, and one pass."""
        x = args[0]
        return 25.0 * math.prod(x.shape), 2.0 * math.prod(x.shape) * x.dtype.itemsize

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"random:{self.name}", "cuda": f"random.dropout:{self.name}"}

    def family_samples(self) -> Iterator[Sample]:
        yield Sample((33, 65), a_state(), p=0.3, why="not whole groups")
        for p in (0.0, 1.0):
            yield Sample((70,), a_state(), p=p, why="certain")
        yield Sample(np.array([np.inf, -1.0, -np.inf, 2.0]), a_state(), p=0.5, why="infinite", grad=False)
        yield Sample((), a_state(), p=0.5, why="0-d")
        yield Sample((1024, 1024), a_state(), p=0.1, why="large", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(ValueError, f"{self.name}: p is -0.5, not a probability", np.zeros(2), a_state(), p=-0.5)

    def family_workloads(self) -> Iterator[Workload]:
        for shape, why in (((128, 256), "a layer of model b"), (MILLION, "1M"), (RAGGED, "ragged")):
            yield Workload((shape, a_state()), (0.1,), why)


masked = Masked.definition


def _numpy_dropout(x: Any, state: Any, p: float) -> tuple[Any, Any]:
    after, words = words_of(state, x.shape)
    return after, np.where(words >= np.uint64(_threshold(p)), x / (1 - p) if p < 1 else 0.0, 0.0)


@masked(
    extras="saved", writes="state", random=True, reference=_numpy_dropout,
    batch=lambda call: NotImplemented if any(call.is_batched[1:]) else call.run([call.full(0), *call.values[1:]]),
    gradient=lambda dout, saved, p: dropout_backward(dout, saved, p),
    baselines={
        "torch": "F.dropout(x, p)",
        "jax": f"jnp.where(jax.random.bernoulli({KEY}, 1 - p, x.shape), x / (1 - p), 0)",
    },
)  # fmt: skip
def dropout(x: Spec, state: Spec, p: float = 0.5) -> None:
    """`x` with each element set to 0 with probability `p`, the others divided by 1 - p (Srivastava et al. 2014).

    `state`: int64 (2,), moved on in place; the backward pass draws the same mask again from a copy of it. The mask is
    the same on every device.
    """


@masked(
    outputs="dx", batch=_mask_of_shared, reference=lambda dout, saved, p: _numpy_dropout(dout, saved, p)[1],
    gradient=lambda ddx, saved, p: dropout_backward(ddx, saved, p),
)  # fmt: skip
def dropout_backward(dout: Spec, saved: Spec, p: float = 0.5) -> None:
    """The gradient of `dropout`: `dout` under the mask that the state `saved` gives, divided by 1 - p."""
