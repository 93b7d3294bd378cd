// A recorded step as a Python object.
//
// recording.cpp makes it, replay.cpp runs it, recording_type.cpp shows it to Python.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "core/cuda.h"
#include "core/graph_copy.h"
#include "core/guards.h"
#include "core/record.h"

namespace dlcore {

struct Site {  // an array whose address follows a buffer that is replaced
  int array;
  int64_t offset;
};

struct Input {  // an argument, or the gradient that a leaf starts with
  int region;
  Array array;         // what it must look like
  uint8_t device;      // and where it must lie
  bool requires_grad, requires_grad_after;  // before the step and after it: an argument may come to need one
  bool history;        // whether a node has computed it
  bool aligned;        // its address, which matters on a GPU
  bool written;
  int same;            // the first argument that is the same tensor: itself, or one before
  int leaf;            // index into Steps::grads, or -1
};

struct Result {  // a tensor that the step returns or leaves as a gradient
  TensorRef tensor = {};  // null: None, or where `input` is given, that input or a view of it
  int region = -1;
  int input = -1;
  Array array = {};
  int64_t offset = 0;
};

using Range = std::pair<const char*, const char*>;

struct Recording {
  PyObject_HEAD
  Steps steps;
  std::vector<std::vector<Site>> sites;  // per region: inputs, and inside ones that survive
  std::vector<char*> bound;              // per region: where the sites point
  size_t n_arguments;
  std::vector<Input> inputs;             // arguments, then gradients
  std::vector<Result> results;
  std::vector<Result> grads;             // per LeafGrad: the gradient the step leaves
  std::vector<Range> fixed_written, fixed_all;  // memory of outside regions
  std::unique_ptr<Tracking> tracking;    // null: results have no gradient history
  std::vector<Guard> guards;             // what the step has read from Python's state
  Ref check;                             // check() -> bool: whether modules and optimizers are as recorded
  Ref last_args;                         // of the last replay, for explain()
  uint64_t seen_changes;
  Buffer* arena;                         // intermediate results
  uint8_t device;                        // whose kernels the commands are
  std::vector<Buffer*> fixed;            // per input, where a graph reads it; empty: no graph
  std::shared_ptr<cuda::Graph> graph;    // on a GPU, made at the first replay and again when memory has been replaced
  std::vector<Buffer*> fixed_of_many;    // per input, of all the steps of
  std::shared_ptr<cuda::Graph> graph_of_many;  // several steps of a sweep; both are made for the first long one
  bool grad_mode;
  int autocast;                          // autocast_dtype
  unsigned long runner;                  // the thread that runs it, or did so last
  uint32_t busy;                         // not 0: it runs, in the process that had this number (replay.cpp)
  bool serial;                           // so small that other threads would cost more than they do
  bool steady;                           // a step leaves gradients as the next one must find them
  int64_t replays;
};

extern PyTypeObject* recording_type;

bool overlaps(const Array& a, const std::vector<Range>& ranges);
void repoint(Recording* self, int region, char* to);        // an input, or memory that results lie in, has moved
Ref from_input(const Result& r, Tensor* source);            // a gradient that is an input, or a view of it

// Python functions and methods; see their tables in recording_type.cpp.
PyObject* begin_recording(PyObject*, PyObject* args);
PyObject* end_recording(PyObject*, PyObject* args);
PyObject* abort_recording(PyObject*, PyObject*);
PyObject* something_kept(PyObject*, PyObject* outputs);
PyObject* made_inside(PyObject*, PyObject* tensor);
PyObject* lost_history(PyObject*, PyObject* tensor);
PyObject* run_recording(PyObject* self, PyObject* args);
PyObject* outcome_recording(PyObject* self, PyObject* args);
PyObject* stands_recording(PyObject* self, PyObject* args);
PyObject* sweep_recording(PyObject* self, PyObject* args);
PyObject* profile_recording(PyObject* self, PyObject* repeats);
PyObject* rewrite_recording(PyObject* self, PyObject* commands);
PyObject* lay_out_recording(PyObject* self, PyObject* allocate);

}  // namespace dlcore
