"""Data sets, batches, normalisation, and what counts as data at every door."""

import collections
import copy
import itertools
import pickle
import threading

import numpy as np
import pytest

import dlcore as dl
from dlcore import testing
from dlcore.data import (
    Batches,
    Compose,
    DataLoader,
    ImageDataset,
    Normalize,
    ScaleBytes,
    Subset,
    TensorDataset,
    random_split,
)
from dlcore.data.transforms import from_config, to_config
from dlcore.ops.scaling import take_scaled


def numbered(n=10):
    return TensorDataset(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


def test_tensor_dataset_indexes_all_arrays_alike():
    data = numbered()
    assert len(data) == 10
    x, y = data[3]
    assert x.tolist() == [6, 7] and y == 3
    assert data[2:4][1].tolist() == [2, 3] and data[np.array([5, 1])][1].tolist() == [5, 1]
    assert TensorDataset([[1.0], [2.0]], dl.tensor([3, 4]))[1][1].item() == 4
    with pytest.raises(ValueError, match=r"lengths differ: shapes \(3,\), \(4,\)"):
        TensorDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="no arrays"):
        TensorDataset()


def test_tensors_share_the_arrays_memory():
    x = np.zeros((3, 2), np.float32)
    data = TensorDataset(x)
    x[1] = 7
    assert data.tensors[0][1].tolist() == [7, 7]
    big_endian, frozen = np.arange(3, dtype=">i4"), np.arange(3)
    frozen.flags.writeable = False
    assert [t.tolist() for t in TensorDataset(big_endian, frozen).tensors] == [[0, 1, 2], [0, 1, 2]]


def test_subset_of_subset():
    outer = Subset(numbered(), [4, 2, -1, 0])
    inner = Subset(outer, [2, 0])
    assert len(inner) == 2 and inner[0][1] == 9 and inner[np.array([1, 0])][1].tolist() == [4, 9]
    assert [y.tolist() for _, y in DataLoader(inner, batch_size=2)] == [[9, 4]]
    assert len(Subset(numbered(), [])) == 0
    with pytest.raises(IndexError, match="indices run to 10, the data set has 10"):
        Subset(numbered(), [10])
    with pytest.raises(TypeError, match="vector of integers"):
        Subset(numbered(), [0.5])


@pytest.mark.parametrize(
    ("n", "lengths", "sizes"),
    [
        (10, [7, 3], [7, 3]),
        (1797, [0.7, 0.15, 0.15], [1258, 270, 269]),
        (10, [1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),
        (0, [0.5, 0.5], [0, 0]),
        (5, [5, 0], [5, 0]),
    ],
)
def test_random_split_is_disjoint_complete_and_repeatable(n, lengths, sizes):
    parts = random_split(numbered(n), lengths, seed=3)
    assert [len(p) for p in parts] == sizes
    indices = np.concatenate([p.indices for p in parts])
    assert sorted(indices.tolist()) == list(range(n))
    again = random_split(numbered(n), lengths, seed=3)
    assert all((a.indices == b.indices).all() for a, b in zip(parts, again, strict=True))
    if n > 9:
        assert (indices != np.concatenate([p.indices for p in random_split(numbered(n), lengths, seed=4)])).any()


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([5, 4], "add up to 9, the data set has 10"),
        ([0.5, 0.4], "add up to 0.9, not to 1"),
        ([], "positive"),
        ([-1, 11], "positive"),
    ],
)
def test_random_split_checks_lengths(lengths, text):
    with pytest.raises(ValueError, match=text):
        random_split(numbered(), lengths)


