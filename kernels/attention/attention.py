"""Planners of attention: of its rows (dlcore/ops/attention.py), for operands of any layout and packed ones."""

from __future__ import annotations

from typing import Any

from dlcore.dtypes import int32
from dlcore.kernels.attention import decode
from dlcore.kernels.attention.backward import delta_kernel, keys_kernel, queries_kernel
from dlcore.kernels.attention.forward import forward_kernel
from dlcore.kernels.attention.plan import (
    Hidden,
    Rows,
    Tile,
    Work,
    hidden_of,
    index_of,
    number,
    rows_of,
    strides_of,
    tile_of,
    work_of,
)
from dlcore.kernels.attention.sequences import bounds_kernel
from dlcore.kernels.launch import (
    Call,
    Errors,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    Workspace,
    accumulator,
    ceil_div,
    contiguous_strides,
    power_of_2,
)  # fmt: skip
from dlcore.kernels.matmul.tiles import family

BOUNDS = Temp(0, int32)  # what each query sees
FUSED = {"enable_fp_fusion": True}  # s * scale - level rounds once


def _view(views: Any, k: int) -> View:
    found = views[k]
    assert found is not None
    return found


def _dense(view: View) -> bool:
    """Whether the elements of a row follow each other and no two rows are one."""
    return view.shape[-1] <= 1 or view.strides[-1] == 1


def _loose(call: Call, inputs: tuple[int, ...]) -> tuple[int, ...]:
    """Those whose rows do not lie in one piece."""
    return tuple(k for k in inputs if not _dense(_view(call.inputs, k)))


def _straight(call: Call, loose: tuple[int, ...]) -> Call:
    inputs = [
        v._replace(strides=contiguous_strides(v.shape), aligned=True) if v and k in loose else v
        for k, v in enumerate(call.inputs)
    ]
    return call._replace(inputs=tuple(inputs))


# ---- launches -----------------------------------------------------------------------------------------------------
def _bounds(call: Call, hidden: Hidden, work: Work, at: int, of_keys: int) -> Launch:
    args = {
        "queries": In(at), "keys": In(of_keys), "bounds": BOUNDS, "errors": Errors(), "rows": work.rows,
        "most": work.keys, "count": hidden.sequences, "queries_step": _view(call.inputs, at).strides[0],
        "keys_step": _view(call.inputs, of_keys).strides[0],
        **{n: hidden.args[n] for n in ("left", "right", "LEFT", "RIGHT", "LOWER")},
        "STEPS": max(hidden.sequences, 1).bit_length(), "BLOCK": 128,
    }  # fmt: skip
    return Launch(bounds_kernel, (ceil_div(work.rows, 128),), args)


def _common(work: Work, hidden: Hidden, tile: Tile, operands: list[Rows], call: Call, at: int) -> dict[str, Any]:
    mask = call.inputs[at]
    reach = 0 if mask is None else sum(abs(s) * n for s, n in zip(mask.strides[2:], mask.shape[2:], strict=True))
    unit = min(x.unit for x in operands)
    return {
        "heads": work.heads, "group": work.heads // work.shared, "rows": work.rows, "keys": work.keys, **hidden.args,
        "D": work.depth, "DV": work.width, "BLOCK_M": tile.m, "BLOCK_N": tile.n,
        "BLOCK_D": max(power_of_2(work.depth), 16), "BLOCK_V": max(power_of_2(work.width), 16), "UNIT": unit,
        "TMA": tile.tma, "GROUPS": hidden.drops and work.keys % 64 == 0 and tile.n % 64 == 0,
        "PRECISION": work.precision, "ACC": accumulator(work.dtype), "INDEX": index_of(*operands, others=reach),
    }  # fmt: skip


def _split(tile: Tile, call: Call) -> dict[str, Any]:
    """Whether keys that all queries of a block see have a loop of their own, without comparisons: through pointers two
    loops with wgmma in one kernel would be serialised (ptxas, C7515)."""
    return {"SPLIT": tile.tma or family(call.arch) != "sm_90"}


