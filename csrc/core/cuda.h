// NVIDIA GPUs through the driver API: libcuda.so.1 is opened when a GPU is first asked for, never at build time.
//
// Each device has one non-blocking stream, on which everything runs in order. Functions throw std::runtime_error with
// the driver's words; once a device's context is lost, all of them throw what has lost it. `device` is dlcore's index
// of a device (the CPU is 0), not the driver's. The caller's current context stays as it is.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dlcore::cuda {

// ---- copies and waiting -------------------------------------------------------------------------------------------
void upload(uint8_t device, void* to, const void* from, size_t bytes);    // `from` may be reused at once
bool download(uint8_t device, void* to, const void* from, size_t bytes);  // waits; true: a fault word is set
void copy(uint8_t to_device, void* to, uint8_t from_device, const void* from, size_t bytes);
void fill(uint8_t device, void* to, unsigned char value, size_t bytes);
void peek(uint8_t device, void* to, const void* from, size_t bytes);  // waits with the GIL held, sees no fault words
bool synchronize(uint8_t device);         // waits for all work; true: a fault word is set
void free_memory(uint8_t device, size_t* free, size_t* total);  // bytes
std::string faults(uint8_t device);       // the fault words as the last wait saw them
bool usable(uint8_t device);              // false: its context is lost, or this is a forked process

// Orders the device's stream and another, of a library that memory is shared with: 1 is the legacy default stream.
void wait_for(uint8_t device, uintptr_t stream, bool theirs_first);

// Times on the device between marks, which are events in its stream.
class Stopwatch {
 public:
  Stopwatch(uint8_t device, size_t marks);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  void mark(size_t k);
  std::vector<double> seconds() const;  // waits; from each mark to the next

 private:
  const uint8_t device_;
  std::vector<void*> events_;
};

// ---- recording a step as a graph ----------------------------------------------------------------------------------
// Between begin and end nothing of this thread runs: each launch(kernel, args) of this device's programs becomes a
// node. Uploads, downloads and waits throw meanwhile. Memory must not be allocated either: its addresses are in the
// graph, so the caller keeps alive every buffer that the launches use, for as long as the graph. Other threads go on as
// usual: a stream of its own is captured. One thread at a time can do this, so the GIL is kept from begin to end.
//
//   cuda::capture_begin(device);
//   for (const auto& call : calls) launch(call.kernel, call.args);
//   std::shared_ptr<cuda::Graph> graph = cuda::instantiate(cuda::capture_end(device));
//   cuda::launch_graph(*graph);   // each step; asynchronous, on the device's stream
//
// If a launch throws in between, capture_abandon(device) puts the stream back to work.
struct Graph;  // executable; freed with its last reference
struct Captured {
  uint8_t device = 0;
  void* graph = nullptr;  // CUgraph
  size_t nodes = 0;
};
void capture_begin(uint8_t device);
Captured capture_end(uint8_t device);
void capture_abandon(uint8_t device) noexcept;
std::shared_ptr<Graph> instantiate(Captured captured);
void launch_graph(const Graph& graph);

bool init(PyObject* module);  // _C.cuda: what dlcore/backends/cuda.py calls

}  // namespace dlcore::cuda
