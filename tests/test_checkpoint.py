"""Models in files: what is kept, what is refused, what is left when writing fails."""

import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore._files import replacing
from dlcore._tensor import from_numpy
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
    read = dl.load_state(tmp_path / "s")
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
    assert dl.load_state(tmp_path / "m").preprocessing.mean == 1.0


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
    assert set(dl.load_state(tmp_path / "m")) == set(a.state_dict())
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
        ("m", optim.SGD(b.parameters()), "settings amsgrad, betas, eps"),
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
    ],
)
def test_a_file_of_another_model_is_refused(tmp_path, other, text):
    dl.save(network(), tmp_path / "m")
    model = other()
    before = bits(model)
    with pytest.raises(ValueError, match=text):
        dl.load(model, tmp_path / "m")
    assert bits(model) == before


def test_a_file_in_another_floating_dtype_is_converted(tmp_path):
    saved, model = network(), network().to(dl.float64)
    dl.save(saved, tmp_path / "m")
    dl.load(model, tmp_path / "m")
    for name, value in model.state_dict().items():
        assert value.dtype is dl.float64 and value.tolist() == saved.state_dict()[name].tolist()


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
        ({"a": np.zeros(1)}, {"note": "\ud800"}, ValueError, "UTF-8 cannot hold"),
        ({"\ud800": np.zeros(1)}, None, ValueError, "UTF-8 cannot hold"),
        ({"optimizer/0/step": np.zeros(1)}, None, ValueError, "names that begin with optimizer/"),
        ({"__metadata__": np.zeros(1)}, None, ValueError, "__metadata__ is the name of the texts"),
        ({1: np.zeros(1)}, None, TypeError, "save: names are texts, not 1"),
        ({"a": np.zeros((1,) * 9)}, None, ValueError, "a has 9 axes; a tensor has at most 8"),
        ({"a": np.zeros(1, np.complex64)}, None, TypeError, "a: dtype complex64 cannot be saved"),
        ({"x" * 100_000_000: np.zeros(1)}, None, ValueError, "at most 100,000,000 bytes"),
    ],
    ids=str.split(
        "texts number-as-text own-key half-a-pair-in-a-text half-a-pair optimizer metadata number nine complex long"
    ),
)
def test_what_cannot_be_saved(tmp_path, state, metadata, error, text):
    with pytest.raises(error, match=text):
        dl.save(state, tmp_path / "m", metadata=metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda path: dl.save(5, path), TypeError, "save: model 5 is not a Module or a dict of tensors"),
        (lambda path: dl.save([network()], path), TypeError, "save: model .* is not a Module"),
        (lambda path: dl.save(network(), 5), TypeError, "save: path 5 is neither a text nor a path"),
        (lambda path: dl.save(network(), "a\0b"), ValueError, "save: path .* holds a null character"),
        (lambda path: dl.save(network(), path, optimizer=0.1), TypeError, "save: optimizer 0.1 is not an Optimizer"),
        (lambda path: dl.save(network(), path, metadata=["a"]), TypeError, "save: metadata .* is not a dict of texts"),
        (lambda path: dl.save({"a": [[1], [1, 2]]}, path), ValueError, r"save: a: \[\[1\], \[1, 2\]\] is not an array"),
        (lambda path: dl.load_state(5), TypeError, "load_state: path 5 is neither a text nor a path"),
        (lambda path: dl.load(network()), TypeError, "load: path None is neither a text nor a path"),
        (lambda path: dl.load_state("a\0b"), ValueError, "load_state: path .* holds a null character"),
        (lambda path: dl.load(network(), path, 0.1), TypeError, "load: optimizer 0.1 is not an Optimizer"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, call, error, text):
    with pytest.raises(error, match=text):
        call(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_two_tensors_of_one_name_are_refused(tmp_path):
    class Keyed(nn.Module):
        def __init__(self, layers):
            self.layers = layers

    two_keys = {1: nn.Linear(2, 2), "1": nn.Linear(2, 2)}
    dotted = {"a.weight": nn.Parameter(dl.ones(1)), "a": nn.Linear(1, 1)}
    for layers in (two_keys, dotted):
        with pytest.raises(ValueError, match=r"Keyed: two tensors of the state are called layers\.\w\.weight"):
            dl.save(Keyed(layers), tmp_path / "m")
    shared = nn.Linear(2, 2)
    dl.save(Keyed({1: shared, 2: shared}), tmp_path / "m")


# ---- files that say something wrong ---------------------------------------------------------------------------------


def edited(raw, edit):
    """The file with its header changed by ``edit``, which may return text instead."""
    (length,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + length])
    text = edit(head) or json.dumps(head)
    return struct.pack("<Q", len(text)) + text.encode() + raw[8 + length :]


