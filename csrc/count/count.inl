// How often each of the integers 0 .. size - 1 is among the elements of a vector, or the sums of what they weigh.
//
// The numbers are read twice, first to see that they are in range, which memory bounds; then each costs an addition in
// a table, where it may wait for the one before in the same place. Counts of few places are therefore kept in four
// tables in turn. Long vectors are cut into parts by their length alone, each with a table of its own, which are added
// in their order: the same bits for any number of threads. Sums are in double.

#include "common/dtypes.inl"
#include "common/simd.inl"

constexpr int64_t kCountPart = 1 << 17;
constexpr int64_t kCountParts = 16;
constexpr int64_t kInTurn = 2048;  // places of tables taken in turn: four of them fit into the first-level cache

template <class T> struct Limits {
  T least = 0, greatest = 0;
};

// The least and the greatest of the integers and 0.
template <class T> static Limits<T> limits_of(const T* x, int64_t n) {
  Limits<T> found;
  for (int64_t i = 0; i < n; ++i) {
    found.least = x[i] < found.least ? x[i] : found.least;
    found.greatest = x[i] > found.greatest ? x[i] : found.greatest;
  }
  return found;
}

// Of integers that are all in range; otherwise nothing has been written.
template <class T> static void check_counted(const T* x, int64_t n, int64_t size) {
  const Limits<T> found = limits_of(x, n);
  const auto below = [&](T value) { return static_cast<uint64_t>(value) < static_cast<uint64_t>(size); };
  if (n == 0 || (found.least >= 0 && below(found.greatest))) return;
  int64_t i = 0;
  while (x[i] >= 0 && below(x[i])) ++i;
  const std::string value = std::to_string(x[i]);
  throw ValueFault("bincount_sized: value " + value + " at position " + std::to_string(i) +
                   (x[i] < 0 ? " is negative" : " is not below " + std::to_string(size)));
}

template <class T> static void count_part(const T* x, int64_t n, int64_t size, int64_t* table) {
  if (size > kInTurn) {
    for (int64_t i = 0; i < n; ++i) ++table[x[i]];
    return;
  }
  int64_t others[3][kInTurn];
  for (auto& other : others) std::fill(other, other + size, 0);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    ++table[x[i]];
    for (int k = 0; k < 3; ++k) ++others[k][x[i + 1 + k]];
  }
  for (; i < n; ++i) ++table[x[i]];
  for (int64_t v = 0; v < size; ++v) table[v] += others[0][v] + others[1][v] + others[2][v];
}

// part(x, n, table) for each part of the vector, the tables added into `total`.
template <class C, class Part> static void add_parts(int64_t n, int64_t size, C* total, Part part) {
  const int64_t wanted = n / kCountPart, most = size > 0 ? n / (4 * size) : 1;  // a table is worth its additions
  const int64_t fewer = wanted < most ? wanted : most, bounded = fewer < kCountParts ? fewer : kCountParts;
  const int64_t parts = bounded < 1 ? 1 : bounded, length = (n + parts - 1) / parts;
  const Scratch<C> tables((parts - 1) * size);
  parallel_for(parts, [&](int64_t k) {
    C* table = k ? tables.get() + (k - 1) * size : total;
    std::fill(table, table + size, C(0));
    const int64_t begin = k * length, end = begin + length < n ? begin + length : n;
    part(begin, end > begin ? end - begin : 0, table);
  });
  for (int64_t k = 0; k + 1 < parts; ++k)
    for (int64_t v = 0; v < size; ++v) total[v] += tables[k * size + v];
}

// inputs: integers; what they weigh, or null. parameter 0: size
static void bincount(const Args& a) {
  const Array &x = a.in(0), &weights = a.in(1), &out = a.out();
  const int64_t n = x.size(), size = a.integer(0);
  with_integer(x.dtype, [&]<class T>() {
    const T* values = x.as<const T>();
    check_counted(values, n, size);
    if (!weights)
      return add_parts(n, size, out.as<int64_t>(), [&](int64_t first, int64_t count, int64_t* table) {
        count_part(values + first, count, size, table);
      });
    const Scratch<double> sums(size);
    with_float(weights.dtype, [&]<class W>() {
      const W* weight = weights.as<const W>();
      add_parts(n, size, sums.get(), [&](int64_t first, int64_t count, double* table) {
        for (int64_t i = first; i < first + count; ++i) table[values[i]] += static_cast<double>(load(weight + i));
      });
      for (int64_t v = 0; v < size; ++v) store(out.as<W>() + v, static_cast<compute_t<W>>(sums[v]));
    });
  });
}

// inputs: integers. output: the least and one that no element exceeds, -1 of none, both as int64 or the largest of it.
static void limits(const Args& a) {
  const Array& x = a.in(0);
  auto* out = a.out().as<int64_t>();
  with_integer(x.dtype, [&]<class T>() {
    const Limits<T> found = limits_of(x.as<const T>(), x.size());
    constexpr uint64_t kLargest = INT64_MAX;
    out[0] = static_cast<int64_t>(found.least);
    out[1] = static_cast<uint64_t>(found.greatest) > kLargest ? INT64_MAX : static_cast<int64_t>(found.greatest);
    if (x.size() == 0) out[1] = -1;
  });
}

static const Kernel kernels[] = {
    {"count:bincount", bincount, kAllContiguous},
    {"count:limits", limits, kAllContiguous},
};
