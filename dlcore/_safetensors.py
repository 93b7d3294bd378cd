"""The safetensors format: arrays by name, and texts, in one file.

A file is 8 bytes (the length of the header, little-endian), the header (JSON, padded with spaces: for each array its
dtype, shape and place, and under ``__metadata__`` the texts), and the arrays, row by row and little-endian, without
gaps. They stand in descending order of their element size, so that each is aligned.

Arrays are written from where they lie and read to where they stay: neither holds another copy of them.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dlcore import _json
from dlcore._arguments import MAX_AXES
from dlcore._files import naming
from dlcore._json import short
from dlcore.dtypes import DTYPES, DType

__all__ = ["Header", "codes", "pack", "read", "read_metadata", "write"]

_METADATA = "__metadata__"
_LONGEST = 100_000_000  # bytes of a header: what other readers accept
_FIELDS = {"dtype", "shape", "data_offsets"}  # of an array in the header
_PIECE = 1 << 20  # bytes of an array that are converted at a time

codes = {
    "bool": "BOOL", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "int8": "I8",
    "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64",
}  # fmt: skip
_DTYPES: dict[str, DType] = {codes[d.name]: d for d in DTYPES}


class _Entry(NamedTuple):
    """An array in a file."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    begin: int
    """Where it begins, in bytes from the end of the header."""
    end: int


class Header(NamedTuple):
    """What a file says about itself: its arrays in their order, and its texts by name."""

    entries: list[_Entry]
    metadata: dict[str, str]

    @property
    def bytes(self) -> int:
        """Those of all arrays."""
        return self.entries[-1].end if self.entries else 0


# ---- writing ------------------------------------------------------------------------------------------------------


def pack(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The head of a file of ``arrays`` (tensors, or arrays of a dtype in `codes`), and the order of the arrays in it.

    Raises ValueError where a reader could not take it as it is meant.
    """
    order = sorted(arrays, key=lambda name: (-_itemsize(arrays[name]), name))
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    begin = 0
    for name in order:
        if name == _METADATA:
            raise ValueError(f"{name} is the name of the texts in the format, and cannot be that of a tensor")
        value = arrays[name]
        end = begin + math.prod(value.shape) * _itemsize(value)
        header[name] = {"dtype": codes[value.dtype.name], "shape": list(value.shape), "data_offsets": [begin, end]}
        begin = end
    try:
        raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        text = ascii(error.object[max(error.start - 20, 0) : error.end])
        raise ValueError(f"a name or text that UTF-8 cannot hold: ...{text}") from None
    raw += b" " * (-len(raw) % 8)
    _parse(raw)
    return struct.pack("<Q", len(raw)) + raw, order


def write(file: BinaryIO, head: bytes, arrays: Mapping[str, Any], order: list[str]) -> None:
    """Write a file of ``arrays`` whose head `pack` has made."""
    file.write(head)
    for name in order:
        for piece in _pieces(np.asarray(arrays[name])):
            file.write(piece.reshape(-1).view(np.uint8).data)


def _itemsize(value: Any) -> int:
    return int(value.dtype.itemsize)


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in the order of the file: itself if it lies so, else part by part; bools as 0 and 1."""
    as_it_is = array.flags.c_contiguous and array.dtype.isnative and array.dtype != np.bool_
    if as_it_is or not array.size:
        yield array
    elif array.nbytes <= _PIECE or not array.ndim:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        yield np.not_equal(plain.view(np.uint8), 0) if array.dtype == np.bool_ else plain
    else:
        rows = max(1, _PIECE * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            yield from _pieces(array[start : start + rows] if rows > 1 else array[start])


# ---- reading ------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts of a file. Raises ValueError where it is damaged, and OSError with the path."""
    with naming(path), open(os.fspath(path), "rb") as file:
        header = _header(file)
        arrays = {}
        for entry in header.entries:
            array = np.empty(entry.shape, entry.dtype.numpy)
            flat = array.reshape(-1).view(np.uint8)
            _fill(file, flat, entry.name)
            if entry.dtype.name == "bool" and flat.size and flat.max() > 1:
                raise ValueError(f"{short(entry.name)} is bool, and has bytes other than 0 and 1")
            arrays[entry.name] = array
        if file.read(1):
            raise ValueError("there are bytes after the last array")
    return arrays, header.metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts of a file alone; errors are those of `read`."""
    with naming(path), open(os.fspath(path), "rb") as file:
        return _header(file).metadata


def _header(file: BufferedReader) -> Header:
    """The header of an open file, which then stands at the first array."""
    raw = file.read(8)
    length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else 0
    if not 2 <= length <= _LONGEST:
        raise ValueError("it does not begin with the length of a header")
    found = os.fstat(file.fileno())
    size = found.st_size if stat.S_ISREG(found.st_mode) else None
    if size is not None and 8 + length > size:
        raise ValueError("it is cut short within the header")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it is cut short within the header")
    header = _parse(text)
    needed = 8 + length + header.bytes
    if size is not None and size != needed:
        raise ValueError(f"it has {size} bytes, and its header tells of {needed}")
    return header


def _fill(file: BufferedReader, target: np.ndarray, name: str) -> None:
    view, done = target.data, 0
    while done < len(view):
        n = file.readinto(view[done:])
        if not n:
            raise ValueError(f"it is cut short within {short(name)}")
        done += n


def _parse(text: bytes) -> Header:
    """The header that ``text`` describes; ValueError unless all of it is as it should be."""
    if not text.startswith(b"{") or len(text) > _LONGEST:
        raise ValueError(f"its header is no object in JSON of at most {_LONGEST:,} bytes")
    data = _json.parse(text)
    metadata = _json.typed(dict[str, str], data.pop(_METADATA, {}), _METADATA)
    entries = sorted((_entry(name, value) for name, value in data.items()), key=lambda e: (e.begin, e.end))
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise ValueError(f"{short(entry.name)} begins at byte {entry.begin}, the array before it ends at {end}")
        end = entry.end
    return Header(entries, metadata)


def _entry(name: str, value: Any) -> _Entry:
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise ValueError(f"{short(name)} is not described by dtype, shape and data_offsets")
    code, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    dtype = _DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise ValueError(f"{short(name)} has dtype {short(repr(code))}, which dlcore does not have")
    if not _sizes(shape) or not _sizes(place) or len(place) != 2:
        raise ValueError(f"{short(name)} has shape {short(shape)} and place {short(place)}, not sizes and two of them")
    if len(shape) > MAX_AXES:
        raise ValueError(f"{short(name)} has {len(shape)} axes; a tensor has at most {MAX_AXES}")
    size, (begin, end) = math.prod(shape) * dtype.itemsize, place
    if (size or math.prod(n or 1 for n in shape) * dtype.itemsize) >= 2**63:
        raise ValueError(f"{short(name)} has shape {short(shape)}, which is too large")
    if end - begin != size:
        raise ValueError(f"{short(name)} of shape {short(shape)} does not fill the bytes from {begin} to {end}")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _sizes(value: Any) -> bool:
    """Whether ``value`` is a list of lengths."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
