"""What ``fit`` does beyond one model, one loss and one optimizer: outputs of any kind, weights, averages, positions."""

import threading

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import TensorDataset
from dlcore.train import EMA, SWA, Callback

RNG = np.random.default_rng(5)
X = RNG.standard_normal((90, 6)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0.3)
TARGETS = (X @ RNG.standard_normal((6, 2))).astype(np.float32)


def network(out=3):
    dl.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, out))


def fit(model, *args, lr=0.1, **settings):
    settings = {"loss": dl.cross_entropy, "epochs": 3, "batch_size": 32, "seed": 0, **settings}
    settings.setdefault("optimizer", optim.SGD(model.parameters(), lr=lr))
    return dl.fit(model, *(args or ((X, LABELS),)), **settings)


def weights(model):
    return {k: np.asarray(v).copy() for k, v in model.state_dict().items()}


def same(a, b):
    return all((a[k] == b[k]).all() for k in a)


def close(a, b, tolerance=1e-5):
    return all(np.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


# -- outputs and losses --------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """A variational autoencoder, which returns a tuple."""

    def __init__(self):
        self.inside, self.outside = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x):
        h = self.inside(x)
        mean, log_var = h[:, :2], h[:, 2:]
        z = mean + dl.exp(0.5 * log_var) * dl.randn(*mean.shape)
        return {"x": self.outside(z if self.training else mean), "moments": (mean, log_var)}


def evidence(outputs, x):
    mean, log_var = outputs["moments"]
    return dl.mse_loss(outputs["x"], x) - 0.05 * (1 + log_var - mean * mean - dl.exp(log_var)).mean()


def test_a_model_may_return_tuples_and_dicts():
    model = Autoencoder()
    away = [lambda outputs, x: abs(outputs["x"] - x).mean()]
    history = fit(model, (X, X), (X[:20], X[:20]), loss=evidence, epochs=5, metrics=away)
    assert history.recorded, history.reason
    assert history["loss"][-1] < history["loss"][0]
    outputs = dl.predict(model, X, batch_size=40)
    assert outputs["x"].shape == (90, 6)
    assert [part.shape for part in outputs["moments"]] == [(90, 2), (90, 2)]
    with dl.no_grad():
        want = model.inside(dl.tensor(X))[:, :2]
    np.testing.assert_allclose(np.asarray(outputs["moments"][0]), np.asarray(want), rtol=1e-6)


def test_a_named_metric_says_that_it_takes_one_tensor():
    with pytest.raises(TypeError, match="mse: the model returns a dict, not one tensor; give a function that chooses"):
        fit(Autoencoder(), (X, X), loss=evidence, metrics=["mse"])


@pytest.mark.parametrize("form", ["loss", "pair", "dict"])
def test_the_model_may_return_its_own_loss(form):
    class Own(nn.Module):
        def __init__(self):
            self.body = network()

        def forward(self, x, labels):
            logits = self.body(x)
            loss = dl.cross_entropy(logits, labels)
            return {"loss": loss, "pair": (loss, logits), "dict": {"loss": loss, "outputs": logits}}[form]

    own, plain = Own(), network()
    metrics = [] if form == "loss" else ["accuracy"]
    history = fit(own, (X, LABELS), (X, LABELS), loss=None, metrics=metrics)
    other = fit(plain, (X, LABELS), (X, LABELS), metrics=metrics)
    assert history.recorded
    drop = {"seconds"}
    for ours, theirs in zip(history.epochs, other.epochs, strict=True):
        assert {k: v for k, v in ours.items() if k not in drop} == {k: v for k, v in theirs.items() if k not in drop}
    score = dl.evaluate(own, (X, LABELS), loss="own", metrics=metrics)
    assert score == dl.evaluate(plain, (X, LABELS), loss=dl.cross_entropy, metrics=metrics)


def test_losses_have_names():
    a, b = network(), network()
    assert fit(a, loss="cross_entropy")["loss"] == fit(b)["loss"]
    with pytest.raises(ValueError, match=r"fit: loss 'cross_entrpy' is not .* did you mean 'cross_entropy'"):
        fit(a, loss="cross_entrpy")
    with pytest.raises(TypeError, match="fit: loss the class CrossEntropyLoss is not a function; call it"):
        fit(a, loss=nn.CrossEntropyLoss)


