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
    "LAMB": {"lr": 0.05, "weight_decay": 0.1},
    "Muon": {"lr": 0.05, "weight_decay": 0.1},
    "Adafactor": {"lr": 0.05, "weight_decay": 0.1},
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
    "case", [c for c in CURVES if c["name"] != "LBFGS"], ids=lambda c: f"{c['name']}-{c['settings']}"
)
def test_the_curve_is_pytorchs(case):
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in case["settings"].items()}
    found, _, _ = walk(case["name"], settings, max(STEPS))
    for k, expected in zip(STEPS, case["values"], strict=True):
        for p, values in zip(found[k], expected, strict=True):
            np.testing.assert_allclose(p.ravel(), values, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", [c for c in CURVES if c["name"] == "LBFGS"], ids=lambda c: str(c["settings"]))
@pytest.mark.parametrize("again", [False, True], ids=["straight", "loaded"])
def test_lbfgs(case, again):
    start, a, b, _ = problem()
    sides = [(dl.tensor(x), dl.tensor(y)) for x, y in zip(a, b, strict=True)]
    parameters = [nn.Parameter(dl.tensor(x)) for x in start]
    optimizer = optim.LBFGS(parameters, **case["settings"])

    def closure():
        optimizer.zero_grad()
        loss = sum((x * ((p - y) * (p - y)) ** 1.25).sum() for p, (x, y) in zip(parameters, sides, strict=True))
        loss.backward()
        return loss

    for k in range(max(STEPS)):
        optimizer.step(closure)
        if again:
            state = optimizer.state_dict()
            optimizer = optim.LBFGS(parameters, **case["settings"])
            optimizer.load_state_dict(state)
        if k + 1 in STEPS:
            for p, values in zip(parameters, case["values"][STEPS.index(k + 1)], strict=True):
                np.testing.assert_allclose(np.asarray(p.detach()).ravel(), values, rtol=1e-6, atol=1e-7)


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function():
    for dtype, within in (("float32", 2e-3), ("float64", 1e-8)):
        p = nn.Parameter(dl.tensor([-1.2, 1.0], dtype=dtype))
        optimizer = optim.LBFGS([("p", p)], line_search_fn="strong_wolfe", max_iter=100, tolerance_change=1e-15)

        def closure(p=p, optimizer=optimizer):
            optimizer.zero_grad()
            loss = 100 * (p[1] - p[0] * p[0]) ** 2 + (1 - p[0]) ** 2
            loss.backward()
            return loss

        for _ in range(3):
            first = optimizer.step(closure)
        assert first.item() < 1e-3
        np.testing.assert_allclose(np.asarray(p.detach()), [1, 1], atol=within)


def test_lbfgs_goes_on_from_a_file_with_the_same_bits(tmp_path):
    def closure_of(p, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = ((p[1:] - p[:-1] * p[:-1]) ** 2).sum() + ((1 - p) ** 2).sum()
            loss.backward()
            return loss

        return closure

    settings = {"line_search_fn": "strong_wolfe", "max_iter": 3, "history_size": 4}
    p = nn.Parameter(dl.tensor([-1.2, 1.0, 0.5, 2.0]))
    optimizer = optim.LBFGS([p], **settings)
    for _ in range(3):
        optimizer.step(closure_of(p, optimizer))
    dl.save({"p": p}, tmp_path / "m.safetensors", optimizer=optimizer)
    file = dl.load_state(tmp_path / "m.safetensors")
    q = nn.Parameter(file["p"])
    other = optim.LBFGS([q], **settings)
    other.load_state_dict(file.optimizer)
    nn.Linear(2, 2).to(dtype="float64")  # somewhere parameters change
    for _ in range(2):
        optimizer.step(closure_of(p, optimizer))
        other.step(closure_of(q, other))
    assert p.tolist() == q.tolist()
    assert optimizer.state_dict()["state"][0]["scalars"].dtype.name == "float64"
    with pytest.raises(ValueError, match=r"d has shape \(4,\), not \(2,\)"):
        optim.LBFGS([nn.Parameter(dl.ones(2))], **settings).load_state_dict(file.optimizer)


def test_lbfgs_names_what_is_wrong():
    p = nn.Parameter(dl.ones(2))
    with pytest.raises(ValueError, match="LBFGS: there is only one group"):
        optim.LBFGS([{"params": [p]}, {"params": [nn.Parameter(dl.ones(1))]}])
    with pytest.raises(ValueError, match=r"LBFGS: line_search_fn 'wolfe' is not one of None, 'strong_wolfe'"):
        optim.LBFGS([p], line_search_fn="wolfe")
    with pytest.raises(ValueError, match="LBFGS: max_iter is 0"):
        optim.LBFGS([p], max_iter=0)
    optimizer = optim.LBFGS([p])
    with pytest.raises(TypeError, match=r"LBFGS\.step: a closure is needed"):
        optimizer.step()

    def closure():
        optimizer.zero_grad()
        loss = (p * float("nan")).sum()
        loss.backward()
        return loss

    with pytest.raises(FloatingPointError, match=r"LBFGS\.step: the loss is nan"):
        optimizer.step(closure)
    assert p.tolist() == [1.0, 1.0] and optimizer.state_dict()["state"] == {}


def muon_reference(p, grads, lr, decay, momentum, nesterov, match):
    """Muon's formula in NumPy."""
    m = np.zeros_like(p)
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        u = momentum * m + (1 - momentum) * g if nesterov else m
        x = u.reshape(len(p), -1)
        shape = x.shape
        x = x.T if shape[0] > shape[1] else x
        x = x / max(np.sqrt((x * x).sum()), 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
        x = x.T if shape[0] > shape[1] else x
        ratio = 0.2 * math.sqrt(max(shape)) if match else math.sqrt(max(1, shape[0] / shape[1]))
        p = p * (1 - lr * decay) - lr * ratio * x.reshape(p.shape)
    return p


@pytest.mark.parametrize("nesterov, adjust", [(True, "original"), (False, "match_rms_adamw")])
def test_muon_is_its_formula_and_adamw_for_the_rest(nesterov, adjust):
    rng = np.random.default_rng(5)
    shapes = {"a.weight": (6, 4), "b.weight": (4, 6), "c.weight": (6, 4), "conv": (3, 2, 2, 2), "a.bias": (6,),
              "embedding.weight": (9, 4)}  # fmt: skip
    start = {name: rng.standard_normal(s) for name, s in shapes.items()}
    grads = [{name: rng.standard_normal(s) for name, s in shapes.items()} for _ in range(4)]
    rest = ("a.bias", "embedding.weight")

    def run(make, names, recorded=False):
        parameters = {name: nn.Parameter(dl.tensor(start[name])) for name in names}
        optimizer = make(list(parameters.items()))

        def work(*given):
            for p, g in zip(parameters.values(), given, strict=True):
                p.grad = g * 1
            optimizer.step()

        step = dl.capture(work) if recorded else work
        for each in grads:
            step(*[dl.tensor(each[name]) for name in names])
        assert not recorded or step.recordings == 1
        return {name: np.asarray(p.detach()) for name, p in parameters.items()}, optimizer

    def muon(named):
        return optim.Muon(
            named, lr=0.1, weight_decay=0.05, nesterov=nesterov, adjust_lr_fn=adjust, adamw=("embedding",),
            adamw_lr=0.01, no_decay=("bias",),
        )  # fmt: skip

    found, optimizer = run(muon, shapes)
    again, _ = run(muon, shapes, recorded=True)
    adamw, _ = run(lambda named: optim.AdamW(named, lr=0.01, weight_decay=0.05, no_decay=("bias",)), rest)
    for name in shapes:
        np.testing.assert_array_equal(found[name], again[name])
        if name in rest:
            np.testing.assert_allclose(found[name], adamw[name], rtol=1e-12)
        else:
            expected = muon_reference(
                start[name], [g[name] for g in grads], 0.1, 0.05, 0.95, nesterov, adjust == "match_rms_adamw"
            )
            np.testing.assert_allclose(found[name], expected, rtol=1e-9)
    kinds = {name: (g.muon, g.lr, g.weight_decay) for g in optimizer.param_groups for name in g.names}
    assert kinds["conv"] == (True, 0.1, 0.05) and kinds["a.bias"] == (False, 0.01, 0.0)
    assert kinds["embedding.weight"] == (False, 0.01, 0.05)
    with pytest.raises(ValueError, match="Muon: muon of a group is True, and stays so"):
        optimizer.param_groups[0]["muon"] = False


def test_settings_that_are_no_numbers_in_memory_are_recorded_anew():
    p = nn.Parameter(dl.ones((3, 2)))
    optimizer = optim.Muon([p])

    @dl.capture
    def step():
        p.grad = p.detach() * 2
        optimizer.step()

    for _ in range(3):
        step()
    optimizer.momentum = 0.5
    step()
    assert step.recordings == 1
    optimizer.ns_steps = 3
    for _ in range(3):
        step()
    assert step.recordings == 2


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
    old = [p for group in optimizer.param_groups for p in group["params"]]
    dl.save({str(i): p for i, p in enumerate(old)}, tmp_path / "m.safetensors", optimizer=optimizer)
    file = dl.load_state(tmp_path / "m.safetensors")
    parameters = [nn.Parameter(file[str(i)]) for i in range(len(old))]
    other = getattr(optim, kind)(parameters, **EVERY[kind])
    other.load_state_dict(file.optimizer)
    sides = [[dl.tensor(x, dtype="float32") for x in xs] for xs in (a, b)]
    for k in range(4, 8):
        for p, x, y, n in zip(parameters, *sides, noise[k], strict=True):
            p.grad = x * (p.detach() - y) + dl.tensor(n, dtype="float32")
        other.step()
    identical(whole[8], [np.asarray(p.detach()) for p in parameters])


@pytest.mark.filterwarnings("ignore:.*no parameter has a gradient")
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
    held = [id(p) for group in both.param_groups for p in group["params"]]
    assert [state[held.index(id(p))]["step"].item() for p in together] == [4, 3, 4, 3, 4]


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


def test_lamb_is_its_formula():
    found, _, _ = walk("LAMB", {"lr": 0.05, "weight_decay": 0.1}, 6)
    _, a, b, noise = problem()
    for i, p in enumerate(found[0]):
        p, m, v = p.copy(), np.zeros_like(p), np.zeros_like(p)
        for k in range(6):
            g = a[i] * (p - b[i]) + noise[k][i]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            u = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-6) + 0.1 * p
            p = p - 0.05 * np.sqrt((p * p).sum()) / np.sqrt((u * u).sum()) * u
        np.testing.assert_allclose(found[6][i], p, rtol=1e-10)
    p = nn.Parameter(dl.zeros(3))
    p.grad = dl.ones(3)
    optim.LAMB([p], lr=0.5, eps=0.0).step()
    np.testing.assert_allclose(np.asarray(p.detach()), -0.5)  # without a norm of its own the step is Adam's


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


def test_states_of_pytorch_are_taken():
    """As torch.optim writes them: counts as floats, settings of its implementations, no count in SGD."""
    p = nn.Parameter(dl.ones(2))
    flags = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
    group = {"lr": 0.5, "betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
    moments = {"exp_avg": np.ones(2, np.float32), "exp_avg_sq": np.ones(2, np.float32)}
    state = {
        "state": {0: {"step": np.array(3.0, np.float32), **moments}},
        "param_groups": [{**group, **flags, "decoupled_weight_decay": True, "params": [0]}],
    }
    optimizer = optim.AdamW([p])
    optimizer.load_state_dict(state)
    assert optimizer.lr == 0.5 and optimizer.state_dict()["state"][0]["step"].item() == 3
    with pytest.raises(ValueError, match="decoupled_weight_decay is True in the state, False here"):
        optim.Adam([p]).load_state_dict(state)
    group = {"lr": 0.5, "momentum": 0.5, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
    buffer = {"momentum_buffer": np.ones(2, np.float32)}
    sgd = optim.SGD([p])
    sgd.load_state_dict({"state": {0: buffer}, "param_groups": [{**group, **flags, "params": [0]}]})
    p.grad = dl.zeros(2)
    sgd.step()
    assert p.tolist() == [0.75, 0.75]  # b = 0.5 * 1 + 0
    plain = {"state": {0: {"momentum_buffer": None}}, "param_groups": [{**group, "momentum": 0, "params": [0]}]}
    sgd.load_state_dict(plain)
    assert sgd.momentum == 0


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
        (lambda p: optim.Muon(p, ns_steps=0), ValueError, "Muon: ns_steps is 0; it must be at least 1"),
        (lambda p: optim.Muon(p, ns_coefficients=(1, 2)), ValueError, "Muon: ns_coefficients are three numbers"),
        (lambda p: optim.Muon(p, adjust_lr_fn="rms"), ValueError, "Muon: adjust_lr_fn 'rms' is not one of"),
        (lambda p: optim.Muon(p, adamw=("head",)), ValueError, r"Muon: adamw=\('head',\) needs names"),
        (lambda p: optim.Adafactor(p, beta2_decay=0.8), ValueError, "Adafactor: beta2_decay is 0.8"),
        (lambda p: optim.Adafactor(p, eps=1e-3), ValueError, "Adafactor: eps are two numbers"),
        (lambda p: optim.Adafactor(p, d=0.5), ValueError, "Adafactor: d is 0.5; it must be at least 1"),
        (lambda p: optim.RMSprop(p, momentum="much"), TypeError, "RMSprop: momentum is 'much'"),
    ],
)
def test_errors_name_things(make, error, text):
    with pytest.raises(error, match=text):
        make([nn.Parameter(dl.ones(2))])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_updates_have_the_same_bits_on_any_number_of_threads(dtype):
    rng = np.random.default_rng(3)
    shapes = [(257, 131), (7,), (), (0, 4), (9001,), (64, 128)]
    start, grads = ([rng.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(2))
    found, before = [], dl.get_num_threads()
    try:
        for threads in (1, 2, 3):
            dl.set_num_threads(threads)
            parameters = [nn.Parameter(dl.tensor(x, dtype=dtype)) for x in start]
            parameters.append(nn.Parameter(dl.tensor(start[0], dtype=dtype).T))  # not shared out
            optimizer = optim.Adam(parameters, lr=0.1)
            for p, g in zip(parameters, [*grads, grads[0].T], strict=True):
                p.grad = dl.tensor(g, dtype=dtype)
            for _ in range(2):
                optimizer.step()
            found.append([np.asarray(p.detach().to(dl.float64)).tobytes() for p in parameters])
    finally:
        dl.set_num_threads(before)
    assert found[0] == found[1] == found[2]
