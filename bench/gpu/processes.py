"""Jobs in processes with a limit: what hangs, crashes or loses the GPU's context costs its own job."""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ENDING = 5.0  # seconds that a killed process may take to be gone
TAIL = 1500  # characters of a failure's output that are kept in its result


class Stuck(RuntimeError):
    """The GPU answers nobody any more, or a process cannot be ended: nothing else can be learnt here."""


class Process:
    """A command in a process group of its own, so that it ends with all it has started; its stderr goes to a file."""

    living: set["Process"] = set()  # noqa: RUF012  those to end when this process does

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, both: bool = False):
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        output = self.log if both else subprocess.PIPE
        self.popen = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=self.log, process_group=0
        )
        Process.living.add(self)

    def text(self, most: int = TAIL) -> str:
        """The end of what it wrote into its log."""
        self.log.seek(max(self.log.seek(0, os.SEEK_END) - most, 0))
        return self.log.read().decode(errors="replace")

    def end(self) -> int:
        """Its exit code, negative if a signal ended it; it is killed if it still runs. Raises Stuck if that fails."""
        Process.living.discard(self)
        code = self.popen.poll()
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:  # the group is empty
            code = self.popen.poll()
        try:
            ended = self.popen.wait(ENDING)
        except subprocess.TimeoutExpired:
            raise Stuck(f"process {self.popen.pid} does not end when it is killed") from None
        for pipe in (self.popen.stdin, self.popen.stdout, self.log):
            with suppress(BrokenPipeError):  # what it has not read
                if pipe is not None:
                    pipe.close()
        return ended if code is None else code


def end_all() -> None:
    """Ends every process that still runs, those that cannot be ended excepted."""
    for process in list(Process.living):
        try:
            process.end()
        except Stuck as stuck:
            print(stuck, flush=True)


class Lane:
    """A worker's process, which does one job after the other; a new one is started after a failure.

    ``command`` [stage, name] a line on stdin -> an object a line on stdout, both JSON.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]):
        self.command, self.folder, self.environment = command, folder, environment
        self.process: Process | None = None

    def ask(self, stage: str, name: str, seconds: float) -> dict[str, Any]:
        """The answer to one job, or {"error": ...}; "late" is in it when the job took longer than ``seconds``.

        What fails in a process that has done other jobs is tried once more in a new one: they may have left it ill.
        """
        end, used = time.monotonic() + seconds, self.process is not None
        answer = self._asked(stage, name, end)
        left = end - time.monotonic()
        if used and "error" in answer and "late" not in answer and left > 0.5 * seconds:
            again = self._asked(stage, name, end)
            return again if "error" in again else again | {"failed_at_first": answer["error"]}
        return answer

    def _asked(self, stage: str, name: str, end: float) -> dict[str, Any]:
        if self.process is None:
            self.process = Process(self.command, self.folder, self.environment)
        line = b""
        try:
            self.process.popen.stdin.write(json.dumps([stage, name]).encode() + b"\n")
            self.process.popen.stdin.flush()
            line = self._line(end)
        except BrokenPipeError:  # it has ended
            line = b""
        if line.endswith(b"\n"):
            answer = json.loads(line)
            if "error" in answer:
                answer["error"] = str(answer["error"])[-TAIL:]
                self.close()
            return answer
        late, text = time.monotonic() >= end and self.process.popen.poll() is None, self.process.text()
        try:
            code = self.close()
        except Stuck as stuck:  # it waits for the GPU; whether that answers others will be seen
            return {"error": f"{stuck}\n{text}".rstrip(), "late": True}
        if late:
            return {"error": f"not finished in time\n{text}".rstrip(), "late": True}
        return {"error": f"its process ended with {code}\n{text}".rstrip()}

    def _line(self, end: float) -> bytes:
        """A line of the process, as much as there is of it when the process ends or it is too late."""
        output, line = self.process.popen.stdout, b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    break
                part = os.read(output.fileno(), 1 << 16)
                if not part:
                    with suppress(subprocess.TimeoutExpired):
                        self.process.popen.wait(1)  # it is about to say with which code
                    break
                line += part
        return line

    def close(self) -> int:
        """Ends the process, if there is one; returns its exit code."""
        process, self.process = self.process, None
        return 0 if process is None else process.end()


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """{"code": ..., "output": ...} of a command, all its output, or {"error": ..., "late": True, "output": ...}."""
    process = Process(command, folder, environment, both=True)
    process.popen.stdin.close()
    try:
        code = process.popen.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        output, error = process.text(1 << 20), "not finished in time"
        try:
            process.end()
        except Stuck as stuck:  # as above
            error = str(stuck)
        return {"error": error, "late": True, "output": output}
    output = process.text(1 << 20)
    process.end()
    return {"code": code, "output": output}
