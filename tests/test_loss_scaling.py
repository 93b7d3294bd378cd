"""Steps that are left out: `optimizer.step(active=)`, `GradScaler`, and both in `fit`."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim

OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p, lr=0.1), lambda p: optim.LAMB(p, lr=0.1),
    lambda p: optim.Muon(p, lr=0.1), lambda p: optim.Adafactor(p, lr=0.1), lambda p: optim.NAdam(p, lr=0.1),
    lambda p: optim.ScheduleFreeAdamW(p, lr=0.1),
]  # fmt: skip


def state_of(parameters, optimizer):
    kept = [p.numpy().copy() for p in parameters]
    for entry in optimizer.state_dict()["state"].values():
        kept += [np.array(entry[slot].numpy()) for slot in sorted(entry)]
    return kept


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: type(make([nn.Parameter(dl.ones(2, 2))])).__name__)
def test_an_inactive_step_changes_nothing_and_an_active_one_is_the_plain_step(make):
    def model():
        dl.manual_seed(0)
        return [nn.Parameter(dl.randn((5, 3))), nn.Parameter(dl.randn((3,)))]

    gated, plain = model(), model()
    first, second = make(gated), make(plain)
    rng = np.random.default_rng(1)
    for bad in (False, True, False, True, False):
        grads = [rng.standard_normal(p.shape).astype(np.float32) for p in plain]
        for p, q, g in zip(gated, plain, grads, strict=True):
            p.grad, q.grad = dl.tensor(g * np.nan if bad else g), dl.tensor(g)
        before = state_of(gated, first)
        first.step(active=dl.tensor(not bad))
        if bad:
            assert same(before, state_of(gated, first))
        else:
            second.step()
    assert same(state_of(gated, first), state_of(plain, second))


def test_active_must_be_one_bool():
    p = nn.Parameter(dl.ones(2))
    p.grad = dl.ones(2)
    optimizer = optim.SGD([p], lr=1.0)
    with pytest.raises(TypeError, match=r"sgd: active has shape \(1,\) and dtype bool, not \(\) and bool"):
        optimizer.step(active=dl.tensor([True]))
    with pytest.raises(TypeError, match=r"sgd: active has shape \(\) and dtype float32, not \(\) and bool"):
        optimizer.step(active=dl.tensor(1.0))
    assert p.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"LBFGS\.step: active"):
        optim.LBFGS([p]).step(lambda: p.sum(), active=dl.tensor(True))


def make_step(scaler, model, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = dl.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def test_a_power_of_two_changes_no_bit():
    x, y = dl.randn((32, 4)), dl.randn((32, 2))
    model = nn.Linear(4, 2)
    other = copy.deepcopy(model)
    optimizers = [optim.Adam(m.parameters()) for m in (model, other)]
    step = make_step(optim.GradScaler(), model, optimizers[0])
    for _ in range(4):
        step(x, y)
        optimizers[1].zero_grad()
        dl.mse_loss(other(x), y).backward()
        optimizers[1].step()
    assert same([p.numpy() for p in model.parameters()], [p.numpy() for p in other.parameters()])


def test_a_loss_of_float16_is_scaled_in_float32_and_its_gradient_soon_fits():
    p = nn.Parameter(dl.ones(2, dtype="float16"))
    optimizer, scaler = optim.SGD([p], lr=1.0), optim.GradScaler(65536.0)
    for scaled, skipped in ((1.0, 1), (0.5, 1)):  # no float16 is as large as the first gradient
        optimizer.zero_grad()
        loss = scaler.scale((p * 2.0**-16).max())
        assert loss.dtype is dl.float32 and loss.item() == scaled
        loss.backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.skipped == skipped
    assert p.tolist() == [1.0, 1.0]  # less 2^-17, which float16 does not hold beside 1
    assert p.grad.tolist() == [2.0**-17] * 2


@pytest.mark.parametrize("recorded", [False, True])
def test_the_scale_shrinks_at_an_overflow_and_grows_after_good_steps(recorded):
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    scaler = optim.GradScaler(1024.0, growth_interval=2)
    step = make_step(scaler, model, optimizer)
    step = dl.capture(step) if recorded else step
    good, bad = dl.ones((4, 3)), dl.full((4, 3), float("inf"))
    y, scales, weights = dl.zeros((4, 1)), [], []
    for x in (good, good, bad, good, bad, good, good):
        step(x, y)
        scales.append(scaler.get_scale())
        weights.append(model.weight.numpy().copy())
    assert scales == [1024.0, 2048.0, 1024.0, 1024.0, 512.0, 512.0, 1024.0]
    assert scaler.skipped == 2
    assert np.array_equal(weights[1], weights[2]) and np.array_equal(weights[3], weights[4])
    assert not np.array_equal(weights[2], weights[3]) and np.isfinite(weights[-1]).all()


def test_unscaling_before_clipping():
    p = nn.Parameter(dl.ones(2))
    optimizer, scaler = optim.SGD([p], lr=1.0), optim.GradScaler(256.0)
    scaler.scale((p * dl.tensor([3.0, 4.0])).sum()).backward()
    assert p.grad.tolist() == [768.0, 1024.0]
    assert scaler.unscale_(optimizer).item() is True
    assert p.grad.tolist() == [3.0, 4.0]
    with pytest.raises(RuntimeError, match="divided already"):
        scaler.unscale_(optimizer)
    assert optim.clip_grad_norm_([p], 2.5).item() == 5.0
    scaler.step(optimizer)
    scaler.update()
    assert np.allclose(p.numpy(), [1 - 1.5, 1 - 2.0])


def test_two_optimizers_share_a_scale_and_one_overflow_shrinks_it():
    a, b = nn.Parameter(dl.ones(2)), nn.Parameter(dl.ones(2))
    optimizers, scaler = [optim.SGD([a], lr=1.0), optim.SGD([b], lr=1.0)], optim.GradScaler(16.0)
    scaler.scale(a.sum() + (b * float("inf")).sum()).backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert a.tolist() == [0.0, 0.0] and b.tolist() == [1.0, 1.0] and scaler.get_scale() == 8.0


def test_the_state_of_a_scaler_goes_on_and_wrong_ones_are_refused():
    scaler, other = optim.GradScaler(64.0), optim.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 64.0
    for wrong in ({}, {**scaler.state_dict(), "scale": np.float32(-1)}, {**scaler.state_dict(), "good": np.zeros(2)}):
        with pytest.raises(ValueError, match=r"GradScaler\.load_state_dict"):
            other.load_state_dict(wrong)
    for arguments in ({"init_scale": 0}, {"init_scale": 1e39}, {"growth_factor": 1}, {"backoff_factor": 1.0}):
        with pytest.raises(ValueError, match="GradScaler"):
            optim.GradScaler(**arguments)
    assert optim.GradScaler(enabled=False).get_scale() == 1.0


def digits(n=256):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8)).astype(np.float32)
    return x, (x[:, :3].argmax(1)).astype(np.int64)


def network():
    dl.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


def test_fit_in_float16_learns_recorded_and_scales_its_loss():
    model = network()
    history = dl.fit(
        model, digits(), loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=1e-2), epochs=12,
        batch_size=32, metrics=["accuracy"], autocast=dl.float16, clip_norm=1.0, progress=False,
    )  # fmt: skip
    assert history.recorded, history.reason
    assert history["accuracy"][-1] > 0.9 and history.diverged is None
    assert all(p.dtype is dl.float32 for p in model.parameters())


@pytest.mark.parametrize("record", [True, False])
def test_fit_leaves_out_a_batch_with_nan(record):
    x, y = digits()
    x[70, 2] = np.nan  # in the third batch of each epoch
    given = {"loss": "cross_entropy", "epochs": 2, "batch_size": 32, "shuffle": False, "progress": False}
    given["record"] = record
    model, reference = network(), network()
    damaged = pytest.warns(RuntimeWarning, match="inputs hold NaN")
    with damaged, pytest.warns(RuntimeWarning, match=r"left out.*: 1 up to epoch 1"):
        history = dl.fit(
            model, (x, y), optimizer=optim.Adam(model.parameters()), non_finite="skip", ema=0.9, **given
        )
    assert history.skipped == 2 and history.diverged is None and np.isfinite(history["loss"]).all()
    keep = np.r_[0:64, 96:256]
    plain = dl.fit(reference, (x[keep], y[keep]), optimizer=optim.Adam(reference.parameters()), ema=0.9, **given)
    assert same([p.numpy() for p in model.parameters()], [p.numpy() for p in reference.parameters()])
    assert np.allclose(history["loss"], plain["loss"], rtol=1e-12)


def test_a_run_that_leaves_out_steps_resumes_to_the_bit(tmp_path):
    x, y = digits()
    x[70, 2] = np.inf

    def run(epochs, model, folder):
        damaged = pytest.warns(RuntimeWarning, match="inputs hold NaN")
        with damaged, pytest.warns(RuntimeWarning, match="were not finite"):
            return dl.fit(
                model, (x, y), loss="cross_entropy", optimizer=optim.Adam(model.parameters()), epochs=epochs,
                batch_size=32, seed=1, non_finite="skip", progress=False,
                callbacks=[dl.train.Resume(tmp_path / folder)],
            )  # fmt: skip

    straight, parted = network(), network()
    run(4, straight, "a")
    run(2, parted, "b")
    history = run(4, parted, "b")
    assert same([p.numpy() for p in straight.parameters()], [p.numpy() for p in parted.parameters()])
    assert history.skipped == 4


def test_what_fit_refuses():
    model = network()
    given = {"optimizer": optim.SGD(model.parameters(), lr=0.1), "progress": False}
    with pytest.raises(ValueError, match='non_finite="skip" is for steps of fit'):
        dl.fit(model, digits(), step=lambda x, y: model(x).sum(), non_finite="skip", **given)
    with pytest.raises(ValueError, match="fit: autocast: float32 is not of 16 bits"):
        dl.fit(model, digits(), loss="cross_entropy", autocast=dl.float32, **given)
