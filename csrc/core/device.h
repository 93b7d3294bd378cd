// Devices other than the CPU: their memory, and copies between memories and between layouts.
//
// Addresses of a device point into host memory (the interpreter's device) or into a GPU's. Blocks come from Python (the
// backend's pool) and are kept by size when they are freed: all work of a device runs in the order of one stream, so a
// block may be handed out again at once. All of this runs under the GIL.
#pragma once
#include "core/memory.h"
#include "core/tensor.h"

namespace dlcore {

constexpr int kMaxDevices = 64;
constexpr const char* kKernelCapsule = "dlcore.kernel";
bool init_host_kernel(PyObject* module);
PyObject* kernel_capsule(const char* name, std::shared_ptr<const Launches> launches);  // owns a Kernel

bool has_memory(uint8_t device);  // whether tensors can be made there
bool on_host(uint8_t device);     // whether its addresses are host addresses

void* device_allocate(uint8_t device, size_t bytes);  // throws std::bad_alloc, or what else is wrong with the device
void device_release(uint8_t device, void* block, size_t bytes);
Tensor* raise_device_full(uint8_t device, int64_t bytes);  // sets MemoryError; null

// target = source, both on one device, of one shape and dtype and any strides. False with a Python error.
bool device_copy(Tensor* source, Tensor* target);
// A copy whose elements lie among each other, and to multiples of kVectorBytes, as those of t do: a GPU's plan is for
// one layout. What lies between them is copied too.
Tensor* copy_in_layout(Tensor* t);
// target = source, contiguous, of one size in bytes, on any two devices. Waits where the target is the host's.
bool copy_memory(Tensor* source, Tensor* target);

// Memory goes from one library to another, with nobody to tell of an error: the device's stream waits for `stream`
// (theirs_first), or the other way round.
void order_streams(uint8_t device, int64_t stream, bool theirs_first);

bool init_device(PyObject* module);

}  // namespace dlcore
