"""Splits by classes and by groups, folds, and samples that are in two parts."""

import itertools

import numpy as np
import pytest

import dlcore as dl
from dlcore.data import (
    ImageDataset,
    TensorDataset,
    random_split,
)
from dlcore.data.files import FASHION_FILES, find_dataset

needs_fashion = pytest.mark.skipif(
    find_dataset("fashion-mnist", FASHION_FILES) is None, reason="Fashion-MNIST is not here: set DLCORE_DATA"
)


def labelled(counts, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return TensorDataset(np.arange(len(labels), dtype=np.float32)[:, None], labels)


@pytest.mark.parametrize("counts", [(50, 50), (90, 9, 1), (7, 11, 13, 17), (3,) * 20, (1000, 1, 1, 1)])
@pytest.mark.parametrize("lengths", [(0.7, 0.15, 0.15), (0.5, 0.5), (1, 0), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.0, 0.1)])
@pytest.mark.filterwarnings("ignore:random_split. some parts have no sample of class")
def test_a_stratified_split_gives_every_class_its_share(counts, lengths):
    data = labelled(counts)
    parts = random_split(data, lengths, stratify=True, seed=3)
    sizes = [len(p) for p in random_split(data, lengths, seed=3)]
    assert [len(p) for p in parts] == sizes
    assert sorted(np.concatenate([p.indices for p in parts]).tolist()) == list(range(len(data)))
    for part in parts:
        found = np.bincount(data.arrays[1][part.indices], minlength=len(counts))
        assert (np.abs(found - np.array(counts) * len(part) / len(data)) <= 1).all()
    again = random_split(data, lengths, stratify=data.arrays[1] * 2.5, seed=3)
    assert all((a.indices == b.indices).all() for a, b in zip(parts, again, strict=True))
    order = parts[0].indices
    assert (np.diff(data.arrays[1][order]) != 0).sum() >= min(len(counts), 2) - 1  # not class by class


def test_what_a_stratified_split_cannot_do_is_said():
    with pytest.warns(RuntimeWarning, match=r"some parts have no sample of class 'rare' \(1 samples\)"):
        random_split(ImageDataset(np.arange(10.0)[:, None, None], [0] * 9 + [1], ["often", "rare"]), [0.5, 0.5],
                     stratify=True)  # fmt: skip
    with pytest.raises(TypeError, match="random_split: stratify=True needs one integer a sample as target"):
        random_split((np.zeros((4, 1)), np.arange(4.0)), [0.5, 0.5], stratify=True)
    with pytest.raises(ValueError, match="random_split: dataset has inputs but no targets"):
        random_split(np.zeros((4, 1)), [0.5, 0.5], stratify=True)
    with pytest.raises(dl.ShapeError, match="random_split: stratify: one value for each of 4 samples"):
        random_split(np.zeros((4, 1)), [0.5, 0.5], stratify=[1, 2])
    with pytest.raises(ValueError, match="stratify and groups are both given"):
        random_split(labelled((2, 2)), [0.5, 0.5], stratify=True, groups=[0, 1, 2, 3])
    with pytest.raises(TypeError, match=r"random_split: seed 1\.5 is not an integer"):
        random_split(labelled((2, 2)), [0.5, 0.5], seed=1.5)


