#include "core/tape.h"

#include <algorithm>
#include <cstring>
#include <queue>
#include <unordered_map>
#include <utility>

#include "core/function.h"
#include "core/record.h"

namespace dlcore {

thread_local bool grad_enabled = true;

static PyTypeObject* node_type = nullptr;
static uint64_t next_sequence = 0;
static uint64_t next_run = 0;
static thread_local bool run_retains = false, run_taped = false;

// ---- nodes --------------------------------------------------------------------------------------------------------
Node* new_node(Function* function, PyObject* attrs, int n_edges, int n_saved, int n_outputs) {
  const size_t bytes = sizeof(Edge) * static_cast<size_t>(n_edges) + sizeof(Saved) * static_cast<size_t>(n_saved) +
                       sizeof(PyObject*) * static_cast<size_t>(n_outputs);
  char* block = static_cast<char*>(PyMem_Malloc(bytes));
  Node* node = block ? PyObject_New(Node, node_type) : nullptr;
  if (!node) {
    PyMem_Free(block);
    PyErr_NoMemory();
    return nullptr;
  }
  node->function = reinterpret_cast<Function*>(Py_NewRef(reinterpret_cast<PyObject*>(function)));
  node->attrs = Py_NewRef(attrs);
  node->sequence = ++next_sequence;
  node->run = node->needed_run = 0;
  node->n_edges = n_edges;
  node->n_saved = n_saved;
  node->n_outputs = n_outputs;
  node->edges = reinterpret_cast<Edge*>(block);
  node->saved = reinterpret_cast<Saved*>(block + sizeof(Edge) * static_cast<size_t>(n_edges));
  node->douts = reinterpret_cast<PyObject**>(node->saved + n_saved);
  node->released = false;
  for (int k = 0; k < n_edges; ++k) node->edges[k].node = nullptr, node->edges[k].leaf = nullptr;
  for (int k = 0; k < n_saved; ++k) node->saved[k] = {nullptr, 0, -1};
  for (int k = 0; k < n_outputs; ++k) node->douts[k] = nullptr;
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
}

static void release_saved(Node* node) {
  for (int k = 0; k < node->n_saved; ++k) Py_CLEAR(node->saved[k].tensor);
  node->released = true;
}

// A long chain of nodes would overflow the stack if each freed its producer: nodes freed meanwhile wait in a list.
static void node_dealloc(PyObject* self) {
  static std::vector<Node*> waiting;
  static bool draining = false;
  waiting.push_back(reinterpret_cast<Node*>(self));
  if (draining) return;
  draining = true;
  while (!waiting.empty()) {
    Node* node = waiting.back();
    waiting.pop_back();
    for (int k = 0; k < node->n_edges; ++k) {
      Py_XDECREF(reinterpret_cast<PyObject*>(node->edges[k].node));
      Py_XDECREF(as_object(node->edges[k].leaf));
    }
    for (int k = 0; k < node->n_saved; ++k) Py_XDECREF(as_object(node->saved[k].tensor));
    for (int k = 0; k < node->n_outputs; ++k) Py_XDECREF(node->douts[k]);
    Py_DECREF(reinterpret_cast<PyObject*>(node->function));
    Py_DECREF(node->attrs);
    PyMem_Free(node->edges);
    PyObject_Free(node);
    Py_DECREF(reinterpret_cast<PyObject*>(node_type));
  }
  draining = false;
}

// ---- ctx: what a vjp sees of its node -----------------------------------------------------------------------------
static PyObject* get_saved(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  if (node->released) {
    return PyErr_Format(errors.autograd, "backward: the graph was released by an earlier backward (at %s); pass retain_graph=True to keep it",
                        node->function->name_utf8);
  }
  PyObject* tuple = PyTuple_New(node->n_saved);
  if (!tuple) return nullptr;
  for (int k = 0; k < node->n_saved; ++k) {
    const Saved& saved = node->saved[k];
    PyObject* value = Py_None;
    if (saved.tensor) {
      Buffer* buffer = saved.tensor->buffer;
      if (buffer && buffer->version != saved.version) {
        PyObject* shape = shape_tuple(saved.tensor->array.shape, saved.tensor->array.ndim);
        PyErr_Format(errors.autograd, "backward: a tensor of shape %R that %s needs for its gradient was changed in place since (version %lld, then %lld)",
                     shape, node->function->name_utf8, static_cast<long long>(buffer->version), static_cast<long long>(saved.version));
        Py_XDECREF(shape);
        Py_DECREF(tuple);
        return nullptr;
      }
      if (saved.output >= 0 && run_taped) {  // an output is a function of the inputs: link it to this node again
        Tensor* alias = new_view(saved.tensor, saved.tensor->array);
        if (!alias) { Py_DECREF(tuple); return nullptr; }
        alias->node = reinterpret_cast<Node*>(Py_NewRef(self));
        alias->output = static_cast<uint32_t>(saved.output);
        alias->requires_grad = true;
        PyTuple_SET_ITEM(tuple, k, as_object(alias));
        continue;
      }
      value = as_object(saved.tensor);
    }
    PyTuple_SET_ITEM(tuple, k, Py_NewRef(value));
  }
  return tuple;
}

struct Run;
static thread_local Run* current_run = nullptr;

static PyObject* get_attrs(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Node*>(self)->attrs); }
static PyObject* get_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Node*>(self)->function->name); }
static PyObject* get_retain(PyObject*, void*) { return PyBool_FromLong(run_retains); }
static PyObject* get_taped(PyObject*, void*) { return PyBool_FromLong(run_taped); }
static PyObject* get_needs(PyObject* self, void*);
static PyObject* get_shapes(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  PyObject* tuple = PyTuple_New(node->n_edges);
  for (int k = 0; tuple && k < node->n_edges; ++k) PyTuple_SET_ITEM(tuple, k, shape_tuple(node->edges[k].shape, node->edges[k].ndim));
  return tuple;
}
static PyObject* get_dtypes(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  PyObject* tuple = PyTuple_New(node->n_edges);
  for (int k = 0; tuple && k < node->n_edges; ++k) PyTuple_SET_ITEM(tuple, k, Py_NewRef(dtype_object(node->edges[k].dtype)));
  return tuple;
}
static PyObject* get_devices(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  PyObject* tuple = PyTuple_New(node->n_edges);
  for (int k = 0; tuple && k < node->n_edges; ++k) PyTuple_SET_ITEM(tuple, k, Py_NewRef(device_object(node->edges[k].device)));
  return tuple;
}
static PyObject* get_inputs(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  PyObject* list = PyList_New(0);
  for (int k = 0; list && k < node->n_edges; ++k) {
    PyObject* producer = reinterpret_cast<PyObject*>(node->edges[k].node);
    PyList_Append(list, producer ? producer : node->edges[k].leaf ? as_object(node->edges[k].leaf) : Py_None);
  }
  return list;
}

