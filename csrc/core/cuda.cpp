#include "core/cuda.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/kernel.h"
#include "core/ref.h"

namespace dlcore::v1 {
#define DLCORE_ISA 1
#include "common/simd.inl"
#undef DLCORE_ISA
}  // namespace dlcore::v1

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
static Driver driver;

enum EventFlags : unsigned { kTimed = 0, kUntimed = 2 };  // CUevent_flags
static constexpr int kStreamNonBlocking = 1, kCaptureThreadLocal = 1;
static constexpr int kMaxDynamicShared = 8, kCarveout = 9;  // CUfunction_attribute
static constexpr int kSharedPerBlock = 97, kMemoryType = 2;  // CUdevice_attribute, CUpointer_attribute
static constexpr int kFreeShared = 48 << 10;  // dynamic shared memory that needs no asking

// ---- devices ------------------------------------------------------------------------------------------------------
static constexpr size_t kPinned = 64 << 10;    // what is read back through pinned memory
static constexpr size_t kReleaseGil = 1 << 20;  // bytes copied from which other Python threads may run

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
static Place places[kMaxDevices];
static thread_local const Place* capturer = nullptr;  // the device whose launches this thread captures
static thread_local Place* entered = nullptr;         // the device that this thread calls the driver for

// After these a context answers nothing else any more (cuda.h: "the process must be terminated and relaunched").
static bool loses_context(int status) {
  constexpr int kLosing[] = {214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721};
  return std::find(std::begin(kLosing), std::end(kLosing), status) != std::end(kLosing);
}

[[noreturn]] static void raise_lost(Place& place, const std::string& error) {
  const std::string text = "the GPU's context is lost (" + error + "): start the process anew";
  const char* expected = nullptr;
  std::unique_ptr<char, void (*)(void*)> reason(strdup(text.c_str()), std::free);
  if (reason && place.unusable.compare_exchange_strong(expected, reason.get())) expected = reason.release();
  throw std::runtime_error(expected ? expected : text);
}

static bool forked = false;  // this process was forked from one that had loaded the driver
static constexpr const char* kForked =
    "a GPU cannot be used in a process forked from one that has opened a GPU: start it by "
    "multiprocessing.get_context('spawn'), or open the GPU only after the fork";
static const int fork_rule = pthread_atfork(nullptr, nullptr, [] {
  forked = driver.loaded;
  for (Place& place : places) {
    if (place.context) place.unusable = kForked;
  }
});

static void check(int status, const char* what) {
  if (!status) return;
  const char* text = nullptr;
  driver.cuGetErrorString(status, &text);
  const std::string words = text ? std::string(", ") + text : "";
  const std::string error = std::string(what) + ": CUDA error " + std::to_string(status) + words;
  if (entered && loses_context(status)) raise_lost(*entered, error);
  throw std::runtime_error(error);
}
#define CHECK(NAME, ...) check(driver.NAME(__VA_ARGS__), #NAME)

