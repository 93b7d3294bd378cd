"""What callers may pass: one door for whole numbers, numbers, truth values, shapes, axes and dtypes."""

import enum
import re

import numpy as np
import pytest

import dlcore as dl
from dlcore import _C, nn
from dlcore._arguments import remembered, shown
from dlcore.op import function
from dlcore.ops import activation
from dlcore.train import EarlyStopping

x = dl.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
y = np.array([0, 1])


class Index:
    """An integer that can change."""

    def __init__(self, value: int):
        self.value = value

    def __repr__(self):
        return "Index()"

    def __index__(self) -> int:
        return self.value


@pytest.mark.parametrize("one", [1, np.int8(1), np.int64(1), np.array(1), dl.tensor(1), Index(1)], ids=repr)
def test_whole_numbers_are_what_index_takes(one):
    assert dl.sum(x, one).tolist() == [3.0, 12.0]
    assert dl.softmax(x, one).shape == (2, 3)
    assert dl.transpose(x, 0, one).shape == (3, 2)
    assert dl.unsqueeze(x, one).shape == (2, 1, 3)
    assert dl.ones(2, one).shape == dl.ones((2, one)).shape == (2, 1)
    assert dl.arange(one).tolist() == [0]
    assert nn.Linear(one, one).weight.shape == (1, 1)


@pytest.mark.parametrize(
    "wrong", [True, np.True_, dl.tensor(True), 1.0, np.float32(1), "1", None, [1.5], b"a", dl.tensor(1.0)], ids=repr,
)  # fmt: skip
def test_what_is_no_whole_number_is_refused_alike(wrong):
    for text, call in {
        "softmax: axis": lambda: dl.softmax(x, wrong), "gather: axis": lambda: dl.gather(x, dl.tensor([[0]]), wrong),
        "transpose: axis0": lambda: dl.transpose(x, wrong), "unsqueeze: axis": lambda: dl.unsqueeze(x, wrong),
        "flatten: start_axis": lambda: dl.flatten(x, wrong), "stack: axis": lambda: dl.stack([x, x], wrong),
        "ones: shape": lambda: dl.ones((2, wrong)), "reshape: shape": lambda: x.reshape(2, wrong),
        "Linear: in_features": lambda: nn.Linear(wrong, 2), "Softmax: dim": lambda: nn.Softmax(wrong),
        "cross_entropy: ignore_index": lambda: dl.cross_entropy(x, y, ignore_index=wrong),
        "randint: high": lambda: dl.randint(0, wrong if wrong is not None else 1.0, 2),
    }.items():  # fmt: skip
        with pytest.raises(TypeError, match=f"^{text} "):
            call()


def test_plans_are_found_by_what_attributes_are_and_not_by_objects_that_change():
    axis, t = Index(0), dl.tensor(0)
    assert dl.sum(x, axis).shape == dl.sum(x, t).shape == (3,)
    axis.value = 1
    t.fill_(1)
    assert dl.sum(x, axis).shape == dl.sum(x, t).shape == (2,)
    assert dl.sum(x, (1,)).shape == (2,)
    for equal in (1.0, True):  # equal to 1, and with the same hash
        with pytest.raises(TypeError, match="sum: axis"):
            dl.sum(x, (equal,))


def test_an_error_names_the_function_that_was_called():
    for error, text, call in [
        (IndexError, "stack: axis 9 is out of range for shape (2, 3, 1)", lambda: dl.stack([x, x], 9)),
        (IndexError, "getitem: index 5 at position 1 is out of range for axis 0 of length 2", lambda: x[[0, 5]]),
        (IndexError, "getitem: slice('a', None, None) is not made of integers, or its step is 0", lambda: x["a":]),
        (TypeError, "clip: operand 'min' 'a' is not a tensor or number", lambda: dl.clip(x, "a")),
        (ValueError, "ones: negative length in shape (-1,)", lambda: dl.ones(-1)),
        (ValueError, "linspace: num is -1; it must be at least 0", lambda: dl.linspace(0, 1, -1)),
        (ValueError, "eye: n is -1; it must be at least 0", lambda: dl.eye(-1)),
        (ValueError, "squeeze: an axis is given twice: (0, 0) for shape (1,)", lambda: dl.squeeze(dl.ones(1), (0, 0))),
        (TypeError, "argmax: axis (0, 2) is not an integer", lambda: dl.argmax(x, (0, 2))),
        (TypeError, "concat: operand 'tensors' None is not a tensor or number", lambda: dl.concat([x, None])),
        (TypeError, "stack: operand 'tensors' is a number, not a tensor", lambda: dl.stack([1, 2.0])),
        (TypeError, "concat: operand 'tensors' is a Tensor, not a sequence of tensors", lambda: dl.concat(x, x)),
        (TypeError, "max: there is no argument 'axs' (there are x, axis, keepdims)", lambda: dl.max(x, axs=1)),
        (TypeError, "Parameter: source 1 is not a tensor; make one with dlcore.tensor(data)", lambda: nn.Parameter(1)),
        (TypeError, "backward: gradient 2.0 is not a tensor", lambda: dl.ones(1, requires_grad=True).backward(2.0)),
        (TypeError, "grad: output None is not a tensor", lambda: dl.grad(None, [dl.ones(1, requires_grad=True)])),
        (TypeError, "uniform_: a 'low' is not a number", lambda: nn.init.uniform_(dl.ones(2), "low")),
    ]:  # fmt: skip
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == text


