// Means of windows, and their gradient.
#ifndef DLCORE_POOL_MEAN
#define DLCORE_POOL_MEAN
#include "pool/back.inl"

// What the sum of a window is divided by.
struct Divisors {
  const Pooling& p;
  bool padding;   // whether that counts too
  int64_t fixed;  // 0: the elements of the window

  int64_t along(const Axis& a, int64_t o) const {
    if (padding && !a.adaptive()) return a.padded(o);
    const Range r = a.valid(o);
    return r.last - r.first;
  }
  int64_t of(int64_t od, int64_t oh, int64_t ow) const {
    return fixed ? fixed : along(p.axis[0], od) * along(p.axis[1], oh) * along(p.axis[2], ow);
  }
  // Divides `n` windows of a row from ow on, `block` elements each.
  template <class C> void divide(int64_t od, int64_t oh, int64_t ow, int64_t n, C* sums, int64_t block) const {
    if (n <= 0) return;
    const Axis& width = p.axis[2];
    const int64_t whole = of(od, oh, ow), rows = fixed ? 1 : along(p.axis[0], od) * along(p.axis[1], oh);
    int64_t j = 0;
    while (j < n) {  // runs of windows of one size
      const int64_t size = fixed ? 1 : along(width, ow + j), first = j;
      if (!fixed && ow + j > 0 && width.start(ow + j) >= 0 && width.start(width.out - 1) + width.kernel <= width.in) {
        j = n;
      } else {
        for (++j; j < n && (fixed || along(width, ow + j) == size);) ++j;
      }
      const C by = static_cast<C>(fixed ? whole : rows * size);
#pragma omp simd
      for (int64_t i = first * block; i < j * block; ++i) sums[i] /= by;
    }
  }
};

// Integers overflow by wrapping.
template <class V> static inline V plus(V a, V b) { return a + b; }
static inline vec<int64_t> plus(vec<int64_t> a, vec<int64_t> b) {
  return (vec<int64_t>)((vec<uint64_t>)a + (vec<uint64_t>)b);
}
static inline int64_t plus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

template <class C>
static void sum_run(const C* x, const int64_t* offset, int64_t volume, int64_t first, int64_t n, C* out) {
  for (int64_t f = first; f < first + n; f += kLanes<C>) {
    vec<C> sum = vload(x + f + offset[0]);
    for (int64_t k = 1; k < volume; ++k) sum = plus(sum, vload(x + f + offset[k]));
    vstore(out + f, sum);
  }
}

template <class T> static void means_by_phases(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = pool_t<T>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t whole[3] = {depth.out, height.out, width.out};
  const int64_t more[3] = {depth.shifts(), height.shifts(), width.shifts()};
  const int64_t phases = depth.phases() * height.phases() * width.phases(), volume = p.volume();
  const Tiles t = tiles_of(p, whole, more, phases);
  int64_t offset[kPoolVolume];
  offsets_of(p, t, offset);
  parallel_ranges(t.total(), tile_grain(phases * t.area), [&](int64_t begin, int64_t end) {
    Scratch<C> buffer((phases + 1) * t.area + (t.slots[2] + 1) * width.stride * t.channels);
    C *sums = buffer.get() + phases * t.area, *row = sums + t.area;
    for (int64_t k = begin; k < end; ++k) {
      const Tile tile = tile_at(p, t, whole, k);
      split_tile(p, t, tile, x, buffer.get(), row, C(0));
      each_run(t, tile, 4 * kLanes<C>,
               [&](int64_t first, int64_t n) { sum_run(buffer.get(), offset, volume, first, n, sums); });
      each_row(t, tile.planes, tile.size, [&](int64_t plane, int64_t d, int64_t h, int64_t at) {
        const int64_t od = tile.first[0] + d, oh = tile.first[1] + h;
        divisors.divide(od, oh, tile.first[2], tile.size[2], sums + at, t.channels);
        const int64_t to = (((tile.plane + plane) * depth.out + od) * height.out + oh) * width.out + tile.first[2];
        write_row(out + to * p.inner + tile.channel, sums + at, tile.size[2], p.inner, tile.channels, t.channels);
      });
    }
  });
}

template <class T> static void means_by_windows(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = pool_t<T>;
  const int64_t step = p.axis[2].step() * p.inner;
  each_row_of_windows(p, [&](int64_t plane, int64_t od, int64_t oh) {
    const T* from = x + plane * p.in() * p.inner;
    for (int64_t ow = 0; ow < p.axis[2].out; ++ow) {
      const int64_t to = (((plane * p.axis[0].out + od) * p.axis[1].out + oh) * p.axis[2].out + ow) * p.inner;
      const C by = static_cast<C>(divisors.of(od, oh, ow));
      for (int64_t c = 0; c < p.inner; c += kPoolChannels) {
        const int64_t n = std::min(kPoolChannels, p.inner - c);
        C sum[kPoolChannels], line[kPoolChannels];
        for (int64_t j = 0; j < n; ++j) sum[j] = 0;
        each_line_of_window(p, od, oh, ow, [&](int64_t offset, int64_t count, int64_t) {
          if constexpr (!std::is_integral_v<T>) {
            if (step == 1 && count >= 16) {
              sum[0] += static_cast<C>(sum_of<C>(count, [&](int64_t i) DLCORE_MAP { return load(from + offset + i); }));
              return;
            }
          }
          if (step == 1) {
            C line_sum = sum[0];
            for (int64_t k = 0; k < count; ++k) line_sum = plus(line_sum, single(from + offset + k));
            sum[0] = line_sum;
            return;
          }
          for (int64_t k = 0; k < count; ++k) {
            read(line, from + offset + k * step + c, n);
            for (int64_t j = 0; j < n; ++j) sum[j] = plus(sum[j], line[j]);
          }
        });
        for (int64_t j = 0; j < n; ++j) sum[j] /= by;
        write(out + to + c, sum, n);
      }
    }
  });
}

#endif  // DLCORE_POOL_MEAN
