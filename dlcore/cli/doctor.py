"""``dlcore doctor``: what this machine has, and whether dlcore works on it."""

from __future__ import annotations

import platform
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import dlcore as dl
from dlcore import _C
from dlcore.cli import machine
from dlcore.data.files import FASHION_FILES, find_dataset
from dlcore.kernels.binary import Pack, pack_folders

__all__ = ["run"]

_EXTRAS = {
    "plot": (("matplotlib",), "pictures of training curves"),
    "GPU": (("cupy",), "kernels on NVIDIA GPUs"),
    "compile": (("triton",), "kernels that do not come compiled with dlcore"),
}


def run() -> int:
    """Say what this machine has for dlcore, and check that it computes."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in (*_software(), *_hardware(), *_data(), *_extras()):
        table.add_row(name, text)
    worked, check = _check()
    table.add_row("check", f"[green]{check}[/]" if worked else f"[red]{check}[/]")
    Console(highlight=False).print(table)
    return 0 if worked else 1


def _software() -> list[tuple[str, str]]:
    versions = ", ".join(f"{p} {machine.package(p)}" for p in ("numpy", "ml_dtypes", "rich", "tyro"))
    return [
        ("dlcore", f"{dl.__version__} in {dl.__path__[0]}"),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", f"{platform.platform()}, {platform.machine()}"),
        ("packages", versions),
        ("C++ part", f"{_C.__file__}, compiler {_C.compiler}, {len(_C.kernel_names())} kernels"),
        ("GPU kernels", _packs()),
    ]


def _packs() -> str:
    """The packs of compiled kernels that are looked into."""
    found = (Pack(path) for folder in pack_folders() for path in sorted(folder.glob("*.pack")))
    texts = [f"{p.index.arch}: {len(p.index.kernels):,} ({', '.join(p.index.compilers)})" for p in found]
    return "; ".join(texts) or "none compiled (make packs; DLCORE_KERNELS names folders of them)"


def _hardware() -> list[tuple[str, str]]:
    names, found = machine.gpu()
    return [
        ("CPU", f"{machine.cpu_model()}, {machine.usable_cpus()} usable"),
        ("kernels", f"for {_C.isa()}, on {dl.get_num_threads()} threads"),
        ("memory", f"{machine.memory_gib():.1f} GiB"),
        ("GPU", f"{', '.join(names)} ({found})" if names else f"none ({found})"),
        ("device", f"{dl.zeros(1).device} (DLCORE_DEVICE chooses another)"),
    ]


def _data() -> list[tuple[str, str]]:
    folder = find_dataset("fashion-mnist", FASHION_FILES)
    text = f"found in {folder}" if folder else "not found: set DLCORE_DATA to the folder that holds fashion-mnist/"
    return [("digits", "shipped with dlcore"), ("Fashion-MNIST", text)]


def _extras() -> list[tuple[str, str]]:
    rows = []
    for name, (packages, purpose) in _EXTRAS.items():
        states = (f"{p} {machine.package(p) or 'not installed'}" for p in packages)
        rows.append((f"extra: {name}", f"{', '.join(states)} ({purpose})"))
    return rows


def _check() -> tuple[bool, str]:
    """A small product with its gradient, against NumPy."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((33, 65)), rng.standard_normal((65, 17))
    x = dl.tensor(a.astype(np.float32), requires_grad=True)
    y = x @ dl.tensor(b.astype(np.float32))
    y.sum().backward()
    error = max(
        float(np.abs(np.asarray(y.detach()) - a @ b).max()),
        float(np.abs(np.asarray(x.grad) - b.sum(axis=1)).max()),
    )
    return error < 1e-4, f"matrix product and gradient differ from NumPy's by at most {error:.1e}"
