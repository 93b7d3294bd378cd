"""Models in files for other programs: ONNX against onnxruntime, C against the plain kernels."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_cases import drawn, samples

import dlcore as dl
from dlcore import nn
from dlcore.export.c_program import C_FORMS
from dlcore.export.onnx_forms import FORMS, REFUSED, refusal
from dlcore.op import REGISTRY

onnxruntime = pytest.importorskip("onnxruntime")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def run(path, x):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": x})


# ---- every operation ------------------------------------------------------------------------------------------------


def test_every_operation_of_a_forward_pass_has_a_form_or_a_reason():
    assert [name for name, op in REGISTRY.items() if name not in FORMS and not refusal(op)] == []
    assert [name for name in REFUSED if name in FORMS] == []


@pytest.mark.filterwarnings("ignore:.*are not finite")
@pytest.mark.parametrize(("op", "sample", "dtype"), [pytest.param(*case, id=name) for name, *case in samples(FORMS)])
def test_onnx_operation(op, sample, dtype, tmp_path):
    made = drawn(op, sample, dtype)
    if made is None:
        pytest.skip("the first operand is no batch")
    if sample.why == "special values" and op.name == "gelu":
        pytest.skip("onnxruntime's Gelu of -inf is NaN")
    model, x = made
    try:
        dl.export.onnx(model, tmp_path / "one.onnx", example=x, dynamic_batch=False)
    except ValueError as error:
        assert re.search(r"is of dtype b?float16|powers of integers wrap|no gelu of float64", str(error)), error
        assert not (tmp_path / "one.onnx").exists()


WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
C_REFUSED = "|".join([
    r"is of dtype b?float16", "of integers it has no form", "takes rows of a batch", "more than 4096 elements",
    "single exponent that is computed",
])  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with a C file, an input and the plain kernels' outputs of every operation, and why some are not there."""
    folder = tmp_path_factory.mktemp("c")
    here = Path(__file__).parent
    environment = {**os.environ, "DLCORE_ISA": "v1", "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    subprocess.run([sys.executable, "-P", here / "export_cases.py", folder], env=environment, check=True)
    found = json.loads((folder / "refused.json").read_text())
    assert found["isa"] == "baseline"
    return folder, found["refused"]


def called(library, stem, x, y):
    """What the function of a C file gives for the sample ``x``; as an array like ``y``."""
    out = np.empty_like(y)
    function = getattr(library, f"{stem}_predict")
    function.restype = None
    function(np.ascontiguousarray(x).ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p))
    return out


@needs_cc
def test_c_operations_have_the_bits_of_the_plain_kernels(plain, tmp_path):
    folder, refused = plain
    assert [text for text in refused.values() if not re.search(C_REFUSED, text)] == []
    files = sorted(folder.glob("*.c"))
    assert {f.stem.rsplit("_", 2)[0] for f in files} >= set(C_FORMS) - {"copy"}
    library = tmp_path / "all.so"
    subprocess.run(["cc", "-O1", *WARNINGS, "-shared", "-fPIC", "-o", library, *files, "-lm"], check=True)
    loaded, wrong = ctypes.CDLL(str(library)), []
    for file in files:
        with np.load(file.with_suffix(".npz")) as arrays:
            x, y = arrays["x"], arrays["y"]
        got = called(loaded, file.stem, x, y)
        nan = np.isnan(y) & np.isnan(got) if y.dtype.kind == "f" else np.zeros(y.shape, bool)
        bits = f"u{y.dtype.itemsize}"
        if not ((got.view(bits) == y.view(bits)) | nan).all():
            wrong.append(f"{file.stem}: {np.ravel(got)[:4]} for {np.ravel(y)[:4]}")
    assert wrong == []
