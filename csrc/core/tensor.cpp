#include "core/tensor.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "core/batch.h"
#include "core/cuda.h"
#include "core/device.h"
#include "core/function.h"
#include "core/indexing.h"
#include "core/layout.h"
#include "core/memory.h"
#include "core/record.h"
#include "core/tape.h"
#include "core/traced.h"

namespace dlcore {

PyTypeObject* tensor_base = nullptr;
PyTypeObject* tensor_type = nullptr;
Errors errors{};
Bound bound{};

static PyObject* dtype_objects[kDTypes];
static PyObject* device_objects[kMaxDevices];

// ---- storage ------------------------------------------------------------------------------------------------------
static Buffer* free_buffers = nullptr;  // chained through `owner`

static Buffer* blank_buffer() {
  Buffer* b = free_buffers;
  if (b) {
    free_buffers = static_cast<Buffer*>(b->owner);
    *b = Buffer{};
    return b;
  }
  return new Buffer{};
}

static bool guards_on = false;
static int64_t faults = 0;
static constexpr unsigned char kGuardByte = 0xA5;
static constexpr size_t guard_bytes(uint8_t device) { return device ? 512 : kAlignment; }  // as blocks are aligned

void set_guards(bool on) { guards_on = on; }
int64_t guard_faults() { return faults; }

static void free_blank(Buffer* b) {
  b->owner = free_buffers;
  free_buffers = b;
}

static void put_guards(char* block, size_t guard, size_t bytes, uint8_t device) {
  const auto fill = [&](char* to, unsigned char value, size_t n) {
    if (!device) std::memset(to, value, n);
    else if (n) cuda::fill(device, to, value, n);
  };
  fill(block, kGuardByte, guard);
  fill(block + guard, 0xFF, bytes);
  fill(block + guard + bytes, kGuardByte, guard);
}

static bool intact(const char* guard, size_t bytes, uint8_t device) {
  std::vector<char> there(bytes);
  if (device) cuda::peek(device, there.data(), guard, bytes);
  else std::memcpy(there.data(), guard, bytes);
  return std::all_of(there.begin(), there.end(), [](char c) { return static_cast<unsigned char>(c) == kGuardByte; });
}

static void check_guards(const Buffer* b, size_t guard) {
  const char* const data = static_cast<const char*>(b->data);
  try {
    faults += !(intact(data - guard, guard, b->device) && intact(data + b->bytes, guard, b->device));
  } catch (const std::exception& error) {  // a GPU that has failed: what is asked of it next raises
    const PendingError pending;
    PyErr_Format(PyExc_RuntimeError, "the guard bytes of a tensor cannot be read: %s", error.what());
    PyErr_WriteUnraisable(nullptr);
  }
}

static void release_own(Buffer* b) {
  const size_t guard = b->guarded ? guard_bytes(b->device) : 0;
  if (guard) check_guards(b, guard);
  char* const block = static_cast<char*>(b->data) - guard;
  if (b->device) device_release(b->device, block, b->bytes + 2 * guard);
  else release(block, b->bytes + 2 * guard);
}

Buffer* new_buffer(size_t bytes, uint8_t device) {
  const uint8_t place = on_host(device) ? 0 : device;
  const size_t guard = guards_on ? guard_bytes(place) : 0;
  Buffer* b = blank_buffer();
  try {
    char* const block = static_cast<char*>(place ? device_allocate(place, bytes + 2 * guard)
                                                 : allocate(bytes + 2 * guard));
    b->data = block + guard;
    b->bytes = bytes;
    b->device = place;
    b->guarded = guard;
    if (guard) put_guards(block, guard, bytes, place);
  } catch (...) {
    if (b->data) b->guarded = false, release_own(b);
    free_blank(b);
    throw;
  }
  if (recorder) record_made(b);
  return b;
}

void drop(Buffer* b) {
  if (!b || --b->refs) return;
  if (b->mark) record_dropped(b);
  if (b->lent) take_back(b);
  if (b->free_owner) b->free_owner(b->owner);
  else release_own(b);
  free_blank(b);
}

// ---- making tensors -----------------------------------------------------------------------------------------------
Tensor* new_tensor(const int64_t* shape, int ndim, DType dtype, uint8_t device) {
  const int64_t item = item_size(dtype);
  int64_t size;
  if (!count_elements(shape, ndim, item, &size) || size > kMostBytes / item) {
    const Ref lengths = Ref::own(shape_tuple(shape, ndim));
    if (lengths) {
      PyErr_Format(PyExc_MemoryError, "a tensor of shape %R and dtype %s does not fit in any memory", lengths.get(),
                   kDTypeName[static_cast<int>(dtype)]);
    }
    return nullptr;
  }
  const int64_t bytes = size * item;
  Buffer* buffer;
  try {
    buffer = new_buffer(static_cast<size_t>(bytes), device);
  } catch (const std::bad_alloc&) {
    if (device && !on_host(device)) return raise_device_full(device, bytes);
    const MemoryStats s = memory_stats();
    PyErr_Format(PyExc_MemoryError, "out of memory: asked for %lld bytes; dlcore holds %lld bytes in tensors",
                 static_cast<long long>(bytes), static_cast<long long>(s.in_use));
    return nullptr;
  } catch (const std::exception& error) {  // of a GPU
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
  Tensor* t = blank_tensor(tensor_type);
  if (!t) {
    drop(buffer);
    return nullptr;
  }
  t->buffer = buffer;
  t->device = device;
  t->array.data = buffer->data;
  t->array.dtype = dtype;
  t->array.ndim = static_cast<uint8_t>(ndim);
  int64_t stride = 1;
  for (int d = ndim - 1; d >= 0; --d) {
    t->array.shape[d] = shape[d];
    t->array.strides[d] = stride;
    if (shape[d] != 0) stride *= shape[d];
  }
  if (trace) trace_made(t);
  return t;
}

Tensor* new_view(Tensor* base, const Array& array) {
  Tensor* t = blank_tensor(tensor_type);
  if (!t) return nullptr;
  t->array = array;
  t->buffer = keep(base->buffer);
  t->device = base->device;
  t->weak = base->weak;
  t->immediate = base->immediate;
  t->large = Py_XNewRef(base->large);
  if (t->weak) t->array.data = &t->immediate;
  t->version_seen = t->buffer ? t->buffer->version : 0;
  return t;
}

Tensor* new_foreign(const Array& array, uint8_t device, bool readonly, void* owner, void (*free_owner)(void*)) {
  Tensor* t = blank_tensor(tensor_type);
  if (!t) return nullptr;
  Buffer* b;
  try {
    b = blank_buffer();
  } catch (const std::bad_alloc&) {
    Py_DECREF(as_object(t));
    out_of_memory("a new tensor");
    return nullptr;
  }
  b->data = array.data;
  b->bytes = static_cast<size_t>(array.size() * item_size(array.dtype));
  b->readonly = readonly;
  b->device = on_host(device) ? 0 : device;
  b->owner = owner;
  b->free_owner = free_owner;
  t->array = array;
  t->buffer = b;
  t->device = device;
  if (trace) trace_made(t);
  return t;
}

void free_object(void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); }

Tensor* new_scalar(PyObject* number) {
  TensorRef t = TensorRef::own(blank_tensor(tensor_type));
  if (!t) return nullptr;
  t->weak = true;
  t->array.data = &t->immediate;
  if (PyBool_Check(number)) {
    t->array.dtype = DType::bool_;
    t->immediate.i = number == Py_True;
  } else if (PyLong_Check(number)) {
    int beyond = 0;
    t->array.dtype = DType::int64;
    t->immediate.i = PyLong_AsLongLongAndOverflow(number, &beyond);
    if (beyond) t->large = Py_NewRef(number);
    else if (t->immediate.i == -1 && PyErr_Occurred()) return nullptr;
  } else {
    t->array.dtype = DType::float64;
    t->immediate.f = PyFloat_AsDouble(number);
    if (t->immediate.f == -1 && PyErr_Occurred()) return nullptr;
  }
  return t.release();
}

Tensor* scalar_operand(PyObject* number, PyObject* operation, PyObject* operand) {
  Tensor* t = new_scalar(number);
  if (!t && PyErr_ExceptionMatches(PyExc_OverflowError)) {
    PyErr_Format(PyExc_OverflowError, "%U: operand %R is an integer that does not fit in int64", operation, operand);
  }
  return t;
}

Tensor* contiguous_copy(Tensor* t) {
  static const Kernel* kernel = find_kernel("movement:copy");
  TensorRef out = TensorRef::own(new_tensor(t->array.shape, t->array.ndim, t->array.dtype, t->device));
  if (!out) return nullptr;
  Array arrays[2] = {t->array, out->array};
  Buffer* const buffers[2] = {t->buffer, out->buffer};
  const bool copied = t->device ? device_copy(t, out.get())
                                : run_kernel(*kernel, Args{arrays, 1, 2, nullptr, 0, buffers}, 0);
  return copied ? out.release() : nullptr;
}

void bump(Tensor* t) {
  if (!t->buffer) return;
  ++t->buffer->version;
  if (trace) trace_failed();
  if (recorder) record_written(t->buffer);
}

// ---- small conversions --------------------------------------------------------------------------------------------
PyObject* shape_tuple(const int64_t* values, int n) {
  Ref tuple = Ref::own(PyTuple_New(n));
  for (int d = 0; tuple && d < n; ++d) {
    PyObject* value = PyLong_FromLongLong(values[d]);
    if (!value) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), d, value);
  }
  return tuple.release();
}

