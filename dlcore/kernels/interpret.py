"""Runs Programs on host memory: Triton kernels by Triton's interpreter, CUDA C++ by the host shim.

This is what proves kernels where there is no GPU. A Program knows its operands by name, so the same launches that a
GPU gets run here, one block after the other, on NumPy arrays (`run`) or on addresses (`execute`).

From the first call on Triton only interprets in this process (TRITON_INTERPRET=1); dlcore compiles in another
(`dlcore.kernels.compile`), so both work side by side.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dlcore.dtypes import as_dtype
from dlcore.kernels.language import Constant, Kernel, resolve
from dlcore.kernels.launch import (
    ARCHES,
    Arch,
    Call,
    Cuda,
    Descriptor,
    Errors,
    In,
    Launch,
    Program,
    Temp,
    Value,
    View,
    lengths,
    prepared,
)  # fmt: skip
from dlcore.kernels.specialise import sizes_of, specialise, value_type

__all__ = ["execute", "run", "view"]

NO_ERROR = (0, 2**63 - 1)
_NUMPY = {"i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}


def run(
    program: Program, inputs: Sequence[Any], outputs: Sequence[Any], errors: Any = None, arch: Arch = ARCHES["sm_90"]
) -> None:
    """Run ``program`` on NumPy arrays of any layout, Python or NumPy scalars (weak operands), and None.

    A Python float counts as float32, an int as int64. ``errors``: an int64 array of two words for `Errors`.
    ``arch``: whose SMs a persistent kernel's blocks are for.
    """
    given = [x if isinstance(x, np.ndarray) or x is None else _scalar(x) for x in inputs]
    call = Call(tuple(map(view, given)), tuple(map(view, outputs)), (), (), arch)
    words = np.array(NO_ERROR, np.int64) if errors is None else errors
    places = [_address(x) if isinstance(x, np.ndarray) else x for x in given]
    execute(program, call, places, [None if o is None else _address(o) for o in outputs], _address(words))


def execute(
    program: Program,
    call: Call,
    inputs: Sequence[Any],
    outputs: Sequence[int | None],
    errors: int = 0,
    all_errors: int = 0,
) -> None:
    """Run ``program``, made for ``call``, on host memory.

    ``inputs``: the address of element 0 of each operand, the value of a weak scalar, or None; ``outputs``: addresses;
    ``errors``: the address of the two words of `Errors`; ``all_errors``: of those of all rows.
    """
    copies = {k: _gathered(v, inputs[k]) for k in program.contiguous if (v := call.inputs[k]) is not None}
    places = [_address(copies[k]) if k in copies else x for k, x in enumerate(inputs)]
    call = prepared(call, program)
    temps = [_aligned(w.bytes) for w in program.temps]
    for made, wanted in zip(temps, program.temps, strict=True):
        made[...] = 0 if wanted.zeroed else 0xFF  # NaN in every float dtype: reading what was not written shows

    def address(argument: Any) -> int:
        if isinstance(argument, Errors):
            return all_errors if argument.every else errors
        if isinstance(argument, Temp):
            return _address(temps[argument.index]) + argument.offset
        return int((places if isinstance(argument, In) else outputs)[argument.index]) + argument.offset

    def number(argument: Value) -> Any:
        operand = call.inputs[argument.index]
        assert operand is not None  # `specialise` has seen to it
        return _NUMPY[value_type(operand.dtype)](inputs[argument.index])

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a maximum of nothing but NaN, as on a GPU
        for launch in program.launches:
            if isinstance(launch.kernel, Cuda):
                from dlcore.kernels.shim import run_cuda

                run_cuda(launch, address, number, blocks=call.arch.multiprocessors)
            else:
                _interpret(launch, call, address, number)


def view(array: Any) -> View | None:
    """The View of a NumPy array, of a NumPy scalar (weak), or None."""
    if array is None:
        return None
    if not isinstance(array, np.ndarray):
        return View((), as_dtype(array.dtype), (), weak=True)
    strides = tuple(s // array.itemsize for s in array.strides)
    return View(array.shape, as_dtype(array.dtype), strides, _address(array) % 16 == 0)


def _scalar(x: Any) -> Any:
    return x if isinstance(x, np.generic) else np.float32(x) if isinstance(x, float) else np.int64(x)


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.ctypes.data)


def _aligned(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    room = np.empty(size + 512, np.uint8)
    start = -_address(room) % 512
    return room[start : start + size]


def _gathered(operand: View, address: int) -> np.ndarray[Any, Any]:
    """A contiguous, aligned copy of an operand in memory."""
    itemsize = operand.dtype.itemsize
    made = _aligned(operand.size * itemsize).view(operand.dtype.numpy).reshape(operand.shape)
    if operand.size:
        spans = [(n - 1) * s * itemsize for n, s in zip(operand.shape, operand.strides, strict=True)]
        low, high = sum(min(s, 0) for s in spans), sum(max(s, 0) for s in spans) + itemsize
        memory: Any = (ctypes.c_char * (high - low)).from_address(address + low)
        strides = [s * itemsize for s in operand.strides]
        made[...] = np.ndarray(operand.shape, operand.dtype.numpy, memory, -low, strides)
    return made


# ---- Triton's interpreter -----------------------------------------------------------------------------------------


@lru_cache
def _interpreter() -> Any:
    """Triton's interpreter module, patched."""
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.runtime.interpreter as module

    from dlcore.kernels import interpreter_patches

    interpreter_patches.apply(module)
    return module


