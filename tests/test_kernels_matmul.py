"""The GPU's matrix products: each kernel in Triton's interpreter against float64, and what it compiles to."""

import math

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("triton")

from dlcore import testing
from dlcore.dtypes import bfloat16, float32
from dlcore.kernels import interpret
from dlcore.kernels.interpret import run, view
from dlcore.kernels.launch import ARCHES, Arch, Call, In, Out, PerSM, Program, View, contiguous_strides
from dlcore.kernels.matmul import pack, plan, precision, product, tiles
from dlcore.kernels.matmul.linear_backward import linear_backward
from dlcore.kernels.matmul.tiles import Tile, Work, choose, shares
from dlcore.op import REGISTRY

BF16 = np.dtype(ml_dtypes.bfloat16)
EPS = {BF16: 2.0**-8, np.dtype(np.float16): 2.0**-11, np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}
SMALL_TMA = Tile("tma", 16, 32, 16, 4, 2)
SMALL = Tile("pointers", 16, 32, 16, 4, 2)
TWO_SMS = Arch("sm_90", 2, 232448)  # so that every program has several tiles


def draw(*shape, dtype=np.float32, seed=0):
    """Normal numbers."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def laid(array, layout):
    """The same values: "T": the last two axes swapped in memory; "odd": at an odd address."""
    if layout == "T":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "odd":
        room = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
        room[...] = array
        return room
    return array


def check(got, a, b):
    """At most a few roundings of the largest partial sum away from float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    magnitude = np.abs(a) @ np.abs(b)
    bound = (1 + 2**-6 + math.sqrt(a.shape[-1]) * 2.0**-24 / EPS[got.dtype]) * EPS[got.dtype] * magnitude
    error = np.abs(got.astype(np.float64) - a @ b)
    assert (error <= 2 * bound).all(), f"{(error / np.where(bound, bound, 1)).max():.3g} times the bound"


def planned(a, b, tile, arch=TWO_SMS):
    """a @ b with a tile of one's own, interpreted; and the Program."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.full((*batch, a.shape[-2], b.shape[-1]), np.nan, a.dtype)
    builder = product.Builder(arch)
    left, right = (product.matrix(In(k), view(x), batch) for k, x in enumerate((a, b)))
    plan.multiply(builder, product.product(left, right, batch, out=Out(0)), tile)
    run(builder.program(), (a, b), (out,), arch=arch)
    return out, builder.program()


def called(planner, inputs, outputs, attrs=(), params=(), arch=ARCHES["sm_90"]):
    """Outputs of an operation's planner, interpreted; and the Program."""
    call = Call(tuple(map(view, inputs)), tuple(map(view, outputs)), attrs, params, arch)
    program = planner(call)
    run(program, inputs, outputs, arch=arch)
    return outputs, program


def kernels_of(program):
    """Names of the kernels launched."""
    return [launch.kernel.function.__name__ for launch in program.launches]


# ---- tiles through pointers and TMA -------------------------------------------------------------------------------

SHAPES = [(33, 65, 17), (16, 16, 32), (40, 48, 72)]  # ragged; one tile; several, and several a program


