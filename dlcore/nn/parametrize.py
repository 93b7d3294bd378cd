"""Parametrisations: a weight that is computed from other parameters whenever it is read.

    nn.parametrize.weight_norm(layer)       # layer.weight = g * v / |v|, trained as g and v
    nn.parametrize.spectral_norm(layer)     # layer.weight divided by its largest singular value

The names in `state_dict` are PyTorch's (``torch.nn.utils.parametrizations``): "parametrizations.weight.original0", ...
An optimizer must be given the parameters after this.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any, Self

from dlcore import _C
from dlcore._arguments import boolean, instance, integer, number
from dlcore._autograd import no_grad
from dlcore._tensor import Parameter, Tensor
from dlcore.errors import ShapeError
from dlcore.nn.module import Module
from dlcore.ops.elementwise import div, maximum, mul, sqrt, square
from dlcore.ops.matmul import matmul
from dlcore.ops.movement import permute, reshape
from dlcore.ops.reduce import sum as sum_
from dlcore.ops.slicing import assign
from dlcore.random import randn

__all__ = ["is_parametrized", "remove_parametrizations", "spectral_norm", "weight_norm"]


class Parametrization(Module):
    """What a tensor of a module is computed from: its parameters, and `value`, which computes it."""

    def value(self) -> Tensor:
        """The tensor."""
        raise NotImplementedError(f"{type(self).__name__}: value is not written")

    def assign(self, value: Tensor) -> None:
        """Make the tensor ``value``, as far as it can be."""
        raise NotImplementedError(f"{type(self).__name__}: assign is not written")


class _WeightNorm(Parametrization):
    """g * v / |v|: ``original0`` is g, ``original1`` v; the norm is over all axes but ``dim``."""

    def __init__(self, weight: Tensor, dim: int | None):
        self.dim = dim
        self.original0 = Parameter(self._norm(weight.detach()))
        self.original1 = Parameter(weight.detach().clone())

    def _norm(self, v: Any) -> Any:
        axes = tuple(d for d in range(v.ndim) if d != self.dim)
        return sqrt(sum_(square(v), axes, self.dim is not None))

    def value(self) -> Tensor:
        v = self.original1
        found: Tensor = mul(v, div(self.original0, self._norm(v)))
        return found

    def assign(self, value: Tensor) -> None:
        with no_grad():
            assign.inplace(self.original0, self._norm(value))
            assign.inplace(self.original1, value)


class _Singular(Module):
    """The vectors by which the largest singular value is found: buffers ``_u`` and ``_v``."""

    def __init__(self, matrix: Any):
        rows, columns = matrix.shape
        made = {"dtype": matrix.dtype, "device": matrix.device}
        self.register_buffer("_u", randn(rows, **made))
        self.register_buffer("_v", randn(columns, **made))

    _u: Tensor
    _v: Tensor

    def iterate(self, matrix: Any, times: int, eps: float) -> None:
        """The power method, in place."""
        with no_grad():
            for _ in range(times):
                assign.inplace(self._u, _unit(matmul(matrix, self._v), eps))
                assign.inplace(self._v, _unit(matmul(matrix.T, self._u), eps))


def _unit(x: Any, eps: float) -> Any:
    return div(x, maximum(sqrt(sum_(square(x))), eps))


class _SpectralNorm(Parametrization):
    """``original`` divided by its largest singular value, which each read in training comes nearer to."""

    def __init__(self, weight: Tensor, n_power_iterations: int, eps: float, dim: int):
        self.n_power_iterations, self.eps, self.dim = n_power_iterations, eps, dim
        self.original = Parameter(weight.detach().clone())
        if weight.ndim > 1:
            matrix = self._matrix(self.original.detach())
            singular = _Singular(matrix)
            for vector in (singular._u, singular._v):
                assign.inplace(vector, _unit(vector, eps))
            singular.iterate(matrix, 15, eps)
            setattr(self, "0", singular)

    def _matrix(self, weight: Any) -> Any:
        order = (self.dim, *(d for d in range(weight.ndim) if d != self.dim))
        moved = permute(weight, order) if self.dim else weight
        return reshape(moved, (moved.shape[0], -1))

    def value(self) -> Tensor:
        weight = self.original
        if weight.ndim < 2:
            vector: Tensor = _unit(weight, self.eps)
            return vector
        matrix, singular = self._matrix(weight), getattr(self, "0")
        if self.training:
            singular.iterate(matrix.detach(), self.n_power_iterations, self.eps)
        # Copies: another read in the same step moves the vectors on, and this one's gradient needs them as they are.
        u, v = singular._u.clone(), singular._v.clone()
        found: Tensor = div(weight, sum_(mul(u, matmul(matrix, v))))
        return found

    def assign(self, value: Tensor) -> None:
        with no_grad():
            assign.inplace(self.original, value)


# ---- how a module is given one --------------------------------------------------------------------------------------


class _Parametrized:
    """Base of the classes that modules with parametrisations have."""

    parametrizations: dict[str, Parametrization]


def _parametrized_class(cls: type[Module], names: Iterable[str]) -> type[Module]:
    """The class whose tensors of these names are properties. It has no name that a file could hold.

    It is never changed, as copies of a module have it, too: with other names a module gets another class.
    """
    names = frozenset(names)
    for made in cls.__subclasses__():
        if vars(made).get("_computed") == names:
            return made

    class Parametrized(_Parametrized, cls):  # type: ignore[misc, valid-type]
        _computed = names

        def __copy__(self) -> Self:
            raise TypeError(f"{cls.__name__}: copy.copy would share its parametrisations; use copy.deepcopy")

        def __reduce_ex__(self, protocol: Any) -> Any:
            how, (made, *args), *state = super().__reduce_ex__(max(protocol, 2))  # a module may have its own way
            if how is not copyreg.__newobj__ or made is not Parametrized:  # type: ignore[attr-defined]
                return (how, (made, *args), *state)
            return (_blank, (cls, names, *args), *state)

    Parametrized.__name__ = f"Parametrized{cls.__name__}"
    for name in names:
        setattr(Parametrized, name, _property(name))
    return Parametrized


def _blank(cls: type[Module], names: Iterable[str], *args: Any) -> Module:
    """A module of that class before its state is set: how one is pickled and copied."""
    made = _parametrized_class(cls, names)
    return made.__new__(made, *args)


def _set_class(module: Module) -> None:
    """The class that a module with these parametrisations has: its own where there are none."""
    own = type(module).__mro__[2] if isinstance(module, _Parametrized) else type(module)
    made = vars(module)["parametrizations"]
    object.__setattr__(module, "__class__", _parametrized_class(own, made) if made else own)


def _property(name: str) -> property:
    def read(self: Any) -> Tensor:
        found: Tensor = self.parametrizations[name].value()
        return found

    def write(self: Any, value: Any) -> None:
        self.parametrizations[name].assign(value)

    return property(read, write)


def _given(function: str, module: Any, name: Any) -> Tensor:
    """The parameter that is to be computed; raises what is wrong with it."""
    instance(module, Module, f"{function}: module", "a module")
    instance(name, str, f"{function}: name", "a text")
    if _C.is_recording():
        raise RuntimeError(f"{function}: a module cannot be given a parametrisation inside a recorded step")
    if is_parametrized(module, name):
        raise ValueError(f"{function}: {type(module).__name__}.{name} has a parametrisation already")
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ValueError(f"{function}: {type(module).__name__} has no parameter {name!r}")
    return weight


def _install(module: Any, name: str, made: Parametrization, weight: Tensor) -> None:
    for parameter in made.parameters():
        parameter.requires_grad = weight.requires_grad
    made.train(module.training)
    object.__delattr__(module, name)
    module.parametrizations = {**vars(module).get("parametrizations", {}), name: made}
    _set_class(module)
    _C.note_change()


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """``module``, whose parameter ``name`` is now g * v / |v| (Salimans & Kingma 2016), trained as g and v.

    The norm is over all axes but ``dim``; over all axes where that is None. In ``state_dict`` g and v are
    "parametrizations.weight.original0" and "...original1". Raises ValueError where there is no such parameter.

    >>> layer = nn.parametrize.weight_norm(nn.Linear(4, 3))
    >>> [n for n, _ in layer.named_parameters()]
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    weight = _given("weight_norm", module, name)
    axis = None if dim is None or dim == -1 else integer(dim, "weight_norm: dim")
    if axis is not None and not -weight.ndim <= axis < weight.ndim:
        raise IndexError(f"weight_norm: dim {axis} is out of range for shape {weight.shape}")
    axis = axis if axis is None else axis % weight.ndim
    _install(module, name, _WeightNorm(weight, axis), weight)
    return module


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:  # fmt: skip
    """``module``, whose parameter ``name`` is now divided by its largest singular value (Miyato et al. 2018).

    The parameter is taken as a matrix with axis ``dim`` for rows (default: 0, and 1 of transposed convolutions). In
    training mode each read first takes ``n_power_iterations`` steps of the power method, also inside a recorded step;
    its vectors are the buffers "parametrizations.weight.0._u" and "..._v", the parameter "...weight.original". A vector
    is divided by its norm. Raises ValueError where there is no such parameter.

    >>> layer = nn.parametrize.spectral_norm(nn.Linear(1, 3))
    >>> round(dl.linalg.norm(layer.weight, 2).item(), 4)
    1.0
    """
    weight = _given("spectral_norm", module, name)
    times = integer(n_power_iterations, "spectral_norm: n_power_iterations", 1)
    least = number(eps, "spectral_norm: eps")
    transposed = type(module).__name__.startswith("ConvTranspose")
    axis = integer(int(transposed) if dim is None else dim, "spectral_norm: dim")
    if not -weight.ndim <= axis < max(weight.ndim, 1):
        raise IndexError(f"spectral_norm: dim {axis} is out of range for shape {weight.shape}")
    if not weight.ndim or not weight.size:
        raise ShapeError(f"spectral_norm: a parameter of shape {weight.shape} has no singular values")
    _install(module, name, _SpectralNorm(weight, times, least, axis % weight.ndim), weight)
    return module


