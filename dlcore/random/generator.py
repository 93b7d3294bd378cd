"""Generators: a seed and an offset in device memory, and the default one of each device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcore._arguments import instance, integer, shown
from dlcore._device import Device, default_device
from dlcore._device import device as as_device
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import int64
from dlcore.errors import ShapeError

__all__ = [
    "Generator", "default_generator", "generator_states", "manual_seed", "set_generator_states", "state_of",
]  # fmt: skip


class Generator:
    """A stream of random numbers; ``state``, an int64 tensor (seed, offset), advances with every draw.

    The tensor is the same for the generator's life, so recorded steps draw the numbers that eager ones would.

    >>> g = dl.random.Generator(7)
    >>> dl.random.randint(10, shape=(3,), generator=g).shape
    (3,)
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
    """The generator that is used on ``device`` where none is given.

    >>> dl.random.default_generator() is dl.random.default_generator()
    True
    """
    chosen = default_device() if device is None else as_device(device)
    if chosen not in _defaults:
        _defaults[chosen] = Generator(_seed, chosen)
    return _defaults[chosen]


def generator_states() -> dict[str, Tensor]:
    """Copies of the states of the default generators, by device, for `set_generator_states`.

    >>> states = dl.random.generator_states()
    >>> first = dl.random.rand(3)
    >>> dl.random.set_generator_states(states)
    >>> bool((dl.random.rand(3) == first).all())
    True
    """
    return {str(chosen): generator.get_state() for chosen, generator in _defaults.items()}


def set_generator_states(states: Mapping[str, Tensor]) -> None:
    """Goes back to states that `generator_states` has returned; those of devices that are not here are passed over.

    >>> states = dl.random.generator_states()
    >>> dl.random.set_generator_states(states)
    """
    for chosen in [default_device(), *_defaults]:
        if str(chosen) in states:
            default_generator(chosen).set_state(states[str(chosen)])


def manual_seed(seed: int) -> Generator:
    """Seeds the default generators of all devices; returns the one of the default device.

    >>> g = dl.manual_seed(0)
    >>> first = dl.random.rand(3)
    >>> g = dl.manual_seed(0)
    >>> bool((dl.random.rand(3) == first).all())
    True
    """
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


def state_of(name: str, generator: Generator | None, device: Any = None) -> Tensor:
    """The state that the function called ``name`` draws from."""
    if generator is None:
        return default_generator(device).state
    state: Tensor = instance(generator, Generator, f"{name}: generator", "a dlcore.random.Generator").state
    return state
