"""The operations, a module for each family: see `dlcore.op` for the language of their definitions."""

import importlib

from dlcore.op import REGISTRY, Op
from dlcore.ops._pointwise import pointwise

__all__ = ["operations", "pointwise"]


def operations() -> list[Op]:
    """All operations by name, those too that `import dlcore` leaves for later, and yours that are there by now."""
    import pkgutil  # here, so that `import dlcore` does without

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(REGISTRY.values(), key=lambda op: op.name)
