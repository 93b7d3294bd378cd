"""Custom gradients, hooks, checkpoints, modules as functions, and the checks of gradients."""

import gc
import weakref

import numpy as np
import pytest

import dlcore as dl
from dlcore import func, nn
from dlcore.errors import AnomalyError, AutogradError, ShapeError
from dlcore.testing import gradcheck, gradgradcheck

RNG = np.random.default_rng(0)


def normal(*shape, grad=False):
    return dl.tensor(RNG.standard_normal(shape), requires_grad=grad)


def array(t):
    return t if isinstance(t, np.ndarray) else np.asarray(t.detach())


def close(got, want):
    np.testing.assert_allclose(array(got), array(want), rtol=1e-12, atol=1e-12)


# ---- custom gradients ----------------------------------------------------------------------------------------------


softplus = func.custom(lambda x: dl.log(1 + dl.exp(x)), lambda dout, x: dout * dl.sigmoid(x))
tanh = func.custom(lambda x: dl.tanh(x), lambda dout, out: dout * (1 - out * out))


@func.custom
def scaled(x, factor, y, *, power=1):
    return x * factor + y**power, x * y


@scaled.backward
def _(y, power, dout, x, factor):
    first, second = dout
    return first * factor + second * y, first * power * y ** (power - 1) + second * x


@pytest.mark.parametrize("f", [softplus, tanh])
def test_a_custom_gradient_of_any_order(f):
    x = normal(4, grad=True)
    assert gradcheck(f, x) and gradgradcheck(f, x)
    close(func.hessian(lambda x: f(x).sum())(x), func.hessian(lambda x: f.forward(x).sum())(x))
    close(func.hessian(lambda x: dl.checkpoint(f, x).sum())(x), func.hessian(lambda x: f.forward(x).sum())(x))


def test_several_arguments_and_results():
    x, y = normal(3, grad=True), normal(3, grad=True)
    assert gradcheck(lambda x, y: scaled(x, 2.0, y, power=3), x, y)
    assert gradgradcheck(lambda x, y: scaled(x, 2.0, y, power=3)[0], x, y)
    first, _ = scaled(x, 2.0, y)
    first.sum().backward()
    close(x.grad, np.full(3, 2.0))
    close(y.grad, np.ones(3))


def test_a_custom_function_for_each_example():
    xs, w = normal(5, 3), normal(3)
    close(func.vmap(tanh)(xs), np.tanh(array(xs)))
    got = func.vmap(func.grad(lambda w, x: scaled(w, 2.0, x)[1].sum()), in_axes=(None, 0))(w, xs)
    close(got, xs)
    w.requires_grad = True
    func.vmap(lambda x: scaled(w, 2.0, x)[0].sum())(xs).sum().backward()
    close(w.grad, np.full(3, 10.0))
    close(func.jacrev(tanh)(xs[0]), np.diag(1 - np.tanh(array(xs[0])) ** 2))
    close(func.vmap(func.jacrev(tanh))(xs)[1], func.jacrev(tanh)(xs[1]))


def test_a_custom_function_in_a_recorded_step():
    def step(x):
        x = x.detach()
        x.requires_grad = True
        return dl.grad(softplus(x).sum(), x)[0]

    captured = dl.capture(step)
    for _ in range(4):
        x = normal(6)
        assert array(captured(x)).tobytes() == array(step(x)).tobytes()
    assert captured.recordings == 1, captured.failure


def test_a_custom_method():
    class Layer:
        factor = 3.0

        @func.custom
        def forward(self, x):
            return x * self.factor

        forward.backward(lambda dout, self: dout * self.factor * 10)

    x = normal(2, grad=True)
    Layer().forward(x).sum().backward()
    close(x.grad, np.full(2, 30.0))


