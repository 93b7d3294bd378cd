// Elements found by index: take and gather, their adjoints, assignment by index, positions of true elements.
// Bound by memory. Indices are checked before anything that is not a result alone is written. Sums and assignments to
// one place are done in the order of the indices, whatever the number of threads.
#include "common/strided_copy.inl"
#include "movement/positions.inl"
#include "movement/segments.inl"
#include "movement/zeros.inl"

constexpr int64_t kScaleGrain = 32 * 1024;  // elements: 3 us of rows in cache, 7 of rows in memory

// ---- take ---------------------------------------------------------------------------------------------------------
// out[o, i, ...] = x[o, indices[i], ...] with o over the axes before params[0]
static void take(const Args& a) {
  const Array &x = a.in(0), &index = a.in(1), &out = a.out();
  const int64_t axis = a.integer(0), n = index.size();
  // Found once where they are asked for several times, else a part at a time, by whoever reads there.
  const bool shared = Blocks(x, axis).outer > 1 || out.size() == 0;
  const Scratch<int64_t> all(shared ? n : 0);
  Indices indices("take", index, axis, x.shape[axis]);
  if (shared) find_positions("take", index, axis, x.shape[axis], all.get());
  take_at(x, axis, n, out, [&](int64_t first, int64_t count, int64_t* room) -> const int64_t* {
    if (shared) return all.get() + first;
    return indices.find(first, first + count, room) ? room : nullptr;
  });
  indices.check();
}

// ---- take_scaled --------------------------------------------------------------------------------------------------
// Rows as dense arrays of the type arithmetic is done in: out[i] = (x[i] - offset) * scale, or with one of each for
// every element. The rows of a batch are read once, as they are stored, and written once: 100 KB and 400 KB for 128
// images of 784 bytes.
template <bool each, class T, class O, class A>
static void scale_row(O* out, const T* x, int64_t n, const A* offset, const A* scale) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = each ? i : 0;
    out[i] = (static_cast<A>(x[i]) - offset[k]) * scale[k];
  }
}

template <bool each, class T, class O> static void scale_stored_row(O* out, const T* x, int64_t n,
                                                                   const compute_t<O>* offset,
                                                                   const compute_t<O>* scale) {
  if constexpr (std::is_same_v<O, compute_t<O>>) {
    scale_row<each>(out, x, n, offset, scale);
  } else {
    constexpr int64_t block = 256;
    float wide[block];
    for (int64_t i = 0; i < n; i += block) {
      const int64_t m = n - i < block ? n - i : block, k = each ? i : 0;
      load_block(wide, x + i, m);
      scale_row<each>(wide, wide, m, offset + k, scale + k);
      store_block(out + i, wide, m);
    }
  }
}

// A number, or one for each of n channels, as n (if n > 1) numbers that lie side by side.
template <class A> static void spread(const Array& value, int64_t n, A* to) {
  for (int64_t c = 0; c < n; ++c) to[c] = value.as<const A>()[value.ndim ? c * value.strides[0] : 0];
}

// x: rows of `channels` runs; offset and scale have one number, or one for each channel.
template <class T, class O> static void take_scaled_as(const Args& a, const int64_t* positions) {
  using A = compute_t<O>;
  const Array &x = a.in(0), &offset = a.in(1), &scale = a.in(2), &out = a.out();
  const int64_t n = out.ndim ? out.shape[0] : 1, row = out.size() / n;
  const int64_t channels = offset.ndim || scale.ndim ? out.shape[1] : 1, run = row / channels;
  const Scratch<A> offsets(channels), scales(channels);
  spread(offset, channels, offsets.get());
  spread(scale, channels, scales.get());
  const T* from = x.as<const T>();
  O* to = out.as<O>();
  constexpr int64_t ahead = 4, line = 64, most = 16 * line;  // see take_rows
  const int64_t bytes = row * static_cast<int64_t>(sizeof(T)), reach = bytes < most ? bytes : most;
  parallel_ranges(n, row < kScaleGrain ? kScaleGrain / row : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (positions && i + ahead < end) {
        const char* later = reinterpret_cast<const char*>(from + positions[i + ahead] * row);
        for (int64_t b = 0; b < reach; b += line) __builtin_prefetch(later + b);
      }
      const T* r = from + (positions ? positions[i] : i) * row;
      if (run == 1) {
        scale_stored_row<true>(to + i * row, r, row, offsets.get(), scales.get());
        continue;
      }
      for (int64_t c = 0; c < channels; ++c)
        scale_stored_row<false>(to + i * row + c * run, r + c * run, run, &offsets[c], &scales[c]);
    }
  });
}

