"""The tape and its engine: what is tracked, what is kept, what is refused."""

import asyncio
import contextlib
import gc
import inspect
import sys
import threading
import weakref

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C, nn
from dlcore.op import REGISTRY, operation


def leaf(values, dtype=dl.float64):
    return dl.tensor(np.asarray(values, np.float64), dtype, requires_grad=True)


def test_gradients_of_a_shared_tensor_add_up():
    x = leaf([1.0, 2.0, 3.0])
    y = x * x + x
    (y * 2.0).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), 2 * (2 * np.array([1, 2, 3]) + 1))


def test_backward_accumulates_into_grad_in_place():
    x = leaf([1.0, 2.0])
    (x * 3.0).sum().backward()
    first = x.grad
    (x * 4.0).sum().backward()
    assert x.grad is first
    np.testing.assert_array_equal(np.asarray(x.grad), [7.0, 7.0])


def test_leaves_never_share_a_gradients_memory():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (a + b).sum().backward()
    a.grad.mul_(10.0)
    np.testing.assert_array_equal(np.asarray(b.grad), [1.0, 1.0])


def test_grad_does_not_touch_other_leaves():
    a, b = leaf([1.0]), leaf([2.0])
    (g,) = dl.grad((a * b).sum(), [a])
    assert float(g) == 2.0 and a.grad is None and b.grad is None


def test_grad_of_an_intermediate_and_of_the_same_input_twice():
    x = leaf([1.0, 2.0])
    h = x * 3.0
    g, again, gx = dl.grad((h * h).sum(), [h, h, x])
    np.testing.assert_allclose(np.asarray(g), 2 * 3 * np.array([1, 2]))
    np.testing.assert_array_equal(np.asarray(g), np.asarray(again))
    np.testing.assert_allclose(np.asarray(gx), 18 * np.array([1, 2]))


def test_derivatives_of_any_order():
    x = leaf(0.7)
    y, expected = dl.exp(x * 2.0), np.exp(1.4)
    for _ in range(4):
        expected *= 2
        (y,) = dl.grad(y, [x], create_graph=True)
        assert float(y) == pytest.approx(expected, rel=1e-12)


def test_an_unused_input_is_an_error_unless_allowed():
    x, unused = leaf([1.0]), leaf([2.0])
    y = (x * x).sum()
    with pytest.raises(dl.AutogradError, match="do not depend on input 1"):
        dl.grad(y, [x, unused], retain_graph=True)
    assert dl.grad(y, [x, unused], allow_unused=True)[1] is None


def test_the_graph_is_released_after_backward():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(dl.AutogradError, match="retain_graph"):
        y.backward()
    z = (x * x).sum()
    z.backward(retain_graph=True)
    z.backward()
    np.testing.assert_allclose(np.asarray(x.grad), 3 * 2 * np.array([1, 2]))


def test_saved_tensors_are_freed_with_the_graph():
    x = leaf(np.ones(10))
    h = dl.exp(x)
    saved = weakref.ref(h)
    y = (h * h).sum()
    del h
    assert saved() is not None
    y.backward()
    gc.collect()
    assert saved() is None


def test_a_changed_saved_tensor_is_found():
    x = leaf([1.0, 2.0])
    h = x * 1.0
    y = (h * h).sum()
    h += 1.0
    with pytest.raises(dl.AutogradError, match="changed in place"):
        y.backward()


def test_a_saved_output_changed_in_place_is_found():
    x = leaf([1.0, 2.0])
    y = dl.exp(x)
    total = y.sum()
    with dl.no_grad():
        y.mul_(2.0)
    with pytest.raises(dl.AutogradError, match="changed in place"):
        total.backward()


def test_in_place_operations_have_gradients():
    x = leaf([1.0, 2.0, 3.0])
    h = x * 2.0
    h += x
    h *= 3.0
    h[1] = x[0] * 5.0
    h.sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [9.0 + 5.0, 0.0, 9.0])


@pytest.mark.parametrize(
    ("in_place", "apart"),
    [
        (lambda h, v: h.mul_(v), lambda h, v: h * v),
        (lambda h, v: h.div_(v), lambda h, v: h / v),
        (lambda h, v: h.__ipow__(v), lambda h, v: h**v),
    ],
    ids=["mul", "div", "pow"],
)
@pytest.mark.parametrize("columns", [3, 2])
def test_what_is_overwritten_is_kept_where_its_gradient_needs_it(in_place, apart, columns):
    x, v = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), leaf([[1.5], [0.5]])

    def gradients(overwrites):
        h = x * 2.0
        if overwrites:
            in_place(h if columns == 3 else h[:, :2], v * 2.0)
        else:
            h = dl.concat([apart(h[:, :columns], v * 2.0), h[:, columns:]], 1)
        first = dl.grad((h * h).sum(), [x, v], create_graph=True)
        return [g.detach() for g in (*first, *dl.grad(sum(g.sum() for g in first), [x, v]))]

    step = dl.capture(lambda: gradients(True))
    for _ in range(3):
        for found, wanted in zip(step(), gradients(False), strict=True):
            np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)
    assert step.recordings == 1


