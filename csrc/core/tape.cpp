#include "core/tape.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/batch.h"
#include "core/function.h"
#include "core/hooks.h"
#include "core/record.h"
#include "core/ref.h"

namespace dlcore {

thread_local bool grad_enabled = true;
thread_local const Node* gradient_of = nullptr;

static PyTypeObject* node_type = nullptr;
static uint64_t next_sequence = 0;
static uint64_t next_run = 0;

uint64_t newest_sequence() { return next_sequence; }

// ---- nodes --------------------------------------------------------------------------------------------------------
Node* new_node(Function* function, Plan* plan, int n_edges) {
  const int n_saved = static_cast<int>(plan->saves.size()), n_outputs = plan->n_outputs;
  const size_t bytes = sizeof(Edge) * static_cast<size_t>(n_edges) + sizeof(Saved) * static_cast<size_t>(n_saved) +
                       sizeof(PyObject*) * static_cast<size_t>(n_outputs);
  char* block = static_cast<char*>(PyMem_Malloc(bytes));
  Node* node = block ? PyObject_GC_New(Node, node_type) : nullptr;
  if (!node) {
    PyMem_Free(block);
    out_of_memory(function->name_utf8);
    return nullptr;
  }
  node->function = reinterpret_cast<Function*>(Py_NewRef(reinterpret_cast<PyObject*>(function)));
  node->plan = plan;
  ++plan->refs;
  node->sequence = ++next_sequence;
  node->run = node->needed_run = 0;
  node->hooks = node->region = node->note = nullptr;
  node->place = 0;
  node->filled = false;
  node->n_edges = n_edges;
  node->n_saved = n_saved;
  node->n_outputs = n_outputs;
  node->edges = reinterpret_cast<Edge*>(block);
  node->saved = reinterpret_cast<Saved*>(block + sizeof(Edge) * static_cast<size_t>(n_edges));
  node->douts = reinterpret_cast<PyObject**>(node->saved + n_saved);
  node->released = false;
  for (int k = 0; k < n_edges; ++k) {
    node->edges[k].node = nullptr;
    node->edges[k].leaf = nullptr;
  }
  for (int k = 0; k < n_saved; ++k) node->saved[k] = {nullptr, 0, -1};
  for (int k = 0; k < n_outputs; ++k) node->douts[k] = nullptr;
  PyObject_GC_Track(reinterpret_cast<PyObject*>(node));
  return node;
}

void set_edge(Edge& edge, Tensor* operand, bool needed) {
  edge.node = nullptr;
  edge.leaf = nullptr;
  edge.output = operand ? operand->output : 0;
  edge.dtype = operand ? operand->array.dtype : DType::float32;
  edge.ndim = operand ? operand->array.ndim : 0;
  edge.device = operand ? operand->device : 0;
  if (operand) std::memcpy(edge.shape, operand->array.shape, sizeof(int64_t) * edge.ndim);
  if (!needed) return;
  if (operand->node) edge.node = reinterpret_cast<Node*>(Py_NewRef(reinterpret_cast<PyObject*>(operand->node)));
  else edge.leaf = as_tensor(Py_NewRef(as_object(operand)));
  if (operand->base) show_to_collector(operand);
}

static void release_saved(Node* node) {
  for (int k = 0; k < node->n_saved; ++k) Py_CLEAR(node->saved[k].tensor);
  node->released = true;
}

static int node_traverse(PyObject* self, visitproc visit, void* arg) {
  const Node* node = reinterpret_cast<Node*>(self);
  Py_VISIT(Py_TYPE(self));
  for (int k = 0; k < node->n_edges; ++k) {
    Py_VISIT(reinterpret_cast<PyObject*>(node->edges[k].node));
    Py_VISIT(as_object(node->edges[k].leaf));
  }
  for (int k = 0; k < node->n_saved; ++k) Py_VISIT(as_object(node->saved[k].tensor));
  for (int k = 0; k < node->n_outputs; ++k) Py_VISIT(node->douts[k]);
  Py_VISIT(node->hooks);
  Py_VISIT(node->region);
  return 0;
}

// Breaks a cycle that nobody else can reach: such a node is never run again.
static int node_clear(PyObject* self) {
  Node* node = reinterpret_cast<Node*>(self);
  release_saved(node);
  for (int k = 0; k < node->n_edges; ++k) {
    Py_CLEAR(node->edges[k].node);
    Py_CLEAR(node->edges[k].leaf);
  }
  for (int k = 0; k < node->n_outputs; ++k) Py_CLEAR(node->douts[k]);
  Py_CLEAR(node->hooks);
  Py_CLEAR(node->region);
  return 0;
}

// A long chain of nodes would overflow the stack if each freed its producer: nodes freed meanwhile wait in a list. Each
// thread has one of its own, so that a forked child never waits for a thread that stayed in the parent.
static void node_dealloc(PyObject* self) {
  static thread_local Node* waiting = nullptr;
  static thread_local bool draining = false;
  PyObject_GC_UnTrack(self);
  reinterpret_cast<Node*>(self)->waiting = std::exchange(waiting, reinterpret_cast<Node*>(self));
  if (draining) return;
  draining = true;
  while (waiting) {
    Node* node = std::exchange(waiting, waiting->waiting);
    for (int k = 0; k < node->n_edges; ++k) {
      Py_XDECREF(reinterpret_cast<PyObject*>(node->edges[k].node));
      Py_XDECREF(as_object(node->edges[k].leaf));
    }
    for (int k = 0; k < node->n_saved; ++k) Py_XDECREF(as_object(node->saved[k].tensor));
    for (int k = 0; k < node->n_outputs; ++k) Py_XDECREF(node->douts[k]);
    Py_XDECREF(node->hooks);
    Py_XDECREF(node->region);
    Py_XDECREF(node->note);
    Py_DECREF(reinterpret_cast<PyObject*>(node->function));
    unref(node->plan);
    PyMem_Free(node->edges);
    PyObject_GC_Del(node);
    Py_DECREF(reinterpret_cast<PyObject*>(node_type));
  }
  draining = false;
}

static PyObject* get_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Node*>(self)->function->name); }
static PyObject* get_inputs(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  Ref list = Ref::own(PyList_New(node->n_edges));
  for (int k = 0; list && k < node->n_edges; ++k) {
    PyObject* producer = reinterpret_cast<PyObject*>(node->edges[k].node);
    PyObject* leaf = node->edges[k].leaf ? as_object(node->edges[k].leaf) : Py_None;
    PyList_SET_ITEM(list.get(), k, Py_NewRef(producer ? producer : leaf));
  }
  return list.release();
}