// out[i, c, ...] = (x[index[i], c, ...] - offset[c]) * scale[c]; without an index, of all rows
static void take_scaled(const Args& a) {
  const Array &x = a.in(0), &index = a.in(3), &out = a.out();
  const Scratch<int64_t> positions(index ? index.size() : 0);
  if (index) find_positions("take_scaled", index, 0, x.shape[0], positions.get());
  if (out.size() == 0) return;
  const int64_t* rows = index ? positions.get() : nullptr;
  with_dtype(x.dtype, [&]<class T>() {
    take_scaled_as<T, std::conditional_t<std::is_integral_v<T>, float, T>>(a, rows);
  });
}

// ---- take_backward ------------------------------------------------------------------------------------------------
// Rows too short for vectors are added one after the other: finding out which go together would take longer.
constexpr int64_t kShortRow = 4;

template <class T>
static void add_short_rows(T* dx, const T* dout, const int64_t* positions, int64_t n, const Blocks& b) {
  using A = compute_t<T>;
  const int64_t count = b.length * b.inner;
  parallel_ranges(b.outer, 65536 / (count + n) + 1, [&](int64_t begin, int64_t end) {
    const Scratch<A> wide(std::is_same_v<T, A> ? 0 : count);
    for (int64_t o = begin; o < end; ++o) {
      A* sums;
      if constexpr (std::is_same_v<T, A>) sums = dx + o * count;
      else sums = wide.get();
      memset(sums, 0, count * sizeof(A));
      const T* d = dout + o * n * b.inner;
      for (int64_t i = 0; i < n; ++i) {
        A* sum = sums + positions[i] * b.inner;
        for (int64_t k = 0; k < b.inner; ++k) sum[k] = sum_of(sum[k], load(d + i * b.inner + k));
      }
      if constexpr (!std::is_same_v<T, A>) round_row(dx + o * count, sums, count);
    }
  });
}

// dx[o, k, ...] = sum of dout[o, i, ...] over the i with indices[i] == k
static void take_backward(const Args& a) {
  const Array &dout = a.in(0), &indices = a.in(1), &dx = a.out();
  const Blocks b(dx, a.integer(0));
  const int64_t n = indices.size();
  const Scratch<int64_t> positions(n);
  // Wrong ones are found also where dx is empty.
  find_positions("take_backward", indices, a.integer(0), b.length, positions.get());
  if (dx.size() == 0) return;
  with_dtype(dx.dtype, [&]<class T>() {
    T* to = dx.as<T>();
    const T* from = dout.as<const T>();
    if (b.inner <= kShortRow) return add_short_rows(to, from, positions.get(), n, b);
    add_rows_by_place(to, b.outer, b.length, b.inner, positions.get(), n, DenseRows<T>{from, n * b.inner, b.inner},
                      false);
  });
}

// ---- gather -------------------------------------------------------------------------------------------------------
// out[i, j, ...] = x[index[i, j, ...], j, ...] for axis params[0] = 0, and so on
static void gather(const Args& a) {
  const Array &x = a.in(0), &index = a.in(1), &out = a.out();
  const int64_t axis = a.integer(0);
  Indices indices("gather", index, axis, x.shape[axis]);
  const IndexRows rows(index, x, axis);
  with_bits(x.dtype, [&]<class T>() {
    const T* from = x.as<const T>();
    T* to = out.as<T>();
    rows.blocks(indices, [=](int64_t first, const int64_t* places, int64_t n, int64_t base) {
      gather_numbers(to + first, from + base, places, n);
    });
  });
  indices.check();
}

