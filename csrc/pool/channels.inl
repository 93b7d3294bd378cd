// Poolings of NHWC where channels fill vectors: windows are walked in place, a few vectors of channels at a time.
// The last vector of a place overlaps the one before where channels are no multiple.
#ifndef DLCORE_POOL_CHANNELS
#define DLCORE_POOL_CHANNELS
#include "pool/mean.inl"

template <class T> static bool by_channels(const Pooling& p) {
  if constexpr (std::is_integral_v<T>) return false;
  return p.inner >= kLanes<pool_t<T>> && p.volume() <= kPoolVolume;
}

// f.operator()<N>(c) for N vectors of channels at once, four or one; n of at least one vector.
template <class C, class F> static inline void each_vector(int64_t n, F&& f) {
  constexpr int L = kLanes<C>;
  int64_t c = 0;
  for (; c + 4 * L <= n; c += 4 * L) f.template operator()<4>(c);
  for (; c < n; c += L) f.template operator()<1>(std::min(c, n - L));
}

template <class T> static inline void put(T* p, vec<compute_t<T>> v) {
  if constexpr (std::is_same_v<T, compute_t<T>>) {
    vstore(p, v);
  } else {
    float buffer[kLanes<float>];
    vstore(buffer, v);
    store_block(p, buffer, kLanes<float>);
  }
}
template <class T> static inline vec<compute_t<T>> get(const T* p) { return widen(p); }

// The windows along one axis that hold an element, from the last to the first, and its positions in them.
struct Hits {
  int64_t count = 0, window[kPoolVolume], position[kPoolVolume];

  void find(const Axis& a, int64_t i) {
    const Range r = a.windows(i);
    count = 0;
    for (int64_t o = r.last - 1; o >= r.first; --o) {
      const int64_t k = a.position(o, i);
      if (k >= 0) window[count] = o, position[count++] = k;
    }
  }
};

// The elements of a window: where they are in a plane, and their positions.
struct Members {
  int64_t count = 0, base = 0, offset[kPoolVolume], position[kPoolVolume];
  bool whole = false;

  // Of the window after that of the last call, unless ow is 0: where neither is cut, all are moved on.
  void find(const Pooling& p, int64_t od, int64_t oh, int64_t ow) {
    const Axis& width = p.axis[2];
    const bool before = whole && ow > 0;
    whole = !width.adaptive() && width.start(ow) >= 0 && width.start(ow) + (width.kernel - 1) * width.step() < width.in;
    if (before && whole) {
      base += width.stride * p.inner;
      return;
    }
    count = base = 0;
    each_line_of_window(p, od, oh, ow, [&](int64_t at, int64_t n, int64_t first) {
      for (int64_t k = 0; k < n; ++k, ++count)
        offset[count] = at + k * p.axis[2].step() * p.inner, position[count] = first + k;
    });
  }
  // The windows that hold an element, in the order of its positions in them: offsets are of their outputs. Along
  // the row there are `along` windows, and its positions in them.
  void meet(const Pooling& p, const Hits& d, const Hits& h, int64_t along, const int64_t* window, const int64_t* at) {
    const Axis &height = p.axis[1], &width = p.axis[2];
    const int64_t kh = height.widest(), kw = width.widest();
    count = 0;
    for (int64_t a = 0; a < d.count; ++a)
      for (int64_t b = 0; b < h.count; ++b) {
        const int64_t row = (d.window[a] * height.out + h.window[b]) * width.out;
        const int64_t first = (d.position[a] * kh + h.position[b]) * kw;
        for (int64_t c = 0; c < along; ++c, ++count)
          offset[count] = (row + window[c]) * p.inner, position[count] = first + at[c];
      }
  }
};

template <bool kPlaces, class T, class P>
static void max_by_channels(const Pooling& p, const T* x, T* out, P* places, int64_t* indices) {
  using C = compute_t<T>;
  constexpr int L = kLanes<C>;
  each_row_of_windows(p, [&](int64_t plane, int64_t od, int64_t oh) {
    const T* from = x + plane * p.in() * p.inner;
    Members m;
    for (int64_t ow = 0; ow < p.axis[2].out; ++ow) {
      m.find(p, od, oh, ow);
      const int64_t to = (((plane * p.axis[0].out + od) * p.axis[1].out + oh) * p.axis[2].out + ow) * p.inner;
      const auto start = static_cast<place_of<C>>(m.count ? m.position[0] : 0);
      each_vector<C>(p.inner, [&]<int N>(int64_t c) {
        vec<C> best[N];
        place_vector<C> at[N];
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) best[v] = vset(lowest<C>()), at[v] = place_vector<C>{} + start;
        for (int64_t k = 0; k < m.count; ++k) {
          const T* here = from + m.base + m.offset[k] + c;
          const place_vector<C> position = place_vector<C>{} + static_cast<place_of<C>>(m.position[k]);
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v) {
            const vec<C> e = get(here + v * L);
            const auto better = (e > best[v]) | (e != e);
            best[v] = better ? e : best[v];
            if constexpr (kPlaces) at[v] = better ? position : at[v];
          }
        }
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) {
          put(out + to + c + v * L, best[v]);
          if constexpr (kPlaces) {
            if (places) store_places<C>(places + to + c + v * L, at[v]);
            for (int l = 0; indices && l < L; ++l)
              indices[to + c + v * L + l] = Indices{p}.of(od, oh, ow, at[v][l]);
          }
        }
      });
    }
  });
}

