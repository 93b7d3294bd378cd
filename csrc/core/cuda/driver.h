// The functions of NVIDIA's driver that are used, and the devices that they are called for.
#pragma once
#include <array>
#include <atomic>
#include <stdexcept>
#include <string>

#include "core/cuda.h"
#include "core/device.h"

namespace dlcore::cuda {

// ---- the driver: the few functions used, as cuda.h declares them --------------------------------------------------
using Pointer = unsigned long long;  // CUdeviceptr
using Handle = void*;                // CUcontext, CUstream, CUevent, CUmodule, CUfunction, CUgraph, CUgraphExec
static_assert(sizeof(Pointer) == sizeof(void*));

struct LaunchAttribute {  // CUlaunchAttribute
  alignas(8) int id;      // CUlaunchAttributeID
  alignas(8) std::array<int, 16> value;
};
struct LaunchConfig {  // CUlaunchConfig
  std::array<unsigned, 3> grid, block;
  unsigned shared;  // bytes of dynamic shared memory
  Handle stream;
  const LaunchAttribute* attributes;
  unsigned count;
};
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(LaunchConfig) == 56);

#define DRIVER_FUNCTIONS(X)                                                                                            \
  X(cuInit, "cuInit", unsigned)                                                                                        \
  X(cuDriverGetVersion, "cuDriverGetVersion", int*)                                                                    \
  X(cuDeviceGetCount, "cuDeviceGetCount", int*)                                                                        \
  X(cuDeviceGet, "cuDeviceGet", int*, int)                                                                             \
  X(cuDeviceGetName, "cuDeviceGetName", char*, int, int)                                                               \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", int*, int, int)                                                      \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", Handle*, int)                                                \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", Handle*)                                                                       \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", Handle)                                                                        \
  X(cuStreamCreate, "cuStreamCreate", Handle*, unsigned)                                                               \
  X(cuStreamSynchronize, "cuStreamSynchronize", Handle)                                                                \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", Handle, int*)                                                          \
  X(cuPointerGetAttributes, "cuPointerGetAttributes", unsigned, int*, void**, Pointer)                                 \
  X(cuStreamWaitEvent, "cuStreamWaitEvent", Handle, Handle, unsigned)                                                  \
  X(cuEventCreate, "cuEventCreate", Handle*, unsigned)                                                                 \
  X(cuEventRecord, "cuEventRecord", Handle, Handle)                                                                    \
  X(cuEventElapsedTime, "cuEventElapsedTime", float*, Handle, Handle)                                                  \
  X(cuEventDestroy, "cuEventDestroy_v2", Handle)                                                                       \
  X(cuMemAllocHost, "cuMemAllocHost_v2", void**, size_t)                                                               \
  X(cuMemGetInfo, "cuMemGetInfo_v2", size_t*, size_t*)                                                                 \
  X(cuMemcpyAsync, "cuMemcpyAsync", Pointer, Pointer, size_t, Handle)                                                  \
  X(cuMemsetD8Async, "cuMemsetD8Async", Pointer, unsigned char, size_t, Handle)                                        \
  X(cuModuleLoadData, "cuModuleLoadData", Handle*, const void*)                                                        \
  X(cuModuleGetFunction, "cuModuleGetFunction", Handle*, Handle, const char*)                                          \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", Handle, int, int)                                                        \
  X(cuLaunchKernelEx, "cuLaunchKernelEx", const LaunchConfig*, Handle, void**, void**)                                 \
  X(cuTensorMapEncodeTiled, "cuTensorMapEncodeTiled", void*, int, unsigned, Pointer, const uint64_t*, const uint64_t*, \
    const unsigned*, const unsigned*, int, int, int, int)                                                              \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", Handle, int)                                                      \
  X(cuStreamEndCapture, "cuStreamEndCapture", Handle, Handle*)                                                         \
  X(cuGraphGetNodes, "cuGraphGetNodes", Handle, Handle*, size_t*)                                                      \
  X(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags", Handle*, Handle, unsigned long long)                   \
  X(cuGraphLaunch, "cuGraphLaunch", Handle, Handle)                                                                    \
  X(cuGraphDestroy, "cuGraphDestroy", Handle)                                                                          \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", Handle)                                                                  \
  X(cuGetErrorString, "cuGetErrorString", int, const char**)

