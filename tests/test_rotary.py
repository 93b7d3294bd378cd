"""Rotary embedding and positions: what the table of operations cannot say of them."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn


def drawn(*shape, seed=0):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_of_queries_and_keys_depend_on_their_distance_alone(interleaved):
    rotary = nn.RotaryEmbedding(16, 64, interleaved=interleaved)
    q, k = drawn(1, 1, 1, 16), drawn(1, 1, 1, 16, seed=1)
    products = [(rotary(q, dl.tensor(p + 7)) * rotary(k, dl.tensor(p))).sum().item() for p in (0, 3, 50)]
    assert np.allclose(products, products[0], atol=1e-4)
    assert abs(products[0] - (q * k).sum().item()) > 1e-3


def test_layouts_and_strides_give_the_same_bits():
    rotary, behind = nn.RotaryEmbedding(8, 32), nn.RotaryEmbedding(8, 32, layout="BTHD")
    x = drawn(2, 5, 3, 10)
    assert same(rotary(x.transpose(1, 2)), np.swapaxes(np.asarray(behind(x)), 1, 2).copy())
    assert rotary(x.transpose(1, 2)).strides == (150, 50, 10, 1)


def test_packed_queries_and_keys_turn_and_values_stay():
    rotary, x = nn.RotaryEmbedding(8, 32, layout="BTHD"), drawn(2, 5, 4 + 2 * 2, 8)
    positions = dl.tensor([[3, 4, 5, 6, 7], [0, 1, 2, 3, 4]])
    packed = rotary(x, positions, heads=6)
    assert same(packed[:, :, :6], rotary(x[:, :, :6], positions))
    assert same(packed[:, :, 6:], x[:, :, 6:])


def test_the_gradient_is_the_rotation_back():
    rotary, x = nn.RotaryEmbedding(6, 32, interleaved=True), drawn(2, 3, 5, 7)
    x.requires_grad = True
    rotary(x).backward(rotary(x).detach())
    assert np.allclose(x.grad.numpy(), x.detach().numpy(), atol=1e-6)


def test_a_position_that_grows_makes_no_new_recording():
    rotary, x, position = nn.RotaryEmbedding(8, 32), drawn(1, 2, 1, 8), dl.tensor(0)

    @dl.capture
    def step(x, position):
        return rotary(x, position)

    for p in range(6):
        position.fill_(p)
        assert same(step(x, position), rotary(x, dl.tensor(p)))
    assert step.recordings == 1
    position.fill_(32)
    with pytest.raises(IndexError, match="rotary_embedding: index 32 is out of range for tables of 32 rows"):
        step(x, position)


def test_tables_have_no_gradient():
    x, table = drawn(2, 4), drawn(2, 2)
    table.requires_grad = True
    with pytest.raises(dl.AutogradError, match="rotary_embedding: cos and sin are constants"):
        dl.rotary_embedding(x, table, table.detach()).sum().backward()


@pytest.mark.parametrize("make", [nn.RotaryEmbedding, nn.SinusoidalPositionalEncoding])
def test_tables_of_float64_are_computed_in_it(make):
    module, x = make(4, 500), np.ones((1, 1, 500, 4))
    angles = np.outer(np.arange(500), 10000.0 ** -(np.arange(0, 4, 2) / 4))
    sines, cosines = np.sin(angles), np.cos(angles)
    want = np.hstack([cosines - sines, cosines + sines])
    if make is nn.SinusoidalPositionalEncoding:
        want = 1 + np.stack([sines, cosines], -1).reshape(500, 4)
    step = dl.capture(lambda x: module(x))
    step(dl.ones(1, 1, 500, 4))
    first = step(dl.tensor(x)).numpy()  # recorded before the tables have been made
    for found in (first, module(dl.tensor(x)).numpy(), step(dl.tensor(x)).numpy(), module.to(dl.float64)(dl.tensor(x))):
        np.testing.assert_allclose(np.asarray(found)[0, 0], want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("make", [nn.RotaryEmbedding, nn.SinusoidalPositionalEncoding])
def test_a_position_that_grows_makes_no_recordings(make):
    module, x = make(4, 16), dl.ones(1, 1, 2, 4)
    step = dl.capture(lambda x, position: module(x, position))
    for k in range(5):
        assert np.array_equal(step(x, dl.tensor(k)).numpy(), module(x, dl.tensor(k)).numpy())
    assert step.recordings == 1


def test_buffers_are_not_saved():
    assert nn.RotaryEmbedding(4, 8).state_dict() == {} == nn.SinusoidalPositionalEncoding(4).state_dict()


def test_scaling():
    plain = nn.RotaryEmbedding(8, 64)
    linear = nn.RotaryEmbedding(8, 64, scaling=4.0)
    assert np.allclose(linear.cos.numpy()[::4], plain.cos.numpy()[:16], atol=1e-6)
    llama = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 8192}  # fmt: skip
    angles = nn.RotaryEmbedding(128, 2, 500000.0, llama)
    for pair, have in enumerate(np.arctan2(angles.sin.numpy()[1], angles.cos.numpy()[1])):
        frequency = 500000.0 ** (-pair / 64)
        length = 2 * np.pi / frequency  # of a whole turn, in positions
        if length > 8192:
            frequency /= 8
        elif length > 8192 / 4:
            smooth = (8192 / length - 1) / 3
            frequency *= smooth + (1 - smooth) / 8
        assert np.isclose(have, frequency, rtol=1e-6)
    with pytest.raises(ValueError, match="scaling 'llama3' needs low_freq_factor"):
        nn.RotaryEmbedding(8, scaling={"rope_type": "llama3", "factor": 8.0})
    with pytest.raises(ValueError, match="RotaryEmbedding: scaling rope_type 'yarn' is not one of"):
        nn.RotaryEmbedding(8, scaling={"rope_type": "yarn", "factor": 8.0})


def test_wrong_arguments():
    with pytest.raises(ValueError, match="RotaryEmbedding: dim is 5; pairs need an even number"):
        nn.RotaryEmbedding(5)
    with pytest.raises(dl.ShapeError, match="SinusoidalPositionalEncoding: 9 positions, the table has 8"):
        nn.SinusoidalPositionalEncoding(4, 8)(dl.zeros(1, 9, 4))
    with pytest.raises(dl.ShapeError, match=r"SinusoidalPositionalEncoding: x of shape \(1, 9, 5\)"):
        nn.SinusoidalPositionalEncoding(4, 8)(dl.zeros(1, 9, 5))


def test_sinusoids():
    module = nn.SinusoidalPositionalEncoding(4, 16)
    want = [[np.sin(p), np.cos(p), np.sin(p / 100), np.cos(p / 100)] for p in range(5)]
    assert np.allclose(module(dl.zeros(2, 5, 4)).numpy()[1], want, atol=1e-6)
    assert np.allclose(module(dl.zeros(2, 2, 4), dl.tensor(3)).numpy()[0], want[3:], atol=1e-6)
    assert np.allclose(module(dl.zeros(2, 4), dl.tensor([4, 1])).numpy(), [want[4], want[1]], atol=1e-6)
