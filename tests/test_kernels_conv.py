"""Convolution kernels: what the table's samples are too small for, which kernel is chosen, and what they compile to."""

import shutil

import numpy as np
import pytest

from dlcore.dtypes import bfloat16, float32, float64
from dlcore.kernels import interpret
from dlcore.kernels.conv import direct, gemm, weight
from dlcore.kernels.launch import ARCHES, Call, Cuda, View, contiguous_strides
from dlcore.ops._convolution_cases import Case
from dlcore.ops._convolution_reference import input_of, output_of, weight_of
from dlcore.ops.conv import conv, conv_input, conv_weight

pytest.importorskip("triton")

PADDED = (1, 1, 1, 1)


def made(kind, case, dtype=float32, activation=None, sm="sm_90", **arrays):
    """The call of a form of a convolution, on arrays or on views of nothing."""
    walk, ones = case.walk, (case.outputs,)
    last = case.layout == "NHWC"
    params = (int(last), walk.groups, 0, *walk.stride, *walk.padding[::2], *walk.padding[1::2], *walk.dilation)
    rest = (*walk[:4], activation, case.layout)
    names = {"conv": ("x", "w", "bias", "y"), "input": ("y", "w", "x"), "weight": ("x", "y", "w")}[kind]
    shapes = {"x": case.x, "w": case.weight, "bias": ones, "y": case.y}
    views = [
        interpret.view(arrays[n]) if arrays else View(shapes[n], dtype, contiguous_strides(shapes[n])) for n in names
    ]
    saved = (views[-1] if activation == "gelu" else None,) if kind == "conv" else ()
    return Call(tuple(views[:-1]), (views[-1], *saved), rest, params, ARCHES[sm])


def check(planner, kind, case, dtype=np.float32):
    """The planner's result against the reference; its Program."""
    rng = np.random.default_rng(0)
    arrays = {n: rng.integers(-4, 5, s).astype(dtype)  # sums are exact
              for n, s in (("x", case.x), ("w", case.weight), ("y", case.y), ("bias", (case.outputs,)))}  # fmt: skip
    walk, wide = case.walk, {n: a.astype(np.float64) for n, a in arrays.items()}
    if kind == "conv":
        shape = (-1, *[1] * (len(case.size))) if case.layout == "NCHW" else (-1,)
        wanted = output_of(wide["x"], wide["w"], *walk) + wide["bias"].reshape(shape)
        inputs, outputs = [arrays["x"], arrays["w"], arrays["bias"]], [np.empty(case.y, dtype), None]
    elif kind == "input":
        wanted = input_of(wide["y"], wide["w"], case.size, *walk)
        inputs, outputs = [arrays["y"], arrays["w"]], [np.empty(case.x, dtype)]
    else:
        wanted = weight_of(wide["x"], wide["y"], case.kernel, *walk)
        inputs, outputs = [arrays["x"], arrays["y"]], [np.empty(case.weight, dtype)]
    program = planner(made(kind, case, **arrays))
    interpret.run(program, inputs, outputs, np.array([0, 2**63 - 1]))
    np.testing.assert_array_equal(outputs[0], wanted)
    return program


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_packed_weights_and_many_tiles(layout):
    case = Case(3, 5, 20, (30, 31), (3, 2), padding=PADDED, layout=layout)
    program = check(gemm.conv, "conv", case)
    assert [x.kernel.name for x in program.launches] == ["conv.gemm:pack_kernel", "conv.gemm:gemm_kernel"]
    assert len(check(gemm.conv_input, "input", case).launches) == 2


@pytest.mark.parametrize(
    ("stride", "dilation", "kernel"), [((2, 3), (1, 2), (3, 4)), ((4, 2), (2, 2), (3, 2)), ((3, 3), (3, 1), (2, 1))]
)
def test_phases_of_the_gradient_to_the_input(stride, dilation, kernel):
    """Stride and dilation with and without a common divisor, and kernels shorter than a stride."""
    case = Case(2, 3, 4, (11, 13), kernel, stride, (1, 0, 2, 4), dilation)
    (launch,) = check(gemm.conv_input, "input", case).launches
    assert launch.grid[1] == stride[0] * stride[1]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_slices_of_the_gradient_to_the_weight(layout):
    case = Case(3, 3, 4, (25, 26), (3, 3), padding=PADDED, groups=1, layout=layout)
    program = check(weight.conv_weight, "weight", case)
    assert len(program.launches) == 2 and program.launches[0].grid[1] > 1


