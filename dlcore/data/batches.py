"""Batches: a data set on the device, the order of its samples, and batches by index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dlcore._arguments import boolean, function, integer, shown
from dlcore._device import default_device
from dlcore._device import device as as_device
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, empty, tensor
from dlcore.data.dataset import as_dataset, flatten, gather, is_plain, permutation
from dlcore.data.transforms import as_input, scaling
from dlcore.dtypes import int64
from dlcore.ops.gather import take
from dlcore.ops.scaling import take_scaled

__all__ = ["Batches"]


class Batches(Recordable):
    """The samples of ``dataset`` by index, as the model takes them.

    ``dataset``: a data set, or a tuple of arrays (inputs, targets). The inputs are the first part of a sample. Bytes
    (uint8) become float32 in 0..1, whatever their shape; then ``transform`` is applied to them. shuffle: the samples
    come in a new order each epoch, which depends on ``seed`` and the number of the epoch alone. device: where the
    batches are (default: the default device).

    The arrays of a TensorDataset lie on the device in their own dtype, and ``fetch`` consists of operations there: a
    step that is recorded may call it, with an index that changes from step to step. Batches of other data sets are
    assembled by Python code: ``host`` is true, and ``fetch`` is called before a step, not in it.

    >>> data = dl.data.TensorDataset(np.arange(6, dtype=np.float32), np.arange(6))
    >>> batches = dl.data.Batches(data, transform=dl.data.Normalize(1.0, 2.0))
    >>> batches.fetch(batches.order(epoch=0)[2:4])
    (tensor([0.5, 1. ]), tensor([2, 3]))
    """

    recorded_methods = frozenset(("fetch",))

    def __init__(
        self,
        dataset: Any,
        transform: Callable[[Tensor], Tensor] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        device: Any = None,
    ):
        name = type(self).__name__
        self.dataset = as_dataset(dataset, name)
        self.transform = None if transform is None else function(transform, f"{name}: transform")
        self.shuffle = boolean(shuffle, f"{name}: shuffle")
        self.seed = integer(seed, f"{name}: seed")
        self.device = default_device() if device is None else as_device(device)
        self._order: Tensor | None = None

    @property
    def host(self) -> bool:
        """Whether batches are assembled on the host, by Python code of the data set."""
        return not is_plain(flatten(self.dataset)[0])

    def order(self, epoch: int) -> Tensor:
        """The indices of all samples for ``fetch``, in the order of ``epoch``: int64 (N,).

        It is always the same tensor, which is written anew: a recorded step that reads it goes on with the new order.
        """
        rows = self.rows(epoch)
        if self._order is None:
            self._order = empty((len(self.dataset),), int64, self.device)
        return self._order.copy_(arange(len(self.dataset), device=self.device) if rows is None else rows)

    def rows(self, epoch: int) -> Tensor | None:
        """The same indices in another tensor, or None where they are 0, 1, 2, ..."""
        _, rows = flatten(self.dataset)
        index = None if rows is None else tensor(rows, device=self.device)
        if not self.shuffle:
            return index
        order = permutation(len(self.dataset), self.seed, epoch, self.device)
        return order if index is None else take(index, order)

    def fetch(self, index: Tensor | slice) -> tuple[Tensor, ...]:
        """The batch (inputs, ..., targets) at ``index``: indices as ``order`` gives them, or a slice of the data set.

        They count in the data set below all Subsets.
        """
        base, _ = flatten(self.dataset)
        if isinstance(index, slice) or not is_plain(base):
            x, *rest = gather(base, index, self.device, type(self).__name__)
            return self._inputs(x, None), *rest
        x, *rest = base.on(self.device)
        return self._inputs(x, index), *(take(t, index) for t in rest)

    def ahead(self, indices: Iterable[Tensor | slice]) -> Iterator[tuple[Tensor, ...]]:
        """``fetch`` of each of ``indices`` in turn, prefetched where ``host``: a thread assembles the next batch.

        The code of the data set then runs in that one thread, in order, beside the training: it must not draw from
        dlcore's default generator, from which dropout draws. The transform runs in the caller's thread.
        """
        if not self.host:
            yield from map(self.fetch, indices)
            return
        base, _ = flatten(self.dataset)
        with ThreadPoolExecutor(1) as thread:
            assembled: deque[Future[tuple[Tensor, ...]]] = deque()
            for index in indices:
                assembled.append(thread.submit(gather, base, index, self.device, type(self).__name__))
                if len(assembled) > 1:
                    yield self._finished(assembled.popleft())
            if assembled:
                yield self._finished(assembled.popleft())

    def _finished(self, assembled: Future[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        x, *rest = assembled.result()
        return self._inputs(x, None), *rest

    def _inputs(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """``x`` at ``rows`` (None: all of it) as the model takes it: scaled and transformed."""
        scaled = scaling(self.transform, x)
        if scaled is not None:
            return take_scaled(x, *scaled, rows)
        x = as_input(x if rows is None else take(x, rows))
        if self.transform is None:
            return x
        made = self.transform(x)
        if not isinstance(made, Tensor):
            raise TypeError(f"transform: a tensor must be returned for a batch, not {shown(made)}")
        return made

    def recorded_state(self) -> Any:
        """What ``fetch`` reads besides the index."""
        return self.dataset, self.transform, self.device

    def recorded_parts(self) -> tuple[Any, ...]:
        """The transform, which may read variables of its own."""
        return (self.transform,)
