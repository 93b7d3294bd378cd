"""Checks made from a definition: what the tests of dlcore run for every operation, and what one of your own gets too.

    from dlcore import testing
    testing.check(my_op)          # every sample, dtype and memory layout; gradients; errors; repeatability
    testing.check(my_op, "cuda")  # a choice of them on a GPU, gradients against the CPU's in float64

Each check raises AssertionError with the operation, the sample, the worst element and the error in units of the bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C, _autograd
from dlcore._capture import capture
from dlcore._device import CPU, Device, default_device, synchronize
from dlcore._device import device as as_device
from dlcore._func_checks import check_batching, gradcheck, gradgradcheck
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.dtypes import DType, as_dtype, bool_, float16, float32, float64, int8, int32, uint64
from dlcore.errors import CaptureError
from dlcore.op import REGISTRY, Op, Sample, Spec, flat, lengths_of

__all__ = [
    "LAYOUTS",
    "Combination",
    "Difference",
    "attributes",
    "check",
    "check_batching",
    "check_call",
    "check_errors",
    "check_forward",
    "check_gradient",
    "check_other_dtypes",
    "check_repeatable",
    "check_replay",
    "check_second_order",
    "combinations",
    "compare",
    "difference",
    "drawn",
    "gradcheck",
    "gradgradcheck",
    "lengths",
    "rounded",
    "samples",
    "specs",
    "values",
]

LAYOUTS = ("contiguous", "transposed", "strided", "reversed")
Arrays = list[Any]


def samples(op: Op) -> list[Sample]:
    """The operation's samples, described; `rounded` draws one."""
    return list(op.sample_inputs())


class Combination(NamedTuple):
    """One sample in one dtype and memory layout.

    ``thorough``: not its values alone are checked, but also its gradient, and its bits at another address.
    """

    sample: Sample
    dtype: DType
    layout: str
    thorough: bool


LARGE = 20_000  # elements: beyond it a sample is taken in one dtype, contiguous


