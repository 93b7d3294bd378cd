"""The floors: imports only go down, and no module hides behind the name of a public function."""

import ast
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


def _modules() -> dict[str, ast.Module]:
    """Every module of dlcore by its name, parsed."""
    found = {}
    for path in (ROOT / "dlcore").rglob("*.py"):
        *folders, file = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(folders if file == "__init__" else [*folders, file])] = ast.parse(path.read_text())
    return found


def _imports(tree: ast.Module, modules: dict[str, ast.Module]) -> set[str]:
    """The modules of dlcore that a module imports: at its top, in functions, and for type checkers alike."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used, and not understood here"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner if inner <= modules.keys() else {node.module, *inner}
    return names & modules.keys()


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules each of which imports all the others, directly or through more of them."""
    reached = {name: set(graph[name]) for name in graph}
    for through in graph:
        for targets in reached.values():
            if through in targets:
                targets |= reached[through]
    groups = {tuple(sorted(m for m in graph if m in reached[n] and n in reached[m])) for n in graph if n in reached[n]}
    return sorted(map(list, groups))


def test_no_two_modules_import_each_other_in_a_circle():
    modules = _modules()
    graph = {name: _imports(tree, modules) for name, tree in modules.items()}
    del graph["dlcore"]  # the package makes the public interface of them all; they take only `_C` from it
    graph = {name: targets - {"dlcore"} for name, targets in graph.items()}
    assert len(graph) > 80
    assert _circles(graph) == []


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert _circles(graph) == [["a", "b", "c"], ["e", "f"]]


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
