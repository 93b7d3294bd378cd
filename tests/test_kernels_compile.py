"""The launch layer without a GPU: specialisation, the interpreter, the compilers, and what is read off their code."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dlcore import dtypes
from dlcore.kernels import inspection
from dlcore.kernels.binary import Binary
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    ARCHES,
    F64,
    I32,
    Call,
    Cuda,
    Descriptor,
    Errors,
    In,
    Launch,
    Out,
    PerSM,
    Program,
    Table,
    Temp,
    Value,
    View,
    Workspace,
    ceil_div,
    configuration,
    contiguous_strides,
    lengths,
    power_of_2,
    prepared,
)  # fmt: skip
from dlcore.kernels.specialise import Field, Parameter, sizes_of, specialise

TWO = tl.constexpr(2.0)
ARCH = ARCHES["sm_90"]
KERNELS = Path(__file__).resolve().parents[1] / "kernels"
TEXT = {"capture_output": True, "text": True}


@jit
def twice(x):
    """A device function."""
    return x * TWO


@jit
def larger(a, i, b, j):
    """The larger value, of equal ones the first."""
    left = (a > b) | ((a == b) & (i < j))
    return tl.where(left, a, b), tl.where(left, i, j)


@jit
def together(a, b):
    """A sum whose order shows in nothing."""
    return a + b


@jit
def affine_kernel(x, y, out, n, alpha, function: tl.constexpr, BLOCK: tl.constexpr, dtype: tl.constexpr = tl.float32):
    """out = function(x) * alpha + y."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = function(tl.load(x + i, i < n, 0).to(dtype)) * alpha + tl.load(y + i, i < n, 0).to(dtype)
    tl.store(out + i, v.to(out.dtype.element_ty), i < n)


@jit
def rows_kernel(x, best, sums, BLOCK: tl.constexpr):
    """The place of each row's maximum, and its running sums."""
    i = tl.arange(0, BLOCK)
    v = tl.load(x + tl.program_id(0) * BLOCK + i).to(tl.float32)
    _, place = tl.reduce((v, i), 0, larger)
    tl.store(best + tl.program_id(0), place)
    tl.store(sums + tl.program_id(0) * BLOCK + i, tl.associative_scan(v, 0, together))


@jit
def product_kernel(a, b, out, N: tl.constexpr):
    """A product of N x N matrices."""
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    acc = tl.dot(tl.load(a + i * N + j), tl.load(b + i * N + j))
    tl.store(out + i * N + j, acc.to(out.dtype.element_ty))


def view(shape, dtype=dtypes.float32, aligned=True):
    """A contiguous View."""
    return View(shape, dtype, contiguous_strides(shape), aligned)


def affine(call):
    """A planner."""
    n = call.inputs[0].size
    args = {"x": In(0), "y": In(1), "out": Out(0), "n": n, "alpha": Value(2), "function": twice, "BLOCK": 128}
    return Program((Launch(affine_kernel, (ceil_div(n, 128),), args),))


def affine_call(n=1024, dtype=dtypes.float32, aligned=True, arch=ARCH):
    """A call of it."""
    weak = View((), dtype, (), weak=True)
    return Call((view((n,), dtype, aligned), view((n,), dtype), weak), (view((n,), dtype),), (), (), arch)


# ---- specialisation -----------------------------------------------------------------------------------------------


def signature(**changes):
    """name -> (type, divisible) of the affine kernel."""
    call = affine_call(**changes)
    return {name: rest for name, *rest in specialise(affine(call).launches[0], call)[0].signature}


def test_alignment_and_divisibility():
    assert signature() == {
        **{name: ["*fp32", True] for name in ("x", "y", "out")},
        "n": ["i32", True],
        "alpha": ["fp32", False],
    }
    assert signature(aligned=False, n=1000)["x"] == ["*fp32", False]
    assert signature(n=1000)["n"] == ["i32", False]
    assert signature(n=2**40)["n"] == ["i64", True]
    assert "n" not in signature(n=1)
    assert signature(dtype=dtypes.bfloat16)["alpha"] == ["fp32", False]
    assert signature(dtype=dtypes.float64)["alpha"] == ["fp64", False]


