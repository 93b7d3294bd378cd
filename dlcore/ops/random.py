"""Random numbers: Philox 4x32-10, a counter-based generator (Salmon et al. 2011), and dropout.

A generator's state is an int64 tensor (seed, offset) in device memory. Every row that draws takes it as an operand,
reads it, and moves the offset past the blocks of four 32-bit words it used: a count that follows from the number of
elements alone. Element i depends on (seed, offset, i) only, so results do not depend on threads or devices;
csrc/random/random.inl tells which words make it. Uniforms, integers, masks and permutations have the same bits on
every device, normals agree within 2 ulp. `dlcore.random` has the functions that keep the state for you.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Operand, Sample, Size, Spec, Wrong, floating
from dlcore.ops._sizes import MILLION, RAGGED

__all__ = ["bernoulli", "dropout", "dropout_backward", "normal", "permutation", "philox", "randint", "uniform"]

Shape = tuple[int, ...]
Words = np.ndarray[Any, np.dtype[np.uint64]]
_MASK = np.uint64(0xFFFFFFFF)


# ---- the generator in NumPy ---------------------------------------------------------------------------------------


def _philox_ref(counters: Any, key: Any) -> Words:
    """Ten rounds on counters (..., 4) with a key (2,): 32-bit words in uint64."""
    c = [np.asarray(counters)[..., w].astype(np.uint64) & _MASK for w in range(4)]
    k = [int(key[0]) & 0xFFFFFFFF, int(key[1]) & 0xFFFFFFFF]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (q >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            q & _MASK,
            (p >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p & _MASK,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, -1)


def _blocks(n: int, width: int) -> int:
    """Philox blocks used by n elements of ``width`` words: whole groups of 16."""
    return -(-n * width // 64) * 16


def _words(state: Any, n: int, width: int) -> tuple[Words, Any]:
    """The words of n elements, (n, width), and the state after the draw."""
    seed, offset, blocks = int(state[0]), int(state[1]), _blocks(n, width)
    at = np.arange(blocks, dtype=np.uint64) + np.uint64(offset % 2**64)
    zero = np.zeros_like(at)
    words = _philox_ref(np.stack([at, at >> np.uint64(32), zero, zero], -1), (seed, seed >> 32))
    groups = words.reshape(-1, 16, 4 // width, width)  # group, block, which element of the block, word
    return groups.transpose(0, 2, 1, 3).reshape(-1, width)[:n], np.array([seed, offset + blocks])


def _long(words: Words) -> Words:
    return words[:, 0] | words[:, 1] << np.uint64(32)


# ---- what the rows share ------------------------------------------------------------------------------------------


def _check_state(name: str, state: Spec) -> None:
    if state.shape != (2,) or state.dtype is not int64:
        raise ShapeError(f"{name}: the state has shape {state.shape} and dtype {state.dtype.name}, not (2,) and int64")


def _check_shape(name: str, shape: Shape) -> None:
    if min(shape, default=0) < 0:
        raise ShapeError(f"{name}: negative length in shape {shape}")


def _float_output(name: str, state: Spec, shape: Shape, dtype: Any) -> Spec:
    _check_state(name, state)
    _check_shape(name, shape)
    if not as_dtype(dtype).is_float:
        raise DTypeError(f"{name}: {as_dtype(dtype).name} is not a floating-point dtype")
    return Spec(shape, as_dtype(dtype))


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is {p}, not a probability")


def _threshold(p: float) -> int:
    """Words below it are events of probability p."""
    return round(p * 2**32)


def _state(offset: int = 32) -> Any:
    return np.array([0x0123456789ABCDEF, offset])


def _cost(size: int, dtype: DType) -> tuple[float, float]:
    return 25.0 * size, float(size * dtype.itemsize)  # ten rounds of 8 for four words, and the conversion


def _drawing(*attrs: Any) -> list[Size]:
    """Numbers for a layer's weights, a million, and a ragged matrix; ``attrs``: those behind the shape."""
    shapes = ((64, 128), "a layer of model a"), (MILLION, "1M"), (RAGGED, "ragged")
    return [Size((_state(),), (shape, *attrs), why, (float32,)) for shape, why in shapes]


