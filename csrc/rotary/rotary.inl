// Rotary position embedding: pairs of features turned by an angle that grows with the position.
//
// Memory bounds it: each element is read and written once, 8 bytes (float32), with three operations; a row of the
// tables, as wide as half of the turned features, serves all heads of a position from the first-level cache. Rows are
// read where they lie, by strides, so that no transposition comes before. Products are rounded before they are added,
// which gives the same bits for every instruction set and on a GPU.
//
// Operands: x (..., H, T, D) or (..., T, H, D), cos and sin (P, R / 2), positions (none, 0-d, or one for each of the
// last axes of (..., T)). Parameters: 0 axis of the positions, 1 axis of the heads (-1: none), 2 interleaved, 3 heads
// that turn, 4 inverse.
#include "common/dtypes.inl"
#include "common/loop_nest.inl"
#include "common/simd.inl"

constexpr int64_t kRotaryTask = 32768;  // elements that are worth about 10 us

// y = x with its pairs turned; x is dense. The pairs are (i, i + half), or (2 i, 2 i + 1).
template <class C>
static void turn_halves(const C* __restrict x, const C* __restrict cos, const C* __restrict sin, C sign, int64_t half,
                        C* __restrict y) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const C a = x[i], b = x[i + half], c = cos[i], s = sign * sin[i];
    y[i] = a * c - b * s;
    y[i + half] = b * c + a * s;
  }
}
template <class C>
static void turn_pairs(const C* __restrict x, const C* __restrict cos, const C* __restrict sin, C sign, int64_t half,
                       C* __restrict y) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const C a = x[2 * i], b = x[2 * i + 1], c = cos[i], s = sign * sin[i];
    y[2 * i] = a * c - b * s;
    y[2 * i + 1] = b * c + a * s;
  }
}

// The row of the tables for each position: of t alone, or of the batch too. Throws before anything is written.
struct RotaryPlaces {
  int64_t length, table, first = 0, batches = 1;
  Scratch<int64_t> each;
  bool listed;

  RotaryPlaces(const Array& positions, int64_t length, int64_t table)
      : length(length), table(table), each(positions && positions.ndim ? positions.size() : 0),
        listed(positions && positions.ndim) {
    if (!positions) return;
    with_integer(positions.dtype, [&]<class T>() {
      const T* p = positions.as<const T>();
      if (!listed) {
        first = static_cast<int64_t>(p[0]);
        if (length && (first < 0 || first > table - length)) fail(first < 0 ? first : first + length - 1, "");
        return;
      }
      const int64_t n = positions.size();
      batches = length ? n / length : 1;
      for (int64_t i = 0; i < n; ++i) {
        each[i] = static_cast<int64_t>(p[i]);
        if (each[i] < 0 || each[i] >= table) fail(each[i], " at position " + std::to_string(i));
      }
    });
  }
  [[noreturn]] void fail(int64_t place, const std::string& where) const {
    throw IndexFault("rotary_embedding: index " + std::to_string(place) + where + " is out of range for tables of " +
                     std::to_string(table) + " rows");
  }
  int64_t of(int64_t batch, int64_t t) const { return listed ? each[batch % batches * length + t] : first + t; }
};

template <class T> static void rotate(const Args& a) {
  using C = compute_t<T>;
  constexpr bool direct = std::is_same_v<T, C>;
  const Array &x = a.in(0), &out = a.out();
  const int time = static_cast<int>(a.integer(0)), head = static_cast<int>(a.integer(1)), last = x.ndim - 1;
  const bool interleaved = a.integer(2) != 0;
  const int64_t heads = a.integer(3), d = x.shape[last], stride = x.strides[last], half = a.in(1).shape[1];
  const C *cos = a.in(1).as<C>(), *sin = a.in(2).as<C>(), sign = a.integer(4) ? C(-1) : C(1);
  const RotaryPlaces places(a.in(3), x.shape[time], a.in(1).shape[0]);
  const auto turn = interleaved ? turn_pairs<C> : turn_halves<C>;
  enum { kX, kTime, kHead, kBatch };
  LoopNest<4> nest;
  int64_t rows = 1, batch_stride = 1, batch_strides[kMaxDims] = {};
  for (int k = last - 1; k >= 0; --k) {
    if (k == time || k == head) continue;
    batch_strides[k] = batch_stride;
    batch_stride *= x.shape[k];
  }
  for (int k = 0; k < last; ++k) {
    nest.push({x.shape[k], {x.strides[k], k == time, k == head, batch_strides[k]}});
    rows *= x.shape[k];
  }
  if (d == 0) return;
  T* y = out.as<T>();
  parallel_ranges(rows, (kRotaryTask + d - 1) / d, [&](int64_t begin, int64_t end) {
    const Scratch<C> from(d), to(direct ? 1 : d);
    LoopCursor<4> at(nest, nest.count, begin);
    for (int64_t r = begin; r < end; ++r, at.next()) {
      const T* row = x.as<const T>() + at.offsets[kX];
      const C* dense = from.get();
      if constexpr (direct) {
        if (stride == 1) dense = row;
        else for (int64_t i = 0; i < d; ++i) from[i] = row[i * stride];
      } else {
        if (stride == 1) load_block(from.get(), row, d);
        else for (int64_t i = 0; i < d; ++i) from[i] = load(row + i * stride);
      }
      C* result;
      if constexpr (direct) result = y + r * d;
      else result = to.get();
      int64_t turned = 0;
      if (at.offsets[kHead] < heads) {
        const int64_t place = places.of(at.offsets[kBatch], at.offsets[kTime]) * half;
        turn(dense, cos + place, sin + place, sign, half, result);
        turned = 2 * half;
      }
      if (turned < d) std::memcpy(result + turned, dense + turned, sizeof(C) * static_cast<size_t>(d - turned));
      if constexpr (!direct) store_block(y + r * d, result, d);
    }
  });
}

static void rotary_embedding(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { rotate<T>(a); });
}

static const Kernel kernels[] = {
    {"rotary:rotary_embedding", rotary_embedding, 0b1110},
};