def test_loader_gives_every_sample_once_and_the_last_batch_is_short():
    loader = DataLoader(numbered(), batch_size=4, shuffle=True, seed=1)
    assert len(loader) == 3
    epochs = [[y.tolist() for _, y in loader] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 2]
    assert all(sorted(itertools.chain(*epoch)) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    again = DataLoader(numbered(), batch_size=4, shuffle=True, seed=1)
    assert [[y.tolist() for _, y in again] for _ in range(2)] == epochs
    again.epoch = 1
    assert [y.tolist() for _, y in again] == epochs[1]
    for x, y in loader:
        assert (np.asarray(x)[:, 0] == 2 * np.asarray(y)).all()


def test_order_is_one_tensor_written_anew():
    for data in (numbered(), Subset(numbered(), [7, 1, 4])):
        loader = DataLoader(data, batch_size=4, shuffle=True, seed=5)
        order = loader.order(0)
        place = order.data_ptr
        epochs = [[y.tolist() for _, y in loader] for _ in range(3)]
        for epoch, batches in enumerate(epochs):
            assert loader.order(epoch) is order and order.data_ptr == place
            assert order.tolist() == list(itertools.chain(*batches))
    assert DataLoader(numbered(3)).order(1).tolist() == [0, 1, 2]
    assert DataLoader(Subset(numbered(), [7, 1, 4])).order(1).tolist() == [7, 1, 4]


def test_orders_are_those_of_the_seed():
    loader = DataLoader(numbered(8), 8, shuffle=True, seed=11)
    generator = dl.random.Generator(11)
    assert loader.order(0).tolist() == dl.random.permutation(8, generator=generator).tolist()


def test_iterations_of_one_loader_do_not_disturb_each_other():
    loader = DataLoader(numbered(), batch_size=3, shuffle=True)
    first = iter(loader)
    seen = next(first)[1].tolist()
    list(loader)
    loader.order(7)
    for _, y in first:
        seen += y.tolist()
    loader.epoch = 0
    assert seen == list(itertools.chain(*(y.tolist() for _, y in loader)))


def test_a_subclass_may_change_samples_on_the_way():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return 2 * x, y

    class Gathered(TensorDataset):
        def gather(self, rows):
            x, y = super().gather(rows)
            return x * 3.0, y

    x = np.arange(4, dtype=np.float32)
    for own, factor in ((Doubled, 2), (Gathered, 3)):
        loader = DataLoader(own(x, x), batch_size=3, transform=Normalize(0.0, 1.0))
        assert loader.host and [a.tolist() for a, _ in loader] == [[0, factor, 2 * factor], [3 * factor]]
    assert not DataLoader(numbered()).host and DataLoader(Samples(x)).host


def test_ahead_gives_the_same_batches_from_one_thread():
    threads = set()

    class Watched(Samples):
        def __getitem__(self, i):
            threads.add(threading.get_ident())
            if i == 8:
                raise OSError("sample 8 is damaged")
            return super().__getitem__(i)

    images = np.arange(10 * 12, dtype=np.uint8).reshape(10, 3, 4)
    windows = [slice(0, 3), slice(3, 6), slice(6, 7)]
    for data in (Watched(images), TensorDataset(images, np.arange(10))):
        batches = Batches(data, Normalize(0.5, 0.5))
        assert list(batches.ahead([])) == []
        for got, index in zip(batches.ahead(windows), windows, strict=True):
            for part, want in zip(got, batches.fetch(index), strict=True):
                np.testing.assert_array_equal(np.asarray(part), np.asarray(want))
    assert len(threads) == 2  # its own, and this one
    failing = Batches(Watched(images)).ahead([slice(0, 3), slice(6, 9)])
    assert next(failing)[1].tolist() == [0, 1, 2]
    with pytest.raises(OSError, match="sample 8"):
        next(failing)


@pytest.mark.parametrize("transform", [None, Normalize(0.3, 0.25), lambda x: x * 2.0])
def test_fetch_in_a_recorded_step(transform):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5)).astype(np.uint8)
    data = Subset(ImageDataset(images, np.arange(30) % 3), np.arange(2, 30))
    batches = Batches(data, transform, shuffle=True)
    step = dl.capture(lambda index: batches.fetch(index))
    for epoch in range(3):
        order = batches.order(epoch)
        for start in range(0, 28, 8):
            index = order[start : start + 8]
            for replayed, eager in zip(step(index), batches.fetch(index), strict=True):
                np.testing.assert_array_equal(np.asarray(replayed), np.asarray(eager))
    assert step.recordings == 2  # full batches, and the last one


