// The first call in every CUDA C++ kernel: it waits for the kernel before.
//
// On sm_90 and later a launch may be made while the kernel before it still runs (launch.py, "overlap"), so that its
// blocks take their places as those of the other leave. Nothing that kernel writes may be read before it has ended, and
// nothing it reads may be written: every thread waits here, and so each kernel has ended when the one after it works.
// Triton kernels get the same instructions from the compiler's process (worker.py). They cost no registers: those of all
// kernels of `dlcore verify --compile` are what they were (sm_90). What overlapping saves is unmeasured: DLCORE_OVERLAP=0
// launches each kernel when the one before it has ended, to compare.
#pragma once

__device__ inline void after_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n\tgriddepcontrol.launch_dependents;" ::: "memory");
#endif
}
