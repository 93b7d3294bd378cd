#include "core/faults.h"

#include <Python.h>

#include <dlfcn.h>
#include <execinfo.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace dlcore {

std::atomic<int64_t> allocations_left{0};

namespace {

PyMemAllocatorEx mem_before, object_before;
bool python_counts = false;

// Whether this extension has called the function of Python that wants memory: a few frames up at most, for further up
// there is Python code in between.
bool python_fails() {
  if (!python_counts || allocations_left.load(std::memory_order_relaxed) == 0) return false;
  constexpr int kSkipped = 2, kFrames = 4;  // this function and its caller
  void* frames[kSkipped + kFrames];
  Dl_info own, other;
  if (!dladdr(reinterpret_cast<void*>(&fail_allocation), &own)) return false;
  const int n = backtrace(frames, kSkipped + kFrames);
  for (int k = kSkipped; k < n; ++k) {
    if (dladdr(frames[k], &other) && other.dli_fbase == own.dli_fbase) return allocation_fails();
  }
  return false;
}

void* fail_malloc(void* before, size_t bytes) {
  if (python_fails()) return nullptr;
  const auto* a = static_cast<PyMemAllocatorEx*>(before);
  return a->malloc(a->ctx, bytes);
}
void* fail_calloc(void* before, size_t count, size_t bytes) {
  if (python_fails()) return nullptr;
  const auto* a = static_cast<PyMemAllocatorEx*>(before);
  return a->calloc(a->ctx, count, bytes);
}
void* fail_realloc(void* before, void* block, size_t bytes) {
  if (python_fails()) return nullptr;
  const auto* a = static_cast<PyMemAllocatorEx*>(before);
  return a->realloc(a->ctx, block, bytes);
}
void pass_free(void* before, void* block) {
  const auto* a = static_cast<PyMemAllocatorEx*>(before);
  a->free(a->ctx, block);
}

void watch_python() {
  static bool watched = false;
  if (std::exchange(watched, true)) return;
  PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &mem_before);
  PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &object_before);
  PyMemAllocatorEx mem{&mem_before, fail_malloc, fail_calloc, fail_realloc, pass_free};
  PyMemAllocatorEx object{&object_before, fail_malloc, fail_calloc, fail_realloc, pass_free};
  PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &mem);
  PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &object);
}

}  // namespace

int64_t fail_allocation(int64_t n, bool python) {
  const int64_t left = std::max<int64_t>(allocations_left.exchange(0), 0);
  if (python) watch_python();
  python_counts = python;
  allocations_left = n;
  return left;
}

}  // namespace dlcore

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they count on operators of their own
// What C++ allocates in this extension; Python loads it so that others do not see these.
void* operator new(std::size_t bytes) {
  void* block = dlcore::allocation_fails() ? nullptr : std::malloc(bytes ? bytes : 1);
  if (!block) throw std::bad_alloc();
  return block;
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
#endif
