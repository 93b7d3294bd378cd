"""Metrics beside scikit-learn and SciPy: whole, in batches of any size, recorded, resumed."""

import math
import warnings

import numpy as np
import pytest

import dlcore as dl
from dlcore import metrics, nn, optim

sk = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng(6)
N, C = 137, 4
LABELS = RNG.integers(0, C, N)
LOGITS = (RNG.standard_normal((N, C)) + 1.2 * np.eye(C)[LABELS]).round(1).astype(np.float32)  # rounded: there are ties
SHARES = np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum(1, keepdims=True)
CHOSEN = LOGITS.argmax(1)
BINARY = (LABELS > 1).astype(np.int64)
SCORE = LOGITS[:, :1]
VALUES = RNG.standard_normal((N, 1)).astype(np.float32).round(1)
FOUND = (VALUES + RNG.standard_normal((N, 1)) * 0.5 + 1000).astype(np.float32)


def calibration(bins=15):
    confidence, right = SHARES.max(1), CHOSEN == LABELS
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    parts = [number == k for k in range(bins)]
    return sum(abs(confidence[p].mean() - right[p].mean()) * p.mean() for p in parts if p.any())


CLASSES = {
    "accuracy": lambda: sk.accuracy_score(LABELS, CHOSEN),
    "balanced_accuracy": lambda: sk.balanced_accuracy_score(LABELS, CHOSEN),
    **{
        name + ending: lambda function=function, average=average: function(
            LABELS, CHOSEN, average=average, zero_division=0
        )
        for name, function in (
            ("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score),
        )
        for ending, average in (("", "macro"), ("_micro", "micro"), ("_weighted", "weighted"), ("_classes", None))
    },
    "confusion_matrix": lambda: sk.confusion_matrix(LABELS, CHOSEN),
    "top2": lambda: sk.top_k_accuracy_score(LABELS, LOGITS - 1e-4 * np.arange(C), k=2),
    "auc": lambda: sk.roc_auc_score(LABELS, SHARES, multi_class="ovr"),
    "average_precision": lambda: sk.average_precision_score(np.eye(C)[LABELS], SHARES),
    "perplexity": lambda: math.exp(sk.log_loss(LABELS, SHARES)),
    "bits_per_byte": lambda: sk.log_loss(LABELS, SHARES) / math.log(2),
    "ece": calibration,
}  # fmt: skip
TWO = {
    "auc": lambda: sk.roc_auc_score(BINARY, SCORE[:, 0]),
    "average_precision": lambda: sk.average_precision_score(BINARY, SCORE[:, 0]),
    "f1_binary": lambda: sk.f1_score(BINARY, SCORE[:, 0] > 0),
    "precision_binary": lambda: sk.precision_score(BINARY, SCORE[:, 0] > 0),
    "recall_binary": lambda: sk.recall_score(BINARY, SCORE[:, 0] > 0),
    "balanced_accuracy": lambda: sk.balanced_accuracy_score(BINARY, SCORE[:, 0] > 0),
    "binary_accuracy": lambda: sk.accuracy_score(BINARY, SCORE[:, 0] > 0),
}
NUMBERS = {
    "mse": lambda: sk.mean_squared_error(VALUES.astype(float), FOUND),
    "rmse": lambda: math.sqrt(sk.mean_squared_error(VALUES.astype(float), FOUND)),
    "mae": lambda: sk.mean_absolute_error(VALUES.astype(float), FOUND),
    "r2": lambda: sk.r2_score(VALUES.astype(float), FOUND),
    "pearson": lambda: stats.pearsonr(FOUND[:, 0].astype(float), VALUES[:, 0].astype(float))[0],
    "spearman": lambda: stats.spearmanr(FOUND[:, 0], VALUES[:, 0])[0],
}
CASES = [
    *((name, LOGITS, LABELS, want) for name, want in CLASSES.items()),
    *((name, SCORE, BINARY, want) for name, want in TWO.items()),
    *((name, SCORE[:, 0], BINARY, want) for name, want in TWO.items()),
    *((name, FOUND, VALUES, want) for name, want in NUMBERS.items()),
]
IDS = [f"{name} {x.shape}" for name, x, *_ in CASES]


def close(got, want, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(got, float), np.asarray(want, float), tolerance, tolerance)


@pytest.mark.parametrize(("name", "outputs", "targets", "want"), CASES, ids=IDS)
def test_values_are_those_of_scikit_learn(name, outputs, targets, want):
    close(metrics.get(name)(outputs, targets), want())
    for size in (1, 10, 137):
        for samples in (None, N):
            meter = metrics.Meter([name], samples=samples)
            for start in range(0, N, size):
                meter.update(dl.tensor(outputs[start : start + size]), dl.tensor(targets[start : start + size]))
            close(meter.compute()[name], want())
            if size == 10:
                meter.reset()
                meter.update(dl.tensor(outputs), dl.tensor(targets))
                close(meter.compute()[name], want())


@pytest.mark.filterwarnings("ignore:fit")  # the rate is 0
def test_all_together_in_a_recorded_evaluation():
    model = nn.Linear(3, C)
    x = RNG.standard_normal((N, 3)).astype(np.float32)
    names = [name for name in CLASSES if name != "confusion_matrix"]
    step = metrics.Meter(names, samples=N)
    update = dl.capture(lambda logits, labels: step.update(logits, labels))
    for _ in range(3):
        step.reset()
        for start in range(0, 130, 10):
            update(dl.tensor(LOGITS[start : start + 10]), dl.tensor(LABELS[start : start + 10]))
        update(dl.tensor(LOGITS[130:]), dl.tensor(LABELS[130:]))
        found = step.compute()
        for name in names:
            close(found[name], CLASSES[name]())
    assert update.recorded
    history = dl.fit(
        model, (x, LABELS), (x, LABELS), loss="cross_entropy", metrics=names, epochs=4, batch_size=20, seed=0,
        optimizer=optim.SGD(model.parameters(), lr=0.0),
    )  # fmt: skip
    assert history.recorded
    logits = np.asarray(dl.predict(model, x))
    close(history["auc"][-1], metrics.auc(logits, LABELS))
    close(history["val_f1"][-1], sk.f1_score(LABELS, logits.argmax(1), average="macro"))
    close(history["f1"][-1], history["val_f1"][-1])


def test_ignored_labels_and_nan_count_for_nothing():
    ignored = LABELS.copy()
    ignored[::5] = -100
    kept = ignored >= 0
    for name in CLASSES:
        want = metrics.get(name)(LOGITS[kept], LABELS[kept])
        close(metrics.get(name)(LOGITS, ignored), want)
    bad = LOGITS.copy()
    bad[0] = np.nan
    assert metrics.f1(bad, LABELS) < metrics.f1(np.where(np.isnan(bad), 10 * np.eye(C)[LABELS], bad), LABELS)
    assert math.isnan(metrics.auc(bad, LABELS))


def test_what_is_not_defined():
    same = np.zeros(5, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metrics.auc(np.zeros((5, 1)), same))
        assert math.isnan(metrics.average_precision(np.zeros((5, 1)), same))
        assert math.isnan(metrics.spearman(np.zeros((5, 1)), np.ones((5, 1))))
        assert math.isnan(metrics.pearson(np.full((5, 1), 7.1), np.ones((5, 1))))
        assert metrics.f1(np.float32([[1, 0]] * 5), same) == 1.0
        assert metrics.Precision("binary")(np.float32([[1, 0]] * 3), np.array([1, 1, 1])) == 0.0
    for name in ("f1", "recall_micro", "balanced_accuracy", "precision_classes"):
        with pytest.raises(ValueError, match=f"{name}: 2 labels lie outside 0 .. 3"):
            metrics.get(name)(LOGITS[:5], np.array([0, 4, 1, -7, -100]))
    with pytest.raises(ValueError, match="average 'binary' is for 2 classes, and there are 4"):
        metrics.F1("binary")(LOGITS, LABELS)
    with pytest.raises(ValueError, match="F1: average 'median' is not one of"):
        metrics.F1("median")
    with pytest.raises(ValueError, match="'acuracy' is not known; did you mean 'accuracy'"):
        metrics.get("acuracy")
    with pytest.raises(ValueError, match=r"BitsPerByte: bytes is 0\.0"):
        metrics.BitsPerByte(0)


def test_large_values_do_not_cancel():
    x, y = VALUES.astype(np.float64) + 1e7, VALUES.astype(np.float64) * 2 - 1e9
    close(metrics.pearson(x, y), 1.0, 1e-9)
    meter = metrics.Meter(["pearson", "r2"])
    for k in range(N):
        meter.update(dl.tensor(x[k : k + 1]), dl.tensor(y[k : k + 1]))
    close(meter.compute()["pearson"], 1.0, 1e-9)
