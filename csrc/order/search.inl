// Places in sorted sequences (searchsorted), and runs of equal elements (run_starts, run_numbers).
//
// Searches are bound by the latency of memory: eight are on their way at once, each a chain of loads without branches.
#include "order/keys.inl"

constexpr int kAtOnce = 8;
constexpr int64_t kSearchGrain = 1024;  // searches: 10 us of those that leave the cache

// Whether the element goes before a value with this key: it is smaller or, `right`, not larger.
template <bool right, class T, class K> static inline bool goes_before(const T* s, K key) {
  const K k = key_of(s, K{0});
  return right ? k <= key : k < key;
}

template <bool right, class T>
static void search(const T* s, int64_t n, const T* values, int64_t* out, int64_t count) {
  using K = bits_t<T>;
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int m = static_cast<int>(count - first < kAtOnce ? count - first : kAtOnce);
    K keys[kAtOnce] = {};
    int64_t base[kAtOnce] = {};
    for (int c = 0; c < m; ++c) keys[c] = key_of(values + first + c, K{0});
    int64_t length = n;
    while (length > 1) {  // elements before base go before the value; those from base + length on do not
      const int64_t half = length / 2;
      for (int c = 0; c < kAtOnce; ++c) base[c] += goes_before<right>(s + base[c] + half - 1, keys[c]) ? half : 0;
      length -= half;
    }
    for (int c = 0; c < m; ++c) out[first + c] = base[c] + (n > 0 && goes_before<right>(s + base[c], keys[c]) ? 1 : 0);
  }
}

// x: (..., n) sorted along its last axis, values: (..., m), or of any shape where x has one axis. params: 1 for "right"
static void searchsorted(const Args& a) {
  const Array &x = a.in(0), &values = a.in(1), &out = a.out();
  const int64_t count = out.size();
  if (count == 0) return;
  const int64_t n = x.shape[x.ndim - 1], each = x.ndim == 1 ? count : out.shape[out.ndim - 1];
  with_dtype(x.dtype, [&]<class T>() {
    const T *s = x.as<const T>(), *v = values.as<const T>();
    parallel_ranges(count, kSearchGrain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t row = begin / each, stop = std::min(end, (row + 1) * each);
        int64_t* to = out.as<int64_t>() + begin;
        if (a.integer(0)) search<true>(s + row * n, n, v + begin, to, stop - begin);
        else search<false>(s + row * n, n, v + begin, to, stop - begin);
        begin = stop;
      }
    });
  });
}

// out[i] = whether x[i] differs from x[i - 1]; params: whether NaN equals NaN
static void run_starts(const Args& a) {
  const Array& x = a.in(0);
  const int64_t n = x.size();
  bool* out = a.out().as<bool>();
  with_dtype(x.dtype, [&]<class T>() {
    using K = bits_t<T>;
    const T* p = x.as<const T>();
    const bool alone = kIsReal<T> && !a.integer(0);
    parallel_ranges(n, 65536, [&](int64_t begin, int64_t end) {
      if (begin == 0) out[begin++] = true;
      if (alone)
        for (int64_t i = begin; i < end; ++i) out[i] = (key_of(p + i, K{0}) != key_of(p + i - 1, K{0})) | is_nan(p + i);
      else
        for (int64_t i = begin; i < end; ++i) out[i] = key_of(p + i, K{0}) != key_of(p + i - 1, K{0});
    });
  });
}

// out[order[i]] = the number of true flags among the first i + 1, less 1
static void run_numbers(const Args& a) {
  const uint8_t* starts = a.in(0).as<const uint8_t>();
  const int64_t *order = a.in(1).as<const int64_t>(), n = a.in(0).size();
  int64_t* out = a.out().as<int64_t>();
  for (int64_t i = 0; i < n; ++i)
    if (static_cast<uint64_t>(order[i]) >= static_cast<uint64_t>(n))
      throw IndexFault("run_numbers: index " + std::to_string(order[i]) + " at position " + std::to_string(i) +
                       " is out of range for axis 0 of length " + std::to_string(n));
  for (int64_t i = 0, number = -1; i < n; ++i) out[order[i]] = number += starts[i];
}

static const Kernel kernels[] = {
    {"order:searchsorted", searchsorted, kAllContiguous},
    {"order:run_starts", run_starts, kAllContiguous},
    {"order:run_numbers", run_numbers, kAllContiguous},
};
