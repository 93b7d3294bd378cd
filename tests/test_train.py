"""fit, evaluate, predict: curves pinned against NumPy, callbacks, histories, losses for every batch size."""

import functools
import gc
import os
import random
import re
import warnings

import numpy as np
import pytest
from fits import LABELS, TARGETS, PressCtrlC, Script, X, fit, network, same, weights

import dlcore as dl
from dlcore import _C, nn, optim
from dlcore.data import DataLoader, Normalize, TensorDataset, load_dataset, random_split
from dlcore.data.views import permutation
from dlcore.train import Callback, Checkpoint, EarlyStopping, LearningRate

# -- against the same network in NumPy -----------------------------------------------------------------------------


class NumpyMLP:
    """6-16-3 with tanh and cross-entropy, in float64."""

    def __init__(self, model):
        self.p = [np.asarray(v, np.float64).copy() for v in model.state_dict().values()]

    def loss_and_gradients(self, x, y):
        w1, b1, w2, b2 = self.p
        h = np.tanh(x @ w1.T + b1)
        z = h @ w2.T + b2
        z = z - z.max(1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        n = len(x)
        dz = np.exp(logp)
        dz[np.arange(n), y] -= 1
        dz /= n
        dh = dz @ w2 * (1 - h * h)
        return -logp[np.arange(n), y].mean(), [dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0)]

    def train(self, kind, epochs, batch_size, lr):
        m, v = ([np.zeros_like(p) for p in self.p] for _ in range(2))
        curve, t = [], 0
        for epoch in range(epochs):
            order, total = np.asarray(permutation(len(X), 7, epoch)), 0.0
            for start in range(0, len(X), batch_size):
                rows = order[start : start + batch_size]
                loss, grads = self.loss_and_gradients(X[rows].astype(np.float64), LABELS[rows])
                total, t = total + loss * len(rows), t + 1
                for i, g in enumerate(grads):
                    if kind == "SGD":
                        m[i] = 0.9 * m[i] + g
                        self.p[i] -= lr * m[i]
                    else:
                        m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
                        self.p[i] -= lr * m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            curve.append(total / len(X))
        return curve


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_the_loss_curve_is_numpys(kind):
    dl.manual_seed(0)
    model = network()
    reference = NumpyMLP(model)
    expected = reference.train(kind, epochs=8, batch_size=32, lr=0.02)
    settings = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(optim, kind)(model.parameters(), lr=0.02, **settings)
    history = fit(model, optimizer=optimizer, epochs=8, seed=7)
    np.testing.assert_allclose(history["loss"], expected, rtol=2e-5)
    assert expected[-1] < 0.8 * expected[0]
    for value, p in zip(model.state_dict().values(), reference.p, strict=True):
        np.testing.assert_allclose(np.asarray(value), p, rtol=1e-3, atol=1e-4)


