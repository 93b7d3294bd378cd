"""All checks of one operation, with what they found: errors measured, failures as texts."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _C, _autograd, testing
from dlcore._device import CPU, Device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import DType, as_dtype, float16, float32
from dlcore.errors import CaptureError, DTypeError
from dlcore.op import Op, Sample
from dlcore.verify.report import Check, RowReport

__all__ = ["LARGE", "check_interpreted", "check_isa", "check_row", "family_of", "instruction_sets"]

LARGE = 20_000  # elements: beyond it a sample is checked once, in one dtype, contiguous and forward
INTERPRETED, SAMPLES = 4096, 3  # elements of a sample at most, and samples of an operation, in Triton's interpreter
Tell = Callable[[Any], None]


def family_of(op: Op) -> str:
    """The family that the table groups it under."""
    return ", ".join(sorted(op.kernel_families)) or "views and others"


def instruction_sets() -> list[str]:
    """What DLCORE_ISA can choose on this processor beside its best."""
    best = {"AVX-512": ["v3", "v1"], "AVX2 + FMA": ["v1"]}
    return best.get(_C.isa(), [])


def elements(sample: Sample) -> int:
    """Of its operands, and of results whose shape is an attribute."""
    count, attrs = sample.size, sample.attrs.values()
    shapes = [a for a in attrs if isinstance(a, tuple) and all(isinstance(n, int) for n in a)]
    numbers = [a for a in attrs if isinstance(a, int) and not count]  # permutation(n)
    return int(count + sum(map(math.prod, shapes)) + sum(map(abs, numbers)))


def _widest(op: Op, dtypes: Sequence[DType]) -> DType:
    return float32 if float32 in dtypes else dtypes[0]


# ---- running and noting -------------------------------------------------------------------------------------------


def _note(check: Check, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Runs one check; what it raises becomes a failure, what it returns is an error in ULPs."""
    try:
        worst = function(*args, **kwargs)
    except AssertionError as error:
        check.failures.append(str(error))
        check.worst = math.inf if function is testing.check_forward else check.worst
    except DTypeError as error:
        if "no kernel for" not in str(error):
            check.failures.append(_unexpected(error))
        check.note = str(error)
        return
    except CaptureError as error:
        check.note = str(error)  # a kernel in Python that computes with NumPy, say; see `_check_replay`
        return
    except Exception as error:  # whatever an operation raises is a finding about it
        check.failures.append(_unexpected(error))
    else:
        check.worst = max(check.worst, worst or 0.0)
    check.done += 1


