"""Models on a GPU, or on the device that Triton's interpreter stands in for, beside the same ones on the CPU."""

import copy
import itertools
import os
import pickle

import numpy as np
import pytest

import dlcore as dl
from dlcore import models, nn, optim
from dlcore._arguments import names_errors

INTERPRETED = os.environ.get("DLCORE_CUDA") == "interpreter"
try:
    GPU = dl.device("cuda")
except dl.DeviceError as error:
    pytest.skip(str(error), allow_module_level=True)


def mlp(*sizes, dropout=0.0):
    layers = []
    for m, n in itertools.pairwise(sizes):
        layers += [nn.Linear(m, n), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers[: -2 if dropout else -1])


def batch(rows, features, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, features), np.float32), rng.integers(0, classes, rows)


def losses(model, make, x, y, device, steps):
    model = copy.deepcopy(model).to(device)
    optimizer = make(model.parameters())
    x, y = dl.tensor(x, device=device), dl.tensor(y, device=device)
    found = []
    for step in range(steps):
        loss = dl.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        if step == 1:
            optimizer.lr = optimizer.lr / 2
    return found, model


@pytest.mark.parametrize(
    "sizes, rows, make",
    [
        ((64, 128, 64, 10), 64, lambda p: optim.Adam(p, lr=1e-2)),  # model a
        ((784, 256, 128, 10), 128, lambda p: optim.Adam(p, lr=1e-3)),  # model b
        ((784, 256, 128, 10), 128, lambda p: optim.SGD(p, lr=1e-2, momentum=0.9)),
    ],
    ids=["a-adam", "b-adam", "b-sgd"],
)
def test_losses_are_the_cpus(sizes, rows, make):
    dl.manual_seed(0)
    model, steps = mlp(*sizes), 3 if INTERPRETED else 20
    x, y = batch(rows, sizes[0], sizes[-1])
    on_cpu, plain = losses(model, make, x, y, "cpu", steps)
    on_gpu, moved = losses(model, make, x, y, "cuda", steps)
    assert on_cpu[-1] < on_cpu[0]
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-5)
    for p, q in zip(plain.parameters(), moved.parameters(), strict=True):
        assert q.device is GPU and type(q) is nn.Parameter
        np.testing.assert_allclose(q.numpy(), p.numpy(), atol=1e-3)


