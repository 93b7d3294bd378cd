"""Captured functions: their gradients, results, arguments and methods, and how many recordings there are."""

import asyncio
import collections
import contextlib
import copy
import dataclasses
import gc
import inspect
import os
import pickle
import signal
import threading
import time
import warnings
import weakref

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C, AutogradError, CaptureError, nn, optim


def parameter(*values):
    return nn.Parameter(dl.tensor(list(values)))


def refused(step, *args, match, calls=3):
    with pytest.raises(CaptureError, match=match):
        for _ in range(calls):
            step(*args)


# ---- gradients ----------------------------------------------------------------------------------------------------


def both(make, use, calls=6):
    """What ``use(function, parameters, call)`` gives for a captured function and for the function itself is the same.

    Returns the captured one.
    """
    traces = []
    for captured in (False, True):
        dl.manual_seed(0)
        function, parameters = make()
        step = dl.capture(function) if captured else function
        traces.append([use(step, parameters, call) for call in range(calls)])
    for call, (eager, replayed) in enumerate(zip(*traces, strict=True)):
        assert eager == replayed, f"call {call}"
    return step


def scaled():
    w = parameter(1.0, 2.0, 3.0)
    return (lambda x: (x * w).exp()), w


def numbers(*tensors):
    return [None if t is None else t.tolist() for t in tensors]


def test_a_model_behind_a_captured_encoder_is_trained_to_the_bit():
    def make():
        encoder = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 8), nn.ReLU())
        return encoder, (encoder, nn.Linear(8, 3))

    def use(encode, modules, call):
        rng = np.random.default_rng(call)
        x = dl.tensor(rng.standard_normal((8, 6)).astype(np.float32), requires_grad=True)
        dl.manual_seed(call)
        loss = dl.cross_entropy(modules[1](encode(x)), dl.tensor(rng.integers(0, 3, 8)))
        loss.backward()
        with dl.no_grad():
            for module in modules:
                for p in module.parameters():
                    p.sub_(p.grad * 0.1)
        return loss.item(), numbers(x.grad), [numbers(p, p.grad) for m in modules for p in m.parameters()]

    assert both(make, use).recordings == 1


def test_one_captured_function_twice_in_a_graph():
    def use(f, w, call):
        w.grad = None
        first, second = f(dl.full((3,), 0.1 * call)), f(dl.full((3,), 0.2))
        (first * second).sum().backward()
        return numbers(w.grad, first, second)

    assert both(scaled, use).recordings == 1


def test_gradients_that_add_up_keep_their_order():
    def make():
        w = nn.Parameter(dl.randn(7, 7))
        return (lambda x: dl.relu(x @ w) @ w), w

    def use(f, w, call):
        x = dl.tensor(np.random.default_rng(call).standard_normal((5, 7)).astype(np.float32))
        f(x).sum().backward()
        (f(x) ** 2).sum().backward()
        return numbers(w.grad)

    both(make, use)


def test_arguments_that_are_leaves_or_have_a_history():
    def make():
        w = parameter(1.0, 2.0, 3.0)
        return (lambda x, y: (x * w + y, y)), w

    def use(f, w, call):
        leaf = dl.tensor([1.0, 2.0, 3.0], requires_grad=True)
        x, y = (leaf * 2, leaf) if call % 2 else (leaf, leaf * 3)
        out, same = f(x, y)
        assert same is y
        (out * out).sum().backward()
        return numbers(leaf.grad, w.grad)

    assert both(make, use, calls=8).recordings == 2


def test_gradients_of_some_results_and_of_some_leaves():
    def make():
        w, v = parameter(1.0, 2.0, 3.0), parameter(4.0, 5.0, 6.0)
        return (lambda x: {"a": (x * w).exp(), "b": [x * v, (x * w).detach()], "c": x * w * v}), (w, v)

    def use(f, leaves, call):
        out = f(dl.full((3,), 0.5))
        assert not out["b"][1].requires_grad
        root = [out["a"], out["b"][0], out["c"], out["a"] + out["c"]][call % 4].sum()
        return numbers(*dl.grad(root, leaves[: 1 + call % 2], allow_unused=True), leaves[0].grad)

    assert both(make, use, calls=16).recordings == 1


def test_a_second_backward():
    def use(f, w, call):
        out = f(dl.ones(3)).sum()
        out.backward(retain_graph=True)
        out.backward()
        with pytest.raises(AutogradError, match="released by an earlier backward"):
            out.backward()
        return numbers(w.grad)

    both(scaled, use)


