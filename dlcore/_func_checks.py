"""Checks of gradients and of batches, parts of `dlcore.testing`: `gradcheck`, `gradgradcheck`, `check_batching`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore._arguments import function
from dlcore._autograd import grad
from dlcore._tensor import Tensor, from_numpy, tensor
from dlcore.dtypes import DType, float32, float64
from dlcore.func import grad as grad_of
from dlcore.func import vmap
from dlcore.func._tree import leaves, replaced
from dlcore.op import Op, Sample, lengths_of

__all__ = ["check_batching", "gradcheck", "gradgradcheck"]

EXAMPLES = 3


def check_batching(op: Op, sample: Sample, dtype: DType | None = None) -> None:
    """`dlcore.func.vmap` of the operation, and of its gradient, gives what a loop over the examples gives.

    The examples are the sample with the elements of each array moved round. Once all operands have examples, and where
    there are several tensors, once all but the first, and once only the first.
    """
    chosen = dtype or (float32 if float32 in op.dtypes else op.dtypes[0])
    with np.errstate(over="ignore"):
        arrays = [
            x.astype(chosen.numpy) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
            for x in sample.arrays(op.name, op.signature.operands)
        ]
    places = [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray)]
    if not places or op.random or op.dynamic:
        return
    sizes, attrs = lengths_of(sample.inputs, op.signature.operands), op.named_attributes(sample.attrs)
    written = set(op.written(sizes))
    several = [places, places[1:], places[:1]] if len(places) > 1 else [places]
    for chosen_places in several:
        if written <= set(chosen_places):
            _compare(op, sample, arrays, attrs, sizes, chosen_places)
    if sample.grad and op.differentiable and not written:
        for shared in (0, 1):
            _compare_gradients(op, sample, attrs, sizes, shared)


def _examples(x: Any) -> Any:
    return np.stack([np.roll(x, k) if x.dtype.kind == "f" or x.ndim < 2 else x for k in range(EXAMPLES)])


def _compare(
    op: Op, sample: Sample, arrays: Sequence[Any], attrs: Sequence[Any], sizes: tuple[int, ...], places: Sequence[int]
) -> None:
    stacked = [_examples(x) if k in places else x for k, x in enumerate(arrays)]

    def function(*values: Any) -> tuple[Any, ...]:
        result = op.call(*op.nested(values, sizes), *attrs)
        outputs = result if isinstance(result, tuple) else (result,)
        return (*outputs, *(values[k] for k in op.written(sizes)))

    what = f"vmap of {op.name}, {sample.why or 'a sample'}, examples of operands {tuple(places)}"
    looped = []
    for i in range(EXAMPLES):
        one = [np.array(x[i]) if k in places else x for k, x in enumerate(stacked)]
        found, error = _attempt(function, _tensors(one))
        if error is not None:
            return  # no example of its own: a label that was moved to where it is none
        looped.append(found)
    axes = tuple(0 if k in places else None for k in range(len(arrays)))
    found, error = _attempt(vmap(function, in_axes=axes), _tensors([_copied(x) for x in stacked]))
    assert error is None, f"{what}: {error!r}"
    for k, (got, *want) in enumerate(zip(found, *looped, strict=True)):
        if got is None:
            assert all(w is None for w in want), f"{what} [{k}]: None"
            continue
        _check_close(f"{what} [{k}]", np.asarray(got), np.stack([np.asarray(w) for w in want]), op.ulp)


def _compare_gradients(op: Op, sample: Sample, attrs: Sequence[Any], sizes: tuple[int, ...], shared: int) -> None:
    """The gradients of a weighted sum of the results for each example, in float64; ``shared`` tensors have none."""
    arrays = sample.arrays(op.name, op.signature.operands)
    places = [k for k, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype == np.float64 and x.size]
    if len(places) <= shared:
        return
    constants = _tensors([_copied(x) for x in arrays])

    def function(*values: Any) -> Any:
        operands = list(constants)
        for k, value in zip(places, values, strict=True):
            operands[k] = value
        result = op.call(*op.nested(operands, sizes), *attrs)
        floats = [o for o in (result if isinstance(result, tuple) else (result,)) if o is not None and o.dtype.is_float]
        weighted = [(o * np.cos(np.arange(o.size) + k).reshape(o.shape)).sum() for k, o in enumerate(floats)]
        return sum(weighted, tensor(0.0, float64))

    gradient = grad_of(function, tuple(range(len(places))))
    values = _tensors([arrays[k] if j < shared else _examples(arrays[k]) for j, k in enumerate(places)])
    one = [[v if j < shared else v[i] for j, v in enumerate(values)] for i in range(EXAMPLES)]
    looped = [_attempt(gradient, v) for v in one]
    if any(error is not None for _, error in looped):
        return
    axes = tuple(None if j < shared else 0 for j in range(len(places)))
    found, error = _attempt(vmap(gradient, in_axes=axes), values)
    what = f"vmap of the gradient of {op.name}, {sample.why or 'a sample'}, {shared} shared"
    assert error is None, f"{what}: {error!r}"
    for k, (got, *want) in enumerate(zip(found, *(g for g, _ in looped), strict=True)):
        _check_close(f"{what} [{k}]", np.asarray(got), np.stack([np.asarray(w) for w in want]), op.ulp)


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _tensors(values: Sequence[Any]) -> list[Any]:
    return [from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x for x in values]


def _attempt(function: Callable[..., Any], values: Sequence[Any]) -> tuple[Any, Exception | None]:
    try:
        return [r.detach() if isinstance(r, Tensor) else r for r in function(*values)], None
    except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
        return None, error


def _check_close(what: str, got: Any, want: Any, ulp: float) -> None:
    alike = got.shape == want.shape and got.dtype == want.dtype
    assert alike, f"{what}: {got.dtype}{got.shape}, not {want.dtype}{want.shape}"
    if want.dtype.kind not in "fV":
        assert np.array_equal(got, want), f"{what}: other values"
        return
    exact, other = want.astype(np.float64), got.astype(np.float64)
    size = np.max(np.abs(exact[np.isfinite(exact)]), initial=0.0)
    bound = 8 * max(ulp, 1.0) * float(np.finfo(np.float32).eps) * size if want.dtype.itemsize >= 4 else 0.05 * size
    same = np.isclose(other, exact, rtol=0, atol=bound, equal_nan=True)
    assert same.all(), f"{what}: {other[~same][:3]} for {exact[~same][:3]}"


# ---- gradients of any function -------------------------------------------------------------------------------------


def gradcheck(f: Callable[..., Any], *args: Any, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3) -> bool:
    """Whether the gradients of ``f`` are its derivatives: True, or AssertionError that names the worst element.

    ``args``: its arguments, tensors or structures of them; gradients are checked with respect to those of float64 that
    require a gradient (to all of float64, where none does). Every element of these is moved by ``eps`` to both sides,
    and the differences of all floating results compared with what the backward pass gives: |a - n| <= atol + rtol |n|.
    So ``f`` runs twice for each element: keep arguments small, and away from kinks.

    >>> dl.testing.gradcheck(lambda x: dl.sin(x) * x, dl.tensor([0.5, 2.0], dtype=dl.float64))
    True
    """
    function(f, "gradcheck: f")
    values = leaves(args)
    chosen = _checked(values, "gradcheck")
    analytic = _jacobian(f, args, values, chosen)
    for k in chosen:
        numeric = _differences(f, args, values, k, eps)
        for output, (got, want) in enumerate(zip(analytic[k], numeric, strict=True)):
            wrong = ~(np.abs(got - want) <= atol + rtol * np.abs(want))
            if wrong.any():
                at = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(got - want) * wrong)), want.shape))
                behind = values[k].ndim
                place, element = at[: want.ndim - behind], at[want.ndim - behind :]
                raise AssertionError(
                    f"gradcheck: d result {output}{list(place)} / d argument {k}{list(element)} is {got[at]:.8g} by "
                    f"the backward pass, {want[at]:.8g} by differences; {int(wrong.sum())} of {want.size} are wrong"
                )
    return True


def gradgradcheck(f: Callable[..., Any], *args: Any, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3) -> bool:
    """Whether the gradients of the gradients of ``f`` are right. See `gradcheck`, of the function that gives them."""
    function(f, "gradgradcheck: f")
    values = leaves(args)
    chosen = _checked(values, "gradgradcheck")
    outputs = [r.detach() for r in _floats(f(*args))]
    rng = np.random.default_rng(0)
    weights = [from_numpy(rng.standard_normal(r.shape)).astype(r.dtype) for r in outputs]

    def gradients(*tensors: Any) -> Any:
        following = iter(tensors)
        new = [next(following) if k in chosen else v for k, v in enumerate(values)]
        results = _floats(f(*replaced(args, iter(new))))
        roots = [(r, w) for r, w in zip(results, weights, strict=True) if r.requires_grad]
        found = grad([r for r, _ in roots], tensors, [w for _, w in roots], create_graph=True, allow_unused=True)
        return [t * 0 if g is None else g for g, t in zip(found, tensors, strict=True)]

    return gradcheck(gradients, *(_leaf(values[k]) for k in chosen), eps=eps, atol=atol, rtol=rtol)


def _checked(values: Sequence[Any], name: str) -> list[int]:
    """Which of the arguments are moved."""
    floats = [k for k, v in enumerate(values) if isinstance(v, Tensor) and v.dtype is float64]
    wanted = [k for k, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    for k in wanted:
        if values[k].dtype is not float64:
            raise TypeError(
                f"{name}: argument {k} is of {values[k].dtype.name}, in which differences say nothing; use float64"
            )
    if not floats:
        raise TypeError(f"{name}: no argument is a tensor of float64")
    return wanted or floats


def _floats(result: Any) -> list[Any]:
    return [r for r in leaves(result) if isinstance(r, Tensor) and r.dtype.is_float]


def _leaf(value: Any) -> Any:
    leaf = value.detach().clone()
    leaf.requires_grad = True
    return leaf


def _jacobian(f: Any, args: Any, values: Sequence[Any], chosen: Sequence[int]) -> dict[int, list[Any]]:
    """For each argument moved, the derivatives of each floating result: one backward pass for each of its elements."""
    new = [_leaf(v) if k in chosen else v for k, v in enumerate(values)]
    results = _floats(f(*replaced(args, iter(new))))
    found: dict[int, list[Any]] = {k: [np.zeros((*r.shape, *values[k].shape)) for r in results] for k in chosen}
    for n, r in enumerate(results):
        for place in np.ndindex(r.shape) if r.requires_grad else ():
            start = np.zeros(r.shape)
            start[place] = 1.0
            inputs = [new[k] for k in chosen]
            rows = grad(r, inputs, from_numpy(start).astype(r.dtype), retain_graph=True, allow_unused=True)
            for k, row in zip(chosen, rows, strict=True):
                found[k][n][place] = 0.0 if row is None else np.asarray(row)
    return found


def _differences(f: Any, args: Any, values: Sequence[Any], k: int, eps: float) -> list[Any]:
    """The same of argument ``k`` by differences to both sides."""
    base = np.array(values[k].detach())

    def at(place: tuple[int, ...], step: float) -> list[Any]:
        moved = base.copy()
        moved[place] += step
        leaf = from_numpy(moved)
        leaf.requires_grad = bool(values[k].requires_grad)
        new = [leaf if j == k else v for j, v in enumerate(values)]
        return [np.array(r.detach(), np.float64) for r in _floats(f(*replaced(args, iter(new))))]

    columns = [
        [(a - b) / (2 * eps) for a, b in zip(at(place, eps), at(place, -eps), strict=True)]
        for place in np.ndindex(base.shape)
    ]
    if not columns:
        return [np.zeros((*r.shape, *base.shape)) for r in _floats(f(*args))]
    return [np.stack(some, -1).reshape(*some[0].shape, *base.shape) for some in zip(*columns, strict=True)]