def test_the_same_seed_gives_the_same_weights_and_masks():
    made = {}
    for device in ("cpu", "cuda"):
        dl.manual_seed(7)
        weight = nn.init.kaiming_uniform_(dl.empty((33, 65), device=device))
        dropped = dl.dropout(dl.ones(1000, device=device), 0.25)
        order = dl.randperm(100, device=device)
        made[device] = [t.numpy() for t in (weight, dropped, order)]
    for a, b in zip(made["cpu"], made["cuda"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_and_evaluate_on_the_models_device():
    x, y = batch(48, 8, 3)
    history, scores = {}, {}
    for device in ("cpu", "cuda"):
        dl.manual_seed(1)
        model = mlp(8, 16, 3).to(device)
        optimizer = optim.Adam(model.parameters(), lr=1e-2)
        made = dl.fit(
            model, (x, y), loss=dl.cross_entropy, optimizer=optimizer, epochs=2, batch_size=16, metrics=["accuracy"],
            clip_norm=1.0, validation=(x, y),
        )  # fmt: skip
        history[device] = [epoch["loss"] for epoch in made.epochs]
        scores[device] = dl.evaluate(model, (x, y), loss=dl.cross_entropy, metrics=["accuracy", "mae"][:1])
        assert dl.predict(model, x).device is dl.device(device)
    np.testing.assert_allclose(history["cuda"], history["cpu"], rtol=1e-5)
    assert scores["cuda"] == pytest.approx(scores["cpu"], rel=1e-5)


def test_checkpoints_go_from_device_to_device(tmp_path):
    dl.manual_seed(2)
    model = mlp(5, 4, 3).to("cuda")
    optimizer = optim.Adam(model.parameters())
    x, y = batch(6, 5, 3)
    loss = dl.cross_entropy(model(dl.tensor(x, device="cuda")), dl.tensor(y, device="cuda"))
    loss.backward()
    optimizer.step()
    dl.save(model, tmp_path / "m.safetensors", optimizer=optimizer)
    for device in ("cpu", "cuda"):
        other = mlp(5, 4, 3).to(device)
        second = optim.Adam(other.parameters())
        dl.load(other, tmp_path / "m.safetensors", optimizer=second)
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            assert (p.numpy() == q.numpy()).all() and q.device is dl.device(device)
        states = second.state_dict()["state"]
        assert all(t.device is dl.device(device) for state in states.values() for t in state.values())
        assert all(state["step"].item() == 1 for state in states.values())


def test_tensors_are_written_and_indexed_on_the_gpu():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    x = dl.tensor(a, device="cuda")
    for write in (
        lambda t: t.__setitem__(..., a * 2),
        lambda t: t.__setitem__((slice(None), slice(1, None, 2)), np.float32(3)),
        lambda t: t.__setitem__(1, np.ones(6)),
        lambda t: t.__setitem__((slice(1, 3), 2), 7),
        lambda t: t.__setitem__(slice(None, None, 2), np.arange(6)),
    ):
        want = a.copy()
        y = x.clone()
        write(y)
        write(want)
        np.testing.assert_array_equal(y.numpy(), want)
    np.testing.assert_array_equal(x[[2, 0]].numpy(), a[[2, 0]])
    np.testing.assert_array_equal(x[:, np.array([1, 5, 1])].numpy(), a[:, [1, 5, 1]])
    np.testing.assert_array_equal(x.T[::-1].numpy(), a.T[::-1])
    x += 1
    x.T.mul_(2)
    np.testing.assert_array_equal(x.numpy(), (a + 1) * 2)
    there = dl.zeros(4, 6)
    assert (there.copy_(x).numpy() == x.numpy()).all() and (dl.zeros_like(x).copy_(there).numpy() == x.numpy()).all()
    assert repr(x[0, :2]) == "tensor([2., 4.], device='cuda:0')" and float(x[0, 0]) == 2.0


def test_tensors_are_pickled_with_their_device():
    x = dl.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    y = pickle.loads(pickle.dumps(x))
    assert y.device is GPU and y.requires_grad and y.tolist() == [1, 2]


def test_a_bad_label_is_raised_at_the_next_wait():
    logits = dl.zeros((4, 3), device="cuda")
    with pytest.raises(IndexError, match="cross_entropy"):
        dl.cross_entropy(logits, dl.tensor([0, 1, 3, 2], device="cuda")).item()
    assert dl.cross_entropy(logits, dl.tensor([0, 1, 2, 2], device="cuda")).item() == pytest.approx(np.log(3))


def test_a_recorded_step_gives_the_eager_ones_bits():
    found = {}
    for kind in ("eager", "recorded"):
        dl.manual_seed(3)
        model = mlp(12, 16, 5, dropout=0.2).to(GPU)
        optimizer = optim.Adam(model.parameters(), lr=1e-2)

        def step(x, y, model=model, optimizer=optimizer):
            loss = dl.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = dl.capture(step) if kind == "recorded" else step
        batches = [batch(8, 12, 5, seed) for seed in range(5)]
        kept = [run(dl.tensor(x, device=GPU), dl.tensor(y, device=GPU)).detach() for x, y in batches]
        found[kind] = [loss.item() for loss in kept], [p.numpy().tobytes() for p in model.parameters()]
    assert found["eager"] == found["recorded"] and run.recordings == 1


def test_fit_records_its_steps_with_the_data_in_them():
    dl.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    labels = (images.mean(axis=(1, 2)) > 127).astype(np.int64)
    models = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2))]
    models.append(copy.deepcopy(models[0]).to(GPU))
    ends = []
    for model in models:
        history = dl.fit(
            model, dl.data.ImageDataset(images, labels), epochs=2, batch_size=16, loss=dl.cross_entropy,
            optimizer=optim.SGD(model.parameters(), lr=0.1), transform=dl.data.Normalize(0.5, 0.25), seed=0,
            metrics=["accuracy"],
        )  # fmt: skip
        assert history.recorded, history.reason
        ends.append([history.epochs[-1]["loss"], history.epochs[-1]["accuracy"]])
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5)


