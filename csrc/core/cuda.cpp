#include "core/cuda.h"

#include <dlfcn.h>
#include <immintrin.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "core/device.h"
#include "core/kernel.h"

namespace py = pybind11;

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
  X(cuStreamWaitEvent, "cuStreamWaitEvent", Handle, Handle, unsigned)                                                  \
  X(cuEventCreate, "cuEventCreate", Handle*, unsigned)                                                                 \
  X(cuEventRecord, "cuEventRecord", Handle, Handle)                                                                    \
  X(cuMemAllocHost, "cuMemAllocHost_v2", void**, size_t)                                                               \
  X(cuMemGetInfo, "cuMemGetInfo_v2", size_t*, size_t*)                                                                 \
  X(cuMemcpyAsync, "cuMemcpyAsync", Pointer, Pointer, size_t, Handle)                                                  \
  X(cuMemsetD8Async, "cuMemsetD8Async", Pointer, unsigned char, size_t, Handle)                                        \
  X(cuModuleLoadData, "cuModuleLoadData", Handle*, const void*)                                                        \
  X(cuModuleGetFunction, "cuModuleGetFunction", Handle*, Handle, const char*)                                          \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", Handle, int, int)                                                        \
  X(cuLaunchKernel, "cuLaunchKernel", Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,    \
    Handle, void**, void**)                                                                                            \
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
  bool loaded = false;
};
static Driver driver;

static constexpr int kStreamNonBlocking = 1, kEventDisableTiming = 2, kCaptureThreadLocal = 1, kMaxDynamicShared = 8;
static constexpr size_t kFreeShared = 48 << 10;  // dynamic shared memory that needs no asking
static void* const kParamPointer = reinterpret_cast<void*>(1);  // CU_LAUNCH_PARAM_BUFFER_POINTER
static void* const kParamSize = reinterpret_cast<void*>(2);     // CU_LAUNCH_PARAM_BUFFER_SIZE
static void* const kParamEnd = nullptr;                         // CU_LAUNCH_PARAM_END

static void check(int status, const char* what) {
  if (!status) return;
  const char* text = nullptr;
  driver.cuGetErrorString(status, &text);
  throw std::runtime_error(std::string(what) + ": CUDA error " + std::to_string(status) + (text ? std::string(", ") + text : ""));
}
#define CHECK(NAME, ...) check(driver.NAME(__VA_ARGS__), #NAME)

static void load(const std::string& path) {
  if (driver.loaded) return;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw std::runtime_error(dlerror());
#define LOOK_UP(NAME, SYMBOL, ...)                                              \
  driver.NAME = reinterpret_cast<Function<__VA_ARGS__>>(dlsym(library, SYMBOL)); \
  if (!driver.NAME) throw std::runtime_error(path + " has no " SYMBOL ": the driver is too old");
  DRIVER_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
  CHECK(cuInit, 0);
  driver.loaded = true;
}

// ---- devices ------------------------------------------------------------------------------------------------------
static constexpr size_t kPinned = 64 << 10;    // what is read back through pinned memory
static constexpr size_t kReleaseGil = 1 << 20;  // bytes copied from which other Python threads may run

struct Place {
  Handle context = nullptr, stream = nullptr, event = nullptr;
  char* pinned = nullptr;       // kPinned bytes for data, then room for the fault words
  void* fault_words = nullptr;  // pairs (code, position) in device memory
  size_t fault_bytes = 0, fault_room = 0;
  bool recording = false;
  bool reading = false;  // a thread waits for what it reads through `pinned`
};
static Place places[kMaxDevices];

static Place& enter(uint8_t device) {  // its context is this thread's from here on
  Place& place = places[device];
  if (!place.context) throw std::runtime_error("this GPU has not been opened");
  Handle current = nullptr;
  driver.cuCtxGetCurrent(&current);
  if (current != place.context) CHECK(cuCtxSetCurrent, place.context);
  return place;
}

static Place& enter_idle(uint8_t device, const char* what) {
  Place& place = enter(device);
  if (place.recording) throw std::runtime_error(std::string(what) + " while a step is recorded: it would not be part of the recording");
  return place;
}

static Pointer pointer(const void* p) { return reinterpret_cast<Pointer>(p); }

static void open(uint8_t device, int ordinal) {
  if (!device || device >= kMaxDevices) throw std::runtime_error("not a device: " + std::to_string(device));
  Place& place = places[device];
  if (place.context) return;
  int id;
  CHECK(cuDeviceGet, &id, ordinal);
  CHECK(cuDevicePrimaryCtxRetain, &place.context, id);
  enter(device);
  CHECK(cuStreamCreate, &place.stream, kStreamNonBlocking);
  CHECK(cuEventCreate, &place.event, kEventDisableTiming);
}

