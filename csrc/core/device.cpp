#include "core/device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "core/cuda.h"
#include "core/layout.h"
#include "core/plan.h"
#include "core/record.h"
#include "core/traced.h"

namespace dlcore {

namespace {

constexpr size_t kLarge = size_t{32} << 20;  // from here on a fifth unused would hurt: the pool's own blocks

struct Memory {
  bool known = false, host = false;
  size_t large = kLarge;         // bytes from which on a block is the pool's own: not rounded up, not kept
  PyObject* allocate = nullptr;  // allocate(bytes) -> address; raises MemoryError
  PyObject* release = nullptr;   // release(address)
  std::vector<void*> free[kSizeClasses];
  MemoryStats stats{};
};
Memory memories[kMaxDevices];

// Null: the device is full. Throws what else went wrong.
void* fresh(uint8_t device, size_t bytes) {
  if (!cuda::usable(device)) cuda::synchronize(device);  // throws why
  const Memory& memory = memories[device];
  const Ref size = Ref::own(PyLong_FromSize_t(bytes));
  const Ref address = size ? Ref::own(PyObject_CallOneArg(memory.allocate, size.get())) : Ref();
  void* block = address ? PyLong_AsVoidPtr(address.get()) : nullptr;
  if (!PyErr_Occurred()) return block;
  const bool full = PyErr_ExceptionMatches(PyExc_MemoryError);
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  const Ref held[] = {Ref::own(type), Ref::own(value), Ref::own(trace)};
  if (full) return nullptr;
  const Ref words = Ref::own(PyObject_Str(value ? value : type));
  const char* text = words ? PyUnicode_AsUTF8(words.get()) : nullptr;
  PyErr_Clear();
  throw std::runtime_error(std::string("allocating memory of a GPU: ") + (text ? text : "an error without words"));
}

size_t held(const Memory& memory, size_t bytes) {
  return bytes >= memory.large ? bytes : class_bytes(size_class(bytes));
}

bool finalizing() {  // the pool may be gone already, and the memory soon will be
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing();
#else
  return _Py_IsFinalizing();
#endif
}

void give_back(uint8_t device, void* block) {
  if (finalizing() || !cuda::usable(device)) return;  // the process ends soon, and its memory with it
  const Memory& memory = memories[device];
  const PendingError pending;
  const Ref address = Ref::own(PyLong_FromVoidPtr(block));
  const Ref done = address ? Ref::own(PyObject_CallOneArg(memory.release, address.get())) : Ref();
  if (!done) PyErr_WriteUnraisable(memory.release);
}

void give_back(uint8_t device) {  // every cached block
  Memory& memory = memories[device];
  for (std::vector<void*>& list : memory.free) {
    std::vector<void*> blocks;
    blocks.swap(list);  // the pool is Python's: other threads may run, and free blocks
    memory.stats.cached -= static_cast<int64_t>(blocks.size() * class_bytes(static_cast<int>(&list - memory.free)));
    for (void* block : blocks) give_back(device, block);
  }
}

}  // namespace

bool has_memory(uint8_t device) { return !device || (device < kMaxDevices && memories[device].known); }

bool on_host(uint8_t device) { return !device || memories[device].host; }

void* device_allocate(uint8_t device, size_t bytes) {
  Memory& memory = memories[device];
  if (!memory.known) throw std::bad_alloc();
  const int k = size_class(bytes);
  const size_t size = held(memory, bytes);
  void* block = nullptr;
  if (bytes < memory.large && !memory.free[k].empty()) {
    block = memory.free[k].back();
    memory.free[k].pop_back();
    memory.stats.cached -= static_cast<int64_t>(size);
  } else if (!(block = fresh(device, size))) {
    give_back(device);
    if (!(block = fresh(device, size))) throw std::bad_alloc();
  }
  memory.stats.in_use += static_cast<int64_t>(size);
  memory.stats.peak = std::max(memory.stats.peak, memory.stats.in_use);
  ++memory.stats.allocations;
  return block;
}

void device_release(uint8_t device, void* block, size_t bytes) {
  Memory& memory = memories[device];
  const int64_t size = static_cast<int64_t>(held(memory, bytes));
  memory.stats.in_use -= size;
  if (bytes >= memory.large) return give_back(device, block);
  memory.free[size_class(bytes)].push_back(block);
  memory.stats.cached += size;
}

Tensor* raise_device_full(uint8_t device, int64_t bytes) {
  size_t free = 0, total = 0;
  try {
    cuda::free_memory(device, &free, &total);
  } catch (const std::exception&) {
  }
  PyErr_Format(PyExc_MemoryError,
               "out of memory on %S: asked for %lld bytes; dlcore holds %lld bytes in tensors, %zu of the GPU's %zu "
               "bytes are free", device_object(device), static_cast<long long>(bytes),
               static_cast<long long>(memories[device].stats.in_use), free, total);
  return nullptr;
}

void order_streams(uint8_t device, int64_t stream, bool theirs_first) {
  if (finalizing() || !cuda::usable(device)) return;
  try {
    cuda::wait_for(device, static_cast<uintptr_t>(stream), theirs_first);
  } catch (const std::exception& error) {
    const PendingError pending;
    PyErr_SetString(PyExc_RuntimeError, error.what());
    PyErr_WriteUnraisable(nullptr);
  }
}

// ---- copies -------------------------------------------------------------------------------------------------------
// A GPU's fault words, seen at a synchronisation, become the error of the operation that set them.
static bool check_faults(uint8_t device, bool faulted) {
  if (!faulted) return true;
  const std::string words = cuda::faults(device);
  return static_cast<bool>(Ref::own(PyObject_CallMethod(device_object(device), "raise_faults", "y#", words.data(),
                                                        static_cast<Py_ssize_t>(words.size()))));
}

static bool raise_cuda(const std::exception& error) {
  PyErr_SetString(PyExc_RuntimeError, error.what());
  return false;
}

bool copy_memory(Tensor* source, Tensor* target) {
  const size_t bytes = static_cast<size_t>(source->array.size() * item_size(source->array.dtype));
  const bool same = bytes == static_cast<size_t>(target->array.size() * item_size(target->array.dtype));
  if (source->weak || !same || !source->array.contiguous() || !target->array.contiguous()) {
    PyErr_SetString(PyExc_ValueError, "copy_memory: two contiguous tensors of one size are wanted");
    return false;
  }
  const uint8_t from = on_host(source->device) ? 0 : source->device;
  const uint8_t to = on_host(target->device) ? 0 : target->device;
  const void* data = source->array.data;
  value_read();
  if (recorder && !record_host_read("values go from one device to another")) return false;
  if (!bytes) return true;
  if (!from && !to) {
    std::memmove(target->array.data, data, bytes);
    return true;
  }
  bool faulted = false;
  try {
    if (!from) cuda::upload(to, target->array.data, data, bytes);
    else if (!to) faulted = cuda::download(from, target->array.data, data, bytes);
    else cuda::copy(to, target->array.data, from, data, bytes);
  } catch (const std::exception& error) {
    return raise_cuda(error);
  }
  return check_faults(from, faulted);
}

namespace {
struct MemoryCopy final : Launches {  // contiguous to contiguous, within one device
  uint8_t device;
  explicit MemoryCopy(uint8_t d) : device(d) {}
  void run(const Args& args) const override {
    const Array &from = args.in(0), &to = args.out(0);
    const size_t bytes = static_cast<size_t>(from.size() * item_size(from.dtype));
    if (on_host(device)) std::memmove(to.data, from.data, bytes);
    else if (bytes) cuda::copy(device, to.data, device, from.data, bytes);
  }
};
const Kernel* memory_copy(uint8_t device) {
  static Kernel kernels[kMaxDevices];
  Kernel& kernel = kernels[device];
  if (!kernel.launches) {
    kernel.name = "device:copy";
    kernel.launches = std::make_shared<MemoryCopy>(device);
  }
  return &kernel;
}
}  // namespace

bool device_copy(Tensor* source, Tensor* target) {
  Array arrays[2] = {source->array, target->array};
  Buffer* const buffers[2] = {source->buffer, target->buffer};
  const Args args{arrays, 1, 2, nullptr, 0, buffers};
  if (source->array.contiguous() && target->array.contiguous()) {
    return run_kernel(*memory_copy(source->device), args, 0);
  }
  static PlanCache& cache = *new PlanCache;  // outlives the interpreter: never destroyed
  static PyObject* nothing = PyTuple_New(0);
  Tensor* both[2] = {source, target};
  Key key;
  for (const Tensor* t : both) {
    const Array& a = t->array;
    key.add(static_cast<uint64_t>(a.dtype) | uint64_t{a.ndim} << 8 | uint64_t{t->device} << 16 |
            uint64_t{aligned(t)} << 26);
    for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.shape[d]));
    for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.strides[d]));
  }
  PyObject* operands[2] = {as_object(source), as_object(target)};
  Plan* plan = cache.find(key, nothing);
  if (!plan) {
    const Ref made = Ref::own(call_python(bound.copy_plan, operands, 2));
    plan = made ? read_plan(made.get(), nullptr, 0) : nullptr;
    if (!plan) return false;
    ++plan->refs;
    cache.keep(key, nothing, plan);
    const bool done = run_kernel(*plan->kernel, args, 0);
    unref(plan);
    return done;
  }
  return run_kernel(*plan->kernel, args, 0);
}

