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
from dlcore import _C, models, nn
from dlcore.export.c_forms import C_FORMS, ROUNDED
from dlcore.export.onnx_forms import FORMS, REFUSED, refusal
from dlcore.op import REGISTRY

onnxruntime = pytest.importorskip("onnxruntime")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def run(path, x):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": x})


# ---- every operation -------------------------------------------------------------------------------------------------


def test_every_operation_of_a_forward_pass_has_a_form_or_a_reason():
    assert [name for name, op in REGISTRY.items() if name not in FORMS and not refusal(op)] == []
    assert [name for name in REFUSED if name in FORMS] == []


EXPECTED = (
    r"is of dtype (b?float16|uint(16|32|64))|powers of integers wrap|no \w+ of (float64|int64)|to tens in ONNX|adaptive"
    r"|draws random numbers"
)


@pytest.mark.filterwarnings("ignore:.*are not finite")
@pytest.mark.parametrize(("op", "sample", "dtype"), [pytest.param(*case, id=name) for name, *case in samples(FORMS)])
def test_onnx_operation(op, sample, dtype, tmp_path):
    made = drawn(op, sample, dtype)
    if made is None:
        pytest.skip("the first operand is no batch")
    if sample.why == "special values" and op.name == "gelu":
        pytest.skip("onnxruntime's Gelu of -inf is NaN")
    if sample.why in ("NaN, ties", "-inf") and op.family == "pool":
        pytest.skip("onnxruntime's maxima pass over NaN, and are at least the smallest finite number")
    model, x = made
    try:
        dl.export.onnx(model, tmp_path / "one.onnx", example=x, dynamic_batch=False)
    except (ValueError, TypeError) as error:
        assert re.search(EXPECTED, str(error)), error
        assert not (tmp_path / "one.onnx").exists()


WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
C_REFUSED = "|".join([
    r"is of dtype (b?float16|uint(16|32|64))", "of integers it has no form", "takes rows of a batch",
    "more than 4096 elements", "single exponent that is computed", "with lengths, offsets or dropout",
    "with positions of their own, or tables of another dtype",
])  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with C files of all operations, inputs and the plain kernels' outputs; and why some are not there."""
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


def agree(got, y, name):
    """Where two results are one number: to the bit, or of forms that round in another order, to a few units."""
    same = got.view(f"u{y.dtype.itemsize}") == y.view(f"u{y.dtype.itemsize}")
    if y.dtype.kind == "f":
        same |= np.isnan(y) & np.isnan(got)
        if name in ROUNDED:
            finite = np.isfinite(y) & np.isfinite(got)
            size = max(1.0, np.abs(y[finite]).max(initial=0.0))
            with np.errstate(invalid="ignore"):
                same |= finite & (np.abs(got - y) <= 4 * REGISTRY[name].ulp * np.finfo(y.dtype).eps * size) | (got == y)
    return same.all()


@needs_cc
def test_c_operations_have_the_bits_of_the_plain_kernels(plain, tmp_path):
    folder, refused = plain
    assert [text for text in refused.values() if not re.search(C_REFUSED, text)] == []
    files = sorted(folder.glob("*.c"))
    assert {f.stem.rsplit("_", 2)[0] for f in files} >= {*C_FORMS, *ROUNDED} - {"copy"}
    library = tmp_path / "all.so"
    subprocess.run(["cc", "-O1", *WARNINGS, "-shared", "-fPIC", "-o", library, *files, "-lm"], check=True)
    loaded, wrong = ctypes.CDLL(str(library)), []
    for file in files:
        with np.load(file.with_suffix(".npz")) as arrays:
            x, y = arrays["x"], arrays["y"]
        got = called(loaded, file.stem, x, y)
        if not agree(got, y, file.stem.rsplit("_", 2)[0]):
            wrong.append(f"{file.stem}: {np.ravel(got)[:4]} for {np.ravel(y)[:4]}")
    assert wrong == []


# ---- whole models ----------------------------------------------------------------------------------------------------


class Branches(nn.Module):
    """Views, reductions and Python in forward, with two outputs by name."""

    def __init__(self):
        self.first, self.second = nn.Linear(16, 20), nn.Linear(20, 3)
        self.register_buffer("shift", dl.tensor([0.5, -1.0, 2.0]))

    def forward(self, x):
        pieces = [part * (k + 1) for k, part in enumerate([x[:, 0], x[:, 1:].sum(1)])]
        h = dl.concat([dl.concat(pieces, 1), x[:, 2, ::-1], x.reshape(len(x), -1)[:, 4:8] - x.mean()], 1)
        h = dl.tanh(self.first(h.reshape(-1, 16))) / x.shape[0]
        logits = self.second(h) + self.shift
        return {"logits": logits, "best": logits.argmax(1)}