def test_in_place_on_leaves_is_refused():
    x = leaf([1.0, 2.0])
    with pytest.raises(dl.AutogradError, match="leaf"):
        x += 1.0
    part = x[:1]
    with pytest.raises(dl.AutogradError, match="view of a leaf"):
        part += 1.0
    with dl.no_grad():
        x += 1.0
    np.testing.assert_array_equal(np.asarray(x), [2.0, 3.0])


def test_a_view_taken_before_a_tracked_write_does_not_lose_gradients_silently():
    base, x = dl.zeros(3, dtype=dl.float64), leaf([1.0, 2.0, 3.0])
    view = base[1:]
    base += x
    (view * view).sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), [0.0, 4.0, 6.0])
    with dl.no_grad():
        late = base[1:]
    base += x
    with pytest.raises(dl.AutogradError, match="shares its memory"):
        (late * leaf([1.0, 1.0])).sum()


def test_no_grad_and_enable_grad():
    x = leaf([1.0])
    with dl.no_grad():
        assert not (x * 2.0).requires_grad
        with dl.enable_grad():
            assert (x * 2.0).requires_grad
        assert not dl.is_grad_enabled()

    @dl.no_grad()
    def double(t):
        return t * 2.0

    assert not double(x).requires_grad and dl.is_grad_enabled()


def test_detach_shares_memory_and_has_no_history():
    x = leaf([1.0, 2.0])
    d = (x * 1.0).detach()
    assert not d.requires_grad and d.is_leaf
    d[0] = 9.0
    assert float(d[0]) == 9.0


def test_gradients_through_promotion_and_broadcasting():
    x = dl.tensor([[1.0], [2.0]], dl.float32, requires_grad=True)
    y = leaf([1.0, 2.0, 3.0])
    (x * y).sum().backward()
    assert x.grad.dtype == dl.float32 and x.grad.shape == (2, 1)
    np.testing.assert_array_equal(np.asarray(x.grad), [[6.0], [6.0]])
    np.testing.assert_array_equal(np.asarray(y.grad), [3.0, 3.0, 3.0])


def test_a_long_chain_neither_recurses_nor_leaks():
    x = leaf([0.5])
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert float(x.grad) == 1.0
    del y


def test_backward_checks_what_it_is_given():
    x = leaf([1.0, 2.0])
    with pytest.raises(dl.ShapeError, match="only a scalar"):
        (x * 2.0).backward()
    with pytest.raises(dl.ShapeError, match="the gradient given has shape"):
        (x * 2.0).backward(dl.ones(3, dtype=dl.float64))
    with pytest.raises(dl.AutogradError, match="does not depend"):
        dl.ones(()).backward()
    with pytest.raises(dl.DTypeError, match="only floating-point"):
        dl.tensor([1, 2], requires_grad=True)


@pytest.fixture
def copy():
    """Makes copying operations, which are forgotten afterwards."""
    made = []

    def make(name, **parts):
        made.append(name)
        return operation(name=name, kernels={"cpu": "movement:copy"}, **parts)(lambda x: x)

    yield make
    for name in made:
        del REGISTRY[name]


def test_an_exception_in_a_vjp_leaves_the_engine_usable(copy):
    def broken(dout):
        raise RuntimeError("from the rule")

    function = copy("test_broken_rule", gradient=broken)
    x = leaf([1.0])
    with pytest.raises(RuntimeError, match="from the rule"):
        function(x).sum().backward()
    (x * 2.0).sum().backward()
    assert float(x.grad) == 2.0 and dl.is_grad_enabled()


def test_a_float_result_without_a_rule_is_refused_rather_than_detached(copy):
    function = copy("test_no_rule")
    with pytest.raises(dl.AutogradError, match="test_no_rule: has no gradient rule"):
        function(leaf([1.0]))
    assert float(function(dl.ones(1))) == 1.0


