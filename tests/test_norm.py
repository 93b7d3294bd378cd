"""Normalisation in modules: state, modes, recorded steps, whole runs, wrong inputs."""

import re

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn

RNG = np.random.default_rng(11)


def images(n=8, channels=3, side=5):
    return dl.tensor(RNG.standard_normal((n, channels, side, side)).astype(np.float32))


def state_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_batch_norm_has_the_names_and_defaults_of_pytorch():
    layer = nn.BatchNorm2d(3)
    assert {k: (v.shape, v.dtype) for k, v in layer.state_dict().items()} == {
        "weight": ((3,), dl.float32), "bias": ((3,), dl.float32), "running_mean": ((3,), dl.float32),
        "running_var": ((3,), dl.float32), "num_batches_tracked": ((), dl.int64),
    }  # fmt: skip
    assert repr(layer) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    assert list(nn.BatchNorm1d(3, affine=False, track_running_stats=False).state_dict()) == []
    halves = nn.BatchNorm1d(3).to(dl.bfloat16)
    assert halves.running_var.dtype is dl.bfloat16 and halves.num_batches_tracked.dtype is dl.int64


def test_running_statistics_follow_the_batches_in_training_alone():
    layer, x = nn.BatchNorm1d(3, momentum=0.25), RNG.standard_normal((6, 3)).astype(np.float32) * 2 + 1
    layer(dl.tensor(x))
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var(0, ddof=1), rtol=1e-5)
    before = state_of(layer.eval())
    out = layer(dl.tensor(x[:1])).detach().numpy()
    assert same(before, state_of(layer))
    kept = (x[:1] - before["running_mean"]) / np.sqrt(before["running_var"] + 1e-5)
    np.testing.assert_allclose(out, kept, rtol=1e-5, atol=1e-6)


def test_momentum_none_is_the_mean_of_all_batches():
    layer, batches = nn.BatchNorm1d(2, momentum=None), RNG.standard_normal((5, 8, 2)).astype(np.float32)
    for x in batches:
        layer(dl.tensor(x))
    np.testing.assert_allclose(layer.running_mean.numpy(), batches.mean((0, 1)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.running_var.numpy(), batches.var(1, ddof=1).mean(0), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 5
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0 and layer.running_var.tolist() == [1.0, 1.0]


def test_without_running_statistics_evaluation_takes_those_of_the_batch():
    layer, x = nn.BatchNorm2d(3, track_running_stats=False), images()
    trained = layer(x).detach().numpy()
    np.testing.assert_array_equal(layer.eval()(x).detach().numpy(), trained)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_recorded_step_writes_what_eager_steps_write(momentum):
    batches = [images() for _ in range(5)]

    def run(record):
        dl.manual_seed(3)
        model = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.Flatten(), nn.Linear(75, 4), nn.BatchNorm1d(4))
        optimizer = dl.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 3).mean()
            loss.backward()
            optimizer.step()
            return loss

        step = dl.capture(step) if record else step
        losses = [step(x).item() for x in batches]
        return losses, state_of(model), getattr(step, "recordings", 0)

    (eager, state, _), (replayed, after, recordings) = run(False), run(True)
    assert eager == replayed and same(state, after) and recordings == 1
    assert state["0.num_batches_tracked"] == 5


def test_a_batch_that_is_not_finite_is_not_counted():
    layer, x = nn.BatchNorm1d(2), np.ones((4, 2), np.float32)
    x[:, 1] = RNG.standard_normal(4)
    layer(dl.tensor(x))
    before, x[2, 0] = state_of(layer), np.inf
    out = layer(dl.tensor(x)).detach().numpy()
    assert np.isnan(out[:, 0]).all() and np.isfinite(out[:, 1]).all() and same(before, state_of(layer))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.BatchNorm1d(3)(dl.ones(1, 3)), dl.ShapeError,
         "batch_norm: x of shape (1, 3) has 1 value a channel; a variance needs 2"),
        (lambda: nn.BatchNorm1d(3)(dl.ones(2, 4)), dl.ShapeError,
         "batch_norm: weight has shape (3,), not (4,), for x of shape (2, 4)"),
        (lambda: nn.BatchNorm2d(3)(dl.ones(2, 3)), dl.ShapeError, "BatchNorm2d: takes 4 axes; x has shape (2, 3)"),
        (lambda: nn.BatchNorm1d(3)(dl.ones(3)), dl.ShapeError, "BatchNorm1d: takes 2 or 3 axes; x has shape (3,)"),
        (lambda: dl.batch_norm(dl.ones(2, 3)), ValueError,
         "batch_norm: running_mean and running_var are needed where training is False"),
        (lambda: dl.batch_norm(dl.ones(2, 3), dl.ones(3)), ValueError,
         "batch_norm: running_mean and running_var belong together: one of them is None"),
        (lambda: dl.batch_norm(dl.ones(2, 3), dl.ones(3), dl.ones(3), layout="CNHW"), ValueError,
         "batch_norm: layout 'CNHW' is not one of 'NCHW', 'NHWC'"),
    ],
)  # fmt: skip
def test_wrong_inputs_of_batch_norm(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_running_statistics_that_are_no_numbers_are_refused():
    layer, x = nn.BatchNorm1d(2).eval(), dl.ones(3, 2)
    layer.running_var[1] = -0.5
    with pytest.raises(ValueError, match=re.escape("batch_norm: the running variance of channel 1 is -0.5")):
        layer(x)
    layer.running_var[1], layer.running_mean[0] = 1.0, np.nan
    with pytest.raises(ValueError, match=re.escape("batch_norm: the running mean of channel 0 is nan")):
        layer(x)


def test_statistics_of_16_bit_inputs_are_kept_in_float32():
    x = RNG.standard_normal((64, 3, 40)).astype(np.float32) + 8
    running = dl.zeros(3), dl.ones(3)
    out = dl.batch_norm(dl.tensor(x, dl.bfloat16), *running, dl.ones(3), dl.zeros(3), True, 1.0)
    assert out.dtype is dl.bfloat16
    rounded = dl.tensor(x, dl.bfloat16).astype(dl.float32).numpy().astype(np.float64)
    np.testing.assert_allclose(running[0].numpy(), rounded.mean((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(running[1].numpy(), rounded.var((0, 2)) * (2560 / 2559), rtol=1e-5)
