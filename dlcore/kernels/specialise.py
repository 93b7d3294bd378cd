"""What of a launch is compiled in, and what is handed over at run time.

`specialise` is the one place that knows the rule: pointers are "divisible by 16" exactly where their View is aligned,
an int is 1 (then it vanishes), divisible by 16, or any; everything else that is no number is a constant. Compiler,
interpreter, cache and launcher all read its answer. Nothing here imports Triton.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import dlcore.kernels
from dlcore.dtypes import DType, int64
from dlcore.kernels.language import Kernel
from dlcore.kernels.launch import (
    F64,
    I32,
    LAUNCH_OPTIONS,
    Call,
    Cuda,
    Descriptor,
    Errors,
    In,
    Launch,
    Out,
    Table,
    Temp,
    Value,
)  # fmt: skip

__all__ = ["SIZES", "TRITON", "Field", "Parameter", "Specialised", "includes", "sizes_of", "source_path",
           "specialise"]  # fmt: skip

TRITON = "3.9"
"""The pinned compiler: its version is part of every key, so that binaries built elsewhere are found without it."""
NVRTC = "13"
OVERLAPPING = 90
"""The compute capability from which a kernel may start before the one before it has ended."""
FORMAT = 2  # of what is compiled from a key: raise it when compile options or checks change

SIZES = {"ptr": 8, "i1": 1, "i32": 4, "i64": 8, "f32": 4, "f64": 8, "map": 128}
_ELEMENT = {
    "bool": "i1", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "int8": "i8", "int16": "i16",
    "int32": "i32", "int64": "i64", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64",
}  # fmt: skip
_SCALAR = {"i32": "i32", "i64": "i64", "f32": "fp32", "f64": "fp64"}


class Field(NamedTuple):
    """One item of a `Table`: ``type`` and ``argument`` as in Parameter, ``offset`` bytes into the struct."""

    offset: int
    type: str
    argument: Any


class Parameter(NamedTuple):
    """One parameter of the driver's launch, in order: what to put there.

    ``type``: "ptr", "i1", "i32", "i64", "f32", "f64", "table", or "map" (a CUtensorMap). ``argument``: In, Out, Temp,
    Errors, None (a null pointer), Value, a number, for a table its Fields, for a map its Descriptor. ``size`` in bytes.
    """

    type: str
    argument: Any
    size: int

    @property
    def alignment(self) -> int:
        """Of its place among the parameters, in bytes."""
        return {"table": 8, "map": 64}.get(self.type, self.size)


class Specialised(NamedTuple):
    """What is compiled. Equal ones have the same binary."""

    kernel: Any
    arch: str
    signature: tuple[tuple[str, str, bool], ...]
    """(parameter, Triton type, divisible by 16) of what is handed over; of a Cuda kernel (position, type, False)."""
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def key(self) -> str:
        """Its name on disk: a digest of all of the above, the sources and the compiler's version."""
        if isinstance(self.kernel, Cuda):
            parts = [f"nvrtc {NVRTC}", *_texts(self.kernel.source), *map(repr, self.kernel)]
        else:
            parts = [f"triton {TRITON}", self.kernel.name, self.kernel.hash]
        parts += [str(FORMAT), self.arch, repr(self.signature)]
        parts += [f"{name}={_canonical(value)}" for name, value in (*self.constants, *self.options)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def specialise(launch: Launch, call: Call) -> tuple[Specialised, tuple[Parameter, ...]]:
    """What to compile for ``launch`` of a Program made for ``call`` (see `prepared`), and what to hand over.

    Raises ValueError where the arguments do not fit the kernel.
    """
    if isinstance(launch.kernel, Cuda):
        parameters = tuple(_cuda_parameter(a, call) for a in launch.args.values())
        signature = tuple(
            (str(k), p.type if p.type != "table" else f"table{p.size}", False) for k, p in enumerate(parameters)
        )
        return Specialised(launch.kernel, call.arch.name, signature, (), ()), parameters
    kernel: Kernel = launch.kernel
    if unknown := [name for name in launch.args if name not in kernel.params]:
        raise ValueError(f"{kernel.name}: has no parameter {', '.join(unknown)}")
    signature_: list[tuple[str, str, bool]] = []
    constants: list[tuple[str, Any]] = []
    parameters_: list[Parameter] = []
    for name in kernel.params:
        if name not in launch.args and name not in kernel.defaults:
            raise ValueError(f"{kernel.name}: no argument for {name}")
        argument = launch.args.get(name, kernel.defaults.get(name))
        if name in kernel.constexprs or _is_constant(argument):
            constants.append((name, argument))
            continue
        try:
            if isinstance(argument, Descriptor):
                signature_.append((name, *_described(argument, call)))
                parameters_.append(Parameter("map", argument, SIZES["map"]))
                parameters_ += [Parameter("i32", n, 4) for n in argument.shape]
                parameters_ += [Parameter("i64", n, 8) for n in argument.strides]
                continue
            type, divisible = _classify(argument, call)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{kernel.name}: {name}: {error}") from None
        if type in ("i32", "i64", "f32", "f64"):
            signature_.append((name, _SCALAR[type], divisible))
            number = argument.value if isinstance(argument, I32 | F64) else argument
            parameters_.append(Parameter(type, number, SIZES[type]))
        else:
            signature_.append((name, type, divisible))
            parameters_.append(Parameter("ptr", argument, 8))
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    options |= {name: value for name, value in launch.options.items() if name not in LAUNCH_OPTIONS}
    if call.arch.capability >= OVERLAPPING and launch.options.get("overlap", True):
        options["launch_pdl"] = True
    made = Specialised(kernel, call.arch.name, tuple(signature_), tuple(constants), tuple(sorted(options.items())))
    return made, tuple(parameters_)


def _is_constant(argument: Any) -> bool:
    if isinstance(argument, int) and not isinstance(argument, bool):
        return argument == 1
    return not isinstance(argument, float | In | Out | Temp | Descriptor | Errors | Value | F64 | I32)


def _described(descriptor: Descriptor, call: Call) -> tuple[str, bool]:
    """Triton's type of a descriptor, and that it is not specialised."""
    if not _classify(descriptor.pointer, call)[1]:
        raise ValueError(f"{descriptor.pointer!r} is not aligned, which TMA wants")
    block = ", ".join(map(str, descriptor.block))
    return f"tensordesc<{_ELEMENT[descriptor.dtype.name]}[{block}]>", False


def sizes_of(type: str) -> tuple[int, ...]:
    """Bytes of the parameters that one of a Triton type becomes: of a descriptor, its map, shape and strides."""
    if type.startswith("tensordesc"):
        rank = type.count(",") + 1
        return SIZES["map"], *[SIZES["i32"]] * rank, *[SIZES["i64"]] * rank
    return ({"fp32": 4, "fp64": 8, "i32": 4}.get(type, 8),)


def _classify(argument: Any, call: Call) -> tuple[str, bool]:
    """(type, divisible by 16) of an argument that is handed over; a pointer's type is Triton's, "*fp32"."""
    if isinstance(argument, In | Out):
        views = call.inputs if isinstance(argument, In) else call.outputs
        view = views[argument.index]
        if view is None or view.weak:
            raise ValueError(f"{argument!r} has no memory: it is {'absent' if view is None else 'a scalar'}")
        dtype = argument.dtype or view.dtype
        return f"*{_ELEMENT[dtype.name]}", view.aligned and argument.offset % 16 == 0
    if isinstance(argument, Temp):
        return f"*{_ELEMENT[argument.dtype.name]}", argument.offset % 16 == 0
    if isinstance(argument, Errors):
        return f"*{_ELEMENT[int64.name]}", True
    if isinstance(argument, Value):
        view = call.inputs[argument.index]
        if view is None:
            raise ValueError(f"{argument!r} has no value: it is absent")
        return value_type(view.dtype), False
    if isinstance(argument, F64):
        return "f64", False
    if isinstance(argument, float):
        return "f32", False
    number = argument.value if isinstance(argument, I32) else argument
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} does not fit 64 bits")
    return "i32" if -(2**31) <= number < 2**31 else "i64", number % 16 == 0