def test_loader_drop_last_and_bad_batch_size():
    loader = DataLoader(numbered(), batch_size=4, drop_last=True)
    assert len(loader) == 2 and [y.tolist() for _, y in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(DataLoader(numbered(0), batch_size=4)) == []
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        DataLoader(numbered(), batch_size=0)


def test_arguments_of_pytorchs_loader():
    plain = DataLoader(numbered(), batch_size=4, shuffle=True, seed=3)
    loader = DataLoader(numbered(), batch_size=4, shuffle=True, seed=3, num_workers=8, pin_memory=True,
                        persistent_workers=True, prefetch_factor=2)  # fmt: skip
    assert [y.tolist() for _, y in loader] == [y.tolist() for _, y in plain]
    for arguments, error, text in [
        ({"num_workers": -1}, ValueError, "DataLoader: num_workers"),
        ({"pin_memory": "yes"}, TypeError, "DataLoader: pin_memory"),
        ({"prefetch_factor": 0}, ValueError, "DataLoader: prefetch_factor"),
        ({"collate_fn": list}, TypeError, r"no argument 'collate_fn': .*gather\(rows\)"),
        ({"generator": None}, TypeError, "no argument 'generator': seed sets"),
        ({"batchsize": 3}, TypeError, "no argument 'batchsize'$"),
    ]:
        with pytest.raises(error, match=text):
            DataLoader(numbered(), **arguments)


def test_loader_takes_any_dataset():
    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.full(2, i, np.float32), i * i

    batches = [(x.tolist(), y.tolist()) for x, y in DataLoader(Squares(), batch_size=3)]
    assert batches == [([[0, 0], [1, 1], [2, 2]], [0, 1, 4]), ([[3, 3], [4, 4]], [9, 16])]
    shuffled = np.concatenate([y.tolist() for _, y in DataLoader(Subset(Squares(), [4, 1]), 2, shuffle=True)])
    assert sorted(shuffled) == [1, 16]
    assert Normalize.of(Squares()).mean.tolist() == [2, 2]


@pytest.mark.parametrize("shape", [(2, 12), (2, 3, 4), (2, 1, 3, 4)])
def test_bytes_of_images_become_floats_before_the_transform(shape):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(shape)
    seen = []
    loader = DataLoader(ImageDataset(images, [0, 1]), batch_size=2, transform=lambda x: seen.append(x) or x * 2.0)
    ((x, _),) = loader
    assert seen[0].dtype is dl.float32
    np.testing.assert_array_equal(np.asarray(seen[0]), images.astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_array_equal(np.asarray(x), np.asarray(seen[0]) * 2)
    ((x, _),) = DataLoader((images, [0, 1]), batch_size=2)
    assert x.dtype is dl.uint8 and x.tolist() == images.tolist()  # a plain array is taken as it is
    ((x, _),) = DataLoader(ImageDataset(images.astype(np.float32), [0, 1]), batch_size=2)
    assert x.tolist() == images.tolist()


def test_normalize_per_feature():
    x = np.random.default_rng(0).normal(3, 2, (9000, 3)).astype(np.float32)
    x[:, 1] = 5
    n = Normalize.of(TensorDataset(x, x))
    np.testing.assert_allclose(n.mean, x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        n.std, [x[:, 0].astype(np.float64).std(), 1, x[:, 2].astype(np.float64).std()], rtol=1e-12
    )
    y = n(dl.tensor(x))
    assert y.dtype is dl.float32
    np.testing.assert_allclose(np.asarray(y).std(0), [1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(n(x), np.asarray(y), rtol=1e-6, atol=1e-6)
    assert (np.asarray(y)[:, 1] == 0).all()
    part = Normalize.of(Subset(TensorDataset(x, x), np.arange(100)))
    np.testing.assert_allclose(part.mean, x[:100].astype(np.float64).mean(0), rtol=1e-12)


@pytest.mark.parametrize(("shape", "axes"), [((50, 4, 5), (0, 1, 2)), ((50, 3, 4, 5), (0, 2, 3)), ((50,), (0,))])
def test_normalize_per_channel(shape, axes):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    x = images / 255
    n = Normalize.of(ImageDataset(images, np.arange(50)))
    plain = Normalize.of(images)
    np.testing.assert_allclose([n.mean, n.std], [x.mean(axes), x.std(axes)], rtol=1e-6)
    np.testing.assert_allclose([plain.mean, plain.std], [images.mean(axes), images.std(axes)], rtol=1e-12)
    y = np.asarray(n(dl.tensor(x.astype(np.float32))))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-4)


EPS = float(np.finfo(np.float32).eps)


def test_bytes_fill_0_to_1():
    x = ScaleBytes()(np.arange(256, dtype=np.uint8).reshape(1, 16, 16)).ravel()
    np.testing.assert_allclose(x, np.arange(256) / 255, rtol=EPS)
    assert x[0] == 0 and x[255] == 1


@pytest.mark.parametrize("mean, std", [(0.3, 0.25), ([0.3, -4.0, 1000.0], [0.25, 2.0, 0.1]), (0.0, [1.0, 2.0, 3.0])])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8"])
def test_normalize_means_what_it_says(mean, std, dtype):
    mean, std = np.asarray(mean), np.asarray(std)
    x = (100 * np.random.default_rng(0).standard_normal((20, 3))).astype(dtype)
    y = Normalize(mean, std)(x)
    assert y.dtype == (dtype if "float" in dtype else "float32")
    eps = float(np.finfo(y.dtype).eps)
    held = mean.astype(np.float64 if dtype in ("float64", "int64") else np.float32)  # the mean as it is subtracted
    exact = (x.astype(np.float64) - held) / std
    assert (np.abs(y - exact) <= 2 * eps * np.abs(exact)).all()
    if dtype == "uint8":  # bytes of images count as 0..1, with the mean and the scale rounded once
        y = Compose(ScaleBytes(), Normalize(mean, std))(x)
        exact = (x.astype(np.float64) - (mean * 255).astype(np.float32)) / (std * 255)
        assert y.dtype == np.float32 and (np.abs(y - exact) <= 2 * eps * np.abs(exact)).all()


@pytest.mark.parametrize(
    "transform",
    [
        None,
        Normalize(0.3, 0.25),
        Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]),
        Compose(Normalize(0.3, 0.25), lambda x: x * x, Normalize(0.0, 3.0)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("scaled", [False, True])
def test_all_ways_to_a_batch_have_the_same_bits(transform, dtype, scaled):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 7)).astype(dtype)
    own = (ScaleBytes(),) if scaled else ()
    steps = Compose(*own, *(() if transform is None else (transform,)))
    want = steps(images)
    np.testing.assert_array_equal(np.asarray(steps(dl.tensor(images))), want)
    data, order = (ImageDataset if scaled else TensorDataset)(images, np.arange(40)), np.arange(40)[::-1]
    for source in (data, Subset(data, order), Samples(images, *own), DataLoader(data, transform=transform)):
        loaded = None if isinstance(source, DataLoader) else transform
        for x, y in DataLoader(source, 7, shuffle=True, transform=loaded):
            np.testing.assert_array_equal(np.asarray(x), want[np.asarray(y)])
            assert np.asarray(x).dtype == want.dtype
    for x, y in DataLoader(data, 7, transform=transform):
        np.testing.assert_array_equal(np.asarray(x), want[np.asarray(y)])


class Samples:
    """Images one at a time, with their positions as labels."""

    def __init__(self, images, preprocessing=None):
        self.images, self.preprocessing = images, preprocessing

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], i


def test_take_scaled_is_its_composite_bit_for_bit():
    with dl.no_grad():
        for sample in testing.samples(take_scaled.op):
            for dtype in (dl.float32, dl.float64):
                operands = testing.tensors(testing.rounded(take_scaled.op, sample, dtype))
                fused, parts = take_scaled(*operands), take_scaled.op.by_position(*wide_like(operands))
                assert fused.dtype is parts.dtype
                assert np.asarray(fused).tobytes() == np.asarray(parts).tobytes(), sample.why


def wide_like(operands):
    """The operands as the operation promotes them: offset and scale in the dtype that x is computed in."""
    x, offset, scale, index = operands
    wide = "float64" if x.dtype is dl.float64 else "float32"
    return x, dl.tensor(offset, wide), dl.tensor(scale, wide), index


def test_normalize_has_a_gradient():
    x = dl.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    Normalize([1.0, 2.0, 3.0], [0.5, 0.25, 2.0])(x).sum().backward()
    assert x.grad.tolist() == [[2, 4, 0.5]] * 2


def test_normalize_is_saved_and_copied_after_use():
    n = Normalize([0.1, 0.2], [1.0, 2.0])
    x = np.ones((3, 2), np.float32)
    want = n(x)
    for again in (copy.deepcopy(n), pickle.loads(pickle.dumps(n)), from_config(to_config(n))):
        np.testing.assert_array_equal(again(x), want)


def test_normalize_checks_its_numbers():
    with pytest.raises(ValueError, match="finite"):
        Normalize(0.0, -1.0)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), std \(3,\)"):
        Normalize([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="empty"):
        Normalize.of(numbered(0))


def test_normalize_cannot_be_changed():
    mean = np.array([1.0, 2.0])
    transform = Normalize(mean, [1.0, 0.0])
    mean[0] = 7.0
    assert transform.mean.tolist() == [1.0, 2.0] and transform.std.tolist() == [1.0, 1.0]
    with pytest.raises(AttributeError, match="mean"):
        transform.mean = mean
    with pytest.raises(ValueError, match="read-only"):
        transform.std[0] = 2.0


@pytest.mark.parametrize(
    "make",
    [lambda x: x, lambda x: x.tolist(), dl.tensor, lambda x: (x, x[:, 0]), lambda x: list(zip(x, x, strict=True))],
)
def test_normalize_of_arrays_takes_all_columns(make):
    x = np.random.default_rng(0).normal([1.0, -5.0, 100.0], [1.0, 2.0, 0.1], (50, 3)).astype(np.float32)
    n = Normalize.of(make(x))
    np.testing.assert_allclose(n.mean, x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(n.std, x.astype(np.float64).std(0), rtol=1e-12)


def test_normalize_of_a_data_set_that_changes_its_samples():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 2 * x, y

    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_allclose(Normalize.of(Doubled(x, x)).mean, 2 * x.mean(0))
    np.testing.assert_allclose(Normalize.of(Subset(Doubled(x, x), [1, 3])).mean, 2 * x[[1, 3]].mean(0))


def test_statistics_do_not_cancel():
    rng = np.random.default_rng(1)
    x = np.stack([1.7e9 + rng.standard_normal(9000), np.full(9000, 0.1), 1e-9 * rng.standard_normal(9000)], 1)
    n = Normalize.of(x)
    np.testing.assert_allclose(n.std[[0, 2]], [x[:, 0].std(), x[:, 2].std()], rtol=1e-9)
    assert n.std[1] == 1 and n.mean[1] == 0.1  # a constant that no binary number holds exactly
    assert (n(x)[:, 1] == 0).all()
    with pytest.raises(ValueError, match=r"Normalize.of: the data contain NaN or infinity"):
        Normalize.of(np.array([[1.0, np.nan]]))


def test_random_split_keeps_the_rows_of_a_tuple_together():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    parts = random_split((x, y), [0.7, 0.3], seed=1)
    assert [len(part) for part in parts] == [7, 3]
    rows = [(tuple(a), int(b)) for part in parts for a, b in part]
    assert sorted(rows) == [((2 * i, 2 * i + 1), i) for i in range(10)]
    with pytest.raises(ValueError, match="random_split: dataset: lengths differ"):
        random_split((x, y[:9]), [0.5, 0.5])
    parts = random_split({"y": y, "x": x}, [0.5, 0.5])
    assert parts[0].names == ("x", "y") and parts[0][0][0].shape == (2,)
    with pytest.raises(TypeError, match="random_split: dataset: a data set"):
        random_split(3, [0.5, 0.5])
    with pytest.raises(TypeError, match="samples of different shapes"):
        random_split([x, y], [0.5, 0.5])


@pytest.mark.parametrize("n", [1, 2, 7, 10, 1_000_003])
@pytest.mark.parametrize("fractions", [(0.1,) * 10, (1 / 3,) * 3, (0.7, 0.2, 0.1), (0.3333333, 0.6666668), (1, 0)])
def test_fractions_lose_no_sample_and_take_none_twice(n, fractions):
    parts = random_split(range(n), fractions)
    indices = np.concatenate([part.indices for part in parts])
    assert len(indices) == n and len(np.unique(indices)) == n


def test_loaders_of_one_program_have_orders_of_their_own():
    def order(**options):
        return [int(y) for _, y in DataLoader((np.zeros((20, 1)), np.arange(20)), shuffle=True, **options)]

    dl.manual_seed(5)
    first, second = order(), order()
    assert first != second and sorted(first) == sorted(second) == list(range(20))
    dl.manual_seed(5)
    assert order() == first and order(seed=3) == order(seed=3)


def test_no_batch_at_all_is_an_error():
    data = TensorDataset(np.zeros((5, 2)), np.zeros(5))
    with pytest.raises(ValueError, match="DataLoader: with drop_last there is no batch of 8 in 5 samples"):
        DataLoader(data, batch_size=8, drop_last=True)
    assert [len(x) for x, _ in DataLoader(data, batch_size=8)] == [5]
    assert list(DataLoader(TensorDataset(np.zeros((0, 2))), batch_size=8, drop_last=True)) == []


def test_changed_arrays_are_seen_and_replaced_ones_refused():
    images = ImageDataset(np.zeros((4, 2, 2), np.float32), np.arange(4))
    loader = DataLoader(images, batch_size=4)
    list(loader)
    images.images[2] = 7
    images.labels[0] = 3
    ((x, y),) = loader
    assert x[2].tolist() == [[7, 7], [7, 7]] and y.tolist() == [3, 1, 2, 3]
    with pytest.raises(AttributeError):
        images.labels = np.zeros(4)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "float64"])
