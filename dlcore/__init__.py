"""dlcore: a small deep learning engine whose every operation is hand-written, readable and measured.

    import dlcore as dl
    from dlcore import nn, optim

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    loss = dl.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()

Tensors, operations and gradients are here; `nn`, `optim`, `data`, `train` and the rest load when first used.
"""

import math as _math
import typing as _typing
from importlib import import_module as _import_module

from dlcore._C import set_thread_count as set_num_threads
from dlcore._C import thread_count as get_num_threads
from dlcore._device import Device, default_device, device, empty_cache, set_default_device, synchronize
from dlcore.dtypes import default_float as get_default_dtype
from dlcore.dtypes import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from dlcore.errors import AnomalyError, AutogradError, CaptureError, DeviceError, DTypeError, ShapeError
from dlcore import _dispatch as _dispatch  # binds the planner before any operation runs
from dlcore import _operations
from dlcore._operations import *  # noqa: F403
from dlcore._array_api import VERSION as __array_api_version__
from dlcore._array_api import namespace_info as __array_namespace_info__
from dlcore._autocast import autocast, autocast_dtype
from dlcore._autograd import enable_grad, grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from dlcore._creation import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    geomspace,
    identity,
    linspace,
    logspace,
    ones,
    ones_like,
    tri,
    zeros,
    zeros_like,
)
from dlcore._dtype_functions import can_cast, finfo, iinfo, isdtype, promote_types, result_type
from dlcore._from_data import array, as_tensor, asarray, from_dlpack, from_numpy, is_tensor, tensor
from dlcore._indexing import index_put
from dlcore._printing import get_printoptions, printoptions, set_printoptions
from dlcore._spelling import UnknownName as _UnknownName
from dlcore._tensor import Parameter, Tensor

if _typing.TYPE_CHECKING:
    from dlcore import cuda, data, export, func, linalg, metrics, models, nn, optim, random, runs, testing, train
    from dlcore._anomaly import detect_anomaly
    from dlcore._attention import qkv_attention, scaled_dot_product_attention
    from dlcore._capture import capture
    from dlcore._checkpoint import load, load_state, save
    from dlcore._recordable import Recordable
    from dlcore._summary import summary
    from dlcore.func import checkpoint
    from dlcore.linalg import cholesky, det, logdet, matrix_exp, matrix_power, slogdet
    from dlcore.linalg import inv as inverse
    from dlcore.linalg import pinv as pinverse
    from dlcore.random import (
        bernoulli,
        dropout,
        manual_seed,
        multinomial,
        poisson,
        rand,
        rand_like,
        randint,
        randint_like,
        randn,
        randn_like,
        randperm,
    )
    from dlcore.train import evaluate, fit, predict

__version__ = "0.1.0"

# Other names of dtypes; not in __all__, so that `from dlcore import *` keeps Python's.
bool: DType = bool_  # the array API's
double: DType = float64  # PyTorch's, as those below
float: DType = float32
half: DType = float16
int: DType = int32
long: DType = int64
short: DType = int16

e = _math.e
inf = _math.inf
nan = _math.nan
pi = _math.pi
newaxis: None = None
"""An index that makes an axis of length 1: ``x[:, dl.newaxis]``."""