static void load(const std::string& path) {
  if (driver.loaded) {
    if (forked) throw std::runtime_error(kForked);
    return;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw std::runtime_error(dlerror());
#define LOOK_UP(NAME, SYMBOL, ...)                                              \
  driver.NAME = reinterpret_cast<Function<__VA_ARGS__>>(dlsym(library, SYMBOL)); \
  if (!driver.NAME) throw std::runtime_error(path + " has no " SYMBOL ": the driver is older than CUDA 12.0");
  DRIVER_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
  driver.cuFuncLoad = reinterpret_cast<Function<Handle>>(dlsym(library, "cuFuncLoad"));
  CHECK(cuInit, 0);
  driver.loaded = true;
}

static void require_usable(const Place& place) {
  if (!place.context) throw std::runtime_error("this GPU has not been opened");
  if (const char* reason = place.unusable.load(std::memory_order_relaxed)) throw std::runtime_error(reason);
}

// A device whose context is this thread's while this lives. Afterwards the one before is again, if another library has
// chosen one: its current device must not change. (Without any, that of GPU 0 is what every library takes.)
class Entered {
 public:
  explicit Entered(uint8_t device) : place_(places[device < kMaxDevices ? device : 0]), outer_(entered) {
    require_usable(place_);
    driver.cuCtxGetCurrent(&before_);
    if (before_ != place_.context) {
      check(driver.cuCtxSetCurrent(place_.context), "cuCtxSetCurrent");
      restores_ = before_ || place_.ordinal;
    }
    entered = &place_;
  }
  Entered(uint8_t device, const char* what) : Entered(device) {  // for what cannot be part of a graph
    if (captures()) {
      throw std::runtime_error(std::string(what) + " while a step is recorded: it would not be part of the recording");
    }
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered() {
    entered = outer_;
    if (restores_) driver.cuCtxSetCurrent(before_);
  }
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
template <class Body> static void give_up(uint8_t device, Body body) noexcept {
  if (!usable(device)) return;
  try {
    const Entered place(device);
    body();
  } catch (const std::runtime_error&) {  // it has just failed: whatever comes next says so
  }
}

static Pointer pointer(const void* p) { return reinterpret_cast<Pointer>(p); }

static void open(uint8_t device, int ordinal) {
  if (!device || device >= kMaxDevices) throw std::runtime_error("not a device: " + std::to_string(device));
  Place& place = places[device];
  if (place.context) return;
  int id;
  Handle before = nullptr, context = nullptr;
  CHECK(cuDeviceGet, &id, ordinal);
  CHECK(cuDeviceGetAttribute, &place.shared, kSharedPerBlock, id);
  CHECK(cuDevicePrimaryCtxRetain, &context, id);
  CHECK(cuCtxGetCurrent, &before);
  const struct Restored {
    const Handle context;
    const bool chosen;
    ~Restored() {
      if (chosen) driver.cuCtxSetCurrent(context);
    }
  } restored{before, before || ordinal};
  CHECK(cuCtxSetCurrent, context);
  const auto make = [&](Handle& stream) {
    if (!stream) CHECK(cuStreamCreate, &stream, kStreamNonBlocking);
  };
  make(place.stream);
  make(place.capturing);
  if (!place.event) CHECK(cuEventCreate, &place.event, kUntimed);
  place.ordinal = ordinal;
  place.context = context;
}

bool usable(uint8_t device) { return !places[device].unusable; }

// The fault words lie at `address`, the first `bytes` of them are in use; there will be `room` at most.
static void set_fault_words(uint8_t device, uintptr_t address, size_t bytes, size_t room) {
  const Entered place(device);
  if (!place->pinned) {
    CHECK(cuMemAllocHost, reinterpret_cast<void**>(&place->pinned), kPinned + room);
    std::memset(place->pinned + kPinned, 0, room);
    place->fault_room = room;
  }
  if (bytes > place->fault_room) throw std::runtime_error("set_fault_words: more than there is room for");
  place->fault_words = reinterpret_cast<void*>(address);
  place->fault_bytes = bytes;
}

// Other Python threads run meanwhile. Those that wait too read the fault words to the same place, but later in the
// stream, and only who has seen a fault clears it: so none is lost, and two may raise the same.
static bool wait(Place& place) {
  const char* words = place.pinned + kPinned;
  const size_t bytes = place.fault_bytes;
  if (bytes) CHECK(cuMemcpyAsync, pointer(words), pointer(place.fault_words), bytes, place.stream);
  int status;
  {
    const WithoutGil released;
    status = driver.cuStreamSynchronize(place.stream);
  }
  check(status, "cuStreamSynchronize");
  for (size_t k = 0; k < bytes; k += 16) {
    int64_t code;
    std::memcpy(&code, words + k, sizeof code);
    if (code) return true;
  }
  return false;
}

// Pageable memory has been read when the driver returns; from memory that a program has pinned (or shares with the GPU)
// it is read only when the copy comes to run. (cuPointerGetAttribute would tell pageable memory by failing, and tools
// that watch the driver report each failure: compute-sanitizer would find a fault in every program that uploads.)
static bool is_pinned(const void* from) {
  int which = kMemoryType;
  unsigned type = 0;  // and it stays so for memory that the driver does not know
  void* to = &type;
  CHECK(cuPointerGetAttributes, 1, &which, &to, pointer(from));
  return type != 0;
}

void upload(uint8_t device, void* to, const void* from, size_t bytes) {
  const Entered place(device, "a copy to the GPU");
  const bool pinned = is_pinned(from);
  int status;
  if (!pinned && bytes < kReleaseGil) {
    status = driver.cuMemcpyAsync(pointer(to), pointer(from), bytes, place->stream);
  } else {
    const WithoutGil released;
    status = driver.cuMemcpyAsync(pointer(to), pointer(from), bytes, place->stream);
    if (!status && pinned) status = driver.cuStreamSynchronize(place->stream);
  }
  check(status, pinned ? "cuMemcpyAsync and cuStreamSynchronize" : "cuMemcpyAsync");
}

bool download(uint8_t device, void* to, const void* from, size_t bytes) {
  const Entered place(device, "a read-back from the GPU");
  if (bytes > kPinned || !place->pinned || place->reading) {  // waits for all that was asked before
    int status;
    {
      const WithoutGil released;
      status = driver.cuMemcpyAsync(pointer(to), pointer(from), bytes, place->stream);
    }
    check(status, "cuMemcpyAsync");
    return wait(*place);
  }
  struct Reading {  // the waiting thread lets others run
    Place& place;
    explicit Reading(Place& p) : place(p) { place.reading = true; }
    ~Reading() { place.reading = false; }
  } const reading(*place);
  CHECK(cuMemcpyAsync, pointer(place->pinned), pointer(from), bytes, place->stream);
  const bool faulted = wait(*place);
  std::memcpy(to, place->pinned, bytes);
  return faulted;
}

// `later` goes on after what has been asked of `earlier` until now. The event is of the device of `earlier`.
static void order(Handle event, Handle earlier, Handle later) {
  CHECK(cuEventRecord, event, earlier);
  CHECK(cuStreamWaitEvent, later, event, 0);
}

void copy(uint8_t to_device, void* to, uint8_t from_device, const void* from, size_t bytes) {
  if (to_device == from_device) {
    const Entered place(to_device);
    CHECK(cuMemcpyAsync, pointer(to), pointer(from), bytes, place.stream());
    return;
  }
  const char* const what = "a copy between GPUs";
  const Handle earlier = Entered(from_device, what)->stream, later = Entered(to_device, what)->stream;
  {
    const Entered target(to_device);  // what was there may still be in use
    order(target->event, later, earlier);
  }
  const Entered source(from_device);
  CHECK(cuMemcpyAsync, pointer(to), pointer(from), bytes, earlier);
  order(source->event, earlier, later);
}

void fill(uint8_t device, void* to, unsigned char value, size_t bytes) {
  const Entered place(device);
  CHECK(cuMemsetD8Async, pointer(to), value, bytes, place.stream());
}

void peek(uint8_t device, void* to, const void* from, size_t bytes) {
  const Entered place(device, "a read-back from the GPU");
  CHECK(cuMemcpyAsync, pointer(to), pointer(from), bytes, place->stream);
  CHECK(cuStreamSynchronize, place->stream);
}

void free_memory(uint8_t device, size_t* free, size_t* total) {
  const Entered place(device);
  CHECK(cuMemGetInfo, free, total);
}

bool synchronize(uint8_t device) {
  const Entered place(device, "a wait");
  return wait(*place);
}

std::string faults(uint8_t device) {
  const Place& place = places[device];
  return place.fault_bytes ? std::string(place.pinned + kPinned, place.fault_bytes) : std::string();
}

void wait_for(uint8_t device, uintptr_t stream, bool theirs_first) {
  const Entered place(device, "exchange of arrays");
  const Handle theirs = reinterpret_cast<Handle>(stream);
  int captured;
  CHECK(cuStreamIsCapturing, theirs, &captured);
  if (captured) {  // ours would become a part of it
    throw std::runtime_error("exchange of arrays with a stream that is being captured into a CUDA graph: share the "
                             "memory before the capture, and keep it until after");
  }
  if (theirs_first) order(place->event, theirs, place->stream);
  else order(place->event, place->stream, theirs);
}

// ---- times --------------------------------------------------------------------------------------------------------
Stopwatch::Stopwatch(uint8_t device, size_t marks) : device_(device) {
  const Entered place(device, "timing");
  events_.reserve(marks);
  for (size_t k = 0; k < marks; ++k) {
    Handle event;
    CHECK(cuEventCreate, &event, kTimed);
    events_.push_back(event);
  }
}

Stopwatch::~Stopwatch() {
  give_up(device_, [&] {
    for (const Handle event : events_) driver.cuEventDestroy(event);
  });
}

void Stopwatch::mark(size_t k) {
  const Entered place(device_, "timing");
  CHECK(cuEventRecord, events_[k], place->stream);
}

std::vector<double> Stopwatch::seconds() const {
  const Entered place(device_, "timing");
  CHECK(cuStreamSynchronize, place->stream);
  std::vector<double> times;
  for (size_t k = 1; k < events_.size(); ++k) {
    float milliseconds;
    CHECK(cuEventElapsedTime, &milliseconds, events_[k - 1], events_[k]);
    times.push_back(1e-3 * static_cast<double>(milliseconds));
  }
  return times;
}

// ---- programs -----------------------------------------------------------------------------------------------------
struct Slot {  // what of the parameters differs from call to call
  size_t offset, size;
  int array;      // operand, output or workspace
  int64_t shift;  // bytes past its element 0
  bool value;     // a Python number: its value, not its address
};
struct alignas(64) TensorMap { std::array<uint64_t, 16> words; };
struct Map {  // a parameter that tells TMA of an array; made anew where the array has moved
  size_t offset;
  int array;
  int64_t shift;  // bytes past its element 0
  int type, item, swizzle;  // CUtensorMapDataType, bytes of it, CUtensorMapSwizzle
  unsigned rank;                           // of what follows, the innermost axis first
  std::array<uint64_t, 5> sizes, strides;  // bytes from one to the next, of all axes but the first
  std::array<unsigned, 5> box;
  mutable Pointer address = 0;
  mutable TensorMap made{};
};
struct Packed {
  Handle function;
  std::array<unsigned, 3> grid, block;
  unsigned shared;
  std::string params;           // one after the other,
  std::vector<size_t> offsets;  // each here
  std::vector<Slot> slots;
  std::vector<Map> maps;
  std::vector<LaunchAttribute> attributes;
};
struct Zeroed { int array; size_t bytes; };

static constexpr size_t kMaxParams = 32764, kMaxCount = 256;  // bytes of parameters, from CUDA 12.1 on; how many

// Drivers for CUDA 13.1 and older make maps of less than 128 KiB with a bit too many; as CUTLASS and Triton do, it is
// cleared (cute/atom/copy_traits_sm90_tma.hpp).
static void mend_small(const Map& map, TensorMap& made) {
  static const bool wrong = [] {
    int version = 0;
    CHECK(cuDriverGetVersion, &version);
    return version <= 13010;
  }();
  uint64_t last = map.sizes[0] * static_cast<uint64_t>(map.item) - 1;
  for (unsigned d = 1; d < map.rank; ++d) last += (map.sizes[d] - 1) * map.strides[d - 1];
  if (wrong && last + 1 < 128 << 10) made.words[1] &= ~(uint64_t{1} << 21);
}

// Writes the map of the array at `address`. The last one made is kept, for most arrays stay where they are.
static void store_map(char* to, const Map& map, Pointer address) {
  static std::mutex making;  // replays run without the GIL
  const std::lock_guard<std::mutex> alone(making);
  if (map.address != address) {
    constexpr std::array<unsigned, 5> steps{1, 1, 1, 1, 1};
    constexpr int kNotInterleaved = 0, kPromoteTo128Bytes = 2, kFillWithZeros = 0;
    map.address = 0;
    CHECK(cuTensorMapEncodeTiled, &map.made, map.type, map.rank, address, map.sizes.data(), map.strides.data(),
          map.box.data(), steps.data(), kNotInterleaved, map.swizzle, kPromoteTo128Bytes, kFillWithZeros);
    mend_small(map, map.made);
    map.address = address;
  }
  std::memcpy(to, &map.made, sizeof map.made);
}

static void store_value(char* to, size_t size, const Array& a) {  // a weak scalar in the type the kernel takes
  const auto put = [&](auto value) { std::memcpy(to, &value, std::min(size, sizeof value)); };
  switch (a.dtype) {
    case DType::float16: return put(v1::to_float(*a.as<half_t>()));
    case DType::bfloat16: return put(v1::to_float(*a.as<bfloat16_t>()));
    case DType::float32: return put(*a.as<float>());
    case DType::float64: return put(*a.as<double>());
    case DType::bool_:
    case DType::uint8: return put(static_cast<int64_t>(*a.as<uint8_t>()));
    case DType::uint16: return put(static_cast<int64_t>(*a.as<uint16_t>()));
    case DType::uint32: return put(static_cast<int64_t>(*a.as<uint32_t>()));
    case DType::uint64: return put(*a.as<uint64_t>());
    case DType::int8: return put(static_cast<int64_t>(*a.as<int8_t>()));
    case DType::int16: return put(static_cast<int64_t>(*a.as<int16_t>()));
    case DType::int32: return put(static_cast<int64_t>(*a.as<int32_t>()));
    case DType::int64: return put(*a.as<int64_t>());
  }
}

class Program final : public Launches {
 public:
  Program(std::string name, uint8_t device, std::vector<Packed> launches, std::vector<Zeroed> zeroed)
      : name_(std::move(name)), device_(device), launches_(std::move(launches)), zeroed_(std::move(zeroed)) {}
  const char* name() const { return name_.c_str(); }

  void run(const Args& args) const override {
    const Entered place(device_);
    const Handle stream = place.stream();
    for (const Zeroed& z : zeroed_) CHECK(cuMemsetD8Async, pointer(args.arrays[z.array].data), 0, z.bytes, stream);
    for (const Packed& launch : launches_) start(launch, args, stream);
  }

 private:
  static void start(const Packed& launch, const Args& args, Handle stream) {
    alignas(64) char params[kMaxParams];
    std::memcpy(params, launch.params.data(), launch.params.size());
    for (const Slot& slot : launch.slots) {
      const Array& a = args.arrays[slot.array];
      if (slot.value) {
        store_value(params + slot.offset, slot.size, a);
      } else {
        const char* address = a.as<char>() + slot.shift;
        std::memcpy(params + slot.offset, &address, sizeof address);
      }
    }
    for (const Map& map : launch.maps) {
      store_map(params + map.offset, map, pointer(args.arrays[map.array].as<char>() + map.shift));
    }
    void* parameters[kMaxCount];  // where they lie in the code's memory the driver knows: a map's place is aligned there
    for (size_t k = 0; k < launch.offsets.size(); ++k) parameters[k] = params + launch.offsets[k];
    const LaunchConfig config{launch.grid,  launch.block, launch.shared, stream, launch.attributes.data(),
                              static_cast<unsigned>(launch.attributes.size())};
    CHECK(cuLaunchKernelEx, &config, launch.function, parameters, nullptr);
  }

  std::string name_;
  uint8_t device_;
  std::vector<Packed> launches_;
  std::vector<Zeroed> zeroed_;
};

// ---- graphs -------------------------------------------------------------------------------------------------------
struct Graph {
  const uint8_t device;
  const Handle graph;
  Handle executable = nullptr;
  explicit Graph(const Captured& captured) : device(captured.device), graph(captured.graph) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    give_up(device, [&] {
      if (executable) driver.cuGraphExecDestroy(executable);
      driver.cuGraphDestroy(graph);
    });
  }
};

void capture_begin(uint8_t device) {
  const Entered place(device, "another recording");
  if (place->captured) throw std::runtime_error("another thread records a step on this GPU");
  CHECK(cuStreamBeginCapture, place->capturing, kCaptureThreadLocal);
  place->captured = true;
  capturer = &*place;
}

Captured capture_end(uint8_t device) {
  const Entered place(device);
  if (!place.captures()) throw std::runtime_error("capture_end: nothing is being recorded");
  place->captured = false;
  capturer = nullptr;
  Captured captured{device, nullptr, 0};
  CHECK(cuStreamEndCapture, place->capturing, &captured.graph);
  CHECK(cuGraphGetNodes, captured.graph, nullptr, &captured.nodes);
  return captured;
}

void capture_abandon(uint8_t device) noexcept {
  Place& place = places[device];
  if (capturer != &place) return;
  place.captured = false;
  capturer = nullptr;
  give_up(device, [&] {
    Handle graph = nullptr;
    driver.cuStreamEndCapture(place.capturing, &graph);
    if (graph) driver.cuGraphDestroy(graph);
  });
}

std::shared_ptr<Graph> instantiate(Captured captured) {
  const Entered place(captured.device);
  auto graph = std::make_shared<Graph>(captured);
  CHECK(cuGraphInstantiateWithFlags, &graph->executable, captured.graph, 0);
  return graph;
}

void launch_graph(const Graph& graph) {
  const Entered place(graph.device);
  CHECK(cuGraphLaunch, graph.executable, place->stream);
}

// ---- the module: _C.cuda ------------------------------------------------------------------------------------------
// What body() returns; an error that it throws becomes Python's.
template <class Body> static PyObject* guarded(Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return out_of_memory("cuda");
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}
template <class Body> static PyObject* guarded_none(Body body) {
  return guarded([&] {
    body();
    return Py_NewRef(Py_None);
  });
}

static PyObject* load_method(PyObject*, PyObject* args) {
  const char* path;
  if (!PyArg_ParseTuple(args, "s:load", &path)) return nullptr;
  return guarded_none([&] { load(path); });
}

static PyObject* driver_version(PyObject*, PyObject*) {
  return guarded([] {
    int version;
    CHECK(cuDriverGetVersion, &version);
    return PyLong_FromLong(version);
  });
}

static PyObject* count(PyObject*, PyObject*) {
  return guarded([] {
    int n;
    CHECK(cuDeviceGetCount, &n);
    return PyLong_FromLong(n);
  });
}

static PyObject* name(PyObject*, PyObject* args) {
  int ordinal, id;
  char text[256] = {};
  if (!PyArg_ParseTuple(args, "i:name", &ordinal)) return nullptr;
  return guarded([&] {
    CHECK(cuDeviceGet, &id, ordinal);
    CHECK(cuDeviceGetName, text, static_cast<int>(sizeof text), id);
    return PyUnicode_FromString(text);
  });
}

static PyObject* attribute(PyObject*, PyObject* args) {
  int ordinal, which, id, value;
  if (!PyArg_ParseTuple(args, "ii:attribute", &ordinal, &which)) return nullptr;
  return guarded([&] {
    CHECK(cuDeviceGet, &id, ordinal);
    CHECK(cuDeviceGetAttribute, &value, which, id);
    return PyLong_FromLong(value);
  });
}

static PyObject* open_method(PyObject*, PyObject* args) {
  uint8_t device;
  int ordinal;
  if (!PyArg_ParseTuple(args, "bi:open", &device, &ordinal)) return nullptr;
  return guarded_none([&] { open(device, ordinal); });
}

static PyObject* stream(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:stream", &device)) return nullptr;
  return guarded([&] { return PyLong_FromVoidPtr(Entered(device)->stream); });
}

static PyObject* memory_info(PyObject*, PyObject* args) {
  uint8_t device;
  size_t free, total;
  if (!PyArg_ParseTuple(args, "b:memory_info", &device)) return nullptr;
  return guarded([&] {
    free_memory(device, &free, &total);
    return Py_BuildValue("nn", static_cast<Py_ssize_t>(free), static_cast<Py_ssize_t>(total));
  });
}

static PyObject* set_fault_words_method(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long address;
  Py_ssize_t bytes, room;
  if (!PyArg_ParseTuple(args, "bKnn:set_fault_words", &device, &address, &bytes, &room)) return nullptr;
  return guarded_none([&] { set_fault_words(device, address, static_cast<size_t>(bytes), static_cast<size_t>(room)); });
}

static PyObject* wait_for_method(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long stream;
  int theirs_first;
  if (!PyArg_ParseTuple(args, "bKp:wait_for", &device, &stream, &theirs_first)) return nullptr;
  return guarded_none([&] { wait_for(device, stream, theirs_first); });
}

static PyObject* module_load(PyObject*, PyObject* args) {
  uint8_t device;
  PyObject* image;
  if (!PyArg_ParseTuple(args, "bS:module_load", &device, &image)) return nullptr;
  return guarded([&] {
    const Entered place(device);
    Handle module;
    CHECK(cuModuleLoadData, &module, PyBytes_AS_STRING(image));
    return PyLong_FromVoidPtr(module);
  });
}

static PyObject* function(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long module;
  const char* symbol;
  int shared;
  if (!PyArg_ParseTuple(args, "bKsi:function", &device, &module, &symbol, &shared)) return nullptr;
  return guarded([&] {
    const Entered place(device);
    if (shared > place->shared) {
      throw std::runtime_error(std::string(symbol) + " wants " + std::to_string(shared) + " bytes of shared memory, " +
                               "and a block of this GPU can have " + std::to_string(place->shared));
    }
    Handle function;
    const auto set = [&](int which, int value) {
      check(driver.cuFuncSetAttribute(function, which, value), (std::string(symbol) + ": cuFuncSetAttribute").c_str());
    };
    CHECK(cuModuleGetFunction, &function, reinterpret_cast<Handle>(module), symbol);
    if (shared > kFreeShared) {
      set(kMaxDynamicShared, shared);
      set(kCarveout, 100);  // percent: else there may be room for one block only
    }
    if (driver.cuFuncLoad) CHECK(cuFuncLoad, function);  // else at its first launch, which may be in a capture
    return PyLong_FromVoidPtr(function);
  });
}

static bool read_slot(PyObject* tuple, const char* name, Packed& launch) {
  Py_ssize_t offset, size;
  long long shift;
  int array, value;
  if (!PyArg_ParseTuple(tuple, "nniLp", &offset, &size, &array, &shift, &value)) return false;
  const Py_ssize_t end = static_cast<Py_ssize_t>(launch.params.size());
  if (offset < 0 || size < 0 || size > end || offset > end - size) {
    PyErr_Format(PyExc_ValueError, "%s: a slot lies outside the parameters", name);
    return false;
  }
  launch.slots.push_back({static_cast<size_t>(offset), static_cast<size_t>(size), array, shift, value != 0});
  return true;
}

template <class T, size_t n> static bool read_numbers(PyObject* tuple, std::array<T, n>& to) {
  const Py_ssize_t count = std::min<Py_ssize_t>(PyTuple_GET_SIZE(tuple), n);
  for (Py_ssize_t k = 0; k < count; ++k) {
    to[static_cast<size_t>(k)] = static_cast<T>(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, k)));
  }
  return !PyErr_Occurred();
}