def test_gradients_of_gradients_are_refused():
    f, w = scaled()
    step = dl.capture(f)
    for _ in range(3):
        out = step(dl.ones(3)).sum()
    with pytest.raises(AutogradError, match=r"captured function .* cannot be differentiated again"):
        dl.grad(out, [w], create_graph=True)


def test_what_was_changed_in_place_since():
    def use(f, w, call):
        x = dl.full((3,), 0.5)
        out = f(x)
        if call % 4 == 0:
            out *= 2  # exp needs its result
        elif call % 4 == 1:
            x += 1
        elif call % 4 == 2:
            with dl.no_grad():
                w.mul_(1.0)
        try:
            out.sum().backward()
        except AutogradError as error:
            assert "changed in place" in str(error)
            return "refused"
        return numbers(w.grad)

    def make():
        w = nn.Parameter(dl.ones(3))
        return (lambda x: (x * w).exp()), w

    both(make, use, calls=12)


def test_results_may_be_changed_in_place():
    def make():
        w = parameter(1.0, 2.0, 3.0)
        return (lambda x: x * w + 1), w

    def use(f, w, call):
        out = f(dl.full((3,), float(call)))
        out *= 2
        before = out.tolist()
        f(dl.ones(3))
        out.sum().backward()
        return before, numbers(out, w.grad)

    both(make, use)


def test_modes_and_flags_that_change():
    def use(f, w, call):
        w.requires_grad = call % 3 != 0
        x = dl.tensor([1.0, 2.0, 3.0], requires_grad=call % 2 == 0)
        with dl.no_grad() if call % 5 == 0 else dl.enable_grad():
            out = f(x)
        if out.requires_grad:
            out.sum().backward()
        return out.requires_grad, numbers(out, x.grad, w.grad)

    both(scaled, use, calls=30)


def test_views_of_arguments_and_parameters():
    def make():
        w = parameter(1.0, 2.0, 3.0)
        return (lambda x: (x[1:], w[:2], w, (x * w).reshape(3, 1))), w

    def use(f, w, call):
        x = dl.tensor([1.0, 2.0, 3.0], requires_grad=True)
        a, b, same, c = f(x)
        assert same is w
        ((a**2).sum() + (b**2).sum() + (c**2).sum() + same.sum()).backward()
        return numbers(x.grad, w.grad)

    assert both(make, use).recordings == 1


def test_a_history_that_began_before():
    def make():
        w = parameter(1.0, 2.0, 3.0)
        h = w * 2
        return (lambda x: (x * h, h)), w

    def use(f, w, call):
        out, h = f(dl.full((3,), float(call)))
        (out + h).sum().backward(retain_graph=True)
        return numbers(w.grad)

    assert both(make, use).recordings == 1
    w, x = parameter(1.0, 2.0, 3.0), dl.ones(3)
    h, part = w * 2, w[1:]
    for function, older in ((lambda x: x * h, h), (lambda x: x[1:] * part, w)):
        step = dl.capture(function)
        for _ in range(3):
            step(x)
        with dl.no_grad():
            older.mul_(2)
        with pytest.raises(AutogradError, match=r"changed in place through another tensor|changed in place"):
            step(x)


def test_gradients_in_many_layouts():
    def make():
        w = nn.Parameter(dl.randn(4, 5))
        return (lambda x: x @ w), w

    def use(f, w, call):
        w.grad = None
        out = f(dl.ones(3, 4))
        if call % 4 == 0:
            out.sum().backward()
        elif call % 4 == 1:
            out.backward(dl.arange(15).astype(dl.float32).reshape(5, 3).T)
        elif call % 4 == 2:
            out.backward(dl.arange(30).astype(dl.float32).reshape(3, 10)[:, ::2])
        else:
            out.backward(dl.ones(3, 5))
        return numbers(w.grad)

    both(make, use, calls=12)


def test_a_captured_part_of_a_model_is_trained_by_fit():
    def trained(captured):
        class Model(nn.Module):
            def __init__(self):
                self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 1)

            def encode(self, x):
                return dl.relu(self.first(x))

            if captured:
                encode = dl.capture(encode)

            def forward(self, x):
                return self.last(self.encode(x))

        dl.manual_seed(0)
        model = Model()
        data = np.random.default_rng(0).standard_normal((70, 3)).astype(np.float32), np.ones((70, 1), np.float32)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        history = dl.fit(model, data, epochs=3, loss=dl.mse_loss, optimizer=optimizer)
        return [e["loss"] for e in history.epochs], history.recorded, [p.tolist() for p in model.parameters()]

    eager = trained(False)
    assert trained(True) == eager
    assert eager[1]