def is_parametrized(module: Any, name: str | None = None) -> bool:
    """Whether ``module`` has a parametrisation, of its tensor ``name`` if one is given."""
    found = isinstance(module, _Parametrized)
    return found and (name is None or name in module.parametrizations)


def remove_parametrizations(module: Any, name: str = "weight", leave_parametrized: bool = True) -> Any:
    """``module`` with a plain parameter ``name`` again: what it was computed to be.

    With ``leave_parametrized=False`` it is the parameter that it was computed from, where there is only one.
    """
    if not is_parametrized(module, name):
        raise ValueError(f"remove_parametrizations: {type(module).__name__} has no parametrisation of {name!r}")
    made = module.parametrizations[name]
    trained = all(p.requires_grad for p in made.parameters())
    if boolean(leave_parametrized, "remove_parametrizations: leave_parametrized"):
        with no_grad():
            value = made.value().detach().clone()
    elif isinstance(made, _SpectralNorm):
        value = made.original.detach()
    else:
        raise ValueError("remove_parametrizations: of several parameters none is the weight: leave_parametrized=True")
    module.parametrizations = {other: p for other, p in module.parametrizations.items() if other != name}
    _set_class(module)
    if not module.parametrizations:
        del module.parametrizations
    parameter = Parameter(value)
    parameter.requires_grad = trained
    setattr(module, name, parameter)
    _C.note_change()
    return module
