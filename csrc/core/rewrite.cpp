// Commands of a recording replaced by others, before its memory is laid out: dlcore/_fusion.py decides which launches
// become one, and this carries it out.
#include <utility>

#include "core/device.h"
#include "core/function.h"
#include "core/recording.h"

namespace dlcore {

namespace {
// The commands that a recording is to have, made in the order of the old ones.
struct Rewriting {
  const Steps& old;
  Steps made;              // commands, arrays, places and params
  std::vector<int> order;  // per command made: the old one whose place it takes

  void add_array(const Array& array, Place place) {
    made.arrays.push_back(array);
    made.places.push_back(place);
  }

  void keep(int index) {
    Command c = old.commands[static_cast<size_t>(index)];
    const auto array = old.arrays.begin() + c.first_array;
    const auto place = old.places.begin() + c.first_array;
    const auto param = old.params.begin() + c.first_param;
    c.first_array = static_cast<int>(made.arrays.size());
    c.first_param = static_cast<int>(made.params.size());
    made.arrays.insert(made.arrays.end(), array, array + c.n_arrays);
    made.places.insert(made.places.end(), place, place + c.n_arrays);
    made.params.insert(made.params.end(), param, param + c.n_params);
    made.commands.push_back(std::move(c));
    order.push_back(index);
  }

  bool add_operands(PyObject* numbers) {  // arrays of old commands by number; None where one is absent
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(numbers); ++k) {
      PyObject* number = PyTuple_GET_ITEM(numbers, k);
      if (number == Py_None) {
        add_array({}, {-2, 0});
        continue;
      }
      const size_t at = PyLong_AsSize_t(number);
      if (at == static_cast<size_t>(-1) && PyErr_Occurred()) return false;
      if (at >= old.arrays.size()) {
        PyErr_Format(PyExc_IndexError, "rewrite: there is no array %zu", at);
        return false;
      }
      add_array(old.arrays[at], old.places[at]);
    }
    return true;
  }

  bool add_workspaces(PyObject* sizes, int line, uint8_t device, std::vector<Region>& regions) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(sizes); ++k) {
      const long long bytes = PyLong_AsLongLong(PyTuple_GET_ITEM(sizes, k));
      if (bytes == -1 && PyErr_Occurred()) return false;
      Array array;
      array.dtype = DType::uint8;
      array.ndim = 1;
      array.shape[0] = bytes;
      array.strides[0] = 1;
      add_array(array, {static_cast<int>(regions.size()), 0});
      regions.push_back({.kind = Region::inside, .bytes = static_cast<size_t>(bytes), .line = line, .device = device});
    }
    return true;
  }

  bool add_params(PyObject* numbers) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(numbers); ++k) {
      PyObject* number = PyTuple_GET_ITEM(numbers, k);
      Param p;
      if (PyFloat_Check(number)) p.f = PyFloat_AS_DOUBLE(number);
      else p.i = PyLong_AsLongLong(number);
      if (PyErr_Occurred()) return false;
      made.params.push_back(p);
    }
    return true;
  }

  // (place, function, attributes, lengths of groups of operands, line, kernel, params, inputs, outputs, workspaces)
  bool add(PyObject* entry, uint8_t device, std::vector<Region>& regions) {
    int place, line;
    PyObject *function, *attrs, *lengths, *kernel, *params, *inputs, *outputs, *workspaces;
    if (!PyArg_ParseTuple(entry, "iO!O!O!iOO!O!O!O!", &place, function_type, &function, &PyTuple_Type, &attrs,
                          &PyTuple_Type, &lengths, &line, &kernel, &PyTuple_Type, &params, &PyTuple_Type, &inputs,
                          &PyTuple_Type, &outputs, &PyTuple_Type, &workspaces)) {
      return false;
    }
    const char* name = PyUnicode_Check(kernel) ? PyUnicode_AsUTF8(kernel) : nullptr;
    const Kernel* found = name ? find_kernel(name)
                               : static_cast<const Kernel*>(PyCapsule_GetPointer(kernel, kKernelCapsule));
    if (!found) {
      if (!PyErr_Occurred()) PyErr_Format(PyExc_LookupError, "no kernel is called %R", kernel);
      return false;
    }
    Command c{};
    c.kernel = *found;
    c.function = Owned<Function>::share(reinterpret_cast<Function*>(function));
    c.attrs = Ref::share(attrs);
    c.lengths = Ref::share(lengths);
    c.line = line;
    c.first_array = static_cast<int>(made.arrays.size());
    c.first_param = static_cast<int>(made.params.size());
    if (!add_operands(inputs)) return false;
    c.n_inputs = static_cast<int>(made.arrays.size()) - c.first_array;
    if (!add_operands(outputs) || !add_workspaces(workspaces, line, device, regions)) return false;
    if (!add_params(params)) return false;
    c.n_arrays = static_cast<int>(made.arrays.size()) - c.first_array;
    c.n_params = static_cast<int>(made.params.size()) - c.first_param;
    made.commands.push_back(std::move(c));
    order.push_back(place);
    return true;
  }
};
}  // namespace

// When each region is in use, anew.
static void note_uses(Steps& s) {
  for (Region& r : s.regions) r.first = r.last = -1;
  for (size_t k = 0; k < s.commands.size(); ++k) {
    const Command& c = s.commands[k];
    for (int a = c.first_array; a < c.first_array + c.n_arrays; ++a) {
      const int region = s.places[static_cast<size_t>(a)].region;
      if (region < 0) continue;
      Region& r = s.regions[static_cast<size_t>(region)];
      if (r.first < 0) r.first = static_cast<int>(k);
      r.last = static_cast<int>(k);
    }
  }
}

// rewrite(commands): each is the number of a command to keep, or what takes the place of one (see Rewriting::add).
PyObject* rewrite_recording(PyObject* object, PyObject* list) {
  Recording* self = reinterpret_cast<Recording*>(object);
  Steps& s = self->steps;
  if (!PyList_Check(list) || !self->bound.empty()) {
    PyErr_SetString(PyExc_ValueError, "rewrite: takes a list of commands, before memory is laid out");
    return nullptr;
  }
  std::vector<Region> regions = s.regions;
  Rewriting r{s, {}, {}};
  for (Py_ssize_t k = 0; k < PyList_GET_SIZE(list); ++k) {
    PyObject* entry = PyList_GET_ITEM(list, k);
    if (PyTuple_Check(entry)) {
      if (!r.add(entry, self->device, regions)) return nullptr;
    } else {
      const long index = PyLong_AsLong(entry);
      if (index == -1 && PyErr_Occurred()) return nullptr;
      if (index < 0 || static_cast<size_t>(index) >= s.commands.size()) {
        return PyErr_Format(PyExc_IndexError, "rewrite: there is no command %ld", index);
      }
      r.keep(static_cast<int>(index));
    }
  }
  s.commands = std::move(r.made.commands);
  s.arrays = std::move(r.made.arrays);
  s.places = std::move(r.made.places);
  s.params = std::move(r.made.params);
  s.regions = std::move(regions);
  note_uses(s);
  const auto renumbered = [&](int command) {  // the first command made behind those before it
    int number = 0;
    for (const int place : r.order) number += place < command;
    return command < 0 ? command : number;
  };
  for (LeafGrad& g : s.grads) g.cleared = renumbered(g.cleared), g.set = renumbered(g.set);
  Py_RETURN_NONE;
}

}  // namespace dlcore
