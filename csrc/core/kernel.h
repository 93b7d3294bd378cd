// What a kernel sees, and the one door through which every kernel is entered.
//
// A kernel is a plain function of its arguments: operands described by address, dtype, shape and strides, and numbers.
// It knows nothing of Python, tensors, gradients or recording. `launch` runs it; a recorder may keep the call and run
// it again later with the same arguments, so a kernel keeps no state between calls and reads what changes from step to
// step (learning rate, random offset) from memory.
#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "dtype.h"

namespace dlcore {

constexpr int kMaxDims = 8;

struct Array {
  void* data = nullptr;  // nullptr: an optional operand that is absent, or an output nobody asked for
  DType dtype = DType::float32;
  uint8_t ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[kMaxDims] = {};  // in elements, not bytes; 0 where broadcast, negative where reversed

  explicit operator bool() const { return data != nullptr; }
  template <class T> T* as() const { return static_cast<T*>(data); }
  int64_t size() const {
    int64_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= shape[d];
    return n;
  }
  bool contiguous() const {  // row-major without gaps; strides of axes of length 1 do not matter
    int64_t expected = 1;
    for (int d = ndim - 1; d >= 0; --d) {
      if (shape[d] == 0) return true;
      if (shape[d] != 1 && strides[d] != expected) return false;
      expected *= shape[d];
    }
    return true;
  }
};

union Param {
  int64_t i;
  double f;
};

// Operands in the operation's order: inputs, then outputs, then extras (outputs kept only for the backward pass).
struct Args {
  Array* arrays;
  int n_inputs;
  int n_arrays;
  const Param* params;  // what the operation's `params` returned: Python ints and bools as .i, floats as .f
  int n_params;
  struct Buffer* const* buffers = nullptr;  // whose memory each array is, for recording; null: the call's own value

  const Array& in(int k) const { return arrays[k]; }
  const Array& out(int k = 0) const { return arrays[n_inputs + k]; }
  int64_t integer(int k) const { return params[k].i; }
  double number(int k) const { return params[k].f; }
};

using KernelFunction = void (*)(const Args&);

// Bits of Kernel::contiguous: input k must be contiguous (dispatch copies it first if it is not). Outputs that dispatch
// allocates are always contiguous; a kernel that may write in place into views (copy, fill) says `strided_output`.
constexpr uint32_t kAllContiguous = ~0u;

// What stands behind a kernel that is no plain function: the launches of a GPU program (cuda/program.cpp).
struct Launches {
  virtual ~Launches() = default;
  virtual void run(const Args&) const = 0;
};

// Thrown by kernels that run Python, whose error is set.
struct PythonRaised {};

// To keep a call, keep a copy of its Kernel: that holds the launches.
struct Kernel {
  const char* name = nullptr;  // "family:function", as the rows of dlcore/ops name it
  KernelFunction function = nullptr;
  uint32_t contiguous = 0;
  std::shared_ptr<const Launches> launches = nullptr;  // in place of `function`
};

// What a kernel throws, before it has written anything, when values (not shapes) are wrong: a label out of range, an
// index out of bounds. Becomes Python's IndexError; `what()` names the operation.
struct IndexFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The same, of values that the operation is not defined for. Becomes Python's ValueError.
struct ValueFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The same, of a matrix that is singular or not positive definite. Becomes numpy.linalg.LinAlgError.
struct LinAlgFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---- registration -------------------------------------------------------------------------------------------------
// Kernels compiled for an instruction set the processor has not are never registered.
enum class Isa : int { v1 = 0, v3 = 1, v4 = 2 };  // x86-64 baseline, AVX2 + FMA + F16C, AVX-512 (F, BW, CD, DQ, VL)
Isa processor_isa();                              // best available; the environment variable DLCORE_ISA lowers it

void register_kernel(const Kernel& kernel);
const Kernel* find_kernel(const std::string& name);  // nullptr when there is none
std::vector<std::string> kernel_names();                // sorted

template <int N> bool register_kernels(const Kernel (&table)[N]) {
  for (const Kernel& k : table) register_kernel(k);
  return true;
}

// ---- launch -------------------------------------------------------------------------------------------------------
void launch(const Kernel& kernel, const Args& args);
void run(const Kernel& kernel, const Args& args);  // what a recorder does again: unrecorded

}  // namespace dlcore
