// The module _C.cuda: what dlcore/backends/cuda.py calls.
#include <memory>

#include "core/cuda/driver.h"
#include "core/cuda/program.h"
#include "core/ref.h"

namespace dlcore::cuda {

static PyObject* load_method(PyObject*, PyObject* args) {
  const char* path;
  if (!PyArg_ParseTuple(args, "s:load", &path)) return nullptr;
  load(path);
  Py_RETURN_NONE;
}

static PyObject* driver_version(PyObject*, PyObject*) {
  int version;
  CHECK(cuDriverGetVersion, &version);
  return PyLong_FromLong(version);
}

static PyObject* count(PyObject*, PyObject*) {
  int n;
  CHECK(cuDeviceGetCount, &n);
  return PyLong_FromLong(n);
}

static PyObject* name(PyObject*, PyObject* args) {
  int ordinal, id;
  char text[256] = {};
  if (!PyArg_ParseTuple(args, "i:name", &ordinal)) return nullptr;
  CHECK(cuDeviceGet, &id, ordinal);
  CHECK(cuDeviceGetName, text, static_cast<int>(sizeof text), id);
  return PyUnicode_FromString(text);
}

static PyObject* attribute(PyObject*, PyObject* args) {
  int ordinal, which, id, value;
  if (!PyArg_ParseTuple(args, "ii:attribute", &ordinal, &which)) return nullptr;
  CHECK(cuDeviceGet, &id, ordinal);
  CHECK(cuDeviceGetAttribute, &value, which, id);
  return PyLong_FromLong(value);
}

static PyObject* open_method(PyObject*, PyObject* args) {
  uint8_t device;
  int ordinal;
  if (!PyArg_ParseTuple(args, "bi:open", &device, &ordinal)) return nullptr;
  open(device, ordinal);
  Py_RETURN_NONE;
}

static PyObject* stream(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:stream", &device)) return nullptr;
  return PyLong_FromVoidPtr(Entered(device)->stream);
}

static PyObject* memory_info(PyObject*, PyObject* args) {
  uint8_t device;
  size_t free, total;
  if (!PyArg_ParseTuple(args, "b:memory_info", &device)) return nullptr;
  free_memory(device, &free, &total);
  return Py_BuildValue("nn", static_cast<Py_ssize_t>(free), static_cast<Py_ssize_t>(total));
}

static PyObject* set_fault_words_method(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long address;
  Py_ssize_t bytes, room;
  if (!PyArg_ParseTuple(args, "bKnn:set_fault_words", &device, &address, &bytes, &room)) return nullptr;
  set_fault_words(device, address, static_cast<size_t>(bytes), static_cast<size_t>(room));
  Py_RETURN_NONE;
}

static PyObject* wait_for_method(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long stream;
  int theirs_first;
  if (!PyArg_ParseTuple(args, "bKp:wait_for", &device, &stream, &theirs_first)) return nullptr;
  wait_for(device, stream, theirs_first);
  Py_RETURN_NONE;
}

static PyObject* module_load(PyObject*, PyObject* args) {
  uint8_t device;
  PyObject* image;
  if (!PyArg_ParseTuple(args, "bS:module_load", &device, &image)) return nullptr;
  const Entered place(device);
  Handle module;
  CHECK(cuModuleLoadData, &module, PyBytes_AS_STRING(image));
  return PyLong_FromVoidPtr(module);
}

static PyObject* function(PyObject*, PyObject* args) {
  uint8_t device;
  unsigned long long module;
  const char* symbol;
  int shared;
  if (!PyArg_ParseTuple(args, "bKsi:function", &device, &module, &symbol, &shared)) return nullptr;
  const Entered place(device);
  if (shared > place->shared) {
    throw std::runtime_error(std::string(symbol) + " wants " + std::to_string(shared) + " bytes of shared memory, " +
                             "and a block of this GPU can have " + std::to_string(place->shared));
  }
  Handle function;
  const auto set = [&](int which, int value) {
    check(driver.cuFuncSetAttribute(function, which, value), (std::string(symbol) + ": cuFuncSetAttribute").c_str());
  };
  CHECK(cuModuleGetFunction, &function, reinterpret_cast<Handle>(module), symbol);
  if (shared > kFreeShared) {
    set(kMaxDynamicShared, shared);
    set(kCarveout, 100);  // percent: else there may be room for one block only
  }
  if (driver.cuFuncLoad) CHECK(cuFuncLoad, function);  // else at its first launch, which may be in a capture
  return PyLong_FromVoidPtr(function);
}

static constexpr const char* kGraphCapsule = "dlcore.cuda.graph";  // owns a shared_ptr<Graph>

static PyObject* capture_begin_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_begin", &device)) return nullptr;
  capture_begin(device);
  Py_RETURN_NONE;
}

