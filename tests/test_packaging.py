"""What is installed: the wheel, the dependencies, what `import dlcore` loads, the words when a build fails."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import dlcore

ROOT = Path(__file__).resolve().parents[1]
needs_source = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the source tree")


def python(*arguments, cwd=ROOT, **environment):
    """A run of this interpreter."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)


def build(tree, folder, *commands):
    """`setup.py` with every product that could be stale kept out of the tree."""
    pytest.importorskip("pybind11")
    return python("setup.py", "-q", "build", "--build-lib", folder / "lib", *commands, cwd=tree)


@needs_source
def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    done = build(ROOT, tmp_path, "bdist_wheel", "--bdist-dir", tmp_path / "bdist", "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {n for n in names if not n.startswith(f"dlcore-{dlcore.__version__}.dist-info/")}
    data = {"dlcore/py.typed", "dlcore/data/digits.npz", "dlcore/data/DIGITS.md"}
    data |= {str(p.relative_to(ROOT)) for p in (ROOT / "dlcore" / "kernels" / "shim").glob("*.h")}
    kernels = {p for p in (ROOT / "kernels").rglob("*") if p.suffix in (".py", ".cu", ".cuh")}
    data |= {f"dlcore/{p.relative_to(ROOT)}" for p in kernels}
    data |= {str(p.relative_to(ROOT)) for p in (ROOT / "dlcore" / "kernels" / "packs").glob("*.pack")}  # if made
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "dlcore").rglob("*.py*") if p.suffix in (".py", ".pyi")}
    (extension,) = (n for n in package if n.endswith(".so"))
    assert re.fullmatch(r"dlcore/_C\.[\w-]+\.so", extension)
    assert package == modules | data | {extension}


@needs_source
def test_a_folder_of_gpu_kernels_becomes_a_package(tmp_path):
    tree = tmp_path / "tree"
    for folder in ("dlcore/kernels/packs", "csrc", "kernels/probe"):
        (tree / folder).mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "dlcore/kernels/__init__.py"):
        shutil.copy(ROOT / name, tree / name)
    (tree / "dlcore" / "__init__.py").write_text('__version__ = "0"')
    (tree / "kernels" / "probe" / "__init__.py").write_text("answer = 42")
    (tree / "dlcore" / "kernels" / "packs" / "sm_90.pack").write_text("compiled")
    pytest.importorskip("pybind11")
    done = python("setup.py", "-q", "build_py", "--build-lib", tmp_path / "lib", cwd=tree)
    assert done.returncode == 0, done.stderr
    for where in (tree, tmp_path / "lib"):  # beside the sources, and installed
        program = "import dlcore.kernels.probe as p; print(p.answer, p.__file__)"
        done = python("-c", program, cwd=where, PYTHONPATH=str(where))
        assert done.stdout.startswith(f"42 {where}"), done.stderr
        assert (where / "dlcore" / "kernels" / "packs" / "sm_90.pack").read_text() == "compiled"


@needs_source
def test_without_a_compiler_one_sentence_says_what_to_install():
    pytest.importorskip("pybind11")
    done = python("setup.py", "build_ext", "--inplace", CXX="no-such-compiler")
    assert done.returncode == 1
    assert "apt-get install g++ python3-dev" in done.stderr and done.stderr.count("\n") == 1


def test_version_and_dependencies():
    try:
        distribution = importlib.metadata.distribution("dlcore")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("dlcore is built in place, not installed")
    assert distribution.version == dlcore.__version__
    core = {re.match(r"[\w-]+", r)[0] for r in distribution.requires or () if "extra ==" not in r}
    assert core == {"numpy", "ml_dtypes", "rich", "tyro"}


@needs_source
def test_a_gpu_needs_no_compiler():
    """Wheels carry the kernels compiled; what they do not hold says that it wants the extra `compile`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not any(name in r for r in extras["cuda13"] for name in ("triton", "nvrtc", "compile"))
    assert all(any(name in r for r in extras["compile"]) for name in ("triton", "nvrtc"))


def test_import_loads_neither_upper_floors_nor_heavy_packages():
    done = python("-c", "import sys, dlcore; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "dlcore._C" in loaded
    upper = {f"dlcore.{room}" for room in ("cli", "train", "data", "metrics", "kernels")}
    heavy = {"triton", "cupy", "torch", "jax", "rich", "tyro", "matplotlib", "safetensors", "pytest"}
    assert not loaded & (upper | heavy)
