#include "core/autocast.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/function.h"
#include "core/layout.h"
#include "core/ref.h"
#include "core/tape.h"

namespace dlcore {

PER_THREAD int autocast_dtype = kNoAutocast;

// ---- casts that are kept ------------------------------------------------------------------------------------------
// A parameter is cast once for all its uses until it is written. What is kept are the values alone, and the parameter
// is only referred to weakly. Each tracked use has a node of its own on the tape: the gradients of several uses are
// then added in the parameter's dtype, and a backward pass through one use leaves the others alone.
struct KeptCast {
  Ref source;                // a weak reference
  Array array;               // where the source's values were,
  Buffer* buffer = nullptr;  // in what memory (counted),
  int64_t version = 0;       // and how often that had been written
  uint32_t exports = 0;
  TensorRef values;
  Owned<Function> function;  // of the tracked cast, and
  Plan* plan = nullptr;      // its plan (counted); null: it was not tracked

  KeptCast() = default;
  KeptCast(KeptCast&& other) noexcept { swap(other); }
  KeptCast& operator=(KeptCast&& other) noexcept {
    swap(other);
    return *this;
  }
  ~KeptCast() {
    if (buffer) drop(buffer);
    if (plan) unref(plan);
  }
  void swap(KeptCast& other) {
    std::swap(source, other.source);
    std::swap(array, other.array);
    std::swap(buffer, other.buffer);
    std::swap(version, other.version);
    std::swap(exports, other.exports);
    std::swap(values, other.values);
    std::swap(function, other.function);
    std::swap(plan, other.plan);
  }
};

struct KeptCasts {
  std::unordered_map<const Tensor*, KeptCast> by_source;
  size_t limit = 64;  // so many, and those whose source has gone are looked for
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
}

// Whether it is worth keeping a cast, and known when it is outdated: writes from outside raise no version.
static bool keeps_cast(const Tensor* t) {
  const bool parameter = !t->node && !t->view && (t->requires_grad || Py_TYPE(t) != tensor_type);
  return parameter && t->buffer && !t->buffer->exporting && !t->buffer->free_owner;
}

static bool same_values(const KeptCast& kept, const Tensor* t) {
  return PyWeakref_GetObject(kept.source.get()) == reinterpret_cast<const PyObject*>(t) &&
         kept.buffer == t->buffer && kept.version == t->buffer->version && kept.exports == t->buffer->exports &&
         kept.array.data == t->array.data && same_array(kept.array, t->array);
}

// A cast that was kept, as a new result; null where there is none, or with an error.
static TensorRef kept_cast(Tensor* t) {
  if (!kept_casts) return {};
  const auto place = kept_casts->by_source.find(t);
  if (place == kept_casts->by_source.end() || !same_values(place->second, t)) return {};
  const TensorRef base = place->second.values;  // references of our own: making objects may run Python's collector
  const Owned<Function> function = place->second.function;
  Plan* plan = place->second.plan;
  if (!wanted(t)) return base;
  if (!plan) return {};
  ++plan->refs;
  TensorRef values = TensorRef::own(new_view(base.get(), base->array));
  Node* node = values ? new_node(function.get(), plan, 1) : nullptr;
  unref(plan);
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
  KeptCast made;
  made.source = Ref::own(PyWeakref_NewRef(as_object(t), nullptr));
  made.values = TensorRef::own(new_view(cast, cast->array));
  if (!made.source || !made.values) return false;
  made.array = t->array;
  made.buffer = keep(t->buffer);
  made.version = t->buffer->version;
  made.exports = t->buffer->exports;
  if (node) {
    made.function = Owned<Function>::share(node->function);
    made.plan = node->plan;
    ++made.plan->refs;
  }
  if (!kept_casts) kept_casts = new KeptCasts;
  erase_gone(*kept_casts);
  kept_casts->by_source[t].swap(made);  // what was there goes when the table is whole
  return true;
}

// ---- operands -----------------------------------------------------------------------------------------------------
static Tensor* cast_to(Tensor* t, DType dtype) {
  const bool keeps = keeps_cast(t);
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
