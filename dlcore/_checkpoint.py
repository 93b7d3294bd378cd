"""Models in files, in the safetensors format; a file is written, and a model is filled, all or nothing."""

from __future__ import annotations

import json
import os
import secrets
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from dlcore._tensor import Tensor, from_numpy
from dlcore.data.transforms import from_config, to_config
from dlcore.dtypes import DTYPES, DType
from dlcore.nn.module import Module
from dlcore.optim.optimizer import Optimizer

__all__ = ["Checkpoint", "load", "save"]

_CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
_DTYPES: dict[str, DType] = {_CODES[d.name]: d for d in DTYPES}
_OPTIMIZER = "optimizer/"  # precedes the names of the optimizer's tensors; no parameter's name has a slash
_PREPROCESSING = "transform"  # the key of the preprocessing among the texts


class Checkpoint(dict[str, Tensor]):
    """What a file holds: name -> Tensor.

    ``preprocessing``: that of the model, or None; ``optimizer``: the state of the optimizer, or None; ``metadata``: all
    texts in the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: dict[str, str]):
        super().__init__((name, value) for name, value in tensors.items() if not name.startswith(_OPTIMIZER))
        self.metadata = metadata
        self.preprocessing = from_config(metadata[_PREPROCESSING]) if _PREPROCESSING in metadata else None
        self.optimizer: dict[str, Any] | None = None
        if "optimizer" in metadata:
            state: dict[int, dict[str, Tensor]] = {}
            for name in tensors.keys() - self.keys():
                _, i, slot = name.split("/")
                state.setdefault(int(i), {})[slot] = tensors[name]
            self.optimizer = {"state": state, "param_groups": json.loads(metadata["optimizer"])}


def save(
    model: Module | Mapping[str, Any],
    path: str | os.PathLike[str],
    preprocessing: Any = None,
    metadata: Mapping[str, str] | None = None,
    optimizer: Optimizer | None = None,
) -> None:
    """Write a model's state, or a dict of tensors or arrays, to ``path`` in the safetensors format.

    The file is written under another name in the same folder, flushed to the disk and renamed: whatever happens,
    ``path`` holds the old file or the new one. ``preprocessing`` (default: the model's) is kept in the file, and with
    ``optimizer`` its state too, to go on training from there. ``metadata``: texts to keep by name.
    """
    path = Path(os.path.realpath(path))
    state = model.state_dict() if isinstance(model, Module) else model
    arrays = {name: _as_array(name, value) for name, value in state.items()}
    texts = {"format": "dlcore", **_texts(metadata or {})}
    config = _config(model, preprocessing)
    if config is not None:
        texts[_PREPROCESSING] = config
    if optimizer is not None:
        saved = optimizer.state_dict()
        texts["optimizer"] = json.dumps(saved["param_groups"])
        for i, entry in saved["state"].items():
            arrays |= {f"{_OPTIMIZER}{i}/{slot}": _as_array(slot, value) for slot, value in entry.items()}
    _write_aside(path, _serialized(arrays, texts))


@overload
def load(source: Module, path: str | os.PathLike[str], optimizer: Optimizer | None = None) -> Module: ...
@overload
def load(source: str | os.PathLike[str]) -> Checkpoint: ...
def load(source: Any, path: Any = None, optimizer: Any = None) -> Any:
    """``load(model, path)`` fills the model from the file and returns it; ``load(path)`` gives the tensors.

    Names, shapes and dtypes must be those of the model. Raises ValueError where the file is damaged or does not fit,
    OSError where it cannot be read; the model is then as it was. ``optimizer`` takes over the state that was saved with
    the model.
    """
    if path is None:
        return _read(Path(source))
    if not isinstance(source, Module):
        raise TypeError(f"load: a Module and a path, or a path alone, not {type(source).__name__} and a path")
    checkpoint = _read(Path(path))
    try:
        if optimizer is not None:
            if checkpoint.optimizer is None:
                raise ValueError("there is no optimizer's state in it")
            optimizer._check_state(checkpoint.optimizer)
        source.load_state_dict(checkpoint)
    except ValueError as error:
        raise ValueError(f"load: {path}: {error}") from None
    if optimizer is not None:
        optimizer.load_state_dict(checkpoint.optimizer)
    source.preprocessing = checkpoint.preprocessing
    return source


def _config(model: Module | Mapping[str, Any], given: Any) -> str | None:
    """The preprocessing to keep, as text: the one given, else the model's."""
    preprocessing = model.preprocessing if given is None and isinstance(model, Module) else given
    config = None if preprocessing is None else to_config(preprocessing)
    if preprocessing is not None and config is None:
        text = f"save: the preprocessing {preprocessing!r} cannot be written to a file"
        if given is not None:
            raise ValueError(text)
        warnings.warn(f"{text}; set it again after load", stacklevel=3)
    return config


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"save: metadata maps text to text, not {key!r} to {type(value).__name__}")
        if key in ("format", _PREPROCESSING, "optimizer"):
            raise ValueError(f"save: the metadata key {key!r} is dlcore's own")
    return dict(metadata)


def _as_array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.name not in _CODES:
        raise TypeError(f"save: {name}: dtype {array.dtype} cannot be saved")
    return np.array(array, order="C", copy=None)


def _serialized(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> bytes:
    from safetensors.numpy import save as serialize

    return bytes(serialize(arrays, texts))


def _write_aside(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file of ``data``, or leave it as it is."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {path.parent}")
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name
    finally:
        os.close(folder)


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, deserialize

    data = path.read_bytes()
    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"load: {path} is damaged, cut short, or not a safetensors file: {error}") from None
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    tensors = {}
    for name, entry in sorted(entries, key=lambda item: item[0]):
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"load: {path}: {name} has dtype {entry['dtype']}, which dlcore does not have")
        dtype = _DTYPES[entry["dtype"]].numpy
        values = entry["data"] if isinstance(entry["data"], bytearray) else bytearray(entry["data"])
        tensors[name] = from_numpy(np.ndarray(entry["shape"], dtype, buffer=values))
    try:
        return Checkpoint(tensors, metadata)
    except ValueError as error:
        raise ValueError(f"load: {path}: {error}") from None
