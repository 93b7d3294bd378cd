"""The tensor: NumPy's habits, promotion, exchange, errors."""

import copy
import operator
import pickle
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dlcore as dl
from dlcore import _C
from dlcore.dtypes import DTYPES, as_dtype, result_type

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def counted(shape):
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


# ---- indexing, broadcasting and promotion against NumPy ------------------------------------------------------------


@st.composite
def arrays_and_indices(draw):
    shape = draw(shapes)
    index = draw(hnp.basic_indices(shape, min_dims=0, max_dims=6, allow_newaxis=True, allow_ellipsis=True))
    return counted(shape), index


@given(arrays_and_indices())
@settings(max_examples=300, deadline=None)
def test_basic_indexing_is_numpys_and_gives_views(case):
    array, index = case
    x = dl.tensor(array)
    np.testing.assert_array_equal(np.asarray(x[index]), array[index])
    if array[index].size:
        x[index] = -1.0
        array[index] = -1.0
        np.testing.assert_array_equal(np.asarray(x), array)


@given(arrays_and_indices())
@settings(max_examples=100, deadline=None)
def test_the_gradient_of_indexing_is_ones_where_read(case):
    array, index = case
    x = dl.tensor(array.astype(np.float64), requires_grad=True)
    x[index].sum().backward()
    expected = np.zeros_like(array)
    expected[index] = 1.0
    np.testing.assert_array_equal(np.asarray(x.grad), expected)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
@settings(max_examples=200, deadline=None)
def test_broadcasting_is_numpys(case):
    a, b = (counted(s) + 1 for s in case.input_shapes)
    np.testing.assert_array_equal(np.asarray(dl.tensor(a) * dl.tensor(b)), a * b)
    out = dl.tensor(np.zeros(case.result_shape, np.float32))
    out += dl.tensor(a)
    np.testing.assert_array_equal(np.asarray(out), np.broadcast_to(a, case.result_shape))


@given(shapes, st.data())
@settings(max_examples=150, deadline=None)
def test_views_compose(shape, data):
    array = counted(shape)
    x = dl.tensor(array)
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    np.testing.assert_array_equal(np.asarray(x.permute(axes)), array.transpose(axes))
    flat = x.permute(axes).reshape(-1)
    np.testing.assert_array_equal(np.asarray(flat), array.transpose(axes).reshape(-1))
    np.testing.assert_array_equal(np.asarray(x.permute(axes) + 1.0), array.transpose(axes) + 1)


@pytest.mark.parametrize("index", [
    ([0, 2],), ([[0, 1], [2, -1]],), (slice(None), [1, 0, 1]), ([0, 2], [1, 3]), (1, [2, 0]), ([-1],), (..., [0, 3]),
])  # fmt: skip
def test_integer_array_indexing_is_numpys(index):
    array = counted((3, 4, 5)) if index[0] is not ... else counted((3, 5, 4))
    np_index = tuple(np.array(i) if isinstance(i, list) else i for i in index)
    dl_index = tuple(dl.tensor(i) if isinstance(i, list) else i for i in index)
    x = dl.tensor(array.astype(np.float64), requires_grad=True)
    np.testing.assert_array_equal(np.asarray(x[dl_index]), array[np_index])
    x[dl_index].sum().backward()
    expected = np.zeros_like(array)
    np.add.at(expected, np_index, 1.0)
    np.testing.assert_array_equal(np.asarray(x.grad), expected)


def test_boolean_masks():
    array = counted((3, 4)) - 5
    x = dl.tensor(array)
    np.testing.assert_array_equal(np.asarray(x[x > 0]), array[array > 0])
    rows = np.array([True, False, True])
    np.testing.assert_array_equal(np.asarray(x[dl.tensor(rows)]), array[rows])
    x[x < 0] = 0.0
    np.testing.assert_array_equal(np.asarray(x), np.maximum(array, 0))
    assert x[dl.zeros(3, 4, dtype=dl.bool_)].shape == (0,)


def test_writing_through_a_view_is_seen_by_the_base():
    a = dl.tensor(counted((2, 3)))
    a.T[1, 0] = 50.0
    a[:, ::-1][0] += 1.0
    np.testing.assert_array_equal(np.asarray(a), [[1, 51, 3], [3, 4, 5]])


def test_in_place_with_overlapping_memory():
    a = dl.tensor(np.arange(6.0))
    a += a[::-1]
    np.testing.assert_array_equal(np.asarray(a), np.full(6, 5.0))
    b = dl.tensor(np.arange(6.0))
    b[1:] = b[:-1]
    np.testing.assert_array_equal(np.asarray(b), [0, 0, 1, 2, 3, 4])