def test_fit_equals_the_loop_by_hand_bit_for_bit():
    ends = []
    for by_hand in (False, True):
        dl.manual_seed(1)
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        if not by_hand:
            fit(model, optimizer=optimizer, seed=5)
        else:
            loader = DataLoader(TensorDataset(X, LABELS), batch_size=32, shuffle=True, seed=5)
            for _ in range(3):
                for x, y in loader:
                    loss = dl.cross_entropy(model(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        ends.append(weights(model))
    assert same(*ends)


# -- what fit returns and accepts ------------------------------------------------------------------------------------


def test_history_has_a_dict_per_epoch():
    history = fit(network(), (X, LABELS), (X[:40], LABELS[:40]), metrics=["accuracy", "top2"])
    assert len(history) == len(history.epochs) == 3 and history.recorded and not history.stopped_early
    assert list(history.epochs[0]) == [
        "epoch", "loss", "accuracy", "top2", "val_loss", "val_accuracy", "val_top2", "seconds",
    ]  # fmt: skip
    assert history["epoch"] == [1, 2, 3] and all(s > 0 for s in history["seconds"])
    assert "3 epochs" in repr(history) and "val_loss" in repr(history)
    with pytest.raises(KeyError, match="there are epoch, loss"):
        history["f1"]
    assert fit(network(), epochs=0).epochs == []


def test_validation_is_what_evaluate_says_and_the_last_short_batch_counts_for_its_samples():
    model = network()
    val = TensorDataset(X[:77], LABELS[:77])
    history = fit(model, TensorDataset(X, LABELS), val, metrics=["accuracy"])
    logits = np.asarray(dl.predict(model, X[:77], batch_size=7), np.float64)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -logp[np.arange(77), LABELS[:77]].mean()
    for batch_size in (10, 512):
        score = dl.evaluate(model, val, loss=dl.cross_entropy, metrics=["accuracy"], batch_size=batch_size)
        assert score["loss"] == pytest.approx(expected, rel=1e-5)
        assert score["accuracy"] == (logits.argmax(1) == LABELS[:77]).mean()
    assert history.epochs[-1]["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_loss_may_be_a_module_and_the_target_a_float():
    model = network(2)
    history = fit(model, TensorDataset(X, TARGETS), loss=nn.MSELoss(), epochs=30, metrics=["r2", "mae"])
    assert history["loss"][-1] < 0.2 * history["loss"][0] and history["r2"][-1] > 0.8


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_labels_of_any_integer_dtype(dtype):
    model = network()
    names = ["accuracy", "top2", "confusion_matrix"]
    history = fit(model, TensorDataset(X, LABELS.astype(dtype)), metrics=names, epochs=1)
    score = dl.evaluate(model, (X, LABELS.astype(dtype)), loss=dl.cross_entropy, metrics=names)
    expected = dl.evaluate(model, (X, LABELS), loss=dl.cross_entropy, metrics=names)
    assert history["confusion_matrix"][0].sum() == len(X)
    np.testing.assert_array_equal(score.pop("confusion_matrix"), expected.pop("confusion_matrix"))
    assert score == expected


def test_a_model_may_take_several_inputs():
    class Bilinear(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Linear(6, 3), nn.Linear(2, 3)

        def forward(self, a, b):
            return self.left(a) * self.right(b)

    data = TensorDataset(X, TARGETS, LABELS)
    history = fit(Bilinear(), data, data, epochs=5, metrics=["accuracy"])
    assert history["loss"][-1] < history["loss"][0]


def test_memory_does_not_grow_from_epoch_to_epoch():
    in_use = []
    gc.collect()
    fit(network(), metrics=["accuracy"], epochs=6, callbacks=[lambda run: in_use.append(_C.memory_stats()["in_use"])])
    assert len(set(in_use[1:])) == 1


def test_a_batch_that_cannot_fit_is_refused_with_the_largest_that_does(monkeypatch):
    model = network()
    before = weights(model)
    free = 400_000
    monkeypatch.setattr("dlcore.train.passes.available_memory", lambda device: free)
    data = np.zeros((4000, 6), np.float32), np.zeros(4000, np.int64)
    text = r"fit: a step with a batch of 4000 takes .* kB are free; a batch of \d+ fits"
    with pytest.raises(MemoryError, match=text) as error:
        fit(model, data, batch_size=4000)
    largest = int(re.search(r"a batch of (\d+) fits", str(error.value))[1])
    assert same(before, weights(model))
    fit(model, data, batch_size=largest, epochs=1)
    with pytest.raises(MemoryError):
        fit(network(), data, batch_size=largest + largest // 20)


def test_data_assembled_by_python_is_trained_on_by_recorded_steps():
    class Rows:
        def __len__(self):
            return len(X)

        def __getitem__(self, index):
            return X[index] * 2, LABELS[index]

    ends = []
    for data in (Rows(), (X * 2, LABELS)):
        dl.manual_seed(1)
        model = network()
        history = fit(model, data, epochs=3, batch_size=32)
        assert history.recorded
        ends.append(weights(model))
    assert same(*ends)


def test_fit_goes_on_without_recording_and_says_why():
    class Reads(nn.Module):
        def forward(self, x):
            return x * (1.0 if float(x.sum()) > -1e9 else 2.0)

    history = fit(nn.Sequential(Reads(), network()))
    assert not history.recorded and "a value is read back to the host" in history.reason and len(history) == 3


def test_modes_are_restored_and_dropout_is_off_in_evaluation():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.eval()
    model[1].training = True
    a, b = (np.asarray(dl.predict(model, X)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    dl.evaluate(model, (X, LABELS), loss=dl.cross_entropy)
    fit(model, validation=(X, LABELS))
    assert [m.training for m in model.modules()] == [False, False, True, False]


def test_fit_trains_with_dropout_on():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return x

    fit(nn.Sequential(Spy(), network()), validation=(X, LABELS), epochs=2, batch_size=150)
    assert seen == [True, False, True, False]


def test_the_same_seed_gives_the_same_run():
    ends = []
    for seed in (1, 1, 2):
        dl.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 3))
        fit(model, seed=seed)
        ends.append(weights(model))
    assert same(ends[0], ends[1]) and not same(ends[0], ends[2])


def test_transform_is_kept_and_used_by_evaluate_and_predict():
    shifted = X * 5 + 3
    train = TensorDataset(shifted, LABELS)
    model = network()
    transform = Normalize.of(train)
    fit(model, train, transform=transform)
    assert model.preprocessing is transform
    default = np.asarray(dl.predict(model, shifted))
    np.testing.assert_array_equal(default, np.asarray(dl.predict(model, transform(shifted), transform=None)))
    np.testing.assert_array_equal(default, np.asarray(dl.predict(model, train, transform=transform)))
    assert dl.evaluate(model, train, loss=dl.cross_entropy) != dl.evaluate(
        model, train, loss=dl.cross_entropy, transform=None
    )
    with pytest.raises(ValueError, match='"fitted"'):
        dl.predict(model, X, transform="none")


def test_predict_takes_arrays_tensors_lists_and_data_sets():
    model = network()
    expected = np.asarray(model(dl.tensor(X)).detach())
    for inputs in (X, dl.tensor(X), X.tolist(), TensorDataset(X, LABELS), TensorDataset(X)):
        out = dl.predict(model, inputs)
        assert out.shape == (150, 3) and not out.requires_grad
        np.testing.assert_allclose(np.asarray(out), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(dl.predict(model, X, batch_size=64)), expected, rtol=1e-5, atol=1e-6)


def test_clip_norm_bounds_the_step():
    model = network()
    before = weights(model)
    fit(model, optimizer=optim.SGD(model.parameters(), lr=1.0), epochs=1, batch_size=150, clip_norm=0.01)
    moved = np.sqrt(sum(((v - before[k]) ** 2).sum() for k, v in weights(model).items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: fit(m, TensorDataset(X[:0], LABELS[:0])), ValueError, "fit: train is empty"),
        (lambda m: fit(m, TensorDataset(X)), ValueError, "fit: train has inputs but no targets"),
        (lambda m: fit(m, X), TypeError, "a data set or a tuple"),
        (lambda m: fit(m, epochs=-1), ValueError, "epochs is -1; it must be at least 0"),
        (lambda m: fit(m, batch_size=0), ValueError, "batch_size is 0; it must be at least 1"),
        (lambda m: fit(m, optimizer=optim.SGD(network().parameters())), ValueError, "none of the model's parameters"),
        (lambda m: fit(m, metrics=["f9"]), ValueError, "'f9' is not known"),
        (lambda m: fit(m, metrics=["accuracy", "accuracy"]), ValueError, "names must differ"),
        (lambda m: fit(m, callbacks=[EarlyStopping(monitor="val_loss")]), ValueError, "'val_loss' is not measured"),
        (lambda m: fit(m, loss=lambda o, t: o.sum(axis=1)), dl.ShapeError, "the loss must be one number"),
        (lambda m: fit(m, loss=lambda o, t: None), TypeError, "fit: what the loss returned, None is not a tensor"),
        (lambda m: fit(m, loss=lambda o, t: 1.0), TypeError, "fit: what the loss returned, 1.0 is not a tensor"),
        (lambda m: dl.evaluate(m, (X, LABELS), loss=lambda o, t: o), dl.ShapeError, "evaluate: the loss must be one"),
        (lambda m: dl.evaluate(m, (X, LABELS), loss=lambda o, t: None), TypeError, "evaluate: what the loss returned"),
        (lambda m: fit(m, TensorDataset(X, LABELS + 5)), IndexError, "out of range"),
        (lambda m: fit(m, TensorDataset(X[:, :5], LABELS)), dl.ShapeError, "linear"),
        (lambda m: dl.evaluate(m, (X[:0], LABELS[:0])), ValueError, "evaluate: data is empty"),
        (lambda m: dl.predict(m, X[:0]), ValueError, "predict: the data is empty"),
    ],
)
def test_wrong_input_is_named_and_leaves_the_model(call, error, text):
    model = network()
    before = weights(model)
    with pytest.raises(error, match=text):
        call(model)
    assert same(before, weights(model)) and all(m.training for m in model.modules())


# -- callbacks -------------------------------------------------------------------------------------------------------


def test_early_stopping_waits_and_restores_the_best_weights():
    model, script = network(), Script([3, 2, 2.5, 2.0, 9, 1])
    history = fit(model, epochs=6, callbacks=[script, EarlyStopping(patience=3, restore_best=True)])
    assert len(history) == 5 and history.stopped_early
    assert same(weights(model), script.seen[1])


def test_early_stopping_restores_also_without_stopping():
    model, script = network(), Script([3, 1, 2])
    history = fit(model, callbacks=[script, EarlyStopping(patience=3, restore_best=True)])
    assert not history.stopped_early and same(weights(model), script.seen[1])


def test_early_stopping_knows_which_way_is_better_and_nan_is_not():
    stopper = EarlyStopping(patience=2, monitor="accuracy")
    script = Script([0.1, 0.5, float("nan"), 0.4], "accuracy")
    assert len(fit(network(), epochs=4, metrics=["accuracy"], callbacks=[script, stopper])) == 4
    assert stopper.best_epoch == 2
    with pytest.raises(ValueError, match='say mode="min" or mode="max"'):
        fit(network(), metrics=[lambda o, t: o.sum() * 0], callbacks=[EarlyStopping(monitor="<lambda>")])
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)


def test_min_delta():
    script = Script([3, 2.95, 2.9, 2.85])
    assert len(fit(network(), epochs=4, callbacks=[script, EarlyStopping(patience=2, min_delta=0.2)])) == 3


def test_checkpoint_saves_every_epoch_or_the_best(tmp_path):
    model, script = network(), Script([3, 1, 2])
    last, best = Checkpoint(tmp_path / "last"), Checkpoint(tmp_path / "best", save_best=True)
    fit(model, callbacks=[script, last, best])
    for path, epoch in (("last", 2), ("best", 1)):
        assert same(weights(dl.load(network(), tmp_path / path)), script.seen[epoch])


def test_save_best_never_replaces_a_better_model_of_an_earlier_run(tmp_path):
    path = tmp_path / "best"

    def run(scores, **settings):
        model, script, best = network(), Script(scores), Checkpoint(path, save_best=True, **settings)
        fit(model, epochs=len(scores), callbacks=[script, best])
        return script.seen, best, dl.load_state(path).metadata

    first, best, metadata = run([3, 1, 2])
    assert best.saved and (metadata["monitor"], float(metadata["score"])) == ("loss", 1.0)
    for scores in ([2.607, 1.0], [float("nan")]):
        _, best, _ = run(scores)
        assert not best.saved and same(weights(dl.load(network(), path)), first[1])
    better, best, metadata = run([1.5, 0.5, 0.75])
    assert best.saved and float(metadata["score"]) == 0.5
    assert same(weights(dl.load(network(), path)), better[1])
    last, _, metadata = run([9.0], mode="max")  # higher is better, and 0.5 is not
    assert float(metadata["score"]) == 9.0 and same(weights(dl.load(network(), path)), last[0])
    path.write_bytes(b"damaged")
    assert run([4.0])[1].saved
    dl.save(network(), path)  # it does not tell its loss
    assert run([5.0])[1].saved


def test_ctrl_c_with_save_best_keeps_the_better_file_of_an_earlier_run(tmp_path):
    script = Script([1])
    fit(network(), epochs=1, callbacks=[script, Checkpoint(tmp_path / "m", save_best=True)])
    with pytest.raises(KeyboardInterrupt) as stop:
        fit(network(), callbacks=[PressCtrlC(1, 1), Checkpoint(tmp_path / "m", save_best=True)])
    assert "saved" not in str(stop.value) and same(weights(dl.load(network(), tmp_path / "m")), script.seen[0])
    with pytest.raises(KeyboardInterrupt, match="the model is saved in"):
        fit(network(), callbacks=[PressCtrlC(1, 1), Checkpoint(tmp_path / "new", save_best=True)])


def test_learning_rate_schedule_and_plain_functions():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=9.0)
    rates, epochs = [], []

    class Watch(Callback):
        def on_batch_end(self, run):
            rates.append(run.optimizer.lr)

    callbacks = [LearningRate(lambda epoch: 0.1 / (epoch + 1)), Watch(), lambda run: epochs.append(run.epoch)]
    fit(model, optimizer=optimizer, epochs=2, batch_size=75, callbacks=callbacks)
    assert rates == [0.1, 0.1, 0.05, 0.05] and epochs == [1, 2]


def test_progress_prints_a_line_per_epoch(capsys):
    fit(network(), validation=(X, LABELS), progress=True)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 3 and lines[2].startswith("epoch 3/3  loss ") and "val_loss" in lines[2] and not shown.out
    fit(network())
    assert capsys.readouterr() == ("", ""), "a short run in a pipe"


def test_digits_are_learned():
    dl.manual_seed(0)
    train, test = random_split(load_dataset("digits"), [0.8, 0.2], seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(model, train, optimizer=optim.Adam(model.parameters(), lr=3e-3), epochs=15)
    assert dl.evaluate(model, test, metrics=["accuracy"])["accuracy"] > 0.93


def test_history_plots_its_curves(tmp_path):
    pytest.importorskip("matplotlib")
    history = fit(network(), validation=(X, LABELS), metrics=["accuracy"])
    figure = history.plot(tmp_path / "curves.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_plot_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    history, path = fit(network()), tmp_path / "curves.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="odd"):
        history.plot(tmp_path / "curves.odd")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*curves\.png'"):
        history.plot(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    history.plot(tmp_path / "named")
    assert (tmp_path / "named.png").exists()


# ---- never silently wrong -------------------------------------------------------------------------------------------


def _orders(monkeypatch, fits):
    """The orders of the samples in all epochs of some calls of fit, each with these options."""
    seen = []
    original = dl.data.Batches.order

    def order(self, epoch):
        found = original(self, epoch)
        if self.shuffle:
            seen.append(found.tolist())
        return found

    x = np.arange(12, dtype=np.float32)[:, None]
    with monkeypatch.context() as patch:
        patch.setattr(dl.data.Batches, "order", order)
        for options in fits:
            model = nn.Linear(1, 1)
            optimizer = optim.SGD(model.parameters(), lr=0.0)
            dl.fit(model, (x, x), loss=dl.mse_loss, optimizer=optimizer, batch_size=4, **options)
    return seen


@pytest.mark.filterwarnings("ignore:.*the learning rate is 0")
def test_fits_of_one_epoch_see_different_orders(monkeypatch):
    dl.manual_seed(0)
    first = _orders(monkeypatch, [{"epochs": 1}, {"epochs": 1}, {"epochs": 2}])
    assert len({tuple(order) for order in first}) == 4
    dl.manual_seed(0)
    assert _orders(monkeypatch, [{"epochs": 1}, {"epochs": 1}, {"epochs": 2}]) == first
    again = _orders(monkeypatch, [{"epochs": 1, "seed": 3}, {"epochs": 1, "seed": 3}])
    assert again[0] == again[1]


@pytest.mark.parametrize("bad", ["inputs", "targets", None])
def test_a_loss_that_is_not_finite_is_said_once(bad):
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    data = {"inputs": x.copy(), "targets": 3 * x}
    if bad:
        data[bad][3] = np.nan
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1 if bad else 1e30)
    cause = f"the {bad} hold NaN" if bad else "the training has diverged"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = dl.fit(model, (data["inputs"], data["targets"]), loss=dl.mse_loss, optimizer=optimizer, epochs=4)
    assert {w.filename for w in caught} == {__file__}
    texts = [str(w.message) for w in caught]
    if bad:
        assert texts.pop(0) == f"fit: the {bad} hold NaN or infinities in 1 of 16 samples, the first in sample 3"
    assert len(texts) == 1 and re.match(f"fit: loss is .* in epoch [12] since batch 1: {cause}", texts[0])
    assert history.diverged in (1, 2)


def test_a_finite_run_has_not_diverged():
    model = nn.Linear(1, 1)
    x = np.zeros((4, 1), np.float32)
    history = dl.fit(model, (x, x), loss=dl.mse_loss, optimizer=optim.SGD(model.parameters()), epochs=1)
    assert history.diverged is None


class Masked(nn.Module):
    """Squared error where the target is not NaN: a loss of the user's, that says what it is the mean of."""

    def counted(self, outputs, targets):
        return (~dl.isnan(targets)).sum()

    def forward(self, outputs, targets):
        known = ~dl.isnan(targets)
        apart = dl.where(known, outputs, 0.0) - dl.where(known, targets, 0.0)
        return (apart * apart).sum() / self.counted(outputs, targets)


LOSSES = {
    "ignored": (dl.cross_entropy, lambda y: np.where(y % 3 == 0, -100, y)),
    "a class is ignored": (functools.partial(dl.cross_entropy, ignore_index=1), lambda y: y),
    "weights": (nn.CrossEntropyLoss(weight=dl.tensor([0.1, 1.0, 5.0])), lambda y: y),
    "weights and ignored": (
        functools.partial(dl.cross_entropy, weight=dl.tensor([0.1, 1.0, 5.0]), ignore_index=2), lambda y: y
    ),
    "all count": (nn.CrossEntropyLoss(label_smoothing=0.1), lambda y: y),
    "bytes": (dl.cross_entropy, lambda y: y.astype(np.uint8)),
    "probabilities": (dl.cross_entropy, lambda y: np.eye(3, dtype=np.float32)[y]),
    "masked": (Masked(), lambda y: np.where(np.eye(3)[y] == 1, np.nan, 0.5).astype(np.float32)),
    "nothing counts": (dl.cross_entropy, lambda y: np.where(np.arange(len(y)) < 14, -100, y)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*the learning rate is 0")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("host", [False, True])
def test_the_loss_is_the_same_for_every_batch_size(name, host):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((23, 4)).astype(np.float32), rng.integers(0, 3, 23)
    loss, change = LOSSES[name]
    targets = change(y)
    data = dl.data.TensorDataset(x, targets)
    if host:
        data = [(a, b) for a, b in zip(x, targets, strict=True)]
    model = nn.Linear(4, 3)
    with dl.no_grad():
        whole = float(loss(model(dl.tensor(x)), dl.tensor(targets)))
    metrics = ["accuracy"] if targets.ndim == 1 else []
    scores = [dl.evaluate(model, data, loss=loss, metrics=metrics, batch_size=size) for size in (1, 4, 7, 22, 23, 100)]
    for score in scores:
        assert score["loss"] == pytest.approx(whole, rel=1e-5)
        assert score.get("accuracy") == pytest.approx(scores[-1].get("accuracy"))
    frozen = optim.SGD(model.parameters(), lr=0.0)
    history = dl.fit(model, data, validation=data, loss=loss, optimizer=frozen, epochs=3, batch_size=5, metrics=metrics)
    assert history["loss"] == pytest.approx([whole] * 3, rel=1e-5)
    assert history["val_loss"] == pytest.approx([whole] * 3, rel=1e-5)


def test_accuracy_leaves_out_what_the_loss_ignores():
    class Fixed(nn.Module):
        def __init__(self):
            self.bias = nn.Parameter(dl.zeros(1))

        def forward(self, x):
            return x + self.bias

    logits = np.float32([[0, 9], [0, 9], [9, 0], [0, 9]])
    labels = np.array([1, 0, 0, 1])
    loss = functools.partial(dl.cross_entropy, ignore_index=0)
    assert dl.evaluate(Fixed(), (logits, labels), loss=loss, metrics=["accuracy"])["accuracy"] == 1
    assert dl.evaluate(Fixed(), (logits, labels), loss=dl.cross_entropy, metrics=["accuracy"])["accuracy"] == 0.75


def test_modes_are_put_back_where_evaluation_raises():
    class Broken(nn.Module):
        def __init__(self):
            self.inside = nn.Dropout(0.5)

        def forward(self, x):
            raise RuntimeError("broken")

    model = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        dl.evaluate(model, (np.zeros((2, 1)), np.zeros((2, 1))), loss=dl.mse_loss)
    assert model.training and model.inside.training


@pytest.mark.parametrize("kind", [dl.data.TensorDataset, dl.data.ImageDataset])
def test_bytes_are_predicted_as_they_were_trained(kind):
    """Plain arrays are taken as they are, images are scaled; both whatever the number of axes, and both are kept."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 6)).astype(np.uint8), rng.integers(0, 2, 40)
    unit = 255 if kind is dl.data.ImageDataset else 1
    results = []
    for shape in ((40, 6), (40, 2, 3), (40, 1, 2, 3)):
        for given in (x.reshape(shape), x.reshape(shape).astype(np.float32) / np.float32(unit)):
            dl.manual_seed(0)
            model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
            dl.fit(
                model, kind(given, y), validation=(given, y), transform=dl.data.Normalize(0.5, 0.25), epochs=3, seed=0,
                loss=dl.cross_entropy, optimizer=optim.Adam(model.parameters(), lr=0.05),
            )  # fmt: skip
            results.append(np.asarray(dl.predict(model, given)))
            assert dl.evaluate(model, kind(given, y), loss=dl.cross_entropy) == dl.evaluate(
                model, (given, y), loss=dl.cross_entropy
            )
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-4, atol=1e-4)


def test_a_model_that_took_bytes_as_they_are_goes_on_to(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 2, 3)).astype(np.uint8), rng.integers(0, 2, 40)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    untrained = np.asarray(dl.predict(model, dl.data.ImageDataset(x, y)))
    np.testing.assert_allclose(untrained, np.asarray(dl.predict(model, x / np.float32(255))), rtol=1e-5, atol=1e-6)
    dl.fit(model, (x, y), loss=dl.cross_entropy, optimizer=optim.SGD(model.parameters(), lr=0.0), epochs=1)
    as_they_are = np.asarray(dl.predict(model, x))
    np.testing.assert_array_equal(np.asarray(dl.predict(model, dl.data.ImageDataset(x, y))), as_they_are)
    dl.save(model, tmp_path / "m")
    again = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    dl.load(again, tmp_path / "m")
    np.testing.assert_array_equal(np.asarray(dl.predict(again, dl.data.ImageDataset(x, y))), as_they_are)


@pytest.mark.parametrize("transform", [None, dl.data.Normalize(3.0, 2.0), lambda x: x * 2.0])
@pytest.mark.parametrize("host", [False, True])
def test_floats_are_cast_to_the_model_s_dtype(transform, host):
    x, y = X.astype(np.float64), TARGETS.astype(np.float64)
    ends = []
    for data in ((X, TARGETS), list(zip(x, y, strict=True)) if host else (x, y)):
        dl.manual_seed(0)
        model = network(2)
        history = fit(model, data, validation=data, loss=dl.mse_loss, transform=transform, metrics=["mae"])
        assert history.recorded and all(p.dtype is dl.float32 for p in model.parameters())
        assert dl.predict(model, data).dtype is dl.float32
        ends.append([*history["loss"], *history["val_loss"]])
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5)
    wide = nn.Linear(6, 2, dtype="float64")
    assert dl.predict(wide, X).dtype is dl.float64


def test_early_stopping_ends_a_run_of_nan():
    model = nn.Linear(1, 1)
    x = np.full((4, 1), np.nan, np.float32)
    stop = dl.train.EarlyStopping(patience=2, restore_best=True)
    with pytest.warns(RuntimeWarning, match="hold NaN"):
        history = dl.fit(
            model, (x, x), loss=dl.mse_loss, optimizer=optim.SGD(model.parameters()), epochs=9, callbacks=[stop]
        )
    assert len(history) == 2 and history.stopped_early and stop.best_epoch is None


# ---- recorded, or not ---------------------------------------------------------------------------------------------


def _losses(record, forward=None, callbacks=(), **kwargs):
    x = np.random.default_rng(0).standard_normal((96, 4)).astype(np.float32)
    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))
    if forward is not None:
        model = Wrapped(model, forward)
    history = dl.fit(
        model,
        (x, x.sum(1, keepdims=True)),
        loss=dl.mse_loss,
        optimizer=optim.SGD(model.parameters(), lr=0.1),
        epochs=5,
        record=record,
        callbacks=callbacks,
        **kwargs,
    )
    return history, history["loss"]


class Wrapped(nn.Module):
    def __init__(self, inner, forward):
        self.inner, self.change = inner, forward

    def forward(self, x):
        return self.change(self.inner(x))


@pytest.mark.parametrize("callbacks", [(), [lambda run: None]], ids=["", "callback"])
def test_fit_gives_the_same_bits_recorded_or_not(callbacks):
    recorded, losses = _losses(True, callbacks=callbacks)
    assert recorded.recorded and recorded.reason is None
    checked, checked_losses = _losses("check", callbacks=callbacks)
    assert checked.recorded and checked.reason is None and checked_losses == losses
    eager, eager_losses = _losses(False, callbacks=callbacks)
    assert not eager.recorded and "record=False" in eager.reason and eager_losses == losses
    with pytest.raises(ValueError, match='fit: record is True, False or "check", not 3'):
        _losses(3)


def test_what_a_replay_would_not_see_is_the_reason_for_none(capsys):
    history, _ = _losses(True, lambda y: y * (1 + 0 * random.random()), progress=True)
    assert not history.recorded
    assert "the step of fit" in history.reason and "random" in history.reason and "test_train.py:" in history.reason
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("every step runs eagerly") == 1 and "epoch 5/5" in shown


def test_check_goes_on_eagerly_where_the_recording_is_wrong(monkeypatch):
    def after_two(run):
        if run.epoch == 2:  # the engine's own code is trusted, so that nobody but check sees this
            monkeypatch.setattr("dlcore.nn.layers.gelu", lambda x, approximate: dl.relu(x))

    with pytest.warns(RuntimeWarning, match="operation 2 of the step has changed .*its attributes; it is no longer"):
        checked, losses = _losses("check", callbacks=[after_two])
    assert not checked.recorded and "check" in checked.reason
    monkeypatch.undo()
    assert losses == _losses(False, callbacks=[after_two])[1]


@pytest.mark.parametrize("targets", [X[:, 0], X[:, :1]], ids=["N", "N1"])
@pytest.mark.parametrize("broadcasts", [True, False])
def test_a_loss_that_pairs_all_samples_is_said(targets, broadcasts):
    class Flat(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(6, 1)

        def forward(self, x):
            return self.inner(x).reshape((-1, *([1] if targets.ndim == 1 else [])))

    def loss(outputs, targets):
        return ((outputs - (targets if broadcasts else targets.reshape(outputs.shape))) ** 2).mean()

    model = Flat()
    options = {"loss": loss, "optimizer": optim.SGD(model.parameters(), lr=0.01), "epochs": 2}
    if not broadcasts:
        dl.fit(model, (X, targets), **options)
        return
    with pytest.warns(RuntimeWarning, match="the loss broadcasts them to all pairs of samples") as caught:
        dl.fit(model, (X, targets), **options)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_single_sample_is_no_batch():
    with pytest.raises(dl.ShapeError, match=r"predict: a batch \(6,\) gives outputs \(3,\), not one for each sample"):
        dl.predict(network(), X[0])


def test_an_improvement_of_nan_is_refused():
    with pytest.raises(ValueError, match="EarlyStopping: min_delta is nan"):
        EarlyStopping(min_delta=float("nan"))


def test_a_parameter_replaced_after_the_optimizer_was_made_is_missed():
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.weight = nn.Parameter(dl.zeros(1, 4))
    data = (np.ones((8, 4), np.float32), np.ones((8, 1), np.float32))
    with pytest.warns(RuntimeWarning, match="lacks weight, which will not be trained"):
        dl.fit(model, data, loss=dl.mse_loss, optimizer=optimizer, epochs=1)


class Noting(Callback):
    """Notes what is called; raises where it is told to."""

    def __init__(self, notes, name, fails=None):
        self.notes, self.name, self.fails = notes, name, fails

    def note(self, event):
        self.notes.append(f"{self.name} {event}")
        if event == self.fails:
            raise RuntimeError(event)

    def on_train_begin(self, run):
        self.note("begin")

    def on_train_end(self, run):
        self.note("end")


@pytest.mark.parametrize(
    ("fails", "notes"),
    [
        ("begin", ["a begin", "b begin", "a end"]),
        ("end", ["a begin", "b begin", "c begin", "a end", "b end", "c end"]),
    ],
)
def test_what_has_begun_is_ended_where_a_callback_fails(fails, notes):
    found = []
    watching = [Noting(found, "a"), Noting(found, "b", fails), Noting(found, "c")]
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    data = (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    with pytest.raises(RuntimeError, match=fails):
        dl.fit(model, data, loss="mse", optimizer=optimizer, epochs=1, schedule="cosine", callbacks=watching)
    assert found == notes
    assert optimizer._schedule is None, "the optimizer has its own rate again"


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x, z):
        return self.a(x) + self.b(z)


def test_a_model_of_several_inputs_is_fitted_and_predicts():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((30, 3)).astype(np.float32), rng.standard_normal((30, 4)).astype(np.float32)
    y = x[:, :2] + z[:, :2]
    model = TwoInputs()
    dl.fit(model, ((x, z), y), loss="mse", optimizer=optim.Adam(model.parameters()), progress=False)
    want = model(dl.tensor(x), dl.tensor(z)).numpy()
    for given in ((x, z), ((x, z), y)):
        for size in (512, 7):
            np.testing.assert_allclose(dl.predict(model, given, batch_size=size).numpy(), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(dl.ShapeError, match="the model takes 2 inputs, and the data have 1 parts"):
        dl.predict(model, x)