def test_a_gradient_that_would_end_inside_is_refused():
    w = parameter(1.0, 2.0, 3.0)

    def backward_inside(x):
        (x * w).sum().backward()
        return x * 2

    def writes(x):
        x.mul_(2)
        return x * w

    def lost(x):
        x.detach().mul_(2)
        return x * w

    for function, match in (
        (backward_inside, "reaches an argument whose gradient history began outside"),
        (writes, "changed in place as a part of its gradient history"),
    ):
        leaf = dl.ones(3, requires_grad=True)
        step = dl.capture(function)
        step(leaf * 1)
        leaf.grad = None
        with pytest.raises(CaptureError, match=match):
            step(leaf * 1)
        assert function is writes or leaf.grad.tolist() == [1.0, 2.0, 3.0], "the call went on to the leaf"
    step = dl.capture(lost)
    for _ in range(4):
        with pytest.raises(AutogradError, match="was changed in place through another tensor"):
            step(dl.ones(3, requires_grad=True) * 1)
    total = dl.zeros(3)

    def adds(x):
        total.add_(x * w)
        return x + 0

    refused(dl.capture(adds), dl.ones(3), match="changed in place as a part of its gradient history")
    refused(dl.capture(lambda x: dl.ones(3, requires_grad=True)), dl.ones(3), match="a leaf that requires a gradient")


def test_results_of_a_graph_that_is_used_up_have_no_history():
    w = parameter(1.0, 2.0, 3.0)

    @dl.capture
    def step(x):
        w.grad = None
        loss = (x * w).sum()
        loss.backward()
        return loss

    step(dl.ones(3))
    assert not any(step(dl.ones(3)).requires_grad for _ in range(3))


def test_memory_of_gradients_is_bounded_and_given_back():
    def train():
        w = nn.Parameter(dl.randn(64, 64))
        step = dl.capture(lambda x: dl.relu(x @ w) @ w)
        x = dl.randn(32, 64)
        for _ in range(4):
            step(x).sum().backward()
        held = _C.memory_stats()["in_use"]
        for _ in range(30):
            step(x).sum().backward()
        assert _C.memory_stats()["in_use"] <= held
        for out in [step(x) for _ in range(3)]:
            out.sum().backward()

    gc.collect()
    before = _C.memory_stats()["in_use"]
    train()
    gc.collect()
    assert _C.memory_stats()["in_use"] == before


# ---- results ------------------------------------------------------------------------------------------------------

Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Box:
    content: object
    label: str = "box"


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    content: object


def test_structures_are_made_anew():
    def function(x):
        y = x * 2
        table = collections.defaultdict(list, key=[y, x])
        return Pair(Box(y), Sealed((y + 1, None, 1.5))), collections.OrderedDict(b=y, a="text"), table, x.shape[0]

    step = dl.capture(function)
    results = [step(dl.full((2,), float(k))) for k in range(5)]
    for k, (pair, ordered, table, length) in enumerate(results):
        y = pair.left.content
        assert type(pair) is Pair and type(pair.left) is Box and type(pair.right) is Sealed and length == 2
        assert y.tolist() == [2.0 * k] * 2 and pair.right.content[0].tolist() == [2.0 * k + 1] * 2
        assert ordered["b"] is y and list(ordered) == ["b", "a"] and table["key"][0] is y and table["other"] == []
        assert table["key"][1].tolist() == [float(k)] * 2
    assert len({id(r[0].left) for r in results}) == 5
    assert step.recordings == 1


def test_arguments_come_back_as_they_are():
    step = dl.capture(lambda x, y: (y, {"x": x}, y))
    for k in range(4):
        x, y = dl.full((2,), float(k)), dl.ones(3)
        first, second, third = step(x, y)
        assert first is y and third is y and second["x"] is x


class Holder:
    def __init__(self, content):
        self.content = content


async def _coroutine(x):
    return x * 2


def _generator(x):
    yield x * 2


