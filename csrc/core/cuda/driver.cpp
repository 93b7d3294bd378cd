#include "core/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>

namespace dlcore::cuda {

Driver driver;
Place places[kMaxDevices];
constinit thread_local const Place* capturer = nullptr;
constinit thread_local Place* entered = nullptr;

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

void check(int status, const char* what) {
  if (!status) return;
  const char* text = nullptr;
  driver.cuGetErrorString(status, &text);
  const std::string words = text ? std::string(", ") + text : "";
  const std::string error = std::string(what) + ": CUDA error " + std::to_string(status) + words;
  if (entered && loses_context(status)) raise_lost(*entered, error);
  throw std::runtime_error(error);
}

void load(const std::string& path) {
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

Entered::Entered(uint8_t device) : place_(places[device < kMaxDevices ? device : 0]), outer_(entered) {
  require_usable(place_);
  driver.cuCtxGetCurrent(&before_);
  if (before_ != place_.context) {
    check(driver.cuCtxSetCurrent(place_.context), "cuCtxSetCurrent");
    restores_ = before_ || place_.ordinal;
  }
  entered = &place_;
}

Entered::Entered(uint8_t device, const char* what) : Entered(device) {
  if (captures()) {
    throw std::runtime_error(std::string(what) + " while a step is recorded: it would not be part of the recording");
  }
}

Entered::~Entered() {
  entered = outer_;
  if (restores_) driver.cuCtxSetCurrent(before_);
}

void open(uint8_t device, int ordinal) {
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

void set_fault_words(uint8_t device, uintptr_t address, size_t bytes, size_t room) {
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

}  // namespace dlcore::cuda
