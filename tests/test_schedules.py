"""Schedules: PyTorch's rates, use in eager and recorded steps, state, errors."""

import json
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.optim import schedules

CURVES = json.loads((Path(__file__).parent / "optim_curves.json").read_text())
EVERY = [
    schedules.Constant(),
    schedules.Step(every=5),
    schedules.MultiStep(at=[0.5, 0.75]),
    schedules.Exponential(0.9),
    schedules.Exponential(final=1e-3),
    schedules.Cosine(final=0.01),
    schedules.Cosine(period=0.25, growth=1.5),
    schedules.Linear(),
    schedules.Polynomial(),
    schedules.OneCycle(peak=0.3),
    schedules.WarmupStableDecay(anneal="sqrt"),
    schedules.Function(lambda k: 0.5**k),
    schedules.Plateau(),
]


def metrics():
    rng = np.random.default_rng(8)
    return [float(x) for x in 1 / (1 + np.arange(30) / 4) + 0.2 * rng.standard_normal(30)]


def made(lr=0.2, groups=1):
    parameters = [nn.Parameter(dl.ones(3)) for _ in range(groups)]
    optimizer = optim.SGD([{"params": [p], "lr": lr / (1 + k)} for k, p in enumerate(parameters)])
    for p in parameters:
        p.grad = dl.ones(3)
    return optimizer, parameters


@pytest.mark.parametrize("case", CURVES["schedules"], ids=lambda c: f"{c['name']}-{c['settings']}")
def test_the_rates_are_pytorchs(case):
    schedule = schedules.get(case["name"])(**case["settings"])
    np.testing.assert_allclose(schedule.rates(40, base=0.2), case["rates"], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("case", CURVES["plateaus"], ids=lambda c: str(c["settings"]))
def test_plateau_lowers_the_rate_when_pytorch_does(case):
    optimizer, _ = made()
    schedule = schedules.Plateau(**case["settings"])
    schedule.prepare(optimizer, 1000)
    found = []
    for metric in metrics():
        found += schedule.rates_now
        optimizer.step()
        schedule.step(metric)
    np.testing.assert_allclose(found, case["rates"], rtol=1e-12)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda s: type(s).__name__)
def test_every_step_uses_its_rate(schedule):
    for recorded in (False, True):
        optimizer, parameters = made(groups=2)
        schedule.prepare(optimizer, 20)
        expected = [schedule.rates(20, 0.2 / (1 + k)) for k in range(2)]
        step = dl.capture(lambda o=optimizer: o.step()) if recorded else optimizer.step
        for k in range(23):
            rates = [e[min(k, len(e) - 1)] for e in expected]
            assert schedule.position == k and schedule.rates_now == rates
            before = [np.asarray(p.detach()).copy() for p in parameters]
            step()
            for p, b, rate in zip(parameters, before, rates, strict=True):
                np.testing.assert_array_equal(np.asarray(p.detach()), b - np.float32(rate))
        assert not recorded or step.recordings == 1
        assert optimizer.param_groups[0]["lr"] == 0.2  # what the schedule starts from


def test_warmup_rises_in_a_straight_line_and_is_counted_in_steps_or_parts():
    assert schedules.Constant(warmup=4).rates(6).tolist() == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    for kind in (schedules.Cosine, schedules.Linear, schedules.Polynomial):
        np.testing.assert_array_equal(kind(warmup=0.25).rates(8), kind(warmup=2).rates(8))
        np.testing.assert_array_equal(kind(warmup=2).rates(8)[2:], kind().rates(6))
    stable = schedules.WarmupStableDecay(warmup=0.25, decay=0.25).rates(8)
    np.testing.assert_allclose(stable, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 0.5])


