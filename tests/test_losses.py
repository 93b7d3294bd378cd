"""Losses that are made of other operations, against formulas in NumPy; their modules; their names in `fit`."""

import inspect

import numpy as np
import pytest

import dlcore as dl
import dlcore.nn.functional as F
from dlcore import nn

RNG = np.random.default_rng(0)
N, D = 6, 5
X, Y = RNG.standard_normal((N, D)), RNG.standard_normal((N, D))
P, Q = RNG.uniform(0.05, 0.95, (N, D)), RNG.uniform(0.05, 0.95, (N, D))
SIGNS, COUNTS = np.sign(RNG.standard_normal((N, D))), RNG.integers(0, 5, (N, D)).astype(float)
LABELS, WEIGHT = np.array([0, 4, 2, -100, 1, 3]), RNG.uniform(0.5, 2, D)
SIGMOID = 1 / (1 + np.exp(-X))


def positive(x):
    return np.maximum(x, 0)


def distance(a, b, p=2):
    return (np.abs(a - b + 1e-6) ** p).sum(-1) ** (1 / p)


def picked(x):
    return np.take_along_axis(x, np.where(LABELS < 0, 0, LABELS)[:, None], 1)[:, 0]


def margins(p, margin):
    others = np.arange(D) != np.where(LABELS < 0, 0, LABELS)[:, None]
    return (np.where(others, positive(margin - picked(X)[:, None] + X), 0) ** p).sum(1) / D


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


STIRLING = np.where(COUNTS > 1, COUNTS * np.log(np.maximum(COUNTS, 1)) - COUNTS + np.log(
    2 * np.pi * np.maximum(COUNTS, 1)) / 2, 0)  # fmt: skip
WITH = {
    "bce, weight": (lambda x, **k: dl.binary_cross_entropy(x, Q, WEIGHT, **k), P,
                    -WEIGHT * (Q * np.log(P) + (1 - Q) * np.log(1 - P))),
    "bce of logits, both weights": (
        lambda x, **k: dl.binary_cross_entropy_with_logits(x, Q, P, pos_weight=WEIGHT, **k), X,
        -P * (WEIGHT * Q * np.log(SIGMOID) + (1 - Q) * np.log(1 - SIGMOID)),
    ),
    "bce of logits, weight": (
        lambda x, **k: dl.binary_cross_entropy_with_logits(x, Q, P, **k), X,
        -P * (Q * np.log(SIGMOID) + (1 - Q) * np.log(1 - SIGMOID)),
    ),
    "focal": (lambda x, **k: dl.focal_loss(x, Q, **k), X,
              -(0.25 * Q + 0.75 * (1 - Q)) * (Q * np.log(SIGMOID) + (1 - Q) * np.log(1 - SIGMOID))
              * (Q * (1 - SIGMOID) + (1 - Q) * SIGMOID) ** 2),
    "focal, gamma": (lambda x, **k: dl.focal_loss(x, Q, None, 1.5, **k), X,
                     -(Q * np.log(SIGMOID) + (1 - Q) * np.log(1 - SIGMOID))
                     * (Q * (1 - SIGMOID) + (1 - Q) * SIGMOID) ** 1.5),
    "soft margin": (lambda x, **k: dl.soft_margin_loss(x, SIGNS, **k), X, np.log1p(np.exp(-X * SIGNS))),
    "hinge": (lambda x, **k: dl.hinge_loss(x, SIGNS, 0.7, **k), X, positive(0.7 - X * SIGNS)),
    "hinge of distances": (lambda x, **k: dl.hinge_embedding_loss(x, SIGNS, **k), X,
                           np.where(SIGNS == 1, X, positive(1 - X))),
    "ranking": (lambda x, **k: dl.margin_ranking_loss(x, Y, SIGNS, 0.3, **k), X, positive(0.3 - SIGNS * (X - Y))),
    "several classes": (lambda x, **k: dl.multi_margin_loss(x, np.where(LABELS < 0, 0, LABELS), **k), X,
                        margins(1, 1.0)),
    "several classes, squared": (
        lambda x, **k: dl.multi_margin_loss(x, np.where(LABELS < 0, 0, LABELS), 2, 0.8, WEIGHT, **k), X,
        margins(2, 0.8) * WEIGHT[np.where(LABELS < 0, 0, LABELS)],
    ),
    "cosine": (lambda x, **k: dl.cosine_embedding_loss(x, Y, SIGNS[:, 0], 0.1, **k), X,
               np.where(SIGNS[:, 0] == 1, 1 - cosine(X, Y), positive(cosine(X, Y) - 0.1))),
    "triplet": (lambda x, **k: dl.triplet_margin_loss(x, Y, P, **k), X,
                positive(1 + distance(X, Y) - distance(X, P))),
    "triplet, p and swap": (
        lambda x, **k: dl.triplet_margin_loss(x, Y, P, p=3, swap=True, **k), X,
        positive(1 + distance(X, Y, 3) - np.minimum(distance(X, P, 3), distance(Y, P, 3))),
    ),
    "counts": (lambda x, **k: dl.poisson_nll_loss(x, COUNTS, full=True, **k), X, np.exp(X) - COUNTS * X + STIRLING),
    "counts of rates": (lambda x, **k: dl.poisson_nll_loss(x, COUNTS, False, **k), P,
                        P - COUNTS * np.log(P + 1e-8)),
    "normal": (lambda x, **k: dl.gaussian_nll_loss(x, Y, P, True, **k), X,
               (np.log(P) + (X - Y) ** 2 / P + np.log(2 * np.pi)) / 2),
    "normal, one variance": (lambda x, **k: dl.gaussian_nll_loss(x, Y, 0.5, **k), X,
                             (np.log(0.5) + (X - Y) ** 2 / 0.5) / 2),
    "normal, of rows": (lambda x, **k: dl.gaussian_nll_loss(x, Y, P[:, 0], **k), X,
                        (np.log(P[:, :1]) + (X - Y) ** 2 / P[:, :1]) / 2),
    "quantile": (lambda x, **k: dl.quantile_loss(x, Y, 0.9, **k), X,
                 np.where(Y > X, 0.9 * (Y - X), 0.1 * (X - Y))),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH)
