"""What the rows ask of the GPU: their planners asked for every sample, size, dtype and architecture.

No GPU is needed, and large operands are only described, never allocated.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import dlcore.ops
from dlcore import _dispatch, testing
from dlcore.bench.cases import Case
from dlcore.dtypes import DType, as_dtype, bfloat16, float16, float32, float64
from dlcore.kernels.launch import Arch, Call, Program, View, contiguous_strides
from dlcore.op import REGISTRY, Op, Operand, Size, Spec

__all__ = ["DTYPES", "Asked", "ask", "described", "family", "large", "programs", "rows", "title"]

DTYPES = (float32, float16, bfloat16)
_GPU: Any = SimpleNamespace(type="cuda")

for _module in pkgutil.iter_modules(dlcore.ops.__path__):
    importlib.import_module(f"dlcore.ops.{_module.name}")  # rows that `import dlcore` leaves for later


class Asked(NamedTuple):
    """One Program and what it is for; ``program`` is the planner's error where it raised one.

    ``large``: asked for a size that is timed on GPUs alone.
    """

    op: Op
    why: str
    dtype: DType
    call: Call
    program: Program | Exception
    large: bool = False


def family(op: Op) -> str:
    """The family of the row's GPU kernels: "softmax"; empty if it has none."""
    choices = op.kernels.get("cuda", "")
    name = choices if isinstance(choices, str) else choices[0][0] if isinstance(choices, Sequence) else ""
    return name.partition(".")[0] if isinstance(name, str) else ""


def rows(families: Sequence[str] = ()) -> list[Op]:
    """The rows with kernels for the GPU, of all families or of those named."""
    found = [op for op in REGISTRY.values() if family(op)]
    if unknown := set(families) - {family(op) for op in found}:
        raise ValueError(f"no row has GPU kernels of the family {', '.join(sorted(unknown))}")
    return [op for op in found if not families or family(op) in families]


def programs(op: Op, arches: Sequence[Arch], everything: bool = False) -> Iterator[Asked]:
    """What the row's planners answer, with and without gradients wanted, for each architecture.

    ``everything``: float64 too, and operands in every memory layout; otherwise contiguous and 32 or 16 bits wide.
    """
    dtypes = [d for d in op.dtypes if d in DTYPES or (everything and d is float64)] or list(op.dtypes[:1])
    for sample in testing.samples(op):
        if sample.inputs and not any(isinstance(x, np.ndarray) for x in sample.inputs):  # they stay on the host
            continue
        wide = any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in sample.inputs)
        for dtype in dtypes if wide else dtypes[:1]:
            arrays = testing.rounded(sample, dtype)
            for layout in testing.LAYOUTS if everything and sum(map(np.size, arrays)) < 1 << 16 else ("contiguous",):
                operands = [_spec(testing.laid_out(x, layout) if isinstance(x, np.ndarray) else x) for x in arrays]
                yield from ask(op, sample.why or "sample", dtype, operands, sample.attrs, arches)
    for size in op.sizes:
        if "cuda" in size.devices:
            alone = _on_gpus_alone(size)
            for dtype in dtypes if everything or not alone else size.dtypes:
                for asked in ask(op, title(op, size), dtype, described(size, dtype), size.attrs, arches):
                    yield asked._replace(large=alone)


def large(op: Op) -> list[Size]:
    """The sizes that are timed on GPUs alone."""
    return [size for size in op.sizes if _on_gpus_alone(size)]


def _on_gpus_alone(size: Size) -> bool:
    return size.devices == ("cuda",)


def title(op: Op, size: Size) -> str:
    """For tables: "matmul 4096x4096 @ 4096x4096"."""
    return f"{op.name} {Case(op, size, float32).shape}"


def described(size: Size, dtype: DType) -> list[Spec | None]:
    """A size's operands as they lie in memory."""
    return [_described(x, dtype) for x in size.operands]


def _described(x: Any, dtype: DType) -> Spec | None:
    if not isinstance(x, tuple):
        return _spec(x)
    operand = x if isinstance(x, Operand) else Operand(x)
    strides = contiguous_strides(operand.shape)
    if operand.transposed:
        *rest, m, n = operand.shape
        *outer, p, q = contiguous_strides((*rest, n, m))
        strides = (*outer, q, p)
    return Spec(operand.shape, operand.dtype or dtype, False, strides)


def ask(
    op: Op, why: str, dtype: DType, given: Sequence[Spec | None], attrs: tuple[Any, ...], arches: Sequence[Arch]
) -> Iterator[Asked]:
    """What the row's planner answers for operands like ``given``; nothing where it has no kernel."""
    attrs = (*attrs, *tuple(op.attrs.values())[len(attrs) :])
    if not op.variadic:
        given = [*given, *[None] * (len(op.input_names) - len(given))]
    targets = op.promote(given) if op.promote else [s if s is None else s.dtype for s in given]
    specs = [s if s is None or d is None else s._replace(dtype=d) for s, d in zip(given, targets, strict=True)]
    kernel = None if op.dynamic else _dispatch._kernel(op, _GPU, specs, attrs)
    if not isinstance(kernel, str):
        return
    inferred = op.infer(*specs, *attrs)
    outputs = [inferred] if isinstance(inferred, Spec) else list(inferred)
    inputs = tuple(_view(g, s) for g, s in zip(given, specs, strict=True))
    params = tuple(_dispatch._params(op, specs, attrs))
    for wanted in sorted({len(outputs), len(op.outputs.split())}):  # with extras, and without
        views = [_fresh(o) if o is not None and k < wanted else None for k, o in enumerate(outputs)]
        for arch in arches:
            call = Call(inputs, tuple(views), attrs, params, arch)
            try:
                yield Asked(op, why, dtype, call, _dispatch.planner(kernel)(call))
            except Exception as error:  # a planner's mistake is a finding
                yield Asked(op, why, dtype, call, error)


def _spec(x: Any) -> Spec | None:
    if x is None:
        return None
    if not isinstance(x, np.ndarray):
        return Spec((), as_dtype(type(x)), True)
    return Spec(x.shape, as_dtype(x.dtype), False, tuple(s // x.itemsize for s in x.strides))


def _fresh(spec: Spec) -> View:
    return View(spec.shape, spec.dtype, contiguous_strides(spec.shape))


def _view(given: Spec | None, spec: Spec | None) -> View | None:
    if given is None or spec is None:
        return None
    if given.weak:
        return View((), spec.dtype, (), weak=True)
    return _fresh(spec) if given.dtype is not spec.dtype else View(spec.shape, spec.dtype, given.strides)
