"""`dlcore.func`: transformations of functions against loops, formulas and each other."""

import numpy as np
import pytest

import dlcore as dl
from dlcore import func
from dlcore.errors import AutogradError, DTypeError, ShapeError

RNG = np.random.default_rng(0)


def normal(*shape):
    return dl.tensor(RNG.standard_normal(shape))


X, M, TABLE = normal(5, 3), normal(5, 3, 4), normal(7, 4)
INDEX = dl.tensor([0, 2, 1, -1, 0])
PAIRS = dl.tensor(RNG.integers(0, 3, (5, 2)))


def array(t):
    return t if isinstance(t, np.ndarray) else np.asarray(t.detach())


def close(got, want):
    np.testing.assert_allclose(array(got), array(want), rtol=1e-12, atol=1e-12)


def layer(row):
    return dl.tanh(row @ TABLE[:3])


def written(row, i):
    z = dl.zeros_like(row)
    z[i] = row[0]
    z[0] += 1
    z *= 2
    return z


def masked(row):
    row = row * 1
    row[row > 0] = 0.5
    return row


FUNCTIONS = {
    "methods": (lambda m: m.sum(0) + m.mean(0) - m.max(0), M),
    "operators": (lambda a, b: (a + 2) * b / (1 - b) ** 2 - -a, X, X),
    "shape": (lambda m: m.reshape(m.shape[0] * m.shape[1]) * len(m) + m.ndim, M),
    "transposed": (lambda m: m.T @ m, M),
    "vectors": (lambda a, b: a @ b, X, X),
    "matrix and vector": (lambda m, a: a @ m, M, X),
    "shared matrix": (lambda row: TABLE @ (row @ TABLE[:3]), X),
    "batch of matrices with a shared one": (lambda m: TABLE @ m.T, M),
    "slices": (lambda m: m[None, ::-1, 1:], M),
    "an index": (lambda row: row[1] - row[-1], X),
    "by an own index": (lambda row, i: row[i], X, INDEX),
    "by own indices": (lambda m, i: m[i], M, PAIRS),
    "in the second axis": (lambda m, i: m[:, i], M, PAIRS),
    "by two indices": (lambda m, i: m[i, i + 1], M, PAIRS),
    "rows of a shared table": (lambda i: TABLE[i], INDEX),
    "columns of a shared table": (lambda i: TABLE[:, i], PAIRS),
    "by a shared index": (lambda row: row[dl.tensor([2, 0])], X),
    "where": (lambda a: dl.where(a > 0, a, 0.1 * a), X),
    "stack": (lambda m: dl.stack([m, m * 2], 1), M),
    "concat": (lambda m: dl.concat([m, TABLE[:2]]), M),
    "iteration": (lambda m: dl.concat([row * k for k, row in enumerate(m)]), M),
    "softmax": (lambda m: dl.softmax(m, 0)[0], M),
    "argmax": (lambda m: m.argmax() + m.argmax(1), M),
    "writing": (written, X, INDEX),
    "writing by a mask": (masked, X),
    "new tensors": (lambda a: dl.full_like(a, 2.0) * a + dl.ones_like(a), X),
    "linear": (lambda a: dl.linear(a, TABLE[:, :3], None, "gelu"), X),
    "linear of own weights": (lambda m, a: dl.linear(a, m.T, None, "relu"), M, X),
    "casts": (lambda a: a.astype("float32").to("cpu"), X),
    "a constant": (lambda a: TABLE[0], X),
    "jacrev": (func.jacrev(layer), X),
    "jacfwd": (func.jacfwd(layer), X),
    "hessian": (func.hessian(lambda a: layer(a).sum()), X),
    "jvp": (lambda a: func.jvp(layer, (a,), (a * 2,))[1], X),
    "vjp": (lambda a: func.vjp(layer, a)[1](layer(a)), X),
    "hvp": (lambda a: func.hvp(lambda b: layer(b).sum(), (a,), (a,))[0], X),
    "a vmap": (lambda a: func.vmap(lambda one: one * a)(a), X),
    "a gradient through a vmap": (
        lambda a: func.grad(lambda b: func.vmap(lambda row: (row * b).sum())(X).sum())(a), X
    ),
    "a Jacobian through a vmap": (lambda a: func.jacrev(lambda b: func.vmap(lambda row: dl.sin(row * b))(X))(a), X),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_gives_what_a_loop_gives(name):
    f, *args = FUNCTIONS[name]
    want = np.stack([array(f(*one)) for one in zip(*args, strict=True)])
    close(func.vmap(f)(*args), want)
    close(func.vmap(f, chunk_size=2)(*args), want)
    close(func.vmap(func.vmap(f))(*(dl.stack([a, a]) for a in args)), np.stack([want, want]))


def test_axes_of_structures():
    def f(d, pair, scale=None):
        return {"sum": d["a"].sum() + pair[0], "rows": pair[1] * scale}

    a, b, c, scale = normal(3, 4), normal(4), normal(2, 4), normal(4)
    got = func.vmap(f, in_axes=({"a": 1}, (0, None)), out_axes={"sum": 0, "rows": 1})({"a": a}, (b, c[0]), scale=scale)
    close(got["sum"], array(a).sum(0) + array(b))
    close(got["rows"], array(c[0])[:, None] * array(scale))
    assert got["rows"].shape == (4, 4)


def test_no_examples_at_all():
    assert func.vmap(lambda a: a.sum() * 2)(dl.zeros(0, 3)).shape == (0,)
    assert func.vmap(func.grad(lambda a: (a * a).sum()))(dl.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    "f", [lambda a: a.sum().item(), lambda a: a.sum() > 0 or a, np.asarray, lambda a: a.tolist(), lambda a: float(a[0])]
)
def test_values_of_an_example_are_refused(f):
    with pytest.raises(ShapeError, match="of a tensor that stands for each of 5 examples"):
        func.vmap(f)(X)


@pytest.mark.parametrize(
    "error, text, call",
    [
        (ShapeError, "different numbers of examples: 5, 7", lambda: func.vmap(lambda a, b: a)(X, TABLE)),
        (ValueError, "in_axes are all None", lambda: func.vmap(lambda a: a, in_axes=None)(X)),
        (ValueError, "has 1 entries for 2 arguments", lambda: func.vmap(lambda a, b: a, in_axes=(0,))(X, X)),
        (TypeError, "has a int, which has no axis of examples", lambda: func.vmap(lambda a, b: a)(X, 2)),
        (IndexError, "in_axes 2 is out of range for shape", lambda: func.vmap(lambda a: a, in_axes=2)(X)),
        (TypeError, "the function returned a int", lambda: func.vmap(lambda a: 1)(X)),
        (ShapeError, "shapes do not broadcast: .3,. and .4,.", lambda: func.vmap(lambda a: a + TABLE[0])(X)),
        (ShapeError, "shape depends on values", lambda: func.vmap(lambda a: dl.nonzero(a))(X)),
        (ShapeError, "that they share", lambda: func.vmap(lambda a: dl.zeros(3, dtype="float64").add_(a))(X)),
        (ValueError, "draws random numbers", lambda: func.vmap(lambda a: a + dl.rand(3))(X)),
        (ValueError, "randomness 'no' is not one of", lambda: func.vmap(dl.sin, randomness="no")),
        (ShapeError, "a gradient is that of one number", lambda: func.grad(dl.sin)(X)),
        (DTypeError, "is of int64, not a float", lambda: func.grad(lambda a: a.sum())(INDEX)),
        (TypeError, "is a float, not a tensor", lambda: func.grad(lambda a: a)(1.0)),
        (ValueError, "argnums 2 for 1 arguments", lambda: func.grad(dl.sum, 2)(X)),
        (ShapeError, "vjp: dout", lambda: func.vjp(dl.sin, X)[1](X[0])),
        (ShapeError, "jvp: tangents", lambda: func.jvp(dl.sin, (X,), (X[0],))),
    ],
)
def test_wrong_calls(error, text, call):
    with pytest.raises(error, match=text):
        call()


def test_a_tensor_of_an_example_does_not_outlive_its_vmap():
    kept = []
    func.vmap(lambda a: kept.append(a) or a)(X)
    with pytest.raises(RuntimeError, match="after that has returned"):
        kept[0] + 1


def test_gradients_of_each_example():
    p = X[0]
    got = func.vmap(func.grad(lambda p, s: ((p * s).sum()) ** 2), in_axes=(None, 0))(p, X)
    close(got, 2 * (array(X) @ array(p))[:, None] * array(X))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_of_a_layer_and_its_loss_for_each_example(reduction):
    labels = dl.tensor([[0, 1], [2, 3], [3, -100], [1, 1], [-100, 0]])
    weight = dl.tensor(RNG.uniform(0.5, 1, 4))

    def loss(p, x, y):
        return dl.cross_entropy(dl.linear(x, p["w"], p["b"], "tanh"), y, weight, reduction=reduction)

    p, inputs = {"w": normal(4, 3), "b": normal(4)}, normal(5, 2, 3)
    got = func.vmap(func.grad(loss), in_axes=(None, 0, 0))(p, inputs, labels)
    for k in range(5):
        want = func.grad(loss)(p, inputs[k], labels[k])
        close(got["w"][k], want["w"])
        close(got["b"][k], want["b"])


def test_nested_gradients_do_not_meet():
    one = dl.tensor(1.0)
    assert func.grad(lambda x: x * func.grad(lambda y: x + y)(one))(one).item() == 1
    assert func.grad(lambda x: x * func.grad(lambda y: x * y * y)(dl.tensor(3.0)))(dl.tensor(2.0)).item() == 24
    tangent = func.jvp(lambda x: x * func.jvp(lambda y: x + y, (one,), (one,))[1], (one,), (one,))[1]
    assert tangent.item() == 1
    assert func.grad(lambda x: func.jvp(lambda y: x * y, (x,), (x,))[1])(dl.tensor(3.0)).item() == 6


def test_a_gradient_is_a_constant_unless_something_outside_is_differentiated():
    w = normal(3).requires_grad_()
    value, gradient = func.value_and_grad(lambda x: (x * x).sum())(X[0])
    assert not value.requires_grad and not gradient.requires_grad and value.node is None
    value, gradient = func.value_and_grad(lambda x: (x * x * w).sum())(X[0])
    gradient.sum().backward()
    close(w.grad, 2 * array(X[0]))
    with dl.no_grad():
        assert not func.grad(lambda x: (x * x * w).sum())(X[0]).requires_grad


def test_gradients_through_a_vmap_reach_what_it_shares():
    w = normal(3).requires_grad_()
    func.vmap(lambda row: (row * w).sum() ** 2)(X).sum().backward()
    close(w.grad, (2 * (array(X) @ array(w))[:, None] * array(X)).sum(0))


def test_dl_grad_within_a_vmap():
    close(func.vmap(func.grad(lambda a: dl.grad((a**3).sum(), a, create_graph=True)[0].sum()))(X), 6 * array(X))
    w = normal(3).requires_grad_()
    with pytest.raises(AutogradError, match="is shared by all examples of a vmap"):
        func.vmap(lambda a: dl.grad((a * w).sum(), w)[0])(X)
    func.vmap(lambda a: (a * w).sum().backward() or a)(X)
    close(w.grad, array(X).sum(0))


def test_structures_argnums_aux():
    def f(d, y):
        return (d["a"] * y).sum() + d["b"] ** 2, y * 2

    d, y = {"a": X[0], "b": dl.tensor(3.0, dtype="float64")}, X[1]
    (gd, gy), aux = func.grad(f, argnums=(0, 1), has_aux=True)(d, y)
    close(gd["a"], y)
    close(gy, d["a"])
    close(aux, 2 * array(y))
    assert gd["b"].item() == 6
    close(func.grad(f, argnums=-1, has_aux=True)(d, y)[0], d["a"])
    jacobian = func.jacrev(lambda d: {"s": d["a"] * d["b"]})(d)
    close(jacobian["s"]["a"], 3 * np.eye(3))
    close(jacobian["s"]["b"], d["a"])
    forward = func.jacfwd(lambda d: {"s": d["a"] * d["b"]})(d)
    close(forward["s"]["a"], 3 * np.eye(3))
    close(forward["s"]["b"], d["a"])


def test_what_a_function_does_not_depend_on_has_gradient_0():
    close(func.grad(lambda x, y: y.sum())(X, X), np.zeros((5, 3)))
    close(func.jacfwd(lambda x: TABLE)(X[0]), np.zeros((7, 4, 3)))
    close(func.jvp(lambda x: TABLE, (X,), (X,))[1], np.zeros((7, 4)))


def test_second_derivatives():
    def f(x):
        return (dl.sin(x) * x).sum()

    x, v = X[0], X[1]
    h = func.hessian(f)(x)
    close(h, np.diag(2 * np.cos(array(x)) - array(x) * np.sin(array(x))))
    close(func.hvp(f, (x,), (v,))[0], array(h) @ array(v))
    value, push = func.linearize(lambda x: x**3, x)
    close(value, array(x) ** 3)
    close(push(v), 3 * array(x) ** 2 * array(v))
    close(push(2 * v), 6 * array(x) ** 2 * array(v))


def test_random_numbers_of_examples():
    dl.manual_seed(0)

    def f(row):
        return dl.dropout(row, 0.5) + dl.rand(40)

    ones = dl.ones(4, 40)
    different = func.vmap(f, randomness="different")(ones)
    same = func.vmap(f, randomness="same")(ones)
    assert len({array(r).tobytes() for r in different}) == 4
    assert len({array(r).tobytes() for r in same}) == 1
    shared = func.vmap(lambda row: dl.dropout(ones[0], 0.5) + row, randomness="different")(ones)
    assert len({array(r).tobytes() for r in shared}) == 4


def test_the_mask_of_a_dropout_is_the_same_in_all_directions():
    dl.manual_seed(3)
    jacobian = array(func.jacrev(lambda x: dl.dropout(x, 0.5))(dl.ones(30)))
    assert set(np.unique(jacobian)) == {0.0, 2.0} and np.array_equal(jacobian, np.diag(np.diag(jacobian)))


def test_within_recorded_steps():
    def step(x):
        per_sample = func.vmap(func.grad(lambda p, s: dl.sin(p * s).sum()), in_axes=(None, 0))(x[0], x)
        return per_sample, func.hessian(lambda p: (p**3).sum())(x[1])

    captured = dl.capture(step)
    for _ in range(4):
        x = normal(5, 3)
        for got, want in zip(captured(x), step(x), strict=True):
            assert array(got).tobytes() == array(want).tobytes()
    assert captured.recordings == 1, captured.failure


def test_autocast_casts_what_it_casts_outside():
    x, w = dl.randn(5, 3), dl.randn(4, 3)
    with dl.autocast(dl.bfloat16):
        for f in (lambda a: dl.linear(a, w, None, "gelu"), lambda a: w @ a, lambda a: dl.softmax(w @ a, 0)):
            got = func.vmap(f)(x)
            want = dl.stack([f(row) for row in x])
            assert got.dtype is want.dtype
            np.testing.assert_allclose(array(got.float()), array(want.float()), rtol=2e-2, atol=2e-2)


def test_of_recorded_functions():
    captured = dl.capture(lambda x: (x * x).sum())
    for k in range(4):
        captured(X[k])
    close(func.vmap(captured)(X), (array(X) ** 2).sum(1))
    close(func.grad(captured)(X[0]), 2 * array(X[0]))
