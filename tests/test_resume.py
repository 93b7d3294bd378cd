"""Resume: a training that ends anywhere goes on to the same bits."""

import re
import signal
import warnings

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.train import SWA, Callback, EarlyStopping, Resume
from dlcore.train._state import decode, encode

RNG = np.random.default_rng(8)
X = RNG.standard_normal((70, 6)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0.3)


class Stop(Exception):
    pass


class StopAt(Callback):
    """Ends the process, as it were, after a step or an epoch."""

    def __init__(self, step=None, epoch=None):
        self.step, self.epoch = step, epoch

    def on_batch_end(self, run):
        if run.step == self.step:
            raise Stop

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            raise Stop


def train(folder, *callbacks, every=3, epochs=6, **settings):
    """The weights, the figures of all epochs and the random numbers that come next."""
    dl.manual_seed(4)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
    settings = {"loss": dl.cross_entropy, "batch_size": 16, "metrics": ["accuracy", "confusion_matrix"], **settings}
    optimizer = settings.get("optimizer", lambda parameters: optim.AdamW(parameters, lr=1e-2))
    settings["optimizer"] = optimizer(model.parameters()) if callable(optimizer) else optimizer
    watching = [*callbacks, Resume(folder, every=every)] if folder else callbacks
    history = dl.fit(model, (X, LABELS), (X[:30], LABELS[:30]), epochs=epochs, callbacks=watching, **settings)
    figures = [{k: np.asarray(v).tolist() for k, v in e.items() if k != "seconds"} for e in history.epochs]
    return {k: np.asarray(v).tolist() for k, v in model.state_dict().items()}, figures, dl.rand(3).tolist()


def resumed(folder, stops, *callbacks, **settings):
    for stop in stops:
        with pytest.raises(Stop):
            train(folder, *callbacks, stop, **settings)
    return train(folder, *callbacks, **settings)


