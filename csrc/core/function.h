// The callable of one row: converts operands, finds the plan for their specs, runs it, records it on the tape.
#pragma once
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace dlcore {

// What dlcore/_dispatch.py decided for one combination of specs, attributes and gradients wanted. Python runs to make a
// plan; a call that finds one stays in C++.
struct OutputSpec {
  bool present;
  DType dtype;
  uint8_t ndim;
  int64_t shape[kMaxDims];
};
struct SaveSpec {
  enum Kind { none, input, output } kind;
  int index;
};
enum class PlanKind { native, foreign, view, composite };

struct Plan {
  PlanKind kind = PlanKind::native;
  std::vector<int> casts;            // per operand: dtype code to cast to, or -1
  std::vector<OutputSpec> outputs;   // outputs, then extras
  int n_outputs = 0;                 // how many of them are returned
  const Kernel* kernel = nullptr;    // native
  std::vector<Param> params;
  PyObject* callable = nullptr;      // foreign or composite
  int64_t offset = 0;                // view: elements from operand 0's first
  int64_t strides[kMaxDims] = {};    // view
  bool taped = false;                // record a node
  std::vector<bool> needs;           // per operand: gradient wanted
  std::vector<SaveSpec> saves;
  std::vector<int> writes;           // operands changed in place
  int refs = 1;                      // the cache's, and one for each call in progress (which may clear the cache)
  ~Plan() { Py_XDECREF(callable); }
};

struct CacheEntry {
  std::vector<uint64_t> words;
  PyObject* attrs;
  Plan* plan;
};

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
  std::unordered_multimap<uint64_t, CacheEntry>* cache;
};

extern PyTypeObject* function_type;

// Calls `function` on borrowed operands (null where absent) and attributes; `out`, when given, receives the only output.
PyObject* call(Function* function, Tensor** operands, int n, PyObject* attrs, Tensor* out = nullptr);
// x `function`= arguments: writes the result into target, keeping the tape right. New reference to target.
PyObject* call_inplace(Function* function, Tensor* target, PyObject* const* args, Py_ssize_t n);

bool init_function(PyObject* module);

}  // namespace dlcore