RNG = np.random.default_rng(7)
PICTURES = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)


def fitted(seed=1):
    dl.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.GELU(), nn.Dropout(0.5), nn.Linear(24, 3))
    scaled = dl.data.Compose(dl.data.ScaleBytes(), dl.data.Normalize(0.5, 0.25))
    labels = RNG.integers(0, 3, len(PICTURES))
    dl.fit(model, (PICTURES, labels), epochs=1, transform=scaled, loss=dl.cross_entropy,
           optimizer=dl.optim.Adam(model.parameters()), seed=0, progress=False)  # fmt: skip
    assert model.preprocessing is not None and model.training
    return model


def test_onnx_of_a_fitted_model_takes_what_predict_takes(tmp_path):
    model, path = fitted(), tmp_path / "model.onnx"
    assert dl.export.onnx(model, path, example=PICTURES[:1]) < 1e-5
    assert model.training
    for size in (1, 7, 40):
        np.testing.assert_allclose(run(path, PICTURES[:size])[0], dl.predict(model, PICTURES[:size]), atol=1e-5)
    onnx = pytest.importorskip("onnx")
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    assert [w.name for w in loaded.graph.initializer if "." in w.name] == ["1.weight", "1.bias", "4.weight", "4.bias"]
    assert loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_onnx_follows_the_python_of_forward_for_every_size_of_the_batch(tmp_path):
    model, path = Branches(), tmp_path / "model.onnx"
    x = RNG.standard_normal((6, 3, 4)).astype(np.float32)
    dl.export.onnx(model, path, example=x)
    for size in (1, 4, 6):
        logits, best = run(path, x[:size])
        ours = model(dl.tensor(x[:size]))
        np.testing.assert_allclose(logits, ours["logits"].detach().numpy(), atol=1e-5)
        np.testing.assert_array_equal(best, ours["best"].numpy())
    dl.export.onnx(model, path, example=x, dynamic_batch=False)
    with pytest.raises(Exception, match="Got: 1 Expected: 6"):
        run(path, x[:1])


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x[x.shape[0] - 1],
        lambda x: x[::-1] + x[1:].sum(),
        lambda x: dl.softmax(x @ x.permute(0, 2, 1), -1) @ x,
        lambda x: x[:, None].expand(x.shape[0], 2, 3, 4).reshape(-1, 4) / len(x),
        lambda x: dl.concat([dl.zeros(x.shape[0], 1, 4), x], 1),
        lambda x: (x.max(), x.argmin(1) * 2 + 1, x > 0),
        lambda x: x + dl.sin(dl.arange(4) * 0.5) + dl.arange(3)[:, None] + dl.linspace(0, 1, 4),
        lambda x: nn.functional.one_hot(x.argmax(2), 4),
        lambda x: (x - x.mean(0)) / (dl.std(x, 0) + 1),
        lambda x: (dl.sort(x, 0), dl.argsort(x.reshape(-1), descending=True), *dl.topk(x, 2, axis=1)),
        lambda x: x / dl.linalg.norm(x, axis=2, keepdims=True) + dl.norm(x, 3, axis=0) + dl.var(x),
    ],
)
def test_onnx_lengths_and_numbers_follow_the_batch(function, tmp_path):
    x = RNG.standard_normal((7, 3, 4)).astype(np.float32)
    dl.export.onnx(Function(function), tmp_path / "f.onnx", example=x[:2])
    for theirs, ours in zip(run(tmp_path / "f.onnx", x), _tuple(function(dl.tensor(x))), strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left", [np.int8, np.uint8])
def test_onnx_multiplies_bytes_as_they_are(left, tmp_path):
    onnx = pytest.importorskip("onnx")
    w = dl.tensor(RNG.integers(-128, 128, (40, 7)).astype(np.int8))
    x = RNG.integers(np.iinfo(left).min, np.iinfo(left).max + 1, (5, 40)).astype(left)
    path = tmp_path / "f.onnx"
    dl.export.onnx(Function(lambda x: dl.matmul(x, w, dtype=dl.int32)), path, example=x[:2])
    assert {node.op_type for node in onnx.load(path).graph.node} == {"MatMulInteger", "Identity"}
    np.testing.assert_array_equal(run(path, x)[0], x.astype(np.int32) @ w.numpy().astype(np.int32))


def test_tables_with_categories_and_missing_values_are_exported(tmp_path):
    table = np.float32([[1, 0, 5], [2, 2, np.nan], [4, 1, 6], [0, 2, 7]])
    model = nn.Linear(5, 2)
    model.preprocessing = dl.data.Compose(
        dl.data.OneHot({1: [0, 1, 2]}), dl.data.Standardize([1.0, 0, 0, 0, 6], [2.0, 1, 1, 1, 1], fill=True)
    )
    dl.export.onnx(model, tmp_path / "table.onnx", example=table[:2])
    np.testing.assert_allclose(run(tmp_path / "table.onnx", table)[0], dl.predict(model, table), atol=1e-6)


PLAIN = """
import sys
import numpy as np, dlcore as dl
model = dl.load(sys.argv[1])
rows = np.load(sys.argv[2])
np.save(sys.argv[3], np.concatenate([np.asarray(dl.predict(model, row[None])) for row in rows]))
"""


def plain_predictions(model, rows, folder):
    """What the plain kernels give for each row alone."""
    dl.save(model, folder / "model.safetensors")
    np.save(folder / "rows.npy", rows)
    files = [folder / name for name in ("model.safetensors", "rows.npy", "plain.npy")]
    environment = {**os.environ, "DLCORE_ISA": "v1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-P", "-c", PLAIN, *files], env=environment, check=True)
    return np.load(folder / "plain.npy")