static PyObject* get_sequence(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(reinterpret_cast<Node*>(self)->sequence);
}
static PyObject* get_released(PyObject* self, void*) {
  return PyBool_FromLong(reinterpret_cast<Node*>(self)->released);
}

static PyGetSetDef node_getset[] = {
    {"name", get_name, nullptr, "Name of the operation.", nullptr},
    {"inputs", get_inputs, nullptr, "Per operand: its producer's node, the leaf, or None.", nullptr},
    {"sequence", get_sequence, nullptr, "Rises with every node: see newest_node().", nullptr},
    {"released", get_released, nullptr, "Whether a backward pass has used it up.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// ---- the engine ---------------------------------------------------------------------------------------------------
// Nodes are run in falling order of sequence: every consumer of a tensor is younger than its producer, so when a node's
// turn comes all gradients of its outputs have arrived.
//
// Threads may differentiate one graph at the same time. What a pass knows of a node (queued, needed, gradients so far)
// lies in the node itself for one pass at a time, the one that began while no other was under way, and for those within
// its rules, which go through younger nodes only. Every other pass keeps it in a table of its own.
struct Younger {
  bool operator()(const Node* a, const Node* b) const { return a->sequence < b->sequence; }
};

struct NodeState {  // of one node in one pass
  bool queued = false, needed = false;
  std::vector<Ref> douts;
};

static thread_local int passes_in_nodes = 0;  // of this thread
static bool nodes_taken = false;              // by a pass of some thread
// Where another thread's pass was under way, a forked child goes without it. What it left in nodes is cleared when they
// are queued.
static const int fork_rule = pthread_atfork(nullptr, nullptr, [] { nodes_taken = passes_in_nodes > 0; });

struct BackwardPass {
  uint64_t id = ++next_run;
  bool retain;   // another pass may follow
  bool tracked;  // this one can be differentiated again
  uint64_t after;  // nodes up to this sequence number are left alone: what arrives there ends there
  bool in_nodes;   // where the state of nodes lies: in them, or in `states`
  std::unordered_map<Node*, NodeState> states;
  std::priority_queue<Node*, std::vector<Node*>, Younger> queue;  // owns a reference of each
  bool selective = false;  // only the gradients of some tensors are wanted:
  std::unordered_map<const void*, int> leaves;                                    // a wanted leaf -> its place
  std::unordered_map<Node*, std::vector<std::pair<uint32_t, int>>> intermediate;  // wanted outputs
  std::vector<PyObject*> found;
  std::vector<std::pair<TensorRef, Ref>> hooked_leaves;  // and the sums of what has arrived there so far
  Tensor* root = nullptr;  // borrowed: that the pass starts from with the gradient 1, for which no tensor has been made

  BackwardPass(bool retain_graph, bool create_graph, uint64_t first)
      : retain(retain_graph), tracked(create_graph), after(first),
        in_nodes(!nodes_taken || (after && passes_in_nodes)) {
    if (!in_nodes) return;
    nodes_taken = true;
    ++passes_in_nodes;
  }
  ~BackwardPass() {
    while (!queue.empty()) {
      Node* node = queue.top();
      queue.pop();
      finish(node);
      Py_DECREF(reinterpret_cast<PyObject*>(node));
    }
    for (PyObject* o : found) Py_XDECREF(o);
    if (in_nodes) nodes_taken = --passes_in_nodes > 0;
  }
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  // Puts the node into the queue, unless it is there.
  void enqueue(Node* node) {
    if (in_nodes) {
      if (node->run == id) return;
      queue.push(node);
      node->run = id;
      finish(node);
    } else {
      NodeState& state = states[node];
      if (state.queued) return;
      state.douts.resize(static_cast<size_t>(node->n_outputs));
      queue.push(node);
      state.queued = true;
    }
    Py_INCREF(reinterpret_cast<PyObject*>(node));
  }
  PyObject* dout(Node* node, uint32_t output) {  // borrowed; null: none has arrived
    return in_nodes ? node->douts[output] : states[node].douts[output].get();
  }
  void set_dout(Node* node, uint32_t output, PyObject* gradient) {  // takes over the reference
    if (in_nodes) Py_XSETREF(node->douts[output], gradient);
    else states[node].douts[output] = Ref::own(gradient);
  }
  void finish(Node* node) {  // its turn is over: lets go of the gradients
    if (in_nodes) {
      for (int k = 0; k < node->n_outputs; ++k) Py_CLEAR(node->douts[k]);
    } else {
      const auto state = states.find(node);
      if (state != states.end()) state->second.douts.assign(state->second.douts.size(), Ref());
    }
  }
  bool needed(Node* node) const {
    if (in_nodes) return node->needed_run == id;
    const auto state = states.find(node);
    return state != states.end() && state->second.needed;
  }
  void need(Node* node) {
    if (in_nodes) node->needed_run = id;
    else states[node].needed = true;
  }
  bool wants(const Edge& e) const {
    if (!selective) return e.node || e.leaf;
    if (e.leaf) return leaves.count(e.leaf) > 0;
    return e.node && (needed(e.node) || wants(e.node, e.output));
  }
  bool wants(Node* node, uint32_t output) const {
    const auto place = intermediate.find(node);
    if (place == intermediate.end()) return false;
    return std::any_of(place->second.begin(), place->second.end(), [&](const auto& c) { return c.first == output; });
  }
};

// The gradient 1 that a pass starts from where none is given.
static Ref ones_like(const Tensor* root) {
  const TensorRef made =
      TensorRef::own(new_tensor(root->array.shape, root->array.ndim, root->array.dtype, root->device));
  const Ref one = Ref::own(PyLong_FromLong(1));
  PyObject* value = one.get();
  if (!made || !one) return Ref();
  return Ref::own(call_inplace(reinterpret_cast<Function*>(bound.assign), made.get(), &value, 1));
}

// What has arrived at an output is None where it is the 1 of pass.root: a tensor is made once it is asked for.
static bool is_one(BackwardPass& pass, Node* node, uint32_t output) { return pass.dout(node, output) == Py_None; }

// The gradient that has arrived, or None if there is none; null with an error.
static Ref arrived(BackwardPass& pass, Node* node, uint32_t output) {
  if (is_one(pass, node, output)) {
    Ref one = ones_like(pass.root);
    if (!one) return Ref();
    pass.set_dout(node, output, one.release());
  }
  PyObject* dout = pass.dout(node, output);
  return Ref::share(dout ? dout : Py_None);
}

static Ref sum_of(PyObject* a, PyObject* b) {
  PyObject* args[2] = {a, b};
  return Ref::own(call_python(bound.add, args, 2));
}

// slot = slot + gradient; takes over the reference.
static bool gather(PyObject*& slot, PyObject* gradient) {
  const Ref held = Ref::own(gradient);
  Ref sum = slot ? sum_of(slot, gradient) : held;
  if (!sum) return false;
  Py_XSETREF(slot, sum.release());
  return true;
}

// leaf->grad = gradient, or the sum with what is there; takes over the reference. Another thread may do the same: what
// lies there is looked at again once the sum is made.
static bool add_to_leaf(Tensor* leaf, PyObject* gradient) {
  const Ref held = Ref::own(gradient);
  for (;;) {
    const Ref before = Ref::share(leaf->grad);
    Ref sum = before ? sum_of(before.get(), gradient) : held;
    if (!sum) return false;
    if (leaf->grad != before.get()) continue;
    hold_grad(leaf, sum.release());
    return true;
  }
}

static bool settle_leaf(BackwardPass& pass, Tensor* leaf, PyObject* gradient) {
  if (pass.selective) {
    const auto found = pass.leaves.find(leaf);
    if (found != pass.leaves.end()) return gather(pass.found[static_cast<size_t>(found->second)], gradient);
    Py_DECREF(gradient);
    return true;
  }
  if (is_batched(as_tensor(gradient))) {
    Py_DECREF(gradient);
    PyErr_SetString(errors.autograd, "backward: the gradient of a leaf would have a value for each example of a vmap; "
                                     "use dl.func.grad or dl.func.vjp, which return gradients");
    return false;
  }
  if (as_tensor(gradient)->array.dtype != leaf->array.dtype || as_tensor(gradient)->device != leaf->device) {
    PyErr_SetString(errors.autograd, "backward: a leaf was moved or cast since it was used; compute the result anew");
    Py_DECREF(gradient);
    return false;
  }
  if (recorder) record_grad_read(leaf);
  if (pass.tracked) {
    if (recorder) record_grad_replaced(leaf, false);
    return add_to_leaf(leaf, gradient);
  }
  Ref held = Ref::own(gradient);
  if (!leaf->grad) {
    Tensor* g = as_tensor(gradient);
    // The gradient becomes the leaf's own only if nobody else can see its memory.
    const Buffer* memory = g->buffer;
    const bool alone = Py_REFCNT(gradient) == 1 && memory && memory->refs == 1;
    const bool ours = alone && !memory->readonly && g->array.contiguous();
    if (!ours) held = Ref::own(as_object(contiguous_copy(g)));
    if (!held) return false;
  }
  if (!leaf->grad) {  // still: another thread may have set it while the copy was made
    hold_grad(leaf, held.release());
    if (recorder) record_grad_replaced(leaf, false);
    return true;
  }
  const TensorRef target = TensorRef::share(as_tensor(leaf->grad));
  PyObject* operand = held.get();
  const HoldGil alone;  // two threads that add to one gradient must not do so at once
  return static_cast<bool>(Ref::own(call_inplace(reinterpret_cast<Function*>(bound.add), target.get(), &operand, 1)));
}

// What arrives at a node that the pass leaves alone is the gradient of that output, where it is wanted. Takes over the
// reference.
// Takes over the reference. The hooks of a leaf see the sum of all that arrives there in this pass.
static bool accumulate_leaf(BackwardPass& pass, Tensor* leaf, PyObject* gradient) {
  if (!has_hooks(leaf->hooks, 0) || (pass.selective && !pass.leaves.count(leaf))) {
    return settle_leaf(pass, leaf, gradient);
  }
  const auto known = std::find_if(pass.hooked_leaves.begin(), pass.hooked_leaves.end(),
                                  [leaf](const auto& entry) { return entry.first.get() == leaf; });
  if (known == pass.hooked_leaves.end()) {
    pass.hooked_leaves.emplace_back(TensorRef::share(leaf), Ref::own(gradient));
    return true;
  }
  const Ref held = Ref::own(gradient);
  Ref sum = sum_of(known->second.get(), gradient);
  if (!sum) return false;
  known->second = std::move(sum);
  return true;
}

static bool settle_hooked_leaves(BackwardPass& pass) {
  for (auto& [leaf, sum] : pass.hooked_leaves) {
    Ref gradient = hooked(leaf->hooks, 0, std::move(sum));
    if (!gradient || !settle_leaf(pass, leaf.get(), gradient.release())) return false;
  }
  return true;
}

static bool arrive(BackwardPass& pass, Node* node, uint32_t output, PyObject* gradient) {
  const Ref held = Ref::own(gradient);
  const auto wanted = pass.intermediate.find(node);
  if (wanted == pass.intermediate.end()) return true;
  for (const auto& [index, place] : wanted->second) {
    if (index == output && !gather(pass.found[static_cast<size_t>(place)], Py_NewRef(gradient))) return false;
  }
  return true;
}

static bool push(BackwardPass& pass, Node* node, uint32_t output, PyObject* gradient) {
  if (node->sequence <= pass.after) return arrive(pass, node, output, gradient);
  Ref held = Ref::own(gradient);
  pass.enqueue(node);
  if (PyObject* before = pass.dout(node, output)) held = sum_of(before, gradient);
  if (!held) return false;
  pass.set_dout(node, output, held.release());
  return true;
}

static bool same_shape(const Array& a, const Edge& e) {
  return a.ndim == e.ndim && !std::memcmp(a.shape, e.shape, sizeof(int64_t) * e.ndim);
}

// Sends one gradient along an edge, summed to the operand's shape and cast to its dtype. Takes over the reference.
static bool send(BackwardPass& pass, Node* node, const Edge& edge, PyObject* gradient) {
  if (!is_tensor(gradient)) {
    PyErr_Format(PyExc_TypeError, "%s: its gradient rule returned %s where a tensor is wanted",
                 node->function->name_utf8, Py_TYPE(gradient)->tp_name);
    Py_DECREF(gradient);
    return false;
  }
  Tensor* g = as_tensor(gradient);
  if (!same_shape(g->array, edge) || g->array.dtype != edge.dtype) {
    PyObject* shape = shape_tuple(edge.shape, edge.ndim);
    PyObject* args[3] = {gradient, shape, dtype_object(edge.dtype)};
    PyObject* fitted = call_python(bound.sum_to, args, 3);
    Py_XDECREF(shape);
    Py_DECREF(gradient);
    if (!fitted) return false;
    gradient = fitted;
  }
  if (edge.leaf) return accumulate_leaf(pass, edge.leaf, gradient);
  return push(pass, edge.node, edge.output, gradient);
}

// ---- calling a rule -----------------------------------------------------------------------------------------------
// What is saved in a slot, as a rule sees it: checked for writes since, an output linked to its node again where the
// backward pass is tracked, for it is a function of the operands.
static Ref saved_tensor(BackwardPass& pass, Node* node, int slot) {
  if (slot < 0) return Ref::share(Py_None);
  if (node->released) {
    PyErr_Format(errors.autograd,
                 "backward: the graph was released by an earlier backward (at %s); pass retain_graph=True to keep it",
                 node->function->name_utf8);
    return Ref();
  }
  const Saved& saved = node->saved[slot];
  if (!saved.tensor) return Ref::share(Py_None);
  const Buffer* buffer = saved.tensor->buffer;
  if (buffer && buffer->version != saved.version) {
    const Ref shape = Ref::own(shape_tuple(saved.tensor->array.shape, saved.tensor->array.ndim));
    PyErr_Format(errors.autograd,
                 "backward: a tensor of shape %R that %s needs for its gradient was changed in place since "
                 "(version %lld, then %lld)", shape.get(), node->function->name_utf8,
                 static_cast<long long>(buffer->version), static_cast<long long>(saved.version));
    return Ref();
  }
  if (saved.output < 0 || !pass.tracked) return Ref::share(as_object(saved.tensor));
  Tensor* alias = new_view(saved.tensor, saved.tensor->array);
  if (!alias) return Ref();
  hold_node(alias, node);
  alias->output = static_cast<uint32_t>(saved.output);
  alias->requires_grad = true;
  return Ref::own(as_object(alias));
}

template <class F> static Ref list_of(int n, F&& item) {
  Ref list = Ref::own(PyList_New(n));
  for (int k = 0; list && k < n; ++k) {
    Ref value = item(k);
    if (!value) return Ref();
    PyList_SET_ITEM(list.get(), k, value.release());
  }
  return list;
}

static Ref edge_shape(const Edge& edge) { return Ref::own(shape_tuple(edge.shape, edge.ndim)); }

static Ref rule_argument(BackwardPass& pass, Node* node, const GradientRule& rule, const RuleArgument& a) {
  switch (a.source) {
    case Source::dout: {
      const uint32_t output = static_cast<uint32_t>(a.index);
      return rule.knows_one() && is_one(pass, node, output) ? Ref::share(Py_None) : arrived(pass, node, output);
    }
    case Source::dout_is_one: return Ref::own(PyBool_FromLong(is_one(pass, node, 0)));
    case Source::saved: return saved_tensor(pass, node, a.index);
    case Source::saved_group: return list_of(a.count, [&](int k) { return saved_tensor(pass, node, a.index + k); });
    case Source::attribute: return Ref::share(PyTuple_GET_ITEM(node->plan->attrs.get(), a.index));
    case Source::shape: return edge_shape(node->edges[a.index]);
    case Source::dtype: return Ref::share(dtype_object(node->edges[a.index].dtype));
    case Source::device: return Ref::share(device_object(node->edges[a.index].device));
    case Source::shapes: return list_of(a.count, [&](int k) { return edge_shape(node->edges[a.index + k]); });
    case Source::create_graph: return Ref::own(PyBool_FromLong(pass.tracked));
    case Source::retain_graph: return Ref::own(PyBool_FromLong(pass.retain));
    case Source::needs: break;
  }
  Ref needs = Ref::own(PyTuple_New(static_cast<Py_ssize_t>(rule.targets.size())));
  for (size_t k = 0; needs && k < rule.targets.size(); ++k) {
    const bool needed = pass.wants(node->edges[rule.targets[k]]);
    PyTuple_SET_ITEM(needs.get(), static_cast<Py_ssize_t>(k), PyBool_FromLong(needed));
  }
  return needs;
}

static Ref call_rule(BackwardPass& pass, Node* node, const GradientRule& rule) {
  constexpr size_t kInline = 16;
  Ref held[kInline];
  PyObject* args[kInline];
  const size_t n = rule.arguments.size();
  if (n > kInline) {  // a recomputation of many operands
    std::vector<Ref> many;
    std::vector<PyObject*> borrowed;
    for (const RuleArgument& a : rule.arguments) {
      many.push_back(rule_argument(pass, node, rule, a));
      if (!many.back()) return Ref();
      borrowed.push_back(many.back().get());
    }
    return Ref::own(call_python(rule.function.get(), borrowed.data(), n));
  }
  for (size_t k = 0; k < n; ++k) {
    held[k] = rule_argument(pass, node, rule, rule.arguments[k]);
    args[k] = held[k].get();
    if (!args[k]) return Ref();
  }
  return Ref::own(call_python(rule.function.get(), args, n));
}

// Takes a rule's result apart: one gradient for each target, a group's given as a list.
static bool spread(Node* node, const GradientRule& rule, Ref result, std::vector<std::pair<int, Ref>>& gradients) {
  std::vector<Ref> found;
  const auto add = [&](PyObject* item) {
    if (!PyList_Check(item)) return found.push_back(Ref::share(item));
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(item); ++k) found.push_back(Ref::share(PyList_GET_ITEM(item, k)));
  };
  const bool several = !rule.single || (rule.targets.size() > 1 && PyTuple_Check(result.get()));
  if (several) {
    const char* expected = "a gradient rule returns a tensor or a sequence of tensors";
    const Ref fast = Ref::own(PySequence_Fast(result.get(), expected));
    if (!fast) return false;
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(fast.get()); ++k) add(PySequence_Fast_GET_ITEM(fast.get(), k));
  } else {
    add(result.get());
  }
  if (found.size() != rule.targets.size()) {
    PyErr_Format(PyExc_TypeError, "%s: its gradient rule returned %zu gradients for %zu operands",
                 node->function->name_utf8, found.size(), rule.targets.size());
    return false;
  }
  for (size_t k = 0; k < found.size(); ++k) gradients.emplace_back(rule.targets[k], std::move(found[k]));
  return true;
}