def _unexpected(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def _report(op: Op, dtypes: Sequence[DType]) -> RowReport:
    return RowReport(op.name, family_of(op), op.ulp, tuple(d.name for d in dtypes))


def interpreted(place: Device) -> bool:
    """Whether kernels of this device run in Triton's interpreter."""
    return place is not CPU and place.name == "Triton's interpreter"


def _dtypes(op: Op, names: Sequence[str]) -> list[DType]:
    return [d for d in op.dtypes if not names or d.name in names]


# ---- the operation on a device ------------------------------------------------------------------------------------


def check_row(
    op: Op, device: str = "cpu", dtypes: Sequence[str] = (), everything: bool = False, tell: Tell | None = None
) -> RowReport:
    """All checks of the operation on ``device`` in ``dtypes`` (default: all it claims).

    On a GPU those that `testing.combinations` chooses, unless ``everything``.
    """
    start, chosen, place = time.perf_counter(), _dtypes(op, dtypes), as_device(device)
    report = _report(op, chosen)
    report.layouts = testing.LAYOUTS
    for name in ("forward", "composite", "gradient", "repeatable", "replay", "errors"):
        report.checks[name] = Check()
    if place is not CPU:
        report.checks["twin"] = Check()
    every = testing.samples(op) if chosen else []
    if interpreted(place):  # a thousand times slower than a GPU
        every, chosen = [s for s in every if elements(s) <= INTERPRETED][:SAMPLES], [_widest(op, chosen)]
    report.samples = len(every)
    with np.errstate(all="ignore"):  # kernels in NumPy
        if every and not (everything or place is CPU or interpreted(place)):
            _check_combinations(op, chosen, place, report.checks)
        else:
            for sample in every:
                _check_sample(op, sample, chosen, place, report.checks)
    if place is CPU and chosen:
        report.digests = digests(op, dtypes)
    _note(report.checks["errors"], testing.check_errors, op, place)
    report.checks["errors"].done = len(list(op.error_cases()))
    _say_why_nothing_ran(op, report)
    report.seconds = time.perf_counter() - start
    return report


def _check_sample(op: Op, sample: Sample, dtypes: Sequence[DType], place: Device, checks: dict[str, Check]) -> None:
    """The sample in every dtype and layout, in the interpreter in few."""
    large = elements(sample) > LARGE
    chosen = dtypes if sample.in_any_dtype and not large else [_widest(op, dtypes)]
    for dtype in chosen:
        few = testing.LAYOUTS[: 1 if large else 2 if interpreted(place) else None]
        for layout in few:
            _note(checks["forward"], testing.check_forward, op, sample, dtype, layout, place)
        _check_bits(op, sample, dtype, place, checks)
        if place is CPU and not large:
            _note(checks["replay"], _check_replay, op, sample, dtype)
    if sample.grad and op.differentiable and not large:
        for dtype in [d for d in dtypes if d.is_float]:
            _note(checks["gradient"], testing.check_gradient, op, sample, dtype, place)
        if place is CPU:
            _note(checks["gradient"], testing.check_second_order, op, sample)


def _check_combinations(op: Op, dtypes: Sequence[DType], place: Device, checks: dict[str, Check]) -> None:
    """What `testing.combinations` chooses for a GPU."""
    for sample, dtype, layout, thorough in testing.combinations(op, dtypes):
        _note(checks["forward"], testing.check_forward, op, sample, dtype, layout, place)
        if thorough:
            _check_bits(op, sample, dtype, place, checks)
        if thorough and sample.grad and op.differentiable and dtype.is_float:
            _note(checks["gradient"], testing.check_gradient, op, sample, dtype, place)


def _check_bits(op: Op, sample: Sample, dtype: DType, place: Device, checks: dict[str, Check]) -> None:
    """The same bits again, and the same values another way."""
    _note(checks["repeatable"], testing.check_repeatable, op, sample, dtype, place)
    if _two_ways(op, place):
        _note(checks["composite"], check_composite, op, sample, dtype, place)
    if place is not CPU:
        _note(checks["twin"], check_twin, op, sample, dtype, place)


def _check_replay(op: Op, sample: Sample, dtype: DType) -> None:
    """Raises CaptureError only for kernels in Python, which may be beyond recording; for others that is a failure."""
    try:
        testing.check_replay(op, sample, dtype)
    except CaptureError as error:
        if any(callable(kernel) for kernel, _ in op.kernel_choices("cpu")):
            raise
        raise AssertionError(f"{op.name} {dtype.name}: cannot be recorded: {error}") from None


def _two_ways(op: Op, place: Device) -> bool:
    """Whether a kernel and the composite compute the same: not where the composite is for what the kernel declines."""
    choices = op.kernel_choices(place.type)
    declines = all(when for _, when in choices)
    return bool(choices) and op.composite is not None and not (op.random or op.dynamic or declines)


def _say_why_nothing_ran(op: Op, report: RowReport) -> None:
    only = "a kernel alone" if op.kernel_choices("cpu") and not op.composite else "for other operands, or alone"
    notes = {
        "composite": only,
        "gradient": "" if op.differentiable else "no gradient rule",
        "errors": "" if any(True for _ in op.error_cases()) else "no error inputs listed",
    }
    for name, note in notes.items():
        if not report.checks[name].done:
            report.checks[name].note = report.checks[name].note or note


# ---- against the composite, and against another device -----------------------------------------------------------


def _values(op: Op, sample: Sample, dtype: DType, place: Any) -> list[Any]:
    operands = testing.tensors(testing.rounded(op, sample, dtype), device=place)
    with _autograd.no_grad():
        return testing.call(op, operands, testing.attributes(op, sample), testing.lengths(op, sample))


def _composite_values(op: Op, sample: Sample, arrays: Sequence[Any], place: Any) -> list[Any]:
    """What the composite writes and its results, as the engine computes the operation where there is no kernel."""
    operands, lengths = testing.tensors(arrays, device=place), testing.lengths(op, sample)
    specs = testing.specs(op, operands)
    attrs = op.bind(testing.attributes(op, sample), specs, lengths)
    given = [None if s is None else x.astype(s.dtype) if isinstance(x, Tensor) else tensor(x, s.dtype, device=place)
             for x, s in zip(operands, specs, strict=True)]  # fmt: skip
    with _autograd.no_grad():
        made = op.by_position(*op.nested(given, lengths), *attrs)
    results = [o for o in (made if isinstance(made, tuple) else (made,)) if o is not None]
    return [*(given[k] for k in op.written(lengths)), *results]


def _agree(op: Op, sample: Sample, dtype: DType, got: list[Any], other: list[Any], what: str) -> float:
    """Each may be off the reference by the operation's bound, so both together by twice as much."""
    arrays, worst = testing.rounded(op, sample, dtype), 0.0
    attrs, lengths = testing.attributes(op, sample), testing.lengths(op, sample)
    for k, (g, o) in enumerate(zip(got, other, strict=True)):
        if g is None or o is None:
            assert g is o, f"{op.name} {dtype.name} {sample.why}: result {k} is there in one only, {what}"
            continue
        want = np.asarray(o.detach())
        want = want.astype(np.float64) if o.dtype.is_float else want
        scale = testing.magnitude(op, arrays, attrs, k, len(got), lengths)
        found = testing.difference(g, want, 2 * op.ulp, scale)
        assert not found.text, f"{op.name} {dtype.name} {sample.why or 'sample'} [{k}], {what}: {found.text}"
        worst = max(worst, found.ulps)
    return worst


def check_composite(op: Op, sample: Sample, dtype: DType, place: Any = CPU) -> float:
    """The kernel against the composite; returns the largest difference in ULPs.

    The composite rounds after each of its operations; so that those do not count, it gets 16-bit operands as float32.
    """
    got = _values(op, sample, dtype, place)
    wide = float32 if dtype.is_float and dtype.itemsize == 2 else dtype
    arrays = [x.astype(wide.numpy) if isinstance(x, np.ndarray) and as_dtype(x.dtype) is dtype else x
              for x in testing.rounded(op, sample, dtype)]  # fmt: skip
    other = _composite_values(op, sample, arrays, place)
    return _agree(op, sample, dtype, got, other, "kernel and composite")


def check_twin(op: Op, sample: Sample, dtype: DType, place: Any) -> float:
    """The kernel of a device against the C++ kernel on the same operands; returns the largest difference in ULPs."""
    if op.output_device is not None or op.dynamic:
        return 0.0
    return _agree(op, sample, dtype, _values(op, sample, dtype, place), _values(op, sample, dtype, CPU),
                  f"{place} and CPU")  # fmt: skip


# ---- other instruction sets, and the interpreter -----------------------------------------------------------------


def _digest(values: list[Any]) -> str:
    made = hashlib.sha256()
    for v in values:
        made.update(b"-" if v is None else np.asarray(v).tobytes())
    return made.hexdigest()


def digests(op: Op, dtypes: Sequence[str] = ()) -> list[str]:
    """One digest of the results' bits for each sample and dtype; empty where the operation raises, as a check tells."""
    found = []
    for sample, dtype in _pairs(op, _dtypes(op, dtypes)):
        try:
            found.append(_digest(_values(op, sample, dtype, CPU)))
        except Exception:  # any kernel, any error
            found.append("")
    return found


def _pairs(op: Op, dtypes: Sequence[DType]) -> Iterator[tuple[Sample, DType]]:
    for sample in testing.samples(op) if dtypes else ():
        for dtype in dtypes if sample.in_any_dtype and elements(sample) <= LARGE else [_widest(op, dtypes)]:
            yield sample, dtype


def check_isa(op: Op, dtypes: Sequence[str] = (), tell: Tell | None = None) -> RowReport:
    """Every sample with the kernels of this process's instruction set against the reference, and digests."""
    start, report = time.perf_counter(), _report(op, _dtypes(op, dtypes))
    report.checks["twin"] = check = Check(note=_C.isa())
    for sample, dtype in _pairs(op, _dtypes(op, dtypes)):
        _note(check, testing.check_forward, op, sample, dtype)
    check.failures = [f"{_C.isa()}: {text}" for text in check.failures]
    report.digests = digests(op, dtypes)
    report.seconds = time.perf_counter() - start
    return report


def can_interpret() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def check_interpreted(op: Op, dtypes: Sequence[str] = (), tell: Tell | None = None) -> RowReport:
    """The operation's GPU kernels in Triton's interpreter: small samples against the reference and the C++ kernels."""
    start, place = time.perf_counter(), as_device("cuda")
    chosen = [d for d in (_widest(op, op.dtypes), float16) if d in _dtypes(op, dtypes)]
    report = _report(op, chosen)
    report.checks["interpreter"] = check = Check()
    small = [s for s in testing.samples(op) if elements(s) <= INTERPRETED][:SAMPLES]
    for k, sample in enumerate(small):
        for dtype in chosen[: 2 if k == 0 and op.kernel_choices("cuda") else 1]:
            layout = testing.LAYOUTS[k % len(testing.LAYOUTS)]
            _note(check, testing.check_forward, op, sample, dtype, layout, place)
            _note(check, check_twin, op, sample, dtype, place)
    check.note = check.note or ("" if small else "no small sample")
    report.seconds = time.perf_counter() - start
    return report