@pytest.mark.parametrize(
    "error, text, call",
    [
        (TypeError, "backward names 'z'", lambda: func.custom(lambda x: x, lambda z: z)),
        (TypeError, "takes .args", lambda: func.custom(lambda *args: args)),
        (TypeError, "called 'dout'", lambda: func.custom(lambda dout: dout)),
        (AutogradError, "no backward yet", lambda: func.custom(lambda x: x)(normal(2))),
        (TypeError, "returned a int; results are tensors",
         lambda: func.custom(lambda x: 1, lambda dout: dout)(normal(2))),
        (TypeError, "returned 2 gradients for 1 tensors: x",
         lambda: func.custom(lambda x: x * 1, lambda dout: (dout, dout))(normal(2, grad=True)).sum().backward()),
        (ShapeError, "returned shape ().* for 'x' of shape .2",
         lambda: func.custom(lambda x: x * 1, lambda dout: dout.sum())(normal(2, grad=True)).sum().backward()),
        (TypeError, "returned a float for 'x'",
         lambda: func.custom(lambda x: x * 1, lambda dout: 1.0)(normal(2, grad=True)).sum().backward()),
    ],
)  # fmt: skip
def test_wrong_custom_functions(error, text, call):
    with pytest.raises(error, match=text):
        call()


# ---- hooks ---------------------------------------------------------------------------------------------------------


def test_hooks_see_and_replace_gradients():
    x, seen = normal(3, grad=True), []
    h = x * 2
    first = h.register_hook(lambda g: seen.append(array(g).copy()))
    second = h.register_hook(lambda g: g * 10)
    h.retain_grad()
    h.retain_grad()
    ((h + h) * h.detach()).sum().backward(retain_graph=True)
    close(seen[0], 2 * array(h))
    close(h.grad, 20 * array(h))
    close(x.grad, 40 * array(h))
    first.remove()
    first.remove()
    second.remove()
    x.grad = h.grad = None
    (h * 1).sum().backward()
    assert len(seen) == 1
    close(x.grad, np.full(3, 2.0))
    close(h.grad, np.ones(3))


def test_a_hook_of_a_leaf_sees_the_sum():
    x, seen = normal(3, grad=True), []
    with x.register_hook(lambda g: seen.append(array(g).copy()) or g * 2):
        (x * 3 + x * x.detach()).sum().backward()
        close(x.grad, 2 * (3 + array(x)))
        (found,) = dl.grad((x * 3).sum(), x)
        close(found, np.full(3, 6.0))
    assert len(seen) == 2
    x.grad = None
    (x * 3).sum().backward()
    close(x.grad, np.full(3, 3.0))


def test_hooks_are_differentiated():
    x = normal(3, grad=True)
    h = x * x
    h.register_hook(lambda g: g * x)
    (g,) = dl.grad(h.sum(), x, create_graph=True)
    close(g, 2 * array(x) ** 2)
    close(dl.grad(g.sum(), x)[0], 4 * array(x))


def test_hooks_of_examples():
    seen = []

    def f(x):
        h = x * 2
        h.register_hook(lambda g: seen.append(g.shape) or g * x)
        return h.sum()

    xs = normal(5, 3, grad=True)
    func.vmap(f)(xs).sum().backward()
    assert seen == [(3,)]
    close(xs.grad, 2 * array(xs))
    close(func.vmap(func.grad(f))(xs.detach()), 2 * array(xs))


def test_hooks_in_recorded_steps():
    x = normal(3, grad=True)

    def step(y):
        x.grad = None
        h = x * y
        h.register_hook(lambda g: g * 10)
        (h * y).sum().backward()
        return x.grad * 1

    captured = dl.capture(step)
    for _ in range(4):
        y = normal(3)
        close(captured(y), 10 * array(y) ** 2)
    assert captured.recordings == 1, captured.failure


def test_hooks_that_come_and_go_between_recorded_steps():
    w = normal(3, grad=True)

    @dl.capture
    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w.grad * 1

    def gradients(n=4):
        for _ in range(n):
            x = normal(3)
            yield array(step(x)) / array(x)

    assert all(np.allclose(g, 1) for g in gradients())
    handle = w.register_hook(lambda g: g * 5)
    assert all(np.allclose(g, 5) for g in gradients())
    handle.remove()
    assert all(np.allclose(g, 1) for g in gradients())
    assert step.recordings >= 2, step.failure
    seen = []
    other = dl.capture(lambda x: (x * x).sum().backward())
    for _ in range(5):
        x = normal(3, grad=True)
        x.register_hook(lambda g: seen.append(1) or g * 2)
        other(x)
        close(x.grad, 4 * array(x))
    assert len(seen) == 5


def test_hooks_leave_with_their_tensors():
    x = normal(3, grad=True)


    def cycle():
        h = x * 2
        h.register_hook(lambda g: g * h)
        return weakref.ref(h)

    alive = cycle()
    gc.collect()
    assert alive() is None


