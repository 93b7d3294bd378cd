"""What is timed and tuned, in order of worth, and its operands."""

import functools
import math
from typing import Any

from dlcore.bench.cases import Case
from dlcore.cli.programs import large, title, with_kernels
from dlcore.dtypes import DType, bfloat16, float32, int64
from dlcore.op import REGISTRY, Input, Workload

DISTINCT = 4_194_301  # values drawn of an operand: more of them repeat these (a prime, so that no two rows are alike)

# The headline, the most telling first: (operation, operands, dtype). 8192x50257: GPT-2's logits.
_BY_VALUE: tuple[tuple[str, tuple[tuple[int, ...], ...], DType], ...] = (
    ("matmul", ((4096, 4096), (4096, 4096)), bfloat16),
    ("matmul", ((8192, 8192), (8192, 8192)), bfloat16),
    ("matmul", ((4096, 4096), (4096, 4096)), float32),
    ("softmax", ((8192, 32768),), bfloat16),
    ("softmax", ((8192, 4096),), bfloat16),
    ("matmul", ((1024, 1024), (1024, 1024)), bfloat16),
    ("matmul", ((4096, 1024), (1024, 4096)), bfloat16),
    ("matmul", ((4097, 4097), (4097, 4097)), bfloat16),
    ("add", ((1 << 26,), (1 << 26,)), float32),
    ("gelu", ((1 << 26,),), bfloat16),
    ("sum", ((1 << 26,),), float32),
)


def _labelled(rows: int, classes: int) -> Workload:
    return Workload(((rows, classes), Input((rows,), 0, classes, int64), None), devices=("cuda",))


def _updated(n: int) -> Workload:
    """Adam's operands as its own workloads have them, of another size."""
    *_, known = [w for w in REGISTRY["adam"].timed() if len(w.operands[0]) == 1]
    one = lambda x: x._replace(shape=(n,)) if isinstance(x, Input) else x  # noqa: E731
    operands = tuple(list(map(one, x)) if isinstance(x, list) else x for x in known.operands)
    return known._replace(operands=operands, devices=("cuda",))


@functools.cache
def cases() -> dict[str, Case]:
    """Name -> case: the headline, then the other large workloads of the operations."""
    ops = with_kernels()
    found = [Case(REGISTRY[op], Workload(shapes, devices=("cuda",)), dtype) for op, shapes, dtype in _BY_VALUE]
    entropy = [Case(REGISTRY["cross_entropy"], _labelled(8192, n), bfloat16) for n in (32768, 50257)]
    found[5:5] = [*entropy, Case(REGISTRY["adam"], _updated(100_000_000), float32)]
    found += [Case(op, workload, dtype) for op in ops for workload in large(op) for dtype in workload.dtypes]
    known: dict[str, Case] = {}
    for case in found:
        known.setdefault(f"{case.dtype.name} {title(case.op, case.workload)}", case)
    return known


def named(name: str) -> Case:
    """The case of that name."""
    return cases()[name]


def drawn(case: Case) -> list[tuple[Any, tuple[int, ...] | None]]:
    """Random operands as `Case.arrays` draws them, each with the shape that it is to be repeated to, or None.

    Drawing a hundred million numbers takes seconds, repeating a few million of them does not.
    """
    few = tuple([_few(x) for x in xs] if isinstance(xs, list) else _few(xs) for xs in case.workload.operands)
    values = Case(case.op, case.workload._replace(operands=few), case.dtype, case.mode).arrays()
    shapes = [_shape(o) if _repeats(o) else None for o in case.operands]
    return list(zip(values, shapes, strict=True))


def _shape(operand: Any) -> tuple[int, ...]:
    return operand.shape if isinstance(operand, Input) else operand


def _repeats(operand: Any) -> bool:
    """Whether it is described, plain, and large."""
    plain = type(operand) is tuple or (isinstance(operand, Input) and operand.draw is None and not operand.transposed)
    return plain and math.prod(_shape(operand)) > DISTINCT


def _few(operand: Any) -> Any:
    if not _repeats(operand):
        return operand
    return operand._replace(shape=(DISTINCT,)) if isinstance(operand, Input) else (DISTINCT,)
