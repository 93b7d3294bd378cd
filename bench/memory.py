"""Kernels that memory bounds, beside loops that do nothing but move as many bytes, on the same sizes and threads.

A case is an expression of both libraries, its operands and its result. The loops are those of dlcore.bench.roofs: as
many bytes as the operation writes are copied, and what it reads beyond these is summed. Cold: sets of operands and
results, together four times the largest cache, are taken in turns.
"""

import functools
import itertools
import math

import numpy as np

_MATRIX = "x: float32 1024x1024"
_TWO = "x: float32 1024x1024, y: float32 1024x1024"
_LOW = "x: bfloat16 1024x1024"
_HALF = "x: float16 1024x1024"

CASES = {
    # name: (expression, operands, result)
    "sum over the last axis, 1024x1024": ("x.sum(-1)", _MATRIX, "float32 1024"),
    "sum over the first axis, 1024x1024": ("x.sum(0)", _MATRIX, "float32 1024"),
    "sum over the middle axis, 64x256x64": ("x.sum(1)", "x: float32 64x256x64", "float32 64x64"),
    "sum over the middle axis, 16x512x128 bfloat16": ("x.sum(1)", "x: bfloat16 16x512x128", "bfloat16 16x128"),
    "sum of 1M": ("x.sum()", "x: float32 1048576", "float32 1"),
    "sum over rows of 1025": ("x.sum(-1)", "x: float32 1023x1025", "float32 1023"),
    "sum over rows of 33": ("x.sum(-1)", "x: float32 31775x33", "float32 31775"),
    "sum over rows of 7 int8": ("x.sum(-1)", "x: int8 149796x7", "int64 149796"),
    "sum over the last axis, 1024x1024 bfloat16": ("x.sum(-1)", _LOW, "bfloat16 1024"),
    "sum over the first axis, 1024x1024 bfloat16": ("x.sum(0)", _LOW, "bfloat16 1024"),
    "sum over the last axis, 1024x1024 float16": ("x.sum(-1)", _HALF, "float16 1024"),
    "mean over rows of 1025": ("x.mean(-1)", "x: float32 1023x1025", "float32 1023"),
    "max of 1M": ("x.amax()", "x: float32 1048576", "float32 1"),
    "max over the last axis, 1024x1024": ("x.amax(-1)", _MATRIX, "float32 1024"),
    "max over the first axis, 1024x1024": ("x.amax(0)", _MATRIX, "float32 1024"),
    "max over the middle axis, 64x256x64": ("x.amax(1)", "x: float32 64x256x64", "float32 64x64"),
    "argmax of 1M": ("x.argmax()", "x: float32 1048576", "int64 1"),
    "argmax over the last axis, 1024x1024": ("x.argmax(-1)", _MATRIX, "int64 1024"),
    "any of 4M bytes, all 0": ("z.any()", "z: uint8 4194304", "bool 1"),
    "all of 4M bools, all true": ("o.all()", "o: bool 4194304", "bool 1"),
    "any over the first axis, 2048x2048 bools": ("z.any(0)", "z: bool 2048x2048", "bool 2048"),
    "float32 to bfloat16": ("x.to(lib.bfloat16)", _MATRIX, "bfloat16 1024x1024"),
    "bfloat16 to float32": ("x.to(lib.float32)", _LOW, "float32 1024x1024"),
    "float32 to float16": ("x.to(lib.float16)", _MATRIX, "float16 1024x1024"),
    "float16 to float32": ("x.to(lib.float32)", _HALF, "float32 1024x1024"),
    "float32 to float64": ("x.to(lib.float64)", _MATRIX, "float64 1024x1024"),
    "float32 to int32": ("x.to(lib.int32)", _MATRIX, "int32 1024x1024"),
    "x > y": ("x > y", _TWO, "bool 1024x1024"),
    "where(c, x, y)": ("lib.where(c, x, y)", f"{_TWO}, c: bool 1024x1024", "float32 1024x1024"),
    "concat of two over the last axis": ("lib.concat([x, y], -1)", "x: float32 1024x512, y: float32 1024x512",
                                         "float32 1024x1024"),
    "stack of two, last axis": ("lib.stack([x, y], -1)", "x: float32 524288, y: float32 524288", "float32 524288x2"),
    "gather along the last axis": ("x.take_along_dim(i, -1)", f"{_MATRIX}, i: int64 1024x1024", "float32 1024x1024"),
    "scatter along the last axis": ("x.scatter(-1, i, y)", f"{_TWO}, i: int64 1024x1024", "float32 1024x1024"),
    "rows of 256 in another order": ("x.index_select(0, i)", "x: float32 4096x256, i: int64 4096", "float32 4096x256"),
    "numbers in another order": ("x[i]", "x: float32 1048576, i: int64 1048576", "float32 1048576"),
    "transpose 1024x1024": ("x.T.contiguous()", _MATRIX, "float32 1024x1024"),
    "transpose 1024x1024 bfloat16": ("x.T.contiguous()", _LOW, "bfloat16 1024x1024"),
    "NCHW to NHWC, 16x64x32x32": ("x.permute(0, 2, 3, 1).contiguous()", "x: float32 16x64x32x32",
                                  "float32 16x32x32x64"),
    "clip_grad_norm of 16 x 64K": ("clip(parameters, 1.0)", "g: float32 16x65536", "float32 16x65536"),
    "x + row": ("x + r", f"{_MATRIX}, r: float32 1024", "float32 1024x1024"),
    "x + column": ("x + r", f"{_MATRIX}, r: float32 1024x1", "float32 1024x1024"),
    "x[:, :1000] * y[:, :1000]": ("x[:, :1000] * y[:, :1000]", _TWO, "float32 1024x1000"),
    "x[:, ::2] + 1": ("x[:, ::2] + 1", _MATRIX, "float32 1024x512"),
    "x.transpose(0, 1) * y, 64x256x64": ("x.transpose(0, 1) * y", "x: float32 256x64x64, y: float32 64x256x64",
                                         "float32 64x256x64"),
    "x + y, 16M": ("x + y", "x: float32 16777216, y: float32 16777216", "float32 16777216"),
}  # fmt: skip
SIZES = {"bool": 1, "int8": 1, "uint8": 1, "bfloat16": 2, "float16": 2, "float32": 4, "int32": 4, "float64": 8,
         "int64": 8}  # fmt: skip