def test_data_and_its_preprocessing_are_the_same_on_the_gpu():
    rng = np.random.default_rng(0)
    towns, rooms = rng.choice(["Bonn", "Ulm", "Kiel"], 30), rng.normal(1000, 5, 30)
    rooms[3] = np.nan
    with pytest.warns(RuntimeWarning, match="1 values are missing"):
        houses = dl.data.table({"rooms": rooms, "town": towns, "y": np.arange(30) % 2}, "y")
    steps = dl.data.Compose(dl.data.Standardize.of(houses, fill=True), dl.data.OneHot.of(houses))
    windows = dl.data.TextWindows(rng.integers(0, 9, 40).astype(np.uint8), 5)
    for data, transform in ((houses, steps), (windows, None)):
        both = []
        for device in ("cpu", GPU):
            batches = dl.data.Batches(data, transform, shuffle=True, seed=1, device=device, dtype="float32")
            step = dl.capture(lambda index, batches=batches: batches.fetch(index))
            order = batches.order(0)
            found = [step(order[start : start + 8]) for start in range(0, 24, 8)]
            assert step.recordings == 1
            both.append([np.asarray(part.to("cpu")) for batch in found for part in batch])
        for ours, theirs in zip(*both, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [lambda p: optim.Adam(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1, momentum=0.9)])
def test_after_bad_data_the_optimizer_leaves_parameters_alone_until_it_has_been_raised(make):
    model = nn.Linear(4, 3).to(GPU)
    optimizer = make(model.parameters())
    x, y = batch(6, 4, 3)

    def step(labels):
        loss = dl.cross_entropy(model(dl.tensor(x, device=GPU)), dl.tensor(labels, device=GPU))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step(y)
    dl.synchronize()
    held = dl.device("cpu")
    before = [p.detach().clone() for p in model.parameters()]
    step(np.where(np.arange(6) == 2, 7, y))
    changes = [(p.detach() - b).abs().max() for p, b in zip(model.parameters(), before, strict=True)]
    with pytest.raises(IndexError, match="cross_entropy: the label at position 2 is no class"):
        dl.synchronize()
    assert [c.to(held).item() for c in changes] == [0, 0]
    step(y)
    dl.synchronize()
    assert any((p.detach() - b).abs().max().item() > 0 for p, b in zip(model.parameters(), before, strict=True))


def test_operands_that_overlap_what_is_written():
    """They are copied first, and kernels of a GPU are planned for one layout."""
    array = np.arange(36.0, dtype=np.float32).reshape(6, 6)
    for device in ("cpu", GPU):
        x = dl.tensor(array, device=device)
        x.add_(x.T)
        assert (x.numpy() == array + array.T).all()
        x = dl.tensor(array, device=device)
        x[dl.tensor([2, 0], device=device)] = x.T[1:3]
        wanted = array.copy()
        wanted[[2, 0]] = array.T[1:3]
        assert (x.numpy() == wanted).all()