static bool read_map(PyObject* tuple, const char* name, Packed& launch) {
  Map map{};
  Py_ssize_t offset;
  long long shift;
  PyObject *sizes, *strides, *box;
  if (!PyArg_ParseTuple(tuple, "niLiiiO!O!O!", &offset, &map.array, &shift, &map.type, &map.item, &map.swizzle,
                        &PyTuple_Type, &sizes, &PyTuple_Type, &strides, &PyTuple_Type, &box) ||
      !read_numbers(sizes, map.sizes) || !read_numbers(strides, map.strides) || !read_numbers(box, map.box)) {
    return false;
  }
  const Py_ssize_t rank = PyTuple_GET_SIZE(sizes), end = static_cast<Py_ssize_t>(launch.params.size());
  if (rank < 1 || rank > 5 || PyTuple_GET_SIZE(strides) != rank - 1 || PyTuple_GET_SIZE(box) != rank || offset < 0 ||
      offset % 64 || offset > end - static_cast<Py_ssize_t>(sizeof(TensorMap))) {
    PyErr_Format(PyExc_ValueError, "%s: a tensor map has other numbers of axes, or lies outside the parameters", name);
    return false;
  }
  map.offset = static_cast<size_t>(offset);
  map.shift = shift;
  map.rank = static_cast<unsigned>(rank);
  launch.maps.push_back(map);
  return true;
}