// The fault words lie at `address`, the first `bytes` of them are in use; there will be `room` at most.
static void set_fault_words(uint8_t device, uintptr_t address, size_t bytes, size_t room) {
  Place& place = enter(device);
  if (!place.pinned) {
    CHECK(cuMemAllocHost, reinterpret_cast<void**>(&place.pinned), kPinned + room);
    place.fault_room = room;
  }
  if (bytes > place.fault_room) throw std::runtime_error("set_fault_words: more than there is room for");
  place.fault_words = reinterpret_cast<void*>(address);
  place.fault_bytes = bytes;
}

static bool wait(Place& place) {
  char* words = place.pinned + kPinned;
  if (place.fault_bytes) CHECK(cuMemcpyAsync, pointer(words), pointer(place.fault_words), place.fault_bytes, place.stream);
  int status;
  {
    py::gil_scoped_release released;
    status = driver.cuStreamSynchronize(place.stream);
  }
  check(status, "cuStreamSynchronize");
  for (size_t k = 0; k < place.fault_bytes; k += 16) {
    int64_t code;
    std::memcpy(&code, words + k, sizeof code);
    if (code) return true;
  }
  return false;
}

void upload(uint8_t device, void* to, const void* from, size_t bytes) {
  Place& place = enter_idle(device, "a copy to the GPU");
  int status;
  if (bytes < kReleaseGil) {
    status = driver.cuMemcpyAsync(pointer(to), pointer(from), bytes, place.stream);
  } else {
    py::gil_scoped_release released;
    status = driver.cuMemcpyAsync(pointer(to), pointer(from), bytes, place.stream);
  }
  check(status, "cuMemcpyAsync");
}

bool download(uint8_t device, void* to, const void* from, size_t bytes) {
  Place& place = enter_idle(device, "a read-back from the GPU");
  const bool small = bytes <= kPinned && place.pinned && !place.reading;
  struct Reading {  // the waiting thread lets others run
    Place& place;
    const bool on;
    Reading(Place& p, bool small) : place(p), on(small) { place.reading = place.reading || on; }
    ~Reading() { if (on) place.reading = false; }
  } reading(place, small);
  CHECK(cuMemcpyAsync, pointer(small ? place.pinned : to), pointer(from), bytes, place.stream);
  const bool faulted = wait(place);
  if (small) std::memcpy(to, place.pinned, bytes);
  return faulted;
}

void copy(uint8_t to_device, void* to, uint8_t from_device, const void* from, size_t bytes) {
  Place& source = enter(from_device);
  CHECK(cuMemcpyAsync, pointer(to), pointer(from), bytes, source.stream);
  if (to_device == from_device) return;
  CHECK(cuEventRecord, source.event, source.stream);
  Place& target = enter(to_device);
  CHECK(cuStreamWaitEvent, target.stream, source.event, 0);
}

void free_memory(uint8_t device, size_t* free, size_t* total) {
  enter(device);
  CHECK(cuMemGetInfo, free, total);
}

bool synchronize(uint8_t device) { return wait(enter_idle(device, "a wait")); }

std::string faults(uint8_t device) {
  const Place& place = places[device];
  return place.fault_bytes ? std::string(place.pinned + kPinned, place.fault_bytes) : std::string();
}

// What other streams must wait for, and what must wait for them: exchange of arrays.
static void wait_for(uint8_t device, uintptr_t stream, bool theirs_first) {
  Place& place = enter_idle(device, "exchange of arrays");
  Handle theirs = reinterpret_cast<Handle>(stream);
  CHECK(cuEventRecord, place.event, theirs_first ? theirs : place.stream);
  CHECK(cuStreamWaitEvent, theirs_first ? place.stream : theirs, place.event, 0);
}

// ---- programs -----------------------------------------------------------------------------------------------------
struct Slot {  // what of the parameters differs from call to call
  size_t offset, size;
  int array;      // operand, output or workspace
  int64_t shift;  // bytes past its element 0
  bool value;     // a Python number: its value, not its address
};
struct Packed {
  Handle function;
  std::array<unsigned, 3> grid, block;
  unsigned shared;
  std::string params;
  std::vector<Slot> slots;
};
struct Zeroed { int array; size_t bytes; };

static constexpr size_t kMaxParams = 4096;  // bytes of parameters, by the CUDA ABI