@pytest.mark.parametrize("tile", [SMALL, SMALL_TMA], ids=["pointers", "tma"])
@pytest.mark.parametrize("layouts", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_of_every_layout(tile, layouts, shape):
    m, k, n = shape
    for dtype in (np.dtype(np.float32), BF16):
        a, b = laid(draw(m, k, dtype=dtype), layouts[0]), laid(draw(k, n, dtype=dtype), layouts[1])
        out, program = planned(a, b, tile)
        check(out, a, b)
        if tile.kernel == "tma" and shape == (33, 65, 17):  # rows of 65 or 17 elements: not for TMA
            assert kernels_of(program) == ["pack_kernel", "pack_kernel", "tma_kernel"]


@pytest.mark.parametrize("tile", [SMALL, SMALL_TMA, SMALL._replace(swap=True)], ids=["pointers", "tma", "swapped"])
def test_split_sums_are_added_in_order(tile):
    a, b = draw(20, 200), draw(200, 40)
    out, program = planned(a, b, tile._replace(splits=4))
    check(out, a, b)
    assert kernels_of(program)[-1] == "slices_kernel" and program.temps[0].bytes == 4 * 20 * 40 * 4


@pytest.mark.parametrize("k", [4096, 2688, 2176])
@pytest.mark.parametrize("kernel", ["pointers", "tma"])
def test_an_entry_of_the_table_is_right_for_its_whole_class(kernel, k, monkeypatch):
    """Tuned at K = 4096: 16 splits of two steps. Of K = 2176, 17 steps, they would leave seven empty."""
    tuned = {"kernel": kernel, "m": 32, "n": 16, "k": 128, "warps": 4, "stages": 4, "splits": 16, "swap": True}
    monkeypatch.setattr(tiles, "configuration", lambda arch, kernel, key: tuned)
    choose.cache_clear()
    a, b = draw(16, k, dtype=BF16), draw(k, 64, dtype=BF16)
    (out,), program = called(plan.matmul, (a, b), [np.full((16, 64), np.nan, BF16)])
    choose.cache_clear()
    check(out, a, b)
    args = program.launches[-2].args
    assert 1 < args["SPLITS"] <= 16 and (args["SPLITS"] - 1) * args["share"] < k <= args["SPLITS"] * args["share"]


def test_no_split_is_empty():
    for k in (0, 1, 63, 64, 65, 2112, 2176, 4096, 2**31 + 1):
        for splits in (1, 2, 3, 7, 24, 64):
            share, made = shares(k, Tile("pointers", 64, 64, 64, 4, 2, splits=splits))
            assert 1 <= made <= splits and share % 64 == 0 and (made - 1) * share < max(k, 1) <= max(made * share, 1)


@pytest.mark.parametrize("tile", [SMALL, SMALL_TMA], ids=["pointers", "tma"])
def test_batches(tile):
    for left, right in (((3, 20, 24), (3, 24, 40)), ((3, 20, 24), (24, 40)), ((20, 24), (3, 24, 40))):
        a, b = draw(*left), draw(*right)
        check(planned(a, b, tile)[0], a, b)
    a, b = draw(2, 1, 20, 24), draw(3, 24, 40)  # two axes: pointers in any case
    out, program = planned(a, b, tile)
    check(out, a, b)
    assert kernels_of(program) == ["pointers_kernel"]


@pytest.mark.parametrize("tile", [SMALL, SMALL_TMA], ids=["pointers", "tma"])
def test_the_address_changes_no_bit(tile):
    a, b = draw(33, 40, dtype=BF16), draw(40, 24, dtype=BF16)
    first = planned(a, b, tile)[0]
    again = planned(laid(a, "odd"), laid(b, "odd"), tile)[0]
    assert first.tobytes() == again.tobytes()


def test_large_operands_at_odd_addresses_are_packed_for_pointers():
    a, b = laid(draw(8, 8200, dtype=BF16), "odd"), draw(8200, 8, dtype=BF16)
    out, program = planned(a, b, Tile("pointers", 16, 16, 512, 4, 2))
    check(out, a, b)
    assert kernels_of(program) == ["pack_kernel", "pointers_kernel"]


@pytest.fixture
def loaded(monkeypatch):
    """[lowest, highest] address that interpreted kernels have loaded from."""
    interpret._interpreter()
    from triton.runtime.interpreter import InterpreterBuilder

    found, load = [2**64, 0], InterpreterBuilder.create_masked_load

    def watched(self, ptrs, mask, *rest):
        there = ptrs.data[mask.data]
        if there.size:
            last = int(there.max()) + ptrs.get_element_ty().primitive_bitwidth // 8
            found[:] = min(found[0], int(there.min())), max(found[1], last)
        return load(self, ptrs, mask, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", watched)
    return found


@pytest.mark.parametrize("turn", ["", "T", "up", "repeated", "batch"])
@pytest.mark.parametrize(("rows", "columns"), [(70, 65), (70, 300), (600, 9), (3, 2), (40, 1)])
@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float32), np.dtype(np.float64)], ids=str)
def test_packing_takes_rows_that_begin_anywhere(dtype, rows, columns, turn, loaded):
    """Bit by bit, and without a look at what lies beside the operand."""
    entries, start, pitch = 3 if turn == "batch" else 1, 3, columns + 1 + columns % 2
    memory = np.random.default_rng(0).integers(0, 255, (entries * rows * pitch + 8) * dtype.itemsize, np.uint8)
    whole = memory.view(dtype)[start:][: entries * rows * pitch].reshape(entries, rows, pitch)[..., :columns]
    x = whole if turn == "batch" else whole[0]
    x = {"T": x.T, "up": x[::-1], "repeated": np.broadcast_to(x[:1], x.shape)}.get(turn, x)
    builder = product.Builder(TWO_SMS)
    given = product.matrix(In(0), view(x), x.shape[:-2])
    made = pack.packed(builder, given, x.shape[:-2])
    (launch,) = builder.launches
    out = np.zeros((entries, rows, made.pitch), dtype)
    run(Program((launch._replace(args=launch.args | {"out": Out(0)}),)), (x,), (out,))
    got = out[..., :columns]
    want = x.T if turn == "T" else x
    assert got.tobytes() == want.tobytes()
    assert made.pitch * dtype.itemsize % 16 == 0 and made.by_rows == (turn != "T")
    first = whole.ctypes.data
    last = first + ((entries * rows - 1) * pitch + columns) * dtype.itemsize
    assert first <= loaded[0] < loaded[1] <= last