@pytest.mark.parametrize("a", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("b", DTYPES, ids=lambda d: d.name)
def test_promotion_is_symmetric_and_the_lattices(a, b):
    got = result_type([(a, False), (b, False)])
    assert got is result_type([(b, False), (a, False)])
    if a.is_float == b.is_float and dl.bfloat16 not in (a, b):
        assert got is as_dtype(np.promote_types(a.numpy, b.numpy))
    elif a.is_float != b.is_float:
        assert got is (a if a.is_float else b)
    assert (dl.ones(2, dtype=a) * dl.ones(2, dtype=b)).dtype is got


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_python_scalars_are_weak(dtype):
    x = dl.ones(2, dtype=dtype)
    assert (x * 2).dtype is (dl.int64 if dtype is dl.bool_ else dtype)
    assert (x * 2.0).dtype is (dtype if dtype.is_float else dl.float32)
    assert (x * np.float64(2.0)).dtype is (x * 2.0).dtype
    with pytest.raises(OverflowError, match="300 does not fit in uint8"):
        dl.ones(2, dtype=dl.uint8) + 300


# ---- making, reading, printing ------------------------------------------------------------------------------------


def test_dtypes_of_new_tensors():
    assert dl.tensor([1.0, 2.0]).dtype == dl.float32 and dl.tensor([1, 2]).dtype == dl.int64
    assert dl.tensor([True]).dtype == dl.bool_ and dl.tensor(np.zeros(2)).dtype == dl.float64
    assert dl.tensor(np.zeros(2, ml_dtypes.bfloat16)).dtype == dl.bfloat16
    assert dl.arange(3).dtype == dl.int64 and dl.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert dl.eye(2).tolist() == [[1.0, 0.0], [0.0, 1.0]] and dl.full((2,), 7).tolist() == [7, 7]
    with pytest.raises(dl.DTypeError, match="not a dtype"):
        dl.zeros(2, dtype="complex64")
    with pytest.raises(dl.ShapeError, match="at most 8"):
        dl.zeros((1,) * 9)


def test_repr_reads_like_numpys():
    assert repr(dl.tensor([[1.0, 2.5], [3.0, 4.0]])) == "tensor([[1. , 2.5],\n        [3. , 4. ]])"
    assert repr(dl.tensor([1, 2], dtype=dl.int32)) == "tensor([1, 2], dtype=int32)"
    assert repr(dl.ones((), requires_grad=True)) == "tensor(1., requires_grad=True)"
    assert "from=mul" in repr(dl.ones((2,), requires_grad=True) * 2.0)
    assert repr(dl.zeros((0, 3))) == "tensor([], shape=(0, 3))"
    assert "bfloat16" in repr(dl.ones(2, dtype=dl.bfloat16)) and f"{dl.tensor(1.5):.3f}" == "1.500"


def test_numbers_and_truth():
    assert float(dl.tensor(1.5)) == 1.5 and int(dl.tensor([3])) == 3 and bool(dl.tensor(0)) is False
    assert [10, 20, 30][dl.tensor(1)] == 20 and len(dl.zeros(4, 2)) == 4
    with pytest.raises(ValueError, match="not one answer"):
        bool(dl.ones(2))
    with pytest.raises(dl.ShapeError, match="one element"):
        dl.ones(2).item()
    assert [float(t) for t in dl.arange(3)] == [0.0, 1.0, 2.0]
    assert hash(dl.ones(2)) != hash(dl.ones(2)) and 2.0 in dl.ones(3) * 2


def test_copies_and_pickles():
    x = dl.tensor(counted((2, 3)), requires_grad=True)
    for other in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        np.testing.assert_array_equal(np.asarray(other), np.asarray(x))
        assert other.requires_grad and other.data_ptr != x.data_ptr
    assert pickle.loads(pickle.dumps(dl.float16)) is dl.float16 and copy.deepcopy(dl.exp) is dl.exp
    parameter = copy.deepcopy(dl.Parameter(dl.ones(2)))
    assert type(parameter) is dl.Parameter and parameter.requires_grad
    assert dl.ones(2, dtype=dl.bfloat16).numpy().dtype == ml_dtypes.bfloat16


# ---- exchange -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d is not dl.bfloat16], ids=lambda d: d.name)
def test_dlpack_and_buffers_share_memory_both_ways(dtype):
    x = dl.ones(3, 4, dtype=dtype)[:, ::2]
    n = np.from_dlpack(x)
    assert n.shape == (3, 2) and n.dtype == dtype.numpy
    n[1, 1] = 0
    assert not bool(x[1, 1] != 0)
    source = np.ones((2, 3), dtype.numpy)
    for y in (dl.from_dlpack(source), dl.from_numpy(source), dl.from_dlpack(x)):
        assert y.dtype is dtype
    y = dl.from_numpy(source[:, ::-1])
    y[0, 0] = 0
    assert source[0, 2] == 0


def test_dlpack_protocol_details():
    x = dl.ones(2, 3)
    copied = np.from_dlpack(x, copy=True)
    copied[0, 0] = 5.0
    assert float(x[0, 0]) == 1.0 and x.__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0))) and '"dltensor"' in repr(x.__dlpack__())
    with pytest.raises(BufferError, match="requires a gradient"):
        dl.ones(2, requires_grad=True).__dlpack__()
    capsule = x.__dlpack__(max_version=(1, 0))
    first = dl.from_dlpack(type("C", (), {"__dlpack__": lambda self, **k: capsule})())
    assert first.data_ptr == x.data_ptr
    with pytest.raises(BufferError, match="already used"):
        dl.from_dlpack(type("C", (), {"__dlpack__": lambda self, **k: capsule})())


def test_read_only_memory_stays_unwritten():
    source = np.ones(3, np.float32)
    source.flags.writeable = False
    x = dl.from_numpy(source)
    with pytest.raises(ValueError, match="read-only"):
        x += 1.0
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 2.0
    assert float(x.sum()) == 3.0
    y = dl.ones(3, requires_grad=True)
    assert not np.asarray(y).flags.writeable and np.asarray(y.detach()).flags.writeable