bool parse_shape(PyObject* sequence, int64_t* values, int* n, const char* operation) {
  const Ref fast = Ref::own(PySequence_Fast(sequence, "a shape is a sequence of integers"));
  if (!fast) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast.get());
  if (count > kMaxDims) {
    PyErr_Format(errors.shape, "%s: %zd axes; a tensor has at most %d", operation, count, kMaxDims);
    return false;
  }
  for (Py_ssize_t d = 0; d < count; ++d) {
    values[d] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(fast.get(), d));
    if (values[d] == -1 && PyErr_Occurred()) return false;
  }
  *n = static_cast<int>(count);
  return true;
}

bool check_writable(const Tensor* t, const char* operation) {
  if (t->weak || (t->buffer && t->buffer->readonly)) {
    PyErr_Format(PyExc_ValueError, "%s: the tensor's memory is read-only (it belongs to a read-only array)", operation);
    return false;
  }
  return true;
}

// Buffers of our own do not meet; those over the memory of others do (two views of one NumPy array, an argument of a
// step that is being recorded).
bool may_meet(const Tensor* a, const Tensor* b) {
  if (a->buffer == b->buffer) return true;
  return (a->buffer->free_owner || b->buffer->free_owner) && share_memory(a->array, b->array);
}

bool check_written(const Tensor* t, const char* operation) {
  if (!check_writable(t, operation)) return false;
  if (!overlaps_itself(t->array)) return true;
  const Ref shape = Ref::own(shape_tuple(t->array.shape, t->array.ndim));
  const Ref strides = Ref::own(shape_tuple(t->array.strides, t->array.ndim));
  if (shape && strides) {
    PyErr_Format(PyExc_ValueError, "%s: elements of the tensor that is written share memory (shape %R, strides %R); "
                 "write into a clone() of it", operation, shape.get(), strides.get());
  }
  return false;
}

