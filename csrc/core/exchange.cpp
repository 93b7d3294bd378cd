// Exchange of memory without copies: the buffer protocol (host memory) and DLPack, both ways.
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "core/batch.h"
#include "core/device.h"
#include "core/layout.h"
#include "core/record.h"
#include "core/traced.h"

namespace dlcore {

// ---- buffer protocol ----------------------------------------------------------------------------------------------
static const char* format_of(DType t) {
  static const char* formats[kDTypes] = {"?", "B", "H", "I", "Q", "b",    "h",
                                         "i", "q", "e", nullptr, "f", "d"};
  return formats[static_cast<int>(t)];
}

struct Exported {  // shape and strides in bytes, and the memory, live as long as the view
  Py_ssize_t shape[kMaxDims], strides[kMaxDims];
  Buffer* buffer;  // the tensor may take over other memory meanwhile (rebind)
};

static int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  Tensor* t = as_tensor(self);
  view->obj = nullptr;
  if (!check_unbatched(t, "NumPy array, list or text")) return -1;
  const Array& a = t->array;
  const char* problem = nullptr;
  // A write through the exported memory would not be tracked, so what needs a gradient is exported read-only.
  const bool readonly = t->requires_grad || t->weak || t->buffer->readonly;
  if (t->device != 0) problem = "the tensor is not in host memory";
  else if (!format_of(a.dtype)) problem = "the buffer protocol has no bfloat16";
  else if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE && readonly) problem = "the tensor's memory is read-only";
  else if (!(flags & PyBUF_STRIDES) && !a.contiguous()) problem = "the tensor is not contiguous";
  view->obj = nullptr;
  if (problem) {
    PyErr_SetString(PyExc_BufferError, problem);
    return -1;
  }
  const char* reading = "a tensor is read back to the host (as a NumPy array, list or text)";
  value_read();
  if (recorder && !record_host_access(t, reading)) return -1;
  Exported* exported = static_cast<Exported*>(PyMem_Malloc(sizeof(Exported)));
  if (!exported) {
    out_of_memory("a view of a tensor's memory");
    return -1;
  }
  exported->buffer = keep(t->buffer);
  if (t->buffer) {  // a Python number has none
    t->buffer->exports += !readonly;
    t->buffer->exporting += !readonly;
  }
  const int64_t item = item_size(a.dtype);
  for (int d = 0; d < a.ndim; ++d) {
    exported->shape[d] = a.shape[d];
    exported->strides[d] = a.strides[d] * item;
  }
  view->buf = a.data;
  view->len = a.size() * item;
  view->itemsize = item;
  view->readonly = readonly;
  view->ndim = a.ndim;
  view->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(format_of(a.dtype)) : nullptr;
  view->shape = exported->shape;
  view->strides = exported->strides;
  view->suboffsets = nullptr;
  view->internal = exported;
  view->obj = Py_NewRef(self);
  return 0;
}
static void release_buffer(PyObject*, Py_buffer* view) {
  Buffer* buffer = static_cast<Exported*>(view->internal)->buffer;
  if (buffer) buffer->exporting -= !view->readonly;
  drop(buffer);
  PyMem_Free(view->internal);
}

PyBufferProcs tensor_buffer = {get_buffer, release_buffer};

static void free_py_buffer(void* owner) {
  PyBuffer_Release(static_cast<Py_buffer*>(owner));
  delete static_cast<Py_buffer*>(owner);
}

// The one letter of a format, native or written so; 0 for any other. Of bfloat16, whose bits are handed over: 'H'.
static char letter_of(const char* format) {
  if (!format) return 'B';
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  return *format && !format[1] ? *format : '\0';
}
static bool same_letter(char letter, DType dtype) {
  static const char* letters[kDTypes] = {"?", "B", "H", "I", "QL", "b", "h", "i", "ql", "e", "Hh", "f", "d"};
  return letter && std::strchr(letters[static_cast<int>(dtype)], letter);
}

