// What a function made of operations does, as it is found out while it runs once (traced.cpp).
#pragma once
#include "core/plan.h"

namespace dlcore {

struct Trace;
PER_THREAD extern Trace* trace;  // of the call in this thread that is looked at; null: none

// How often this thread has read values of tensors. What Python worked out meanwhile holds for those values alone.
PER_THREAD extern uint64_t values_read;

// Called by the rest of the core while `trace` is set.
void trace_failed();          // the call reads a value, or writes one: operations alone do not tell what it does
void trace_made(Tensor* t);   // a new tensor that no operation made
PyObject* dispatch_traced(Function* f, Operands& operands, PyObject* attrs, Tensor* out, const int* lengths,
                          int n_groups);

// run.cpp: the plan of a call, with a reference for the caller, and a call whose plan is known; null with an error.
Plan* plan_for(Function* f, Operands& operands, PyObject* attrs, const int* lengths, int n_groups);
PyObject* run_planned(Function* f, Plan* plan, Operands& operands);

inline void value_read() {
  ++values_read;
  if (trace) trace_failed();
}

bool init_traced(PyObject* module);

}  // namespace dlcore