Tensor* copy_in_layout(Tensor* t) {
  const auto [low, high] = extent(t->array);
  const int64_t shift = static_cast<int64_t>(reinterpret_cast<uintptr_t>(low) % kVectorBytes);
  const int64_t room[1] = {shift + (high - low)};
  const TensorRef made = TensorRef::own(new_tensor(room, 1, DType::uint8, t->device));
  if (!made) return nullptr;
  Array bytes = made->array;
  bytes.shape[0] = high - low;
  bytes.data = const_cast<char*>(low);
  const TensorRef from = TensorRef::own(new_view(t, bytes));
  char* const start = made->array.as<char>() + shift;
  bytes.data = start;
  const TensorRef to = TensorRef::own(new_view(made.get(), bytes));
  if (!from || !to || !device_copy(from.get(), to.get())) return nullptr;
  Array a = t->array;
  a.data = start + (t->array.as<char>() - low);
  return new_view(made.get(), a);
}

PyObject* kernel_capsule(const char* name, std::shared_ptr<const Launches> launches) {
  auto kernel = std::make_unique<Kernel>(Kernel{.name = name, .launches = std::move(launches)});
  PyObject* capsule = PyCapsule_New(kernel.get(), kKernelCapsule, [](PyObject* o) {
    delete static_cast<Kernel*>(PyCapsule_GetPointer(o, kKernelCapsule));
  });
  if (capsule) kernel.release();
  return capsule;
}

