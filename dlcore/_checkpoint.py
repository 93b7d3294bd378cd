"""Models in files, in the safetensors format; a file is written, and a model is filled, all or nothing."""

from __future__ import annotations

import json
import numbers
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, overload

import numpy as np

from dlcore import _json, _safetensors
from dlcore._arguments import instance, shown
from dlcore._files import replacing
from dlcore._json import short
from dlcore._tensor import Tensor, from_numpy
from dlcore.data.transforms import from_config, to_config
from dlcore.nn.architecture import build, describe
from dlcore.nn.module import Module
from dlcore.optim.optimizer import Optimizer

__all__ = ["Checkpoint", "load", "load_state", "save"]

_OPTIMIZER = "optimizer"  # the key of the settings among the texts; with a slash, it precedes the names of its tensors
_PREPROCESSING = "transform"  # the key of the preprocessing among the texts
_ARCHITECTURE = "architecture"  # the key of what the model is made of among the texts
_FROZEN = "frozen"  # the key of the names of the parameters that are not trained
_FORMAT = "format"  # the key of what wrote the file among the texts


class Checkpoint(dict[str, Tensor]):
    """What a file holds: name -> Tensor.

    ``preprocessing``: that of the model, or None; ``optimizer``: the state of the optimizer, or None; ``metadata``: all
    texts in the file. Raises ValueError where the texts are not what `save` writes.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: dict[str, str]):
        super().__init__(tensors)
        self.metadata = metadata
        self.preprocessing = from_config(metadata[_PREPROCESSING]) if _PREPROCESSING in metadata else None
        self.optimizer: dict[str, Any] | None = None
        if _OPTIMIZER in metadata:
            groups = _groups(metadata[_OPTIMIZER])
            names = [name for name in self if name.startswith(f"{_OPTIMIZER}/")]
            state: dict[int, dict[str, Tensor]] = {i: {} for group in groups for i in group["params"]}
            for name in names:
                _, number, slot = name.split("/", 2)
                if not number.isdecimal() or str(int(number)) != number or int(number) not in state:
                    raise ValueError(f"{short(name)} is of a parameter that the optimizer does not have")
                state[int(number)][slot] = self.pop(name)
            self.optimizer = {"state": {i: slots for i, slots in state.items() if slots}, "param_groups": groups}


def save(
    model: Module | Mapping[str, Any],
    path: str | os.PathLike[str],
    preprocessing: Any = None,
    metadata: Mapping[str, str] | None = None,
    optimizer: Optimizer | None = None,
) -> None:
    """Write a model's state, or a dict of tensors or arrays, to ``path`` in the safetensors format.

    The file is written under another name in the same folder, flushed to the disk and renamed: whatever happens,
    ``path`` holds the old file or the new one; what saves that were killed have left in the folder is removed. It takes
    no memory for another copy of the model. Symbolic links and the mode of an old file are kept; a pipe or a device is
    written straight. ``preprocessing`` (default: the model's) is kept in the file, and with ``optimizer`` its state
    too, to go on training from there. ``metadata``: texts to keep by name.

    Raises TypeError or ValueError, before anything is written, for what would not be read as it is.
    """
    path = _path(path, "save")
    instance(model, Module | Mapping, "save: model", "a Module or a dict of tensors")
    instance(optimizer, Optimizer | None, "save: optimizer", "an Optimizer or None")
    instance(metadata, Mapping | None, "save: metadata", "a dict of texts or None")
    state = model.state_dict() if isinstance(model, Module) else model
    arrays = {_name(name): _as_array(name, value) for name, value in state.items()}
    texts = {_FORMAT: "dlcore", **_texts(metadata or {})}
    if isinstance(model, Module) and (text := describe(model)[0]) is not None:
        texts[_ARCHITECTURE] = text
        if frozen := [name for name, p in model.named_parameters() if not p.requires_grad]:
            texts[_FROZEN] = json.dumps(frozen)
    config = _config(model, preprocessing)
    if config is not None:
        texts[_PREPROCESSING] = config
    if optimizer is not None:
        saved = optimizer.state_dict()
        texts[_OPTIMIZER] = json.dumps([{k: _plain(v) for k, v in group.items()} for group in saved["param_groups"]])
        for i, entry in saved["state"].items():
            arrays |= {f"{_OPTIMIZER}/{i}/{slot}": _as_array(slot, value) for slot, value in entry.items()}
    try:
        head, order = _safetensors.pack(arrays, texts)
        Checkpoint({}, texts)
    except ValueError as error:
        raise ValueError(f"save: {error}") from None
    with replacing(path) as file:
        _safetensors.write(file, head, arrays, order)


@overload
def load(source: Module, path: str | os.PathLike[str], optimizer: Optimizer | None = None) -> Module: ...
@overload
def load(source: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> Module: ...
def load(source: Any, path: Any = None, optimizer: Any = None, *, classes: Iterable[type] = ()) -> Module:
    """``load(path)`` makes the model that a file holds; ``load(model, path)`` fills one that is there. Returns it.

    A model can be made where `save` could describe it: of dlcore's layers, and of Module classes that this program has
    imported already or that are given as ``classes``, with numbers, texts, other modules, functions of dlcore and data
    classes as arguments. A file is data: it imports nothing and runs no code of its own. `load_state` reads the tensors
    of any file.

    Filling: names, shapes and dtypes must be those of the model. ``optimizer`` takes over the state that was saved with
    it. Raises ValueError where the file is damaged or does not fit, OSError where it cannot be read; model and
    optimizer are then as they were, and after Ctrl-C they are filled whole or not at all.
    """
    if path is None and not isinstance(source, Module):
        return _made(_path(source, "load"), classes)
    if not isinstance(source, Module):
        raise TypeError(f"load: a Module and a path, or a path alone, not {type(source).__name__} and a path")
    path = _path(path, "load")
    instance(optimizer, Optimizer | None, "load: optimizer", "an Optimizer or None")
    from dlcore.train.interrupt import Interrupt

    checkpoint = _read(path)
    with Interrupt():  # Ctrl-C, too, leaves a model that is filled whole or not at all
        try:
            take_over = None
            if optimizer is not None:
                if checkpoint.optimizer is None:
                    raise ValueError("there is no optimizer's state in it")
                take_over = optimizer._prepared(checkpoint.optimizer)
            source.load_state_dict(checkpoint)
        except ValueError as error:
            raise ValueError(f"load: {path}: {error}") from None
        if take_over is not None:
            take_over()
        source.preprocessing = checkpoint.preprocessing
    return source


def load_state(path: str | os.PathLike[str]) -> Checkpoint:
    """The tensors in a file by name, whatever wrote it, with what `save` kept beside them: a `Checkpoint`.

    Raises ValueError where the file is damaged, OSError where it cannot be read.
    """
    return _read(_path(path, "load_state"), "load_state")


def _made(path: str, classes: Iterable[type]) -> Module:
    """The model in a file."""
    checkpoint = _read(path)
    if _ARCHITECTURE not in checkpoint.metadata:
        raise ValueError(
            f"load: {path} tells no architecture: make the model and use load(model, path), or load_state(path) for "
            "its tensors"
        )
    try:
        model = build(checkpoint.metadata[_ARCHITECTURE], classes)
        for name, p in model.named_parameters():  # what was cast after it was made
            if name in checkpoint and checkpoint[name].dtype is not p.dtype and checkpoint[name].dtype.is_float:
                model.to(checkpoint[name].dtype)
                break
        model.load_state_dict(checkpoint)
        frozen = _json.typed(list[str], _json.parse(checkpoint.metadata.get(_FROZEN, "[]")), _FROZEN)
    except ValueError as error:
        raise ValueError(f"load: {path}: {error}") from None
    for name, p in model.named_parameters():
        p.requires_grad = name not in frozen
    model.preprocessing = checkpoint.preprocessing
    return model


def _path(path: Any, operation: str) -> str:
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{operation}: path {shown(path)} is neither a text nor a path")
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"{operation}: path {name!r} holds a null character, which no name of a file has")
    return name


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
        if key in (_FORMAT, _PREPROCESSING, _OPTIMIZER, _ARCHITECTURE, _FROZEN):
            raise ValueError(f"save: the metadata key {key!r} is dlcore's own")
    return dict(metadata)


def _name(name: Any) -> str:
    """The name of a tensor, which must be another one than those that the file gives a meaning to."""
    if not isinstance(name, str):
        raise TypeError(f"save: names are texts, not {shown(name)}")
    if name.startswith(f"{_OPTIMIZER}/"):
        raise ValueError(f"save: {short(name)}: names that begin with {_OPTIMIZER}/ are those of the optimizer's state")
    return name


def _as_array(name: str, value: Any) -> Any:
    """``value`` as something whose elements can be written: a Tensor, or an array of a dtype that dlcore has."""
    try:
        array = value if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save: {short(name)}: {shown(value)} is not an array: {error}") from None
    if array.dtype.name not in _safetensors.codes:
        raise TypeError(f"save: {short(name)}: dtype {array.dtype} cannot be saved")
    return array


def _plain(value: Any) -> Any:
    """A setting of an optimizer as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value


def _groups(text: str) -> list[dict[str, Any]]:
    """The groups of an optimizer that ``text`` describes, with the numbers of their parameters in order."""
    try:
        groups = _json.typed(list[dict[str, Any]], _json.parse(text))
        count = 0
        for group in groups:
            params = _json.typed(list[int], group.get("params"), "params")
            if params != list(range(count, count + len(params))):
                raise ValueError(f"the parameters of a group are {short(params)}, not numbered from {count}")
            count += len(params)
    except ValueError as error:
        raise ValueError(f"not the settings of an optimizer: {short(text)} ({error})") from None
    return groups


def _read(path: str, name: str = "load") -> Checkpoint:
    try:
        arrays, metadata = _safetensors.read(path)
    except ValueError as error:
        raise ValueError(f"{name}: {path} is damaged, cut short, or not a safetensors file: {error}") from None
    try:
        return Checkpoint({key: from_numpy(array) for key, array in sorted(arrays.items())}, metadata)
    except ValueError as error:
        raise ValueError(f"{name}: {path}: {error}") from None