def test_numbers_and_dtypes_that_dlcore_does_not_have_are_named_with_their_operand():
    for value in (np.complex64(1 + 2j), np.ones(2, np.complex128), np.array(["a", "b"]), np.array([None])):
        with pytest.raises(dl.DTypeError, match=r"^mul: operand 'a' .* is not a dtype of dlcore \(known: bool"):
            dl.mul(value, x)
    for dtype in (None, "int7", int | None, np.complex64, [1]):
        with pytest.raises(dl.DTypeError, match=r"^cast: dtype .* is not a dtype of dlcore"):
            dl.cast(x, dtype)
    assert (x + np.ones(3, ">f4")).tolist() == (x + 1).tolist()
    assert (x + enum.IntEnum("Count", {"TWO": 2}).TWO).tolist() == (x + 2).tolist()


def test_operations_that_are_not_public_check_what_public_ones_do():
    with pytest.raises(dl.DTypeError, match="take_backward: does not take bool"):
        function("take_backward")(dl.zeros(2, 3, dtype="bool"), y, (5, 3))
    with pytest.raises(dl.ShapeError, match="negative length"):
        function("slice_backward")(dl.zeros(0, 3), (-5, 3), ((0, 0, 1),))
    with pytest.raises(dl.ShapeError, match="nonzero_sized: negative length in shape"):
        function("nonzero_sized")(x > 1, -12)
    with pytest.raises(TypeError, match="add: in place it takes as many operands as its 2"):
        dl.add.inplace(x, 1, 2, 3)
    with pytest.raises(TypeError, match="an operation with one result is wanted in place"):
        function("linear_backward").inplace(dl.ones(2, 2), x, dl.ones(2, 3), None)
    for arguments in [((1,), (x,), None), ((x,), (), None), ((x,), (x,), (None,)), ((x,), (dl.ones(5),), None)]:
        with pytest.raises((TypeError, ValueError), match=r"^backward: "):
            _C.backward(*arguments, False, False)


def test_numpys_reductions_take_tensors():
    assert np.sum(x) == 15.0 and np.mean(x, 0).tolist() == [1.5, 2.5, 3.5]


def test_fit_says_what_is_wrong_before_anything_happens():
    def fit(**given):
        model = nn.Linear(3, 2)
        optimizer = dl.optim.SGD(model.parameters(), 0.1)
        data = np.ones((2, 3), np.float32), y
        return dl.fit(model, data, **{"loss": dl.cross_entropy, "optimizer": optimizer, "epochs": 1, **given})

    for text, given in {
        "fit: callbacks[0] the class EarlyStopping is not a function": {"callbacks": [EarlyStopping]},
        "fit: metrics 'accuracy' is not a list of": {"metrics": "accuracy"},
        "fit: optimizer the class SGD is not an optimizer": {"optimizer": dl.optim.SGD},
        "fit: loss 3 is not a function": {"loss": 3}, "fit: epochs 1.5 is not an integer": {"epochs": 1.5},
        "fit: batch_size '3' is not an integer": {"batch_size": "3"},
        "fit: transform 3 is not a function": {"transform": 3},
    }.items():  # fmt: skip
        with pytest.raises(TypeError) as raised:
            fit(**given)
        assert str(raised.value).startswith(text)


def test_what_was_given_is_shown_on_one_short_line():
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(10**5000) == "an integer of 16610 bits"
    assert shown([Broken(), x, "a" * 1000]).startswith("[a Broken, a tensor of shape (2, 3) and dtype float32, 'aaa")
    assert len(shown(list(range(1000)))) < 100


def test_an_error_in_a_composite_names_the_operation_that_was_called():
    """tanh's gradient with a history is made of `square`, `sub` and `mul`, of which the caller knows nothing."""
    result = activation.tanh_backward(dl.ones((2,), requires_grad=True), True)
    with pytest.raises(dl.DTypeError, match=r"^tanh_backward: does not take bool"):
        result.sum().backward()


@pytest.mark.parametrize("value", [3, "flip", int, dl.ones(2)], ids=["number", "text", "class", "tensor"])
def test_a_transform_is_a_function(value):
    for make in (dl.data.DataLoader, dl.data.Batches):
        with pytest.raises(TypeError, match=f"{make.__name__}: transform .* is not a function"):
            make(dl.data.TensorDataset(np.zeros((4, 2), np.float32)), transform=value)