template <class... A> using Function = int (*)(A...);
struct Driver {
#define DECLARE(NAME, SYMBOL, ...) Function<__VA_ARGS__> NAME = nullptr;
  DRIVER_FUNCTIONS(DECLARE)
#undef DECLARE
  Function<Handle> cuFuncLoad = nullptr;  // from CUDA 12.4 on, else null
  bool loaded = false;
};
extern Driver driver;

enum EventFlags : unsigned { kTimed = 0, kUntimed = 2 };  // CUevent_flags
constexpr int kStreamNonBlocking = 1, kCaptureThreadLocal = 1;
constexpr int kMaxDynamicShared = 8, kCarveout = 9;  // CUfunction_attribute
constexpr int kSharedPerBlock = 97, kMemoryType = 2;  // CUdevice_attribute, CUpointer_attribute
constexpr int kFreeShared = 48 << 10;  // dynamic shared memory that needs no asking

// Throws std::runtime_error with the driver's words for a status that is no success.
void check(int status, const char* what);
#define CHECK(NAME, ...) check(driver.NAME(__VA_ARGS__), #NAME)

void load(const std::string& path);  // opens libcuda.so.1, once

// ---- devices ------------------------------------------------------------------------------------------------------
constexpr size_t kPinned = 64 << 10;    // what is read back through pinned memory

// All but the context, the streams and `unusable` is read and written under the GIL alone, which replays do not hold.
struct Place {
  Handle context = nullptr;  // null: not opened; set last, and never again
  Handle stream = nullptr;   // where everything runs
  Handle capturing = nullptr;  // the stream where launches of `capturer` become a graph instead
  Handle event = nullptr;
  int ordinal = 0, shared = 0;  // the driver's number, and bytes of shared memory that a block can have
  char* pinned = nullptr;       // kPinned bytes for data, then room for the fault words
  void* fault_words = nullptr;  // pairs (code, position) in device memory
  size_t fault_bytes = 0, fault_room = 0;
  bool captured = false;  // a thread captures
  bool reading = false;  // a thread waits for what it reads through `pinned`
  std::atomic<const char*> unusable = nullptr;  // why nothing can be done there any more
};
extern Place places[kMaxDevices];
extern constinit thread_local const Place* capturer;  // the device whose launches this thread captures
extern constinit thread_local Place* entered;         // the device that this thread calls the driver for

void open(uint8_t device, int ordinal);  // of the driver's number
// The fault words lie at `address`, the first `bytes` of them are in use; there will be `room` at most.
void set_fault_words(uint8_t device, uintptr_t address, size_t bytes, size_t room);

// A device whose context is this thread's while this lives. Afterwards the one before is again, if another library has
// chosen one: its current device must not change. (Without any, that of GPU 0 is what every library takes.)
class Entered {
 public:
  explicit Entered(uint8_t device);
  Entered(uint8_t device, const char* what);  // for what cannot be part of a graph
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered();
  Place* operator->() const { return &place_; }
  Place& operator*() const { return place_; }
  bool captures() const { return capturer == &place_; }
  Handle stream() const { return captures() ? place_.capturing : place_.stream; }

 private:
  Place& place_;
  Place* const outer_;
  Handle before_ = nullptr;
  bool restores_ = false;
};

// body() on a device that may have failed, whose handles are gone then: for destructors.
template <class Body> void give_up(uint8_t device, Body body) noexcept {
  if (!usable(device)) return;
  try {
    const Entered place(device);
    body();
  } catch (const std::runtime_error&) {  // it has just failed: whatever comes next says so
  }
}

inline Pointer pointer(const void* p) { return reinterpret_cast<Pointer>(p); }

}  // namespace dlcore::cuda
