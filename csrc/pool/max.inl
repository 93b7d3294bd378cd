// Maxima by phases, and their gradient.
#ifndef DLCORE_POOL_MAX
#define DLCORE_POOL_MAX
#include "pool/phases.inl"

template <class C> using place_vector = vec<std::conditional_t<sizeof(C) == 4, int32_t, int64_t>>;

template <class C> constexpr C lowest() { return Larger::identity<C>(); }

// The vector of integers, one a lane of C, from memory and to it. Of a conversion from or to bytes the compiler makes
// sixteen of single ones.
template <class C, class P> static inline place_vector<C> load_places(const P* p) {
  typedef P Narrow __attribute__((vector_size(sizeof(P) * kLanes<C>)));
  Narrow v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, place_vector<C>);
}
template <class C, class P> static inline void store_places(P* p, place_vector<C> places) {
  typedef P Narrow __attribute__((vector_size(sizeof(P) * kLanes<C>)));
  const Narrow v = __builtin_convertvector(places, Narrow);
  __builtin_memcpy(p, &v, sizeof v);
}
#if DLCORE_ISA == 4
template <> inline place_vector<float> load_places<float>(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<place_vector<float>>(_mm512_maskz_cvtepu8_epi32(0xffff, bytes));
}
template <> inline void store_places<float>(uint8_t* p, place_vector<float> places) {
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(places));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
#elif DLCORE_ISA == 3
template <> inline place_vector<float> load_places<float>(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<place_vector<float>>(_mm256_cvtepu8_epi32(bytes));
}
template <> inline void store_places<float>(uint8_t* p, place_vector<float> places) {
  const __m256i all = reinterpret_cast<__m256i>(places);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
#endif

// out[f] = the maximum of x[f + offset[k]] over k, place[f] the first k that has it (of NaNs the last), for f from
// `first` on; up to a vector may be written behind.
template <bool kPlaces, class C, class P>
static void max_run(const C* x, const int64_t* offset, int64_t volume, int64_t first, int64_t n, C* out, P* place) {
  for (int64_t f = first; f < first + n; f += kLanes<C>) {
    vec<C> best = vload(x + f + offset[0]);
    place_vector<C> at{};
    for (int64_t k = 1; k < volume; ++k) {
      const vec<C> v = vload(x + f + offset[k]);
      if constexpr (std::is_integral_v<C>) {
        const auto better = v > best;
        best = better ? v : best;
        if constexpr (kPlaces) at = better ? at - at + k : at;
      } else {
        const auto better = (v > best) | (v != v);
        best = better ? v : best;
        if constexpr (kPlaces) at = better ? at - at + static_cast<int32_t>(k) : at;
      }
    }
    vstore(out + f, best);
    if constexpr (kPlaces) store_places<C>(place + f, at);
  }
}

// Where padding may have been taken for an element: the first position of window (od, oh, ow) in the input.
static int64_t first_position(const Pooling& p, int64_t od, int64_t oh, int64_t ow) {
  const Range d = p.axis[0].valid(od), h = p.axis[1].valid(oh), w = p.axis[2].valid(ow);
  if (d.first == d.last || h.first == h.last || w.first == w.last) return 0;
  return (d.first * p.axis[1].widest() + h.first) * p.axis[2].widest() + w.first;
}

// The element that position k of a window is, as a flat index in space; -1 where the window has none.
struct Indices {
  const Pooling& p;
  int64_t of(int64_t od, int64_t oh, int64_t ow, int64_t k) const {
    const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
    const int64_t kw = width.widest(), kh = height.widest();
    const int64_t d = depth.element(od, k / (kh * kw)), h = height.element(oh, k / kw % kh);
    const int64_t w = width.element(ow, k % kw);
    if (d < 0 || h < 0 || w < 0) return -1;
    return (d * height.in + h) * width.in + w;
  }
};

// Writes the results of a tile. `maximum`, `place`: at the tile's pitch.
template <class T, class C, class P>
static void write_maxima(const Pooling& p, const Tiles& t, const Tile& tile, const C* maximum, P* place, T* out,
                         P* places, int64_t* indices) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const bool padded = p.padded();
  const int64_t row = tile.size[2] * t.channels;
  each_row(t, tile.planes, tile.size, [&](int64_t plane, int64_t d, int64_t h, int64_t offset) {
    const int64_t od = tile.first[0] + d, oh = tile.first[1] + h;
    const int64_t to = ((((tile.plane + plane) * depth.out + od) * height.out + oh) * width.out + tile.first[2]) *
                           p.inner + tile.channel;
    write_row(out + to, maximum + offset, tile.size[2], p.inner, tile.channels, t.channels);
    if (!places && !indices) return;
    if (padded)
      for (int64_t j = 0; j < row; ++j)
        if (maximum[offset + j] == lowest<C>())
          place[offset + j] = static_cast<P>(first_position(p, od, oh, tile.first[2] + j / t.channels));
    if (places && !indices && p.inner == t.channels) {
      std::copy(place + offset, place + offset + row, places + to);
      return;
    }
    for (int64_t j = 0; j < tile.size[2]; ++j)
      for (int64_t c = 0; c < tile.channels; ++c) {
        const P k = place[offset + j * t.channels + c];
        if (places) places[to + j * p.inner + c] = k;
        if (indices) indices[to + j * p.inner + c] = Indices{p}.of(od, oh, tile.first[2] + j, k);
      }
  });
}

