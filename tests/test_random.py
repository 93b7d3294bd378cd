"""Random numbers: the generator's known answers, what a state determines, and that the numbers look as they should."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import random
from dlcore.ops._draw import a_state, words_of
from dlcore.ops.random import permutation, philox

# Random123's kat_vectors for philox4x32-10.
KNOWN = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0], "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("counter, key, words", KNOWN, ids=["zeros", "ones", "pi"])
def test_philox_gives_the_published_words(counter, key, words):
    counters = np.array([counter] * 19)  # more than the lanes of a vector, and not a multiple
    for row in np.asarray(philox(counters, np.array(key))):
        assert " ".join(f"{int(w):08x}" for w in row) == words


def draws(generator):
    return [
        dl.rand(7, 9, generator=generator),
        dl.randn(100, dtype="float64", generator=generator),
        dl.randint(-5, 5, (33,), generator=generator),
        dl.randperm(1000, generator=generator),
        random.bernoulli((65,), 0.3, generator=generator),
        dl.dropout(dl.ones(50), 0.5, generator=generator),
    ]


def test_the_same_seed_gives_the_same_numbers_and_a_state_goes_on():
    generator = random.Generator(7)
    first, state, second = draws(generator), generator.get_state(), draws(generator)
    generator.set_state(state)
    for a, b, c, d in zip(first, draws(random.Generator(7)), second, draws(generator), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(c, d)
        assert not np.array_equal(a, c), "a later draw repeats an earlier one"


def test_manual_seed_seeds_the_default_generator_and_keeps_its_tensor():
    state = random.default_generator().state
    dl.manual_seed(3)
    a = dl.rand(5)
    dl.manual_seed(3)
    np.testing.assert_array_equal(a, dl.rand(5))
    assert random.default_generator().state is state
    assert dl.manual_seed(2**64 - 1).seed == 2**64 - 1
    with pytest.raises(ValueError, match="is not an integer in"):
        dl.manual_seed(2**64)


def test_an_element_depends_on_its_position_only():
    short, long = (random.uniform((n,), generator=random.Generator(1)) for n in (100, 200_000))
    np.testing.assert_array_equal(short, np.asarray(long)[:100])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_stays_below_its_bound(dtype):
    x = np.asarray(random.uniform((100_000,), 1.0, 1.0 + 2**-6, dtype, generator=random.Generator(0))).astype(float)
    assert x.min() >= 1 and x.max() < 1 + 2**-6
    same = np.asarray(random.uniform((10,), 2.0, 2.0, dtype, generator=random.Generator(0))).astype(float)
    assert (same == 2).all()


def test_moments_are_those_of_the_distributions():
    n, generator = 1 << 20, random.Generator(0)
    error = 5 / n**0.5  # five standard errors
    u, z = np.asarray(dl.rand(n, generator=generator)), np.asarray(dl.randn(n, generator=generator))
    assert abs(u.mean() - 1 / 2) < error * 12**-0.5 and abs(u.var() - 1 / 12) < error * 180**-0.5
    assert (
        abs(z.mean()) < error and abs((z**2).mean() - 1) < error * 2**0.5 and abs((z**4).mean() - 3) < error * 96**0.5
    )
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < error and abs(np.corrcoef(z[:-16], z[16:])[0, 1]) < error
    counts = np.bincount(np.asarray(dl.randint(10, shape=(n,), generator=generator)), minlength=10)
    assert ((counts - n / 10) ** 2 / (n / 10)).sum() < 40  # chi squared with 9 degrees: beyond 1e-5
    firsts = [int(dl.randperm(4, generator=generator)[0].item()) for _ in range(4000)]
    assert ((np.bincount(firsts) - 1000) ** 2 / 1000).sum() < 30


def test_dropout_keeps_the_mask_for_the_backward_pass():
    x = dl.randn(1000, requires_grad=True, generator=random.Generator(0))
    y = dl.dropout(x, 0.25, generator=random.Generator(5))
    y.sum().backward()
    kept = np.asarray(y.detach()) != 0
    np.testing.assert_array_equal(x.grad, np.where(kept, np.float32(1 / 0.75), 0))
    assert 0.7 < kept.mean() < 0.8


@pytest.mark.parametrize("n", [63, 64, 65, 2049, 16385, 600_000, 5_000_000])  # of the last some share 42 leading bits
def test_permutations_are_the_stable_order_of_their_words(n):
    state = a_state()
    words = words_of(state, (n,), wide=True)[1]
    np.testing.assert_array_equal(permutation(dl.tensor(state), n), np.argsort(words, kind="stable"))
