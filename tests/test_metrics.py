"""Meters: sums that stay on the device, in one tensor, also in recorded steps."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import metrics
from dlcore.metrics import Meter, Metric

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((90, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 90)
OUTPUTS = RNG.standard_normal((90, 2)).astype(np.float32)
TARGETS = RNG.standard_normal((90, 2)).astype(np.float32)


def difference(outputs, targets):
    return (outputs - targets).mean()


METRICS = [
    *((name, LOGITS, LABELS) for name in ("accuracy", "top2", "confusion_matrix")),
    *((metric, OUTPUTS, TARGETS) for metric in ("mse", "mae", "r2", difference)),
]


def batches(*arrays, size=40):
    return [tuple(dl.tensor(a[i : i + size]) for a in arrays) for i in range(0, len(arrays[0]), size)]


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_sums_are_one_tensor_for_the_life_of_a_meter():
    meter = Meter(["accuracy", "confusion_matrix"])
    assert meter.compute() == {}
    meter.update(*batches(LOGITS, LABELS)[0])
    sums = meter._sums
    place = sums.data_ptr
    first = meter.compute()
    meter.reset()
    assert meter.compute() == {}
    for x, y in batches(LOGITS, LABELS)[1:]:
        meter.update(x, y, dl.tensor(2.0))
    assert meter._sums is sums and sums.data_ptr == place
    assert first["confusion_matrix"].sum() == 40  # what was read stays as it was
    second = meter.compute()
    assert list(second) == ["loss", "accuracy", "confusion_matrix"]
    assert second["loss"] == 2 and second["confusion_matrix"].sum() == 50
    assert second["accuracy"] == metrics.accuracy(LOGITS[40:], LABELS[40:])


@pytest.mark.parametrize("metric, outputs, targets", METRICS)
def test_in_a_recorded_step_and_over_epochs(metric, outputs, targets):
    eager, recorded = Meter([metric]), Meter([metric])
    losses = RNG.standard_normal(90).astype(np.float32)

    def update(meter, x, y, loss):
        meter.update(x, y, loss.mean())

    step = dl.capture(lambda x, y, loss: update(recorded, x, y, loss))
    for epoch in range(3):
        eager.reset()
        recorded.reset()
        for batch in batches(outputs + epoch, targets, losses):
            update(eager, *batch)
            step(*batch)
        assert equal(eager.compute(), recorded.compute())
    assert step.recordings == 2  # full batches, and the last one


def test_loss_counts_samples_and_only_where_one_is_given():
    meter = Meter()
    (x, y), *_, (last, labels) = batches(LOGITS, LABELS)
    meter.update(x, y, dl.tensor([1.0]))
    meter.update(last, labels, dl.tensor(4.0))
    meter.update(x, y)
    assert meter.compute() == {"loss": (40 * 1 + 10 * 4) / 50}
    meter.reset()
    meter.update(x, y)
    assert meter.compute() == {}


def test_sums_of_other_shapes_are_refused():
    meter = Meter(["accuracy", "confusion_matrix"])
    meter.update(*batches(LOGITS, LABELS)[0])
    before = meter.compute()
    text = r"confusion_matrix: a batch gives sums of shapes \[\(4, 4\), \(\)\], earlier ones gave \[\(5, 5\), \(\)\]"
    with pytest.raises(dl.ShapeError, match=text):
        meter.update(*batches(LOGITS[:, :4], LABELS % 4)[0])
    assert equal(meter.compute(), before)  # nothing was added


def test_sums_may_be_numbers_tensors_and_arrays():
    class Several(Metric):
        name = "several"

        def sums(self, outputs, targets):
            return 1, np.float32(0.5), outputs.sum(axis=0), np.arange(3), (outputs > 0).sum()

        def value(self, *sums):
            return sums

    meter = Meter([Several()])
    for batch in batches(OUTPUTS, TARGETS):
        meter.update(*batch)
    one, half, total, counts, positive = meter.compute()["several"]
    assert (one, half, counts.tolist(), positive) == (3, 1.5, [0, 3, 6], (OUTPUTS > 0).sum())
    np.testing.assert_allclose(total, OUTPUTS.sum(0), rtol=1e-5)
    assert isinstance(one, float) and isinstance(positive, float)


def test_empty_inputs_have_no_accuracy():
    assert np.isnan(metrics.accuracy(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)))


def test_another_attribute_of_a_metric_makes_another_recording():
    top = dl.metrics.TopK(1)
    meter = dl.metrics.Meter([top])
    step = dl.capture(lambda outputs, targets: meter.update(outputs, targets))
    outputs, targets = dl.tensor([[1.0, 2.0, 3.0]]), dl.tensor([1])
    for _ in range(3):
        step(outputs, targets)
    assert meter.compute() == {"top1": 0.0}
    meter.reset()
    top.k = 2
    step(outputs, targets)
    assert meter.compute() == {"top1": 1.0}


def test_differences_are_taken_in_a_wide_type():
    assert metrics.mae(np.uint8([3]), np.uint8([5])) == 2
    assert metrics.mse(np.uint8([3, 255]), np.uint8([5, 0])) == (4 + 255**2) / 2
    assert metrics.mse(np.float16([300.0]), np.float16([0.0])) == 90000  # more than float16 holds
    assert metrics.mse(np.float32([1e25]), np.float32([0.0])) == pytest.approx(1e50, rel=1e-6)
    assert metrics.mae(np.float16([60000.0]), np.float16([-60000.0])) == pytest.approx(120000, rel=1e-3)
    assert metrics.mae(np.int64([2**62]), np.int64([-(2**62)])) == 2**63


@pytest.mark.parametrize("name", ["accuracy", "top1", "top2", "top3"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_nan_is_never_right(name, dtype):
    logits = np.array([[np.nan, 0, 0], [0, np.nan, 0], [0, 0, 9], [np.nan, np.nan, np.nan]], dtype)
    for labels in ([0, 1, 2, 0], [1, 0, 2, 2]):
        assert metrics.get(name)(logits, np.array(labels)) == 0.25


def test_a_row_of_nan_is_predicted_as_no_class():
    logits = np.array([[np.nan, 0], [0, 1], [2, 1]], np.float32)
    assert metrics.confusion_matrix(logits, np.array([0, 1, 1])).tolist() == [[0, 0], [1, 1]]
    assert metrics.binary_accuracy(np.float32([np.nan, 1, -1]), np.array([0, 1, 1])) == 1 / 3


def test_equal_logits_go_by_the_class_as_argmax_does():
    outputs, labels = np.zeros((4, 4), np.float32), np.arange(4)
    for k in range(1, 5):
        assert metrics.TopK(k)(outputs, labels) == k / 4
    assert metrics.accuracy(outputs, labels) == 0.25
    assert metrics.TopK(2)(np.int64([[-3, -2, -5]]), np.array([0])) == 1


def test_labels_that_are_no_classes():
    logits = np.zeros((3, 2), np.float32)
    assert metrics.TopK(5)(logits, np.array([0, 2, -1])) == pytest.approx(1 / 3)
    assert metrics.accuracy(logits, np.array([0, 2, -1])) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"confusion_matrix: 2 labels lie outside 0 .. 1"):
        metrics.confusion_matrix(logits, np.array([0, 2, -1]))


def test_ignored_labels_count_for_nothing():
    logits = np.float32([[0, 1], [0, 1], [1, 0], [0, 1]])
    labels = np.array([1, -100, 1, -100])
    assert metrics.accuracy(logits, labels) == 0.5
    assert metrics.TopK(1)(logits, labels) == 0.5
    assert metrics.confusion_matrix(logits, labels).tolist() == [[0, 0], [1, 1]]
    assert metrics.Accuracy(ignore_index=1)(logits, np.array([1, 0, 0, 1])) == 0.5
    assert metrics.Accuracy(ignore_index=None)(logits, labels) == 0.25
    assert metrics.accuracy(logits, np.uint8([1, 0, 0, 1])) == 0.75  # bytes cannot hold -100
    assert metrics.get("top1", ignore_index=1)(logits, np.array([1, 0, 0, 1])) == 0.5


def test_one_unit_is_no_class():
    outputs, labels = np.float32([[2.0], [-1.0], [0.4]]), np.array([1, 0, 0])
    for name in ("accuracy", "top1", "confusion_matrix"):
        for targets in (labels, labels[:, None]):
            with pytest.raises(dl.ShapeError, match="have one unit, whose argmax is always class 0"):
                metrics.get(name)(outputs, targets)
    assert metrics.binary_accuracy(outputs, labels) == metrics.binary_accuracy(outputs, labels[:, None]) == 2 / 3
    assert metrics.BinaryAccuracy(threshold=0.5)(outputs, labels.astype(np.float32)) == 1
    with pytest.raises(dl.ShapeError, match="binary_accuracy: outputs"):
        metrics.binary_accuracy(np.zeros((3, 2), np.float32), labels)


@pytest.mark.parametrize("mean", [0.0, 1e8, -1.7e9])
def test_r2_does_not_cancel(mean):
    rng = np.random.default_rng(3)
    y = rng.standard_normal((1000, 2)) + mean
    outputs = y + 0.1 * rng.standard_normal(y.shape)
    exact = 1 - ((y - outputs) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    meter = Meter(["r2"])
    for batch in batches(outputs, y, size=37):
        meter.update(*batch)
    assert meter.compute()["r2"] == pytest.approx(exact.mean(), rel=1e-6)
    assert metrics.r2(outputs, y) == pytest.approx(exact.mean(), rel=1e-6)
    assert np.isnan(metrics.r2(outputs[:0], y[:0]))


def test_a_loss_is_weighted_by_what_it_counts():
    meter = Meter()
    x, y = dl.zeros(4, 2), dl.zeros(4, dtype="int64")
    meter.update(x, y, dl.tensor(2.0), dl.tensor(3))
    meter.update(x, y, dl.tensor(float("nan")), dl.tensor(0))  # every label of this batch is ignored
    meter.update(x, y, dl.tensor(6.0), 1)
    assert meter.compute() == {"loss": 3.0}


def test_a_function_that_gives_no_single_number_is_refused():
    with pytest.raises(dl.ShapeError, match="errors: a metric is one number for a batch, not of shape"):
        Meter([lambda x, y: 1.0, named := type("F", (), {"__name__": "errors", "__call__": lambda s, x, y: x - y})()])
        metrics.get(named)(OUTPUTS, TARGETS)
    with pytest.raises(TypeError, match="nothing: a metric is one number for a batch, not None"):
        metrics.get(type("F", (), {"__name__": "nothing", "__call__": lambda s, x, y: None})())(OUTPUTS, TARGETS)
    with pytest.raises(TypeError, match="metrics: 'accuracy' is not a list of names"):
        Meter("accuracy")


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_of_no_samples_there_is_no_average(name, average):
    metric = metrics.get(f"{name}_{average}")
    assert np.isnan(metric(np.ones((4, 3), np.float32), np.full(4, -100)))


def test_classes_along_axis_1_as_cross_entropy_takes_them():
    rng = np.random.default_rng(5)
    maps, labels = rng.standard_normal((3, 4, 5, 6)).astype(np.float32), rng.integers(0, 4, (3, 5, 6))
    last = np.moveaxis(maps, 1, -1).copy()
    for metric in (dl.metrics.accuracy, dl.metrics.f1):
        assert metric(dl.tensor(maps), dl.tensor(labels)) == metric(dl.tensor(last), dl.tensor(labels))
    with pytest.raises(dl.ShapeError, match=r"logits \(\.\.\., C\), or \(N, C, \.\.\.\)"):
        dl.metrics.accuracy(dl.tensor(maps), dl.tensor(labels[:, :4]))


def test_metrics_over_batches_are_those_of_the_whole():
    logits = RNG.standard_normal((90, 5)).astype(np.float32)
    labels = RNG.integers(0, 5, 90)
    out, y = (
        RNG.standard_normal((90, 2)).astype(np.float32) + 100,
        RNG.standard_normal((90, 2)).astype(np.float32) + 100,
    )
    order = np.argsort(-logits, axis=1)
    counts = np.zeros((5, 5), np.int64)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    d = (out.astype(np.float64) - y) ** 2
    spread = ((y - y.astype(np.float64).mean(0)) ** 2).sum(0)
    cases = [
        ("accuracy", logits, labels, (logits.argmax(1) == labels).mean()),
        ("top2", logits, labels, (order[:, :2] == labels[:, None]).any(1).mean()),
        ("top5", logits, labels, 1.0),
        ("confusion_matrix", logits, labels, counts),
        ("mse", out, y, d.mean()),
        ("mae", out, y, np.sqrt(d).mean()),
        ("r2", out, y, (1 - d.sum(0) / spread).mean()),
        (lambda o, t: (o - t).mean(), out, y, (out.astype(np.float64) - y).mean()),
    ]
    for metric, outputs, targets, expected in cases:
        for size in (90, 40):
            meter = metrics.Meter([metric])
            for start in range(0, 90, size):
                meter.update(dl.tensor(outputs[start : start + size]), dl.tensor(targets[start : start + size]))
            (value,) = meter.compute().values()
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert metrics.accuracy(logits, labels) == (logits.argmax(1) == labels).mean()
    assert metrics.confusion_matrix(logits, labels).dtype == np.int64


def test_r2_of_a_constant_column():
    y = np.full((4, 1), 3, np.float32)
    assert metrics.r2(y, y) == 1 and metrics.r2(y + 1, y) == 0


def test_r2_is_scikit_learns():
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    assert metrics.r2(TARGETS + 0.3, TARGETS) == pytest.approx(r2_score(TARGETS, TARGETS + 0.3), rel=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "top2", "confusion_matrix", "mse", "mae", "r2"])
def test_metrics_refuse_shapes_that_would_broadcast(name):
    with pytest.raises(dl.ShapeError, match=name):
        metrics.get(name)(np.zeros((4, 1, 2), np.float32), np.zeros((4, 2, 2), np.float32))


def test_accuracy_of_sequences_counts_every_position():
    logits = np.zeros((2, 3, 4), np.float32)
    logits[..., 1] = 1
    assert metrics.accuracy(logits, np.array([[1, 1, 0], [1, 0, 0]])) == 0.5


@pytest.mark.parametrize("record", [True, False])
def test_targets_that_are_probabilities_count_as_their_likeliest_class(record):
    rng = np.random.default_rng(4)
    x, mixed = rng.standard_normal((40, 5)).astype(np.float32), rng.dirichlet([0.5] * 3, 40).astype(np.float32)
    names = ["accuracy", "f1", "auc", "confusion_matrix", "ece"]
    dl.manual_seed(2)
    model = dl.nn.Linear(5, 3)
    soft = dl.evaluate(model, (x, mixed), loss="cross_entropy", metrics=names)
    hard = dl.evaluate(model, (x, mixed.argmax(axis=1)), loss="cross_entropy", metrics=names)
    for name in names:  # f1 and auc read outputs and targets of one shape as outputs of several 0 and 1
        np.testing.assert_array_equal(soft[name], hard[name])
    history = dl.fit(
        model, (x, mixed.argmax(axis=1)), loss="cross_entropy", optimizer=dl.optim.SGD(model.parameters(), lr=0.0),
        augment=[dl.data.Mixup(0.01, classes=3)], metrics=names, epochs=3, batch_size=8, record=record, seed=0,
    )
    assert history.recorded is record and history.epochs[-1]["confusion_matrix"].sum() == 40