def test_offsets_count_for_alignment():
    launch = Launch(affine_kernel, (1,), affine(affine_call()).launches[0].args | {"x": In(0, offset=8)})
    assert specialise(launch, affine_call())[0].signature[0] == ("x", "*fp32", False)


def test_parameters_come_in_the_kernels_order():
    call = affine_call(n=1000)
    assert [p[:2] for p in specialise(affine(call).launches[0], call)[1]] == [
        ("ptr", In(0)), ("ptr", In(1)), ("ptr", Out(0)), ("i32", 1000), ("f32", Value(2)),
    ]  # fmt: skip


def test_cuda_parameters_and_tables():
    call = affine_call()
    table = Table((In(0), I32(3), None, 1.5, 7, F64(2.0), Temp(0)))
    kernel = Cuda("optim/sgd.cu", "sgd<float, 80>")
    made, parameters = specialise(Launch(kernel, (1,), {"a": table, "b": I32(2), "c": 5, "d": Errors()}), call)
    assert [type for _, type, _ in made.signature] == ["table56", "i32", "i64", "ptr"]
    assert [(f.offset, f.type) for f in parameters[0].argument] == [
        (0, "ptr"), (8, "i32"), (16, "ptr"), (24, "f32"), (32, "i64"), (40, "f64"), (48, "ptr"),
    ]  # fmt: skip
    assert parameters[0].argument[0] == Field(0, "ptr", In(0)) and parameters[1] == Parameter("i32", 2, 4)


@pytest.mark.parametrize("source", sorted(KERNELS.rglob("*.cu")), ids=lambda p: p.name)
def test_every_cuda_kernel_waits_for_the_one_before_it(source):
    """In its first statement; Triton kernels are made to by the compiler's process."""
    bodies = re.findall(r"__global__[^{;]*\{\s*([^;]*;)", source.read_text())
    assert bodies and set(bodies) == {"after_previous();"}


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "resident"),
    [
        ("sm_90", 256, 165, 180248, 1), ("sm_90", 256, 115, 96 << 10, 2), ("sm_90", 384, 168, 161 << 10, 1),
        ("sm_90", 128, 32, 0, 16), ("sm_90", 32, 16, 0, 32), ("sm_86", 1024, 32, 0, 1),
        ("sm_120", 128, 168, 64 << 10, 1), ("sm_80", 128, 0, 0, 16),
    ],
)  # fmt: skip
def test_how_many_blocks_an_sm_runs_at_once(arch, threads, registers, shared, resident):
    assert Binary("", arch, "", threads, shared, registers=registers).resident == resident


def test_a_persistent_grid_has_as_many_blocks_as_run_at_once():
    assert lengths((PerSM(1000),), 264) == (264, 1, 1) and lengths((PerSM(100), 2), 264) == (100, 2, 1)
    assert lengths((7, PerSM(3), 2), 0) == (7, 1, 2)


def test_a_descriptor_is_a_map_its_shape_and_its_strides():
    call = affine_call(n=1024)
    described = Descriptor(In(0), dtypes.float32, (16, 64), (64, 1), (8, 32))
    launch = affine(call).launches[0]
    made, parameters = specialise(launch._replace(args=launch.args | {"x": described}), call)
    assert made.signature[0] == ("x", "tensordesc<fp32[8, 32]>", False)
    assert [p[:2] for p in parameters[:5]] == [
        ("map", described), ("i32", 16), ("i32", 64), ("i64", 64), ("i64", 1),
    ]  # fmt: skip
    assert sizes_of(made.signature[0][1]) == tuple(p.size for p in parameters[:5]) and parameters[0].alignment == 64
    unaligned = replace(described, pointer=In(0, offset=4))
    with pytest.raises(ValueError, match=r"x: In\(.*\) is not aligned, which TMA wants$"):
        specialise(launch._replace(args=launch.args | {"x": unaligned}), call)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"z": 1}, "has no parameter z"),
        ({"x": In(2)}, "x: In(index=2, dtype=None, offset=0) has no memory: it is a scalar"),
        ({"n": 2**63}, f"n: {2**63} does not fit 64 bits"),
    ],
)
def test_arguments_that_do_not_fit(change, text):
    launch = affine(affine_call()).launches[0]
    with pytest.raises(ValueError, match="affine_kernel") as caught:
        specialise(launch._replace(args=launch.args | change), affine_call())
    assert str(caught.value).endswith(text)


