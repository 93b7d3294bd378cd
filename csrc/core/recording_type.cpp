// The recording as a Python type: what it tells about itself, and the module's functions.
#include <utility>

#include "core/function.h"
#include "core/recording.h"

namespace dlcore {

PyTypeObject* recording_type = nullptr;

// ---- what a recording tells ---------------------------------------------------------------------------------------
static Recording* as_recording(PyObject* o) { return reinterpret_cast<Recording*>(o); }

// The list of item(k), a new reference or null with an error, for k = from ... to - 1.
template <class Item> static PyObject* list_of(size_t from, size_t to, Item item) {
  Ref list = Ref::own(PyList_New(0));
  for (size_t k = from; list && k < to; ++k) {
    const Ref made = Ref::own(item(k));
    if (!made || PyList_Append(list.get(), made.get()) < 0) return nullptr;
  }
  return list.release();
}

// (dtype, shape, strides, region, offset, value), or None where an operand is absent.
static PyObject* describe_array(const Steps& s, const Array& a, const Place& p) {
  if (p.region == -2) return Py_NewRef(Py_None);
  const long long value = p.region == -1 ? s.immediates[static_cast<size_t>(p.offset)] : 0;
  return Py_BuildValue("ONNiLL", dtype_object(a.dtype), shape_tuple(a.shape, a.ndim), shape_tuple(a.strides, a.ndim),
                       p.region, static_cast<long long>(p.offset), value);
}

// (kernel name, operation or None, attributes or None, line, inputs, outputs, params)
static PyObject* describe_command(const Steps& s, const Command& c) {
  const auto array = [&](size_t k) { return describe_array(s, s.arrays[k], s.places[k]); };
  const auto bits = [&](size_t k) { return PyLong_FromLongLong(s.params[k].i); };
  const size_t first = static_cast<size_t>(c.first_array), outputs = first + static_cast<size_t>(c.n_inputs);
  const size_t end = first + static_cast<size_t>(c.n_arrays), first_param = static_cast<size_t>(c.first_param);
  return Py_BuildValue("sOOOiNNN", c.kernel.name, c.function ? c.function->op : Py_None,
                       c.attrs ? c.attrs.get() : Py_None, c.lengths ? c.lengths.get() : Py_None, c.line,
                       list_of(first, outputs, array),
                       list_of(outputs, end, array),
                       list_of(first_param, first_param + static_cast<size_t>(c.n_params), bits));
}

// (operation, attributes, line, number of the next command, base, view)
static PyObject* describe_view(const Steps& s, const ViewNote& v) {
  const auto array = [&](int k) {
    return describe_array(s, s.view_arrays[static_cast<size_t>(k)], s.view_places[static_cast<size_t>(k)]);
  };
  return Py_BuildValue("OOiiNN", v.function ? v.function->op : Py_None, v.attrs ? v.attrs.get() : Py_None, v.line,
                       v.before, array(v.base), array(v.view));
}

// (kind, bytes, first command, last command, written, arena offset or -1, line, address)
static PyObject* describe_region(const Region& r) {
  static const char* kinds[] = {"outside", "input", "inside"};
  const char* kind = r.kind == Region::inside && r.buffer ? "result" : kinds[r.kind];
  const uintptr_t at = r.kind != Region::inside ? reinterpret_cast<uintptr_t>(r.buffer->data) : 0;
  return Py_BuildValue("sniiOLiK", kind, static_cast<Py_ssize_t>(r.bytes), r.first, r.last,
                       r.written ? Py_True : Py_False, static_cast<long long>(r.offset), r.line,
                       static_cast<unsigned long long>(at));
}

static PyObject* get_commands(PyObject* o, void*) {
  const Steps& s = as_recording(o)->steps;
  return list_of(0, s.commands.size(), [&](size_t k) { return describe_command(s, s.commands[k]); });
}
static PyObject* get_views(PyObject* o, void*) {
  const Steps& s = as_recording(o)->steps;
  return list_of(0, s.views.size(), [&](size_t k) { return describe_view(s, s.views[k]); });
}
static PyObject* get_regions(PyObject* o, void*) {
  const std::vector<Region>& regions = as_recording(o)->steps.regions;
  return list_of(0, regions.size(), [&](size_t k) { return describe_region(regions[k]); });
}
static PyObject* get_lines(PyObject* o, void*) {
  const std::vector<std::string>& lines = as_recording(o)->steps.lines;
  return list_of(0, lines.size(), [&](size_t k) { return PyUnicode_FromString(lines[k].c_str()); });
}
static PyObject* get_operands(PyObject* o, void*) {
  const std::vector<TensorRef>& operands = as_recording(o)->steps.operands;
  return list_of(0, operands.size(), [&](size_t k) { return Py_NewRef(operands[k].object()); });
}
static PyObject* get_serial(PyObject* o, void*) { return PyBool_FromLong(as_recording(o)->serial); }
static int set_serial(PyObject* o, PyObject* value, void*) {
  const int truth = value ? PyObject_IsTrue(value) : 0;
  if (truth >= 0) as_recording(o)->serial = truth;
  return truth < 0 ? -1 : 0;
}
static PyObject* get_arena_bytes(PyObject* o, void*) {
  return PyLong_FromLongLong(as_recording(o)->steps.arena_bytes);
}
static PyObject* get_unplanned_bytes(PyObject* o, void*) {
  return PyLong_FromLongLong(as_recording(o)->steps.unplanned_bytes);
}
static PyObject* get_device(PyObject* o, void*) { return Py_NewRef(device_object(as_recording(o)->steps.device)); }
static PyObject* get_copies_arguments(PyObject* o, void*) { return PyBool_FromLong(!as_recording(o)->fixed.empty()); }
static PyObject* get_replays(PyObject* o, void*) { return PyLong_FromLongLong(as_recording(o)->replays); }

// watch(guards, check): what must be as it is for a replay. A guard: (kind, owner, key, value), as in guards.h.
static PyObject* watch(PyObject* object, PyObject* args) {
  Recording* self = as_recording(object);
  PyObject *list, *check;
  if (!PyArg_ParseTuple(args, "O!O:watch", &PyList_Type, &list, &check)) return nullptr;
  std::vector<Guard> guards(static_cast<size_t>(PyList_GET_SIZE(list)));
  for (size_t k = 0; k < guards.size(); ++k) {
    if (!make_guard(PyList_GET_ITEM(list, static_cast<Py_ssize_t>(k)), guards[k])) return nullptr;
  }
  self->guards.swap(guards);
  self->check = Ref::share(check);
  self->seen_changes = changes;
  Py_RETURN_NONE;
}

// broken_guard(): the number of the first guard that does not hold, or None.
static PyObject* broken_guard(PyObject* object, PyObject*) {
  std::vector<Guard>& guards = as_recording(object)->guards;
  for (size_t k = 0; k < guards.size(); ++k) {
    const int same = holds(guards[k]);
    if (same < 0) return nullptr;
    if (!same) return PyLong_FromSize_t(k);
  }
  Py_RETURN_NONE;
}

static int recording_traverse(PyObject* object, visitproc visit, void* arg) {
  Recording* self = as_recording(object);
  Py_VISIT(Py_TYPE(object));
  for (const Guard& guard : self->guards) {
    Py_VISIT(guard.owner.get());
    Py_VISIT(guard.key.get());
    Py_VISIT(guard.value.get());
  }
  Py_VISIT(self->check.get());
  Py_VISIT(self->last_args.get());
  return 0;
}
static int recording_clear(PyObject* object) {
  Recording* self = as_recording(object);
  std::exchange(self->guards, {});
  self->check = {};
  self->last_args = {};
  return 0;
}
static void recording_dealloc(PyObject* object) {
  Recording* self = as_recording(object);
  PyObject_GC_UnTrack(object);
  recording_clear(object);
  self->results.clear();
  self->grads.clear();
  release(self->steps);
  drop(self->arena);
  for (Buffer* buffer : self->fixed) drop(buffer);
  for (Buffer* buffer : self->fixed_of_many) drop(buffer);
  PyTypeObject* type = Py_TYPE(object);
  self->~Recording();
  PyObject_GC_Del(object);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

static PyObject* is_recording(PyObject*, PyObject*) { return PyBool_FromLong(recorder != nullptr); }
static PyObject* note_change(PyObject*, PyObject*) {
  ++changes;
  Py_RETURN_NONE;
}
static PyObject* count_changes(PyObject*, PyObject*) { return PyLong_FromUnsignedLongLong(changes); }
// not_recordable(reason): what is happening cannot be recorded; it goes on as usual.
static PyObject* not_recordable(PyObject*, PyObject* reason) {
  const char* text = PyUnicode_AsUTF8(reason);
  if (!text) return nullptr;
  if (recorder) record_failure(text);
  Py_RETURN_NONE;
}
static PyObject* begin_named(PyObject*, PyObject* name) {
  if (!recorder) Py_RETURN_FALSE;
  const char* text = PyUnicode_AsUTF8(name);
  return text ? PyBool_FromLong(begin_call(text)) : nullptr;
}
static PyObject* end_named(PyObject*, PyObject*) {
  end_call();
  Py_RETURN_NONE;
}
// suspended(function): function() without recording what it does.
static PyObject* suspended(PyObject*, PyObject* function) {
  Recorder* r = std::exchange(recorder, nullptr);
  PyObject* result = PyObject_CallNoArgs(function);
  recorder = r;
  return result;
}

// set_examiner(callable or None): the one before.
static PyObject* set_examiner(PyObject*, PyObject* callable) {
  PyObject* before = std::exchange(examiner, callable == Py_None ? nullptr : Py_NewRef(callable));
  return before ? before : Py_NewRef(Py_None);
}
static PyObject* is_examining(PyObject*, PyObject*) { return PyBool_FromLong(examiner != nullptr); }

static PyMethodDef functions[] = {
    {"begin_recording", safe<begin_recording>, METH_VARARGS,
     "begin_recording(tensors, dry, stands=()): starts recording in this thread; the tensors to call the step with."},
    {"end_recording", safe<end_recording>, METH_VARARGS,
     "end_recording(aliases, outputs): (the Recording, None or why it cannot be replayed: (kind, text, line))."},
    {"copy_graph", safe<copy_graph>, METH_VARARGS,
     "copy_graph(roots, aliases, after): (roots, ends, leaves, kept, stands) of a copy of the graph behind tensors."},
    {"abort_recording", safe<abort_recording>, METH_NOARGS, "Forget what was recorded."},
    {"something_kept", safe<something_kept>, METH_O,
     "something_kept(outputs): whether other tensors made since begin_recording live on."},
    {"made_inside", safe<made_inside>, METH_O,
     "made_inside(tensor): whether its memory was made since begin_recording."},
    {"history_lost", safe<lost_history>, METH_O,
     "history_lost(tensor): whether it was changed through another tensor in a way that its gradient history misses."},
    {"is_recording", safe<is_recording>, METH_NOARGS, "Whether this thread records."},
    {"begin_call", safe<begin_named>, METH_O,
     "begin_call(name): whether errors of what is recorded until end_call() name this function."},
    {"end_call", safe<end_named>, METH_NOARGS, "Ends what begin_call has begun."},
    {"note_change", safe<note_change>, METH_NOARGS,
     "Recordings must look again whether what they depend on is as it was."},
    {"changes", safe<count_changes>, METH_NOARGS,
     "A number that rises with every change that recordings may depend on."},
    {"not_recordable", safe<not_recordable>, METH_O, "not_recordable(reason): what is happening cannot be recorded."},
    {"set_examiner", safe<set_examiner>, METH_O,
     "set_examiner(callable): this thread calls callable(name, operands) before each operation, and what it returns "
     "with the outputs afterwards; None: no longer. Returns the one before."},
    {"is_examining", safe<is_examining>, METH_NOARGS, "Whether this thread has an examiner."},
    {"suspended", safe<suspended>, METH_O, "suspended(function): what function() returns, without recording."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_record(PyObject* module) {
  static PyMethodDef methods[] = {
      {"run", safe<run_recording>, METH_VARARGS,
       "run(*tensors): the results of a replay, a tuple; NotImplemented if it does not stand for the call."},
      {"outcome", safe<outcome_recording>, METH_VARARGS, "outcome(*tensors): what the recorded call itself returns."},
      {"stands", safe<stands_recording>, METH_VARARGS,
       "stands(*tensors): whether it can be replayed for a call with these arguments now."},
      {"sweep", safe<sweep_recording>, METH_VARARGS,
       "sweep(tensors, n): n replays; replay i takes element i along the first axis of every tensor."},
      {"profile", safe<profile_recording>, METH_O,
       "profile(repeats): seconds of each command; the step's effects are undone."},
      {"rewrite", safe<rewrite_recording>, METH_O,
       "rewrite(commands): the commands it is to have: numbers of old ones, and others in the place of old ones."},
      {"lay_out", safe<lay_out_recording>, METH_O,
       "lay_out(allocate): decides where intermediate results go; with their memory, it can be replayed."},
      {"track", safe<track_recording>, METH_VARARGS,
       "track(n_results, outputs, ends, function, rule): results get a gradient history."},
      {"watch", safe<watch>, METH_VARARGS, "watch(guards, check): what must be as it is for a replay."},
      {"broken_guard", safe<broken_guard>, METH_NOARGS,
       "broken_guard(): the number of the first that does not hold, or None."},
      {nullptr, nullptr, 0, nullptr},
  };
  static PyGetSetDef getset[] = {
      {"commands", get_commands, nullptr,
       "Per launch: (kernel, operation, attributes, line, inputs, outputs, params).", nullptr},
      {"views", get_views, nullptr,
       "Per view of a dry run: (operation, attributes, line, number of the next command, base, view).", nullptr},
      {"regions", get_regions, nullptr,
       "Per buffer: (kind, bytes, first, last, written, offset, line, address).", nullptr},
      {"lines", get_lines, nullptr, "Lines of the user's code.", nullptr},
      {"operands", get_operands, nullptr, "Leaves that the step uses.", nullptr},
      {"serial", get_serial, set_serial, "Whether replays keep to one thread.", nullptr},
      {"arena_bytes", get_arena_bytes, nullptr, "Memory of all intermediate results together.", nullptr},
      {"unplanned_bytes", get_unplanned_bytes, nullptr, "Their sizes added up.", nullptr},
      {"device", get_device, nullptr, "The device of the operations.", nullptr},
      {"copies_arguments", get_copies_arguments, nullptr,
       "Whether a replay copies its arguments to where it reads them, as the graph of a GPU does.", nullptr},
      {"replays", get_replays, nullptr, "How often this was replayed.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("A recorded step.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(recording_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(recording_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(recording_clear)},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {0, nullptr},
  };
  static PyType_Spec spec = {"dlcore._C.Recording", sizeof(Recording), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  PyObject* type = PyType_FromSpec(&spec);
  recording_type = reinterpret_cast<PyTypeObject*>(type);
  return type && PyModule_AddObjectRef(module, "Recording", type) == 0 && PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace dlcore