def test_memory_outlives_the_tensor():
    n = np.asarray(dl.tensor(counted((100,))))
    others = [dl.zeros(100) for _ in range(50)]
    np.testing.assert_array_equal(n, counted((100,)))
    del others


# ---- errors, threads, devices -------------------------------------------------------------------------------------


def test_errors_name_operation_and_shapes():
    cases = [
        (lambda: dl.ones(2, 3) @ dl.ones(4, 2), dl.ShapeError, "matmul: inner sizes differ: (2, 3) @ (4, 2)"),
        (lambda: dl.ones(3) + dl.ones(4), dl.ShapeError, "add: shapes do not broadcast: (3,) and (4,)"),
        (lambda: dl.ones(2, 2)[5], IndexError, "getitem: index 5 is out of range for axis 0 of shape (2, 2)"),
    ]
    for wrong, kind, text in cases:
        with pytest.raises(kind) as caught:
            wrong()
        assert str(caught.value) == text
    with pytest.raises(TypeError, match="add: missing argument 'b'"):
        dl.add(dl.ones(2))
    with pytest.raises(TypeError, match="unsupported operand"):
        dl.ones(2) + "two"
    with pytest.raises(dl.ShapeError, match="does not fit in place"):
        a = dl.ones(2)
        a += dl.ones(3, 2)
    with pytest.raises(dl.DTypeError, match="does not fit in place into dtype int64"):
        b = dl.ones(2, dtype=dl.int64)
        b += 0.5
    with pytest.raises(MemoryError):
        dl.empty((1 << 40, 1 << 40))
    for name in ("gpus", "cuda:", "cuda:x", "cpu:1", "tpu"):
        with pytest.raises(dl.DTypeError, match=f"device: '{name}' is not a device"):
            dl.device(name)


def test_numpy_operands_work_on_either_side():
    a = np.array([1.0, 2.0], np.float32)
    for result in (a + dl.ones(2), dl.ones(2) + a, dl.add([1.0, 2.0], dl.ones(2))):
        assert isinstance(result, dl.Tensor) and result.tolist() == [2.0, 3.0]
    assert (np.float32(2.0) * dl.ones(2)).tolist() == [2.0, 2.0]


