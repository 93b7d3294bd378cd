"""The ``dlcore`` command. Each subcommand is a module here with a function ``run`` that returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tyro.extras import SubcommandApp

from dlcore.errors import DeviceError, DTypeError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: the process's); returns the exit code.

    0: all went well; 1: it failed, and one line on stderr says why; 2: the arguments are wrong; 130: Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments in (["--version"], ["-V"]):
        import dlcore

        print(f"dlcore {dlcore.__version__}")
        return 0
    try:
        return _commands().cli(args=arguments or ["--help"], prog="dlcore", description=_DESCRIPTION) or 0
    except SystemExit as end:  # tyro ends so after help and wrong arguments
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "dlcore: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, DTypeError, DeviceError) as error:  # something not as it should be, with its text
        print(f"dlcore: {error}", file=sys.stderr)
        return 1


_DESCRIPTION = "dlcore, a small deep learning engine. `dlcore --version` prints the version."


def _commands() -> SubcommandApp:
    from tyro.extras import SubcommandApp

    from dlcore.cli import bench, demo, doctor, roofline, verify

    app = SubcommandApp()
    app.command(name="bench")(bench.run)
    app.command(name="demo")(demo.run)
    app.command(name="doctor")(doctor.run)
    app.command(name="roofline")(roofline.run)
    app.command(name="verify")(verify.run)
    return app