@pytest.mark.parametrize("kind", [
    "Adagrad", "Adadelta", "Adafactor", "Adamax", "LAMB", "Lion", "Muon", "NAdam", "RAdam", "RMSprop",
    "ScheduleFreeAdamW", "ScheduleFreeSGD",
])  # fmt: skip
def test_optimizers_and_their_schedules(kind):
    """Recorded steps of a scheduled optimizer go the CPU's way."""
    ends = []
    for device in ("cpu", "cuda"):
        rng = np.random.default_rng(2)
        values = [rng.standard_normal(s, np.float32) for s in ((6, 4), (5,))]
        parameters = [nn.Parameter(dl.tensor(v, device=device)) for v in values]
        optimizer = getattr(optim, kind)(parameters, lr=0.05, no_decay=True, weight_decay=0.1)
        optim.schedules.Cosine(warmup=1).prepare(optimizer, 4)

        @dl.capture
        def step(parameters=parameters, optimizer=optimizer):
            for p in parameters:
                p.grad = p.detach() * 2 + 1
            optim.clip_grad_value_(parameters, 3.0)
            optimizer.step()

        for _ in range(4):
            step()
        assert step.recordings == 1
        ends.append([np.asarray(p.detach().cpu()) for p in parameters])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_augmentation_is_the_same_for_the_same_seed():
    from dlcore import data

    x = np.random.default_rng(0).random((4, 3, 6, 7)).astype(np.float32)
    for step in (
        data.RandomFlip(), data.RandomCrop(5, 2), data.RandomTranslate(2), data.Cutout(3), data.RandomErasing(1.0),
        data.GaussianNoise(0.1), data.RandomAffine(30, 0.1, (0.8, 1.2), 10),
    ):  # fmt: skip
        pictures = []
        for device in ("cpu", "cuda"):
            dl.manual_seed(7)
            pictures.append(np.asarray(step(dl.tensor(x, device=device)).to("cpu")))
        np.testing.assert_allclose(*pictures, atol=1e-6, err_msg=repr(step))


def test_a_gpt_is_trained_and_writes_as_on_the_cpu():
    dl.manual_seed(0)
    model = models.GPT(11, 1, 2, 16, 8)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 11, (2, 8)), rng.integers(0, 11, (2, 8))
    found = {}
    for device in ("cpu", "cuda"):
        moved = copy.deepcopy(model).to(device)
        optimizer = optim.AdamW(moved.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.zero_grad()
            logits = moved(dl.tensor(x, device=device)).reshape(-1, 11)
            loss = dl.cross_entropy(logits, dl.tensor(y.ravel(), device=device))
            loss.backward()
            optimizer.step()
        texts = [models.generate(moved, [1, 2], 12, temperature=t, top_k=4, seed=0).tolist() for t in (0, 1.5)]
        found[device] = loss.item(), texts
        (decoder,) = vars(moved)["_decoders"]
        assert (decoder.step.failure, decoder.step.recordings, decoder.refill.recordings) == (None, 2, 1)
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=1e-5)
    assert found["cuda"][1] == found["cpu"][1]


def test_only_what_may_report_bad_data_has_words_for_it():
    x = dl.ones(4, device=GPU)
    rows = GPU.backend.faults.rows
    for name in ("exp", "sqrt", "neg"):
        getattr(dl, name)(x * 3.0)
        assert name not in rows
    dl.take(x, dl.tensor([1, 2], device=GPU))
    assert "take" in rows


def test_calls_again_on_a_gpu():
    """Functions made of operations are noted there too, one program for each alignment of what they are given."""

    def shifted(x, i):
        return dl.take(x[1:], i) * 2 + x[2:4]

    function = names_errors(shifted)
    a, i = np.arange(64, dtype=np.float32), dl.tensor([0, 3], device=GPU)
    whole = dl.tensor(a, device=GPU)
    for start in range(6):
        for k in range(3):
            want = a[start + 1 :][[0, 3]] * 2 + a[start + 2 : start + 4]
            np.testing.assert_array_equal(function(whole[start : start + 32] + 0 * k, i).cpu(), want)
            np.testing.assert_array_equal(function(whole[start : start + 32], i).cpu(), want)
    assert function.programs == 4
    moved = names_errors(lambda x: x.cpu() + 1)
    for k in range(3):
        assert moved(whole + k)[1].item() == k + 2.0
