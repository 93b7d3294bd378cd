#include "core/tape.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "core/backward_pass.h"
#include "core/function.h"
#include "core/hooks.h"

namespace dlcore {

PER_THREAD bool grad_enabled = true;
PER_THREAD const Node* gradient_of = nullptr;

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

bool init_tape(PyObject* module) { return init_nodes(module) && PyModule_AddFunctions(module, tape_functions) == 0; }

}  // namespace dlcore
