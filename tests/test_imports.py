"""The floors: imports only go down, and no module hides behind the name of a public function."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
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
        assert getattr(dlcore, name) is not None or name == "newaxis", name


def _python(program, *options, cwd=None, path=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(path), "DLCORE_DEVICE": "cpu"}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_a_sub_interpreter_is_refused():
    pytest.importorskip("_xxsubinterpreters")
    program = """
import _xxsubinterpreters as interpreters
{0}
text = "try: import dlcore\\nexcept ImportError as error: print(error)"
interpreters.run_string(interpreters.create(), text)
"""
    for first in ("", "import dlcore"):
        found = _python(program.format(first), "-P")
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith("dlcore cannot be imported in a sub-interpreter: ")


def test_folders_of_the_same_names_do_no_harm(tmp_path):
    for name in ("dlcore", "kernels"):
        (tmp_path / name).mkdir()
    program = (
        "import dlcore as dl; f = dl.capture(lambda x: (x * 2).sum()); print([f(dl.ones(2)).item() for _ in 'abc'])"
    )
    found = _python(program, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "[4.0, 4.0, 4.0]\n"), found.stderr
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "dlcore").symlink_to(ROOT)  # a checkout of that name, which is a namespace package to Python
    found = _python("import dlcore.dlcore._C as C; C.empty((2,), None)", cwd=beside, path=beside)
    assert found.returncode == 1, found.stderr


ELSEWHERE = """
import os, time
here, there = sorted(os.sched_getaffinity(0))[:2]
import dlcore as dl

dl.set_num_threads(2)
before = set(os.listdir("/proc/self/task"))
x = dl.full((1 << 20,), 0.5)
dl.exp(x)
os.sched_setaffinity(0, {here})
[worker] = set(os.listdir("/proc/self/task")) - before

def asleep():
    while (found := open(f"/proc/self/task/{worker}/stat").read().rpartition(")")[2].split())[0] != "S":
        time.sleep(0.001)
    return int(found[36])  # where it ran

moved = 0
for _ in range(10):
    os.sched_setaffinity(int(worker), {here})
    while asleep() != here:
        dl.exp(x)
    os.sched_setaffinity(int(worker), {here, there})
    dl.exp(x)
    moved += asleep() == there
    assert os.sched_getaffinity(int(worker)) == {here, there}
print(moved)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_a_worker_is_not_woken_where_the_caller_runs():
    done = _python(ELSEWHERE, "-P")
    assert int(done.stdout or 0) >= 5, done


def test_threads_that_compute_do_not_hinder_the_end():
    program = """
import threading, time
import dlcore as dl
w = dl.ones(500, 500, requires_grad=True)
def compute():
    while True:
        (w @ w).tanh().sum().backward()
for _ in range(3):
    threading.Thread(target=compute, daemon=True).start()
time.sleep({0})
"""
    for seconds in (0.02, 0.05, 0.1):
        found = _python(program.format(seconds), "-P")
        assert (found.returncode, found.stderr) == (0, "")