template <class T> static void means_by_channels(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = compute_t<T>;
  constexpr int L = kLanes<C>;
  each_row_of_windows(p, [&](int64_t plane, int64_t od, int64_t oh) {
    const T* from = x + plane * p.in() * p.inner;
    Members m;
    for (int64_t ow = 0; ow < p.axis[2].out; ++ow) {
      m.find(p, od, oh, ow);
      const int64_t to = (((plane * p.axis[0].out + od) * p.axis[1].out + oh) * p.axis[2].out + ow) * p.inner;
      const C by = static_cast<C>(divisors.of(od, oh, ow));
      each_vector<C>(p.inner, [&]<int N>(int64_t c) {
        vec<C> sum[N] = {};
        for (int64_t k = 0; k < m.count; ++k) {
          const T* here = from + m.base + m.offset[k] + c;
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v) sum[v] += get(here + v * L);
        }
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) put(out + to + c + v * L, sum[v] / by);
      });
    }
  });
}

// Windows side by side, without padding: each gradient is written to all elements of its window, so that none is
// looked for; elements beyond the last windows get 0.
static bool side_by_side(const Pooling& p) {
  for (const Axis& a : p.axis)
    if (a.adaptive() || a.stride != a.kernel || a.before || a.dilation != 1 || a.out * a.kernel > a.in) return false;
  return true;
}

template <bool kPlaces, class T, class P>
static void back_side_by_side(const Pooling& p, const T* dout, const P* places, T* dx, const Divisors& divisors) {
  using C = compute_t<T>;
  constexpr int L = kLanes<C>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in, used = width.out * width.kernel;
  const C by = static_cast<C>(divisors.of(0, 0, 0));
  const int64_t grain = std::max<int64_t>(1, 16384 / (width.in * p.inner + 1));
  parallel_ranges(p.planes * rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t plane = k / rows, i = k % rows / height.in, j = k % height.in;
      const int64_t od = i / depth.kernel, oh = j / height.kernel;
      T* to = dx + k * width.in * p.inner;
      const bool there = od < depth.out && oh < height.out;
      if (!there || used < width.in) {
        const T zero{};
        std::fill(there ? to + used * p.inner : to, to + width.in * p.inner, zero);
        if (!there) continue;
      }
      const int64_t first = (i % depth.kernel * height.kernel + j % height.kernel) * width.kernel;
      const int64_t from = ((plane * depth.out + od) * height.out + oh) * width.out * p.inner;
      for (int64_t ow = 0; ow < width.out; ++ow)
        each_vector<C>(p.inner, [&]<int N>(int64_t c) {
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v) {
            const int64_t at = from + ow * p.inner + c + v * L;
            const vec<C> d = kPlaces ? get(dout + at) : get(dout + at) / by;
            for (int64_t e = 0; e < width.kernel; ++e) {
              T* here = to + (ow * width.kernel + e) * p.inner + c + v * L;
              if constexpr (kPlaces) {
                const auto chosen = load_places<C>(places + at) == static_cast<place_of<C>>(first + e);
                put(here, chosen ? d : vec<C>{});
              } else {
                put(here, d);
              }
            }
          }
        });
    }
  });
}

// The gradient of either: with places of maxima, else of means.
template <bool kPlaces, class T, class P>
static void back_by_channels(const Pooling& p, const T* dout, const P* places, T* dx, const Divisors& divisors) {
  using C = compute_t<T>;
  constexpr int L = kLanes<C>;
  if (side_by_side(p)) return back_side_by_side<kPlaces>(p, dout, places, dx, divisors);
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in, windows = p.out() * p.inner;
  const int64_t grain = std::max<int64_t>(1, 8192 / (width.in * p.inner + 1));
  // The windows along rows are the same for all of them.
  int64_t most = 0;
  for (int64_t w = 0; w < width.in; ++w) {
    const Range r = width.windows(w);
    most = std::max(most, r.last - r.first);
  }
  Scratch<int64_t> along(width.in), window(width.in * most), position(width.in * most);
  for (int64_t w = 0; w < width.in; ++w) {
    Hits hits;
    hits.find(width, w);
    along[w] = hits.count;
    std::copy(hits.window, hits.window + hits.count, window.get() + w * most);
    std::copy(hits.position, hits.position + hits.count, position.get() + w * most);
  }
  parallel_ranges(p.planes * rows, grain, [&](int64_t begin, int64_t end) {
    Members m;
    Hits hd, hh;
    C by[kPoolVolume];
    for (int64_t k = begin; k < end; ++k) {
      const int64_t plane = k / rows, i = k % rows / height.in, j = k % height.in;
      hd.find(depth, i);
      hh.find(height, j);
      for (int64_t w = 0; w < width.in; ++w) {
        m.meet(p, hd, hh, along[w], window.get() + w * most, position.get() + w * most);
        T* to = dx + (k * width.in + w) * p.inner;
        if constexpr (!kPlaces)
          for (int64_t e = 0; e < m.count; ++e) {
            const int64_t o = m.offset[e] / p.inner, oh = o / width.out % height.out;
            by[e] = static_cast<C>(divisors.of(o / width.out / height.out, oh, o % width.out));
          }
        each_vector<C>(p.inner, [&]<int N>(int64_t c) {
          vec<C> sum[N] = {};
          for (int64_t e = 0; e < m.count; ++e) {
            const int64_t at = plane * windows + m.offset[e] + c;
            const auto position = static_cast<place_of<C>>(m.position[e]);
#pragma GCC unroll 4
            for (int v = 0; v < N; ++v) {
              const vec<C> d = get(dout + at + v * L);
              if constexpr (kPlaces) sum[v] += load_places<C>(places + at + v * L) == position ? d : vec<C>{};
              else sum[v] += d / by[e];
            }
          }
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v) put(to + c + v * L, sum[v]);
        });
      }
    }
  });
}

#endif  // DLCORE_POOL_CHANNELS
