// A copy of an array all elements of which are within limits; where one is not, an error that says so, and nothing is
// written. Bound by memory: read twice, written once.
#include "common/dtypes.inl"
#include "common/simd.inl"
#include "core/threads.h"
#include "loss/position.inl"

constexpr int64_t kCheckGrain = 1 << 16;

enum { kVar, kLabel, kPlace, kCache, kLength };  // as `checked` in dlcore/ops/limits.py has them

[[noreturn]] static void refuse(const Array& x, int64_t i, double value, double low, double high, int64_t what) {
  char number[32];
  snprintf(number, sizeof number, is_float(x.dtype) ? "%g" : "%.0f", value);
  const auto whole = [](double n) { return std::to_string(static_cast<int64_t>(n)); };
  const std::string at = std::string(number) + " at position " + position(x, i);
  switch (what) {
    case kVar: throw ValueFault("checked: var " + at + " is negative");
    case kLabel: throw IndexFault("checked: label " + at + " is out of range for " + whole(high + 1) + " classes");
    case kPlace:
      throw IndexFault("checked: index " + at + " is out of range for an output of " + whole(high + 1) + " places");
    case kCache:
      throw ValueFault("checked: it is full: it holds " + whole(value - low) + " of " + whole(high) + " tokens, and " +
                       whole(low) + " come");
    default:
      throw ValueFault("checked: lengths[" + std::to_string(i) + "] is " + number + ", not between " + whole(low) +
                       " and " + whole(high) + " steps");
  }
}

static void checked(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  const double low = a.number(0), high = a.number(1);
  const int64_t what = a.integer(2), n = x.size();
  with_dtype(x.dtype, [&]<class T>() {
    const T* from = x.as<const T>();
    const auto value = [&](int64_t i) { return static_cast<double>(load(from + i)); };
    std::atomic<bool> wrong{false};
    parallel_ranges(n, kCheckGrain, [&](int64_t begin, int64_t end) {
      int bad = 0;
      for (int64_t i = begin; i < end; ++i) bad |= (value(i) < low) | (value(i) > high);
      if (bad) wrong = true;
    });
    if (!wrong) return;
    int64_t i = 0;
    while (!(value(i) < low || value(i) > high)) ++i;
    refuse(x, i, value(i), low, high, what);
  });
  memcpy(out.data, x.data, static_cast<size_t>(n * item_size(x.dtype)));
}

static const Kernel kernels[] = {{"elementwise:checked", checked, kAllContiguous}};