@pytest.mark.parametrize(
    "function, name",
    [
        (_generator, "its result is a generator"),
        (_coroutine, "its result is a coroutine"),
        (lambda x: map(dl.relu, [x]), "its result is a map"),
        (lambda x: (x, zip([x], [x], strict=True)), r"its result\[1\] is a zip"),
        (lambda x: {x * 2}, "its result is a set"),
        (lambda x: {"a": [Holder(x * 2)]}, r"its result\['a'\]\[0\] is a Holder"),
        (lambda x: Box(iter([x])), r"its result.content is a list_iterator"),
        (lambda x: lambda: x * 2, "its result is a function"),
        (lambda x: np.ones(3), "its result is a ndarray"),
    ],
)
def test_results_that_cannot_be_made_anew_are_refused(function, name):
    refused(dl.capture(function), dl.ones(2), match=name, calls=1)


# ---- arguments ----------------------------------------------------------------------------------------------------


def test_numbers_are_told_apart_by_type_and_bits():
    step = dl.capture(lambda x, k: (x * 0 + k, type(k).__name__))
    values = [1, True, 1.0, np.float32(1), np.float64(1), 0.0, -0.0, float("nan"), complex(0.0, -0.0).imag, None]
    for value in values[:-1] * 3:
        out, kind = step(dl.ones(1), value)
        assert kind == type(value).__name__
        assert np.asarray(out).tobytes() == np.asarray(dl.ones(1) * 0 + value).tobytes()
    assert step.recordings == 8, "0.0 and nan once each"
    ranges = dl.capture(lambda x, r: x * r.start + r.stop)
    for r in (range(5, 5), range(0), slice(1, 2), slice(True, 2)) * 3:
        assert ranges(dl.ones(1), r).item() == r.start + r.stop


def test_iterators_and_sets_of_tensors_are_refused():
    x = dl.ones(2)
    refused(dl.capture(lambda it: next(it) * 2), iter([x, x]), match="an iterator, of type list_iterator", calls=1)
    refused(dl.capture(lambda s: len(s)), {x}, match="a set of tensors", calls=1)
    nested = [x]
    nested.append(nested)
    refused(dl.capture(lambda s: s[0] * 2), nested, match="contains itself", calls=1)
    step = dl.capture(lambda x, s: x * (1 in s))
    for _ in range(3):
        assert [step(x, s).tolist()[0] for s in ({1, 2}, {2, 3}, frozenset({1}))] == [1, 0, 1]


def test_containers_that_the_step_changes_are_refused():
    x = dl.ones(2)
    match = "changes a list, dict, object or array among its arguments"
    refused(dl.capture(lambda x, c: (c.append(1), x * 2)[1]), x, [], match=f"{match}|changes")
    refused(dl.capture(lambda x, c: (c.append(x), x * 2)[1]), x, [x], match=f"{match}|changes")
    refused(dl.capture(lambda a: a.mul_(2) * 1), np.ones(3, np.float32), match=match)


def test_data_classes_among_the_arguments():
    step = dl.capture(lambda box: box.content * 2 if box.label == "box" else box.content * 3)
    for k in range(8):
        assert step(Box(dl.full((1,), float(k)), "box" if k % 2 else "other")).item() == k * (2 if k % 2 else 3)
    assert step.recordings == 2


def test_aliases_may_come_and_go():
    def function(x, y):
        x.add_(1)
        return x * y

    eager, step = [], dl.capture(function)
    for run in (function, step):
        trace = []
        for k in range(9):
            x, y = dl.full((2,), float(k)), dl.ones(2)
            trace.append(run(x, x if k % 3 == 2 else y).tolist())
        eager.append(trace)
    assert eager[0] == eager[1]
    base = dl.zeros(3)
    with pytest.raises(CaptureError, match="share memory"):
        step(base[1:], base[:2])


class Strange:
    """An object that answers no question about itself."""

    __hash__ = None

    def _never(self, *args):
        raise KeyError("a foreign object was asked")

    __getattr__ = __eq__ = __bool__ = __len__ = __iter__ = _never
    __class__ = property(_never)


