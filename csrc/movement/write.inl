// Elements written or added where indices say, beside those that stay: scatter, index_add. And indices as coordinates.
// Bound by memory. A result of which an index is out of range is left unfinished; equal indices follow each other in
// their order, whatever the number of threads.
#include "common/strided_copy.inl"
#include "movement/positions.inl"

enum Way : int64_t { kSet, kAdd };

// ---- scatter ------------------------------------------------------------------------------------------------------
// out = x, then out[index[i, j, ...], j, ...] = or += src[i, j, ...] for axis params[0] = 0, and so on
static void scatter_onto(const Args& a) {
  const Array &x = a.in(0), &index = a.in(1), &src = a.in(2), &out = a.out();
  const int64_t axis = a.integer(0), size = out.size();
  Indices indices("scatter", index, axis, out.shape[axis]);
  const IndexRows rows(index, out, axis);
  copy_array(out, x);
  if (a.integer(1) == kSet) {
    with_bits(out.dtype, [&]<class T>() {
      T* to = out.as<T>();
      const T* from = src.as<const T>();
      rows.each(indices, [=](int64_t i, int64_t at) DLCORE_MAP { to[at] = from[i]; });
    });
    return indices.check();
  }
  with_dtype(out.dtype, [&]<class T>() {
    using A = compute_t<T>;
    if constexpr (std::is_same_v<T, A>) {
      add_indexed(out.as<T>(), src.as<const T>(), indices, rows);
    } else {
      const Scratch<A> wide(size);
      for (int64_t i = 0; i < size; ++i) wide[i] = load(out.as<const T>() + i);
      add_indexed(wide.get(), src.as<const T>(), indices, rows);
      round_row(out.as<T>(), wide.get(), size);
    }
  });
}

// ---- index_add ----------------------------------------------------------------------------------------------------
// Columns [first, first + w) of the rows of one block.
template <class T>
static void add_columns(T* out, const T* source, const int64_t* positions, int64_t n, const Blocks& b, int64_t first,
                        int64_t w) {
  using A = compute_t<T>;
  const Scratch<A> wide(std::is_same_v<T, A> ? 0 : b.length * w);
  const int64_t ld = std::is_same_v<T, A> ? b.inner : w;
  A* sums;
  if constexpr (std::is_same_v<T, A>) {
    sums = out + first;
  } else {
    sums = wide.get();
    for (int64_t r = 0; r < b.length; ++r)
      for (int64_t k = 0; k < w; ++k) sums[r * w + k] = load(out + r * b.inner + first + k);
  }
  for (int64_t i = 0; i < n; ++i) {
    A* sum = sums + positions[i] * ld;
    const T* from = source + i * b.inner + first;
#pragma omp simd
    for (int64_t k = 0; k < w; ++k) sum[k] = sum_of(sum[k], load(from + k));
  }
  if constexpr (!std::is_same_v<T, A>)
    for (int64_t r = 0; r < b.length; ++r) round_row(out + r * b.inner + first, sums + r * w, w);
}

// out = x, then out[o, index[i], ...] += source[o, i, ...] with o over the axes before params[0]
static void index_add(const Args& a) {
  const Array &x = a.in(0), &index = a.in(1), &source = a.in(2), &out = a.out();
  const Blocks b(out, a.integer(0));
  const int64_t n = index.size();
  const Scratch<int64_t> positions(n);
  find_positions("index_add", index, a.integer(0), b.length, positions.get());
  copy_array(out, x);
  if (n == 0 || out.size() == 0) return;
  constexpr int64_t width = 512;  // of columns that one thread takes
  const int64_t pieces = (b.inner + width - 1) / width, work = n * (b.inner < width ? b.inner : width);
  with_dtype(out.dtype, [&]<class T>() {
    parallel_ranges(b.outer * pieces, work < 32768 ? 32768 / (work + 1) + 1 : 1, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t o = unit / pieces, first = unit % pieces * width, left = b.inner - first;
        add_columns(out.as<T>() + o * b.length * b.inner, source.as<const T>() + o * n * b.inner, positions.get(), n, b,
                    first, left < width ? left : width);
      }
    });
  });
}

// ---- coordinates --------------------------------------------------------------------------------------------------
// out[d, i] = the place along axis d, in a shape given by params, of element number indices[i]
static void coordinates(const Args& a) {
  const Array &indices = a.in(0), &out = a.out();
  const int64_t n = indices.size(), axes = out.shape[0];
  int64_t size = 1;
  for (int64_t d = 0; d < axes; ++d) size *= a.integer(static_cast<int>(d));
  const Scratch<int64_t> positions(n);
  find_positions("coordinates", indices, 0, size, positions.get());
  int64_t* to = out.as<int64_t>();
  const bool narrow = size <= int64_t{0xFFFFFFFF};
  parallel_ranges(n, 8192, [&](int64_t begin, int64_t end) {
    int64_t* rest = positions.get();
    for (int64_t d = axes - 1; d >= 0; --d) {
      const int64_t length = a.integer(static_cast<int>(d));
      int64_t* place = to + d * n;
      if (d == 0) {
        for (int64_t i = begin; i < end; ++i) place[i] = rest[i];
      } else if ((length & (length - 1)) == 0) {
        const int shift = __builtin_ctzll(static_cast<uint64_t>(length));
        for (int64_t i = begin; i < end; ++i) {
          place[i] = rest[i] & (length - 1);
          rest[i] >>= shift;
        }
      } else if (narrow) {  // 32-bit divisions take a fraction of the time
        const uint32_t by = static_cast<uint32_t>(length);
        for (int64_t i = begin; i < end; ++i) {
          const uint32_t whole = static_cast<uint32_t>(rest[i]), quotient = whole / by;
          place[i] = whole - quotient * by;
          rest[i] = quotient;
        }
      } else {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t quotient = rest[i] / length;
          place[i] = rest[i] - quotient * length;
          rest[i] = quotient;
        }
      }
    }
  });
}

static const Kernel kernels[] = {
    {"movement:scatter_onto", scatter_onto, 0b110},
    {"movement:index_add_rows", index_add, 0b110},
    {"movement:coordinates", coordinates, 0b1},
};
