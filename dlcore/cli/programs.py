"""What the rows ask of the GPU: each row's planner asked for every sample, dtype and architecture. No GPU is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import dlcore.ops.optim  # noqa: F401  (rows that `import dlcore` leaves for later)
from dlcore import _dispatch, testing
from dlcore.dtypes import DType, as_dtype, bfloat16, float16, float32, float64
from dlcore.kernels.launch import Arch, Call, Program, View, contiguous_strides
from dlcore.op import REGISTRY, Op, Sample, Spec

__all__ = ["Asked", "family", "programs", "rows"]

DTYPES = (float32, float16, bfloat16)
_GPU: Any = SimpleNamespace(type="cuda")


class Asked(NamedTuple):
    """One Program and what it is for; ``program`` is the planner's error where it raised one."""

    op: Op
    sample: Sample
    dtype: DType
    call: Call | None
    program: Program | Exception


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
    """What the row's planners answer to its samples: with and without gradients wanted, for each architecture.

    ``everything``: float64 too, and operands in every memory layout; otherwise contiguous and 32 or 16 bits wide.
    """
    defaults = tuple(op.attrs.values())
    dtypes = [d for d in op.dtypes if d in DTYPES or (everything and d is float64)] or list(op.dtypes[:1])
    for given in testing.samples(op):
        sample = given._replace(attrs=(*given.attrs, *defaults[len(given.attrs) :]))
        wide = any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in sample.inputs)
        for dtype in dtypes if wide else dtypes[:1]:
            arrays = testing.rounded(sample, dtype)
            for layout in testing.LAYOUTS if everything and sum(map(np.size, arrays)) < 1 << 16 else ("contiguous",):
                operands = [testing.laid_out(x, layout) if isinstance(x, np.ndarray) else x for x in arrays]
                yield from _asked(op, sample, dtype, operands, arches)


def _asked(op: Op, sample: Sample, dtype: DType, operands: Sequence[Any], arches: Sequence[Arch]) -> Iterator[Asked]:
    given = [_spec(x) for x in operands]
    targets = op.promote(given) if op.promote else [s if s is None else s.dtype for s in given]
    specs = [s if s is None or d is None else s._replace(dtype=d) for s, d in zip(given, targets, strict=True)]
    kernel = None if op.dynamic else _dispatch._kernel(op, _GPU, specs, sample.attrs)
    if not isinstance(kernel, str):
        return
    inferred = op.infer(*specs, *sample.attrs)
    outputs = [inferred] if isinstance(inferred, Spec) else list(inferred)
    inputs = tuple(_view(x, g, s) for x, g, s in zip(operands, given, specs, strict=True))
    params = tuple(_dispatch._params(op, specs, sample.attrs))
    for wanted in {len(outputs), len(op.outputs.split())}:  # with extras, and without
        views = [_fresh(o) if o is not None and k < wanted else None for k, o in enumerate(outputs)]
        for arch in arches:
            call = Call(inputs, tuple(views), sample.attrs, params, arch)
            try:
                yield Asked(op, sample, dtype, call, _dispatch.planner(kernel)(call))
            except Exception as error:  # a planner's mistake is a finding
                yield Asked(op, sample, dtype, call, error)


def _spec(x: Any) -> Spec | None:
    if x is None:
        return None
    if not isinstance(x, np.ndarray):
        return Spec((), as_dtype(type(x)), True)
    return Spec(x.shape, as_dtype(x.dtype), False, tuple(s // x.itemsize for s in x.strides))


def _fresh(spec: Spec) -> View:
    return View(spec.shape, spec.dtype, contiguous_strides(spec.shape))


def _view(x: Any, given: Spec | None, spec: Spec | None) -> View | None:
    if given is None or spec is None:
        return None
    if given.weak:
        return View((), spec.dtype, (), weak=True)
    return _fresh(spec) if given.dtype is not spec.dtype else View(spec.shape, spec.dtype, given.strides)
