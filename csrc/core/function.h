// The callable of one operation: converts operands, finds the plan for their specs, runs it, tracks it on the tape.
#pragma once
#include <vector>

#include "core/autocast.h"
#include "core/plan.h"

namespace dlcore {

struct Function {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* op;           // the operation (dlcore/op/operation.py)
  PyObject* name;         // str
  const char* name_utf8;
  PyObject* input_names;  // tuple of str; null until the first call reads the signature
  PyObject* attr_names;   // tuple of str
  PyObject* defaults;     // tuple; `required` where there is none
  int n_inputs;           // operands, a group counting as one
  uint32_t optional;      // bit per operand that may be None
  uint32_t groups;        // bit per operand that is a group of tensors
  bool strided_key;       // plans depend on strides (views)
  bool dynamic;           // the shape of its result depends on values
  bool random;            // it draws from a generator's state
  bool elementwise;       // the output may be an operand: element i is written after it was read
  bool unfitting;         // the operation says what it is of Python numbers that do not fit
  CastClass cast;         // what autocast does with its operands
  PlanCache* cache;
};

extern PyTypeObject* function_type;

// Calls `function` on borrowed operands (null where absent) and attributes; `out`, when given, receives the only
// output. For functions without groups.
PyObject* call(Function* function, Tensor** operands, int n, PyObject* attrs, Tensor* out = nullptr);
// x `function`= arguments: writes the result into target, keeping the tape right. New reference to target.
PyObject* call_inplace(Function* function, Tensor* target, PyObject* const* args, Py_ssize_t n);

// Makes `out`, whose memory holds it already, the result of `function` of borrowed operands on the tape; runs nothing.
bool link_result(Function* function, Tensor* const* operands, int n, PyObject* attrs, Tensor* out);
// The same tensor for the tape, which `t` itself may leave.
Tensor* alias_with_history(Tensor* t);

// ---- views.cpp
Tensor* view_of(Tensor* parent, const Array& array);  // knows its base; null with an error
bool has_base(const Tensor* view);
bool check_base(const char* operation, const Tensor* view);  // whether a tracked write can reach its base, else an error
bool write_through(Tensor* view, Tensor* value);  // on the tape, when `value` has been written into the view's memory
bool refresh_view(Tensor* t);  // a view whose base was written since; any other tensor is left alone. False: an error

// Reads operands and attributes from the operation, once.
bool read_signature(Function* function);
// Operand `k` of the signature: what is neither a tensor nor a number becomes a tensor on the device of the first
// tensor among `others`. Null: absent, or `failed`.
Tensor* to_operand(Function* f, PyObject* value, int k, PyObject* const* others, Py_ssize_t n_others, bool* failed);

bool init_function(PyObject* module);
bool init_remembered(PyObject* module);  // remembered.cpp
bool init_shaped(PyObject* module);      // shaped.cpp

}  // namespace dlcore