// dx[index[i, j, ...], j, ...] += dout[i, j, ...], from zero
static void gather_backward(const Args& a) {
  const Array &dout = a.in(0), &index = a.in(1), &dx = a.out();
  const int64_t axis = a.integer(0), size = dx.size();
  Indices indices("gather_backward", index, axis, dx.shape[axis]);
  const IndexRows rows(index, dx, axis);
  with_dtype(dx.dtype, [&]<class T>() {
    using A = compute_t<T>;
    const Scratch<A> wide(std::is_same_v<T, A> ? 0 : size);
    A* sums;
    if constexpr (std::is_same_v<T, A>) sums = dx.as<T>();
    else sums = wide.get();
    clear(sums, size * sizeof(A));
    add_indexed(sums, dout.as<const T>(), indices, rows);
    if constexpr (!std::is_same_v<T, A>) round_row(dx.as<T>(), sums, size);
  });
}

// ---- scatter_fold -------------------------------------------------------------------------------------------------
// The product, maximum or minimum (a NaN wins) of two, and what changes nothing.
enum Fold : int64_t { kProduct, kMaximum, kMinimum };
template <Fold fold, class A> static inline A folded(A a, A b) {
  if constexpr (fold == kProduct) return static_cast<A>(static_cast<wrap_t<A>>(a) * static_cast<wrap_t<A>>(b));
  const A best = fold == kMaximum ? (b > a ? b : a) : (b < a ? b : a);  // an instruction: nobody foresees which it is
  return b != b ? b : best;
}
template <Fold fold, class A> static A neutral() {
  using Limits = std::numeric_limits<A>;
  if constexpr (fold == kProduct) return A(1);
  else if constexpr (fold == kMaximum) return std::is_integral_v<A> ? Limits::lowest() : -Limits::infinity();
  else return std::is_integral_v<A> ? Limits::max() : Limits::infinity();
}

template <Fold fold, class A, class T>
static void fold_into(A* to, int64_t size, const T* src, Indices& indices, const IndexRows& rows) {
  for (int64_t i = 0; i < size; ++i) to[i] = neutral<fold, A>();
  rows.each(indices, [=](int64_t i, int64_t at) DLCORE_MAP {
    to[at] = folded<fold, A>(to[at], load(src + i));
  });
  indices.check();
}

// out[index[i, j, ...], j, ...] = the fold params[1] of the src[i, j, ...] that go there, in the order of the indices
static void scatter_fold(const Args& a) {
  const Array &src = a.in(0), &index = a.in(1), &out = a.out();
  const int64_t axis = a.integer(0), size = out.size();
  Indices indices("scatter_fold", index, axis, out.shape[axis]);
  const IndexRows rows(index, out, axis);
  with_dtype(out.dtype, [&]<class T>() {
    using A = compute_t<T>;
    const Scratch<A> wide(std::is_same_v<T, A> ? 0 : size);
    A* found;
    if constexpr (std::is_same_v<T, A>) found = out.as<T>();
    else found = wide.get();
    const T* from = src.as<const T>();
    switch (a.integer(1)) {
      case kProduct: fold_into<kProduct>(found, size, from, indices, rows); break;
      case kMaximum: fold_into<kMaximum>(found, size, from, indices, rows); break;
      default: fold_into<kMinimum>(found, size, from, indices, rows);
    }
    if constexpr (!std::is_same_v<T, A>) round_row(out.as<T>(), found, size);
  });
}

