#include "core/hooks.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "core/batch.h"
#include "core/function.h"

namespace dlcore {

// ---- hooks --------------------------------------------------------------------------------------------------------
static bool read_hook(PyObject* item, unsigned* output, PyObject** function, int* last) {
  if (!PyTuple_Check(item)) return PyErr_SetString(PyExc_TypeError, "a hook is (output, function, last)"), false;
  return PyArg_ParseTuple(item, "IOp:hook", output, function, last);
}

bool has_hooks(PyObject* hooks, uint32_t output) {
  for (Py_ssize_t k = 0; hooks && k < PyList_GET_SIZE(hooks); ++k) {
    unsigned at;
    PyObject* function;
    int last;
    if (!read_hook(PyList_GET_ITEM(hooks, k), &at, &function, &last)) return PyErr_Clear(), true;  // hooked() tells
    if (at == output) return true;
  }
  return false;
}

// What the hook answered, if it may take the place of the gradient.
static bool check_answer(PyObject* answer, const Tensor* gradient) {
  if (!is_tensor(answer)) {
    PyErr_Format(PyExc_TypeError, "register_hook: a hook returned a %s, which is neither a tensor nor None",
                 Py_TYPE(answer)->tp_name);
    return false;
  }
  const Array &a = as_tensor(answer)->array, &g = gradient->array;
  if (a.dtype == g.dtype && a.ndim == g.ndim && std::equal(a.shape, a.shape + a.ndim, g.shape)) return true;
  const Ref have = Ref::own(shape_tuple(a.shape, a.ndim)), want = Ref::own(shape_tuple(g.shape, g.ndim));
  if (have && want) {
    PyErr_Format(errors.shape, "register_hook: a hook returned shape %R of %s for a gradient of shape %R of %s",
                 have.get(), kDTypeName[static_cast<int>(a.dtype)], want.get(), kDTypeName[static_cast<int>(g.dtype)]);
  }
  return false;
}

Ref hooked(PyObject* hooks, uint32_t output, Ref gradient) {
  const Ref all = Ref::own(PyList_AsTuple(hooks));  // a hook may remove itself
  if (!all) return Ref();
  for (const int turn : {0, 1}) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(all.get()); ++k) {
      unsigned at;
      PyObject* function;
      int last;
      if (!read_hook(PyTuple_GET_ITEM(all.get(), k), &at, &function, &last)) return Ref();
      if (at != output || last != turn) continue;
      PyObject* argument = gradient.get();
      Ref answer = Ref::own(call_python(function, &argument, 1));
      if (!answer) return Ref();
      if (answer.get() == Py_None) continue;
      if (!check_answer(answer.get(), as_tensor(gradient.get()))) return Ref();
      gradient = std::move(answer);
    }
  }
  return gradient;
}

// hooks_of(tensor): (the list of hooks, the output that entries of this tensor name).
static PyObject* hooks_of(PyObject*, PyObject* o) {
  if (!is_tensor(o)) return PyErr_Format(PyExc_TypeError, "hooks_of: a tensor is wanted");
  Tensor* t = whole_of(as_tensor(o));
  if (!refresh_view(t)) return nullptr;
  PyObject* hooks = t->node ? t->node->hooks : t->hooks;
  if (!hooks) {
    hooks = PyList_New(0);
    if (!hooks) return nullptr;
    if (t->node) t->node->hooks = hooks;
    else hold_hooks(t, hooks);
  }
  return Py_BuildValue("OI", hooks, t->node ? t->output : 0u);
}

// leaf_hooks(tensor): those of a leaf's gradient, a tuple.
static PyObject* leaf_hooks(PyObject*, PyObject* o) {
  PyObject* hooks = is_tensor(o) ? as_tensor(o)->hooks : nullptr;
  return hooks ? PyList_AsTuple(hooks) : PyTuple_New(0);
}

// ---- regions that are computed again ------------------------------------------------------------------------------
// (region, list, again): nodes either note their names in the list and keep nothing, or, when computed again, join it.
PER_THREAD PyObject* region = nullptr;

