"""`python tests/fake_driver [--uncompiled] [-m MODULE | FILE] [ARGUMENTS]`: a program, its GPU being of this driver."""

import contextlib
import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from fake_driver import open_fake, uncompiled  # noqa: E402

arguments = sys.argv[1:]
with uncompiled() if arguments[:1] == ["--uncompiled"] else contextlib.nullcontext():
    if arguments[:1] == ["--uncompiled"]:
        del arguments[0]
    if not arguments or arguments == ["-m"]:
        sys.exit(__doc__)
    open_fake()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, "")
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
