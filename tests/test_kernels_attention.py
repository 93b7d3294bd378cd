"""Attention kernels: what the table's samples are too small for, how tiles are chosen, and what they compile to."""

import ml_dtypes
import numpy as np
import pytest

from dlcore.dtypes import bfloat16, bool_, float32, float64, int64
from dlcore.kernels import interpret
from dlcore.kernels.attention import attention
from dlcore.kernels.launch import ARCHES, BAD_OFFSET, Call, Descriptor, View, contiguous_strides
from dlcore.ops._attention import Band, Rest, numpy_forward, numpy_gradients
from dlcore.ops.attention import (
    attention_backward,
    attention_forward,
    attention_packed_backward,
    attention_packed_forward,
)

pytest.importorskip("triton")

ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
LIMIT = 4  # roundings that an error may have, measured against the same sums of absolute values


class Case:
    """Random operands of a call, and its results by the reference."""

    def __init__(self, q, k, dtype=np.float32, layout="BHTD", scale=None, left=-1, right=-1, lower=False, dropout=0.0,
                 mask=None, lengths=None, offsets=(None, None), values=None):  # fmt: skip
        rng = np.random.default_rng(0)
        v = (*k[:3], values or k[3])
        out = (*q[:3], v[3])
        self.dtype, self.layout, self.arrays = np.dtype(dtype), layout, []
        for b, h, t, n in (q, k, v, out):
            shape = (b, h, t, n) if layout == "BHTD" else (b, t, h, n)
            self.arrays.append(rng.standard_normal(shape).astype(dtype))
        self.scale = q[3] ** -0.5 if scale is None else scale
        self.band, self.dropout = Band(left, right, lower), dropout
        state = np.array([0x0123456789ABCDEF, 32]) if dropout else None
        if mask is not None and mask.dtype != bool:
            mask = mask.astype(dtype)
        self.rest = Rest(mask, lengths, *offsets, state)
        threshold, factor = round(dropout * 2**32), 1 / (1 - dropout)
        self.params = (self.scale, left, right, int(lower), threshold, factor, int(layout == "BTHD"))
        self.lse = (*q[:3],)

    def told(self, *arrays):
        """Operands and attributes of the references."""
        exact = [a if a is None or a.dtype.kind in "bi" else a.astype(np.float64) for a in (*arrays, *self.rest)]
        return (*exact[:-5], Rest(*exact[-5:]), self.scale, self.band, self.dropout, self.layout)

    def near(self, found, wanted, size):
        assert not np.isnan(found.astype(np.float64)).any()
        limit = LIMIT * ROUNDING[self.dtype.name] * size + 1e-30
        assert (np.abs(found.astype(np.float64) - wanted) <= limit).all()

    def check(self, arch="sm_90", backward=True):
        """Runs both directions; the Program of the first."""
        q, k, v, dout = self.arrays
        told = self.told(q, k, v)
        wanted, logs = numpy_forward(*told)
        size, worst = numpy_forward(*told, size=True)
        kept = np.float64 if self.dtype == np.float64 else np.float32
        out, lse = np.empty(wanted.shape, self.dtype), np.empty(self.lse, kept)
        program = self.run(attention.attention_forward, [q, k, v, *self.rest], [out, lse], arch)
        self.near(out, wanted, size)
        np.testing.assert_array_equal(np.isneginf(lse), np.isneginf(logs))
        seen = np.isfinite(logs)
        np.testing.assert_array_less(np.abs(lse[seen] - logs[seen]), 1e-6 * worst[seen])
        if backward:
            given = [dout, q, k, v, wanted.astype(self.dtype), logs.astype(kept)]
            grads = [np.empty(a.shape, self.dtype) for a in (q, k, v)]
            self.run(attention.attention_backward, [*given, *self.rest], grads, arch)
            told = self.told(*given)
            bounds = numpy_gradients(*told, size=True)
            for found, right, size in zip(grads, numpy_gradients(*told), bounds, strict=True):
                self.near(found, right, size)
        return program

    def run(self, planner, inputs, outputs, arch):
        for array in outputs:
            array.fill(np.nan)
        call = Call(tuple(map(interpret.view, inputs)), tuple(map(interpret.view, outputs)), (), self.params,
                    ARCHES[arch])  # fmt: skip
        program = planner(call)
        interpret.run(program, inputs, outputs, arch=ARCHES[arch])
        return program


def rng():
    return np.random.default_rng(1)


