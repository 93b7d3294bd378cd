"""Modules: what is found in them, their state, their modes; layers against NumPy."""

import copy
import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.errors import DTypeError, ShapeError
from dlcore.kernels.common import activations
from dlcore.ops import _activations
from dlcore.ops.matmul import linear, linear_backward

RNG = np.random.default_rng(3)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Block(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter(dl.ones(3))
        self.register_buffer("mean", dl.zeros(3))
        self.register_buffer("scratch", dl.zeros(1), persistent=False)
        self.layers = [nn.Linear(3, 4), nn.Linear(4, 3)]
        self.named = {"head": nn.Linear(3, 2, bias=False)}
        self.width = 3

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.named["head"](x * self.scale + self.mean)


def test_parameters_are_found_in_attributes_lists_and_dicts_in_order():
    block = Block()
    names = [name for name, _ in block.named_parameters()]
    assert names == [
        "scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "named.head.weight",
    ]  # fmt: skip
    assert [name for name, _ in block.named_buffers()] == ["mean", "scratch"]
    assert [name for name, _ in block.named_modules()] == ["", "layers.0", "layers.1", "named.head"]
    assert "scratch" not in block.state_dict() and "mean" in block.state_dict()
    assert all(p.requires_grad for p in block.parameters())
    assert block(dl.tensor(floats(5, 3))).shape == (5, 2)


def test_shared_parameters_count_once_and_are_saved_under_both_names():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second, first)
    assert len(list(model.parameters())) == 3
    assert set(model.state_dict()) == {f"{i}.{n}" for i in range(3) for n in ("weight", "bias")}


def test_train_and_eval_reach_every_module():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    x = dl.ones(4, 5)
    model.eval()
    assert not any(m.training for m in model.modules())
    np.testing.assert_array_equal(np.asarray(model(x)), 1)
    model.train()
    assert all(m.training for m in model.modules())
    assert set(np.unique(np.asarray(model(x)))) <= {0.0, 4.0}


def test_requires_grad_and_zero_grad():
    layer = nn.Linear(2, 2).requires_grad_(False)
    assert not any(p.requires_grad for p in layer.parameters())
    layer.requires_grad_()
    layer(dl.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(np.asarray(layer.weight.grad), 0)
    layer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


def test_apply_visits_children_first():
    seen = []
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


def test_repr_is_a_tree():
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(2, 3), nn.GELU("tanh")))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Flatten(start_dim=1, end_dim=-1)\n"
        "  (1): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): GELU(approximate='tanh')\n"
        "  )\n"
        ")"
    )


