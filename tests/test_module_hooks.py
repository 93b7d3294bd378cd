"""Hooks on the calls of modules, eager, recorded and exported; modules and tensors by their names; casts by name."""

import copy

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.errors import CaptureError

RNG = np.random.default_rng(29)


def floats(*shape):
    return dl.tensor(RNG.standard_normal(shape).astype(np.float32))


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def doubled(module, args, output):
    return output * 2


def test_hooks_are_called_in_order_and_may_replace():
    layer, seen, x = nn.Linear(3, 2), [], floats(5, 3)
    layer.register_forward_pre_hook(lambda module, args: seen.append("second") or (args[0] + 1,))
    layer.register_forward_pre_hook(lambda module, args: seen.append("first") or args[0] * 3, prepend=True)
    layer.register_forward_hook(lambda module, args, output: seen.append(args[0].tolist()))
    layer.register_forward_hook(doubled)
    plain = copy.deepcopy(layer).forward
    assert layer(x).tolist() == (plain(x * 3 + 1) * 2).tolist()
    assert seen == ["first", "second", (x * 3 + 1).tolist()]
    assert layer.forward(x).tolist() == plain(x).tolist() and len(seen) == 3


def test_hooks_with_arguments_by_name():
    class Scaled(nn.Module):
        def forward(self, x, *, scale=1.0):
            return x * scale

    module, seen = Scaled(), []
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"scale": kwargs["scale"] + 1}), with_kwargs=True)
    module.register_forward_pre_hook(lambda m, args, kwargs: None, with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, output: seen.append(kwargs), with_kwargs=True)
    assert module(dl.ones(2), scale=2).tolist() == [3.0, 3.0] and seen == [{"scale": 3}]
    module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TypeError, match=r"with_kwargs returns None or \(args, kwargs\)"):
        module(dl.ones(2), scale=2)


def test_handles_take_hooks_away_and_copies_keep_theirs():
    model, x = network(), floats(5, 3)
    with model[0].register_forward_hook(doubled) as handle:
        same = copy.deepcopy(model)
        inside = model(x).tolist()
    handle.remove()
    assert model[0]._call_hooks is None and same(x).tolist() == inside != model(x).tolist()
    assert [name for name, _ in same.named_modules()] == ["", "0", "1", "2"]


def test_a_module_may_be_a_hook_and_is_no_part_of_the_model():
    class Watch(nn.Module):
        def forward(self, module, args, output):
            return output + 1

    model = nn.Linear(3, 2)
    model.register_forward_hook(Watch())
    assert len(list(model.modules())) == 1 and set(model.state_dict()) == {"weight", "bias"}
    x = floats(1, 3)
    assert model(x).tolist() == (model.forward(x) + 1).tolist()


def trained(recorded):
    """Losses and weights of a network whose hooks scale what a layer gets, gives, and its gradient."""
    dl.manual_seed(0)
    model, kept = network(), dl.zeros(4)
    model[0].register_forward_pre_hook(lambda module, args: args[0] * 0.5)

    @model[1].register_forward_hook
    def keep(module, args, output):
        kept.copy_(output.detach().mean(axis=0))

    @model[2].register_forward_hook
    def steepen(module, args, output):
        output.register_hook(lambda g: g * 3)

    model[2].register_forward_hook(doubled)
    x = np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32)
    history = dl.fit(model, (x, np.arange(64) % 2), loss="cross_entropy", optimizer=optim.Adam(model.parameters()),
                     batch_size=16, epochs=4, seed=0, record=recorded, progress=False)  # fmt: skip
    assert history.recorded is recorded, history.reason
    return history["loss"], [p.tolist() for p in model.parameters()], kept.tolist()


def test_recorded_steps_hold_what_hooks_compute():
    assert trained(True) == trained(False)


def test_hooks_that_come_and_go_make_another_recording():
    model = network()
    step = dl.capture(lambda x: model(x))
    with dl.no_grad():
        for hook, factor in ((None, 1), (doubled, 2), (None, 1), (lambda m, a, y: y * 5, 5)):
            handle = hook and model[2].register_forward_hook(hook)
            for _ in range(3):
                x = floats(5, 3)
                assert step(x).tolist() == (model[2].forward(model[1](model[0](x))) * factor).tolist()
            if handle:
                handle.remove()
    assert step.recordings >= 3, step.failure


