// The C type behind dlcore.Tensor: attributes, operators, reading one element.
#include "core/tensor.h"

#include <structmember.h>

#include <cstring>
#include <type_traits>

#include "core/batch.h"
#include "core/function.h"
#include "core/indexing.h"
#include "core/record.h"
#include "core/tape.h"
#include "core/traced.h"

namespace dlcore::v1 {
#define DLCORE_ISA 1
#include "common/simd.inl"
#undef DLCORE_ISA
}  // namespace dlcore::v1

namespace dlcore {

// ---- the type -----------------------------------------------------------------------------------------------------
Tensor* blank_tensor(PyTypeObject* type) {
  if (type != tensor_type) return as_tensor(type->tp_alloc(type, 0));  // tracked from the start
  Tensor* t = PyObject_GC_New(Tensor, type);
  if (t) std::memset(reinterpret_cast<char*>(t) + sizeof(PyObject), 0, sizeof(Tensor) - sizeof(PyObject));
  return t;
}

void show_to_collector(Tensor* t) {
  if (!PyObject_GC_IsTracked(as_object(t))) PyObject_GC_Track(as_object(t));
}

void hold_node(Tensor* t, Node* node) {
  Py_XINCREF(reinterpret_cast<PyObject*>(node));
  Py_XSETREF(t->node, node);
  if (node) show_to_collector(t);
}

void hold_grad(Tensor* t, PyObject* grad) {
  Py_XSETREF(t->grad, grad);
  if (grad) show_to_collector(t);
}

void hold_hooks(Tensor* t, PyObject* hooks) {
  Py_XSETREF(t->hooks, hooks);
  show_to_collector(t);
}

void hold_batch(Tensor* t, PyObject* batch) {
  Py_XSETREF(t->batch, batch);
  show_to_collector(t);
}

static int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_tensor(self)->grad);
  Py_VISIT(as_tensor(self)->hooks);
  Py_VISIT(as_tensor(self)->batch);
  Py_VISIT(reinterpret_cast<PyObject*>(as_tensor(self)->node));
  Py_VISIT(as_object(as_tensor(self)->base));
  return 0;
}

static int tensor_clear(PyObject* self) {
  Py_CLEAR(as_tensor(self)->grad);
  Py_CLEAR(as_tensor(self)->hooks);
  Py_CLEAR(as_tensor(self)->node);
  Py_CLEAR(as_tensor(self)->base);
  return 0;
}

static void tensor_dealloc(PyObject* self) {
  Tensor* t = as_tensor(self);
  if (PyObject_GC_IsTracked(self)) PyObject_GC_UnTrack(self);
  if (t->weakrefs) PyObject_ClearWeakRefs(self);
  drop(t->buffer);
  Py_CLEAR(t->large);
  Py_CLEAR(t->grad);
  Py_CLEAR(t->hooks);
  Py_CLEAR(t->batch);
  Py_XDECREF(reinterpret_cast<PyObject*>(t->node));
  Py_XDECREF(as_object(t->base));
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// TensorBase(source): another tensor of this class over the same memory (nn.Parameter is made so); no history.
static PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* source;
  if (!PyArg_ParseTuple(args, "O:Tensor", &source)) return nullptr;
  if (!is_tensor(source) || as_tensor(source)->weak) {
    PyErr_Format(PyExc_TypeError, "%s(source): source is a tensor; to make one from data call dlcore.tensor(data)",
                 type->tp_name);
    return nullptr;
  }
  if (!check_unbatched(as_tensor(source), "Parameter")) return nullptr;
  Tensor *from = as_tensor(source), *t = blank_tensor(type);
  if (!t) return nullptr;
  t->array = from->array;
  t->buffer = keep(from->buffer);
  t->device = from->device;
  return as_object(t);
}