PyObject* device_object(uint8_t device) { return device_objects[device] ? device_objects[device] : Py_None; }

PyObject* dtype_object(DType dtype) { return dtype_objects[static_cast<int>(dtype)]; }

bool parse_dtype(PyObject* o, DType* out) {
  for (int k = 0; k < kDTypes; ++k) {
    if (dtype_objects[k] == o) {
      *out = static_cast<DType>(k);
      return true;
    }
  }
  PyErr_Format(errors.dtype ? errors.dtype : PyExc_TypeError, "not a dtype of dlcore: %R", o);
  return false;
}

// ---- module functions ---------------------------------------------------------------------------------------------
Tensor* new_tensor_of(PyObject* shape, PyObject* dtype, uint8_t device, const char* operation) {
  int64_t values[kMaxDims];
  int ndim;
  DType type;
  if (!has_memory(device)) {
    PyErr_Format(PyExc_ValueError, "%s: no device has the index %d", operation, device);
    return nullptr;
  }
  if (!parse_shape(shape, values, &ndim, operation) || !parse_dtype(dtype, &type)) return nullptr;
  for (int d = 0; d < ndim; ++d) {
    if (values[d] < 0) {
      PyErr_Format(errors.shape, "%s: negative length in shape %R", operation, shape);
      return nullptr;
    }
  }
  return new_tensor(values, ndim, type, device);
}