def test_whole_numbers_far_from_zero_are_normalised(dtype):
    x = (1_700_000_000 + np.arange(12).reshape(6, 2)).astype(dtype)
    n = Normalize.of(x)
    exact = (x.astype(np.float64) - x.astype(np.float64).mean(0)) / x.astype(np.float64).std(0)
    y = n(x)
    assert y.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_allclose(y, exact, rtol=1e-6)
    if dtype != "uint32":
        ((batch,),) = DataLoader(x, batch_size=6, transform=n)
        np.testing.assert_array_equal(np.asarray(batch), y)


@pytest.mark.parametrize(
    "samples, error, text",
    [
        (
            [(np.zeros(2), 0), (np.zeros(3), 1)],
            dl.ShapeError,
            r"DataLoader: part 0 of the samples has shapes \(2,\) and \(3,\)",
        ),
        ([(np.zeros(2), 0), (np.zeros(2),)], ValueError, "DataLoader: the samples of a batch have 1 and 2 parts"),
        ([(np.zeros(2), [1, [2]])], TypeError, "part 1 of a sample .* is not an array of numbers"),
    ],
)
def test_samples_that_are_not_alike_are_named(samples, error, text):
    with pytest.raises(error, match=text):
        list(DataLoader(samples, batch_size=len(samples)))
    with pytest.raises(TypeError, match="a list of samples of different shapes"):
        DataLoader([[1.0, 2.0], [3.0, 4.0], [5.0]])


