"""Models that files make again: what is described, what is built, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn
from dlcore.data import Normalize
from dlcore.nn.architecture import build, describe


@dataclasses.dataclass
class Config:
    widths: tuple = (6, 5, 3)
    activation: object = dl.tanh
    layer: type = nn.Linear
    rate: float = 0.5


class Net(nn.Module):
    def __init__(self, config, gain=1.0, *, names=None, scale=None):
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = [config.layer(a, b) for a, b in pairs]
        self.activation, self.gain, self.names = config.activation, gain, names
        self.register_buffer("scale", None if scale is None else dl.tensor(scale))

    def forward(self, x):
        for layer in self.layers:
            x = self.activation(layer(x))
        return x * self.gain if self.scale is None else x * self.scale


def models():
    yield nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), nn.GELU("tanh"), nn.Dropout(0.2), nn.Linear(4, 3))
    yield nn.Sequential({"first": nn.Linear(6, 4), "then": nn.Sequential(nn.ReLU(), nn.Softmax(dim=1))})
    yield Net(Config())
    yield Net(Config((6, 2), dl.relu, rate=float("inf")), 2.5, names={"a": [1, (2, None)]}, scale=np.arange(2.0))
    yield nn.Linear(6, 3, dtype="float64")
    yield nn.Linear(6, 3).to(dl.bfloat16)


@pytest.mark.parametrize("number", range(6))
def test_a_file_makes_the_model_again(number, tmp_path):
    model = list(models())[number].eval()
    model.preprocessing = Normalize(1.0, 2.0)
    dl.save(model, tmp_path / "m")
    before = dl.random.generator_states()
    again = dl.load(tmp_path / "m").eval()
    assert {k: v.tolist() for k, v in before.items()} == {
        k: v.tolist() for k, v in dl.random.generator_states().items()
    }, "no random numbers are used up"
    assert repr(again) == repr(model)
    assert again.preprocessing.mean == 1.0
    x = dl.randn(5, 6).astype(next(iter(model.parameters())).dtype)
    assert again(x).tolist() == model(x).tolist()
    assert all(v.tolist() == again.state_dict()[k].tolist() for k, v in model.state_dict().items())


def test_what_was_changed_since_is_kept(tmp_path):
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.2), nn.Linear(4, 3))
    model[1].p = 0.7
    model[2] = nn.Linear(4, 9)
    model.append(nn.Tanh())
    dl.save(model, tmp_path / "m")
    assert repr(dl.load(tmp_path / "m")) == repr(model)


def test_a_model_that_was_changed_past_its_arguments_says_so(tmp_path):
    model = Net(Config())
    model.layers.append(nn.Linear(3, 2))
    dl.save(model, tmp_path / "m")
    with pytest.raises(ValueError, match=r"load: .*load_state_dict: the state does not fit this Net: unexpected"):
        dl.load(tmp_path / "m")
    other = Net(Config())
    other.layers.append(nn.Linear(3, 2))
    assert dl.load(other, tmp_path / "m") is other


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Net(Config(activation=lambda x: x)), "argument 0 of Net.activation is a function"),
        (lambda: Net(Config(), names=np.zeros(5000)), "too large for an argument"),
        (lambda: type("In", (nn.Module,), {"__qualname__": "f.<locals>.In"})(), "which no other program can name"),
    ],
)
def test_what_has_no_description_is_saved_without_one(model, reason, tmp_path):
    model = model()
    text, why = describe(model)
    assert text is None
    assert reason in why
    dl.save(model, tmp_path / "m")
    with pytest.raises(ValueError, match="tells no architecture: make the model and use load"):
        dl.load(tmp_path / "m")
    assert set(dl.load_state(tmp_path / "m")) == set(model.state_dict())


def test_classes_that_are_not_here_are_refused_or_given(tmp_path):
    program = """
import sys
import dlcore as dl
from dlcore import nn

class Twice(nn.Module):
    def __init__(self, width):
        self.inner = nn.Linear(width, width)
    def forward(self, x):
        return 2 * self.inner(x)

if sys.argv[1] == "save":
    dl.save(nn.Sequential(Twice(3)), sys.argv[2])
else:
    print(dl.load(sys.argv[2])(dl.ones(1, 3)).shape)