def put(*keys, value):
    def edit(head):
        for key in keys[:-1]:
            head = head[key]
        head[keys[-1]] = value

    return edit


def put_setting(name, text):
    """Sets a setting of the optimizer to what ``text`` describes in JSON."""

    def edit(head):
        groups = json.loads(head["__metadata__"]["optimizer"])
        groups[0][name] = "?"
        head["__metadata__"]["optimizer"] = json.dumps(groups).replace('"?"', text)

    return edit


def replaced(old, new):
    return lambda head: json.dumps(head).replace(old, new)


def renamed(old, new):
    return lambda head: head.update({new: head.pop(old)})


WRONG = {
    "lr is a list": put_setting("lr", "[0.1]"),
    "lr is text": put_setting("lr", '"0.1"'),
    "lr of 400 digits": put_setting("lr", "9" * 400),
    "lr is too large": put_setting("lr", "1e999"),
    "lr is NaN": put_setting("lr", "NaN"),
    "lr is negative": put_setting("lr", "-0.1"),
    "one beta": put_setting("betas", "[0.9]"),
    "betas is a number": put_setting("betas", "0.9"),
    "a beta is a list": put_setting("betas", "[[0.9], 0.99]"),
    "a setting more": put_setting("rate", "1"),
    "parameters in another order": put_setting("params", "[1, 0, 2, 3]"),
    "a parameter less": put_setting("params", "[0, 1, 2]"),
    "parameters are no numbers": put_setting("params", "[true, 1, 2, 3]"),
    "no groups": put("__metadata__", "optimizer", value="[]"),
    "groups are a number": put("__metadata__", "optimizer", value="5"),
    "groups are no JSON": put("__metadata__", "optimizer", value="[{"),
    "groups nested deeply": put("__metadata__", "optimizer", value="[" * 100_000),
    "a text is a number": put("__metadata__", "note", value=5),
    "the texts are a list": put("__metadata__", value=[]),
    "a transform that is none": put("__metadata__", "transform", value='{"name": ["Normalize"]}'),
    "a transform of texts": put("__metadata__", "transform", value='{"name": "Normalize", "mean": "1", "std": "2"}'),
    "a transform of null": put("__metadata__", "transform", value='{"name": "Normalize", "mean": null, "std": 1.0}'),
    "a transform of large numbers": put(
        "__metadata__", "transform", value='{"name": "Normalize", "mean": %s, "std": 1}' % ("9" * 400)
    ),
    "no slot": lambda head: head.pop("optimizer/0/exp_avg") and None,
    "a foreign slot": renamed("optimizer/0/exp_avg", "optimizer/0/momentum"),
    "no step": renamed("optimizer/0/step", "optimizer/0/steps"),
    "a slot of a parameter that is not there": renamed("optimizer/0/exp_avg", "optimizer/4/exp_avg"),
    "a number in another spelling": renamed("optimizer/0/exp_avg", "optimizer/00/exp_avg"),
    "a number that is none": renamed("optimizer/0/exp_avg", "optimizer/x/exp_avg"),
    "a state without a slot's name": renamed("optimizer/0/exp_avg", "optimizer/0"),
    "a shape of the state": put("optimizer/0/exp_avg", "shape", value=[20]),
    "a dtype of the state": put("optimizer/0/exp_avg", "dtype", value="I32"),
    "nine axes": put("0.weight", "shape", value=[4, 5, 1, 1, 1, 1, 1, 1, 1]),
    "a shape that overflows": put("0.weight", "shape", value=[2**62, 2**62, 4]),
    "an empty shape that overflows": put("0.weight", "shape", value=[0, 2**62, 2**62]),
    "a negative length": put("0.weight", "shape", value=[-4, -5]),
    "a length that is a float": put("0.weight", "shape", value=[4.0, 5]),
    "a length that is a bool": put("2.bias", "shape", value=[2, True]),
    "offsets that overlap": put("0.bias", "data_offsets", value=[0, 16]),
    "offsets of 30 digits": replaced('"data_offsets": [0,', '"data_offsets": [' + "9" * 30 + ","),
    "three offsets": put("0.bias", "data_offsets", value=[0, 0, 16]),
    "a dtype that is a list": put("0.bias", "dtype", value=["F32"]),
    "an entry that is a list": put("0.bias", value=[1, 2]),
    "an entry with more": put("0.bias", "more", value=1),
    "a name of 100 kB": renamed("0.bias", "x" * 100_000),
    "half a surrogate pair": replaced('"0.bias"', '"\\ud800"'),
    "a name twice": replaced('"0.bias"', '"0.weight"'),
    "a key twice": replaced('"dtype"', '"shape": [1], "dtype"'),
    "a constant that is no JSON": replaced("[4, 5]", "[Infinity, 5]"),
    "nested deeply": lambda head: '{"a":' * 100_000,
    "a list": lambda head: "[]",
    "a space first": lambda head: " " + json.dumps(head),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG)
