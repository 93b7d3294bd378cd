"""`DataLoader`: a data set in batches, shuffled anew each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dlcore._arguments import boolean, integer
from dlcore._tensor import Tensor
from dlcore.data.batches import Batches
from dlcore.dtypes import DType
from dlcore.random import drawn_seed

__all__ = ["DataLoader"]

_INSTEAD = {
    "sampler": ": dl.data.Subset(data, rows) chooses samples, fit(sample_weight=) weighs them",
    "batch_sampler": ": dl.data.LengthBuckets makes batches of sequences of about one length",
    "collate_fn": ": a data set with a method gather(rows) makes whole batches; dl.data.pad_sequences pads sequences",
    "generator": ": seed sets the orders of the samples",
    "worker_init_fn": ": there are no worker processes",
    "multiprocessing_context": ": there are no worker processes",
    "timeout": ": there are no worker processes",
    "in_order": ": there are no worker processes; batches come in order",
    "pin_memory_device": ": device says where the batches are",
}
"""What to use for arguments that PyTorch's has."""


class DataLoader(Batches):
    """Batches of ``dataset`` as tuples of Tensors; going through them once is an epoch.

    ``dataset``: whatever `as_dataset` takes. The data lies on the device, and a batch is one gather there (a view where
    samples are taken in order). Bytes of image data sets become float32 in 0..1; then ``transform`` is applied to the
    inputs.

    shuffle: the samples come in a new order each epoch, which depends on ``seed`` and the number of the epoch alone;
    set ``epoch`` to go on from another one. seed: None draws one from dlcore's generator, so that each loader has
    orders of its own, and the same ones after the same ``manual_seed``. drop_last: whether to leave out a last batch
    that is not full. device: where the batches are (default: the default device). dtype: floats of
    another dtype are cast to this one.

    num_workers, pin_memory, persistent_workers and prefetch_factor are taken as PyTorch has them, and change nothing:
    there are no processes to start, arrays lie on the device already, and a data set of your own is read in this
    process (by a thread, one batch ahead, in `fit`). PyTorch's other arguments (collate_fn, sampler, generator, ...)
    raise a TypeError that says what there is instead.

    >>> data = dl.data.TensorDataset(np.zeros((5, 3), np.float32), np.arange(5))
    >>> [(x.shape, y.tolist()) for x, y in dl.data.DataLoader(data, batch_size=2)]
    [((2, 3), [0, 1]), ((2, 3), [2, 3]), ((1, 3), [4])]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        transform: Callable[[Tensor], Tensor] | None = None,
        device: Any = None,
        dtype: DType | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        **others: Any,
    ):
        for name in others:
            raise TypeError(f"DataLoader: there is no argument {name!r}{_INSTEAD.get(name, '')}")
        integer(num_workers, "DataLoader: num_workers", 0)
        boolean(pin_memory, "DataLoader: pin_memory")
        boolean(persistent_workers, "DataLoader: persistent_workers")
        if prefetch_factor is not None:
            integer(prefetch_factor, "DataLoader: prefetch_factor", 1)
        batch_size = integer(batch_size, "DataLoader: batch_size", 1)
        shuffle, drop_last = boolean(shuffle, "DataLoader: shuffle"), boolean(drop_last, "DataLoader: drop_last")
        if seed is None:
            seed = drawn_seed() if shuffle else 0
        super().__init__(dataset, transform, shuffle, seed, device, dtype=dtype)
        n = len(self.dataset)
        if drop_last and 0 < n < batch_size:
            raise ValueError(f"DataLoader: with drop_last there is no batch of {batch_size} in {n} samples")
        self.batch_size, self.drop_last, self.epoch = batch_size, drop_last, 0

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n, index = len(self.dataset), self.rows(self.epoch)
        self.epoch += 1
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            window = slice(start, min(start + self.batch_size, n))
            yield self.fetch(window if index is None else index[window])