def test_foreign_objects_are_not_asked():
    strange = Strange()
    step = dl.capture(lambda x, thing: x * 2)
    for _ in range(4):
        assert step(dl.ones(1), strange).item() == 2
    assert step.recordings == 1

    class Dotted(dict):
        __getattr__ = dict.__getitem__

    class Model(nn.Module):
        def __init__(self):
            self.layer, self.config = nn.Linear(1, 1), Dotted(scale=2.0)

        def forward(self, x):
            return self.layer(x) * self.config.scale

    model = Model()
    data = np.ones((32, 1), np.float32), np.zeros((32, 1), np.float32)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    assert dl.fit(model, data, epochs=2, loss=dl.mse_loss, optimizer=optimizer).recorded

    class Callable(Dotted):
        def __call__(self, x):
            return x * 2

    step = dl.capture(Callable())
    assert [step(dl.ones(1)).item() for _ in range(3)] == [2.0] * 3


# ---- methods ------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    def __init__(self, factor=1.0):
        self.factor = parameter(factor)

    @dl.capture
    def forward(self, x):
        return x * self.factor

    @dl.capture
    @classmethod
    def named(cls, x):
        return x * len(cls.__name__)

    @classmethod
    @dl.capture
    def named_inside(cls, x):
        return x * len(cls.__name__)

    @dl.capture
    @staticmethod
    def tripled(x):
        return x * 3

    @property
    @dl.capture
    def doubled(self):
        return self.factor * 2


class Shifted(Scale):
    @dl.capture
    def forward(self, x):
        return super().forward(x) + 1


def _set(module, factor):
    module.factor = parameter(factor)
    return module


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_uses_its_own_parameters(duplicate):
    x = dl.ones(1)
    model = Scale(1.0)
    assert [model(x).item() for _ in range(3)] == [1.0] * 3
    other = _set(duplicate(model), 5.0)
    for _ in range(3):
        assert other(x).item() == 5.0 and model(x).item() == 1.0
    again = _set(duplicate(other), 7.0)
    assert [m(x).item() for m in (again, other, model) for _ in range(3)] == [7.0] * 3 + [5.0] * 3 + [1.0] * 3


def test_kinds_of_methods():
    x = dl.ones(1)
    one, two, shifted = Scale(2.0), Scale(4.0), Shifted(8.0)
    for _ in range(4):
        assert [m(x).item() for m in (one, two, shifted)] == [2.0, 4.0, 9.0]
        assert [m.named(x).item() for m in (one, Scale, Shifted)] == [5.0, 5.0, 7.0]
        assert [m.named_inside(x).item() for m in (one, Scale, Shifted)] == [5.0, 5.0, 7.0]
        assert one.tripled(x).item() == Scale.tripled(x).item() == 3.0
        assert one.doubled.item() == 4.0 and two.doubled.item() == 8.0
    assert one.forward is one.forward and one.forward is not two.forward
    assert one.forward.recordings == 1

    class Slotted:
        __slots__ = ()

        @dl.capture
        def method(self, x):
            return x

    with pytest.raises(TypeError, match="Slotted has no __dict__"):
        Slotted().method(x)
    with pytest.raises(TypeError, match="write @property above"):
        dl.capture(property(lambda self: 1))
    with pytest.raises(TypeError, match="a function is wanted, not a int"):
        dl.capture(3)


def test_recordings_of_a_method_go_with_its_instance():
    gc.collect()
    before = _C.memory_stats()["in_use"]
    model = Scale(2.0)
    for _ in range(3):
        model(dl.ones(1000))
    dead = weakref.ref(model)
    del model
    gc.collect()
    assert dead() is None
    assert _C.memory_stats()["in_use"] == before


@dl.capture
def module_level(x):
    return x * 2


def test_pickled_captured_functions():
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert copy.deepcopy({"step": module_level})["step"] is module_level
    method = pickle.loads(pickle.dumps(Scale(3.0).forward))
    assert [method(dl.ones(1)).item() for _ in range(3)] == [3.0] * 3


def test_how_a_captured_function_looks():
    @dl.capture
    def function(x, *, k=3):
        """Twice."""
        return x * k

    assert (function.__name__, function.__doc__) == ("function", "Twice.")
    assert str(inspect.signature(function)) == "(x, *, k=3)"
    assert function.__wrapped__ is function.function
    assert str(inspect.signature(Scale(1.0).forward)) == "(x)"
    with pytest.raises(CaptureError, match="coroutine"):
        asyncio.run(dl.capture(_coroutine)(dl.ones(1)))


# ---- how many, errors, threads -------------------------------------------------------------------------------------


