#include "core/autocast.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/function.h"
#include "core/layout.h"
#include "core/ref.h"
#include "core/tape.h"

namespace dlcore {

thread_local int autocast_dtype = kNoAutocast;

// ---- casts that are kept ------------------------------------------------------------------------------------------
// A parameter is cast once for all its uses until it is written. What is kept are the values alone, and the parameter
// is only referred to weakly. Each tracked use has a node of its own on the tape: the gradients of several uses are
// then added in the parameter's dtype, and a backward pass through one use leaves the others alone.
struct KeptCast {
  Ref source;      // a weak reference
  int64_t version;
  Array array;     // where the source's values were
  TensorRef values;
  Owned<Function> function;  // of the tracked cast, and its plan (one reference); null: it was not tracked
  Plan* plan;
};

struct KeptCasts {
  std::unordered_map<const Tensor*, KeptCast> by_source;
  size_t limit = 64;  // so many, and those whose source has gone are looked for
  ~KeptCasts() {
    for (auto& [source, kept] : by_source)
      if (kept.plan) unref(kept.plan);
  }
};

// Not an object but a pointer: a thread that ends has no GIL to let go of Python objects with.
static thread_local KeptCasts* kept_casts = nullptr;

void forget_casts() { delete std::exchange(kept_casts, nullptr); }

static void erase_gone(KeptCasts& casts) {
  if (casts.by_source.size() < casts.limit) return;
  std::vector<KeptCast> gone;  // let go of when the table is whole again: that may run Python code
  for (auto place = casts.by_source.begin(); place != casts.by_source.end();) {
    if (PyWeakref_GetObject(place->second.source.get()) != Py_None) {
      ++place;
      continue;
    }
    gone.push_back(std::move(place->second));
    place = casts.by_source.erase(place);
  }
  casts.limit = std::max<size_t>(64, 2 * casts.by_source.size());
  for (KeptCast& kept : gone)
    if (kept.plan) unref(kept.plan);
}

static bool is_parameter(const Tensor* t) {
  return !t->node && !t->view && t->buffer && (t->requires_grad || Py_TYPE(t) != tensor_type);
}

static bool same_values(const KeptCast& kept, const Tensor* t) {
  return PyWeakref_GetObject(kept.source.get()) == reinterpret_cast<const PyObject*>(t) &&
         kept.version == t->buffer->version && kept.array.data == t->array.data && same_array(kept.array, t->array);
}

// A cast that was kept, as a new result; null where there is none, or with an error.
static TensorRef kept_cast(Tensor* t) {
  if (!kept_casts) return {};
  const auto place = kept_casts->by_source.find(t);
  if (place == kept_casts->by_source.end() || !same_values(place->second, t)) return {};
  const KeptCast& kept = place->second;
  if (!wanted(t)) return TensorRef::share(kept.values.get());
  if (!kept.plan) return {};
  TensorRef values = TensorRef::own(new_view(kept.values.get(), kept.values->array));
  Node* node = values ? new_node(kept.function.get(), kept.plan, 1) : nullptr;
  if (!node) return {};
  set_edge(node->edges[0], t, true);
  hold_node(values.get(), node);
  values->requires_grad = true;
  values->version_seen = values->buffer->version;
  Py_DECREF(reinterpret_cast<PyObject*>(node));
  return values;
}

static bool keep_cast(Tensor* t, Tensor* cast) {
  const Node* node = cast->node;
  if (node && node->n_saved) return true;  // a use of its own cannot be made of the plan alone
  KeptCast made{Ref::own(PyWeakref_NewRef(as_object(t), nullptr)), t->buffer->version, t->array,
                TensorRef::own(new_view(cast, cast->array)), {}, nullptr};
  if (!made.source || !made.values) return false;
  if (node) {
    made.function = Owned<Function>::share(node->function);
    made.plan = node->plan;
  }
  if (!kept_casts) kept_casts = new KeptCasts;
  erase_gone(*kept_casts);
  KeptCast& slot = kept_casts->by_source[t];
  std::swap(slot, made);
  if (slot.plan) ++slot.plan->refs;
  if (made.plan) unref(made.plan);
  return true;
}

// ---- operands -----------------------------------------------------------------------------------------------------
static Tensor* cast_to(Tensor* t, DType dtype) {
  const bool keeps = is_parameter(t);
  if (keeps) {
    TensorRef kept = kept_cast(t);
    if (kept || PyErr_Occurred()) return kept.release();
  }
  PyObject* args[2] = {as_object(t), dtype_object(dtype)};
  TensorRef made = TensorRef::own(as_tensor(call_python(bound.cast, args, 2)));
  if (made && keeps && !keep_cast(t, made.get())) return nullptr;
  return made.release();
}

static bool is_16_bit(DType dtype) { return dtype == DType::float16 || dtype == DType::bfloat16; }

bool autocast_operands(CastClass kind, Operands& operands) {
  for (int k = 0; k < operands.n; ++k) {
    const Tensor* t = operands.data[k];
    if (t && !t->weak && t->array.dtype == DType::float64) return true;  // the call is in float64
  }
  const DType target = kind == CastClass::low ? static_cast<DType>(autocast_dtype) : DType::float32;
  for (int k = 0; k < operands.n; ++k) {
    Tensor* t = operands.data[k];
    if (!t || t->weak || t->array.dtype == target) continue;
    if (!is_16_bit(t->array.dtype) && t->array.dtype != DType::float32) continue;
    Tensor* cast = cast_to(t, target);
    if (!cast) return false;
    operands.set(k, cast);
  }
  return true;
}

// ---- Python -------------------------------------------------------------------------------------------------------
static PyObject* as_dtype(int code) {
  return Py_NewRef(code == kNoAutocast ? Py_None : dtype_object(static_cast<DType>(code)));
}

static PyObject* set_autocast(PyObject*, PyObject* value) {
  int code = kNoAutocast;
  if (value != Py_None) {
    DType dtype;
    if (!parse_dtype(value, &dtype)) return nullptr;
    if (!is_16_bit(dtype)) {
      PyErr_SetString(errors.dtype, "set_autocast: float16, bfloat16 or None");
      return nullptr;
    }
    code = static_cast<int>(dtype);
  }
  if (code != autocast_dtype) forget_casts();
  return as_dtype(std::exchange(autocast_dtype, code));
}
static PyObject* get_autocast(PyObject*, PyObject*) { return as_dtype(autocast_dtype); }

static PyMethodDef autocast_functions[] = {
    {"set_autocast", safe<set_autocast>, METH_O,
     "Set the dtype of autocast in this thread (None: off); returns what it was."},
    {"autocast_dtype", safe<get_autocast>, METH_NOARGS, "The dtype of autocast in this thread; None where it is off."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_autocast(PyObject* module) { return PyModule_AddFunctions(module, autocast_functions) == 0; }

}  // namespace dlcore
