"""Random tensors, and the generators they come from.

    dl.manual_seed(0)
    w = dl.randn(64, 128)
    order = dl.randperm(60000)

A generator is a seed and an offset in device memory (see `dlcore.ops.random`): the same seed gives the same numbers on
every device. Where no ``generator`` is given, the default one of the device is used; its seed is 0 until `manual_seed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore._arguments import boolean, instance, integer, lengths, operand, shown
from dlcore._device import Device, default_device
from dlcore._device import device as as_device
from dlcore._spelling import spelled
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import DType, as_dtype, check_size, default_float, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops import random as operations

__all__ = [
    "Generator", "bernoulli", "default_generator", "dropout", "manual_seed", "normal", "permutation", "rand", "randint",
    "randn", "randperm", "uniform",
]  # fmt: skip

Shape = int | Sequence[int]


class Generator:
    """A stream of random numbers; ``state``, an int64 tensor (seed, offset), advances with every draw.

    The tensor is the same for the generator's life, so recorded steps draw the numbers that eager ones would.
    """

    def __init__(self, seed: int = 0, device: Any = None):
        self.device = default_device() if device is None else as_device(device)
        self.state = tensor([0, 0], int64, device=self.device)
        self.manual_seed(seed)

    @property
    def seed(self) -> int:
        """The seed, in [0, 2^64)."""
        return int(self.state[0].item()) % 2**64

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of ``seed``, an integer in [-2^63, 2^64); returns the generator."""
        seed = _seed_of(seed)
        self.state[...] = tensor([seed - 2**64 if seed >= 2**63 else seed, 0], int64, device=self.device)
        return self

    def get_state(self) -> Tensor:
        """A copy of the state, for `set_state`."""
        return self.state.clone()

    def set_state(self, state: Tensor) -> None:
        """Goes back to a state that `get_state` has returned. Raises ShapeError for anything else."""
        instance(state, Tensor, "set_state: state", "a tensor")
        if state.shape != (2,) or state.dtype is not int64:
            raise ShapeError(
                f"set_state: a state is int64 of shape (2,), not {state.dtype.name} of shape {state.shape}"
            )
        self.state[...] = state

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, offset={int(self.state[1].item()) % 2**64}, device={str(self.device)!r})"


_defaults: dict[Device, Generator] = {}
_seed = 0  # of the default generators that are still to be made


def default_generator(device: Any = None) -> Generator:
    """The generator that is used on ``device`` where none is given."""
    chosen = default_device() if device is None else as_device(device)
    if chosen not in _defaults:
        _defaults[chosen] = Generator(_seed, chosen)
    return _defaults[chosen]


def generator_states() -> dict[str, Tensor]:
    """Copies of the states of the default generators, by device, for `set_generator_states`."""
    return {str(chosen): generator.get_state() for chosen, generator in _defaults.items()}


def set_generator_states(states: Mapping[str, Tensor]) -> None:
    """Goes back to states that `generator_states` has returned; those of devices that are not here are passed over."""
    for chosen in [default_device(), *_defaults]:
        if str(chosen) in states:
            default_generator(chosen).set_state(states[str(chosen)])


def manual_seed(seed: int) -> Generator:
    """Seeds the default generators of all devices; returns the one of the default device."""
    global _seed
    seed, chosen = _seed_of(seed), default_generator()
    for generator in _defaults.values():
        generator.manual_seed(seed)
    _seed = seed
    return chosen


def _seed_of(value: int) -> int:
    """A seed, checked."""
    seed = integer(value, "manual_seed: seed")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"manual_seed: {shown(seed)} is not an integer in [-2^63, 2^64)")
    return seed


def drawn_seed() -> int:
    """A seed drawn from the default generator of the CPU: another one at every call, the same after `manual_seed`."""
    return int(randint(0, 2**62, device="cpu").item())


def _state(name: str, generator: Generator | None, device: Any = None) -> Tensor:
    if generator is None:
        return default_generator(device).state
    state: Tensor = instance(generator, Generator, f"{name}: generator", "a dlcore.random.Generator").state
    return state


def _float(dtype: Any, name: str) -> DType:
    chosen = default_float() if dtype is None else as_dtype(dtype, f"{name}: dtype")
    if not chosen.is_float:
        raise DTypeError(f"{name}: {chosen.name} is not a floating-point dtype")
    return chosen


def _sizes(shape: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """The lengths given as ``rand(2, 3)`` or as ``rand((2, 3))``."""
    sizes = lengths(shape[0] if len(shape) == 1 else shape, f"{name}: shape")
    check_size(name, sizes, float64)
    return sizes


def _made(value: Tensor, requires_grad: bool) -> Tensor:
    return value.requires_grad_() if boolean(requires_grad, "requires_grad:") else value


def uniform(
    shape: Shape,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers uniform in [low, high); float32 by default. See `dlcore.ops.random.uniform`."""
    return operations.uniform(_state("uniform", generator, device), shape, low, high, _float(dtype, "uniform"))


def normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers; float32 by default. See `dlcore.ops.random.normal`."""
    return operations.normal(_state("normal", generator, device), shape, mean, std, _float(dtype, "normal"))


def bernoulli(shape: Shape, p: float = 0.5, device: Any = None, generator: Generator | None = None) -> Tensor:
    """A boolean mask, true with probability ``p``. See `dlcore.ops.random.bernoulli`."""
    return operations.bernoulli(_state("bernoulli", generator, device), shape, p)


def permutation(n: int, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The integers 0 to n - 1 in random order, int64. See `dlcore.ops.random.permutation`."""
    return operations.permutation(_state("permutation", generator, device), n)


def rand(
    *shape: Any, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Numbers uniform in [0, 1): ``rand(2, 3)`` or ``rand((2, 3))``."""
    return _made(uniform(_sizes(shape, "rand"), 0.0, 1.0, _float(dtype, "rand"), device, generator), requires_grad)


def randn(
    *shape: Any, dtype: Any = None, device: Any = None, generator: Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers: ``randn(2, 3)`` or ``randn((2, 3))``."""
    return _made(normal(_sizes(shape, "randn"), 0.0, 1.0, _float(dtype, "randn"), device, generator), requires_grad)


@spelled
def randint(
    low: int,
    high: Any = None,
    shape: Shape | None = None,
    dtype: Any = int64,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers uniform in [low, high), or in [0, low) where ``high`` is None. See `dlcore.ops.random.randint`.

    ``randint(10, (2, 3))`` is ``randint(0, 10, (2, 3))``, as in PyTorch.
    """
    if shape is None and isinstance(high, tuple | list):
        high, shape = None, high
    first, last = (0, low) if high is None else (low, high)
    return operations.randint(_state("randint", generator, device), () if shape is None else shape, first, last, dtype)


def randperm(n: int, device: Any = None, generator: Generator | None = None) -> Tensor:
    """The integers 0 to n - 1 in random order, int64: another name for `permutation`."""
    return permutation(integer(n, "randperm: n", 0), device, generator)


def dropout(x: Tensor, p: float = 0.5, generator: Generator | None = None) -> Tensor:
    """``x`` with each element set to 0 with probability ``p``, the others divided by 1 - p.

    See `dlcore.ops.random.dropout`.
    """
    x = operand(x, "dropout")
    return operations.dropout(x, _state("dropout", generator, x.device), p)