static PyGetSetDef node_getset[] = {
    {"saved", get_saved, nullptr, "Tensors kept by the row's `saves`, in that order; None where not kept.", nullptr},
    {"attrs", get_attrs, nullptr, "The operation's attributes, a tuple.", nullptr},
    {"needs", get_needs, nullptr, "Per operand: whether its gradient is wanted in this backward.", nullptr},
    {"shapes", get_shapes, nullptr, "Shapes of the operands.", nullptr},
    {"dtypes", get_dtypes, nullptr, "Dtypes of the operands.", nullptr},
    {"devices", get_devices, nullptr, "Devices of the operands.", nullptr},
    {"retain", get_retain, nullptr, "Whether the graph is kept after this backward.", nullptr},
    {"taped", get_taped, nullptr, "Whether this backward is itself recorded (create_graph).", nullptr},
    {"name", get_name, nullptr, "Name of the operation.", nullptr},
    {"inputs", get_inputs, nullptr, "Per operand: its producer's node, the leaf, or None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// ---- the engine ---------------------------------------------------------------------------------------------------
// Nodes are run in falling order of sequence: every consumer of a tensor is younger than its producer, so when a node's
// turn comes all gradients of its outputs have arrived.
struct Younger {
  bool operator()(const Node* a, const Node* b) const { return a->sequence < b->sequence; }
};

struct Run {
  uint64_t id = ++next_run;
  bool retain, taped;
  std::priority_queue<Node*, std::vector<Node*>, Younger> queue;  // owns a reference of each
  bool capturing = false;
  std::unordered_map<const void*, int> leaves;                                    // captured leaf -> its place
  std::unordered_map<Node*, std::vector<std::pair<uint32_t, int>>> intermediate;  // captured outputs
  std::vector<PyObject*> captured;
  Run* outer = current_run;

  Run(bool retain_graph, bool create_graph) : retain(retain_graph), taped(create_graph) { current_run = this; }
  ~Run() {
    while (!queue.empty()) {
      Node* node = queue.top();
      queue.pop();
      for (int k = 0; k < node->n_outputs; ++k) Py_CLEAR(node->douts[k]);
      Py_DECREF(reinterpret_cast<PyObject*>(node));
    }
    for (PyObject* o : captured) Py_XDECREF(o);
    current_run = outer;
  }
  bool wants(const Edge& e) const {
    if (!capturing) return e.node || e.leaf;
    if (e.leaf) return leaves.count(e.leaf) > 0;
    return e.node && (e.node->needed_run == id || captures(e.node, e.output));
  }
  bool captures(Node* node, uint32_t output) const {
    const auto found = intermediate.find(node);
    if (found == intermediate.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(), [&](const auto& c) { return c.first == output; });
  }
};

static PyObject* get_needs(PyObject* self, void*) {
  Node* node = reinterpret_cast<Node*>(self);
  PyObject* tuple = PyTuple_New(node->n_edges);
  for (int k = 0; tuple && k < node->n_edges; ++k) {
    const Edge& e = node->edges[k];
    PyTuple_SET_ITEM(tuple, k, PyBool_FromLong(current_run ? current_run->wants(e) : e.node || e.leaf));
  }
  return tuple;
}

// slot = slot + gradient; takes over the reference.
static bool gather(PyObject*& slot, PyObject* gradient) {
  if (!slot) {
    slot = gradient;
    return true;
  }
  PyObject* args[2] = {slot, gradient};
  PyObject* sum = PyObject_Vectorcall(bound.add, args, 2, nullptr);
  Py_DECREF(gradient);
  if (!sum) return false;
  Py_SETREF(slot, sum);
  return true;
}

static bool accumulate_leaf(Run& run, Tensor* leaf, PyObject* gradient) {
  if (run.capturing) {
    const auto found = run.leaves.find(leaf);
    if (found != run.leaves.end()) return gather(run.captured[static_cast<size_t>(found->second)], gradient);
    Py_DECREF(gradient);
    return true;
  }
  if (recorder) record_grad_read(leaf);
  if (leaf->grad) {
    if (run.taped) {
      if (recorder) record_grad_replaced(leaf, false);
      return gather(leaf->grad, gradient);
    }
    PyObject* same = call_inplace(reinterpret_cast<Function*>(bound.add), as_tensor(leaf->grad), &gradient, 1);
    Py_DECREF(gradient);
    Py_XDECREF(same);
    return same != nullptr;
  }
  Tensor* g = as_tensor(gradient);
  // The gradient becomes the leaf's own only if nobody else can see its memory.
  const bool ours = Py_REFCNT(gradient) == 1 && g->buffer && g->buffer->refs == 1 && !g->buffer->readonly && g->array.contiguous();
  if (!run.taped && !ours) {
    PyObject* copy = as_object(contiguous_copy(g));
    Py_DECREF(gradient);
    if (!copy) return false;
    gradient = copy;
  }
  leaf->grad = gradient;
  if (recorder) record_grad_replaced(leaf, false);
  return true;
}

static bool push(Run& run, Node* node, uint32_t output, PyObject* gradient) {
  if (node->run != run.id) {
    node->run = run.id;
    run.queue.push(reinterpret_cast<Node*>(Py_NewRef(reinterpret_cast<PyObject*>(node))));
  }
  return gather(node->douts[output], gradient);
}

static bool same_shape(const Array& a, const Edge& e) {
  return a.ndim == e.ndim && !std::memcmp(a.shape, e.shape, sizeof(int64_t) * e.ndim);
}

// Sends one gradient along an edge, summed to the operand's shape and cast to its dtype. Takes over the reference.
static bool send(Run& run, Node* node, const Edge& edge, PyObject* gradient) {
  if (!is_tensor(gradient)) {
    PyErr_Format(PyExc_TypeError, "%s: its vjp returned %s where a tensor is wanted", node->function->name_utf8, Py_TYPE(gradient)->tp_name);
    Py_DECREF(gradient);
    return false;
  }
  Tensor* g = as_tensor(gradient);
  if (!same_shape(g->array, edge) || g->array.dtype != edge.dtype) {
    PyObject* shape = shape_tuple(edge.shape, edge.ndim);
    PyObject* args[3] = {gradient, shape, dtype_object(edge.dtype)};
    PyObject* fitted = PyObject_Vectorcall(bound.sum_to, args, 3, nullptr);
    Py_XDECREF(shape);
    Py_DECREF(gradient);
    if (!fitted) return false;
    gradient = fitted;
  }
  if (edge.leaf) return accumulate_leaf(run, edge.leaf, gradient);
  return push(run, edge.node, edge.output, gradient);
}

static bool send_all(Run& run, Node* node, PyObject* result) {
  if (node->n_edges == 1 && !PyTuple_Check(result) && !PyList_Check(result)) {
    const Edge& edge = node->edges[0];
    if (result == Py_None || !run.wants(edge)) { Py_DECREF(result); return true; }
    return send(run, node, edge, result);
  }
  PyObject* fast = PySequence_Fast(result, "a vjp returns a tensor or a sequence of tensors");
  Py_DECREF(result);
  if (!fast) return false;
  bool good = PySequence_Fast_GET_SIZE(fast) == node->n_edges;
  if (!good) {
    PyErr_Format(PyExc_TypeError, "%s: its vjp returned %zd gradients for %d operands", node->function->name_utf8,
                 PySequence_Fast_GET_SIZE(fast), node->n_edges);
  }
  std::vector<PyObject*> gradients;
  for (int k = 0; good && k < node->n_edges; ++k) gradients.push_back(Py_NewRef(PySequence_Fast_GET_ITEM(fast, k)));
  Py_DECREF(fast);  // from here the gradients' reference counts tell who else sees them
  for (int k = 0; k < static_cast<int>(gradients.size()); ++k) {
    PyObject* gradient = std::exchange(gradients[static_cast<size_t>(k)], nullptr);
    if (good && gradient != Py_None && run.wants(node->edges[k])) good = send(run, node, node->edges[k], gradient);
    else Py_DECREF(gradient);
  }
  return good;
}

static bool run_node(Run& run, Node* node) {
  const auto found = run.intermediate.find(node);
  if (found != run.intermediate.end()) {
    for (const auto& [output, place] : found->second) {
      PyObject* dout = node->douts[output];
      if (dout && !gather(run.captured[static_cast<size_t>(place)], Py_NewRef(dout))) return false;
    }
    if (node->needed_run != run.id) return true;
  }
  std::vector<PyObject*> args;
  args.push_back(reinterpret_cast<PyObject*>(node));
  for (int k = 0; k < node->n_outputs; ++k) {
    PyObject* dout = std::exchange(node->douts[k], nullptr);
    args.push_back(dout ? dout : Py_NewRef(Py_None));
  }
  PyObject* result = PyObject_Vectorcall(node->function->vjp, args.data(), args.size(), nullptr);
  for (size_t k = 1; k < args.size(); ++k) Py_DECREF(args[k]);
  if (!run.retain) release_saved(node);
  return result && send_all(run, node, result);
}

// Marks the nodes behind which a captured tensor lies. Producers have smaller sequence numbers than consumers.
static void mark_needed(Run& run, const std::vector<Node*>& roots) {
  std::vector<Node*> reached, stack(roots);
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node->run == run.id) continue;
    node->run = run.id;
    reached.push_back(node);
    for (int k = 0; k < node->n_edges; ++k) if (node->edges[k].node) stack.push_back(node->edges[k].node);
  }
  std::sort(reached.begin(), reached.end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
  for (Node* node : reached) {
    node->run = 0;
    for (int k = 0; k < node->n_edges; ++k) if (run.wants(node->edges[k])) node->needed_run = run.id;
  }
}

struct Mode {
  bool grad = grad_enabled, retains = run_retains, taped = run_taped;
  ~Mode() { grad_enabled = grad, run_retains = retains, run_taped = taped; }
};

static bool run_backward(Run& run, PyObject* roots, PyObject* douts) {
  Mode restore;
  grad_enabled = run.taped;
  run_retains = run.retain;
  run_taped = run.taped;
  std::vector<Node*> starts;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    Tensor* root = as_tensor(PyTuple_GET_ITEM(roots, k));
    if (root->node) starts.push_back(root->node);
  }
  if (run.capturing) mark_needed(run, starts);
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    Tensor* root = as_tensor(PyTuple_GET_ITEM(roots, k));
    PyObject* dout = Py_NewRef(PyTuple_GET_ITEM(douts, k));
    const bool good = root->node ? push(run, root->node, root->output, dout) : accumulate_leaf(run, root, dout);
    if (!good) return false;
  }
  while (!run.queue.empty()) {
    Node* node = run.queue.top();
    run.queue.pop();
    const bool skip = run.capturing && node->needed_run != run.id && !run.intermediate.count(node);
    const bool good = skip || run_node(run, node);
    for (int k = 0; k < node->n_outputs; ++k) Py_CLEAR(node->douts[k]);
    Py_DECREF(reinterpret_cast<PyObject*>(node));
    if (!good) return false;
    if (PyErr_CheckSignals()) return false;
  }
  return true;
}