# -- weights -------------------------------------------------------------------------------------------------------


def test_weights_of_samples_are_as_repeated_samples():
    repeats = RNG.integers(0, 3, 90)
    repeats[0] = 1
    repeated = np.repeat(np.arange(90), repeats)
    for loss, targets, out in [(dl.cross_entropy, LABELS, 3), (nn.MSELoss(), TARGETS, 2)]:
        a, b = network(out), network(out)
        settings = {"loss": loss, "shuffle": False, "batch_size": 1000}
        ours = fit(a, (X, targets), sample_weight=repeats, **settings)
        theirs = fit(b, (X[repeated], targets[repeated]), **settings)
        assert ours.recorded
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)
        assert close(weights(a), weights(b))


def test_weights_belong_to_the_samples_of_a_subset_and_of_a_data_set_of_code():
    class Code:
        def __len__(self):
            return 90

        def __getitem__(self, i):
            return X[i], LABELS[i]

    factors = RNG.uniform(0.5, 2, 90).astype(np.float32)
    rows = RNG.permutation(90)
    models = [network() for _ in range(3)]
    data = [(X[rows], LABELS[rows]), dl.data.Subset(TensorDataset(X, LABELS), rows), dl.data.Subset(Code(), rows)]
    curves = [fit(m, d, sample_weight=factors[rows])["loss"] for m, d in zip(models, data, strict=True)]
    assert curves[0] == curves[1] == curves[2]


def test_ignored_labels_and_weights_of_classes_and_samples_together():
    labels = LABELS.copy()
    labels[::7] = -100
    factors, classes = RNG.uniform(0.5, 2, 90), np.array([0.5, 1.0, 3.0])
    model = network()
    loss = nn.CrossEntropyLoss(weight=dl.tensor(classes, "float32"))
    history = fit(model, (X, labels), loss=loss, sample_weight=factors, epochs=1, lr=0.0, batch_size=20)
    logits = np.asarray(dl.predict(model, X), np.float64)
    each = np.log(np.exp(logits).sum(1)) - logits[np.arange(90), LABELS]
    share = np.where(labels < 0, 0, factors * classes[LABELS])
    np.testing.assert_allclose(history["loss"][0], (share * each).sum() / share.sum(), rtol=1e-5)


@pytest.mark.parametrize("given", [[1.0, 2.0, 4.0], {1: 2.0, 2: 4.0}, "balanced"])
def test_weights_of_classes(given):
    factors = {"balanced": 90 / (3 * np.bincount(LABELS))}.get(given if isinstance(given, str) else "", [1.0, 2.0, 4.0])
    a, b = network(), network()
    ours = fit(a, class_weight=given)
    theirs = fit(b, loss=nn.CrossEntropyLoss(weight=dl.tensor(factors, "float32")))
    assert ours["loss"] == theirs["loss"]
    assert same(weights(a), weights(b))


def test_wrong_weights_are_refused():
    model = network()
    cases = [
        ({"class_weight": [1.0, 2.0]}, r"fit: class_weight has shape \(2,\); the model tells 3 classes apart"),
        ({"class_weight": {3: 1.0}}, "fit: class_weight: 3 is not a class; there are 3"),
        ({"class_weight": "equal"}, "fit: class_weight 'equal' is neither"),
        ({"class_weight": [1, -1, 1]}, "fit: class_weight: factors must be finite, not negative"),
        ({"class_weight": [1, 1, 1], "loss": lambda o, t: o.sum()}, "class_weight is for cross_entropy"),
        ({"sample_weight": np.ones(89)}, r"fit: sample_weight has shape \(89,\); there are 90 samples"),
        ({"sample_weight": "balanced"}, "fit: sample_weight 'balanced' is not an array of numbers"),
        ({"class_weight": {1: "x"}}, r"fit: class_weight\[1\] 'x' is not a number"),
        ({"class_weight": ["x", 1, 1]}, "fit: class_weight .* is not an array of numbers"),
        ({"sample_weight": np.ones(90), "loss": "own"}, "fit: sample_weight: the loss is the model's own"),
        ({"class_weight": "balanced", "loss": None}, "fit: class_weight: the loss is the model's own"),
        ({"sample_weight": -np.ones(90)}, "fit: sample_weight: weights must be finite"),
        ({"sample_weight": np.ones(90), "loss": lambda o, t: o.sum()}, "one number for each of 32 samples"),
    ]
    for settings, text in cases:
        before = weights(model)
        with pytest.raises((ValueError, TypeError), match=text):
            fit(model, **settings)
        assert same(weights(model), before)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["samples", "classes", "ignored", "samples of mse"])