bool join_region(Node* node) {
  PyObject *owner, *list;
  int again;
  if (!PyArg_ParseTuple(region, "OO!p:region", &owner, &PyList_Type, &list, &again)) return false;
  if (again) return PyList_Append(list, reinterpret_cast<PyObject*>(node)) == 0;
  for (int k = 0; k < node->n_saved; ++k) Py_CLEAR(node->saved[k].tensor);
  node->place = PyList_GET_SIZE(list);
  Py_XSETREF(node->region, Py_NewRef(owner));
  return PyList_Append(list, node->function->name) == 0;
}

bool fill_saved(Node* node) {
  if (!node->region || node->filled || node->released) return true;
  PyObject* place = PyLong_FromSsize_t(node->place);
  if (!place) return false;
  const Ref held = Ref::own(place), found = Ref::own(call_python(node->region, &place, 1));
  if (!found) return false;
  Node* again = reinterpret_cast<Node*>(found.get());
  if (Py_TYPE(found.get()) != Py_TYPE(reinterpret_cast<PyObject*>(node)) || again->n_saved != node->n_saved) {
    PyErr_SetString(errors.autograd, "checkpoint: the function did something else when it was computed again");
    return false;
  }
  for (int k = 0; k < node->n_saved; ++k) {
    const Saved& saved = again->saved[k];
    if (saved.tensor && saved.version != node->saved[k].version) {
      PyErr_Format(errors.autograd, "checkpoint: a tensor that %s needs for its gradient was changed in place since",
                   node->function->name_utf8);
      return false;
    }
    Py_XSETREF(node->saved[k].tensor, as_tensor(Py_XNewRef(as_object(saved.tensor))));
    node->saved[k].version = saved.version;
    node->saved[k].output = saved.output;
  }
  node->filled = true;
  return true;
}

static PyObject* set_region(PyObject*, PyObject* value) {
  if (value != Py_None && !PyTuple_Check(value)) {
    return PyErr_Format(PyExc_TypeError, "set_region: (region, list, again) or None is wanted");
  }
  PyObject* before = region ? region : Py_NewRef(Py_None);
  region = value == Py_None ? nullptr : Py_NewRef(value);
  return before;
}

// ---- nodes with a rule of their own -------------------------------------------------------------------------------
static bool read_places(PyObject* tuple, SaveSpec::Kind kind, Plan* plan) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); ++k) {
    const long place = PyLong_AsLong(PyTuple_GET_ITEM(tuple, k));
    if (place == -1 && PyErr_Occurred()) return false;
    plan->saves.push_back({kind, static_cast<int>(place)});
  }
  return true;
}

static void keep_for(Node* node, PyObject* inputs, PyObject* outputs) {
  for (int k = 0; k < node->n_saved; ++k) {
    const SaveSpec save = node->plan->saves[static_cast<size_t>(k)];
    const bool input = save.kind == SaveSpec::input;
    Tensor* t = as_tensor(PyTuple_GET_ITEM(input ? inputs : outputs, save.index));
    if (!input) t = new_view(t, t->array);  // an alias: the output itself refers to the node
    if (!t) continue;
    node->saved[k].tensor = input ? as_tensor(Py_NewRef(as_object(t))) : t;
    node->saved[k].version = t->buffer ? t->buffer->version : 0;
    node->saved[k].output = input ? -1 : save.index;
  }
}

