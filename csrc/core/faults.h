// Memory that runs out on purpose, for tests: one allocation, counted from now on, fails.
//
// Counted are dlcore's own blocks, what C++ allocates in this extension, and, where asked for, the Python objects that
// this extension makes. (Not those of Python code: CPython itself crashes where some of its own cannot be made.)
#pragma once
#include <atomic>
#include <cstdint>

namespace dlcore {

extern std::atomic<int64_t> allocations_left;  // until the one that fails, itself included; 0: none will

inline bool allocation_fails() {
  if (allocations_left.load(std::memory_order_relaxed) == 0) return false;
  return allocations_left.fetch_sub(1, std::memory_order_relaxed) == 1;
}

// The n-th allocation from now on fails; 0: none. Returns how many were left of the n asked for before.
int64_t fail_allocation(int64_t n, bool python);

}  // namespace dlcore