def value_type(dtype: DType) -> str:
    """How the value of a weak scalar of ``dtype`` is handed over."""
    if dtype.is_float:
        return "f64" if dtype.name == "float64" else "f32"
    return "i64" if dtype is int64 else "i32"


# ---- CUDA C++ -----------------------------------------------------------------------------------------------------


def _cuda_parameter(argument: Any, call: Call) -> Parameter:
    if not isinstance(argument, Table):
        type, item = _cuda_scalar(argument, call)
        return Parameter(type, item, SIZES[type])
    fields, at = [], 0
    for entry in argument.fields:
        type, item = _cuda_scalar(entry, call)
        at += -at % SIZES[type]
        fields.append(Field(at, type, item))
        at += SIZES[type]
    return Parameter("table", tuple(fields), at + -at % 8)


def _cuda_scalar(argument: Any, call: Call) -> tuple[str, Any]:
    if argument is None or isinstance(argument, In | Out | Temp | Errors):
        return "ptr", argument
    if isinstance(argument, Value):
        return _classify(argument, call)[0], argument
    if isinstance(argument, I32 | F64):
        return "i32" if isinstance(argument, I32) else "f64", argument.value
    if isinstance(argument, bool):
        return "i1", argument
    if isinstance(argument, int | float):
        return "i64" if isinstance(argument, int) else "f32", argument
    raise ValueError(f"{argument!r} is no argument of a CUDA C++ kernel")


def source_path(source: str) -> Path:
    """Where a `.cu` file or a header named in kernels/ lies."""
    for root in dlcore.kernels.__path__:
        if (path := Path(root) / source).is_file():
            return path
    raise FileNotFoundError(f"there is no kernel source {source}")


def includes(source: str) -> dict[str, str]:
    """The text of ``source`` and of the files beside it that it includes, by name; the source itself comes first."""
    found: dict[str, str] = {}

    def visit(path: Path, name: str) -> None:
        if name not in found and path.is_file():
            found[name] = path.read_text()
            for inner in re.findall(r'^\s*#include "(.+)"', found[name], re.MULTILINE):
                visit(path.parent / inner, inner)

    path = source_path(source)
    visit(path, path.name)
    return found


@lru_cache
def _texts(source: str) -> tuple[str, ...]:
    return tuple(includes(source).values())


def _canonical(value: Any) -> str:
    if isinstance(value, Kernel):
        return f"{value.name} {value.hash}"
    if isinstance(value, tuple):
        return f"({','.join(map(_canonical, value))})"
    return repr(value)