def test_operands_of_different_kinds_are_never_equal():
    assert In(0) != Out(0) and I32(1) != F64(1) and len({In(0), Out(0), Value(0), Temp(0)}) == 4


def test_the_hash_follows_device_functions_and_constants(tmp_path, monkeypatch):
    text = (
        "from dlcore.kernels.language import jit\n{}\n@jit\ndef f(x):\n    return x * {}\n@jit\ndef k(x):\n    f(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    hashes = set()
    for number, (top, factor) in enumerate([("C = 1", "C"), ("C = 2", "C"), ("C = 2", "(C)"), ("# C\nC = 2", "C")]):
        (tmp_path / f"hashed{number}.py").write_text(text.format(top, factor))
        kernel = __import__(f"hashed{number}").k
        hashes.add(kernel.hash.replace(str(number), ""))
    assert len(hashes) == 4  # the module's name counts as well


def test_calling_a_kernel_says_what_it_is():
    with pytest.raises(TypeError, match="is a GPU kernel"):
        affine_kernel(1, 2, 3)


def test_helpers():
    assert [power_of_2(n) for n in (0, 1, 2, 3, 1024, 1025)] == [1, 1, 2, 4, 1024, 2048]
    assert contiguous_strides((2, 0, 3)) == (3, 3, 1)
    assert View((2, 1, 3), dtypes.float32, (3, 7, 1)).contiguous and not View((2, 3), dtypes.float32, (1, 2)).contiguous
    assert configuration(ARCH, "no kernel", "no shape") is None
    call = Call((View((4, 4), dtypes.float32, (1, 4), False),), (), (), (), ARCH)
    assert prepared(call, Program((), contiguous=(0,))).inputs == (view((4, 4)),)


def test_planning_imports_nothing_heavy():
    code = (
        "import sys, dlcore.kernels.launch, dlcore.kernels.compile, dlcore.kernels.elementwise.planners;"
        "sys.exit(bool({'triton', 'cupy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- the interpreter ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    """`interpret.run`."""
    pytest.importorskip("triton")
    from dlcore.kernels import interpret

    return interpret.run


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16, np.float64])
def test_interpreted_pointwise(run, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000)).astype(dtype)
    out = np.empty(1000, dtype)
    run(affine(affine_call(1000)), [x, y, np.float32(1.5)], [out])
    wide = x.astype(np.float32) * np.float32(3) + y.astype(np.float32)
    np.testing.assert_array_equal(out, wide.astype(dtype))


def test_bfloat16_rounds_to_nearest_even(run):
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0x00008000, 0x80000001], np.uint32)
    x = bits.view(np.float32)
    out = np.empty(x.size, ml_dtypes.bfloat16)
    run(affine(affine_call(x.size)), [x, np.zeros_like(x), 0.5], [out])
    assert out.tobytes() == x.astype(ml_dtypes.bfloat16).tobytes()


def test_reductions_and_scans_by_functions(run):
    x = np.random.default_rng(1).integers(0, 9, (3, 64)).astype(ml_dtypes.bfloat16)
    best, sums = np.empty(3, np.int64), np.empty((3, 64), np.float32)
    args = {"x": In(0), "best": Out(0), "sums": Out(1), "BLOCK": 64}
    run(Program((Launch(rows_kernel, (3,), args),)), [x], [best, sums])
    assert best.tolist() == np.argmax(x.astype(float), 1).tolist()
    np.testing.assert_array_equal(sums, np.cumsum(x.astype(float), 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_interpreted_dot(run, dtype):
    a, b = np.random.default_rng(2).standard_normal((2, 16, 16)).astype(dtype)
    out = np.empty((16, 16), np.float32)
    run(Program((Launch(product_kernel, (1,), {"a": In(0), "b": In(1), "out": Out(0), "N": 16}),)), [a, b], [out])
    np.testing.assert_allclose(out, a.astype(float) @ b.astype(float), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("index", [np.s_[::-1, ::2], np.s_[:, 3], np.s_[2:2], np.s_[1::3, ::-2]])
def test_inputs_are_made_contiguous_on_request(run, index):
    x = np.arange(60.0, dtype=np.float32).reshape(6, 10)[index]
    out = np.empty(x.shape, np.float32)
    args = {"x": In(0), "y": In(0), "out": Out(0), "n": x.size, "alpha": 1.0, "function": twice, "BLOCK": 16}
    program = Program((Launch(affine_kernel, (ceil_div(x.size, 16),), args),), contiguous=(0,))
    run(program, [x], [out])
    np.testing.assert_array_equal(out, 3 * x)


def test_workspaces_start_as_zeros_or_nan(run):
    outs = np.empty(8, np.float32), np.empty(8, np.float32)
    kinds = {"n": 8, "alpha": 1.0, "function": twice, "BLOCK": 8}
    places = [{"x": Temp(k, dtypes.float32), "y": Temp(k, dtypes.float32), "out": Out(k)} for k in range(2)]
    temps = Workspace(32, zeroed=True), Workspace(32)
    run(Program(tuple(Launch(affine_kernel, (1,), p | kinds) for p in places), temps), [], outs)
    assert not outs[0].any() and np.isnan(outs[1]).all()


# ---- reading code -------------------------------------------------------------------------------------------------

PTX = """
.visible .entry kernel(
	.param .u64 .ptr .global .align 16 kernel_param_0,
	.param .u32 kernel_param_1,
	.param .align 8 .b8 kernel_param_2[40]
)
	@%p1 ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
	@%p1 ld.global.L1::evict_first.v2.b32 { %r1, %r2 }, [ %rd1 + 0 ];
	ld.global.nc.L2::128B.f32 %f1, [%rd1];
	ld.relaxed.gpu.global.u32 %r1, [%rd1];
	@%p1 st.global.v8.b32 [ %rd1 + 0 ], { %r1 };
	cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10, %r2;
	cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4];
	wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%f1}, %rd1, %rd2, p, 1, 1, 0, 0;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {}, {}, {}, {};
	@%p1 atom.global.gpu.acq_rel.max.s64 %rd1, [ %rd2 + 0 ], %rd3;
	red.relaxed.gpu.global.add.f32 [%rd1], %f1;
