// Poolings by phases: a tile of the input is copied so that what the windows have at one position lies side by side.
//
// Along each axis the input, padded, is split modulo the stride: the element at position k of window o is slot
// o + shift(k) of phase k % period. With all phases of all axes apart, and rows, planes and channels at one pitch, the
// elements at one position of all windows of a tile are one run of memory, however narrow an image is: all lanes are
// full, and no window is cut at a border. A tile stays in L1.
#ifndef DLCORE_POOL_PHASES
#define DLCORE_POOL_PHASES
#include "pool/geometry.inl"

constexpr int64_t kPoolTile = 6144;   // elements of a tile: 24 KB of floats
constexpr int64_t kPoolSlack = 32;    // a vector may be read or written behind the end of a phase
constexpr int64_t kPoolPhases = 8;    // along an axis: beyond, runs are short
constexpr int64_t kPoolVolume = 256;
constexpr int64_t kPoolChannels = 64; // of NHWC that a tile takes at once

static bool by_phases(const Pooling& p) {
  if (p.adaptive() || p.volume() > kPoolVolume) return false;
  for (const Axis& a : p.axis)
    if (a.phases() > kPoolPhases || a.stride > 2 * a.kernel * a.dilation) return false;
  return true;
}

// Integers are compared as int64.
template <class T> using pool_t = std::conditional_t<std::is_integral_v<T>, int64_t, compute_t<T>>;

template <class T> static inline void read(pool_t<T>* to, const T* from, int64_t n) {
  if constexpr (std::is_integral_v<T>) std::copy(from, from + n, to);
  else load_block(to, from, n);
}
template <class T> static inline pool_t<T> single(const T* x) {
  if constexpr (std::is_integral_v<T>) return *x;
  else return load(x);
}
template <class T> static inline void write(T* to, const pool_t<T>* from, int64_t n) {
  if constexpr (std::is_integral_v<T>)
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
  else store_block(to, from, n);
}

// `channels` of the `inner` elements of each of n places, to or from a buffer where they are `block` apart.
template <class T>
static void read_row(pool_t<T>* to, const T* x, int64_t n, int64_t inner, int64_t channels, int64_t block) {
  if (inner == block) return read(to, x, n * inner);
  for (int64_t j = 0; j < n; ++j) read(to + j * block, x + j * inner, channels);
}
template <class T>
static void write_row(T* x, const pool_t<T>* from, int64_t n, int64_t inner, int64_t channels, int64_t block) {
  if (inner == block) return write(x, from, n * inner);
  for (int64_t j = 0; j < n; ++j) write(x + j * inner, from + j * block, channels);
}

// Chunks of tiles of `elements` worth a thread's while.
static int64_t tile_grain(int64_t elements) {
  return std::max<int64_t>(1, 4 * kPoolTile / std::max<int64_t>(elements, 1));
}

// How windows (or, backward, slots of the input) are shared out among tiles.
struct Tiles {
  int64_t planes, channels, size[3];          // of one tile
  int64_t plane_count, channel_count, count[3];
  int64_t slots[3], pitch[3];                 // of one phase: slots, and elements from one to the next
  int64_t plane_pitch, area;                  // elements of a plane of a phase, and of a phase
  int64_t total() const { return plane_count * channel_count * count[0] * count[1] * count[2]; }
};

struct Tile {
  int64_t plane, planes, channel, channels, first[3], size[3];
};

// `whole`: how many there are to share out, `more`: slots beyond those of a tile; `phases`: buffers of a tile.
static Tiles tiles_of(const Pooling& p, const int64_t* whole, const int64_t* more, int64_t phases) {
  Tiles t;
  t.channels = p.inner <= kPoolChannels ? p.inner : kPoolChannels;
  for (int d = 0; d < 3; ++d) t.size[d] = whole[d];
  const auto elements = [&] {
    return phases * t.channels * (t.size[0] + more[0]) * (t.size[1] + more[1]) * (t.size[2] + more[2]);
  };
  for (int d = 0; d < 3; ++d) {
    if (elements() <= kPoolTile) break;
    const int64_t one = elements() / (t.size[d] + more[d]);
    const int64_t fit = std::max<int64_t>(1, kPoolTile / std::max<int64_t>(one, 1) - more[d]);
    if (fit < t.size[d]) {  // parts of about one size
      const int64_t parts = (t.size[d] + fit - 1) / fit;
      t.size[d] = (t.size[d] + parts - 1) / parts;
    }
  }
  const bool all = t.size[0] == whole[0] && t.size[1] == whole[1] && t.size[2] == whole[2];
  t.planes = all ? std::min(p.planes, std::max<int64_t>(1, kPoolTile / elements())) : 1;
  t.plane_count = (p.planes + t.planes - 1) / t.planes;
  t.channel_count = (p.inner + t.channels - 1) / t.channels;
  int64_t pitch = t.channels;
  for (int d = 2; d >= 0; --d) {
    t.count[d] = (whole[d] + t.size[d] - 1) / t.size[d];
    t.slots[d] = t.size[d] + more[d];
    t.pitch[d] = pitch;
    pitch *= t.slots[d];
  }
  t.plane_pitch = pitch;
  t.area = pitch * t.planes + kPoolSlack;
  return t;
}