SANITIZED = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@needs_cc
def test_c_of_a_fitted_model_has_the_bits_of_the_plain_kernels(tmp_path):
    model = fitted()
    model.append(nn.Softmax())
    dl.export.c(model, tmp_path / "digits.c", example=PICTURES)
    expected = plain_predictions(model, PICTURES, tmp_path)
    text = " ".join(map(str, PICTURES.ravel()))
    for flags in (["-O0"], ["-O2"], ["-O3", "-march=native"], ["-O1", *SANITIZED], ["-O2", "-std=c11"]):
        program = tmp_path / "digits"
        built = ["cc", *WARNINGS, *flags, "-DDLCORE_MAIN", "-o", program, tmp_path / "digits.c", "-lm"]
        subprocess.run(built, check=True)
        shown = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout
        rows = np.array([line.split() for line in shown.splitlines()], np.float32)
        np.testing.assert_array_equal(rows.view(np.int32), expected.view(np.int32), err_msg=" ".join(flags))
    for wrong, said in (("1 2 3", "3 numbers are left"), ("300", "300: whole numbers of uint8"), ("x", "x: whole")):
        found = subprocess.run([program], input=wrong, capture_output=True, text=True, check=False)
        assert found.returncode == 1 and said in found.stderr


def lived(model, rng):
    """The model in evaluation mode with running statistics as of a training."""
    for name, buffer in model.named_buffers():
        if "running" in name:
            low, high = (0.5, 1.5) if name.endswith("var") else (-0.3, 0.1)
            buffer.copy_(dl.tensor(rng.uniform(low, high, buffer.shape).astype(np.float32)))
    return model.eval()


class Turned(nn.Module):
    """Layers whose input is a view with its axes in another order."""

    def __init__(self):
        self.rows, self.groups, self.conv = nn.LayerNorm(5), nn.GroupNorm(2, 4), nn.Conv2d(5, 2, 1)
        self.root = nn.RMSNorm((4, 3))

    def forward(self, x):
        x = self.groups(self.rows(x.permute(0, 1, 3, 2)).permute(0, 2, 1, 3)).permute(0, 3, 2, 1)
        return self.conv(self.root(x.permute(0, 1, 3, 2)).permute(0, 1, 3, 2))


class Column(nn.Module):
    """A convolution of length 1 of a picture one wide, whose view says any stride along its width."""

    def __init__(self):
        self.conv = nn.Conv2d(20, 17, 1, bias=False)

    def forward(self, x):
        return self.conv((x * 2).permute(0, 1, 3, 2))