def test_unsigned_integers_of_any_size_are_normalised():
    x = np.array([[2**63 + 2048]], np.uint64)
    assert Normalize(2.0**63, 1.0)(x).tolist() == [[2048.0]] and Normalize(2.0**63, 1.0)(x).dtype == np.float32
    assert Normalize(0.0, 2.0)(np.array([4, 6], np.uint32)).tolist() == [2.0, 3.0]


# ---- what counts as data, at every door ------------------------------------------------------------------------------

X3 = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
Y2 = np.arange(12) % 2


class Named:
    """Samples as dicts, the target first."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"label": Y2[index], "x": X3[index]}


def fitted(data):
    model = dl.nn.Linear(3, 2)
    optimizer = dl.optim.SGD(model.parameters(), lr=0.1)
    dl.fit(model, data, loss=dl.cross_entropy, optimizer=optimizer, epochs=1, batch_size=5, shuffle=False)
    return np.asarray(model.weight)


DOORS = {
    "fit: train": fitted,
    "evaluate: data": lambda data: dl.evaluate(dl.nn.Linear(3, 2), data, loss=dl.cross_entropy)["loss"],
    "predict: inputs": lambda data: np.asarray(dl.predict(dl.nn.Linear(3, 2), data)),
    "random_split: dataset": lambda data: [inputs(part) for part in random_split(data, [0.5, 0.5])],
    "k_fold: dataset": lambda data: [inputs(held_out) for _, held_out in dl.data.k_fold(data, 3)],
    "Normalize.of: dataset": lambda data: Normalize.of(data).mean,
    "Standardize.of: dataset": lambda data: dl.data.Standardize.of(data).std,
    "DataLoader: dataset": lambda data: np.concatenate([np.asarray(x) for x, *_ in DataLoader(data, 5)]),
    "describe: dataset": lambda data: dl.data.describe(data).parts[0].mean,
    "Subset: dataset": lambda data: np.stack(inputs(Subset(data, [3, 1]))),
    "equal_samples: dataset": dl.data.equal_samples,
}


def inputs(dataset):
    return [np.asarray(x) for batch in DataLoader(dataset, 1) for x in np.asarray(batch[0])]


SAME = {
    "data set": lambda: TensorDataset(X3, Y2),
    "namedtuple": lambda: collections.namedtuple("Pair", "x y")(X3, Y2),
    "lists": lambda: (X3.tolist(), Y2.tolist()),
    "tensors": lambda: (dl.tensor(X3), dl.tensor(Y2)),
    "dict": lambda: {"label": Y2, "x": X3},
    "dict in a tuple": lambda: ({"x": X3}, Y2),
    "tuple in a tuple": lambda: ((X3,), Y2),
    "other dtypes": lambda: (X3.astype(">f4"), Y2.astype(np.uint16)),
    "not contiguous": lambda: (np.asfortranarray(X3), np.repeat(Y2, 2)[::2]),
    "samples": lambda: list(zip(X3, Y2, strict=True)),
    "named samples": lambda: [{"x": x, "y": y} for x, y in zip(X3, Y2, strict=True)],
    "generator": lambda: ((x, y) for x, y in zip(X3, Y2, strict=True)),
    "zip": lambda: zip(X3, Y2, strict=True),
    "data set of dicts": Named,
    "loader": lambda: DataLoader((X3 / 2, Y2), 7, shuffle=True, seed=0, transform=lambda x: x * 2.0),
    "subset": lambda: Subset((X3[::-1], Y2[::-1]), np.arange(12)[::-1]),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_the_same_data(door):
    dl.manual_seed(0)
    want = DOORS[door]((X3, Y2))
    for name, make in SAME.items():
        if door in ("equal_samples: dataset", "describe: dataset") and name == "loader":
            continue  # they tell of the samples as they are, before the transform
        dl.manual_seed(0)
        np.testing.assert_allclose(DOORS[door](make()), want, rtol=1e-6, atol=1e-7, err_msg=name)


REFUSED = [
    (lambda: (X3, Y2[:5]), dl.ShapeError, r"lengths differ: shapes \(12, 3\), \(5,\)"),
    (lambda: (X3, 3), dl.ShapeError, "lengths differ"),
    (lambda: (), ValueError, "no arrays given"),
    (dict, ValueError, "no arrays given"),
    (lambda: (X3, np.array(["a", "b"] * 6)), TypeError, r"\[1\]: the array holds texts, not integers"),
    (lambda: (X3.astype(object), Y2), TypeError, r"\[0\]: the array holds Python objects"),
    (lambda: (X3 * 1j, Y2), TypeError, r"\[0\]: the array holds complex numbers"),
    (lambda: (X3, np.array(["2020-01-01"] * 12, "datetime64[D]")), TypeError, r"\[1\]: the array holds dates"),
    (lambda: (np.zeros(12, [("a", "f4")]), Y2), TypeError, r"\[0\]: the array has the fields a"),
    (lambda: (np.ma.masked_array(X3, X3 > 100), [[1, 2], [3]]), TypeError, r"\[1\] .* is not an array of numbers"),
    (lambda: (np.ma.masked_array(X3, np.eye(12, 3) > 0), Y2), ValueError, r"\[0\]: 3 values of the array are masked"),
    (lambda: (X3, np.full(12, 2**64 - 1, np.uint64)), OverflowError, r"\[1\]: the array holds 18446744073709551615"),
    (lambda: [X3, Y2], TypeError, r"a list of samples of different shapes; give arrays as a tuple"),
    (lambda: "digits", TypeError, "'digits' is not data; load_dataset reads files"),
    (lambda: {1, 2}, TypeError, "is not data"),
    (lambda: TensorDataset, TypeError, "the class TensorDataset is not data"),
    (lambda: None, TypeError, "a data set, an array or a tuple .* expected, not None"),
    (lambda: Foreign(), TypeError, "a Foreign gives batches one after another"),
]


class Foreign:
    """A loader of another library."""

    batch_size = 4

    def __iter__(self):
        return iter([])

    def __len__(self):
        return 3


@pytest.mark.parametrize("door", DOORS)
def test_every_door_names_itself_where_it_refuses(door):
    for make, error, text in REFUSED:
        with pytest.raises(error, match=f"^{door}.*{text}"):
            DOORS[door](make())


@pytest.mark.parametrize("data", [lambda: range(5), lambda: X3, lambda: [X3[0], X3[1]], lambda: iter([])])
def test_training_needs_targets_and_samples(data):
    text = r"^fit: train(: a data set or a tuple| has inputs but no| is empty)"
    with pytest.raises((ValueError, TypeError), match=text):
        fitted(data())


def test_what_is_cast_can_be_told():
    wide = (X3.astype(np.float64), X3.astype(np.float16))
    assert Batches(wide, dtype="float32").casts() == ["inputs float64 to float32", "targets float16 to float32"]
    assert Batches((X3, Y2), dtype="float32").casts() == [] == Batches(wide).casts()
    x, y = Batches(wide, lambda x: x * 2.0, dtype="float32").fetch(dl.tensor([1, 2]))
    assert x.dtype is dl.float32 and y.dtype is dl.float32
    np.testing.assert_allclose(np.asarray(x), 2 * X3[1:3], rtol=1e-6)
    far = 1.7e9 + np.arange(12.0)[:, None]  # float32 does not tell these apart
    (x, _) = Batches((far, Y2), Normalize.of(far), dtype="float32").fetch(slice(None))
    np.testing.assert_allclose(np.asarray(x)[:, 0], (np.arange(12) - 5.5) / np.arange(12).std(), rtol=1e-6)
