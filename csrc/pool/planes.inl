// Poolings of NCHW plane by plane: whole planes, and windows whose elements along a row are taken together first.
//
// A row of the input becomes a row of window sums (or maxima), and these rows are then added along the other axes, so
// that a window of K elements along each of two axes costs 2 K operations and not K * K.
#ifndef DLCORE_POOL_PLANES
#define DLCORE_POOL_PLANES
#include "pool/halves.inl"

static bool is_whole(const Pooling& p) {
  return p.inner == 1 && p.out() == 1 && !p.padded() && p.volume() == p.in();
}

// Planes that are worth a thread's while together.
static int64_t plane_grain(const Pooling& p) { return std::max<int64_t>(1, 32768 / (p.in() + p.out() + 1)); }

// The sums of the lanes of kLanes vectors, in their order.
template <class C> static inline vec<C> sums_of_lanes(vec<C>* v) {
  const place_vector<C> even = every_second<C>(0), odd = every_second<C>(1);
  for (int n = kLanes<C>; n > 1; n /= 2)
    for (int k = 0; k < n / 2; ++k)
      v[k] = __builtin_shuffle(v[2 * k], v[2 * k + 1], even) + __builtin_shuffle(v[2 * k], v[2 * k + 1], odd);
  return v[0];
}

// Lane by lane the sums of n contiguous elements; `last`: of the lanes that a last vector counts, ones.
template <class T> static inline vec<pool_t<T>> lane_sums(const T* x, int64_t n, const pool_t<T>* ones) {
  using C = pool_t<T>;
  constexpr int L = kLanes<C>;
  vec<C> a{}, b{};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) a += get(x + i), b += get(x + i + L);
  if (i + L <= n) a += get(x + i), i += L;
  if (i == n) return a + b;
  if (n >= L) {  // a last vector overlaps the one before, what was counted left out by selection: it may be NaN
    const vec<C> v = get(x + n - L), counted = vload(ones + (n - i));
    return a + b + (counted != 0 ? v : vec<C>{});
  }
  C rest[L] = {};
  load_block(rest, x + i, n - i);
  return a + b + vload(rest);
}

// Means of whole planes, a vector of them at a time.
template <class T> static void means_of_planes(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = pool_t<T>;
  constexpr int L = kLanes<C>;
  const int64_t n = p.in();
  const C by = static_cast<C>(divisors.of(0, 0, 0));
  C ones[2 * L];  // from [r] on: L lanes of which the last r are ones
  for (int l = 0; l < 2 * L; ++l) ones[l] = l >= L;
  const int64_t groups = (p.planes + L - 1) / L;
  parallel_ranges(groups, std::max<int64_t>(1, 32768 / (n * L)), [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t count = std::min<int64_t>(L, p.planes - g * L);
      vec<C> lanes[L];
      for (int64_t k = 0; k < L; ++k) lanes[k] = k < count ? lane_sums(x + (g * L + k) * n, n, ones) : vec<C>{};
      C sums[L];
      vstore(sums, sums_of_lanes<C>(lanes) / by);
      write(out + g * L, sums, count);
    }
  });
}

template <class T> static void back_to_planes(const Pooling& p, const T* dout, T* dx, const Divisors& divisors) {
  using C = pool_t<T>;
  const int64_t n = p.in();
  const C by = static_cast<C>(divisors.of(0, 0, 0));
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      C mean;
      T value;
      read(&mean, dout + k, 1);
      mean /= by;
      write(&value, &mean, 1);
      std::fill(dx + k * n, dx + (k + 1) * n, value);
    }
  });
}