def test_kernels_of_length_one_are_products():
    case = Case(3, 17, 9, (5, 4), (1, 1), layout="NHWC")
    for planner, kind in ((direct.conv, "conv"), (direct.conv_input, "input"), (direct.conv_weight, "weight")):
        assert check(planner, kind, case).launches[0].kernel.name.startswith("matmul.")
    padded = made("conv", case._replace(padding=PADDED))
    assert direct.conv(padded).launches[-1].kernel.name == "conv.gemm:gemm_kernel"


needs_shim = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
DEPTHWISE = [
    Case(5, 3, 3, (21, 22), (3, 3), padding=PADDED, groups=3),
    Case(2, 33, 66, (10, 9), (3, 3), (2, 1), PADDED, (1, 2), groups=33, layout="NHWC"),
    Case(2, 4, 8, (5, 7, 6), (2, 3, 3), (1, 2, 1), (1,) * 6, groups=4),
]


@needs_shim
@pytest.mark.parametrize("case", DEPTHWISE, ids=range(3))
def test_depthwise(case):
    for planner, kind in ((direct.conv, "conv"), (direct.conv_input, "input"), (direct.conv_weight, "weight")):
        assert isinstance(check(planner, kind, case).launches[0].kernel, Cuda)
    if case.layout == "NCHW" and len(case.size) == 2:
        assert len(direct.conv_weight(made("weight", case)).launches) == 2


@needs_shim
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("outputs", [7, 18])
def test_first_layers(layout, outputs):
    case = Case(3, 3, outputs, (17, 13), (3, 5), (1, 2), (1, 1, 2, 2), layout=layout)
    (launch,) = check(direct.conv, "conv", case).launches
    assert isinstance(launch.kernel, Cuda) and launch.grid[1] == (1 if outputs <= 8 else 2)


def test_what_cuda_leaves_out_triton_does():
    first, deep = Case(2, 3, 8, (8, 8), (3, 3)), Case(2, 5, 5, (12, 12), (8, 8), groups=5)
    assert not isinstance(direct.conv(made("conv", first, activation="gelu")).launches[0].kernel, Cuda)
    assert not isinstance(direct.conv(made("conv", first._replace(inputs=5))).launches[0].kernel, Cuda)
    assert not isinstance(direct.conv_weight(made("weight", deep)).launches[0].kernel, Cuda)
    large = Case(1 << 14, 1, 64, (64, 64), (3, 3))
    assert not isinstance(direct.conv(made("conv", large)).launches[0].kernel, Cuda)



LAYERS = [
    Case(128, 256, 256, (14, 14), (3, 3), padding=PADDED, layout="NHWC"),
    Case(64, 64, 64, (28, 28), (3, 3), (2, 2), PADDED),
    Case(64, 64, 64, (28, 28), (5, 5), padding=(2,) * 4, groups=64, layout="NHWC"),
    Case(64, 3, 64, (32, 32), (3, 3), padding=PADDED),
]


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("case", LAYERS, ids=range(4))
def test_layers_compile_without_spills(case, arch):
    from dlcore.kernels.compile import compile_program

    for dtype in (bfloat16, float32, float64) if case is LAYERS[1] else (bfloat16,):
        for planner, kind in ((direct.conv, "conv"), (direct.conv_input, "input"), (direct.conv_weight, "weight")):
            call = made(kind, case, dtype, "gelu" if kind == "conv" and case.groups == 1 else None, arch)
            for binary in compile_program(planner(call), call):
                assert binary.problems == ()


def test_operations_have_these_kernels():
    for operation in (conv, conv_input, conv_weight):
        assert operation.op.kernel_choices("cuda") == [(f"conv.direct:{operation.op.name}", None)]