NETWORKS = {
    "lenet": (models.LeNet5, np.float32, (1, 28, 28)),
    "resnet": (lambda: models.resnet8(10, 3), np.float32, (3, 16, 16)),
    "resnet_last": (lambda: nn.channels_last(models.resnet8(10, 3)), np.float32, (3, 16, 16)),
    "gpt": (lambda: models.GPT(20, 2, 2, 16, 8), np.int64, (8,)),
    "llama": (lambda: models.GPT(20, 1, 4, 16, 8, positions="rotary", norm="rms", activation="swiglu", kv_heads=2),
              np.int64, (6,)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), np.float32, (5, 8)),
    "classifier": (lambda: models.TransformerClassifier(20, 3, 8, 2, 1, 8), np.int64, (7,)),
    "convnext": (lambda: models.ConvNeXt(widths=(8, 12, 16)), np.float32, (1, 12, 8)),
    "turned": (lambda: Turned(), np.float32, (3, 5, 4)),
    "column": (lambda: Column(), np.float32, (20, 1, 130)),
    "pools": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.AvgPool2d(3, 2, 1),
                                    nn.AdaptiveAvgPool2d(3), nn.MaxPool2d(2, 1)), np.float32, (4, 8, 8)),
}  # fmt: skip


@needs_cc
@pytest.mark.parametrize("name", NETWORKS)
def test_c_of_whole_networks(name, tmp_path):
    make, dtype, shape = NETWORKS[name]
    dl.manual_seed(3)
    rng = np.random.default_rng(5)
    model = lived(make(), rng)
    x = (rng.standard_normal((2, *shape)) if dtype == np.float32 else rng.integers(1, 20, (2, *shape))).astype(dtype)
    dl.export.c(model, tmp_path / "net.c", example=x)
    built = ["cc", "-O2", *WARNINGS, "-shared", "-fPIC", "-o", tmp_path / f"{name}.so", tmp_path / "net.c", "-lm"]
    subprocess.run(built, check=True)
    library, y = ctypes.CDLL(str(tmp_path / f"{name}.so")), np.asarray(dl.predict(model, x))
    for row, expected in zip(x, y, strict=True):
        found = called(library, "net", row, np.full_like(expected, np.nan))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(y).max())


def test_operands_that_c_reads_side_by_side_are_those_the_kernels_want_contiguous():
    whole = ["conv:conv", "conv:direct", *(f"norm:{kind}_norm_forward" for kind in ("layer", "rms", "group"))]
    assert [name for name in whole if _C.contiguous_inputs(name) != 0xFFFFFFFF] == []
    assert _C.contiguous_inputs("rotary:rotary_embedding") & 0b110 == 0b110  # the cosines and the sines


@needs_cc
def test_a_token_outside_of_the_vocabulary_reads_nothing(tmp_path):
    dl.export.c(nn.Embedding(5, 3), tmp_path / "table.c", example=np.zeros((1, 4), np.int64))
    program = tmp_path / "table"
    built = ["cc", "-O1", *WARNINGS, *SANITIZED, "-DDLCORE_MAIN", "-o", program, tmp_path / "table.c", "-lm"]
    subprocess.run(built, check=True)
    text = subprocess.run([program], input="4 5 -1 9000000000", capture_output=True, text=True, check=True).stdout
    assert np.isnan(np.array(text.split(), float)).tolist() == [False] * 3 + [True] * 9


@needs_cc
def test_c_of_several_outputs_and_views(tmp_path):
    x = RNG.standard_normal((1, 3, 4)).astype(np.float32)
    model = Branches()
    dl.export.c(model, tmp_path / "2 ways.c", example=x)
    library = tmp_path / "two.so"
    built = ["cc", "-O2", *WARNINGS, "-shared", "-fPIC", "-o", library, tmp_path / "2 ways.c", "-lm"]
    subprocess.run(built, check=True)
    logits, best = np.empty(3, np.float32), np.empty(1, np.int64)
    function = ctypes.CDLL(str(library)).model_2_ways_predict
    function(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, logits, best)))
    ours = model(dl.tensor(x))
    np.testing.assert_allclose(logits, ours["logits"].detach().numpy()[0], rtol=1e-5, atol=1e-6)
    assert best[0] == ours["best"].item()


# ---- what is refused -------------------------------------------------------------------------------------------------