// The maximum of a whole plane and where it is first (of NaNs last): by lanes, then of the lanes.
template <class T> static inline pool_t<T> max_of_plane(const T* x, int64_t n, int64_t* where) {
  using C = pool_t<T>;
  constexpr int L = kLanes<C>;
  C best[L] = {};
  place_of<C> at[L] = {};
  int64_t i = 0;
  int lanes = static_cast<int>(std::min<int64_t>(n, L));
  if (n >= L) {
    vec<C> most = get(x);
    place_vector<C> place{}, here{};
    for (int l = 0; l < L; ++l) place[l] = here[l] = l;
    for (i = L; i + L <= n; i += L) {
      const vec<C> v = get(x + i);
      here += static_cast<place_of<C>>(L);
      const auto better = (v > most) | (v != v);
      most = better ? v : most, place = better ? here : place;
    }
    vstore(best, most);
    __builtin_memcpy(at, &place, sizeof at);
  } else {
    load_block(best, x, n);
    for (int l = 0; l < lanes; ++l) at[l] = l;
    i = n;
  }
  C most = best[0];
  int64_t place = at[0];
  for (int l = 1; l < lanes; ++l) {
    const bool later = best[l] != best[l] ? most == most || at[l] > place
                                          : best[l] > most || (best[l] == most && at[l] < place);
    if (later) most = best[l], place = at[l];
  }
  for (; i < n; ++i) {
    const C v = single(x + i);
    if (Larger::beats(v, most)) most = v, place = i;
  }
  *where = place;
  return most;
}

template <class T, class P>
static void maxima_of_planes(const Pooling& p, const T* x, T* out, P* places, int64_t* indices) {
  const int64_t n = p.in();
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      int64_t where;
      const pool_t<T> most = max_of_plane(x + k * n, n, &where);
      write(out + k, &most, 1);
      if (places) places[k] = static_cast<P>(where);  // the window is the plane
      if (indices) indices[k] = where;
    }
  });
}

// ---- row by row ----------------------------------------------------------------------------------------------------
// Where windows begin and end along an axis, found once.
struct Spans {
  Scratch<int64_t> first, count, position;  // the first element, how many, and the position of the first
  explicit Spans(const Axis& a) : first(a.out), count(a.out), position(a.out) {
    for (int64_t o = 0; o < a.out; ++o) {
      const Range r = a.valid(o);
      position[o] = r.first, count[o] = r.last - r.first, first[o] = a.start(o) + r.first * a.step();
    }
  }
};

// What each window is divided by.
template <class C> static void find_divisors(const Pooling& p, const Divisors& divisors, C* to) {
  for (int64_t od = 0; od < p.axis[0].out; ++od)
    for (int64_t oh = 0; oh < p.axis[1].out; ++oh)
      for (int64_t ow = 0; ow < p.axis[2].out; ++ow) *to++ = static_cast<C>(divisors.of(od, oh, ow));
}

// f(plane, spans of the axes, room for a row of windows of every row of the input, room for a row of it)
template <class C, class F> static void each_plane(const Pooling& p, F&& f) {
  const Spans d(p.axis[0]), h(p.axis[1]), w(p.axis[2]);
  const int64_t rows = p.axis[0].in * p.axis[1].in;
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    Scratch<C> across(rows * p.axis[2].out), row(p.axis[2].in + p.axis[2].out);
    for (int64_t k = begin; k < end; ++k) f(k, d, h, w, across.get(), row.get());
  });
}

// A row of the input in the compute type, with `padding` where windows lie outside of it: window o is at o * stride.
template <class T>
static void read_padded(const Axis& a, const T* x, pool_t<T> padding, pool_t<T>* to, int64_t length) {
  const int64_t before = a.before, here = std::min(a.in, length - before);
  for (int64_t k = 0; k < before; ++k) to[k] = padding;
  read(to + before, x, here);
  for (int64_t k = before + here; k < length; ++k) to[k] = padding;
}

// Rows of windows have room for whole vectors.
template <class C> static int64_t row_pitch(const Axis& a) { return (a.out + kLanes<C> - 1) / kLanes<C> * kLanes<C>; }
template <class C> static int64_t padded_length(const Axis& a) {
  return a.adaptive() ? a.in : (row_pitch<C>(a) - 1) * a.stride + (a.kernel - 1) * a.dilation + 1 + kLanes<C>;
}

