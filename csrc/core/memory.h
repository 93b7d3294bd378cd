// Host memory: a caching allocator and the scratch space of kernels.
//
// Fresh pages of a large result cost more than its arithmetic, so freed blocks are kept by size and handed out again.
// Blocks are 128-byte aligned. All functions may be called from any thread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dlcore {

constexpr size_t kAlignment = 128;
constexpr size_t kCacheLimit = size_t{1} << 31;  // bytes kept; beyond, freed blocks go back to the system

void* allocate(size_t bytes);              // throws std::bad_alloc; 0 bytes gives a valid address too
void release(void* block, size_t bytes);   // `bytes` as asked for
void trim_memory();                        // gives every cached block back to the system

// Sizes are rounded up to four classes per power of two, so at most a fifth of a block is unused.
constexpr int kSizeClasses = 4 * 48;
int size_class(size_t bytes);
size_t class_bytes(int size_class);

struct MemoryStats {
  int64_t in_use;     // bytes handed out
  int64_t cached;     // bytes kept for reuse
  int64_t peak;       // largest in_use since the last reset
  int64_t allocations;
};
MemoryStats memory_stats();
void reset_peak_memory();

// Temporary space of one kernel call.
template <class T> class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(sizeof(T) * static_cast<size_t>(count)), data_(static_cast<T*>(allocate(bytes_))) {}
  ~Scratch() { release(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace dlcore
