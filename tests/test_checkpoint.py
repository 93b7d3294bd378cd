"""Models in files: what is kept, what is refused, what is left when writing fails."""

import json
import os
import struct

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import Normalize


def network():
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))


def bits(model):
    return {k: np.asarray(v).tobytes() for k, v in model.state_dict().items()}


def test_a_model_comes_back_bit_for_bit(tmp_path):
    a, b = network(), network()
    dl.save(a, tmp_path / "m.safetensors")
    assert dl.load(b, tmp_path / "m.safetensors") is b
    assert bits(a) == bits(b)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_models_of_other_dtypes(tmp_path, dtype):
    a, b = network().to(dtype=dtype), network().to(dtype=dtype)
    dl.save(a, str(tmp_path / "m"))
    dl.load(b, str(tmp_path / "m"))
    assert bits(a) == bits(b) and b[0].weight.dtype.name == dtype


def test_a_dict_of_tensors_with_metadata(tmp_path):
    state = {
        "a": dl.tensor(np.arange(6, dtype=np.int32).reshape(2, 3)).T,
        "b": dl.tensor(True),
        "empty": dl.zeros(0, 3),
        "half": dl.tensor([1.5], dtype="bfloat16"),
        "array": np.ones((2, 2))[:, 0],
    }
    dl.save(state, tmp_path / "s", metadata={"note": "hello"})
    read = dl.load(tmp_path / "s")
    assert set(read) == set(state) and read.metadata["note"] == "hello" and read.preprocessing is None
    for name, value in state.items():
        assert read[name].shape == tuple(value.shape)
        np.testing.assert_array_equal(np.asarray(read[name]), np.asarray(value))
    read["a"][0, 0] = 5  # the tensors are the caller's own


def test_other_programs_can_read_it(tmp_path):
    model = network()
    dl.save(model, tmp_path / "m")
    from safetensors.numpy import load_file

    read = load_file(tmp_path / "m")
    assert {k: v.tobytes() for k, v in read.items()} == bits(model)


def test_the_preprocessing_travels_with_the_model(tmp_path):
    model = network()
    model.preprocessing = Normalize(np.arange(5), np.arange(5) + 0.5)
    dl.save(model, tmp_path / "m")
    other = dl.load(network(), tmp_path / "m")
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    np.testing.assert_array_equal(other.preprocessing(x), model.preprocessing(x))
    np.testing.assert_array_equal(np.asarray(dl.predict(other, x)), np.asarray(dl.predict(model, x)))
    dl.save(model, tmp_path / "m", preprocessing=Normalize(1.0, 2.0))
    assert dl.load(tmp_path / "m").preprocessing.mean == 1.0


def test_preprocessing_that_is_a_function_is_refused_or_reported(tmp_path):
    model = network()
    with pytest.raises(ValueError, match="cannot be written to a file"):
        dl.save(model, tmp_path / "m", preprocessing=lambda x: x)
    model.preprocessing = lambda x: x
    with pytest.warns(UserWarning, match="set it again after load"):
        dl.save(model, tmp_path / "m")
    assert dl.load(network(), tmp_path / "m").preprocessing is None


def trained(model, optimizer, steps):
    for step in range(steps):
        x = dl.tensor(np.random.default_rng(step).standard_normal((4, 5)).astype(np.float32))
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()
    return bits(model)


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_training_goes_on_from_a_file(tmp_path, kind):
    settings = {"lr": 0.01, "momentum": 0.9} if kind is optim.SGD else {"lr": 0.01, "betas": (0.8, 0.9)}
    a, b = network(), network()
    optimizer = kind(a.parameters(), **settings)
    trained(a, optimizer, 3)
    dl.save(a, tmp_path / "m", optimizer=optimizer)
    other = kind(b.parameters(), lr=1.0)
    dl.load(b, tmp_path / "m", other)
    assert other.lr == 0.01 and trained(a, optimizer, 4) == trained(b, other, 4)
    assert set(dl.load(tmp_path / "m")) == set(a.state_dict())
    dl.load(network(), tmp_path / "m")


def test_an_optimizer_that_does_not_fit_leaves_model_and_optimizer(tmp_path):
    a, b = network(), network()
    dl.save(a, tmp_path / "plain")
    optimizer = optim.Adam(a.parameters())
    trained(a, optimizer, 1)
    dl.save(a, tmp_path / "m", optimizer=optimizer)
    before = bits(b)
    for path, other, text in (
        ("plain", optim.Adam(b.parameters()), "no optimizer's state"),
        ("m", optim.SGD(b.parameters()), "settings betas, eps"),
        ("m", optim.Adam(b[0].parameters()), "4 parameters in the state, 2 here"),
    ):
        with pytest.raises(ValueError, match=text):
            dl.load(b, tmp_path / path, other)
        assert bits(b) == before and other.state_dict()["state"] == {}


def damaged(raw):
    (length,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + length])
    yield "empty", b""
    yield "head", raw[:6]
    yield "short", raw[:-100]
    yield "one byte short", raw[:-1]
    yield "long", raw + b"\0"
    yield "garbage", b"\x89PNG" + raw[4:]
    yield "json", raw[:10] + b"#" + raw[11:]
    wrong = json.dumps({**head, "0.bias": {**head["0.bias"], "dtype": "F8_E4M3", "shape": [16]}}).encode()
    yield "dtype", struct.pack("<Q", len(wrong)) + wrong + raw[8 + length :]
    wrong = json.dumps({**head, "__metadata__": {"transform": "{"}}).encode()
    yield "transform", struct.pack("<Q", len(wrong)) + wrong + raw[8 + length :]


def test_damaged_files_are_refused_and_the_model_stays(tmp_path):
    model, path = network(), tmp_path / "m"
    dl.save(network(), path)
    before = bits(model)
    for name, raw in damaged(path.read_bytes()):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=str(path)):
            dl.load(model, path)
            pytest.fail(f"loaded: {name}")
        assert bits(model) == before


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 4)), "unexpected: 2.weight"),
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), r"2.weight: shape \(2, 4\)"),
        (lambda: network().to(dl.float64), "0.weight: dtype float32, the model has float64"),
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path, other, text):
    dl.save(network(), tmp_path / "m")
    model = other()
    before = bits(model)
    with pytest.raises(ValueError, match=text):
        dl.load(model, tmp_path / "m")
    assert bits(model) == before


def test_a_missing_file_and_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        dl.load(network(), tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        dl.save(network(), tmp_path / "no" / "m")
    with pytest.raises(TypeError, match="a Module and a path"):
        dl.load("m", tmp_path / "m")


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / "m"
    dl.save(network(), path)
    old = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left"):
        dl.save(network(), path)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_link_stays_a_link_and_permissions_are_usual(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "real" / "m")
    dl.save(network(), link)
    assert link.is_symlink() and (tmp_path / "real" / "m").is_file()
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "real" / "m").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("state", "metadata", "error", "text"),
    [
        ({"a": np.array(["x"])}, None, TypeError, "a: dtype <U1 cannot be saved"),
        ({"a": np.zeros(1)}, {"epoch": 3}, TypeError, "metadata maps text to text"),
        ({"a": np.zeros(1)}, {"transform": "x"}, ValueError, "'transform' is dlcore's own"),
    ],
)
def test_what_cannot_be_saved(tmp_path, state, metadata, error, text):
    with pytest.raises(error, match=text):
        dl.save(state, tmp_path / "m", metadata=metadata)
    assert not list(tmp_path.iterdir())
