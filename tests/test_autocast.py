"""Autocast: classes of operations, casts of parameters, gradients, recordings, `fit`."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.op import REGISTRY

LOW = {dl.bfloat16: 2.0**-8, dl.float16: 2.0**-11}  # dtype -> half the distance of the numbers from 1 on


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def parameters(*shapes, seed=0):
    return [dl.Parameter(dl.tensor(a)) for a in arrays(*shapes, seed=seed)]


# ---- classes ------------------------------------------------------------------------------------------------------


def test_every_operation_has_a_class():
    for op in REGISTRY.values():
        assert op.cast in ("low", "float32", "widest"), op.name
        if op.writes:  # what is written must be the operand itself
            assert op.cast == "widest", op.name
    low = {op.name for op in REGISTRY.values() if op.cast == "low"}
    assert {"matmul", "linear"} <= low
    wide = {op.name for op in REGISTRY.values() if op.cast == "float32"}
    assert {"softmax", "log_softmax", "cross_entropy", "mse_loss", "exp", "log", "pow", "sum", "mean"} <= wide


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_operands_are_cast_as_the_class_says(name):
    """What an operation gives for its own samples within autocast is what it gives for operands that were cast."""
    op = REGISTRY[name]
    if op.cast == "widest" or op.view:
        return
    target = dl.bfloat16 if op.cast == "low" else dl.float32
    for given in (dl.float32, dl.bfloat16):
        sample = min((s for s in op.sample_inputs() if s.size), key=lambda s: s.size)
        operands = [a if a is None else dl.tensor(a) for a in sample.arrays(op.name, op.signature.operands)]
        operands = [t.astype(given) if t is not None and t.dtype.is_float else t for t in operands]
        cast = [t.astype(target) if t is not None and t.dtype.is_float else t for t in operands]
        if op.signature.groups:
            continue
        expected = op.call(*cast, **dict(sample.attrs))
        with dl.autocast(dl.bfloat16):
            found = op.call(*operands, **dict(sample.attrs))
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        for a, b in pairs:
            if a is not None:
                assert a.dtype is b.dtype
                np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("dtype", LOW)
def test_dtypes(dtype):
    a, b = map(dl.tensor, arrays((3, 4), (4, 5)))
    with dl.autocast(dtype):
        product = a @ b
        assert product.dtype is dtype
        assert nn.Linear(4, 5)(a).dtype is dtype
        assert (product + 1).dtype is dtype
        assert dl.relu(product).dtype is dtype
        assert (product + dl.ones(5)).dtype is dl.float32
        assert dl.softmax(product).dtype is dl.float32
        assert product.sum().dtype is dl.float32
        assert (product**2).dtype is dl.float32
        other = dl.float16 if dtype is dl.bfloat16 else dl.bfloat16
        assert (a.astype(other) @ b).dtype is dtype
        assert (a.astype(other) @ b.astype(other)).dtype is dtype
    assert (a @ b).dtype is dl.float32
    np.testing.assert_array_equal(product.numpy(), (a.astype(dtype) @ b.astype(dtype)).numpy())


def test_float64_is_untouched():
    a, b = (dl.tensor(x.astype(np.float64)) for x in arrays((3, 4), (4, 5)))
    expected, mixed = (a @ b).numpy(), (a @ b.astype("float32")).numpy()
    with dl.autocast(dl.bfloat16):
        np.testing.assert_array_equal((a @ b).numpy(), expected)
        np.testing.assert_array_equal((a @ b.astype("float32")).numpy(), mixed)


def test_integers_are_untouched():
    a, b = dl.tensor(np.full((2, 3), 1001)), dl.tensor(np.full((3, 2), 7))
    with dl.autocast(dl.bfloat16):
        assert (a @ b).dtype is dl.int64 and (a @ b).tolist() == [[21021] * 2] * 2
        assert a.sum().dtype is dl.int64 and a.sum().item() == 6006


def test_in_place_keeps_the_dtype_and_the_precision():
    x, y = map(dl.tensor, arrays((3, 3), (3, 3)))
    expected = x.numpy() @ y.numpy()
    with dl.autocast(dl.bfloat16):
        dl.matmul.inplace(x, y)
        z = dl.ones(4, dtype=dl.bfloat16) * 3
        z **= 2
    assert x.dtype is dl.float32 and z.dtype is dl.bfloat16
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5)


# ---- the mode -----------------------------------------------------------------------------------------------------


def test_nested_and_disabled():
    a, b = map(dl.tensor, arrays((2, 2), (2, 2)))
    seen = []
    assert dl.autocast_dtype() is None
    with dl.autocast(dl.bfloat16):
        seen.append((a @ b).dtype)
        with dl.autocast(enabled=False):
            seen.append((a @ b).dtype)
            with dl.autocast("float16"):
                seen.append((a @ b).dtype)
            assert dl.autocast_dtype() is None
        with dl.autocast(None):
            seen.append((a @ b).dtype)
        seen.append(dl.autocast_dtype())
    assert seen == [dl.bfloat16, dl.float32, dl.float16, dl.float32, dl.bfloat16] and dl.autocast_dtype() is None


def test_decorators():
    @dl.autocast(dl.float16)
    def function():
        return dl.autocast_dtype()

    @dl.autocast()
    def generator():
        yield dl.autocast_dtype()
        yield dl.autocast_dtype()

    @dl.autocast()
    async def coroutine():
        await asyncio.sleep(0)
        return dl.autocast_dtype()

    assert function() is dl.float16
    for dtype in generator():
        assert dtype is dl.bfloat16 and dl.autocast_dtype() is None
    assert asyncio.run(coroutine()) is dl.bfloat16 and dl.autocast_dtype() is None


def test_the_mode_ends_with_an_error_and_belongs_to_the_thread():
    with pytest.raises(ZeroDivisionError), dl.autocast():
        raise ZeroDivisionError
    assert dl.autocast_dtype() is None
    seen = []
    with dl.autocast():
        thread = threading.Thread(target=lambda: seen.append(dl.autocast_dtype()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("wrong", [dl.float32, "float64", dl.int8, bool])
def test_other_dtypes_are_refused(wrong):
    with pytest.raises(TypeError, match="autocast: dtype"):
        dl.autocast(wrong)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="autocast: dtype"):
        dl.autocast("half a float")
    with pytest.raises(TypeError, match="autocast: enabled"):
        dl.autocast(dl.bfloat16, enabled="yes")
    with pytest.raises(TypeError, match="autocast"):
        dl.autocast()(3)


# ---- gradients ----------------------------------------------------------------------------------------------------


def _loss(x, w, b, v):
    return (dl.tanh(dl.linear(x, w, b)) @ v).exp().mean()


@pytest.mark.parametrize("dtype", LOW)
def test_gradients_against_float64(dtype):
    given = arrays((16, 8), (12, 8), (12,), (12, 3))
    exact = [dl.Parameter(dl.tensor(a.astype(np.float64))) for a in given]
    _loss(*exact).backward()
    ours = [dl.Parameter(dl.tensor(a)) for a in given]
    with dl.autocast(dtype):
        loss = _loss(*ours)
    loss.backward()
    for a, b in zip(ours, exact, strict=True):
        assert a.grad.dtype is dl.float32 and a.dtype is dl.float32
        error = np.abs(a.grad.numpy() - b.grad.numpy()).max() / np.abs(b.grad.numpy()).max()
        assert error < 24 * LOW[dtype]


def test_backward_within_the_block_is_the_same():
    given = arrays((16, 8), (12, 8), (12,), (12, 3))
    found = []
    for inside in (True, False):
        ours = [dl.Parameter(dl.tensor(a)) for a in given]
        with dl.autocast():
            loss = _loss(*ours)
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        found.append([p.grad.numpy() for p in ours])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_shared_weights_are_added_in_float32():
    x, y = map(dl.tensor, arrays((5, 4), (5, 4)))
    (w,) = parameters((4, 4), seed=1)
    with dl.autocast():
        loss = (x @ w).sum() + (y @ w).sum()
    loss.backward()
    low = [t.astype(dl.bfloat16).T @ dl.ones((5, 4), dtype=dl.bfloat16) for t in (x, y)]
    np.testing.assert_array_equal(w.grad.numpy(), sum(t.astype("float32").numpy() for t in low))


def test_uses_of_one_cast_have_backward_passes_of_their_own():
    x, y = map(dl.tensor, arrays((5, 4), (5, 4)))
    (w,) = parameters((4, 4), seed=1)
    with dl.autocast():
        first, second = (x @ w).sum(), (y @ w).sum()
        first.backward()
        second.backward()
        once = w.grad.numpy().copy()
        w.grad = None
        (x @ w).sum().backward()
        (y @ w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), once)


def test_second_order():
    (w,) = parameters((4, 3))
    x = dl.tensor(arrays((6, 4), seed=1)[0])
    with dl.autocast():
        loss = dl.tanh(x @ w).pow(2).mean()
        (g,) = dl.grad(loss, w, create_graph=True)
        assert g.dtype is dl.float32
        penalty = (g * g).sum()
    (h,) = dl.grad(penalty, w)
    exact = dl.Parameter(w.detach().astype("float64"))
    (g,) = dl.grad(dl.tanh(x.astype("float64") @ exact).pow(2).mean(), exact, create_graph=True)
    (expected,) = dl.grad((g * g).sum(), exact)
    assert h.dtype is dl.float32
    assert np.abs(h.numpy() - expected.numpy()).max() < 24 * LOW[dl.bfloat16] * np.abs(expected.numpy()).max()


# ---- casts of parameters ------------------------------------------------------------------------------------------


def casts(function):
    """How many casts a captured function makes, and to what."""
    text = str(function.explain(1))
    return [line.split("->")[1].split()[0] for line in text.splitlines() if " cast " in line]


def test_a_parameter_is_cast_once_for_all_its_uses():
    (w,) = parameters((4, 4))

    @dl.capture
    def step(x):
        with dl.autocast():
            return dl.relu(x @ w) @ w @ w

    for _ in range(3):
        step(dl.ones((2, 4)))
    assert sum(c == "bf16[4,4]" for c in casts(step)) == 1


def test_nothing_stale_is_used():
    (w,), x = parameters((2, 2)), dl.ones((1, 2))
    optimizer = optim.SGD([w], lr=1.0)
    with dl.autocast():
        for change in (
            lambda: w.fill_(2.0), lambda: w.copy_(dl.ones((2, 2))), lambda: w.detach().fill_(3.0),
            lambda: w[0].fill_(5.0), optimizer.step,
        ):  # fmt: skip
            (x @ w).sum().backward()
            with dl.no_grad():
                change()
            expected = (x.astype(dl.bfloat16) @ w.detach().astype(dl.bfloat16)).numpy()
            np.testing.assert_array_equal((x @ w).numpy(), expected)


@pytest.mark.parametrize("way", ["from_numpy", "detach", "before", "dlpack"])
def test_writes_through_an_array_are_seen(way):
    array, x = np.ones((2, 2), np.float32), dl.ones((1, 2))
    w = dl.from_numpy(array) if way == "from_numpy" else dl.Parameter(dl.tensor(array))
    w.requires_grad = True
    if way == "before":
        array = w.detach().numpy()
    with dl.autocast():
        assert (x @ w).tolist() == [[2.0, 2.0]]
        if way == "detach":
            array = w.detach().numpy()
        elif way == "dlpack":
            array = np.from_dlpack(w.detach())
        array[...] = 3.0
        assert (x @ w).tolist() == [[6.0, 6.0]]


def test_memory_of_a_parameter_is_replaced():
    model, x = nn.Linear(64, 64, bias=False), dl.ones((1, 64))
    with dl.autocast():
        for k in range(4):
            w = model.weight
            with dl.no_grad():
                w.fill_(float(k))
            assert model(x)[0, 0].item() == 64.0 * k
            model.to(dl.float64)
            model.to(dl.float32)  # may lie where it lay before
            with dl.no_grad():
                model.weight.fill_(float(k + 1))
            assert model(x)[0, 0].item() == 64.0 * (k + 1)


def test_a_replayed_step_leaves_no_stale_cast():
    (w,), x = parameters((2, 2)), dl.ones((1, 2))

    @dl.capture
    def grow():
        with dl.no_grad():
            w.mul_(2.0)

    with dl.autocast():
        for _ in range(4):
            expected = (x.astype(dl.bfloat16) @ w.detach().astype(dl.bfloat16)).numpy()
            np.testing.assert_array_equal((x @ w).numpy(), expected)
            grow()


def test_a_recorded_step_does_not_use_a_cast_from_before():
    (w,), x = parameters((2, 2)), dl.ones((1, 2))

    @dl.capture
    def forward(x):
        return x @ w

    with dl.autocast(), dl.no_grad():
        for k in range(5):
            forward(x)  # recorded while a cast of w is kept
            w.fill_(float(k))
            assert forward(x).tolist() == [[2.0 * k] * 2]
            assert (x @ w).tolist() == [[2.0 * k] * 2]
    assert forward.recordings == 1


def test_a_cast_made_without_gradients_is_not_used_with_them():
    (w,), x = parameters((2, 2)), dl.ones((1, 2))
    with dl.autocast():
        with dl.no_grad():
            assert not (x @ w).requires_grad
        y = x @ w
        with dl.no_grad():
            assert not (x @ w).requires_grad
        w.requires_grad = False
        assert not (x @ w).requires_grad
        w.requires_grad = True
    y.sum().backward()
    assert w.grad.tolist() == [[1.0, 1.0]] * 2


def test_parameters_are_not_kept_alive():
    with dl.autocast():
        (w,) = parameters((2, 2))
        dl.ones((1, 2)) @ w
        gone = weakref.ref(w)
        del w
        gc.collect()
        assert gone() is None
        for k in range(300):  # others may take its place in memory
            (w,) = parameters((2, 2), seed=k)
            x = dl.ones((1, 2))
            np.testing.assert_array_equal(
                (x @ w).numpy(), (x.astype(dl.bfloat16) @ w.detach().astype(dl.bfloat16)).numpy()
            )


def test_views_and_other_tensors():
    (w,) = parameters((4, 4))
    x = dl.ones((2, 4))
    with dl.autocast():
        y = (x @ w.T).sum() + (x @ w[:, :2]).sum()
    y.backward()
    expected = np.full((4, 4), 2.0)
    expected[:, :2] += 2.0
    np.testing.assert_array_equal(w.grad.numpy(), expected)


# ---- recordings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("inside", [True, False])
def test_recorded_is_eager(inside, dtype):
    x, t = dl.tensor(arrays((32, 8))[0]), dl.tensor(np.arange(32) % 3)

    def train(record):
        dl.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)

        def step(x, t):
            optimizer.zero_grad()
            with dl.autocast(dtype if inside else dl.autocast_dtype()):
                loss = dl.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            return loss

        step = dl.capture(step) if record else step
        with dl.autocast(None if inside else dtype):
            losses = [step(x, t).item() for _ in range(8)]
        if record:
            assert step.recordings == 1 and step.failure is None
        return losses, [p.numpy() for p in model.parameters()]

    (ours, mine), (theirs, others) = train(True), train(False)
    assert ours == theirs and ours[-1] < ours[0]
    for a, b in zip(mine, others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_recordings_are_made_for_each_mode():
    a, b = map(dl.tensor, arrays((2, 3), (3, 2)))
    product = dl.capture(lambda a, b: a @ b)
    for _ in range(3):
        for dtype in (None, dl.bfloat16, dl.float16):
            with dl.autocast(dtype):
                assert product(a, b).dtype is (dtype or dl.float32)
    assert product.recordings == 3
    assert product.reasons[1:] == ["autocast is to float16", "autocast is off"]


def test_linear_bias_and_activation_fuse():
    layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    @dl.capture
    def forward(x):
        with dl.autocast(), dl.no_grad():
            return layer(x)

    for _ in range(3):
        forward(dl.ones((2, 4)))
    assert "linear + bias + relu" in str(forward.explain(1))


# ---- fit ----------------------------------------------------------------------------------------------------------


def blobs(n=600, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    centres = np.random.default_rng(1).standard_normal((4, 10)) * 2
    return (centres[y] + rng.standard_normal((n, 10))).astype(np.float32), y


def fitted(record=True, **settings):
    dl.manual_seed(3)
    model = nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 4))
    history = dl.fit(
        model, blobs(), blobs(seed=5), loss="cross_entropy", optimizer=optim.AdamW(model.parameters(), lr=3e-3),
        epochs=6, metrics=["accuracy"], seed=1, progress=False, record=record, **settings,
    )  # fmt: skip
    return model, history


def test_fit_with_autocast():
    model, history = fitted(autocast=dl.bfloat16)
    again, _ = fitted(autocast="bfloat16", record=False)
    plain, exact = fitted()
    assert history.reason is None and all(p.dtype is dl.float32 for p in model.parameters())
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert abs(history["val_accuracy"][-1] - exact["val_accuracy"][-1]) < 0.01
    assert abs(history["loss"][-1] - exact["loss"][-1]) < 0.02
    assert dl.predict(model, blobs()[0][:3]).dtype is dl.float32
    with dl.autocast():
        assert dl.predict(model, blobs()[0][:3]).dtype is dl.bfloat16
        inside = dl.evaluate(model, blobs(seed=5), loss="cross_entropy")
    assert inside["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_fit_within_autocast_is_fit_with_autocast():
    model, _ = fitted(autocast=dl.bfloat16)
    with dl.autocast():
        again, _ = fitted()
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("wrong", [dl.float32, dl.float64])
def test_fit_refuses_other_dtypes(wrong):
    with pytest.raises(ValueError, match=f"fit: autocast: {wrong.name} is not of 16 bits"):
        fitted(autocast=wrong)


def test_digits_are_learned_as_in_float32():
    def accuracy(dtype):
        dl.manual_seed(0)
        train, test = dl.data.random_split(dl.data.load_dataset("digits"), [0.8, 0.2], seed=0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        dl.fit(
            model, train, loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=3e-3), epochs=15, seed=0,
            autocast=dtype, progress=False,
        )  # fmt: skip
        return dl.evaluate(model, test, metrics=["accuracy"])["accuracy"]

    exact = accuracy(None)
    assert exact > 0.93 and accuracy(dl.bfloat16) > exact - 0.015


# ---- optimizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [optim.Muon, optim.AdamW, optim.LBFGS])
def test_an_optimizer_steps_as_it_does_outside(make):
    x, y = map(dl.tensor, arrays((16, 6), (16, 5)))

    def trained(inside):
        (w,) = parameters((6, 5), seed=2)
        optimizer = make([w], lr=0.1)

        def closure():
            optimizer.zero_grad()
            with dl.autocast(dl.autocast_dtype() if inside else dl.bfloat16):
                loss = dl.mse_loss(x @ w, y)
            loss.backward()
            return loss

        for _ in range(3):
            with dl.autocast(dl.bfloat16 if inside else None):
                optimizer.step(closure)
        return w.numpy()

    np.testing.assert_array_equal(trained(True), trained(False))