static Tile tile_at(const Pooling& p, const Tiles& t, const int64_t* whole, int64_t k) {
  Tile tile;
  for (int d = 2; d >= 0; --d) {
    tile.first[d] = k % t.count[d] * t.size[d];
    tile.size[d] = std::min(t.size[d], whole[d] - tile.first[d]);
    k /= t.count[d];
  }
  tile.channel = k % t.channel_count * t.channels;
  tile.channels = std::min(t.channels, p.inner - tile.channel);
  tile.plane = k / t.channel_count * t.planes;
  tile.planes = std::min(t.planes, p.planes - tile.plane);
  return tile;
}

// Runs of a tile's windows in a phase, f(first, count): all of it, or rows where they are long.
template <class F> static void each_run(const Tiles& t, const Tile& tile, int64_t long_row, F&& f) {
  const auto at = [&](int64_t plane, int64_t d, int64_t h) {
    return plane * t.plane_pitch + d * t.pitch[0] + h * t.pitch[1];
  };
  const int64_t row = tile.size[2] * t.channels;
  if (t.pitch[1] < long_row)
    return f(int64_t{0}, at(tile.planes - 1, tile.size[0] - 1, tile.size[1] - 1) + row);
  for (int64_t plane = 0; plane < tile.planes; ++plane)
    for (int64_t d = 0; d < tile.size[0]; ++d)
      for (int64_t h = 0; h < tile.size[1]; ++h) f(at(plane, d, h), row);
}

// ---- between rows of memory and phases ----------------------------------------------------------------------------
// even[j], odd[j] = x[2 * j], x[2 * j + 1]; up to a vector may be written behind.
template <class C> static inline void split_pairs(const C* x, int64_t n, C* even, C* odd) {
  int64_t j = 0;
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<C, float>) {
    const __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    for (; j < n; j += 16) {
      const int64_t left = std::min<int64_t>(32, 2 * (n - j));
      const auto low = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
      const auto high = static_cast<__mmask16>(left >= 32 ? 0xffff : left <= 16 ? 0 : (1u << (left - 16)) - 1);
      const __m512 a = _mm512_maskz_loadu_ps(low, x + 2 * j), b = _mm512_maskz_loadu_ps(high, x + 2 * j + 16);
      _mm512_storeu_ps(even + j, _mm512_permutex2var_ps(a, evens, b));
      _mm512_storeu_ps(odd + j, _mm512_permutex2var_ps(a, odds, b));
    }
    return;
  }
#endif
  for (; j < n; ++j) even[j] = x[2 * j], odd[j] = x[2 * j + 1];
}

// x[2 * j], x[2 * j + 1] = even[j], odd[j]
template <class C> static inline void join_pairs(C* x, int64_t n, const C* even, const C* odd) {
  int64_t j = 0;
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<C, float>) {
    const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    for (; j < n; j += 16) {
      const int64_t left = std::min<int64_t>(32, 2 * (n - j));
      const auto first = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
      const auto second = static_cast<__mmask16>(left >= 32 ? 0xffff : left <= 16 ? 0 : (1u << (left - 16)) - 1);
      const __m512 a = _mm512_loadu_ps(even + j), b = _mm512_loadu_ps(odd + j);
      _mm512_mask_storeu_ps(x + 2 * j, first, _mm512_permutex2var_ps(a, low, b));
      _mm512_mask_storeu_ps(x + 2 * j + 16, second, _mm512_permutex2var_ps(a, high, b));
    }
    return;
  }
#endif
  for (; j < n; ++j) x[2 * j] = even[j], x[2 * j + 1] = odd[j];
}

// How one axis of a tile lies in the input: slots of each phase that are there, [first, last) counted from the tile's
// first one.
struct Inside {
  Range slots[kPoolPhases];
  int64_t remainder[kPoolPhases];
};
static Inside inside(const Axis& a, int64_t first, int64_t slots) {
  Inside found;
  for (int64_t phase = 0; phase < a.phases(); ++phase) {
    const int64_t r = found.remainder[phase] = a.remainder(phase), from = a.before - r, to = a.in - 1 + from;
    const int64_t low = (from > 0 ? (from + a.stride - 1) / a.stride : 0) - first;
    const int64_t high = (to < 0 ? 0 : to / a.stride + 1) - first, begin = std::clamp<int64_t>(low, 0, slots);
    found.slots[phase] = {begin, std::clamp(high, begin, slots)};
  }
  return found;
}

