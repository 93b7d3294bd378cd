"""What is known of Python and NumPy: which values never change, and which functions have no effect but their result.

These are lists of what is allowed. What is missing here costs a recording, what is here by mistake costs correctness.
"""

from __future__ import annotations

import array
import collections
import functools
import itertools
import operator
import os
import re
import sys
import types
from importlib.util import find_spec
from typing import Any

import numpy as np

import dlcore
import dlcore.kernels
from dlcore.dtypes import DType


def _folders(package: str) -> list[str]:
    """Where the modules of a package lie; nothing of it is run."""
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec is not None else []


LIBRARY = (
    *(os.path.dirname(str(m.__file__)) + os.sep for m in (dlcore, np)),
    *(os.path.join(folder, "") for folder in (*dlcore.kernels.__path__, *_folders("triton"), *_folders("cupy"))),
)
"""Folders whose code is not observed: it is judged by what it is given. Of dlcore and NumPy, in this order, then what
dlcore runs on GPUs."""
PACKAGES = frozenset(("dlcore", "numpy", "triton", "cupy"))
"""These by name, for functions that are made of text, as those of data classes."""
STANDARD = os.path.dirname(os.__file__) + os.sep
OBJECT_OF_PYTHON = 1 << 9
"""The flag of a class that a `class` statement has made (Py_TPFLAGS_HEAPTYPE; C classes may have it, too)."""

SCALARS = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented), types.CodeType,
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.MethodWrapperType, types.GenericAlias, types.UnionType, re.Pattern, re.Match,
    np.ufunc, property, staticmethod, classmethod, functools.partial, operator.itemgetter, operator.attrgetter,
    operator.methodcaller, super, object,
})  # fmt: skip
"""Classes whose instances hold nothing that can change, or are judged where they are called."""
CONSTANT = (DType,)
"""Classes of dlcore with properties that are the same for as long as the object is there."""
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
CONTAINERS = (
    list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict, collections.defaultdict,
    collections.Counter, types.MappingProxyType, array.array, bytearray, *VIEWS,
)  # fmt: skip
"""Classes whose contents can be compared."""
CONSTRUCTORS = frozenset({
    int, float, bool, str, complex, bytes, list, tuple, dict, set, frozenset, slice, range, zip, enumerate, reversed,
    object, super, bytearray, collections.deque, collections.OrderedDict, collections.defaultdict, functools.partial,
    operator.itemgetter, operator.attrgetter, operator.methodcaller, property, staticmethod, classmethod,
    types.MappingProxyType, types.MethodType, itertools.count, itertools.chain, itertools.cycle, itertools.repeat,
    itertools.islice, itertools.product, itertools.pairwise, itertools.zip_longest, itertools.permutations,
    itertools.combinations, itertools.compress,
})  # fmt: skip
"""Classes whose instances are new and made of the arguments alone."""
HIGHER_ORDER: dict[Any, int] = {
    map: 0, filter: 0, functools.reduce: 0, itertools.accumulate: 1, itertools.starmap: 0, itertools.takewhile: 0,
    itertools.dropwhile: 0, itertools.groupby: 1,
}  # fmt: skip
"""What calls one of its arguments, and which."""

BUILTINS = frozenset(
    """abs all any ascii bin callable chr divmod format hex isinstance issubclass len max min oct ord pow repr round
    sorted sum""".split()
)
"""Built-in functions that look at their arguments only. `getattr`, `iter`, `next` and others are judged one by one."""
_READS_OF_SEQUENCES = frozenset(
    """copy count index __iter__ __len__ __contains__ __eq__ __ne__ __add__ __mul__ __reversed__ __getitem__ __repr__
    __lt__ __str__ __hash__ union intersection difference issubset issuperset isdisjoint symmetric_difference tolist
    tobytes""".split()
)
_READS_OF_MAPPINGS = frozenset(
    """items keys values copy __iter__ __len__ __contains__ __reversed__ __eq__ __ne__ __or__ __repr__ __str__
    __format__""".split()
)
_READS_OF_ARRAYS = frozenset(
    """astype copy reshape sum mean max min item tolist flatten ravel transpose any all argmax argmin std var prod round
    squeeze cumsum clip tobytes swapaxes argsort dot view __len__ __getitem__ __iter__ __float__ __int__
    __index__""".split()
)
NEW_RESULTS = (_READS_OF_SEQUENCES | _READS_OF_MAPPINGS) - {"__getitem__"}
"""Methods of containers whose result is new."""
TEXTS = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented),
    types.GenericAlias, types.UnionType, re.Pattern,
})  # fmt: skip
"""Classes whose texts are made of the contents alone."""
OPERATORS = tuple(
    f"__{name}__"
    for name in """bool len eq ne lt le gt ge hash
    contains iter next reversed getitem setitem delitem missing call index
    int float complex abs neg pos invert round trunc floor ceil divmod rdivmod pow rpow add radd iadd sub
    rsub isub mul rmul imul matmul rmatmul imatmul truediv rtruediv itruediv floordiv rfloordiv ifloordiv mod
    rmod imod and rand iand or ror ior xor rxor ixor lshift rlshift ilshift rshift rrshift irshift repr str
    format bytes fspath length_hint array array_ufunc array_function enter exit""".split()
)
"""Methods that Python or C code calls without naming them."""


