"""Writes docs/names.md: every function that people know from NumPy and PyTorch, and what dlcore has of it.

`python -m bench.names`. NumPy's names are those of the NumPy that is installed, PyTorch's a committed list (torch.txt:
what `torch.overrides` tells of 2.13, less in-place forms, vendors' kernels and quantization). A name is *had* where
dlcore has a function or method of that name, *differs* where it means something else there (`DIFFERS` says what), and
is else *not had*.
"""

import importlib
import types
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dlcore as dl
from dlcore._aliases import ALIASES
from dlcore._files import write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "names.md"

DIFFERS = {
    ("numpy", "nonzero"): "a matrix with a row for each place, as PyTorch's; `np.nonzero(x)` gives NumPy's tuple",
    ("numpy", "save"): "a checkpoint of a run or model, read by `dl.load`; `np.save(file, x)` takes tensors",
    ("numpy", "load"): "reads what `dl.save` has written",
    ("numpy", "transpose"): "exchanges two axes, as PyTorch's; `x.T`, `dl.permute(x, axes)` and `np.transpose(x)`",
    ("numpy", "select"): "PyTorch's: one place along an axis; `where` of `where` chooses by conditions",
    ("numpy", "take"): "along axis 0 where none is named; `np.take(x, i)` is of the flattened array",
    ("numpy", "gradient"): "one spacing for all axes; of functions: `dl.func.grad`",
    ("torch", "dropout"): "no `training`: `nn.functional.dropout` has it",
    ("torch", "embedding"): "the arguments of `nn.functional.embedding`: indices first",
    ("torch", "equal"): "element by element, as `eq` and NumPy's; `array_equal` tells of all",
    ("torch", "flip"): "a view, as in NumPy; PyTorch's is a copy: `flip(x, 0).clone()`",
    ("torch", "fliplr"): "as `flip`",
    ("torch", "flipud"): "as `flip`",
    ("torch", "gradient"): "one spacing, a tensor where one axis is asked for",
    ("torch", "max"): "the values alone along an axis; `dl.argmax` has the indices",
    ("torch", "median"): "NumPy's: of an even number the mean of the middle two; the values alone",
    ("torch", "meshgrid"): "`indexing` is 'xy', as in NumPy",
    ("torch", "min"): "the values alone along an axis; `dl.argmin` has the indices",
    ("torch", "nanmedian"): "as `median`",
    ("torch", "quantile"): "`method` as in NumPy",
    ("torch", "rot90"): "a view, as in NumPy; PyTorch's is a copy",
    ("torch", "sort"): "the values alone, as in NumPy; `dl.argsort` has the indices",
    ("torch", "split"): "NumPy's: a number is that of the parts, not their length; `chunk`",
    ("torch", "std"): "`correction` is 0, as in NumPy; `unbiased=True` makes it 1",
    ("torch", "std_mean"): "as `std`",
    ("torch", "take"): "NumPy's: along an axis",
    ("torch", "var"): "`correction` is 0, as in NumPy; `unbiased=True` makes it 1",
    ("torch", "var_mean"): "as `var`",
}
"""(library, name) -> what it is in dlcore, where that is something else."""

NUMPY_ASIDE = frozenset(Path(__file__).with_name("numpy_aside.txt").read_text().split())
"""NumPy's functions about text, files, dates, memory and NumPy itself."""


class Part(NamedTuple):
    """A library's namespace: title, the module of dlcore that is compared, and its names."""

    library: str
    title: str
    module: str
    names: list[str]


def numpy_names(module: types.ModuleType) -> list[str]:
    """Its public functions, ufuncs among them."""
    found = (n for n in dir(module) if not n.startswith("_") and n not in NUMPY_ASIDE)
    return sorted(n for n in found if callable(getattr(module, n)) and not isinstance(getattr(module, n), type))


def torch_names() -> dict[str, list[str]]:
    """{namespace: names}, of the committed list."""
    parts: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("torch.txt").read_text().split("\n"):
        if line.startswith("# "):
            names = parts[line[2:]] = []
        elif line:
            names.append(line)
    return parts


def parts() -> list[Part]:
    """The namespaces, in the order of the page."""
    torch = torch_names()
    return [
        Part("numpy", f"NumPy {np.__version__}", "", numpy_names(np)),
        Part("numpy", "numpy.linalg", "linalg", numpy_names(np.linalg)),
        Part("torch", "PyTorch 2.13", "", torch["torch"]),
        Part("torch", "torch.nn.functional", "nn.functional", torch["torch.nn.functional"]),
        Part("torch", "torch.linalg", "linalg", torch["torch.linalg"]),
    ]


def has(module: str, name: str) -> bool:
    """Whether dlcore has it: in the module of that name, at its top, or as a method."""
    space = dl if not module else importlib.import_module(f"dlcore.{module}") if find_spec(f"dlcore.{module}") else None
    return any(hasattr(place, name) for place in (space, dl, dl.Tensor) if place is not None)


def section(part: Part) -> str:
    """The lists of one namespace."""
    differs = [n for n in part.names if (part.library, n) in DIFFERS]
    had = [n for n in part.names if n not in differs and has(part.module, n)]
    missing = [n for n in part.names if n not in differs and n not in had]
    share = round(100 * len(had) / len(part.names))
    told = f"{len(had)} of {len(part.names)} ({share} %), {len(differs)} differ, {len(missing)} are not there."
    lines = [f"## {part.title}", told, f"**Has:** {listed(had)}"]
    if differs:
        lines.append("**Differs:**\n\n" + "\n".join(f"- `{n}`: {DIFFERS[part.library, n]}" for n in differs))
    return "\n\n".join([*lines, f"**Has not:** {listed(missing)}"])


def listed(names: Iterable[str]) -> str:
    """Names in a row, an alias with what it stands for."""
    return ", ".join(f"`{n}`" + (f" (`{ALIASES[n]}`)" if n in ALIASES else "") for n in names) or "nothing"


def page() -> str:
    """The whole page."""
    head = (
        "# Names of NumPy and PyTorch\n\nWritten by `python -m bench.names`. A name that is had is a function of "
        "dlcore or a method of its tensors; in brackets stands what it is an alias of. Arguments go by NumPy's names, "
        "`axis` and `keepdims`; PyTorch's `dim` and `keepdim` are taken as well (`dlcore/_spelling.py`)."
    )
    return "\n\n".join([head, *map(section, parts())]) + "\n"


if __name__ == "__main__":
    write(PAGE, page())
