"""Gradients of functions: `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`.

A function is differentiated with respect to tensors of its own: views of the arguments, with a history that goes on to
them only where they have one. So gradients within gradients never meet. Within a vmap such a tensor has a place for
each example, also where the argument is shared, so that each example has a gradient of its own.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from dlcore import _C
from dlcore._arguments import function, integer, items, shown
from dlcore._autograd import enable_grad, is_grad_enabled
from dlcore._batching import all_of, around, one_of
from dlcore._creation import zeros_like
from dlcore._tensor import Tensor
from dlcore.errors import AutogradError, DTypeError, ShapeError
from dlcore.func._tree import leaves, mapped, replaced
from dlcore.ops.movement import expand

__all__ = ["Differentiated", "grad", "jvp", "linearize", "value_and_grad", "vjp"]


class Differentiated:
    """A call of ``f`` whose results can be differentiated with respect to arguments.

    ``wanted``: the positions of these. ``result``: what the call returned; ``aux``: what it returned beside it.
    """

    def __init__(
        self, name: str, f: Callable[..., Any], wanted: Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any],
        has_aux: bool = False,
    ):  # fmt: skip
        self.name, self.around, self.outer = name, around(), is_grad_enabled()
        self.arguments = tuple(args[k] for k in wanted)
        self.given = leaves(self.arguments)
        for x in self.given:
            _check_argument(name, x)
        self.inputs = [self._fresh(x) for x in self.given]
        new = iter(one_of(x, self.around) for x in self.inputs)
        changed = list(args)
        for k in wanted:
            changed[k] = replaced(args[k], new)
        with enable_grad():
            found = f(*changed, **kwargs)
        self.aux = None
        if has_aux:
            if not isinstance(found, tuple) or len(found) != 2:
                raise TypeError(f"{name}: with has_aux the function returns two things, the first to differentiate")
            found, self.aux = found
        self.result = found
        self.outputs = leaves(found)
        for out in self.outputs:
            if not isinstance(out, Tensor):
                raise TypeError(f"{name}: the function returned a {type(out).__name__}, which is not a tensor")
        self.roots = [all_of(out, self.around) for out in self.outputs]
        own = {id(x) for x in self.inputs}
        self.tracked = self.outer and any(id(x) not in own for x in _C.leaves_behind(tuple(self.roots)))
        """Whether what is outside of the call is differentiated as well."""

    def _fresh(self, x: Any) -> Any:
        """A tensor to differentiate with respect to, with a place for each example."""
        whole = all_of(x, self.around)
        if self.outer and whole.requires_grad:
            return expand(whole, whole.shape)
        leaf = whole.detach()
        leaf.requires_grad = True
        return leaf

    def shown(self, value: Any) -> Any:
        """A result as others see it: without history, unless what is outside is differentiated as well."""
        if self.tracked:
            return value
        return mapped(lambda t: t.detach() if isinstance(t, Tensor) and t.requires_grad else t, value)

    def only(self, k: int) -> Differentiated:
        """The same call of which only output ``k`` is differentiated."""
        one = copy.copy(self)
        one.roots = [self.roots[k]]
        return one

    def pulled(self, douts: Sequence[Any], again: bool) -> list[Any]:
        """Gradients of the sum of outputs times ``douts`` (None: 1), for each input; ``again``: another may follow."""
        starts = [None if d is None else all_of(d, self.around) for d in douts]
        found = self._backward(starts, again, self.tracked or _tracked(self.outer, starts))
        return [
            one_of(zeros_like(x.detach()) if g is None else g, self.around)
            for x, g in zip(self.inputs, found, strict=True)
        ]

    def _backward(self, starts: Sequence[Any], again: bool, create: bool) -> Sequence[Any]:
        """What the tape gives, None where nothing depends on an input."""
        pairs = [(root, d) for root, d in zip(self.roots, starts, strict=True) if root.requires_grad]
        if not pairs:
            return [None] * len(self.inputs)
        roots, douts = zip(*pairs, strict=True)
        found: Sequence[Any] = _C.backward(roots, douts, tuple(self.inputs), again or create, create)
        return found

    def linear(self) -> Callable[[Sequence[Any]], list[Any]]:
        """tangents of the inputs -> tangents of the outputs: the gradient of the gradient, which is linear in dout."""
        dummies = [zeros_like(root.detach()) for root in self.roots]
        for dummy, root in zip(dummies, self.roots, strict=True):
            dummy.requires_grad = bool(root.requires_grad)
        with enable_grad():
            slopes = self._backward(dummies, True, True)
        used = tuple(d for d in dummies if d.requires_grad)

        def push(tangents: Sequence[Any]) -> list[Any]:
            starts = [None if t is None else all_of(t, self.around) for t in tangents]
            pairs = [(g, t) for g, t in zip(slopes, starts, strict=True) if _tracked(t is not None, [g])]
            create = self.tracked or _tracked(self.outer, starts)
            made: Any = [None] * len(used)
            if pairs and used:
                roots, douts = zip(*pairs, strict=True)
                made = _C.backward(roots, douts, used, True, create)
            following = iter(made)
            found = [next(following) if d.requires_grad else None for d in dummies]
            return [
                one_of(zeros_like(root.detach()) if t is None else t, self.around)
                for root, t in zip(self.roots, found, strict=True)
            ]

        return push


def _tracked(outer: bool, tensors: Sequence[Any]) -> bool:
    return outer and any(t is not None and t.requires_grad for t in tensors)


def _check_argument(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: an argument to differentiate with respect to is a {type(x).__name__}, not a tensor")
    if not x.dtype.is_float:
        raise DTypeError(f"{name}: an argument to differentiate with respect to is of {x.dtype.name}, not a float")


def positions(name: str, argnums: Any, n: int) -> tuple[bool, tuple[int, ...]]:
    """Whether several arguments are meant, and which."""
    several = items(argnums)
    found = []
    for value in [argnums] if several is None else several:
        k = integer(value, f"{name}: argnums")
        if not -n <= k < n:
            raise ValueError(f"{name}: argnums {shown(argnums)} for {n} arguments")
        found.append(k % n)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: argnums {shown(argnums)} names an argument twice")
    return several is not None, tuple(found)


def _gradients(name: str, f: Any, argnums: Any, has_aux: bool, args: Any, kwargs: Any) -> tuple[Any, Differentiated]:
    several, wanted = positions(name, argnums, len(args))
    call = Differentiated(name, f, wanted, args, kwargs, has_aux)
    if not isinstance(call.result, Tensor) or call.result.size != 1:
        shape = getattr(call.result, "shape", type(call.result).__name__)
        raise ShapeError(f"{name}: the function returned {shape}, and a gradient is that of one number; see jacrev")
    if not call.result.dtype.is_float:
        raise AutogradError(f"{name}: the function returned {call.result.dtype.name}, which has no gradient")
    found = replaced(call.arguments, iter(call.pulled([None], False)))
    return (found if several else found[0]), call


def grad(f: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the gradient of ``f``, whose result is one number, at its arguments.

    ``argnums``: which argument, or a tuple of several (the result is a tuple then). Arguments may be structures (dicts,
    tuples, lists) of floating-point tensors: the gradient has the same. ``has_aux``: ``f`` returns (number, more), and
    the result is (gradient, more). Where ``f`` does not depend on an argument its gradient is 0.

    Can be nested, within `vmap` (for each example a gradient of its own) and around it. Tensors that ``f`` uses from
    outside are constants to this gradient; where they require a gradient of theirs, the result has one as well.

    Raises ShapeError where the result has more than one element, TypeError and DTypeError for arguments.

    >>> dl.func.grad(lambda x: (x**3).sum())(dl.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    >>> dl.func.grad(dl.func.grad(lambda x: x**3))(dl.tensor(2.0))
    tensor(12.)
    """
    function(f, "grad: f")

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, call = _gradients("grad", f, argnums, has_aux, args, kwargs)
        return (found, call.shown(call.aux)) if has_aux else found

    return gradient