// ---- module functions ---------------------------------------------------------------------------------------------
static bool parse_device(unsigned char device, bool cuda_only) {
  const bool good = device && device < kMaxDevices && memories[device].known && !(cuda_only && memories[device].host);
  if (!good) PyErr_Format(PyExc_ValueError, "there is no device %d with memory of its own", device);
  return good;
}

static PyObject* set_memory(PyObject*, PyObject* args) {
  unsigned char device;
  int host, exact = 0;
  PyObject *allocate, *release;
  if (!PyArg_ParseTuple(args, "bpOO|p:set_memory", &device, &host, &allocate, &release, &exact)) return nullptr;
  if (!device || device >= kMaxDevices) return PyErr_Format(PyExc_ValueError, "set_memory: not a device: %d", device);
  Memory& memory = memories[device];
  memory.known = true;
  memory.host = host;
  memory.large = exact ? 0 : kLarge;
  Py_XSETREF(memory.allocate, Py_NewRef(allocate));
  Py_XSETREF(memory.release, Py_NewRef(release));
  Py_RETURN_NONE;
}

static PyObject* stats(PyObject*, PyObject* args) {
  unsigned char device;
  if (!PyArg_ParseTuple(args, "b:device_memory_stats", &device) || !parse_device(device, true)) return nullptr;
  const MemoryStats& s = memories[device].stats;
  return Py_BuildValue("{sLsLsLsL}", "in_use", static_cast<long long>(s.in_use), "cached",
                       static_cast<long long>(s.cached), "peak", static_cast<long long>(s.peak), "allocations",
                       static_cast<long long>(s.allocations));
}

static PyObject* trim(PyObject*, PyObject* args) {
  unsigned char device;
  if (!PyArg_ParseTuple(args, "b:trim_device_memory", &device) || !parse_device(device, true)) return nullptr;
  give_back(device);
  Py_RETURN_NONE;
}

