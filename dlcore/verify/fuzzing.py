"""Random calls of an operation until one differs from its reference; then the smallest call that does."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from dlcore import _C, testing
from dlcore._autograd import no_grad
from dlcore._device import CPU, synchronize
from dlcore._device import device as as_device
from dlcore.dtypes import as_dtype
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.op import REGISTRY, Op
from dlcore.verify.draws import TAMER, Draw, draw, restricted

__all__ = ["Fuzzed", "Refused", "differs", "fuzz_row"]

Tell = Callable[[Any], None]


@dataclass
class Fuzzed:
    """What came of the random calls of one operation.

    ``calls``: compared with the reference, ``plain`` of them nothing but the operation's samples, since it took nothing
    else; ``refused``: not taken, with errors of its own (such a call is drawn again, closer to the sample); ``text``
    and ``snippet``: the difference, empty where there is none; ``number``: of the call that differed.
    """

    row: str
    calls: int = 0
    plain: int = 0
    refused: int = 0
    number: int = -1
    text: str = ""
    snippet: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


LARGEST = 1 << 24  # elements of a result: a broadcast of a few numbers may ask for terabytes


class Refused(Exception):
    """The operation does not take these operands."""


def differs(given: Draw, device: Any = CPU) -> str:
    """What is wrong with one call, or nothing: values, guard bytes, operands changed, other bits the second time.

    Raises Refused where the operation says, by an error of its own, that it does not take the operands.
    """
    with np.errstate(all="ignore"):  # kernels in NumPy
        return _differs(given, as_device(device))


def _result_size(given: Draw, operands: Sequence[Any]) -> int:
    """Elements of the results, where the operands alone tell."""
    if given.op.dynamic:
        return 0
    op, specs = given.op, testing.specs(given.op, operands)
    attrs = op.bind(given.attrs, specs, given.lengths)
    made = op.inferred(op.values(specs, attrs, given.lengths))
    return sum(math.prod(s.shape) for s in made if s is not None)


def _differs(given: Draw, place: Any) -> str:
    op = given.op
    values: list[Any] = []
    try:
        with no_grad():
            operands = given.make(place)
            if _result_size(given, operands) > LARGEST:
                raise Refused(f"{op.name}: a result that is too large to be worth a call")
            values = testing.promoted(op, operands)
            first = _bits(testing.call(op, operands, given.attrs, given.lengths))
            synchronize()
    except Refused:
        raise
    except (ShapeError, DTypeError, AutogradError, IndexError, ValueError) as error:
        if str(error).partition(":")[0] in REGISTRY or str(error).startswith("getitem:"):
            raise Refused(str(error)) from None
        return _raised(error)
    except Exception as error:  # an error that is no refusal is a finding
        return _raised(error)
    try:
        testing.check_call(op, lambda: given.make(place), given.attrs, values, lengths=given.lengths, **bounds(given))
        return _repeated(given, place, first)
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return _raised(error)


def bounds(given: Draw) -> dict[str, Any]:
    """What `testing.check_call` is told beside the call.

    In float64 a reference in float64 is no better than the kernel, but for operations that round once, where both are
    exact.
    """
    doubles = any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in given.operands)
    return {"overflows": True} | ({"precise": True} if doubles and given.op.ulp > 0.5 else {})


def _bits(results: Sequence[Any]) -> list[bytes]:
    return [np.asarray(r).tobytes() for r in results]


def _repeated(given: Draw, place: Any, first: list[bytes]) -> str:
    """The same call with another number of threads."""
    threads = _C.thread_count()
    try:
        _C.set_thread_count(3 if threads != 3 else 2)
        with no_grad():
            again = _bits(testing.call(given.op, given.make(place), given.attrs, given.lengths))
    finally:
        _C.set_thread_count(threads)
    return "" if again == first else f"{given.op.name}: other bits the second time, with another number of threads"


def _raised(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def fuzz_row(
    op: Op, device: str, seed: int, count: int, dtypes: Sequence[str], files: Sequence[str], tell: Tell
) -> Fuzzed:
    """``count`` random calls of the operation; tells the number and tameness of each before it is made."""
    from dlcore.verify.shrink import shrunk
    from dlcore.verify.snippet import snippet

    start, result = time.perf_counter(), Fuzzed(op.name)
    chosen = [as_dtype(d) for d in dtypes]
    if not testing.samples(op) or (dtypes and not set(chosen) & set(op.dtypes)):
        return result
    for number in range(count):
        for tame in range(TAMER + 1):
            tell((number, tame))
            given = draw(op, seed, number, tame, chosen)
            try:
                text = differs(given, device)
            except Refused:
                result.refused += 1
                continue
            result.calls += 1
            result.plain += tame >= TAMER - 1
            if text:
                smallest = shrunk(given, partial(_still, device=device, text=text))
                result.number, result.text = number, differs(smallest, device)
                result.snippet = snippet(smallest, device, files, bounds(smallest))
                result.seconds = time.perf_counter() - start
                return result
            break
    result.seconds = time.perf_counter() - start
    return result


def _still(given: Draw, device: Any, text: str) -> bool:
    """Whether a smaller call shows a difference of the same kind."""
    kept = restricted(given.op, given.operands, given.attrs, given.lengths)
    if any(isinstance(x, np.ndarray) and x.tobytes() != y.tobytes() for x, y in zip(given.operands, kept, strict=True)):
        return False  # outside the operation's domain, where it need not be right
    try:
        found = differs(given, device)
    except Refused:
        return False
    return bool(found) and found.startswith("raised") == text.startswith("raised")
