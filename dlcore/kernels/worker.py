"""The compiler's own process: reads what to compile from stdin and writes Binaries to stdout, until stdin ends.

A process of its own because a compiler may abort, because Triton's import weighs more than all of dlcore, and because
Triton cannot compile in a process where it interprets. Run by `dlcore.kernels.compile`.
"""

from __future__ import annotations

import ast
import copy
import io
import os
import pickle
import sys
import tempfile
from contextlib import redirect_stdout
from typing import Any

from dlcore.kernels import inspection, nvrtc
from dlcore.kernels.binary import Binary
from dlcore.kernels.language import resolve
from dlcore.kernels.launch import Cuda
from dlcore.kernels.specialise import SIZES, TRITON, Specialised, includes, sizes_of

__all__ = ["compile", "main"]


def main() -> None:
    """Answer requests: a Specialised, pickled twice, comes in; a pickled Binary or the text of an error goes out."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a compiler prints must not get between the answers
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        try:
            answer: Any = compile(pickle.loads(request))
        except Exception as error:  # whatever a compiler raises is the answer
            answer = _explained(error)
        pickle.dump(answer, answers)
        answers.flush()


def _explained(error: BaseException) -> str:
    """The error and what caused it, innermost last, each once."""
    texts: list[str] = []
    while error is not None:
        text = str(error).strip() or type(error).__name__
        if not any(text in t for t in texts):
            texts.append(text)
        error = error.__cause__  # type: ignore[assignment]
    return "\n".join(texts)


def compile(wanted: Specialised) -> Binary:
    """The binary of one specialised kernel, whatever is wrong with it in its ``problems``."""
    return _cuda(wanted) if isinstance(wanted.kernel, Cuda) else _triton(wanted)


def toolkit() -> str | None:
    """The folder of a CUDA toolkit (bin/ptxas, lib/libnvrtc.so.*, include/) to use in place of what is installed.

    Such as the one of the CUDA version that a machine's driver is for: newer tools write newer cubins.
    """
    return os.environ.get("DLCORE_TOOLKIT") or None


def target(arch: str) -> str:
    """The architecture as compilers are told it: "sm_90a", whose instructions only that generation has."""
    return arch + "a" if int(arch.removeprefix("sm_")) >= 90 else arch


# ---- CUDA C++ -----------------------------------------------------------------------------------------------------


def _cuda(wanted: Specialised) -> Binary:
    kernel: Cuda = wanted.kernel
    headers = includes(kernel.source)
    name, source = next(iter(headers.items()))
    del headers[name]
    made = nvrtc.compile(source, name, headers, kernel.function, target(wanted.arch))
    seen, counts = inspection.inspect_log(made.log, made.function), inspection.count(made.ptx)
    parameters, waits = inspection.entry_parameters(made.ptx, made.function), inspection.waits(made.ptx)
    expected = tuple(SIZES.get(t) or int(t.removeprefix("table")) for _, t, _ in wanted.signature)
    shared = kernel.shared + seen.shared
    return Binary(
        kernel.name, wanted.arch, made.function, kernel.threads, kernel.shared, triton=False, parameters=parameters,
        registers=seen.registers, spills=seen.spills, static_shared=seen.shared, instructions=counts,
        waits=waits, matrix=inspection.matrix(counts, made.ptx),
        compiler=f"nvrtc {nvrtc.version()}", cubin=made.cubin,
        problems=inspection.problems(
            seen, counts, parameters, expected, kernel.threads, shared, wanted.arch, waits=waits
        ),
    )  # fmt: skip


# ---- Triton -------------------------------------------------------------------------------------------------------


def _triton(wanted: Specialised) -> Binary:
    if folder := toolkit():
        ptxas = os.path.join(folder, "bin", "ptxas")
        os.environ |= {"TRITON_PTXAS_PATH": ptxas, "TRITON_PTXAS_BLACKWELL_PATH": ptxas}
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not triton.__version__.startswith(TRITON):
        raise RuntimeError(f"dlcore's kernels are for Triton {TRITON}, not {triton.__version__}")
    kernel = wanted.kernel
    signature = dict.fromkeys(kernel.params, "constexpr") | {name: type for name, type, _ in wanted.signature}
    constants = {name: resolve(value) for name, value in wanted.constants}
    places = [kernel.params.index(name) for name, _, divisible in wanted.signature if divisible]
    function = kernel.triton()
    if dict(wanted.options).get("launch_pdl"):
        function = _after_previous(function)
    source = ASTSource(function, signature, constants, {(place,): [["tt.divisibility", 16]] for place in places})
    options = {"enable_fp_fusion": False} | dict(wanted.options)
    log = io.StringIO()
    triton.knobs.nvidia.dump_ptxas_log = triton.knobs.compilation.disable_line_info = True
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(log):
        triton.knobs.cache.dir = folder  # Triton keeps nothing: the cache is ours
        made = triton.compile(source, target=GPUTarget("cuda", int(wanted.arch[3:]), 32), options=options)
        return _inspected(wanted, made, log.getvalue(), options.get("num_warps", 4))


def _after_previous(function: Any) -> Any:
    """``function``, a JITFunction, which waits for the kernel before it in its first instruction.

    Then it lets the next kernel's blocks take their places, which wait in the same way. The statements are added here,
    so that no kernel can lack them, whatever it reads or writes first.
    """
    import triton.language.extra.cuda  # noqa: F401  for the statements added

    first = ast.parse("tl.extra.cuda.gdc_wait(); tl.extra.cuda.gdc_launch_dependents()").body

    def parse() -> ast.Module:
        tree: Any = function.parse()
        tree.body[0].body[:0] = first
        return tree

    waiting = copy.copy(function)
    waiting.parse = parse
    return waiting


def _assembler(arch: str) -> str:
    """The version of ptxas that Triton runs for ``arch``. Where it cannot run the one it is told it takes its own."""
    from triton.backends.nvidia.compiler import get_ptxas

    tool = get_ptxas(int(arch.removeprefix("sm_")))
    if (folder := toolkit()) and tool.path != os.path.join(folder, "bin", "ptxas"):
        raise RuntimeError(f"DLCORE_TOOLKIT: {folder} has no bin/ptxas that runs")
    return str(tool.version)


def _inspected(wanted: Specialised, made: Any, log: str, warps: int) -> Binary:
    """The Binary of what Triton made. Its metadata's ``num_warps`` has grown where warps were specialised."""
    data, ptx = made.metadata, made.asm["ptx"]
    seen, counts = inspection.inspect_log(log, data.name), inspection.count(ptx)
    parameters, waits = inspection.entry_parameters(ptx, data.name), inspection.waits(ptx)
    expected = (*(size for _, type, _ in wanted.signature for size in sizes_of(type)), 8, 8)
    descriptors = tuple((d["swizzle"], *d["block_size"]) for d in data.tensordesc_meta or ())
    asked = "tt.warp_specialize" in made.asm["ttir"]
    done = data.num_warps > warps
    return Binary(
        wanted.kernel.name, wanted.arch, data.name, 32 * data.num_warps, data.shared, cluster=data.num_ctas,
        scratch=data.global_scratch_size, parameters=parameters, descriptors=descriptors,
        registers=seen.registers, spills=seen.spills,
        instructions=counts, waits=waits, matrix=inspection.matrix(counts, ptx),
        compiler=f"triton {data.triton_version}, ptxas {_assembler(wanted.arch)}", cubin=made.asm["cubin"],
        problems=inspection.problems(
            seen, counts, parameters, expected, 32 * data.num_warps, data.shared, wanted.arch,
            done if asked else None, data.tmem_size or 0, waits,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
