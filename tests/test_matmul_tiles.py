"""Products have the same bits whatever the processor: with the tiles of either make, on any number of threads, and
where bfloat16 is multiplied in pairs, bytes in fours."""

import os
import subprocess
import sys

import numpy as np

import dlcore as dl

PROGRAM = """
import hashlib
import numpy as np
import dlcore as dl

rng, digest = np.random.default_rng(0), hashlib.sha256()
SHAPES = [
    (15, 1, 7), (16, 17, 33), (19, 48, 64), (33, 80, 65), (100, 70, 513), (37, 33, 1030), (256, 300, 784), (14, 64, 32),
    (130, 144, 1025), (57, 5, 200), (128, 10, 256), (65, 257, 130), (29, 5, 0), (500, 96, 40), (4100, 20, 8),
    (512, 40, 100), (128, 128, 256), (64, 128, 64), (520, 96, 128), (3, 100, 1031), (9, 70, 1031), (4, 6, 201),
    (150, 70, 4100), (100, 100, 100), (40, 21, 9), (5, 70, 31), (1, 530, 20),
]


def products(a, b):
    at, bt = a.T.clone(), b.T.clone()
    return [(x @ y).numpy() for x in (a, at.T) for y in (b, bt.T)]


def gradients(a, bt, bias, dout):
    x, w, b = (t.detach().requires_grad_() for t in (a, bt, bias))
    dl.linear(x, w, b, activation="relu").backward(dout)
    return [x.grad, w.grad, b.grad]


for dtype in ("float32", "float64", "float16", "bfloat16"):
    for m, n, k in SHAPES:
        a, b = (dl.tensor(rng.standard_normal(s), dtype=dtype) for s in ((m, k), (k, n)))
        at, bt = a.T.clone(), b.T.clone()
        bias, dout = (dl.tensor(rng.standard_normal(s), dtype=dtype) for s in (n, (m, n)))
        results = []
        for threads in (1, 2, 3):
            dl.set_num_threads(threads)
            results.append([a @ b, at.T @ b, a @ bt.T, at.T @ bt.T, dl.linear(a, bt, bias, activation="gelu"),
                            dl.linear(a, b.T, bias, activation="gelu"),
                            *gradients(a, bt, bias, dout)])
        one_thread = results[0]
        for one, two, three in zip(*results, strict=True):
            assert np.array_equal(one.numpy(), two.numpy()), (dtype, m, n, k)
            assert np.array_equal(one.numpy(), three.numpy()), (dtype, m, n, k)
            digest.update(np.ascontiguousarray(one.numpy()).tobytes())
        dl.set_num_threads(1)
        # What cancels leaves what each rounding of a chain did: other sums do not show the order of terms in 16 bits.
        for left in products(dl.concat([a, a], 1), dl.concat([b, -b], 0)):
            digest.update(left.tobytes())
        signs = [rng.integers(-1, 2, s).astype(float) for s in ((m, k), (k, n))]  # sums are exact, in 16 bits too
        for got in products(*(dl.tensor(x, dtype=dtype) for x in signs)):
            assert np.array_equal(got, signs[0] @ signs[1]), (dtype, m, n, k)
        nothing = dl.zeros(n, dtype=dtype)  # with a bias, even of zeros, no product is a small one
        assert np.array_equal(one_thread[2].numpy(), dl.linear(a, bt, nothing).numpy()), (dtype, m, n, k)
        if min(m, n) > 14:  # not narrow: the same chains in every layout
            assert all(np.array_equal(x.numpy(), one_thread[0].numpy()) for x in one_thread[1:4]), (dtype, m, n, k)

# What is multiplied with zeros is left out where there are many; not where it is no number.
for m, n, k in ((256, 300, 140), (64, 129, 512), (100, 70, 201), (300, 65, 1100)):
    for share, bad in ((0.6, 1), (0.1, 1), (0.3, np.inf), (0.5, np.nan)):
        values, other = rng.standard_normal((m, k)) * (rng.random((m, k)) < share), rng.standard_normal((k, n))
        other[3, n - 5] *= bad
        a, b, bias = (dl.tensor(x, dtype="float32") for x in (values, other, rng.standard_normal(n)))
        results = []
        for threads in (1, 2, 3):
            dl.set_num_threads(threads)
            linear = dl.linear(a, b.T.clone(), bias, activation="gelu").numpy()
            results.append(np.nan_to_num([*products(a, b), linear], nan=7))
        assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
        assert (results[0][:4, :, n - 5] == 7).any() == (bad != 1)
        digest.update(results[0].tobytes())
print(digest.hexdigest())
"""