static PyObject* empty(PyObject*, PyObject* args) {
  PyObject *shape, *dtype;
  unsigned char device = 0;
  if (!PyArg_ParseTuple(args, "OO|b:empty", &shape, &dtype, &device)) return nullptr;
  return as_object(new_tensor_of(shape, dtype, device, "empty"));
}

static bool is_number(PyObject* o) { return PyFloat_Check(o) || PyLong_Check(o); }

static bool check_number_as(PyObject* number, DType dtype, const char* operation) {
  int64_t value;
  const TensorRef scalar = TensorRef::own(new_scalar(number));
  return scalar && store_immediate(scalar.get(), dtype, &value, operation);
}

static PyObject* check_number(PyObject*, PyObject* args) {
  PyObject *number, *dtype;
  const char* operation;
  DType type;
  if (!PyArg_ParseTuple(args, "OOs:check_number", &number, &dtype, &operation)) return nullptr;
  if (!is_number(number)) return PyErr_Format(PyExc_TypeError, "%s: %R is not a number", operation, number);
  if (!parse_dtype(dtype, &type) || !check_number_as(number, type, operation)) return nullptr;
  Py_RETURN_NONE;
}

// Filled by the operation `assign`, as x[...] = value is: on every device, and by every replay of a recorded step; but
// see few.cpp.
static PyObject* full(PyObject*, PyObject* args) {
  PyObject *shape, *value, *dtype;
  unsigned char device = 0;
  if (!PyArg_ParseTuple(args, "OOO|b:full", &shape, &value, &dtype, &device)) return nullptr;
  DType type;
  TensorRef scalar;
  int64_t stored = 0;
  if (is_number(value)) {
    if (!parse_dtype(dtype, &type) || !(scalar = TensorRef::own(new_scalar(value)))) return nullptr;
    if (!store_immediate(scalar.get(), type, &stored, "full")) return nullptr;
  }
  TensorRef t = TensorRef::own(new_tensor_of(shape, dtype, device, "full"));
  if (!t) return nullptr;
  if (scalar && are_few(t.get())) {
    fill_few(t.get(), &stored);
    return as_object(t.release());
  }
  return call_inplace(reinterpret_cast<Function*>(bound.assign), t.get(), &value, 1);
}

static PyObject* bind(PyObject*, PyObject* args, PyObject* kwargs) {
  static const struct { const char* name; PyObject** target; } table[] = {
      {"ShapeError", &errors.shape}, {"DTypeError", &errors.dtype}, {"CaptureError", &errors.capture},
      {"AutogradError", &errors.autograd}, {"convert", &bound.convert}, {"getitem", &bound.getitem},
      {"setitem", &bound.setitem}, {"assign", &bound.assign}, {"sum_to", &bound.sum_to}, {"plan", &bound.plan},
      {"copy_plan", &bound.copy_plan}, {"batched", &bound.batched}, {"batched_inplace", &bound.batched_inplace},
      {"add", &bound.add}, {"accept", &bound.accept}, {"required", &bound.required},
      {"subtract", &bound.subtract}, {"multiply", &bound.multiply}, {"divide", &bound.divide}, {"power", &bound.power},
      {"matmul", &bound.matmul}, {"negative", &bound.negative}, {"absolute", &bound.absolute},
      {"floor_divide", &bound.floor_divide}, {"remainder", &bound.remainder}, {"bitwise_and", &bound.bitwise_and},
      {"bitwise_or", &bound.bitwise_or}, {"bitwise_xor", &bound.bitwise_xor}, {"bitwise_not", &bound.bitwise_not},
      {"left_shift", &bound.left_shift}, {"right_shift", &bound.right_shift},
      {"lt", &bound.compare[0]}, {"le", &bound.compare[1]}, {"eq", &bound.compare[2]}, {"ne", &bound.compare[3]},
      {"gt", &bound.compare[4]}, {"ge", &bound.compare[5]}, {"cast", &bound.cast},
      {"slice", &bound.slice}, {"take", &bound.take}, {"as_strided", &bound.as_strided},
      {"strided_assign", &bound.strided_assign}, {"reshape", &bound.reshape}, {"ravel_index", &bound.ravel_index},
      {"put", &bound.put}, {"where", &bound.where}, {"ndarray", &bound.ndarray},
      {"spellings", &bound.spellings}};
  if (PyTuple_GET_SIZE(args) || !kwargs) {
    PyErr_SetString(PyExc_TypeError, "bind takes keyword arguments");
    return nullptr;
  }
  PyObject *key, *value;
  Py_ssize_t position = 0;
  while (PyDict_Next(kwargs, &position, &key, &value)) {
    bool found = false;
    for (const auto& entry : table) {
      if (PyUnicode_CompareWithASCIIString(key, entry.name)) continue;
      Py_XSETREF(*entry.target, Py_NewRef(value));
      found = true;
    }
    if (!found) return PyErr_Format(PyExc_TypeError, "bind: nothing is called %R", key);
  }
  Py_RETURN_NONE;
}

