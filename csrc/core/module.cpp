// The extension module: hot objects through the C API, the rest through pybind11.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <string>

#include "core/batch.h"
#include "core/cuda.h"
#include "core/device.h"
#include "core/faults.h"
#include "core/function.h"
#include "core/guards.h"
#include "core/hooks.h"
#include "core/indexing.h"
#include "core/memory.h"
#include "core/record.h"
#include "core/stand_in.h"
#include "core/tape.h"
#include "core/tensor.h"
#include "core/threads.h"
#include "core/traced.h"

namespace py = pybind11;

static void run_by_name(const std::string& name, const std::vector<py::object>& inputs,
                        const std::vector<py::object>& outputs, const std::vector<py::object>& params) {
  using namespace dlcore;
  const Kernel* kernel = find_kernel(name);
  if (!kernel) throw py::value_error("run_kernel: there is no kernel named " + name);
  if (recorder) throw py::value_error("run_kernel: " + name + " cannot be recorded");
  std::vector<Array> arrays;
  for (const auto* group : {&inputs, &outputs}) {
    for (const py::object& o : *group) {
      if (!is_tensor(o.ptr())) throw py::type_error("run_kernel: " + name + ": operands are tensors");
      const Tensor* t = as_tensor(o.ptr());
      if (t->device || !t->array.contiguous()) {
        throw py::value_error("run_kernel: " + name + ": contiguous, on the CPU");
      }
      if (group == &outputs && !check_writable(t, name.c_str())) throw py::error_already_set();
      arrays.push_back(t->array);
    }
  }
  std::vector<Param> numbers;
  for (const py::object& o : params) {
    Param p;
    if (py::isinstance<py::float_>(o)) p.f = o.cast<double>();
    else p.i = o.cast<int64_t>();
    numbers.push_back(p);
  }
  const Args args{arrays.data(), static_cast<int>(inputs.size()), static_cast<int>(arrays.size()),
                  numbers.data(), static_cast<int>(numbers.size())};
  if (!run_kernel(*kernel, args, std::numeric_limits<size_t>::max())) throw py::error_already_set();  // without the GIL
}

// What Python calls is below: in a sub-interpreter already pybind11's part of the initialisation would wait for ever.
#define PyInit__C initialise
PYBIND11_MODULE(_C, m) {
  using namespace dlcore;
  m.doc() = "dlcore's C++ half: tensors, the tape, dispatch and the CPU kernels.";
  if (!init_tensor(m.ptr()) || !init_exchange(m.ptr()) || !init_tape(m.ptr()) || !init_function(m.ptr()) ||
      !init_remembered(m.ptr()) || !init_shaped(m.ptr()) || !init_quick(m.ptr()) || !init_traced(m.ptr()) ||
      !init_counted(m.ptr()) || !init_batch(m.ptr()) || !init_hooks(m.ptr()) || !init_autocast(m.ptr()) ||
      !init_record(m.ptr()) ||
      !init_guards(m.ptr()) || !init_frames(m.ptr()) || !init_device(m.ptr()) || !init_host_kernel(m.ptr()) || !cuda::init(m.ptr())) {
    throw py::error_already_set();
  }

  m.def("thread_count", thread_count, "Threads an operation may use, the caller's included.");
  m.def("set_thread_count", [](const py::object& n) {
    const std::string given = py::str(py::repr(n));
    if (py::isinstance<py::bool_>(n) || !PyIndex_Check(n.ptr())) {
      throw py::type_error("set_num_threads: n " + given + " is not an integer");
    }
    const Py_ssize_t count = PyNumber_AsSsize_t(n.ptr(), nullptr);  // beyond the range the nearest limit
    if (count < 0 && PyErr_Occurred()) throw py::error_already_set();
    if (count < 1) throw py::value_error("set_num_threads: at least one thread, not " + given);
    set_thread_count(static_cast<int>(std::min<Py_ssize_t>(count, std::numeric_limits<int>::max())));
  }, py::arg("n"));
  m.def("processor_threads", processor_threads, "Physical cores this process may run on.");
  m.def("isa", [] {
    switch (processor_isa()) {
      case Isa::v4: return "AVX-512";
      case Isa::v3: return "AVX2 + FMA";
      default: return "baseline";
    }
  }, "The instruction set whose kernels were registered.");
  m.def("kernel_names", kernel_names, "Names of all CPU kernels.");
  m.def("contiguous_inputs", [](const std::string& name) {
    const Kernel* kernel = find_kernel(name);
    if (!kernel) throw py::value_error("contiguous_inputs: there is no kernel named " + name);
    return kernel->contiguous;
  }, "Bits of the inputs that a CPU kernel wants contiguous.");
  m.def("run_kernel", run_by_name, py::arg("name"), py::arg("inputs"), py::arg("outputs"), py::arg("params"),
        "Run a CPU kernel that no operation names, unrecorded: tensors, contiguous and on the CPU, and its numbers.");
  m.def("memory_stats", [] {
    const MemoryStats s = memory_stats();
    py::dict d;
    d["in_use"] = s.in_use;
    d["cached"] = s.cached;
    d["peak"] = s.peak;
    d["allocations"] = s.allocations;
    return d;
  }, "Bytes handed out, kept for reuse, and the largest handed out since reset_peak_memory().");
  m.def("reset_peak_memory", reset_peak_memory);
  m.def("set_guards", set_guards, py::arg("on"), "Put guard bytes around new tensors' memory (for tests).");
  m.def("guard_faults", guard_faults, "How many tensors were freed with changed guard bytes.");
  m.def("trim_memory", trim_memory, "Give cached memory back to the system.");
  m.attr("cache_limit") = kCacheLimit;
  m.def("fail_allocation", fail_allocation, py::arg("n"), py::arg("python") = false,
        "Make the n-th allocation from now on fail (0: none), of dlcore's memory and C++ objects, and with `python` of "
        "Python's objects; returns how many were left of the n asked for before. For tests.");
  m.attr("compiler") = py::str(__VERSION__);
}
#undef PyInit__C

extern "C" PYBIND11_EXPORT PyObject* PyInit__C() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return initialise();
  PyErr_SetString(PyExc_ImportError,
                  "dlcore cannot be imported in a sub-interpreter: its state belongs to the process; use threads, or "
                  "processes (multiprocessing)");
  return nullptr;
}
