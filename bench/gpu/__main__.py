"""`python -m bench.gpu --seconds 560 --out FOLDER`: all stages, within the time, into a few files of the folder.

results.jsonl: what each job gave, as it came; what is there already and went well is not done again, nor what files
given with --done say. sm_90.toml: what the tuner found best, as it grows. machine.txt: what this machine is.
details.txt: the output of commands that failed. log.txt: what is printed. The exit code is 0 if all went well, 1 if
jobs failed, 3 if nothing more could be learnt (the GPU does not answer, or the first kinds of kernel are all wrong).
"""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bench.gpu import kinds, stages
from bench.gpu.processes import ENDING, Lane, Process, Stuck, end_all, run
from bench.gpu.record import ROOT, Record, Result
from bench.gpu.stages import NOMINAL, STAGES, Stage
from dlcore.kernels import tune

SHORTEST = 5.0  # seconds below which no job is begun
CLOSING = ENDING + 3  # seconds at the end for what is still at work
PROBE = 20.0  # seconds that a new process may take to say that the GPU still answers
DETAILS = 4 << 20  # bytes of output of failed commands
LINE = 200  # characters that are printed of a result


class Run:
    """One go through the stages."""

    def __init__(self, options: argparse.Namespace, record: Record, worker: Sequence[str], start: Sequence[str]):
        self.options, self.record, self.worker, self.python = options, record, list(worker), list(start)
        self.began = time.monotonic()
        self.end = self.began + options.seconds - CLOSING
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # What is compared with the CPU is computed there: a GPU would else be the default.
        self.environment = dict(os.environ, DLCORE_DEVICE="cpu", PYTHONPATH=path, PYTHONUNBUFFERED="1")
        self.tried: set[tuple[str, str]] = set()
        self.left = 0
        self.stuck: str | None = None
        self._telling = threading.Lock()

    # ---- telling

    def tell(self, text: str) -> None:
        """A line for whoever waits, and for log.txt."""
        line = f"{time.monotonic() - self.began:6.1f} {' '.join(text.split())[:LINE]}"
        with self._telling, (self.options.out / "log.txt").open("a") as file:
            print(line, flush=True)
            file.write(line + "\n")

    def note(self, stage: str, name: str, answer: Result) -> None:
        """Keeps and shows a result."""
        if self.environment.get("DLCORE_OVERLAP") == "0":
            answer = {**answer, "overlap": False}
        result = self.record.add(stage, name, answer)
        if result.get("values") is not None:
            self.write_table()
        shown = {k: v for k, v in answer.items() if k != "took"}
        self.tell(f"{stage:9} {name}: {'FAILED: ' + str(answer['error']) if 'error' in answer else shown}")

    def details(self, stage: str, name: str, output: str) -> None:
        """Keeps the output of a command that has failed."""
        path = self.options.out / "details.txt"
        with self._telling, path.open("a") as file:
            if file.tell() < DETAILS:
                file.write(f"==== {stage} {name}\n{output[-DETAILS // 16 :]}\n")

    def write_table(self) -> None:
        """The configurations found best so far."""
        for result in self.record.of("tune"):
            if result.get("values") is not None:
                path = self.options.out / f"{result['arch']}.toml"
                tune.keep(result["arch"], result["kernel"], result["key"], result["values"], path)

    # ---- stages

    def all(self, plan: Sequence[Stage]) -> None:
        """The plan, then what time is left for."""
        scale = max(1.0, self.options.seconds / NOMINAL)
        for until in (lambda stage: min(self.began + scale * stage.until, self.end), lambda stage: self.end):
            self.left = 0
            for stage in plan:
                if stage.name == "kind":
                    self.first_kinds(stage._replace(lanes=1), until(stage))
                self.stage(stage, stages.jobs(stage.name, self.record.of("speed")), until(stage))

    def first_kinds(self, stage: Stage, until: float) -> None:
        """If none of them is right parameters may not arrive as they should, or kernels not wait for one another.

        The latter is tried out: all that follows then goes on with each kernel launched when the one before has ended.
        """
        for apart in (False, True):
            if apart:
                self.tell("the first kinds of kernel have all failed: once more with DLCORE_OVERLAP=0")
                self.environment["DLCORE_OVERLAP"] = "0"
                self.tried -= {("kind", name) for name in kinds.FIRST}
            self.stage(stage, kinds.FIRST, until)
            if any(self.record.well("kind", n) or ("kind", n) not in self.tried for n in kinds.FIRST):
                return
        why = self.record.done["kind", kinds.FIRST[0]]["error"]
        raise Stuck(f"the first kinds of kernel have all failed (--stages without kind goes on): {why}")

    def stage(self, stage: Stage, names: Sequence[str], until: float) -> None:
        """The jobs of a stage that are to be done, as far as the time goes."""
        chosen = [n for n in names if self.options.only in n][: self.options.few]
        todo = [n for n in chosen if (stage.name, n) not in self.tried]
        todo = [n for n in todo if self.options.again or not self.record.well(stage.name, n)]
        if not todo:
            return
        queue, lock = iter(todo), threading.Lock()

        def next_job() -> str | None:
            with lock:
                if self.stuck or min(until, self.end) - time.monotonic() < SHORTEST:
                    return None
                return next(queue, None)

        lanes = min(stage.lanes, len(todo), max(len(os.sched_getaffinity(0)), 1))
        with ThreadPoolExecutor(lanes) as pool:
            working: list[Future[None]] = []
            try:
                working.extend(pool.submit(self._lane, stage, next_job) for _ in range(lanes))
                for future in working:
                    future.result()
            except BaseException as error:  # as of a signal: what is at work is ended, and nothing else begun
                self.stuck = f"ended by {type(error).__name__}"
                end_all()
                while wait(working, 0.1).not_done:  # a lane was about to begin a process
                    end_all()
                raise
        self.left += len([n for n in todo if (stage.name, n) not in self.tried])
        if self.stuck:
            raise Stuck(self.stuck)

    def _lane(self, stage: Stage, next_job: Any) -> None:
        """One process after the other at work on a stage's jobs."""
        environment = {**self.environment, **stage.environment}
        lane = Lane(self.worker, ROOT, environment)
        try:
            while (name := next_job()) is not None:
                self.tried.add((stage.name, name))
                seconds = min(stage.limit, self.end - time.monotonic())
                answer = self._answer(stage, name, lane, environment, seconds)
                if self.stuck:  # by another lane: this answer is none
                    break
                self.note(stage.name, name, answer)
                if "late" in answer and time.monotonic() < self.end - SHORTEST:
                    self._probe(environment)
            lane.close()
        except Stuck as stuck:
            self.stuck = str(stuck)

    def _answer(self, stage: Stage, name: str, lane: Lane, environment: dict[str, str], seconds: float) -> Result:
        command = stages.command(stage.name, name, self.worker, self.python)
        if command is None:
            return lane.ask(stage.name, name, seconds)
        if isinstance(command, str):
            return {"skipped": command}
        found = run(command, ROOT, environment, seconds)
        result = stages.judged(stage.name, found, self.options.dry_run)
        if "error" in result:
            self.details(stage.name, name, found["output"])
        return result

    def _probe(self, environment: dict[str, str]) -> None:
        """After a job that hung: whether the GPU still answers another process."""
        lane = Lane(self.worker, ROOT, environment)
        answer = lane.ask("kind", kinds.FIRST[0], min(PROBE, self.end - time.monotonic()))
        lane.close()
        if "late" in answer:
            raise Stuck("the GPU does not answer any more")