@pytest.mark.parametrize("tile", [SMALL, SMALL_TMA], ids=["pointers", "tma"])
def test_finishing_in_parts_changes_nothing(tile, monkeypatch):
    # Halves, whose sums are exact in any order: the interpreter's products are NumPy's, and their order BLAS's.
    x, weight, bias = (np.round(2 * draw(*shape)) / 2 for shape in ((20, 24), (128, 24), (128,)))
    results, parts = [], []
    for wide in (32, 128):
        made = tile._replace(n=wide, warps=1)
        outputs = [np.full((20, 128), np.nan, np.float32) for _ in range(2)]
        monkeypatch.setattr(plan, "choose", lambda work, arch, made=made: made)
        _, program = called(plan.linear, (x, weight, bias), outputs, ("gelu",))
        parts.append(program.launches[0].args["PARTS"])
        results.append(b"".join(o.tobytes() for o in outputs))
    assert parts == [1, 2] and results[0] == results[1]


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), BF16], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_linear_has_the_bits_of_its_parts(dtype, activation):
    from dlcore.kernels.activation import planners as activations
    from dlcore.kernels.elementwise import planners as elementwise

    x, weight, bias = draw(33, 65, dtype=dtype), draw(40, 65, dtype=dtype), draw(40, dtype=dtype)

    def empty():
        return np.full((33, 40), np.nan, dtype)

    pre = empty() if activation == "gelu" else None
    (fused, pre), _ = called(plan.linear, (x, weight, bias), [empty(), pre], (activation,))
    (out,), _ = called(plan.matmul, (x, weight.T), [empty()])
    (out,), _ = called(elementwise.add, (out, bias), [empty()])
    assert pre is None or pre.tobytes() == out.tobytes()
    (out,), _ = called(getattr(activations, activation), (out,), [empty()])
    assert fused.tobytes() == out.tobytes()


# ---- the other kernels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), BF16], ids=str)
def test_vectors(dtype):
    for m, k, n in ((1, 65, 33), (33, 65, 1), (1, 1, 1), (1, 3000, 20), (20, 3000, 1)):
        for layouts in ("NN", "TT"):
            a, b = laid(draw(m, k, dtype=dtype), layouts[0]), laid(draw(k, n, dtype=dtype), layouts[1])
            out = np.full((m, n), np.nan, dtype)
            (out,), program = called(plan.matmul, (a, b), [out])
            check(out, a, b)
            assert kernels_of(program)[0] == "vector_kernel"


def test_small_matrices_share_programs():
    a, b = draw(19, 9, 21), laid(draw(19, 21, 30), "T")
    (out,), program = called(plan.matmul, (a, b), [np.full((19, 9, 30), np.nan, np.float32)])
    check(out, a, b)
    assert kernels_of(program) == ["batched_kernel"]