def test_a_batch_in_which_nothing_counts_changes_no_weight(kind, accumulate):
    first = np.arange(90) < 20
    labels = np.where(first, 0, 1 + LABELS % 2)
    settings = {
        "samples": {"sample_weight": ~first},
        "classes": {"class_weight": {0: 0.0}},
        "ignored": {"loss": nn.CrossEntropyLoss(ignore_index=0)},
        "samples of mse": {"sample_weight": ~first, "loss": dl.mse_loss},
    }[kind]
    whole, rest = network(), network()
    data = (X, np.eye(3, dtype=np.float32)[labels]) if kind == "samples of mse" else (X, labels)
    settings |= {"shuffle": False, "batch_size": 20 // accumulate, "accumulate": accumulate, "epochs": 1}
    ours = fit(whole, data, **settings)
    if "sample_weight" in settings:
        settings["sample_weight"] = settings["sample_weight"][20:]
    theirs = fit(rest, tuple(part[20:] for part in data), **settings)
    assert close(weights(whole), weights(rest))
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)


def test_clipping_is_by_the_gradients_of_what_is_trained():
    frozen, held = network(), network()
    for p in frozen[0].parameters():
        p.requires_grad = False
    fit(frozen, optimizer=optim.SGD(frozen[2].parameters(), lr=0.5), clip_norm=0.05)
    with pytest.warns(RuntimeWarning, match=r"fit: the optimizer lacks 0.weight, 0.bias"):
        fit(held, optimizer=optim.SGD(held[2].parameters(), lr=0.5), clip_norm=0.05)
    assert same(weights(frozen), weights(held))


class Scaled(nn.Module):
    """A loss with a parameter of its own, the mean over the labels that are not 0."""

    def __init__(self):
        self.scale = nn.Parameter(dl.ones(3))

    def forward(self, outputs, labels):
        return dl.cross_entropy(outputs * self.scale, labels, ignore_index=0)

    def counted(self, outputs, labels):
        return (labels != 0).sum()