static PyObject* get_shape(PyObject* self, void*) {
  const Array& a = as_tensor(self)->array;
  return shape_tuple(a.shape, a.ndim);
}
static PyObject* get_strides(PyObject* self, void*) {
  const Array& a = as_tensor(self)->array;
  return shape_tuple(a.strides, a.ndim);
}
static PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(as_tensor(self)->array.ndim); }
static PyObject* get_size(PyObject* self, void*) { return PyLong_FromLongLong(as_tensor(self)->array.size()); }
static PyObject* get_dtype(PyObject* self, void*) { return Py_NewRef(dtype_object(as_tensor(self)->array.dtype)); }
static PyObject* get_device(PyObject* self, void*) { return Py_NewRef(device_object(as_tensor(self)->device)); }
static PyObject* get_data_ptr(PyObject* self, void*) { return PyLong_FromVoidPtr(as_tensor(self)->array.data); }
static PyObject* get_weak(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->weak); }
static PyObject* get_is_view(PyObject* self, void*) { return PyBool_FromLong(as_tensor(self)->view); }
static PyObject* get_is_contiguous(PyObject* self, void*) {
  return PyBool_FromLong(as_tensor(self)->array.contiguous());
}
static PyObject* get_base(PyObject* self, void*) {
  Tensor* base = as_tensor(self)->base;
  return Py_NewRef(base && base->buffer == as_tensor(self)->buffer ? as_object(base) : Py_None);
}
static PyObject* get_is_leaf(PyObject* self, void*) {
  Tensor* t = whole_of(as_tensor(self));
  return refresh_view(t) ? PyBool_FromLong(!t->node) : nullptr;
}
static PyObject* get_version(PyObject* self, void*) {
  Buffer* b = as_tensor(self)->buffer;
  return PyLong_FromLongLong(b ? b->version : 0);
}
static PyObject* get_node(PyObject* self, void*) {
  Tensor* t = whole_of(as_tensor(self));
  if (!refresh_view(t)) return nullptr;
  Node* node = t->node;
  return node ? Py_NewRef(reinterpret_cast<PyObject*>(node)) : Py_NewRef(Py_None);
}
static PyObject* get_grad(PyObject* self, void*) {
  if (recorder) record_grad_read(as_tensor(self));
  PyObject* grad = as_tensor(self)->grad;
  return Py_NewRef(grad ? grad : Py_None);
}
static int set_grad(PyObject* self, PyObject* value, void*) {
  Tensor* t = as_tensor(self);
  if (!check_unbatched(t, "setting of grad")) return -1;
  if (recorder) record_grad_replaced(t, !value || value == Py_None);
  if (!value || value == Py_None) {
    hold_grad(t, nullptr);
    return 0;
  }
  if (!is_tensor(value)) {
    PyErr_Format(PyExc_TypeError, "grad: a %s is neither a tensor nor None", Py_TYPE(value)->tp_name);
    return -1;
  }
  const Array &a = t->array, &g = as_tensor(value)->array;
  if (a.ndim != g.ndim || std::memcmp(a.shape, g.shape, sizeof(int64_t) * a.ndim) || a.dtype != g.dtype) {
    const Ref want = Ref::own(get_shape(self, nullptr)), have = Ref::own(get_shape(value, nullptr));
    if (want && have) {
      PyErr_Format(errors.shape, "grad: shape %R of dtype %s does not fit a tensor of shape %R and dtype %s",
                   have.get(), kDTypeName[static_cast<int>(g.dtype)], want.get(),
                   kDTypeName[static_cast<int>(a.dtype)]);
    }
    return -1;
  }
  if (as_tensor(value)->device != t->device) {
    PyErr_Format(errors.dtype, "grad: a tensor on %S is no gradient of one on %S", device_object(as_tensor(value)->device),
                 device_object(t->device));
    return -1;
  }
  hold_grad(t, Py_NewRef(value));
  return 0;
}
static PyObject* get_requires_grad(PyObject* self, void*) {
  Tensor* t = whole_of(as_tensor(self));
  return refresh_view(t) ? PyBool_FromLong(t->requires_grad) : nullptr;
}
static int set_requires_grad(PyObject* self, PyObject* value, void*) {
  Tensor* t = as_tensor(self);
  if (!check_unbatched(t, "setting of requires_grad (dl.func.grad takes gradients)")) return -1;
  const int truth = value ? PyObject_IsTrue(value) : 0;
  if (truth < 0 || !(!value || PyBool_Check(value) || PyLong_Check(value))) {
    PyErr_Format(PyExc_TypeError, "requires_grad: a %s is neither True nor False", Py_TYPE(value)->tp_name);
    return -1;
  }
  if (truth && !is_float(t->array.dtype)) {
    PyErr_Format(errors.dtype, "requires_grad: only floating-point tensors have gradients, not %s",
                 kDTypeName[static_cast<int>(t->array.dtype)]);
    return -1;
  }
  if (!truth && t->node) {
    PyErr_SetString(errors.autograd, "requires_grad: this tensor was computed from others; use detach()");
    return -1;
  }
  if (t->requires_grad != truth) ++changes;
  t->requires_grad = truth;
  return 0;
}

