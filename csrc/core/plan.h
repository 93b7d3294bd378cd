// Plans: what Python decided about one combination of operands and attributes, and the cache that finds it again.
#pragma once
#include <algorithm>
#include <vector>

#include "core/ref.h"
#include "core/tensor.h"

namespace dlcore {

struct Function;  // function.h

// What dlcore/_dispatch.py decided for one combination of specs, attributes and gradients wanted. Python runs to make a
// plan; a call that finds one stays in C++.
struct OutputSpec {
  bool present;
  DType dtype;
  uint8_t ndim;
  int64_t shape[kMaxDims];
};
struct SaveSpec {
  enum Kind { input = 1, output = 2 } kind;
  int index;
};
enum class PlanKind { native, foreign, view, composite };

// Where an argument of a gradient rule comes from (dlcore/_gradients.py).
enum class Source {
  dout, saved, saved_group, attribute, shape, dtype, device, shapes, needs, create_graph, retain_graph, dout_is_one
};
struct RuleArgument {
  Source source;
  int index;  // of an output, a slot of what is saved, an attribute or an operand; -1: not kept, None
  int count;  // of a group's tensors
};
struct GradientRule {
  Ref function;
  std::vector<int> targets;  // the operands whose gradients it gives
  bool single;               // it returns one gradient, or a list for a group; otherwise one for each operand
  std::vector<RuleArgument> arguments;
  bool knows_one() const {  // it needs no tensor for the gradient 1 that a pass starts from
    return std::any_of(arguments.begin(), arguments.end(),
                       [](const RuleArgument& a) { return a.source == Source::dout_is_one; });
  }
};

struct Plan {
  PlanKind kind = PlanKind::native;
  std::vector<int> casts;            // per operand: dtype code to cast to, or -1
  std::vector<OutputSpec> outputs;   // outputs, then extras
  int n_outputs = 0;                 // how many of them are returned
  const Kernel* kernel = nullptr;    // native
  std::vector<Param> params;
  Ref callable;                      // foreign or composite; of a GPU program, what holds the kernel
  Ref attrs, lengths;                // attributes converted, and the lengths of the groups of operands: tuples
  int64_t offset = 0;                // view: elements from operand 0's first
  int64_t strides[kMaxDims] = {};    // view
  bool tracked = false;              // the call becomes a node of the tape
  std::vector<bool> needs;           // per operand: gradient wanted
  std::vector<SaveSpec> saves;
  std::vector<GradientRule> rules;
  std::vector<int> writes;           // operands changed in place
  uint8_t device = 0;                // of the outputs
  int n_temps = 0;                   // how many of the outputs, the last ones, are workspaces of this call
  std::vector<int> copies;           // operands that are copied first, to be contiguous and aligned
  int refs = 1;                      // the cache's, one for each node, and one for each call in progress
};

// The operands of one call; owned references, null where absent.
struct Operands {
  static constexpr int kInline = 8;
  Tensor* local[kInline];
  std::vector<Tensor*> many;
  Tensor** data = local;
  int n = 0;
  explicit Operands(int count) : n(count) {
    if (count > kInline) {
      many.resize(static_cast<size_t>(count));
      data = many.data();
    }
    for (int k = 0; k < n; ++k) data[k] = nullptr;
  }
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;
  ~Operands() {
    for (int k = 0; k < n; ++k) Py_XDECREF(as_object(data[k]));
  }
  void set(int k, Tensor* owned) {
    Py_XDECREF(as_object(data[k]));
    data[k] = owned;
  }
};

// What a plan depends on, as words: dtypes, shapes, devices, weakness, gradients wanted, attributes.
struct Key {
  static constexpr size_t kInline = 128;
  uint64_t local[kInline];
  std::vector<uint64_t> many;
  uint64_t* words = local;
  size_t n = 0, capacity = kInline;
  uint64_t hash = 0;
  bool exact = true;  // the words say all; else attributes with the same words must be compared

  Key() = default;
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  void add(uint64_t word) {
    if (n == capacity) grow();
    words[n++] = word;
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }

