"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim

NAMES = {"dl": dl, "nn": nn, "optim": optim, "np": np}
MODULES = [m.name for m in pkgutil.walk_packages(dl.__path__, "dlcore.") if not m.name.endswith(("_C", "__main__"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=NAMES, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_every_public_function_has_an_example():
    from dlcore import _operations, func, linalg, random

    found = [(m.__name__, n) for m in (_operations, linalg, random, func) for n in m.__all__]
    functions = [(m, n, getattr(importlib.import_module(m), n)) for m, n in found]
    without = [f"{m}.{n}" for m, n, f in functions if not isinstance(f, type) and ">>> " not in (f.__doc__ or "")]
    assert not without