def value_and_grad(f: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the value of ``f`` and its gradient: (value, gradient). See `grad`.

    With ``has_aux`` it is ((value, more), gradient).

    >>> dl.func.value_and_grad(lambda x: (x * x).sum())(dl.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """
    function(f, "value_and_grad: f")

    @functools.wraps(f)
    def both(*args: Any, **kwargs: Any) -> Any:
        found, call = _gradients("value_and_grad", f, argnums, has_aux, args, kwargs)
        value = call.shown(call.result)
        return ((value, call.shown(call.aux)) if has_aux else value), found

    return both


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(f(*primals), pull): ``pull(dout)`` are the gradients of sum(dout * result) with respect to the primals.

    ``dout`` has the structure of the result. The gradient comes alone where there is one primal, as a tuple where there
    are several. ``pull`` may be called again and again, and within `vmap`. ``has_aux``: (result, pull, more).

    >>> y, pull = dl.func.vjp(lambda x: x * x, dl.tensor([1.0, 2.0]))
    >>> pull(dl.tensor([1.0, 10.0]))
    tensor([ 2., 40.])
    """
    function(f, "vjp: f")
    call = Differentiated("vjp", f, range(len(primals)), primals, {}, has_aux)

    def pull(dout: Any) -> Any:
        given = leaves(dout)
        _check_like("vjp: dout", given, call.outputs)
        found = replaced(call.arguments, iter(call.pulled(given, True)))
        return found if len(primals) != 1 else found[0]

    made = (call.shown(call.result), pull)
    return (*made, call.shown(call.aux)) if has_aux else made


def _check_like(where: str, given: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Raises where tensors do not have the shapes and dtypes of others."""
    if len(given) != len(wanted):
        raise ValueError(f"{where}: {len(given)} tensors for {len(wanted)}")
    for g, w in zip(given, wanted, strict=True):
        if not isinstance(g, Tensor):
            raise TypeError(f"{where}: a {type(g).__name__} is no tensor")
        if g.shape != w.shape or g.dtype is not w.dtype:
            raise ShapeError(f"{where}: {g.shape} of {g.dtype.name} for a tensor of shape {w.shape} of {w.dtype.name}")


def linearize(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(*primals), push): ``push(*tangents)`` is the directional derivative of ``f`` at the primals.

    ``f`` runs once; each call of ``push`` costs one backward pass. Exact, by the gradient of a gradient: the operations
    in ``f`` must be twice differentiable.

    >>> y, push = dl.func.linearize(lambda x: x * x, dl.tensor([1.0, 2.0]))
    >>> push(dl.tensor([1.0, 0.0])), push(dl.tensor([0.0, 1.0]))
    (tensor([2., 0.]), tensor([0., 4.]))
    """
    function(f, "linearize: f")
    return _linearized("linearize", f, primals)[:2]


def _linearized(name: str, f: Any, primals: tuple[Any, ...], has_aux: bool = False) -> tuple[Any, Any, Differentiated]:
    call = Differentiated(name, f, range(len(primals)), primals, {}, has_aux)
    linear = call.linear()

    def push(*tangents: Any) -> Any:
        given = leaves(tangents)
        _check_like(f"{name}: tangents", given, leaves(call.arguments))
        return replaced(call.result, iter(linear(given)))

    return call.shown(call.result), push, call


def jvp(f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(f(*primals), its directional derivative along ``tangents``): the Jacobian times a vector.

    ``primals`` and ``tangents``: tuples with an entry for each argument. Exact; see `linearize` for several directions.
    ``has_aux``: (result, derivative, more).

    >>> dl.func.jvp(lambda x: x * x, (dl.tensor([1.0, 2.0]),), (dl.tensor([1.0, 1.0]),))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    function(f, "jvp: f")
    for what, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, tuple | list):
            raise TypeError(f"jvp: {what} {shown(value)} is not a tuple with an entry for each argument")
    result, push, call = _linearized("jvp", f, tuple(primals), has_aux)
    made = (result, push(*tangents))
    return (*made, call.shown(call.aux)) if has_aux else made
