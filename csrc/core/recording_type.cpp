// The recording as a Python type: what it tells about itself, and the module's functions.
#include "core/function.h"
#include "core/memory.h"
#include "core/recording.h"
#include "core/tape.h"

namespace dlcore {

PyTypeObject* recording_type = nullptr;

// ---- what a recording tells ---------------------------------------------------------------------------------------
static PyObject* string_list(const std::vector<std::string>& lines) {
  PyObject* list = PyList_New(0);
  for (const std::string& line : lines) {
    PyObject* text = PyUnicode_FromString(line.c_str());
    if (list && text) PyList_Append(list, text);
    Py_XDECREF(text);
  }
  return list;
}

// Per command: (kernel name, row or None, attributes or None, line, inputs, outputs), arrays as
// (dtype, shape, strides, region, offset, value).
static PyObject* describe_array(const Steps& s, size_t k) {
  const Array& a = s.arrays[k];
  const Place& p = s.places[k];
  if (p.region == -2) return Py_NewRef(Py_None);
  const long long value = p.region == -1 ? s.immediates[static_cast<size_t>(p.offset)] : 0;
  return Py_BuildValue("ONNiLL", dtype_object(a.dtype), shape_tuple(a.shape, a.ndim), shape_tuple(a.strides, a.ndim), p.region,
                       static_cast<long long>(p.offset), value);
}
static PyObject* get_commands(PyObject* object, void*) {
  const Steps& s = reinterpret_cast<Recording*>(object)->steps;
  PyObject* list = PyList_New(0);
  for (const Command& c : s.commands) {
    PyObject *in = PyList_New(0), *out = PyList_New(0), *params = PyList_New(0);
    for (int k = 0; k < c.n_arrays; ++k) {
      PyObject* a = describe_array(s, static_cast<size_t>(c.first_array + k));
      if (!a) return nullptr;
      PyList_Append(k < c.n_inputs ? in : out, a);
      Py_DECREF(a);
    }
    for (int k = 0; k < c.n_params; ++k) {
      PyObject* bits = PyLong_FromLongLong(s.params[static_cast<size_t>(c.first_param + k)].i);
      PyList_Append(params, bits);
      Py_XDECREF(bits);
    }
    PyObject* op = c.function ? c.function->op : Py_None;
    PyObject* entry = Py_BuildValue("sOOiNNN", c.kernel.name, op, c.attrs ? c.attrs : Py_None, c.line, in, out, params);
    if (!entry) return nullptr;
    PyList_Append(list, entry);
    Py_DECREF(entry);
  }
  return list;
}

// Per region: (kind, bytes, first command, last command, written, arena offset or -1, line, address).
static PyObject* get_regions(PyObject* object, void*) {
  const Recording* self = reinterpret_cast<Recording*>(object);
  static const char* kinds[] = {"outside", "input", "inside"};
  PyObject* list = PyList_New(0);
  for (size_t k = 0; k < self->steps.regions.size(); ++k) {
    const Region& r = self->steps.regions[k];
    const uintptr_t at = r.kind == Region::outside ? reinterpret_cast<uintptr_t>(r.buffer->data) : 0;
    PyObject* entry = Py_BuildValue("sniiOLiK", r.kind == Region::inside && r.buffer ? "result" : kinds[r.kind], static_cast<Py_ssize_t>(r.bytes),
                                    r.first, r.last, r.written ? Py_True : Py_False, static_cast<long long>(r.offset), r.line,
                                    static_cast<unsigned long long>(at));
    if (!entry) return nullptr;
    PyList_Append(list, entry);
    Py_DECREF(entry);
  }
  return list;
}
static PyObject* get_lines(PyObject* object, void*) { return string_list(reinterpret_cast<Recording*>(object)->steps.lines); }
static PyObject* get_operands(PyObject* object, void*) {
  const Steps& s = reinterpret_cast<Recording*>(object)->steps;
  PyObject* list = PyList_New(0);
  for (PyObject* o : s.operands) PyList_Append(list, o);
  return list;
}
static PyObject* get_serial(PyObject* o, void*) { return PyBool_FromLong(reinterpret_cast<Recording*>(o)->serial); }
static int set_serial(PyObject* o, PyObject* value, void*) {
  const int truth = value ? PyObject_IsTrue(value) : 0;
  if (truth >= 0) reinterpret_cast<Recording*>(o)->serial = truth;
  return truth < 0 ? -1 : 0;
}
static PyObject* get_arena_bytes(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->steps.arena_bytes); }
static PyObject* get_unplanned_bytes(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->steps.unplanned_bytes); }
static PyObject* get_replays(PyObject* o, void*) { return PyLong_FromLongLong(reinterpret_cast<Recording*>(o)->replays); }

