"""Batches: a data set on the device, the order of its samples, and batches by index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dlcore._arguments import boolean, function, integer, listed
from dlcore._device import default_device
from dlcore._device import device as as_device
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, empty, tensor
from dlcore.data.augment import augmented
from dlcore.data.columns import dtype_name
from dlcore.data.dataset import TensorDataset
from dlcore.data.sources import as_dataset
from dlcore.data.transforms import Compose, apply, composed, steps_of
from dlcore.data.views import Prepared, flatten, gather, is_arrays, is_plain, permutation
from dlcore.dtypes import DType, as_dtype, int64
from dlcore.ops.gather import take

__all__ = ["Batches"]


class Batches(Recordable):
    """The samples of ``dataset`` by index, as the model takes them.

    ``dataset``: whatever `as_dataset` takes. The inputs are the first part of a sample. They pass what the data set
    does to them (bytes of image data sets become float32 in 0..1), then ``augment``, then ``transform``. shuffle: the
    samples come in a new order each epoch, which depends on ``seed`` and the number of the epoch alone. device: where
    the batches are (default: the default device). augment: a list of functions of a batch of inputs; one that changes
    the targets too has an attribute ``targets`` that is true, and takes and gives (inputs, targets). dtype: inputs and
    targets of another floating-point dtype are cast to this one: the arrays once, inputs that are transformed
    afterwards. drop_last: what does not fill a batch is left out.

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
        augment: Iterable[Callable[..., Any]] | None = (),
        dtype: DType | None = None,
        drop_last: bool = False,
    ):
        name = type(self).__name__
        self.dataset = as_dataset(dataset, f"{name}: dataset")
        self.transform = None if transform is None else function(transform, f"{name}: transform")
        self.shuffle = boolean(shuffle, f"{name}: shuffle")
        self.seed, self.drop_last = integer(seed, f"{name}: seed"), boolean(drop_last, f"{name}: drop_last")
        self.device = default_device() if device is None else as_device(device)
        steps = enumerate(listed(augment, f"{name}: augment", "functions of a batch", optional=True))
        self.augment = tuple(function(step, f"{name}: augment[{k}]") for k, step in steps)
        self.dtype = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        self._own = steps_of(getattr(self.dataset, "preprocessing", None))
        self._order: Tensor | None = None

    @property
    def _steps(self) -> tuple[Any, ...]:
        """What the inputs pass, but for ``augment``."""
        return (*self._own, *steps_of(self.transform))

    @property
    def host(self) -> bool:
        """Whether batches are assembled on the host, by Python code of the data set."""
        return not is_plain(flatten(self.dataset)[0])

    @property
    def preprocessing(self) -> Any:
        """All that is done to the inputs but for ``augment``: what a model must do again to predict.

        None where that is nothing; ``Compose()``, which does nothing either, where the inputs may be bytes, so that
        nobody scales them later.
        """
        if self._steps:
            return composed(*self._steps)
        base, _ = flatten(self.dataset)
        known = isinstance(base, TensorDataset) and is_arrays(base)
        return None if known and dtype_name(base.arrays[0]) != "uint8" else Compose()

    def as_dataset(self) -> Any:
        """The data set, whose inputs pass the transform: what functions take of a loader that is given as data."""
        return self.dataset if self.transform is None else Prepared(self.dataset, composed(*self._steps))

    def casts(self) -> list[str]:
        """Which arrays are cast to ``dtype``, in words: ``["inputs float64 to float32"]``."""
        base, _ = flatten(self.dataset)
        if self.dtype is None or not isinstance(base, TensorDataset):
            return []
        names = ["inputs"] * max(len(base.arrays) - 1, 1) + ["targets"]
        found = [(name, dtype_name(array)) for name, array in zip(names, base.arrays, strict=False)]
        to = self.dtype.name
        return [f"{name} {given} to {to}" for name, given in found if "float" in given and given != to]

    def count(self, size: int) -> int:
        """How many batches of ``size`` samples there are."""
        full, rest = divmod(len(self.dataset), size)
        return full + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> Tensor:
        """The indices of all samples for ``fetch``, in the order of ``epoch``: int64 (N,).

        It is always the same tensor, which is written anew: a recorded step that reads it goes on with the new order.
        """
        rows = self.rows(epoch)
        if self._order is None:
            self._order = empty(len(self.dataset), dtype=int64, device=self.device)
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
        if not is_plain(base):
            return self._made(*gather(base, index, self.device, type(self).__name__))
        tensors = base.on(self.device, self.dtype, len(self._steps) > 0)
        if isinstance(index, slice):
            return self._made(*base.window(tensors, index))
        x, rows, rest = base.select(tensors, index)
        return self._made(x, *rest, rows=rows)

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
                    yield self._made(*assembled.popleft().result())
            if assembled:
                yield self._made(*assembled.popleft().result())

    def _made(self, x: Tensor, *rest: Tensor, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """The batch of the inputs ``x`` at ``rows`` (None: all of them) and the other parts, as the model takes it."""
        if self.augment:
            x = apply(self._own, x, rows)
            x, rest = augmented(self.augment, x, rest)
            x = apply(steps_of(self.transform), x)
        else:
            x = apply(self._steps, x, rows)
        if self.dtype is None:
            return x, *rest
        return self._cast(x), *map(self._cast, rest)

    def _cast(self, x: Tensor) -> Tensor:
        return x.astype(self.dtype) if x.dtype.is_float and x.dtype is not self.dtype else x

    def recorded_state(self) -> Any:
        """What ``fetch`` reads besides the index."""
        return self.dataset, self.transform, self.device, self.augment, self.dtype

    def recorded_parts(self) -> tuple[Any, ...]:
        """The transforms, which may read variables of their own."""
        return (*self._steps, *self.augment)