static void store_value(char* to, size_t size, const Array& a) {  // a weak scalar in the type the kernel takes
  const auto put = [&](auto value) { std::memcpy(to, &value, std::min(size, sizeof value)); };
  switch (a.dtype) {
    case DType::float16: return put(v1::to_float(*a.as<half_t>()));
    case DType::bfloat16: return put(v1::to_float(*a.as<bfloat16_t>()));
    case DType::float32: return put(*a.as<float>());
    case DType::float64: return put(*a.as<double>());
    case DType::bool_:
    case DType::uint8: return put(static_cast<int64_t>(*a.as<uint8_t>()));
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
    const Place& place = enter(device_);
    for (const Zeroed& z : zeroed_) CHECK(cuMemsetD8Async, pointer(args.arrays[z.array].data), 0, z.bytes, place.stream);
    for (const Packed& launch : launches_) start(launch, args, place.stream);
  }

 private:
  static void start(const Packed& launch, const Args& args, Handle stream) {
    alignas(64) char params[kMaxParams];
    size_t size = launch.params.size();
    std::memcpy(params, launch.params.data(), size);
    for (const Slot& slot : launch.slots) {
      const Array& a = args.arrays[slot.array];
      if (slot.value) {
        store_value(params + slot.offset, slot.size, a);
      } else {
        const char* address = a.as<char>() + slot.shift;
        std::memcpy(params + slot.offset, &address, sizeof address);
      }
    }
    void* extra[] = {kParamPointer, params, kParamSize, &size, kParamEnd};
    CHECK(cuLaunchKernel, launch.function, launch.grid[0], launch.grid[1], launch.grid[2], launch.block[0], launch.block[1],
          launch.block[2], launch.shared, stream, nullptr, extra);
  }

  std::string name_;
  uint8_t device_;
  std::vector<Packed> launches_;
  std::vector<Zeroed> zeroed_;
};

using PackedLaunch = std::tuple<uintptr_t, std::array<unsigned, 3>, std::array<unsigned, 3>, unsigned, py::bytes,
                                std::vector<std::tuple<size_t, size_t, int, int64_t, bool>>>;

static py::capsule make_program(std::string name, uint8_t device, const std::vector<PackedLaunch>& launches,
                                const std::vector<std::pair<int, size_t>>& zeroed) {
  std::vector<Packed> packed;
  for (const auto& [function, grid, block, shared, params, slots] : launches) {
    Packed p{reinterpret_cast<Handle>(function), grid, block, shared, params, {}};
    if (p.params.size() > kMaxParams) throw py::value_error(name + ": more than 4096 bytes of parameters");
    for (const auto& [offset, size, array, shift, value] : slots) {
      if (offset + size > p.params.size()) throw py::value_error(name + ": a slot lies outside the parameters");
      p.slots.push_back({offset, size, array, shift, value});
    }
    packed.push_back(std::move(p));
  }
  std::vector<Zeroed> zero;
  for (const auto& [array, bytes] : zeroed) zero.push_back({array, bytes});
  auto program = std::make_shared<Program>(std::move(name), device, std::move(packed), std::move(zero));
  auto* kernel = new Kernel;
  kernel->name = program->name();
  kernel->launches = program;
  return py::capsule(kernel, kKernelCapsule, [](PyObject* capsule) {
    delete static_cast<Kernel*>(PyCapsule_GetPointer(capsule, kKernelCapsule));
  });
}

static uintptr_t load_module(uint8_t device, const py::bytes& image) {
  enter(device);
  Handle module;
  CHECK(cuModuleLoadData, &module, static_cast<std::string_view>(image).data());
  return reinterpret_cast<uintptr_t>(module);
}

static uintptr_t get_function(uint8_t device, uintptr_t module, const std::string& name, size_t shared) {
  enter(device);
  Handle function;
  CHECK(cuModuleGetFunction, &function, reinterpret_cast<Handle>(module), name.c_str());
  if (shared > kFreeShared) CHECK(cuFuncSetAttribute, function, kMaxDynamicShared, static_cast<int>(shared));
  return reinterpret_cast<uintptr_t>(function);
}

// ---- graphs -------------------------------------------------------------------------------------------------------
struct Graph {
  const uint8_t device;
  const Handle graph;
  Handle executable = nullptr;
  explicit Graph(const Captured& captured) : device(captured.device), graph(captured.graph) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (executable) driver.cuGraphExecDestroy(executable);
    driver.cuGraphDestroy(graph);
  }
};

void capture_begin(uint8_t device) {
  Place& place = enter_idle(device, "another recording");
  CHECK(cuStreamBeginCapture, place.stream, kCaptureThreadLocal);
  place.recording = true;
}

