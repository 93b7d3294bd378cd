// Element types. The codes are shared with dlcore/dtypes.py, which asserts that they agree.
#pragma once
#include <cstdint>

namespace dlcore {

enum class DType : uint8_t {
  bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64, float16, bfloat16, float32, float64
};
constexpr int kDTypes = 13;

constexpr int64_t kItemSize[kDTypes] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8};
constexpr const char* kDTypeName[kDTypes] = {"bool",  "uint8", "uint16", "uint32",  "uint64",   "int8",   "int16",
                                             "int32", "int64", "float16", "bfloat16", "float32", "float64"};

constexpr int64_t item_size(DType t) { return kItemSize[static_cast<int>(t)]; }
constexpr bool is_float(DType t) { return t >= DType::float16; }

// The two 16-bit floats are storage types: kernels load them into float, compute, and round once when storing.
struct half_t { uint16_t bits; };
struct bfloat16_t { uint16_t bits; };

}  // namespace dlcore
