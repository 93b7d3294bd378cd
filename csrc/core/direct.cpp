// Direct(meaning, function): a function in Python that checks its arguments and then calls one operation on some of them.
//
// `meaning(*arguments)` gives (operation, operands, attributes); `function` is the same in Python, for all calls and all
// errors. What a call of plain arguments means is kept by their values, of tensors by dtype, device and shape, so that
// the next one of such arguments goes to the operation at once. That takes operands which are arguments or plain numbers:
// of other calls it is kept that Python must make them. Nothing is kept where the values of a tensor were read.
#include "core/batch.h"
#include "core/function.h"
#include "core/record.h"
#include "core/ref.h"
#include "core/stand_in.h"
#include "core/traced.h"

#include <memory>

namespace dlcore {

namespace {

struct Direct {
  StandIn as;
  PyObject* meaning;
  // Plans of which only these mean anything: `callable`, the operation, or null; `attrs`; `casts`, which arguments its
  // operands are, -1 for numbers; `lengths`, those numbers.
  PlanCache* meanings;
};

void add_tensor(Key& key, const Tensor* t) {
  const Array& a = t->array;
  key.add(static_cast<uint64_t>(a.dtype) | uint64_t{t->device} << 8 | uint64_t{a.ndim} << 16 | uint64_t{1} << 63);
  for (int d = 0; d < a.ndim; ++d) key.add(static_cast<uint64_t>(a.shape[d]));
}

bool add_arguments(Key& key, PyObject* const* args, Py_ssize_t n) {
  key.add(static_cast<uint64_t>(n));
  for (Py_ssize_t k = 0; k < n; ++k) {
    if (!is_tensor(args[k])) {
      add_attribute(key, args[k]);
      continue;
    }
    if (as_tensor(args[k])->weak || is_batched(as_tensor(args[k]))) return false;
    add_tensor(key, as_tensor(args[k]));
  }
  return key.exact;
}

bool is_number(PyObject* value) { return PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value); }

constexpr int kNowhere = -2, kTwice = -3;

// Which argument an operand is.
int place_of(PyObject* operand, PyObject* const* args, Py_ssize_t n) {
  if (is_number(operand)) return -1;
  if (!is_tensor(operand)) return kNowhere;
  int place = kNowhere;
  for (Py_ssize_t k = 0; k < n; ++k)
    if (args[k] == operand) place = place == kNowhere ? static_cast<int>(k) : kTwice;
  return place;
}

// The numbers among the operands, None for the others.
Ref numbers_of(PyObject* operands) {
  const Py_ssize_t n = PyTuple_GET_SIZE(operands);
  Ref numbers = Ref::own(PyTuple_New(n));
  for (Py_ssize_t k = 0; numbers && k < n; ++k) {
    PyObject* operand = PyTuple_GET_ITEM(operands, k);
    PyTuple_SET_ITEM(numbers.get(), k, Py_NewRef(is_number(operand) ? operand : Py_None));
  }
  return numbers;
}

// What the call means, with a reference for the caller; null with an error.
Plan* meaning_of(Direct* d, const Key& key, PyObject* const* args, Py_ssize_t n) {
  const uint64_t reads = values_read;
  const Ref meant = Ref::own(call_python(d->meaning, args, static_cast<size_t>(n)));
  if (values_read != reads) return nullptr;  // an axis, say, that is a tensor: the next call has another
  PyObject *operation, *operands, *attrs;
  if (!meant || !PyArg_ParseTuple(meant.get(), "O!O!O!", function_type, &operation, &PyTuple_Type, &operands,
                                  &PyTuple_Type, &attrs)) {
    return nullptr;
  }
  auto plan = std::make_unique<Plan>();
  bool same = true, numbers = false;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(operands); ++k) {
    const int place = place_of(PyTuple_GET_ITEM(operands, k), args, n);
    if (place == kTwice) return nullptr;  // which of the two it is another call may tell
    plan->casts.push_back(place);
    same = same && place >= -1;
    numbers = numbers || place == -1;
  }
  auto* f = reinterpret_cast<Function*>(operation);
  if (!read_signature(f)) return nullptr;
  same = same && !f->groups && f->n_inputs == PyTuple_GET_SIZE(operands) &&
         PyTuple_GET_SIZE(f->defaults) == PyTuple_GET_SIZE(attrs);
  if (same) plan->callable = Ref::share(operation);
  if (same && numbers) plan->lengths = numbers_of(operands);
  if (same && numbers && !plan->lengths) return nullptr;
  plan->attrs = Ref::share(attrs);
  plan->refs = 2;
  d->meanings->keep(key, Py_None, plan.get());
  return plan.release();
}

PyObject* run(const Plan* plan, PyObject* const* args) {
  auto* f = reinterpret_cast<Function*>(plan->callable.get());
  Operands operands(f->n_inputs);
  for (int k = 0; k < operands.n; ++k) {
    const int place = plan->casts[static_cast<size_t>(k)];
    if (place >= 0) {
      operands.data[k] = as_tensor(Py_NewRef(args[place]));
    } else {
      operands.data[k] = new_scalar(PyTuple_GET_ITEM(plan->lengths.get(), k));
      if (!operands.data[k]) return nullptr;
    }
  }
  return dispatch(f, operands, plan->attrs.get(), nullptr);
}

PyObject* call_direct(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* d = reinterpret_cast<Direct*>(self);
  const Py_ssize_t n = PyVectorcall_NARGS(nargsf);
  Key key;
  if (kwnames || recorder || trace || !add_arguments(key, args, n)) {
    return PyObject_Vectorcall(d->as.function, args, nargsf, kwnames);
  }
  Plan* plan = d->meanings->find(key, Py_None);
  if (plan) ++plan->refs;
  else plan = meaning_of(d, key, args, n);
  PyObject* result = plan && plan->callable ? run(plan, args) : nullptr;
  if (plan) unref(plan);
  if (result || !python_answers()) return result;
  return PyObject_Vectorcall(d->as.function, args, nargsf, nullptr);
}

PyObject* call_safely(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  try {
    return call_direct(self, args, nargsf, kwnames);
  } catch (const std::bad_alloc&) {
    return out_of_memory("dlcore");
  }
}

PyObject* direct_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *meaning, *function;
  if (!PyArg_ParseTuple(args, "OO:Direct", &meaning, &function)) return nullptr;
  auto meanings = std::make_unique<PlanCache>();
  auto* d = reinterpret_cast<Direct*>(type->tp_alloc(type, 0));
  if (!d) return nullptr;
  d->as.vectorcall = call_safely;
  d->as.function = Py_NewRef(function);
  d->meaning = Py_NewRef(meaning);
  d->meanings = meanings.release();
  return reinterpret_cast<PyObject*>(d);
}

void direct_dealloc(PyObject* self) {
  auto* d = reinterpret_cast<Direct*>(self);
  delete d->meanings;
  Py_XDECREF(d->meaning);
  free_stand_in(self);
}

}  // namespace

bool init_direct(PyObject* module) {
  return add_stand_in_type(module, "dlcore._C.Direct", sizeof(Direct), safe<direct_new>, direct_dealloc);
}

}  // namespace dlcore
