"""The floors: imports only go down, and no module hides behind the name of a public function."""

import importlib
import pkgutil
import types
from pathlib import Path

import pytest

import dlcore

ROOT = Path(__file__).resolve().parents[1]


def test_imports_only_go_down(monkeypatch):
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(config_filename="pyproject.toml") == cli.EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("package", ["dlcore", "dlcore.nn", "dlcore.optim", "dlcore.data", "dlcore.train"])
def test_no_module_bears_the_name_of_a_public_function(package):
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(module.__path__):
        if not info.name.startswith("_"):
            importlib.import_module(f"{package}.{info.name}")
    submodules = {info.name for info in pkgutil.iter_modules(module.__path__)}
    public = set(getattr(module, "__all__", dir(module)))
    assert not {n for n in submodules & public if not isinstance(getattr(module, n), types.ModuleType)}


def test_every_public_name_resolves():
    for name in dir(dlcore):
        assert getattr(dlcore, name) is not None, name