def test_accumulation_divides_the_gradients_of_a_loss_too():
    scales = []
    for accumulate in (1, 3):
        model, loss = network(), Scaled()
        optimizer = optim.SGD([*model.parameters(), *loss.parameters()], lr=0.5)
        fit(model, loss=loss, optimizer=optimizer, batch_size=30 // accumulate, accumulate=accumulate)
        scales.append(np.asarray(loss.scale.detach()))
    np.testing.assert_allclose(*scales, rtol=1e-5)


def test_a_sample_that_is_there_twice_has_one_weight():
    twice = dl.data.Subset(TensorDataset(X, LABELS), [0, 0, 1])
    fit(network(), twice, sample_weight=[2, 2, 1])
    with pytest.raises(ValueError, match=r"sample_weight: sample 0 .* more than once, with different weights"):
        fit(network(), twice, sample_weight=[1, 2, 1])


# -- gradients of several batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "ignored", "weighted"])
@pytest.mark.parametrize("host", [False, True])
def test_accumulated_batches_are_one_large_batch(kind, host):
    labels = LABELS.copy()
    if kind == "ignored":
        labels[:13] = -100  # a whole piece of a batch, and some
    loss = nn.CrossEntropyLoss(weight=dl.tensor([1.0, 2.0, 0.5])) if kind == "weighted" else dl.cross_entropy
    data = TensorDataset(X, labels)
    if host:
        data = [(x, label) for x, label in zip(X, labels, strict=True)]
    a, b = network(), network()
    settings = {"loss": loss, "shuffle": False, "clip_norm": 0.5, "metrics": ["accuracy"]}
    ours = fit(a, data, batch_size=10, accumulate=4, **settings)
    theirs = fit(b, data, batch_size=40, **settings)
    assert ours.recorded == theirs.recorded
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
    np.testing.assert_allclose(ours["accuracy"], theirs["accuracy"])
    assert close(weights(a), weights(b))


# -- averages of the weights ---------------------------------------------------------------------------------------


class Weights(Callback):
    """The weights after each step."""

    def on_train_begin(self, run):
        self.seen = []

    def on_batch_end(self, run):
        self.seen.append(weights(run.model))


@pytest.mark.parametrize(("average", "decay", "start"), [(0.9, 0.9, 0), (EMA(0.5), 0.5, 0), (SWA(4), 1.0, 4)])
def test_averages_of_the_weights(average, decay, start):
    model, plain, watch = network(), network(), Weights()
    history = fit(model, (X, LABELS), (X, LABELS), ema=average, callbacks=[watch])
    fit(plain)
    mean = None
    for count, step in enumerate(watch.seen, 1):
        n = count - start
        share = 1.0 if n <= 1 else max(1 - decay, 1 / n)
        mean = step if mean is None else {k: mean[k] + share * (step[k] - mean[k]) for k in step}
    assert same(watch.seen[-1], weights(plain)), "the training itself is not changed"
    assert close(weights(model), mean)
    assert history["val_loss"][-1] == pytest.approx(dl.evaluate(model, (X, LABELS), loss="cross_entropy")["loss"])
    assert history.recorded


def test_callbacks_at_the_end_of_an_epoch_see_the_averages(tmp_path):
    model = network()
    path = tmp_path / "best.safetensors"
    fit(model, (X, LABELS), (X, LABELS), ema=0.9, callbacks=[dl.train.Checkpoint(path)])
    assert same(weights(dl.load(network(), path)), weights(model))


# -- where a run is ------------------------------------------------------------------------------------------------


class Losses(Callback):
    def on_train_begin(self, run):
        self.losses, self.norms = [], []

    def on_losses(self, run, losses, norms):
        self.losses += losses.tolist()
        self.norms += [] if norms is None else norms.tolist()


def test_losses_and_norms_of_all_steps_without_leaving_the_recording():
    model, losses = network(), Losses()
    history = fit(model, callbacks=[losses], clip_norm=0.1, batch_size=30, epochs=4)
    assert history.recorded
    assert len(losses.losses) == len(losses.norms) == 12
    means = np.reshape(losses.losses, (4, 3)).mean(1)
    np.testing.assert_allclose(means, history["loss"], rtol=1e-6)
    assert min(losses.norms) > 0.1


def test_a_callback_is_called_every_so_many_steps():
    class Every(Callback):
        every = 7

        def on_train_begin(self, run):
            self.steps = []

        def on_batch_end(self, run):
            self.steps.append((run.step, run.epoch, run.batch))

    watch = Every()
    fit(network(), callbacks=[watch], batch_size=9, epochs=3)
    assert watch.steps == [(7, 1, 7), (14, 2, 4), (21, 3, 1), (28, 3, 8)]


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_drop_last_leaves_out_what_fills_no_batch(record, accumulate):
    sizes, model = [], network()

    def loss(outputs, targets):
        sizes.append(outputs.shape[0])
        return dl.cross_entropy(outputs, targets)

    history = fit(model, loss=loss, drop_last=True, record=record, batch_size=20, accumulate=accumulate, shuffle=False)
    same_data = network()
    fit(same_data, (X[:80], LABELS[:80]), record=record, batch_size=20, accumulate=accumulate, shuffle=False)
    assert set(sizes) == {20} and same(weights(model), weights(same_data)) and len(history.epochs) == 3


def test_epochs_of_so_many_steps_go_on_with_the_data():
    a, b, seen = network(), network(), []
    fit(a, epochs=7, steps_per_epoch=2, callbacks=[lambda run: seen.append(run.logs["epoch"])])
    fit(b, epochs=5, batch_size=32)  # 3 batches a pass: 14 steps are 4 passes and 2 batches
    c = network()
    fit(c, epochs=14, steps_per_epoch=1)
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert same(weights(a), weights(c))
    d = network()
    fit(d, epochs=1, steps_per_epoch=15)
    assert same(weights(d), weights(b))


def test_a_later_start_goes_on_with_the_orders():
    a, b = network(), network()
    whole = fit(a, epochs=5)
    first = fit(b, epochs=2)
    rest = fit(b, epochs=5, start_epoch=2)
    assert [e["epoch"] for e in rest.epochs] == [3, 4, 5]
    assert whole["loss"] == first["loss"] + rest["loss"]
    assert same(weights(a), weights(b))


def test_evaluate_takes_so_many_batches():
    model = network()
    some = dl.evaluate(model, (X, LABELS), loss="cross_entropy", batch_size=20, steps=2)
    assert some == dl.evaluate(model, (X[:40], LABELS[:40]), loss="cross_entropy", batch_size=20)
    assert dl.evaluate(model, (X, LABELS), loss="cross_entropy", steps=99) == dl.evaluate(
        model, (X, LABELS), loss="cross_entropy"
    )


# -- steps of the user's -------------------------------------------------------------------------------------------


class Adversaries(nn.Module):
    """A generator of points and what tells them from those of the data."""

    def __init__(self):
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))