def test_threads_compute_at_the_same_time():
    x = dl.tensor(np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32))
    want, results = np.asarray(dl.exp(x @ x)), []

    def work():
        results.extend(np.array_equal(np.asarray(dl.exp(x @ x)), want) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 80 and all(results)


def test_plans_are_bounded():
    for n in range(5000):
        dl.exp(dl.empty((n % 70, n % 71)))
    assert 0 < dl.exp.plans <= 4096


def test_an_empty_array_is_shared_whatever_its_address():
    odd = np.ndarray((0, 3), np.float32, buffer=memoryview(bytearray(9))[1:])
    assert dl.from_numpy(odd).shape == (0, 3)


@pytest.mark.smoke
@pytest.mark.parametrize("value", [0, 1, True, -2.5, np.float32(1.5), np.int16(7)])
def test_full_of_every_dtype_is_numpys(value):
    for dtype in dl.dtypes.DTYPES:
        if dtype.name.startswith("uint") and value < 0:
            continue
        made = dl.full((2, 3), value, dtype)
        assert made.dtype is dtype and made.is_leaf and not made.requires_grad
        np.testing.assert_array_equal(made.numpy(), np.full((2, 3), value).astype(dtype.numpy))


def test_full_takes_a_tensor_and_says_what_does_not_fit():
    w = dl.tensor(3.0, requires_grad=True)
    made = dl.full((2,), w, dl.float32)
    made.sum().backward()
    assert made.tolist() == [3.0, 3.0] and w.grad.item() == 2.0
    assert dl.full(0, 1.0).shape == (0,) and dl.full((), 1.0, requires_grad=True).requires_grad
    with pytest.raises(OverflowError, match="Python integer 300 does not fit in uint8"):
        dl.full((2,), 300, dl.uint8)
    with pytest.raises(dl.ShapeError, match=r"full: negative length in shape \(-1,\)"):
        dl.full((-1,), 1.0)
    with pytest.raises(dl.ShapeError, match="zeros: 9 axes; a tensor has at most 8"):
        dl.zeros((1,) * 9)


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def threads():
    before = dl.get_num_threads()
    dl.set_num_threads(3)
    yield
    dl.set_num_threads(before)


def test_a_kernel_that_gets_no_scratch_space_leaves_everything_usable(threads):
    x = dl.full((700, 600), 0.25)
    work = {
        "matmul": lambda: x.T @ x,
        "softmax": lambda: x.T.softmax(0),
        "sum": lambda: x.T.sum(0),
        "log_softmax": lambda: x.T.log_softmax(0),
    }
    for name, call in work.items():
        expected = call().numpy()
        failed = n = 0
        while True:
            n += 1
            _C.fail_allocation(n)
            try:
                call()
            except MemoryError as error:
                failed += 1
                assert str(error).startswith(f"{name}: out of memory")
            finally:
                left = _C.fail_allocation(0)
            np.testing.assert_array_equal(call().numpy(), expected)
            if left:
                break  # there are no more to fail
        assert failed, name


def test_figures_of_memory_are_true_after_a_refused_allocation():
    dl.empty_cache()
    _C.reset_peak_memory()
    before = dl.device("cpu").memory_stats()
    with pytest.raises(MemoryError, match=r"^full: out of memory: asked for|out of memory: asked for"):
        dl.zeros(1 << 44, dtype=dl.uint8)
    assert dl.device("cpu").memory_stats() == before


def test_a_thread_gets_back_the_memory_that_it_gave():
    def new():
        x = dl.empty((12345,))
        return x, np.asarray(x).ctypes.data

    def work():
        x, _ = new()
        begun.set()
        mine_is_free.wait()
        del x

    dl.empty_cache()
    begun, mine_is_free = threading.Event(), threading.Event()
    mine, address = new()
    other = threading.Thread(target=work)
    other.start()
    begun.wait()
    del mine
    mine_is_free.set()
    other.join()  # what it gave back comes first in the list
    assert new()[1] == address


def test_the_cache_is_given_back():
    dl.empty((1 << 20,))
    assert dl.device("cpu").memory_stats()["cached"] >= 4 << 20
    dl.empty_cache()
    assert dl.device("cpu").memory_stats()["cached"] == 0
    held = [dl.empty((64 << 20,)) for _ in range(9)]  # more than the cache keeps
    del held
    assert dl.device("cpu").memory_stats()["cached"] <= _C.cache_limit == 2 << 30
    dl.empty_cache()


# ---- values that a dtype does not hold ----------------------------------------------------------------------------

INTEGER_NAMES = ("uint8", "int8", "int16", "int32", "int64")


def _ways_in(value, dtype):
    """A Python number into a tensor of a dtype, by every way there is."""
    x = dl.zeros(3, dtype=dtype)
    mask = dl.tensor([True, False, True])
    return {
        "tensor": lambda: dl.tensor(value, dtype=dtype),
        "list": lambda: dl.tensor([value], dtype=dtype),
        "full": lambda: dl.full((2,), value, dtype),
        "full_like": lambda: dl.full_like(x, value),
        "fill_": lambda: x.fill_(value),
        "copy_": lambda: x.copy_(value),
        "setitem": lambda: x.__setitem__(0, value),
        "setitem list": lambda: x.__setitem__(slice(0, 1), [value]),
        "setitem mask": lambda: x.__setitem__(mask, value),
        "setitem indices": lambda: x.__setitem__([0, 2], value),
        "arange": lambda: dl.arange(value, value + 1, dtype=dtype),
        "linspace": lambda: dl.linspace(value, value, 2, dtype=dtype),
    }


@pytest.mark.smoke
@pytest.mark.parametrize("name", INTEGER_NAMES)
def test_python_numbers_that_do_not_fit_an_integer_dtype_raise_by_every_way_in(name):
    limits, numpy_type = np.iinfo(name), np.dtype(name)
    for value in (limits.max + 1, limits.min - 1, 2**70, -(10**400)):
        ways = _ways_in(value, name)
        if name == "int64" or abs(value) > 2**70:
            del ways["linspace"]  # its numbers are floats
        for way, put in ways.items():
            with pytest.raises(OverflowError, match=f"{name}|int64|64 bits"):
                put()
                pytest.fail(way)
    for value in (float("nan"), float("inf"), -float("inf"), 1e30, -1e30, float(limits.max) + 1):
        for way, put in _ways_in(value, name).items():
            if way != "arange":  # which takes finite numbers only
                with pytest.raises(OverflowError, match=f"does not fit in {name} \\({limits.min} to {limits.max}\\)"):
                    put()
                    pytest.fail(way)
    x = dl.zeros(2, dtype=name)
    for put in (lambda: x + 2**64, lambda: x.add_(2**64), lambda: dl.maximum(x, limits.max + 1), lambda: x * 2**64,
                lambda: dl.where(x == 0, x, limits.max + 1), lambda: x.clip(0, limits.max + 1)):  # fmt: skip
        with pytest.raises(OverflowError, match="does not fit in"):
            put()
    assert x.tolist() == [0, 0]  # nothing was written before the error
    for value in (limits.max, limits.min):
        assert dl.full((1,), value, name).tolist() == dl.tensor([value], name).tolist() == [value]
    assert dl.tensor([2.9, -0.9], dtype=name).tolist() == [2, 0]
    wide = np.array([limits.max + 0.0, -1e300, np.nan, np.inf, 2.7, -2.7])
    want = [limits.max, limits.min, 0, limits.max, 2, max(limits.min, -2)]
    assert dl.tensor(wide, dtype=name).tolist() == dl.tensor(wide).astype(name).tolist() == want
    wrapped = np.array([300, -1, 2**40 + 5]).astype(numpy_type).tolist()
    assert dl.tensor(np.array([300, -1, 2**40 + 5]), dtype=name).tolist() == wrapped


@pytest.mark.parametrize(("name", "over", "under"), [
    ("float16", 65520, 65519.9), ("bfloat16", 3.4e38, 3.39e38), ("float32", 3.5e38, 3.4028235e38),
])  # fmt: skip
def test_python_numbers_beyond_a_float_dtype_are_infinite_by_every_way_in(name, over, under):
    for sign in (1, -1):
        for value in (sign * over, sign * int(over), sign * 2**200):
            for way, put in _ways_in(value, name).items():
                if way != "arange":
                    made = put()
                    assert made is None or made.astype("float64").flatten()[0].item() == sign * float("inf"), way
            x = dl.ones(2, dtype=name)
            for result in (x * value, value * x, x + value, dl.maximum(x, abs(value)) * sign, dl.hypot(x, value) * sign,
                           dl.where(x == 0, x, value), dl.masked_fill(x, x == 1, value), x.clip(value, value)):
                assert result.dtype.name == name and result.astype("float64").tolist() == [sign * float("inf")] * 2
        assert np.isfinite(float(dl.full((), sign * under, name)))
    x = dl.zeros(3, dtype=name)
    x[[0, 1]] = over
    assert x.astype("float64").tolist() == [float("inf")] * 2 + [0]
    assert dl.tensor(np.array([1e300]), dtype=name).astype("float64").tolist() == [float("inf")]


def test_an_integer_for_which_python_has_no_float_raises():
    for name in ("float16", "bfloat16", "float32", "float64"):
        for way, put in _ways_in(2**1024, name).items():
            with pytest.raises(OverflowError, match=r"does not fit in|too large for a float|64 bits"):
                put()
                pytest.fail(way)
        with pytest.raises(OverflowError, match=f"mul: Python integer of 1025 bits does not fit in {name}"):
            dl.ones(2, dtype=name) * 2**1024


def test_comparisons_take_a_python_number_as_it_is():
    x = dl.tensor([1.0, float("inf"), -float("inf"), float("nan")])
    for compare in ("lt", "le", "gt", "ge", "eq", "ne"):
        for value in (1e300, -1e300, 10**200, -(10**200)):
            want = [getattr(operator, compare)(v, float(value)) for v in x.tolist()]
            assert getattr(dl, compare)(x, value).tolist() == want, (compare, value)


def test_large_python_integers_are_rounded_once():
    assert (dl.ones(1) * 2**70).item() == 2.0**70 and (dl.ones(1, dtype="bfloat16") * 2**100).item() == 2.0**100
    tie = 2**70 + 2**46  # float32 has 24 bits: half way between two of them
    assert dl.full((), tie, "float32").item() == 2.0**70
    assert dl.full((), tie + 1, "float32").item() == 2.0**70 + 2.0**47
    assert dl.full((), -tie - 1, "float32").item() == -(2.0**70) - 2.0**47
    assert dl.tensor([2**70, 1], dtype="float32").tolist() == [2.0**70, 1.0]
    bits = 1 + 2.0**-8  # bfloat16 has 8
    assert dl.full((), bits + 2.0**-40, "bfloat16").item() == 1 + 2.0**-7
    assert dl.full((), bits, "bfloat16").item() == 1.0
    integers = np.array([2**62 + 2**54 + 1, -(2**62) - 2**54 - 1, 2**30 + 2**22 + 1, 2**30 + 2**22])
    want = [2.0**62 + 2.0**55, -(2.0**62) - 2.0**55, 2.0**30 + 2.0**23, 2.0**30]
    assert dl.tensor(integers).astype("bfloat16").astype("float64").tolist() == want
    assert dl.tensor(integers[2:], dtype="int32").astype("bfloat16").astype("float64").tolist() == want[2:]


@pytest.mark.parametrize("name", (*INTEGER_NAMES, "float16", "float32", "float64"))
def test_comparisons_with_numbers_beyond_the_dtype_are_right(name):
    x = dl.tensor([0, 1, 2], dtype=name)
    for beyond in (2**70, 10**400) if name != "float64" else (10**400,):
        limit = beyond if name not in ("float32",) or beyond > 2**128 else 1e300
        for above in (x < limit, x <= limit, limit > x, x != limit, x > -limit, x >= -limit, -limit < x):
            assert above.tolist() == [True] * 3
        for never in (x == limit, x > limit, x >= limit, limit < x, x < -limit, x <= -limit, -limit == x):
            assert never.tolist() == [False] * 3
        assert limit not in x
    assert dl.lt(2**70, 2**71).item() and not dl.eq(2**70, 2**70 + 1).item()
    if name.startswith("float"):
        special = dl.tensor([np.nan, np.inf, -np.inf], dtype=name)
        limit = 10**400
        assert (special < limit).tolist() == [False, False, True]
        assert (special >= limit).tolist() == [False, True, False]
        assert (special > -limit).tolist() == [False, True, False] and (special == limit).tolist() == [False] * 3
        assert (special <= -limit).tolist() == [False, False, True] and (special != limit).tolist() == [True] * 3


def test_integers_have_no_negative_powers():
    x = dl.tensor([2, 3])
    with pytest.raises(ValueError, match="pow: the exponent -1 at position 0 is negative"):
        x**-1
    with pytest.raises(ValueError, match="pow: the exponent -2 at position 1 is negative"):
        2 ** dl.tensor([1, -2])
    with pytest.raises(ValueError, match="negative"):
        x **= -1
    assert x.tolist() == [2, 3] and (x ** dl.tensor([0, 4])).tolist() == [1, 81]
    assert (dl.zeros(0, dtype="int64") ** -1).shape == (0,) and (x.astype("float32") ** -1)[0].item() == 0.5


@pytest.mark.parametrize("name", ("float16", "bfloat16", "float32", "float64"))
def test_signed_zeros_survive(name):
    zeros = dl.tensor(np.array([0.0, -0.0] * 20), dtype=name)
    same = [dl.log1p, dl.expm1, dl.gelu, lambda x: dl.gelu(x, "tanh"), dl.tanh, dl.sin, dl.sqrt, lambda x: x * 1,
            lambda x: x / 3, lambda x: x**3, lambda x: x // 2.0, lambda x: x.clone().fill_(x),
            lambda x: x.astype("float32"),
            lambda x: dl.where(x == 0, x, 1.0), lambda x: x + dl.full_like(x, -0.0)]  # fmt: skip
    for k, function in enumerate(same):
        signs = np.signbit(function(zeros).astype("float64").numpy())
        np.testing.assert_array_equal(signs, [False, True] * 20, err_msg=f"{k}")
    np.testing.assert_array_equal(np.signbit((-zeros).astype("float64").numpy()), [True, False] * 20)
    assert np.signbit(dl.full((), -0.0, name).item()) and np.signbit(dl.tensor([-0.0], dtype=name)[0].item())
    assert np.signbit(dl.gelu(dl.full((1,), -1e4, name)).astype("float64").numpy()).all()


def test_random_bounds_fit_the_dtype():
    for call, text in (
        (lambda: dl.random.uniform((2,), 0, 1e300), "uniform: high: Python float 1e.300 does not fit in float32"),
        (lambda: dl.random.uniform((2,), 0, 7e4, dtype="float16"), "Python float 70000.0 does not fit in float16"),
        (lambda: dl.random.uniform((2,), -3e38, 3e38), "uniform: width"),
        (lambda: dl.random.uniform((2,), 0, float("inf")), "uniform: high is inf"),
        (lambda: dl.random.normal((2,), 1e300), "normal: mean"),
        (lambda: dl.randint(0, 300, (2,), "uint8"), r"randint: \[0, 300\) does not fit in uint8"),
    ):
        with pytest.raises(OverflowError, match=text):
            call()
    assert np.abs(np.asarray(dl.random.uniform((100,), -4e4, 4e4, dtype="float16"))).max() <= 4e4


def test_sizes_do_not_overflow():
    x = dl.ones(1)
    for call in (lambda: x.expand(2**32, 2**32), lambda: x.expand(2**31, 2**31, 2),
                 lambda: dl.zeros(0).reshape(2**62, 4, 0),
                 lambda: dl.zeros(0, 1).expand(0, 2**62).astype("float64").expand(4, 0, 2**62)):  # fmt: skip
        with pytest.raises(dl.ShapeError, match="more elements than can be counted"):
            call()
    for shape in ((2**32, 2**32), (2**40, 2**40), (2**32, 2**32, 0), (2**63 - 1, 2)):
        with pytest.raises(MemoryError, match="does not fit in any memory"):
            dl.empty(shape)
    for axis in (0, 1):  # softmax of nothing takes no time, however long its axes are
        assert dl.softmax(dl.empty((0, 2**60)), axis).shape == (0, 2**60)
        assert dl.log_softmax(dl.empty((2**60, 0)), axis).shape == (2**60, 0)
    assert dl.ones(4)[:: 2**63 - 1].tolist() == [1.0] and dl.ones(4)[-1 :: -(2**62)].tolist() == [1.0]


QUICK = [
    (dl.zeros, (2, 3)), (dl.zeros, ((2, 3),)), (dl.zeros, ((),)), (dl.ones, (0, 4)), (dl.ones, (70, 70)),
    (dl.full, (3, 2.5)), (dl.full, ((2, 2), 7)), (dl.full, ((2,), True)), (dl.full, (2, 1e300)),
    (dl.zeros_like, (dl.arange(3),)), (dl.ones_like, (dl.tensor([True, False]),)),
    (dl.full_like, (dl.arange(3), 2.7)), (dl.full_like, (dl.ones(2, dtype="float16"), 1)),
    (dl.arange, (5,)), (dl.arange, (7, -2, -3)), (dl.arange, (0.5, 3, 0.1)), (dl.arange, (2.0,)), (dl.arange, (3, 3)),
    (dl.tensor, (2.5,)), (dl.tensor, (-3,)), (dl.tensor, (2**62,)), (dl.tensor, ([[1, 2.5], [3, 4]],)),
    (dl.tensor, ([True, False],)), (dl.tensor, (((1, 2), (3, 2**53 + 1)),)), (dl.tensor, ([],)),
    (dl.tensor, (np.arange(6, dtype=np.int32).reshape(2, 3).T,)), (dl.tensor, (np.array([2, 0], np.uint8).view(bool),)),
    (dl.tensor, (np.float64(0.1) * np.ones((2, 2)),)), (dl.tensor, ([float("nan"), float("inf")],)),
    (dl.Tensor.reshape, (dl.arange(6), 2, -1)), (dl.Tensor.reshape, (dl.arange(6), (1, 6, 1, 1))),
    (dl.Tensor.reshape, (dl.arange(6).reshape(2, 3).T, -1)), (dl.Tensor.reshape, (dl.ones(1), (1, 1))),
    (dl.Tensor.permute, (dl.zeros(2, 3, 4), 2, 0, -2)), (dl.Tensor.expand, (dl.ones(3, 1), 2, -1, 4)),
    (dl.Tensor.expand, (dl.ones(1, 3), (0, 3))), (dl.Tensor.T.fget, (dl.zeros(2, 3, 4),)),
    (dl.Tensor.mT.fget, (dl.zeros(2, 3, 4)[::-1],)), (dl.Tensor.to, (dl.arange(3), dl.float16)),
    (dl.Tensor.astype, (dl.tensor([1.5, -2.7]), dl.int8)), (dl.Tensor.to, (dl.zeros(2, 3).T, dl.float32)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(QUICK)))
def test_the_plainest_calls_are_what_python_answers(case):
    function, args = QUICK[case]
    found, want = function(*args), function.__wrapped__(*args)
    assert (found.shape, found.strides, found.dtype) == (want.shape, want.strides, want.dtype)
    assert found.numpy().tobytes() == want.numpy().tobytes()


# ---- memory of others ---------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_booleans_are_zeros_and_ones():
    raw = np.array([[2, 255, 0], [0, 1, 128]], np.uint8)
    odd, want = raw.view(bool), raw != 0
    for t in (dl.tensor(odd), dl.asarray(odd), dl.tensor(odd.T).T):
        assert t.sum().item() == 4 and t.numpy().view(np.uint8).max() == 1
        np.testing.assert_array_equal(dl.nonzero(t).numpy(), np.argwhere(want))
        np.testing.assert_array_equal(dl.where(t, 5, 7).numpy(), np.where(want, 5, 7))
        assert t.astype("float32").sum().item() == 4.0 and (~t).sum().item() == 2
    x = dl.arange(6).reshape(2, 3)
    assert x[odd].tolist() == [0, 1, 4, 5] and dl.tensor(odd, dtype="int64").sum().item() == 4
    with pytest.raises(ValueError, match="from_numpy: the boolean array has other bytes than 0 and 1"):
        dl.from_numpy(odd)
    with pytest.raises(BufferError, match="from_dlpack: the booleans have other bytes than 0 and 1"):
        dl.from_dlpack(odd)
    assert dl.from_numpy(want).data_ptr == want.ctypes.data and not dl.empty((100,), "bool").any()
    shared = np.zeros(1000, bool)
    t = dl.from_numpy(shared)
    shared.view(np.uint8)[::3] = 255  # whoever shares the memory can still do this
    np.testing.assert_array_equal(dl.nonzero(t).numpy()[:, 0], np.arange(0, 1000, 3))
    assert dl.count_nonzero(t).item() == 334


def test_foreign_arrays_are_checked():
    class Liar:
        def __init__(self, capsule):
            self.capsule = capsule

        def __dlpack__(self, **_):
            return self.capsule

    for wrong in ("text", None, 3, object()):
        with pytest.raises((BufferError, TypeError), match="from_dlpack"):
            dl.from_dlpack(Liar(wrong))
        with pytest.raises(TypeError, match=r"from_dlpack: .* __dlpack__"):
            dl.from_dlpack(wrong)
    odd = np.ndarray((3,), np.float32, np.zeros(20, np.uint8), offset=1)
    with pytest.raises(dl.ShapeError, match="not aligned"):
        dl.from_numpy(odd)
    with pytest.raises(BufferError, match=r"from_dlpack|aligned"):
        dl.from_dlpack(odd)
    assert dl.asarray(odd).tolist() == [0, 0, 0]
    with pytest.raises(dl.ShapeError, match="multiples of an element"):
        dl.from_numpy(np.zeros(3, [("a", np.float32), ("b", np.int8)])["a"])


# ---- writes that overlap ------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("name", [d.name for d in DTYPES if d not in (dl.bool_, dl.bfloat16)])
def test_overlapping_writes_are_numpys(name):
    def both(step, n=70):
        array = np.arange(n).astype(name)
        expected, shared, own = array.copy(), array.copy(), dl.tensor(array)
        step(expected, expected, np)
        step(dl.from_numpy(shared), dl.from_numpy(shared), dl)  # two tensors over one array
        step(own, own, dl)
        np.testing.assert_array_equal(shared, expected)
        np.testing.assert_array_equal(own.numpy(), expected)

    def assign(a, b, _):
        a[1:] = b[:-1]

    def back(a, b, _):
        a[:-1] = b[1:]

    def turned(a, b, _):
        a[:] = b[::-1]

    def transposed(a, b, _):
        a[:64].reshape(8, 8)[...] = b[:64].reshape(8, 8).T

    def add(a, b, module):
        target, source = a[1:], b[:-1]
        np.add(target, source, out=target) if module is np else target.add_(source)

    def multiply(a, b, module):
        target, source = a[::2], b[:35]
        np.multiply(target, source, out=target) if module is np else target.mul_(source)

    for step in (assign, back, turned, transposed, add, multiply):
        both(step)


def test_assigning_through_a_mask_keeps_the_other_elements():
    x = dl.tensor([2**62 + 1, 5, -(2**53) - 1])
    x[dl.tensor([False, True, False])] = 7.9
    assert x.tolist() == [2**62 + 1, 7, -(2**53) - 1]
    x[np.array([False, True, False])] = dl.tensor(-1e300, dtype="float64")
    assert x.tolist() == [2**62 + 1, -(2**63), -(2**53) - 1]


def test_memory_that_overlaps_itself_is_not_written():
    x, memory = dl.ones(1).expand(4), np.zeros(6, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(memory, 3, writeable=True)
    state = dl.zeros(2, dtype="int64")
    for t in (x, dl.from_numpy(windows), dl.ones(3, 1).expand(3, 2).T):
        for write in (lambda t: t.add_(1), lambda t: t.__setitem__(slice(None), 1.0), lambda t: t.fill_(2),
                      lambda t: t.copy_(3), lambda t: t.__setitem__([0, 1], 5.0), dl.exp.inplace):  # fmt: skip
            with pytest.raises(ValueError, match=r"share memory .* write into a clone"):
                write(t)
    with pytest.raises(ValueError, match="share memory"):
        dl.ops.random.uniform(state[:1].expand(2), (3,))
    assert x.tolist() == [1.0] * 4 and state.tolist() == [0, 0] and not windows.any()
    odd = np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (3, 2), (8, 12))  # steps of 2 and 3: nothing meets
    dl.from_numpy(odd).add_(1.0)
    assert odd.sum() == 6.0


def test_operations_that_are_not_elementwise_work_in_place():
    a = dl.tensor(np.random.default_rng(0).standard_normal((5, 5)))
    want = a.numpy() @ a.numpy()
    dl.matmul.inplace(a, a)
    np.testing.assert_allclose(a.numpy(), want)
    b = dl.tensor(counted((3, 4)))
    want = np.asarray(dl.softmax(b.T.contiguous()))
    dl.softmax.inplace(b.T)
    np.testing.assert_allclose(b.numpy().T, want)


def test_a_recorded_step_keeps_overlapping_tensors_right():
    memory = np.arange(8.0)
    one, two = dl.from_numpy(memory[1:]), dl.from_numpy(memory[:-1])
    expected = memory.copy()

    def step():
        one.add_(two)
        return one.sum()

    step = dl.capture(step)
    for _ in range(4):
        np.add(expected[1:], expected[:-1], out=expected[1:])
        assert step().item() == expected[1:].sum()
        np.testing.assert_array_equal(memory, expected)


def test_a_python_number_as_a_tensor_has_no_buffer_to_count_exports_of():
    from dlcore import _C

    number = _C.as_tensor(2, "add", "b")
    assert number.numpy().item() == 2 and bytes(memoryview(number)) == (2).to_bytes(8, "little")


@pytest.mark.parametrize("n", [1, 8, 2000])  # a few are made without a kernel
def test_made_by_their_places(n):
    for dtype in ("float32", "float64", "int32", "int64", "int8", "float16", "bool"):
        assert dl.full((n,), 1, dtype).tolist() == [1] * n
        assert dl.eye(min(n, 64), n, 1, dtype=dtype).tolist() == np.eye(min(n, 64), n, 1).astype(dtype).tolist()
        assert dl.eye(n, 3, -1, dtype=dtype).tolist() == np.eye(n, 3, -1).astype(dtype).tolist()
    assert dl.arange(n).tolist() == list(range(n)) and dl.arange(n).dtype is dl.int64
    assert dl.arange(n, dtype="float32").tolist() == list(range(n))
    assert dl.linspace(-1, 2, n, dtype="float64").tolist() == pytest.approx(np.linspace(-1, 2, n).tolist(), abs=1e-12)
    with pytest.raises(OverflowError, match="full: Python integer 300 does not fit in int8"):
        dl.full((n,), 300, "int8")
    step = dl.capture(lambda x: (x + dl.arange(n), dl.full((n,), 2.0) * x, dl.eye(n, n)[0] + x))
    for k in range(3):
        found = step(dl.full((n,), float(k)))
        assert found[0].tolist() == [k + i for i in range(n)] and found[1].tolist() == [2.0 * k] * n
        assert found[2].tolist() == [k + 1.0] + [float(k)] * (n - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "bool", ">f4", "complex64"])
