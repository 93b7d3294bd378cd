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
    text = r"confusion_matrix: a batch gives sums of shapes \[\(4, 4\)\], earlier ones gave \[\(5, 5\)\]"
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