"""


def test_ptx_is_counted():
    counts = inspection.count(PTX)
    assert counts == {
        "wgmma": 1, "mma.sync": 1, "cp.async": 1, "tma": 1, "ld.v4": 1, "ld.v2": 1, "ld": 2, "st.v4": 1, "atomic": 2,
        "float atomic": 1,
    }  # fmt: skip
    assert inspection.matrix(counts, PTX) == "wgmma m64n128k16"
    assert inspection.entry_parameters(PTX, "kernel") == (8, 4, 40)


def test_logs_are_read_for_the_right_function():
    log = """ptxas info    : Function properties for other
    64 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 99 registers, used 1 barriers
ptxas info    : Function properties for kernel
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 512 bytes smem"""
    assert inspection.inspect_log(log, "kernel") == inspection.Seen(40, 12, 512, False)
    serialised = log + "\nPotential Performance Loss: wgmma.mma_async instructions are serialized due to ..."
    assert inspection.inspect_log(serialised, "kernel").serialised


def test_what_counts_as_a_problem():
    good, sizes = inspection.Seen(64, 0, 0, False), (8, 8)
    assert inspection.problems(good, {}, sizes, sizes, 256, 1024, "sm_90") == ()
    found = inspection.problems(
        inspection.Seen(255, 64, 0, True), {"trap": 1}, (8,), sizes, 512, 300_000, "sm_90", False, 704
    )
    assert [text.split()[0] for text in found] == ["has", "takes", "spills", "wgmma", "needs", "needs", "needs", "warp"]


# ---- the compilers ------------------------------------------------------------------------------------------------


class Bomb:
    """A kernel that kills whoever reads it."""

    name = "bomb"

    def __reduce__(self):
        return os.abort, ()


@pytest.fixture
def cold(tmp_path, monkeypatch):
    """`compile` with an empty cache."""
    from dlcore.kernels import compile as compiling

    monkeypatch.setenv("DLCORE_CACHE", str(tmp_path))
    compiling._memory.clear()
    yield compiling
    compiling._memory.clear()


@pytest.mark.parametrize("arch", ARCHES)
def test_triton_compiles_for_every_architecture(cold, arch):
    pytest.importorskip("triton")
    call = affine_call(dtype=dtypes.bfloat16, arch=ARCHES[arch])
    (made,) = cold.compile_program(affine(call), call)
    assert made.problems == () and made.spills == 0 and 8 <= made.registers <= 64
    assert made.parameters == (8, 8, 8, 4, 4, 8, 8) and made.threads == 128 and made.cubin[:4] == b"\x7fELF"
    assert os.getcwd().encode() not in made.cubin, "a cubin must not name the place where it was compiled"
    again = cold.storage.cached(specialise(affine(call).launches[0], call)[0].key)
    assert again == made


def test_matrix_instructions_are_seen(cold):
    pytest.importorskip("triton")
    matrix = view((64, 64), dtypes.bfloat16)
    launch = Launch(product_kernel, (1,), {"a": In(0), "b": In(1), "out": Out(0), "N": 64})
    names = {"sm_80": "mma.sync", "sm_90": "wgmma", "sm_100": "tcgen05", "sm_120": "mma.sync"}
    for arch, name in names.items():
        assert cold.compile_launch(launch, Call((matrix, matrix), (matrix,), (), (), ARCH), arch).matrix.startswith(
            name
        )


def test_the_compilers_message_is_told(cold):
    pytest.importorskip("triton")
    matrix = view((8, 8), dtypes.float32)
    launch = Launch(product_kernel, (1,), {"a": In(0), "b": In(1), "out": Out(0), "N": 12})
    with pytest.raises(cold.CompileError, match=r"product_kernel for sm_90: [\s\S]*power of 2"):
        cold.compile_launch(launch, Call((matrix, matrix), (matrix,), (), (), ARCH))


def test_a_crash_of_the_compiler_is_an_error_and_no_more(cold):
    pytest.importorskip("triton")
    compiler = cold.Compiler()
    wanted = specialise(affine(affine_call()).launches[0], affine_call())[0]
    with pytest.raises(cold.CompileError, match="bomb for sm_90: the compiler crashed, exit code -6"):
        compiler.compile(wanted._replace(kernel=Bomb()))
    assert compiler.compile(wanted).registers, "it starts again"
    compiler.close()


def test_nvrtc_compiles_templates(cold):
    from dlcore.kernels import nvrtc

    if not nvrtc.available():
        pytest.skip("NVRTC is not installed")
    from dlcore.cli.programs import programs
    from dlcore.ops.optim import sgd

    asked = next(programs(sgd.op, [ARCH]))
    made = cold.compile_program(asked.program, asked.call)
    assert made and all(m.problems == () and m.registers and not m.triton for m in made)
    with pytest.raises(cold.CompileError, match="no_such_function"):
        cold.compile_launch(Launch(Cuda("optim/sgd.cu", "no_such_function<float>"), (1,), {}), asked.call)


FAKE_NVRTC = """
#include <dlfcn.h>
int nvrtcVersion(int *major, int *minor) {
  *major = 13, *minor = 0;
  return dlopen("libnvrtc-builtins.so.13.0", RTLD_NOW) ? 0 : 7;  /* as the real one: by its bare name */
}
const char *nvrtcGetErrorString(int status) { return "builtins"; }
"""


@pytest.mark.parametrize("variable", ["CUDA_HOME", "DLCORE_TOOLKIT"])
def test_nvrtc_finds_its_builtins_beside_it(tmp_path, variable):
    """The NVRTC of CUDA 13.0's wheel has no RPATH: it opens its builtins by a name that nothing else makes known."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path / "lib"
    library.mkdir()
    (tmp_path / "nvrtc.c").write_text(FAKE_NVRTC)
    (tmp_path / "builtins.c").write_text("int builtins;")
    for source, name in (("nvrtc", "libnvrtc.so.13"), ("builtins", "libnvrtc-builtins.so.13.0")):
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", library / name, tmp_path / f"{source}.c"]
        subprocess.run(command, check=True)
    code = "from dlcore.kernels import nvrtc; print(nvrtc.version())"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {variable: str(tmp_path)}, **TEXT)
    assert done.stdout == "13.0\n", done.stderr


