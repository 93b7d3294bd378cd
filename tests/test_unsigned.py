"""uint16, uint32 and uint64: their ends, what they become; no number above int64 is taken for a negative one."""

import numpy as np
import pytest

import dlcore as dl

NAMES = ["uint16", "uint32", "uint64"]
BINARY = [
    "add", "subtract", "multiply", "floor_divide", "remainder", "maximum", "minimum", "less", "less_equal", "greater",
    "greater_equal", "equal", "not_equal", "bitwise_and", "bitwise_or", "bitwise_xor",
]  # fmt: skip


def ends(name):
    largest = np.iinfo(name).max
    return np.array([0, 1, 5, largest, largest // 2 + 1, largest // 2], name)


@pytest.mark.parametrize("name", NAMES)
def test_values_come_in_and_go_out(name):
    a = ends(name)
    x, largest = dl.tensor(a), int(a.max())
    assert x.dtype == name and x.tolist() == a.tolist() and x[3].item() == largest and x.nbytes == a.nbytes
    assert dl.tensor([largest], dtype=name).item() == largest == dl.full((), largest, name).item()
    assert np.from_dlpack(x).dtype == dl.from_dlpack(a).dtype.numpy == np.asarray(memoryview(x)).dtype == name
    assert dl.from_numpy(a).data_ptr == a.ctypes.data
    assert repr(dl.tensor([1], dtype=name)) == f"tensor([1], dtype={name})"
    assert dl.tensor([1, largest - 1, largest], dtype=name).tolist() == [1, largest - 1, largest]
    for wrong in (-1, largest + 1):
        with pytest.raises(OverflowError, match=rf"Python integer {wrong} does not fit in {name} \(0 to {largest}\)"):
            x + wrong


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic_is_numpys(name):
    a = ends(name)
    b = a[::-1].copy()
    x, y = dl.tensor(a), dl.tensor(b)
    with np.errstate(all="ignore"):
        for f in BINARY:
            np.testing.assert_array_equal(getattr(dl, f)(x, y).numpy(), getattr(np, f)(a, b), err_msg=f)
        for f in ("negative", "absolute", "sign", "square", "invert"):
            np.testing.assert_array_equal(getattr(dl, f)(x).numpy(), getattr(np, f)(a), err_msg=f)
        np.testing.assert_array_equal((x >> 3).numpy(), a >> np.array(3, name))
        np.testing.assert_array_equal((x ** 3).numpy(), a ** np.array(3, name))
    assert (x == int(a.max())).tolist() == (a == a.max()).tolist() and (x > -1).all().item() and (x != -1).all().item()


@pytest.mark.parametrize("name", NAMES)
def test_reductions_are_numpys(name):
    a = np.stack([ends(name), ends(name)[::-1]])
    x = dl.tensor(a)
    for axis in (None, 0, 1):
        for f in ("sum", "prod", "max", "min", "argmax", "argmin", "cumsum", "cumprod", "any", "all"):
            ours, theirs = getattr(dl, f)(x, axis=axis), getattr(np, f)(a, axis=axis)
            np.testing.assert_array_equal(ours.numpy(), theirs, err_msg=f"{f} {axis}")
            assert ours.dtype == theirs.dtype, f
    np.testing.assert_allclose(x.mean().item(), a.mean(), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_conversions(name):
    a = ends(name)
    x = dl.tensor(a)
    for target in dl.dtypes.DTYPES:
        with np.errstate(over="ignore"):
            want = a.astype(target.numpy)
        if target.name == "bfloat16":
            continue  # NumPy's is rounded twice
        np.testing.assert_array_equal(x.astype(target).numpy(), want, err_msg=target.name)
        assert dl.tensor(want).astype(name).dtype == name
    assert dl.tensor([-3.7, 3.7, 1e30, dl.nan]).astype(name).tolist() == [0, 3, np.iinfo(name).max, 0]
    assert dl.tensor([-1, -2]).astype(name).tolist() == np.array([-1, -2]).astype(name).tolist()


def test_a_bfloat16_of_a_large_integer_is_rounded_once():
    above = (1 << 63) + (1 << 55)  # a tie of the 8 bits that a bfloat16 has, and one more
    for value in (above, above + 1, above - 1, (1 << 64) - 1, (1 << 62) + (1 << 54) + 1):
        unit = 1 << (value.bit_length() - 8)
        low, rest = value // unit, value % unit
        want = (low + (rest > unit // 2 or (rest == unit // 2 and low % 2))) * unit
        assert int(dl.tensor([value], dtype="uint64").astype("bfloat16").item()) == want


def test_promotion_is_numpys():
    for name in NAMES:
        for other in dl.dtypes.INTEGERS:
            if {name, other.name} != {"uint64", "int64"} and not (name == "uint64" and other.kind == "int"):
                assert dl.result_type(name, other) == np.promote_types(name, other.numpy)
        assert dl.result_type(name, 1) == name and dl.result_type(name, 1.0) is dl.float32
    assert dl.result_type("uint64", "int64") is dl.float64


@pytest.mark.parametrize("name", NAMES)
def test_indices(name):
    x = dl.arange(10)
    assert x[dl.tensor([1, 9], dtype=name)].tolist() == [1, 9]
    largest = int(np.iinfo(name).max)
    with pytest.raises(IndexError, match=f"index {largest} at position 1 is out of range"):
        dl.take(x, dl.tensor([1, largest], dtype=name))