// The gradients that have arrived at a node, after the hooks of its outputs.
static bool run_hooks(BackwardPass& pass, Node* node) {
  for (uint32_t output = 0; output < static_cast<uint32_t>(node->n_outputs); ++output) {
    if (!has_hooks(node->hooks, output)) continue;
    Ref dout = arrived(pass, node, output);
    if (!dout) return false;
    if (dout.get() == Py_None) continue;
    dout = hooked(node->hooks, output, std::move(dout));
    if (!dout) return false;
    pass.set_dout(node, output, dout.release());
  }
  return true;
}

struct RuleOf {  // tells whose rules run
  const Node* before;
  explicit RuleOf(const Node* node) : before(std::exchange(gradient_of, node)) {}
  ~RuleOf() { gradient_of = before; }
};

static bool run_node(BackwardPass& pass, Node* node) {
  if (node->hooks && !run_hooks(pass, node)) return false;
  const auto wanted = pass.intermediate.find(node);
  if (wanted != pass.intermediate.end()) {
    for (const auto& [output, place] : wanted->second) {
      Ref dout = arrived(pass, node, output);
      if (!dout) return false;
      if (dout.get() != Py_None && !gather(pass.found[static_cast<size_t>(place)], dout.release())) return false;
    }
    if (!pass.needed(node)) return true;
  }
  std::vector<std::pair<int, Ref>> gradients;
  if (!fill_saved(node)) return false;
  const RuleOf named(node);
  for (const GradientRule& rule : node->plan->rules) {
    const auto needed = [&](int k) { return pass.wants(node->edges[k]); };
    if (std::none_of(rule.targets.begin(), rule.targets.end(), needed)) continue;
    Ref result = call_rule(pass, node, rule);
    if (!result || !spread(node, rule, std::move(result), gradients)) return false;
  }
  // From here the gradients' reference counts tell who else sees them.
  pass.finish(node);
  if (!pass.retain) release_saved(node);
  std::sort(gradients.begin(), gradients.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [k, gradient] : gradients) {
    const bool ends = gradient.get() == Py_None || !pass.wants(node->edges[k]);
    if (!ends && !send(pass, node, node->edges[k], gradient.release())) return false;
  }
  return true;
}

