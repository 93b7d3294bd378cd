"""``dlcore verify --compile``: that the GPU kernels compile, and to what, with no GPU at hand."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dlcore._files import write
from dlcore.bench.show import fitted
from dlcore.cli.programs import DTYPES, Asked, architecture, programs, with_kernels
from dlcore.cli.progress import Stages
from dlcore.dtypes import DType
from dlcore.kernels import binary as storage
from dlcore.kernels.binary import Binary
from dlcore.kernels.compile import CompileError, compile_many
from dlcore.kernels.language import Kernel
from dlcore.kernels.launch import ARCHES, OTHER_ARCHES, Arch, prepared
from dlcore.kernels.specialise import Specialised, specialise

__all__ = ["compile_kernels"]

_ARCHES = ARCHES | OTHER_ARCHES


class Wanted(NamedTuple):
    """One binary to compile, and what it is for: "softmax float32 one tile"."""

    specialised: Specialised
    purpose: str

    def __str__(self) -> str:
        return f"{self.specialised.kernel.name} {self.specialised.arch} ({self.purpose})"


class Result(NamedTuple):
    """What came of it: a Binary, or the text of what went wrong."""

    wanted: Wanted
    found: Binary | str

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        return (self.found,) if isinstance(self.found, str) else self.found.problems


def compile_kernels(
    console: Console,
    arches: Sequence[str],
    families: Sequence[str],
    everything: bool,
    out: Path | None,
    jobs: int,
    report: Path | None,
) -> int:
    """Compiles what the samples of the operations need, shows a table of it, and returns the exit code.

    ``out``: where a pack of the binaries goes; ``report``: the file that the table in docs/kernels.md goes to.
    """
    wanted, broken = _wanted([architecture(a) for a in arches], families, everything, console)
    results = _compile(wanted, jobs, console)
    _show(results, console)
    failures = [*broken, *(f"{r.wanted}: {p}" for r in results for p in r.problems)]
    for text in failures:
        console.print(f"[red]problem[/] {escape(text)}", soft_wrap=True)
    if out is not None:
        made = [(r.wanted.specialised.key, r.found) for r in results if isinstance(r.found, Binary)]
        for pack, count in storage.write_packs(out, made).items():
            console.print(f"{pack} has {count} kernels: set DLCORE_KERNELS={out} where they are to be used")
    if report is not None:
        write(report, _report(results))
    console.print(f"{len(results)} kernels, {len(failures)} problem(s)")
    return 1 if failures else 0


# ---- what to compile ----------------------------------------------------------------------------------------------


def _wanted(
    arches: Sequence[Arch], families: Sequence[str], everything: bool, console: Console
) -> tuple[list[Wanted], list[str]]:
    """The distinct binaries, and the errors of planners.

    Unless ``everything``: those of large shapes, and for each kernel, row and architecture those of one dtype, which
    goes round, and of the largest sample.
    """
    found: dict[Any, tuple[tuple[int, int], Wanted]] = {}
    broken: dict[str, str] = {}
    with Stages(console) as progress:
        for op in progress.track(with_kernels(families), description="planning"):
            for asked in programs(op, arches, everything):
                purpose = f"{op.name}, {asked.dtype.name}, {asked.why}"
                if isinstance(asked.program, Exception):
                    broken[purpose] = f"{purpose}: its planner raised {asked.program!r}"
                    continue
                for size, specialised in _launches(asked, broken, purpose):
                    all_of_them = everything or asked.large
                    key = specialised.key if all_of_them else _kind(op.name, specialised)
                    rank = -_turn(asked.dtype, _kind(op.name, specialised)), size
                    if key not in found or rank > found[key][0]:
                        found[key] = rank, Wanted(specialised, purpose)
    distinct = {w.specialised.key: w for _, w in found.values()}
    return list(distinct.values()), list(broken.values())


def _kind(row: str, specialised: Specialised) -> tuple[str, ...]:
    """What is compiled once: a kernel for an operation and an architecture, with the functions it is given."""
    functions = [v.name for _, v in specialised.constants if isinstance(v, Kernel)]
    return (_base(specialised), row, specialised.arch, *functions)


def _base(specialised: Specialised) -> str:
    """The kernel's name; instances of a C++ template share it."""
    return str(specialised.kernel.name).partition("<")[0]


def _turn(dtype: DType, kind: tuple[str, ...]) -> int:
    """0 for the dtype whose turn it is: another for each architecture and kernel."""
    if dtype not in DTYPES:
        return 0
    name, row, arch, *functions = kind
    place = zlib.crc32("".join([name, row, *functions]).encode()) + _order(arch)
    return (DTYPES.index(dtype) - place) % len(DTYPES)


def _launches(asked: Asked, broken: dict[str, str], purpose: str) -> Iterable[tuple[int, Specialised]]:
    assert not isinstance(asked.program, Exception)
    call = prepared(asked.call, asked.program)
    size = sum(v.size for v in (*call.inputs, *call.outputs) if v is not None)
    for launch in asked.program.launches:
        try:
            yield size, specialise(launch, call)[0]
        except (ValueError, FileNotFoundError) as error:
            broken[purpose] = f"{purpose}: {error}"


# ---- compiling ----------------------------------------------------------------------------------------------------


def _compile(wanted: Sequence[Wanted], jobs: int, console: Console) -> list[Result]:
    """All of them, sorted by kernel and architecture."""
    with Stages(console) as progress:
        task = progress.add_task("compiling", total=len(wanted))
        made = compile_many([w.specialised for w in wanted], jobs, lambda: progress.advance(task))
    texts = [str(m) if isinstance(m, CompileError) else m for m in made]
    results = [Result(w, m) for w, m in zip(wanted, texts, strict=True)]
    return sorted(results, key=lambda r: (r.wanted.specialised.kernel.name, _order(r.wanted.specialised.arch)))


