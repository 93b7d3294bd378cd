// Traced(name, function, spelled, renamed): a function in Python that is made of operations, whose errors are its own.
//
// The first call with arguments of some shapes and values runs `function` and notes which operations it calls on which
// tensors, with their plans; the next one runs those plans, and no Python. That takes arguments that are plain, or
// tensors of which Python looks at dtype, device, shape, strides and requires_grad alone, and a function that only calls
// operations: one that reads a value, writes in place or draws random numbers stays in Python, and so do calls that are
// recorded, batched or cast by autocast, and all errors. What depends on no argument is kept, a constant. Nothing watches
// what else Python reads: functions of users, who may read what changes, are no Traced.
//
// `spelled` takes arguments by name; `renamed` (dlcore/_arguments.py) makes errors of operations those of `name`.
#include "core/traced.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>

#include "core/autocast.h"
#include "core/batch.h"
#include "core/function.h"
#include "core/record.h"
#include "core/stand_in.h"
#include "core/tape.h"

namespace dlcore {

PER_THREAD Trace* trace = nullptr;
PER_THREAD uint64_t values_read = 0;

namespace {

constexpr size_t kMostPrograms = 512;  // of one function; then all are forgotten
constexpr size_t kMostSlots = 256;
constexpr size_t kMostConstant = 4096;  // bytes of the constants of one program
constexpr size_t kMostHeld = size_t{16} << 20;  // bytes of results that stay while a call is looked at
constexpr Py_ssize_t kLongest = 64;     // items of a sequence and bytes of a text among the arguments

// Slots: the tensors among the arguments, then constants and results as they come.
struct Step {
  Owned<Function> function;
  std::shared_ptr<Plan> plan;
  std::vector<int> operands, outputs;  // slots; -1: absent
  std::vector<int> last;               // the slots that no later step needs
};

struct Program {
  std::vector<Step> steps;
  std::vector<std::pair<int, TensorRef>> constants;
  int n_slots = 0;
  PyTypeObject* returns = nullptr;  // a tuple or a list of `results`; null: the only one
  std::vector<int> results;
};

struct Given {  // the tensors among the arguments, borrowed
  static constexpr int kMost = 32;
  Tensor* tensors[kMost];
  int n = 0;
};

}  // namespace

constexpr int64_t kUnused = -1;

struct Trace {
  std::vector<TensorRef> values;  // of the slots
  std::vector<TensorRef> made;    // that depend on no argument
  struct Constant {
    int slot;
    int64_t version;  // of its memory when a step first had it as an operand; kUnused: none has
  };
  std::vector<Constant> constants;
  std::vector<Step> steps;
  const bool tracked = grad_enabled;
  size_t held = 0;  // bytes of the results among `values`
  bool failed = false;

  void fail() {
    failed = true;
    values.clear();
    made.clear();
    constants.clear();
    steps.clear();
  }

  bool is_constant(int slot) const {
    return std::any_of(constants.begin(), constants.end(), [&](const Constant& c) { return c.slot == slot; });
  }
  // The slot that a tensor has, or gets as a constant; -1: it comes from elsewhere.
  int slot_of(Tensor* t) {
    for (size_t k = values.size(); k-- > 0;)
      if (values[k].get() == t) return static_cast<int>(k);
    const auto same = [&](const TensorRef& m) { return m.get() == t; };
    if (!t->weak && std::none_of(made.begin(), made.end(), same)) return -1;
    const int slot = add(t);
    constants.push_back({slot, kUnused});
    return slot;
  }
  int add(Tensor* t) {
    values.push_back(TensorRef::share(t));
    return static_cast<int>(values.size()) - 1;
  }
};

void trace_failed() {
  if (!trace->failed) trace->fail();
}

void trace_made(Tensor* t) {
  if (trace->failed) return;
  try {
    trace->made.push_back(TensorRef::share(t));
  } catch (const std::bad_alloc&) {
    trace_failed();
  }
}

namespace {

class Suspended {  // what an operation does within is its own business
 public:
  explicit Suspended(Trace* now) : before_(std::exchange(trace, now)) {}
  ~Suspended() { trace = before_; }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