// Marks the nodes behind which a wanted tensor lies. Producers have smaller sequence numbers than consumers.
static void mark_needed(BackwardPass& pass, const std::vector<Node*>& roots) {
  std::vector<Node*> reached, stack(roots);
  std::unordered_set<Node*> others;  // reached, where nodes are another pass's to mark
  const auto reach = [&](Node* node) {
    if (!pass.in_nodes) return others.insert(node).second;
    return std::exchange(node->run, pass.id) != pass.id;
  };
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->sequence <= pass.after || !reach(node)) continue;
    reached.push_back(node);
    for (int k = 0; k < node->n_edges; ++k)
      if (node->edges[k].node) stack.push_back(node->edges[k].node);
  }
  std::sort(reached.begin(), reached.end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
  for (Node* node : reached) {
    if (pass.in_nodes) node->run = 0;
    for (int k = 0; k < node->n_edges; ++k)
      if (pass.wants(node->edges[k])) pass.need(node);
  }
}

struct GradMode {
  bool before = grad_enabled;
  explicit GradMode(bool enabled) { grad_enabled = enabled; }
  ~GradMode() { grad_enabled = before; }
};

static bool run_backward(BackwardPass& pass, PyObject* roots, PyObject* douts) {
  const GradMode mode(pass.tracked);
  const WithoutAutocast as_given;
  std::vector<Node*> starts;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    Tensor* root = as_tensor(PyTuple_GET_ITEM(roots, k));
    if (root->node) starts.push_back(root->node);
  }
  if (pass.selective) mark_needed(pass, starts);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    Tensor* root = as_tensor(PyTuple_GET_ITEM(roots, k));
    Ref dout = Ref::share(PyTuple_GET_ITEM(douts, k));
    if (dout.get() == Py_None) {
      // Nothing else arrives at the only root, so its 1 can wait for a rule that wants it as a tensor.
      if (PyTuple_GET_SIZE(roots) == 1 && root->node && root->node->sequence > pass.after && !pass.retain) {
        pass.root = root;
      } else {
        dout = ones_like(root);
      }
    }
    if (!dout) return false;
    const bool good = root->node ? push(pass, root->node, root->output, dout.release())
                                 : accumulate_leaf(pass, root, dout.release());
    if (!good) return false;
  }
  while (!pass.queue.empty()) {
    Node* node = pass.queue.top();
    pass.queue.pop();
    const Owned<Node> held = Owned<Node>::own(node);
    const bool skip = pass.selective && !pass.needed(node) && !pass.intermediate.count(node);
    const bool good = skip || run_node(pass, node);
    pass.finish(node);
    if (!good) return false;
    if (PyErr_CheckSignals()) return false;
  }
  return settle_hooked_leaves(pass);
}