def combinations(op: Op, dtypes: Sequence[DType] = ()) -> list[Combination]:
    """Which samples are checked on a GPU, in which dtype (of ``dtypes``; default: all) and layout.

    There every combination is a kernel of its own, which must be compiled, so they are few, and the kernels of dlcore's
    packs are those of this choice. The two smallest samples are checked thoroughly, in float32. The others take turns
    through dtypes and layouts, and operations whose kernels are made by the same file share them out: each sample is
    taken by about two of them.
    """
    chosen = list(dtypes or op.dtypes)
    widest = float32 if float32 in chosen else chosen[0]
    every = samples(op)
    small = sorted((s for s in every if s.size), key=lambda s: s.size)[:2]
    found = [Combination(s, widest, "contiguous", True) for s in small]
    rest = [s for s in every if s not in small] or every
    others = [d for d in chosen if d is not widest] or chosen
    relatives = _relatives(op)
    place, step = relatives.index(op.name), max(1, len(relatives) // 2)
    for k in range(max(len(LAYOUTS), -(-len(rest) // step)) if rest else 0):
        sample, turn = rest[(place + k * step) % len(rest)], place + k
        if sample.size > LARGE:
            found.append(Combination(sample, widest, "contiguous", False))
        else:
            dtype = others[turn % len(others)] if sample.in_any_dtype else widest
            found.append(Combination(sample, dtype, LAYOUTS[(turn + turn // len(others)) % len(LAYOUTS)], False))
    return list(dict.fromkeys(found))


def _relatives(op: Op) -> list[str]:
    """The operations, by name and in order, whose GPU kernels come from the file that those of ``op`` come from."""
    file = _planners(op)
    others = (o.name for o in REGISTRY.values() if o is not op and file and _planners(o) == file)
    return sorted([op.name, *others])


def _planners(op: Op) -> str:
    names = [kernel for kernel, _ in op.kernel_choices("cuda") if isinstance(kernel, str)]
    return names[0].partition(":")[0] if names else ""


# ---- building operands --------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)  # the same sample is taken in several dtypes and layouts in turn
def drawn(op: Op, sample: Sample) -> Arrays:
    """The sample's inputs, one by one; not to be written."""
    return sample.arrays(op.name, op.signature.operands)


def rounded(op: Op, sample: Sample, dtype: DType) -> Arrays:
    """The sample's inputs, one by one, with its float64 arrays rounded to ``dtype``.

    As uint64 they lose their signs: negative ones would be so large that float64, which references compute in, does not
    tell one from the next.
    """
    sizes = np.abs if dtype is uint64 else np.positive
    with np.errstate(over="ignore"):  # what the dtype cannot hold is infinite
        return [
            np.asarray(sizes(x)).astype(dtype.numpy) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
            for x in drawn(op, sample)
        ]


def attributes(op: Op, sample: Sample) -> tuple[Any, ...]:
    """The sample's attributes by position, defaults too, as a caller gives them."""
    return op.named_attributes(sample.attrs)


def lengths(op: Op, sample: Sample) -> tuple[int, ...]:
    """How many tensors the groups among the sample's operands have."""
    return lengths_of(sample.inputs, op.signature.operands)


def laid_out(array: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """A copy of ``array`` with another arrangement in memory."""
    if array.ndim == 0:
        return array.copy()
    if layout == "transposed":
        view = np.empty(array.shape[::-1], array.dtype).T
    elif layout == "strided":
        view = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    elif layout == "reversed":
        view = np.empty(array.shape, array.dtype)[(slice(None, None, -1),) * array.ndim]
    else:
        return array.copy()
    view[...] = array
    return view


def tensors(arrays: Sequence[Any], layout: str = "contiguous", device: Any = CPU) -> list[Any]:
    """Fresh tensors over copies of NumPy arrays; scalars and None as they are."""
    place = as_device(device)
    return [_fresh(x, layout, place) if isinstance(x, np.ndarray) else x for x in arrays]


def _fresh(array: np.ndarray[Any, Any], layout: str, place: Device) -> Tensor:
    if place is CPU:
        return from_numpy(laid_out(array, layout))
    if array.ndim == 0 or layout == "contiguous":
        return tensor(array, device=place)
    if layout == "transposed":
        return tensor(np.ascontiguousarray(array.T), device=place).T
    if layout == "strided":
        return tensor(np.repeat(array, 2, -1), device=place)[..., ::2]
    back = (slice(None, None, -1),) * array.ndim
    return tensor(np.ascontiguousarray(array[back]), device=place)[back]


def specs(op: Op, operands: Sequence[Any]) -> list[Spec | None]:
    """What shape rules and costs see of the operands, promoted."""
    return op.promoted([_spec(x) for x in operands])


def _spec(x: Any) -> Spec | None:
    if x is None:
        return None
    if isinstance(x, Tensor):
        return Spec(x.shape, x.dtype, x.weak, x.strides)
    if isinstance(x, np.ndarray):
        return Spec(x.shape, as_dtype(x.dtype))
    return Spec((), as_dtype(type(x)), True)


def values(op: Op, operands: Sequence[Any], attrs: Sequence[Any], lengths: Sequence[int] = ()) -> dict[str, Any]:
    """Operands and converted attributes by name: what an operation's functions are called with."""
    bound = op.bind(attrs, [_spec(x) for x in operands], lengths)
    return op.values(operands, bound, lengths)


def call(op: Op, operands: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()) -> list[Any]:
    """Outputs of the operation; of one that writes in place, the operands it wrote, then its outputs."""
    result = op.call(*op.nested(operands, lengths), *attrs)
    outputs = [] if result is None else list(result) if isinstance(result, tuple) else [result]
    return [operands[k] for k in op.written(lengths)] + [o for o in outputs if o is not None]


def _wide(arrays: Sequence[Any], dtype: Any) -> Arrays:
    """Copies, floating ones in ``dtype``."""
    return [
        x.astype(dtype if as_dtype(x.dtype).is_float else x.dtype) if isinstance(x, np.ndarray) else x for x in arrays
    ]


def reference(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()
) -> list[np.ndarray[Any, Any]]:
    """What the operation's reference gives for these values, in float64."""
    given = values(op, arrays, attrs, lengths)
    given |= dict(zip(op.input_names, op.nested(_wide(arrays, np.float64), lengths), strict=True))
    with np.errstate(all="ignore"):
        return [np.asarray(r) for r in op.expected(given) if r is not None]


def long_reference(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any] = (), lengths: Sequence[int] = ()
) -> list[np.ndarray[Any, Any]]:
    """What the reference gives in long double: for float64 operands, on which it is in float64 no better than a kernel.

    Empty where it does not take long doubles.
    """
    given = values(op, arrays, attrs, lengths)
    given |= dict(zip(op.input_names, op.nested(_wide(arrays, np.longdouble), lengths), strict=True))
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(r) for r in op.expected(given) if r is not None]
    except (TypeError, ValueError):
        return []


# ---- comparing ----------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """How far a result is from what it should be."""

    ulps: float
    """The largest error in units of eps * magnitude, less what subnormal numbers round; infinity for a wrong shape,
    an integer that differs, a NaN or infinity out of place."""
    text: str = ""
    """What is outside the bound, and empty where nothing is."""


def difference(
    got: Tensor, want: np.ndarray[Any, Any], ulp: float, magnitude: Any = None, *, overflows: bool = False,
    signs: bool = False,
) -> Difference:  # fmt: skip
    """|got - want| in units of eps(dtype) * magnitude (default: |want|); NaN and infinities must be in their places.

    Integers must be equal. ``overflows``: where finite terms have a magnitude, a sum of absolute values, of more than
    the dtype holds, infinity and NaN are as good as any number, since terms may be added in any order; where it is
    more than sums are kept in, so is what the operation makes of infinity. ``signs``: zeros must have the same.
    """
    have = np.asarray(got)
    if have.shape != want.shape:
        return Difference(np.inf, f"shape {have.shape}, the reference has {want.shape}")
    if not got.dtype.is_float:
        wrong = np.flatnonzero(np.ravel(have != want))
        if not wrong.size:
            return Difference(0.0)
        pair = f"{np.ravel(have)[wrong[0]]} for {np.ravel(want)[wrong[0]]}"
        return Difference(np.inf, f"{wrong.size} of {have.size} differ, first at {wrong[0]}: {pair}")
    eps, smallest = got.dtype.eps, got.dtype.tiny * got.dtype.eps  # the smallest subnormal
    with np.errstate(all="ignore"):
        nearest = want.astype(got.dtype.numpy).astype(np.float64)  # overflows where the dtype must
        values = have.astype(np.float64)
        scale = np.abs(want) if magnitude is None else np.broadcast_to(magnitude, want.shape)
        size = np.where(np.isfinite(want), np.abs(want), 0)
        unit, slack = eps * np.where(np.isfinite(scale), scale, size), max(ulp, 1.0) * smallest
        bound = ulp * unit + slack
        same = (values == nearest) | (np.isnan(values) & np.isnan(nearest))
        if overflows and magnitude is not None:
            widest = np.finfo(np.float64 if got.dtype.itemsize == 8 else np.float32).max  # what sums are kept in
            over = ~(scale < widest) | (~(scale < got.dtype.largest) & ~np.isfinite(values))
            same |= over & (np.isfinite(scale) | np.isfinite(want))  # else an operand is infinite
        error = np.where(same, 0.0, np.abs(values - want).astype(np.float64))
        other = signs & (values == 0) & (want == 0) & (np.signbit(values) != np.signbit(want))
        error = np.where(other, np.inf, error)
        bad = other | (~same & ~(error <= bound))
        beyond = np.where(error <= slack, 0.0, (error - slack) / unit)
    worst = float(np.max(np.nan_to_num(beyond, nan=np.inf), initial=0.0))
    return Difference(worst, _worst_of(values, want, error, bound, bad) if bad.any() else "")


def _worst_of(values: Any, want: Any, error: Any, bound: Any, bad: Any) -> str:
    with np.errstate(all="ignore"):
        k = int(np.argmax(np.where(bad, np.nan_to_num(error / bound, nan=np.inf), 0)))
        k = k if bad.flat[k] else int(np.flatnonzero(np.ravel(bad))[0])
        times = error.flat[k] / bound.flat[k]
    place = tuple(map(int, np.unravel_index(k, want.shape)))
    return (
        f"{int(bad.sum())} of {want.size} outside the bound, worst at {place}: "
        f"{values.flat[k]!r} for {want.flat[k]!r}, {times:.3g} times the bound"
    )


def compare(what: str, got: Tensor, want: np.ndarray[Any, Any], ulp: float, magnitude: Any = None) -> float:
    """|got - want| <= ulp * eps(dtype) * magnitude, NaN and infinities in the same places; integers exactly.

    Returns the largest error in units of eps * magnitude.
    """
    found = difference(got, want, ulp, magnitude)
    assert not found.text, f"{what}: {found.text}"
    return found.ulps


@contextmanager
def guarded() -> Iterator[None]:
    """Memory made inside starts as NaN between guard bytes; raises if a kernel wrote outside its outputs."""
    _C.set_guards(True)
    before = _C.guard_faults()
    try:
        yield
    finally:
        _C.set_guards(False)
    assert _C.guard_faults() == before, "a kernel wrote outside the memory of its output"


# ---- the checks ---------------------------------------------------------------------------------------------------


def check_forward(op: Op, sample: Sample, dtype: DType, layout: str = "contiguous", device: Any = CPU) -> float:
    """The outputs against the reference on inputs rounded to ``dtype``; inputs not written stay as they were.

    Returns the largest error in units of eps * magnitude.
    """
    arrays = rounded(op, sample, dtype)
    what = f"{op.name} {dtype.name} {sample.why or 'sample'} {layout}"
    make = lambda: tensors(arrays, layout, device)  # noqa: E731
    return check_call(op, make, attributes(op, sample), arrays, what, lengths=lengths(op, sample))


def check_call(
    op: Op,
    make: Callable[[], list[Any]],
    attrs: tuple[Any, ...] = (),
    arrays: Sequence[Any] | None = None,
    what: str = "",
    *,
    lengths: Sequence[int] = (),
    precise: bool = False,
    overflows: bool = False,
) -> float:
    """One call on the operands that ``make`` makes, against the reference; what it does not write stays as it was.

    ``arrays``: the operands as the reference takes them (default: their values, cast as the operation promotes them).
    ``lengths``: of groups. ``precise``: a result may also agree with `long_reference`. ``overflows``: see `difference`.
    Returns the largest error in units of eps * magnitude.
    """
    with guarded(), _autograd.no_grad():
        operands = make()
        given = [np.asarray(x).tobytes() if isinstance(x, Tensor) else None for x in operands]
        arrays = promoted(op, operands) if arrays is None else arrays
        got = call(op, operands, attrs, lengths)
        want, what = reference(op, arrays, attrs, lengths), what or op.name
        better = long_reference(op, arrays, attrs, lengths) if precise else []
        assert len(got) == len(want), f"{what}: {len(got)} results, the reference has {len(want)}"
        worst = 0.0
        for k, (g, w) in enumerate(zip(got, want, strict=True)):
            scale = magnitude(op, arrays, attrs, k, len(want), lengths)
            found = difference(g, w, op.ulp, scale, overflows=overflows, signs=op.signed_zeros)
            if found.text and better:
                again = difference(g, better[k], op.ulp, scale, overflows=overflows, signs=op.signed_zeros)
                found = found if again.text else again
            assert not found.text, f"{what} [{k}]: {found.text}"
            worst = max(worst, found.ulps)
        for k in set(range(len(operands))) - set(op.written(lengths)):
            if isinstance(operands[k], Tensor):
                assert np.asarray(operands[k]).tobytes() == given[k], f"{what}: operand {k} was changed"
        del operands, got
    return worst


def promoted(op: Op, operands: Sequence[Any]) -> Arrays:
    """Copies of the operands' values, cast by NumPy as the operation promotes them; numbers and None as they are."""
    with np.errstate(all="ignore"):  # what the dtype cannot hold is infinite
        return [
            np.array(x, copy=True).astype(s.dtype.numpy) if isinstance(x, Tensor) and s is not None else x
            for x, s in zip(operands, specs(op, operands), strict=True)
        ]


def magnitude(
    op: Op, arrays: Sequence[Any], attrs: Sequence[Any], k: int, n: int, lengths: Sequence[int] = ()
) -> Any:
    """What errors of output ``k`` of ``n`` are measured against; None means the reference's own size."""
    given = values(op, arrays, attrs, lengths)
    given |= dict(zip(op.input_names, op.nested(_wide(arrays, np.float64), lengths), strict=True))
    with np.errstate(all="ignore"):
        scale = op.magnitudes(given)
    return scale[k] if isinstance(scale, tuple | list) else scale


def _floats(arrays: Sequence[Any]) -> list[int]:
    return [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype == np.float64 and x.size]


def _moved(arrays: Sequence[Any], direction: dict[int, Any], step: float) -> Arrays:
    return [np.asarray(x + step * direction[k]) if k in direction else x for k, x in enumerate(arrays)]


def _directions(arrays: Sequence[Any], keys: Sequence[int], rng: np.random.Generator) -> dict[int, Any]:
    return {k: rng.standard_normal(arrays[k].shape) for k in keys}


def _gradients(
    op: Op,
    arrays: Sequence[Any],
    sample: Sample,
    keys: Sequence[int],
    weights: Sequence[Any],
    create_graph: bool,
    device: Any = CPU,
) -> tuple[list[Any], list[Any]]:
    """Operands, and the gradients of sum(weights * outputs) with respect to those in ``keys`` (None: independent)."""
    operands = tensors(arrays, device=device)
    for k in keys:
        operands[k].requires_grad = True
    result = op.call(*op.nested(operands, lengths(op, sample)), *attributes(op, sample))
    outputs = [o for o in (result if isinstance(result, tuple) else (result,)) if o is not None]
    roots = [(o, w) for o, w in zip(outputs, weights, strict=True) if w is not None and o.requires_grad]
    if not roots:
        return operands, [None] * len(keys)
    grads = _autograd.grad(
        [o for o, _ in roots], [operands[k] for k in keys],
        [tensor(w, o.dtype, device=o.device) for o, w in roots], create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    return operands, list(grads)


def _outputs(op: Op, arrays: Sequence[Any], sample: Sample) -> list[np.ndarray[Any, Any]]:
    """What the reference gives of the outputs alone."""
    sizes = lengths(op, sample)
    return reference(op, arrays, attributes(op, sample), sizes)[len(op.written(sizes)) :]


def _close(what: str, analytic: float, numeric: float, scale: float) -> None:
    error = abs(analytic - numeric)
    assert error <= 2e-6 * max(scale, 1.0), f"{what}: along a random direction {analytic!r}, by differences {numeric!r}"


def check_gradient(op: Op, sample: Sample, dtype: DType = float64, device: Any = CPU) -> None:
    """The gradient along a random direction against central differences of the reference.

    Of other dtypes and devices: the gradient against the CPU's in float64, which is checked so.
    """
    arrays, rng = rounded(op, sample, float64), np.random.default_rng(1)
    keys = _floats(arrays)
    outputs = _outputs(op, arrays, sample)
    weights = [rng.standard_normal(o.shape) if o.dtype.kind == "f" else None for o in outputs]
    direction, step = _directions(arrays, keys, rng), 1e-6
    what = f"{op.name} {sample.why or 'sample'}"
    if as_device(device) is not CPU:
        return _check_narrow_gradient(op, sample, dtype, keys, weights, f"{what} on {device}", device)
    operands, grads = _gradients(op, arrays, sample, keys, weights, False)
    for k, g in zip(keys, grads, strict=True):
        assert g is None or (g.shape == operands[k].shape and g.dtype is operands[k].dtype), (
            f"{what}: gradient {k} has shape {g.shape}"
        )
    analytic = [float(np.vdot(np.asarray(g), direction[k])) for k, g in zip(keys, grads, strict=True) if g is not None]

    def value(step: float) -> float:
        found = _outputs(op, _moved(arrays, direction, step), sample)
        return sum(float(np.vdot(w, o)) for w, o in zip(weights, found, strict=True) if w is not None)

    _close(what, sum(analytic), (value(step) - value(-step)) / (2 * step), sum(map(abs, analytic)))
    if dtype is not float64:
        _check_narrow_gradient(op, sample, dtype, keys, weights, what)


def _check_narrow_gradient(
    op: Op, sample: Sample, dtype: DType, keys: Sequence[int], weights: Sequence[Any], what: str, device: Any = CPU
) -> None:
    """The gradient in ``dtype`` on ``device`` against the CPU's float64 gradient at the same rounded point."""
    narrow = rounded(op, sample, dtype)
    wide = [x.astype(np.float64) if k in keys else x for k, x in enumerate(narrow)]
    coarse = [None if w is None else w.astype(dtype.numpy).astype(np.float64) for w in weights]
    _, exact = _gradients(op, wide, sample, keys, coarse, False)
    _, grads = _gradients(op, narrow, sample, keys, coarse, False, device)
    for k, g, e in zip(keys, grads, exact, strict=True):
        if e is None or g is None:
            assert g is e, f"{what}: gradient {k} is there in one dtype only"
            continue
        want = np.asarray(e)
        terms = max(1, wide[k].size, *(w.size for w in weights if w is not None)) ** 0.5  # broadcast: a sum over all
        worst = float(np.max(np.abs(np.asarray(g).astype(np.float64) - want), initial=0.0))
        bound = 4 * max(op.ulp, 1.0) * terms * dtype.eps * float(np.max(np.abs(want), initial=0.0))
        assert worst <= bound, f"{what} {dtype.name}: gradient {k} is off by {worst:.3g}, the bound is {bound:.3g}"


def check_second_order(op: Op, sample: Sample) -> None:
    """The gradient of the gradient along a random direction against central differences of the first."""
    arrays, rng = rounded(op, sample, float64), np.random.default_rng(2)
    keys = _floats(arrays)
    outputs = _outputs(op, arrays, sample)
    weights = [rng.standard_normal(o.shape) if o.dtype.kind == "f" else None for o in outputs]
    direction, inner, step = _directions(arrays, keys, rng), _directions(arrays, keys, rng), 1e-5

    def slope(step: float) -> float:
        _, grads = _gradients(op, _moved(arrays, direction, step), sample, keys, weights, False)
        return sum(float(np.vdot(np.asarray(g), inner[k])) for k, g in zip(keys, grads, strict=True) if g is not None)

    operands, grads = _gradients(op, arrays, sample, keys, weights, True)
    roots = [(g, inner[k]) for k, g in zip(keys, grads, strict=True) if g is not None and g.requires_grad]
    numeric = (slope(step) - slope(-step)) / (2 * step)
    if not roots:
        return _close(f"{op.name} second order (none recorded)", 0.0, numeric, 1.0)
    second = _autograd.grad(
        [g for g, _ in roots], [operands[k] for k in keys], [tensor(w, g.dtype) for g, w in roots], allow_unused=True
    )
    parts = [float(np.vdot(np.asarray(s), direction[k])) for k, s in zip(keys, second, strict=True) if s is not None]
    _close(f"{op.name} {sample.why or 'sample'} second order", sum(parts), numeric, 10 * sum(map(abs, parts)))


def check_errors(op: Op, device: Any = CPU) -> None:
    """Every error input of the operation raises the error and the text it lists.

    A GPU's kernels report bad values by their position alone, at the next wait.
    """
    for wrong in op.error_cases():
        inputs = [*wrong.inputs, *[None] * (len(op.input_names) - len(wrong.inputs))]
        operands = tensors(list(flat(inputs)), device=device)
        try:
            call(op, operands, op.named_attributes(wrong.attrs), lengths_of(inputs, op.signature.operands))
            synchronize()
        except wrong.error as error:
            reported = as_device(device) is not CPU and f"{error}".startswith(f"{op.name}: the ")
            assert reported or str(error) == wrong.text, f"{op.name}: the text is {str(error)!r}, not {wrong.text!r}"
        else:
            raise AssertionError(f"{op.name}: accepted what should raise {wrong.error.__name__}: {wrong.text}")


def check_other_dtypes(op: Op, sample: Sample) -> None:
    """Operands whose dtypes do not go together: the operation converts them or raises, and keeps within its memory.

    Each array of floats in turn is one of other numbers. What is made of dtypes that a kernel does not expect may be
    smaller than what it writes.
    """
    for dtype in (float32, float64):
        arrays = rounded(op, sample, dtype)
        for k in _floats(drawn(op, sample)):
            for other in (bool_, int8, int32, float16, float32, float64):
                with np.errstate(all="ignore"):
                    odd = [*arrays[:k], arrays[k].astype(other.numpy), *arrays[k + 1 :]]
                with guarded(), suppress(TypeError, ValueError, IndexError, OverflowError, RuntimeError):
                    call(op, tensors(odd), attributes(op, sample), lengths(op, sample))


def check_repeatable(op: Op, sample: Sample, dtype: DType, device: Any = CPU) -> None:
    """The same bits again, for any number of threads and at any address."""
    arrays, attrs, sizes = rounded(op, sample, dtype), attributes(op, sample), lengths(op, sample)
    shifted = [_shifted(x) if isinstance(x, np.ndarray) else x for x in arrays]
    threads = _C.thread_count()
    try:
        with _autograd.no_grad():
            first = [np.asarray(g).tobytes() for g in call(op, tensors(arrays, device=device), attrs, sizes)]
            for n in (1, 2, 3):
                _C.set_thread_count(n)
                moved = [_moved_by_one(x, as_device(device)) if isinstance(x, np.ndarray) else x for x in shifted]
                again = [np.asarray(g).tobytes() for g in call(op, moved, attrs, sizes)]
                assert first == again, (
                    f"{op.name} {dtype.name} {sample.why}: other bits with {n} threads and another address"
                )
    finally:
        _C.set_thread_count(threads)


def _moved_by_one(array: np.ndarray[Any, Any], place: Device) -> Tensor:
    if place is CPU:
        return from_numpy(_shifted(array))
    room = tensor(np.concatenate([np.ravel(array)[:1], np.ravel(array)]), device=place)
    return room[-array.size :].reshape(array.shape) if array.size else tensor(array, device=place)


def check_replay(op: Op, sample: Sample, dtype: DType, calls: int = 4) -> None:
    """A captured call, with its gradients of two orders, gives the bits of an eager one: results, and what it writes.

    Over several inputs of the same shapes; what is written, like the state of random numbers, goes on from call to
    call. An operation whose shapes depend on values, or that leaves the device, is refused with CaptureError.
    """
    captured = capture(_step_of(op, sample, dtype))
    if op.dynamic or (op.output_device and default_device() is not CPU):
        try:
            list(_outcomes(op, sample, dtype, captured, calls))
        except CaptureError:
            return
        raise AssertionError(f"{op.name}: it was recorded, and cannot be")
    eager = _outcomes(op, sample, dtype, captured.function, calls)
    for k, (want, got) in enumerate(zip(eager, _outcomes(op, sample, dtype, captured, calls), strict=True)):
        what = f"{op.name} {dtype.name} {sample.why or 'sample'}: call {k}"
        assert want == got, f"{what}: a replay gives other bits than an eager call"
    assert captured.recordings == 1, f"{op.name}: recorded {captured.recordings} times: {captured.reasons}"


def _step_of(op: Op, sample: Sample, dtype: DType) -> Any:
    """The operation as a function of its array operands: what it writes and returns, and gradients of two orders."""
    arrays, attrs, sizes = rounded(op, sample, dtype), attributes(op, sample), lengths(op, sample)
    places = [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray)]

    def step(*values: Tensor) -> list[Any]:
        operands = list(arrays)
        for k, value in zip(places, values, strict=True):
            operands[k] = value
        outputs = call(op, operands, attrs, sizes)
        roots = [o for o in outputs if o is not None and o.requires_grad]
        leaves = [v for v in values if v.requires_grad]
        starts = [o.detach() for o in roots]
        if not roots:
            return outputs
        found = list(_autograd.grad(roots, leaves, starts, retain_graph=True, allow_unused=True))
        return [*outputs, *found, *_second_gradients(roots, leaves, starts)]

    return step


def _second_gradients(roots: Sequence[Tensor], leaves: Sequence[Tensor], starts: Sequence[Tensor]) -> tuple[Any, ...]:
    """Gradients of the gradients, each weighted with itself."""
    first = _autograd.grad(roots, leaves, starts, create_graph=True, allow_unused=True)
    found = [g for g in first if g is not None and g.requires_grad]
    return _autograd.grad(found, leaves, [g.detach() for g in found], allow_unused=True) if found else ()


def _outcomes(op: Op, sample: Sample, dtype: DType, function: Any, calls: int) -> Iterator[list[Any]]:
    """The bits of results and operands of some calls; those of floating operands move round in them, or grow."""
    arrays, changed = rounded(op, sample, dtype), op.written(lengths(op, sample))
    backward = sample.grad and op.differentiable and dtype.is_float and (op.random or not changed)
    state: dict[int, Tensor] = {}
    for shift in range(calls):
        values = []
        for k, x in enumerate(arrays):
            if not isinstance(x, np.ndarray):
                continue
            value = state[k] if k in state else from_numpy(_varied(op, x, shift))
            if k in changed:
                state[k] = value
            elif backward and drawn(op, sample)[k].dtype == np.float64:
                value.requires_grad = True
            values.append(value)
        yield [None if t is None else np.asarray(t.detach()).tobytes() for t in [*function(*values), *values]]


def _varied(op: Op, x: np.ndarray[Any, Any], shift: int) -> np.ndarray[Any, Any]:
    """Other values than those of the call before."""
    if x.dtype.kind in "iub":
        return x.copy()
    return np.roll(x, shift) if op.movable else x * x.dtype.type(1 + shift / 8)


def _shifted(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A contiguous copy that starts one element after an aligned address."""
    room = np.empty(array.size + 1, array.dtype)
    view = room[1:].reshape(array.shape)
    view[...] = array
    return view


def check(op: Op, device: Any = CPU) -> None:
    """All checks of one operation: forward in every dtype and layout, gradients, errors, repeatability.

    On a GPU those of `combinations`.
    """
    if as_device(device) is not CPU:
        for sample, dtype, layout, thorough in combinations(op):
            check_forward(op, sample, dtype, layout, device)
            if thorough:
                check_repeatable(op, sample, dtype, device)
            if thorough and sample.grad and op.differentiable and dtype.is_float:
                check_gradient(op, sample, dtype, device)
    else:
        for sample in samples(op):
            for dtype in op.dtypes:
                for layout in LAYOUTS:
                    check_forward(op, sample, dtype, layout)
                check_repeatable(op, sample, dtype)
            if sample.grad and op.differentiable:
                check_gradient(op, sample)
                check_second_order(op, sample)
    check_errors(op, device)