static PyObject* register_dtypes(PyObject*, PyObject* sequence) {
  if (!PyTuple_Check(sequence) || PyTuple_GET_SIZE(sequence) != kDTypes) {
    PyErr_SetString(PyExc_TypeError, "register_dtypes takes the tuple of all dtypes in the order of csrc/core/dtype.h");
    return nullptr;
  }
  for (int k = 0; k < kDTypes; ++k) {
    PyObject* d = PyTuple_GET_ITEM(sequence, k);
    const Ref name = attribute(d, "name");
    if (!name) return nullptr;
    if (!PyUnicode_Check(name.get()) || PyUnicode_CompareWithASCIIString(name.get(), kDTypeName[k])) {
      return PyErr_Format(PyExc_ValueError, "dtype %d is %s in csrc/core/dtype.h", k, kDTypeName[k]);
    }
    Py_XSETREF(dtype_objects[k], Py_NewRef(d));
  }
  Py_RETURN_NONE;
}

static PyObject* register_device(PyObject*, PyObject* args) {
  unsigned char index;
  PyObject* device;
  if (!PyArg_ParseTuple(args, "bO:register_device", &index, &device)) return nullptr;
  if (index >= kMaxDevices) return PyErr_Format(PyExc_ValueError, "register_device: at most %d devices", kMaxDevices);
  Py_XSETREF(device_objects[index], Py_NewRef(device));
  Py_RETURN_NONE;
}

static PyObject* set_tensor_type(PyObject*, PyObject* type) {
  if (!PyType_Check(type) || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type), tensor_base)) {
    PyErr_SetString(PyExc_TypeError, "set_tensor_type takes a subclass of TensorBase");
    return nullptr;
  }
  Py_SETREF(tensor_type, reinterpret_cast<PyTypeObject*>(Py_NewRef(type)));
  // Its objects have nothing beyond TensorBase's fields: Python's own deallocation, for classes that do, takes longer.
  if (tensor_type->tp_basicsize == tensor_base->tp_basicsize) tensor_type->tp_dealloc = tensor_base->tp_dealloc;
  Py_RETURN_NONE;
}

static PyObject* reinterpret(PyObject*, PyObject* args) {
  PyObject *o, *dtype;
  DType type;
  if (!PyArg_ParseTuple(args, "O!O:reinterpret", tensor_base, &o, &dtype) || !parse_dtype(dtype, &type)) return nullptr;
  if (!check_unbatched(as_tensor(o), "other dtype for the bits")) return nullptr;
  Array a = as_tensor(o)->array;
  if (item_size(type) != item_size(a.dtype) || (type == DType::bool_ && a.dtype != type)) {
    PyErr_SetString(errors.dtype, "reinterpret: the dtypes have different sizes, or not all bits are a bool");
    return nullptr;
  }
  a.dtype = type;
  return as_object(new_view(as_tensor(o), a));
}