// What a buffer says of its memory, as an array; or what is wrong with it.
static const char* read_view(const Py_buffer& view, DType dtype, Array& a) {
  const int64_t item = item_size(dtype);
  if (view.itemsize != item || !same_letter(letter_of(view.format), dtype)) return "its elements are of another kind";
  if (view.ndim < 0 || view.ndim > kMaxDims) return "a tensor has 0 to 8 axes";
  if (view.suboffsets) return "it is made of pointers";
  if (view.ndim && (!view.shape || !view.strides)) return "it does not tell its shape and strides";
  a.data = view.buf;
  a.dtype = dtype;
  a.ndim = static_cast<uint8_t>(view.ndim);
  for (int d = 0; d < view.ndim; ++d) {
    a.shape[d] = view.shape[d];
    a.strides[d] = view.strides[d] / item;
  }
  if (const char* problem = mend_layout(a)) return problem;
  if (view.len != a.size() * item) return "its length is not that of its shape";
  for (int d = 0; d < view.ndim; ++d)
    if (a.shape[d] > 1 && a.size() && view.strides[d] % item) return "its strides are no multiples of an element";
  return nullptr;
}

// wrap(exporter, dtype): a tensor over the memory of an object with the buffer protocol. What it says of its memory is
// checked; what cannot be shared is refused (the caller copies).
static PyObject* wrap(PyObject*, PyObject* args) {
  PyObject *exporter, *dtype_arg;
  DType dtype;
  if (!PyArg_ParseTuple(args, "OO:wrap", &exporter, &dtype_arg) || !parse_dtype(dtype_arg, &dtype)) return nullptr;
  if (recorder) {
    record_failure("a tensor is made over memory of the host; make it outside the step, or pass it as an argument");
  }
  std::unique_ptr<Py_buffer, void (*)(void*)> view(new Py_buffer{}, free_py_buffer);
  if (PyObject_GetBuffer(exporter, view.get(), PyBUF_STRIDES | PyBUF_FORMAT) < 0) return nullptr;
  Array a;
  const char* problem = read_view(*view, dtype, a);
  if (problem) {
    return PyErr_Format(errors.shape, "tensor: the memory cannot be shared as %s: %s",
                        kDTypeName[static_cast<int>(dtype)], problem);
  }
  Tensor* t = new_foreign(a, 0, view->readonly, view.get(), free_py_buffer);
  if (t) view.release();
  return as_object(t);
}

// ---- DLPack 1.0 (the C structures of https://dmlc.github.io/dlpack/latest/c_api.html) -----------------------------
struct DLDevice { int32_t type, id; };
struct DLDataType { uint8_t code, bits; uint16_t lanes; };
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr int32_t kDLCpu = 1, kDLCuda = 2;  // cuda:i is device 1 + i of dlcore
constexpr uint64_t kDLReadOnly = 1, kDLCopied = 2;
constexpr uint8_t kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6;

static DLDataType dl_type(DType t) {
  static const uint8_t codes[kDTypes] = {kDLBool, kDLUInt, kDLUInt, kDLUInt,  kDLUInt,   kDLInt,   kDLInt,
                                         kDLInt,  kDLInt,  kDLFloat, kDLBfloat, kDLFloat, kDLFloat};
  return {codes[static_cast<int>(t)], static_cast<uint8_t>(8 * item_size(t)), 1};
}

constexpr int64_t kNoStream = -1, kLegacyStream = 1;  // as DLPack numbers streams

template <class Managed> struct Export {
  Managed managed;
  int64_t shape[kMaxDims], strides[kMaxDims];
  uint8_t device;
  int64_t stream;  // on which the consumer uses the memory, perhaps still when it lets go
};

template <class Managed> static Export<Managed>* make_export(Tensor* t, int64_t stream) {
  auto* e = new Export<Managed>{};
  e->device = t->device;
  e->stream = stream;
  const Array& a = t->array;
  std::copy_n(a.shape, a.ndim, e->shape);
  std::copy_n(a.strides, a.ndim, e->strides);
  const DLDevice device = t->device ? DLDevice{kDLCuda, t->device - 1} : DLDevice{kDLCpu, 0};
  e->managed.tensor = {a.data, device, a.ndim, dl_type(a.dtype), e->shape, e->strides, 0};
  e->managed.context = Py_NewRef(as_object(t));
  e->managed.deleter = [](Managed* managed) {
    if (!Py_IsInitialized()) return;                   // in an exit handler of the consumer: Python is gone
    auto* const made = reinterpret_cast<Export<Managed>*>(managed);
    const PyGILState_STATE gil = PyGILState_Ensure();  // the consumer may let go from any thread
    if (made->device && made->stream != kNoStream) order_streams(made->device, made->stream, true);
    Py_DECREF(static_cast<PyObject*>(managed->context));
    PyGILState_Release(gil);
    delete made;
  };
  return e;
}

