#include "core/backward_pass.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>

#include "core/batch.h"
#include "core/function.h"
#include "core/hooks.h"
#include "core/record.h"

namespace dlcore {

static uint64_t next_run = 0;
static thread_local int passes_in_nodes = 0;  // of this thread
static bool nodes_taken = false;              // by a pass of some thread
// Where another thread's pass was under way, a forked child goes without it. What it left in nodes is cleared when they
// are queued.
static const int fork_rule = pthread_atfork(nullptr, nullptr, [] { nodes_taken = passes_in_nodes > 0; });

BackwardPass::BackwardPass(bool retain_graph, bool create_graph, uint64_t first)
    : id(++next_run), retain(retain_graph), tracked(create_graph), after(first),
      in_nodes(!nodes_taken || (after && passes_in_nodes)) {
  if (!in_nodes) return;
  nodes_taken = true;
  ++passes_in_nodes;
}

BackwardPass::~BackwardPass() {
  while (!queue.empty()) {
    Node* node = queue.top();
    queue.pop();
    finish(node);
    Py_DECREF(reinterpret_cast<PyObject*>(node));
  }
  for (PyObject* o : found) Py_XDECREF(o);
  if (in_nodes) nodes_taken = --passes_in_nodes > 0;
}

void BackwardPass::enqueue(Node* node) {
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

void BackwardPass::finish(Node* node) {
  if (in_nodes) {
    for (int k = 0; k < node->n_outputs; ++k) Py_CLEAR(node->douts[k]);
  } else {
    const auto state = states.find(node);
    if (state != states.end()) state->second.douts.assign(state->second.douts.size(), Ref());
  }
}

bool BackwardPass::needed(Node* node) const {
  if (in_nodes) return node->needed_run == id;
  const auto state = states.find(node);
  return state != states.end() && state->second.needed;
}

bool BackwardPass::wants(const Edge& e) const {
  if (!selective) return e.node || e.leaf;
  if (e.leaf) return leaves.count(e.leaf) > 0;
  return e.node && (needed(e.node) || wants(e.node, e.output));
}

bool BackwardPass::wants(Node* node, uint32_t output) const {
  const auto place = intermediate.find(node);
  if (place == intermediate.end()) return false;
  return std::any_of(place->second.begin(), place->second.end(), [&](const auto& c) { return c.first == output; });
}

// ---- arriving -----------------------------------------------------------------------------------------------------
Ref ones_like(const Tensor* root) {
  const TensorRef made =
      TensorRef::own(new_tensor(root->array.shape, root->array.ndim, root->array.dtype, root->device));
  const Ref one = Ref::own(PyLong_FromLong(1));
  PyObject* value = one.get();
  if (!made || !one) return Ref();
  return Ref::own(call_inplace(reinterpret_cast<Function*>(bound.assign), made.get(), &value, 1));
}

bool is_one(BackwardPass& pass, Node* node, uint32_t output) { return pass.dout(node, output) == Py_None; }

Ref arrived(BackwardPass& pass, Node* node, uint32_t output) {
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

bool gather(PyObject*& slot, PyObject* gradient) {
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

bool accumulate_leaf(BackwardPass& pass, Tensor* leaf, PyObject* gradient) {
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

bool settle_hooked_leaves(BackwardPass& pass) {
  for (auto& [leaf, sum] : pass.hooked_leaves) {
    Ref gradient = hooked(leaf->hooks, 0, std::move(sum));
    if (!gradient || !settle_leaf(pass, leaf.get(), gradient.release())) return false;
  }
  return true;
}

// What arrives at a node that the pass leaves alone is the gradient of that output, where it is wanted. Takes over the
// reference.
static bool arrive(BackwardPass& pass, Node* node, uint32_t output, PyObject* gradient) {
  const Ref held = Ref::own(gradient);
  const auto wanted = pass.intermediate.find(node);
  if (wanted == pass.intermediate.end()) return true;
  for (const auto& [index, place] : wanted->second) {
    if (index == output && !gather(pass.found[static_cast<size_t>(place)], Py_NewRef(gradient))) return false;
  }
  return true;
}

bool push(BackwardPass& pass, Node* node, uint32_t output, PyObject* gradient) {
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

bool send(BackwardPass& pass, Node* node, const Edge& edge, PyObject* gradient) {
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

}  // namespace dlcore