// rebind(t, source): t takes over the memory, dtype and device of `source`, and stays the same object for all who hold
// it. What was saved of its old memory for a backward pass counts as changed in place.
static PyObject* rebind(PyObject*, PyObject* args) {
  PyObject *target, *other;
  if (!PyArg_ParseTuple(args, "O!O!:rebind", tensor_base, &target, tensor_base, &other)) return nullptr;
  Tensor *t = as_tensor(target), *source = as_tensor(other);
  if (!check_unbatched(t, "other memory") || !check_unbatched(source, "use of the memory")) return nullptr;
  if (t->node || t->weak || source->weak) {
    PyErr_SetString(errors.autograd, "rebind: a leaf and a tensor with memory of its own are needed");
    return nullptr;
  }
  if (recorder) {
    PyErr_SetString(errors.capture, "a tensor cannot be moved or cast in place inside a recorded step");
    return nullptr;
  }
  Buffer* before = t->buffer;
  t->array = source->array;
  t->device = source->device;
  t->buffer = keep(source->buffer);
  if (t->buffer != before && t->buffer->version <= before->version) t->buffer->version = before->version + 1;
  drop(before);
  ++changes;
  Py_RETURN_NONE;
}

static PyObject* to_tensor(PyObject*, PyObject* args) {
  PyObject *value, *operation, *operand, *like = Py_None, *dtype = Py_None;
  if (!PyArg_ParseTuple(args, "OUU|OO:as_tensor", &value, &operation, &operand, &like, &dtype)) return nullptr;
  if (is_tensor(value)) return Py_NewRef(value);
  if (like != Py_None && !is_tensor(like)) {
    return PyErr_Format(PyExc_TypeError, "as_tensor: like is a tensor or None, not a %s", Py_TYPE(like)->tp_name);
  }
  Tensor* copied = dtype == Py_None ? copied_operand(value, like) : nullptr;
  if (copied || PyErr_Occurred()) return as_object(copied);
  PyObject* convert_args[5] = {value, operation, operand, like, dtype};
  Ref converted = Ref::own(call_python(bound.convert, convert_args, 5));
  if (!converted || is_tensor(converted.get())) return converted.release();
  return as_object(scalar_operand(converted.get(), operation, operand));
}

static PyMethodDef functions[] = {
    {"as_tensor", safe<to_tensor>, METH_VARARGS,
     "as_tensor(value, operation, operand, like=None, dtype=None): what an operation makes of an operand."},
    {"reinterpret", safe<reinterpret>, METH_VARARGS,
     "reinterpret(tensor, dtype): the same bits as another dtype of the same size; no history."},
    {"rebind", safe<rebind>, METH_VARARGS,
     "rebind(tensor, source): the tensor takes over the memory, dtype and device of source, and stays itself."},
    {"empty", safe<empty>, METH_VARARGS,
     "empty(shape, dtype, device=0): a contiguous tensor, not initialised; device is a registered index."},
    {"few_ramp", safe<few_ramp>, METH_VARARGS, "The numbers of `ramp` where they are few; else None."},
    {"few_eye", safe<few_eye>, METH_VARARGS, "Zeros with ones on a diagonal where they are few; else None."},
    {"full", safe<full>, METH_VARARGS,
     "full(shape, value, dtype, device=0): a contiguous tensor with the number value everywhere."},
    {"check_number", safe<check_number>, METH_VARARGS,
     "check_number(number, dtype, operation): raises OverflowError where the number does not fit."},
    {"bind", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(bind)), METH_VARARGS | METH_KEYWORDS,
     "Give C++ the Python functions and errors it calls by name."},
    {"register_dtypes", safe<register_dtypes>, METH_O, "The DType objects in the order of their codes."},
    {"register_device", safe<register_device>, METH_VARARGS,
     "register_device(index, device): what Tensor.device returns."},
    {"set_tensor_type", safe<set_tensor_type>, METH_O, "The class of new tensors."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_tensor(PyObject* module) {
  tensor_base = make_tensor_type();
  if (!tensor_base) return false;
  PyObject* type = reinterpret_cast<PyObject*>(tensor_base);
  tensor_type = reinterpret_cast<PyTypeObject*>(Py_NewRef(type));
  return PyModule_AddObjectRef(module, "TensorBase", type) == 0 && PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace dlcore
