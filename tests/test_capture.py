"""Recorded steps: a replay gives the bits of the eager step, or there is no replay."""

import collections
import copy
import gc
import signal
import threading
import time
import types
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlcore as dl
from dlcore import _C, CaptureError, nn, optim
from dlcore._reasons import Failure, FailureKind


def bits(value):
    """Everything in nested results, to the bit."""
    if isinstance(value, dl.Tensor):
        return value.shape, value.dtype.name, np.asarray(value.detach()).tobytes()
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    return [bits(v) for v in value] if isinstance(value, list | tuple) else value


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [dl.tensor(rng.standard_normal(s).astype(np.float32)) for s in shapes]


def batch(step, n=8, features=6, classes=3):
    rng = np.random.default_rng(1000 + step)
    x = rng.standard_normal((n, features)).astype(np.float32)
    return dl.tensor(x), dl.tensor(rng.integers(0, classes, n))


# ---- whole models -------------------------------------------------------------------------------------------------


def mlp(seed=0):
    dl.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


class Trainer:
    """A model, optimizers and steps over them, eager or captured."""

    def __init__(self, captured, make_optimizer, *, clip=None, zero="before", to_none=True):
        self.model = mlp()
        self.optimizer = make_optimizer(list(self.model.parameters()))
        model, optimizer = self.model, self.optimizer

        def step(x, y):
            if zero == "before":
                optimizer.zero_grad(set_to_none=to_none)
            loss = dl.cross_entropy(model(x), y)
            loss.backward()
            norm = optim.clip_grad_norm_(model.parameters(), clip) if clip else None
            optimizer.step()
            if zero == "after":
                optimizer.zero_grad(set_to_none=to_none)
            return loss, norm

        self.step = dl.capture(step) if captured else step

    def state(self):
        return bits(self.model.state_dict()), bits(self.optimizer.state_dict()["state"])


def both(make, run, steps=100):
    """What ``run(trainer, step)`` gives, eager and captured; then the final states."""
    traces, found = [], []
    for captured in (False, True):
        dl.manual_seed(3)
        trainer = make(captured)
        dl.manual_seed(4)
        traces.append([bits(run(trainer, k)) for k in range(steps)] + [trainer.state()])
        found.append(trainer)
    for k, (eager, replayed) in enumerate(zip(*traces, strict=True)):
        assert eager == replayed, f"step {k} differs"
    return found[1]


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "groups": lambda p: optim.Adam([{"params": p[:2], "lr": 1e-3}, {"params": p[2:]}], lr=0.02),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("zero, to_none", [("before", True), ("before", False), ("after", True), ("after", False)])
def test_training_replays_to_the_bit(name, zero, to_none):
    def run(trainer, k):
        if k == 40:
            trainer.optimizer.param_groups[0]["lr"] = 0.003
        return trainer.step(*batch(k))

    trainer = both(lambda c: Trainer(c, OPTIMIZERS[name], clip=0.5, zero=zero, to_none=to_none), run)
    assert trainer.step.recordings <= 3, trainer.step.reasons


def test_what_happens_between_steps():
    """Seeds, thread counts, modes, states, frozen and replaced layers, groups, another model of the same classes."""
    saved = {}

    def run(trainer, k):
        model, optimizer = trainer.model, trainer.optimizer
        if k == 20:
            dl.manual_seed(99)
        if k in (25, 45):
            dl.set_num_threads(1 if k == 25 else 2)
        if k == 30:
            slots = optimizer.state_dict()["state"].items()
            slots = {i: {n: v.clone() for n, v in slot.items()} for i, slot in slots}
            state = {n: np.array(v) for n, v in model.state_dict().items()}
            saved[trainer] = state, {**optimizer.state_dict(), "state": slots}
        if k in (40, 42, 44):
            model.load_state_dict(saved[trainer][0])
            optimizer.load_state_dict(saved[trainer][1])
        if k in (50, 52, 54):
            model.train(k % 4 != 2)
        if k == 60:
            model[0].requires_grad_(False)
        if k == 70:
            model[0].requires_grad_(True)
        if k == 75:
            dl.manual_seed(5)
            model[5] = nn.Linear(8, 3)
            optimizer.add_param_group({"params": model[5].parameters(), "lr": 0.004})
        if k == 80:
            model[4] = nn.Sigmoid()
        if k == 85:
            model.append(nn.Identity())
        if k > 90:
            optimizer.lr = 0.01 / k
        return trainer.step(*batch(k))

    threads = dl.get_num_threads()
    try:
        both(lambda c: Trainer(c, OPTIMIZERS["adamw"]), run)
    finally:
        dl.set_num_threads(threads)


def test_two_recordings_alive_at_once():
    def make(captured):
        trainer = Trainer(captured, OPTIMIZERS["momentum"])
        model = trainer.model
        evaluate = lambda x, y: (dl.cross_entropy(model(x), y), model(x).argmax(1))  # noqa: E731
        trainer.evaluate = dl.capture(evaluate) if captured else evaluate
        return trainer

    def run(trainer, k):
        loss = trainer.step(*batch(k))
        if k % 3:
            return loss
        trainer.model.eval()
        with dl.no_grad():
            scores = trainer.evaluate(*batch(k + 7, n=5 + k % 2))
        trainer.model.train()
        return loss, scores

    trainer = both(make, run)
    assert trainer.step.recordings <= 2 and trainer.evaluate.recordings <= 2


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_accumulate_over_captured_micro_steps(to_none):
    def make(captured):
        trainer = Trainer(False, OPTIMIZERS["adam"])
        model, optimizer = trainer.model, trainer.optimizer

        def micro(x, y):
            loss = dl.cross_entropy(model(x), y)
            loss.backward()
            return loss

        def update():
            optim.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

        trainer.micro, trainer.update = (dl.capture(micro), dl.capture(update)) if captured else (micro, update)
        return trainer

    def run(trainer, k):
        trainer.optimizer.zero_grad(set_to_none=to_none)
        losses = [trainer.micro(*batch(4 * k + i)) for i in range(4)]
        gradients = [p.grad.clone() for p in trainer.model.parameters()]
        trainer.update()
        return losses, gradients

    trainer = both(make, run, 50)
    assert trainer.micro.recordings <= 4 and trainer.update.recordings <= 3, trainer.micro.reasons


