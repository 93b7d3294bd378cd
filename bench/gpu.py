"""Everything a machine with an NVIDIA GPU can tell, in one resumable go: `make gpu`, or `python -m bench.gpu`.

Most valuable first: does every cubin load; is every kernel right on small inputs, then on all; do they stay within
their memory (compute-sanitizer, where it is installed); how fast is what matters, beside torch where torch is
installed; which configurations are best. Each result is appended to bench/results/<GPU>/gpu.jsonl as it comes, and a
result of the same commit is not measured again, so the command can be interrupted and repeated at will. The work is
done by a child process (`bench.gpu_worker`): a kernel that crashes or hangs costs one job and is recorded.

This has never run on hardware: only its control flow, with --dry-run, where the interpreter stands for the GPU, shapes
are small, times are made up, and nothing is kept.
"""

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from bench import RESULTS
from dlcore.bench.machine import describe
from dlcore.cli.programs import large, title, with_kernels

ROOT = Path(__file__).resolve().parents[1]
STAGES = {  # name -> (share of the time, seconds that one job may take)
    "machine": (1, 60), "load": (3, 300), "first": (3, 60), "speed": (7, 90), "sanitizer": (3, 240),
    "operations": (5, 120), "tune": (7, 240), "steps": (1, 60), "commands": (6, 600),
}  # fmt: skip
COMMANDS = {  # what users have, its results kept in the GPU's folder
    "verify": ("verify", "--device", "cuda", "--fuzz", "200"),
    "bench": ("bench", "--device", "cuda", "--cache", "cold", "--out", "{folder}/rows"),
    "roofline": ("roofline", "--device", "cuda", "--dtype", "float32", "bfloat16", "--out", "{folder}/roofline"),
}
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


@dataclass
class Options:
    """How long, and what of it."""

    minutes: float = 30
    stages: tuple[str, ...] = tuple(STAGES)
    only: str = ""
    """Only the jobs whose name contains this."""
    again: bool = False
    """Measure again what this commit has measured."""
    dry_run: bool = False
    """Try the control flow without a GPU: two jobs of each stage, nothing is kept."""


def jobs(stage: str) -> Iterator[str]:
    """The names of a stage's jobs."""
    if stage == "machine":
        yield "all"
    elif stage in ("load", "first", "operations", "sanitizer"):
        yield from (op.name for op in with_kernels())
    elif stage == "steps":
        yield from ("a adam", "b adam", "b sgd")
    elif stage == "commands":
        yield from COMMANDS
    else:
        titles = [title(op, workload) for op in with_kernels() for workload in large(op)]
        yield from (f"{dtype} {what}" for dtype in ("bfloat16", "float32") for what in titles)


class Child:
    """The process that works: started when needed, and again after it crashed or was too slow."""

    def __init__(self, dry_run: bool) -> None:
        self.environment = dict(os.environ, DLCORE_CUDA="interpreter") if dry_run else None
        self.arguments = ["--dry-run"] if dry_run else []
        self.folder = Path()
        self.process: subprocess.Popen[str] | None = None

    def ask(self, stage: str, name: str, seconds: float) -> dict[str, Any]:
        """The answer to one job; {"error": ...} when it fails, ends the process, or takes longer than ``seconds``."""
        if stage == "sanitizer":
            return self._sanitized(name, seconds)
        if stage == "commands":
            command = [sys.executable, "-m", "dlcore", *(part.format(folder=self.folder) for part in COMMANDS[name])]
            return self._ran([*command, "--op", "slice"] if self.environment else command, seconds)
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "bench.gpu_worker", *self.arguments]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, **pipes)
        try:
            self.process.stdin.write(json.dumps([stage, name]) + "\n")
            self.process.stdin.flush()
            line = self._line(seconds)
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        late = self.process.poll() is None
        self.close()
        return {"error": f"not finished after {seconds:.0f} s" if late else f"the process ended with {self.code}"}

    def _line(self, seconds: float) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return self.process.stdout.readline() if selector.select(seconds) else ""

    def _sanitized(self, name: str, seconds: float) -> dict[str, Any]:
        """An operation's smallest inputs under compute-sanitizer."""
        tool = shutil.which("compute-sanitizer")
        command = [tool, "--error-exitcode", "9"] if tool else []
        if not tool and not self.environment:
            return {"skipped": "compute-sanitizer is not installed"}
        command += [sys.executable, "-m", "bench.gpu_worker", *self.arguments, "--once", "first", name]
        return self._ran(command, seconds)

    def _ran(self, command: list[str], seconds: float) -> dict[str, Any]:
        """{} if a command ends well."""
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not finished after {seconds:.0f} s"}
        return {} if done.returncode == 0 else {"error": (done.stdout + done.stderr)[-2000:]}

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.code = self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


