// The callable of one row: converts operands, finds the plan for their specs, runs it, records it on the tape.
#pragma once
#include <vector>

#include "core/plan.h"

namespace dlcore {

struct Function {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* op;           // the row
  PyObject* name;         // str
  const char* name_utf8;
  PyObject* vjp;          // null: none
  PyObject* input_names;  // tuple of str
  PyObject* attr_names;   // tuple of str
  PyObject* defaults;     // tuple; `missing` where required
  int n_inputs;
  uint32_t optional;      // bit per operand that may be None
  bool variadic;
  bool strided_key;       // plans depend on strides (view rows)
  bool value_key;         // `dynamic` rows are never cached
  PlanCache* cache;
};

extern PyTypeObject* function_type;

// Calls `function` on borrowed operands (null where absent) and attributes; `out`, when given, receives the only output.
PyObject* call(Function* function, Tensor** operands, int n, PyObject* attrs, Tensor* out = nullptr);
// x `function`= arguments: writes the result into target, keeping the tape right. New reference to target.
PyObject* call_inplace(Function* function, Tensor* target, PyObject* const* args, Py_ssize_t n);

// What is neither a tensor nor a number becomes a tensor on the device of the first tensor among `others`.
Tensor* to_operand(Function* f, PyObject* value, int position, PyObject* const* others, Py_ssize_t n_others, bool* failed);

bool init_function(PyObject* module);

}  // namespace dlcore