def test_two_optimizers_and_tied_weights():
    class Tied(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.second(dl.tanh(self.first(x))))

    def make(captured):
        dl.manual_seed(0)
        model = Tied()
        one = optim.Adam([*model.first.parameters(), model.second.bias], lr=0.01)
        two = optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)

        def step(x, y):
            one.zero_grad()
            two.zero_grad()
            loss = dl.cross_entropy(model(x), y)
            loss.backward()
            one.step()
            two.step()
            return loss

        return types.SimpleNamespace(
            step=dl.capture(step) if captured else step, state=lambda: bits(model.state_dict()), model=model
        )

    both(make, lambda trainer, k: trainer.step(*batch(k)))


def test_sweep_is_many_calls():
    def run(sweep):
        trainer = Trainer(True, OPTIMIZERS["adam"])
        dl.manual_seed(1)
        data = [batch(k) for k in range(12)]
        if sweep:
            last = trainer.step.sweep(*(dl.tensor(np.stack([np.array(b[i]) for b in data])) for i in range(2)))
        else:
            last = [trainer.step(*b) for b in data][-1]
        return bits(last), trainer.state()

    assert run(True) == run(False)


def test_sweep_that_accumulates_gradients():
    w = nn.Parameter(dl.tensor([1.0, 2.0]))
    step = dl.capture(lambda x: (w * x).sum().backward())
    x = dl.tensor(np.arange(20, dtype=np.float32).reshape(10, 2))
    for k in range(3):
        w.grad = None
        step(x[k])
        step(x[k])
    w.grad = None
    step.sweep(x)
    assert w.grad.tolist() == np.arange(20).reshape(10, 2).sum(0).tolist()


# ---- memory that is the caller's ----------------------------------------------------------------------------------


def test_outputs_keep_their_values():
    step = dl.capture(lambda x: {"sum": x + 1, "parts": [x * 2, (x * 3)[1:]]})
    kept = [(step(dl.tensor([float(k), 1.0])), k) for k in range(6)]
    for out, k in kept:
        assert bits(out) == bits(
            {"sum": dl.tensor([k + 1.0, 2.0]), "parts": [dl.tensor([k * 2.0, 2.0]), dl.tensor([3.0])]}
        )


def test_a_numpy_view_of_an_output_keeps_its_values():
    step = dl.capture(lambda x: x + 1)
    views = [np.asarray(step(dl.tensor([float(k)]))) for k in range(5)]
    assert [v.item() for v in views] == [1, 2, 3, 4, 5]
    slices = [step(dl.tensor([float(k), 0.0]))[:1] for k in range(5)]
    assert [v.item() for v in slices] == [1, 2, 3, 4, 5]


def test_an_output_is_new_whatever_the_caller_did_to_the_last_one():
    step = dl.capture(lambda x: x + 1)
    for k in range(5):
        out = step(dl.tensor([float(k)]))
        assert not out.requires_grad and out.grad is None
        out.requires_grad = True
        (out * 2).sum().backward()
        del out


def test_gradients_keep_their_values():
    w = nn.Parameter(dl.tensor([1.0, 2.0]))

    @dl.capture
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    kept = []
    for k in range(6):
        step(dl.tensor([float(k), 1.0]))
        kept.append(w.grad)
    assert [g.tolist() for g in kept] == [[k, 1.0] for k in range(6)]


def test_a_state_goes_round():
    step = dl.capture(lambda state, x: (state * 0.5 + x, state))
    state, want = dl.zeros(3), np.zeros(3, np.float32)
    for k in range(8):
        new, old = step(state, dl.full((3,), float(k)))
        assert old.tolist() == want.tolist()
        state, want = new, want * np.float32(0.5) + np.float32(k)
    assert state.tolist() == want.tolist()


def test_arguments_are_written_in_place():
    @dl.capture
    def step(x):
        x += 1
        x[0] = 5.0
        return x

    for k in range(5):
        x = dl.tensor([float(k), float(k)])
        version = x.version
        out = step(x)
        assert x.tolist() == [5.0, k + 1.0] == out.tolist() and x.version > version
        out.zero_()
        assert x.tolist() == [0.0, 0.0]
    assert step.recordings == 1


def test_arguments_are_views_that_move():
    big = dl.tensor(np.arange(40, dtype=np.float32).reshape(4, 10))
    step = dl.capture(lambda x: x * 2)
    for k in range(4):
        assert step(big[k, ::2]).tolist() == (np.arange(10 * k, 10 * k + 10, 2) * 2).tolist()
    assert step.recordings == 1
    mirrored = dl.from_numpy(np.arange(6, dtype=np.float32)[::-1])
    for _ in range(3):
        assert step(mirrored).tolist() == [10, 8, 6, 4, 2, 0]


def test_two_arguments_over_one_memory():
    @dl.capture
    def step(x, y):
        x += y
        return x * 1

    for _ in range(3):
        assert step(dl.tensor([1.0, 2.0]), dl.tensor([10.0, 20.0])).tolist() == [11, 22]
    big = dl.tensor([1.0, 2.0, 4.0])
    with pytest.raises(CaptureError, match="two arguments share memory"):
        step(big[1:], big[:-1])
    assert big.tolist() == [1, 3, 6]
    memory = np.array([1.0, 2.0, 4.0], np.float32)
    with pytest.raises(CaptureError, match="two arguments share memory"):
        step(dl.from_numpy(memory[1:]), dl.from_numpy(memory[:-1]))
    assert memory.tolist() == [1, 3, 6]
    same = dl.tensor([1.0, 2.0])
    assert [step(same, same).tolist() for _ in range(3)] == [[2, 4], [4, 8], [8, 16]]