def digest(**environment):
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_way_to_multiply_has_the_same_bits():
    expected = digest(DLCORE_TILES="tall", DLCORE_BF16="widened")
    assert digest(DLCORE_TILES="broad", DLCORE_BF16="widened") == expected
    assert digest(DLCORE_TILES="mixed", DLCORE_BF16="widened") == expected
    assert digest(DLCORE_TILES="tall") == expected  # in pairs, where the processor has the instruction
    assert digest(DLCORE_TILES="broad") == expected


BYTES = """
import numpy as np
import dlcore as dl

rng = np.random.default_rng(0)
SHAPES = [
    (15, 1, 7), (16, 17, 33), (45, 77, 2101), (100, 70, 513), (1, 300, 4100), (130, 144, 1025), (29, 5, 0), (5, 33, 4),
    (17, 1, 7), (17, 33, 4), (21, 300, 2100), (2, 65, 130), (3, 129, 66), (10, 1100, 65), (16, 64, 64),
]
for left in (np.int8, np.uint8):
    for right in (np.int8, np.uint8):
        for m, n, k in SHAPES:
            a, b = (rng.choice([np.iinfo(d).min, np.iinfo(d).max, 3], s).astype(d)
                    for s, d in (((m, k), left), ((k, n), right)))
            expected = a.astype(np.int32) @ b.astype(np.int32)
            x, y = dl.tensor(a), dl.tensor(b)
            xt, yt, wide = x.T.clone(), y.T.clone(), dl.tensor(np.repeat(b, 2, 1))
            for threads in (1, 2):
                dl.set_num_threads(threads)
                for p, q in ((x, y), (xt.T, y), (x, yt.T), (xt.T, yt.T), (x, wide[:, ::2])):
                    np.testing.assert_array_equal(dl.matmul(p, q, dl.int32).numpy(), expected)
"""


def test_bytes_are_multiplied_exactly_with_and_without_the_instruction():
    for own in ({}, {"DLCORE_VNNI": "off"}):
        done = subprocess.run([sys.executable, "-c", BYTES], env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_batches_have_the_bits_of_their_products():
    rng = np.random.default_rng(0)
    for dtype in (dl.float32, dl.float64, dl.float16, dl.bfloat16):
        for m, n, k in ((4, 4, 4), (8, 8, 8), (16, 16, 16), (7, 33, 9), (40, 20, 70), (64, 64, 32), (100, 100, 100)):
            a, b = (dl.tensor(rng.standard_normal((7, *s)), dtype=dtype) for s in ((m, k), (k, n)))
            at, bt, wide = a.mT.clone().mT, b.mT.clone().mT, dl.concat([b, b], -1)[..., ::2]
            for x, y in ((a, b), (at, b), (a, bt), (at, bt), (a, wide), (a[::2], b[::2]), (a[:1], b)):
                got = dl.matmul(x, y).numpy()
                one = [(x[min(i, x.shape[0] - 1)] @ y[i]).numpy() for i in range(len(got))]
                np.testing.assert_array_equal(got, np.stack(one))


def test_sums_of_slices_that_are_subnormal_are_kept():
    a, b = np.zeros((150, 1024)), np.zeros((1024, 70))
    a[:, 3], a[:, 1000], b[3], b[1000] = 1.5 * 2.0**-63, -(2.0**-63), 2.0**-63, 2.0**-63
    for m, n in ((150, 70), (20, 70), (20, 10)):
        got = dl.tensor(a[:m], dtype=dl.bfloat16) @ dl.tensor(b[:, :n], dtype=dl.bfloat16)
        assert (got.numpy().astype(np.float64) == 2.0**-127).all()


def test_gradients_of_a_product_in_another_dtype_are_in_that_of_the_operands():
    x, w = dl.tensor([[1.0, 2.0]], requires_grad=True), dl.tensor([[3.0], [4.0]], dtype=dl.float64, requires_grad=True)
    out = dl.matmul(x, w, dtype=dl.float64)
    out.sum().backward()
    assert (out.dtype, x.grad.dtype, w.grad.dtype) == (dl.float64, dl.float32, dl.float64)
    assert x.grad.tolist() == [[3.0, 4.0]] and w.grad.tolist() == [[1.0], [2.0]]