class Record:
    """bench/results/<GPU>/gpu.jsonl: one JSON object a line, written as results come."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gpu.jsonl"
        self.commit = describe()["commit"]
        text = self.path.read_text() if self.path.exists() else ""
        self.torn = bool(text) and not text.endswith("\n")  # the last line: power or patience ended
        found = [json.loads(line) for line in text.split("\n")[:-1]]
        self.done = {(r["stage"], r["name"]): r for r in found if r["commit"] == self.commit}

    def add(self, stage: str, name: str, answer: dict[str, Any]) -> None:
        """Append one result."""
        result = {"stage": stage, "name": name, "commit": self.commit, **answer}
        self.done[stage, name] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            if self.torn:
                file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
                self.torn = False
            file.write(json.dumps(result | {"at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")


def run(options: Options, record: Record, child: Child) -> int:
    """All stages within the time; returns the number of jobs that failed."""
    started, shares = time.monotonic(), sum(STAGES[s][0] for s in options.stages)
    spent = left = 0
    for stage in options.stages:
        share, seconds = STAGES[stage]
        spent += share
        end = started + 60 * options.minutes * spent / shares  # what earlier stages did not use is there too
        names = [n for n in jobs(stage) if options.only in n][: 2 if options.dry_run else None]
        for name in names:
            if not options.again and "error" not in record.done.get((stage, name), {"error": ""}):
                continue
            if time.monotonic() > end:
                left += 1
                continue
            answer = child.ask(stage, name, seconds)
            record.add(stage, name, answer)
            text = answer.get("error") or answer.get("skipped") or json.dumps(answer)
            console.print(f"{stage:10} {name}: {text[:400]}", markup=False, style="red" if "error" in answer else "")
    if left:
        console.print(f"{left} jobs are left: the same command goes on with them")
    return sum("error" in r for r in record.done.values())


def show(record: Record) -> None:
    """Times as a table, and what failed."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("what", "us", "TB/s", "TFLOP/s", "torch us", "torch/dlcore"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for (stage, name), r in record.done.items():
        if stage in ("speed", "steps") and "seconds" in r:
            seconds, torch = r["seconds"], r.get("torch")
            rates = [f"{r[work] / seconds / 1e12:.2f}" if r.get(work) else "" for work in ("bytes", "flops")]
            beside = [f"{torch * 1e6:.1f}", f"{torch / seconds:.2f}"] if torch else ["", ""]
            table.add_row(name, f"{seconds * 1e6:.1f}", *rates, *beside)
    console.print(table)
    for (stage, name), r in record.done.items():
        if "error" in r:
            console.print(f"failed: {stage} {name}: {r['error'].strip().splitlines()[-1:]}", style="red", markup=False)


def main(options: Options) -> int:
    """Runs the stages asked for; 0 if nothing failed."""
    if unknown := set(options.stages) - set(STAGES):
        console.print(f"bench.gpu: no stage {', '.join(unknown)} (there are {', '.join(STAGES)})")
        return 2
    child = Child(options.dry_run)
    try:
        machine = child.ask("machine", "all", 120)
        if "error" in machine:
            console.print(f"bench.gpu: {machine['error']}", markup=False, soft_wrap=True)
            return 1
        with tempfile.TemporaryDirectory() as nowhere:
            name = re.sub(r"[^a-z0-9]+", "-", machine["gpu"].lower()).strip("-")
            record = Record(Path(nowhere) if options.dry_run else RESULTS / name)
            child.folder = record.path.parent
            failed = run(options, record, child)
            show(record)
            if not options.dry_run:
                console.print(f"results: {record.path}")
    finally:
        child.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