Captured capture_end(uint8_t device) {
  Place& place = enter(device);
  if (!place.recording) throw std::runtime_error("capture_end: nothing is being recorded");
  place.recording = false;
  Captured captured{device, nullptr, 0};
  CHECK(cuStreamEndCapture, place.stream, &captured.graph);
  CHECK(cuGraphGetNodes, captured.graph, nullptr, &captured.nodes);
  return captured;
}

void capture_abandon(uint8_t device) noexcept {
  Place& place = places[device];
  if (!place.recording) return;
  place.recording = false;
  Handle graph = nullptr;
  driver.cuStreamEndCapture(place.stream, &graph);
  if (graph) driver.cuGraphDestroy(graph);
}

std::shared_ptr<Graph> instantiate(Captured captured) {
  enter(captured.device);
  auto graph = std::make_shared<Graph>(captured);
  CHECK(cuGraphInstantiateWithFlags, &graph->executable, captured.graph, 0);
  return graph;
}

void launch_graph(const Graph& graph) { CHECK(cuGraphLaunch, graph.executable, enter(graph.device).stream); }

bool capturing(uint8_t device) { return places[device].recording; }

// ---- the module ---------------------------------------------------------------------------------------------------
static py::tuple memory_info(uint8_t device) {
  size_t free, total;
  free_memory(device, &free, &total);
  return py::make_tuple(free, total);
}

void init(py::module_& parent) {
  py::module_ m = parent.def_submodule("cuda", "NVIDIA GPUs through the driver API: see csrc/core/cuda.h.");
  m.def("load", load, py::arg("path"), "Open libcuda.so.1; RuntimeError where it is missing or too old.");
  m.def("driver_version", [] { int v; CHECK(cuDriverGetVersion, &v); return v; }, "The CUDA version of the driver: 13000.");
  m.def("count", [] { int n; CHECK(cuDeviceGetCount, &n); return n; }, "How many GPUs there are.");
  m.def("name", [](int ordinal) {
    int id;
    char name[256] = {};
    CHECK(cuDeviceGet, &id, ordinal);
    CHECK(cuDeviceGetName, name, static_cast<int>(sizeof name), id);
    return std::string(name);
  }, py::arg("ordinal"), "A GPU's name.");
  m.def("attribute", [](int ordinal, int attribute) {
    int id, value;
    CHECK(cuDeviceGet, &id, ordinal);
    CHECK(cuDeviceGetAttribute, &value, attribute, id);
    return value;
  }, py::arg("ordinal"), py::arg("attribute"), "A CUdevice_attribute of a GPU.");
  m.def("open", open, py::arg("device"), py::arg("ordinal"), "Make a GPU usable as dlcore's device of that index.");
  m.def("stream", [](uint8_t device) { return reinterpret_cast<uintptr_t>(enter(device).stream); }, py::arg("device"), "Its CUstream.");
  m.def("enter", [](uint8_t device) { enter(device); }, py::arg("device"), "Make its context this thread's.");
  m.def("memory_info", memory_info, py::arg("device"), "(free, total) bytes.");
  m.def("set_fault_words", set_fault_words, py::arg("device"), py::arg("address"), py::arg("bytes"), py::arg("room"),
        "Where kernels report bad data: read at every wait.");
  m.def("wait_for", wait_for, py::arg("device"), py::arg("stream"), py::arg("theirs_first"),
        "Order the device's stream and another after one another.");
  m.def("module_load", load_module, py::arg("device"), py::arg("image"), "A CUmodule of a cubin; never unloaded.");
  m.def("function", get_function, py::arg("device"), py::arg("module"), py::arg("name"), py::arg("shared"), "A CUfunction.");
  m.def("program", make_program, py::arg("name"), py::arg("device"), py::arg("launches"), py::arg("zeroed"),
        "A kernel of packed launches: (function, grid, block, shared, parameters, slots), a slot (offset, size, array, shift, is a value).");
  py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph", "A recorded step of a GPU.").def("launch", [](const Graph& g) { launch_graph(g); });
  m.def("capture_begin", capture_begin, py::arg("device"), "Launches become nodes of a graph from here on.");
  m.def("capture_end", [](uint8_t device) {
    const Captured captured = capture_end(device);
    return py::make_tuple(instantiate(captured), captured.nodes);
  }, py::arg("device"), "(graph, number of nodes).");
  m.def("capture_abandon", capture_abandon, py::arg("device"), "Give up a recording.");
}

}  // namespace dlcore::cuda
