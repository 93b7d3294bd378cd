// Tensors filled with what their positions say. Bound by memory: each element is written once.
//
// ramp: first + i * step, computed in float64, then converted; the last element is given, so that a range ends exactly
// where it was told to. Integers are whole numbers below 2^53, which float64 holds.
#include "common/dtypes.inl"

template <class T> static void ramp_of(const Args& a) {
  const Array& x = a.in(0);
  const double first = a.params[0].f, step = a.params[1].f, last = a.params[2].f;
  const int64_t n = x.shape[0], stride = x.strides[0];
  T* const p = x.as<T>();
  if (n == 0) return;
  parallel_ranges(n - 1, 65536, [&](int64_t begin, int64_t end) {
    const auto at = [=](int64_t i) { return static_cast<T>(first + static_cast<double>(i) * step); };
    if (stride == 1) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) p[i] = at(i);
    } else {
      for (int64_t i = begin; i < end; ++i) p[i * stride] = at(i);
    }
  });
  p[(n - 1) * stride] = static_cast<T>(last);
}

static void ramp(const Args& a) {
  switch (a.in(0).dtype) {
    case DType::float32: return ramp_of<float>(a);
    case DType::float64: return ramp_of<double>(a);
    case DType::int32: return ramp_of<int32_t>(a);
    default: return ramp_of<int64_t>(a);
  }
}

static const Kernel kernels[] = {{"creation:ramp", ramp, 0}};