_RNG = "rng = np.random.default_rng(0)"
_KEY = "jax.random.wrap_key_data(state.astype(jnp.uint32))"


def _wrong_state(name: str, attrs: tuple[Any, ...]) -> Wrong:
    text = f"{name}: the state has shape (3,) and dtype int64, not (2,) and int64"
    return Wrong((np.zeros(3, np.int64),), attrs, ShapeError, text)


def _philox_infer(counters: Spec, key: Spec) -> Spec:
    if len(counters.shape) != 2 or counters.shape[1] != 4 or key.shape != (2,):
        raise ShapeError(f"philox: takes counters (N, 4) and a key (2,), not {counters.shape} and {key.shape}")
    return Spec(counters.shape, int64)


PHILOX = Op(
    name="philox",
    doc="""The four 32-bit words of Philox 4x32-10 for each counter: the bits all other rows draw from.

    `counters` (N, 4) and `key` (2,): int64 holding 32-bit words, lowest first; the output (N, 4) likewise.""",
    inputs="counters key",
    infer=_philox_infer,
    promote=lambda specs: (int64, int64),
    kernels={"cpu": "random:philox", "cuda": "random.philox:philox"},
    ref=lambda counters, key: _philox_ref(counters, key).astype(np.int64),
    samples=lambda rng: [
        Sample((rng.integers(0, 2**32, (n, 4)), rng.integers(0, 2**32, 2)), (), why)
        for n, why in ((37, "not a multiple of the lanes"), (0, "empty"))
    ],
    sizes=[
        Size((Operand((n, 4), 0, 2**32, int64), Operand((2,), 0, 2**32, int64)), why=f"{4 * n} words")
        for n in (16, 1 << 18)
    ],
    errors=lambda: [
        Wrong((np.zeros((3, 5), np.int64), np.zeros(2, np.int64)), (), ShapeError,
              "philox: takes counters (N, 4) and a key (2,), not (3, 5) and (2,)"),
        Wrong((np.zeros((3, 4), np.int64), np.zeros(1, np.int64)), (), ShapeError,
              "philox: takes counters (N, 4) and a key (2,), not (3, 4) and (1,)"),
    ],
    dtypes=(float32,),
    cost=lambda counters, key: (20.0 * math.prod(counters.shape), 16.0 * math.prod(counters.shape)),
)
philox = PHILOX.call


# ---- uniform ------------------------------------------------------------------------------------------------------
_BITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


def _below(high: float, dtype: DType) -> float:
    """The largest number of ``dtype`` below ``high``."""
    rounded = dtype.numpy.type(high)
    return float(rounded if float(rounded) < high else np.nextafter(rounded, dtype.numpy.type(-np.inf)))


def _uniform_infer(state: Spec, shape: Shape, low: float, high: float, dtype: Any) -> Spec:
    if not low <= high:
        raise ValueError(f"uniform: low is {low}, above high, {high}")
    return _float_output("uniform", state, shape, dtype)


def _uniform_ref(state: Any, shape: Shape, low: float, high: float, dtype: Any) -> tuple[Any, Any]:
    n, bits = math.prod(shape), _BITS[as_dtype(dtype)]
    words, after = _words(state, n, 2 if bits == 53 else 1)
    u = (_long(words) >> np.uint64(11) if bits == 53 else words[:, 0] >> np.uint64(32 - bits)) * 2.0**-bits
    return after, (low + (high - low) * u).reshape(shape)


