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
from dlcore.ops._workloads import MILLION, RAGGED

__all__ = ["bernoulli", "dropout", "dropout_backward", "normal", "permutation", "philox", "randint", "uniform"]

Lengths = tuple[int, ...]
Words = np.ndarray[Any, np.dtype[np.uint64]]

# ---- the generator in NumPy ---------------------------------------------------------------------------------------

_MASK = np.uint64(0xFFFFFFFF)


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


@philox.reference
def _numpy_philox(counters: Any, key: Any) -> Any:
    """Ten rounds on counters (..., 4) with a key (2,)."""
    c0, c1, c2, c3 = (counters[..., w].astype(np.uint64) & _MASK for w in range(4))
    k0, k1 = (int(k) & 0xFFFFFFFF for k in key)
    for _ in range(10):
        p, q = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (q >> np.uint64(32)) ^ c1 ^ np.uint64(k0), q & _MASK
        c2, c3 = (p >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1).astype(np.int64)


def _after(state: Any, n: int, width: int) -> Any:
    """The state behind the blocks used by n elements of ``width`` words: whole groups of 16."""
    return np.array([int(state[0]), int(state[1]) + -(-n * width // 64) * 16])


def _words(state: Any, shape: Lengths, wide: bool = False) -> tuple[Any, Words]:
    """The state after a draw, and the words of 32 bits (``wide``: 64) that make the elements of ``shape``."""
    n, width, seed, offset = math.prod(shape), 1 + wide, int(state[0]), int(state[1])
    after = _after(state, n, width)
    at = np.arange(int(after[1]) - offset, dtype=np.uint64) + np.uint64(offset % 2**64)
    zero = np.zeros_like(at)
    drawn = _numpy_philox(np.stack([at, at >> np.uint64(32), zero, zero], -1), (seed, seed >> 32)).astype(np.uint64)
    groups = drawn.reshape(-1, 16, 4 // width, width)  # group, block, which element of the block, word
    words = groups.transpose(0, 2, 1, 3).reshape(-1, width)[:n]
    elements = words[:, 0] | words[:, 1] << np.uint64(32) if wide else words[:, 0]
    return after, elements.reshape(shape)


# ---- the family ---------------------------------------------------------------------------------------------------

_RNG = "rng = np.random.default_rng(0)"
_KEY = "jax.random.wrap_key_data(state.astype(jnp.uint32))"


def _state(offset: int = 32) -> Any:
    return np.array([0x0123456789ABCDEF, offset])


def _check_state(name: str, state: Spec) -> None:
    if state.shape != (2,) or state.dtype is not int64:
        raise ShapeError(f"{name}: the state has shape {state.shape} and dtype {state.dtype.name}, not (2,) and int64")


def _check_float(name: str, dtype: DType) -> None:
    if not dtype.is_float:
        raise DTypeError(f"{name}: {dtype.name} is not a floating-point dtype")


def _check_finite(name: str, dtype: DType, **numbers: float) -> None:
    """Raises OverflowError where a number is not finite in ``dtype``."""
    for what, number in numbers.items():
        if not math.isfinite(number):
            raise OverflowError(f"{name}: {what} is {number}, which is not finite")
        _C.check_number(number, dtype, f"{name}: {what}")


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is {p}, not a probability")


def _threshold(p: float) -> int:
    """Words below it are events of probability p."""
    return round(p * 2**32)


class Draw(Op):
    """An operation that makes an array from a generator's state, its only operand; the first attribute is its shape."""

    family = "random"
    promote = staticmethod(as_given)
    writes = "state"
    random = True
    dtypes = (float32,)  # no operand is of the dtype under test: once is enough
    drawn: Sequence[Any] = ()
    """Attributes behind the shape of what is timed."""

    def infer(self, state: Spec, *attrs: Any) -> Spec:
        """The rule's array; raises for what is no state."""
        _check_state(self.name, state)
        made: Spec = self.rule(state, *attrs)
        return made

    def cost(self, *args: Any) -> tuple[float, float]:
        """Ten rounds of 8 operations for four words, and the conversion."""
        made = self.infer(*args)
        return 25.0 * math.prod(made.shape), float(math.prod(made.shape) * made.dtype.itemsize)

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"random:{self.name}", "cuda": f"random.draws:{self.name}"}

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        shape, *others = self.attribute_names
        given = dict(zip(others, self.drawn, strict=False))
        text = f"{self.name}: the state has shape (3,) and dtype int64, not (2,) and int64"
        yield ErrorInput(ShapeError, text, np.zeros(3, np.int64), **{shape: 2}, **given)
        yield ErrorInput(ShapeError, f"{self.name}: negative length in shape (-2,)", _state(), **{shape: -2}, **given)

    def family_workloads(self) -> Iterator[Workload]:
        """Numbers for a layer's weights, a million, and a ragged matrix."""
        for shape, why in (((64, 128), "a layer of model a"), (MILLION, "1M"), (RAGGED, "ragged")):
            yield Workload((_state(),), (shape, *self.drawn), why, (float32,))


draw = Draw.definition

# ---- floating-point numbers ---------------------------------------------------------------------------------------

_BITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


@draw(
    drawn=(0.0, 1.0, float32), ulp=2, magnitude=lambda low, high: (2.0**63, max(abs(low), abs(high))),
    samples=[
        Sample(_state(), shape=(33, 65), why="not whole groups"),
        Sample(_state(2**40), shape=(1000,), low=-2.0, high=3.0, dtype=float64,
               why="float64, an offset beyond 32 bits"),
        Sample(_state(), shape=(129,), dtype=float16, why="float16"),
        Sample(_state(), shape=(129,), low=-1.0, dtype=bfloat16, why="bfloat16"),
        Sample(_state(), shape=(), why="0-d"), Sample(_state(), shape=(0, 3), why="empty"),
        Sample(_state(), shape=MILLION, why="large"),
    ],
    error_inputs=[
        ErrorInput(ValueError, "uniform: low is 2.0, above high, 1.0", _state(), shape=(2,), low=2.0),
        ErrorInput(DTypeError, "uniform: int32 is not a floating-point dtype", _state(), shape=(2,), dtype=int32),
        ErrorInput(OverflowError, f"uniform: high: Python float 1e+300 does not fit in float32 ({float32.range})",
                   _state(), shape=(2,), high=1e300),
        ErrorInput(OverflowError, f"uniform: width: Python float 4e+38 does not fit in float32 ({float32.range})",
                   _state(), shape=(2,), low=-2e38, high=2e38),
        ErrorInput(OverflowError, "uniform: high is inf, which is not finite", _state(), shape=(2,), high=math.inf),
    ],
    baselines={
        "numpy": (_RNG, "rng.random(shape, dtype)"), "torch": "torch.empty(shape).uniform_(low, high)",
        "jax": f"jax.random.uniform({_KEY}, shape, dtype, low, high)",
    },
)  # fmt: skip
def uniform(state: Spec, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Dtype = float32) -> Spec:
    """Numbers uniform in [low, high): low + (high - low) u, u a multiple of 2^-24 (float64: 2^-53, float16: 2^-11,
    bfloat16: 2^-8) in [0, 1).

    `state`: int64 (2,), moved on in place. The same bits on every device.
    """
    if not low <= high:
        raise ValueError(f"uniform: low is {low}, above high, {high}")
    _check_float("uniform", dtype)
    _check_finite("uniform", dtype, low=low, high=high)
    _check_finite("uniform", float64 if dtype is float64 else float32, width=high - low)  # it is computed in
    return Spec(shape, dtype)


@uniform.reference
def _(state: Any, shape: Lengths, low: float, high: float, dtype: DType) -> tuple[Any, Any]:
    bits, wide = _BITS[dtype], dtype is float64
    after, words = _words(state, shape, wide)
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
        Sample(_state(), shape=(33, 65), mean=0.5, std=2.0, why="not whole groups"),
        Sample(_state(), shape=(1000,), dtype=float64, why="float64"),
        Sample(_state(), shape=(129,), dtype=float16, why="float16"), Sample(_state(), shape=(), why="0-d"),
        Sample(_state(), shape=(0, 3), why="empty"), Sample(_state(), shape=MILLION, why="large"),
    ],
    error_inputs=[
        ErrorInput(DTypeError, "normal: int32 is not a floating-point dtype", _state(), shape=(2,), dtype=int32),
        ErrorInput(
            OverflowError, "normal: std: Python float 70000.0 does not fit in float16 (-65504 to 65504)", _state(),
            shape=(2,), std=70000, dtype=float16,
        ),
    ],
    baselines={
        "numpy": (_RNG, "rng.standard_normal(shape, dtype)"), "torch": "torch.empty(shape).normal_(mean, std)",
        "jax": f"jax.random.normal({_KEY}, shape, dtype)",
    },
)  # fmt: skip
def normal(state: Spec, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: Dtype = float32) -> Spec:
    """Normally distributed numbers: mean + std sqrt(-2 log u) (cos 2 pi v, sin 2 pi v), u and v uniform (Box &
    Muller 1958).

    float32 (and the 16-bit floats, rounded from it): u has 32 bits, so that values reach 6.6 std; float64: 53 bits.
    `state`: int64 (2,), moved on in place. Devices agree within 2 ulp.
    """
    _check_float("normal", dtype)
    _check_finite("normal", dtype, mean=mean, std=std)
    return Spec(shape, dtype)


def _normal_parts(state: Any, shape: Lengths, dtype: DType) -> tuple[Any, Any, Any]:
    """(state after, radii sqrt(-2 log u), standard normals); see the kernel for which words make u and v."""
    n, wide = math.prod(shape), dtype is float64
    _, words = _words(state, (-(-n // 64) * 2, 2, 16), wide)
    first, second = words[:, 0], words[:, 1]
    if wide:
        u, v = ((first >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, (second >> np.uint64(11)) * 2.0**-53
    else:
        u = (first.astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)).astype(np.float64)
        v = (second >> np.uint64(8)) * 2.0**-24
    r, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    pairs = ((r, r), (r * np.cos(angle), r * np.sin(angle)))
    radii, normals = (np.stack(pair, 1).reshape(-1)[:n].reshape(shape) for pair in pairs)
    return _after(state, n, 1 + wide), radii, normals


@normal.reference
def _(state: Any, shape: Lengths, mean: float, std: float, dtype: DType) -> tuple[Any, Any]:
    after, _, normals = _normal_parts(state, shape, dtype)
    return after, mean + std * normals


# ---- integers, masks, permutations --------------------------------------------------------------------------------


@draw(
    drawn=(0, 1000, int64),
    samples=[
        Sample(_state(), shape=(33, 5), low=-3, high=10, why="not whole groups"),
        Sample(_state(), shape=(70,), low=-(2**62), high=2**62 + 1, why="beyond 32 bits"),
        Sample(_state(), shape=(70,), low=-(2**63), high=2**63, why="all int64"),
        Sample(_state(), shape=(100,), low=0, high=256, dtype=uint8, why="all uint8"),
        Sample(_state(), shape=(100,), low=-5, high=5, dtype=int16, why="int16"),
        Sample(_state(), shape=(), low=0, high=2, dtype=int32, why="0-d"),
        Sample(_state(), shape=(0,), low=0, high=2, why="empty"),
    ],
    error_inputs=[
        ErrorInput(error, f"randint: {text}", _state(), shape=(2,), low=low, high=high, dtype=dtype)
        for error, text, low, high, dtype in (
            (ValueError, "low is 3, not below high, 3", 3, 3, int64),
            (OverflowError, "[0, 300) does not fit in uint8 (0 to 255)", 0, 300, uint8),
            (DTypeError, "float32 is not an integer dtype", 0, 3, float32),
        )
    ],
    baselines={
        "numpy": (_RNG, "rng.integers(low, high, shape)"), "torch": "torch.randint(low, high, shape)",
        "jax": f"jax.random.randint({_KEY}, shape, low, high, dtype)",
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
    after, words = _words(state, shape, wide=True)
    values = [low + (int(w) * (high - low) >> 64) for w in words.ravel()]
    return after, np.array(values, np.int64).reshape(shape).astype(dtype.numpy)


@randint.params
def _(low: int, high: int) -> tuple[int, int]:
    span = high - low
    return low, span if span < 2**63 else span - 2**64  # the kernel reads it as unsigned


@draw(
    drawn=(0.5,), params=lambda p: (_threshold(p),),
    samples=[
        Sample(_state(), shape=(33, 65), p=0.3, why="not whole groups"),
        *(Sample(_state(), shape=(70,), p=p, why="certain") for p in (0.0, 1.0)),
        Sample(_state(), shape=(), p=0.5, why="0-d"),
    ],
    error_inputs=[ErrorInput(ValueError, "bernoulli: p is 1.5, not a probability", _state(), shape=(2,), p=1.5)],
    baselines={
        "numpy": (_RNG, "rng.random(shape, np.float32) < p"),
        "torch": "torch.empty(shape, dtype=torch.bool).bernoulli_(p)",
        "jax": f"jax.random.bernoulli({_KEY}, p, shape)",
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
    after, words = _words(state, shape)
    return after, words < np.uint64(_threshold(p))


@draw(
    kernels={"cuda": "random.permutation:permutation"}, cost=lambda n: (120.0 * n, 48.0 * n),
    samples=[
        Sample(_state(), n=n, why=why) for n, why in ((0, "empty"), (1, "one"), (100, "some"), (60000, "an epoch"))
    ],
    workloads=[
        Workload((_state(),), (n,), why, (float32,)) for n, why in ((1797, "an epoch of digits"), (60000, "an epoch"))
    ],
    baselines={
        "numpy": (_RNG, "rng.permutation(n)"), "torch": "torch.randperm(n)",
        "jax": f"jax.random.permutation({_KEY}, n)",
    },
)  # fmt: skip
def permutation(state: Spec, n: int) -> Spec:
    """The integers 0 to n - 1 in random order, int64: the stable order of n 64-bit words.

    Any stable sort gives it, so it is the same on every device. `state`: int64 (2,), moved on in place.
    """
    return Spec((n,), int64)


@permutation.reference
def _(state: Any, n: int) -> tuple[Any, Any]:
    after, words = _words(state, (n,), wide=True)
    return after, np.argsort(words, kind="stable")


# ---- dropout ------------------------------------------------------------------------------------------------------


class Masked(Op):
    """dropout and its gradient: a tensor under the mask that a state gives. The shape rule is empty."""

    family = "random"
    promote = staticmethod(lambda specs: [*floating(specs[:1]), int64])

    def infer(self, *args: Any) -> Sequence[Spec]:
        """The tensor's shape and dtype; and a state where one is kept."""
        x, state, p = args
        _check_state(self.name, state)
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
        yield Sample((33, 65), _state(), p=0.3, why="not whole groups")
        for p in (0.0, 1.0):
            yield Sample((70,), _state(), p=p, why="certain")
        yield Sample(np.array([np.inf, -1.0, -np.inf, 2.0]), _state(), p=0.5, why="infinite", grad=False)
        yield Sample((), _state(), p=0.5, why="0-d")
        yield Sample((1024, 1024), _state(), p=0.1, why="large", grad=False)

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        yield ErrorInput(ValueError, f"{self.name}: p is -0.5, not a probability", np.zeros(2), _state(), p=-0.5)

    def family_workloads(self) -> Iterator[Workload]:
        for shape, why in (((128, 256), "a layer of model b"), (MILLION, "1M"), (RAGGED, "ragged")):
            yield Workload((shape, _state()), (0.1,), why)


masked = Masked.definition


def _numpy_dropout(x: Any, state: Any, p: float) -> tuple[Any, Any]:
    after, words = _words(state, x.shape)
    return after, np.where(words >= np.uint64(_threshold(p)), x / (1 - p) if p < 1 else 0.0, 0.0)


@masked(
    extras="saved", writes="state", random=True, reference=_numpy_dropout,
    gradient=lambda dout, saved, p: dropout_backward(dout, saved, p),
    baselines={
        "torch": "F.dropout(x, p)",
        "jax": f"jnp.where(jax.random.bernoulli({_KEY}, 1 - p, x.shape), x / (1 - p), 0)",
    },
)  # fmt: skip
def dropout(x: Spec, state: Spec, p: float = 0.5) -> None:
    """`x` with each element set to 0 with probability `p`, the others divided by 1 - p (Srivastava et al. 2014).

    `state`: int64 (2,), moved on in place; the backward pass draws the same mask again from a copy of it. The mask is
    the same on every device.
    """


@masked(
    outputs="dx", reference=lambda dout, saved, p: _numpy_dropout(dout, saved, p)[1],
    gradient=lambda ddx, saved, p: dropout_backward(ddx, saved, p),
)  # fmt: skip
def dropout_backward(dout: Spec, saved: Spec, p: float = 0.5) -> None:
    """The gradient of `dropout`: `dout` under the mask that the state `saved` gives, divided by 1 - p."""