def test_a_hook_that_keeps_what_it_sees_runs_eagerly():
    model, kept = network(), []
    model[1].register_forward_hook(lambda module, args, output: kept.append(output.detach().tolist()))
    x, y = np.ones((32, 3), np.float32), np.arange(32) % 2
    history = dl.fit(model, (x, y), loss="cross_entropy", optimizer="adam", batch_size=8, epochs=2, progress=False)
    assert not history.recorded and "test_module_hooks.py" in history.reason
    assert len(kept) == 8
    dl.predict(model, x)
    assert len(kept) > 8
    with pytest.raises(ValueError, match="depends on more than its input"):
        dl.export.onnx(model, "unused.onnx", x)


def test_wrong_hooks_are_refused():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="register_forward_hook: hook"):
        layer.register_forward_hook(3)
    with pytest.raises(TypeError, match="register_forward_pre_hook: prepend"):
        layer.register_forward_pre_hook(doubled, prepend="yes")

    @dl.capture
    def step(x):
        with layer.register_forward_hook(doubled):
            return layer(x)

    with dl.no_grad(), pytest.raises(CaptureError, match="cannot come or go inside a recorded step"):
        for _ in range(2):
            step(dl.ones(1, 2))


def test_hooks_see_images_with_the_channels_first():
    model, shapes = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)), []
    x = floats(2, 3, 8, 7)
    for layer in (model[0], model[1]):
        layer.register_forward_hook(lambda module, args, output: shapes.append((args[0].shape, output.shape)))
        layer.register_forward_hook(lambda module, args, output: output * dl.arange(4).reshape(4, 1, 1))
    wanted, seen = model(x), list(shapes)
    shapes.clear()
    np.testing.assert_allclose(nn.channels_last(model)(x), wanted, rtol=1e-5, atol=1e-5)
    assert shapes == seen == [((2, 3, 8, 7), (2, 4, 6, 5)), ((2, 4, 6, 5), (2, 4, 6, 5))]


def test_summary_and_functional_calls_go_through_hooks():
    model = network()
    model[0].register_forward_hook(lambda module, args, output: dl.concat([output, output], 1)[:, 2:6])
    model[2].register_forward_hook(lambda module, args, output: output[:, :1])
    assert dl.summary(model, (7, 3)).rows[0].outputs == ((7, 1),)
    params = {name: p * 0 + 1 for name, p in model.named_parameters()}
    assert dl.func.functional_call(model, params, dl.ones(1, 3)).tolist() == [[17.0]]


class Block(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(3, 4), nn.Sequential({"in.side": nn.ReLU()})]
        self.named = {"scale": nn.Parameter(dl.ones(3))}
        self.register_buffer("mean", dl.zeros(3))
        self.again = self.layers[0]


def test_parts_are_found_by_their_names():
    block = Block()
    assert block.get_submodule("") is block and block.get_submodule("layers.0") is block.get_submodule("again")
    assert isinstance(block.get_submodule("layers.1.in.side"), nn.ReLU)
    assert all(block.get_parameter(name) is p for name, p in block.named_parameters())
    assert block.get_parameter("again.weight") is block.layers[0].weight
    assert block.get_buffer("mean") is block.mean


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda b: b.get_submodule("layers.7"), "get_submodule: Block has no 'layers.7'"),
        (lambda b: b.get_submodule("layers"), "get_submodule: Block has no 'layers'"),
        (lambda b: b.get_submodule("mean"), "as 'mean', which is no module"),
        (lambda b: b.get_parameter("layers.0"), "as 'layers.0', which is no parameter"),
        (lambda b: b.get_parameter("again_weight"), "get_parameter: Block has no 'again_weight'"),
        (lambda b: b.get_parameter("mean"), "as 'mean', which is no parameter"),
        (lambda b: b.get_buffer("named.scale"), "get_buffer: Block has 'named.scale', which is no buffer"),
    ],
)
def test_names_that_are_not_there(call, text):
    with pytest.raises(AttributeError, match=text):
        call(Block())


@pytest.mark.parametrize("name", ["half", "bfloat16", "float", "double"])
def test_casts_by_name(name):
    block = Block()
    weight = block.layers[0].weight
    assert getattr(block, name)() is block
    wanted = {"half": dl.float16, "float": dl.float32, "double": dl.float64}.get(name, dl.bfloat16)
    assert {t.dtype for t in [*block.parameters(), *block.buffers()]} == {wanted}
    assert block.layers[0].weight is weight