template <class Managed> constexpr const char* kCapsuleName = nullptr;
template <> constexpr const char* kCapsuleName<DLManagedTensor> = "dltensor";
template <> constexpr const char* kCapsuleName<DLManagedTensorVersioned> = "dltensor_versioned";

template <class Managed> static void free_managed(void* owner) {
  auto* managed = static_cast<Managed*>(owner);
  if (managed->deleter) managed->deleter(managed);
}

// The index of a device that has tensors, or -1.
static int known_device(const DLDevice& device) {
  if (device.type == kDLCpu) return 0;
  const bool there = device.type == kDLCuda && device.id >= 0 && device.id < kMaxDevices - 1;
  const uint8_t index = there ? static_cast<uint8_t>(device.id + 1) : 0;
  return there && device_object(index) != Py_None && !on_host(index) ? index : -1;
}

// The memory goes back to another library, whose streams may not overtake what ours still reads there. It has not named
// its stream: most use the legacy one, and all blocking streams wait for that.
template <class Managed> static void free_imported(void* owner) {
  const int device = known_device(static_cast<Managed*>(owner)->tensor.device);
  if (device > 0) order_streams(static_cast<uint8_t>(device), kLegacyStream, false);
  free_managed<Managed>(owner);
}

template <class Managed> static Managed* content(PyObject* capsule) {  // null: of another kind, or consumed
  constexpr const char* name = kCapsuleName<Managed>;
  return PyCapsule_IsValid(capsule, name) ? static_cast<Managed*>(PyCapsule_GetPointer(capsule, name)) : nullptr;
}

template <class Managed> static PyObject* make_capsule(Managed* managed) {
  PyObject* capsule = PyCapsule_New(managed, kCapsuleName<Managed>, [](PyObject* unused) {
    if (Managed* left = content<Managed>(unused)) free_managed<Managed>(left);  // nobody has consumed it
  });
  if (!capsule) free_managed<Managed>(managed);
  return capsule;
}

// to_dlpack(tensor, versioned, copied, stream): a capsule. __dlpack__ in Python checks its arguments.
static PyObject* to_dlpack(PyObject*, PyObject* args) {
  PyObject* o;
  int versioned, copied;
  long long stream;
  if (!PyArg_ParseTuple(args, "OppL:to_dlpack", &o, &versioned, &copied, &stream)) return nullptr;
  Tensor* t = as_tensor(o);
  if (!is_tensor(o) || (t->device && on_host(t->device))) {
    PyErr_SetString(PyExc_BufferError, "to_dlpack: a tensor in the memory of the CPU or of a GPU is wanted");
    return nullptr;
  }
  if (!check_unbatched(t, "DLPack")) return nullptr;
  value_read();
  if (recorder && !record_host_access(t, "a tensor is handed to another library (DLPack)")) return nullptr;
  const bool readonly = t->buffer && t->buffer->readonly;
  if (t->buffer && !readonly) ++t->buffer->exporting;  // for good: a capsule's deleter may run without the GIL
  if (!versioned) {
    if (readonly) {
      PyErr_SetString(PyExc_BufferError, "to_dlpack: read-only memory needs a consumer of DLPack 1.0 or later");
      return nullptr;
    }
    return make_capsule(&make_export<DLManagedTensor>(t, stream)->managed);
  }
  auto* e = make_export<DLManagedTensorVersioned>(t, stream);
  e->managed.major = 1;
  e->managed.flags = (readonly ? kDLReadOnly : 0) | (copied ? kDLCopied : 0);
  return make_capsule(&e->managed);
}

static bool refuse(const char* problem) {
  PyErr_Format(PyExc_BufferError, "from_dlpack: %s", problem);
  return false;
}