@pytest.mark.parametrize("schedule", EVERY, ids=lambda s: type(s).__name__)
def test_a_run_goes_on_with_the_same_rates(schedule):
    optimizer, _ = made()
    schedule.prepare(optimizer, 20)
    for _ in range(7):
        optimizer.step()
        if isinstance(schedule, schedules.Plateau):
            schedule.step(1.0)
    state = json.loads(json.dumps(schedule.state_dict()))
    rest = [(optimizer.step(), schedule.rates_now)[1] for _ in range(5)]
    other, _ = made()
    schedule.prepare(other, 9)
    schedule.load_state_dict(state)
    assert (schedule.total, schedule.position) == (20, 7)
    assert [(other.step(), schedule.rates_now)[1] for _ in range(5)] == rest


def test_a_plateau_that_has_lowered_the_rate_goes_on():
    def run(schedule, optimizer, metrics):
        found = []
        for metric in metrics:
            optimizer.step()
            schedule.step(metric)
            found += schedule.rates_now
        return found

    straight, optimizer = schedules.Plateau(patience=1, factor=0.5), made()[0]
    straight.prepare(optimizer, 100)
    whole = run(straight, optimizer, metrics())
    first, optimizer = schedules.Plateau(patience=1, factor=0.5), made()[0]
    first.prepare(optimizer, 100)
    run(first, optimizer, metrics()[:13])
    second, other = schedules.Plateau(patience=1, factor=0.5), made()[0]
    second.prepare(other, 100)
    second.load_state_dict(first.state_dict())
    assert run(second, other, metrics()[13:]) == whole[13:] and len(set(whole)) > 3


def test_setting_the_rate_changes_what_the_schedule_starts_from():
    optimizer, (p,) = made(1.0)
    schedule = schedules.Linear()
    schedule.prepare(optimizer, 4)
    step = dl.capture(lambda: optimizer.step())
    step(), step()
    optimizer.lr = 0.5
    assert schedule.rates_now == [0.25] and schedule.position == 2
    step()
    np.testing.assert_allclose(np.asarray(p.detach()), 1 - 1 - 0.75 - 0.25)
    schedule.detach()
    assert optimizer.lr == 0.5
    step()
    np.testing.assert_allclose(np.asarray(p.detach()), -1.0 - 0.5)


def test_a_rate_with_which_the_schedule_fails_is_refused_before_anything_changes():
    optimizer, _ = made(1.0)
    schedule = schedules.Function(lambda k: 1e200)
    schedule.prepare(optimizer, 3)
    with pytest.raises(ValueError, match="Function: the rate of step 0 is inf"):
        optimizer.lr = 1e200
    assert optimizer.lr == 1.0 and schedule.rates_now == [1e200]


def test_groups_added_and_states_loaded_later_have_their_rates():
    optimizer, _ = made(1.0)
    schedule = schedules.Linear()
    schedule.prepare(optimizer, 4)
    optimizer.step()
    q = nn.Parameter(dl.ones(2))
    optimizer.add_param_group({"params": [q], "lr": 0.1})
    assert schedule.rates_now == [0.75, pytest.approx(0.075)]
    state = optimizer.state_dict()
    state["param_groups"][1]["lr"] = 0.4
    optimizer.load_state_dict(state)
    assert schedule.rates_now == [0.75, pytest.approx(0.3)]
    q.grad = dl.ones(2)
    optimizer.step()
    np.testing.assert_allclose(np.asarray(q.detach()), 0.7, rtol=1e-6)


def test_a_schedule_serves_one_optimizer_after_the_other():
    first, _ = made(1.0)
    second, _ = made(2.0)
    schedule = schedules.Linear()
    schedule.prepare(first, 4)
    first.step()
    schedule.prepare(second, 8)
    assert schedule.rates_now == [2.0]
    first.lr = 0.5  # goes on with four steps
    np.testing.assert_array_equal(np.asarray(first._rates)[:, 0], [0.5, 0.375, 0.25, 0.125])


@pytest.mark.filterwarnings("ignore:.*no parameter has a gradient")
def test_a_step_without_gradients_is_none():
    optimizer, (p,) = made()
    schedule = schedules.Linear()
    schedule.prepare(optimizer, 4)
    p.grad = None
    optimizer.step()
    assert schedule.position == 0