def test_empty_sums_are_zero():
    for tile in (SMALL, SMALL_TMA):
        assert not planned(np.empty((5, 0), np.float32), np.empty((0, 7), np.float32), tile)[0].any()


def test_many_axes_of_batch():
    a, b = draw(2, 1, 2, 3, 5), draw(1, 4, 2, 5, 6)
    (out,), _ = called(plan.matmul, (a, b), [np.full((2, 4, 2, 3, 6), np.nan, np.float32)])
    check(out, a, b)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("needs", [(True, True, True), (False, True, False), (False, False, True)], ids=str)
def test_gradients_of_linear_in_one_launch_and_in_several(activation, needs, monkeypatch):
    """Layers of one size by both ways: the same dpre, and the reference's numbers."""
    r, n, k = 45, 24, 40
    op, attrs = REGISTRY["linear_backward"], (activation, needs)
    for dtype in (np.dtype(np.float32), BF16):
        operands = (draw(r, n, dtype=dtype), draw(r, k, dtype=dtype), draw(n, k, dtype=dtype))
        operands = (*operands, draw(r, n, dtype=dtype, seed=1))
        want = testing.reference(op, operands, attrs)
        for small in (True, False):
            monkeypatch.setattr("dlcore.kernels.matmul.linear_backward.SMALL_ROWS", 1024 if small else 0)
            outputs = [
                np.full(s, np.nan, dtype) if w else None for s, w in zip(((r, k), (n, k), (n,)), needs, strict=True)
            ]
            _, program = called(linear_backward, operands, outputs, attrs)
            assert (kernels_of(program) == ["small_kernel"]) == small
            for place, (got, w) in enumerate(zip((o for o in outputs if o is not None), want, strict=True)):
                scale = testing.magnitude(op, operands, attrs, place, len(want))
                assert (np.abs(got.astype(np.float64) - w) <= 8 * EPS[dtype] * scale).all()


# ---- precision of float32 -----------------------------------------------------------------------------------------


def tf32(x):
    """float32 rounded to 11 bits, ties away from zero, by arithmetic of our own."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2**11
    return np.ldexp(np.trunc(scaled + np.copysign(0.5, scaled)), exponent - 11).astype(np.float32)


def test_tf32_rounds_its_operands(monkeypatch):
    monkeypatch.setattr(precision, "_mode", "tf32")
    a, b = draw(33, 65), draw(65, 17)
    (out,), _ = called(plan.matmul, (a, b), [np.full((33, 17), np.nan, np.float32)])
    check(out, tf32(a), tf32(b))
    assert np.abs(out - a.astype(np.float64) @ b).max() > 1e-4  # and it shows


def test_three_products_of_tf32_come_close_to_float32():
    """What tf32x3 does, emulated with exact sums: big x big, big x small, small x big; the rest is below float32's."""
    a, b = draw(64, 512), draw(512, 64)
    big_a, big_b = tf32(a), tf32(b)
    small_a, small_b = tf32(a - big_a), tf32(b - big_b)
    wide = [x.astype(np.float64) for x in (big_a, small_a, big_b, small_b)]
    three = wide[0] @ wide[2] + wide[0] @ wide[3] + wide[1] @ wide[2]
    exact = a.astype(np.float64) @ b.astype(np.float64)
    float32_error = np.abs(a @ b - exact).max()
    assert np.abs(three - exact).max() < 0.5 * float32_error
    assert np.abs(wide[0] @ wide[2] - exact).max() > 100 * float32_error


def test_the_switch_forgets_plans():
    with pytest.raises(ValueError, match="set_float32_precision: 'fast' is not one of 'tf32x3', 'tf32', 'ieee'"):
        precision.set_float32_precision("fast")
    assert precision.float32_precision() == "tf32x3"
    try:
        precision.set_float32_precision("ieee")
        a = View((64, 64), float32, (64, 1))
        program = plan.matmul(Call((a, a), (a,), (), (), ARCHES["sm_90"]))
        assert program.launches[0].args["PRECISION"] == "ieee"
    finally:
        precision.set_float32_precision("tf32x3")


