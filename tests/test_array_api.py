"""What the array API standard asks beside operations: the namespace, what it tells of itself, other forms."""

import numpy as np
import pytest

import dlcore as dl


def test_the_namespace_is_dlcore():
    x = dl.ones(2)
    assert x.__array_namespace__() is dl and dl.__array_api_version__ == "2024.12"
    assert x.__array_namespace__(api_version="2023.12") is dl
    with pytest.raises(ValueError, match=r"__array_namespace__: version '2030.12' is not one of 2021\.12"):
        x.__array_namespace__(api_version="2030.12")
    assert dl.bool is dl.bool_ and "bool" not in dl.__all__


def test_what_it_tells_of_itself():
    info = dl.__array_namespace_info__()
    assert info.capabilities()["max dimensions"] == 8 and info.capabilities()["boolean indexing"]
    assert info.default_device() is dl.default_device() and dl.device("cpu") in info.devices()
    defaults = info.default_dtypes()
    assert defaults["real floating"] is dl.zeros(1).dtype and defaults["integral"] is dl.arange(2).dtype
    assert defaults["indexing"] is dl.argmax(dl.zeros(2)).dtype and defaults["complex floating"] is None
    every = info.dtypes()
    assert all(getattr(dl, name) is dtype for name, dtype in every.items()) and "float16" not in every
    assert list(info.dtypes(kind="real floating", device="cpu")) == ["float32", "float64"]
    assert set(info.dtypes(kind=("bool", "signed integer"))) == {"bool", "int8", "int16", "int32", "int64"}
    with pytest.raises(ValueError, match=r"dtypes: kind 'real' is not one of 'bool'"):
        info.dtypes(kind="real")
    with pytest.raises(dl.DTypeError, match="device: 'tpu' is not a device"):
        info.default_dtypes(device="tpu")


def test_attributes_and_conversions():
    x = dl.tensor([[1.0, 2.0]])
    assert x.to_device("cpu") is x and complex(dl.tensor(1.5)) == 1.5 + 0j
    with pytest.raises(ValueError, match="to_device: dlcore keeps its own streams"):
        x.to_device("cpu", stream=1)
    assert dl.astype(x, dl.float32, copy=False) is x and dl.astype(x, dl.float32).data_ptr != x.data_ptr
    assert dl.astype(x, "int8", device="cpu").dtype is dl.int8 and x.astype(float) is x
    assert x.astype("float32", copy=True).data_ptr != x.data_ptr
    w = dl.tensor([1.0, 2.0], requires_grad=True)
    dl.astype(w, dl.float64).sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]
    assert dl.matrix_transpose(dl.ones(2, 3, 4)).shape == (2, 4, 3)
    with pytest.raises(dl.ShapeError, match=r"matrix_transpose: a matrix has two axes, not shape \(3,\)"):
        dl.matrix_transpose(dl.ones(3))


@pytest.mark.parametrize("make", [dl.zeros, dl.ones, dl.empty])
def test_shapes_by_name(make):
    assert make(shape=(2, 3)).shape == make(size=(2, 3)).shape == (2, 3) and make().shape == ()


def test_concatenation_of_what_is_flattened():
    x, y = dl.tensor([[1.0, 2.0]], requires_grad=True), dl.tensor(3.0)
    joined = dl.concat([x, y], axis=None)
    assert joined.tolist() == [1.0, 2.0, 3.0]
    (joined * joined).sum().backward()
    np.testing.assert_array_equal(x.grad, [[2.0, 4.0]])


def test_sums_and_products_up_to_each_element():
    x = dl.tensor([[1, 2, 3], [4, 5, 6]])
    for ours, theirs in ((dl.cumulative_sum, np.cumulative_sum), (dl.cumulative_prod, np.cumulative_prod)):
        for axis in (0, 1, -1):
            for initial in (False, True):
                want = theirs(np.asarray(x), axis=axis, include_initial=initial)
                np.testing.assert_array_equal(ours(x, axis=axis, include_initial=initial).numpy(), want)
        assert ours(x[0]).tolist() == theirs(np.asarray(x[0])).tolist()
        assert ours(x[0], dtype=dl.float32).dtype is dl.float32 and ours(x[:0, :], axis=0).shape == (0, 3)
        with pytest.raises(dl.ShapeError, match=rf"{ours.__name__}: of shape \(2, 3\) an axis must be named"):
            ours(x)
        with pytest.raises(IndexError, match=rf"{ours.__name__}: axis 2 is out of range"):
            ours(x, axis=2)
    w = dl.tensor([1.0, 2.0], requires_grad=True)
    dl.cumulative_sum(w, include_initial=True).sum().backward()
    assert w.grad.tolist() == [2.0, 1.0]


def test_forms_of_results():
    x, y = dl.ones(2, 1), dl.arange(3)
    assert type(dl.broadcast_arrays(x, y)) is list and type(dl.meshgrid(y, y)) is list
    assert dl.positive(y).tolist() == [0, 1, 2] and dl.positive(y).data_ptr != y.data_ptr
    with pytest.raises(dl.DTypeError, match="positive: does not take bool"):
        dl.positive(y > 1)
    assert dl.conj(x) is x and dl.real(y) is y and dl.imag(x).tolist() == [[0.0], [0.0]]
    assert dl.imag(y).dtype is dl.int64
