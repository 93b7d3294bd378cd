// Shaped(meaning, operation, function): a function of a tensor that is one view operation, `select` or `swapaxes`.
//
// `meaning(x, *arguments)` gives the attribute of the operation, or None where the result is x itself; `function` is the
// same in Python, for names, lists, and operands that are no tensors yet. A call with plain arguments finds the plan of
// the operation by them, and Python runs only where a shape or an argument is new.
#include "core/batch.h"
#include "core/function.h"
#include "core/ref.h"
#include "core/stand_in.h"
#include "core/tape.h"
#include "core/traced.h"

#include <memory>

namespace dlcore {

namespace {

struct Shaped {
  StandIn as;
  PyObject* meaning;
  Function* operation;
  PlanCache* plans;
  uint64_t forgotten;  // as plans_forgotten was when `plans` was last used
};

// Of a call that is found by its arguments: exact, and x is one tensor.
bool add_arguments(Key& key, PyObject* const* args, Py_ssize_t n) {
  key.add(static_cast<uint64_t>(n));
  for (Py_ssize_t k = 1; k < n; ++k) add_attribute(key, args[k]);
  return key.exact;
}

PyObject* call_new(Shaped* s, const Key& key, PyObject* const* args, Py_ssize_t n) {
  const Ref meant = Ref::own(call_python(s->meaning, args, static_cast<size_t>(n)));
  if (!meant || meant.get() == Py_None) return meant ? Py_NewRef(args[0]) : nullptr;
  const Ref attrs = Ref::own(PyTuple_Pack(1, meant.get()));
  return attrs ? run_and_keep(s->operation, *s->plans, key, as_tensor(args[0]), attrs.get()) : nullptr;
}

PyObject* call_shaped(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* s = reinterpret_cast<Shaped*>(self);
  const Py_ssize_t n = PyVectorcall_NARGS(nargsf);
  Key key;
  const bool plain = !kwnames && !trace && n > 0 && is_tensor(args[0]) && !as_tensor(args[0])->weak &&
                     !is_batched(as_tensor(args[0])) && add_arguments(key, args, n);
  if (!plain) return PyObject_Vectorcall(s->as.function, args, nargsf, kwnames);
  if (!read_signature(s->operation)) return nullptr;
  if (s->forgotten != plans_forgotten) {
    s->plans->clear();
    s->forgotten = plans_forgotten;
  }
  PyObject* view = run_kept(s->operation, *s->plans, key, as_tensor(args[0]));
  if (!view && !PyErr_Occurred()) view = call_new(s, key, args, n);
  if (view || !python_answers()) return view;
  return PyObject_Vectorcall(s->as.function, args, nargsf, kwnames);
}

PyObject* call_safely(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  try {
    return call_shaped(self, args, nargsf, kwnames);
  } catch (const std::bad_alloc&) {
    return out_of_memory(reinterpret_cast<Shaped*>(self)->operation->name_utf8);
  }
}

PyObject* shaped_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *meaning, *operation, *function;
  if (!PyArg_ParseTuple(args, "OO!O:Shaped", &meaning, function_type, &operation, &function)) return nullptr;
  auto plans = std::make_unique<PlanCache>();
  auto* s = reinterpret_cast<Shaped*>(type->tp_alloc(type, 0));
  if (!s) return nullptr;
  s->as.vectorcall = call_safely;
  s->meaning = Py_NewRef(meaning);
  s->operation = reinterpret_cast<Function*>(Py_NewRef(operation));
  s->as.function = Py_NewRef(function);
  s->plans = plans.release();
  s->forgotten = plans_forgotten;
  return reinterpret_cast<PyObject*>(s);
}

void shaped_dealloc(PyObject* self) {
  auto* s = reinterpret_cast<Shaped*>(self);
  delete s->plans;
  Py_XDECREF(s->meaning);
  Py_XDECREF(reinterpret_cast<PyObject*>(s->operation));
  free_stand_in(self);
}

}  // namespace

bool init_shaped(PyObject* module) {
  return add_stand_in_type(module, "dlcore._C.Shaped", sizeof(Shaped), safe<shaped_new>, shaped_dealloc);
}

}  // namespace dlcore