def test_what_a_file_says_is_checked_before_anything_changes(tmp_path, edit):
    a, model, path = network(), network(), tmp_path / "m"
    source, optimizer = optim.Adam(a.parameters()), optim.Adam(model.parameters(), lr=0.5)
    trained(a, source, 2)
    trained(model, optimizer, 1)
    a.preprocessing = Normalize(0.0, 1.0)
    dl.save(a, path, optimizer=source)
    dl.load(network(), path)  # it is whole
    path.write_bytes(edited(path.read_bytes(), edit))
    before = bits(model), state_bits(optimizer)
    with pytest.raises(ValueError) as error:
        dl.load(model, path, optimizer)
    assert str(path) in str(error.value) and len(str(error.value)) < 1000
    assert (bits(model), state_bits(optimizer)) == before and model.preprocessing is None
    trained(model, optimizer, 1)  # and it trains on


def state_bits(optimizer):
    state = optimizer.state_dict()
    tensors = {(i, k): np.asarray(v).tobytes() for i, entry in state["state"].items() for k, v in entry.items()}
    return tensors, state["param_groups"], np.asarray(optimizer._settings).tobytes()


def test_bools_of_a_file_are_0_and_1(tmp_path):
    path = tmp_path / "m"
    a, b = np.array([0, 1, 2, 255], np.uint8), np.array([[1, 0], [2, 3]], np.uint8)
    dl.save({"a": a.view(bool), "b": b.view(bool).T}, path)
    read = dl.load_state(path)
    assert np.asarray(read["a"]).view(np.uint8).tolist() == [0, 1, 1, 1]
    assert np.asarray(read["b"]).view(np.uint8).tolist() == [[1, 1], [0, 1]]
    path.write_bytes(path.read_bytes()[:-1] + b"\2")
    with pytest.raises(ValueError, match="b is bool, and has bytes other than 0 and 1"):
        dl.load_state(path)


def test_a_model_that_cannot_be_written_to_is_refused(tmp_path):
    path = tmp_path / "m"
    dl.save(network(), path)
    model = network()
    fixed = np.zeros(2, np.float32)
    fixed.flags.writeable = False
    model[2].bias = nn.Parameter(from_numpy(fixed))
    other = network()
    other[0].bias = nn.Parameter(dl.ones(1).expand(4))
    for fixed_model, name in ((model, "2"), (other, "0")):
        before = bits(fixed_model)
        with pytest.raises(ValueError, match=rf"{name}\.bias: the model's tensor cannot be written to"):
            dl.load(fixed_model, path)
        assert bits(fixed_model) == before


def test_ctrl_c_waits_until_a_model_is_filled(tmp_path):
    class Pressed(nn.Linear):
        def load_state_dict(self, state, strict=True):
            signal.raise_signal(signal.SIGINT)
            return super().load_state_dict(state, strict)

    a, b = nn.Linear(3, 2), Pressed(3, 2)
    dl.save(a, tmp_path / "m")
    with pytest.raises(KeyboardInterrupt):
        dl.load(b, tmp_path / "m")
    assert bits(a) == bits(b)