static PyGetSetDef getset[] = {
    {"shape", get_shape, nullptr, "Lengths of the axes, a tuple.", nullptr},
    {"strides", get_strides, nullptr, "Steps from element to element along each axis, in elements.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"size", get_size, nullptr, "Number of elements.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type, one of dlcore's DType objects.", nullptr},
    {"device", get_device, nullptr, "Where the memory is.", nullptr},
    {"data_ptr", get_data_ptr, nullptr, "Address of element 0.", nullptr},
    {"weak", get_weak, nullptr, "Whether this stands for a Python number as an operand.", nullptr},
    {"base", get_base, nullptr,
     "What a view shares memory with, no view itself; None of other tensors, and of views made under no_grad().",
     nullptr},
    {"is_view", get_is_view, nullptr, "Whether a view operation made this.", nullptr},
    {"is_contiguous", get_is_contiguous, nullptr, "Whether elements lie in row-major order without gaps.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether no tracked operation computed this.", nullptr},
    {"version", get_version, nullptr, "How often the memory has been written since it was made.", nullptr},
    {"node", get_node, nullptr, "The tape's node that computed this, or None.", nullptr},
    {"grad", get_grad, set_grad, "Gradient accumulated by backward(), or None.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether operations on this are tracked.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// ---- number, mapping, comparison slots ----------------------------------------------------------------------------
static bool plausible(PyObject* o) {  // what an operator takes as its other operand; anything else is NotImplemented
  if (is_tensor(o) || PyFloat_Check(o) || PyLong_Check(o) || PyList_Check(o)) return true;
  return PyObject_HasAttrString(reinterpret_cast<PyObject*>(Py_TYPE(o)), "__array__");
}
static PyObject* binary(PyObject* function, PyObject* a, PyObject* b) {
  if (!plausible(a) || !plausible(b)) Py_RETURN_NOTIMPLEMENTED;
  PyObject* args[2] = {a, b};
  return call_python(function, args, 2);
}
static PyObject* inplace(PyObject* function, PyObject* a, PyObject* b) {
  if (!plausible(b)) Py_RETURN_NOTIMPLEMENTED;
  return call_inplace(reinterpret_cast<Function*>(function), as_tensor(a), &b, 1);
}
static PyObject* power(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return binary(bound.power, a, b);
}
static PyObject* inplace_power(PyObject* a, PyObject* b, PyObject*) { return safe<inplace>(bound.power, a, b); }
static PyObject* positive(PyObject* a) { return Py_NewRef(a); }

#define BINARY(NAME) [](PyObject* a, PyObject* b) -> PyObject* { return binary(bound.NAME, a, b); }
#define INPLACE(NAME) [](PyObject* a, PyObject* b) -> PyObject* { return safe<inplace>(bound.NAME, a, b); }
#define UNARY(NAME) [](PyObject* a) -> PyObject* { return PyObject_CallOneArg(bound.NAME, a); }

static PyObject* compare(PyObject* a, PyObject* b, int op) { return binary(bound.compare[op], a, b); }

static Py_ssize_t length(PyObject* self) {
  const Array& a = as_tensor(self)->array;
  if (a.ndim == 0) {
    PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
    return -1;
  }
  return static_cast<Py_ssize_t>(a.shape[0]);
}

// The only element as a Python number. Reading it back from a device is the host method's business.
static PyObject* item(PyObject* self, PyObject*) {
  Tensor* t = as_tensor(self);
  if (!check_unbatched(t, "item(), float, int or bool")) return nullptr;
  if (t->array.size() != 1) {
    const Ref shape = Ref::own(get_shape(self, nullptr));
    if (!shape) return nullptr;
    return PyErr_Format(errors.shape, "item: only a tensor with one element is a number, not one of shape %R",
                        shape.get());
  }
  const char* reading = "a value is read back to the host (item, float, int or bool of a tensor)";
  value_read();
  if (recorder && !t->weak && !record_host_read(reading)) return nullptr;
  if (t->device != 0) {
    const Ref host = Ref::own(PyObject_CallMethod(self, "to", "s", "cpu"));
    return host ? item(host.get(), nullptr) : nullptr;
  }
  if (t->large) return Py_NewRef(t->large);
  const void* p = t->array.data;
  switch (t->array.dtype) {
    case DType::bool_: return PyBool_FromLong(*static_cast<const uint8_t*>(p) != 0);
    case DType::uint8: return PyLong_FromLong(*static_cast<const uint8_t*>(p));
    case DType::uint16: return PyLong_FromLong(*static_cast<const uint16_t*>(p));
    case DType::uint32: return PyLong_FromUnsignedLong(*static_cast<const uint32_t*>(p));
    case DType::uint64: return PyLong_FromUnsignedLongLong(*static_cast<const uint64_t*>(p));
    case DType::int8: return PyLong_FromLong(*static_cast<const int8_t*>(p));
    case DType::int16: return PyLong_FromLong(*static_cast<const int16_t*>(p));
    case DType::int32: return PyLong_FromLong(*static_cast<const int32_t*>(p));
    case DType::int64: return PyLong_FromLongLong(*static_cast<const int64_t*>(p));
    case DType::float16: return PyFloat_FromDouble(v1::to_float(*static_cast<const half_t*>(p)));
    case DType::bfloat16: return PyFloat_FromDouble(v1::to_float(*static_cast<const bfloat16_t*>(p)));
    case DType::float32: return PyFloat_FromDouble(*static_cast<const float*>(p));
    case DType::float64: return PyFloat_FromDouble(*static_cast<const double*>(p));
  }
  return nullptr;
}
static PyObject* convert_item(PyObject* self, PyObject* (*convert)(PyObject*)) {
  const Ref value = Ref::own(item(self, nullptr));
  return value ? convert(value.get()) : nullptr;
}
static PyObject* to_float(PyObject* self) { return convert_item(self, PyNumber_Float); }
static PyObject* to_int(PyObject* self) { return convert_item(self, PyNumber_Long); }
static PyObject* to_index(PyObject* self) {
  const Array& a = as_tensor(self)->array;
  if (is_float(a.dtype) || a.dtype == DType::bool_ || a.ndim) {
    PyErr_SetString(PyExc_TypeError, "__index__: only an integer tensor of shape () is an index");
    return nullptr;
  }
  return convert_item(self, PyNumber_Index);
}
static int to_bool(PyObject* self) {
  if (!check_unbatched(as_tensor(self), "truth (an `if`)")) return -1;
  if (as_tensor(self)->array.size() != 1) {
    PyErr_SetString(PyExc_ValueError, "the truth of a tensor with more than one element (or none) is not one answer: "
                                      "use .any() or .all()");
    return -1;
  }
  const Ref value = Ref::own(item(self, nullptr));
  return value ? PyObject_IsTrue(value.get()) : -1;
}

// A tensor over the same memory without history; changes to it are seen by the version checks.
static PyObject* detach(PyObject* self, PyObject*) {
  Tensor* t = as_tensor(self);
  if (t->batch) {
    PyObject* whole = PyTuple_GET_ITEM(t->batch, 1);
    const Ref inner = Ref::own(detach(whole, nullptr));
    return inner ? batched_like(t, inner.get()) : nullptr;
  }
  return as_object(new_view(t, t->array));
}

static PyMethodDef methods[] = {
    {"item", safe<item>, METH_NOARGS, "The only element as a Python number."},
    {"detach", safe<detach>, METH_NOARGS, "A tensor over the same memory that needs no gradient and has no history."},
    {nullptr, nullptr, 0, nullptr},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Tensor, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

template <class F> static void* slot(F f) { return reinterpret_cast<void*>(f); }

PyTypeObject* make_tensor_type() {
  static PyType_Slot slots[] = {
      {Py_tp_doc,
       const_cast<char*>("Memory, shape, strides, dtype, device, gradient: what dlcore.Tensor adds methods to.")},
      {Py_tp_new, slot(tensor_new)},
      {Py_tp_dealloc, slot(tensor_dealloc)},
      {Py_tp_traverse, slot(tensor_traverse)},
      {Py_tp_clear, slot(tensor_clear)},
      {Py_tp_getset, getset},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {Py_tp_hash, slot(_Py_HashPointer)},
      {Py_tp_richcompare, slot(compare)},
      {Py_nb_add, slot(+BINARY(add))},
      {Py_nb_subtract, slot(+BINARY(subtract))},
      {Py_nb_multiply, slot(+BINARY(multiply))},
      {Py_nb_true_divide, slot(+BINARY(divide))},
      {Py_nb_floor_divide, slot(+BINARY(floor_divide))},
      {Py_nb_remainder, slot(+BINARY(remainder))},
      {Py_nb_matrix_multiply, slot(+BINARY(matmul))},
      {Py_nb_and, slot(+BINARY(bitwise_and))},
      {Py_nb_or, slot(+BINARY(bitwise_or))},
      {Py_nb_xor, slot(+BINARY(bitwise_xor))},
      {Py_nb_lshift, slot(+BINARY(left_shift))},
      {Py_nb_rshift, slot(+BINARY(right_shift))},
      {Py_nb_power, slot(power)},
      {Py_nb_negative, slot(+UNARY(negative))},
      {Py_nb_positive, slot(positive)},
      {Py_nb_absolute, slot(+UNARY(absolute))},
      {Py_nb_invert, slot(+UNARY(bitwise_not))},
      {Py_nb_inplace_add, slot(+INPLACE(add))},
      {Py_nb_inplace_subtract, slot(+INPLACE(subtract))},
      {Py_nb_inplace_multiply, slot(+INPLACE(multiply))},
      {Py_nb_inplace_true_divide, slot(+INPLACE(divide))},
      {Py_nb_inplace_floor_divide, slot(+INPLACE(floor_divide))},
      {Py_nb_inplace_remainder, slot(+INPLACE(remainder))},
      {Py_nb_inplace_and, slot(+INPLACE(bitwise_and))},
      {Py_nb_inplace_or, slot(+INPLACE(bitwise_or))},
      {Py_nb_inplace_xor, slot(+INPLACE(bitwise_xor))},
      {Py_nb_inplace_lshift, slot(+INPLACE(left_shift))},
      {Py_nb_inplace_rshift, slot(+INPLACE(right_shift))},
      {Py_nb_inplace_power, slot(inplace_power)},
      {Py_nb_bool, slot(to_bool)},
      {Py_nb_float, slot(to_float)},
      {Py_nb_int, slot(to_int)},
      {Py_nb_index, slot(to_index)},
      {Py_mp_length, slot(length)},
      {Py_mp_subscript, slot(safe<subscript>)},
      {Py_mp_ass_subscript, slot(safe<assign_subscript>)},
      {Py_bf_getbuffer, slot(tensor_buffer.bf_getbuffer)},
      {Py_bf_releasebuffer, slot(tensor_buffer.bf_releasebuffer)},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.TensorBase", sizeof(Tensor), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

}  // namespace dlcore
