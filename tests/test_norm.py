"""Normalisation in modules: state, modes, recorded steps, whole runs, wrong inputs."""

import copy
import pickle
import re

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn
from dlcore.train import Callback, Resume

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


# ---- the others; values are those of PyTorch 2.13 --------------------------------------------------------------------

SINES = dl.tensor((np.sin(np.arange(48, dtype=np.float32)) * 2).reshape(2, 6, 4))


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found.detach()), np.float32(wanted), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (3, [0.75835824, -0.93167746, 0.54946655, 0.31683493, -0.87988168, 0.88030791]),
        (4, [0.82227331, -1.01882327, 0.53825819, 0.2901597, -0.91907871, 0.94406074]),
    ],
)
def test_local_response_norm(size, wanted):
    layer = nn.LocalResponseNorm(size, alpha=0.5, k=1.5)
    close(layer(SINES)[1, :, 2], wanted)
    layer.layout = "NHWC"
    close(layer(SINES.permute(0, 2, 1))[1, 2], wanted)
    assert nn.functional.local_response_norm(SINES.astype(dl.float16), size).dtype is dl.float16


def test_instance_norm_with_running_statistics():
    layer = nn.InstanceNorm1d(6, affine=True, track_running_stats=True, momentum=0.25)
    with dl.no_grad():
        layer.weight.copy_(dl.arange(6) / 3)
        layer.bias.copy_(dl.arange(6) - 2.0)
    close(layer(SINES)[1, :, 2], [-2.0, -1.39022195, 0.14853476, 1.50587380, 0.74680179, 4.76257086])
    close(layer.running_mean, [0.16080579, -0.19518457, 0.0943565, 0.07183352, -0.18826354, 0.174281])
    close(layer.running_var, [1.22963285, 1.15186726, 1.3373704, 1.36115479, 1.16873014, 1.20094132])
    layer.eval()
    close(layer(SINES)[1, :, 2], [-2.0, -1.5531081, 0.55561274, 1.44648004, -0.02855836, 5.47791243])
    close(layer(SINES[1])[:, 2], layer(SINES)[1, :, 2].detach())


def test_layouts_of_whole_modules_agree():
    x = images(4, 6, 3)
    moved = x.permute(0, 2, 3, 1)
    tracked = nn.InstanceNorm2d(6, track_running_stats=True)
    for layer in [nn.BatchNorm2d(6), nn.GroupNorm(3, 6), nn.InstanceNorm2d(6), tracked]:
        wanted = layer(x).permute(0, 2, 3, 1)
        layer.layout = "NHWC"
        close(layer(moved), wanted.detach())


def test_weight_norm_trains_length_and_direction():
    layer = nn.Linear(3, 2)
    layer.load_state_dict({"weight": np.float32([[3, 0, 4], [1, 2, 2]]), "bias": np.zeros(2, np.float32)})
    x = dl.tensor([[1.0, 2.0, 3.0]])
    before = layer(x).detach()
    assert nn.parametrize.weight_norm(layer) is layer and isinstance(layer, nn.Linear)
    assert nn.utils.parametrizations.weight_norm is nn.parametrize.weight_norm
    close(layer(x), before)
    names = ["original0", "original1"]
    assert list(layer.state_dict()) == ["bias", *(f"parametrizations.weight.{name}" for name in names)]
    made = layer.parametrizations["weight"]
    with dl.no_grad():
        made.original0.copy_(dl.tensor([[2.0], [6.0]]))
    (layer(x) ** 2).sum().backward()
    close(layer(x), [[6, 22]])
    close(made.original0.grad, [[36.0], [161.33333]])
    close(made.original1.grad, [[-3.84, 9.6, 2.88], [-19.5555496, -39.111099, 48.888901]])
    layer.weight = dl.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]])
    close(made.original0, [[5], [1]])
    nn.parametrize.remove_parametrizations(layer)
    assert type(layer) is nn.Linear and list(layer.state_dict()) == ["bias", "weight"]
    close(layer.weight, [[0, 3, 4], [1, 0, 0]])