// ---- assignment by index ------------------------------------------------------------------------------------------
// target[p] = value[i] for p = indices[i], in order, so the last of equal indices wins; p is a row-major position in
// the first params[0] axes of target, value (broadcast) has the shape of indices and then target's other axes.
static void assign_at(const char* operation, const Array& target, const Array& indices, const Array& maybe_shared,
                      int lead) {
  int64_t places = 1;
  for (int d = 0; d < lead; ++d) places *= target.shape[d];
  const int64_t n = indices.size();
  const Scratch<int64_t> positions(n);
  find_positions(operation, indices, 0, places, positions.get());
  if (n == 0 || target.size() == 0) return;
  const Apart apart(maybe_shared, target);
  const Array& value = apart.array;
  Array row = target, row_value = value;  // one assigned block and its value
  row.ndim = static_cast<uint8_t>(target.ndim - lead);
  for (int d = 0; d < row.ndim; ++d) {
    row.shape[d] = target.shape[lead + d];
    row.strides[d] = target.strides[lead + d];
  }
  row_value.ndim = value.ndim < row.ndim ? value.ndim : row.ndim;
  const int skipped = value.ndim - row_value.ndim;
  for (int d = 0; d < row_value.ndim; ++d) {
    row_value.shape[d] = value.shape[skipped + d];
    row_value.strides[d] = value.strides[skipped + d];
  }
  const CopyNest block = plan_copy(row, row_value);
  Array values = value;  // the axes of value that belong to indices
  values.ndim = static_cast<uint8_t>(skipped);
  const Array* const arrays[] = {&indices, &values};
  const LoopNest<2> nest = loop_over<2>(arrays);
  LoopCursor<2> at(nest, nest.count, 0);
  with_bits(target.dtype, [&]<class T>() {
    T* to = target.as<T>();
    for (int64_t i = 0; i < n; ++i, at.next()) {
      int64_t place = positions[i], offset = 0;
      for (int d = lead - 1; d > 0; --d) {
        offset += place % target.shape[d] * target.strides[d];
        place /= target.shape[d];
      }
      copy_elements(to + offset + place * target.strides[0], value.as<const T>() + at.offsets[1], block);
    }
  });
}

static void put_into(const Args& a) { assign_at("put_", a.in(0), a.in(1), a.in(2), static_cast<int>(a.integer(0))); }

// out = x with out[p] = value[i] for p = indices[i]
static void put(const Args& a) {
  copy_array(a.out(), a.in(0));
  assign_at("put", a.out(), a.in(1), a.in(2), static_cast<int>(a.integer(0)));
}

// The gradient of put's value: dvalue[i] = dout[indices[i]] where i was the last to write there, else 0.
static void put_backward(const Args& a) {
  const Array &dout = a.in(0), &indices = a.in(1), &dvalue = a.out();
  int64_t places = 1;
  for (int d = 0; d < a.integer(0); ++d) places *= dout.shape[d];
  const int64_t n = indices.size();
  const Scratch<int64_t> positions(n), last(places);
  find_positions("put_backward", indices, 0, places, positions.get());
  if (dvalue.size() == 0) return;
  const int64_t row = dvalue.size() / n * item_size(dout.dtype);
  for (int64_t i = 0; i < n; ++i) last[positions[i]] = i;
  parallel_ranges(n, row < kCopyGrain ? kCopyGrain / row : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* to = dvalue.as<char>() + i * row;
      if (last[positions[i]] == i) copy_bytes(to, dout.as<const char>() + positions[i] * row, row);
      else memset(to, 0, row);
    }
  });
}

static bool has_shape(const Array& x, const Array& like) {
  return x.ndim == like.ndim && std::equal(x.shape, x.shape + x.ndim, like.shape);
}

// out = the row-major position, in a shape given by params, of coordinates given one input an axis (broadcast)
static void ravel_index(const Args& a) {
  const Array& out = a.out();
  const int64_t n = out.size();
  int64_t* place = out.as<int64_t>();
  memset(place, 0, n * sizeof(int64_t));
  for (int k = 0; k < a.n_inputs; ++k) {
    const bool as_it_lies = a.in(k).contiguous() && has_shape(a.in(k), out);
    const Scratch<int64_t> copy(as_it_lies ? 0 : n);
    Array dense = out;
    dense.data = as_it_lies ? a.in(k).data : copy.get();
    if (!as_it_lies) copy_array(dense, a.in(k));
    Indices indices("getitem", dense, k, a.integer(k));
    parallel_ranges(n, kIndexGrain, [&](int64_t begin, int64_t end) {
      int64_t positions[kIndexBlock];
      for (int64_t i = begin; i < end; i += kIndexBlock) {
        const int64_t m = end - i < kIndexBlock ? end - i : kIndexBlock;
        if (!indices.find(i, i + m, positions)) return;
        for (int64_t j = 0; j < m; ++j) place[i + j] = place[i + j] * a.integer(k) + positions[j];
      }
    });
    indices.check();
  }
}

