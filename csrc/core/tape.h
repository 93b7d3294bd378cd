// The tape: one node for each tracked operation, and the engine that runs it backward.
#pragma once
#include "core/plan.h"

namespace dlcore {

struct Edge {          // where the gradient of one operand goes
  Node* node;          // its producer, or
  Tensor* leaf;        // the leaf that accumulates; both null: no gradient wanted
  uint32_t output;
  DType dtype;
  uint8_t ndim;
  uint8_t device;
  int64_t shape[kMaxDims];
};

struct Saved {
  Tensor* tensor;      // owned; for an output of the node itself, an alias without history
  int64_t version;
  int output;          // which output this is, or -1
};

struct Node {
  PyObject_HEAD
  Function* function;  // owned
  Plan* plan;          // one reference: gradient rules, attributes, what is saved
  uint64_t sequence;   // rises with every node: a consumer's is larger than its producers'
  uint64_t run;        // the pass this node was last queued in, of those that keep their state in nodes (backward_pass.h)
  uint64_t needed_run; // the one in which a wanted tensor lies behind this node
  int n_edges, n_saved, n_outputs;
  Edge* edges;
  Saved* saved;
  PyObject** douts;    // gradients of the outputs gathered so far in the pass `run`
  PyObject* hooks;     // of the gradients of its outputs: a list, see hooks.h; else null
  PyObject* region;    // what computes again what this node keeps, when it is needed (hooks.h); else null
  Py_ssize_t place;    // which node of the region this is
  bool filled;         // what it keeps is there by now
  PyObject* note;      // where it was called, told by the examiner (run.cpp); else null
  Node* waiting;       // the next one to be freed by this thread
  bool released;
};

PER_THREAD extern bool grad_enabled;
// The node whose gradient rules this thread runs; null: none.
PER_THREAD extern const Node* gradient_of;

// The sequence number of the node that was made last.
uint64_t newest_sequence();
// A new node for a call of `function` by `plan`, with room for edges, saved tensors and outputs, which start empty.
Node* new_node(Function* function, Plan* plan, int n_edges);
void set_edge(Edge& edge, Tensor* operand, bool needed);
void release_saved(Node* node);
bool init_nodes(PyObject* module);

// Whether `value` is a tuple of tensors; else a TypeError in the name of `function`.
bool check_tensors(PyObject* value, const char* function);

bool init_tape(PyObject* module);

}  // namespace dlcore