def test_a_toolkit_that_is_chosen_is_the_one_that_is_used(cold, tmp_path, monkeypatch):
    """Where it does not work nothing else is used in its place."""
    pytest.importorskip("triton")
    monkeypatch.setenv("DLCORE_TOOLKIT", str(tmp_path))
    compiler, call = cold.Compiler(), affine_call()
    try:
        with pytest.raises(cold.CompileError, match=f"DLCORE_TOOLKIT: {tmp_path} has no bin/ptxas that runs"):
            compiler.compile(specialise(affine(call).launches[0], call)[0])
        with pytest.raises(cold.CompileError, match=f"DLCORE_TOOLKIT: {tmp_path} has no NVRTC"):
            compiler.compile(specialise(Launch(Cuda("optim/sgd.cu", "sgd<float>"), (1,), {}), call)[0])
    finally:
        compiler.close()


# ---- dlcore verify ------------------------------------------------------------------------------------------------


def test_verify_makes_a_pack_that_needs_no_compiler(cold, tmp_path, monkeypatch, capsys):
    pytest.importorskip("triton")
    from dlcore.cli import main
    from dlcore.cli.programs import ask, described, large
    from dlcore.dtypes import bfloat16
    from dlcore.op import REGISTRY

    pack, report = tmp_path / "pack", tmp_path / "kernels.md"
    command = ["verify", "--compile", "--arch", "sm_90", "--family", "softmax", "--jobs", "1"]
    assert main([*command, "--out", str(pack), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "softmax.softmax:softmax_kernel" in out and "0 problem(s)" in out
    assert "| `softmax.softmax:softmax_kernel` |" in report.read_text()
    monkeypatch.setenv("DLCORE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("DLCORE_KERNELS", str(pack))
    monkeypatch.setattr(cold, "can_compile", lambda _: False)
    cold._memory.clear()
    operands = described(large(REGISTRY["softmax"])[0], bfloat16)
    asked = next(ask(REGISTRY["softmax"], "", bfloat16, operands, (), [ARCH]))
    (made,) = cold.compile_program(asked.program, asked.call)
    assert made.cubin[:4] == b"\x7fELF"


def test_verify_fails_where_a_kernel_does(cold, monkeypatch, capsys):
    from dlcore.cli import compiled, main

    failure = cold.CompileError("the compiler crashed")
    monkeypatch.setattr(compiled, "compile_many", lambda wanted, jobs, done: [failure for _ in wanted])
    assert main(["verify", "--compile", "--arch", "sm_80", "--family", "softmax"]) == 1
    assert "problem softmax.softmax:softmax_kernel sm_80" in capsys.readouterr().out
    assert main(["verify", "--compile", "--arch", "sm_42"]) == 1
    assert "unknown architecture sm_42 (known: sm_80, sm_90, sm_100, sm_120, sm_86" in capsys.readouterr().err
