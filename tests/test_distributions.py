"""Distributions: moments and tails, parameters that broadcast, generators, recordings, wrong ranges."""

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import random
from dlcore.errors import DTypeError, ShapeError

N = 200_000


def moments(x, mean, variance, kurtosis=3.0):
    """Mean and variance within five standard errors."""
    x = np.asarray(x, np.float64)
    error = 5 / x.size**0.5
    assert abs(x.mean() - mean) < error * variance**0.5
    assert abs(x.var() / variance - 1) < error * (kurtosis - 1) ** 0.5


@pytest.fixture
def generator():
    return random.Generator(3)


def test_exponential_numbers(generator):
    x = random.exponential((N,), 2.5, generator=generator)
    moments(x, 2.5, 2.5**2, 9.0)
    assert np.asarray(x).min() >= 0
    assert (np.asarray(random.exponential((9,), 0.0)) == 0).all()


@pytest.mark.parametrize("a", [0.02, 0.7, 1.0, 3.5, 900.0])
def test_gamma_numbers(generator, a):
    moments(random.gamma(a, shape=(N,), generator=generator), a, a, 3 + 6 / a)
    moments(random.gamma(np.float64(a), 2.0, (N,), generator=generator), 2 * a, 4 * a, 3 + 6 / a)


@pytest.mark.parametrize("rate", [0.0, 0.3, 9.5, 10.0, 35.0, 1e6])
def test_poisson_numbers(generator, rate):
    x = random.poisson(rate, (N,), generator=generator)
    assert x.dtype is dl.int64
    if rate:
        moments(x, rate, rate, 3 + 1 / rate)
    else:
        assert not np.asarray(x).any()
    if rate == 9.5:  # each probability
        counts = np.bincount(np.asarray(x), minlength=30)[:30]
        expected = N * np.exp([k * math.log(rate) - rate - math.lgamma(k + 1) for k in range(30)])
        likely = expected > 20
        chi = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
        assert chi < 70, chi


def test_truncated_normal_numbers(generator):
    x = np.asarray(random.truncated_normal((N,), 1.0, 2.0, -3.0, 5.0, generator=generator))
    assert x.min() >= -3 and x.max() <= 5
    moments(x, 1.0, 4 * 0.7737413)  # of the normal distribution within two deviations
    tail = np.asarray(random.truncated_normal((N,), low=5.0, high=math.inf, dtype="float64", generator=generator))
    assert tail.min() >= 5 and abs(tail.mean() - 5.18650) < 0.002
    other = np.asarray(random.truncated_normal((9,), low=-math.inf, high=-5.0, generator=generator))
    assert other.max() <= -5


def test_beta_and_dirichlet_numbers(generator):
    a, b = 2.0, 0.5
    x = random.beta(a, b, (N,), generator=generator)
    moments(x, a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1)), 4.0)
    tiny = np.asarray(random.beta(1e-3, 1e-3, (2000,), generator=generator))
    assert np.isfinite(tiny).all() and 0.4 < tiny.mean() < 0.6
    p = np.asarray(random.dirichlet([0.5, 1.0, 2.5], (20_000,), generator=generator))
    assert p.shape == (20_000, 3)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(p.mean(0), [0.125, 0.25, 0.625], atol=0.01)


def test_classes_are_drawn_as_often_as_their_probabilities_say(generator):
    p = np.array([[0.1, 0.0, 0.6, 0.3], [1.0, 1.0, 0.0, 2.0]])
    drawn = np.asarray(random.categorical(p, shape=(N,), generator=generator))
    assert drawn.shape == (N, 2)
    for column, chances in zip(drawn.T, p, strict=True):
        chances = chances / chances.sum()
        counts = np.bincount(column, minlength=4)
        assert counts[chances == 0].sum() == 0
        assert (np.abs(counts / N - chances) < 5 * np.sqrt(chances / N) + 1e-12).all()
    same = random.categorical(logits=np.log(p + 1e-300), generator=random.Generator(5))
    np.testing.assert_array_equal(same, random.categorical(p, generator=random.Generator(5)))


def test_several_classes_are_drawn_from_each_row(generator):
    p = np.array([[0.1, 0.0, 0.6, 0.3], [1.0, 1.0, 0.0, 2.0]])
    drawn = np.asarray(dl.multinomial(p, N, replacement=True, generator=generator))
    assert drawn.shape == (2, N)
    for row, chances in zip(drawn, p / p.sum(1, keepdims=True), strict=True):
        counts = np.bincount(row, minlength=4)
        assert counts[chances == 0].sum() == 0
        assert (np.abs(counts / N - chances) < 5 * np.sqrt(chances / N) + 1e-12).all()
    firsts = np.zeros(4)
    for _ in range(400):
        three = np.asarray(dl.multinomial(p[0], 3, generator=generator))
        assert sorted(three) == [0, 2, 3]
        firsts[three[0]] += 1
    assert abs(firsts[2] / 400 - 0.6) < 0.12
    pair = np.asarray(random.choice(dl.tensor([10, 20, 30, 40]), (2,), replace=False, p=p[0], generator=generator))
    assert pair[0] != pair[1] and 20 not in pair