def reads(value: Any) -> frozenset[str]:
    """The methods of a container that change nothing."""
    if isinstance(value, np.ndarray):
        return _READS_OF_ARRAYS
    return _READS_OF_MAPPINGS if isinstance(value, dict | types.MappingProxyType) else _READS_OF_SEQUENCES


NUMPY = frozenset(
    """arange array asarray zeros ones full eye linspace logspace sqrt exp concatenate stack outer dot matmul sum mean
    max min prod cumsum tril triu where clip argmax argmin argsort sort abs round isclose allclose array_equal repeat
    tile meshgrid broadcast_to expand_dims squeeze reshape transpose ndim shape size zeros_like ones_like full_like
    diff ceil floor cumprod einsum maximum minimum finfo iinfo geomspace interp median std var hanning result_type
    promote_types""".split()
)
"""Functions of NumPy that look at their arguments only, unless they are given ``out=``."""
NUMPY_VIEWS = frozenset(("asarray", "squeeze", "reshape", "transpose", "broadcast_to", "expand_dims"))
"""Those whose result may be the argument itself."""
PURE_MODULES = frozenset(("math", "cmath", "operator", "abc", "collections"))
"""C modules whose functions look at their arguments only; of `operator`, not those that change the first one."""

NOT_IN_STEPS = (
    "dlcore.data.dataset", "dlcore.data.files", "dlcore.data.loader", "dlcore.train", "dlcore.bench", "dlcore.cli",
    "dlcore._checkpoint", "dlcore.verify", "dlcore.testing", "dlcore.roofline", "dlcore._memory", "dlcore._explain",
)  # fmt: skip
"""Parts of dlcore that work with files, clocks and the like."""

FALLS_THROUGH = frozenset(
    """LOAD_CONST LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_FAST_LOAD_FAST STORE_FAST STORE_FAST_LOAD_FAST
    STORE_FAST_STORE_FAST POP_TOP PUSH_NULL COPY SWAP RESUME PRECALL NOP CACHE RETURN_CONST END_FOR END_SEND""".split()
)
"""Instructions that move operands only, and after which nothing is looked at."""
HARMLESS = FALLS_THROUGH | frozenset(
    """RETURN_VALUE FOR_ITER LIST_APPEND SET_ADD MAP_ADD IS_OP CHECK_EXC_MATCH PUSH_EXC_INFO POP_EXCEPT RERAISE
    WITH_EXCEPT_START DELETE_FAST YIELD_VALUE SEND RETURN_GENERATOR MAKE_CELL COPY_FREE_VARS LOAD_ASSERTION_ERROR
    JUMP_FORWARD JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT EXTENDED_ARG POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE
    POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_NOT_NONE
    SETUP_ANNOTATIONS PREP_RERAISE_STAR ASYNC_GEN_WRAP INTERPRETER_EXIT CLEANUP_THROW""".split()
)
"""Instructions that read and change nothing besides operands that are looked at elsewhere."""


def is_own(module: str | None) -> bool:
    """Whether a module is part of dlcore."""
    return (module or "").partition(".")[0] == "dlcore"


def imported(name: str) -> bool:
    """Whether a module is there already."""
    return name in sys.modules