def _forward(call: Call, q: Rows, k: Rows, v: Rows, out: Rows, at: int, hidden: Hidden, first: list[Launch]) -> Program:
    work = work_of(q, k, v)
    tile = tile_of("forward", work, call.arch, k.ready and v.ready and not hidden.lengths, hidden)
    operands = [q, k, v, out]
    common = _common(work, hidden, tile, operands, call, at)
    whole = not (hidden.args["LEFT"] or hidden.args["RIGHT"] or hidden.lengths or hidden.sequences)
    args = {
        **common, **strides_of("q k v o", operands, common["UNIT"]), "q": q.pointer,
        "k": k.described(tile.n, common["BLOCK_D"]) if tile.tma else k.pointer,
        "v": v.described(tile.n, common["BLOCK_V"]) if tile.tma else v.pointer,
        "out": out.pointer, "lse": call.outputs[1] and Out(1), "WHOLE": whole and work.keys % tile.n == 0,
    }  # fmt: skip
    grid = ceil_div(work.rows, tile.m) * work.examples * work.heads
    args |= _split(tile, call) | {"errors": Errors() if hidden.lengths else None}
    launch = Launch(forward_kernel, (grid,), args, tile.warps, tile.stages, FUSED)
    return Program((*first, launch))


def attention_forward(call: Call) -> Program:
    """The program of attention_forward."""
    loose = _loose(call, (0, 1, 2))
    call = _straight(call, loose)
    last = bool(call.params[6])
    q, k, v = (rows_of(In(n), _view(call.inputs, n), last) for n in range(3))
    out = rows_of(Out(0), _view(call.outputs, 0), last)
    return _planned(call, q, k, v, out, 3, call.params, False, loose)


def _planned(
    call: Call, q: Rows, k: Rows, v: Rows, out: Rows, at: int, params: Any, packed: bool, loose: tuple[int, ...]
) -> Program:
    if not q.shape[0] * q.shape[1] * q.shape[2]:
        return Program(())
    work = work_of(q, k, v)
    hidden = hidden_of(call, at, params, q.dtype, packed, BOUNDS)
    if decode.suits(q, k, hidden):
        found, temps = decode.launches(q, k, v, out, call.outputs[1] and Out(1), hidden, call.arch)
        return Program(found, temps, loose)
    first = [_bounds(call, hidden, work, at + 2, at + 2 if packed else at + 3)] if hidden.sequences else []
    program = _forward(call, q, k, v, out, at, hidden, first)
    temps = (Workspace(8 * work.rows),) if hidden.sequences else ()
    return program._replace(temps=temps, contiguous=loose)


def _parts(pointer: Any, view: View, heads: int) -> tuple[Rows, Rows, Rows]:
    """Queries, keys and values that lie side by side."""
    shared = (view.shape[2] - heads) // 2
    return (
        rows_of(pointer, view, True, (0, heads)), rows_of(pointer, view, True, (heads, shared)),
        rows_of(pointer, view, True, (heads + shared, shared)),
    )  # fmt: skip


def attention_packed_forward(call: Call) -> Program:
    """The program of attention_packed_forward."""
    loose = _loose(call, (0,))
    call = _straight(call, loose)
    q, k, v = _parts(In(0), _view(call.inputs, 0), int(call.params[0]))
    out = rows_of(Out(0), _view(call.outputs, 0), True)
    return _planned(call, q, k, v, out, 1, call.params[1:], True, loose)


