// What walks through strided arrays, the same whatever is done with their elements: compiled once for each instruction
// set (csrc/walks) and called by all families, for in each of them it would be most of what the family weighs.
#pragma once
#include <cstdint>

#include "core/kernel.h"

namespace dlcore {

constexpr int kMaxOperands = 4;  // the output, number 0, and up to three inputs
constexpr int64_t kPointwiseBlock = 512;

// out[i] = f(in[0][i], in[1][i], ...) for n elements that lie side by side; no more than kPointwiseBlock where an
// operand is not dense.
using DenseLoop = void (*)(int64_t n, void* out, const void* const* in);

// The loop over arrays, and the same where in[0] or in[1] is one number for all n elements, whatever n; null where
// there is none.
struct ElementLoops {
  DenseLoop dense;
  DenseLoop with_number[2] = {};
};

struct Walks {
  // A loop over arrays[0], the output, and arrays[1], arrays[2], ..., which broadcast to its shape. `grain`: how many
  // elements are worth about 10 us.
  void (*pointwise)(const ElementLoops& loops, int64_t grain, const Array* const* arrays, int count);
  // target = source, broadcast; both of one dtype. `past_caches`: whether what the target is a part of would not stay
  // in them.
  void (*copy)(const Array& target, const Array& source, bool past_caches);
};
extern Walks walks;  // those of this processor

inline bool register_kernels(const Walks& table) {
  walks = table;
  return true;
}

}  // namespace dlcore