@pytest.mark.parametrize("lengths", [(0.7, 0.15, 0.15), (0.5, 0.0, 0.5), (0.98, 0.02)])
def test_a_split_by_groups_keeps_groups_together(lengths):
    rng = np.random.default_rng(0)
    groups = np.array([f"g{g}" for g in rng.integers(0, 60, 400)])
    parts = random_split(np.arange(400.0)[:, None], lengths, groups=groups, seed=2)
    assert sorted(np.concatenate([p.indices for p in parts]).tolist()) == list(range(400))
    held = [set(groups[p.indices]) for p in parts]
    for a, b in itertools.combinations(held, 2):
        assert not a & b
    for part, share in zip(parts, lengths, strict=True):
        assert abs(len(part) - 400 * share) <= 20 and (len(part) > 0) == (share > 0)
    few = random_split(range(100), [0.9, 0.1], groups=np.arange(100) // 50)
    assert [len(p) for p in few] == [50, 50]
    with pytest.raises(ValueError, match="random_split: 2 groups cannot be split into 3 parts"):
        random_split(range(100), [0.5, 0.3, 0.2], groups=np.arange(100) // 50)
    with pytest.raises(ValueError, match="groups=True, and the data set knows of no groups"):
        random_split(range(100), [0.5, 0.5], groups=True)


def test_large_groups_are_in_every_part_now_and_then():
    groups = np.repeat(np.arange(11), [50] + [5] * 10)
    splits = (random_split(range(100), [0.7, 0.3], groups=groups, seed=seed) for seed in range(60))
    assert 3 < sum(0 in held_out.indices for _, held_out in splits) < 40


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("kind", ["plain", "stratified", "groups"])
def test_folds(k, kind):
    data = labelled((40, 25, 38))
    groups = np.arange(103) // 4
    options = {"plain": {}, "stratified": {"stratify": True}, "groups": {"groups": groups}}[kind]
    folds = dl.data.k_fold(data, k, seed=1, **options)
    held = [held_out.indices for _, held_out in folds]
    assert sorted(np.concatenate(held).tolist()) == list(range(103))
    for train, held_out in folds:
        assert sorted([*train.indices.tolist(), *held_out.indices.tolist()]) == list(range(103))
        if kind == "groups":
            assert not set(groups[train.indices]) & set(groups[held_out.indices])
    sizes = [len(rows) for rows in held]
    assert max(sizes) - min(sizes) <= (4 if kind == "groups" else 1)
    if kind == "stratified":
        counts = np.array([np.bincount(data.arrays[1][rows], minlength=3) for rows in held])
        assert (counts.max(0) - counts.min(0) <= 1).all()
    assert (held[0] != dl.data.k_fold(data, k, seed=2, **options)[0][1].indices[: len(held[0])]).any()


def test_folds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="k_fold: 11 folds of 10 samples"):
        dl.data.k_fold(range(10), 11)
    with pytest.raises(ValueError, match="k_fold: k is 1; it must be at least 2"):
        dl.data.k_fold(range(10), 1)
    with pytest.raises(ValueError, match="k_fold: class 1 has 3 samples for 4 folds"):
        dl.data.k_fold(labelled((10, 3)), 4, stratify=True)
    dl.manual_seed(1)
    first, second = (dl.data.k_fold(range(50), 5, seed=None)[0][1].indices.tolist() for _ in range(2))
    dl.manual_seed(1)
    assert first != second and first == dl.data.k_fold(range(50), 5, seed=None)[0][1].indices.tolist()


@pytest.mark.parametrize("wide", [1, 40])
def test_equal_samples_in_different_parts_are_told(wide):
    x = np.arange(20, dtype=np.float32)[:, None].repeat(wide, 1)
    x[[3, 7, 11]] = x[0]
    x[5] = x[6]
    numbers = dl.data.equal_samples(x)
    assert len(np.unique(numbers)) == 16 and len(np.unique(numbers[[0, 3, 7, 11]])) == 1 and numbers[5] == numbers[6]
    with pytest.warns(RuntimeWarning, match="random_split: 4 of 20 samples have inputs that are equal") as caught:
        random_split(x, [0.5, 0.5], seed=3)
    assert caught[0].filename == __file__
    parts = random_split(x, [0.5, 0.5], groups=numbers)
    assert dl.data.shared_samples(*parts) == 0
    parts = random_split(x, [0.5, 0.5], seed=3, equal=False)
    assert dl.data.shared_samples(*parts) == len(set(parts[1].indices) & {0, 3, 7, 11})
    with pytest.warns(RuntimeWarning, match="k_fold: 6 of 20 .* another of the folds"):
        dl.data.k_fold(x, 20)
    many = [(row, 0) for row in x]
    random_split(many, [0.5, 0.5], seed=3)  # what Python code makes is not looked through unasked
    with pytest.warns(RuntimeWarning, match="4 of 20"):
        random_split(many, [0.5, 0.5], seed=3, equal=True)