# ---- backward -----------------------------------------------------------------------------------------------------
def _delta(work: Work, out: Rows, dout: Rows, delta: Temp) -> Launch:
    unit = min(out.unit, dout.unit)
    block = max(power_of_2(work.width), 16)
    rows = max(2048 // block, 16)
    args = {
        "out": out.pointer, "dout": dout.pointer, "delta": delta, "heads": work.heads, "rows": work.rows,
        **strides_of("o g", [out, dout], unit), "DV": work.width, "BLOCK_M": rows, "BLOCK_V": block, "UNIT": unit,
        "ACC": accumulator(work.dtype), "INDEX": index_of(out, dout),
    }  # fmt: skip
    return Launch(delta_kernel, (ceil_div(work.rows, rows) * work.examples * work.heads,), args)


def _backward(
    call: Call, q: Rows, k: Rows, v: Rows, dout: Rows, out: Rows, lse: In, made: list[Rows | None], at: int,
    params: Any, packed: bool, loose: tuple[int, ...],
) -> Program:  # fmt: skip
    work = work_of(q, k, v)
    if not any(made):
        return Program(())
    hidden = hidden_of(call, at, params, q.dtype, packed, BOUNDS)
    acc = accumulator(work.dtype)
    delta = Temp(1, acc)
    launches = []
    if hidden.sequences and work.rows:
        launches.append(_bounds(call, hidden, work, at + 2, at + 2 if packed else at + 3))
    entries = work.examples * work.heads
    if entries * work.rows:
        launches.append(_delta(work, out, dout, delta))
    shared = {"lse": lse, "delta": delta}
    dq, dk, dv = made
    if (dk or dv) and work.examples * work.shared * work.keys:
        tile = tile_of("keys", work, call.arch, q.ready and dout.ready, hidden)
        operands = [q, k, v, dout, dk or k, dv or v]
        common = _common(work, hidden, tile, operands, call, at)
        args = {
            **common, **shared, **strides_of("q k v g dk dv", operands, common["UNIT"]), "k": k.pointer,
            "v": v.pointer, "q": q.described(tile.m, common["BLOCK_D"]) if tile.tma else q.pointer,
            "dout": dout.described(tile.m, common["BLOCK_V"]) if tile.tma else dout.pointer,
            "dk": dk and dk.pointer, "dv": dv and dv.pointer, "shared_heads": work.shared,
            "outer": number(abs(params[0]), work.dtype),  # the queries have its sign
            "WHOLE": work.rows % tile.m == 0,
        }  # fmt: skip
        grid = ceil_div(work.keys, tile.n) * work.examples * work.shared
        launches.append(Launch(keys_kernel, (grid,), args, tile.warps, tile.stages, FUSED))
    if dq and entries * work.rows:
        tile = tile_of("queries", work, call.arch, k.ready and v.ready and not hidden.lengths, hidden)
        operands = [q, k, v, dout, dq]
        common = _common(work, hidden, tile, operands, call, at)
        whole = not (hidden.args["LEFT"] or hidden.args["RIGHT"] or hidden.lengths or hidden.sequences)
        args = {
            **common, **shared, **strides_of("q k v g dq", operands, common["UNIT"]), "q": q.pointer,
            "dout": dout.pointer, "k": k.described(tile.n, common["BLOCK_D"]) if tile.tma else k.pointer,
            "v": v.described(tile.n, common["BLOCK_V"]) if tile.tma else v.pointer, "dq": dq.pointer,
            "outer": number(params[0], work.dtype), "WHOLE": whole and work.keys % tile.n == 0,
        }  # fmt: skip
        args |= _split(tile, call)
        grid = ceil_div(work.rows, tile.m) * entries
        launches.append(Launch(queries_kernel, (grid,), args, tile.warps, tile.stages, FUSED))
    temps = (Workspace(8 * work.rows if hidden.sequences else 0), Workspace(entries * work.rows * acc.itemsize))
    return Program(tuple(launches), temps, loose)


def attention_backward(call: Call) -> Program:
    """The program of attention_backward."""
    loose = _loose(call, (0, 1, 2, 3, 4)) + ((5,) if not _view(call.inputs, 5).contiguous else ())
    call = _straight(call, loose)
    last = bool(call.params[6])
    dout, q, k, v, out = (rows_of(In(n), _view(call.inputs, n), last) for n in range(5))
    made = [rows_of(Out(n), x, last) if (x := call.outputs[n]) else None for n in range(3)]
    return _backward(call, q, k, v, dout, out, In(5), made, 6, call.params, False, loose)


def attention_packed_backward(call: Call) -> Program:
    """The program of attention_packed_backward."""
    loose = _loose(call, (0, 1, 2)) + ((3,) if not _view(call.inputs, 3).contiguous else ())
    call = _straight(call, loose)
    heads = int(call.params[0])
    dout, out = (rows_of(In(n), _view(call.inputs, n), True) for n in (0, 2))
    q, k, v = _parts(In(1), _view(call.inputs, 1), heads)
    made = list(_parts(Out(0), _view(call.outputs, 0), heads))
    return _backward(call, q, k, v, dout, out, In(3), made, 4, call.params[1:], True, loose)  # type: ignore[arg-type]
