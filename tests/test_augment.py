"""Augmentation: what each step does to pictures, by values known from elsewhere, and within recorded steps."""

import colorsys

import numpy as np
import pytest

import dlcore as dl
from dlcore import data, nn

RNG = np.random.default_rng(0)
GREY = RNG.random((200, 6, 8)).astype(np.float32) * 0.8 + 0.1
RGB = RNG.random((60, 3, 6, 8)).astype(np.float32)


def done(step, x):
    dl.manual_seed(3)
    return np.asarray(step(dl.tensor(x)))


@pytest.mark.parametrize("x", [GREY, RGB], ids=["grey", "rgb"])
def test_translations_move_whole_pixels(x):
    y, seen = done(data.RandomTranslate((1, 2)), x), set()
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (2, 2)])
    for ours, whole in zip(y, padded, strict=True):
        seen.add(next((i, j) for i in range(3) for j in range(5) if (whole[..., i : i + 6, j : j + 8] == ours).all()))
    assert len(seen) == 15


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_quarter_turns_are_those_of_numpy(mode):
    x = RNG.random((5, 2, 7, 7)).astype(np.float32)
    for degrees, quarters in ((90, 1), (180, 2), (-90, 3)):
        y = done(data.RandomRotation((degrees, degrees), mode), x)
        np.testing.assert_allclose(y, np.rot90(x, quarters, (2, 3)), atol=2e-5)


