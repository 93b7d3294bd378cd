"""Sequences of different lengths in one batch, under PyTorch's names (``torch.nn.utils.rnn``).

    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, (h_n, c_n) = lstm(packed)
    output, lengths = pad_packed_sequence(output)

A `PackedSequence` holds the padded batch and the lengths: layers skip what lies behind a sequence's end, so that the
rows need no order. Lengths that are given as a tensor stay on its device: a recorded step goes on with new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore import _C
from dlcore._arguments import boolean, calling, choice, integer, listed, number, operand
from dlcore._operations import pad
from dlcore._tensor import Tensor, arange, tensor
from dlcore.dtypes import int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.ops.elementwise import lt, where
from dlcore.ops.gather import take
from dlcore.ops.limits import checked
from dlcore.ops.movement import reshape, stack
from dlcore.ops.shaping import part, select, swapaxes

__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence", "unpack_sequence",
    "unpad_sequence",
]  # fmt: skip


class PackedSequence:
    """Sequences of different lengths as one batch: what `pack_padded_sequence` and `pack_sequence` return.

    ``padded`` (T, B, ...) holds them in the order in which they were given, ``lengths`` (B,) their lengths. PyTorch's
    form is made when asked for, on the host: ``data`` (all steps of all sequences, (sum of lengths, ...), the first
    steps of the longest sequences first), ``batch_sizes`` (how many sequences have each step), ``sorted_indices`` and
    ``unsorted_indices`` (the order by length, and back; None where they were given in that order). One is also made
    from these four.

    >>> packed = nn.utils.rnn.pack_sequence([dl.tensor([1.0, 2.0]), dl.tensor([3.0])])
    >>> packed.data
    tensor([1., 3., 2.])
    """

    padded: Tensor
    lengths: Tensor
    in_order: bool

    def __init__(self, data: Any, batch_sizes: Any, sorted_indices: Any = None, unsorted_indices: Any = None):
        rows = operand(data, "PackedSequence", "data")
        sizes = _host_integers(batch_sizes, "PackedSequence: batch_sizes")
        falling = bool(sizes) and min(sizes) >= 1 and sizes == sorted(sizes, reverse=True)
        if not falling or rows.shape[:1] != (sum(sizes),):
            raise ValueError(f"PackedSequence: batch_sizes {sizes} do not fall to 1 or more, or do not add up to data "
                             f"of shape {rows.shape}")  # fmt: skip
        steps, batch = len(sizes), sizes[0]
        begins = np.cumsum([0, *sizes[:-1]])
        places = begins[:, None] + np.arange(batch)
        there = np.arange(batch) < np.array(sizes)[:, None]
        lengths = there.sum(0)
        order = _order_given(sorted_indices, unsorted_indices, batch)
        if order is not None:
            places, there, lengths = places[:, order], there[:, order], lengths[order]
        more = pad(rows, [(0, 1), *[(0, 0)] * (rows.ndim - 1)])  # a row of zeros for the places behind an end
        found = take(more, np.where(there, places, rows.shape[0]).reshape(-1), 0)
        self.padded = reshape(found, (steps, batch, *rows.shape[1:]))
        self.lengths = tensor(lengths, int64, device=rows.device)
        self.in_order = order is None

    @classmethod
    def of(cls, padded: Tensor, lengths: Tensor, in_order: bool) -> PackedSequence:
        """From a batch (T, B, ...) and the lengths of its rows."""
        self = cls.__new__(cls)
        self.padded, self.lengths, self.in_order = padded, lengths, in_order
        return self

    def like(self, padded: Tensor) -> PackedSequence:
        """Other values for the same steps."""
        return PackedSequence.of(padded, self.lengths, self.in_order)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same on another device or in another dtype, as `Tensor.to` has it."""
        padded = self.padded.to(*args, **kwargs)
        return PackedSequence.of(padded, self.lengths.to(padded.device), self.in_order)

    @property
    def _order(self) -> Any:
        lengths = np.asarray(self.lengths)
        return np.arange(lengths.size) if self.in_order else np.argsort(-lengths, kind="stable")

    @property
    def data(self) -> Tensor:
        """All steps of all sequences, (sum of lengths, ...)."""
        (steps, batch), lengths, order = self.padded.shape[:2], np.asarray(self.lengths), self._order
        rows = [t * batch + row for t in range(steps) for row in order if t < lengths[row]]
        found: Tensor = take(reshape(self.padded, (steps * batch, *self.padded.shape[2:])), np.array(rows, np.int64), 0)
        return found

    @property
    def batch_sizes(self) -> Tensor:
        """How many sequences have each step, on the host."""
        lengths = np.asarray(self.lengths)
        return tensor((np.arange(lengths.max())[:, None] < lengths).sum(1), int64)

    @property
    def sorted_indices(self) -> Tensor | None:
        """The sequences from the longest to the shortest; None where they were given so."""
        return None if self.in_order else tensor(self._order, int64, device=self.padded.device)

    @property
    def unsorted_indices(self) -> Tensor | None:
        """What undoes that order."""
        return None if self.in_order else tensor(np.argsort(self._order), int64, device=self.padded.device)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __repr__(self) -> str:
        return f"PackedSequence(padded={self.padded!r}, lengths={self.lengths!r})"