UNIFORM = Op(
    name="uniform",
    doc="""Numbers uniform in [low, high): low + (high - low) u, u a multiple of 2^-24 (float64: 2^-53, float16: 2^-11,
    bfloat16: 2^-8) in [0, 1).

    `state`: int64 (2,), moved on in place. The same bits on every device.""",
    inputs="state",
    attrs={"shape": REQUIRED, "low": 0.0, "high": 1.0, "dtype": float32},
    infer=_uniform_infer,
    promote=None,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:uniform", "cuda": "random.draws:uniform"},
    params=lambda state, shape, low, high, dtype: (
        float(low),
        float(high),
        max(float(low), _below(high, as_dtype(dtype))),
    ),
    ref=_uniform_ref,
    samples=lambda rng: [
        Sample((_state(),), ((33, 65), 0.0, 1.0, float32), "not whole groups"),
        Sample((_state(2**40),), ((1000,), -2.0, 3.0, float64), "float64, an offset beyond 32 bits"),
        Sample((_state(),), ((129,), 0.0, 1.0, float16), "float16"),
        Sample((_state(),), ((129,), -1.0, 1.0, bfloat16), "bfloat16"),
        Sample((_state(),), ((), 0.0, 1.0, float32), "0-d"),
        Sample((_state(),), ((0, 3), 0.0, 1.0, float32), "empty"),
        Sample((_state(),), ((1 << 20,), 0.0, 1.0, float32), "large"),
    ],
    sizes=_drawing(0.0, 1.0, float32),
    peers={
        "numpy": (_RNG, "rng.random(shape, dtype)"), "torch": "torch.empty(shape).uniform_(low, high)",
        "jax": f"jax.random.uniform({_KEY}, shape, dtype, low, high)",
    },
    errors=lambda: [
        _wrong_state("uniform", ((2,),)),
        Wrong((_state(),), ((2,), 2.0, 1.0), ValueError, "uniform: low is 2.0, above high, 1.0"),
        Wrong((_state(),), ((2,), 0.0, 1.0, int32), DTypeError, "uniform: int32 is not a floating-point dtype"),
        Wrong((_state(),), ((-2,),), ShapeError, "uniform: negative length in shape (-2,)"),
    ],
    dtypes=(float32,),
    ulp=2,
    magnitude=lambda state, shape, low, high, dtype: (2.0**63, max(abs(low), abs(high))),
    cost=lambda state, shape, low, high, dtype: _cost(math.prod(shape), as_dtype(dtype)),
)
uniform = UNIFORM.call


# ---- normal -------------------------------------------------------------------------------------------------------


