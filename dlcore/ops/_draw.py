"""The family of random draws: what rows that make arrays from a generator's state share, and the generator in NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DType, float32, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Op, Spec, Workload, as_given
from dlcore.ops._workloads import MILLION, RAGGED

__all__ = [
    "KEY", "RNG", "Draw", "Lengths", "Words", "a_state", "after_draw", "check_finite", "check_float", "check_state",
    "draw", "numpy_philox", "words_of",
]  # fmt: skip

Lengths = tuple[int, ...]
Words = np.ndarray[Any, np.dtype[np.uint64]]

# ---- the generator in NumPy ---------------------------------------------------------------------------------------

_MASK = np.uint64(0xFFFFFFFF)


def numpy_philox(counters: Any, key: Any) -> Any:
    """Ten rounds on counters (..., 4) with a key (2,)."""
    c0, c1, c2, c3 = (counters[..., w].astype(np.uint64) & _MASK for w in range(4))
    k0, k1 = (int(k) & 0xFFFFFFFF for k in key)
    for _ in range(10):
        p, q = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (q >> np.uint64(32)) ^ c1 ^ np.uint64(k0), q & _MASK
        c2, c3 = (p >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1).astype(np.int64)


def after_draw(state: Any, n: int, width: int) -> Any:
    """The state behind the blocks used by n elements of ``width`` words: whole groups of 16."""
    return np.array([int(state[0]), int(state[1]) + -(-n * width // 64) * 16])


def words_of(state: Any, shape: Lengths, wide: bool = False) -> tuple[Any, Words]:
    """The state after a draw, and the words of 32 bits (``wide``: 64) that make the elements of ``shape``."""
    n, width, seed, offset = math.prod(shape), 1 + wide, int(state[0]), int(state[1])
    after = after_draw(state, n, width)
    at = np.arange(int(after[1]) - offset, dtype=np.uint64) + np.uint64(offset % 2**64)
    zero = np.zeros_like(at)
    drawn = numpy_philox(np.stack([at, at >> np.uint64(32), zero, zero], -1), (seed, seed >> 32)).astype(np.uint64)
    groups = drawn.reshape(-1, 16, 4 // width, width)  # group, block, which element of the block, word
    words = groups.transpose(0, 2, 1, 3).reshape(-1, width)[:n]
    elements = words[:, 0] | words[:, 1] << np.uint64(32) if wide else words[:, 0]
    return after, elements.reshape(shape)


# ---- the family ---------------------------------------------------------------------------------------------------

RNG = "rng = np.random.default_rng(0)"
KEY = "jax.random.wrap_key_data(state.astype(jnp.uint32))"


def a_state(offset: int = 32) -> Any:
    """A generator's state for samples."""
    return np.array([0x0123456789ABCDEF, offset])


def check_state(name: str, state: Spec) -> None:
    """Raises ShapeError for what is no generator's state."""
    if state.shape != (2,) or state.dtype is not int64:
        raise ShapeError(f"{name}: the state has shape {state.shape} and dtype {state.dtype.name}, not (2,) and int64")


def check_float(name: str, dtype: DType) -> None:
    """Raises DTypeError for a dtype that is not floating."""
    if not dtype.is_float:
        raise DTypeError(f"{name}: {dtype.name} is not a floating-point dtype")


def check_finite(name: str, dtype: DType, **numbers: float) -> None:
    """Raises OverflowError where a number is not finite in ``dtype``."""
    for what, number in numbers.items():
        if not math.isfinite(number):
            raise OverflowError(f"{name}: {what} is {number}, which is not finite")
        with np.errstate(over="ignore"):
            kept = np.float64(number).astype(dtype.numpy)
        if np.isinf(kept):
            raise OverflowError(f"{name}: {what}: Python float {number} does not fit in {dtype.name} ({dtype.range})")


def _draw_examples(call: Any) -> Any:
    """Other numbers for each example (see dlcore/ops/_batching.py): one draw of them all."""
    if any(call.is_batched) or call.op.attribute_names[:1] != ("shape",):
        return NotImplemented
    return call.run(call.values, [(call.size, *call.attrs[0]), *call.attrs[1:]])


class Draw(Op):
    """An operation that makes an array from a generator's state, its only operand; the first attribute is its shape."""

    family = "random"
    promote = staticmethod(as_given)
    writes = "state"
    random = True
    batch = staticmethod(_draw_examples)
    dtypes = (float32,)  # no operand is of the dtype under test: once is enough
    drawn: Sequence[Any] = ()
    """Attributes behind the shape of what is timed."""

    def infer(self, state: Spec, *attrs: Any) -> Spec:
        """The rule's array; raises for what is no state."""
        check_state(self.name, state)
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
        yield ErrorInput(ShapeError, f"{self.name}: negative length in shape (-2,)", a_state(), **{shape: -2}, **given)

    def family_workloads(self) -> Iterator[Workload]:
        """Numbers for a layer's weights, a million, and a ragged matrix."""
        for shape, why in (((64, 128), "a layer of model a"), (MILLION, "1M"), (RAGGED, "ragged")):
            yield Workload((a_state(),), (shape, *self.drawn), why, (float32,))


draw = Draw.definition