def _host_integers(values: Any, where: str) -> list[int]:
    """A tensor, an array or a list of integers, read."""
    several = values.tolist() if hasattr(values, "tolist") else listed(values, where, "integers")
    return [integer(n, where) for n in several]


def _order_given(by_length: Any, back: Any, batch: int) -> Any:
    """Which column of a `PackedSequence` each sequence has; None where both are None."""
    orders = []
    for name, given in (("unsorted_indices", back), ("sorted_indices", by_length)):
        if given is not None:
            order = _host_integers(given, f"PackedSequence: {name}")
            if sorted(order) != list(range(batch)):
                raise ValueError(f"PackedSequence: {name} {order} are not the numbers 0 to {batch - 1}, each once")
            orders.append(order if name == "unsorted_indices" else np.argsort(order).tolist())
    if len(orders) == 2 and orders[0] != orders[1]:
        raise ValueError("PackedSequence: unsorted_indices do not undo sorted_indices")
    return np.array(orders[0]) if orders else None


def _check_lengths(name: str, lengths: list[int], steps: int, in_order: bool) -> None:
    for k, n in enumerate(lengths):
        if not 1 <= n <= steps:
            raise ValueError(f"{name}: lengths[{k}] is {n}, not between 1 and {steps} steps")
    if in_order and lengths != sorted(lengths, reverse=True):
        raise ValueError(f"{name}: lengths {lengths} are not in falling order; pass enforce_sorted=False for any order")


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A `PackedSequence` of the rows of ``input`` (T, B, ...), or (B, T, ...) with ``batch_first``.

    ``lengths``: integers from 1 to T, one for each row, in falling order with ``enforce_sorted``. Given as a list or an
    array, steps behind the longest are left out. Given as a tensor they stay on its device: T stays as it is, a
    recorded step is replayed with new ones; there and in `vmap` kernels check their range, but nobody their order.
    Raises ShapeError, ValueError for a length that is none or an order that is not the one promised. What stood behind
    the ends is not kept, be it infinite or no number.
    """
    name = "pack_padded_sequence"
    x = operand(input, name, "input")
    if x.ndim < 2:
        raise ShapeError(f"{name}: input has shape {x.shape}, without axes of steps and of rows")
    in_order = boolean(enforce_sorted, f"{name}: enforce_sorted")
    x = swapaxes(x, 0, 1) if boolean(batch_first, f"{name}: batch_first") else x
    steps, batch = x.shape[:2]
    if isinstance(lengths, Tensor):
        if lengths.dtype.kind not in ("int", "uint"):
            raise DTypeError(f"{name}: lengths are integers, not {lengths.dtype.name}")
        if lengths.shape != (batch,):
            raise ShapeError(f"{name}: lengths have shape {lengths.shape}, not ({batch},), for {batch} rows")
        with calling(name):
            lengths = checked(lengths, 1, steps, "length")
        if lengths.device.type == "cpu" and not _C.is_recording() and not _C.batch_depth():
            _check_lengths(name, lengths.tolist(), steps, in_order)
        counts = lengths.astype(int64).to(x.device)
        return PackedSequence.of(_filled(x, counts, False), counts, in_order)
    found = _host_integers(lengths, f"{name}: lengths")
    if len(found) != batch:
        raise ShapeError(f"{name}: {len(found)} lengths for {batch} rows")
    _check_lengths(name, found, steps, in_order)
    x, counts = part(x, 0, 0, max(found, default=0)), tensor(found, int64, device=x.device)
    return PackedSequence.of(x if len(set(found)) < 2 else _filled(x, counts, False), counts, in_order)


def _filled(x: Tensor, lengths: Tensor, value: float) -> Tensor:
    """``x`` (T, B, ...) with ``value`` behind the ends of its rows: products with a gradient of 0 there must be 0."""
    there = lt(reshape(arange(x.shape[0], device=x.device), (x.shape[0], 1)), lengths)
    found: Tensor = where(reshape(there, (*there.shape, *[1] * (x.ndim - 2))), x, value)
    return found


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """A batch (T, B, ...), or (B, T, ...) with ``batch_first``, and the lengths of its rows, in the order given.

    Steps behind the end of a row hold ``padding_value``. ``total_length``: how many steps the batch has, no fewer than
    the packed one.

    >>> packed = nn.utils.rnn.pack_sequence([dl.tensor([1.0, 2.0]), dl.tensor([3.0])])
    >>> nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, padding_value=9.0)
    (tensor([[1., 2.],
            [3., 9.]]), tensor([2, 1]))
    """
    name = "pad_packed_sequence"
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{name}: takes a PackedSequence, not a {type(sequence).__name__}")
    x, value = sequence.padded, number(padding_value, f"{name}: padding_value")
    steps = x.shape[0]
    if total_length is not None:
        wanted = integer(total_length, f"{name}: total_length")
        if wanted < steps:
            raise ValueError(f"{name}: total_length {wanted} is less than the {steps} steps there are")
        x = pad(x, [(0, wanted - steps), *[(0, 0)] * (x.ndim - 1)])
    x = _filled(x, sequence.lengths, value if x.dtype.is_float else int(value))
    return (swapaxes(x, 0, 1) if boolean(batch_first, f"{name}: batch_first") else x), sequence.lengths


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L, ...) of different lengths as one batch (T, B, ...), or (B, T, ...) with ``batch_first``.

    T is the length of the longest; ``padding_value`` fills the others at their ``padding_side``, "right" or "left".

    >>> nn.utils.rnn.pad_sequence([dl.tensor([1, 2]), dl.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    name = "pad_sequence"
    given = [operand(s, name, "sequences") for s in listed(sequences, f"{name}: sequences", "tensors")]
    side = choice(padding_side, ("right", "left"), f"{name}: padding_side")
    value, first = number(padding_value, f"{name}: padding_value"), boolean(batch_first, f"{name}: batch_first")
    if not given:
        raise ValueError(f"{name}: there are no sequences")
    for k, s in enumerate(given):
        if s.ndim < 1 or s.shape[1:] != given[0].shape[1:]:
            raise ShapeError(f"{name}: sequence {k} has shape {s.shape}, the first {given[0].shape}: only the lengths "
                             "may differ")  # fmt: skip
    steps = max(s.shape[0] for s in given)
    rest = [(0, 0)] * (given[0].ndim - 1)
    whole = []
    for s in given:
        more = steps - s.shape[0]
        ends = (more, 0) if side == "left" else (0, more)
        whole.append(pad(s, [ends, *rest], constant_values=value) if more else s)
    found: Tensor = stack(whole, 0 if first else 1)
    return found


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The rows of a batch (T, B, ...), or (B, T, ...) with ``batch_first``, each with its own length.

    >>> nn.utils.rnn.unpad_sequence(dl.tensor([[1, 3], [2, 0]]), [2, 1])
    [tensor([1, 2]), tensor([3])]
    """
    name = "unpad_sequence"
    x, found = operand(padded_sequences, name, "padded_sequences"), _host_integers(lengths, f"{name}: lengths")
    if not boolean(batch_first, f"{name}: batch_first"):
        x = swapaxes(x, 0, 1)
    if x.ndim < 2 or len(found) != x.shape[0]:
        raise ShapeError(f"{name}: {len(found)} lengths for a batch of {x.shape[0]} rows")
    for k, n in enumerate(found):
        if not 0 <= n <= x.shape[1]:
            raise ValueError(f"{name}: lengths[{k}] is {n}, not between 0 and {x.shape[1]} steps")
    return [part(select(x, 0, k), 0, 0, n) for k, n in enumerate(found)]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """A `PackedSequence` of sequences (L, ...) of different lengths, in falling order with ``enforce_sorted``.

    >>> nn.utils.rnn.pack_sequence([dl.ones(1, 4), dl.ones(3, 4)], enforce_sorted=False).lengths
    tensor([1, 3])
    """
    given = listed(sequences, "pack_sequence: sequences", "tensors")
    padded = pad_sequence(given)  # which refuses what has no length
    return pack_padded_sequence(padded, [len(s) for s in given], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a `PackedSequence`, each with its own length.

    >>> nn.utils.rnn.unpack_sequence(nn.utils.rnn.pack_sequence([dl.tensor([1, 2]), dl.tensor([3])]))
    [tensor([1, 2]), tensor([3])]
    """
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
