// Places in sorted sequences (searchsorted); runs of equal elements (count_runs, run_heads, run_numbers).
//
// Searches are bound by the latency of memory: sixteen are on their way at once, chains of loads without branches.
#include "order/keys.inl"

constexpr int kAtOnce = 16;
constexpr int64_t kSearchGrain = 1024;  // searches: 10 us of those that leave the cache

// The numbers of elements, of which `key_at` gives the keys, that are smaller than values or, `right`, not larger.
template <bool right, class T, class F>
static void search(int64_t n, const F& key_at, const T* values, int64_t* out, int64_t count) {
  using K = bits_t<T>;
  const auto goes_before = [&](int64_t i, K key) { return right ? key_at(i) <= key : key_at(i) < key; };
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int m = static_cast<int>(count - first < kAtOnce ? count - first : kAtOnce);
    K keys[kAtOnce] = {};
    int64_t base[kAtOnce] = {};
    for (int c = 0; c < m; ++c) keys[c] = key_of(values + first + c, K{0});
    int64_t length = n;
    while (length > 1) {  // elements before base go before the value; those from base + length on do not
      const int64_t half = length / 2;
#pragma GCC unroll 16
      for (int c = 0; c < kAtOnce; ++c) base[c] += goes_before(base[c] + half - 1, keys[c]) ? half : 0;
      length -= half;
    }
    for (int c = 0; c < m; ++c) out[first + c] = base[c] + (n > 0 && goes_before(base[c], keys[c]) ? 1 : 0);
  }
}

// x: (..., n) sorted along its last axis, values: (..., m), or of any shape where x has one axis. params: 1 for "right"
static void searchsorted(const Args& a) {
  const Array &x = a.in(0), &values = a.in(1), &out = a.out();
  const int64_t count = out.size();
  if (count == 0) return;
  const int64_t n = x.shape[x.ndim - 1], each = x.ndim == 1 ? count : out.shape[out.ndim - 1];
  with_dtype(x.dtype, [&]<class T>() {
    using K = bits_t<T>;
    const T *s = x.as<const T>(), *v = values.as<const T>();
    const bool keyed = x.size() <= 2 * count;  // else most elements are never looked at
    const Scratch<K> keys(keyed ? x.size() : 0);
    if (keyed)
      for (int64_t i = 0; i < x.size(); ++i) keys[i] = key_of(s + i, K{0});
    parallel_ranges(count, kSearchGrain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t row = begin / each, stop = std::min(end, (row + 1) * each);
        int64_t* to = out.as<int64_t>() + begin;
        const auto run = [&](const auto& key_at) {
          if (a.integer(0)) search<true>(n, key_at, v + begin, to, stop - begin);
          else search<false>(n, key_at, v + begin, to, stop - begin);
        };
        if (keyed) run([k = keys.get() + row * n](int64_t i) { return k[i]; });
        else run([p = s + row * n](int64_t i) { return key_of(p + i, K{0}); });
        begin = stop;
      }
    });
  });
}

// ---- runs of equal elements ---------------------------------------------------------------------------------------
constexpr int64_t kRunChunk = 65536;

// starts(i) for i > 0: whether x[i] differs from x[i - 1]. `equal_nan`: NaNs do not differ.
template <class T, class F> static void with_starts(const T* x, bool equal_nan, F&& f) {
  if constexpr (kIsReal<T>) {
    const auto at = [x](int64_t i) DLCORE_MAP { return load(x + i); };
    const auto differs = [=](int64_t i) DLCORE_MAP { return at(i) != at(i - 1); };
    if (equal_nan)
      f([=](int64_t i) DLCORE_MAP { return differs(i) & ((at(i) == at(i)) | (at(i - 1) == at(i - 1))); });
    else f(differs);
  } else {
    f([x](int64_t i) DLCORE_MAP { return x[i] != x[i - 1]; });
  }
}