// watch(variables, check): what must be unchanged at a replay. variables: (container, (key,) or None, value).
static PyObject* watch(PyObject* object, PyObject* args) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject *list, *check;
  if (!PyArg_ParseTuple(args, "O!O:watch", &PyList_Type, &list, &check)) return nullptr;
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(list); ++k) {
    PyObject *container, *key, *value;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(list, k), "OOO", &container, &key, &value)) return nullptr;
    self->watched.push_back({Py_NewRef(container), key == Py_None ? nullptr : Py_NewRef(PyTuple_GET_ITEM(key, 0)), Py_NewRef(value)});
  }
  Py_XSETREF(self->check, Py_NewRef(check));
  self->seen_changes = changes;
  Py_RETURN_NONE;
}

static int recording_traverse(PyObject* object, visitproc visit, void* arg) {
  Recording* self = reinterpret_cast<Recording*>(object);
  Py_VISIT(Py_TYPE(object));
  for (const Watched& w : self->watched) {
    Py_VISIT(w.container);
    Py_VISIT(w.key);
    Py_VISIT(w.value);
  }
  Py_VISIT(self->check);
  Py_VISIT(self->last_args);
  return 0;
}
static int recording_clear(PyObject* object) {
  Recording* self = reinterpret_cast<Recording*>(object);
  std::vector<Watched> watched;
  watched.swap(self->watched);
  for (const Watched& w : watched) {
    Py_DECREF(w.container);
    Py_XDECREF(w.key);
    Py_DECREF(w.value);
  }
  Py_CLEAR(self->check);
  Py_CLEAR(self->last_args);
  return 0;
}
static void recording_dealloc(PyObject* object) {
  Recording* self = reinterpret_cast<Recording*>(object);
  PyObject_GC_UnTrack(object);
  recording_clear(object);
  for (const Result& r : self->results) Py_XDECREF(as_object(r.tensor));
  for (const Result& r : self->grads) Py_XDECREF(as_object(r.tensor));
  release(self->steps);
  drop(self->arena);
  for (Buffer* buffer : self->fixed) drop(buffer);
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
// not_recordable(reason): what is happening cannot be recorded; it goes on as usual.
static PyObject* not_recordable(PyObject*, PyObject* reason) {
  const char* text = PyUnicode_AsUTF8(reason);
  if (!text) return nullptr;
  if (recorder) record_failure(text);
  Py_RETURN_NONE;
}
// suspended(function): function() without recording what it does.
static PyObject* suspended(PyObject*, PyObject* function) {
  Recorder* r = std::exchange(recorder, nullptr);
  PyObject* result = PyObject_CallNoArgs(function);
  recorder = r;
  return result;
}

static PyMethodDef functions[] = {
    {"begin_recording", begin_recording, METH_VARARGS, "begin_recording(tensors, dry): starts recording in this thread; the tensors to call the step with."},
    {"end_recording", end_recording, METH_VARARGS,
     "end_recording(aliases, outputs): (the Recording, None or why it cannot be replayed: (kind, text, line))."},
    {"abort_recording", abort_recording, METH_NOARGS, "Forget what was recorded."},
    {"something_kept", something_kept, METH_O, "something_kept(outputs): whether other tensors made since begin_recording live on."},
    {"is_recording", is_recording, METH_NOARGS, "Whether this thread records."},
    {"note_change", note_change, METH_NOARGS, "Recordings must look again whether what they depend on is as it was."},
    {"not_recordable", not_recordable, METH_O, "not_recordable(reason): what is happening cannot be recorded."},
    {"suspended", suspended, METH_O, "suspended(function): what function() returns, without recording."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_record(PyObject* module) {
  static PyMethodDef methods[] = {
      {"run", run_recording, METH_VARARGS, "run(*tensors): the results of a replay, a tuple; NotImplemented if this recording does not stand for the call."},
      {"stands", stands_recording, METH_VARARGS, "stands(*tensors): whether it can be replayed for a call with these arguments now."},
      {"sweep", sweep_recording, METH_VARARGS, "sweep(tensors, n): n replays; replay i takes element i along the first axis of every tensor."},
      {"profile", profile_recording, METH_O, "profile(repeats): seconds of each command; the step's effects are undone."},
      {"watch", watch, METH_VARARGS, "watch(variables, check): what must be as it was for a replay."},
      {nullptr, nullptr, 0, nullptr},
  };
  static PyGetSetDef getset[] = {
      {"commands", get_commands, nullptr, "Per launch: (kernel, row, attributes, line, inputs, outputs, params).", nullptr},
      {"regions", get_regions, nullptr, "Per buffer: (kind, bytes, first, last, written, offset, line, address).", nullptr},
      {"lines", get_lines, nullptr, "Lines of the user's code.", nullptr},
      {"operands", get_operands, nullptr, "Leaves that the step uses.", nullptr},
      {"serial", get_serial, set_serial, "Whether replays keep to one thread.", nullptr},
      {"arena_bytes", get_arena_bytes, nullptr, "Memory of all intermediate results together.", nullptr},
      {"unplanned_bytes", get_unplanned_bytes, nullptr, "Their sizes added up.", nullptr},
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
  recording_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return recording_type && PyModule_AddObjectRef(module, "Recording", reinterpret_cast<PyObject*>(recording_type)) == 0 &&
         PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace dlcore
