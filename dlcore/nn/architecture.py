"""The architecture of a model as text: which classes it is made of, with which arguments.

A text is data, and nothing in it is run: `build` makes instances of dlcore's own layers, of Module classes and data
classes that the program has imported already, and of those it is given. It imports nothing but
`dlcore.models`, where a class of these is named, and calls nothing else.

    {"module": "dlcore.nn.layers:Linear", "args": [64, 10], "kwargs": {"bias": false}}

"attributes", beside these, are the numbers and texts that the module keeps under names of its arguments, as they are
now; "shared", of the whole model, are the names under which its state holds one and the same tensor.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dlcore import _json
from dlcore._arguments import listed, shown
from dlcore._device import Device
from dlcore._json import short
from dlcore._tensor import Tensor, tensor
from dlcore.dtypes import DType, as_dtype
from dlcore.nn.module import Module
from dlcore.random import generator_states, set_generator_states

__all__ = ["build", "describe"]

_LARGEST = 4096  # elements of an array among the arguments
_KINDS = ("module", "class", "data", "function", "array", "dtype", "float", "tuple", "dict")


class _Strange(ValueError):
    """Something that has no description."""


def describe(model: Module) -> tuple[str | None, str]:
    """The architecture of ``model``, or None and why there is none."""
    try:
        described = _described_module(model, type(model).__name__)
        if shared := _shared(model._state()):
            described["shared"] = shared
        return json.dumps(described), ""
    except (_Strange, RecursionError) as error:
        return None, str(error) if isinstance(error, _Strange) else "it refers to itself"


def _described(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return _described(value.item(), where)
    if isinstance(value, Module):
        return _described_module(value, where)
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, Device):
        return None  # where a model lies is not what it is
    if isinstance(value, Tensor | np.ndarray):
        if value.size > _LARGEST:
            raise _Strange(f"{where} is {shown(value)}, too large for an argument that is kept as text")
        flat = [_number(part) for part in value.reshape(-1).tolist()]
        return {"array": flat, "shape": list(value.shape), "of": value.dtype.name}
    if type(value) is list:
        return [_described(part, f"{where}[{k}]") for k, part in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_described(part, f"{where}[{k}]") for k, part in enumerate(value)]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        parts = {key: _described(part, f"{where}[{key!r}]") for key, part in value.items()}
        return {"dict": parts}
    if isinstance(value, type) and (issubclass(value, Module) or dataclasses.is_dataclass(value)):
        return {"class": _name(value, where)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        described = {name: _described(part, f"{where}.{name}") for name, part in fields.items()}
        return {"data": _name(type(value), where), "fields": described}
    if callable(value) and (name := _public_name(value)) is not None:
        return {"function": name}
    raise _Strange(f"{where} is {shown(value)}, which has no description as text")


def _number(value: Any) -> Any:
    """An element of an array as JSON has it: numbers that are not finite as texts."""
    return value if not isinstance(value, float) or math.isfinite(value) else repr(value)


def _described_module(module: Module, where: str) -> dict[str, Any]:
    args, kwargs = module._construction()
    return {
        "module": _name(type(module), where),
        "args": [_described(part, f"argument {k} of {where}") for k, part in enumerate(args)],
        "kwargs": {k: _described(v, f"argument {k!r} of {where}") for k, v in kwargs.items() if k != "device"},
        "attributes": {name: _described(v, where) for name, v in _attributes(module).items()},
    }


def _attributes(module: Module) -> dict[str, Any]:
    """The numbers and texts among the attributes that are called as arguments of the constructor are."""
    try:
        names = inspect.signature(type(module)).parameters
    except (TypeError, ValueError):
        return {}
    now = vars(module)
    return {name: now[name] for name in names if name in now and _is_plain(now[name])}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _shared(state: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each tensor that has several."""
    names: dict[int, list[str]] = {}
    for name, value in state.items():
        names.setdefault(id(value), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def _name(cls: type, where: str) -> str:
    if "<locals>" in cls.__qualname__:
        raise _Strange(f"{where} is of the class {cls.__qualname__}, which no other program can name")
    return f"{cls.__module__}:{cls.__qualname__}"


def _public_name(value: Any) -> str | None:
    """The name by which a function of dlcore can be had: "relu" for ``dl.relu``."""
    import dlcore

    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) and getattr(dlcore, name, None) is value else None


# ---- building -----------------------------------------------------------------------------------------------------


def build(text: str, classes: Iterable[type] = ()) -> Module:
    """The model that ``text`` describes, with fresh parameters. The default generators stay where they are.

    ``classes``: used for those of the same name, wherever these were. Raises ValueError for what it does not know.
    """
    given = {}
    for cls in listed(classes, "load: classes", "classes"):
        if not isinstance(cls, type) or not (issubclass(cls, Module) or dataclasses.is_dataclass(cls)):
            raise TypeError(f"load: classes: {shown(cls)} is no class of modules, and no data class")
        given[cls.__name__] = cls
    before = generator_states()
    try:
        value = _json.parse(text)
        model = _built(value, given)
        if isinstance(model, Module) and "shared" in value:
            _share(model, _json.typed(list[list[str]], value["shared"], "shared"))
    except RecursionError:
        raise ValueError("its architecture is nested too deeply") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"its architecture cannot be built: {error}") from None
    finally:
        set_generator_states(before)
    if not isinstance(model, Module):
        raise ValueError(f"its architecture is {short(text)}, which is no model")
    return model