 private:
  void grow() {
    capacity *= 2;
    many.resize(capacity);
    if (words == local) std::copy(local, local + n, many.begin());
    words = many.data();
  }
};

bool wanted(const Tensor* t);  // whether a gradient for this operand is tracked
// Whether its memory was changed through another tensor, in a way that its gradient history does not know of.
inline bool history_lost(const Tensor* t) {
  return t->node ? t->version_seen != t->buffer->version && t->requires_grad : t->view && t->buffer->rewritten;
}
constexpr int kVectorBytes = 16;  // what a GPU's kernels load and store at once where addresses are multiples of it
inline bool aligned(const Tensor* t) { return reinterpret_cast<uintptr_t>(t->array.data) % kVectorBytes == 0; }
bool layout_matters(Function* f, Tensor** operands, int n);  // whether the key has strides: views, and devices
// False with a Python error.
bool make_key(Function* f, Tensor** operands, int n, PyObject* attrs, Key& key);
// The words of a plain attribute: an int, a float, a truth value, None, a dtype or device, a tuple of these. Of another
// one they say only what it is, and the key is not exact.
void add_attribute(Key& key, PyObject* value, int depth = 3);
extern uint64_t plans_forgotten;  // how often a function has forgotten its plans: who keeps some of them looks here
// Asks Python; one reference. `lengths`: of the groups.
Plan* make_plan(Function* f, Tensor** operands, int n, PyObject* attrs, const int* lengths, int n_groups);
Plan* read_plan(PyObject* source, Tensor** operands, int n);  // a Plan of dlcore/_dispatch.py
inline void unref(Plan* plan) {
  if (--plan->refs == 0) delete plan;
}

// The plans of one function: open addressing, linear probing, at most half full.
class PlanCache {
 public:
  ~PlanCache() { clear(); }
  Plan* find(const Key& key, PyObject* attrs) const;      // null: none, or a Python error; borrowed
  void keep(const Key& key, PyObject* attrs, Plan* plan);  // takes the reference
  void clear();
  size_t size() const { return size_; }

 private:
  struct Entry {
    uint64_t hash = 0;
    std::vector<uint64_t> words;
    PyObject* attrs = nullptr;
    Plan* plan = nullptr;  // null: free
  };
  void place(Entry&& entry);

  std::vector<Entry> entries_;  // a power of two of them
  size_t size_ = 0;
  uint64_t changes_ = 0;  // how often entries have come or gone
};

// run.cpp: finds or makes the plan and runs it. Operands may be replaced by casts of themselves. `lengths`: of groups.
PyObject* dispatch(Function* f, Operands& operands, PyObject* attrs, Tensor* out, const int* lengths = nullptr,
                   int n_groups = 0);
// While it is set, run_plan calls examiner(name, operands) before an operation of this thread, and what that returns
// with its outputs afterwards: dlcore/_anomaly.py. Null while it runs itself, and usually.
PER_THREAD extern PyObject* examiner;

// A view of `x`, an unbatched tensor, with attributes that are known by words: run_kept adds to them what else a plan
// depends on, and answers null without an error where `plans` has none; run_and_keep makes one. For the view operations.
PyObject* run_kept(Function* f, PlanCache& plans, Key& key, Tensor* x);
PyObject* run_and_keep(Function* f, PlanCache& plans, const Key& key, Tensor* x, PyObject* attrs);

// With errors as Python's, which name `operation` where it is given. `bytes`: what it touches; other threads may run
// Python beside large ones, unless this thread has a HoldGil.
bool run_kernel(const Kernel& kernel, const Args& args, size_t bytes, const char* operation = nullptr);
// In a handler: what was thrown becomes Python's error, and the answer is false; what is no C++ exception goes on.
// `caller`: the function that errors of values name in place of the operation; null: there is none.
bool raise_kernel_error(const char* kernel, const char* operation, const char* caller = nullptr);

class HoldGil {
 public:
  HoldGil();
  ~HoldGil();
  HoldGil(const HoldGil&) = delete;
  HoldGil& operator=(const HoldGil&) = delete;

 private:
  const bool before_;
};

}  // namespace dlcore