def test_an_optimizer_whose_momentum_came_later_is_saved_whole(tmp_path):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    trained(model, optimizer, 1)
    optimizer.param_groups[0]["momentum"] = 0.9
    dl.save(model, tmp_path / "m", optimizer=optimizer)
    other = network()
    second = optim.SGD(other.parameters(), lr=0.5)
    dl.load(other, tmp_path / "m", second)
    assert trained(model, optimizer, 2) == trained(other, second, 2)


@pytest.mark.parametrize("rate", [np.float32(0.25), np.int64(2), Fraction(1, 4)])
def test_settings_of_other_number_types_are_saved(tmp_path, rate):
    model = network()
    dl.save(model, tmp_path / "m", optimizer=optim.SGD(model.parameters(), lr=rate))
    second = optim.SGD(model.parameters(), lr=1.0)
    dl.load(model, tmp_path / "m", second)
    assert second.lr == float(rate)


def test_settings_that_are_several_numbers_stay_tuples(tmp_path):
    model = network()
    dl.save(model, tmp_path / "m", optimizer=optim.Adam(model.parameters(), betas=(0.5, 0.75)))
    second = optim.Adam(model.parameters())
    dl.load(model, tmp_path / "m", second)
    assert second.param_groups[0]["betas"] == (0.5, 0.75)


# ---- the format -----------------------------------------------------------------------------------------------------


EVERYTHING = {
    "bool": np.array([True, False]), "uint8": np.arange(3, dtype=np.uint8), "int8": np.array(-3, np.int8),
    "int16": np.arange(6, dtype=np.int16).reshape(2, 3), "int32": np.arange(4, dtype=np.int32).reshape(1, 4, 1),
    "int64": np.array([2**62, -1]), "float16": np.ones((2, 0), np.float16), "float32": np.full((3, 3), 0.1, np.float32),
    "float64": np.array(np.pi), "": np.ones(1), "nul\0, line\n, \N{GREEK SMALL LETTER PI}": np.ones(2),
    "a/b": np.ones(3), "eight": np.ones((1,) * 8, np.float32),
}  # fmt: skip


def test_files_are_those_of_the_safetensors_library_both_ways(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    dl.save(EVERYTHING, ours, metadata={"note": "\N{GREEK SMALL LETTER PI}"})
    library.save_file(EVERYTHING, theirs, {"note": "x"})
    for read in (library.load_file(ours), dl.load_state(theirs)):
        assert set(read) == set(EVERYTHING)
        for name, value in EVERYTHING.items():
            found = np.asarray(read[name])
            assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes()), name
    assert dl.load_state(ours).metadata["note"] == "\N{GREEK SMALL LETTER PI}"
    assert dl.load_state(theirs).metadata == {"note": "x"}
    data = 8 + struct.unpack("<Q", ours.read_bytes()[:8])[0]
    head = json.loads(ours.read_bytes()[8:data])
    assert data % 8 == 0 and all(
        (data + head[n]["data_offsets"][0]) % v.itemsize == 0 for n, v in EVERYTHING.items()
    ), "each array is aligned"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4"),
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.array(2.5, ">f8"),
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::-1],
        np.lib.stride_tricks.as_strided(np.arange(3.0), (1000, 3), (0, 8)),
        np.arange(400_000.0).reshape(2, 200_000).T,
        np.arange(400_000.0).reshape(200_000, 2).T,
        np.arange(400_000.0)[::2],
    ],
    ids=["big-endian", "big-endian view", "big-endian 0-d", "reversed", "repeated", "long", "wide", "stepped"],
)
def test_arrays_are_saved_however_they_lie(tmp_path, array):
    dl.save({"a": array}, tmp_path / "m")
    np.testing.assert_array_equal(np.asarray(dl.load_state(tmp_path / "m")["a"]), array)