SETTINGS = {
    "plain": {},
    "seed": {"seed": 5, "shuffle": True},
    "averages": {"ema": 0.9, "clip_norm": 0.1},
    "swa": {"ema": SWA(7)},
    "schedule": {"schedule": optim.schedules.Cosine(warmup=4)},
    "plateau": {"schedule": optim.schedules.Plateau(patience=0, threshold=0.5)},
    "long epochs": {"steps_per_epoch": 7, "epochs": 4},
    "accumulated": {"accumulate": 2, "batch_size": 8},
    "eager": {"record": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_interrupted_training_ends_as_one_that_was_not(name, tmp_path):
    settings = SETTINGS[name]
    whole = train(None, **settings)
    assert train(tmp_path / "whole", **settings) == whole, "saving changes nothing"
    assert train(tmp_path / "whole", **settings) == whole, "one that is finished is what it was"
    stops = [StopAt(step=1), StopAt(step=4), StopAt(step=11), StopAt(epoch=3), StopAt(step=27)]
    assert resumed(tmp_path / "killed", stops, **settings) == whole


@pytest.mark.parametrize("step", range(1, 11, 3))
def test_it_goes_on_within_an_epoch(step, tmp_path):
    counted = []
    whole = train(None, epochs=2)
    with pytest.raises(Stop):
        train(tmp_path, StopAt(step=step), every=1, epochs=2)

    class Count(Callback):
        def on_batch_end(self, run):
            counted.append(run.step)

    assert train(tmp_path, Count(), every=1, epochs=2) == whole
    assert counted == list(range(step, 11)), "the step itself was not saved: the stop came before"


def test_callbacks_go_on_too(tmp_path):
    def stopping():
        return EarlyStopping(patience=2, monitor="val_accuracy", restore_best=True)

    whole = train(None, stopping(), epochs=30)
    assert len(whole[1]) < 30
    stops = [StopAt(epoch=2), StopAt(step=14), StopAt(epoch=len(whole[1]) - 1)]
    assert resumed(tmp_path, stops, stopping(), epochs=30) == whole
    assert train(tmp_path, stopping(), epochs=30) == whole, "it had stopped, and trains no further"


def test_longer_training_goes_on(tmp_path):
    train(tmp_path, epochs=2, seed=1)
    assert train(tmp_path, epochs=5, seed=1) == train(None, epochs=5, seed=1)


def test_the_last_files_stay(tmp_path):
    train(tmp_path, every=2, epochs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000008.safetensors", "step-000000010.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_damaged_file_is_named_and_the_one_before_it_is_used(damage, tmp_path):
    whole = train(None)
    with pytest.raises(Stop):
        train(tmp_path, StopAt(step=14))
    newest = max(tmp_path.iterdir())
    raw = bytearray(newest.read_bytes())
    if damage == "flipped":
        raw[-5] ^= 1
    newest.write_bytes({"cut": raw[:-9], "flipped": raw, "text": b"hello", "empty": b""}[damage])
    text = f"Resume: {re.escape(str(newest))} cannot be used, the file before it is"
    with pytest.warns(RuntimeWarning, match=text) as caught:
        assert train(tmp_path) == whole
    assert caught[0].filename == __file__


def test_files_of_another_training_are_refused(tmp_path):
    train(tmp_path, epochs=1)
    for settings, text in [
        ({"batch_size": 8}, "batch_size was 16 in the run that was interrupted, and is 8"),
        ({"accumulate": 2}, r"batch_size was 16 in the run that was interrupted, and is 32 \(times accumulate\)"),
        ({"ema": 0.9}, "has a setting 'average'"),
        ({"optimizer": "sgd"}, "settings"),
    ]:
        with pytest.raises(ValueError, match=f"fit: Resume: .*{text}"):
            train(tmp_path, **settings)
    other = nn.Linear(6, 3)
    before = np.asarray(other.weight).tolist()
    with pytest.raises(ValueError, match="fit: Resume"):
        dl.fit(other, (X, LABELS), loss="cross_entropy", batch_size=16, callbacks=[Resume(tmp_path)],
               optimizer=optim.AdamW(other.parameters()))  # fmt: skip
    assert np.asarray(other.weight).tolist() == before


def test_settings_that_differ_are_told(tmp_path):
    train(tmp_path, epochs=1, seed=5, clip_norm=0.5)
    path = next(tmp_path.glob("*5.safetensors"))
    kept = path.read_bytes()
    whole = train(None, epochs=2, seed=5, clip_norm=0.5)
    for settings, text in [
        ({"seed": 6}, "interrupted, seed was 5, which goes on, and is given as 6$"),
        ({"seed": 5, "clip_norm": None}, "interrupted, clip_norm was 0.5 and is None$"),
        ({"shuffle": False, "seed": None}, "interrupted, shuffle was True and is False$"),
        ({"optimizer": lambda ps: optim.AdamW(ps, lr=0.5)}, r"optimizer was .*lr=0\.01.* which goes on, .*lr=0\.5"),
    ]:
        with pytest.warns(RuntimeWarning, match=text) as caught:
            found = train(tmp_path, epochs=2, **{"seed": None, "clip_norm": 0.5, **settings})
        assert len(caught) == 1 and (found == whole) == ("which goes on" in text)
        for file in tmp_path.iterdir():
            file.unlink()
        path.write_bytes(kept)
    assert train(tmp_path, epochs=2, seed=None, clip_norm=0.5) == whole, "no seed is asked for: nothing to tell"


def test_other_data_are_told(tmp_path):
    def go_on(x, labels):
        dl.manual_seed(4)
        model = nn.Linear(6, 3)
        watching = [Resume(tmp_path)]
        dl.fit(model, (x, labels), loss="cross_entropy", optimizer="sgd", epochs=2, callbacks=watching, seed=1)

    go_on(X, LABELS)
    go_on(X.copy(), dl.tensor(LABELS))
    other = X.copy()
    other[-1, -1] += 1
    for data in ((other, LABELS), (X, 2 - LABELS)):
        with pytest.warns(RuntimeWarning, match="interrupted, the training data are others$"):
            go_on(*data)


def test_state_is_kept_as_it_is():
    state = {
        "numbers": [1, -2.5, True, None, "text", float("inf"), 2**63], "pair": (1, (2, [])),
        "by": {0: {"a": np.arange(3)}, 1: {"a": np.zeros((0, 2), np.float16)}}, "is": {"is": "float"},
        "tensor": dl.tensor([[1.0, 2.0]], dtype="bfloat16"), "nan": float("nan"),
    }  # fmt: skip
    text, arrays = encode(state)
    again = decode(text, {name: dl.tensor(value) for name, value in arrays.items()})
    for now, then in [(again["by"][k].pop("a"), state["by"][k].pop("a")) for k in (0, 1)]:
        assert now.dtype == then.dtype
        np.testing.assert_array_equal(now, then)
    assert repr(again) == repr({**state, "tensor": again["tensor"]})
    assert again["tensor"].tolist() == [[1.0, 2.0]]
    assert again["tensor"].dtype is dl.bfloat16
    with pytest.raises(TypeError, match="a/0: a object cannot be kept in a file"):
        encode({"a": [object()]})
    for text in ['{"is": "tensor"}', '{"is": "tensor", "name": "x"}', '{"is": "function"}', "{", '{"is": "dict"}']:
        with pytest.raises(ValueError):
            decode(text, {})


def test_a_training_with_a_step_of_the_users_goes_on(tmp_path):
    def run(folder, *callbacks):
        dl.manual_seed(2)
        model = nn.Linear(6, 3)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, labels):
            optimizer.zero_grad()
            loss = dl.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return {"loss": loss, "twice": 2 * loss}

        watching = [*callbacks, Resume(folder, every=1)]
        history = dl.fit(model, (X, LABELS), step=step, optimizer=optimizer, epochs=3, callbacks=watching)
        return np.asarray(model.weight.detach()).tolist(), history["loss"], history["twice"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = run(tmp_path / "whole")
        with pytest.raises(Stop):
            run(tmp_path / "killed", StopAt(step=4))
        assert run(tmp_path / "killed") == whole


class Interrupt(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.ScheduleFreeAdamW])
def test_what_is_saved_at_ctrl_c_is_what_was_trained_whatever_others_restore(optimizer, tmp_path):
    def run(folder, *callbacks):
        dl.manual_seed(4)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 3))
        watching = [EarlyStopping(9, restore_best=True), *([Resume(folder, every=1000)] if folder else []), *callbacks]
        settings = {"loss": "cross_entropy", "optimizer": optimizer(model.parameters(), lr=0.5), "batch_size": 16}
        history = dl.fit(model, (X, LABELS), (X[:9], 2 - LABELS[:9]), epochs=6, callbacks=watching, **settings)
        return {k: np.asarray(v).tolist() for k, v in model.state_dict().items()}, history["loss"], history["val_loss"]

    whole = run(None)
    for step in (12, 20, 25):  # in the third epoch, and at the end of one
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, Interrupt(step))
    assert run(tmp_path) == whole


