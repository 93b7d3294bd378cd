"""What people type who come from NumPy and PyTorch: other names and spellings, NumPy's functions, forms of making."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import _aliases, _numpy, _operations, _spelling, nn

RNG = np.random.default_rng(5)
A = RNG.standard_normal((3, 4)).astype(np.float32)


# ---- names --------------------------------------------------------------------------------------------------------


def test_an_alias_is_the_same_function():
    assert list(_aliases.ALIASES) == sorted(_aliases.ALIASES)
    for alias, target in _aliases.ALIASES.items():
        assert getattr(dl, alias) is getattr(dl, target), alias
        assert target not in _aliases.ALIASES, f"{alias} is an alias of the alias {target}"
        assert getattr(dl.Tensor, alias, None) is not None or not _operations.is_method(getattr(dl, alias))
    assert len(_operations.__all__) == len(set(_operations.__all__))


def test_a_second_function_of_a_name_is_refused():
    with pytest.raises(ValueError, match="two public functions are called 'exp': in two modules"):
        _operations._publish("exp", dl.exp)
    with pytest.raises(ValueError, match="two public functions are called 'cat': it is an alias too"):
        _operations._publish("cat", dl.concat)


def test_a_misspelt_name_says_what_comes_nearest():
    with pytest.raises(AttributeError, match=r"module 'dlcore' has no attribute 'sofmax'; did you mean 'softmax'\?"):
        dl.sofmax
    with pytest.raises(AttributeError, match=r"module 'dlcore' has no attribute 'qqqqqq'$"):
        dl.qqqqqq
    assert not hasattr(dl, "_no_such_private_name")
    program = "import dlcore as dl; dl.ones(2).sofmax()"  # of tensors Python says it, where it shows the error
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "AttributeError: 'Tensor' object has no attribute 'sofmax'. Did you mean: 'softmax'?" in found.stderr
    assert len(dir(dl.Tensor)) < 750  # above which Python looks for nothing


def test_names_with_two_meanings_say_where_to_look():
    x = dl.tensor(A)
    for name, said in [("indices", "argmax"), ("values", "give the values themselves"), ("repeat", r"x.tile\(")]:
        assert not hasattr(x, name)
        with pytest.raises(AttributeError, match=f"Tensor has no {name}: .*{said}"):
            getattr(x, name)
    assert x.tile((2, 1)).shape == (6, 4) and dl.repeat(x, 2, 1).shape == (3, 8)


# ---- spellings of arguments ---------------------------------------------------------------------------------------


def test_other_spellings_of_arguments():
    x = dl.tensor(A)
    assert dl.sum(x, dim=1, keepdim=True).shape == (3, 1) and x.max(dim=0).shape == (4,)
    assert x.softmax(dim=1).tolist() == x.softmax(axis=1).tolist()
    assert x.unsqueeze(dim=0).shape == (1, 3, 4) and x[None].squeeze(dim=0).shape == (3, 4)
    assert x.flatten(start_dim=0, end_dim=1).shape == (12,) and x.transpose(dim0=0, dim1=1).shape == (4, 3)
    assert dl.cat([x, x], dim=1).shape == (3, 8) and dl.stack([x, x], dim=2).shape == (3, 4, 2)
    assert dl.permute(x, dims=(1, 0)).shape == (4, 3)


@pytest.mark.parametrize("call, text", [
    (lambda x: dl.sum(x, dim=0, axis=0), "sum: argument 'axis' is given twice"),
    (lambda x: dl.sum(x, 0, dim=0), "sum: argument 'dim' is given twice"),
    (lambda x: dl.unsqueeze(x, dim=0, axis=0), "unsqueeze: argument 'axis' is given twice"),
    (lambda x: dl.exp(x, dim=0), r"exp: there is no argument 'dim' \(there are x\)"),
    (lambda x: dl.unsqueeze(x, dimension=0), "unexpected keyword argument 'dimension'"),
])  # fmt: skip
def test_wrong_spellings(call, text):
    with pytest.raises(TypeError, match=text):
        call(dl.tensor(A))


def test_modules_take_either_spelling():
    x = dl.tensor(A)
    assert nn.Softmax(axis=0)(x).tolist() == nn.Softmax(dim=0)(x).tolist() == x.softmax(0).tolist()
    assert nn.Flatten(start_axis=0)(x).shape == (12,) and repr(nn.Softmax(axis=0)) == "Softmax(dim=0)"
    assert nn.GLU(axis=1)(x).shape == (3, 2) and "axis" not in str(inspect.signature(nn.Softmax))


def test_an_argument_has_its_own_name_first():
    def f(x, dim, axis=5):
        return x, dim, axis

    assert _spelling.spelled(f)(1, dim=2) == (1, 2, 5) and _spelling.spelled(f)(1, 2, axes=3) == (1, 2, 3)

    def g(x, axes=(), axis=0):
        return axes, axis

    assert _spelling.spelled(g)(1, dim=3) == ((), 3) and _spelling.spelled(g)(1, dims=3) == (3, 0)
    plain = lambda x: x  # noqa: E731
    assert _spelling.spelled(plain) is plain


# ---- dtypes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", dl.dtypes.DTYPES, ids=lambda d: d.name)
def test_dtypes_equal_what_names_them(dtype):
    for other in (dtype.name, dtype.numpy, dtype.numpy.type):
        assert dtype == other and other == dtype and (dtype != other) is False
        assert all((d == other) is (d is dtype) for d in dl.dtypes.DTYPES)
    assert dtype != "complex64" and dtype != 3 and dtype != None and dtype != np.complex64  # noqa: E711
    assert {dtype: 1}[dtype] == 1 and dtype in dl.dtypes.DTYPES
    assert np.zeros(2, dtype).dtype == dtype.numpy
    assert dl.zeros(3, dtype=dtype.name).dtype is dtype and dl.zeros((2, 3), dtype.numpy.type).dtype is dtype


def test_limits_of_dtypes():
    for dtype in dl.dtypes.FLOATS:
        found = dl.finfo(dtype)
        assert found == dl.finfo(dl.zeros(1, dtype=dtype)) and found.dtype is dtype
        assert found.bits == 8 * dtype.itemsize and found.max == -found.min and found.tiny == found.smallest_normal
    assert dl.finfo("float32").eps == np.finfo(np.float32).eps and dl.finfo(float).resolution == np.float32(1e-6)
    for dtype in dl.dtypes.INTEGERS:
        limits = np.iinfo(dtype.numpy)
        assert dl.iinfo(dtype)[:3] == (limits.bits, limits.max, limits.min)
    with pytest.raises(dl.DTypeError, match="finfo: int64 is not a floating-point dtype"):
        dl.finfo(dl.int64)
    with pytest.raises(dl.DTypeError, match="iinfo: bool is not an integer dtype"):
        dl.iinfo(bool)


def test_what_dtypes_become_together():
    assert dl.result_type(dl.int8, dl.uint8) is dl.int16 and dl.result_type(dl.ones(2), 3) is dl.float32
    assert dl.result_type(dl.int8, 2.0) is dl.float32 and dl.result_type(dl.bool_, 2) is dl.int64
    assert dl.result_type(dl.int8, True) is dl.int8 and dl.result_type("float64", np.ones(2, np.float32)) is dl.float64
    assert dl.promote_types("int8", np.int32) is dl.int32
    with pytest.raises(TypeError, match="result_type: at least one"):
        dl.result_type()
    for a in dl.dtypes.DTYPES:
        for b in dl.dtypes.DTYPES:
            assert dl.can_cast(a, b) is bool(np.can_cast(a.numpy, b.numpy)), (a, b)
    kinds = {
        "bool": ["bool"], "complex floating": [], "signed integer": ["int8", "int16", "int32", "int64"],
        "real floating": ["float16", "bfloat16", "float32", "float64"],
    }  # fmt: skip
    for kind, names in kinds.items():
        assert [d.name for d in dl.dtypes.DTYPES if dl.isdtype(d, kind)] == names
    assert dl.isdtype(dl.uint8, ("bool", "unsigned integer")) and not dl.isdtype(dl.bool_, "numeric")
    assert dl.isdtype(dl.int8, dl.int8) and dl.isdtype(dl.int8, "integral") and not dl.isdtype(dl.int8, "int16")
    with pytest.raises(ValueError, match="isdtype: kind 'floating' is neither a dtype nor one of 'bool'"):
        dl.isdtype(dl.int8, "floating")


# ---- making -------------------------------------------------------------------------------------------------------


def test_array_takes_what_numpys_does():
    assert dl.array([[1, 2], [3, 4]]).dtype is dl.int64 and dl.array(1.5).shape == ()
    assert dl.array(i * i for i in range(3)).tolist() == dl.tensor(i * i for i in range(3)).tolist() == [0, 1, 4]
    assert dl.array({"a": 1.0, "b": 2.0}.values()).tolist() == [1.0, 2.0] and dl.array(range(3)).tolist() == [0, 1, 2]
    source = A.copy()
    assert dl.array(source).data_ptr != dl.asarray(source).data_ptr == source.ctypes.data
    x = dl.tensor(A)
    assert dl.array(x).data_ptr != x.data_ptr and dl.array(x, copy=None) is x
    assert dl.array(A, np.float64).dtype is dl.float64 and dl.array([1, 2], dtype=float).dtype == float
    assert dl.array([1.0], requires_grad=True).requires_grad


def test_lists_of_tensors_keep_their_gradients():
    w = dl.tensor(3.0, requires_grad=True)
    made = dl.array([[w, 1.0], [w * 2, w]])
    assert made.tolist() == [[3.0, 1.0], [6.0, 3.0]]
    made.sum().backward()
    assert w.grad.item() == 4.0 and dl.asarray([dl.ones(2), np.zeros(2, np.float32)]).shape == (2, 2)
    with pytest.raises(dl.ShapeError, match="array: shapes differ"):
        dl.array([dl.ones(2), dl.ones(3)])


def test_asarray_copies_where_asked():
    x, source = dl.tensor(A), A.copy()
    assert dl.asarray(x) is x and dl.asarray(x, copy=False) is x and dl.asarray(x, copy=True).data_ptr != x.data_ptr
    assert dl.asarray(source, copy=False).data_ptr == source.ctypes.data != dl.asarray(source, copy=True).data_ptr
    assert dl.asarray(x, device="cpu") is x and dl.asarray(x, "float64").dtype is dl.float64
    for data, dtype in ((x, "float64"), ([1.0], None), (source, np.float64), (source[:, ::-1].astype(">f4"), None)):
        with pytest.raises(ValueError, match="asarray: the data cannot become such a tensor without a copy"):
            dl.asarray(data, dtype, copy=False)
    y = dl.from_dlpack(source)
    assert y.data_ptr == source.ctypes.data != dl.from_dlpack(source, copy=True).data_ptr
    assert dl.from_dlpack(source, device="cpu", copy=False).data_ptr == y.data_ptr


@pytest.mark.parametrize("make", [dl.zeros, dl.ones, dl.empty])
def test_sizes_stand_alone_or_together(make):
    shapes = [make(2, 3), make((2, 3)), make([2, 3]), make(np.array([2, 3])), make(np.int64(2), 3)]
    assert {x.shape for x in shapes} == {(2, 3)} and {x.dtype for x in shapes} == {dl.float32}
    assert make(3).shape == (3,) and make().shape == () and make((2, 3), "int8").dtype is dl.int8
    assert make(2, 3, np.int16).shape == (2, 3) and make(2, dtype=float).dtype is dl.float32
    with pytest.raises(dl.DTypeError, match=f"{make.__name__}: dtype 'int7' is not a dtype"):
        make(2, "int7")
    with pytest.raises(TypeError, match=f"{make.__name__}: shape"):
        make(2, 0.5)


def test_random_integers_in_a_shape():
    ways = dl.randint(0, 3, (2, 3)), dl.randint(3, (2, 3)), dl.randint(0, 3, size=(2, 3)), dl.randint(3, shape=(2, 3))
    for made in ways:
        assert made.shape == (2, 3) and bool((made < 3).all())
    assert dl.randint(5).shape == () and dl.rand((2, 3)).shape == dl.randn(2, 3).shape == (2, 3)


def test_spaced_numbers_are_numpys():
    for ours, theirs, spans in (
        (dl.linspace, np.linspace, [(0, 1), (-3, 5.5), (2, 2), (5, -5)]),
        (dl.logspace, np.logspace, [(0, 3), (-2, 2.5)]),
        (dl.geomspace, np.geomspace, [(1, 1000), (8, 0.5), (-1, -100)]),
    ):
        for first, last in spans:
            for num in (0, 1, 2, 7):
                for endpoint in (True, False):
                    found = ours(first, last, num, endpoint=endpoint, dtype=dl.float64)
                    np.testing.assert_array_equal(found.numpy(), theirs(first, last, num, endpoint=endpoint))
        assert ours(1, 2).shape == (50,) and ours(1, 2, num=3).dtype is dl.float32
        assert ours(1, 4, 4, dtype=int).dtype == int and ours(1, 2, steps=5).shape == (5,)
    np.testing.assert_array_equal(dl.logspace(0, 4, 5, base=2).numpy(), [1, 2, 4, 8, 16])
    with pytest.raises(ValueError, match="geomspace: from 0 to 1 there is no factor"):
        dl.geomspace(0, 1)
    with pytest.raises(ValueError, match="linspace: num is -1; it must be at least 0"):
        dl.linspace(0, 1, -1)


@pytest.mark.parametrize("ours, theirs", [(dl.eye, np.eye), (dl.tri, np.tri)])
def test_patterns_are_numpys(ours, theirs):
    for n, m, k in ((3, None, 0), (3, 5, 1), (4, 2, -1), (0, 3, 0), (3, 3, 9), (2, 2, -(2**62))):
        bounded = max(min(k, 9), -9)
        np.testing.assert_array_equal(ours(n, m, k=k).numpy(), theirs(n, m, k=bounded))
    assert ours(2, dtype="int32").dtype is dl.int32 and dl.identity(2).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_constants():
    assert (dl.pi, dl.e, dl.inf, dl.newaxis) == (np.pi, np.e, np.inf, None) and dl.nan != dl.nan
    assert dl.ones(3)[:, dl.newaxis].shape == (3, 1)


# ---- tensors as arrays --------------------------------------------------------------------------------------------


def test_attributes_and_numbers():
    x = dl.tensor(A)
    assert (x.nbytes, x.itemsize, x.numel(), x.dim(), len(x)) == (48, 4, 12, 2, 3)
    y = x.copy()
    y[0, 0] = 9.0
    assert x[0, 0].item() == A[0, 0] and x.view(4, 3).shape == (4, 3)
    for a, b in ((dl.tensor([7, -7]), 3), (dl.tensor([7.5, -7.5]), dl.tensor(2.0)), (7, dl.tensor([2, -2]))):
        ours, theirs = divmod(a, b), divmod(np.asarray(a), np.asarray(b))
        for o, t in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(o.numpy(), t)
    assert round(dl.tensor([1.26, -2.5])).tolist() == [1.0, -2.0]
    assert round(dl.tensor(1.26), 1).item() == np.float32(1.3)
    assert A[1, 2] in x and 77.0 not in x and [row.shape for row in x] == [(4,)] * 3


def test_closeness_is_numpys():
    a = np.array([1.0, 1.0, np.inf, -np.inf, np.nan, np.inf, 0.0, 1e-9], np.float32)
    b = np.array([1.00001, 1.1, np.inf, np.inf, np.nan, 1.0, -0.0, 0.0], np.float32)
    for equal_nan in (False, True):
        for rtol, atol in ((1e-5, 1e-8), (0.0, 0.0), (0.2, 0.0), (0.0, 0.2)):
            with np.errstate(invalid="ignore"):
                want = np.isclose(a, b, rtol, atol, equal_nan)
            found = dl.isclose(dl.tensor(a), b, rtol=rtol, atol=atol, equal_nan=equal_nan)
            np.testing.assert_array_equal(found.numpy(), want)
            assert dl.allclose(a, dl.tensor(b), rtol, atol, equal_nan) is bool(want.all())
    assert dl.allclose(dl.tensor([3, 5], dtype="uint8"), [5, 3], atol=2) and not dl.allclose(dl.tensor([0]), 2**40)
    assert dl.tensor([1.0]).allclose(1.0) and dl.allclose(1.0, dl.ones(2, 3)) and dl.allclose(dl.zeros(0), dl.zeros(0))
    with pytest.raises(dl.ShapeError, match="allclose: shapes do not broadcast"):
        dl.allclose(dl.ones(2), dl.ones(3))


def test_equality_of_arrays():
    assert dl.array_equal(dl.arange(3), [0, 1, 2]) is True and dl.array_equal(dl.arange(3), dl.arange(4)) is False
    assert not dl.array_equal(dl.zeros(1, 3), dl.zeros(3)) and dl.array_equal(np.ones(2), dl.ones(2))
    x = dl.tensor([1.0, dl.nan])
    assert not dl.array_equal(x, x) and dl.array_equal(x, x, equal_nan=True)


def test_print_options():
    x = dl.tensor([3.14159265, 2.0, 1e-5])
    before = repr(x)
    with dl.printoptions(precision=2, suppress=True):
        assert repr(x) == "tensor([3.14, 2.  , 0.  ])" and dl.get_printoptions()["precision"] == 2
    assert repr(x) == before
    try:
        dl.set_printoptions(threshold=10, edgeitems=1, linewidth=40, sci_mode=False)
        assert repr(dl.arange(100)) == "tensor([ 0, ..., 99])" and dl.get_printoptions()["suppress"] is True
        assert np.get_printoptions()["threshold"] == 1000
    finally:
        from dlcore import _printing

        _printing._chosen.clear()
    with np.printoptions(precision=1):
        assert repr(dl.tensor(3.14159)) == "tensor(3.1)"
    with pytest.raises(ValueError, match="set_printoptions: precision is -1"):
        dl.set_printoptions(precision=-1)


# ---- NumPy's functions --------------------------------------------------------------------------------------------

CALLS = {
    "sum of all": lambda np, x: np.sum(x),
    "sum by place": lambda np, x: np.sum(x, 0),
    "mean": lambda np, x: np.mean(x, axis=1, keepdims=True),
    "max": lambda np, x: np.max(x, axis=-1),
    "concatenate": lambda np, x: np.concatenate([x, x], axis=1),
    "stack": lambda np, x: np.stack([x, x], axis=2),
    "take, flattened": lambda np, x: np.take(x, [1, 7]),
    "take": lambda np, x: np.take(x, [1, 2], axis=1),
    "where": lambda np, x: np.where(x > 0, x, 0.0),
    "clip": lambda np, x: np.clip(x, -0.5, 0.5),
    "clip by name": lambda np, x: np.clip(x, a_min=0.0, a_max=None),
    "transpose": lambda np, x: np.transpose(x),
    "transpose of axes": lambda np, x: np.transpose(x, (1, 0)),
    "squeeze": lambda np, x: np.squeeze(x[None]),
    "expand_dims": lambda np, x: np.expand_dims(x, 1),
    "reshape": lambda np, x: np.reshape(x, (2, 6)),
    "ravel": lambda np, x: np.ravel(x),
    "copy": lambda np, x: np.copy(x),
    "zeros_like": lambda np, x: np.zeros_like(x),
    "full_like": lambda np, x: np.full_like(x, 3.0),
    "a ufunc": lambda np, x: np.multiply(np.exp(x), x),
    "matmul": lambda np, x: np.matmul(x, x.T),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_numpys_functions_answer_with_tensors(call):
    x = dl.tensor(A, requires_grad=True)
    found = call(np, x)
    assert isinstance(found, dl.Tensor)
    np.testing.assert_allclose(found.detach().numpy(), call(np, A), rtol=2e-6)
    if found.requires_grad:
        found.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape


def test_what_numpy_is_asked_and_dlcore_has_not():
    x, w = dl.tensor(A), dl.tensor(A, requires_grad=True)
    assert isinstance(np.sum(x, where=A > 0), np.generic) and np.shape(x) == (3, 4)
    with pytest.raises(dl.AutogradError, match=r"np\.sum: a tensor requires a gradient"):
        np.sum(w, where=A > 0)
    assert np.allclose(w, A) and np.array_equal(x, A)
    assert [a.shape for a in np.nonzero(x)] == [(12,), (12,)]  # NumPy's form, not the matrix that dl.nonzero gives


def test_the_table_of_numpys_functions():
    for name in _numpy._SAME:
        assert hasattr(np, name) or hasattr(np.linalg, name), name
    for name in ("save", "load", "nonzero", "gradient"):
        assert name not in _numpy._SAME


# ---- PyTorch's methods --------------------------------------------------------------------------------------------


def test_conversions_have_pytorchs_names():
    x = dl.tensor([0.0, 1.5, -2.5])
    for name, dtype in {"double": "float64", "half": "float16", "bfloat16": "bfloat16", "long": "int64", "int": "int32",
                        "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool", "float": "float32"}.items():
        made = getattr(x, name)()
        assert made.dtype.name == dtype and made.tolist() == x.astype(dtype).tolist(), name
        assert getattr(made, name)() is made
    y = dl.zeros(1, dtype="int32")
    assert x.type_as(y).dtype is x.type(dl.int32).dtype is x.to(y).dtype is dl.int32
    assert x.to(dtype=dl.float64).dtype is x.to("cpu", dl.float64).dtype is x.to(device="cpu", dtype="float64").dtype
    assert x.to("cpu", non_blocking=True) is x.to(dtype=x.dtype) is x and x.to(copy=True) is not x
    w = dl.ones(2, requires_grad=True)
    w.double().sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]
    names = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}
    assert all(getattr(dl, name) is getattr(dl, dtype) and name not in dl.__all__ for name, dtype in names.items())


def test_new_tensors_like_another():
    x = dl.zeros(2, dtype="float64")
    assert x.new_zeros(2, 3).shape == x.new_ones((2, 3)).shape == x.new_empty(2, 3).shape == (2, 3)
    made = [x.new_zeros(2), x.new_ones(2), x.new_empty(2), x.new_full((2,), 7), x.new_tensor([1, 2])]
    assert all(t.dtype is dl.float64 for t in made) and made[3].tolist() == [7.0, 7.0]
    assert x.new_ones(2, dtype=dl.int8).dtype is dl.int8 and x.new_tensor([1.0], requires_grad=True).requires_grad
    with pytest.raises(ValueError, match=r"new_zeros: negative length in shape \(-1,\)"):
        x.new_zeros(-1)


def test_what_a_tensor_is():
    x = dl.tensor(A, requires_grad=True)
    assert x.is_floating_point() and x.element_size() == 4 and x.nelement() == 12 and not x.is_cuda
    assert x.stride() == (4, 1) and x.T.stride(0) == 1 and x.t().shape == (4, 3) and x[0].t() is not None
    assert x.grad_fn is None and (x * 1).grad_fn is not None and dl.is_tensor(x) and not dl.is_tensor(A)
    x.data -= 1.0
    np.testing.assert_array_equal(x.detach(), A - 1)
    x.data = dl.zeros(3, 4)
    assert not x.data.requires_grad and x.requires_grad and x.is_leaf and x.data.sum().item() == 0
    with pytest.raises(dl.ShapeError, match=r"t: x has shape \(1, 2, 3\)"):
        dl.ones(1, 2, 3).t()
    assert dl.get_default_dtype() is dl.float32 and not dl.cuda.is_available() and dl.cuda.device_count() == 0
    m = dl.tensor([[2.0, 0.0], [1.0, 4.0]])
    assert m.det().item() == dl.det(m).item() == 8.0 and (m.inverse() @ m).tolist() == dl.eye(2).tolist()
    assert m.matrix_power(2).tolist() == (m @ m).tolist() and abs(dl.logdet(m).item() - np.log(8)) < 1e-6
    assert dl.as_tensor(A).data_ptr == A.ctypes.data


def test_numbers_drawn_in_place():
    x = dl.zeros(1000, dtype="float64")
    assert x.normal_(3.0, 0.5) is x and abs(x.mean().item() - 3) < 0.1 and abs(x.std().item() - 0.5) < 0.05
    assert x.uniform_(-2, -1).max().item() < -1 <= 1 + x.min().item() + 2 and dl.ones(3).fill(2) is None
    with pytest.raises(ValueError, match="normal_: std"):
        x.normal_(0, -1)


# ---- other calls --------------------------------------------------------------------------------------------------


def test_other_libraries_calls_mean_what_they_mean_there():
    x, other, index = dl.tensor(A), dl.tensor(A[::-1].copy()), dl.tensor([[0], [1], [3]])
    for found, want in [
        (dl.gather(x, 1, index), np.take_along_axis(A, index.numpy(), 1)), (x.gather(1, index), dl.gather(x, index, 1)),
        (dl.max(x, other), np.maximum(A, A[::-1])), (x.min(other), np.minimum(A, A[::-1])),
        (dl.add(x, other, alpha=2), A + 2 * A[::-1]), (x.sub(other, alpha=0.5), A - 0.5 * A[::-1]),
        (x.clone().add_(other, alpha=-2), A - 2 * A[::-1]), (x.clone().sub_(other, alpha=2), A - 2 * A[::-1]),
        (x.std(1, unbiased=True), A.std(1, ddof=1)), (x.var(unbiased=False), A.var()),
        (dl.triu(x, diagonal=1), np.triu(A, 1)), (x.flip(0, 1), A[::-1, ::-1]), (x.where(x > 0, 0.0), np.maximum(A, 0)),
        (dl.searchsorted(dl.tensor([1, 3]), dl.tensor([1]), right=True), [1]),
        (dl.tensor(A[None]).transpose(2, 0, 1), A[None].transpose(2, 0, 1)),
        (dl.transpose(dl.tensor(A[None]), (1, 2, 0)), A[None].transpose(1, 2, 0)),
        (dl.linalg.norm(x, dim=1, keepdim=True), np.linalg.norm(A, axis=1, keepdims=True)),
    ]:
        np.testing.assert_allclose(found, want, rtol=1e-6)
    for found in (dl.where(x > 0), dl.nonzero(x > 0, as_tuple=True), (x > 0).nonzero(as_tuple=True), np.where(x > 0)):
        assert [t.tolist() for t in found] == [t.tolist() for t in np.nonzero(A > 0)]
    assert dl.nonzero(x, as_tuple=False).shape == (12, 2) and [int(t) for t in dl.unravel_index(5, (3, 4))] == [1, 1]


def test_arguments_that_mean_nothing_keep_the_error_of_the_function():
    x = dl.tensor(A)
    for call, text in [
        (lambda: dl.where(x > 0, x), "where: missing argument 'b'"), (lambda: dl.gather(x, 1), "gather: missing arg"),
        (lambda: dl.max(x, "a"), "max: axis 'a'"), (lambda: dl.exp(), "exp: missing argument"),
        (lambda: dl.add(x, x, beta=1), "add: there is no argument 'beta'"),
        (lambda: dl.add(x, alpha=1), "add: there is no argument 'alpha'"),
        (lambda: dl.max(x, 0, 1, 2), "max: takes at most 3"),
    ]:
        with pytest.raises(TypeError, match=text):
            call()


IN_PLACE = [name for name in _operations.__all__ if _operations.is_in_place(name, getattr(dl, name))]


@pytest.mark.parametrize("name", IN_PLACE)
def test_methods_in_place_write_what_the_function_gives(name):
    function, method = getattr(dl, name), getattr(dl.Tensor, f"{name}_")
    kinds = getattr(function.op, "kinds", ("float",))
    dtype = "float64" if "float" in kinds else "int64" if "int" in kinds else "bool"
    least = 1 if name in ("acosh", "arccosh") else 0.1  # its domain
    given = [np.abs(A) * 0.5 + (1 if k else least) for k in range(len(function.op.input_names))]
    x, *rest = (dl.tensor(a).astype(dtype) for a in given)
    values = {"threshold": (0.5, 2.0)}.get(name, ())
    want, y = function(x, *rest, *values), x.clone()
    assert method(y, *rest, *values) is y and y.dtype is x.dtype
    np.testing.assert_allclose(y.numpy(), want.astype(dtype).numpy(), rtol=1e-12)


def test_methods_in_place_stay_on_the_tape():
    for name in ("relu", "abs", "sqrt", "exp", "square", "clamp", "sigmoid", "pow", "tanh", "log"):
        args = {"clamp": (0.3, 0.6), "pow": (3,)}.get(name, ())
        x = dl.tensor(np.abs(A) + 0.1, requires_grad=True)
        y = x * 2
        getattr(y, f"{name}_")(*args)
        y.sum().backward()
        want = dl.grad(getattr(dl, name)(x * 2, *args).sum(), x)
        np.testing.assert_allclose(x.grad, want[0] if isinstance(want, tuple | list) else want, rtol=1e-6)
    with pytest.raises(dl.AutogradError, match="exp_: a leaf that requires a gradient"):
        x.exp_()
    with pytest.raises(dl.DTypeError, match="sqrt_: a result of dtype float32 does not fit"):
        dl.arange(3).sqrt_()
    z = dl.tensor([-1.0, 2.0, 5.0])
    assert z.clamp_(max=3).tolist() == [-1.0, 2.0, 3.0] and z.clamp_(min=0).tolist() == [0.0, 2.0, 3.0]
    assert z.clip_(1, 2) is z and z.tolist() == [1.0, 2.0, 2.0] and dl.arange(3).neg_().tolist() == [0, -1, -2]


def test_gradients_switched():
    x = dl.ones(2, requires_grad=True)
    with dl.set_grad_enabled(False):
        assert not (x * 1).requires_grad
    assert (x * 1).requires_grad
    with dl.inference_mode():
        assert not (x * 1).requires_grad
    with dl.inference_mode(False):
        assert (x * 1).requires_grad
    dl.set_grad_enabled(False)
    try:
        assert not dl.is_grad_enabled()
        with dl.set_grad_enabled(True):
            assert (x * 1).requires_grad
        assert not dl.is_grad_enabled()
    finally:
        dl.set_grad_enabled(True)
    for decorate in (dl.inference_mode, dl.inference_mode(), lambda f: dl.set_grad_enabled(False)(f)):
        assert not decorate(lambda t: t * 1)(x).requires_grad and dl.is_grad_enabled()


def test_activations_take_inplace_and_softmax_a_dtype():
    F, x = nn.functional, dl.tensor(A)
    for call in (F.relu, F.silu, F.elu, F.hardtanh, F.mish, F.gelu, lambda x, **k: F.leaky_relu(x, 0.2, **k),
                 lambda x, **k: F.threshold(x, 0.1, 20, **k), lambda x, **k: F.dropout(x, training=False, **k)):
        assert call(x, inplace=True).tolist() == call(x).tolist() and x.tolist() == A.tolist()
        with pytest.raises(TypeError, match="inplace 'a' is neither True nor False"):
            call(x, inplace="a")
    assert nn.Dropout(0.5, inplace=True).p == 0.5 and nn.Softmin(dim=1)(x).tolist() == F.softmin(x, 1).tolist()
    for f in (F.softmax, F.log_softmax):
        wide = f(dl.tensor(A.astype(np.float64)), 1)
        for found in (f(x, 1, dtype=dl.float64), f(x, dim=1, dtype="float64"), f(x, axis=1, dtype=dl.float64)):
            assert found.dtype is dl.float64 and found.tolist() == wide.tolist()
    w = dl.tensor(A.astype(np.float16), requires_grad=True)
    F.softmax(w, dim=1, dtype=dl.float32)[:, 0].sum().backward()
    assert w.grad.dtype is dl.float16


def test_gumbel_softmax():
    F = nn.functional
    dl.manual_seed(0)
    x = dl.tensor(np.log([0.2, 0.5, 0.3]).astype(np.float32))
    drawn = F.gumbel_softmax(x.expand(20000, 3), hard=True)
    assert set(np.unique(drawn.numpy())) == {0.0, 1.0} and drawn.sum(1).tolist() == [1.0] * 20000
    np.testing.assert_allclose(drawn.mean(0), [0.2, 0.5, 0.3], atol=0.02)
    w = dl.zeros(4, 3, 5, requires_grad=True)
    hard = F.gumbel_softmax(w, tau=0.5, hard=True, dim=1)
    assert hard.shape == (4, 3, 5) and hard.sum(1).tolist() == [[1.0] * 5] * 4
    (hard * dl.arange(3).float()[:, None]).sum().backward()
    assert w.grad.abs().sum().item() > 0
    with pytest.raises(ValueError, match=r"gumbel_softmax: tau is 0\.0; it must be positive"):
        F.gumbel_softmax(x, 0.0)


def test_a_number_is_formatted_as_one():
    assert f"{dl.tensor(0.1)}" == "0.1" and f"{dl.tensor(3)}" == "3" and f"{dl.tensor(2.5, dtype='bfloat16')}" == "2.5"
    assert f"{dl.ones(()).requires_grad_():.2f}" == "1.00" and f"{dl.tensor([1, 2])}" == "tensor([1, 2])"


def test_vmap_takes_pytorchs_names():
    x, w = dl.tensor(A), dl.tensor([1.0, 2.0, 3.0, 4.0])
    found = dl.func.vmap(lambda t, u: t * u, in_dims=(0, None), out_dims=1)(x, w)
    np.testing.assert_array_equal(found, (A * w.numpy()).T)


def test_in_place_methods_keep_what_their_gradient_needs():
    x = dl.tensor([-1.0, 0.5, 3.0], requires_grad=True)
    for write in (lambda y: y.clamp_(min=0.0, max=2.0), lambda y: y.clamp_(0.0, 2.0)):
        y = x * 1.0
        assert write(y) is y and y.tolist() == [0.0, 0.5, 2.0]
        assert dl.grad(y.sum(), [x])[0].tolist() == [0.0, 1.0, 0.0]
    y = x * 1.0
    assert dl.grad(y.sin_().sum(), [x])[0].tolist() == pytest.approx(np.cos([-1.0, 0.5, 3.0]))
