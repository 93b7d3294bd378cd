"""All parameters as one vector, under PyTorch's names: for methods that see a model as a point."""

from __future__ import annotations

from collections.abc import Iterable

from dlcore._arguments import instance, listed, operand
from dlcore._autograd import no_grad
from dlcore._tensor import Tensor
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops.movement import concat, reshape
from dlcore.ops.shaping import part

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of ``parameters``, one after another: (n,), n the sum of their sizes, in the widest of their dtypes.

    The order is that of the parameters and, in each, of its elements, the last axis first. It is differentiable, so
    that the gradient of a function of the vector is that of each parameter. Raises ValueError where there are none.

    >>> model = nn.Linear(3, 2)
    >>> nn.utils.parameters_to_vector(model.parameters()).shape
    (8,)
    """
    name = "parameters_to_vector"
    given = _given(parameters, name)
    if not given:
        raise ValueError(f"{name}: there are no parameters")
    found: Tensor = concat([reshape(p, (-1,)) for p in given], 0)
    return found


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the elements of ``vec``, (n,), into ``parameters``, in the order of `parameters_to_vector`.

    Values are converted to each parameter's dtype. The parameters stay the same tensors, in memory of their own (in
    PyTorch they become views of ``vec``), so that optimizers and recorded steps go on with them; nothing is tracked.
    Raises ShapeError, before anything changes, where n is not the sum of their sizes, DTypeError for integers.

    >>> model = nn.Linear(3, 2)
    >>> nn.utils.vector_to_parameters(dl.arange(8.0), model.parameters())
    >>> model.bias.tolist()
    [6.0, 7.0]
    """
    name = "vector_to_parameters"
    vector, given = operand(vec, name, "vec"), _given(parameters, name)
    total = sum(p.size for p in given)
    if vector.shape != (total,):
        raise ShapeError(f"{name}: vec has shape {vector.shape}, not ({total},), the elements of the parameters")
    if not vector.dtype.is_float:
        raise DTypeError(f"{name}: vec is of dtype {vector.dtype.name}, not of a floating-point dtype")
    at = 0
    with no_grad():
        for p in given:
            p.copy_(reshape(part(vector, 0, at, p.size), p.shape).astype(p.dtype))
            at += p.size


def _given(parameters: Iterable[Tensor], name: str) -> list[Tensor]:
    """The parameters, each a tensor of floating-point numbers."""
    given = [parameters] if isinstance(parameters, Tensor) else listed(parameters, f"{name}: parameters", "parameters")
    for k, p in enumerate(given):
        instance(p, Tensor, f"{name}: parameter {k}", "a tensor")
    return given
