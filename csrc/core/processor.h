// What kernels ask of the processor. Answers depend on the machine alone and change which way is taken, never the bits.
#pragma once
#include <cstdint>

namespace dlcore {

int64_t second_level_cache();  // bytes of a core's

// Which tiles products take (csrc/matmul/broad.inl): broad ones on Intel's processors, on others both, each where it is
// faster. DLCORE_TILES=tall, mixed or broad decides otherwise, for tests and measurements.
enum class Tiles { tall, mixed, broad };
Tiles product_tiles();

// Whether the processor multiplies bfloat16 (AVX512-BF16, csrc/matmul/pairs.inl). DLCORE_BF16=widened says no.
bool multiplies_bfloat16();

// Whether the processor adds products of four bytes (AVX512-VNNI, csrc/matmul/bytes.inl). DLCORE_VNNI=off says no.
bool multiplies_bytes();

}  // namespace dlcore