// `channels` of `inner` elements of each place of a row that begins at x, into its phases, `block` apart: phase w at
// to + w * area. `first`, `slots`: of the tile.
template <class C>
static void split_row(const Axis& a, const Inside& there, const C* x, int64_t inner, int64_t channels, int64_t block,
                      int64_t first, int64_t slots, C* to, int64_t area, C padding) {
  int64_t low = 0, high = 0;  // slots that the pairs have filled
  if (inner == 1 && a.stride == 2 && a.phases() == 2) {
    const Range &even = there.slots[0], &odd = there.slots[1];
    low = std::max(even.first, odd.first), high = std::max(low, std::min(even.last, odd.last));
    split_pairs(x + (low + first) * 2 - a.before, high - low, to + low, to + area + low);
  }
  for (int64_t phase = 0; phase < a.phases(); ++phase, to += area) {
    const Range in = there.slots[phase];
    const int64_t start = first * a.stride + there.remainder[phase] - a.before;
    const auto from = [&](int64_t j) { return x + (j * a.stride + start) * inner; };
    for (int64_t j = 0; j < in.first * block; ++j) to[j] = padding;
    if (high > low) {
      for (int64_t j = in.first; j < low; ++j) to[j] = *from(j);
      for (int64_t j = high; j < in.last; ++j) to[j] = *from(j);
    } else if (inner == 1 && a.stride == 1) {
      std::copy(from(in.first), from(in.last), to + in.first);
    } else if (inner == 1) {
      for (int64_t j = in.first; j < in.last; ++j) to[j] = *from(j);
    } else if (a.stride == 1 && inner == block) {
      std::copy(from(in.first), from(in.last), to + in.first * block);
    } else {
      for (int64_t j = in.first; j < in.last; ++j) std::copy(from(j), from(j) + channels, to + j * block);
    }
    for (int64_t j = in.last * block; j < slots * block; ++j) to[j] = padding;
  }
}

// Calls f(plane, d, h, offset) for the rows of a tile's phases: offset is where the row begins in a phase.
template <class F> static void each_row(const Tiles& t, int64_t planes, const int64_t* rows, F&& f) {
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t d = 0; d < rows[0]; ++d)
      for (int64_t h = 0; h < rows[1]; ++h) f(plane, d, h, plane * t.plane_pitch + d * t.pitch[0] + h * t.pitch[1]);
}

// Fills the phases of a tile with the input. `row`: room for what a tile needs of a row, where T is not the compute
// type.
template <class T, class C>
static void split_tile(const Pooling& p, const Tiles& t, const Tile& tile, const T* x, C* to, C* row, C padding) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t phases = width.phases(), first = tile.first[2], slots = t.slots[2];
  const Inside there = inside(width, first, slots);
  const int64_t from = std::max<int64_t>(0, first * width.stride - width.before);
  const int64_t end = std::min(width.in, (first + slots) * width.stride - width.before);
  each_row(t, tile.planes, t.slots, [&](int64_t plane, int64_t sd, int64_t sh, int64_t offset) {
    for (int64_t pd = 0; pd < depth.phases(); ++pd)
      for (int64_t ph = 0; ph < height.phases(); ++ph) {
        const int64_t i = (sd + tile.first[0]) * depth.stride + depth.remainder(pd) - depth.before;
        const int64_t j = (sh + tile.first[1]) * height.stride + height.remainder(ph) - height.before;
        C* target = to + (pd * height.phases() + ph) * phases * t.area + offset;
        if (i < 0 || i >= depth.in || j < 0 || j >= height.in) {
          for (int64_t w = 0; w < phases; ++w)
            std::fill(target + w * t.area, target + w * t.area + slots * t.channels, padding);
          continue;
        }
        const T* source = x + (((tile.plane + plane) * depth.in + i) * height.in + j) * width.in * p.inner;
        if constexpr (std::is_same_v<T, C>) {
          split_row(width, there, source + tile.channel, p.inner, tile.channels, t.channels, first, slots, target,
                    t.area, padding);
        } else {
          read_row(row, source + from * p.inner + tile.channel, end - from, p.inner, tile.channels, t.channels);
          split_row(width, there, row - from * t.channels, t.channels, t.channels, t.channels, first, slots, target,
                    t.area, padding);
        }
      }
  });
}

// Positions of windows as places in a tile: position (d, h, w), number k, is at offset[k] from the window's own slot.
static void offsets_of(const Pooling& p, const Tiles& t, int64_t* offset) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  for (int64_t d = 0; d < depth.kernel; ++d)
    for (int64_t h = 0; h < height.kernel; ++h)
      for (int64_t w = 0; w < width.kernel; ++w) {
        const int64_t phase = (d % depth.period * height.phases() + h % height.period) * width.phases() +
                              w % width.period;
        *offset++ = phase * t.area + depth.shift(d) * t.pitch[0] + height.shift(h) * t.pitch[1] +
                    width.shift(w) * t.pitch[2];
      }
}

#endif  // DLCORE_POOL_PHASES
