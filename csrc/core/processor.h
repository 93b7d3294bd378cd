// What kernels ask of the processor. Answers depend on the machine alone and change which way is taken, never the bits.
#pragma once
#include <cstdint>

namespace dlcore {

int64_t second_level_cache();  // bytes of a core's

// Whether products take broad tiles (csrc/matmul/broad.inl): on Intel's processors. DLCORE_TILES=broad or tall decides
// otherwise, for tests and measurements.
bool broad_tiles();

// Whether the processor multiplies bfloat16 (AVX512-BF16, csrc/matmul/pairs.inl). DLCORE_BF16=widened says no.
bool multiplies_bfloat16();

}  // namespace dlcore