static PyObject* copy_memory_method(PyObject*, PyObject* args) {
  PyObject *source, *target;
  if (!PyArg_ParseTuple(args, "O!O!:copy_memory", tensor_base, &source, tensor_base, &target)) return nullptr;
  if (!check_writable(as_tensor(target), "copy_memory")) return nullptr;
  if (!copy_memory(as_tensor(source), as_tensor(target))) return nullptr;
  bump(as_tensor(target));
  Py_RETURN_NONE;
}

static PyObject* host_alias(PyObject*, PyObject* value) {
  if (!is_tensor(value) || as_tensor(value)->weak || !on_host(as_tensor(value)->device)) {
    PyErr_SetString(PyExc_BufferError, "host_alias: the tensor is not in host memory");
    return nullptr;
  }
  Tensor* alias = new_view(as_tensor(value), as_tensor(value)->array);
  if (alias) alias->device = 0;
  return as_object(alias);
}

static PyObject* synchronize(PyObject*, PyObject* args) {
  unsigned char device;
  if (!PyArg_ParseTuple(args, "b:synchronize", &device) || !parse_device(device, true)) return nullptr;
  bool faulted;
  try {
    faulted = cuda::synchronize(device);
  } catch (const std::exception& error) {
    raise_cuda(error);
    return nullptr;
  }
  if (!check_faults(device, faulted)) return nullptr;
  Py_RETURN_NONE;
}

// python_kernel(name, callable): a kernel that calls callable(address or None of every array). For interpreters.
namespace {
class PythonLaunches final : public Launches {
 public:
  PythonLaunches(PyObject* name, PyObject* callable) : name_(Py_NewRef(name)), callable_(Py_NewRef(callable)) {}
  void run(const Args& args) const override {
    const PyGILState_STATE gil = PyGILState_Ensure();
    const bool done = call_with_addresses(args);
    PyGILState_Release(gil);
    if (!done) throw PythonRaised{};
  }

 private:
  bool call_with_addresses(const Args& args) const {
    const Ref addresses = Ref::own(PyTuple_New(args.n_arrays));
    for (int k = 0; addresses && k < args.n_arrays; ++k) {
      void* data = args.arrays[k].data;
      PyObject* address = data ? PyLong_FromVoidPtr(data) : Py_NewRef(Py_None);
      if (!address) return false;
      PyTuple_SET_ITEM(addresses.get(), k, address);
    }
    return addresses && Ref::own(PyObject_Call(callable_, addresses.get(), nullptr));
  }

  PyObject *name_, *callable_;  // never freed: plans and recordings may go without the GIL
};
}  // namespace

static PyObject* python_kernel(PyObject*, PyObject* args) {
  PyObject *name, *callable;
  if (!PyArg_ParseTuple(args, "UO:python_kernel", &name, &callable)) return nullptr;
  const char* text = PyUnicode_AsUTF8(name);
  return text ? kernel_capsule(text, std::make_shared<PythonLaunches>(name, callable)) : nullptr;
}

static PyObject* on_host_method(PyObject*, PyObject* args) {
  unsigned char device;
  if (!PyArg_ParseTuple(args, "b:on_host", &device)) return nullptr;
  return PyBool_FromLong(on_host(device));
}

static PyMethodDef functions[] = {
    {"on_host", safe<on_host_method>, METH_VARARGS, "on_host(device): whether its memory is the host's."},
    {"python_kernel", safe<python_kernel>, METH_VARARGS,
     "python_kernel(name, callable): a kernel that calls callable with the address (or None) of every array."},
    {"set_memory", safe<set_memory>, METH_VARARGS,
     "set_memory(device, host, allocate, release, exact=False): where a device's memory comes from; exact: each block is "
     "asked for with just its bytes, and given back at once."},
    {"device_memory_stats", safe<stats>, METH_VARARGS, "device_memory_stats(device): as memory_stats, of a GPU."},
    {"trim_device_memory", safe<trim>, METH_VARARGS,
     "trim_device_memory(device): give cached blocks back to the pool."},
    {"copy_memory", safe<copy_memory_method>, METH_VARARGS,
     "copy_memory(source, target): contiguous, of one size, on any devices."},
    {"host_alias", safe<host_alias>, METH_O,
     "host_alias(tensor): the same memory as a tensor on the CPU, where it is host memory."},
    {"synchronize", safe<synchronize>, METH_VARARGS,
     "synchronize(device): wait for all that was launched there; raises what went wrong."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_device(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace dlcore