// ---- positions of true elements -----------------------------------------------------------------------------------
// Whoever shares the memory may have written other bytes than 0 and 1, or may do so between the two kernels.
static int64_t count_bytes(const uint8_t* x, int64_t n) {
  constexpr int64_t most = 255 * kVectorBytes;  // until a byte of counts is full
  int64_t count = 0, i = 0;
  while (n - i >= kVectorBytes) {
    const int64_t end = i + (n - i < most ? n - i : most) / kVectorBytes * kVectorBytes;
    vec<uint8_t> counts{};
    for (; i < end; i += kVectorBytes) counts -= reinterpret_cast<vec<uint8_t>>(vload(x + i) != 0);
    for (int l = 0; l < kVectorBytes; ++l) count += counts[l];
  }
  for (; i < n; ++i) count += x[i] != 0;
  return count;
}

static void count_nonzero(const Args& a) {
  const uint8_t* x = a.in(0).as<const uint8_t>();
  std::atomic<int64_t> count{0};
  parallel_ranges(a.in(0).size(), 2 * kCopyGrain, [&](int64_t begin, int64_t end) {
    count.fetch_add(count_bytes(x + begin, end - begin), std::memory_order_relaxed);
  });
  *a.out().as<int64_t>() = count.load(std::memory_order_relaxed);
}

// The numbers of the true ones among n bytes, counted from `first` on, `most` of them at most; how many.
static int64_t find_true(const uint8_t* mask, int64_t n, int64_t first, int64_t* to, int64_t most) {
  int64_t found = 0, i = 0;
#if DLCORE_ISA == 4
  const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  for (; i + 64 <= n && found + 64 <= most; i += 64) {  // whole vectors: the next lies over what is too many
    const __m512i bytes = _mm512_loadu_si512(mask + i);
    uint64_t bits = _mm512_test_epi8_mask(bytes, bytes);
    for (int64_t k = first + i; bits; bits >>= 8, k += 8) {
      const __m512i numbers = _mm512_add_epi64(lanes, _mm512_set1_epi64(k));
      _mm512_storeu_si512(to + found, _mm512_maskz_compress_epi64(static_cast<__mmask8>(bits), numbers));
      found += __builtin_popcountll(bits & 255);
    }
  }
#endif
  for (; i < n && found < most; ++i) {  // without a branch: a number is written until it is right
    to[found] = first + i;
    found += mask[i] != 0;
  }
  return found;
}

// to[k] = the coordinates in x of element number positions[k]; the numbers ascend. Those of one row share all but the
// last one.
static void write_coordinates(int64_t* to, const int64_t* positions, int64_t count, const Array& x) {
  const int64_t axes = x.ndim, length = x.shape[axes - 1];
  for (int64_t k = 0, next = 0; k < count; k = next) {
    int64_t rest = positions[k] / length;
    const int64_t begin = rest * length, end = begin + length;
    for (; next < count && positions[next] < end; ++next) to[next * axes + axes - 1] = positions[next] - begin;
    for (int64_t d = axes - 2; d >= 0; --d) {
      const int64_t place = d > 0 ? rest % x.shape[d] : rest;
      for (int64_t i = k; i < next; ++i) to[i * axes + d] = place;
      if (d > 0) rest /= x.shape[d];
    }
  }
}

// out[k] = the coordinates of the k-th true element of x in row-major order; zeros where there are no more.
// Of 1M bytes, half of them true, one thread of a Zen 4 took 620 us an element at a time.
static void nonzero(const Args& a) {
  const Array &x = a.in(0), &out = a.out();
  const uint8_t* mask = x.as<const uint8_t>();
  int64_t* to = out.as<int64_t>();
  const int64_t count = out.shape[0], n = x.size();
  if (x.ndim == 0) return;  // no coordinates
  constexpr int64_t chunk = 64 * 1024, block = 1024;
  const int64_t chunks = (n + chunk - 1) / chunk;
  const Scratch<int64_t> first(chunks + 1);  // number of the first true element of each chunk
  first[0] = 0;
  parallel_ranges(n, chunk, [&](int64_t begin, int64_t end) {
    first[begin / chunk + 1] = chunks == 1 ? count : count_bytes(mask + begin, end - begin);
  });
  for (int64_t k = 1; k <= chunks; ++k) first[k] = std::min(first[k - 1] + first[k], count);
  parallel_ranges(n, chunk, [&](int64_t begin, int64_t end) {
    int64_t at = first[begin / chunk], positions[block];
    const int64_t stop = first[begin / chunk + 1];
    for (int64_t i = begin; i < end && at < stop; i += block) {
      int64_t* const found = x.ndim == 1 ? to + at : positions;
      const int64_t k = find_true(mask + i, std::min(block, end - i), i, found, std::min(block, stop - at));
      if (x.ndim > 1) write_coordinates(to + at * x.ndim, positions, k, x);
      at += k;
    }
    memset(to + at * x.ndim, 0, (stop - at) * x.ndim * sizeof(int64_t));
  });
  const int64_t all = first[chunks] * x.ndim;
  memset(to + all, 0, (count * x.ndim - all) * sizeof(int64_t));
}