template <class T> static void means_by_rows(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = pool_t<T>;
  constexpr int L = kLanes<C>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in, step = width.step(), n = width.out, pitch = row_pitch<C>(width);
  const int64_t length = std::max(width.in + 1, padded_length<C>(width));
  const bool vectors = !width.adaptive() && width.stride == 1;
  const Spans d(depth), h(height), w(width);
  Scratch<C> by(p.out());
  find_divisors(p, divisors, by.get());
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    Scratch<C> across(rows * pitch), row(length), sums(pitch);
    for (int64_t k = begin; k < end; ++k) {
      for (int64_t r = 0; r < rows; ++r) {
        const T* from = x + (k * rows + r) * width.in;
        C* to = across.get() + r * pitch;
        if (vectors) {
          read_padded(width, from, C(0), row.get(), length);
          for (int64_t o = 0; o < pitch; o += L) {
            vec<C> sum = vload(row.get() + o);
            for (int64_t e = 1; e < width.kernel; ++e) sum = plus(sum, vload(row.get() + o + e * step));
            vstore(to + o, sum);
          }
          continue;
        }
        read(row.get(), from, width.in);
        for (int64_t o = 0; o < pitch; ++o) {  // a sum has no branch to be guessed wrong: faster than gathering
          const C* at = row.get() + (o < n ? w.first[o] : 0);
          C sum = 0;
          for (int64_t e = 0; o < n && e < w.count[o]; ++e) sum = plus(sum, at[e * step]);
          to[o] = sum;
        }
      }
      for (int64_t od = 0; od < depth.out; ++od)
        for (int64_t oh = 0; oh < height.out; ++oh) {
          for (int64_t o = 0; o < pitch; o += L) {
            vec<C> sum{};
            for (int64_t i = 0; i < d.count[od]; ++i)
              for (int64_t j = 0; j < h.count[oh]; ++j) {
                const int64_t r = (d.first[od] + i * depth.step()) * height.in + h.first[oh] + j * height.step();
                sum = plus(sum, vload(across.get() + r * pitch + o));
              }
            vstore(sums.get() + o, sum);
          }
          for (int64_t o = 0; o < n; ++o) sums[o] /= by[(od * height.out + oh) * n + o];
          write(out + ((k * depth.out + od) * height.out + oh) * n, sums.get(), n);
        }
    }
  });
}

// The gradient: rows of windows are divided and added to the rows of the input that they hold, then spread along them.
template <class T> static void back_by_rows(const Pooling& p, const T* dout, T* dx, const Divisors& divisors) {
  using C = pool_t<T>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in, step = width.step(), n = width.out;
  Scratch<C> by(p.out());
  find_divisors(p, divisors, by.get());
  each_plane<C>(p, [&](int64_t k, const Spans& d, const Spans& h, const Spans& w, C* across, C* row) {
    std::fill(across, across + rows * n, C(0));
    for (int64_t od = 0; od < depth.out; ++od)
      for (int64_t oh = 0; oh < height.out; ++oh) {
        C* given = row + width.in;
        read(given, dout + ((k * depth.out + od) * height.out + oh) * n, n);
        for (int64_t o = 0; o < n; ++o) given[o] /= by[(od * height.out + oh) * n + o];
        for (int64_t i = 0; i < d.count[od]; ++i)
          for (int64_t j = 0; j < h.count[oh]; ++j) {
            const int64_t r = (d.first[od] + i * depth.step()) * height.in + h.first[oh] + j * height.step();
            for (int64_t o = 0; o < n; ++o) across[r * n + o] += given[o];
          }
      }
    for (int64_t r = 0; r < rows; ++r) {
      std::fill(row, row + width.in, C(0));
      for (int64_t o = 0; o < n; ++o) {
        C* to = row + w.first[o];
        for (int64_t e = 0; e < w.count[o]; ++e) to[e * step] += across[r * n + o];
      }
      write(dx + (k * rows + r) * width.in, row, width.in);
    }
  });
}