def _order(arch: str) -> int:
    return list(_ARCHES).index(arch)


# ---- tables -------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """All binaries of one kernel for one architecture."""

    made: list[Binary]
    problems: list[str]

    def span(self, values: Iterable[float], unit: str = "") -> str:
        """The smallest and the largest of ``values``."""
        numbers = sorted({round(v, 1) for v in values})
        ends = [f"{n:g}" for n in (numbers[:1] + numbers[-1:] if len(numbers) > 1 else numbers)]
        return "-".join(ends) + unit

    @property
    def registers(self) -> str:
        """Registers a thread."""
        return self.span(b.registers for b in self.made)

    @property
    def shared(self) -> str:
        """KiB of shared memory a block."""
        return self.span((b.shared + b.static_shared) / 1024 for b in self.made)

    @property
    def matrix(self) -> str:
        """Matrix instructions; several shapes are left out."""
        found = sorted({b.matrix for b in self.made if b.matrix})
        return found[0] if len(found) == 1 else " ".join(sorted({m.split()[0] for m in found}))

    @property
    def loads(self) -> str:
        """How global memory is read, and by what."""
        counts: dict[str, int] = defaultdict(int)
        for b in self.made:
            for name in ("tma", "cp.async", "ld.v4", "ld.v2", "ld"):
                counts[name] += bool(b.instructions.get(name))
        return " ".join(name for name, n in counts.items() if n)


def _groups(results: Iterable[Result]) -> dict[tuple[str, str], Group]:
    groups: dict[tuple[str, str], Group] = {}
    for r in results:
        group = groups.setdefault((_base(r.wanted.specialised), r.wanted.specialised.arch), Group([], []))
        if isinstance(r.found, Binary):
            group.made.append(r.found)
        group.problems.extend(r.problems)
    return groups


def _show(results: Iterable[Result], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("kernel", "arch"):
        table.add_column(column, no_wrap=True)
    for column in ("binaries", "registers", "spills", "shared KiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("matrix", "reads by", "problems"):
        table.add_column(column, no_wrap=True)
    last = ""
    for (name, arch), group in _groups(results).items():
        spills = max((b.spills for b in group.made), default=0)
        problems = f"[red]{len(group.problems)}[/]" if group.problems else "[green]none[/]"
        table.add_row(
            "" if name == last else escape(name), arch, str(len(group.made)), group.registers, str(spills),
            group.shared, group.matrix, group.loads, problems,
        )  # fmt: skip
        last = name
    console.print(fitted(table, console, ("reads by", "matrix", "shared KiB", "binaries")))


_HEAD = """# GPU kernels and what they compile to

Written by `dlcore verify --compile --report docs/kernels.md` (or `make kernels`), which compiles every kernel in the
ways that the samples of the operations and some large shapes need, and reads the result; no GPU takes part. Nothing
here was timed, and nothing of it has run on a GPU yet.

What happens at the first command on a machine with a GPU: each operation's planner chooses a kernel for its shapes, and
its binary is looked up by what it was specialised for: in the packs of the folders in DLCORE_KERNELS, in those that a
wheel of dlcore carries (`make wheel`), then in DLCORE_CACHE (default: `~/.cache/dlcore`). A binary takes one or two
milliseconds to read and is loaded once, so training starts with no compiler installed. What is in none of them is
compiled, in about a second each, and kept in the cache, where `pip install 'dlcore[compile]'` has brought Triton and
NVRTC; without them an error says so in one sentence.

`make packs` makes the packs, a file for each architecture, on any machine: it runs training, `fit`, the tests, `dlcore
verify` and the tuner's choices on a fake GPU, writes down which binaries they ask for (bench/asked.py), and compiles
those. DLCORE_TOOLKIT names the CUDA toolkit to compile with (`bin/ptxas`, `lib/libnvrtc.so.*`, `include`) in place of
those installed; give each a DLCORE_CACHE of its own. `make packs` takes that of CUDA 13.0, because a driver need not
load what newer tools have written, and with a driver for CUDA 12 its packs are not looked into. For other kernels,
`dlcore verify --compile --all --arch sm_90 --out DIR` writes packs into a folder for DLCORE_KERNELS.

A cell tells the registers of a thread / the KiB of shared memory of a block, the matrix instruction, and how global
memory is read (tma, cp.async, ld.v4: 16 bytes a thread, ld.v2: 8, ld: less). **Problems** are what must not be in
compiled code: spills, a `trap`, serialised wgmma, more shared or tensor memory than there is, warp specialisation that
was asked for and not done, other parameters than those that are passed.

"""


def _report(results: Sequence[Result]) -> str:
    groups = _groups(results)
    arches = sorted({arch for _, arch in groups}, key=_order)
    lines = [f"| kernel | {' | '.join(arches)} |", "|---|" + "---|" * len(arches)]
    for name in dict.fromkeys(name for name, _ in groups):
        cells = [_cell(groups[name, arch]) if (name, arch) in groups else "" for arch in arches]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    compilers = ", ".join(sorted({r.found.compiler for r in results if isinstance(r.found, Binary)}))
    problems = [f"- {r.wanted}: {p}" for r in results for p in r.problems]
    found = "\n".join(["", "Problems:", "", *problems, ""]) if problems else "\nNo problems.\n"
    return f"{_HEAD}Compilers: {compilers}.\n\n" + "\n".join(lines) + "\n" + found


def _cell(group: Group) -> str:
    shared = f"/{group.shared}K" if group.shared not in ("", "0") else ""
    text = ", ".join(t for t in (f"{group.registers}{shared}", group.matrix, group.loads) if t)
    return f"{text} **{len(group.problems)} problems**" if group.problems else text