def test_losses_are_their_formulas_and_differentiable_twice(name):
    function, at, each = WITH[name]
    for reduction, expected in (("none", each), ("mean", each.mean()), ("sum", each.sum())):
        got = np.asarray(function(dl.tensor(at), reduction=reduction))
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)

    def slope(at, direction, create_graph=False):
        x = dl.tensor(at, requires_grad=True)
        (gradient,) = dl.grad(function(x, reduction="sum"), [x], create_graph=create_graph)
        return x, (gradient * dl.tensor(direction)).sum()

    (along, inner), step = RNG.standard_normal((2, N, D)), 1e-6
    value = lambda s: function(dl.tensor(at + s * along), reduction="sum").item()  # noqa: E731
    assert slope(at, along)[1].item() == pytest.approx((value(step) - value(-step)) / (2 * step), rel=1e-5, abs=1e-6)
    x, first = slope(at, inner, True)
    if first.requires_grad:
        (second,) = dl.grad(first, [x], allow_unused=True)
        numeric = (slope(at + step * along, inner)[1].item() - slope(at - step * along, inner)[1].item()) / (2 * step)
        found = 0.0 if second is None else (second * dl.tensor(along)).sum().item()
        assert found == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_nll_is_the_mean_over_the_labels_that_count():
    log_p = np.log(RNG.dirichlet(np.ones(D), N))
    weights = np.where(LABELS < 0, 0, WEIGHT[np.maximum(LABELS, 0)])
    each = -weights * picked(log_p)
    for reduction, expected in (("none", each), ("mean", each.sum() / weights.sum()), ("sum", each.sum())):
        got = dl.nll_loss(dl.tensor(log_p), dl.tensor(LABELS), WEIGHT, reduction=reduction)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-12)
    logits, labels = dl.tensor(RNG.standard_normal((2, D, 3, 4))), dl.tensor(RNG.integers(0, D, (2, 3, 4)))
    for t, options in ((labels, {}), (labels.astype("uint8"), {"ignore_index": 2}), (labels, {"weight": WEIGHT})):
        want = dl.cross_entropy(logits, t, **{k: dl.tensor(v) if k == "weight" else v for k, v in options.items()})
        assert dl.nll_loss(dl.log_softmax(logits, 1), t, **options).item() == pytest.approx(want.item(), rel=1e-12)
    assert dl.nll_loss(dl.tensor([-1.0, -2.0]), dl.tensor(1)).item() == 2
    assert np.isnan(dl.nll_loss(dl.zeros(2, 3), dl.tensor([-100, -100])).item())


def test_kl_div_of_a_batch_is_divided_by_its_samples():
    log_p, q = np.log(P / P.sum(1, keepdims=True)), Q / Q.sum(1, keepdims=True)
    expected = (q * (np.log(q) - log_p)).sum() / N
    got = dl.kl_div(dl.tensor(log_p), dl.tensor(q), reduction="batchmean").item()
    logs = dl.kl_div(dl.tensor(log_p), dl.tensor(np.log(q)), reduction="batchmean", log_target=True).item()
    assert got == pytest.approx(expected, rel=1e-12) and logs == pytest.approx(expected, rel=1e-12)


