"""The ``dlcore`` command. Each subcommand is a module here with a function ``run`` that returns the exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from dlcore.errors import DeviceError, DTypeError

__all__ = ["COMMANDS", "ArgumentError", "at_least", "main"]

COMMANDS = {
    "train": "Train a model as a file of settings says.",
    "resume": "Go on with a training that was interrupted, or train longer.",
    "eval": "Measure a trained model on its validation part.",
    "test": "Measure a trained model on its test part, which is recorded.",
    "predict": "Predict for new pictures, tables and arrays.",
    "export": "Write a trained model as ONNX, or as one C file.",
    "data": "Show what a data set holds, and how it is divided.",
    "runs": "Show all trainings side by side.",
    "bench": "Time operations, beside the libraries that are installed.",
    "demo": "Train a small network on real data, in seconds, and show every step.",
    "doctor": "Say what this machine has for dlcore, and check that it computes.",
    "roofline": "Measure what this machine can do at best, and what part of that each operation reaches.",
    "verify": "Check every operation against NumPy, its other implementations and itself; or compile the GPU kernels.",
}
"""What each command does; here, so that help imports none of them."""


class ArgumentError(ValueError):
    """An argument of the command line has a value that makes no sense."""


def at_least(least: float, **values: float | None) -> None:
    """Raises ArgumentError where one of ``values``, options by name, is smaller, larger than 10⁹ or no number."""
    for name, value in values.items():
        if value is not None and not least <= value <= 1e9:
            raise ArgumentError(f"--{name} must be at least {least:g} and at most 1e9, not {value:g}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: the process's); returns the exit code.

    0: all went well; 1: it failed, and one line on stderr says why; 2: the arguments are wrong; 130: Ctrl-C; 141: what
    reads the output has closed it; 143: SIGTERM, which ends a command as Ctrl-C does.
    """
    before, formatted = _prepare(), warnings.formatwarning
    warnings.formatwarning = lambda message, *rest, **named: f"dlcore: {message}\n"  # not the line of dlcore's code
    try:
        code = _main(sys.argv[1:] if arguments is None else list(arguments))
        if sys.stdout is not None:  # as where the shell has closed it before the start
            sys.stdout.flush()  # here, not when Python ends: what reads it may have closed it
        return code
    except SystemExit as end:  # tyro ends so after help and wrong arguments, and SIGTERM
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt as interrupt:
        return _said(str(interrupt) or "dlcore: interrupted", 130)
    except BrokenPipeError:  # `dlcore bench | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ArgumentError as error:
        return _said(f"dlcore: {error}", 2)
    except (OSError, ValueError, ImportError, DTypeError, DeviceError) as error:  # not as it should be, with its text
        return _said(f"dlcore: {error}", 1)
    finally:
        warnings.formatwarning = formatted
        if before is not None:  # the caller may be a program that goes on
            signal.signal(signal.SIGTERM, before)


def _main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("--version", "-V"):
        import dlcore

        print(f"dlcore {dlcore.__version__}")
        return 0
    if name in ("--help", "-h"):
        print(_HELP.format(commands="\n".join(f"  {n:<10} {text}" for n, text in COMMANDS.items())))
        return 0
    if name not in COMMANDS:
        from dlcore._selection import missing

        raise ArgumentError(missing("command", [name], COMMANDS))
    command = import_module(f"dlcore.cli.{name}")
    if hasattr(command, "main"):  # its options depend on its first argument
        return int(command.main(rest))
    import tyro

    return tyro.cli(command.run, args=rest, prog=f"dlcore {name}") or 0


def _said(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _prepare() -> Any:
    """Terminals that know ASCII alone get question marks, and SIGTERM unwinds, so that the cursor comes back.

    Returns what SIGTERM did before, or None where it is left alone.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        return signal.signal(signal.SIGTERM, _terminate)
    return None


def _terminate(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


_HELP = """usage: dlcore COMMAND [OPTIONS]

dlcore, a small deep learning engine. `dlcore --version` prints the version.

commands:
{commands}

`dlcore COMMAND --help` tells the options of a command."""
