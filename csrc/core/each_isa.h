// Includes DLCORE_BODY once per instruction set, each in its own namespace, and registers the best one at import.
//
//   #include "core/kernel.h"              // and whatever standard headers the body uses: compiled for the baseline
//   #define DLCORE_BODY "softmax/softmax.inl"
//   #include "core/each_isa.h"
//
// The body defines its kernels and, last, `static const Kernel kernels[] = {{"softmax:softmax", softmax, flags}, ...};`.
// Standard templates keep the baseline's instructions (they were defined before the pragma), so no comdat of theirs
// can smuggle AVX into the rest of the program.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/memory.h"
#include "core/threads.h"

namespace dlcore::v1 {
#define DLCORE_ISA 1
#include "core/simd.inl"
#include "core/math.inl"
#include "core/activations.inl"
#include DLCORE_BODY
#undef DLCORE_ISA
}  // namespace dlcore::v1

#if defined(__x86_64__) && defined(__GNUC__) && !defined(DLCORE_BASELINE_ONLY)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3,prefer-vector-width=256")
namespace dlcore::v3 {
#define DLCORE_ISA 3
#include "core/simd.inl"
#include "core/math.inl"
#include "core/activations.inl"
#include DLCORE_BODY
#undef DLCORE_ISA
}  // namespace dlcore::v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace dlcore::v4 {
#define DLCORE_ISA 4
#include "core/simd.inl"
#include "core/math.inl"
#include "core/activations.inl"
#include DLCORE_BODY
#undef DLCORE_ISA
}  // namespace dlcore::v4
#pragma GCC pop_options

static const bool registered = [] {
  switch (dlcore::processor_isa()) {
    case dlcore::Isa::v4: return dlcore::register_kernels(dlcore::v4::kernels);
    case dlcore::Isa::v3: return dlcore::register_kernels(dlcore::v3::kernels);
    default: return dlcore::register_kernels(dlcore::v1::kernels);
  }
}();
#else
static const bool registered = dlcore::register_kernels(dlcore::v1::kernels);
#endif
