"""All optimizers: PyTorch's curves, eager and recorded bits, states that go on, dtypes, shapes, settings."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim

CURVES = json.loads((Path(__file__).parent / "optim_curves.json").read_text())["optimizers"]
SHAPES = [(5, 3), (4,), ()]
STEPS = (3, 25)

EVERY = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
    "Adam": {"lr": 0.05, "weight_decay": 0.1},
    "AdamW": {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True},
    "RMSprop": {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
    "Adadelta": {"lr": 0.5, "weight_decay": 0.1},
    "Adamax": {"lr": 0.05, "weight_decay": 0.1},
    "NAdam": {"lr": 0.05, "weight_decay": 0.1},
    "RAdam": {"lr": 0.05, "weight_decay": 0.1},
    "Lion": {"lr": 0.01, "weight_decay": 0.1},
    "ScheduleFreeSGD": {"lr": 0.5, "weight_decay": 0.1},
    "ScheduleFreeAdamW": {"lr": 0.05, "weight_decay": 0.1},
}


def problem():
    """Start, a, b, and the noise of each step, as in bench/optim_curves.py."""
    rng = np.random.default_rng(7)
    start, a, b = ([np.asarray(rng.uniform(low, 2.0, s)) for s in SHAPES] for low in (-2.0, 0.5, -2.0))
    return start, a, b, [[0.3 * np.asarray(rng.standard_normal(s)) for s in SHAPES] for _ in range(max(STEPS))]


def walk(kind, settings, steps, dtype="float64", recorded=False, skip=lambda k, i: False, optimizer=None):
    """The parameters before the first and after every one of ``steps`` steps, and the optimizer."""
    start, a, b, noise = problem()
    parameters = [nn.Parameter(dl.tensor(x, dtype=dtype)) for x in start]
    optimizer = getattr(optim, kind)(parameters, **settings)
    sides = [[dl.tensor(x, dtype=dtype) for x in xs] for xs in (a, b)]

    def work(*noises):
        for p, x, y, n in zip(parameters, *sides, noises, strict=True):
            p.grad = x * (p.detach() - y) + n
        optimizer.step()

    step = dl.capture(work) if recorded else work
    found = [[np.asarray(p.detach()).copy() for p in parameters]]
    for k in range(steps):
        step(*[dl.tensor(n, dtype=dtype) for n in noise[k]])
        found.append([np.asarray(p.detach()).copy() for p in parameters])
    return found, optimizer, step


def identical(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "case", [c for c in CURVES if hasattr(optim, c["name"])], ids=lambda c: f"{c['name']}-{c['settings']}"
)
def test_the_curve_is_pytorchs(case):
    if case["name"] == "LBFGS":
        pytest.skip("needs a closure: test_lbfgs")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in case["settings"].items()}
    found, _, _ = walk(case["name"], settings, max(STEPS))
    for k, expected in zip(STEPS, case["values"], strict=True):
        for p, values in zip(found[k], expected, strict=True):
            np.testing.assert_allclose(p.ravel(), values, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", EVERY)
def test_a_recorded_step_has_the_same_bits(kind):
    eager, _, _ = walk(kind, EVERY[kind], 8, "float32")
    recorded, _, step = walk(kind, EVERY[kind], 8, "float32", recorded=True)
    assert step.recordings == 1, step.reasons
    for a, b in zip(eager, recorded, strict=True):
        identical(a, b)
    assert all(np.isfinite(x).all() for x in eager[-1])
    assert not all((x == y).all() for x, y in zip(eager[0], eager[-1], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", EVERY)
def test_other_dtypes_go_the_same_way(kind, dtype):
    exact, _, _ = walk(kind, EVERY[kind], 5)
    found, optimizer, _ = walk(kind, EVERY[kind], 5, dtype)
    p = optimizer.param_groups[0]["params"][0]
    assert p.dtype.name == dtype
    for state in optimizer.state_dict()["state"].values():
        assert all(t.dtype.name == "float32" for slot, t in state.items() if slot != "step")
    for a, b in zip(exact[-1], found[-1], strict=True):
        np.testing.assert_allclose(np.asarray(b, np.float64), a, atol=40 * p.dtype.eps)


@pytest.mark.parametrize("kind", EVERY)
def test_a_saved_state_goes_on_with_the_same_bits(kind, tmp_path):
    whole, _, _ = walk(kind, EVERY[kind], 8, "float32")
    _, a, b, noise = problem()
    _, optimizer, _ = walk(kind, EVERY[kind], 4, "float32")
    old = list(optimizer.param_groups[0]["params"])
    dl.save({str(i): p for i, p in enumerate(old)}, tmp_path / "m.safetensors", optimizer=optimizer)
    file = dl.load(tmp_path / "m.safetensors")
    parameters = [nn.Parameter(file[str(i)]) for i in range(len(old))]
    other = getattr(optim, kind)(parameters, **EVERY[kind])
    other.load_state_dict(file.optimizer)
    sides = [[dl.tensor(x, dtype="float32") for x in xs] for xs in (a, b)]
    for k in range(4, 8):
        for p, x, y, n in zip(parameters, *sides, noise[k], strict=True):
            p.grad = x * (p.detach() - y) + dl.tensor(n, dtype="float32")
        other.step()
    identical(whole[8], [np.asarray(p.detach()) for p in parameters])


@pytest.mark.parametrize("kind", EVERY)
def test_groups_empty_and_odd_parameters_and_those_without_gradients(kind):
    def made():
        rng = np.random.default_rng(3)
        shapes = [(0, 3), (), (1,), (7, 1, 3), (600,)]
        return [nn.Parameter(dl.tensor(rng.standard_normal(s), dtype="float32")) for s in shapes]

    def step(optimizer, parameters, skipped=()):
        rng = np.random.default_rng(4)
        for i, p in enumerate(parameters):
            g = dl.tensor(rng.standard_normal(p.shape), dtype="float32")
            p.grad = None if i in skipped else g
        optimizer.step()

    alone, together = made(), made()
    first = getattr(optim, kind)(alone[:2], **EVERY[kind])
    second = getattr(optim, kind)(alone[2:], **{**EVERY[kind], "lr": 0.02})
    groups = [{"params": together[:2]}, {"params": together[2:], "lr": 0.02}]
    both = getattr(optim, kind)(groups, **EVERY[kind])
    for skipped in ((), (1, 3), (), (0, 1, 2, 3, 4), ()):
        step(both, together, skipped)
        rng = np.random.default_rng(4)
        for i, p in enumerate(alone):
            g = dl.tensor(rng.standard_normal(p.shape), dtype="float32")
            p.grad = None if i in skipped else g
        first.step()
        second.step()
    identical([np.asarray(p.detach()) for p in alone], [np.asarray(p.detach()) for p in together])
    state = both.state_dict()["state"]
    assert [state[i]["step"].item() for i in range(5)] == [4, 3, 4, 3, 4]


@pytest.mark.parametrize("kind", [k for k in EVERY if k != "Lion"])
def test_it_descends_and_ascends(kind):
    ends = []
    for maximize in (False, True):
        p = nn.Parameter(dl.tensor([3.0, -2.0]))
        optimizer = getattr(optim, kind)([p], **{**EVERY[kind], "weight_decay": 0.0, "maximize": maximize})
        for _ in range(20):
            p.grad = dl.sign(p.detach()) * 0.5
            optimizer.step()
        ends.append(abs(np.asarray(p.detach())))
    assert (ends[0] < [3, 2]).all() and (ends[1] > [3, 2]).all()


@pytest.mark.parametrize("kind", EVERY)
def test_the_learning_rate_of_a_recorded_step_can_be_set_and_scheduled(kind):
    def run(recorded):
        p = nn.Parameter(dl.tensor([3.0, -2.0]))
        optimizer = getattr(optim, kind)([p], **EVERY[kind])
        optim.schedules.Cosine(warmup=2).prepare(optimizer, 9)

        def work():
            p.grad = p.detach() * 2
            optimizer.step()

        step = dl.capture(work) if recorded else work
        found = []
        for k in range(9):
            if k == 5:
                optimizer.lr = 0.5 * optimizer.lr
            step()
            found.append(p.tolist())
        assert not recorded or step.recordings == 1
        return found

    assert run(True) == run(False)


def test_lion_is_its_formula():
    found, _, _ = walk("Lion", {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.5}, 6)
    _, a, b, noise = problem()
    for i, p in enumerate(found[0]):
        p, m = p.copy(), np.zeros_like(p)
        for k in range(6):
            g = a[i] * (p - b[i]) + noise[k][i]
            p = p * (1 - 0.01 * 0.5) - 0.01 * np.sign(0.8 * m + 0.2 * g)
            m = 0.9 * m + 0.1 * g
        np.testing.assert_allclose(found[6][i], p, rtol=1e-12)


@pytest.mark.parametrize("kind", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_schedule_free_steps_are_those_of_the_paper(kind):
    """In the paper's own variables: z, the average x, and the point y between them where gradients are taken."""
    lr, decay, steps = 0.1, 0.05, 7
    found, optimizer, _ = walk(kind, {"lr": lr, "weight_decay": decay}, steps)
    start, a, b, noise = problem()
    ends = []
    for i in range(len(SHAPES)):
        z, x, v, total = start[i].copy(), start[i].copy(), np.zeros_like(start[i]), 0.0
        for k in range(steps):
            y = 0.1 * z + 0.9 * x
            g = a[i] * (y - b[i]) + noise[k][i]
            if kind == "ScheduleFreeAdamW":
                v = 0.999 * v + 0.001 * g * g
                g = g / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
            z = z - lr * (g + decay * y)
            total += lr**2
            x = x + (z - x) * lr**2 / total
        np.testing.assert_allclose(found[steps][i], 0.1 * z + 0.9 * x, rtol=1e-9)
        ends.append(x)
    parameters = optimizer.param_groups[0]["params"]
    before = [np.asarray(p.detach()).copy() for p in parameters]
    optimizer.eval()
    optimizer.eval()
    for p, x in zip(parameters, ends, strict=True):
        np.testing.assert_allclose(np.asarray(p.detach()), x, rtol=1e-9)
    with pytest.raises(RuntimeError, match=rf"{kind}\.step: call optimizer\.train\(\) first"):
        optimizer.step()
    saved = optimizer.state_dict()
    copies = [nn.Parameter(dl.tensor(np.asarray(p.detach()))) for p in parameters]
    other = getattr(optim, kind)(copies, lr=lr, weight_decay=decay)
    other.load_state_dict(saved)
    for one, its in ((optimizer, parameters), (other, copies)):
        one.train()
        one.train()
        identical(before, [np.asarray(p.detach()) for p in its])


