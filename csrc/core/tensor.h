// The tensor: a small C object over a shared buffer. Python gives it its methods (dlcore/_tensor.py).
//
// All of this runs under the GIL; reference counts of buffers are plain integers.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>

#include "core/kernel.h"
#include "core/ref.h"

namespace dlcore {

struct Node;  // tape.h

// ---- storage ------------------------------------------------------------------------------------------------------
struct Buffer {
  int64_t refs = 1;
  void* data = nullptr;
  size_t bytes = 0;
  int64_t version = 0;      // rises with every write after the first
  bool readonly = false;    // memory of others that must not be written
  bool rewritten = false;   // a tracked in-place write happened: older untracked views have lost their gradient
  bool guarded = false;     // guard bytes lie on both sides of `data`
  bool lent = false;        // of a GPU: another library may use it on a stream that it has not named
  uint8_t device = 0;       // whose memory it is
  uint32_t exports = 0;     // so often others were given the memory to write, which raises no version,
  uint32_t exporting = 0;   // and so many of them may do so now
  uint64_t writer = 0;      // of the last call that wrote into operands here: its serial number (run.cpp)
  uint64_t mark = 0;        // of the last recorder that met it: its serial number << 32 | region (record.h)
  void (*free_owner)(void*) = nullptr;  // null: `data` came from allocate(), or from the device's allocator
  void* owner = nullptr;
};
Buffer* new_buffer(size_t bytes, uint8_t device = 0);  // throws as allocate() and device_allocate() do
void drop(Buffer* buffer);
// Tests: new buffers start as 0xFF bytes (NaN, -1) between guard bytes, which are checked when the buffer is dropped.
void set_guards(bool on);
int64_t guard_faults();  // buffers whose guard bytes had changed
inline Buffer* keep(Buffer* buffer) {
  if (buffer) ++buffer->refs;
  return buffer;
}

// ---- tensor -------------------------------------------------------------------------------------------------------
struct Tensor {
  PyObject_HEAD
  Array array;           // data points at element 0 (inside the buffer, or at `immediate`)
  Buffer* buffer;        // null for a weak scalar
  union {                // the value of a weak scalar (a Python number as an operand)
    int64_t i;
    double f;
  } immediate;
  PyObject* large;       // of a weak scalar: the integer that int64 does not hold; else null
  uint8_t device;        // index into the table of dlcore/_device.py; 0 is the CPU
  bool requires_grad;
  bool weak;
  bool view;             // made by a view operation (detach() takes the mark away)
  uint32_t output;       // which output of `node` this is
  Node* node;            // what computed it, when a gradient may be wanted
  int64_t version_seen;  // the buffer's version when `node` was made
  PyObject* grad;
  PyObject* hooks;        // of a leaf: a list of those of its gradient (hooks.h); else null
  PyObject* batch;        // (level, tensor of all examples) where this stands for one example (batch.h); else null
  PyObject* weakrefs;
  Tensor* base;          // of a view: what it is a view of, if that is known (views.cpp); owned
};

extern PyTypeObject* tensor_base;    // _C.TensorBase
extern PyTypeObject* tensor_type;    // what new tensors are: dlcore.Tensor once it is registered

inline bool is_tensor(PyObject* o) { return PyObject_TypeCheck(o, tensor_base); }
inline Tensor* as_tensor(PyObject* o) { return reinterpret_cast<Tensor*>(o); }
inline PyObject* as_object(Tensor* t) { return reinterpret_cast<PyObject*>(t); }
using TensorRef = Owned<Tensor>;

// Tensors take part in Python's cyclic garbage collection: one with a node or a gradient may be part of a cycle. Others
// of `tensor_type` refer to nothing, and the collector never sees them; a subclass may add some, so it always does.
Tensor* blank_tensor(PyTypeObject* type);         // all zero
void hold_node(Tensor* t, Node* node);            // counts a reference; null: none
void hold_grad(Tensor* t, PyObject* grad);        // takes over the reference; null: none
void show_to_collector(Tensor* t);                // it may be part of a cycle, for a node keeps it
void hold_hooks(Tensor* t, PyObject* hooks);      // takes over the reference
void hold_batch(Tensor* t, PyObject* batch);      // takes over the reference
PyTypeObject* make_tensor_type();  // tensor_type.cpp

// New references; null with a Python error set on failure.
Tensor* new_tensor(const int64_t* shape, int ndim, DType dtype, uint8_t device = 0);  // contiguous, not initialised
Tensor* new_view(Tensor* base, const Array& array);               // shares base's buffer; no gradient history
Tensor* new_scalar(PyObject* number);                             // weak: float, int or bool
Tensor* scalar_operand(PyObject* number, PyObject* operation, PyObject* operand);  // whose errors name these two
Tensor* contiguous_copy(Tensor* t);
// A tensor over memory of others that `owner` keeps: free_owner(owner) runs when the last tensor over it has gone. On
// failure the owner stays the caller's.
Tensor* new_foreign(const Array& array, uint8_t device, bool readonly, void* owner, void (*free_owner)(void*));
void free_object(void* owner);  // the free_owner of a Python object

// Converts a weak scalar's value to `dtype` into 8 bytes at `out`, rounding once (to infinity beyond a float's range) and
// truncating to integers; false with OverflowError set if it does not fit: an integer or its truncation beyond the range,
// NaN and infinity as integers, an integer beyond float64. This is the rule for Python numbers, whatever way they come.
bool store_immediate(const Tensor* t, DType dtype, void* out, const char* operation);

// A tensor of a shape and dtype that Python gives, not initialised; errors name `operation`.
Tensor* new_tensor_of(PyObject* shape, PyObject* dtype, uint8_t device, const char* operation);

// ---- few.cpp: a few elements in the host's memory, made without a kernel
bool are_few(const Tensor* fresh);                  // and nothing records
void fill_few(Tensor* fresh, const void* element);  // with this element of its dtype
PyObject* few_ramp(PyObject* module, PyObject* args);
PyObject* few_eye(PyObject* module, PyObject* args);

PyObject* shape_tuple(const int64_t* values, int n);
bool parse_shape(PyObject* sequence, int64_t* values, int* n, const char* operation);  // up to kMaxDims ints

bool check_writable(const Tensor* t, const char* operation);
bool check_written(const Tensor* t, const char* operation);  // and that its elements do not overlap each other
bool may_meet(const Tensor* a, const Tensor* b);             // whether they may have elements in common
void bump(Tensor* t);  // its memory was written

PyObject* device_object(uint8_t device);    // borrowed
PyObject* dtype_object(DType dtype);        // borrowed
bool parse_dtype(PyObject* o, DType* out);  // a DType object

// Errors of dlcore/errors.py, bound at import.
struct Errors {
  PyObject *shape, *dtype, *capture, *autograd;
};
extern Errors errors;

// Functions of Python that C++ calls: bound at import by name (operators, getitem, conversion, summing a gradient).
struct Bound {
  PyObject *convert, *getitem, *setitem, *assign, *sum_to, *plan, *copy_plan;
  PyObject *batched, *batched_inplace;  // operations on tensors that stand for one example (dlcore/_batching.py)
  PyObject *accept;    // attributes as plain objects, which plans can be found by
  PyObject *required;  // the default of an attribute that has none (dlcore.op.REQUIRED)
  PyObject *add, *subtract, *multiply, *divide, *power, *matmul, *negative, *absolute, *floor_divide, *remainder;
  PyObject *bitwise_and, *bitwise_or, *bitwise_xor, *bitwise_not, *left_shift, *right_shift;
  PyObject* compare[6];  // in the order of Py_LT, Py_LE, Py_EQ, Py_NE, Py_GT, Py_GE
  PyObject *cast;
  PyObject *slice, *take, *reshape, *ravel_index, *put, *where;  // what indexing.cpp makes of x[index]
  PyObject* ndarray;  // NumPy's type
  PyObject *as_strided, *strided_assign;  // what views are of their bases, and writes into views make of them
  PyObject* spellings;  // of arguments: {"dim": ("axis", "axes")} (dlcore/_spelling.py)
};
extern Bound bound;

bool init_tensor(PyObject* module);
void take_back(const Buffer* buffer);  // lent memory is about to be used otherwise
bool init_exchange(PyObject* module);
extern PyBufferProcs tensor_buffer;

}  // namespace dlcore
