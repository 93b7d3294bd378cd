"""Models in files for other programs: ONNX against onnxruntime, C against the plain kernels."""

import re

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn
from dlcore.export.onnx_forms import FORMS, REFUSED, refusal
from dlcore.op import REGISTRY, lengths_of

onnxruntime = pytest.importorskip("onnxruntime")


class OneOperation(nn.Module):
    """An operation of its first operand; the others are constants."""

    def __init__(self, op, operands, lengths, attrs):
        self.op, self.operands, self.lengths, self.attrs = op, operands, lengths, attrs

    def forward(self, x):
        return self.op.call(*self.op.nested([x, *self.operands], self.lengths), **self.attrs)


def loaded(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, x):
    return loaded(path).run(None, {"input": x})


# ---- every operation ------------------------------------------------------------------------------------------------


def test_every_operation_of_a_forward_pass_has_a_form_or_a_reason():
    assert [name for name, op in REGISTRY.items() if name not in FORMS and not refusal(op)] == []
    assert [name for name in REFUSED if name in FORMS] == []


def cases():
    for name in FORMS:
        op = REGISTRY[name]
        for k, sample in enumerate(op.sample_inputs()):
            if 0 < sample.size <= 4096:
                for dtype in ("float32", "float64") if sample.in_any_dtype else ("",):
                    yield pytest.param(op, sample, dtype, id=f"{name}-{k}-{dtype or 'own'}")


@pytest.mark.filterwarnings("ignore:.*are not finite")
@pytest.mark.parametrize(("op", "sample", "dtype"), list(cases()))
def test_onnx_operation(op, sample, dtype, tmp_path):
    arrays = sample.arrays(op.name, op.signature.operands)
    arrays = [a.astype(dtype) if dtype and isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in arrays]
    first, *rest = arrays
    constants = [dl.tensor(a) if isinstance(a, np.ndarray) else a for a in rest]
    if not isinstance(first, np.ndarray) or first.ndim == 0 or first.size == 0:
        pytest.skip("the first operand is no batch")
    if sample.why == "special values" and op.name == "gelu":
        pytest.skip("onnxruntime's Gelu of -inf is NaN")
    model = OneOperation(op, constants, lengths_of(sample.inputs, op.signature.operands), sample.attrs)
    try:
        dl.export.onnx(model, tmp_path / "one.onnx", example=first, dynamic_batch=False)
    except ValueError as error:
        assert re.search(r"is of dtype b?float16|powers of integers wrap|no gelu of float64", str(error)), error
        assert not (tmp_path / "one.onnx").exists()