def test_parameters_broadcast_and_decide_the_dtype(generator):
    rates = dl.tensor([[1.0], [50.0]])
    assert random.poisson(rates, (3, 2, 4), generator=generator).shape == (3, 2, 4)
    assert random.gamma(rates.astype("float64")).dtype is dl.float64
    assert random.gamma(rates.astype("float16")).dtype is dl.float32
    assert random.gamma(3).dtype is dl.float32
    assert random.beta(rates, dl.ones(4)).shape == (2, 4)
    with pytest.raises(ShapeError, match="gamma: a parameter of shape"):
        random.gamma(rates, shape=(3,))


def test_choice_shuffle_and_permutation(generator):
    x = dl.arange(10)
    assert sorted(np.asarray(random.choice(x, (10,), replace=False, generator=generator))) == list(range(10))
    assert random.choice(5, (2, 3), generator=generator).shape == (2, 3)
    weighted = np.asarray(random.choice(x, (N,), p=np.eye(10)[4] * 0.5 + 0.05, generator=generator))
    assert abs((weighted == 4).mean() - 0.55) < 0.01
    rows = dl.arange(20).reshape(10, 2)
    copy = random.permutation(rows, generator=generator)
    assert not np.array_equal(copy, rows)
    random.shuffle(rows, generator=generator)
    assert sorted(np.asarray(rows)[:, 0]) == list(range(0, 20, 2)) and (np.asarray(rows)[:, 1] % 2 == 1).all()


def test_draws_that_are_like_a_tensor():
    x = dl.zeros((3, 4), dtype="float64")
    assert dl.rand_like(x).dtype is dl.float64 and dl.randn_like(x, "float32").dtype is dl.float32
    assert dl.randint_like(x, 5).dtype is dl.int64 and dl.randint_like(dl.zeros(3, dtype="uint8"), 5).dtype is dl.uint8
    chances = dl.tensor([0.0, 1.0, 0.5])
    masks = np.stack([np.asarray(dl.bernoulli(chances)) for _ in range(200)])
    assert not masks[:, 0].any() and masks[:, 1].all() and 60 < masks[:, 2].sum() < 140


def test_recorded_draws_go_on(generator):
    a = dl.tensor([0.5, 2.0, 30.0])

    def draw(a):
        return random.gamma(a, generator=generator) + random.poisson(a, generator=generator)

    eager = [np.asarray(draw(a)) for _ in range(4)]
    generator.manual_seed(3)
    step = dl.capture(draw)
    for want in eager:
        np.testing.assert_array_equal(step(a), want)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: random.gamma(0.0), ValueError, "gamma: the concentration 0.* at position 0 is not positive"),
        (lambda: random.gamma(dl.tensor([1.0, math.nan])), ValueError, "gamma: the concentration nan at position 1"),
        (lambda: random.poisson(dl.tensor([-1.0])), ValueError, "poisson: the rate -1.* at position 0 is not between"),
        (lambda: random.categorical(), TypeError, "categorical: takes either probabilities or logits"),
        (lambda: random.categorical(dl.zeros((3, 0))), ShapeError, "categorical: probabilities have shape"),
        (lambda: random.choice(3, (4,), replace=False), ValueError, "choice: 4 elements asked for without replacement"),
        (lambda: random.choice(3, p=[0.5, 0.6, 0.1]), ValueError, "are no probabilities"),
        (lambda: random.choice(3, p=[0.5, 0.5]), ShapeError, "choice: p has shape"),
        (lambda: random.choice(3, (2,), False, [1.0, 0.0, 0.0]), ValueError, "choice: 2 elements .* replacement, of 1"),
        (lambda: dl.multinomial([0.5, 0.5], 3), ShapeError, "multinomial: 3 samples without replacement from 2"),
        (lambda: random.dirichlet(2.0), ShapeError, "dirichlet: concentrations have shape"),
        (lambda: dl.bernoulli(dl.tensor([1, 0])), DTypeError, "bernoulli: int64 tensors are no probabilities"),
        (lambda: random.shuffle(dl.tensor(1.0)), ShapeError, "shuffle: a 0-d tensor has no rows"),
    ],
)
def test_wrong_ranges_are_refused(call, error, text, generator):
    with pytest.raises(error, match=text):
        call()


def test_a_refused_draw_leaves_the_state_alone(generator):
    before = np.asarray(generator.get_state())
    with pytest.raises(ValueError, match="gamma"):
        random.gamma(dl.tensor([1.0, -1.0]), generator=generator)
    np.testing.assert_array_equal(generator.state, before)