def test_distances_and_angles():
    a, b = dl.tensor(X), dl.tensor(Y)
    np.testing.assert_allclose(np.asarray(dl.cosine_similarity(a, b)), cosine(X, Y), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(dl.cosine_similarity(a, b, 0)), cosine(X.T, Y.T), rtol=1e-12)
    for p in (1.0, 2.0, 2.5):
        np.testing.assert_allclose(np.asarray(dl.pairwise_distance(a, b, p)), distance(X, Y, p), rtol=1e-12)
        expected = X / (np.abs(X) ** p).sum(1, keepdims=True) ** (1 / p)
        np.testing.assert_allclose(np.asarray(F.normalize(a, p)), expected, rtol=1e-12)
    largest = np.abs(X - Y + 1e-6).max(1, keepdims=True)
    np.testing.assert_array_equal(np.asarray(dl.pairwise_distance(a, b, np.inf, keepdims=True)), largest)
    assert not np.asarray(F.normalize(dl.zeros(2, 3))).any() and F.normalize(a, np.inf).max().item() == 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dl.nll_loss(dl.zeros(2, 3), [0, -1]), IndexError, "nll_loss: label -1 at position 1 is out of range"),
        (lambda: dl.nll_loss(dl.zeros(2, 3), [3, 0]), IndexError, "label 3 at position 0 is out of range for 3 c"),
        (lambda: dl.nll_loss(dl.zeros(2, 3), [[0, 1]]), dl.ShapeError, r"target has shape \(1, 2\), input \(2, 3\)"),
        (lambda: dl.nll_loss(dl.zeros(2, 3), [0.0, 1.0]), dl.DTypeError, "class indices \\(integers\\), not float32"),
        (lambda: dl.nll_loss(dl.zeros(2, 3), [0, 1], [1.0]), dl.ShapeError, r"nll_loss: weight has shape \(1,\)"),
        (lambda: dl.multi_margin_loss(dl.zeros(2, 3), [0, 9]), IndexError, "multi_margin_loss: label 9 at position 1"),
        (lambda: dl.multi_margin_loss(dl.zeros(2, 3), [0, 1], 3), ValueError, "p 3 is neither 1 nor 2"),
        (lambda: dl.soft_margin_loss(dl.zeros(2, 1), dl.ones(2)), dl.ShapeError, "soft_margin_loss: shapes differ: "),
        (lambda: dl.binary_cross_entropy(dl.full(3, 1.5), dl.ones(3)), ValueError, "of logits take binary_cross"),
        (lambda: dl.binary_cross_entropy(P, Q, dl.ones(2, 6, 5)), dl.ShapeError, r"a weight of shape \(2, 6, 5\)"),
        (lambda: dl.quantile_loss(X, Y, 1.5), ValueError, r"quantile 1\.5 is not between 0 and 1"),
        (lambda: dl.gaussian_nll_loss(X, Y, -P), ValueError, r"gaussian_nll_loss: var -0\.\d* at position .* is neg"),
        (lambda: dl.gaussian_nll_loss(X, Y, P[:, :2]), dl.ShapeError, "gaussian_nll_loss: shapes do not broadcast"),
        (lambda: dl.cosine_embedding_loss(X, Y, SIGNS), dl.ShapeError, "cosine_embedding_loss: target has shape"),
        (lambda: dl.hinge_loss(X, SIGNS, reduction="all"), ValueError, "hinge_loss: reduction 'all' is not one of"),
        (lambda: dl.pairwise_distance(X, Y, 0), ValueError, r"pairwise_distance: p 0\.0 is not positive"),
        (lambda: dl.focal_loss("x", Y), TypeError, "focal_loss: operand 'input'"),
        (lambda: F.pad(dl.zeros(2), (1, 2, 3)), ValueError, "pad: 3 numbers are no pairs for the last of 1 axes"),
    ],
)
def test_wrong_calls_are_refused_by_name(call, error, text):
    with pytest.raises(error, match=text):
        call()


MODULES = [
    (nn.L1Loss, dl.l1_loss, X, Y), (nn.SmoothL1Loss, dl.smooth_l1_loss, X, Y), (nn.HuberLoss, dl.huber_loss, X, Y),
    (nn.MSELoss, dl.mse_loss, X, Y), (nn.BCELoss, dl.binary_cross_entropy, P, Q),
    (nn.BCEWithLogitsLoss, dl.binary_cross_entropy_with_logits, X, Q), (nn.KLDivLoss, dl.kl_div, X, P),
    (nn.SoftMarginLoss, dl.soft_margin_loss, X, SIGNS), (nn.HingeLoss, dl.hinge_loss, X, SIGNS),
    (nn.HingeEmbeddingLoss, dl.hinge_embedding_loss, X, SIGNS), (nn.FocalLoss, dl.focal_loss, X, Q),
    (nn.QuantileLoss, dl.quantile_loss, X, Y), (nn.PoissonNLLLoss, dl.poisson_nll_loss, X, COUNTS),
    (nn.GaussianNLLLoss, dl.gaussian_nll_loss, X, Y, P), (nn.MarginRankingLoss, dl.margin_ranking_loss, X, Y, SIGNS),
    (nn.CosineEmbeddingLoss, dl.cosine_embedding_loss, X, Y, SIGNS[:, 0]),
    (nn.TripletMarginLoss, dl.triplet_margin_loss, X, Y, P), (nn.NLLLoss, dl.nll_loss, X, LABELS),
    (nn.MultiMarginLoss, dl.multi_margin_loss, X, abs(LABELS) % 5),
]  # fmt: skip