static bool all_tensors(PyObject* tuple, bool or_none = false) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); ++k) {
    PyObject* item = PyTuple_GET_ITEM(tuple, k);
    if (!is_tensor(item) && !(or_none && item == Py_None)) return false;
  }
  return true;
}

bool check_tensors(PyObject* value, const char* function) {
  if (PyTuple_Check(value) && all_tensors(value)) return true;
  PyErr_Format(PyExc_TypeError, "%s: a tuple of tensors is wanted", function);
  return false;
}

// backward(roots, douts, inputs or None, retain_graph, create_graph, after=0): accumulates into the leaves' grad, or
// returns the gradients of `inputs` (None where the roots do not depend on one). A dout of None is 1. _autograd.py
// names the arguments in its errors. Only what was tracked since newest_node() gave `after` is gone through: a pass
// within a rule must not touch the nodes of the pass that called it.
static PyObject* backward(PyObject*, PyObject* args) {
  PyObject *roots, *douts, *inputs;
  int retain, create;
  unsigned long long after = 0;
  if (!PyArg_ParseTuple(args, "O!O!Opp|K:backward", &PyTuple_Type, &roots, &PyTuple_Type, &douts, &inputs, &retain,
                        &create, &after)) {
    return nullptr;
  }
  const bool selective = inputs != Py_None;
  if (PyTuple_GET_SIZE(roots) != PyTuple_GET_SIZE(douts) || (selective && !PyTuple_Check(inputs)) ||
      !all_tensors(roots) || !all_tensors(douts, true) || (selective && !all_tensors(inputs))) {
    PyErr_SetString(PyExc_TypeError,
                    "backward: roots, as many douts (or None), and inputs are tuples of tensors; inputs may be None");
    return nullptr;
  }
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    if (PyTuple_GET_ITEM(douts, k) == Py_None) continue;
    const Array& root = as_tensor(PyTuple_GET_ITEM(roots, k))->array;
    const Array& dout = as_tensor(PyTuple_GET_ITEM(douts, k))->array;
    if (root.dtype == dout.dtype && root.ndim == dout.ndim &&
        !std::memcmp(root.shape, dout.shape, sizeof(int64_t) * root.ndim)) {
      continue;
    }
    PyErr_SetString(errors.shape, "backward: each of douts has the shape and dtype of its root");
    return nullptr;
  }
  BackwardPass pass(retain, create, after);
  if (selective) {
    pass.selective = true;
    pass.found.assign(static_cast<size_t>(PyTuple_GET_SIZE(inputs)), nullptr);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(inputs); ++k) {
      Tensor* input = as_tensor(PyTuple_GET_ITEM(inputs, k));
      if (input->node) pass.intermediate[input->node].emplace_back(input->output, static_cast<int>(k));
      else pass.leaves.emplace(input, static_cast<int>(k));
    }
  }
  if (!run_backward(pass, roots, douts)) return nullptr;
  if (!pass.selective) Py_RETURN_NONE;
  PyObject* result = PyTuple_New(static_cast<Py_ssize_t>(pass.found.size()));
  for (size_t k = 0; result && k < pass.found.size(); ++k) {
    PyObject* g = std::exchange(pass.found[k], nullptr);
    PyTuple_SET_ITEM(result, static_cast<Py_ssize_t>(k), g ? g : Py_NewRef(Py_None));
  }
  return result;
}

