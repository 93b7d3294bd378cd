"""Each kind of kernel once, thrice: right beside float64 NumPy, the same bits, from poisoned memory between guards."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import dlcore as dl
from bench.gpu import tuning
from bench.gpu.context import Context, each
from dlcore import optim, testing
from dlcore.bench.cases import Case
from dlcore.dtypes import bfloat16
from dlcore.op import REGISTRY, Workload

Array = np.ndarray[Any, Any]
HALF, SINGLE = 2.0**-7, 2.0**-19  # of the largest value: two bits more than bfloat16's and tf32x3's own rounding


class Kind(NamedTuple):
    """What is called on which inputs, what it should give in float64, and how far off it may be."""

    inputs: tuple[Array, ...]
    call: Callable[..., Any]
    want: Callable[[], Any]
    tolerance: float
    """Of the largest value."""


def _normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def _wide(x: Array) -> Array:
    return x.astype(np.float64)


# ---- the kinds ----------------------------------------------------------------------------------------------------


def _add(x: Array, y: Array, start: int = 0) -> Kind:
    want = lambda: _wide(x[start:]) + _wide(y[start:])  # noqa: E731
    return Kind((x, y), lambda a, b: a[start:] + b[start:], want, SINGLE)


def _matmul(m: int, k: int, n: int, dtype: Any = ml_dtypes.bfloat16, transposed: bool = False) -> Kind:
    a, b = _normal(m, k).astype(dtype), _normal(*((n, k) if transposed else (k, n))).astype(dtype)
    turned = lambda x: x.T if transposed else x  # noqa: E731
    want = lambda: _wide(a) @ turned(_wide(b))  # noqa: E731
    tolerance = SINGLE if dtype == np.float32 else HALF
    return Kind((a, b), lambda a, b: dl.matmul(a, turned(b)), want, tolerance)


def _softmax_of(x: Array) -> Array:
    e = np.exp(_wide(x) - _wide(x).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax() -> Kind:
    x = _normal(64, 30000)
    return Kind((x,), lambda x: dl.softmax(x, -1), lambda: _softmax_of(x), 1e-5)


def _cluster() -> Kind:
    """The tuner's candidate in which clusters of blocks share a row."""
    x = _normal(16, 131072).astype(ml_dtypes.bfloat16)
    case = Case(REGISTRY["softmax"], Workload((x.shape,), devices=("cuda",)), bfloat16)

    def call(x: Any) -> Any:
        options = tuning.choices(case, x.device.backend.arch)
        program = next(p for _, p in options if p.launches[0].options.get("num_ctas", 1) > 1)
        return tuning.planned(case, program, [x])()

    return Kind((x,), call, lambda: _softmax_of(x), HALF)


def _sum() -> Kind:
    x = _normal(1 << 20)
    return Kind((x,), lambda x: x.sum(), lambda: _wide(x).sum(), 1e-4)


def _permutation() -> Kind:
    call = lambda: dl.tensor(np.sort(dl.randperm(100_000, device="cuda").numpy()))  # noqa: E731
    return Kind((), call, lambda: np.arange(100_000.0), 0)


def _cross_entropy() -> Kind:
    """The mean loss and its gradient."""
    x, labels = _normal(128, 32768).astype(ml_dtypes.bfloat16), np.arange(128) * 37

    def call(x: Any, labels: Any) -> Any:
        x = x.detach()
        x.requires_grad = True
        loss = dl.cross_entropy(x, labels)
        loss.backward()
        return loss, x.grad

    def want() -> Any:
        p, rows = _softmax_of(x), np.arange(128)
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
        return loss, p / 128

    return Kind((x, labels), call, want, HALF)


def _adam() -> Kind:
    """One step on an odd number of parameters."""
    p, g = _normal(1_000_003), _normal(1_000_003)[::-1].copy()

    def call(p: Any, g: Any) -> Any:
        weight = dl.nn.Parameter(p)
        weight.grad = g
        optim.Adam([weight], lr=1e-3).step()
        return weight.detach()

    return Kind((p, g), call, lambda: _wide(p) - 1e-3 * _wide(g) / (np.abs(_wide(g)) + 1e-8), SINGLE)


def _other_address() -> Kind:
    """A recorded step, replayed on what lies at an address less aligned than when it was recorded."""
    x = _normal(8192)

    def call(x: Any) -> Any:
        step = dl.capture(lambda x: x.mul_(2.0))
        for _ in range(3):
            step(x[:4096])
        step(x[1:4097])
        return x

    def want() -> Array:
        y = _wide(x)
        y[:4096] *= 8
        y[1:4097] *= 2
        return y

    return Kind((x,), call, want, 0)


X, Y = (lambda n: _normal(n)), (lambda n: _normal(n + 1)[1:].copy())
KINDS: dict[str, Callable[[], Kind]] = {
    "add": lambda: _add(X(1 << 20), Y(1 << 20)),
    "add, an odd number": lambda: _add(X(1001), Y(1001)),
    "add, at an odd address": lambda: _add(X(1 << 20), Y(1 << 20), 1),
    "matmul through pointers": lambda: _matmul(512, 512, 512),
    "matmul by TMA": lambda: _matmul(2048, 2048, 2048),
    "matmul by TMA, several tiles a program": lambda: _matmul(2304, 2048, 4096, transposed=True),
    "matmul, warp-specialised": lambda: _matmul(2048, 512, 4096),
    "matmul of odd sizes": lambda: _matmul(2049, 2051, 2047),
    "matmul in float32": lambda: _matmul(2048, 2048, 2048, np.float32),
    "matmul with a split K": lambda: _matmul(128, 4096, 4096),
    "matmul of a vector": lambda: _matmul(1, 4096, 4096, np.float32),
    "softmax": _softmax,
    "sum": _sum,
    "permutation": _permutation,
    "cross_entropy": _cross_entropy,
    "adam": _adam,
    "softmax by clusters": _cluster,
    "a recorded step at another address": _other_address,
}
FIRST = tuple(KINDS)[:3]
"""If none of these is right, parameters are not handed over as kernels take them, and nothing else can be."""
SYNCHRONISES = "matmul, warp-specialised"
RACES = (
    "matmul by TMA", "matmul, warp-specialised", "matmul with a split K", "permutation", "cross_entropy", "adam", "sum",
)  # fmt: skip


def kind(context: Context, name: str) -> dict[str, Any]:
    """One kind; in a dry run it is called, and nothing else."""
    made, bits, found = KINDS[name](), set(), []
    for _ in range(3):
        with nullcontext() if context.exact else testing.guarded():
            operands = [dl.tensor(x, device=context.gpu) for x in made.inputs]
            found = [np.array(x.numpy()) for x in each(made.call(*operands))]
            bits.add(b"".join(x.tobytes() for x in found))
            del operands
    if context.dry:
        return {"not judged": "no kernel has run"}
    errors = [_error(got, np.asarray(want)) for got, want in zip(found, each(made.want()), strict=True)]
    within = max(errors) <= made.tolerance
    context.require(within, f"off by {max(errors):.3g} of the largest value, not {made.tolerance:.3g}")
    context.require(len(bits) == 1, f"{len(bits)} different results of three calls")
    return {"error_of_largest": max(errors)}


def _error(got: Array, want: Array) -> float:
    """The largest difference over the largest value; infinite where one is no number."""
    with np.errstate(invalid="ignore"):
        off = np.max(np.abs(got.astype(np.float64) - want), initial=0.0) / max(float(np.max(np.abs(want))), 1e-30)
    return float(off) if np.isfinite(off) else float("inf")