CASES = {
    "causal": {"right": 0},
    "lower right": {"right": 0, "lower": True},
    "window": {"right": 0, "left": 5},
    "before and behind": {"right": 3, "left": 35},
    "lengths": {"lengths": np.array([33, 0])},
    "lengths, lower right": {"lengths": np.array([40, 90], np.int32), "right": 0, "lower": True},
    "bools": {"mask": rng().random((2, 1, 70, 73)) < 0.6, "right": 0},
    "numbers": {"mask": np.where(rng().random((1, 4, 70, 73)) < 0.3, -np.inf, rng().random((1, 4, 70, 73)))},
    "dropout": {"dropout": 0.3, "right": 0},
    "a negative scale": {"scale": -0.7, "right": 0},
    "heads behind time": {"layout": "BTHD", "values": 5},
}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", CASES)
def test_several_blocks(name, arch):
    Case((2, 4, 70, 10), (2, 2, 73, 10), **CASES[name]).check(arch)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
@pytest.mark.parametrize("right", [-1, 0])
def test_dtypes(dtype, right):
    """By TMA, too, of 16 bits: rows of whole 16 bytes on sm_90."""
    program = Case((1, 2, 150, 24), (1, 1, 150, 24), dtype, right=right).check()
    used = any(isinstance(a, Descriptor) for a in program.launches[-1].args.values())
    assert used == (dtype is not np.float64)


def test_groups_of_64_are_dropped_as_others():
    """Keys in whole groups of 64 share blocks of random words: the same probabilities are dropped."""
    for keys in (128, 100):
        program = Case((1, 1, 40, 16), (1, 1, keys, 16), np.float16, dropout=0.4).check()
        assert program.launches[0].args["GROUPS"] == (keys == 128)


@pytest.mark.parametrize(("lower", "left"), [(False, -1), (True, -1), (True, 6)])
def test_sequences(lower, left):
    """Packed behind each other, one of them empty, and queries behind the last."""
    offsets = np.array([0, 7, 7, 20, 66], np.int32), np.array([0, 17, 18, 20, 90])
    Case((1, 2, 70, 8), (1, 1, 90, 8), right=0, lower=lower, left=left, offsets=offsets, dropout=0.2).check()


@pytest.mark.parametrize(
    ("queries", "keys", "code", "position"),
    [
        ([0, 7, 5, 9], [0, 3, 3, 9], BAD_OFFSET, 2),
        ([0, 7, 9, 9], [0, 3, 3, 12], BAD_OFFSET, 3),
        ([0, 7, 9, 9], [-1, 3, 3, 9], BAD_OFFSET, 0),
        ([0] * 300 + [5, 4, 9], [0] * 303, BAD_OFFSET, 301),  # more sequences than one program looks at
        ([1, 7, 9, 9], [0, 3, 3, 9], 0, 2**63 - 1),
    ],
)
def test_offsets_that_cannot_be(queries, keys, code, position):
    case = Case((1, 2, 9, 8), (1, 2, 11, 8), offsets=(np.array(queries), np.array(keys)))
    inputs, errors = [*case.arrays[:3], *case.rest], np.array([0, 2**63 - 1])
    outputs = [np.empty((1, 2, 9, 8), np.float32), np.empty((1, 2, 9), np.float32)]
    views = tuple(tuple(map(interpret.view, arrays)) for arrays in (inputs, outputs))
    program = attention.attention_forward(Call(*views, (), case.params, ARCHES["sm_90"]))
    interpret.run(program, inputs, outputs, errors)
    assert errors.tolist() == [code, position]
    assert any(launch.reports for launch in program.launches)


@pytest.mark.parametrize("heads", [(2, 2), (6, 2)])
@pytest.mark.parametrize("what", [
    {}, {"mask": rng().standard_normal((2, 1, 1, 400))},
    {"scale": -0.3, "left": 50, "right": 0, "lower": True, "lengths": np.array([333, 0])},
], ids=["all", "mask", "lengths"])  # fmt: skip
def test_one_query(heads, what):
    program = Case((2, heads[0], 1, 16), (2, heads[1], 400, 16), **what).check(backward=False)
    assert [x.kernel.name.partition(":")[2] for x in program.launches] == ["decode_kernel", "join_kernel"]
    short = {**what, "mask": None} | ({"lengths": np.array([9, 0])} if "lengths" in what else {})
    program = Case((2, heads[0], 1, 10), (2, heads[1], 20, 10), np.float64, "BTHD", **short).check(backward=False)
    assert len(program.launches) == 1


