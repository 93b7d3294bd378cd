#include "core/batch.h"

#include <utility>

#include "core/function.h"

namespace dlcore {

PER_THREAD int batch_depth = 0;

Tensor* whole_of(Tensor* t) {
  while (t->batch) t = as_tensor(PyTuple_GET_ITEM(t->batch, 1));
  return t;
}

bool check_unbatched(const Tensor* t, const char* what) {
  if (!t->batch) return true;
  PyErr_Format(errors.shape,
               "vmap: no %s of a tensor that stands for each of %lld examples, for each has its own; use operations on "
               "it (dl.where for a choice), or do this outside of vmap",
               what, static_cast<long long>(as_tensor(PyTuple_GET_ITEM(t->batch, 1))->array.shape[0]));
  return false;
}

PyObject* call_batched(Function* f, Operands& operands, PyObject* attrs, const int* lengths, int n_groups) {
  const Ref given = Ref::own(PyTuple_New(operands.n)), groups = Ref::own(PyTuple_New(n_groups));
  if (!given || !groups || !bound.batched) return nullptr;
  for (int k = 0; k < operands.n; ++k)
    PyTuple_SET_ITEM(given.get(), k, Py_NewRef(operands.data[k] ? as_object(operands.data[k]) : Py_None));
  for (int k = 0; k < n_groups; ++k) {
    PyObject* length = PyLong_FromLong(lengths[k]);
    if (!length) return nullptr;
    PyTuple_SET_ITEM(groups.get(), k, length);
  }
  const WithoutAutocast as_given;
  PyObject* args[4] = {f->op, given.get(), attrs, groups.get()};
  return call_python(bound.batched, args, 4);
}

PyObject* call_batched_inplace(Function* f, Tensor* target, PyObject* const* args, Py_ssize_t n) {
  const Ref others = Ref::own(PyTuple_New(n));
  if (!others || !bound.batched_inplace) return nullptr;
  for (Py_ssize_t k = 0; k < n; ++k) PyTuple_SET_ITEM(others.get(), k, Py_NewRef(args[k]));
  PyObject* all[3] = {reinterpret_cast<PyObject*>(f), as_object(target), others.get()};
  return call_python(bound.batched_inplace, all, 3);
}

// ---- Python -------------------------------------------------------------------------------------------------------
static PyObject* one_of(PyObject* value, PyObject* level) {
  Tensor* whole = as_tensor(value);
  if (whole->weak || whole->array.ndim == 0) {
    PyErr_SetString(errors.shape, "batched: a tensor with an axis of examples is wanted");
    return nullptr;
  }
  Array one = whole->array;
  one.ndim = static_cast<decltype(one.ndim)>(one.ndim - 1);
  for (int d = 0; d < one.ndim; ++d) {
    one.shape[d] = whole->array.shape[d + 1];
    one.strides[d] = whole->array.strides[d + 1];
  }
  TensorRef t = TensorRef::own(new_view(whole, one));
  Ref batch = t ? Ref::own(PyTuple_Pack(2, level, value)) : Ref();
  if (!batch) return nullptr;
  hold_batch(t.get(), batch.release());
  return as_object(t.release());
}

PyObject* batched_like(Tensor* t, PyObject* value) { return one_of(value, PyTuple_GET_ITEM(t->batch, 0)); }

static PyObject* batched(PyObject*, PyObject* args) {
  PyObject *value, *level;
  if (!PyArg_ParseTuple(args, "O!O:batched", tensor_base, &value, &level)) return nullptr;
  return one_of(value, level);
}

static PyObject* batch_of(PyObject*, PyObject* o) {
  PyObject* batch = is_tensor(o) ? as_tensor(o)->batch : nullptr;
  return Py_NewRef(batch ? batch : Py_None);
}

static PyObject* set_batch_depth(PyObject*, PyObject* value) {
  const long depth = PyLong_AsLong(value);
  if (depth == -1 && PyErr_Occurred()) return nullptr;
  return PyLong_FromLong(std::exchange(batch_depth, static_cast<int>(depth)));
}

static PyObject* get_batch_depth(PyObject*, PyObject*) { return PyLong_FromLong(batch_depth); }

static PyMethodDef batch_functions[] = {
    {"batched", safe<batched>, METH_VARARGS,
     "batched(value, level): a tensor that stands for one example of those along axis 0 of value."},
    {"batch_of", safe<batch_of>, METH_O, "(level, value) of a batched tensor, else None."},
    {"set_batch_depth", safe<set_batch_depth>, METH_O,
     "Set how many batches this thread goes through; returns what it was."},
    {"batch_depth", safe<get_batch_depth>, METH_NOARGS, "How many batches this thread goes through."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_batch(PyObject* module) { return PyModule_AddFunctions(module, batch_functions) == 0; }

}  // namespace dlcore
