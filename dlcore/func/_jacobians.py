"""All derivatives of a function at once: `jacrev`, `jacfwd`, `hessian`, and `hvp`, a product with the second ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from dlcore._arguments import function, integer
from dlcore._creation import eye
from dlcore.func._gradients import Differentiated, grad, jvp, positions
from dlcore.func._tree import replaced
from dlcore.func._vmap import vmap
from dlcore.ops.movement import permute, reshape

__all__ = ["hessian", "hvp", "jacfwd", "jacrev"]


def _basis(t: Any) -> Any:
    """The directions along each element of ``t``: (elements, *shape)."""
    n = math.prod(t.shape)
    return reshape(eye(n, dtype=t.dtype, device=t.device), (n, *t.shape))


def _of(call: Differentiated, rows: list[list[Any]], several: bool) -> Any:
    """The Jacobians of each output in the structure of the result, of each in the structure of the arguments."""

    def one(found: list[Any]) -> Any:
        like = replaced(call.arguments, iter(found))
        return like if several else like[0]

    return replaced(call.result, iter([one(found) for found in rows]))


def jacrev(
    f: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The function that gives the Jacobian of ``f`` by reverse mode: one backward pass, for all elements of the result.

    For a result of shape S and an argument of shape T it has shape S + T: entry [i, j] is d result[i] / d argument[j].
    With structures of tensors: that of the result, with that of the argument in each place. ``chunk_size``: so many
    elements of the result at a time, which bounds the memory. The others as in `grad`. Better than `jacfwd` where the
    result has fewer elements than the argument.

    >>> dl.func.jacrev(lambda x: x * x)(dl.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    function(f, "jacrev: f")
    chunk = None if chunk_size is None else integer(chunk_size, "jacrev: chunk_size", 1)

    @functools.wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        several, wanted = positions("jacrev", argnums, len(args))
        call = Differentiated("jacrev", f, wanted, args, kwargs, has_aux)
        rows = []
        for k, out in enumerate(call.outputs):
            found = _pulled(call, k, out, chunk)
            shapes = [x.shape[len(call.around) :] for x in call.inputs]
            rows.append([reshape(g, (*out.shape, *shape)) for g, shape in zip(found, shapes, strict=True)])
        made = _of(call, rows, several)
        return (made, call.shown(call.aux)) if has_aux else made

    return jacobian


def _pulled(call: Differentiated, k: int, out: Any, chunk: int | None) -> tuple[Any, ...]:
    """The gradients of each element of output ``k``, along axis 0."""

    def pull(dout: Any) -> tuple[Any, ...]:
        return tuple(call.only(k).pulled([dout], True))

    return tuple(vmap(pull, chunk_size=chunk)(_basis(out)))


def jacfwd(
    f: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The Jacobian of ``f`` by directional derivatives, one for each element of the argument. See `jacrev`.

    Better than `jacrev` where the argument has fewer elements than the result. ``chunk_size``: so many at a time.

    >>> dl.func.jacfwd(lambda t: dl.stack([t, t * t]))(dl.tensor(3.0))
    tensor([1., 6.])
    """
    function(f, "jacfwd: f")
    chunk = None if chunk_size is None else integer(chunk_size, "jacfwd: chunk_size", 1)

    @functools.wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        several, wanted = positions("jacfwd", argnums, len(args))
        call = Differentiated("jacfwd", f, wanted, args, kwargs, has_aux)
        linear, shapes = call.linear(), [x.shape[len(call.around) :] for x in call.inputs]
        columns = []
        for k, x in enumerate(call.given):

            def push(tangent: Any, k: int = k) -> tuple[Any, ...]:
                return tuple(linear([tangent if j == k else None for j in range(len(call.inputs))]))

            columns.append(vmap(push, chunk_size=chunk)(_basis(x)))
        rows = []
        for k, out in enumerate(call.outputs):
            found = [column[k] for column in columns]
            behind = [permute(c, (*range(1, c.ndim), 0)) for c in found]
            rows.append([reshape(c, (*out.shape, *shape)) for c, shape in zip(behind, shapes, strict=True)])
        made = _of(call, rows, several)
        return (made, call.shown(call.aux)) if has_aux else made

    return jacobian


def hessian(f: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that gives all second derivatives of ``f``: for a number of an argument of shape T, T + T.

    The Jacobian of the Jacobian, by reverse mode both times. See `jacrev` for structures.

    >>> dl.func.hessian(lambda x: (x**3).sum())(dl.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(f, argnums), argnums)


def hvp(f: Callable[..., Any], primals: Any, vectors: Any) -> Any:
    """The second derivatives of ``f``, whose result is one number, times vectors: without making them all.

    ``primals`` and ``vectors``: tuples with an entry for each argument. The result has the structure of ``primals``.

    >>> dl.func.hvp(lambda x: (x**3).sum(), (dl.tensor([1.0, 2.0]),), (dl.tensor([1.0, 1.0]),))
    (tensor([ 6., 12.]),)
    """
    function(f, "hvp: f")
    return jvp(grad(f, tuple(range(len(primals)))), tuple(primals), tuple(vectors))[1]
