#include "core/graph_copy.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "core/function.h"
#include "core/hooks.h"
#include "core/recording.h"

namespace dlcore {

// ---- the copy -----------------------------------------------------------------------------------------------------
namespace {

void own_nothing(void*) {}

// A tensor without memory that a graph begins or ends with.
TensorRef handle(const Array& like, uint8_t device) {
  auto t = TensorRef::own(blank_tensor(tensor_type));
  if (!t) return t;
  t->array = like;
  t->array.data = nullptr;
  t->device = device;
  t->requires_grad = true;
  return t;
}

void link(Tensor* t, Node* node, uint32_t output) {
  hold_node(t, node);
  t->output = output;
  t->requires_grad = true;
  t->version_seen = t->buffer ? t->buffer->version : 0;
}

Array array_of(const Edge& edge) {
  Array a;
  a.data = nullptr;
  a.dtype = edge.dtype;
  a.ndim = edge.ndim;
  int64_t stride = 1;
  for (int d = a.ndim - 1; d >= 0; --d) {
    a.shape[d] = edge.shape[d];
    a.strides[d] = stride;
    stride *= a.shape[d];
  }
  return a;
}

bool append(const Ref& list, const TensorRef& t) { return t && PyList_Append(list.get(), t.object()) == 0; }

class GraphCopy {
 public:
  GraphCopy(PyObject* aliases, uint64_t after) : after_(after) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(aliases); ++k) {
      const Tensor* alias = as_tensor(PyTuple_GET_ITEM(aliases, k));
      arguments_.emplace(alias->buffer, alias->array);
      if (alias->node) histories_.emplace(alias->node, TensorRef::share(as_tensor(PyTuple_GET_ITEM(aliases, k))));
    }
  }

  // (roots, ends, leaves, kept, stands); null with an error.
  PyObject* run(PyObject* roots) {
    for (Ref* list : {&roots_, &ends_, &leaves_, &kept_, &stands_}) {
      *list = Ref::own(PyList_New(0));
      if (!*list) return nullptr;
    }
    const std::vector<Node*> nodes = reached(roots);
    for (Node* node : nodes) {  // producers first
      if (!add(node)) return nullptr;
    }
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {  // in the order of a backward pass
      if (!add_ends(*node)) return nullptr;
    }
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
      const Tensor* root = as_tensor(PyTuple_GET_ITEM(roots, k));
      const TensorRef copy = handle(root->array, root->device);
      if (!copy) return nullptr;
      copy->view = root->view;
      link(copy.get(), copies_.at(root->node).get(), root->output);
      if (!append(roots_, copy)) return nullptr;
    }
    return PyTuple_Pack(5, roots_.get(), ends_.get(), leaves_.get(), kept_.get(), stands_.get());
  }

 private:
  std::vector<Node*> reached(PyObject* roots) const {
    std::unordered_set<Node*> seen;
    std::vector<Node*> stack, found;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
      stack.push_back(as_tensor(PyTuple_GET_ITEM(roots, k))->node);
    }
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      if (!node || node->sequence <= after_ || !seen.insert(node).second) continue;
      found.push_back(node);
      for (int k = 0; k < node->n_edges; ++k) stack.push_back(node->edges[k].node);
    }
    std::sort(found.begin(), found.end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
    return found;
  }

  bool add(Node* node) {
    if (!fill_saved(node)) return false;
    const auto copy = Owned<Node>::own(new_node(node->function, node->plan, node->n_edges));
    if (!copy) return false;
    for (int k = 0; k < node->n_edges; ++k) {
      Edge& edge = copy->edges[k] = node->edges[k];
      edge.leaf = nullptr;  // see add_ends
      const auto inside = copies_.find(edge.node);
      edge.node = inside == copies_.end() ? nullptr : Owned<Node>(inside->second).release();
    }
    for (int k = 0; k < node->n_saved; ++k) {
      const Saved& saved = node->saved[k];
      if (!saved.tensor) continue;
      TensorRef stand = stand_for(saved.tensor);
      if (!stand) return false;
      copy->saved[k] = {stand.release(), saved.version, saved.output};
    }
    copy->released = node->released;
    Py_XSETREF(copy->hooks, Py_XNewRef(node->hooks));
    copies_.emplace(node, copy);
    return true;
  }

  // The same view of memory that is not there.
  TensorRef stand_for(Tensor* t) {
    if (!t->buffer) return TensorRef::share(t);
    auto known = memory_.find(t->buffer);
    if (known == memory_.end()) {
      TensorRef stand = add_memory(t);
      if (!stand) return stand;
      known = memory_.emplace(t->buffer, std::move(stand)).first;
    }
    return TensorRef::own(new_view(known->second.get(), t->array));
  }

  TensorRef add_memory(Tensor* t) {
    const auto argument = arguments_.find(t->buffer);
    Array whole;
    if (argument != arguments_.end()) {
      whole = argument->second;
    } else {
      whole.data = t->buffer->data;
      whole.dtype = DType::uint8;
      whole.ndim = 1;
      whole.shape[0] = static_cast<int64_t>(t->buffer->bytes);
      whole.strides[0] = 1;
    }
    TensorRef stand = TensorRef::own(new_foreign(whole, t->device, true, nullptr, own_nothing));
    const TensorRef kept = TensorRef::own(new_view(t, whole));
    if (!stand || !append(kept_, kept) || !append(stands_, stand)) return {};
    stand->buffer->version = t->buffer->version;
    return stand;
  }

  // Leaves for the edges that lead out of the copy.
  bool add_ends(Node* node) {
    Node* copy = copies_.at(node).get();
    for (int k = 0; k < node->n_edges; ++k) {
      const Edge& edge = node->edges[k];
      if (copy->edges[k].node || !(edge.node || edge.leaf)) continue;
      const auto argument = histories_.find(edge.node);
      TensorRef end = argument == histories_.end() ? TensorRef::share(edge.leaf) : argument->second;
      if (!end) {
        end = handle(array_of(edge), edge.device);
        if (!end) return false;
        link(end.get(), edge.node, edge.output);
      }
      TensorRef leaf = handle(array_of(edge), edge.device);
      if (!append(ends_, end) || !append(leaves_, leaf)) return false;
      copy->edges[k].leaf = leaf.release();
    }
    return true;
  }

  uint64_t after_;
  std::unordered_map<const Buffer*, Array> arguments_;
  std::unordered_map<const Node*, TensorRef> histories_;  // the node behind an argument
  std::unordered_map<Node*, Owned<Node>> copies_;
  std::unordered_map<const Buffer*, TensorRef> memory_;
  Ref roots_, ends_, leaves_, kept_, stands_;
};

}  // namespace