__all__ = [
    "AnomalyError",
    "AutogradError",
    "CaptureError",
    "DType",
    "DTypeError",
    "Device",
    "DeviceError",
    "Parameter",
    "Recordable",
    "ShapeError",
    "Tensor",
    "arange",
    "array",
    "as_tensor",
    "asarray",
    "autocast",
    "autocast_dtype",
    "bernoulli",
    "bfloat16",
    "bool_",
    "can_cast",
    "capture",
    "data",
    "default_device",
    "detect_anomaly",
    "device",
    "dropout",
    "e",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "evaluate",
    "export",
    "eye",
    "finfo",
    "fit",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "geomspace",
    "get_default_dtype",
    "get_num_threads",
    "get_printoptions",
    "grad",
    "identity",
    "iinfo",
    "index_put",
    "inf",
    "inference_mode",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_tensor",
    "isdtype",
    "linspace",
    "load",
    "load_state",
    "logspace",
    "manual_seed",
    "metrics",
    "models",
    "multinomial",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "pi",
    "poisson",
    "predict",
    "printoptions",
    "promote_types",
    "qkv_attention",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "random",
    "randperm",
    "result_type",
    "runs",
    "save",
    "scaled_dot_product_attention",
    "set_default_device",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "summary",
    "synchronize",
    "tensor",
    "train",
    "tri",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "zeros",
    "zeros_like",
]  # fmt: skip
__all__ += _operations.__all__
__all__ += [
    "checkpoint", "cholesky", "cuda", "det", "func", "inverse", "logdet", "matrix_exp", "matrix_power", "pinverse",
    "slogdet", "testing",
]  # fmt: skip

_LAZY = {  # name -> (module, attribute or None for the module itself)
    "nn": ("dlcore.nn", None),
    "cuda": ("dlcore.cuda", None),
    "cholesky": ("dlcore.linalg", "cholesky"),
    "det": ("dlcore.linalg", "det"),
    "inverse": ("dlcore.linalg", "inv"),
    "logdet": ("dlcore.linalg", "logdet"),
    "matrix_exp": ("dlcore.linalg", "matrix_exp"),
    "matrix_power": ("dlcore.linalg", "matrix_power"),
    "pinverse": ("dlcore.linalg", "pinv"),
    "slogdet": ("dlcore.linalg", "slogdet"),
    "linalg": ("dlcore.linalg", None),
    "optim": ("dlcore.optim", None),
    "func": ("dlcore.func", None),
    "testing": ("dlcore.testing", None),
    "checkpoint": ("dlcore.func", "checkpoint"),
    "data": ("dlcore.data", None),
    "train": ("dlcore.train", None),
    "metrics": ("dlcore.metrics", None),
    "models": ("dlcore.models", None),
    "runs": ("dlcore.runs", None),
    "export": ("dlcore.export", None),
    "random": ("dlcore.random", None),
    "fit": ("dlcore.train", "fit"),
    "evaluate": ("dlcore.train", "evaluate"),
    "predict": ("dlcore.train", "predict"),
    "save": ("dlcore._checkpoint", "save"),
    "load": ("dlcore._checkpoint", "load"),
    "load_state": ("dlcore._checkpoint", "load_state"),
    "manual_seed": ("dlcore.random", "manual_seed"),
    "rand": ("dlcore.random", "rand"),
    "randn": ("dlcore.random", "randn"),
    "randint": ("dlcore.random", "randint"),
    "randperm": ("dlcore.random", "randperm"),
    "dropout": ("dlcore.random", "dropout"),
    "qkv_attention": ("dlcore._attention", "qkv_attention"),
    "scaled_dot_product_attention": ("dlcore._attention", "scaled_dot_product_attention"),
    "randn_like": ("dlcore.random", "randn_like"),
    "randint_like": ("dlcore.random", "randint_like"),
    "rand_like": ("dlcore.random", "rand_like"),
    "poisson": ("dlcore.random", "poisson"),
    "bernoulli": ("dlcore.random", "bernoulli"),
    "multinomial": ("dlcore.random", "multinomial"),
    "capture": ("dlcore._capture", "capture"),
    "detect_anomaly": ("dlcore._anomaly", "detect_anomaly"),
    "summary": ("dlcore._summary", "summary"),
    "Recordable": ("dlcore._recordable", "Recordable"),
}


if not _typing.TYPE_CHECKING:  # type checkers know these names from above, and that there are no others

    def __getattr__(name: str) -> _typing.Any:
        """Loads the upper floors when they are first asked for (PEP 562)."""
        if name not in _LAZY:
            raise _UnknownName("dlcore", name, __dir__)
        module, attribute = _LAZY[name]
        found = _import_module(module)
        value = getattr(found, attribute) if attribute else found
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.endswith("__"))})