class Function(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_place(x):
    y = x * 2
    y[:, 0] = 0
    return y


ONE = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x if float(x.sum()) > 0 else -x, r"more than its input: a value is .*\(test_export.py:\d+\)"),
        (lambda x: x[:, np.array([0, 2])], r"its input: a tensor is made from a NumPy array; .*test_export.py:\d+"),
        (lambda x: dl.nonzero(x)[0], "a result whose shape depends on values"),
        (lambda x: x + dl.randn(*x.shape), r"normal \(test_export.py:\d+\) cannot .*: it draws random numbers"),
        (lambda x: dl.mse_loss(x, x * 2), r"mse_loss \(test_export.py:\d+\) cannot .*: a loss belongs to training"),
        (in_place, r"assign \(test_export.py:\d+\) cannot .*: a part of a tensor is written in place"),
        (lambda x: x * (1 / x.shape[0]), r"mul \(test.*a number among its operands depends on the size of the batch"),
        (lambda x: x.squeeze(), "the outputs have other axes for a batch of one"),
        (lambda x: x.mul_(2), "changes its input, which an exported model cannot keep"),
        (lambda x: x.astype(dl.bfloat16), "its result is of dtype bfloat16"),
        (lambda x: x if x.shape[0] < 4 else x + 1, "the pass goes another way for another size of the batch"),
    ],
)
def test_what_cannot_be_exported_is_named_with_its_line(function, said, tmp_path):
    example = ONE[:, None] if "squeeze" in said or "other axes" in said else ONE
    with pytest.raises(ValueError, match=said):
        dl.export.onnx(Function(function), tmp_path / "no.onnx", example=example)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path):
    model, path = nn.Linear(3, 2), tmp_path / "no"
    for export, name in ((dl.export.onnx, "export.onnx"), (dl.export.c, "export.c")):
        with pytest.raises(TypeError, match=f"{name}: model"):
            export(lambda x: x, path, example=ONE)
        with pytest.raises(dl.ShapeError, match=rf"{name}: example has shape \(0, 3\)"):
            export(model, path, example=ONE[:0])
        with pytest.raises(dl.ShapeError, match="linear: inner sizes differ"):
            export(model, path, example=np.ones((1, 4), np.float32))
        with pytest.raises(TypeError, match=f"{name}: example 'x'"):
            export(model, path, example="x")
        with pytest.raises(TypeError, match=f"{name}: weight is of dtype bfloat16"):
            export(nn.Linear(3, 2, dtype=dl.bfloat16), path, example=ONE)
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            export(model, path / "a" / "b", example=ONE)
    with pytest.raises(ValueError, match=r"prod \(test_export.py:\d+\) cannot be exported to C: it has no form there"):
        dl.export.c(Function(lambda x: dl.prod(x, 1)), path, example=ONE)
    with pytest.raises(ValueError, match=r"exported to C: it has no form there, nor in ONNX: ONNX scans sums alone"):
        dl.export.c(Function(lambda x: dl.cumprod(x, axis=1)), path, example=ONE)
    large = nn.Linear(4096, 2100)
    with pytest.raises(ValueError, match=r"export.c: the model has more than 3\d.* of weights"):
        dl.export.c(large, path, example=np.ones((1, 4096), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ValueError):
        dl.export.onnx(Function(in_place), path, example=ONE)
    assert path.read_bytes() == b"old"


# ---- PyTorch's names -------------------------------------------------------------------------------------------------


def test_parameters_have_the_names_that_pytorch_gives_them():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2, bias=False)))
    shapes = {"1.weight": (3, 4), "1.bias": (3,), "3.0.weight": (2, 3)}  # torch's state_dict of the same Sequential
    assert {name: t.shape for name, t in model.state_dict().items()} == shapes
    values = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    model.load_state_dict(values)
    x = RNG.standard_normal((2, 4)).astype(np.float32)
    hidden = np.maximum(x @ values["1.weight"].T + values["1.bias"], 0)
    np.testing.assert_allclose(dl.predict(model, x), hidden @ values["3.0.weight"].T, rtol=1e-5)


def test_safetensors_that_pytorch_programs_write_and_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    values = {"0.weight": RNG.standard_normal((2, 3)).astype(np.float32), "0.bias": np.float32([1, 2])}
    safetensors.save_file(values, tmp_path / "torch.safetensors", metadata={"format": "pt"})
    model = nn.Sequential(nn.Linear(3, 2))
    dl.load(model, tmp_path / "torch.safetensors")
    dl.save(model, tmp_path / "ours.safetensors")
    again = safetensors.load_file(tmp_path / "ours.safetensors")
    assert set(again) == set(values) and all((again[name] == values[name]).all() for name in values)
