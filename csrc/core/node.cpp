#include <cstring>

#include "core/function.h"
#include "core/ref.h"
#include "core/tape.h"

namespace dlcore {

static PyTypeObject* node_type = nullptr;
static uint64_t next_sequence = 0;

uint64_t newest_sequence() { return next_sequence; }

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

void release_saved(Node* node) {
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

bool init_nodes(PyObject* module) {
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
  return node_type && PyModule_AddObjectRef(module, "Node", reinterpret_cast<PyObject*>(node_type)) == 0;
}

}  // namespace dlcore
