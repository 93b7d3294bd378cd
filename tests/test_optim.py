"""Optimizers against NumPy in float64, parameter groups, state, errors."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim

SHAPES = [(33, 65), (65,), (3, 1, 4), ()]


def start(seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    return values, [nn.Parameter(dl.tensor(v)) for v in values]


def gradients(step):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(s).astype(np.float32) for s in SHAPES]


def run(optimizer, parameters, steps, skip=lambda step, i: False):
    for step in range(steps):
        for i, (p, g) in enumerate(zip(parameters, gradients(step), strict=True)):
            p.grad = None if skip(step, i) else dl.tensor(g)
        optimizer.step()


def numpy_sgd(
    values, steps, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, skip=lambda s, i: False
):
    values, buffers = [v.astype(np.float64) for v in values], [None] * len(values)
    for step in range(steps):
        for i, g in enumerate(gradients(step)):
            if skip(step, i):
                continue
            d = g.astype(np.float64) + weight_decay * values[i]
            if momentum:
                buffers[i] = d if buffers[i] is None else momentum * buffers[i] + (1 - dampening) * d
                d = d + momentum * buffers[i] if nesterov else buffers[i]
            values[i] = values[i] - lr * d
    return values


def numpy_adam(
    values, steps, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, skip=lambda s, i: False
):
    values = [v.astype(np.float64) for v in values]
    m, v, count = ([np.zeros_like(x) for x in values], [np.zeros_like(x) for x in values], [0] * len(values))
    b1, b2 = betas
    for step in range(steps):
        for i, g in enumerate(gradients(step)):
            if skip(step, i):
                continue
            g = g.astype(np.float64)
            count[i] += 1
            if decoupled:
                values[i] = values[i] * (1 - lr * weight_decay)
            else:
                g = g + weight_decay * values[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            mhat, vhat = m[i] / (1 - b1 ** count[i]), v[i] / (1 - b2 ** count[i])
            values[i] = values[i] - lr * mhat / (np.sqrt(vhat) + eps)
    return values


def close(parameters, expected, rtol=2e-5):
    for p, e in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(np.asarray(p.detach()), e, rtol=rtol, atol=rtol)


SGD_CASES = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]
ADAM_CASES = [{"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3}, {"lr": 0.01, "weight_decay": 0.1}]


@pytest.mark.parametrize("settings", SGD_CASES, ids=str)
def test_sgd(settings):
    values, parameters = start()
    run(optim.SGD(parameters, **settings), parameters, 40)
    close(parameters, numpy_sgd(values, 40, **settings))


@pytest.mark.parametrize("settings", ADAM_CASES, ids=str)
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_adam(kind, settings):
    values, parameters = start()
    run(kind(parameters, **settings), parameters, 40)
    decoupled = kind is optim.AdamW
    settings = {"weight_decay": 0.01, **settings} if decoupled else settings
    close(parameters, numpy_adam(values, 40, decoupled=decoupled, **settings))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_parameters_without_gradient_are_skipped_and_keep_their_own_count(kind):
    def skip(step, i):
        return (step + i) % 3 == 0

    values, parameters = start()
    settings = {"lr": 0.05, "momentum": 0.9} if kind is optim.SGD else {"lr": 0.05}
    run(kind(parameters, **settings), parameters, 20, skip)
    reference = numpy_sgd if kind is optim.SGD else numpy_adam
    close(parameters, reference(values, 20, skip=skip, **settings))


@pytest.mark.filterwarnings("ignore:.*no parameter has a gradient")
def test_a_step_without_any_gradient_changes_nothing():
    values, parameters = start()
    optim.Adam(parameters).step()
    close(parameters, values, rtol=0)


@pytest.mark.smoke
def test_groups_have_settings_of_their_own():
    values, parameters = start()
    groups = [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "weight_decay": 0.5}]
    run(optim.Adam(groups, lr=0.01), parameters, 15)
    expected = numpy_adam(values, 15, lr=0.1)[:2] + numpy_adam(values, 15, lr=0.01, weight_decay=0.5)[2:]
    close(parameters, expected)


@pytest.mark.parametrize("how", ["property", "group", "update"])
def test_the_learning_rate_can_be_set_between_steps(how):
    values, parameters = start()
    optimizer = optim.SGD(parameters, lr=0.1)
    run(optimizer, parameters, 1)
    if how == "property":
        optimizer.lr = 0.5
    elif how == "group":
        optimizer.param_groups[0]["lr"] = 0.5
    else:
        optimizer.param_groups[0].update(lr=0.5)
    assert optimizer.lr == 0.5 and optimizer.param_groups[0]["lr"] == 0.5
    run(optimizer, parameters, 1)
    g = gradients(0)
    close(parameters, [v - 0.1 * x - 0.5 * x for v, x in zip(values, g, strict=True)], rtol=1e-6)


def test_other_settings_take_effect_too():
    values, parameters = start()
    optimizer = optim.Adam(parameters, lr=0.1)
    optimizer.param_groups[0]["betas"] = (0.5, 0.9)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    run(optimizer, parameters, 5)
    close(parameters, numpy_adam(values, 5, lr=0.1, betas=(0.5, 0.9), weight_decay=0.1))


def test_add_param_group_later():
    values, parameters = start()
    optimizer = optim.SGD(parameters[:1], lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": parameters[1:], "lr": 0.2})
    run(optimizer, parameters, 4)
    expected = numpy_sgd(values, 4, 0.1, 0.9)[:1] + numpy_sgd(values, 4, 0.2, 0.9)[1:]
    close(parameters, expected)
    with pytest.raises(ValueError, match="lr differs between groups"):
        _ = optimizer.lr
    optimizer.lr = 0.3
    assert [g["lr"] for g in optimizer.param_groups] == [0.3, 0.3]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_other_dtypes(kind, dtype):
    value = np.linspace(-2, 2, 37)
    p = nn.Parameter(dl.tensor(value, dtype=dtype))
    p.grad = dl.tensor(np.ones(37), dtype=dtype)
    kind([p], lr=0.5, weight_decay=0.0).step()
    assert p.dtype.name == dtype
    exact = np.asarray(dl.tensor(value, dtype=dtype), np.float64) - 0.5
    np.testing.assert_allclose(np.asarray(p.detach(), np.float64), exact, atol=2 * p.dtype.eps)


def test_parameters_of_several_dtypes_in_one_optimizer():
    parameters = [nn.Parameter(dl.ones(5, dtype=d)) for d in ("float32", "float64", "float32")]
    for p in parameters:
        p.grad = dl.ones(5, dtype=p.dtype)
    optim.SGD(parameters, lr=0.25).step()
    assert all(p.tolist() == [0.75] * 5 for p in (q.detach() for q in parameters))


def test_the_same_run_gives_the_same_bits():
    ends = []
    for _ in range(2):
        _, parameters = start()
        run(optim.Adam(parameters, lr=0.01), parameters, 10)
        ends.append([np.asarray(p.detach()).copy() for p in parameters])
    assert all((a == b).all() for a, b in zip(*ends, strict=True))


def test_zero_grad():
    _, parameters = start()
    optimizer = optim.SGD(parameters, lr=0.1)
    run(optimizer, parameters, 1)
    optimizer.zero_grad(set_to_none=False)
    assert all(not np.asarray(p.grad).any() for p in parameters)
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters)


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: optim.Adam(p, lr=0.05)])
def test_state_goes_on_where_it_was(make):
    _, whole = start()
    optimizer = make(whole)
    run(optimizer, whole, 3)
    state = optimizer.state_dict()
    copies = [nn.Parameter(dl.tensor(np.asarray(p.detach()))) for p in whole]
    other = make(copies)
    other.param_groups[0]["lr"] = 9.0
    other.load_state_dict(state)
    assert other.lr == 0.05
    run(optimizer, whole, 4)
    run(other, copies, 4)
    for a, b in zip(whole, copies, strict=True):
        np.testing.assert_array_equal(np.asarray(a.detach()), np.asarray(b.detach()))


def test_a_state_that_does_not_fit_changes_nothing():
    _, parameters = start()
    optimizer = optim.Adam(parameters, lr=0.05)
    run(optimizer, parameters, 1)
    before = optimizer.state_dict()
    _, fewer = start()
    for other, text in (
        (optim.Adam(fewer[:2]), "4 parameters in the state, 2 here"),
        (optim.SGD(fewer, lr=1.0), "settings amsgrad, betas, eps, lr, maximize, weight_decay"),
        (optim.Adam([nn.Parameter(dl.ones(2)) for _ in range(4)]), r"parameter 0: exp_avg has shape \(33, 65\)"),
    ):
        with pytest.raises(ValueError, match=text):
            other.load_state_dict(before)
        assert other.state_dict()["state"] == {}


def test_clip_grad_norm():
    _, parameters = start()
    parameters.append(nn.Parameter(dl.ones(2)))  # has no gradient
    before = gradients(0)
    for p, g in zip(parameters, before, strict=False):
        p.grad = dl.tensor(g)
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before))
    assert float(optim.clip_grad_norm_(parameters, 1e6)) == pytest.approx(norm, rel=1e-5)
    for p, g in zip(parameters, before, strict=False):
        np.testing.assert_array_equal(np.asarray(p.grad), g)
    assert float(optim.clip_grad_norm_(iter(parameters), 0.5)) == pytest.approx(norm, rel=1e-5)
    for p, g in zip(parameters, before, strict=False):
        np.testing.assert_allclose(np.asarray(p.grad), g * (0.5 / norm), rtol=1e-4)
    assert float(optim.clip_grad_norm_([nn.Parameter(dl.ones(2))], 1.0)) == 0.0
    with pytest.raises(ValueError, match=r"max_norm is -1\.0"):
        optim.clip_grad_norm_(parameters, -1.0)


def test_clip_grad_value():
    parameters = [nn.Parameter(dl.zeros(4)), nn.Parameter(dl.zeros((2, 3))), nn.Parameter(dl.zeros(2))]
    parameters[0].grad = dl.tensor([float("nan"), float("inf"), -3.0, 0.25])
    parameters[1].grad = dl.tensor([[1.0, -1.0], [0.5, 2.0], [-0.5, 0.0]]).T
    optim.clip_grad_value_(iter([*parameters, parameters[0]]), 0.5)
    np.testing.assert_array_equal(np.asarray(parameters[0].grad), [np.nan, 0.5, -0.5, 0.25])
    np.testing.assert_array_equal(np.asarray(parameters[1].grad), [[0.5, 0.5, -0.5], [-0.5, 0.5, 0.0]])
    assert parameters[2].grad is None
    optim.clip_grad_value_(parameters[2], 0.5)
    for value, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
        with pytest.raises(error, match="clip_grad_value_: clip_value"):
            optim.clip_grad_value_(parameters, value)


def test_gradients_accumulated_over_two_halves_make_one_step():
    _, whole = start()
    _, halves = start()
    optimizers = [optim.Adam(p, lr=0.1) for p in (whole, halves)]
    x = [dl.tensor(v) for v in gradients(0)]
    for p, n in zip(whole, x, strict=True):
        (p * n).sum().backward()
    for weight in (0.25, 0.75):
        for p, n in zip(halves, x, strict=True):
            (p * n * weight).sum().backward()
    for parameters, optimizer in zip((whole, halves), optimizers, strict=True):
        assert float(optim.clip_grad_norm_(parameters, 1.0)) > 1
        optimizer.step()
    close(halves, [np.asarray(p.detach()) for p in whole], rtol=1e-5)
    assert optimizers[1].state_dict()["state"][0]["step"].item() == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "SGD: no parameters"),
        (lambda p: optim.SGD(p, lr=-0.1), ValueError, "SGD: lr is -0.1; it must be a number of at least 0"),
        (lambda p: optim.SGD(p, lr=float("nan")), ValueError, "SGD: lr is nan"),
        (lambda p: optim.SGD(p, lr="fast"), TypeError, "SGD: lr is 'fast'"),
        (lambda p: optim.SGD(p, lr=0.1, nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), ValueError, "Adam: betas"),
        (lambda p: optim.Adam(p, eps=-1.0), ValueError, "Adam: eps is -1.0"),
        (lambda p: optim.Adam([p[0], p[0]]), ValueError, "Adam: a parameter of shape .* is given twice"),
        (lambda p: optim.Adam([{"params": p[:1]}, {"params": p[:1]}]), ValueError, "given twice"),
        (lambda p: optim.Adam([{"params": p, "rate": 1}]), ValueError, "Adam: no setting is called 'rate'"),
        (lambda p: optim.Adam([{"lr": 1.0}]), ValueError, "Adam: a group needs 'params'"),
        (lambda p: optim.Adam([1.0]), TypeError, "Adam: parameter 0 is a float, not a Tensor$"),
        (lambda p: optim.Adam(nn.Sequential(nn.Linear(2, 2))), TypeError, "is a Linear, .*; give its parameters"),
        (lambda p: optim.Adam(p[0]), TypeError, "Adam: a list of parameters is needed, not one tensor"),
        (lambda p: optim.Adam([dl.ones(2)]), ValueError, "Adam: parameter 0 does not require a gradient"),
        (lambda p: optim.Adam([p[0] * 2]), ValueError, "Adam: parameter 0 is the result of an operation"),
    ],
)
def test_errors_name_things(make, error, text):
    with pytest.raises(error, match=text):
        make(start()[1])


def test_a_wrong_setting_later_leaves_the_old_one():
    _, parameters = start()
    optimizer = optim.SGD(parameters, lr=0.1)
    with pytest.raises(ValueError, match="lr is -1"):
        optimizer.lr = -1
    with pytest.raises(KeyError, match="no setting is called 'learning_rate'"):
        optimizer.param_groups[0]["learning_rate"] = 1
    assert optimizer.lr == 0.1


# ---- never silently wrong -------------------------------------------------------------------------------------------


def test_settings_by_attribute():
    a, b = nn.Parameter(dl.ones(1)), nn.Parameter(dl.ones(1))
    optimizer = optim.AdamW([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    optimizer.param_groups[0].lr = 0.25
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.5] and optimizer.param_groups[1].lr == 0.5
    with pytest.raises(ValueError, match="AdamW: lr differs between groups"):
        optimizer.lr
    optimizer.lr, optimizer.betas = 0.5, [0.5, 0.9]
    assert [g.betas for g in optimizer.param_groups] == [(0.5, 0.9)] * 2 and optimizer.lr == 0.5
    a.grad, b.grad = dl.ones(1), dl.ones(1)
    optimizer.weight_decay = 0
    optimizer.step()
    assert a.item() == b.item() == pytest.approx(0.5)
    for target in (optimizer, optimizer.param_groups[0]):
        with pytest.raises(AttributeError, match="no setting is called 'learning_rate'"):
            target.learning_rate = 1
        with pytest.raises(AttributeError):
            target.learning_rate
        for name, value in (("lr", -1), ("lr", float("nan")), ("betas", (0.9, 1.0)), ("lr", True), ("lr", "0.1")):
            with pytest.raises((TypeError, ValueError), match=f"AdamW: {name}"):
                setattr(target, name, value)
    assert optimizer.lr == 0.5


def test_what_is_added_to_a_group_is_not_lost():
    a, b = nn.Parameter(dl.ones(1)), nn.Parameter(dl.ones(1))
    optimizer = optim.SGD([a], lr=0.1)
    with pytest.raises(AttributeError):
        optimizer.param_groups.append({"params": [b]})
    with pytest.raises(AttributeError):
        optimizer.param_groups[0]["params"].append(b)
    with pytest.raises(AttributeError):
        optimizer.param_groups = []
    with pytest.raises(ValueError, match="is given twice"):
        optimizer.add_param_group({"params": [b, a]})
    optimizer.add_param_group({"params": [b]})
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 1]


def test_an_optimizer_of_ones_own_has_attributes():
    class Mine(optim.SGD):
        def __init__(self, params):
            super().__init__(params, lr=0.1)
            self.counter = 0

    mine = Mine([nn.Parameter(dl.ones(1))])
    mine.counter += 1
    mine.lr = 0.2
    assert (mine.counter, mine.param_groups[0]["lr"]) == (1, 0.2)


def test_clipping_counts_a_parameter_once_and_names_what_is_wrong():
    p = nn.Parameter(dl.zeros(2))
    p.grad = dl.tensor([3.0, 4.0])
    assert optim.clip_grad_norm_([p, p], 1.0).item() == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
    for max_norm, error in ((None, TypeError), ("1", TypeError), (float("nan"), ValueError), (-1, ValueError)):
        with pytest.raises(error, match="clip_grad_norm_: max_norm"):
            optim.clip_grad_norm_([p], max_norm)
    with pytest.raises(TypeError, match="clip_grad_norm_: parameter 1 None is not a tensor"):
        optim.clip_grad_norm_([p, None], 1.0)
    with pytest.raises(ValueError, match="clip_grad_norm_: norm_type is 0"):
        optim.clip_grad_norm_([p], 1.0, norm_type=0)
    p.grad = dl.tensor([float("nan"), 1.0])
    assert np.isnan(optim.clip_grad_norm_([p], 1.0).item()) and np.isnan(p.grad.numpy()).all()


def test_parameters_that_share_memory_are_not_stepped():
    whole = dl.ones(6)
    shared = [dl.Parameter(whole[:4]), dl.Parameter(whole[2:])]
    spread = [dl.Parameter(dl.ones(1).expand(3))]
    for parameters in (shared, spread):
        for make in (dl.optim.SGD, dl.optim.Adam):
            for p in parameters:
                p.grad = dl.ones_like(p)
            with pytest.raises(ValueError, match="share memory"):
                make(parameters, lr=0.1).step()
    assert whole.tolist() == [1.0] * 6
    parts = [dl.Parameter(whole[:3]), dl.Parameter(whole[3:])]  # of one buffer, but apart
    for p in parts:
        p.grad = dl.ones_like(p)
    dl.optim.SGD(parts, lr=0.5).step()
    assert whole.tolist() == [0.5] * 6


def test_a_gradient_that_lies_in_its_parameter_is_read_before_it_is_written():
    whole = dl.arange(6, dtype="float32")
    p = dl.Parameter(whole[1:])
    p.grad = whole[:-1]
    dl.optim.SGD([p], lr=1.0).step()
    assert whole.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_asking_whether_there_is_a_setting_reads_none():
    w = nn.Parameter(dl.ones(2))
    optimizer = optim.SGD([w], lr=0.5)
    group = optimizer.param_groups[0]
    step = dl.capture(lambda x: x * 2 if "lr" in group and "rate" not in group else x)
    assert [step(dl.ones(())).item() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert step.recordings == 1


def test_zero_grad_takes_a_truth_value():
    optimizer = optim.SGD([nn.Parameter(dl.ones(2))], lr=0.5)
    with pytest.raises(TypeError, match=r"SGD\.zero_grad: set_to_none 'no' is neither True nor False"):
        optimizer.zero_grad("no")


# ---- names, and parameters without weight decay ---------------------------------------------------------------------


def test_no_decay_by_words_in_names():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = optim.SGD(model.named_parameters(), lr=0.5, weight_decay=0.5, no_decay=("bias", "1.weight"))
    decayed, spared = optimizer.param_groups
    assert decayed.names == ("0.weight",) and spared.names == ("0.bias", "1.weight", "1.bias")
    assert (decayed.weight_decay, spared.weight_decay) == (0.5, 0.0)
    before = {name: np.asarray(p.detach()).copy() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = dl.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.75 if name == "0.weight" else 1.0
        np.testing.assert_array_equal(np.asarray(p.detach()), before[name] * np.float32(factor))
    optimizer.weight_decay = 0.25  # a setting of those that decay
    assert [g.weight_decay for g in optimizer.param_groups] == [0.25, 0.0] and optimizer.weight_decay == 0.25
    optimizer.lr = 0.1
    assert [g.lr for g in optimizer.param_groups] == [0.1, 0.1]


def test_no_decay_of_all_with_one_axis_needs_no_names():
    parameters = [nn.Parameter(dl.ones(s)) for s in ((2, 2), (3,), (), (1, 1))]
    optimizer = optim.AdamW(parameters, no_decay=True)
    assert [[p.shape for p in g["params"]] for g in optimizer.param_groups] == [[(2, 2), (1, 1)], [(3,), ()]]
    optimizer.add_param_group({"params": [("a", nn.Parameter(dl.ones(2)))], "weight_decay": 0.5})
    assert [g.weight_decay for g in optimizer.param_groups] == [0.01, 0.0, 0.0]
    only = optim.AdamW([parameters[1]], no_decay=True)
    assert [g.weight_decay for g in only.param_groups] == [0.0]
    only.weight_decay = 0.5  # there is no group that decays
    assert only.weight_decay == 0.5


def test_names_change_no_numbers():
    _, named = start()
    _, plain = start()
    by_name = optim.Adam([(f"p{i}", p) for i, p in enumerate(named)], lr=0.01)
    by_group = optim.Adam([{"params": [("a", plain[0])]}, {"params": plain[1:]}], lr=0.01)
    run(by_name, named, 3)
    run(by_group, plain, 3)
    for p, q in zip(named, plain, strict=True):
        np.testing.assert_array_equal(np.asarray(p.detach()), np.asarray(q.detach()))
    assert [g.names for g in by_group.param_groups] == [("a",), ()]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.AdamW(p, no_decay=("bias",)), ValueError, r"no_decay=\('bias',\) needs names"),
        (lambda p: optim.AdamW(p, no_decay=1), TypeError, "AdamW: no_decay 1 is not a list of words"),
        (lambda p: optim.AdamW(p, no_decay=[1]), TypeError, r"AdamW: no_decay\[0\] 1 is not a text"),
        (lambda p: optim.AdamW(p, no_decay=[""]), ValueError, r"AdamW: no_decay\[0\] is empty"),
        (lambda p: optim.AdamW([("a", p[0]), p[1]]), TypeError, "AdamW: parameter 1 has no name, and others have"),
        (lambda p: optim.AdamW([p[0], {"params": p[1]}]), TypeError, "AdamW: parameter 1 is a dict"),
        (lambda p: optim.AdamW([{"params": p[1]}, p[0]]), ValueError, "AdamW: a group needs 'params'"),
    ],
)
def test_errors_of_names(make, error, text):
    with pytest.raises(error, match=text):
        make(start()[1])


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    w = nn.Parameter(dl.tensor([1.0, 2.0]))
    optimizer = optim.SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with dl.no_grad():
        assert optimizer.step(closure).item() == 5.0
    assert w.tolist() == [0.5, 1.0]
    with pytest.raises(TypeError, match=r"SGD\.step: closure 3 is not a function"):
        optimizer.step(3)