def _normal_parts(state: Any, shape: Shape, dtype: Any) -> tuple[Any, Any, Any]:
    """(state after, radii, standard normals); see the kernel for which words make which numbers."""
    n, wide = math.prod(shape), as_dtype(dtype) is float64
    words, _ = _words(state, -(-n // 64) * 64, 2 if wide else 1)
    pairs = (_long(words) if wide else words[:, 0]).reshape(-1, 2, 16)
    if wide:
        u, v = ((pairs[:, 0] >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, (pairs[:, 1] >> np.uint64(11)) * 2.0**-53
    else:
        u = (pairs[:, 0].astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)).astype(np.float64)
        v = (pairs[:, 1] >> np.uint64(8)) * 2.0**-24
    r = np.sqrt(-2 * np.log(u))
    z = np.stack([r * np.cos(2 * np.pi * v), r * np.sin(2 * np.pi * v)], 1)
    after = np.array([int(state[0]), int(state[1]) + _blocks(n, 1 + wide)])
    return after, np.stack([r, r], 1).reshape(-1)[:n].reshape(shape), z.reshape(-1)[:n].reshape(shape)


def _normal_ref(state: Any, shape: Shape, mean: float, std: float, dtype: Any) -> tuple[Any, Any]:
    after, _, z = _normal_parts(state, shape, dtype)
    return after, mean + std * z


NORMAL = Op(
    name="normal",
    doc="""Normally distributed numbers: mean + std sqrt(-2 log u) (cos 2 pi v, sin 2 pi v), u and v uniform (Box &
    Muller 1958).

    float32 (and the 16-bit floats, rounded from it): u has 32 bits, so that values reach 6.6 std; float64: 53 bits.
    `state`: int64 (2,), moved on in place. Devices agree within 2 ulp.""",
    inputs="state",
    attrs={"shape": REQUIRED, "mean": 0.0, "std": 1.0, "dtype": float32},
    infer=lambda state, shape, mean, std, dtype: _float_output("normal", state, shape, dtype),
    promote=None,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:normal", "cuda": "random.draws:normal"},
    params=lambda state, shape, mean, std, dtype: (float(mean), float(std)),
    ref=_normal_ref,
    samples=lambda rng: [
        Sample((_state(),), ((33, 65), 0.5, 2.0, float32), "not whole groups"),
        Sample((_state(),), ((1000,), 0.0, 1.0, float64), "float64"),
        Sample((_state(),), ((129,), 0.0, 1.0, float16), "float16"),
        Sample((_state(),), ((), 0.0, 1.0, float32), "0-d"),
        Sample((_state(),), ((0, 3), 0.0, 1.0, float32), "empty"),
        Sample((_state(),), ((1 << 20,), 0.0, 1.0, float32), "large"),
    ],
    sizes=_drawing(0.0, 1.0, float32),
    peers={
        "numpy": (_RNG, "rng.standard_normal(shape, dtype)"), "torch": "torch.empty(shape).normal_(mean, std)",
        "jax": f"jax.random.normal({_KEY}, shape, dtype)",
    },
    errors=lambda: [_wrong_state("normal", ((2,),))],
    dtypes=(float32,),
    ulp=4,  # of the radius: near the zeros of sine and cosine errors are absolute
    magnitude=lambda state, shape, mean, std, dtype: (
        2.0**63,
        abs(mean) + abs(std) * _normal_parts(state, shape, dtype)[1],
    ),
    cost=lambda state, shape, mean, std, dtype: _cost(math.prod(shape), as_dtype(dtype)),
)
normal = NORMAL.call


# ---- integers -----------------------------------------------------------------------------------------------------


def _randint_infer(state: Spec, shape: Shape, low: int, high: int, dtype: Any) -> Spec:
    _check_state("randint", state)
    _check_shape("randint", shape)
    target = as_dtype(dtype)
    if target not in (uint8, int8, int16, int32, int64):
        raise DTypeError(f"randint: {target.name} is not an integer dtype")
    limits = np.iinfo(target.numpy)
    if not low < high:
        raise ValueError(f"randint: low is {low}, not below high, {high}")
    if low < limits.min or high - 1 > limits.max:
        raise ValueError(f"randint: [{low}, {high}) does not fit in {target.name}")
    return Spec(shape, target)


def _randint_params(state: Spec, shape: Shape, low: int, high: int, dtype: Any) -> tuple[int, int]:
    span = high - low
    return low, span if span < 2**63 else span - 2**64  # the kernel reads it as unsigned


def _randint_ref(state: Any, shape: Shape, low: int, high: int, dtype: Any) -> tuple[Any, Any]:
    words, after = _words(state, math.prod(shape), 2)
    values = [low + (int(w) * (high - low) >> 64) for w in _long(words)]
    return after, np.array(values, np.int64).reshape(shape).astype(as_dtype(dtype).numpy)


RANDINT = Op(
    name="randint",
    doc="""Integers uniform in [low, high): low + floor((high - low) w / 2^64), w a 64-bit word (Lemire 2019, without
    its rejections: probabilities are off by at most 2^-64).

    `state`: int64 (2,), moved on in place. The same on every device and for every dtype.""",
    inputs="state",
    attrs={"shape": REQUIRED, "low": REQUIRED, "high": REQUIRED, "dtype": int64},
    infer=_randint_infer,
    promote=None,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:randint", "cuda": "random.draws:randint"},
    params=_randint_params,
    ref=_randint_ref,
    samples=lambda rng: [
        Sample((_state(),), ((33, 5), -3, 10, int64), "not whole groups"),
        Sample((_state(),), ((70,), -(2**62), 2**62 + 1, int64), "beyond 32 bits"),
        Sample((_state(),), ((70,), -(2**63), 2**63, int64), "all int64"),
        Sample((_state(),), ((100,), 0, 256, uint8), "all uint8"),
        Sample((_state(),), ((100,), -5, 5, int16), "int16"),
        Sample((_state(),), ((), 0, 2, int32), "0-d"),
        Sample((_state(),), ((0,), 0, 2, int64), "empty"),
    ],
    sizes=_drawing(0, 1000, int64),
    peers={
        "numpy": (_RNG, "rng.integers(low, high, shape)"), "torch": "torch.randint(low, high, shape)",
        "jax": f"jax.random.randint({_KEY}, shape, low, high, dtype)",
    },
    errors=lambda: [
        Wrong((_state(),), ((2,), 3, 3), ValueError, "randint: low is 3, not below high, 3"),
        Wrong((_state(),), ((2,), 0, 300, uint8), ValueError, "randint: [0, 300) does not fit in uint8"),
        Wrong((_state(),), ((2,), 0, 3, float32), DTypeError, "randint: float32 is not an integer dtype"),
    ],
    dtypes=(float32,),
    cost=lambda state, shape, low, high, dtype: _cost(math.prod(shape), as_dtype(dtype)),
)
randint = RANDINT.call


def _permutation_infer(state: Spec, n: int) -> Spec:
    _check_state("permutation", state)
    _check_shape("permutation", (n,))
    return Spec((n,), int64)


def _permutation_ref(state: Any, n: int) -> tuple[Any, Any]:
    words, after = _words(state, n, 2)
    return after, np.argsort(_long(words), kind="stable")


PERMUTATION = Op(
    name="permutation",
    doc="""The integers 0 to n - 1 in random order, int64: the stable order of n 64-bit words.

    Any stable sort gives it, so it is the same on every device. `state`: int64 (2,), moved on in place.""",
    inputs="state",
    attrs={"n": REQUIRED},
    infer=_permutation_infer,
    promote=None,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:permutation", "cuda": "random.permutation:permutation"},
    params=lambda state, n: (),
    ref=_permutation_ref,
    samples=lambda rng: [
        *(Sample((_state(),), (n,), why) for n, why in ((0, "empty"), (1, "one"), (100, "some"))),
        Sample((_state(),), (60000,), "an epoch"),
    ],
    sizes=[Size((_state(),), (n,), why, (float32,)) for n, why in ((1797, "an epoch of digits"), (60000, "an epoch"))],
    peers={
        "numpy": (_RNG, "rng.permutation(n)"), "torch": "torch.randperm(n)",
        "jax": f"jax.random.permutation({_KEY}, n)",
    },
    errors=lambda: [Wrong((_state(),), (-1,), ShapeError, "permutation: negative length in shape (-1,)")],
    dtypes=(float32,),
    cost=lambda state, n: (120.0 * n, 48.0 * n),
)
permutation = PERMUTATION.call


# ---- masks --------------------------------------------------------------------------------------------------------


def _bernoulli_infer(state: Spec, shape: Shape, p: float) -> Spec:
    _check_state("bernoulli", state)
    _check_shape("bernoulli", shape)
    _check_probability("bernoulli", p)
    return Spec(shape, bool_)


def _bernoulli_ref(state: Any, shape: Shape, p: float) -> tuple[Any, Any]:
    words, after = _words(state, math.prod(shape), 1)
    return after, (words[:, 0] < np.uint64(_threshold(p))).reshape(shape)


BERNOULLI = Op(
    name="bernoulli",
    doc="""A mask whose elements are true with probability `p` (a multiple of 2^-32). The same on every device.

    `state`: int64 (2,), moved on in place.""",
    inputs="state",
    attrs={"shape": REQUIRED, "p": 0.5},
    infer=_bernoulli_infer,
    promote=None,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:bernoulli", "cuda": "random.draws:bernoulli"},
    params=lambda state, shape, p: (_threshold(p),),
    ref=_bernoulli_ref,
    samples=lambda rng: [
        Sample((_state(),), ((33, 65), 0.3), "not whole groups"),
        *(Sample((_state(),), ((70,), p), "certain") for p in (0.0, 1.0)),
        Sample((_state(),), ((), 0.5), "0-d"),
    ],
    sizes=_drawing(0.5),
    peers={
        "numpy": (_RNG, "rng.random(shape, np.float32) < p"),
        "torch": "torch.empty(shape, dtype=torch.bool).bernoulli_(p)",
        "jax": f"jax.random.bernoulli({_KEY}, p, shape)",
    },
    errors=lambda: [Wrong((_state(),), ((2,), 1.5), ValueError, "bernoulli: p is 1.5, not a probability")],
    dtypes=(float32,),
    cost=lambda state, shape, p: _cost(math.prod(shape), bool_),
)
bernoulli = BERNOULLI.call


# ---- dropout ------------------------------------------------------------------------------------------------------


def _dropout_promote(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    return (*floating(specs[:1]), int64)


def _dropout_infer(x: Spec, state: Spec, p: float) -> tuple[Spec, ...]:
    _check_state("dropout", state)
    _check_probability("dropout", p)
    return Spec(x.shape, x.dtype), Spec((2,), int64)


def _dropout_backward_infer(dout: Spec, saved: Spec, p: float) -> Spec:
    _check_state("dropout_backward", saved)
    _check_probability("dropout_backward", p)
    return Spec(dout.shape, dout.dtype)


def _dropout_params(x: Spec, state: Spec, p: float) -> tuple[int, float]:
    return _threshold(p), 1 / (1 - p) if p < 1 else 0.0


def _masked(x: Any, state: Any, p: float) -> tuple[Any, Any]:
    words, after = _words(state, x.size, 1)
    kept = (words[:, 0] >= np.uint64(_threshold(p))).reshape(x.shape)
    return after, np.where(kept, x / (1 - p) if p < 1 else 0.0, 0.0)


def _dropout_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((rng.standard_normal((33, 65)), _state()), (0.3,), "not whole groups")
    for p in (0.0, 1.0):
        yield Sample((rng.standard_normal(70), _state()), (p,), "certain")
    yield Sample((np.array([np.inf, -1.0, -np.inf, 2.0]), _state()), (0.5,), "infinite", grad=False)
    yield Sample((rng.standard_normal(()), _state()), (0.5,), "0-d")
    yield Sample((rng.standard_normal((1024, 1024)), _state()), (0.1,), "large", grad=False)


_DROPOUT_SIZES = [
    Size((shape, _state()), (0.1,), why)
    for shape, why in (((128, 256), "a layer of model b"), (MILLION, "1M"), (RAGGED, "ragged"))
]


def _dropout_cost(x: Spec, state: Spec, p: float) -> tuple[float, float]:
    return 25.0 * math.prod(x.shape), 2.0 * math.prod(x.shape) * x.dtype.itemsize


DROPOUT = Op(
    name="dropout",
    doc="""`x` with each element set to 0 with probability `p`, the others divided by 1 - p (Srivastava et al. 2014).

    `state`: int64 (2,), moved on in place; the backward pass draws the same mask again from a copy of it. The mask is
    the same on every device.""",
    inputs="x state",
    attrs={"p": 0.5},
    extras="saved",
    infer=_dropout_infer,
    promote=_dropout_promote,
    writes=("state",),
    random=True,
    kernels={"cpu": "random:dropout", "cuda": "random.dropout:dropout"},
    params=_dropout_params,
    saves=("saved",),
    vjp=lambda ctx, dout: (dropout_backward(dout, ctx.saved[0], *ctx.attrs), None),
    ref=_masked,
    samples=_dropout_samples,
    sizes=_DROPOUT_SIZES,
    peers={
        "torch": "F.dropout(x, p)",
        "jax": f"jnp.where(jax.random.bernoulli({_KEY}, 1 - p, x.shape), x / (1 - p), 0)",
    },
    errors=lambda: [Wrong((np.zeros(2), _state()), (-0.5,), ValueError, "dropout: p is -0.5, not a probability")],
    ulp=1,
    cost=_dropout_cost,
)
dropout = DROPOUT.call

DROPOUT_BACKWARD = Op(
    name="dropout_backward",
    doc="""The gradient of `dropout`: `dout` under the mask that the state `saved` gives, divided by 1 - p.""",
    inputs="dout saved",
    attrs={"p": 0.5},
    infer=_dropout_backward_infer,
    promote=_dropout_promote,
    kernels={"cpu": "random:dropout_backward", "cuda": "random.dropout:dropout_backward"},
    params=_dropout_params,
    saves=("saved",),
    vjp=lambda ctx, ddx: (dropout_backward(ddx, ctx.saved[0], *ctx.attrs), None),
    ref=lambda dout, saved, p: _masked(dout, saved, p)[1],
    samples=_dropout_samples,
    sizes=_DROPOUT_SIZES,
    ulp=1,
    cost=_dropout_cost,
)
dropout_backward: Any = DROPOUT_BACKWARD.call
