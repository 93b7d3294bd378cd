// Kernels of the CPU that are Python functions: what the libraries that NumPy brings along compute. They are commands
// like any other: dispatch casts and makes outputs, a recording keeps them and replays them, with the GIL.
#include <array>
#include <memory>
#include <vector>

#include "core/device.h"
#include "core/kernel.h"
#include "core/ref.h"

namespace dlcore {

static const char* format_of(DType dtype) {  // as the struct module names it; bfloat16 has no name there
  switch (dtype) {
    case DType::bool_: return "?";
    case DType::uint8: return "B";
    case DType::int8: return "b";
    case DType::int16: return "h";
    case DType::int32: return "i";
    case DType::int64: return "q";
    case DType::float16: return "e";
    case DType::float32: return "f";
    case DType::float64: return "d";
    default: return nullptr;
  }
}

// The array's memory as a memoryview, which holds while the kernel runs; None for one that is absent.
static PyObject* view_of(const Array& array, bool writable) {
  if (!array) return Py_NewRef(Py_None);
  std::array<Py_ssize_t, kMaxDims> shape{}, strides{};
  const auto item = static_cast<Py_ssize_t>(item_size(array.dtype));
  for (size_t d = 0; d < array.ndim; ++d) shape[d] = array.shape[d], strides[d] = array.strides[d] * item;
  Py_buffer buffer{};
  buffer.buf = array.data;
  buffer.len = array.size() * item;
  buffer.itemsize = item;
  buffer.readonly = !writable;
  buffer.ndim = array.ndim;
  buffer.format = const_cast<char*>(format_of(array.dtype));
  buffer.shape = shape.data();
  buffer.strides = strides.data();
  if (!buffer.format) return PyErr_Format(PyExc_TypeError, "a host kernel takes no bfloat16");
  return PyMemoryView_FromBuffer(&buffer);  // copies shape and strides
}

namespace {
class HostLaunches final : public Launches {
 public:
  HostLaunches(PyObject* name, PyObject* callable) : name_(Py_NewRef(name)), callable_(Py_NewRef(callable)) {}
  void run(const Args& args) const override {
    const PyGILState_STATE gil = PyGILState_Ensure();
    const bool done = call(args);
    PyGILState_Release(gil);
    if (!done) throw PythonRaised{};
  }

 private:
  bool call(const Args& args) const {
    std::vector<Ref> views;
    std::vector<PyObject*> borrowed;
    for (int k = 0; k < args.n_arrays; ++k) {
      views.push_back(Ref::own(view_of(args.arrays[k], k >= args.n_inputs)));
      if (!views.back()) return false;
      borrowed.push_back(views.back().get());
    }
    return static_cast<bool>(Ref::own(call_python(callable_, borrowed.data(), borrowed.size())));
  }

  PyObject *name_, *callable_;  // never freed: plans and recordings may go without the GIL
};
}  // namespace

static PyObject* host_kernel(PyObject*, PyObject* args) {
  PyObject *name, *callable;
  if (!PyArg_ParseTuple(args, "UO:host_kernel", &name, &callable)) return nullptr;
  const char* text = PyUnicode_AsUTF8(name);
  return text ? kernel_capsule(text, std::make_shared<HostLaunches>(name, callable)) : nullptr;
}

static PyMethodDef functions[] = {
    {"host_kernel", safe<host_kernel>, METH_VARARGS,
     "host_kernel(name, callable): a kernel that calls callable with a memoryview (or None) of every array."},
    {nullptr, nullptr, 0, nullptr},
};

bool init_host_kernel(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace dlcore