template <class T, class P>
static void max_by_phases(const Pooling& p, const T* x, T* out, P* places, int64_t* indices) {
  using C = pool_t<T>;
  const int64_t whole[3] = {p.axis[0].out, p.axis[1].out, p.axis[2].out};
  const int64_t more[3] = {p.axis[0].shifts(), p.axis[1].shifts(), p.axis[2].shifts()};
  const int64_t phases = p.axis[0].phases() * p.axis[1].phases() * p.axis[2].phases(), volume = p.volume();
  const Tiles t = tiles_of(p, whole, more, phases);
  int64_t offset[kPoolVolume];
  offsets_of(p, t, offset);
  parallel_ranges(t.total(), tile_grain(phases * t.area), [&](int64_t begin, int64_t end) {
    Scratch<C> buffer(phases * t.area + t.area + (t.slots[2] + 1) * p.axis[2].stride * t.channels);
    Scratch<P> at(t.area);
    C *maximum = buffer.get() + phases * t.area, *row = maximum + t.area;
    for (int64_t k = begin; k < end; ++k) {
      const Tile tile = tile_at(p, t, whole, k);
      split_tile(p, t, tile, x, buffer.get(), row, lowest<C>());
      each_run(t, tile, 4 * kLanes<C>, [&](int64_t first, int64_t n) {
        if (places || indices) max_run<true>(buffer.get(), offset, volume, first, n, maximum, at.get());
        else max_run<false>(buffer.get(), offset, volume, first, n, maximum, at.get());
      });
      write_maxima(p, t, tile, maximum, at.get(), out, places, indices);
    }
  });
}

// ---- any windows ----------------------------------------------------------------------------------------------------
// Rows of windows, f(plane, od, oh): those of one plane are a few microseconds' work together.
template <class F> static void each_row_of_windows(const Pooling& p, F&& f) {
  const int64_t rows = p.axis[0].out * p.axis[1].out;
  const int64_t work = p.volume() * p.axis[2].out * p.inner;
  parallel_ranges(p.planes * rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)),
                  [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) f(k / rows, k % rows / p.axis[1].out, k % p.axis[1].out);
  });
}

// The elements of window (od, oh, ow) in a plane, row by row: f(first element, how many, position of the first).
template <class F> static void each_line_of_window(const Pooling& p, int64_t od, int64_t oh, int64_t ow, F&& f) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const Range d = depth.valid(od), h = height.valid(oh), w = width.valid(ow);
  if (w.first == w.last) return;
  for (int64_t i = d.first; i < d.last; ++i)
    for (int64_t j = h.first; j < h.last; ++j) {
      const int64_t row = (depth.start(od) + i * depth.step()) * height.in + height.start(oh) + j * height.step();
      f((row * width.in + width.start(ow) + w.first * width.step()) * p.inner, w.last - w.first,
        (i * height.widest() + j) * width.widest() + w.first);
    }
}

// Updates the maximum so far and its position with n elements side by side.
template <class T> static void max_of_line(const T* x, int64_t n, int64_t position, pool_t<T>* best, int64_t* at) {
  using C = pool_t<T>;
  if constexpr (std::is_same_v<T, C>) {
    if (n >= 16) {
      const C m = fold_array<Larger>(x, n, lowest<C>());
      if (!Larger::beats(m, *best)) return;
      int64_t k = 0;
      if (m != m)
        for (k = n - 1; x[k] == x[k];) --k;
      else
        while (x[k] != m) ++k;
      *best = m, *at = position + k;
      return;
    }
  }
  C largest = *best;
  int64_t where = *at;
  for (int64_t k = 0; k < n; ++k) {
    const C v = single(x + k);
    if (Larger::beats(v, largest)) largest = v, where = position + k;
  }
  *best = largest, *at = where;
}

// Channels are the lanes, or else the elements of a line, first for the maximum and then for where it is.
template <class T, class P>
static void max_by_windows(const Pooling& p, const T* x, T* out, P* places, int64_t* indices) {
  using C = pool_t<T>;
  const int64_t step = p.axis[2].step() * p.inner;
  each_row_of_windows(p, [&](int64_t plane, int64_t od, int64_t oh) {
    const T* from = x + plane * p.in() * p.inner;
    for (int64_t ow = 0; ow < p.axis[2].out; ++ow) {
      const int64_t to = (((plane * p.axis[0].out + od) * p.axis[1].out + oh) * p.axis[2].out + ow) * p.inner;
      for (int64_t c = 0; c < p.inner; c += kPoolChannels) {
        const int64_t n = std::min(kPoolChannels, p.inner - c), start = first_position(p, od, oh, ow);
        C best[kPoolChannels], line[kPoolChannels];
        int64_t at[kPoolChannels];
        for (int64_t j = 0; j < n; ++j) best[j] = lowest<C>(), at[j] = start;
        each_line_of_window(p, od, oh, ow, [&](int64_t offset, int64_t count, int64_t position) {
          if (step == 1) return max_of_line(from + offset, count, position, best, at);
          for (int64_t k = 0; k < count; ++k) {
            read(line, from + offset + k * step + c, n);
            for (int64_t j = 0; j < n; ++j)
              if (Larger::beats(line[j], best[j])) best[j] = line[j], at[j] = position + k;
          }
        });
        write(out + to + c, best, n);
        for (int64_t j = 0; places && j < n; ++j) places[to + c + j] = static_cast<P>(at[j]);
        for (int64_t j = 0; indices && j < n; ++j) indices[to + c + j] = Indices{p}.of(od, oh, ow, at[j]);
      }
    }
  });
}

#endif  // DLCORE_POOL_MAX