static PyObject* capture_end_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_end", &device)) return nullptr;
  const Captured captured = capture_end(device);
  auto graph = std::make_unique<std::shared_ptr<Graph>>(instantiate(captured));
  Ref capsule = Ref::own(PyCapsule_New(graph.get(), kGraphCapsule, [](PyObject* o) {
    delete static_cast<std::shared_ptr<Graph>*>(PyCapsule_GetPointer(o, kGraphCapsule));
  }));
  if (capsule) graph.release();
  return Py_BuildValue("Nn", capsule.release(), static_cast<Py_ssize_t>(captured.nodes));
}

static PyObject* capture_abandon_method(PyObject*, PyObject* args) {
  uint8_t device;
  if (!PyArg_ParseTuple(args, "b:capture_abandon", &device)) return nullptr;
  capture_abandon(device);
  Py_RETURN_NONE;
}

static PyObject* launch_graph_method(PyObject*, PyObject* capsule) {
  auto* graph = static_cast<std::shared_ptr<Graph>*>(PyCapsule_GetPointer(capsule, kGraphCapsule));
  if (!graph) return nullptr;
  launch_graph(**graph);
  Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"load", safe<load_method>, METH_VARARGS,
     "load(path): open libcuda.so.1; RuntimeError where it is missing or too old."},
    {"driver_version", safe<driver_version>, METH_NOARGS, "The CUDA version of the driver: 13000."},
    {"count", safe<count>, METH_NOARGS, "How many GPUs there are."},
    {"name", safe<name>, METH_VARARGS, "name(ordinal): a GPU's name."},
    {"attribute", safe<attribute>, METH_VARARGS, "attribute(ordinal, attribute): a CUdevice_attribute of a GPU."},
    {"open", safe<open_method>, METH_VARARGS,
     "open(device, ordinal): make a GPU usable as dlcore's device of that index."},
    {"stream", safe<stream>, METH_VARARGS, "stream(device): its CUstream."},
    {"memory_info", safe<memory_info>, METH_VARARGS, "memory_info(device): (free, total) bytes."},
    {"set_fault_words", safe<set_fault_words_method>, METH_VARARGS,
     "set_fault_words(device, address, bytes, room): where kernels report bad data, which every wait reads."},
    {"wait_for", safe<wait_for_method>, METH_VARARGS,
     "wait_for(device, stream, theirs_first): order the device's stream and another after one another."},
    {"module_load", safe<module_load>, METH_VARARGS,
     "module_load(device, image): a CUmodule of a cubin; never unloaded."},
    {"function", safe<function>, METH_VARARGS, "function(device, module, name, shared): a CUfunction."},
    {"program", safe<make_program>, METH_VARARGS,
     "program(name, device, launches, zeroed): a kernel of packed launches, each (function, grid, block, shared, "
     "parameters, their offsets, slots, maps, attributes); a slot is (offset, size, array, shift, whether it is a "
     "value), a map (offset, array, shift, type, its bytes, swizzle, sizes, strides, box), an attribute "
     "(CUlaunchAttributeID, three ints); zeroed are (array, bytes)."},
    {"capture_begin", safe<capture_begin_method>, METH_VARARGS,
     "capture_begin(device): launches become nodes of a graph from here on."},
    {"capture_end", safe<capture_end_method>, METH_VARARGS, "capture_end(device): (graph, number of nodes)."},
    {"capture_abandon", safe<capture_abandon_method>, METH_VARARGS, "capture_abandon(device): give up a recording."},
    {"launch_graph", safe<launch_graph_method>, METH_O, "launch_graph(graph): run it once, on its device's stream."},
    {nullptr, nullptr, 0, nullptr},
};

bool init(PyObject* parent) {
  static PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT,
                                   .m_name = "dlcore._C.cuda",
                                   .m_doc = "NVIDIA GPUs through the driver API: see csrc/core/cuda.h.",
                                   .m_size = -1,
                                   .m_methods = functions,
                                   .m_slots = nullptr,
                                   .m_traverse = nullptr,
                                   .m_clear = nullptr,
                                   .m_free = nullptr};
  const Ref module = Ref::own(PyModule_Create(&definition));
  return module && PyModule_AddObjectRef(parent, "cuda", module.get()) == 0;
}

}  // namespace dlcore::cuda
