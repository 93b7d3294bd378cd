// Copies, waiting and times: what runs in a device's stream beside kernels.
#include <cstring>

#include "core/cuda/driver.h"
#include "core/ref.h"

namespace dlcore::cuda {

static constexpr size_t kReleaseGil = 1 << 20;  // bytes copied from which other Python threads may run

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

}  // namespace dlcore::cuda
