// Calling gradient rules.
#include "core/backward_pass.h"
#include "core/function.h"

namespace dlcore {

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

Ref call_rule(BackwardPass& pass, Node* node, const GradientRule& rule) {
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

bool spread(Node* node, const GradientRule& rule, Ref result, std::vector<std::pair<int, Ref>>& gradients) {
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

}  // namespace dlcore