static bool read_launch(PyObject* tuple, const char* name, Packed& launch) {
  unsigned long long function;
  int grid[3], block[3], shared;
  PyObject *params, *offsets, *slots, *maps, *attributes;
  if (!PyArg_ParseTuple(tuple, "K(iii)(iii)iSO!O!O!O!", &function, &grid[0], &grid[1], &grid[2], &block[0], &block[1],
                        &block[2], &shared, &params, &PyList_Type, &offsets, &PyList_Type, &slots, &PyList_Type, &maps,
                        &PyList_Type, &attributes)) {
    return false;
  }
  launch.function = reinterpret_cast<Handle>(function);
  std::copy_n(grid, 3, launch.grid.begin());
  std::copy_n(block, 3, launch.block.begin());
  launch.shared = static_cast<unsigned>(shared);
  launch.params.assign(PyBytes_AS_STRING(params), static_cast<size_t>(PyBytes_GET_SIZE(params)));
  if (launch.params.size() > kMaxParams) {
    PyErr_Format(PyExc_ValueError, "%s: more than %zu bytes of parameters", name, kMaxParams);
    return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(offsets); ++k) {
    launch.offsets.push_back(PyLong_AsSize_t(PyList_GET_ITEM(offsets, k)));
    if (PyErr_Occurred()) return false;
    if (launch.offsets.back() > launch.params.size() || launch.offsets.size() > kMaxCount) {
      PyErr_Format(PyExc_ValueError, "%s: more than %zu parameters, or one outside their bytes", name, kMaxCount);
      return false;
    }
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(slots); ++k) {
    if (!read_slot(PyList_GET_ITEM(slots, k), name, launch)) return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(maps); ++k) {
    if (!read_map(PyList_GET_ITEM(maps, k), name, launch)) return false;
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(attributes); ++k) {
    LaunchAttribute a{};
    if (!PyArg_ParseTuple(PyList_GET_ITEM(attributes, k), "i(iii)", &a.id, &a.value[0], &a.value[1], &a.value[2])) {
      return false;
    }
    launch.attributes.push_back(a);
  }
  return true;
}

