// Compiles DLCORE_BODY once per instruction set, each in its own namespace, and registers the best one at import.
//
//   #define DLCORE_BODY "softmax/softmax.inl"
//   #include "common/each_isa.h"
//
// The body includes what it uses of csrc/common/*.inl, defines its kernels and, last,
// `static const Kernel kernels[] = {{"softmax:softmax", softmax, flags}, ...};`. Shared files have include guards,
// which end_of_pass.inl undefines after each instruction set. Standard headers are included here, outside of all
// namespaces: what they define keeps the baseline's instructions (it stands before the pragma), so that no comdat of
// theirs can smuggle AVX into the rest of the program. Within, all is of this family alone: two families may each have
// a `struct Axis`, which the linker would else take for one and give both the members of the first.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "common/walks.h"
#include "core/kernel.h"
#include "core/memory.h"
#include "core/threads.h"

// DLCORE_ONLY_ISA, 1, 3 or 4: only that one, of the machine that compiles, for builds with sanitizers (setup.py).
#ifdef DLCORE_ONLY_ISA
#define DLCORE_HAS_ISA(isa) (DLCORE_ONLY_ISA == isa)
#elif defined(__x86_64__) && defined(__GNUC__)
#define DLCORE_HAS_ISA(isa) 1
#else
#define DLCORE_HAS_ISA(isa) (isa == 1)
#endif

// Processors without AVX2 are rare by now: their copy is made small (a quarter of the time and a sixth of the size).
// Loops marked `#pragma omp simd` become vector code all the same.
#if DLCORE_HAS_ISA(1)
#pragma GCC push_options
#pragma GCC optimize("Os")
namespace dlcore::v1 {
namespace {
#define DLCORE_ISA 1
#include DLCORE_BODY
#include "common/end_of_pass.inl"
}  // namespace
}  // namespace dlcore::v1
#pragma GCC pop_options
#endif

#if DLCORE_HAS_ISA(3)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3,prefer-vector-width=256")
namespace dlcore::v3 {
namespace {
#define DLCORE_ISA 3
#include DLCORE_BODY
#include "common/end_of_pass.inl"
}  // namespace
}  // namespace dlcore::v3
#pragma GCC pop_options
#endif

#if DLCORE_HAS_ISA(4)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace dlcore::v4 {
namespace {
#define DLCORE_ISA 4
#include DLCORE_BODY
#include "common/end_of_pass.inl"
}  // namespace
}  // namespace dlcore::v4
#pragma GCC pop_options
#endif

static const bool registered = [] {
  switch (dlcore::processor_isa()) {
#if DLCORE_HAS_ISA(4)
    case dlcore::Isa::v4: return dlcore::register_kernels(dlcore::v4::kernels);
#endif
#if DLCORE_HAS_ISA(3)
    case dlcore::Isa::v3: return dlcore::register_kernels(dlcore::v3::kernels);
#endif
#if DLCORE_HAS_ISA(1)
    case dlcore::Isa::v1: return dlcore::register_kernels(dlcore::v1::kernels);
#endif
    default: return false;
  }
}();
#undef DLCORE_HAS_ISA