PyObject* copy_graph(PyObject*, PyObject* args) {
  PyObject *roots, *aliases;
  unsigned long long after;
  if (!PyArg_ParseTuple(args, "O!O!K:copy_graph", &PyTuple_Type, &roots, &PyTuple_Type, &aliases, &after)) {
    return nullptr;
  }
  if (!check_tensors(roots, "copy_graph") || !check_tensors(aliases, "copy_graph")) return nullptr;
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(roots); ++k) {
    const Node* node = as_tensor(PyTuple_GET_ITEM(roots, k))->node;
    if (node && node->sequence > after) continue;
    PyErr_SetString(PyExc_ValueError, "copy_graph: a root was not tracked since");
    return nullptr;
  }
  return GraphCopy(aliases, after).run(roots);
}

// ---- the node of a replay -----------------------------------------------------------------------------------------
Tracking::~Tracking() {
  if (plan) unref(plan);
}

PyObject* track_recording(PyObject* object, PyObject* args) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject *outputs, *ends, *function, *rule;
  Py_ssize_t n_results;
  if (!PyArg_ParseTuple(args, "nO!O!O!O:track", &n_results, &PyList_Type, &outputs, &PyList_Type, &ends, function_type,
                        &function, &rule)) {
    return nullptr;
  }
  auto tracking = std::make_unique<Tracking>();
  tracking->n_results = static_cast<size_t>(n_results);
  tracking->function = Owned<Function>::share(reinterpret_cast<Function*>(function));
  Plan* plan = tracking->plan = new Plan;
  GradientRule& gradient = plan->rules.emplace_back();
  gradient.function = Ref::share(rule);
  gradient.single = false;
  gradient.arguments = {{Source::create_graph, 0, 0}, {Source::needs, 0, 0}};
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(outputs); ++k) {
    Py_ssize_t result;
    PyObject* root;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(outputs, k), "nO!", &result, tensor_base, &root)) return nullptr;
    tracking->outputs.push_back({static_cast<size_t>(result), as_tensor(root)->view});
    gradient.arguments.push_back({Source::dout, static_cast<int>(k), 0});
  }
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(ends); ++k) {
    int argument;
    PyObject* tensor;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(ends, k), "iO", &argument, &tensor)) return nullptr;
    tracking->ends.push_back({argument, argument < 0 ? TensorRef::share(as_tensor(tensor)) : TensorRef()});
    gradient.targets.push_back(static_cast<int>(k));
  }
  plan->n_outputs = static_cast<int>(tracking->outputs.size());
  plan->saves.resize(self->results.size() - tracking->n_results, {SaveSpec::input, 0});
  for (size_t k = 0; k < plan->saves.size(); ++k) gradient.arguments.push_back({Source::saved, static_cast<int>(k), 0});
  self->tracking = std::move(tracking);
  Py_RETURN_NONE;
}

PyObject* linked_results(const Tracking& tracking, Ref all, const std::vector<Tensor*>& arguments) {
  const auto node = Owned<Node>::own(
      new_node(tracking.function.get(), tracking.plan, static_cast<int>(tracking.ends.size())));
  Ref returned = Ref::own(PyTuple_New(static_cast<Py_ssize_t>(tracking.n_results)));
  if (!node || !returned) return nullptr;
  const auto plain = [&](size_t k) { return PyTuple_GET_ITEM(all.get(), static_cast<Py_ssize_t>(k)); };
  for (size_t k = 0; k < tracking.n_results; ++k) {
    PyTuple_SET_ITEM(returned.get(), static_cast<Py_ssize_t>(k), Py_NewRef(plain(k)));
  }
  for (size_t k = 0; k < tracking.ends.size(); ++k) {
    const Tracking::End& end = tracking.ends[k];
    Tensor* to = end.argument >= 0 ? arguments[static_cast<size_t>(end.argument)] : end.tensor.get();
    set_edge(node->edges[k], to, to->requires_grad);
  }
  for (size_t k = 0; k < static_cast<size_t>(node->n_saved); ++k) {
    Tensor* kept = as_tensor(Py_NewRef(plain(tracking.n_results + k)));
    node->saved[k] = {kept, kept->buffer->version, -1};
  }
  for (size_t k = 0; k < tracking.outputs.size(); ++k) {
    const auto [place, view] = tracking.outputs[k];
    Tensor* own = as_tensor(plain(place));  // stays the recording's
    Tensor* linked = new_view(own, own->array);
    if (!linked) return nullptr;
    linked->view = view;
    link(linked, node.get(), static_cast<uint32_t>(k));
    PyObject* before = PyTuple_GET_ITEM(returned.get(), static_cast<Py_ssize_t>(place));
    PyTuple_SET_ITEM(returned.get(), static_cast<Py_ssize_t>(place), as_object(linked));
    Py_DECREF(before);
  }
  return returned.release();
}

}  // namespace dlcore