static PyObject* program(PyObject*, PyObject* args) {
  const char* name;
  uint8_t device;
  PyObject *launches, *zeroed;
  if (!PyArg_ParseTuple(args, "sbO!O!:program", &name, &device, &PyList_Type, &launches, &PyList_Type, &zeroed)) {
    return nullptr;
  }
  return guarded([&]() -> PyObject* {
    std::vector<Packed> packed(static_cast<size_t>(PyList_GET_SIZE(launches)));
    for (size_t k = 0; k < packed.size(); ++k) {
      if (!read_launch(PyList_GET_ITEM(launches, static_cast<Py_ssize_t>(k)), name, packed[k])) return nullptr;
    }
    std::vector<Zeroed> zero;
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(zeroed); ++k) {
      int array;
      Py_ssize_t bytes;
      if (!PyArg_ParseTuple(PyList_GET_ITEM(zeroed, k), "in", &array, &bytes)) return nullptr;
      zero.push_back({array, static_cast<size_t>(bytes)});
    }
    const auto made = std::make_shared<Program>(name, device, std::move(packed), std::move(zero));
    return kernel_capsule(made->name(), made);
  });
}

static constexpr const char* kGraphCapsule = "dlcore.cuda.graph";  // owns a shared_ptr<Graph>

static PyObject* capture_begin_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_begin", &device)) return nullptr;
  return guarded_none([&] { capture_begin(device); });
}