def _spec(text):
    """("float32", (1024, 1024)) of "float32 1024x1024"."""
    dtype, shape = text.split()
    return dtype, tuple(map(int, shape.split("x")))


def _operands(name):
    return {o.partition(": ")[0]: _spec(o.partition(": ")[2]) for o in CASES[name][1].split(", ")}


def moved(name):
    """Bytes that a case reads and that it writes: operands and results once, but gradients, which are read twice."""
    read, written = (sum(SIZES[dtype] * math.prod(shape) for dtype, shape in specs)
                     for specs in (_operands(name).values(), [_spec(CASES[name][2])]))  # fmt: skip
    return (2 * read if name.startswith("clip") else read), written


@functools.cache
def _drawn(letter, dtype, shape):
    """What holds for all cases: indices are each row's numbers in a random order, so that none is written twice."""
    rng = np.random.default_rng(ord(letter))
    if letter in "zo":
        return np.full(shape, letter == "o", dtype)
    if letter == "i":
        return rng.permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=-1)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype in ("int8", "bfloat16", "float16"):
        return rng.integers(-1, 2, shape, dtype=np.int8)  # sums are exact
    return rng.standard_normal(shape, dtype=np.float32)


def _arranged(lib, name):
    """The values that the case's expression asks for."""
    values = {letter: lib.tensor(_drawn(letter, *spec)).to(getattr(lib, spec[0]))
              for letter, spec in _operands(name).items()}  # fmt: skip
    if "g" in values:
        values["parameters"] = [lib.zeros(row.shape).requires_grad_() for row in values["g"]]
        for parameter, row in zip(values["parameters"], values["g"], strict=True):
            parameter.grad = (row * 1).detach()
        values["clip"] = getattr(getattr(lib, "optim", None), "clip_grad_norm_", None) or lib.nn.utils.clip_grad_norm_
    return values


def _in_turns(calls):
    """One call of the next of `calls`; the results of all are kept until their turn comes again."""
    if len(calls) == 1:
        return calls[0]
    turns, ring = itertools.cycle(enumerate(calls)), [call() for call in calls]

    def run():
        k, call = next(turns)
        ring[k] = call()

    return run


def operation(lib, name, sets=1):
    """(what runs the case, what gives its first result) on so many sets of operands."""
    made = [eval(f"lambda: {CASES[name][0]}", {"lib": lib, **_arranged(lib, name)}) for _ in range(sets)]
    first = made[0]()
    return _in_turns(made), lambda: first


def roof(lib, name, sets=1, past=0):
    """The same of loops that move as many bytes; ``past``: by stores that go past the caches."""
    from dlcore import _C

    read, written = (-(-n // 64) * 8 for n in moved(name))  # words
    copied = min(written, (read + written) // 2)
    times, sums = lib.zeros((lib.get_num_threads(), 2), dtype=lib.float64), lib.zeros(64, dtype=lib.int64)

    def made():
        source, target, rest = (lib.ones(max(n, 8), dtype=lib.int64) for n in (copied, copied, read - written))

        def move():
            _C.run_kernel("roofs:copy", [source], [target, times], [1, past])
            if read > written:
                _C.run_kernel("roofs:read", [rest], [sums, times], [1])

        return move

    return _in_turns([made() for _ in range(sets)]), operation(lib, name)[1]