// ---- masked_take --------------------------------------------------------------------------------------------------
constexpr int64_t kMaskGrain = 64 * 1024;  // elements: 10 us to look at

// The places of the true bytes of mask, up to `most`; how many there were.
static int64_t places_of(const uint8_t* mask, int64_t n, int64_t* places, int64_t most) {
  int64_t found = 0;
  for (int64_t i = 0; i < n && found < most; ++i) {  // without a branch: the place is written until it is right
    places[found] = i;
    found += mask[i] != 0;
  }
  return found;
}

// Elements one after another, by chunks that count first where theirs begin.
template <class T> static void pack_elements(const T* x, const uint8_t* mask, int64_t n, T* to, int64_t most) {
  const int64_t chunks = (n + kMaskGrain - 1) / kMaskGrain;
  const Scratch<int64_t> starts(chunks + 1);
  const auto length = [=](int64_t c) { return n - c * kMaskGrain < kMaskGrain ? n - c * kMaskGrain : kMaskGrain; };
  starts[0] = 0;
  for (int64_t c = 0; c < chunks; ++c) starts[c + 1] = starts[c] + count_bytes(mask + c * kMaskGrain, length(c));
  parallel_ranges(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const T* from = x + c * kMaskGrain;
      const uint8_t* m = mask + c * kMaskGrain;
      const int64_t last = starts[c + 1] < most ? starts[c + 1] : most;
      for (int64_t i = 0, at = starts[c]; at < last; ++i) {
        to[at] = from[i];
        at += m[i] != 0;
      }
    }
  });
  for (int64_t at = starts[chunks]; at < most; ++at) to[at] = x[0];
}

// out[o, k, ...] = x[o, p, ...] where p, a place in the axes of mask, is that of its k-th true element; 0 where there
// are no more
static void masked_take(const Args& a) {
  const Array &x = a.in(0), &mask = a.in(1), &out = a.out();
  const int64_t axis = a.integer(0), size = out.shape[axis], n = mask.size();
  if (out.size() == 0) return;
  if (x.size() == n) {
    return with_bits(x.dtype, [&]<class T>() {
      pack_elements(x.as<const T>(), mask.as<const uint8_t>(), n, out.as<T>(), size);
    });
  }
  const Scratch<int64_t> places(size);
  for (int64_t k = places_of(mask.as<const uint8_t>(), n, places.get(), size); k < size; ++k) places[k] = 0;
  Array rows = x;  // with the axes of mask as one
  rows.shape[axis] = n;
  rows.ndim = static_cast<uint8_t>(x.ndim - mask.ndim + 1);
  for (int d = static_cast<int>(axis) + 1; d < rows.ndim; ++d) rows.shape[d] = x.shape[d + mask.ndim - 1];
  take_at(rows, axis, size, out, [&](int64_t first, int64_t, int64_t*) { return places.get() + first; });
}

static const Kernel kernels[] = {
    {"movement:take", take, 0b11},
    {"movement:masked_take", masked_take, 0b11},
    {"movement:take_scaled", take_scaled, 0b1001},
    {"movement:take_backward", take_backward, 0b11},
    {"movement:gather", gather, 0b10},
    {"movement:gather_backward", gather_backward, 0b11},
    {"movement:scatter_fold", scatter_fold, 0b11},
    {"movement:put_", put_into, 0b10},
    {"movement:put", put, 0b10},
    {"movement:put_backward", put_backward, 0b11},
    {"movement:ravel_index", ravel_index, 0},
    {"movement:count_nonzero", count_nonzero, 0b1},
    {"movement:nonzero", nonzero, 0b1},
};
