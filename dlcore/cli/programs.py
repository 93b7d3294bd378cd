"""What operations ask of the GPU: their planners asked for every sample, size, dtype and architecture.

No GPU is needed, and large operands are only described, never allocated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore import _dispatch, testing
from dlcore._selection import missing
from dlcore.bench.cases import Case
from dlcore.dtypes import DType, as_dtype, bfloat16, float16, float32, float64
from dlcore.kernels.launch import ARCHES, OTHER_ARCHES, Arch, Call, Program, View, contiguous_strides
from dlcore.op import Input, Op, Spec, Workload, flat
from dlcore.ops import operations

__all__ = [
    "DTYPES",
    "Asked",
    "architecture",
    "ask",
    "described",
    "family",
    "large",
    "programs",
    "title",
    "with_kernels",
]

DTYPES = (float32, float16, bfloat16)


class Asked(NamedTuple):
    """One Program and what it is for; ``program`` is the planner's error where it raised one.

    ``large``: asked for a workload that is timed on GPUs alone.
    """

    op: Op
    why: str
    dtype: DType
    call: Call
    program: Program | Exception
    large: bool = False


def architecture(text: str) -> Arch:
    """What "sm_90" names, or "sm_90:114", a GPU with 114 multiprocessors."""
    name, _, count = text.partition(":")
    known = ARCHES | OTHER_ARCHES
    if name not in known or not (count or "1").isdecimal():
        raise ValueError(f"verify: unknown architecture {text} (known: {', '.join(known)})")
    return known[name]._replace(multiprocessors=int(count)) if count else known[name]


def family(op: Op) -> str:
    """The family of the operation's GPU kernels: "softmax"; empty if it has none."""
    names = [kernel for kernel, _ in op.kernel_choices("cuda") if isinstance(kernel, str)]
    return names[0].partition(".")[0] if names else ""


def with_kernels(families: Sequence[str] = ()) -> list[Op]:
    """The operations with kernels for the GPU, of all families or of those named."""
    found = [op for op in operations() if family(op)]
    if unknown := set(families) - {family(op) for op in found}:
        raise ValueError(missing("family with GPU kernels", sorted(unknown), {family(op) for op in found}))
    return [op for op in found if not families or family(op) in families]


def programs(op: Op, arches: Sequence[Arch], everything: bool = False) -> Iterator[Asked]:
    """What the operation's planners answer, with and without gradients wanted, for each architecture.

    ``everything``: float64 too, and operands in every memory layout; otherwise contiguous and 32 or 16 bits wide.
    """
    dtypes = [d for d in op.dtypes if d in DTYPES or (everything and d is float64)] or list(op.dtypes[:1])
    for sample in testing.samples(op):
        attrs, lengths = testing.attributes(op, sample), testing.lengths(op, sample)
        drawn = testing.drawn(op, sample)
        if drawn and not any(isinstance(x, np.ndarray) for x in drawn):  # they stay on the host
            continue
        for dtype in dtypes if sample.in_any_dtype else dtypes[:1]:
            arrays = testing.rounded(op, sample, dtype)
            for layout in testing.LAYOUTS if everything and sum(map(np.size, arrays)) < 1 << 16 else ("contiguous",):
                operands = [_spec(testing.laid_out(x, layout) if isinstance(x, np.ndarray) else x) for x in arrays]
                yield from ask(op, sample.why or "sample", dtype, operands, attrs, arches, lengths)
    for workload in op.timed():
        if "cuda" in workload.devices:
            alone, case = _on_gpus_alone(workload), Case(op, workload, float32)
            for dtype in dtypes if everything or not alone else workload.dtypes:
                operands = described(workload, dtype)
                for asked in ask(op, title(op, workload), dtype, operands, case.attrs, arches, case.lengths):
                    yield asked._replace(large=alone)


def large(op: Op) -> list[Workload]:
    """The workloads that are timed on GPUs alone."""
    return [workload for workload in op.timed() if _on_gpus_alone(workload)]


def _on_gpus_alone(workload: Workload) -> bool:
    return workload.devices == ("cuda",)


def title(op: Op, workload: Workload) -> str:
    """For tables: "matmul 4096x4096 @ 4096x4096"."""
    return f"{op.name} {Case(op, workload, float32).shape}"


def described(workload: Workload, dtype: DType) -> list[Spec | None]:
    """A workload's operands as they lie in memory, those of groups one by one."""
    return [_described(x, dtype) for x in flat(workload.operands)]


def _described(x: Any, dtype: DType) -> Spec | None:
    if not isinstance(x, tuple):
        return _spec(x)
    operand = x if isinstance(x, Input) else Input(x)
    strides = contiguous_strides(operand.shape)
    if operand.transposed:
        *rest, m, n = operand.shape
        *outer, p, q = contiguous_strides((*rest, n, m))
        strides = (*outer, q, p)
    return Spec(operand.shape, operand.dtype or dtype, False, strides)


def ask(
    op: Op,
    why: str,
    dtype: DType,
    given: Sequence[Spec | None],
    attrs: Sequence[Any],
    arches: Sequence[Arch],
    lengths: Sequence[int] = (),
) -> Iterator[Asked]:
    """What the operation's planner answers for operands like ``given``; nothing where it has no kernel."""
    if not op.signature.groups:
        given = [*given, *[None] * (len(op.input_names) - len(given))]
    specs = op.promoted(given)
    attrs = op.bind(attrs, specs, lengths)
    values = op.values(specs, attrs, lengths)
    kernel = op.kernel("cuda", values)
    if not isinstance(kernel, str):
        return
    outputs = op.inferred(values)
    inputs = tuple(_view(g, s) for g, s in zip(given, specs, strict=True))
    params = tuple(op.kernel_params(values))
    for wanted in sorted({len(outputs), len(op.output_names)}):  # with extras, and without
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
