"""Data sets from files: the digits that come with dlcore, Fashion-MNIST, and any IDX file."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlcore._arguments import MAX_AXES
from dlcore._files import naming
from dlcore.data.images import ImageDataset

__all__ = ["find_dataset", "load_dataset", "read_idx"]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
_PIECE = 1 << 20  # bytes that are read at a time
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
    path = Path(__file__).with_name("digits.npz")
    with naming(path):
        raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != _DIGITS_SHA256:
        raise ValueError(f"load_dataset: {path} is not the file that came with dlcore: install it again")
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
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
    integer; then come the elements. Raises ValueError where it is damaged, cut short, or something else; of a file that
    is longer than it says, one byte more than that is read.
    """
    path = Path(path)
    try:
        with naming(path), open(path, "rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            return _idx(gzip.GzipFile(fileobj=file) if packed else file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged or cut short: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _idx(file: io.BufferedIOBase) -> np.ndarray:
    """The array in an open IDX file."""
    head = file.read(4 + 4 * MAX_AXES)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES or head[3] == 0:
        raise ValueError(f"not an IDX file (it begins with {head[:4].hex(' ') or 'nothing'})")
    dtype, ndim = np.dtype(_IDX_DTYPES[head[2]]), head[3]
    if ndim > MAX_AXES:
        raise ValueError(f"{ndim} axes, of which at most {MAX_AXES} are read")
    begin = 4 + 4 * ndim
    if len(head) < begin:
        raise ValueError("cut short within its head")
    shape = struct.unpack(f">{ndim}I", head[4:begin])
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize >= 2**63:
        raise ValueError(f"shape {shape} is too large")
    size = math.prod(shape) * dtype.itemsize
    raw = bytearray(head[begin:])  # grows with what is there, whatever the head says
    while len(raw) <= size and (piece := file.read(min(size + 1 - len(raw), _PIECE))):
        raw += piece
    if len(raw) != size:
        found = f"{'at least ' * (len(raw) > size)}{begin + len(raw)} bytes"
        raise ValueError(f"{found}, but shape {shape} needs {begin + size}")
    return np.ndarray(shape, dtype, raw).astype(dtype.newbyteorder("="), copy=False)