# ---- choices, and compiled code -----------------------------------------------------------------------------------


def test_choices_follow_shapes():
    """Large: TMA; few rows and a long K: split, the long side on m; many rows to sum (dweight): split."""

    def on(arch, m, n, k, dtype=bfloat16):
        return choose(Work(m, n, k, 1, dtype, "tf32x3"), ARCHES[arch])

    large = on("sm_90", 8192, 8192, 8192)
    assert (large.kernel, large.m, large.n, large.splits, large.specialize) == ("tma", 128, 256, 1, False)
    assert on("sm_90", 8192, 8192, 512).specialize
    assert on("sm_80", 8192, 8192, 8192).kernel == "pointers"
    skinny = on("sm_90", 16, 4096, 4096)
    assert (skinny.n, skinny.swap) == (16, True) and skinny.splits > 1
    assert on("sm_90", 1024, 512, 65536).splits > 1
    for arch in ARCHES:
        assert on(arch, 64, 64, 64).splits == on(arch, 64, 64, 64, float32).splits == 1


def contiguous(*shape, dtype=bfloat16):
    """The View of a new array."""
    return View(shape, dtype, contiguous_strides(shape))


@pytest.mark.parametrize(
    ("arch", "instruction", "moved"),
    [("sm_80", "mma.sync", "cp.async"), ("sm_90", "wgmma", "tma"), ("sm_100", "tcgen05", "tma"),
     ("sm_120", "mma.sync", "tma")],
)  # fmt: skip
def test_compiled_products(arch, instruction, moved):
    from dlcore.kernels.compile import compile_program

    x, weight, out = contiguous(2048, 1024), contiguous(2048, 1024), contiguous(2048, 2048)
    call = Call((x, weight, contiguous(2048)), (out, None), ("relu",), (), ARCHES[arch])
    (made,) = compile_program(plan.linear(call), call)
    assert made.problems == () and made.instructions[instruction] and made.instructions[moved]
    assert bool(made.instructions.get("setmaxnreg")) == (arch == "sm_90")


def test_two_programs_share_an_sm():
    """Of tf32x3 products: registers and shared memory hold both, whatever the layout and the epilogue."""
    from dlcore.kernels.compile import compile_program

    tile = choose(Work(4096, 4096, 4096, 1, float32, "tf32x3"), ARCHES["sm_90"])
    assert (tile.m, tile.n, tile.warps, tile.resident) == (64, 128, 4, 2)
    x, weight, out = (contiguous(4096, 4096, dtype=float32) for _ in range(3))
    call = Call((x, weight, contiguous(4096, dtype=float32)), (out, out), ("gelu",), (), ARCHES["sm_90"])
    program = plan.linear(call)
    assert program.launches[0].grid == (PerSM(2048),)
    (made,) = compile_program(program, call)
    assert made.problems == () and made.registers * made.threads * 2 <= 65536 and 2 * (made.shared + 1024) <= 228 << 10
    assert made.resident == 2


@pytest.mark.parametrize("arch", ARCHES)
def test_packing_compiles_to_vectors(arch):
    from dlcore.kernels.compile import compile_program

    call = Call((View((4096, 4097), bfloat16, (4097, 1)),), (), (), (), ARCHES[arch])
    builder = product.Builder(call.arch)
    pack.packed(builder, product.matrix(In(0), call.inputs[0], ()), ())
    (made,) = compile_program(builder.program(), call)
    assert made.problems == () and made.registers <= 64
    assert made.instructions["ld.v4"] == 8 and made.instructions["st.v4"] == 4


def test_candidates_begin_with_the_choice():
    x = contiguous(4096, 4096)
    found = plan.candidates(Call((x, x), (x,), (), (), ARCHES["sm_90"]))
    assert Tile(**found[0][0]) == choose(Work(4096, 4096, 4096, 1, bfloat16, "ieee"), ARCHES["sm_90"])
    assert len(found) == len({tuple(c.items()) for c, _ in found}) > 8
    assert any(config["specialize"] for config, _ in found)
    vector = contiguous(1, 4096)
    assert plan.candidates(Call((vector, x), (vector,), (), (), ARCHES["sm_90"])) == []