def test_affine_maps_are_what_they_say():
    x = RNG.random((40, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(done(data.RandomAffine(), x), x, atol=2e-6)
    half = done(data.RandomAffine(scale=(0.5, 0.5)), x)  # the middle of four pixels
    np.testing.assert_allclose(half[:, 2:6, 2:4], x[:, 0:8].reshape(40, 4, 2, 6).mean(2)[..., 1:5].reshape(
        40, 4, 2, 2).mean(3), atol=2e-6)  # fmt: skip
    assert (half[:, [0, 7]] == 0).all()
    lean = done(data.RandomAffine(shear=(45, 45)), x)  # rows slide by their distance from the middle
    np.testing.assert_allclose(lean[:, 4, 1:], (x[:, 4, 1:] + x[:, 4, :-1]) / 2, atol=2e-6)
    moved = done(data.RandomAffine(translate=(0.25, 0)), x)
    assert (moved != x).any(axis=(1, 2)).all() and abs(moved[:, 3:5].mean() - x.mean()) < 0.05


def test_brightness_and_contrast_are_factors_of_each_image():
    dark, flat = done(data.Brightness((0.5, 0.5)), GREY), done(data.Contrast((0.25, 0.25)), GREY)
    np.testing.assert_allclose(dark, GREY / 2, rtol=1e-6)
    middle = GREY.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(flat, middle + (GREY - middle) / 4, rtol=1e-5)
    factors = (done(data.Brightness(0.1), GREY) / GREY).reshape(200, -1)
    assert np.ptp(factors, 1).max() < 1e-5 and 0.9 <= factors.min() < 0.92 and 1.08 < factors.max() <= 1.1 + 1e-6
    assert done(data.Brightness((5, 5)), GREY).max() == 1


def test_saturation_and_hue_are_those_of_colorsys():
    grey = np.tensordot(RGB, np.float32([0.2989, 0.587, 0.114]), (1, 0))[:, None]
    np.testing.assert_allclose(done(data.ColorJitter(saturation=(0, 0)), RGB), np.repeat(grey, 3, 1), atol=1e-6)
    pixels = np.moveaxis(RGB, 1, -1).reshape(-1, 3)
    for turn in (0.2, -0.4, 0.0):
        wanted = [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in (colorsys.rgb_to_hsv(*p) for p in pixels)]
        ours = np.moveaxis(done(data.ColorJitter(hue=(turn, turn)), RGB), 1, -1).reshape(-1, 3)
        np.testing.assert_allclose(ours, wanted, atol=3e-6)
    same = np.full((2, 3, 2, 2), 0.5, np.float32)
    assert (done(data.ColorJitter(hue=0.5), same) == same).all()


def test_rectangles_are_erased_within_the_image():
    y = done(data.RandomErasing(0.7, (0.1, 0.3), value=2.0), np.repeat(GREY, 2, 0).reshape(200, 2, 6, 8))
    holes = y == 2
    assert (holes == holes[:, :1]).all()
    areas = holes[:, 0].sum((1, 2))
    assert 110 < (areas > 0).sum() < 170 and areas[areas > 0].min() >= 2 and areas.max() <= 0.3 * 48 + 8
    for hole in holes[areas > 0, 0]:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns


def test_cutmix_mixes_targets_by_area():
    x = np.arange(10, dtype=np.float32).reshape(10, 1, 1) * np.ones((1, 6, 8), np.float32)
    shares = []
    for seed in range(30):
        dl.manual_seed(seed)
        mixed, targets = data.CutMix(1.0, classes=10)(dl.tensor(x), dl.arange(10))
        mixed, targets = np.asarray(mixed), np.asarray(targets)
        for k in range(10):
            counts = np.bincount(mixed[k].astype(int).ravel(), minlength=10) / 48
            np.testing.assert_allclose(targets[k], counts, atol=1e-6)
        shares.append(targets.max(1).min())
    assert len(set(shares)) > 5


STEPS = [
    data.RandomTranslate(1), data.RandomAffine(10, 0.1, (0.9, 1.1), 5), data.RandomRotation(5),
    data.RandomErasing(), data.ColorJitter(0.2, 0.2), data.RandomFlip(), data.CutMix(1.0, classes=3),
]  # fmt: skip


def test_every_step_is_recorded_and_draws_anew():
    images = RNG.integers(0, 256, (60, 6, 6)).astype(np.uint8)
    samples, ends = data.ImageDataset(images, np.arange(60) % 3), []
    for record in (True, False):
        dl.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
        history = dl.fit(
            model, samples, augment=STEPS, loss=dl.cross_entropy, seed=0, epochs=3, batch_size=20, record=record,
            optimizer=dl.optim.SGD(model.parameters(), lr=0.01), progress=False,
        )  # fmt: skip
        assert history.recorded is record, history.reason
        ends.append((np.asarray(model[1].weight).tolist(), history["loss"]))
    assert ends[0] == ends[1]
    for step in STEPS[:-1]:
        first, again, second = done(step, GREY), done(step, GREY), np.asarray(step(dl.tensor(GREY)))
        assert (first == again).all() and (first != second).any(), step


def test_wrong_arguments_and_images_are_refused():
    colour = dl.tensor(RGB)
    for make, said in (
        (lambda: data.RandomTranslate(-1), "RandomTranslate: pixels are"),
        (lambda: data.RandomRotation(-5), r"RandomRotation: degrees is -5.0; it must not be negative"),
        (lambda: data.RandomAffine(scale=(2, 1)), r"RandomAffine: scale \(2, 1\) is not a pair of numbers that ascend"),
        (lambda: data.RandomAffine(scale=(0, 1)), r"RandomAffine: scale \(0, 1\) is not positive"),
        (lambda: data.RandomAffine(translate=1.5), "RandomAffine: translate 1.5 is not a part of the image"),
        (lambda: data.RandomAffine(shear=90), "RandomAffine: shear 90 is not below 90 degrees"),
        (lambda: data.RandomAffine(mode="bicubic"), "RandomAffine: mode 'bicubic' is not one of"),
        (lambda: data.Brightness(-1), "Brightness: by is -1.0; it must not be negative"),
        (lambda: data.ColorJitter(hue=0.6), "ColorJitter: hue is 0.6; it is a part of a turn, up to 0.5"),
        (lambda: data.RandomErasing(scale=(0.5, 1.5)), r"RandomErasing: scale \(0.5, 1.5\) is not of parts"),
        (lambda: data.CutMix(0.0), "CutMix: alpha is 0.0"),
        (lambda: data.CutMix()(colour, dl.arange(60)), "CutMix: classes must be said for labels"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            make()
    for step in (data.RandomRotation(5), data.Brightness(0.1), data.Contrast(0.1), data.ColorJitter(0.1)):
        name = type(step).__name__
        with pytest.raises(dl.ShapeError, match=rf"{name}: images \(N, H, W\) or"):
            step(dl.zeros(4, 6))
        with pytest.raises(TypeError, match=f"{name}: images of floats expected, not of uint8; divide bytes by 255"):
            step(dl.zeros(4, 6, 6, dtype=dl.uint8))
    with pytest.raises(dl.ShapeError, match=r"ColorJitter: saturation and hue are of images \(N, 3, H, W\)"):
        data.ColorJitter(saturation=0.1)(dl.tensor(GREY))


# ---- within `fit` ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(200, 4, 5), (200, 3, 4, 5)])
def test_random_flips_and_crops_take_what_is_there(shape):
    x = np.random.default_rng(0).random(shape).astype(np.float32) + 1
    for vertical in (False, True):
        y = np.asarray(dl.data.RandomFlip(0.3, vertical)(dl.tensor(x)))
        mirrored = x[..., ::-1, :] if vertical else x[..., ::-1]
        chosen = (y == mirrored).reshape(200, -1).all(1)
        assert ((y == x).reshape(200, -1).all(1) != chosen).all() and 35 < chosen.sum() < 85
    for size, padding in (((4, 5), 2), (3, 0), ((2, 7), 1)):
        y = np.asarray(dl.data.RandomCrop(size, padding)(dl.tensor(x)))
        height, width = size if isinstance(size, tuple) else (size, size)
        padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(padding, padding)] * 2)
        seen = set()
        for ours, whole in zip(y, padded, strict=True):
            assert ours.shape[-2:] == (height, width)
            seen.add(next(
                (i, j)
                for i in range(whole.shape[-2] - height + 1)
                for j in range(whole.shape[-1] - width + 1)
                if (whole[..., i : i + height, j : j + width] == ours).all()
            ))  # fmt: skip
        assert len(seen) == (padded.shape[-2] - height + 1) * (padded.shape[-1] - width + 1)
    y = np.asarray(dl.data.Cutout(2)(dl.tensor(x)))
    holes = (y == 0).reshape(200, -1, 4, 5)
    assert (holes == holes[:, :1]).all() and ((y == x) | (y == 0)).all()
    assert set(holes[:, 0].sum((1, 2))) == {1, 2, 4} and holes[:, 0].any(0).all()


def test_augmentation_refuses_what_it_cannot_do():
    flat = dl.zeros(4, 6)
    for step in (dl.data.RandomFlip(), dl.data.RandomCrop(2), dl.data.Cutout(2)):
        with pytest.raises(dl.ShapeError, match=rf"{type(step).__name__}: images \(N, H, W\) or"):
            step(flat)
    with pytest.raises(dl.ShapeError, match=r"RandomCrop: images of 4 x 6 with padding 0 have no \(5, 5\)"):
        dl.data.RandomCrop(5)(dl.zeros(1, 4, 6))
    with pytest.raises(ValueError, match=r"RandomFlip: p is 1\.5"):
        dl.data.RandomFlip(1.5)
    with pytest.raises(ValueError, match="Mixup: classes must be said for labels"):
        dl.data.Mixup()(dl.zeros(3, 2), dl.tensor([0, 1, 0]))
    for wrong in (2, -1):  # which had no probabilities at all
        with pytest.raises(IndexError, match=f"label {wrong} at position 2 is out of range for 2 classes"):
            dl.data.Mixup(classes=2)(dl.zeros(3, 2), dl.tensor([0, 1, wrong]))
    with pytest.raises(ValueError, match="Mixup: alpha is 0"):
        dl.data.Mixup(0.0)
    with pytest.raises(TypeError, match="GaussianNoise: noise is added to floats, not to uint8"):
        dl.data.GaussianNoise(0.1)(dl.zeros(3, dtype=dl.uint8))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_is_of_the_beta_distribution(alpha):
    mixup = dl.data.Mixup(alpha, classes=2)
    for _ in range(20):
        x, y = mixup(dl.tensor([[0.0], [1.0]]), dl.tensor([0, 1]))
        np.testing.assert_allclose(np.asarray(y)[:, 1], np.asarray(x)[:, 0], atol=1e-6)
        np.testing.assert_allclose(np.asarray(y).sum(1), 1, atol=1e-6)
    x, y = mixup(dl.tensor([[0.0], [1.0]]), dl.tensor([[0.0], [2.0]]))
    np.testing.assert_allclose(np.asarray(y), 2 * np.asarray(x), atol=1e-6)
    stats = pytest.importorskip("scipy.stats")
    shares = [mixup._share(dl.device("cpu")).item() for _ in range(2000)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_augmentation_acts_on_training_alone_within_the_recorded_step():
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6)).astype(np.uint8)
    pictures = data.ImageDataset(images, np.arange(60) % 3)
    steps = [data.RandomCrop(6, padding=1), data.RandomFlip(), data.Cutout(2), data.GaussianNoise(0.01),
             data.Mixup(0.3, classes=3)]  # fmt: skip
    ends = []
    for record in (True, False):
        dl.manual_seed(0)
        model = dl.nn.Sequential(dl.nn.Flatten(), dl.nn.Linear(36, 3))
        history = dl.fit(
            model, pictures, validation=pictures, augment=steps, transform=data.Normalize(0.5, 0.25), seed=0, epochs=3,
            loss=dl.cross_entropy, optimizer=dl.optim.SGD(model.parameters(), lr=0.01), batch_size=20, record=record,
        )  # fmt: skip
        assert history.recorded is record, history.reason
        ends.append((np.asarray(model[1].weight).tolist(), history["loss"], history["val_loss"]))
    assert ends[0] == ends[1]
    np.testing.assert_allclose(dl.evaluate(model, pictures, loss=dl.cross_entropy)["loss"], history["val_loss"][-1])
    assert repr(model.preprocessing) == "Compose(ScaleBytes(), Normalize(mean=0.5, std=0.25))"


def test_a_step_that_changes_targets_says_so():
    class Wrong:
        targets = True

        def __call__(self, x, y):
            return x

    x, y = RNG.standard_normal((12, 3)).astype(np.float32), np.arange(12) % 2
    with pytest.raises(TypeError, match=r"augment: a Wrong must return \(inputs, targets\), two tensors"):
        data.Batches((x, y), augment=[Wrong()]).fetch(slice(0, 3))
    with pytest.raises(dl.ShapeError, match="augment: a Wrong changes targets, and the data has none"):
        data.Batches(x, augment=[Wrong()]).fetch(slice(0, 3))
    with pytest.raises(TypeError, match="augment: a function must return a tensor for a batch, not 3"):
        data.Batches(x, augment=[lambda x: 3]).fetch(slice(0, 3))