"""
    path = tmp_path / "m"
    subprocess.run([sys.executable, "-c", program, "save", path], check=True)
    assert "(1, 3)" in subprocess.run([sys.executable, "-c", program, "load", path], check=True, capture_output=True,
                                      text=True).stdout  # fmt: skip
    with pytest.raises(ValueError, match=r"__main__:Twice, which this program has not imported.*classes=\[Twice\]"):
        dl.load(path)

    class Twice(nn.Module):
        def __init__(self, width):
            self.inner = nn.Linear(width, width)

    assert isinstance(dl.load(path, classes=[Twice])[0], Twice)
    with pytest.raises(TypeError, match="load: classes: 5 is no class of modules"):
        dl.load(path, classes=[5])


BAD = [
    {"module": "os:system", "args": ["touch here"], "kwargs": {}},
    {"module": "subprocess:Popen", "args": [["touch", "here"]], "kwargs": {}},
    {"module": "builtins:eval", "args": ["1"], "kwargs": {}},
    {"module": "dlcore.nn.layers:Linear", "args": ["6", 4], "kwargs": {}},
    {"module": "dlcore.nn.layers:Linear", "args": [6, 4], "kwargs": {"wrong": 1}},
    {"module": "dlcore.nn.layers:Linear", "args": [10**9, 10**9], "kwargs": {}},
    {"module": "dlcore.nn.layers:Linear", "args": [6], "kwargs": {}},
    {"module": "dlcore.nn.layers:Linear"},
    {"module": 5, "args": [], "kwargs": {}},
    {"module": "dlcore.nn.layers:Sequential", "args": [{"function": "save"}], "kwargs": {}},
    {"module": "dlcore.nn.layers:Sequential", "args": [{"function": "__import__"}], "kwargs": {}},
    {"module": "dlcore.nn.layers:Sequential", "args": [{"class": "os:PathLike"}], "kwargs": {}},
    {"module": "dlcore.nn.layers:Linear.__init__.__globals__", "args": [], "kwargs": {}},
    {"data": "dlcore.nn.layers:Linear", "fields": {}},
    {"array": [1], "shape": [2], "of": "float32"},
    {"tuple": 5}, {"float": "x"}, {"dtype": "complex64"}, {"what": 1}, {}, [], 5, None, "text",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[json.dumps(b)[:40] for b in BAD])
def test_an_architecture_that_is_none_is_refused(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        build(json.dumps(bad))
    assert not list(tmp_path.iterdir())


def test_nothing_is_imported():
    text = json.dumps({"module": "antigravity:Fly", "args": [], "kwargs": {}})
    with pytest.raises(ValueError, match="antigravity:Fly, which this program has not imported"):
        build(text)
    assert "antigravity" not in sys.modules
    deep = '{"tuple": [' * 5000 + "1" + "]}" * 5000
    with pytest.raises(ValueError, match="nested too deeply"):
        build(deep)


def test_modules_made_in_a_recorded_step():
    step = dl.capture(lambda x: nn.Softmax(dim=1)(x))
    assert [step(dl.ones(1, 4)).tolist() for _ in range(3)] == [[[0.25] * 4]] * 3

    class Own(nn.Module):
        def __init__(self, k):
            self.k = k

        def forward(self, x):
            return x * self.k

    step = dl.capture(lambda x: Own(3.0)(x))
    assert [step(dl.ones(1)).tolist() for _ in range(3)] == [[3.0]] * 3
    assert step.recorded


class Inverse(nn.Module):
    """Keeps under an argument's name what is not the argument."""

    def __init__(self, gain, offset=None, table=None):
        self.gain, self.offset, self.table = 1 / gain, offset, table

    def forward(self, x):
        return x * self.gain


def test_an_attribute_is_not_taken_for_the_argument_of_its_name(tmp_path):
    model = nn.Sequential(Inverse(4.0), Inverse(2.0), nn.Dropout())
    model[1].gain, model[1].offset, model[2].p = 3.0, 7, 0.9
    dl.save(model, tmp_path / "m")
    again = dl.load(tmp_path / "m")
    assert (again[0].gain, again[1].gain, again[1].offset, again[2].p) == (0.25, 3.0, 7, 0.9)


def test_arrays_that_are_not_finite_are_arguments_too(tmp_path):
    table = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    for given in (table, dl.tensor(table)):
        dl.save(Inverse(1.0, table=given), tmp_path / "m")
        np.testing.assert_array_equal(np.asarray(dl.load(tmp_path / "m").table), table)


def tied():
    layer = nn.Linear(4, 4)
    yield nn.Sequential(layer, nn.ReLU(), layer)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    model[1][0].weight = model[0].weight
    yield model
    norm = nn.BatchNorm1d(4) if hasattr(nn, "BatchNorm1d") else nn.Linear(4, 4)
    yield nn.Sequential({"a": norm, "b": nn.Linear(4, 4), "c": norm})


@pytest.mark.parametrize("number", range(3))
def test_tensors_that_are_shared_are_so_in_the_loaded_model(number, tmp_path):
    model = list(tied())[number]
    dl.save(model, tmp_path / "m")
    again = dl.load(tmp_path / "m")
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in model.named_parameters()]
    data = np.eye(4, dtype=np.float32), np.ones((4, 4), np.float32)
    for one in (model, again):
        dl.fit(one, data, loss="mse", optimizer="sgd", epochs=3, seed=0)
    assert all(v.tolist() == again.state_dict()[k].tolist() for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"shared": [["weight", "bias"]]}, "shares weight and bias, which do not fit"),
        ({"shared": [["weight", "none"]]}, "shares weight and none, which do not fit"),
        ({"shared": [5]}, "shared"),
        ({"attributes": {"in_features": "6"}}, "the attribute in_features = '6' for 6"),
        ({"attributes": {"in_features": [1]}}, r"the attribute in_features = \[1\] for 6"),
    ],
)
def test_what_is_shared_and_set_has_to_fit(extra, text):
    with pytest.raises(ValueError, match=text):
        build(json.dumps({"module": "dlcore.nn.layers:Linear", "args": [6, 4], "kwargs": {}, **extra}))


def test_only_attributes_that_are_there_are_set():
    extra = {"attributes": {"forward": "x", "__class__": "x", "weight": 1}}
    model = build(json.dumps({"module": "dlcore.nn.layers:Linear", "args": [6, 4], "kwargs": {}, **extra}))
    assert "forward" not in vars(model)
    assert model.weight.shape == (4, 6)


def test_parameters_that_are_not_trained_stay_so(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.requires_grad = False
    dl.save(model, tmp_path / "m")
    again = dl.load(tmp_path / "m")
    assert [p.requires_grad for p in again.parameters()] == [False, True, True, True]
