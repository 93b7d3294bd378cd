"""GPU kernels, one package per family, imported by name (`dlcore.kernels.<family>`) when an operation first needs them.

An installed dlcore holds the families here; in a source tree they live in `kernels/`, beside `csrc/`.
"""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "csrc").is_dir():
    __path__.append(str(_root / "kernels"))