def test_load_state_dict_copies_values_into_the_same_parameters():
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    weight = b.weight
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert b.weight is weight
    np.testing.assert_array_equal(np.asarray(a.weight.detach()), np.asarray(b.weight.detach()))
    a.load_state_dict({"weight": floats(2, 3)}, strict=False)
    assert a.load_state_dict({"other": floats(1)}, strict=False) == (["weight", "bias"], ["other"])


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"weight": np.zeros((2, 3), np.float32)}, "missing: bias"),
        ({"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32), "x": 1}, "unexpected: x"),
        ({"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)}, "weight: shape (3, 2)"),
        ({"weight": np.zeros((2, 3), int), "bias": np.zeros(2)}, "weight: dtype int64, the model has float32"),
        (
            {"weight": np.array([[1, -1e39, np.inf], [1e38, 2e39, np.nan]]), "bias": np.zeros(2)},
            "weight: 2 of its numbers in float64 are beyond float32, the model's dtype",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(state, text):
    layer = nn.Linear(3, 2)
    before = {k: np.asarray(v).copy() for k, v in layer.state_dict().items()}
    with pytest.raises(ValueError, match="load_state_dict: the state does not fit this Linear") as error:
        layer.load_state_dict(state)
    assert text in str(error.value)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(np.asarray(value), before[name])


def test_load_state_dict_converts_numbers_of_the_same_kind():
    layer = nn.BatchNorm1d(3).to(dl.float16)
    state = {k: np.asarray(v.detach()) for k, v in nn.BatchNorm1d(3).state_dict().items()}
    state |= {"weight": np.array([1 / 3, np.inf, np.nan]), "num_batches_tracked": np.array(7, np.uint8)}
    layer.load_state_dict(state)
    assert [v.dtype.name for v in layer.state_dict().values()] == ["float16"] * 4 + ["int64"]
    np.testing.assert_array_equal(np.asarray(layer.weight.detach()), state["weight"].astype(np.float16))
    assert layer.num_batches_tracked.item() == 7
    layer.num_batches_tracked = dl.tensor(1, dtype=dl.int8)
    with pytest.raises(ValueError, match="num_batches_tracked: 1 of its numbers in int64 are beyond int8"):
        layer.load_state_dict({**state, "num_batches_tracked": np.array(300)})
    assert layer.num_batches_tracked.item() == 1


def test_to_changes_floating_tensors_and_keeps_sharing():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.register_buffer("count", dl.zeros(1, dtype=dl.int64))
    model.to(dl.float64)
    assert model[0].weight.dtype is dl.float64 and model[1].weight is model[0].weight
    assert isinstance(model[0].weight, nn.Parameter) and model[0].weight.requires_grad
    with pytest.raises(TypeError, match="floating-point dtype"):
        model.to(dl.int32)
    same = model[0].weight
    assert model.to("cpu")[0].weight is same


def test_linear_is_x_times_weight_plus_bias_and_starts_in_bounds():
    dl.manual_seed(1)
    layer = nn.Linear(50, 40)
    x = floats(7, 50)
    weight, bias = (np.asarray(p.detach(), np.float64) for p in (layer.weight, layer.bias))
    np.testing.assert_allclose(np.asarray(layer(dl.tensor(x)).detach()), x @ weight.T + bias, rtol=1e-5, atol=1e-5)
    bound = 1 / math.sqrt(50)
    assert np.abs(weight).max() <= bound and np.abs(bias).max() <= bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    with pytest.raises(ValueError, match="Linear: out_features is -1; it must be at least 0"):
        nn.Linear(3, -1)


def test_the_same_seed_gives_the_same_weights():
    weights = []
    for seed in (5, 5, 6):
        dl.manual_seed(seed)
        weights.append(np.asarray(nn.Linear(8, 8).weight.detach()).copy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


ACTIVATIONS = [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh")]


@pytest.mark.smoke
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_linear_with_an_activation_has_the_bits_of_both(activation):
    layer, name = nn.Linear(33, 17), repr(activation).partition("(")[0].lower()
    name += "_tanh" if getattr(activation, "approximate", "none") == "tanh" else ""
    x = dl.tensor(floats(9, 33))
    results = []
    for run in (lambda x: linear(x, layer.weight, layer.bias, name), lambda x: activation(layer(x))):
        for p in layer.parameters():
            p.grad = None
        out = run(x)
        out.sum().backward()
        results.append([np.asarray(t.detach()).copy() for t in (out, layer.weight.grad, layer.bias.grad)])
    for fused, apart in zip(*results, strict=True):
        np.testing.assert_array_equal(fused, apart)


@pytest.mark.smoke
@pytest.mark.parametrize("name", _activations.ACTIVATIONS)
@pytest.mark.parametrize("dtype", [dl.float32, dl.bfloat16], ids=lambda d: d.name)
def test_kernels_apply_the_activation_of_that_name(name, dtype):
    """The three lists of activations, in Python, C++ and Triton, are one: a code means the same function in all."""
    activation = _activations.ACTIVATIONS[name]
    x, dout = (dl.tensor(floats(40, 24), dtype=dtype) for _ in range(2))
    one = dl.tensor(np.eye(24), dtype=dtype)
    out = linear(x, one, None, name)
    np.testing.assert_array_equal(np.asarray(out), np.asarray(activation(x)))
    residual = out if activation.kept == "out" else x
    dx, _, _ = linear_backward(dout, x, one, residual, name)
    np.testing.assert_array_equal(np.asarray(dx), np.asarray(activation.backward(dout, residual)))
    assert tuple(activations.ACTIVATIONS) == tuple(_activations.ACTIVATIONS)


def test_sequential_is_a_sequence():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).append(nn.Linear(3, 1))
    assert len(model) == 3 and [type(m) for m in model] == [nn.Linear, nn.ReLU, nn.Linear]
    assert model[-1].out_features == 1 and len(model[:2]) == 2
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    named = nn.Sequential({"first": nn.Linear(2, 2), "act": nn.ReLU()})
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    with pytest.raises(TypeError, match="Sequential: layer 1 a builtin_function_or_method is not a Module"):
        nn.Sequential(nn.ReLU(), abs)
    np.testing.assert_array_equal(np.asarray(nn.Sequential()(dl.ones(2))), 1)


def test_layers_without_parameters():
    x = floats(4, 2, 3)
    t = dl.tensor(x)
    assert nn.Flatten()(t).shape == (4, 6) and nn.Flatten(0)(t).shape == (24,)
    assert nn.Identity(3, anything=1)(t) is t
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(np.asarray(nn.Softmax(1)(t)), e / e.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(
        np.asarray(nn.LogSoftmax(1)(t)), np.log(e / e.sum(1, keepdims=True)), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="p is a probability"):
        nn.Dropout(1.5)
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("quick")


def test_losses_are_the_functions():
    logits, target = dl.tensor(floats(6, 3)), dl.tensor(RNG.integers(0, 3, 6))
    weight = dl.tensor(np.array([1, 2, 3], np.float32))
    loss = nn.CrossEntropyLoss(weight, label_smoothing=0.1, reduction="sum")
    expected = dl.cross_entropy(logits, target, weight, label_smoothing=0.1, reduction="sum")
    assert float(loss(logits, target)) == float(expected)
    assert list(loss.state_dict()) == ["weight"]
    assert float(nn.MSELoss()(logits, logits + 2.0)) == pytest.approx(4.0)


def test_initialisers():
    dl.manual_seed(0)
    w = dl.empty((300, 200))
    nn.init.kaiming_normal_(w, nonlinearity="relu")
    assert np.asarray(w).std() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu")
    assert np.abs(np.asarray(w)).max() == pytest.approx(math.sqrt(6 / 300), rel=0.01)
    nn.init.xavier_uniform_(w)
    assert np.abs(np.asarray(w)).max() == pytest.approx(math.sqrt(6 / 500), rel=0.01)
    nn.init.xavier_normal_(w, gain=2)
    assert np.asarray(w).std() == pytest.approx(2 * math.sqrt(2 / 500), rel=0.02)
    parameter = nn.Parameter(dl.empty(3))
    assert nn.init.zeros_(parameter) is parameter and not np.asarray(parameter.detach()).any()
    np.testing.assert_array_equal(np.asarray(nn.init.ones_(parameter).detach()), 1)
    with pytest.raises(dl.ShapeError, match="xavier_uniform_: a weight has at least 2 axes"):
        nn.init.xavier_uniform_(dl.empty(3))
    with pytest.raises(ValueError, match="not one of 'linear'"):
        nn.init.calculate_gain("swish")


def test_register_buffer_refuses_names_in_use():
    layer = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="already has an attribute 'weight'"):
        layer.register_buffer("weight", dl.zeros(1))
    with pytest.raises(ValueError, match="not a name"):
        layer.register_buffer("a.b", dl.zeros(1))


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Empty: forward is not written"):
        type("Empty", (nn.Module,), {})()(1)


def test_preprocessing_is_no_part_of_the_model():
    model = nn.Sequential(nn.Linear(3, 2))
    names, text, x = list(model.state_dict()), repr(model), dl.ones(1, 3)
    assert model.preprocessing is None
    model.preprocessing = nn.Linear(3, 3)
    assert list(model.state_dict()) == names and repr(model) == text and len(list(model.modules())) == 2
    step = dl.capture(lambda x: model(x))
    expected = step(x).tolist()
    for k in range(3):
        model.preprocessing = nn.Linear(3, 3)
        assert step(x).tolist() == expected, k
    assert step.recordings == 1
    layer = nn.Linear(3, 2)
    model.append(layer)
    layer.preprocessing = model  # below the model and above it: no circle, for it is in no list of members
    assert len(list(model.modules())) == 3


# ---- never silently wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [dl.ones(2, 4), np.ones((2, 4)), 1.0, [1.0], "x"], ids=["tensor", "array", "number", "list", "text"]
)
def test_only_a_parameter_takes_the_place_of_one(value):
    model = nn.Linear(4, 2)
    before = model.weight
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter, which a \w+ would take out of training"):
        model.weight = value
    assert model.weight is before and len(list(model.parameters())) == 2
    model.weight = nn.Parameter(dl.ones(2, 4))
    model.bias = None
    assert [name for name, _ in model.named_parameters()] == ["weight"]
    del model.weight
    model.weight = value


def test_only_a_tensor_takes_the_place_of_a_buffer():
    model = nn.Module()
    model.register_buffer("mean", dl.zeros(2))
    with pytest.raises(TypeError, match=r"Module\.mean is a buffer: a Tensor or None is taken, not a float"):
        model.mean = 1.0
    model.mean = dl.ones(2)
    assert [name for name, _ in model.named_buffers()] == ["mean"]


def test_parameters_stay_themselves_when_a_model_is_cast():
    model = nn.Linear(3, 2)
    before, values = dict(model.named_parameters()), model.weight.numpy().astype(np.float64)
    model(dl.ones(1, 3)).sum().backward()
    seen, alias = model.weight.numpy(), model.weight.detach()
    assert model.to(dl.float64) is model
    assert all(p is before[name] and p.dtype is dl.float64 for name, p in model.named_parameters())
    assert model.weight.grad.dtype is dl.float64 and model.weight.grad.tolist() == [[1, 1, 1]] * 2
    np.testing.assert_array_equal(model.weight.numpy(), values)
    assert seen.dtype == alias.numpy().dtype == np.float32  # what shared the memory keeps it
    np.testing.assert_array_equal(seen, values)
    model.to(dl.float32)
    assert model.weight.requires_grad and model.weight.is_leaf


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.1)])
@pytest.mark.parametrize("before", [0, 2])
def test_a_loop_goes_on_after_a_cast(make, before):
    x = dl.tensor(np.linspace(-1, 1, 8).reshape(8, 1))

    def train(model, optimizer, steps, dtype):
        for _ in range(steps):
            loss = dl.mse_loss(model(x.astype(dtype)), 2 * x.astype(dtype))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    models = [nn.Linear(1, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [make(model.parameters()) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer, before, "float32")
    models[0].to(dl.float64)
    for model, optimizer, dtype in zip(models, optimizers, ("float64", "float32"), strict=True):
        train(model, optimizer, 5, dtype)
    assert models[0].weight.dtype is dl.float64
    for name in ("weight", "bias"):
        p, expected = getattr(models[0], name), getattr(models[1], name)
        np.testing.assert_allclose(p.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)
    state = optimizers[0].state_dict()["state"][0]
    assert all(t.dtype is dl.float64 for slot, t in state.items() if slot != "step")


def test_a_graph_of_the_old_dtype_is_refused():
    model = nn.Linear(2, 1)
    loss = model(dl.ones(1, 2)).sum()
    model.to(dl.float64)
    with pytest.raises(dl.AutogradError, match=r"changed in place|moved or cast"):
        loss.backward()
    assert model.weight.grad is None


def test_a_recorded_step_follows_a_cast():
    model = nn.Linear(2, 1)
    step = dl.capture(lambda x: model(x))
    x = dl.ones(1, 2)
    for _ in range(3):
        step(x)
    model.to(dl.float64)
    with dl.no_grad():
        model.weight.copy_(1.0)
        model.bias.copy_(0.5)
    for _ in range(3):
        assert step(x.astype(dl.float64)).item() == 2.5
    model.to(dl.float32)
    with dl.no_grad():
        model.weight.copy_(2.0)
    assert [step(x).item() for _ in range(3)] == [4.5] * 3


def test_a_cast_that_cannot_be_done_changes_nothing():
    model = nn.Linear(2, 1)
    model.extra = (dl.ones(2), 3)
    with pytest.raises(TypeError, match=r"Module\.to: extra\.0 is in a tuple, which cannot be changed"):
        model.to(dl.float64)
    assert model.weight.dtype is dl.float32


class Child(nn.Module):
    def __init__(self, parent):
        self.parent = parent
        self.w = nn.Parameter(dl.ones(1))

    def forward(self, x):
        return x * self.w


class Parent(nn.Module):
    def __init__(self):
        self.child = Child(self)
        self.again = self.child
        self.v = nn.Parameter(dl.ones(2))

    def forward(self, x):
        return self.child(x) * self.v


def test_a_module_that_refers_to_its_parent():
    model = Parent()
    assert [name for name, _ in model.named_modules()] == ["", "child"]
    assert [name for name, _ in model.named_parameters()] == ["v", "child.w"]
    assert list(model.state_dict()) == ["v", "child.w", "again.w"]
    model.load_state_dict(model.state_dict())
    assert "(parent): ..." in repr(model)
    called = []
    model.apply(called.append)
    assert called == [model.child, model]
    assert not model.eval().child.training
    model.to(dl.float64).requires_grad_(False).zero_grad()
    assert model.child.w.dtype is dl.float64 and not model.child.w.requires_grad
    model.requires_grad_()
    step = dl.capture(lambda x: model(x))
    assert [step(dl.ones(2, dtype="float64")).tolist() for _ in range(3)] == [[1, 1]] * 3
    x = np.ones((4, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    assert len(dl.fit(model, (x, 2 * x), loss=dl.mse_loss, optimizer=optimizer, epochs=2)) == 2
    assert dl.predict(model.child, x).shape == (4, 2)


def test_containers_of_pytorch_hold_modules_and_parameters():
    class Heads(nn.Module):
        def __init__(self):
            self.heads = nn.ModuleDict({"mean": nn.Linear(2, 1), "spread": nn.Linear(2, 1)})
            self.scales = nn.ParameterList([nn.Parameter(dl.ones(1)), nn.Parameter(dl.ones(1))])
            self.shifts = nn.ParameterDict(a=nn.Parameter(dl.zeros(1)))
            self.mode = "mean"

        def forward(self, x):
            return self.heads[self.mode](x) * self.scales[0] * self.scales[1] + self.shifts["a"]

    model = Heads()
    assert set(model.state_dict()) == {
        "heads.mean.weight", "heads.mean.bias", "heads.spread.weight", "heads.spread.bias", "scales.0", "scales.1",
        "shifts.a",
    }  # fmt: skip
    step, x = dl.capture(lambda x: model(x)), dl.randn(3, 2)
    with dl.no_grad():
        for mode in ("mean", "mean", "mean", "spread", "spread"):
            model.mode = mode
            assert step(x).tolist() == model(x).tolist()
        model.heads["spread"] = nn.Linear(2, 1)
        assert step(x).tolist() == model(x).tolist()
    twin = copy.deepcopy(model)
    assert twin.heads["mean"].weight is not model.heads["mean"].weight and type(twin.heads) is nn.ModuleDict


def test_parameters_as_one_vector_and_back():
    model, other = Block(), Block()
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.tolist() == np.concatenate([np.asarray(p.detach()).ravel() for p in model.parameters()]).tolist()
    (vector * dl.arange(vector.size)).sum().backward()
    at = 0
    for p in model.parameters():
        assert p.grad.reshape(-1).tolist() == list(range(at, at + p.size))
        at += p.size
    before = list(other.parameters())
    nn.utils.vector_to_parameters(vector, other.parameters())
    assert all(p is q for p, q in zip(before, other.parameters(), strict=True))
    assert nn.utils.parameters_to_vector(other.parameters()).tolist() == vector.tolist()
    vector.detach().zero_()
    assert other.scale.tolist() == [1.0, 1.0, 1.0]


def test_recorded_steps_write_a_vector_into_parameters():
    layer = nn.Linear(2, 1)
    step = dl.capture(lambda v, x: (nn.utils.vector_to_parameters(v, layer.parameters()), layer(x))[1])
    with dl.no_grad():
        for k in range(4):
            assert step(dl.full((3,), float(k)), dl.ones(1, 2)).tolist() == [[3.0 * k]]
    assert step.recordings == 1, step.failure
    layer.to(dl.float64)
    nn.utils.vector_to_parameters(dl.full((3,), 0.5), layer.parameters())
    assert layer.weight.dtype is dl.float64 and layer.bias.tolist() == [0.5]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda ps: nn.utils.vector_to_parameters(dl.zeros(4), ps), ShapeError, r"shape \(4,\), not \(3,\)"),
        (lambda ps: nn.utils.vector_to_parameters(dl.zeros(3, 1), ps), ShapeError, r"shape \(3, 1\), not \(3,\)"),
        (lambda ps: nn.utils.vector_to_parameters(dl.arange(3), ps), DTypeError, "vec is of dtype int64"),
        (lambda ps: nn.utils.parameters_to_vector([]), ValueError, "there are no parameters"),
        (lambda ps: nn.utils.parameters_to_vector([*ps, 1.0]), TypeError, "parameters_to_vector: parameter 2"),
        (lambda ps: nn.utils.parameters_to_vector(3), TypeError, "parameters_to_vector: parameters"),
    ],
)
def test_vectors_that_do_not_fit(call, error, text):
    layer = nn.Linear(2, 1)
    before = [p.tolist() for p in layer.parameters()]
    with pytest.raises(error, match=text):
        call(layer.parameters())
    assert [p.tolist() for p in layer.parameters()] == before