# ---- the command --------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Check and measure dlcore on a GPU.")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for everything (%(default)g)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder of the results (build/gpu)")
    parser.add_argument("--done", type=Path, nargs="*", default=[], help="earlier results, as if they were here")
    parser.add_argument("--stages", nargs="*", default=[s.name for s in STAGES], choices=[s.name for s in STAGES])
    parser.add_argument("--only", default="", help="only jobs whose name contains this")
    parser.add_argument("--few", type=int, help="so many jobs of each stage")
    parser.add_argument("--again", action="store_true", help="do again what is done")
    parser.add_argument("--only-packed", action="store_true", help="start no compiler: kernels are packed, or missing")
    parser.add_argument("--dry-run", action="store_true", help="with a driver that no GPU is behind: nothing is judged")
    parser.add_argument("--uncompiled", action="store_true", help="in a dry run: kernels without code")
    return parser.parse_args(arguments)


def commands(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """What starts a worker, and what starts a module of Python, both on the GPU of this run."""
    start = [sys.executable, *([str(ROOT / "tests" / "fake_driver")] if options.dry_run else [])]
    chosen = {"--dry-run": options.dry_run, "--only-packed": options.only_packed, "--uncompiled": options.uncompiled}
    worker = [*start, "-m", "bench.gpu.worker", *(flag for flag, on in chosen.items() if on)]
    return worker, [*start, *(["--uncompiled"] if options.uncompiled else [])]


def describe(path: Path) -> None:
    """Writes what this machine is into a file."""
    found = [f"{platform.platform()}, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} processors"]
    for command in (["nvidia-smi"], ["nvcc", "--version"]):
        with contextlib.suppress(OSError):
            found.append(run(command, ROOT, os.environ, 10)["output"])
    found += sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    path.write_text("\n".join(found) + "\n")


@contextlib.contextmanager
def torch_is_read() -> Iterator[None]:
    """torch's files are read from the disk meanwhile, so that the first import which counts is quick."""
    if not any(True for d in importlib.metadata.distributions() if d.name == "torch"):
        yield
        return
    process = Process([sys.executable, "-c", "import torch"], ROOT, os.environ)
    try:
        yield
    finally:
        process.end()


def summary(run: Run, record: Record) -> None:
    """The last lines: how many jobs went well in each stage, the speed, what failed."""
    for stage in STAGES:
        found = record.of(stage.name)
        failed = [r["name"] for r in found if "error" in r]
        if found:
            skipped = sum("skipped" in r for r in found)
            well = len(found) - len(failed) - skipped
            run.tell(f"{stage.name:9} {well} well, {skipped} skipped, {len(failed)} failed {failed}")
    for r in record.of("speed"):
        if "seconds" in r:
            beside = f", torch {1e6 * r['torch']:.1f} us" if "torch" in r else ""
            run.tell(f"{r['name']}: {1e6 * r['seconds']:.1f} us{beside}")
        if "engines" in r:
            run.tell(f"{r['name']}: " + ", ".join(f"{e} {1e6 * s:.1f} us" for e, s in r["engines"].items()))
    if run.left:
        run.tell(f"{run.left} jobs are left: the same command goes on with them")


def main(arguments: Sequence[str] | None = None, plan: Sequence[Stage] = STAGES) -> int:
    """Runs the stages asked for; see the head of this file."""
    options = parse(arguments)
    record = Record(options.out, options.done)
    going, code = Run(options, record, *commands(options)), 0
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        describe(options.out / "machine.txt")
        with torch_is_read():
            going.all([stage for stage in plan if stage.name in options.stages])
    except Stuck as stuck:
        going.tell(f"STOPPED: {stuck}")
        record.add("end", "all", {"error": str(stuck)})
        code = 3
    finally:
        end_all()
        summary(going, record)
        going.tell(f"results: {record.path}")
        signal.signal(signal.SIGTERM, before)
    return code or int(any("error" in r for r in record.done.values()))


if __name__ == "__main__":
    sys.exit(main())