def test_wrong_hooks():
    x = normal(3, grad=True)
    with pytest.raises(AutogradError, match="does not require a gradient"):
        normal(3).register_hook(lambda g: g)
    with pytest.raises(TypeError, match="register_hook: hook"):
        x.register_hook(3)
    for answer, error in ((1.0, TypeError), (dl.ones(2), ShapeError)):
        h = x * 1
        h.register_hook(lambda g, answer=answer: answer)
        with pytest.raises(error, match="a hook returned"):
            h.sum().backward()
    h = x * 1
    h.register_hook(lambda g: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        h.sum().backward()


# ---- checkpoints ---------------------------------------------------------------------------------------------------


def block(x, w):
    return dl.dropout(dl.tanh(dl.linear(x, w)), 0.3) * x.mean()


def outcome(run):
    dl.manual_seed(0)
    rng = np.random.default_rng(1)
    x, w = (dl.tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 3), (3, 3)))
    out = run(lambda y: block(y, w), x)
    out = run(lambda y: block(y, w) * 2, out)
    out.sum().backward()
    after = dl.rand(3)  # the generators go on as if nothing had been computed again
    return [array(t).tobytes() for t in (out, x.grad, w.grad, after)]


def test_a_checkpoint_gives_the_same_bits():
    assert outcome(dl.checkpoint) == outcome(lambda f, x: f(x))
    assert outcome(lambda f, x: dl.checkpoint(lambda y: dl.checkpoint(f, y), x)) == outcome(lambda f, x: f(x))


def test_a_checkpoint_keeps_nothing():
    made = []

    def f(x):
        h = dl.exp(x)
        made.append(weakref.ref(h))
        return dl.sin(h)

    x = normal(3, grad=True)
    y = dl.checkpoint(f, x)
    gc.collect()
    assert made[0]() is None
    y.sum().backward()
    close(x.grad, np.cos(np.exp(array(x))) * np.exp(array(x)))
    assert len(made) == 2
    gc.collect()
    assert made[1]() is None


def test_a_checkpoint_is_differentiated_twice():
    x = normal(3, grad=True)
    f = lambda x: dl.checkpoint(lambda x: dl.sin(x) * x, x)  # noqa: E731
    assert gradgradcheck(f, x)
    close(func.hessian(lambda x: f(x).sum())(x), func.hessian(lambda x: (dl.sin(x) * x).sum())(x))


def test_a_checkpoint_within_vmap_and_around_it():
    xs, w = normal(5, 3), normal(3, 3)
    plain = lambda w, x: dl.tanh(w @ x).sum()  # noqa: E731
    saved = lambda w, x: dl.checkpoint(plain, w, x)  # noqa: E731
    want = func.vmap(func.grad(plain), in_axes=(None, 0))(w, xs)
    close(func.vmap(func.grad(saved), in_axes=(None, 0))(w, xs), want)
    w.requires_grad = True
    for f in (func.vmap(lambda x: saved(w, x)), lambda xs: dl.checkpoint(func.vmap(lambda x: plain(w, x)), xs)):
        w.grad = None
        f(xs).sum().backward()
        close(w.grad, array(want).sum(0))


def test_a_checkpoint_in_recorded_steps():
    w = normal(3, 3, grad=True)

    def step(x):
        w.grad = None
        dl.checkpoint(lambda x: block(x, w), x).sum().backward()
        return w.grad * 1

    dl.manual_seed(0)
    xs = [normal(4, 3) for _ in range(4)]
    want = [array(step(x)).tobytes() for x in xs]
    dl.manual_seed(0)
    captured = dl.capture(step)
    assert [array(captured(x)).tobytes() for x in xs] == want
    assert captured.recordings == 1, captured.failure
    forward = dl.capture(lambda x: dl.checkpoint(lambda x: dl.tanh(x @ w), x).sum())
    for x in xs:  # the backward pass lies outside
        w.grad = None
        forward(x).backward()
        close(w.grad, array(x).T @ (1 - np.tanh(array(x) @ array(w)) ** 2))