// custom_node(function, rule, inputs, outputs, kept_inputs, kept_outputs): the outputs, as results of one operation of
// the inputs whose gradients are rule(create_graph, needed, *douts, *kept).
static PyObject* custom_node(PyObject*, PyObject* args) {
  PyObject *function, *rule, *inputs, *outputs, *kept_inputs, *kept_outputs;
  if (!PyArg_ParseTuple(args, "O!OO!O!O!O!:custom_node", function_type, &function, &rule, &PyTuple_Type, &inputs,
                        &PyTuple_Type, &outputs, &PyTuple_Type, &kept_inputs, &PyTuple_Type, &kept_outputs) ||
      !check_tensors(inputs, "custom_node") || !check_tensors(outputs, "custom_node")) {
    return nullptr;
  }
  const int n = static_cast<int>(PyTuple_GET_SIZE(inputs)), n_outputs = static_cast<int>(PyTuple_GET_SIZE(outputs));
  struct PlanHold {
    Plan* plan = new Plan;
    ~PlanHold() { unref(plan); }
  } made;
  Plan* plan = made.plan;
  plan->n_outputs = n_outputs;
  if (!read_places(kept_inputs, SaveSpec::input, plan) || !read_places(kept_outputs, SaveSpec::output, plan)) {
    return nullptr;
  }
  GradientRule& gradient = plan->rules.emplace_back();
  gradient.function = Ref::share(rule);
  gradient.single = false;
  gradient.arguments = {{Source::create_graph, 0, 0}, {Source::needs, 0, 0}};
  for (int k = 0; k < n_outputs; ++k) gradient.arguments.push_back({Source::dout, k, 0});
  for (size_t k = 0; k < plan->saves.size(); ++k) {
    gradient.arguments.push_back({Source::saved, static_cast<int>(k), 0});
  }
  for (int k = 0; k < n; ++k) gradient.targets.push_back(k);
  const auto node = Owned<Node>::own(new_node(reinterpret_cast<Function*>(function), plan, n));
  Ref linked = Ref::own(PyTuple_New(n_outputs));
  if (!node || !linked) return nullptr;
  for (int k = 0; k < n; ++k) {
    Tensor* t = as_tensor(PyTuple_GET_ITEM(inputs, k));
    set_edge(node->edges[k], t, wanted(t));
  }
  keep_for(node.get(), inputs, outputs);
  for (int k = 0; k < n_outputs; ++k) {
    Tensor* own = as_tensor(PyTuple_GET_ITEM(outputs, k));
    Tensor* out = new_view(own, own->array);
    if (!out) return nullptr;
    PyTuple_SET_ITEM(linked.get(), k, as_object(out));
    if (!is_float(out->array.dtype)) continue;
    hold_node(out, node.get());
    out->output = static_cast<uint32_t>(k);
    out->requires_grad = true;
  }
  if (region && !join_region(node.get())) return nullptr;
  return linked.release();
}

// leaves_behind(tensors): the leaves that their gradient history ends with, each once.
static PyObject* leaves_behind(PyObject*, PyObject* tensors) {
  if (!check_tensors(tensors, "leaves_behind")) return nullptr;
  std::unordered_set<const void*> seen;
  std::vector<Node*> stack;
  const Ref found = Ref::own(PyList_New(0));
  if (!found) return nullptr;
  const auto reach = [&](Node* node, Tensor* leaf) {
    if (node && seen.insert(node).second) stack.push_back(node);
    return !leaf || !seen.insert(leaf).second || PyList_Append(found.get(), as_object(leaf)) == 0;
  };
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tensors); ++k) {
    Tensor* t = whole_of(as_tensor(PyTuple_GET_ITEM(tensors, k)));
    if (!refresh_view(t) || !reach(t->node, t->node || !t->requires_grad ? nullptr : t)) return nullptr;
  }
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    for (int k = 0; k < node->n_edges; ++k)
      if (!reach(node->edges[k].node, node->edges[k].leaf)) return nullptr;
  }
  return PyList_AsTuple(found.get());
}

static PyMethodDef hook_functions[] = {
    {"hooks_of", safe<hooks_of>, METH_O,
     "hooks_of(tensor): the list of its gradient's hooks, (output, function, last) each, and its output there."},
    {"leaf_hooks", safe<leaf_hooks>, METH_O, "leaf_hooks(tensor): the hooks of a leaf's gradient, a tuple."},
    {"set_region", safe<set_region>, METH_O,
     "set_region((region, list, again) or None): nodes made from now on join it; returns what was there before."},
    {"custom_node", safe<custom_node>, METH_VARARGS,
     "custom_node(function, rule, inputs, outputs, kept_inputs, kept_outputs): the outputs with a gradient history."},
    {"leaves_behind", safe<leaves_behind>, METH_O, "leaves_behind(tensors): what their gradient history ends with."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_hooks(PyObject* module) { return PyModule_AddFunctions(module, hook_functions) == 0; }

}  // namespace dlcore
