"""Does every kernel load, is every operation right: against the float64 references of the operations' definitions."""

from typing import Any

from bench.gpu.context import Context
from dlcore import _C, testing
from dlcore.dtypes import float32
from dlcore.kernels import binary as storage
from dlcore.op import Op
from dlcore.ops import operations
from dlcore.verify import checks as verification


def load(context: Context, _: str) -> dict[str, Any]:
    """Every binary of the packs and the cache for this GPU, handed to the driver."""
    backend, loaded, failed = context.gpu.backend, 0, []
    for binary in _binaries(backend.arch.name):
        try:
            module = _C.cuda.module_load(backend.code, binary.cubin)
            _C.cuda.function(backend.code, module, binary.function, binary.shared)
            loaded += 1
        except RuntimeError as error:
            failed.append(f"{binary.name}: {error}"[:200])
    if failed:
        return {"error": f"{len(failed)} of {len(failed) + loaded} do not load: {failed[:10]}"}
    packs = [p for folder in storage.pack_folders() for p in folder.glob("*.pack")]
    if packs and not loaded:
        cuda = context.driver.version() // 1000
        told = ", ".join(f"{p.name} of CUDA {storage.Pack(p).cuda}" for p in packs)
        return {"error": f"none of the packs ({told}) is for {backend.arch.name} and a driver of CUDA {cuda}"}
    return {"loaded": loaded}


def _binaries(arch: str) -> Any:
    for pack in storage.packs(arch):
        yield from filter(None, map(pack.read, pack.index.kernels))
    for path in sorted((storage.cache_directory() / "kernels").glob("??/*")):
        if (binary := storage.cached(path.name)) is not None and binary.arch == arch:
            yield binary


def _operation(name: str) -> Op:
    """Of all operations: some are defined in modules that a program need not import."""
    return next(op for op in operations() if op.name == name)


def first(context: Context, name: str) -> dict[str, Any]:
    """An operation's two smallest samples in float32, from poisoned memory, and again with the same bits."""
    op = _operation(name)
    dtype = float32 if float32 in op.dtypes else op.dtypes[0]
    tried = sorted((s for s in testing.samples(op) if s.size), key=lambda s: s.size)[:2]
    failures = []
    for sample in tried:
        for check in (testing.check_forward, testing.check_repeatable):
            try:
                check(op, sample, dtype, device=context.gpu)
            except AssertionError as error:
                failures.append(str(error))
    assert not failures, f"{len(failures)} of {2 * len(tried)} checks: " + "; ".join(failures)
    return {"checks": 2 * len(tried)}


def row(context: Context, name: str) -> dict[str, Any]:
    """All that `dlcore verify --device cuda` checks of an operation: samples, dtypes, layouts, gradients, errors."""
    report = verification.check_row(_operation(name), str(context.gpu))
    failures, done = report.failures, sum(check.done for check in report.checks.values())
    assert not failures, f"{len(failures)} of {done} checks: " + "; ".join(failures[:3])
    return {"checks": done}