// For windows that do not follow each other at stride 1: the elements at each position of the windows of a row, `in`
// where they have none, which is read as an element that changes nothing.
struct Columns {
  Scratch<int32_t> at;
  int64_t widest, pitch;
  Columns(const Axis& a, const Spans& w, int64_t row) : at(a.widest() * row), widest(a.widest()), pitch(row) {
    for (int64_t e = 0; e < widest; ++e)
      for (int64_t o = 0; o < pitch; ++o) {
        const bool there = o < a.out && e < w.count[o];
        at[e * pitch + o] = static_cast<int32_t>(there ? w.first[o] + e * a.step() : a.in);
      }
  }
  template <class C> vec<C> of(const C* row, int64_t e, int64_t o) const {
    const int32_t* from = at.get() + e * pitch + o;
    C lanes[kLanes<C>];
#pragma omp simd
    for (int l = 0; l < kLanes<C>; ++l) lanes[l] = row[from[l]];
    return vload(lanes);
  }
};

// Maxima of the windows along a row, and their positions in them.
template <class T> static void max_along(
    const Axis& a, const Columns& columns, const T* x, int64_t length, const place_of<pool_t<T>>* first,
    pool_t<T>* row, pool_t<T>* to, place_of<pool_t<T>>* where) {
  using C = pool_t<T>;
  using I = place_of<C>;
  const bool vectors = !a.adaptive() && a.stride == 1;
  if (vectors) read_padded(a, x, lowest<C>(), row, length);
  else read(row, x, a.in), row[a.in] = lowest<C>();
  const int64_t step = a.step();
  for (int64_t o = 0; o < columns.pitch; o += kLanes<C>) {
    vec<C> best = vset(lowest<C>());
    place_vector<C> at{};
    for (int64_t e = 0; e < columns.widest; ++e) {
      const vec<C> v = vectors ? vload(row + o + e * step) : columns.of(row, e, o);
      const auto better = (v > best) | (v != v);
      best = better ? v : best, at = better ? place_vector<C>{} + static_cast<I>(e) : at;
    }
    vstore(to + o, best);
    vstore(where + o, vectors ? at : at + vload(first + o));
  }
}

template <class T, class P>
static void max_by_rows(const Pooling& p, const T* x, T* out, P* places, int64_t* indices) {
  using C = pool_t<T>;
  using I = place_of<C>;
  constexpr int L = kLanes<C>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in, n = width.out, pitch = row_pitch<C>(width);
  const int64_t length = std::max(width.in + 1, padded_length<C>(width));
  const Spans d(depth), h(height), w(width);
  const Columns columns(width, w, pitch);
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    Scratch<C> across(rows * pitch), row(length), best(pitch);
    Scratch<I> where(rows * pitch), at(pitch), first(pitch);
    for (int64_t o = 0; o < pitch; ++o) first[o] = static_cast<I>(o < n ? w.position[o] : 0);
    for (int64_t k = begin; k < end; ++k) {
      for (int64_t r = 0; r < rows; ++r)
        max_along(width, columns, x + (k * rows + r) * width.in, length, first.get(), row.get(),
                  across.get() + r * pitch, where.get() + r * pitch);
      for (int64_t od = 0; od < depth.out; ++od)
        for (int64_t oh = 0; oh < height.out; ++oh) {
          const int64_t start = (d.position[od] * height.widest() + h.position[oh]) * width.widest();
          for (int64_t o = 0; o < pitch; o += L) {
            vec<C> most = vset(lowest<C>());
            place_vector<C> place = vload(first.get() + o) + static_cast<I>(start);
            for (int64_t i = 0; i < d.count[od]; ++i)
              for (int64_t j = 0; j < h.count[oh]; ++j) {
                const int64_t r = (d.first[od] + i * depth.step()) * height.in + h.first[oh] + j * height.step();
                const int64_t line = (d.position[od] + i) * height.widest() + h.position[oh] + j;
                const vec<C> v = vload(across.get() + r * pitch + o);
                const auto better = (v > most) | (v != v);
                const place_vector<C> here =
                    vload(where.get() + r * pitch + o) + static_cast<I>(line * width.widest());
                most = better ? v : most, place = better ? here : place;
              }
            vstore(best.get() + o, most);
            vstore(at.get() + o, place);
          }
          const int64_t to = ((k * depth.out + od) * height.out + oh) * n;
          write(out + to, best.get(), n);
          for (int64_t o = 0; places && o < n; ++o) places[to + o] = static_cast<P>(at[o]);
          for (int64_t o = 0; indices && o < n; ++o) indices[to + o] = Indices{p}.of(od, oh, o, at[o]);
        }
    }
  });
}

