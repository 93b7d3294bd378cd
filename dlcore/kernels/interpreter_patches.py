"""What Triton 3.9's interpreter gets wrong or slow, put right in one place.

- bfloat16 is held as its bits in uint16, and arithmetic on it is that of integers: here it is ml_dtypes.bfloat16, whose
  NumPy operations round to nearest even, as the hardware's conversions do.
- A reduction or scan by a function of one's own goes element by element: here halves of the tensor meet.
- A call of a device function patches the language again, each time: here the kernel's launch has done it.
- The result of comparing scalars becomes a float when it is broadcast: here it stays a bool.
- Triton's own functions (tl.sum, tl.cdiv) are interpreted only if the flag was set before Triton's import: here always.
- Inline PTX is refused: here a few instructions that NumPy can say are known.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["apply"]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def apply(module: Any) -> None:
    """Patch ``module``, which is triton.runtime.interpreter; once."""
    _bfloat16(module)
    _reductions(module)
    _splat(module)
    _inline_assembly(module)
    _library(module)
    module.InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(*args, **kwargs)
    patch, visible = module._patch_lang, SimpleNamespace(__globals__={"tl": module.tl, "core": module.tl.core})
    module._patch_lang = lambda function: patch(visible)  # core is what Triton's own device functions call tl


def _library(module: Any) -> None:
    import triton.language as tl
    from triton.runtime.jit import JITFunction

    interpreted: dict[int, Any] = {}
    places = [m for name, m in sys.modules.items() if name.startswith("triton.language") and m is not None]
    for place in (*places, tl.tensor):
        for name, value in list(vars(place).items()):
            if isinstance(value, JITFunction):
                made = interpreted.setdefault(id(value), module.InterpretedFunction(value.fn))
                setattr(place, name, made if place is not tl.tensor else _method(made))


def _method(function: Any) -> Any:
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


# ---- bfloat16 -----------------------------------------------------------------------------------------------------


def _bfloat16(module: Any) -> None:
    import triton.language as tl

    builder, low_level, numpy_dtype = module.InterpreterBuilder, module._interpreter, module._get_np_dtype

    def dtype_of(type: Any) -> Any:
        scalar = type.element_ty if isinstance(type, tl.block_type) else type
        return BFLOAT16 if scalar == tl.bfloat16 else numpy_dtype(type)

    def bits(array: Any) -> Any:
        return array.view(np.uint16) if array.dtype == BFLOAT16 else array

    def load(self: Any, ptrs: Any, mask: Any, other: Any, cache_policy: Any, is_volatile: bool) -> Any:
        type = ptrs.get_element_ty()
        dtype = dtype_of(type)
        fill = np.zeros(ptrs.data.shape, dtype) if other is None else other.data
        raw = low_level.load(ptrs.data, mask.data, bits(fill), np.dtype(np.uint16) if dtype == BFLOAT16 else dtype)
        return module.TensorHandle(raw.view(dtype), type)

    def store(self: Any, ptrs: Any, value: Any, mask: Any, cache_policy: Any) -> Any:
        return low_level.store(ptrs.data, bits(np.ascontiguousarray(value.data)), mask.data)

    eights, convert = (
        (tl.float8e5, tl.float8e5b16, tl.float8e4nv, tl.float8e4b8, tl.float8e4b15),
        builder.create_fp_to_fp,
    )

    def cast(self: Any, source: Any, type: Any) -> Any:
        return module.TensorHandle(source.data.astype(dtype_of(type)), type.scalar)

    def fp_to_fp(self: Any, source: Any, type: Any, rounding: Any) -> Any:
        wide = source.dtype.scalar not in eights and type.scalar not in eights
        return cast(self, source, type) if wide else convert(self, source, type, rounding)

    def dot(self: Any, a: Any, b: Any, c: Any, precision: Any, imprecise: Any) -> Any:
        dtype = c.data.dtype
        return module.TensorHandle(np.matmul(a.data.astype(dtype), b.data.astype(dtype)) + c.data, c.dtype.scalar)

    module._get_np_dtype = dtype_of
    builder.create_masked_load, builder.create_masked_store = load, store
    builder.cast_impl, builder.create_fp_to_fp, builder.create_dot = cast, fp_to_fp, dot


def _splat(module: Any) -> None:
    def splat(self: Any, type: Any, x: Any) -> Any:
        return module.TensorHandle(np.full(type.shape, x.data.reshape(-1)[0], x.data.dtype), x.dtype.scalar)

    module.InterpreterBuilder.create_splat = splat


# ---- reductions and scans by functions ----------------------------------------------------------------------------


def _reductions(module: Any) -> None:
    def combine(op: Any, left: Any, right: Any, types: Any) -> list[Any]:
        tensors = [op.to_tensor(x, t) for side in (left, right) for x, t in zip(side, types, strict=True)]
        result = op.combine_fn.rewrite()(*tensors)
        results = result if isinstance(result, tuple) else (result,)
        return [np.broadcast_to(r.handle.data, x.shape) for r, x in zip(results, left, strict=True)]

    def reduce(self: Any, inputs: Any) -> list[Any]:
        axis, types = self.axis, [x.dtype for x in inputs]
        arrays = [x.handle.data for x in inputs]
        rank = arrays[0].ndim
        if axis is None:
            arrays, axis = [x.reshape(-1) for x in arrays], 0
        arrays = [np.moveaxis(x, axis, 0) for x in arrays]
        while arrays[0].shape[0] > 1:  # pairs of neighbours: the function need not commute
            arrays = combine(self, [x[0::2] for x in arrays], [x[1::2] for x in arrays], types)
        results = [x[0] for x in arrays]
        if self.keep_dims:
            results = [x.reshape((1,) * rank) if self.axis is None else np.expand_dims(x, axis) for x in results]
        return [self.to_tensor(x if x.ndim else x.item(), t) for x, t in zip(results, types, strict=True)]

    def scan(self: Any, inputs: Any) -> list[Any]:
        types = [x.dtype for x in inputs]
        arrays = [np.moveaxis(x.handle.data, self.axis, 0).copy() for x in inputs]
        step = 1
        while step < arrays[0].shape[0]:
            earlier = [np.concatenate([x[:step], x[:-step]]) for x in arrays]  # whole: sides are powers of two
            met = combine(self, earlier, arrays, types)
            arrays = [np.concatenate([x[:step], y[step:]]) for x, y in zip(arrays, met, strict=True)]
            step *= 2
        return [self.to_tensor(np.moveaxis(x, 0, self.axis), t) for x, t in zip(arrays, types, strict=True)]

    module.ReduceOps.generic_reduce, module.ScanOps.generic_scan = reduce, scan


# ---- inline PTX ---------------------------------------------------------------------------------------------------


def _tf32(x: Any) -> Any:
    """float32 rounded to tf32, ties away from zero: `cvt.rna.tf32.f32`."""
    bits = x.view(np.uint32)
    finite = (bits & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).view(x.dtype)


_ASSEMBLY = {
    "cvt.rna.tf32.f32 $0, $1;": _tf32,
    "cvt.rn.bf16x2.f32 $0, $2, $1;": lambda x: x.astype(BFLOAT16),  # two elements, the first in the low half
    "cvt.rn.f16x2.f32 $0, $2, $1;": lambda x: x.astype(np.float16),
}


def _inline_assembly(module: Any) -> None:
    def inline(self: Any, text: str, constraints: str, values: Any, types: Any, pure: bool, pack: int) -> Any:
        function = _ASSEMBLY.get(text.strip())
        if function is None:
            raise NotImplementedError(f"the interpreter does not know this PTX: {text.strip()}")
        return _Results(module.TensorHandle(function(*(v.data for v in values)), types[0].scalar))

    module.InterpreterBuilder.create_inline_asm = inline


class _Results:
    """What the semantic layer asks of an operation with one result."""

    def __init__(self, handle: Any):
        self.handle = handle

    def get_result(self, index: int) -> Any:
        """The result."""
        return self.handle