def test_the_number_of_recordings_is_bounded():
    step = dl.capture(lambda x: x * 2)
    with pytest.warns(RuntimeWarning, match="recorded for 16 kinds of calls") as caught:
        for k in range(200):
            assert step(dl.ones(1 + k % 40)).tolist() == [2.0] * (1 + k % 40)
    assert step.recordings == 16
    assert len(caught) == 1
    held = _C.memory_stats()["in_use"]
    for k in range(200):
        step(dl.ones(1 + k % 40))
    assert step.recordings == 16 and _C.memory_stats()["in_use"] <= held


def test_outdated_recordings_give_way():
    scale = 0.0
    step = dl.capture(lambda x: x * scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(40):
            scale = float(epoch)
            for _ in range(70):
                assert step(dl.ones(1)).item() == epoch
    assert step.recordings == 40


def test_an_error_inside_leaves_what_an_eager_call_would():
    w = parameter(1.0, 2.0, 3.0)

    def function(x, fails):
        (x * w).sum().backward()
        if fails:
            raise ValueError("on purpose")
        return x * 2

    def trace(step):
        w.grad = None
        found = []
        for call in range(6):
            x = dl.ones(3, requires_grad=True)
            with contextlib.suppress(ValueError):
                step(x, call % 3 == 1)
            found.append(numbers(x.grad, w.grad))
        return found

    eager = trace(function)
    assert trace(dl.capture(function)) == eager


def test_models_change_between_calls():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    step, x = dl.capture(lambda x: (model(x), model[0].weight[:1] * 2)), dl.ones(2, 3)
    for change in (
        lambda: None,
        lambda: model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}),
        lambda: setattr(model[2], "weight", nn.Parameter(dl.ones(2, 3))),
        lambda: model.eval(),
        lambda: model.to(dl.float64),
    ):
        change()
        for _ in range(3):
            data = x.astype(model[0].weight.dtype)
            assert numbers(*step(data)) == numbers(*step.function(data))


def test_random_numbers_go_on_from_the_seed():
    step = dl.capture(lambda x: dl.dropout(x, 0.5) + dl.rand(4))
    traces = []
    for run in (step.function, step):
        trace = []
        for k in range(9):
            if k % 3 == 0:
                dl.manual_seed(k)
            trace.append(run(dl.ones(4)).tolist())
            dl.rand(2)
        traces.append(trace)
    assert traces[0] == traces[1]


def test_threads_beside_each_other():
    w = parameter(1.0, 2.0, 3.0)
    step = dl.capture(lambda x: (x * w).exp())
    problems = []

    def work(number):
        for k in range(60):
            x = dl.full((1 + (number + k) % 3, 3), float(number))
            try:
                out = step(x)
                if out.tolist() != step.function(x).tolist():
                    problems.append("other numbers")
                if [g.tolist() for g in dl.grad(out.sum(), [w])] != [(out * x).sum(axis=0).tolist()]:
                    problems.append("other gradients")
            except Exception as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_a_sweep_answers_an_interrupt():
    w = dl.ones(128, 128)
    step = dl.capture(lambda k: (w @ w @ w).sum() + k)
    for k in range(3):
        step(dl.full((), k))
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        step.sweep(dl.arange(10**7))
    assert time.perf_counter() - sent[0] < 1.0  # 0.1 s, on a machine with nothing else to do
    thread.join()
    assert step(dl.full((), 1)).item() == step.function(dl.full((), 1)).item()


def test_a_result_whose_gradient_would_be_wrong_is_refused():
    w = parameter(1.0, 2.0)

    def tracked(x):
        y = x * w
        with dl.no_grad():
            reverse = y[::-1]
        y.mul_(0.5)
        return reverse

    def plain(x):
        y = x * 1
        with dl.no_grad():
            reverse = y[::-1]
        y.add_(w)
        return reverse

    for function in (tracked, plain):
        refused(dl.capture(function), dl.ones(2), match="its result was changed in place through another tensor")


@pytest.mark.parametrize("wrong", [1, (1,), [None]])
@pytest.mark.parametrize("call", [
    lambda wrong: _C.begin_recording(wrong, False), lambda wrong: _C.begin_recording((), False, wrong),
    lambda wrong: _C.end_recording((), wrong), _C.something_kept, _C.made_inside, _C.history_lost,
    lambda wrong: _C.copy_graph(wrong, (), 0), lambda wrong: _C.copy_graph((), wrong, 0),
])  # fmt: skip
def test_the_recorder_refuses_what_is_no_tensor(call, wrong):
    with pytest.raises(TypeError):
        call(wrong)
    assert not _C.is_recording()