def test_names():
    assert schedules.get("one_cycle") is schedules.get("OneCycle") is schedules.OneCycle
    assert optim.get("AdamW") is optim.get("adamw") is optim.AdamW
    with pytest.raises(ValueError, match=r"schedules\.get: name 'cosin' is not .*; did you mean 'cosine'\?"):
        schedules.get("cosin")
    with pytest.raises(ValueError, match=r"optim\.get: name 'adamv' is not the name of an optimizer; did you mean"):
        optim.get("adamv")
    with pytest.raises(TypeError, match="None is not the name of a schedule"):
        schedules.get(None)
    with pytest.raises(ValueError, match=r"schedules\.make: 'step' needs .*schedules\.Step\(\.\.\.\).*'every'"):
        schedules.make("step")
    assert schedules.make("cosine", warmup=3).warmup == 3


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: schedules.Cosine(warmup=-1), ValueError, "Cosine: warmup is -1"),
        (lambda: schedules.Cosine(warmup=1.5), ValueError, "Cosine: warmup is 1.5; it must be a whole number of steps"),
        (lambda: schedules.Cosine(warmup="long"), TypeError, "Cosine: warmup 'long' is not a number"),
        (lambda: schedules.Cosine(final=float("nan")), ValueError, "Cosine: final is nan"),
        (lambda: schedules.Cosine(period=0), ValueError, "Cosine: period is 0"),
        (lambda: schedules.Cosine(growth=0.5), ValueError, "Cosine: growth is 0.5"),
        (lambda: schedules.Cosine(warmup=30).rates(20), ValueError, "warmup takes 30 steps, and there are 20"),
        (lambda: schedules.Step(every=0), ValueError, "Step: every is 0"),
        (lambda: schedules.MultiStep(at=5), TypeError, "MultiStep: at 5 is not a list of numbers of steps"),
        (lambda: schedules.Exponential(), ValueError, "give either factor"),
        (lambda: schedules.Exponential(0.9, 0.1), ValueError, "give either factor"),
        (lambda: schedules.OneCycle(anneal="cosine"), ValueError, "OneCycle: anneal 'cosine' is not one of 'cos'"),
        (lambda: schedules.Plateau(factor=1.0), ValueError, "Plateau: factor is 1.0; it must be a number below 1"),
        (lambda: schedules.Plateau(mode="lowest"), ValueError, "Plateau: mode 'lowest' is not one of"),
        (lambda: schedules.Function(0.5), TypeError, "Function: factor 0.5 is not a function"),
        (lambda: schedules.Function(lambda k: 1 - k).rates(5), ValueError, "Function: the rate of step 2 is -1.0"),
        (lambda: schedules.Function(lambda k: "x").rates(5), TypeError, r"Function: factor\(0\) 'x' is not a number"),
        (lambda: schedules.Linear().rates(0), ValueError, "Linear: total is 0"),
        (lambda: schedules.Linear().prepare(made()[0], 2**40), ValueError, "more than the 33554432 rates"),
        (lambda: schedules.Linear().prepare(None, 5), TypeError, "Linear.prepare: optimizer None is not an optimizer"),
        (lambda: schedules.Linear().step(), AttributeError, r"Linear has no step\(\)"),
        (lambda: schedules.Linear().position, RuntimeError, r"Linear.position: call prepare"),
        (lambda: schedules.Plateau().step(1.0), RuntimeError, r"Plateau.step: call prepare"),
        (lambda: prepared().load_state_dict({}), ValueError, "a dict of position, schedule, total is needed"),
        (
            lambda: prepared().load_state_dict({"schedule": "Cosine", "position": 1, "total": 2}),
            ValueError, "Linear.load_state_dict: the state is that of 'Cosine'",
        ),
        (
            lambda: prepared().load_state_dict({"schedule": "Linear", "position": -1, "total": 2}),
            ValueError, "position is -1",
        ),
    ],
)  # fmt: skip
def test_errors_name_things(make, error, text):
    with pytest.raises(error, match=text):
        make()


def prepared():
    schedule = schedules.Linear()
    schedule.prepare(made()[0], 5)
    return schedule