def _built(value: Any, classes: Mapping[str, type]) -> Any:
    if isinstance(value, list):
        return [_built(part, classes) for part in value]
    if not isinstance(value, dict):
        return value
    kind = next((kind for kind in _KINDS if kind in value), None)
    content = value.get(kind or "")
    if kind in ("module", "class", "data"):
        cls = _class(_json.typed(str, content, kind), classes)
        if kind == "class":
            return cls
        if kind == "data":
            fields = _json.typed(dict[str, Any], value.get("fields"), "fields")
            kwargs = {name: _built(part, classes) for name, part in fields.items()}
            return _made(cls, [], kwargs, dataclasses.is_dataclass(cls))
        args = _built(_json.typed(list[Any], value.get("args"), "args"), classes)
        kwargs = {k: _built(v, classes) for k, v in _json.typed(dict[str, Any], value.get("kwargs"), "kwargs").items()}
        made = _made(cls, args, kwargs, issubclass(cls, Module))
        _set(made, {k: _built(v, classes) for k, v in _json.typed(dict[str, Any], value.get("attributes", {})).items()})
        return made
    if kind == "function":
        return _function(_json.typed(str, content, kind))
    if kind == "array":
        shape, dtype = _json.typed(list[int], value.get("shape"), "shape"), _json.typed(str, value.get("of"), "of")
        return tensor(np.asarray(content, np.float64 if "float" in dtype else None).reshape(shape), dtype)
    if kind == "dtype":
        return as_dtype(content, "load: dtype")
    if kind == "float":
        return float(_json.typed(str, content, kind))
    if kind == "tuple":
        return tuple(_built(_json.typed(list[Any], content, kind), classes))
    if kind == "dict":
        return {key: _built(part, classes) for key, part in _json.typed(dict[str, Any], content, kind).items()}
    raise ValueError(f"its architecture has {short(repr(value))}, which is nothing that is known")


def _made(cls: type, args: list[Any], kwargs: dict[str, Any], right: bool) -> Any:
    if not right:
        raise ValueError(f"its architecture makes a {cls.__qualname__}, which is not of that kind")
    try:
        return cls(*args, **kwargs)
    except Exception as error:  # of the class: whatever it raises is about what the file says
        text = f"its architecture cannot be built: {cls.__qualname__}: {type(error).__name__}: {error}"
        raise ValueError(text) from error


def _set(module: Module, attributes: Mapping[str, Any]) -> None:
    """Give ``module`` those of ``attributes`` that were changed after it was made."""
    for name, value in attributes.items():
        own = vars(module).get(name, module)
        if not _is_plain(own) or own == value:
            continue
        if not _is_plain(value) or (own is not None and value is not None and _kind(own) is not _kind(value)):
            raise ValueError(f"its architecture has the attribute {short(name)} = {short(repr(value))} for {own!r}")
        setattr(module, name, value)


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _share(model: Module, shared: Iterable[Sequence[str]]) -> None:
    """Let the names of each group stand for one tensor of ``model``, as in the model that was saved."""
    state, modules = model._state(), dict(model.named_modules())
    for first, *others in shared:
        for name in others:
            path, _, attribute = name.rpartition(".")
            one, other = state.get(first), state.get(name)
            if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
                raise ValueError(f"its architecture shares {short(first)} and {short(name)}, which do not fit")
            if one is other:
                continue
            if path not in modules or vars(modules[path]).get(attribute) is not other:
                raise ValueError(f"its architecture shares {short(name)}, which is no attribute of a module")
            setattr(modules[path], attribute, one)


def _class(name: str, classes: Mapping[str, type]) -> type:
    """The class called "module:Name", if it is dlcore's or the program has it already; no attribute is computed."""
    module, _, qualname = name.partition(":")
    if module.startswith("dlcore.models."):
        importlib.import_module("dlcore.models")  # by this name alone, whatever the file says: it holds all of them
    if (given := classes.get(qualname.rpartition(".")[2])) is not None:
        return given
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = None if found is None else found.__dict__.get(part)
    if isinstance(found, type) and (issubclass(found, Module) or dataclasses.is_dataclass(found)):
        return found
    raise ValueError(
        f"it is a model with a {short(name)}, which this program has not imported: import it first, or give it by "
        f"load(path, classes=[{short(qualname.rpartition('.')[2])}])"
    )


def _function(name: str) -> Any:
    import dlcore

    found = getattr(dlcore, name, None) if name in dlcore.__all__ else None
    if found is None or not callable(found) or inspect.isclass(found):
        raise ValueError(f"its architecture has the function {short(name)}, which dlcore does not have")
    return found