// backward(roots, douts, inputs or None, retain_graph, create_graph): accumulates into the leaves' grad, or returns the
// gradients of `inputs` (None where the roots do not depend on one). Argument checks are Python's (_autograd.py).
static PyObject* backward(PyObject*, PyObject* args) {
  PyObject *roots, *douts, *inputs;
  int retain, create;
  if (!PyArg_ParseTuple(args, "O!O!Opp:backward", &PyTuple_Type, &roots, &PyTuple_Type, &douts, &inputs, &retain, &create)) return nullptr;
  Run run(retain, create);
  if (inputs != Py_None) {
    run.capturing = true;
    run.captured.assign(static_cast<size_t>(PyTuple_GET_SIZE(inputs)), nullptr);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(inputs); ++k) {
      Tensor* input = as_tensor(PyTuple_GET_ITEM(inputs, k));
      if (input->node) run.intermediate[input->node].emplace_back(input->output, static_cast<int>(k));
      else run.leaves.emplace(input, static_cast<int>(k));
    }
  }
  if (!run_backward(run, roots, douts)) return nullptr;
  if (!run.capturing) Py_RETURN_NONE;
  PyObject* result = PyTuple_New(static_cast<Py_ssize_t>(run.captured.size()));
  for (size_t k = 0; result && k < run.captured.size(); ++k) {
    PyObject* g = std::exchange(run.captured[k], nullptr);
    PyTuple_SET_ITEM(result, static_cast<Py_ssize_t>(k), g ? g : Py_NewRef(Py_None));
  }
  return result;
}

static PyObject* set_grad_enabled(PyObject*, PyObject* value) {
  const int truth = PyObject_IsTrue(value);
  if (truth < 0) return nullptr;
  const bool before = std::exchange(grad_enabled, truth != 0);
  return PyBool_FromLong(before);
}
static PyObject* is_grad_enabled(PyObject*, PyObject*) { return PyBool_FromLong(grad_enabled); }

static PyMethodDef tape_functions[] = {
    {"backward", backward, METH_VARARGS, "backward(roots, douts, inputs, retain_graph, create_graph)"},
    {"set_grad_enabled", set_grad_enabled, METH_O, "Switch recording on or off in this thread; returns what it was."},
    {"is_grad_enabled", is_grad_enabled, METH_NOARGS, "Whether operations are recorded in this thread."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_tape(PyObject* module) {
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("One recorded operation; the `ctx` of its vjp.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(node_dealloc)},
      {Py_tp_getset, node_getset},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Node", sizeof(Node), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  node_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return node_type && PyModule_AddObjectRef(module, "Node", reinterpret_cast<PyObject*>(node_type)) == 0 &&
         PyModule_AddFunctions(module, tape_functions) == 0;
}

}  // namespace dlcore
