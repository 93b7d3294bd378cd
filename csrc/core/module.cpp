// The extension module: hot objects through the C API, the rest through pybind11.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/cuda.h"
#include "core/device.h"
#include "core/function.h"
#include "core/memory.h"
#include "core/record.h"
#include "core/tape.h"
#include "core/tensor.h"
#include "core/threads.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
  using namespace dlcore;
  m.doc() = "dlcore's C++ half: tensors, the tape, dispatch and the CPU kernels.";
  if (!init_tensor(m.ptr()) || !init_exchange(m.ptr()) || !init_tape(m.ptr()) || !init_function(m.ptr()) ||
      !init_record(m.ptr()) || !init_device(m.ptr())) throw py::error_already_set();
  cuda::init(m);

  m.def("thread_count", thread_count, "Threads an operation may use, the caller's included.");
  m.def("set_thread_count", [](int n) {
    if (n < 1) throw py::value_error("set_num_threads: at least one thread, not " + std::to_string(n));
    set_thread_count(n);
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
  m.attr("compiler") = py::str(__VERSION__);
}