def test_cross_entropy_refuses_a_gradient_of_its_weight():
    weight = dl.ones(3, requires_grad=True)
    loss = dl.cross_entropy(dl.ones(2, 3, requires_grad=True), dl.tensor([0, 2]), weight)
    with pytest.raises(dl.AutogradError, match="weight has no gradient"):
        loss.backward()


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("activation", [dl.tanh, dl.sigmoid, dl.relu, dl.gelu, lambda h: h])
def test_gradients_of_gradients_through_a_recomputation_leave_the_pass_around_them_alone(activation, track):
    # The gradient of linear's gradient runs a backward pass of its own within a backward pass.
    rng = np.random.default_rng(3)
    values = [rng.standard_normal(shape) for shape in ((5, 3), (4, 3), (4,))]

    def gradients(linear):
        x, w, b = map(leaf, values)
        first = dl.grad((activation(linear(x, w, b)) ** 2).sum(), [x, w, b], create_graph=True)
        penalty = sum((g * g).sum() for g in first) + (b * b).sum()
        return [g.numpy() for g in dl.grad(penalty, [b, w, x], create_graph=track)]

    for found, wanted in zip(gradients(dl.linear), gradients(lambda x, w, b: x @ w.T + b), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parametrize("track", [False, True])
def test_a_recomputation_differentiates_one_operand_at_a_time(track):
    # b depends on a; then both are one tensor, which depends on a leaf.
    product = operation(
        name="test_product", kernels={"cpu": lambda a, b, out: out.copy_(a * b * b)}, composite=lambda a, b: a * b * b
    )(lambda a, b: a)
    try:
        for second in (lambda a: dl.sin(a), lambda a: a):
            found = []
            for function in (product, lambda a, b: a * b * b):
                x = leaf([0.5, -2.0, 3.0])
                a = x * 1.5
                (g,) = dl.grad(function(a, second(a)).sum(), [x], create_graph=True)
                (h,) = dl.grad((g * g).sum(), [x], create_graph=track)
                found.append((g.detach().numpy(), h.detach().numpy()))
            np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    finally:
        del REGISTRY["test_product"]


# ---- never silently wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["exp", "expm1", "log", "log1p", "sqrt", "square", "reciprocal", "sin", "cos", "tanh", "negative", "absolute"],
)
def test_numpy_functions_keep_the_graph(name):
    x = leaf([0.5, 1.5])
    y = getattr(np, name)(x * 1)
    assert isinstance(y, dl.Tensor) and y.requires_grad
    np.testing.assert_allclose(y.detach(), getattr(np, name)(x.numpy()), rtol=1e-6)
    y.sum().backward()
    h = 1e-6
    slope = (getattr(np, name)(x.numpy() + np.float64(h)) - getattr(np, name)(x.numpy() - np.float64(h))) / (2 * h)
    np.testing.assert_allclose(x.grad, slope, rtol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, x: a * x, lambda a, x: np.multiply(a, x), lambda a, x: np.multiply(x, a), lambda a, x: x * a,
        lambda a, x: a / (1 / x), lambda a, x: np.float64(2) * x * a / 2, lambda a, x: a @ (x * np.eye(2)),
    ],
)  # fmt: skip
def test_arrays_and_tensors_in_one_expression(function):
    x = dl.tensor([3.0, 5.0], requires_grad=True)
    y = function(np.array([2.0, 4.0]), x)
    assert isinstance(y, dl.Tensor)
    y.sum().backward()
    np.testing.assert_allclose(y.detach(), [6, 20], rtol=1e-6)
    np.testing.assert_allclose(x.grad, [2, 4], rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        np.sinc, np.gradient, np.i0, np.add.reduce, lambda x: np.sum(x, where=[True, False, True]),
        lambda x: np.exp(x, out=np.zeros(3, np.float32)), lambda x: np.add(np.zeros(3), x, out=np.zeros(3)),
        lambda x: dl.mul(x, [x[0], 1.0, 2.0]), lambda x: dl.maximum([x, x], x),
    ],
)  # fmt: skip
def test_numpy_functions_that_would_cut_the_graph_raise(function):
    x = leaf([1.0, 2.0, 3.0])
    with pytest.raises(dl.AutogradError, match="requires a gradient"):
        function(x * 2)
    with dl.no_grad():
        function(x * 2)
    function((x * 2).detach())