def test_a_step_of_the_users_with_two_optimizers():
    dl.manual_seed(3)
    points = RNG.normal([2.0, -1.0], 0.1, (200, 2)).astype(np.float32)
    model = Adversaries()
    ours = optim.Adam(model.generator.parameters(), lr=1e-2)
    theirs = optim.Adam(model.discriminator.parameters(), lr=1e-2)

    def step(real):
        n = real.shape[0]
        ones, zeros = dl.ones(n, dtype="int64"), dl.zeros(n, dtype="int64")
        fake = model.generator(dl.randn(n, 2))
        theirs.zero_grad()
        judged = dl.cross_entropy(model.discriminator(real), ones) + dl.cross_entropy(
            model.discriminator(fake.detach()), zeros
        )
        judged.backward()
        theirs.step()
        ours.zero_grad()
        fooled = dl.cross_entropy(model.discriminator(fake), ones)
        fooled.backward()
        ours.step()
        return {"loss": fooled, "discriminator": judged}

    history = fit(model, TensorDataset(points), step=step, loss=None, optimizer=[ours, theirs], epochs=60)
    assert history.recorded, history.reason
    assert {"epoch", "loss", "discriminator", "seconds"} == set(history.epochs[0])
    made = np.asarray(model.generator(dl.randn(200, 2)).detach()).mean(0)
    assert np.abs(made - [2.0, -1.0]).max() < 1.0


def test_a_step_of_the_users_is_told_what_is_wrong():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="fit: loss, clip_norm: step does all the work of a batch, that too"):
        fit(model, step=lambda x, y: None, clip_norm=1.0, optimizer=optimizer)
    for returned, text in [(None, "what step returned, None is not a tensor"), ({}, "step returned no figure")]:
        with pytest.raises((TypeError, ValueError), match=text):
            fit(model, step=lambda x, y, returned=returned: returned, loss=None, optimizer=optimizer)


# -- wrong arguments -----------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused():
    for settings, text in [
        ({"accumulate": 0}, "fit: accumulate is 0"),
        ({"steps_per_epoch": 0}, "fit: steps_per_epoch is 0"),
        ({"drop_last": True, "batch_size": 91}, "fit: with drop_last there is no batch of 91 in 90 samples"),
        ({"drop_last": True, "batch_size": 46, "accumulate": 2},
         r"there is no batch of batch_size 46 \* accumulate 2 in 90 samples"),
        ({"start_epoch": -1}, "fit: start_epoch is -1"),
        ({"clip_value": 0}, "fit: clip_value must be above 0"),
        ({"ema": 1.0}, "fit: ema is 1.0; a decay must be"),
        ({"ema": float("nan")}, "fit: ema is nan"),
    ]:
        with pytest.raises(ValueError, match=text):
            fit(network(), **settings)


