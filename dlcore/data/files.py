"""Data sets from files: the digits that come with dlcore, Fashion-MNIST, and any IDX file."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlcore.data.dataset import ImageDataset

__all__ = ["find_dataset", "load_dataset", "read_idx"]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_dataset(name: str, split: str | None = None) -> ImageDataset:
    """A data set by name, with ``.images``, ``.labels`` and ``.classes``.

    "digits": 1797 handwritten digits, (8, 8) float32 in 0..1, which come with dlcore; there are no splits.
    "fashion-mnist": 60,000 ("train") or 10,000 ("test") images, (28, 28) uint8, ten classes (Xiao et al. 2017). Their
    files are looked for in the folder ``fashion-mnist`` of $DLCORE_DATA, /usr/share/datasets and ~/.cache/dlcore;
    nothing is downloaded. Raises FileNotFoundError where they are not found, ValueError where a file is damaged.
    """
    if name == "digits":
        if split is not None:
            raise ValueError("load_dataset: digits has no splits; use random_split")
        return _digits()
    if name == "fashion-mnist":
        return _fashion_mnist("train" if split is None else split)
    raise ValueError(f"load_dataset: {name!r} is not known (digits, fashion-mnist)")


def _digits() -> ImageDataset:
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images = file["images"].astype(np.float32) / 16  # a value is how many pixels of a 4x4 block are set
        return ImageDataset(images, file["labels"].astype(np.int64), [str(i) for i in range(10)])


def _fashion_mnist(split: str) -> ImageDataset:
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f'load_dataset: split is "train" or "test", not {split!r}')
    names = [f"{prefixes[split]}-images-idx3-ubyte", f"{prefixes[split]}-labels-idx1-ubyte"]
    folder = find_dataset("fashion-mnist", names)
    if folder is None:
        looked = ", ".join(str(root / "fashion-mnist") for root in _roots())
        raise FileNotFoundError(
            f"load_dataset: {names[0]}.gz and {names[1]}.gz of Fashion-MNIST not found; looked in {looked}. Debian has "
            "them in the package dataset-fashion-mnist; else set DLCORE_DATA to the folder that holds fashion-mnist/"
        )
    paths = [_existing(folder, name) for name in names]
    images, labels = (read_idx(path) for path in paths if path is not None)
    for path, array, ndim in ((paths[0], images, 3), (paths[1], labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(f"{path}: {ndim} axes of bytes expected, found shape {array.shape}, {array.dtype}")
    if len(images) != len(labels):
        raise ValueError(f"{paths[1]}: {len(labels)} labels for {len(images)} images")
    if labels.size and labels.max() >= len(FASHION_CLASSES):
        raise ValueError(f"{paths[1]}: label {labels.max()} of {len(FASHION_CLASSES)} classes")
    return ImageDataset(images, labels.astype(np.int64), FASHION_CLASSES)


def _roots() -> list[Path]:
    """The folders in which data sets are looked for, in this order."""
    own = os.environ.get("DLCORE_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlcore"
    return [*([Path(own).expanduser()] if own else []), Path("/usr/share/datasets"), cache]


def _existing(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def find_dataset(name: str, files: Sequence[str]) -> Path | None:
    """The first folder ``name`` under the known roots that holds all ``files`` (plain or .gz)."""
    for root in _roots():
        if all(_existing(root / name, file) is not None for file in files):
            return root / name
    return None


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file (LeCun's format for MNIST), gzip-compressed or not.

    Such a file begins with two zero bytes, the element type, the number of axes, and each length as a big-endian 32-bit
    integer; then come the elements. Raises ValueError where it is damaged, cut short, or something else.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged or cut short: {error}") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_DTYPES or raw[3] == 0:
        raise ValueError(f"{path}: not an IDX file (it begins with {raw[:4].hex(' ') or 'nothing'})")
    dtype, ndim = np.dtype(_IDX_DTYPES[raw[2]]), raw[3]
    head = 4 + 4 * ndim
    if len(raw) < head:
        raise ValueError(f"{path}: cut short within its head")
    shape = struct.unpack(f">{ndim}I", raw[4:head])
    expected = head + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise ValueError(f"{path}: {len(raw)} bytes, but shape {shape} needs {expected}")
    return np.frombuffer(raw, dtype, offset=head).reshape(shape).astype(dtype.newbyteorder("="))