def test_numpy_functions_of_plain_tensors():
    x = dl.tensor([[1.0, 4.0], [9.0, 16.0]])
    assert isinstance(np.sqrt(x), dl.Tensor) and np.sqrt(x).tolist() == [[1, 2], [3, 4]]
    assert np.sum(x) == 30 and np.mean(x, axis=0).tolist() == [5, 10] and isinstance(np.sum(x), dl.Tensor)
    assert np.concatenate([x, np.ones((1, 2))]).shape == (3, 2)
    assert np.spacing(x).dtype == np.float32 and isinstance(np.spacing(x), np.ndarray)
    total = np.zeros((2, 2))
    total += x
    assert total.tolist() == x.tolist()
    assert (np.ones((2, 2), bool) & (x > 2)).tolist() == [[False, True], [True, True]]
    with pytest.raises(TypeError, match=r"np\.add: out must be a NumPy array, not a tensor"):
        np.add(total, 1, out=x)
    w = dl.tensor([1.0, 2.0], requires_grad=True)
    assert np.allclose(w * 2, [2, 4]) and np.shape(w * 2) == (2,)
    assert np.asarray(w * 2).tolist() == [2, 4] and not np.asarray(w * 2).flags.writeable


def test_no_grad_without_brackets():
    @dl.no_grad
    def off(x):
        """Doubles."""
        return x * 2

    @dl.enable_grad
    def on(x):
        return x * 2

    assert not off(leaf([1.0, 2.0, 3.0])).requires_grad and off.__name__ == "off" and off.__doc__ == "Doubles."
    with dl.no_grad():
        assert on(leaf([1.0, 2.0, 3.0])).requires_grad
    assert dl.is_grad_enabled()
    with pytest.raises(TypeError, match="no_grad: 3 is not a function"):
        dl.no_grad(3)


@pytest.mark.parametrize("decorator", [dl.no_grad, dl.no_grad()])
def test_no_grad_of_a_generator(decorator):
    seen = []

    @decorator
    def numbers(n):
        try:
            for i in range(n):
                seen.append(dl.is_grad_enabled())
                got = yield i
                if got is not None:
                    seen.append(got)
        except KeyError:
            yield "caught"
        finally:
            seen.append(("end", dl.is_grad_enabled()))
        return "result"

    assert inspect.isgeneratorfunction(numbers)
    for _ in numbers(2):
        assert dl.is_grad_enabled()  # between the steps the caller has its own mode
    running = numbers(3)
    assert next(running) == 0 and running.send("sent") == 1
    with dl.enable_grad():
        assert running.throw(KeyError) == "caught"
    with pytest.raises(StopIteration, match="result"):
        next(running)
    left = numbers(3)
    next(left)
    left.close()
    assert dl.is_grad_enabled()
    assert seen == [False, False, ("end", False), False, "sent", False, ("end", False), False, ("end", False)]

    def outer():
        return (yield from numbers(0))

    with pytest.raises(StopIteration, match="result"):
        next(outer())


def test_no_grad_of_coroutines():
    seen = []

    @dl.no_grad
    async def work(n):
        for _ in range(n):
            seen.append(dl.is_grad_enabled())
            await asyncio.sleep(0)
        return dl.is_grad_enabled()

    @dl.no_grad
    async def values():
        try:
            for i in range(2):
                await asyncio.sleep(0)
                yield i, dl.is_grad_enabled()
        finally:
            seen.append("closed")

    async def other():
        for _ in range(3):
            seen.append(dl.is_grad_enabled())
            await asyncio.sleep(0)

    async def main():
        result, _ = await asyncio.gather(work(3), other())
        items = [item async for item in values()]
        with pytest.raises(ZeroDivisionError):
            await raising()
        return result, items

    @dl.no_grad
    async def raising():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    assert asyncio.run(main()) == (False, [(0, False), (1, False)])
    assert seen == [False, True] * 3 + ["closed"] and dl.is_grad_enabled()


def test_blocks_that_overlap_are_an_error():
    def suspended(mode):
        with mode():
            yield

    first, second = suspended(dl.no_grad), suspended(dl.enable_grad)
    next(first)
    next(second)
    with pytest.raises(dl.AutogradError, match="no_grad: another block has ended in between"):
        next(first)
    with contextlib.suppress(dl.AutogradError, StopIteration):
        next(second)
    with dl.enable_grad():
        assert dl.is_grad_enabled()
    _C.set_grad_enabled(True)