@pytest.mark.parametrize(("module", "function", "given"), [(m, f, g) for m, f, *g in MODULES])
def test_modules_are_the_functions(module, function, given):
    tensors = [dl.tensor(g) for g in given]
    np.testing.assert_array_equal(np.asarray(module()(*tensors)), np.asarray(function(*tensors)))
    each = function(*tensors, reduction="none")
    np.testing.assert_array_equal(np.asarray(module(reduction="none")(*tensors)), np.asarray(each))
    np.testing.assert_array_equal(np.asarray(module(reduction="sum").each(*tensors)), np.asarray(each))
    with pytest.raises(ValueError, match=f"{module.__name__}: reduction 'other' is not one of"):
        module(reduction="other")


def test_modules_hand_their_arguments_on():
    x, y, w, q = dl.tensor(X), dl.tensor(Y), dl.tensor(WEIGHT), dl.tensor(Q)
    same = [
        (nn.SmoothL1Loss(beta=0.3)(x, y), dl.smooth_l1_loss(x, y, beta=0.3)),
        (nn.HuberLoss(delta=0.3)(x, y), dl.huber_loss(x, y, delta=0.3)),
        (nn.BCELoss(w)(dl.tensor(P), q), dl.binary_cross_entropy(P, Q, WEIGHT)),
        (nn.BCEWithLogitsLoss(pos_weight=w)(x, q), dl.binary_cross_entropy_with_logits(X, Q, None, "mean", w)),
        (nn.NLLLoss(w, 3)(x, dl.tensor(abs(LABELS) % 5)), dl.nll_loss(X, abs(LABELS) % 5, w, 3)),
        (nn.KLDivLoss("batchmean", True)(x, y), dl.kl_div(x, y, "batchmean", True)),
        (nn.TripletMarginLoss(2.0, 1, swap=True)(x, y, -x), dl.triplet_margin_loss(x, y, -x, 2.0, 1.0, swap=True)),
        (nn.PoissonNLLLoss(False, True)(dl.tensor(P), dl.tensor(COUNTS)), dl.poisson_nll_loss(P, COUNTS, False, True)),
        (nn.CosineSimilarity(0)(x, y), dl.cosine_similarity(x, y, 0)),
        (nn.PairwiseDistance(1, keepdim=True)(x, y), dl.pairwise_distance(x, y, 1, keepdims=True)),
    ]  # fmt: skip
    for got, want in same:
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


TARGETS = {
    "l1": Y, "smooth_l1": Y, "HuberLoss": Y, "quantile": Y, "bce_with_logits": P, "focal": P, "hinge": SIGNS,
    "soft-margin": SIGNS, "poisson_nll_loss": COUNTS, "multi_margin": abs(LABELS) % 5, "kl_div": P,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_fit_knows_losses_by_name(name):
    x, y = np.float32(X), TARGETS[name]
    y = np.float32(y) if y.dtype.kind == "f" else y
    model = nn.Linear(D, D)
    weights = np.arange(1.0, N + 1)
    history = dl.fit(model, (x, y), loss=name, optimizer=dl.optim.SGD(model.parameters(), 0.02), epochs=3, batch_size=3,
                     sample_weight=weights)  # fmt: skip
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_functional_has_the_functions_of_dl():
    assert F.silu is dl.silu and F.l1_loss is dl.l1_loss and F.cross_entropy is dl.cross_entropy
    assert sorted(F.__all__) == F.__all__
    for name in F.__all__:
        function = getattr(F, name)
        assert inspect.signature(function).parameters and function.__doc__
        if function.__module__ not in ("dlcore.nn.functional", "dlcore.nn.dropout"):  # those with PyTorch's arguments
            assert function is getattr(dl, name)
    x = dl.tensor(X)
    assert F.dropout(x, training=False) is x and F.softmax(x, dim=0).sum(0).tolist() == pytest.approx([1] * D)
    assert F.pad(x, (1, 2, 0, 3), value=7.0).shape == (9, 8)
    want = np.pad(X, ((0, 3), (1, 2)), "reflect")
    np.testing.assert_array_equal(np.asarray(F.pad(x, (1, 2, 0, 3), mode="reflect")), want)