def test_spectral_norm_takes_a_step_of_the_power_method_where_it_trains():
    layer = nn.Linear(3, 2, bias=False)
    layer.load_state_dict({"weight": np.float32([[3, 0, 4], [1, 2, 2]])})
    nn.parametrize.spectral_norm(layer)
    names = ["original", "0._u", "0._v"]
    assert list(layer.state_dict()) == [f"parametrizations.weight.{name}" for name in names]
    start = {"_u": np.float32([0.6, 0.8]), "_v": np.float32([0, 0.6, 0.8])}
    layer.load_state_dict({f"parametrizations.weight.0.{name}": v for name, v in start.items()}, strict=False)
    x = dl.tensor([[1.0, 2.0, 3.0]])
    out = layer(x)
    (out**2).sum().backward()
    close(out, [[2.78713179, 2.04389668]])
    close(layer.parametrizations["weight"].original.grad,
          [[-0.77452624, 1.25395143, 0.42102885], [-0.82444137, 0.80374569, -0.07179236]])  # fmt: skip
    after = state_of(layer)
    close(dl.tensor(after["parametrizations.weight.0._u"]), [0.75257665, 0.65850461])
    layer.eval()(x)
    assert same(after, state_of(layer))


@pytest.mark.parametrize("norm", [nn.parametrize.weight_norm, nn.parametrize.spectral_norm])
def test_parametrised_steps_are_recorded(norm):
    batches = [dl.tensor(RNG.standard_normal((4, 5)).astype(np.float32)) for _ in range(4)]

    def run(record):
        dl.manual_seed(5)
        model = nn.Sequential(norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 2))
        optimizer = dl.optim.Adam(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        step = dl.capture(step) if record else step
        return [step(x).item() for x in batches], state_of(model)

    (eager, state), (replayed, after) = run(False), run(True)
    assert eager == replayed and same(state, after)


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)),
                                    lambda m: pickle.loads(pickle.dumps(m, 0))])  # fmt: skip
def test_copies_have_parametrisations_of_their_own(norm, copied):
    layer = norm(nn.Linear(3, 2))
    norm(layer, "bias", dim=0)
    again, x = copied(layer).eval(), dl.ones(1, 3)
    before = layer.eval()(x).tolist()
    assert again(x).tolist() == before and type(again) is type(layer)
    assert same(state_of(layer), state_of(again))
    again.load_state_dict({name: value * 0.5 for name, value in state_of(layer).items()})
    assert layer(x).tolist() == before
    again.load_state_dict(state_of(layer))
    nn.utils.parametrize.remove_parametrizations(again)
    assert nn.utils.parametrize.is_parametrized(again, "bias") and isinstance(again.weight, nn.Parameter)
    nn.utils.parametrize.remove_parametrizations(again, "bias")
    assert type(again) is nn.Linear
    close(again(x), before)
    assert layer(x).tolist() == before and not isinstance(layer.weight, nn.Parameter)


def test_saved_statistics_and_parametrisations_come_back(tmp_path):
    def made():
        return nn.Sequential(nn.parametrize.weight_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4, momentum=None))

    model, x = made(), dl.tensor(RNG.standard_normal((6, 3)).astype(np.float32))
    model(x)
    dl.save(model, tmp_path / "m.safetensors")
    loaded = dl.load(made(), tmp_path / "m.safetensors")
    assert same(state_of(model), state_of(loaded)) and loaded[1].num_batches_tracked.item() == 1
    np.testing.assert_array_equal(model.eval()(x).detach().numpy(), loaded.eval()(x).detach().numpy())
    whole = nn.Sequential(nn.BatchNorm1d(3, eps=0.5), nn.GroupNorm(1, 3), nn.LayerNorm(3, bias=False), nn.RMSNorm(3))
    whole(x)
    dl.save(whole, tmp_path / "w.safetensors")
    again = dl.load(tmp_path / "w.safetensors")
    assert repr(again) == repr(whole) and same(state_of(whole), state_of(again))


def test_fit_trains_by_batches_and_evaluates_by_running_statistics():
    x, y = RNG.standard_normal((64, 3)).astype(np.float32) * 3 + 5, RNG.integers(0, 2, 64)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    dl.fit(model, (x, y), epochs=3, batch_size=16, loss=dl.cross_entropy, progress=False, seed=0,
           optimizer=dl.optim.SGD(model.parameters(), lr=0.01))  # fmt: skip
    state = state_of(model)
    assert state["0.num_batches_tracked"] == 12 and (np.abs(state["0.running_mean"]) > 1).all()
    dl.predict(model, x)
    assert same(state, state_of(model))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout1d, (20, 30, 7)),
        (nn.Dropout2d, (20, 30, 2, 3)),
        (nn.Dropout2d, (20, 30, 5)),
        (nn.Dropout3d, (20, 30, 2, 1, 3)),
    ],
)
def test_dropout_of_channels(layer, shape):
    dl.manual_seed(1)
    out = layer(0.25)(dl.ones(shape)).numpy().reshape(20, 30, -1)
    assert (out == out[:, :, :1]).all()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.19 < (out[:, :, 0] == 0).mean() < 0.31
    assert layer(0.25).eval()(dl.ones(shape)).numpy().min() == 1