static PyObject* newest_node(PyObject*, PyObject*) { return PyLong_FromUnsignedLongLong(newest_sequence()); }

static PyObject* set_grad_enabled(PyObject*, PyObject* value) {
  const int truth = PyObject_IsTrue(value);
  if (truth < 0) return nullptr;
  const bool before = std::exchange(grad_enabled, truth != 0);
  return PyBool_FromLong(before);
}
static PyObject* is_grad_enabled(PyObject*, PyObject*) { return PyBool_FromLong(grad_enabled); }

static PyObject* get_gradient_of(PyObject*, PyObject*) {
  if (!gradient_of) Py_RETURN_NONE;
  return PyTuple_Pack(2, gradient_of->function->name, gradient_of->note ? gradient_of->note : Py_None);
}

static PyMethodDef tape_functions[] = {
    {"gradient_of", safe<get_gradient_of>, METH_NOARGS,
     "(name, where it was called or None) of the operation whose gradient rule this thread runs, or None."},
    {"backward", safe<backward>, METH_VARARGS, "backward(roots, douts, inputs, retain_graph, create_graph, after=0)"},
    {"newest_node", safe<newest_node>, METH_NOARGS, "The sequence number of what was tracked last."},
    {"set_grad_enabled", safe<set_grad_enabled>, METH_O,
     "Switch tracking on or off in this thread; returns what it was."},
    {"is_grad_enabled", safe<is_grad_enabled>, METH_NOARGS, "Whether operations are tracked in this thread."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_tape(PyObject* module) {
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("One tracked operation.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(node_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(node_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(node_clear)},
      {Py_tp_getset, node_getset},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Node", sizeof(Node), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  node_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return node_type && PyModule_AddObjectRef(module, "Node", reinterpret_cast<PyObject*>(node_type)) == 0 &&
         PyModule_AddFunctions(module, tape_functions) == 0;
}

}  // namespace dlcore