# -- predictions ---------------------------------------------------------------------------------------------------


class Sums(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(6, 3), nn.Dropout(0.5)]
        self.gain = 1.0

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return {"sum": x * self.gain}


def test_predictions_that_come_again_see_all_that_changes():
    model = Sums()
    rows = RNG.standard_normal((200, 1, 6)).astype(np.float32)

    def expected(row, gain=1.0, scale=1.0):
        w, b = (np.asarray(t.detach().astype("float32")) for t in (model.layers[0].weight, model.layers[0].bias))
        return (row * scale @ w.T + b) * gain

    def check(row, tolerance=1e-6, **settings):
        got = dl.predict(model, row)["sum"]
        np.testing.assert_allclose(np.asarray(got.astype("float32")), expected(row, **settings), tolerance, tolerance)
        assert model.training
        return got

    for row in rows[:20]:
        check(row)
    assert model._predictor.captured.recorded
    kept = [check(row) for row in rows[:5]]
    assert [k.tolist() for k in kept] == [check(row).tolist() for row in rows[:5]], "outputs keep their values"
    model.gain = 3.0
    for row in rows[20:40]:
        check(row, gain=3.0)
    model.layers.append(nn.Dropout(0.5))  # which must not drop anything either
    for row in rows[40:60]:
        check(row, gain=3.0)
    fit(model, (X, LABELS), loss=lambda o, t: dl.cross_entropy(o["sum"], t), epochs=1)
    for row in rows[60:80]:
        check(row, gain=3.0)
    model.preprocessing = lambda x: x * 2
    for row in rows[80:100]:
        check(row, gain=3.0, scale=2.0)
    for row in rows[100:120]:
        check(row.astype(np.float64), gain=3.0, scale=2.0)
    model.to(dl.bfloat16)
    for row in rows[120:140]:
        check(row, tolerance=0.1, gain=3.0, scale=2.0)
    model.layers[0].eval()
    dl.predict(model, rows[0])
    assert [layer.training for layer in model.layers] == [False, True, True]