def _interpret(launch: Launch, call: Call, address: Any, number: Any) -> None:
    module = _interpreter()
    specialised, parameters = specialise(launch, call)
    kernel: Kernel = launch.kernel
    arguments: dict[str, Any] = {name: resolve(_bare(value)) for name, value in specialised.constants}
    rest = iter(parameters)
    for name, type, _ in specialised.signature:
        given = list(itertools.islice(rest, len(sizes_of(type))))
        if isinstance(given[0].argument, Descriptor):
            arguments[name] = _descriptor(module, given[0].argument, address)
        else:
            arguments[name] = _argument(module, type, given[0], address, number)
    function = kernel.triton().rewrite()
    grid = lengths(launch.grid, call.arch.multiprocessors)
    scope = module._patch_lang(function)
    try:
        module.interpreter_builder.set_grid_dim(*grid)
        for place in itertools.product(*map(range, grid)):
            module.interpreter_builder.set_grid_idx(*place)
            function(**arguments)
    finally:
        scope.restore()


def _argument(module: Any, type: str, parameter: Any, address: Any, number: Any) -> Any:
    import triton.language as tl

    if parameter.type == "ptr":
        value: Any = np.uint64(address(parameter.argument))
    elif isinstance(parameter.argument, Value):
        value = number(parameter.argument)
    else:
        value = _NUMPY[parameter.type](parameter.argument)
    dtype = tl.str_to_ty(type, None)
    return tl.tensor(module.TensorHandle(np.array([value]), dtype), dtype)


def _descriptor(module: Any, argument: Descriptor, address: Any) -> Any:
    import triton.language as tl

    def handles(numbers: Sequence[int], type: Any, dtype: Any) -> list[Any]:
        return [module.TensorHandle(np.array([n], dtype), type) for n in numbers]

    element = resolve(argument.dtype)
    (base,) = handles([address(argument.pointer)], tl.pointer_type(element), np.uint64)
    shape, strides = handles(argument.shape, tl.int32, np.int32), handles(argument.strides, tl.int64, np.int64)
    zero = module._ir.PADDING_OPTION.PAD_ZERO
    made = module.TensorDescHandle(base, shape, strides, list(argument.block), zero)
    made.validate()
    sizes, steps = ([tl.tensor(h, t) for h in of] for of, t in ((shape, tl.int32), (strides, tl.int64)))
    return tl.tensor_descriptor(made, sizes, steps, tl.block_type(element, list(argument.block)))


def _bare(value: Any) -> Any:
    """A constant as the interpreter wants it: not wrapped."""
    return value.value if isinstance(value, Constant) else value