static int known_dtype(const DLDataType& type) {  // its code, or -1
  for (int k = 0; k < kDTypes; ++k) {
    const DLDataType d = dl_type(static_cast<DType>(k));
    if (d.code == type.code && d.bits == type.bits) return k;
  }
  return -1;
}

// Everything the other side tells is checked: it may be damaged.
static bool import_array(const DLTensor& source, Array& a) {
  const int code = known_dtype(source.dtype);
  if (known_device(source.device) < 0) return refuse("the memory is neither the CPU's nor that of a GPU in use here");
  if (source.ndim < 0 || source.ndim > kMaxDims) return refuse("a tensor has 0 to 8 axes");
  if (source.dtype.lanes != 1) return refuse("vector element types are not known");
  if (code < 0) return refuse("the element type is not one of dlcore's");
  if (source.ndim && !source.shape) return refuse("there is no shape");
  const auto data = reinterpret_cast<uintptr_t>(source.data);
  if (data > std::numeric_limits<uintptr_t>::max() - source.byte_offset) return refuse("the byte offset is too large");
  a.data = source.data ? reinterpret_cast<void*>(data + source.byte_offset) : nullptr;
  a.dtype = static_cast<DType>(code);
  a.ndim = static_cast<uint8_t>(source.ndim);
  std::copy_n(source.shape, a.ndim, a.shape);
  int64_t stride = 1;  // wraps around where mend_layout() refuses the shape
  for (int d = a.ndim - 1; d >= 0; --d) {
    a.strides[d] = source.strides ? source.strides[d] : stride;
    stride = static_cast<int64_t>(static_cast<uint64_t>(stride) * static_cast<uint64_t>(a.shape[d]));
  }
  const char* problem = mend_layout(a);
  return !problem || refuse(problem);
}

template <class Managed>
static PyObject* take_capsule(PyObject* capsule, Managed* managed, const char* used, bool readonly) {
  Array a;
  if (!import_array(managed->tensor, a)) return nullptr;
  const auto device = static_cast<uint8_t>(known_device(managed->tensor.device));
  Tensor* t = new_foreign(a, device, readonly, managed, free_imported<Managed>);
  if (t) PyCapsule_SetName(capsule, used);
  return as_object(t);
}

static PyObject* from_dlpack(PyObject*, PyObject* capsule) {
  if (recorder) record_failure("a tensor is taken from another library (DLPack); pass it as an argument");
  if (auto* managed = content<DLManagedTensorVersioned>(capsule)) {
    if (managed->major != 1) {
      return PyErr_Format(PyExc_BufferError, "from_dlpack: version %u of DLPack is not known", managed->major);
    }
    return take_capsule(capsule, managed, "used_dltensor_versioned", managed->flags & kDLReadOnly);
  }
  if (auto* managed = content<DLManagedTensor>(capsule)) return take_capsule(capsule, managed, "used_dltensor", false);
  PyErr_SetString(PyExc_BufferError, "from_dlpack: not a DLPack capsule, or one already used");
  return nullptr;
}

// lend(tensor): another library may use its memory from here on, on a stream that it does not name.
static PyObject* lend(PyObject*, PyObject* value) {
  if (!is_tensor(value) || on_host(as_tensor(value)->device)) {
    PyErr_SetString(PyExc_BufferError, "lend: a tensor in the memory of a GPU is wanted");
    return nullptr;
  }
  Buffer* buffer = as_tensor(value)->buffer;
  buffer->lent = true;
  ++buffer->exporting;
  Py_RETURN_NONE;
}

void take_back(const Buffer* buffer) { order_streams(buffer->device, kLegacyStream, true); }

static PyMethodDef functions[] = {
    {"wrap", safe<wrap>, METH_VARARGS,
     "wrap(exporter, dtype): a tensor over the memory of an object with the buffer protocol."},
    {"lend", safe<lend>, METH_O,
     "lend(tensor): another library may use its memory from here on, on a stream that it does not name."},
    {"to_dlpack", safe<to_dlpack>, METH_VARARGS,
     "to_dlpack(tensor, versioned, copied, stream): a DLPack capsule for a consumer that uses it on this stream (-1: "
     "it sees to the order itself)."},
    {"from_dlpack", safe<from_dlpack>, METH_O, "from_dlpack(capsule): a tensor over the capsule's memory."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_exchange(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace dlcore
