"""The files that kernels share (csrc/common/*.inl) combine: all of them in one body, in any order."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent / "csrc"
SHARED = sorted(p.name for p in (CSRC / "common").glob("*.inl") if p.name != "end_of_pass.inl")
CXX = os.environ.get("CXX", "g++").split()

# A normalisation needs the reductions, the pointwise loops, the lines and the copies at once.
BODY = """
struct Centre {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> T operator()(T x, T mean) const { return x - mean; }
};
struct Sums {
  using C = float;
  using P = double;
  P identity() const { return 0; }
  void run(const C* x, int64_t n, int64_t, P& p) const { p += fold_array<Plus>(x, n, C(0)); }
  void columns(const C* x, int64_t ld, int64_t rows, int64_t w, int64_t, P* p) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < w; ++c) p[c] += x[r * ld + c];
  }
  void merge(P& p, const P& q) const { p += q; }
  P finish(P p) const { return p; }
};
struct Line {
  void line(int64_t, const float* x, const float*, float* z) const { z[0] = max_of(1, x) + exp_(x[0]); }
  void columns(int64_t, int64_t, int64_t w, const float* x, const float*, float* z) const {
    for (int64_t c = 0; c < w; ++c) z[c] = x[c];
  }
};
static void centre(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<Centre, T, T, T>(a.out(), a.in(0), a.in(1)); });
  reduce_axes<float, float>(Sums{}, a.in(0), a.out(), 1);
  each_line(lines_of(a.in(0), 0), a.in(0).as<float>(), static_cast<const float*>(nullptr), a.out().as<float>(), Line{});
  copy_array(a.out(), a.in(0));
}
static const Kernel kernels[] = {{"toolbox:centre", centre, 0}};
"""


@pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="no C++ compiler")
@pytest.mark.parametrize("order", ["sorted", "reversed"])
def test_shared_files_combine(tmp_path, order):
    names = SHARED if order == "sorted" else SHARED[::-1]
    (tmp_path / "body.inl").write_text("".join(f'#include "common/{n}"\n' for n in names) + BODY)
    source = '#define DLCORE_BODY "body.inl"\n#include "common/each_isa.h"\n'
    command = [*CXX, "-std=c++20", "-fsyntax-only", "-fopenmp-simd", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-psabi", f"-I{CSRC}", f"-I{tmp_path}", "-x", "c++", "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", SHARED)
def test_each_includes_what_it_needs(tmp_path, name):
    """Alone in a body, for one instruction set."""
    (tmp_path / "body.inl").write_text(f'#include "common/{name}"\nstatic const Kernel kernels[] = {{{{"a:b"}}}};\n')
    source = '#define DLCORE_BASELINE_ONLY\n#define DLCORE_BODY "body.inl"\n#include "common/each_isa.h"\n'
    command = [*CXX, "-std=c++20", "-fsyntax-only", "-fopenmp-simd", f"-I{CSRC}", f"-I{tmp_path}", "-x", "c++", "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]


def test_every_guard_is_undefined_between_passes():
    end = (CSRC / "common" / "end_of_pass.inl").read_text().split()
    for name in SHARED:
        guard = f"DLCORE_COMMON_{name.removesuffix('.inl').upper()}"
        assert guard in (CSRC / "common" / name).read_text()
        assert guard in end, f"end_of_pass.inl does not undefine {guard}"


def test_lines_are_short():
    paths = [p for p in CSRC.rglob("*") if p.suffix in {".inl", ".h", ".cpp"} and p.parent.name != "core"]
    lines = ((p.name, number, line) for p in paths for number, line in enumerate(p.read_text().split("\n"), 1))
    assert not [f"{name}:{number}" for name, number, line in lines if len(line) > 120]