 private:
  Trace* const before_;
};

// ---- looking at a call --------------------------------------------------------------------------------------------
std::vector<PyObject*> items_of(PyObject* result) {
  if (!PyTuple_Check(result) && !PyList_Check(result)) return {result};
  PyObject** items = PySequence_Fast_ITEMS(result);
  return {items, items + PySequence_Fast_GET_SIZE(result)};
}

// The step without its outputs; false where it is none.
bool begin_step(Trace& t, Step& step, Function* f, Operands& operands, PyObject* attrs, const int* lengths,
                int n_groups) {
  if (f->random || f->dynamic || t.values.size() > kMostSlots) return false;
  if (grad_enabled != t.tracked || autocast_dtype != kNoAutocast) return false;
  for (int k = 0; k < operands.n; ++k) {
    const int slot = operands.data[k] ? t.slot_of(operands.data[k]) : -1;
    if (operands.data[k] && slot < 0) return false;
    step.operands.push_back(slot);
  }
  step.function = Owned<Function>::share(f);
  Plan* plan = plan_for(f, operands, attrs, lengths, n_groups);
  if (plan) step.plan = std::shared_ptr<Plan>(plan, unref);
  else PyErr_Clear();  // it comes again
  return plan;
}

int64_t version_of(const Tensor* t) { return t->buffer ? t->buffer->version : 0; }

bool end_step(Trace& t, Step&& step, PyObject* result) {
  const bool constant = std::all_of(step.operands.begin(), step.operands.end(),
                                    [&](int slot) { return slot < 0 || t.is_constant(slot); });
  if (!constant && !step.plan->writes.empty()) return false;
  for (Trace::Constant& c : t.constants) {
    const bool used = !constant && std::count(step.operands.begin(), step.operands.end(), c.slot);
    if (used && c.version == kUnused) c.version = version_of(t.values[static_cast<size_t>(c.slot)].get());
  }
  for (PyObject* item : items_of(result)) {
    if (!is_tensor(item) && item != Py_None) return false;
    Tensor* output = is_tensor(item) ? as_tensor(item) : nullptr;
    if (constant && output) t.made.push_back(TensorRef::share(output));
    if (!constant) step.outputs.push_back(output ? t.add(output) : -1);
    t.held += output && output->buffer ? output->buffer->bytes : 0;
  }
  if (!constant) t.steps.push_back(std::move(step));
  return t.held <= kMostHeld;
}

// What the function returned, as slots.
bool read_results(Trace& t, PyObject* result, Program& program) {
  if (PyTuple_CheckExact(result) || PyList_CheckExact(result)) program.returns = Py_TYPE(result);
  else if (!is_tensor(result)) return false;
  for (PyObject* item : items_of(result)) {
    if (!is_tensor(item) || as_tensor(item)->weak) return false;
    const int slot = t.slot_of(as_tensor(item));
    if (slot < 0) return false;
    for (const Trace::Constant& c : t.constants)  // its memory would be that of all results
      if (t.values[static_cast<size_t>(c.slot)]->buffer == as_tensor(item)->buffer) return false;
    program.results.push_back(slot);
  }
  return true;
}

// For each step the slots that it is the last to need.
void find_last(Program& program, size_t n_given) {
  std::vector<bool> needed(static_cast<size_t>(program.n_slots));
  for (size_t k = 0; k < n_given; ++k) needed[k] = true;  // the caller's
  for (const int slot : program.results) needed[static_cast<size_t>(slot)] = true;
  for (auto step = program.steps.rbegin(); step != program.steps.rend(); ++step) {
    for (const std::vector<int>* slots : {&step->operands, &step->outputs}) {
      for (const int slot : *slots) {
        if (slot < 0 || needed[static_cast<size_t>(slot)]) continue;
        needed[static_cast<size_t>(slot)] = true;
        step->last.push_back(slot);
      }
    }
  }
}

// The program of a call that has returned `result`; null: it must run in Python.
std::shared_ptr<const Program> program_of(Trace& t, size_t n_given, PyObject* result) {
  auto program = std::make_shared<Program>();
  if (t.failed || !read_results(t, result, *program)) return nullptr;
  size_t bytes = 0;
  for (const Trace::Constant& c : t.constants) {
    TensorRef& value = t.values[static_cast<size_t>(c.slot)];
    if (c.version == kUnused) continue;
    if (version_of(value.get()) != c.version) return nullptr;
    bytes += value->buffer ? value->buffer->bytes : 0;
    program->constants.emplace_back(c.slot, std::move(value));
  }
  if (bytes > kMostConstant) return nullptr;
  program->n_slots = static_cast<int>(t.values.size());
  program->steps = std::move(t.steps);
  find_last(*program, n_given);
  return program;
}

// ---- doing it again -----------------------------------------------------------------------------------------------
PyObject* returned(const Program& program, Operands& slots) {
  const auto at = [&](size_t k) { return Py_NewRef(as_object(slots.data[program.results[k]])); };
  if (!program.returns) return at(0);
  const auto n = static_cast<Py_ssize_t>(program.results.size());
  const bool list = program.returns == &PyList_Type;
  PyObject* all = list ? PyList_New(n) : PyTuple_New(n);
  for (Py_ssize_t k = 0; all && k < n; ++k) {
    if (list) PyList_SET_ITEM(all, k, at(static_cast<size_t>(k)));
    else PyTuple_SET_ITEM(all, k, at(static_cast<size_t>(k)));
  }
  return all;
}

PyObject* run(const Program& program, const Given& given) {
  Operands slots(program.n_slots);
  for (int k = 0; k < given.n; ++k) slots.data[k] = as_tensor(Py_NewRef(as_object(given.tensors[k])));
  for (const auto& [slot, value] : program.constants) slots.data[slot] = as_tensor(Py_NewRef(value.object()));
  for (const Step& step : program.steps) {
    Operands operands(static_cast<int>(step.operands.size()));
    for (int k = 0; k < operands.n; ++k) {
      const int slot = step.operands[static_cast<size_t>(k)];
      if (slot >= 0) operands.data[k] = as_tensor(Py_NewRef(as_object(slots.data[slot])));
    }
    const Ref result = Ref::own(run_planned(step.function.get(), step.plan.get(), operands));
    if (!result) return nullptr;
    const bool several = !is_tensor(result.get());
    for (size_t k = 0; k < step.outputs.size(); ++k) {
      if (step.outputs[k] < 0) continue;
      PyObject* item = several ? PySequence_Fast_GET_ITEM(result.get(), static_cast<Py_ssize_t>(k)) : result.get();
      slots.set(step.outputs[k], as_tensor(Py_NewRef(item)));
    }
    for (const int slot : step.last) slots.set(slot, nullptr);
  }
  return returned(program, slots);
}

// ---- the type -----------------------------------------------------------------------------------------------------
struct Entry {
  std::vector<uint64_t> words;
  std::shared_ptr<const Program> program;  // null: Python must do it
};

struct Traced {
  StandIn as;
  PyObject *name, *plain, *renamed;
  std::unordered_multimap<uint64_t, Entry>* programs;  // by the hash of what they depend on
  uint64_t forgotten;  // as plans_forgotten was when they were last used
  int64_t looked_at, kept, repeated;  // calls that were looked at, those of them that could be noted, and made again
};

// Functions that read values are looked at a few times, and those that are called with new numbers each time.
constexpr int64_t kMostRefused = 8, kMostUnused = 64;

bool is_refused(const Traced* f) { return !f->kept && f->looked_at >= kMostRefused; }
bool pays(const Traced* f) { return f->looked_at < kMostUnused + f->repeated; }

bool add_tensor(Key& key, Given& given, Tensor* t) {
  if (t->weak || is_batched(t) || given.n == Given::kMost) return false;
  if (grad_enabled && t->base && !refresh_view(t)) return false;
  for (int k = 0; k < given.n; ++k) {
    if (given.tensors[k] != t) continue;
    key.add(static_cast<uint64_t>(k) | uint64_t{1} << 62);
    return true;
  }
  given.tensors[given.n++] = t;
  const Array& a = t->array;
  const uint64_t tracked = t->requires_grad;
  // A GPU's kernels are specialised for alignment, that of views within the call too.
  const uint64_t place = t->device ? reinterpret_cast<uintptr_t>(a.data) % kVectorBytes : 0;
  key.add(static_cast<uint64_t>(a.dtype) | uint64_t{a.ndim} << 8 | tracked << 16 | uint64_t{t->device} << 24 |
          place << 32 | uint64_t{1} << 63);
  for (int d = 0; d < a.ndim; ++d) {
    key.add(static_cast<uint64_t>(a.shape[d]));
    key.add(static_cast<uint64_t>(a.strides[d]));
  }
  return true;
}

bool add_text(Key& key, PyObject* text) {
  const Py_ssize_t n = PyUnicode_GET_LENGTH(text);
  if (!PyUnicode_IS_ASCII(text) || n > kLongest) return false;
  key.add(reinterpret_cast<uintptr_t>(&PyUnicode_Type));
  key.add(static_cast<uint64_t>(n));
  for (Py_ssize_t k = 0; k < n; k += 8) {
    uint64_t word = 0;
    std::memcpy(&word, PyUnicode_1BYTE_DATA(text) + k, static_cast<size_t>(std::min<Py_ssize_t>(8, n - k)));
    key.add(word);
  }
  return true;
}

// False, perhaps with an error, where the argument is not plain.
bool add_argument(Key& key, Given& given, PyObject* value, int depth = 2) {
  if (is_tensor(value)) return add_tensor(key, given, as_tensor(value));
  if (PyUnicode_CheckExact(value)) return add_text(key, value);
  if (!PyList_CheckExact(value) && !PyTuple_CheckExact(value)) {
    add_attribute(key, value);
    return key.exact;
  }
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
  if (!depth || n > kLongest) return false;
  key.add(reinterpret_cast<uintptr_t>(Py_TYPE(value)));
  key.add(static_cast<uint64_t>(n));
  for (Py_ssize_t k = 0; k < n; ++k)
    if (!add_argument(key, given, PySequence_Fast_GET_ITEM(value, k), depth - 1)) return false;
  return true;
}

bool read_call(Key& key, Given& given, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  const Py_ssize_t n_named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  key.add(static_cast<uint64_t>(n) << 9 | static_cast<uint64_t>(n_named) << 1 | static_cast<uint64_t>(grad_enabled));
  bool plain = true;
  for (Py_ssize_t k = 0; k < n_named && plain; ++k) plain = add_text(key, PyTuple_GET_ITEM(kwnames, k));
  for (Py_ssize_t k = 0; k < n + n_named && plain; ++k) plain = add_argument(key, given, args[k]);
  if (!plain) PyErr_Clear();
  return plain && given.n > 0;
}

const Entry* find(Traced* f, const Key& key) {
  if (f->forgotten != plans_forgotten) {
    f->programs->clear();
    f->forgotten = plans_forgotten;
  }
  const auto [first, last] = f->programs->equal_range(key.hash);
  const auto found = std::find_if(first, last, [&](const auto& entry) {
    return std::equal(key.words, key.words + key.n, entry.second.words.begin(), entry.second.words.end());
  });
  return found == last ? nullptr : &found->second;
}

bool is_kind_renamed() {
  for (PyObject* kind : {PyExc_TypeError, PyExc_ValueError, PyExc_IndexError, PyExc_OverflowError, PyExc_RuntimeError})
    if (PyErr_ExceptionMatches(kind)) return true;
  return false;
}

// The error that is set as one of the function `name`.
void rename_error(Traced* f) {
  if (!is_kind_renamed()) return;
  PyObject *type, *value, *where;
  PyErr_Fetch(&type, &value, &where);
  PyErr_NormalizeException(&type, &value, &where);
  PyObject* args[2] = {value, f->name};
  const Ref error = Ref::own(call_python(f->renamed, args, 2));
  if (error && error.get() != value) {
    PyException_SetCause(error.get(), nullptr);  // as `raise error from None`
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
  } else if (error) {
    PyErr_Restore(Py_NewRef(type), Py_NewRef(value), Py_XNewRef(where));
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(where);
}

PyObject* call_named(Traced* f, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  const bool noted = recorder && begin_call(PyUnicode_AsUTF8(f->name));
  PyObject* function = kwnames ? f->as.function : f->plain;
  PyObject* result = outside([&] { return PyObject_Vectorcall(function, args, nargsf, kwnames); });
  if (noted) end_call();
  if (!result) rename_error(f);
  return result;
}

PyObject* call_first(Traced* f, const Key& key, const Given& given, PyObject* const* args, size_t nargsf,
                     PyObject* kwnames) {
  Trace t;
  for (int k = 0; k < given.n; ++k) t.add(given.tensors[k]);
  Ref result;
  {
    const Suspended before(&t);
    result = Ref::own(call_named(f, args, nargsf, kwnames));
  }
  if (!result) return nullptr;
  auto program = program_of(t, static_cast<size_t>(given.n), result.get());
  f->looked_at += t.held <= kMostHeld;  // whether a large call could be made again is not known
  f->kept += program != nullptr;
  if (f->programs->size() >= kMostPrograms) f->programs->clear();
  f->programs->emplace(key.hash, Entry{{key.words, key.words + key.n}, std::move(program)});
  return result.release();
}

PyObject* call_traced(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* f = reinterpret_cast<Traced*>(self);
  const bool usual = !recorder && !trace && !examiner && !batch_depth && autocast_dtype == kNoAutocast;
  Key key;
  Given given;
  if (!usual || is_refused(f) || !read_call(key, given, args, PyVectorcall_NARGS(nargsf), kwnames)) {
    return call_named(f, args, nargsf, kwnames);
  }
  const Entry* known = find(f, key);
  if (!known && pays(f)) return call_first(f, key, given, args, nargsf, kwnames);
  if (const auto program = known ? known->program : nullptr) {
    ++f->repeated;
    PyObject* result = run(*program, given);
    if (result || !python_answers()) return result;
  }
  return call_named(f, args, nargsf, kwnames);
}

PyObject* call_safely(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  try {
    return call_traced(self, args, nargsf, kwnames);
  } catch (const std::bad_alloc&) {
    return out_of_memory("dlcore");
  }
}

PyObject* traced_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *name, *plain, *spelled, *renamed;
  if (!PyArg_ParseTuple(args, "UOOO:Traced", &name, &plain, &spelled, &renamed)) return nullptr;
  auto programs = std::make_unique<std::unordered_multimap<uint64_t, Entry>>();
  auto* f = reinterpret_cast<Traced*>(type->tp_alloc(type, 0));
  if (!f) return nullptr;
  f->as.vectorcall = call_safely;
  f->as.function = Py_NewRef(spelled);
  f->name = Py_NewRef(name);
  f->plain = Py_NewRef(plain);
  f->renamed = Py_NewRef(renamed);
  f->programs = programs.release();
  f->forgotten = plans_forgotten;
  return reinterpret_cast<PyObject*>(f);
}

void traced_dealloc(PyObject* self) {
  auto* f = reinterpret_cast<Traced*>(self);
  delete f->programs;
  for (PyObject* held : {f->name, f->plain, f->renamed}) Py_XDECREF(held);
  free_stand_in(self);
}

// traced.programs: for how many combinations of arguments C++ has learned what the function does.
PyObject* get_programs(PyObject* self, void*) {
  return PyLong_FromLongLong(reinterpret_cast<Traced*>(self)->kept);
}

}  // namespace

PyObject* dispatch_traced(Function* f, Operands& operands, PyObject* attrs, Tensor* out, const int* lengths,
                          int n_groups) {
  Trace& t = *trace;
  const Suspended within(nullptr);
  Step step;
  if (!t.failed && (out || !begin_step(t, step, f, operands, attrs, lengths, n_groups))) t.fail();
  Ref result = Ref::own(dispatch(f, operands, attrs, out, lengths, n_groups));
  if (result && !t.failed && !end_step(t, std::move(step), result.get())) t.fail();
  return result.release();
}

bool init_traced(PyObject* module) {
  static PyGetSetDef programs = {"programs", get_programs, nullptr,
                                 "For how many kinds of calls C++ has noted the operations.", nullptr};
  return add_stand_in_type(module, "dlcore._C.Traced", sizeof(Traced), safe<traced_new>, traced_dealloc, &programs);
}

}  // namespace dlcore