// The number of runs before each chunk of x, and of all.
template <class S> static void count_starts(int64_t n, const S& starts, int64_t* before) {
  const int64_t chunks = (n + kRunChunk - 1) / kRunChunk;
  before[0] = 0;
  parallel_for(chunks, [&](int64_t c) {
    const int64_t begin = c * kRunChunk, end = std::min(n, begin + kRunChunk);
    const S at = starts;  // in registers, where the loop finds it
    uint32_t count = c == 0;
#pragma omp simd reduction(+ : count)
    for (int64_t i = begin + (c == 0); i < end; ++i) count += at(i) ? 1u : 0u;
    before[c + 1] = count;
  });
  for (int64_t c = 0; c < chunks; ++c) before[c + 1] += before[c];
}

template <class F> static void each_run_chunk(const Array& x, bool equal_nan, F&& f) {
  const int64_t n = x.size(), chunks = (n + kRunChunk - 1) / kRunChunk;
  const Scratch<int64_t> before(chunks + 1);
  with_dtype(x.dtype, [&]<class T>() {
    const T* p = x.as<const T>();
    with_starts(p, equal_nan, [&](const auto& starts) {
      count_starts(n, starts, before.get());
      parallel_for(chunks, [&](int64_t c) {
        f(p, starts, c * kRunChunk, std::min(n, (c + 1) * kRunChunk), before[c]);
      });
    });
  });
}

// params: whether NaN equals NaN
static void count_runs(const Args& a) {
  const Array& x = a.in(0);
  const int64_t n = x.size(), chunks = (n + kRunChunk - 1) / kRunChunk;
  const Scratch<int64_t> before(chunks + 1);
  with_dtype(x.dtype, [&]<class T>() {
    with_starts(x.as<const T>(), a.integer(0) != 0, [&](const auto& starts) { count_starts(n, starts, before.get()); });
  });
  *a.out().as<int64_t>() = before[chunks];
}

// The first elements of the first params[0] runs, and where they stand; zeros behind the last.
static void run_heads(const Args& a) {
  const int64_t size = a.integer(0);
  int64_t* places = a.out(1).as<int64_t>();
  void* values = a.out().data;
  std::atomic<int64_t> found{0};
  each_run_chunk(a.in(0), a.integer(1) != 0, [&](const auto* x, const auto& starts, int64_t begin, int64_t end,
                                                 int64_t number) {
    auto* to = static_cast<std::remove_const_t<std::remove_pointer_t<decltype(x)>>*>(values);
    for (int64_t i = begin; i < end && number < size; ++i) {
      if (i > 0 && !starts(i)) continue;
      to[number] = x[i];
      places[number++] = i;
    }
    if (end == a.in(0).size()) found.store(number, std::memory_order_relaxed);
  });
  const int64_t last = std::min(found.load(std::memory_order_relaxed), size), item = item_size(a.out().dtype);
  memset(static_cast<char*>(values) + last * item, 0, (size - last) * item);
  memset(places + last, 0, (size - last) * sizeof(int64_t));
}

// out[order[i]] = the number of the run that x[i] is in
static void run_numbers(const Args& a) {
  const int64_t *order = a.in(1).as<const int64_t>(), n = a.in(0).size();
  int64_t* out = a.out().as<int64_t>();
  for (int64_t i = 0; i < n; ++i)
    if (static_cast<uint64_t>(order[i]) >= static_cast<uint64_t>(n))
      throw IndexFault("run_numbers: index " + std::to_string(order[i]) + " at position " + std::to_string(i) +
                       " is out of range for axis 0 of length " + std::to_string(n));
  each_run_chunk(a.in(0), a.integer(0) != 0, [&](const auto*, const auto& starts, int64_t begin, int64_t end,
                                                 int64_t number) {
    for (int64_t i = begin; i < end; ++i) {
      number += i == 0 || starts(i);
      out[order[i]] = number - 1;
    }
  });
}

static const Kernel kernels[] = {
    {"order:searchsorted", searchsorted, kAllContiguous},
    {"order:count_runs", count_runs, kAllContiguous},
    {"order:run_heads", run_heads, kAllContiguous},
    {"order:run_numbers", run_numbers, kAllContiguous},
};