def test_names_of_a_foreign_file_are_kept(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    library.save_file({"optimizer/0/step": np.ones(1), "a": np.ones(2)}, tmp_path / "m")
    assert set(dl.load_state(tmp_path / "m")) == {"optimizer/0/step", "a"}


def test_saving_and_loading_take_no_memory_for_a_second_copy(tmp_path):
    program = """
import sys
import numpy as np
import dlcore as dl

def highest():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) >> 10

state = {"a": np.ones((64, 1 << 18), np.float32), "b": np.ones((1 << 18, 64), np.float32).T, "c": dl.ones(1 << 24)}
before = highest()
dl.save(state, sys.argv[1])
saved = highest()
read = dl.load_state(sys.argv[1])
print(saved - before, highest() - saved)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "m"], capture_output=True, text=True, check=True)
    saving, loading = map(int, done.stdout.split())
    assert saving < 16 and loading < 192 + 16, "MB beyond the 192 of the state"


def test_where_memory_is_short_a_model_is_saved_and_a_load_that_fails_leaves_it(tmp_path):
    program = """
import resource
import sys
import numpy as np
import dlcore as dl
from dlcore import nn

class Large(nn.Module):
    def __init__(self, value):
        self.weight = nn.Parameter(dl.full((1 << 24,), value))

first, second = Large(1.0), Large(2.0)
dl.save({"weight": np.zeros(1, np.float32)}, sys.argv[1])  # what is imported on the way has its memory
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), used + (16 << 20)))
dl.save(first, sys.argv[1])
try:
    dl.load(second, sys.argv[1])
except MemoryError:
    print("no memory", second.weight.min().item(), second.weight.max().item())
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "m"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("no memory 2.0 2.0\n", 0), done.stderr
    assert np.asarray(dl.load_state(tmp_path / "m")["weight"]).min() == 1.0


# ---- where they are written -----------------------------------------------------------------------------------------


def test_a_replaced_file_hands_on_its_mode(tmp_path):
    path = tmp_path / "m"
    dl.save(network(), path)
    path.chmod(0o640)
    dl.save(network(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    with replacing(path) as file:
        assert stat.S_IMODE(os.stat(file.name).st_mode) == 0o600, "nobody else may read it before it is whole either"
    old = os.umask(0o027)
    try:
        dl.save(network(), tmp_path / "new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_links_stay_links_and_a_circle_of_them_is_an_error(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real" / "first").symlink_to("second")
    (tmp_path / "real" / "second").symlink_to("../m")
    dl.save(network(), tmp_path / "folder" / "first")
    assert (tmp_path / "m").is_file() and (tmp_path / "real" / "second").is_symlink()
    dl.save({"a": np.ones(1)}, tmp_path / "folder" / "first")
    assert set(dl.load_state(tmp_path / "m")) == {"a"}
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="circle"):
        dl.save(network(), tmp_path / "circle")
    assert (tmp_path / "circle").is_symlink()


def test_what_is_no_file_is_written_straight(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    state = {"a": np.arange(100_000)}
    writer = threading.Thread(target=dl.save, args=(state, pipe))
    writer.start()
    read = dl.load_state(pipe)
    writer.join()
    assert np.asarray(read["a"]).sum() == np.arange(100_000).sum() and stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        dl.save(state, "/dev/full")
    dl.save(state, os.devnull)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        dl.save(state, tmp_path)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        dl.load_state(tmp_path)
    program = "import dlcore, numpy; dlcore.save({'a': numpy.arange(9)}, '/dev/stdout')"
    with open(tmp_path / "out", "w+b") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert np.asarray(dl.load_state(tmp_path / "out")["a"]).tolist() == list(range(9))


def test_what_killed_saves_have_left_is_removed_and_nothing_else(tmp_path):
    others = [".dlcore-1.tmp", ".m.tmp", "dlcore-0123456789abcdef.tmp", ".dlcore-0123456789abcdef.tmp2"]
    for name in (".dlcore-0123456789abcdef.tmp", *others):
        (tmp_path / name).write_bytes(b"half")
    with replacing(tmp_path / "slow") as file:  # a save that is not finished yet
        dl.save({"a": np.ones(1)}, tmp_path / "m")
        file.write(b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {"m", "slow", *others}
    assert (tmp_path / "slow").read_bytes() == b"whole"


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    dl.save({"a": np.ones(1)}, tmp_path / ("x" * 255))
    assert set(dl.load_state(tmp_path / ("x" * 255))) == {"a"}


@pytest.mark.parametrize("limit", [0, 7, 100, 4096, 5000])
def test_a_full_disk_leaves_the_old_file(tmp_path, limit):
    path = tmp_path / "m"
    dl.save({"a": np.zeros(1000)}, path)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            dl.save({"a": np.ones(1000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "m"
    dl.save({"a": np.zeros(1)}, path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, to whom nothing is protected
    with pytest.raises(PermissionError, match=str(path)):
        dl.save({"b": np.zeros(1)}, path)
    assert set(dl.load_state(path)) == {"a"}