def test_evaluating_between_steps_records_nothing_anew():
    p = nn.Parameter(dl.tensor([3.0, -2.0]))
    optimizer = optim.ScheduleFreeAdamW([p], lr=0.1)

    @dl.capture
    def step():
        p.grad = p.detach() * 2
        optimizer.step()

    for _ in range(5):
        step()
        optimizer.eval()
        optimizer.train()
    assert step.recordings == 1


def test_amsgrad_and_centered_are_of_all_groups():
    parameters = [nn.Parameter(dl.ones(2)) for _ in range(2)]
    for make, name in ((optim.Adam, "amsgrad"), (optim.RMSprop, "centered")):
        with pytest.raises(ValueError, match=f"{name} is False in all groups, and stays so"):
            make([{"params": parameters[:1], name: True}, {"params": parameters[1:]}])
        optimizer = make(parameters)
        with pytest.raises(ValueError, match=f"{name} is False in all groups"):
            setattr(optimizer, name, True)
        assert getattr(optimizer, name) is False


def test_states_of_files_from_before_amsgrad_are_taken():
    p = nn.Parameter(dl.ones(2))
    optimizer = optim.Adam([p])
    state = optimizer.state_dict()
    del state["param_groups"][0]["amsgrad"]
    optimizer.load_state_dict(state)
    assert optimizer.amsgrad is False


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.RMSprop(p, alpha=1.5), ValueError, "RMSprop: alpha is 1.5; it must be at most 1"),
        (lambda p: optim.Adadelta(p, rho=2), ValueError, "Adadelta: rho is 2; it must be at most 1"),
        (lambda p: optim.NAdam(p, betas=(1.0, 0.9)), ValueError, "NAdam: betas must be two numbers"),
        (lambda p: optim.RAdam(p, betas=0.9), ValueError, "RAdam: betas must be two numbers"),
        (lambda p: optim.Lion(p, betas=(0.9, 1.0)), ValueError, "Lion: betas must be two numbers"),
        (lambda p: optim.Adagrad(p, initial_accumulator_value=-1), ValueError, "initial_accumulator_value is -1"),
        (lambda p: optim.ScheduleFreeSGD(p, momentum=0), ValueError, "ScheduleFreeSGD: momentum is 0"),
        (lambda p: optim.ScheduleFreeAdamW(p, betas=(0, 0.9)), ValueError, "the first must be above 0"),
        (lambda p: optim.Adamax(p, lr=math.inf), ValueError, "Adamax: lr is inf"),
        (lambda p: optim.RMSprop(p, momentum="much"), TypeError, "RMSprop: momentum is 'much'"),
    ],
)
def test_errors_name_things(make, error, text):
    with pytest.raises(error, match=text):
        make([nn.Parameter(dl.ones(2))])