class InterruptEpoch(Callback):
    """Ctrl-C while callbacks are told that an epoch has ended: it acts after all of them, or (twice) at once."""

    def __init__(self, epoch, twice):
        self.epoch, self.twice = epoch, twice

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            for _ in range(1 + self.twice):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("twice", [False, True])
def test_an_epoch_is_made_once_though_ctrl_c_comes_at_its_end(twice, tmp_path):
    def run(folder, *callbacks):
        watching = [*callbacks, EarlyStopping(9, restore_best=True)]
        return train(folder, *watching, schedule=optim.schedules.Plateau(patience=0, threshold=0.5), ema=0.9)

    whole = run(None)
    for epoch in (2, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, InterruptEpoch(epoch, twice))
    found = run(tmp_path)
    assert [figures["epoch"] for figures in found[1]] == [1, 2, 3, 4, 5, 6]
    assert found == whole


def test_more_epochs_go_on_by_the_schedule_of_that_many(tmp_path):
    def rates(folder, epochs):
        model = nn.Linear(6, 3)
        watching = [Resume(folder)] if folder else []
        settings = {"loss": "cross_entropy", "schedule": "cosine", "epochs": epochs, "callbacks": watching}
        return dl.fit(model, (X, LABELS), optimizer=optim.SGD(model.parameters(), lr=0.1), **settings)["lr"]

    rates(tmp_path, 2)
    assert rates(tmp_path, 5)[2:] == rates(None, 5)[2:]


def test_other_metrics_are_refused_within_an_epoch_and_taken_between(tmp_path):
    def run(metric, *callbacks, epochs=2):
        model = nn.Linear(6, 3)
        settings = {"loss": "cross_entropy", "metrics": [metric], "batch_size": 16, "epochs": epochs}
        before = np.asarray(model.weight.detach()).copy()
        try:
            watching = [Resume(tmp_path, every=3), *callbacks]
            return dl.fit(model, (X, LABELS), optimizer="sgd", callbacks=watching, **settings)
        except ValueError:
            np.testing.assert_array_equal(np.asarray(model.weight.detach()), before)
            raise

    with pytest.raises(Stop):
        run("accuracy", StopAt(step=4))
    with pytest.raises(ValueError, match=r"loss, accuracy were measured in the epoch .* and now loss, top2"):
        run("top2")
    run("accuracy")
    assert list(run("top2", epochs=3).epochs[-1]) == ["epoch", "loss", "top2", "seconds"]
