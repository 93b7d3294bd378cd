"""A child of `dlcore.verify.pool`: `python -m dlcore.verify.worker DESCRIPTOR [FILE ...]`.

Takes (function, arguments) from the pipe, answers (True, result), and (False, anything) on the way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Works until the other end is closed."""
    from dlcore._selection import load
    from dlcore.op import REGISTRY
    from dlcore.ops import operations
    from dlcore.verify import checks, fuzzing
    from dlcore.verify.pool import connect

    functions: dict[str, Callable[..., Any]] = {
        "row": checks.check_row,
        "interpreted": checks.check_interpreted,
        "isa": checks.check_isa,
        "fuzz": fuzzing.fuzz_row,
    }
    connection = connect(int(arguments[0]))
    operations()
    for file in arguments[1:]:
        load(file)

    def tell(message: Any) -> None:
        connection.send((False, message))

    while True:
        try:
            name, (row, *rest) = connection.recv()
        except EOFError:
            return
        connection.send((True, functions[name](REGISTRY[row], *rest, tell=tell)))


if __name__ == "__main__":
    os.environ.setdefault("DLCORE_DEVICE", "cpu")
    main(sys.argv[1:])
