"""The tensor: NumPy's habits, promotion, exchange, errors."""

import copy
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


def test_the_cache_is_given_back():
    dl.empty((1 << 20,))
    assert dl.device("cpu").memory_stats()["cached"] >= 4 << 20
    dl.empty_cache()
    assert dl.device("cpu").memory_stats()["cached"] == 0
    held = [dl.empty((64 << 20,)) for _ in range(9)]  # more than the cache keeps
    del held
    assert dl.device("cpu").memory_stats()["cached"] <= _C.cache_limit == 2 << 30
    dl.empty_cache()
