"""IDX files, the format of MNIST and of sets like it."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dlcore._arguments import MAX_AXES
from dlcore._files import naming

__all__ = ["read_idx"]

_PIECE = 1 << 20  # bytes that are read at a time
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


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
