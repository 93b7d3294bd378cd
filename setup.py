"""Builds the C++ extension `dlcore._C` and maps `kernels/<family>/` to `dlcore.kernels.<family>`.

Environment: DLCORE_JOBS (compile jobs, default: all processors), DLCORE_SANITIZE=address (AddressSanitizer and UBSan)
or =thread (ThreadSanitizer).
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext


def own_isa() -> int:
    """The instruction set of this machine, as `processor_isa` (csrc/core/kernel.cpp) finds it."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().partition("\nflags")[2].partition("\n")[0].split()) if info.exists() else set()
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"} <= flags:
        return 4
    return 3 if {"avx2", "fma", "bmi2"} <= flags else 1


# Contraction, reassociation and flush-to-zero are never allowed: the same source gives the same bits everywhere.
# -O3: products run 4-9 % faster than with -O2 and its vectoriser, for twice the compile time.
COMPILE = ["-O3", "-fopenmp-simd", "-ffp-contract=off"]
COMPILE += ["-fno-math-errno", "-fno-trapping-math", "-MMD", "-Wall", "-Wextra", "-Werror=return-type"]
COMPILE += ["-Wno-aggressive-loop-optimizations"]  # GCC 12 imagines iterations of loops over a constant remainder of 0
# Of csrc/core, which every call runs through. Objects and arrays of 32 to 300 bytes are cleared and copied there by 16
# bytes at a time: of `rep stos` and `rep movs`, GCC's choice, each takes 4 to 11 ns, of a call that takes 70 to 170.
CALLS = [f"-mmem{f}-strategy=vector_loop:512:noalign,libcall:-1:noalign" for f in ("set", "cpy")]
LINK = ["-Wl,-s", "-pthread"]
SANITIZE = os.environ.get("DLCORE_SANITIZE", "")
if SANITIZE:
    flags = {"address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
             "thread": ["-fsanitize=thread"]}  # fmt: skip
    sanitize = flags[SANITIZE]
    # -Og: half the compile time of -O1, and the tests take as long.
    COMPILE += [*sanitize, "-g1", "-Og", "-fno-omit-frame-pointer", f"-DDLCORE_ONLY_ISA={own_isa()}"]
    LINK = [*sanitize, "-pthread"]

NO_COMPILER = (
    "dlcore: building needs a C++20 compiler and Python's headers, and a three-line program failed with `{}`. "
    "On Debian or Ubuntu: sudo apt-get install g++ python3-dev"
)


def out_of_date(obj: str, source: str) -> bool:
    """Whether an object is older than a file it was made from (as the compiler listed them: -MMD) or than the flags."""
    rule = Path(obj).with_suffix(".d")
    if not rule.exists():
        return True
    files = rule.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    built = os.stat(obj).st_mtime
    return any(not os.path.exists(f) or os.stat(f).st_mtime > built for f in [*files, source, __file__])


def require_compiler() -> None:
    """Ends with one sentence, instead of a compiler's page, where a three-line program does not compile."""
    program = "#include <Python.h>\n#include <concepts>\nstatic_assert(std::integral<int>);\n"
    compiler = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "g++"
    includes = [f"-I{sysconfig.get_path(p)}" for p in ("include", "platinclude")]
    command = [*shlex.split(compiler), "-std=c++20", "-fsyntax-only", *includes, "-x", "c++", "-"]
    try:
        subprocess.run(command, input=program, text=True, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(NO_COMPILER.format(compiler)) from None


class BuildExtension(build_ext):
    """`build_ext` with one folder of objects for wheel, editable and in-place builds, so that each is incremental."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = f"build/objects-{SANITIZE and SANITIZE + '-'}{sysconfig.get_config_var('SOABI')}"

    def build_extensions(self) -> None:
        compile_file = self.compiler._compile

        def compile_as(obj: str, source: str, ext: str, first: list[str], extra: list[str], include: list[str]) -> None:
            own = CALLS if source.startswith("csrc/core/") else []
            compile_file(obj, source, ext, first, [*extra, *own], include)

        self.compiler._compile = compile_as
        super().build_extensions()


def sources(*patterns: str) -> list[str]:
    """Paths under csrc/ that match, sorted: link order, and so the binary, is the same everywhere."""
    return sorted(str(p) for pattern in patterns for p in Path("csrc").rglob(pattern))


families = sorted(p.name for p in Path("kernels").glob("*") if any(p.glob("*.py")))
extension = Pybind11Extension(
    "dlcore._C",
    sources("*.cpp"),
    include_dirs=["csrc", "kernels"],
    depends=[*sources("*.h", "*.inl"), "kernels/optim/rules.cuh", "setup.py"],
    cxx_std=20,
    extra_compile_args=COMPILE,
    extra_link_args=LINK,
)

if {"build", "build_ext", "bdist_wheel", "editable_wheel"} & set(sys.argv):
    require_compiler()
with ParallelCompile("DLCORE_JOBS", needs_recompile=out_of_date):
    setup(
        packages=[*find_packages(include=["dlcore", "dlcore.*"]), *(f"dlcore.kernels.{f}" for f in families)],
        package_dir={f"dlcore.kernels.{f}": f"kernels/{f}" for f in families},
        ext_modules=[extension],
        cmdclass={"build_ext": BuildExtension},
        zip_safe=False,
    )