def test_create_graph_says_that_it_keeps_a_cycle():
    x = leaf([1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match="create_graph=True.* makes a cycle") as caught:
        (x**3).sum().backward(create_graph=True)
    assert caught[0].filename == __file__
    dl.grad((x**3).sum(), x, create_graph=True)


def in_use():
    gc.collect()
    return _C.memory_stats()["in_use"]


@pytest.mark.filterwarnings("ignore:backward.create_graph")
def test_cycles_of_tensors_are_collected():
    class Own(nn.Parameter):
        pass

    before = in_use()
    x = dl.ones(1000, requires_grad=True)
    (x * x * x).sum().backward(create_graph=True)
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None
    p = Own(dl.ones(1000))
    p.result, p.itself = (p * 2).exp().sum(), p
    q = dl.ones(1000, requires_grad=True)
    holder = [q]
    r = q * 2
    holder.append(r)
    q.grad = r
    del p, q, r, holder
    assert in_use() == before


def test_a_long_graph_in_a_cycle_is_collected_without_recursion():
    before = in_use()
    x = dl.ones(8, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    x.grad = y
    del x, y
    assert in_use() == before


@pytest.mark.filterwarnings("ignore:backward.create_graph")
def test_the_collector_leaves_what_is_in_use():
    x = leaf([1.0, 2.0, 3.0])
    (x**3).sum().backward(create_graph=True)
    for _ in range(3):
        gc.collect()
    (x.grad * x.grad).sum().backward()  # d/dx (3x^2)^2 = 36 x^3, added to 3 x^2
    np.testing.assert_allclose(x.grad.detach(), [39, 300, 999], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:backward.create_graph")
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("weight", [None, dl.tensor([0.5, 2.0])])
def test_a_batch_in_which_no_label_counts_has_no_gradient(weight, create_graph):
    x = leaf([[1.0, 2.0], [3.0, -1.0]])
    loss = dl.cross_entropy(x, dl.tensor([-100, -100]), weight, label_smoothing=0.1)
    loss.backward(create_graph=create_graph)
    assert np.isnan(loss.item()) and x.grad.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("size", [8, 400])  # kernels that keep the GIL, and that release it
def test_threads_differentiate_one_graph(size):
    rng = np.random.default_rng(0)
    w, x = (dl.tensor(rng.integers(-2, 3, (size, size)).astype(np.float32)) for _ in range(2))
    w.requires_grad = True
    loss = ((x @ w).relu() @ w).sum()
    (one,) = dl.grad(loss, [w], retain_graph=True)
    wrong, errors = [], []
    ready = threading.Barrier(6)

    def differentiate(k):
        ready.wait()
        try:
            for _ in range(5):
                if k % 2:
                    loss.backward(retain_graph=True)
                elif not np.array_equal(dl.grad(loss, [w], retain_graph=True)[0].numpy(), one.numpy()):
                    wrong.append(k)
        except Exception as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=differentiate, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert (wrong, errors) == ([], [])
    np.testing.assert_array_equal(w.grad.numpy(), 15 * one.numpy())


@pytest.mark.parametrize("loss", [dl.cross_entropy, dl.mse_loss], ids=lambda f: f.__name__)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_is_made_for_the_gradient_1_that_a_pass_starts_from(loss, reduction):
    """The gradient that the loss has computed is taken as it is, and has the bits of one that 1 has scaled."""
    x = np.random.default_rng(0).standard_normal((1, 5), np.float32)
    target = np.array([3]) if loss is dl.cross_entropy else x[::-1] + 1
    if reduction == "none" and loss is dl.mse_loss:
        x, target = x[:, :1], target[:, :1]

    def gradient(start):
        leaf = dl.tensor(x, requires_grad=True)
        value = loss(leaf, dl.tensor(target), reduction=reduction)
        start(value)
        return leaf.grad.numpy().tobytes()

    want = gradient(lambda value: value.backward(dl.ones(value.shape)))
    assert gradient(lambda value: value.backward()) == want
    assert gradient(lambda value: (value.backward(retain_graph=True), value.backward())) == (
        (2 * np.frombuffer(want, np.float32)).tobytes()
    )

    @dl.capture
    def step(leaf, target):
        loss(leaf, target, reduction=reduction).backward()

    given = dl.tensor(x, requires_grad=True)
    for _ in range(3):
        given.grad = None
        step(given, dl.tensor(target))
    assert given.grad.numpy().tobytes() == want
    given.grad = None
    assert not {"assign", "scale_inplace", "mul"} & {row.operation for row in step.explain().rows}


def test_the_gradient_1_is_made_where_something_wants_it():
    p = dl.tensor(3.0, requires_grad=True)
    p.backward()
    assert p.grad.item() == 1
    q = dl.cross_entropy(dl.tensor([[1.0, 2.0]], requires_grad=True) * p, dl.tensor([0]))
    to_itself, to_p = dl.grad(q, [q, p], retain_graph=True)
    again, same = dl.grad(q, [q, p])
    assert to_itself.item() == again.item() == 1 and to_p.item() == same.item() != 0