def test_one_tensor_given_twice_that_needs_a_gradient():
    @dl.capture
    def step(x, y):
        (x * y * y).sum().backward()

    for k in range(1, 6):
        x = dl.tensor([float(k)], requires_grad=True)
        step(x, x)
        assert x.grad.tolist() == [3.0 * k * k]
        y = dl.tensor([2.0], requires_grad=True)
        x.grad = None
        step(x, y)
        assert (x.grad.tolist(), y.grad.tolist()) == ([4.0], [4.0 * k])


def test_an_argument_that_overlaps_what_the_step_changes():
    w = dl.zeros(4)

    @dl.capture
    def step(x):
        w.add_(1)
        return x * 2

    for _ in range(3):
        step(dl.zeros(2))
    with pytest.raises(CaptureError, match="shares memory"):
        step(w[1:3])
    assert w.tolist() == [4.0] * 4


def test_read_only_arguments():
    memory = np.arange(3, dtype=np.float32)
    memory.flags.writeable = False
    step = dl.capture(lambda x: x + 1)
    for _ in range(4):
        assert step(dl.from_numpy(memory)).tolist() == [1, 2, 3]

    @dl.capture
    def write(x):
        x += 1

    for _ in range(3):
        write(dl.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        write(dl.from_numpy(memory))
    assert memory.tolist() == [0, 1, 2]


def test_gradients_of_arguments():
    @dl.capture
    def step(x, detached):
        (x * x).sum().backward()
        inner = detached.detach()
        inner.requires_grad = True
        (inner * 3).sum().backward()
        return inner.grad

    for k in range(5):
        x, y = dl.tensor([float(k)], requires_grad=True), dl.tensor([1.0])
        assert step(x, y).tolist() == [3.0]
        assert x.grad.tolist() == [2.0 * k] and y.grad is None
        step(x, y)
        assert x.grad.tolist() == [4.0 * k]


def test_requires_grad_set_inside_on_an_argument():
    @dl.capture
    def step(x):
        x.requires_grad_()
        (x * x).sum().backward()

    for k in range(5):
        x = dl.tensor([float(k)])
        step(x)
        assert x.requires_grad and x.grad.tolist() == [2.0 * k]


def test_a_gradient_given_from_outside():
    w = nn.Parameter(dl.tensor([1.0]))
    optimizer = optim.SGD([w], lr=1.0)

    @dl.capture
    def step(g):
        w.grad = g
        optimizer.step()

    for k in range(5):
        g = dl.tensor([float(k)])
        before = w.item()
        step(g)
        assert w.item() == before - k and w.grad.tolist() == [float(k)] and w.grad.data_ptr == g.data_ptr


def test_gradients_that_start_in_other_memory():
    w = nn.Parameter(dl.tensor([1.0, 1.0]))
    big = dl.zeros(4)
    step = dl.capture(lambda x: (w * x).sum().backward())
    for k in range(6):
        w.grad = big[2 * (k % 2) :][:2]
        step(dl.ones(2))
    assert big.tolist() == [3.0] * 4
    w.grad = None
    step(dl.ones(2))
    assert w.grad.tolist() == [1, 1] and big.tolist() == [3.0] * 4


def test_the_last_gradient_is_read_after_the_new_one_is_there():
    w = nn.Parameter(dl.tensor([1.0, 1.0]))

    @dl.capture
    def step(x):
        last, w.grad = w.grad, None
        (w * x).sum().backward()
        return (last * w.grad).sum()

    w.grad = dl.ones(2)
    for k in range(2, 8):
        assert step(dl.tensor([float(k)] * 2)).item() == 2 * k * (k - 1 if k > 2 else 1)


# ---- Python state -------------------------------------------------------------------------------------------------


SCALE = 2.0
OPTIONS = {"scale": 2.0, None: 1}


class Config:
    scale = 2.0


class Slotted:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = 2.0


def helper(x):
    return x * SCALE


def test_variables_are_watched(monkeypatch):
    offset, things, pair, slotted = -0.0, [1.0], (1.0, dl.ones(1)), Slotted()
    nested = types.SimpleNamespace(inner=types.SimpleNamespace(scale=2.0))

    def function(x):
        total = helper(x) + OPTIONS["scale"] * x + Config.scale * x + slotted.scale * x + nested.inner.scale * x
        return total + offset, sum(things) * x, pair[0] * x * pair[1]

    step = dl.capture(function)

    def same():
        for k in range(3):
            x = dl.tensor([float(k) - 1.0, -0.0])
            assert bits(step(x)) == bits(function(x))

    same()
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    same()
    monkeypatch.setitem(OPTIONS, "scale", 5.0)
    same()
    monkeypatch.setattr(Config, "scale", 7.0)
    same()
    slotted.scale = 11.0
    same()
    nested.inner.scale = 13.0
    same()
    things.append(4.0)
    same()
    things[0] = 0.5
    same()
    offset = 0.0
    same()
    pair = (2.0, pair[1])
    same()
    pair = (2.0, dl.full((1,), 3.0))
    same()
    assert step.recordings == 11, step.reasons


def test_methods_and_attributes():
    class Worker:
        factor = 1.0

        def __init__(self):
            self.scale, self.config, self.unrelated = 2.0, {"power": 1.0}, 0

        def compute(self, x):
            return x * self.scale * self.factor + self.config["power"]

        @dl.capture
        def step(self, x):
            return self.compute(x)

    workers = [Worker(), Worker()]
    for _ in range(3):
        for k, worker in enumerate(workers):
            worker.scale = 2.0 + k
            worker.unrelated += 1
            assert worker.step(dl.ones(1)).item() == 3.0 + k
    workers[0].config["power"] = 5.0
    assert [workers[0].step(dl.ones(1)).item() for _ in range(2)] == [7.0, 7.0]
    Worker.factor = 3.0
    assert [workers[0].step(dl.ones(1)).item() for _ in range(2)] == [11.0, 11.0]
    assert workers[1].step.recordings == 1
    clone = copy.deepcopy(workers[0])
    clone.scale = 0.0
    assert [clone.step(dl.ones(1)).item() for _ in range(3)] == [5.0] * 3
    assert workers[0].step(dl.ones(1)).item() == 11.0


def test_modules_are_watched():
    class Net(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(2, 2)]
            self.options = types.SimpleNamespace(scale=1.0)
            self.act = dl.relu

        def head(self, x):
            return x * self.options.scale

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.head(self.act(x))

    net = Net()
    step = dl.capture(net)

    def same():
        for x in arrays(1, (3, 2), (3, 2), (3, 2)):
            assert bits(step(x)) == bits(net(x))

    same()
    net.layers.append(nn.Linear(2, 2))
    same()
    net.options.scale = 2.0
    same()
    net.act = dl.tanh
    same()
    net.layers[0] = nn.Linear(2, 2)
    same()
    for p in net.parameters():
        p.requires_grad = False
    same()


def test_arguments_that_are_no_tensors():
    class Batch:
        def __init__(self, x, flip=False):
            self.x, self.flip = x, flip

    def function(batch, scale, mode="plus", options=None):
        x = -batch.x if batch.flip else batch.x
        return x * scale + (options or {}).get("bias", 0.0) + (1 if mode == "plus" else -1)

    step = dl.capture(function)
    b = Batch(dl.ones(2))
    calls = [(b, 1.0), (b, 2.0), (b, 0.0), (b, -0.0), (b, 2), (b, True)]
    for _ in range(2):
        for call in calls:
            assert bits(step(*call)) == bits(function(*call))
    b.flip = True
    assert bits(step(b, 2.0)) == bits(function(b, 2.0))
    b.x = dl.full((2,), 9.0)
    assert bits(step(b, 2.0)) == bits(function(b, 2.0))
    for mode in ("plus", "minus", "plus"):
        options = {"bias": dl.ones(2)}
        assert bits(step(b, 2.0, mode=mode, options=options)) == bits(function(b, 2.0, mode, options))


def test_named_tuples():
    Pair = __import__("collections").namedtuple("Pair", "a b")
    step = dl.capture(lambda pair: Pair(pair.a + pair.b, pair.a))
    for k in range(4):
        out = step(Pair(dl.full((1,), float(k)), dl.ones(1)))
        assert type(out) is Pair and out.a.item() == k + 1 and out.b.item() == k


# ---- what cannot be recorded --------------------------------------------------------------------------------------


def refused(function, *args, match):
    """The step is run exactly once by each call, also by those that raise."""
    step = dl.capture(function)
    with pytest.raises(CaptureError, match=match):
        for _ in range(4):
            step(*args)


def test_a_counter_changed_inside_is_refused():
    count = 0

    def step(x):
        nonlocal count
        count += 1
        return x * count

    refused(step, dl.ones(1), match="variable count")
    keeper = types.SimpleNamespace(seen=0)

    def tally(x):
        keeper.seen += 1
        return x

    refused(tally, dl.ones(1), match=r"keeper\.seen")


def test_tensors_stored_inside_are_refused():
    keeper = types.SimpleNamespace(last=None)

    def step(x):
        keeper.last = x * 2
        return x

    refused(step, dl.ones(1), match=r"kept|keeper\.last")


@pytest.mark.parametrize(
    "function, match",
    [
        (lambda x: x * x.sum().item(), "read back"),
        (lambda x: x if x.sum() > 0 else -x, "read back"),
        (lambda x: dl.tensor(np.asarray(x)), "read back|NumPy"),
        (lambda x: x[x > 0], "depends on values"),
        (lambda x: x + dl.tensor(np.ones(2, np.float32)), "NumPy array"),
        (lambda x: x + dl.from_numpy(np.ones(2, np.float32)), "host"),
    ],
)
def test_host_values_are_refused(function, match):
    refused(function, dl.ones(2), match=match)


def test_memory_filled_by_the_host_is_refused():
    def whole(x):
        made = dl.empty(2)
        made.numpy()[...] = 7.0
        return made

    def part(x):
        made = dl.empty(2)
        made.numpy()[...] = 7.0
        made[:1] = x[:1]
        return made

    refused(whole, dl.ones(2), match="host")
    refused(part, dl.ones(2), match="host")


def test_numbers_made_inside_are_made_again():
    def function(x):
        constants = dl.tensor([1.0, 2.0]), dl.arange(2), dl.eye(2)
        constants[0].add_(x)
        return constants

    step = dl.capture(function)
    for k in range(5):
        x = dl.full((2,), float(k))
        assert bits(step(x)) == bits(function(x))


def test_optimizer_settings_read_or_set_inside_are_refused():
    w = nn.Parameter(dl.ones(1))
    optimizer = optim.SGD([w], lr=0.1)

    def decay(x):
        optimizer.lr = 0.05

    refused(decay, dl.ones(1), match="setting lr")
    refused(lambda x: x * optimizer.lr, dl.ones(1), match="setting lr")


def test_a_step_whose_number_changes_every_time_goes_on_eagerly_with_one_warning():
    temperature, w = [1.0], dl.ones(2, requires_grad=True)

    def step(x):
        w.grad = None
        (dl.exp(w * x) * temperature[0]).sum().backward()
        return w.grad * 2

    captured = dl.capture(step)
    with pytest.warns(RuntimeWarning, match=r"\[0\] of a list changed at every call.*eagerly from now on") as caught:
        for k in range(20):
            x = dl.tensor([k / 10.0, 1.0])
            assert captured(x).tolist() == step(x).tolist()
            temperature[0] *= 0.9
    assert len(caught) == 1 and caught[0].filename == __file__ and captured.recordings == 9
    assert "keep it in a tensor" in captured.failure

    falling = dl.tensor(1.0)
    kept = dl.capture(lambda x: x * falling)
    for _ in range(20):
        assert kept(dl.ones(1)).item() == falling.item()
        falling.mul_(0.9)
    assert kept.recordings == 1


def test_the_reason_is_told_by_a_recording_for_calls_of_the_same_kind():
    scale = [1.0]
    captured = dl.capture(lambda x: x * scale[0])
    for size in (2, 2, 3):
        captured(dl.ones(size))
    scale[0] = 2.0
    assert captured(dl.ones(2)).tolist() == [2.0, 2.0]
    assert captured.reasons[2] == "variable [0] of a list changed"


def test_requires_grad_that_is_set_back_inside_is_recorded():
    critic, generator = nn.Linear(2, 1), nn.Linear(2, 2)

    def step(x):
        for p in (*critic.parameters(), *generator.parameters()):
            p.grad = None
        critic(generator(x).detach()).sum().backward()
        critic.requires_grad_(False)
        critic(generator(x)).sum().backward()
        critic.requires_grad_(True)
        return critic.weight.grad + 0, generator.weight.grad + 0

    captured = dl.capture(step)
    for _ in range(3):
        x = dl.randn(4, 2)
        assert [g.tolist() for g in captured(x)] == [g.tolist() for g in step(x)]
    assert captured.recordings == 1


def test_requires_grad_changed_inside_is_refused():
    w = nn.Parameter(dl.ones(1))

    def step(x):
        out = (w * x).sum()
        w.requires_grad = not w.requires_grad
        return out

    refused(step, dl.ones(1), match="requires_grad of a tensor that it uses other than it was; set it back")


def test_a_number_that_changes_at_every_call_is_recorded_no_more():
    scale = 0.0
    step = dl.capture(lambda x: x * scale)
    with pytest.warns(RuntimeWarning, match="variable scale changed at every call.*eagerly from now on"):
        for k in range(20):
            scale = float(k)
            assert step(dl.ones(1)).item() == k
    number = dl.capture(lambda x, scale: x * scale)
    with pytest.warns(RuntimeWarning, match="number among the arguments changed"):
        for k in range(20):
            assert number(dl.ones(1), k).item() == k
    assert step.recordings == number.recordings == 9


def test_a_variable_may_change_now_and_then():
    scale = 0.0
    step = dl.capture(lambda x: x * scale)
    for k in range(60):
        scale = float(k // 6)
        assert step(dl.ones(1)).item() == k // 6


# ---- errors, nesting, threads, lifetime ---------------------------------------------------------------------------


def test_errors_inside_a_step():
    trainer = Trainer(True, OPTIMIZERS["adam"])
    x, y = batch(0)
    bad = dl.tensor(np.full(8, 7))
    eager = Trainer(False, OPTIMIZERS["adam"])
    for k in range(8):
        for one in (eager, trainer):
            dl.manual_seed(k)
            if k in (1, 4):  # at recording and at replay
                with pytest.raises(IndexError, match="label 7"):
                    one.step(x, bad)
                assert all(p.grad is None for p in one.model.parameters())
            one.step(x, y)
    assert trainer.state() == eager.state()


LABELS = [np.array(a) for a in ([1, 2], [1, 9])]
ROWS, SQUARE, THREE = np.ones((2, 3), np.float32), np.ones((4, 4), np.float32), np.ones(3, np.float32)
PACKED = nn.LSTM(4, 3)


def packed(x, lengths):
    return nn.utils.rnn.pad_packed_sequence(PACKED(nn.utils.rnn.pack_padded_sequence(x, lengths))[0])[0]


BAD_VALUES = {  # a function, what it takes, and the same with values that it refuses
    "getitem": (lambda x, i: x[i], (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "getitem, axis 1": (lambda x, i: x[:, i], (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "getitem, two": (lambda x, i: x[i, i], (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "index_put": (lambda x, i: dl.index_put(x, (i, i), 0.0), (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "index_put_": (lambda x, i: (x * 1).index_put_(i, 0.0), (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "index_select": (lambda x, i: dl.index_select(x, 0, i), (SQUARE, LABELS[0]), (SQUARE, LABELS[1])),
    "one_hot": (lambda i: dl.one_hot(i, 4), (LABELS[0],), (LABELS[1],)),
    "searchsorted": (lambda x, i: dl.searchsorted(x, 1.0, sorter=i), (THREE, np.arange(3)), (THREE, np.arange(3) + 7)),
    "embedding": (lambda i, w: dl.embedding(i, w), (LABELS[0], SQUARE), (LABELS[1], SQUARE)),
    "embedding_bag": (lambda i, w: dl.embedding_bag(i, w), (LABELS[0][None], SQUARE), (LABELS[1][None], SQUARE)),
    "cross_entropy": (lambda x, i: dl.cross_entropy(x, i), (ROWS, LABELS[0]), (ROWS, LABELS[1])),
    "nll_loss": (lambda x, i: dl.nll_loss(x, i), (ROWS, LABELS[0]), (ROWS, LABELS[1])),
    "multi_margin_loss": (lambda x, i: dl.multi_margin_loss(x, i), (ROWS, LABELS[0]), (ROWS, LABELS[1])),
    "linear_cross_entropy": (
        lambda x, w, i: dl.linear_cross_entropy(x, w, i), (ROWS, ROWS, LABELS[0] - 1), (ROWS, ROWS, LABELS[1] - 1)),
    "binary_cross_entropy": (
        lambda x, w: dl.binary_cross_entropy(x, x, w), (THREE / 2, THREE), (THREE * 2, THREE)),
    "gaussian_nll_loss": (lambda x, v: dl.gaussian_nll_loss(x, x, v), (THREE, THREE), (THREE, -THREE)),
    "max_unpool2d": (
        lambda x, i: dl.max_unpool2d(x, i, 2),
        (SQUARE[None, :2, :2], np.array([[[0, 2], [8, 10]]])), (SQUARE[None, :2, :2], np.array([[[0, -2], [8, 10]]]))),
    "max_unpool1d": (
        lambda x, i: dl.max_unpool1d(x, i, 2), (ROWS[:1, :2], np.array([[0, 2]])), (ROWS[:1, :2], np.array([[0, 4]]))),
    "pack_padded_sequence": (
        packed, (np.ones((3, 2, 4), np.float32), np.array([3, 2])), (np.ones((3, 2, 4), np.float32), np.array([9, 2]))),
    "scaled_dot_product_attention": (
        lambda x, n: dl.scaled_dot_product_attention(x, x, x, lengths=n),
        (np.ones((1, 2, 3, 4), np.float32), np.array([3])), (np.ones((1, 2, 3, 4), np.float32), np.array([4]))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_values_are_the_error_of_an_eager_call(name):
    function, good, bad = BAD_VALUES[name]
    good, bad = [dl.tensor(a) for a in good], [dl.tensor(a) for a in bad]
    with pytest.raises((IndexError, ValueError)) as expected:
        function(*bad)
    step = dl.capture(function)
    want = bits(function(*good))
    assert [bits(step(*good)) for _ in range(3)] == [want] * 3
    with pytest.raises(type(expected.value)) as raised:
        step(*bad)
    assert str(raised.value) == str(expected.value) and str(raised.value).startswith(name.partition(",")[0] + ": ")
    assert bits(step(*good)) == want and step.recordings == 1


def test_a_captured_step_inside_another():
    w, v = nn.Parameter(dl.ones(2)), nn.Parameter(dl.ones(2))
    factor = 2.0
    inner = dl.capture(lambda x: w * x * factor)

    def function(x):
        w.grad = v.grad = None
        (inner(x) * v).sum().backward()
        return v.grad

    outer = dl.capture(function)
    for k in range(8):
        factor = 2.0 if k < 4 else 3.0
        assert outer(dl.full((2,), float(k))).tolist() == [k * factor] * 2
        assert w.grad.tolist() == [k * factor] * 2, "the inner one is a part of the outer one, with its gradient"


def test_recursion():
    def function(x, depth):
        return x * 2 if depth == 0 else step(x + 1, depth - 1)

    step = dl.capture(function)
    for k in range(4):
        assert step(dl.full((1,), float(k)), 3).item() == 2 * (k + 3)


def test_calls_from_two_threads():
    w = dl.tensor(np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32))
    step = dl.capture(lambda x: x @ w @ w)
    x, y = arrays(0, (256, 256), (256, 256))
    want = {id(t): bits(t @ w @ w) for t in (x, y)}
    for _ in range(3):
        step(x)
    problems = []

    def work(t):
        for _ in range(30):
            try:
                if bits(step(t)) != want[id(t)]:
                    problems.append("other bits")
            except RuntimeError as error:
                if "running already" not in str(error):
                    problems.append(error)

    threads = [threading.Thread(target=work, args=(t,)) for t in (x, y)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems


def test_memory_is_given_back():
    def train_and_forget():
        trainer = Trainer(True, OPTIMIZERS["adam"])
        for k in range(10):
            trainer.step(*batch(k, n=8 + k % 2))
        dead = weakref.ref(trainer.step)
        del trainer
        gc.collect()
        assert dead() is None
        return _C.memory_stats()["in_use"]

    kept = train_and_forget()  # the default generator's state, for one, stays from the first time on
    assert train_and_forget() == kept


def test_memory_does_not_grow():
    trainer = Trainer(True, OPTIMIZERS["adam"])
    for k in range(5):
        trainer.step(*batch(k))
    before = _C.memory_stats()["in_use"]
    for k in range(50):
        trainer.step(*batch(k))
    assert _C.memory_stats()["in_use"] <= before


def test_check_finds_what_was_frozen(monkeypatch):
    gelu = nn.GELU()
    step = dl.capture(lambda x: gelu(x), check=3)
    for _ in range(7):
        step(dl.ones(1))
    monkeypatch.setattr("dlcore.nn.layers.gelu", lambda x, approximate: x * 2)  # the engine's own code is trusted
    with pytest.raises(CaptureError, match=r"check: .*operation 0 of the step has changed"):
        for _ in range(4):
            step(dl.ones(1))


def test_check_compares_with_the_recording_that_stands():
    w = nn.Parameter(dl.ones(2))
    step = dl.capture(lambda x: (w * x).sum().backward(), check=2)
    for k in range(12):
        if k % 3 == 0:
            w.grad = None
        step(dl.ones(2))
        assert w.grad.tolist() == [k % 3 + 1.0] * 2


def test_a_run_without_kernels_changes_nothing():
    trainer = Trainer(True, OPTIMIZERS["adam"])
    x, y = batch(0)
    state = trainer.state()
    loose = nn.Parameter(dl.ones(1))
    loose.grad = dl.full((1,), 4.0)

    def step(x, y):
        loose.grad = None
        (loose * 2).sum().backward()
        return trainer.step(x, y)

    dl.capture(step).plan(x, y)
    assert trainer.state() == state and loose.grad.tolist() == [4.0]
    assert all(p.grad is None for p in trainer.model.parameters())


def test_replays_between_guard_bytes():
    _C.set_guards(True)
    faults = _C.guard_faults()
    try:
        both(lambda c: Trainer(c, OPTIMIZERS["momentum"], clip=0.5), lambda t, k: t.step(*batch(k)), 20)
    finally:
        _C.set_guards(False)
    gc.collect()
    assert _C.guard_faults() == faults


# ---- random small programs ----------------------------------------------------------------------------------------


POINTWISE = (dl.tanh, dl.relu, dl.exp, lambda t: t * 0.5, lambda t: -t, lambda t: 1.0 - t * t)
PAIRS = (lambda a, b: a + b, lambda a, b: a * b, dl.maximum, lambda a, b: a @ b.T @ b)
VIEWS = (lambda t: t.T.T, lambda t: t[::-1], lambda t: t[:, 1:2], lambda t: t.reshape(-1)[: t.size].reshape(t.shape))
REDUCTIONS = (lambda t: t - t.max(axis=1, keepdims=True), lambda t: t / (t.abs().sum() + 1), lambda t: t.softmax(1))


def program(draws, backward):
    """A function of two (4, 4) tensors and a parameter, made of the operations drawn."""

    def run(w, x, y):
        values = [x, y, w.reshape(4, 4)]
        for kind, which, a, b in draws:
            first, second = values[a % len(values)], values[b % len(values)]
            if kind == 0:
                made = POINTWISE[which % len(POINTWISE)](first)
            elif kind == 1:
                made = PAIRS[which % len(PAIRS)](first, second)
            elif kind == 2:
                made = VIEWS[which % len(VIEWS)](first) + second
            elif kind == 3:
                made = REDUCTIONS[which % len(REDUCTIONS)](first)
            else:
                made = first.clone()
                made[which % 4] = second[0] * 0.5
                made.mul_(0.75)
            values.append(dl.minimum(made, 8.0))
        if not backward:
            return values[-1], values[len(values) // 2]
        w.grad = None
        (values[-1] * values[-1]).mean().backward() if values[-1].requires_grad else None
        return values[-1], w.grad

    return run


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 11), st.integers(0, 9), st.integers(0, 9)), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_random_programs(draws, backward, guards):
    function = program(draws, backward)
    parameter = nn.Parameter(arrays(7, (16,))[0])
    step = dl.capture(lambda x, y: function(parameter, x, y))
    _C.set_guards(guards)
    try:
        for k in range(5):
            one, two = arrays(k, (4, 4), (4, 4)), arrays(k, (4, 4), (4, 4))
            assert bits(step(*one)) == bits(function(nn.Parameter(parameter.detach().clone()), *two))
            assert bits(one) == bits(two), "operands are as an eager step leaves them"
    finally:
        _C.set_guards(False)
    assert step.recordings == 1


@pytest.mark.parametrize("side, alone", [(16, True), (512, False)])
def test_small_steps_keep_to_one_thread(side, alone):
    step = dl.capture(lambda x: x @ x)
    x = dl.ones(side, side)
    for _ in range(2):
        step(x)
    assert step._entries[0].recording.serial is alone


def test_tensors_of_one_number_are_filled_by_every_replay():
    def step(x):
        ones, halves = dl.ones(3), dl.full((3,), 0.5)
        ones += x
        halves *= ones
        return ones, halves

    captured = dl.capture(step)
    for k in range(4):
        ones, halves = captured(dl.full((3,), float(k)))
        assert ones.tolist() == [k + 1.0] * 3 and halves.tolist() == [(k + 1) / 2] * 3
    assert captured.recordings == 1


# ---- what an object says of itself --------------------------------------------------------------------------------


class Factor(dl.Recordable):
    def __init__(self):
        self.value, self.kept = 2.0, None

    def __call__(self, x):
        if self.kept is None:
            self.kept = dl.zeros(x.shape)
        self.kept += x
        return x * self.value


def test_a_recordable_is_compared_when_one_of_its_attributes_is_assigned():
    factor = Factor()
    step = dl.capture(lambda x: factor(x))
    assert [step(dl.ones(2)).tolist() for _ in range(4)] == [[2.0, 2.0]] * 4 and step.recordings == 1
    assert factor.kept.tolist() == [4.0, 4.0]
    factor.value = 5.0
    assert [step(dl.ones(2)).tolist() for _ in range(2)] == [[5.0, 5.0]] * 2
    assert step.reasons == ["first recording", "variable Factor.value changed"]
    factor.value = 5.0  # the same again
    factor.kept = factor.kept
    assert step(dl.ones(2)).tolist() == [5.0, 5.0] and step.recordings == 2
    del factor.value
    with pytest.raises(AttributeError, match="value"):
        step(dl.ones(2))


def test_a_recordable_is_as_before_after_a_dry_run():
    factor = Factor()
    step = dl.capture(lambda x: factor(x))
    step.plan(dl.ones(2))
    assert vars(factor) == {"value": 2.0, "kept": None}


def test_a_recordable_may_leave_out_what_steps_do_not_read():
    class Named(Factor):
        def recorded_state(self):
            return self.value, self.kept

    factor = Named()
    step = dl.capture(lambda x: factor(x))
    for k in range(4):
        factor.name = f"call {k}"
        step(dl.ones(2))
    assert step.recordings == 1


def test_what_is_recordable():
    model = nn.Linear(2, 1)
    batches = dl.data.Batches(dl.data.TensorDataset(np.zeros(3)))
    for thing in (model, optim.SGD(model.parameters()), dl.metrics.Meter(), batches):
        assert isinstance(thing, dl.Recordable)


def test_another_transform_of_batches_makes_another_recording():
    data = dl.data.TensorDataset(np.arange(6, dtype=np.float32), np.arange(6))
    batches = dl.data.Batches(data)
    step = dl.capture(lambda index: batches.fetch(index)[0])
    index = dl.tensor([1, 2])
    assert [step(index).tolist() for _ in range(3)] == [[1.0, 2.0]] * 3
    batches.transform = dl.data.Normalize(1.0, 2.0)
    assert step(index).tolist() == [0.0, 0.5]


def test_kinds_of_failure_and_where():
    kept = []

    def reads(x):
        return x if x.sum().item() > 0 else -x

    def keeps(x):
        kept.append(x * 2)

    x = dl.ones(3)
    for function, kind in ((reads, FailureKind.PERMANENT), (keeps, FailureKind.KEEPS_TENSOR)):
        (alias,) = _C.begin_recording((x,), False)
        function(alias)
        _, (number, text, line) = _C.end_recording((alias,), ())
        failure = Failure(FailureKind(number), text, line)
        assert failure.kind is kind and failure.may_pass == (kind is FailureKind.KEEPS_TENSOR)
        assert line == f"{__file__}:{function.__code__.co_firstlineno + 1}"
        assert failure.message("f").startswith(f"capture: f cannot be recorded: {text} (at {line}: ")
    w = dl.ones(3, requires_grad=True)
    _C.begin_recording((), False)
    w * 2
    w.requires_grad = False
    _, (number, text, line) = _C.end_recording((), ())
    assert FailureKind(number) is FailureKind.REBINDS and line == "" and "requires_grad" in text


def test_a_step_that_runs_out_of_memory_while_it_is_recorded_has_run():
    total = dl.zeros(3)

    def add(x):
        total.copy_(total + x)
        return total.sum()

    failed = 0
    for n in range(1, 60):
        step = dl.capture(add)
        step(dl.ones(3))
        before = total.numpy().copy()
        _C.fail_allocation(n)
        try:
            step(dl.ones(3))
            ran = 1
        except MemoryError:
            failed += 1
            ran = 0
        finally:
            _C.fail_allocation(0)
        assert not _C.is_recording()
        rest = total.numpy() - before
        assert np.all(rest == 1) or (not ran and np.all((rest == 0) | (rest == 1)))
        for _ in range(3):
            step(dl.ones(3))
        np.testing.assert_array_equal(total.numpy(), before + rest + 3)
    assert failed


def test_sweep_answers_ctrl_c():
    total = dl.zeros(64)

    def step(x):
        total.copy_(total * 0.5 + x)
        return total.sum()

    captured = dl.capture(step)
    x = dl.ones(1, 64).expand(20_000_000, 64)  # a quarter of a minute and more
    sent = []

    def press():
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            captured.sweep(x)
        assert time.monotonic() - sent[0] < 1.0  # 0.02 s, and what a busy machine adds
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert float(captured(dl.ones(64))) > 0


def test_guards_hold_nothing_that_a_step_has_made():
    Pair = collections.namedtuple("Pair", "a b")

    def step(x):
        y = x * 2
        return Pair(y, y + 1) if not y.requires_grad else Pair(x, x)

    captured = dl.capture(step)
    for k in range(4):
        assert [t.tolist() for t in captured(dl.full((1000,), float(k)))] == [[2.0 * k] * 1000, [2.0 * k + 1] * 1000]
    guards = captured._entries[0].observed.guards
    assert guards and not any(isinstance(part, dl.Tensor | Pair) for g in guards for part in (g.owner, g.value))
    inside = [v for g in guards for part in g if isinstance(part, tuple) for v in part]
    assert not any(isinstance(v, dl.Tensor) for v in inside)


def test_memory_that_runs_out_leaves_no_recording_open():
    leaf, failed = dl.ones(1, requires_grad=True), 0
    for _ in range(300):  # beyond the small integers, which take no memory, in the number of the newest node
        leaf * 2
    for n in range(1, 400):
        step = dl.capture(lambda x: (x * 2).sum())
        step(dl.ones(3))
        _C.fail_allocation(n, True)
        try:
            step(dl.ones(3))
        except MemoryError:
            failed += 1
        finally:
            left = _C.fail_allocation(0)
        assert not _C.is_recording()
        if left:  # the call makes fewer allocations
            break
    assert failed > 10


@pytest.mark.parametrize("kind", ["inner step", "second derivative", "transposed", "slice"])
def test_views_that_a_tracked_step_makes_of_its_parameters_do_not_spoil_the_recording(kind):
    """Gradients of products are taken through views such as w.T, which the optimizer's step then changes."""

    def losses(captured):
        dl.manual_seed(0)
        w = nn.Parameter(dl.randn(3, 3))
        optimizer = optim.SGD([w], lr=0.01)

        def step(x):
            if kind == "inner step":
                own = dl.expand(w, (3, 3, 3))
                (g,) = dl.grad(dl.square(x @ own).sum(), [own], create_graph=True)
                loss = dl.square(x @ (own - 0.01 * g)).sum()
            elif kind == "second derivative":
                t = dl.rand(3, 3).requires_grad_()
                (g,) = dl.grad(dl.tanh(t @ w).sum(), [t], create_graph=True)
                loss = dl.square(g - x).sum()
            elif kind == "transposed":
                v = w.T
                loss = dl.square(v * x + v).sum()
            else:
                v = w[1:]
                loss = dl.square(x @ (v[0] * v[1])).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = dl.capture(step) if captured else step
        given = [run(x).item() for x in arrays(0, *[(3, 3)] * 8)]
        return given, (run.recordings if captured else 1)

    assert losses(True) == (losses(False)[0], 1)


def test_a_view_from_before_the_step_that_has_lost_its_history_is_still_an_error():
    w = nn.Parameter(dl.ones(3))
    view = w[1:]
    step = dl.capture(lambda: (view * w[:2]).sum())
    first = [step().item() for _ in range(3)]
    assert first == [2.0] * 3
    with dl.no_grad():
        w.copy_(2.0 * dl.ones(3))
    with pytest.raises(dl.AutogradError):
        step()
