// Autocast: the dtype that operations compute in, where their definitions welcome it. A mode of the thread, as gradient
// mode is; see dlcore/_autocast.py.
#pragma once
#include <utility>

#include "core/plan.h"

namespace dlcore {

enum class CastClass : uint8_t { widest, low, float32 };  // `Op.cast` of dlcore/op/operation.py

constexpr int kNoAutocast = -1;
PER_THREAD extern int autocast_dtype;  // a DType of 16 bits, or kNoAutocast

// Replaces operands by what autocast makes of them; only where it is on. False with a Python error.
bool autocast_operands(CastClass kind, Operands& operands);
// Lets go of the casts of parameters that are kept for their next use. They belong to one mode and to one recording:
// memory made while a step is recorded is the recording's, and a replay must make its own casts.
void forget_casts();

// What an operation is made of, gradients and writes in place keep the dtypes that they are given.
class WithoutAutocast {
 public:
  WithoutAutocast() : before_(std::exchange(autocast_dtype, kNoAutocast)) {}
  ~WithoutAutocast() { autocast_dtype = before_; }
  WithoutAutocast(const WithoutAutocast&) = delete;
  WithoutAutocast& operator=(const WithoutAutocast&) = delete;

 private:
  const int before_;
};

bool init_autocast(PyObject* module);

}  // namespace dlcore