def test_arrays_among_operands_are_copied(dtype):
    """Small ones by C++, others by Python: strided, of another byte order, recorded."""
    a, x = np.array([[0, 1, 1], [1, 0, 1]], dtype), dl.ones(2, 3)
    if dtype == "complex64":
        with pytest.raises(dl.DTypeError, match="add: operand 'b'"):
            dl.add(x, a)
        return
    for part in (a, a[:, ::-1], a.T.copy().T, a[0], np.asfortranarray(a)):
        found = dl.add(x, part)
        same = dl.add(x, dl.tensor(np.ascontiguousarray(part)))
        assert found.dtype is same.dtype and found.tolist() == same.tolist()
    kept = dl.linalg.norm(a.astype(np.float32))
    taken = dl.neg(a.astype(np.float32))
    a[...] = 0
    assert kept.item() == 2.0 and taken.sum().item() == -4.0


def test_lists_among_operands_are_tensors_of_them():
    x = dl.ones(2, 3)
    for listed in ([0.5, 1, 2], [1, 2, 3], [True, False, True], [[1.5, 2, 3]], (1, 2, 3), [1, 2.5, 2**62], []):
        if listed:
            found, same = dl.add(x, listed), dl.add(x, dl.tensor(listed))
            assert found.dtype is same.dtype and found.tolist() == same.tolist()
        assert dl.neg(dl.tensor(listed).to(dl.float32)).tolist() == dl.mul(listed, -1.0).tolist()
    with pytest.raises(dl.AutogradError, match=r"^add: operand 'b': a tensor requires a gradient"):
        dl.add(x, [dl.ones(3, requires_grad=True)])
    with pytest.raises((ValueError, TypeError), match=r"^add: operand 'b'"):
        dl.add(x, [[1.0, 2.0], [3.0]])
