"""Compiles what dlcore asks for and packs it, a file for each architecture: `make packs`, or `python -m bench.packs`.

No GPU takes part: `bench.asked` runs dlcore's uses on a fake one. What was compiled is kept in build/packs, so the
command can be interrupted and repeated at will; a pack is written anew whenever a part of it is complete. Packs go into
dlcore/kernels/packs, where dlcore looks for them and where `make wheel` takes them from.

DLCORE_TOOLKIT (`make packs` sets it) is the CUDA toolkit that assembles. It should be the oldest of the CUDA version
that GPUs' drivers are for, since a driver need not load what newer tools have written.
"""

import hashlib
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dlcore.kernels import binary as storage
from dlcore.kernels.binary import Binary
from dlcore.kernels.compile import compile_many
from dlcore.kernels.specialise import Specialised

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "packs"  # what was compiled, and what the uses told
CARDS = {  # multiprocessors of GPUs that are sold: a planner's choices depend on them a little
    "sm_80": (108, 56),  # A100, A30
    "sm_86": (84, 82, 72, 68, 46, 28),  # A40, RTX 3090, A10, RTX 3080, 3070, 3060
    "sm_89": (128, 142, 76, 58, 46, 24),  # RTX 4090, L40S, RTX 4080, L4, RTX 4070, 4060
    "sm_90": (132, 114, 78),  # H100 and H200, H100 PCIe, H20
    "sm_100": (148,),  # B200
    "sm_120": (170, 188, 84, 70, 48, 36),  # RTX 5090, RTX PRO 6000, RTX 5080, 5070 Ti, 5070, 5060 Ti
}
PARTS = ("models", "checks", "gpu")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


@dataclass
class Options:
    """For which GPUs, and what of it."""

    arch: tuple[str, ...] = ("sm_90", "sm_80", "sm_86", "sm_89", "sm_100", "sm_120")
    """Architectures: for models on each of its GPUs, for the other parts on the first, or for one: "sm_90:114". The
    pack of sm_86 serves sm_89 where both ask for the same; that of sm_80 serves both."""
    parts: tuple[str, ...] = PARTS
    """What is to run without a compiler: see `bench.asked`."""
    jobs: int = len(os.sched_getaffinity(0))
    """Compilers at work."""
    out: Path = ROOT / "dlcore" / "kernels" / "packs"
    """Where the packs go."""


def asked(arch: str, part: str) -> list[Specialised]:
    """What a part of dlcore's uses asks for on an architecture, as processes of their own collect it."""
    name, _, count = arch.partition(":")
    counts = (count,) if count else CARDS[name] if part == "models" else CARDS[name][:1]
    found = (_asked(f"{name}:{count}", part) for count in counts)
    return list({w.key: w for each in found for w in each}.values())


def _asked(card: str, part: str) -> list[Specialised]:
    command = [sys.executable, "-O", "-m", "bench.asked", card, part]
    name = card.partition(":")[0]
    environment = os.environ | {"DLCORE_DEVICE": "cpu", "FAKE_CUDA_ARCH": name.removeprefix("sm_")}
    environment.pop("TRITON_INTERPRET", None)
    log = KEPT / f"{card.replace(':', '-')}-{part}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as told:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=told)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: see {log}")
    found: list[Specialised] = pickle.loads(done.stdout)
    return found


def build(arch: str, options: Options) -> tuple[list[str], list[str]]:
    """Writes the architecture's pack, part by part; returns what could not be compiled, and what could be better."""
    made: dict[str, Binary] = {}
    missing: list[str] = []
    flawed: list[str] = []
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    for part in options.parts:
        start = time.monotonic()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(f"{arch} {part}: collecting", total=None)
            wanted = [w for w in asked(arch, part) if w.key not in made]
            progress.update(task, description=f"{arch} {part}: compiling", total=len(wanted))
            results = compile_many(wanted, options.jobs, lambda: progress.advance(task), _compiled)  # noqa: B023
        for item, result in zip(wanted, results, strict=True):
            compiled = isinstance(result, Binary)
            if compiled:
                made[item.key] = result
            if part != "gpu":  # whose tuner tries what may be too large, and times what is as it should be
                problems = result.problems if compiled else (str(result),)
                told = [f"{item.kernel.name} {arch} ({part}): {problem.splitlines()[-1]}" for problem in problems]
                (flawed if compiled else missing).extend(told)
        (path, count), *_ = storage.write_packs(options.out, made.items(), keep=False).items()
        console.print(
            f"{path.name}: {count} kernels with those of {part}, {path.stat().st_size / 1e6:.2f} MB, "
            f"{time.monotonic() - start:.0f} s"
        )
    return missing, flawed


def _compiled(wanted: Specialised) -> Binary | None:
    """What is in the cache: packs may be of other tools."""
    return storage.cached(wanted.key)


def main(options: Options) -> int:
    """All packs; 1 where a kernel of models or checks was not compiled. One that spills is named, and works."""
    names = {arch.partition(":")[0] for arch in options.arch}
    if unknown := [*(names - {*CARDS}), *(set(options.parts) - set(PARTS))]:
        console.print(f"bench.packs: there is no {', '.join(unknown)}")
        return 2
    toolkit = os.environ.get("DLCORE_TOOLKIT", "")
    # The key of a binary does not tell which tools made it: what was compiled by each is kept apart.
    name = hashlib.sha256(toolkit.encode()).hexdigest()[:8] if toolkit else "installed"
    os.environ["DLCORE_CACHE"] = str(KEPT / name)
    found = [build(arch, options) for arch in options.arch]
    missing, flawed = ([text for pair in found for text in pair[k]] for k in (0, 1))
    for name, texts in (("[red]not compiled[/]", missing), ("[yellow]slower than it should be[/]", flawed)):
        for text, count in Counter(texts).most_common(40):
            console.print(f"{name} {escape(text)}{f', {count} times' if count > 1 else ''}", soft_wrap=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