def test_a_number_of_threads_is_a_whole_number():
    before = dl.get_num_threads()
    try:
        for wrong in (1.5, "2", None, True, [1]):
            with pytest.raises(TypeError, match=r"set_num_threads: n .* is not an integer"):
                dl.set_num_threads(wrong)
        for wrong in (0, -1, -(2**70)):
            with pytest.raises(ValueError, match="set_num_threads: at least one thread"):
                dl.set_num_threads(wrong)
        dl.set_num_threads(np.int64(2))
        assert dl.get_num_threads() in (1, 2)
    finally:
        dl.set_num_threads(before)


# ---- what is remembered -------------------------------------------------------------------------------------------


def test_a_remembered_function_runs_once_for_equal_plain_arguments():
    calls = []
    function = remembered(lambda *args: calls.append(args) or len(calls))
    assert [function((2, 3), 1), function((2, 3), 1), function((2, 3), [1]), function((2, 3), (1,))] == [1, 1, 2, 2]
    assert function((2, 3), None) == 3 and function((2, 3), "a") == 4 and len(calls) == 4


def test_a_remembered_function_tells_numbers_apart_that_are_equal():
    x = dl.arange(6).reshape(2, 3)
    assert dl.flip(x, 1).tolist() == dl.flip(x, [1]).tolist() == [[2, 1, 0], [5, 4, 3]]
    for axis in (True, 1.0, (True,), (1.0,), [[1]]):
        for _ in range(2):
            with pytest.raises(TypeError, match="flip: axis"):
                dl.flip(x, axis)


def test_a_remembered_function_forgets_errors_and_keeps_no_more_than_a_thousand():
    calls = []

    def function(n):
        calls.append(n)
        if n < 0:
            raise ValueError("negative")
        return n

    kept = remembered(function)
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            kept(-1)
    assert len(calls) == 2
    assert [kept(n) for n in range(1030)] == list(range(1030))
    assert kept(1029) == 1029 and len(calls) == 1032  # one of those after all were forgotten


def test_errors_name_the_function_that_was_called():
    x = dl.ones(3, 4)
    for call, text in (
        (lambda: x.max(dl.ones(2, 3)), "max: shapes do not broadcast: (3, 4) and (2, 3)"),
        (lambda: dl.min(x, dl.ones(2, 3)), "min: shapes do not broadcast: (3, 4) and (2, 3)"),
        (lambda: dl.digitize(x, x), "digitize: "),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(text)):
            call()


def test_a_mask_leaves_an_output():
    halves = function("swiglu_backward")
    for mask in ((False,), (False, False), (False, True)):  # of halves both gradients are in the first output
        with pytest.raises(ValueError, match=r"^swiglu_backward: its mask leaves no output"):
            halves(dl.ones(2, 3), dl.ones(2, 6), None, -1, mask)
    with pytest.raises(ValueError, match=r"^layer_norm_backward: its mask leaves no output"):
        one, row = dl.ones(2, 3), dl.ones(2)
        function("layer_norm_backward")(one, one, row, row, None, (False, False, False))


def test_windows_of_a_gradient_without_space():
    call = function("avg_pool_backward")
    with pytest.raises(dl.ShapeError, match=r"^avg_pool_backward: "):
        call(dl.tensor(0.0), (5, 4), (), (), (), True, 0, "NHWC")


@pytest.mark.parametrize("name", [
    "adaptive_avg_pool1d", "array_split", "flip", "index_select", "moveaxis", "narrow", "pad", "roll", "select",
    "stack", "sum", "swapaxes", "tile", "unsqueeze",
])  # fmt: skip
def test_an_axis_or_a_number_that_is_a_tensor_is_read_at_each_call(name):
    """What a tensor among the arguments meant is kept by its shape, unless its values were read meanwhile."""
    x = dl.arange(24.0).reshape(2, 3, 4)
    calls = {
        "index_select": lambda k: dl.index_select(x, k, dl.tensor([0])), "narrow": lambda k: dl.narrow(x, 1, k, 1),
        "moveaxis": lambda k: dl.moveaxis(x, k, 2), "swapaxes": lambda k: dl.swapaxes(x, k, 2),
        "select": lambda k: dl.select(x, 0, k), "stack": lambda k: dl.stack([x, x], k),
        "array_split": lambda k: dl.array_split(x, k + 1, 2)[0],
        "adaptive_avg_pool1d": lambda k: dl.adaptive_avg_pool1d(x, k + 1),
    }
    call = calls.get(name, lambda k: getattr(dl, name)(x, k))
    for k in (0, 1, 0):
        for given in (dl.tensor(k), np.array(k)):
            found, want = call(given), call(k)
            assert found.shape == want.shape and found.tolist() == want.tolist()
    for several in ([0, 1], [1, 0], [1, 2]):
        assert dl.tile(x, dl.tensor(several)).tolist() == dl.tile(x, several).tolist()