static PyObject* capture_end_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_end", &device)) return nullptr;
  return guarded([&] {
    const Captured captured = capture_end(device);
    auto graph = std::make_unique<std::shared_ptr<Graph>>(instantiate(captured));
    Ref capsule = Ref::own(PyCapsule_New(graph.get(), kGraphCapsule, [](PyObject* o) {
      delete static_cast<std::shared_ptr<Graph>*>(PyCapsule_GetPointer(o, kGraphCapsule));
    }));
    if (capsule) graph.release();
    return Py_BuildValue("Nn", capsule.release(), static_cast<Py_ssize_t>(captured.nodes));
  });
}

static PyObject* capture_abandon_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_abandon", &device)) return nullptr;
  capture_abandon(device);
  Py_RETURN_NONE;
}

static PyObject* launch_graph_method(PyObject*, PyObject* capsule) {
  auto* graph = static_cast<std::shared_ptr<Graph>*>(PyCapsule_GetPointer(capsule, kGraphCapsule));
  return graph ? guarded_none([&] { launch_graph(**graph); }) : nullptr;
}

static PyMethodDef functions[] = {
    {"load", safe<load_method>, METH_VARARGS,
     "load(path): open libcuda.so.1; RuntimeError where it is missing or too old."},
    {"driver_version", safe<driver_version>, METH_NOARGS, "The CUDA version of the driver: 13000."},
    {"count", safe<count>, METH_NOARGS, "How many GPUs there are."},
    {"name", safe<name>, METH_VARARGS, "name(ordinal): a GPU's name."},
    {"attribute", attribute, METH_VARARGS, "attribute(ordinal, attribute): a CUdevice_attribute of a GPU."},
    {"open", safe<open_method>, METH_VARARGS,
     "open(device, ordinal): make a GPU usable as dlcore's device of that index."},
    {"stream", safe<stream>, METH_VARARGS, "stream(device): its CUstream."},
    {"memory_info", safe<memory_info>, METH_VARARGS, "memory_info(device): (free, total) bytes."},
    {"set_fault_words", safe<set_fault_words_method>, METH_VARARGS,
     "set_fault_words(device, address, bytes, room): where kernels report bad data, which every wait reads."},
    {"wait_for", safe<wait_for_method>, METH_VARARGS,
     "wait_for(device, stream, theirs_first): order the device's stream and another after one another."},
    {"module_load", safe<module_load>, METH_VARARGS,
     "module_load(device, image): a CUmodule of a cubin; never unloaded."},
    {"function", safe<function>, METH_VARARGS, "function(device, module, name, shared): a CUfunction."},
    {"program", safe<program>, METH_VARARGS,
     "program(name, device, launches, zeroed): a kernel of packed launches, each (function, grid, block, shared, "
     "parameters, their offsets, slots, maps, attributes); a slot is (offset, size, array, shift, whether it is a value), a map (offset, "
     "array, shift, type, its bytes, swizzle, sizes, strides, box), an attribute (CUlaunchAttributeID, three ints); zeroed are "
     "(array, bytes)."},
    {"capture_begin", safe<capture_begin_method>, METH_VARARGS,
     "capture_begin(device): launches become nodes of a graph from here on."},
    {"capture_end", safe<capture_end_method>, METH_VARARGS, "capture_end(device): (graph, number of nodes)."},
    {"capture_abandon", safe<capture_abandon_method>, METH_VARARGS, "capture_abandon(device): give up a recording."},
    {"launch_graph", safe<launch_graph_method>, METH_O, "launch_graph(graph): run it once, on its device's stream."},
    {nullptr, nullptr, 0, nullptr},
};

bool init(PyObject* parent) {
  static PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT,
                                   .m_name = "dlcore._C.cuda",
                                   .m_doc = "NVIDIA GPUs through the driver API: see csrc/core/cuda.h.",
                                   .m_size = -1,
                                   .m_methods = functions,
                                   .m_slots = nullptr,
                                   .m_traverse = nullptr,
                                   .m_clear = nullptr,
                                   .m_free = nullptr};
  const Ref module = Ref::own(PyModule_Create(&definition));
  return module && PyModule_AddObjectRef(parent, "cuda", module.get()) == 0;
}

}  // namespace dlcore::cuda