def test_dropout_of_one_sample_and_of_channels_last():
    dl.manual_seed(2)
    out = nn.Dropout1d(0.5)(dl.ones(200, 4)).numpy()
    assert (out == out[:, :1]).all() and 60 < (out[:, 0] == 0).sum() < 140
    out = nn.functional.dropout2d(dl.ones(10, 2, 3, 20), 0.5, layout="NHWC").numpy()
    assert (out == out[:, :1, :1]).all() and (out[:, 0, 0] == 0).any() and (out[:, 0, 0] == 2).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.LayerNorm(3)(dl.ones(2, 4)), dl.ShapeError,
         "layer_norm: x of shape (2, 4) does not end in normalized_shape (3,)"),
        (lambda: dl.layer_norm(dl.ones(2, 3), 3, dl.ones(2)), dl.ShapeError,
         "layer_norm: weight has shape (2,), not (3,), for x of shape (2, 3)"),
        (lambda: dl.rms_norm(dl.ones(2, 3), ()), dl.ShapeError,
         "rms_norm: x of shape (2, 3) does not end in normalized_shape ()"),
        (lambda: nn.GroupNorm(4, 6), ValueError, "GroupNorm: 6 channels do not make 4 groups"),
        (lambda: dl.group_norm(dl.ones(2, 6), 4), dl.ShapeError,
         "group_norm: 6 channels do not make 4 groups, for x of shape (2, 6)"),
        (lambda: dl.group_norm(dl.ones(2, 6), 6), dl.ShapeError,
         "group_norm: x of shape (2, 6) has 1 value a group; a variance needs 2"),
        (lambda: dl.instance_norm(dl.ones(2, 3, 1)), dl.ShapeError,
         "instance_norm: x of shape (2, 3, 1) has 1 value a channel; a variance needs 2"),
        (lambda: nn.InstanceNorm2d(3)(dl.ones(2, 4, 2, 2)), dl.ShapeError,
         "InstanceNorm2d: x of shape (2, 4, 2, 2) has 4 channels, not 3"),
        (lambda: dl.local_response_norm(dl.ones(2, 3), 2), dl.ShapeError,
         "local_response_norm: x has shape (2, 3); it needs axes behind images and channels"),
        (lambda: dl.local_response_norm(dl.ones(2, 3, 1, dtype=dl.int64), 2), dl.DTypeError,
         "local_response_norm: x (2, 3, 1) is of int64; it must be of a floating dtype: x.float()"),
        (lambda: dl.local_response_norm(dl.ones(2, 3, 1), 0), ValueError,
         "local_response_norm: size is 0, less than 1"),
        (lambda: nn.Dropout2d(1.5), ValueError, "Dropout2d: p is a probability, not 1.5"),
        (lambda: nn.functional.dropout3d(dl.ones(2, 3)), dl.ShapeError,
         "dropout3d: takes 4 or 5 axes; x has shape (2, 3)"),
        (lambda: nn.parametrize.weight_norm(nn.ReLU()), ValueError, "weight_norm: ReLU has no parameter 'weight'"),
        (lambda: nn.parametrize.remove_parametrizations(nn.Linear(2, 2)), ValueError,
         "remove_parametrizations: Linear has no parametrisation of 'weight'"),
        (lambda: nn.parametrize.spectral_norm(nn.parametrize.weight_norm(nn.Linear(2, 2))), ValueError,
         "spectral_norm: ParametrizedLinear.weight has a parametrisation already"),
    ],
)  # fmt: skip
def test_wrong_inputs_of_the_others(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


# ---- whole trainings -------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


class StopAt(Callback):
    """Ends the process, as it were, after a step."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, run):
        if run.step == self.step:
            raise Stopped


def trained(folder, *callbacks, **settings):
    dl.manual_seed(4)
    x, y = np.random.default_rng(8).standard_normal((2, 70, 6)).astype(np.float32)
    first, norm = nn.parametrize.spectral_norm(nn.Linear(6, 8)), nn.BatchNorm1d(8, momentum=None)
    model = nn.Sequential(first, norm, nn.Dropout(0.2), nn.Linear(8, 6))
    watching = [*callbacks, Resume(folder, every=3)] if folder else callbacks
    dl.fit(model, (x, y), (x, y), epochs=3, batch_size=16, loss=dl.mse_loss, callbacks=watching, progress=False,
           optimizer=dl.optim.AdamW(model.parameters(), lr=1e-2), **settings)  # fmt: skip
    return state_of(model)


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"accumulate": 2}, {"record": False}])
def test_a_training_that_was_stopped_goes_on_to_the_same_statistics(settings, tmp_path):
    wanted = trained(None, **settings)
    with pytest.raises(Stopped):
        trained(tmp_path, StopAt(8), **settings)
    assert same(trained(tmp_path, **settings), wanted)
    assert wanted["1.num_batches_tracked"] == 15


def test_under_autocast_layer_norm_gives_float32_and_batch_norm_the_dtype_of_its_input():
    first, batch, layer = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)
    with dl.autocast(dl.bfloat16):
        h = first(dl.ones(5, 3))
        out = batch(h)
        assert h.dtype is dl.bfloat16 and out.dtype is dl.bfloat16 and layer(out).dtype is dl.float32
        out.sum().backward()
    assert batch.running_mean.dtype is dl.float32 and batch.weight.grad.dtype is dl.float32


def test_running_statistics_that_are_views_are_written():
    means, variances = dl.zeros(3, 2), dl.zeros(2, 3)
    x = dl.tensor(RNG.standard_normal((8, 3, 2)).astype(np.float32))
    dl.batch_norm(x, means[:, 1], variances[1], training=True, momentum=1.0)
    close(means[:, 1], x.numpy().mean((0, 2)))
    close(variances[1], x.numpy().var((0, 2)) * (16 / 15))
    assert (means[:, 0].numpy() == 0).all() and (variances[0].numpy() == 0).all()


def test_vmap_normalises_each_example_by_itself():
    x = dl.tensor(RNG.standard_normal((3, 5, 4)).astype(np.float32))
    together = dl.func.vmap(lambda one: dl.batch_norm(one, training=True))(x)
    close(together[1], dl.batch_norm(x[1], training=True))
    with pytest.raises(ValueError, match="writes in place into a tensor that all examples share"):
        dl.func.vmap(lambda one: dl.batch_norm(one, dl.zeros(4), dl.ones(4), training=True))(x)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_rows_past_the_caches_have_the_bits_of_a_few(norm):
    rng = np.random.default_rng(0)
    shape, few = (3200, 2048), slice(1300, 1308)  # 25 MiB
    x, dout = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    weight = dl.tensor(rng.standard_normal(shape[1], dtype=np.float32))

    def run(rows):
        leaf = dl.tensor(x[rows]).requires_grad_()
        y = getattr(nn.functional, norm)(leaf, shape[1:], weight)
        y.backward(dl.tensor(dout[rows]))
        return np.asarray(y.detach()), np.asarray(leaf.grad)

    for whole, part in zip(run(slice(None)), run(few), strict=True):
        np.testing.assert_array_equal(whole[few], part)


_TINY = {
    "rows": ((4, 10), lambda x: nn.functional.layer_norm(x, (10,), eps=0.0)),
    "batch": ((2, 4, 5), lambda x: nn.functional.batch_norm(x, None, None, training=True, eps=0.0)),
    "batch, channels last": ((2, 5, 4), lambda x: nn.functional.batch_norm(
        x, None, None, training=True, eps=0.0, layout="NHWC")),
    "groups": ((2, 4, 5), lambda x: nn.functional.group_norm(x, 2, eps=0.0)),
    "groups, channels last": ((2, 5, 4), lambda x: nn.functional.group_norm(x, 2, eps=0.0, layout="NHWC")),
    "features": ((4, 10), lambda x: nn.functional.group_norm(x, 2, eps=0.0)),
}  # fmt: skip


@pytest.mark.parametrize("of", _TINY)
def test_the_gradient_of_tiny_variances_does_not_overflow(of):
    x, dout = np.linspace(-1, 2, 40, dtype=np.float32) ** 2, np.cos(np.arange(40, dtype=np.float32))
    shape, norm = _TINY[of]

    def gradient(size, factor):
        leaf = dl.tensor((x * np.float32(size)).reshape(shape)).requires_grad_()
        norm(leaf).backward(dl.tensor((dout * np.float32(factor)).reshape(shape)))
        return np.asarray(leaf.grad) * np.float32(size / factor)

    np.testing.assert_allclose(gradient(2.0**-50, 2.0**40), gradient(1, 1), rtol=1e-5, atol=1e-6)
