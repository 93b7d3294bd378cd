"""The roofs of a GPU: kernels/roofs/ timed with events, and cuBLAS through CuPy. Not yet run on hardware.

Each figure is of many launches on warm caches, the best of several samples, so that a working set which fits the L2
cache is read from there. What starting a kernel costs is in the figures of small working sets, as it is in those of
operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from dlcore._autograd import no_grad
from dlcore._creation import full
from dlcore._device import Device
from dlcore.dtypes import as_dtype, float32, int64
from dlcore.kernels.roofs import roofs
from dlcore.kernels.roofs.roofs import FMA_BLOCK, TILE
from dlcore.op import REGISTRY, Op, Spec, as_given

__all__ = ["measure_gpu", "roof_copy", "roof_dot", "roof_fma", "roof_read"]

UNROLL: int = roofs.UNROLL.value


class _Loop(Op):
    """A loop of a kernel as an operation, so that it can be launched; it is in no registry."""

    promote = staticmethod(as_given)

    def __init__(self, rule: Callable[..., Any], **given: Any):
        super().__init__(rule, **given)
        del REGISTRY[self.name]


_loop = _Loop.definition


@_loop(kernels={"cuda": "roofs.roofs:copy"})
def roof_copy(x: Spec) -> Spec:
    """A copy."""
    return Spec(x.shape, x.dtype)


@_loop(kernels={"cuda": "roofs.roofs:read"})
def roof_read(x: Spec, blocks: int = 1) -> Spec:
    """Sums, one a block."""
    return Spec((blocks,), int64)


@_loop(kernels={"cuda": "roofs.roofs:fma"})
def roof_fma(x: Spec, steps: int = 1, a: float = 0.5, b: float = 1.0) -> Spec:
    """x * a + b, 8 * steps times."""
    return Spec(x.shape, x.dtype)


@_loop(kernels={"cuda": "roofs.roofs:dot"})
def roof_dot(
    x: Spec, y: Spec, blocks: int = 1, steps: int = 1, precision: Literal["tf32", "tf32x3", "ieee"] = "tf32"
) -> Spec:
    """steps * (x @ y), once a block."""
    return Spec((blocks, *TILE[:2]), float32)


class Scale(NamedTuple):
    """How much is done: on a GPU, or where the interpreter stands for one and nothing can be learnt from times."""

    sizes: tuple[int, ...]
    seconds: float
    blocks: int
    steps: int


def _scale(place: Device, quick: bool) -> Scale:
    if not hasattr(place.backend, "stream"):
        return Scale((1 << 14, 1 << 16), 0.0, 1, 1)
    exponents = range(20, 31, 2) if quick else range(20, 31)
    return Scale(tuple(1 << k for k in exponents), 0.02 if quick else 0.08, 8 * place.backend.arch.multiprocessors, 512)


def measure_gpu(place: Device, quick: bool, told: Callable[[float, str], None]) -> dict[str, Any]:
    """The fields of `Roofs`."""
    scale, timed = _scale(place, quick), _timer(place)
    copy, read = [], []
    with no_grad():
        words = full((scale.sizes[-1] // 8,), 1, dtype=int64, device=place)
        for k, size in enumerate(scale.sizes):
            told(0.7 * k / len(scale.sizes), f"copy and read, {size >> 10} KiB")
            half, whole = words[: size // 16], words[: size // 8]
            copy.append((size, size / timed(lambda x=half: roof_copy(x), scale.seconds)))
            read.append((size, size / timed(lambda x=whole: roof_read(x, scale.blocks), scale.seconds)))
        del words
        told(0.7, "FMA")
        fma = _arithmetic(place, scale, timed)
    told(0.9, "GEMM of cuBLAS")
    gemm, library = _cublas(place, scale.seconds)
    told(1.0, "")
    name = f"{place} {place.name}".strip()
    return {"device": name, "threads": 0, "copy": copy, "read": read, "fma": fma, "gemm": gemm, "library": library}


def _arithmetic(place: Device, scale: Scale, timed: Callable[..., float]) -> dict[str, float]:
    """dtype -> FLOP/s of FMA, and of tensor cores where they have the dtype."""
    found = {}
    for name, steps in (("float32", 4 * scale.steps), ("float64", scale.steps)):
        x = full((scale.blocks * 2 * FMA_BLOCK,), 2.0, dtype=as_dtype(name), device=place)
        done = 2 * x.size * UNROLL * steps
        found[name] = done / timed(lambda x=x, steps=steps: roof_fma(x, steps), scale.seconds)
    m, n, k = TILE
    for name, dtype in (("float16", "float16"), ("bfloat16", "bfloat16"), ("tf32", "float32")):
        x, y = (full(shape, 1 / 64, dtype=as_dtype(dtype), device=place) for shape in ((m, k), (k, n)))
        done = 2 * m * n * k * scale.blocks * scale.steps
        seconds = timed(lambda x=x, y=y: roof_dot(x, y, scale.blocks, scale.steps), scale.seconds)
        found[name] = done / seconds
    return found


# ---- time ---------------------------------------------------------------------------------------------------------


def _timer(place: Device) -> Callable[..., float]:
    """timed(function, seconds): seconds of a launch, the best of samples that are taken for so long.

    Between two events where the device has a stream; else by the wall."""
    if not hasattr(place.backend, "stream"):
        return lambda function, seconds: _by_the_wall(place, function)
    import cupy

    stream = cupy.cuda.ExternalStream(place.backend.stream)

    def sample(function: Callable[[], Any], number: int) -> float:
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        for _ in range(number):
            function()
        end.record(stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) / 1000 / number

    def timed(function: Callable[[], Any], seconds: float) -> float:
        sample(function, 1)  # compiles and loads
        number = max(1, int(1e-3 / max(sample(function, 1), 1e-6)))
        best, end = sample(function, number), time.perf_counter() + seconds
        while time.perf_counter() < end:
            best = min(best, sample(function, number))
        return best

    return timed


def _by_the_wall(place: Device, function: Callable[[], Any]) -> float:
    function()
    start = time.perf_counter()
    function()
    place.backend.synchronize()
    return time.perf_counter() - start


def _cublas(place: Device, seconds: float) -> tuple[dict[str, float], str]:
    """(dtype -> FLOP/s of CuPy's matmul, which library it is); nothing where the device has no stream."""
    if not hasattr(place.backend, "stream"):
        return {}, ""
    import cupy

    timed, found = _timer(place), {}
    with cupy.cuda.Device(place.index), cupy.cuda.ExternalStream(place.backend.stream):
        for name, n in (("float16", 8192), ("float32", 4096), ("float64", 4096)):
            a, b = (cupy.random.standard_normal((n, n)).astype(name) for _ in range(2))
            out = cupy.empty_like(a)
            found[name] = 2 * n**3 / timed(lambda a=a, b=b, out=out: cupy.matmul(a, b, out=out), seconds)
        version = cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())
    return found, f"cuBLAS {version} through CuPy {cupy.__version__}"