def test_a_checkpoint_sees_what_is_not_the_same():
    x, turns = normal(3, grad=True), []
    y = dl.checkpoint(lambda x: (dl.sin(x) if turns else dl.cos(x)) * x, x)
    turns.append(1)
    with pytest.raises(AutogradError, match="operation 0 was cos, then sin"):
        y.sum().backward()
    w = normal(3)
    y = dl.checkpoint(lambda x: x * w, x)
    w += 1
    with pytest.raises(AutogradError, match="changed in place since"):
        y.sum().backward()
    with dl.no_grad():
        assert not dl.checkpoint(dl.sin, x).requires_grad
    y = dl.checkpoint(dl.sin, x)
    y.sum().backward()
    with pytest.raises(AutogradError, match="released"):
        y.sum().backward()


# ---- modules -------------------------------------------------------------------------------------------------------


def test_a_module_as_a_function_of_its_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    before = dict(model.named_parameters())
    x = dl.randn(5, 3)
    new = {name: dl.randn(*p.shape) for name, p in before.items()}
    got = func.functional_call(model, new, (x,))
    names = list(new)
    want = dl.linear(dl.tanh(dl.linear(x, new[names[0]], new[names[1]])), new[names[2]], new[names[3]])
    np.testing.assert_allclose(array(got), array(want), rtol=1e-6)
    assert all(model_p is p for model_p, p in zip(model.parameters(), before.values(), strict=True))
    gradient = func.grad(lambda p: func.functional_call(model, p, x).sum())(new)
    assert gradient.keys() == new.keys() and gradient[names[0]].shape == (4, 3)
    with pytest.raises(ValueError, match="has no 'weight'"):
        func.functional_call(model, {"weight": x}, x)
    with pytest.raises(ShapeError, match=r"has shape \(5, 3\), the module's"):
        func.functional_call(model, {names[0]: x}, x)
    with pytest.raises(ShapeError):
        func.functional_call(model, new, dl.ones(5, 9))
    assert all(model_p is p for model_p, p in zip(model.parameters(), before.values(), strict=True))


def test_a_parameter_of_two_names():
    class Tied(nn.Module):
        def __init__(self):
            self.a = nn.Linear(3, 3, bias=False)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    w, x = dl.randn(3, 3), dl.randn(2, 3)
    got = func.functional_call(Tied(), {"a.weight": w}, x)
    np.testing.assert_allclose(array(got), array(x) @ array(w).T @ array(w).T, rtol=1e-5)


def test_an_ensemble():
    models = [nn.Linear(3, 2) for _ in range(4)]
    params, buffers = func.stack_module_state(models)
    x = dl.randn(5, 3)
    got = func.vmap(lambda p: func.functional_call(models[0], p, x))(params)
    for k, model in enumerate(models):
        np.testing.assert_allclose(array(got[k]), array(model(x)), rtol=1e-5, atol=1e-6)
    assert params["weight"].requires_grad and not buffers
    with pytest.raises(TypeError, match="of different kinds: Linear and Tanh"):
        func.stack_module_state([nn.Linear(1, 1), nn.Tanh()])


# ---- checks --------------------------------------------------------------------------------------------------------


def test_wrong_gradients_are_found():
    wrong = func.custom(lambda x: x * x, lambda dout, x: dout * x)
    with pytest.raises(AssertionError, match=r"d result 0\[1\] / d argument 0\[1\]"):
        gradcheck(wrong, dl.tensor([0.0, 2.0], dtype="float64"))
    twice = func.custom(lambda x: x**3, lambda dout, x: dout * (3 * x.detach() ** 2))
    assert gradcheck(twice, normal(2))
    with pytest.raises(AssertionError, match="gradcheck"):
        gradgradcheck(twice, normal(2))
    with pytest.raises(TypeError, match="use float64"):
        gradcheck(dl.sin, dl.ones(2, requires_grad=True))


def test_gradcheck_of_structures():
    a, b = normal(2), normal(2)
    assert gradcheck(lambda d, k: {"x": d["a"] * d["b"][0], "n": dl.argmax(d["a"])}, {"a": a, "b": (b,)}, 3)


def test_an_anomaly_in_a_backward_pass_names_the_operation_whose_gradient_it_is():
    x = dl.tensor([4.0, 0.0], requires_grad=True)
    y = dl.sqrt(x).sum()
    with dl.detect_anomaly(), pytest.raises(AnomalyError, match=r"made an infinity, in the gradient of sqrt: f32"):
        y.backward()
    with dl.detect_anomaly():
        y = dl.sqrt(x).sum()  # seen within the block
        with pytest.raises(AnomalyError, match=r"in the gradient of sqrt, called at test_custom.py:\d+: f32"):
            y.backward()