// Whether rows are the way: where runs of phases would be short or windows are large, and planes suffice for several
// threads.
static bool by_rows(const Pooling& p) {
  const Axis& width = p.axis[2];
  const bool fits = width.widest() <= kPoolChannels || (!width.adaptive() && width.stride == 1);
  return p.inner == 1 && p.planes >= 4 && fits && (!by_phases(p) || p.axis[2].stride > 2 || p.volume() > 9);
}

// The gradient of maxima plane by plane: each window's goes where its maximum was, in the order of the windows.
static bool by_planes(const Pooling& p) { return p.inner == 1 && p.planes * p.out() >= 64 && p.planes >= 8; }

template <class T, class P> static void max_back_by_planes(const Pooling& p, const T* dout, const P* places, T* dx) {
  using C = pool_t<T>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t kw = width.widest(), kh = height.widest(), volume = p.volume(), in = p.in(), out = p.out();
  struct Position {
    int64_t offset, d, h, w;  // from the first element of a window; along the axes
  };
  Scratch<Position> positions(volume);
  const Spans d(depth), h(height), w(width);
  for (int64_t k = 0; k < volume; ++k) {
    Position& at = positions[k];
    at.d = k / (kh * kw), at.h = k / kw % kh, at.w = k % kw;
    at.offset = (at.d * depth.step() * height.in + at.h * height.step()) * width.in + at.w * width.step();
  }
  const auto holds = [](const Spans& s, int64_t o, int64_t k) {
    return k >= s.position[o] && k < s.position[o] + s.count[o];
  };
  Scratch<int64_t> start(width.out);
  for (int64_t o = 0; o < width.out; ++o) start[o] = width.start(o);
  parallel_ranges(p.planes, plane_grain(p), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(std::is_same_v<T, C> ? 0 : in);
    for (int64_t k = begin; k < end; ++k) {
      C* to = std::is_same_v<T, C> ? reinterpret_cast<C*>(dx + k * in) : wide.get();
      std::fill(to, to + in, C(0));
      int64_t at = k * out;
      for (int64_t od = 0; od < depth.out; ++od)
        for (int64_t oh = 0; oh < height.out; ++oh) {
          const int64_t row = (depth.start(od) * height.in + height.start(oh)) * width.in;
          for (int64_t ow = 0; ow < width.out; ++ow, ++at) {
            const int64_t position = places[at];
            if (position < 0 || position >= volume) continue;  // none that max_pool gives
            const Position& chosen = positions[position];      // a window of nothing but padding has position 0
            if (!holds(d, od, chosen.d) || !holds(h, oh, chosen.h) || !holds(w, ow, chosen.w)) continue;
            to[row + start[ow] + chosen.offset] += single(dout + at);
          }
        }
      if (!std::is_same_v<T, C>) write(dx + k * in, to, in);
    }
  });
}

#endif  // DLCORE_POOL_PLANES