def test_predictions_of_many_shapes_and_models_that_cannot_be_recorded():
    model = network()
    x = dl.tensor(X)
    for n in [*range(1, 40), *range(1, 40)]:
        with dl.no_grad():
            want = model(x[:n]).tolist()
        assert dl.predict(model, X[:n]).tolist() == want

    class Reads(nn.Module):
        def forward(self, x):
            return x * float(x.sum())

    for row in X[:20]:
        np.testing.assert_allclose(np.asarray(dl.predict(Reads(), row[None])), row[None] * row.sum(), rtol=1e-5)
    reads = Reads()
    for row in X[:20]:
        np.testing.assert_allclose(np.asarray(dl.predict(reads, row[None])), row[None] * row.sum(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"predict: a batch \(2, 6\) gives outputs \(6,\)"):
        dl.predict(type("Whole", (nn.Module,), {"forward": lambda self, x: x.sum(axis=0)})(), X[:2])


class Parts(nn.Module):
    """Returns some of its inputs as they are."""

    def __init__(self):
        self.inner = nn.Linear(6, 2)

    def forward(self, x):
        return x, {"some": x[:, 1:3], "made": self.inner(x)}


def test_predictions_do_not_lie_in_the_memory_of_the_inputs():
    model, given = Parts(), X[:4].copy()
    for number in range(12):  # the last ones are recorded
        given[:] = number
        whole, others = dl.predict(model, given)
        given[:] = -1
        assert (np.asarray(whole) == number).all()
        assert (np.asarray(others["some"]) == number).all()


def test_threads_predict_with_one_model_and_leave_its_mode():
    model = nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.5), nn.Linear(64, 3))
    wanted, wrong = {n: np.asarray(dl.predict(model, X[:n])) for n in (2, 90)}, []

    def work(n):
        for _ in range(150):
            wrong.extend([n] * (not np.allclose(np.asarray(dl.predict(model, X[:n])), wanted[n], atol=1e-5)))

    threads = [threading.Thread(target=work, args=(n,)) for n in (2, 2, 90, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(module.training for module in model.modules())


def test_a_copied_or_pickled_model_predicts():
    import copy
    import pickle

    model = network()
    for _ in range(20):
        want = dl.predict(model, X[:1]).tolist()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for _ in range(20):
            assert dl.predict(again, X[:1]).tolist() == want
        with dl.no_grad():
            again[0].weight.zero_()
        assert dl.predict(again, X[:1]).tolist() != want
        assert dl.predict(model, X[:1]).tolist() == want


def test_an_optimizer_that_averages_is_evaluated_at_its_average(tmp_path):
    model = network()
    optimizer = optim.ScheduleFreeSGD(model.parameters(), lr=0.5)
    history = fit(model, (X, LABELS), (X, LABELS), optimizer=optimizer)
    assert history.recorded
    at_average = weights(model)
    assert history["val_loss"][-1] == dl.evaluate(model, (X, LABELS), loss="cross_entropy")["loss"]
    optimizer.train()
    assert not same(weights(model), at_average)

    def run(folder, *callbacks):
        model = network()
        optimizer = optim.ScheduleFreeAdamW(model.parameters(), lr=0.1)
        watching = [*callbacks, dl.train.Resume(folder, every=2)]
        fit(model, (X, LABELS), (X, LABELS), optimizer=optimizer, callbacks=watching)
        return weights(model)

    def stop(run):
        if run.epoch == 2:
            raise RuntimeError("stop")

    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stop"):
        run(tmp_path / "killed", stop)
    assert same(run(tmp_path / "killed"), whole)


def test_optimizers_and_schedules_have_names():
    a, b = network(), network()
    fit(a, optimizer="adamw", schedule="cosine")
    fit(b, optimizer=optim.AdamW(b.parameters()), schedule=optim.schedules.Cosine())
    assert same(weights(a), weights(b))
    c = network()
    history = fit(c, optimizer="adamw", schedule=optim.schedules.Linear(final=1e-4))
    assert history["lr"][0] > 5e-4 > history["lr"][-1] >= 1e-4
    with pytest.raises(ValueError, match="did you mean"):
        fit(a, optimizer="admw")
    with pytest.raises(TypeError, match=r"fit: schedule 5 is not one of optim.schedules"):
        fit(a, schedule=5)


def test_values_of_gradients_are_clipped():
    a, b = network(), network()
    fit(a, clip_value=1e-3, epochs=1, batch_size=90)
    x, labels = dl.tensor(X), dl.tensor(LABELS)
    dl.cross_entropy(b(x), labels).backward()
    for p in b.parameters():
        with dl.no_grad():
            p -= 0.1 * p.grad.clip(-1e-3, 1e-3)
    assert close(weights(a), weights(b), 1e-6)


@pytest.mark.parametrize("function", [dl.fit, dl.evaluate])
def test_an_array_in_the_place_of_a_loss_is_refused_by_name(function):
    model = nn.Linear(3, 2)
    given = {"optimizer": optim.SGD(model.parameters(), lr=0.1)} if function is dl.fit else {}
    with pytest.raises(TypeError, match=f"{function.__name__}: loss"):
        function(model, (np.zeros((6, 3), np.float32), np.zeros(6, np.int64)), loss=np.zeros((0, 3)), **given)


def test_none_is_no_metrics_callbacks_and_augmentations():
    x, y = np.ones((8, 2), np.float32), np.arange(8) % 2

    def figures(**settings):
        dl.manual_seed(0)
        model = nn.Linear(2, 2)
        history = dl.fit(model, (x, y), loss="cross_entropy", optimizer="sgd", epochs=2, progress=False, **settings)
        return history["loss"], dl.evaluate(model, (x, y), loss=dl.cross_entropy, metrics=settings.get("metrics", ()))

    assert figures(augment=None, metrics=None, callbacks=None) == figures()