def test_what_lies_behind_a_length_is_not_read():
    for queries in (1, 20):
        case = Case((1, 2, queries, 16), (1, 2, 300, 16), np.float16, lengths=np.array([70]), right=0, lower=True)
        q, k, v, _ = case.arrays
        k[:, :, 70:], v[:, :, 70:] = np.nan, np.nan
        out, lse = np.empty(q.shape, q.dtype), np.empty(q.shape[:3], np.float32)
        case.run(attention.attention_forward, [q, k, v, *case.rest], [out, lse], "sm_90")
        assert np.isfinite(out).all() and np.isfinite(lse).all()


@pytest.mark.parametrize("queries", [1, 20])
def test_a_length_out_of_range_is_reported(queries):
    for lengths, position in ((np.array([3, 41, -1]), 1), (np.array([50]), 0)):
        case = Case((3, 1, queries, 8), (3, 1, 40, 8), lengths=lengths)
        outputs = np.empty((3, 1, queries, 8), np.float32), np.empty((3, 1, queries), np.float32)
        inputs, errors = [*case.arrays[:3], *case.rest], np.array([0, 2**63 - 1])
        views = (tuple(map(interpret.view, arrays)) for arrays in (inputs, outputs))
        program = attention.attention_forward(Call(*views, (), case.params, ARCHES["sm_90"]))
        interpret.run(program, inputs, outputs, errors)
        assert errors.tolist() == [10, position]


def test_infinite_numbers_stay_where_they_are():
    """A query of NaN gives NaN, others nothing of it."""
    case = Case((1, 1, 40, 8), (1, 1, 40, 8), right=0)
    q, k, v, _ = case.arrays
    q[0, 0, 3] = np.nan
    out = np.empty(q.shape, q.dtype)
    lse = np.empty(q.shape[:3], np.float32)
    case.run(attention.attention_forward, [q, k, v, *case.rest], [out, lse], "sm_90")
    assert np.isnan(out[0, 0, 3]).all() and np.isfinite(np.delete(out[0, 0], 3, 0)).all()


def planned(dtype, width, arch, tokens=1024, mask=None, dropout=0.0, **limits):
    """Calls forward and backward on views of nothing."""
    shape, kept = (2, 4, tokens, width), float64 if dtype is float64 else float32
    x, lse = (View(s, d, contiguous_strides(s)) for s, d in ((shape, dtype), (shape[:3], kept)))
    square, pair = (2, 4, tokens, tokens), (2,)
    masks = mask and View(square, mask, contiguous_strides(square))
    rest = (masks, None, None, None, View(pair, int64, (1,)) if dropout else None)
    params = (0.125, limits.get("left", -1), limits.get("right", -1), 0, round(dropout * 2**32), 1 / (1 - dropout), 0)
    forward = Call((x, x, x, *rest), (x, lse), (), params, ARCHES[arch])
    return forward, Call((x, x, x, x, x, lse, *rest), (x, x, x), (), params, ARCHES[arch])


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("dtype", "width", "more"), [
    (bfloat16, 64, {"right": 0}), (bfloat16, 128, {"mask": bfloat16, "dropout": 0.1}), (float32, 32, {"right": 0}),
    (float32, 128, {"right": 0}),
], ids=["half-64", "half-128-all", "float-32", "float-128"])  # fmt: skip
def test_kernels_compile_without_spills(dtype, width, more, arch):
    from dlcore.kernels.compile import compile_program

    for planner, call in zip((attention.attention_forward, attention.attention_backward),
                             planned(dtype, width, arch, **more), strict=True):  # fmt: skip
        for binary in compile_program(planner(call), call):
            assert binary.problems == ()


def test_operations_have_these_kernels():
    for operation in (attention_forward, attention_backward, attention_packed_forward, attention_packed_backward):
        ((name, _),) = operation.op.kernel_choices("cuda")
        assert name == f"attention.attention:{operation.op.name}"


def test_a_mask_is_read_where_it_lies():
    """One for all heads is neither repeated nor copied: a stride of 0."""
    forward, _ = planned(bfloat16, 64, "sm_90", mask=bool_)
    shared = View((2, 1, 1024, 1024), bool_, (1024 * 1024, 5, 1024, 1))
    call = forward._replace(inputs=(*forward.inputs[:3], shared, *[None] * 4))
    (launch,) = attention.attention_forward(call).launches
    assert launch.args["mask_head"] == 0 and launch.args["mask_batch"] == 1024 * 1024
