// Gradients of poolings by phases: each element of the input gathers, in the order of the positions, from the windows
// that hold it. No element is written twice, so no order depends on threads.
#ifndef DLCORE_POOL_BACK
#define DLCORE_POOL_BACK
#include "pool/max.inl"

// The positions that meet in one phase of the input, and where their windows are from a slot on.
struct Meeting {
  int64_t count = 0;
  int64_t offset[kPoolVolume], position[kPoolVolume];
};

template <class C> using place_of = std::conditional_t<sizeof(C) == 4, int32_t, int64_t>;

// dx[f] = the sum of dout[f + offset[k]] over the positions k that meet there; with places, of those chosen.
template <bool kPlaces, class C>
static void back_run(const Meeting& m, const C* dout, const place_of<C>* place, int64_t first, int64_t n, C* dx) {
  for (int64_t f = first; f < first + n; f += kLanes<C>) {
    vec<C> sum{};
    for (int64_t k = 0; k < m.count; ++k) {
      const vec<C> v = vload(dout + f + m.offset[k]);
      if constexpr (kPlaces) {
        const auto chosen = vload(place + f + m.offset[k]) == static_cast<place_of<C>>(m.position[k]);
        sum += chosen ? v : vec<C>{};
      } else {
        sum += v;
      }
    }
    vstore(dx + f, sum);
  }
}

// How the elements of a row of dx lie in a tile's phases.
struct Joined {
  const Axis& a;
  int64_t first, slots, from, end;  // of the tile: slots, and the elements [from, end) of the row
  Scratch<int64_t> phase;           // of each remainder; -1: of no window

  Joined(const Axis& axis, int64_t first_slot, int64_t n)
      : a(axis), first(first_slot), slots(n), from(std::max<int64_t>(0, first * a.stride - a.before)),
        end(std::max(from, std::min(a.in, (first + n) * a.stride - a.before))), phase(a.stride) {
    std::fill(phase.get(), phase.get() + a.stride, -1);
    for (int64_t k = 0; k < a.phases(); ++k) phase[a.remainder(k)] = k;
  }
  int64_t phase_of(int64_t i) const { return phase[(i + a.before) % a.stride]; }
  int64_t slot_of(int64_t i) const { return (i + a.before) / a.stride - first; }
};

// Elements [from, end) of a row from its phases, `area` apart; `block` elements at each place.
template <class C> static void join_row(const Joined& w, const C* phases, int64_t area, int64_t block, C* to) {
  int64_t i = w.from;
  if (block == 1 && w.a.stride == 1) {
    std::copy(phases + w.slot_of(i), phases + w.slot_of(i) + (w.end - i), to);
    return;
  }
  if (block == 1 && w.a.stride == 2 && w.a.phases() == 2 && w.end > i) {
    if (w.slot_of(i) * 2 + w.first * 2 - w.a.before != i) *to++ = phases[area + w.slot_of(i)], ++i;
    const int64_t pairs = (w.end - i) / 2;
    join_pairs(to, pairs, phases + (pairs ? w.slot_of(i) : 0), phases + area + (pairs ? w.slot_of(i) : 0));
    i += 2 * pairs, to += 2 * pairs;
  }
  for (; i < w.end; ++i, to += block) {
    const int64_t phase = w.phase_of(i);
    if (phase < 0) {
      for (int64_t c = 0; c < block; ++c) to[c] = 0;
    } else {
      const C* part = phases + phase * area + w.slot_of(i) * block;
      std::copy(part, part + block, to);
    }
  }
}

// Writes the part of dx that belongs to a tile.
template <class T, class C>
static void join_tile(const Pooling& p, const Tiles& t, const Tile& tile, const C* phases, C* row, T* dx) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const Joined jd(depth, tile.first[0], tile.size[0]), jh(height, tile.first[1], tile.size[1]);
  const Joined jw(width, tile.first[2], tile.size[2]);
  const int64_t n = jw.end - jw.from;
  const bool direct = std::is_same_v<T, C> && p.inner == t.channels;
  for (int64_t plane = 0; plane < tile.planes; ++plane)
    for (int64_t i = jd.from; i < jd.end; ++i)
      for (int64_t j = jh.from; j < jh.end; ++j) {
        T* to = dx + ((((tile.plane + plane) * depth.in + i) * height.in + j) * width.in + jw.from) * p.inner +
                tile.channel;
        const int64_t pd = jd.phase_of(i), ph = jh.phase_of(j);
        C* target = direct ? reinterpret_cast<C*>(to) : row;
        if (pd < 0 || ph < 0) {
          std::fill(target, target + n * t.channels, C(0));
        } else {
          const C* from = phases + (pd * height.phases() + ph) * width.phases() * t.area + plane * t.plane_pitch +
                          jd.slot_of(i) * t.pitch[0] + jh.slot_of(j) * t.pitch[1];
          join_row(jw, from, t.area, t.channels, target);
        }
        if (!direct) write_row(to, row, n, p.inner, tile.channels, t.channels);
      }
}

// Windows' gradients, and where given the positions chosen, around a tile's slots: 0 where there is no window.
template <class T, class C, class P, class Divide>
static void read_windows(const Pooling& p, const Tiles& t, const Tile& tile, const T* dout, const P* places, C* to,
                         place_of<C>* place, const Divide& divide) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t first = tile.first[2] - width.shifts(), low = std::max<int64_t>(0, -first);
  const int64_t high = std::max(low, std::min(t.slots[2], width.out - first)), block = t.channels;
  each_row(t, tile.planes, t.slots, [&](int64_t plane, int64_t d, int64_t h, int64_t offset) {
    const int64_t od = d + tile.first[0] - depth.shifts(), oh = h + tile.first[1] - height.shifts();
    C* row = to + offset;
    if (od < 0 || od >= depth.out || oh < 0 || oh >= height.out) {
      std::fill(row, row + t.slots[2] * block, C(0));
      return;
    }
    const int64_t from = ((((tile.plane + plane) * depth.out + od) * height.out + oh) * width.out + first + low) *
                             p.inner + tile.channel;
    for (int64_t j = 0; j < low * block; ++j) row[j] = 0;
    read_row(row + low * block, dout + from, high - low, p.inner, tile.channels, block);
    for (int64_t j = high * block; j < t.slots[2] * block; ++j) row[j] = 0;
    if (places)
      for (int64_t j = low; j < high; ++j)
        for (int64_t c = 0; c < tile.channels; ++c)
          place[offset + j * block + c] = places[from + (j - low) * p.inner + c];
    else
      divide(od, oh, first + low, high - low, row + low * block, block);
  });
}

template <bool kPlaces, class T, class P, class Divide>
static void back_by_phases(const Pooling& p, const T* dout, const P* places, T* dx, const Divide& divide) {
  using C = pool_t<T>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  int64_t whole[3], more[3], phases = 1;
  for (int d = 0; d < 3; ++d) {
    const Axis& a = p.axis[d];
    whole[d] = (a.in - 1 + a.before) / a.stride + 1, more[d] = a.shifts(), phases *= a.phases();
  }
  const Tiles t = tiles_of(p, whole, more, phases + 2);
  Scratch<Meeting> meetings(phases);
  for (int64_t k = 0; k < phases; ++k) meetings[k].count = 0;
  for (int64_t d = 0, k = 0; d < depth.kernel; ++d)
    for (int64_t h = 0; h < height.kernel; ++h)
      for (int64_t w = 0; w < width.kernel; ++w, ++k) {
        Meeting& m = meetings[(d % depth.period * height.phases() + h % height.period) * width.phases() +
                              w % width.period];
        m.position[m.count] = k;
        m.offset[m.count++] = (more[0] - depth.shift(d)) * t.pitch[0] + (more[1] - height.shift(h)) * t.pitch[1] +
                              (more[2] - width.shift(w)) * t.pitch[2];
      }
  parallel_ranges(t.total(), tile_grain(phases * t.area), [&](int64_t begin, int64_t end) {
    Scratch<C> buffer((phases + 1) * t.area + (t.slots[2] + 1) * width.stride * t.channels);
    Scratch<place_of<C>> at(kPlaces ? t.area : 0);
    C *windows = buffer.get() + phases * t.area, *row = windows + t.area;
    if (kPlaces) std::fill(at.get(), at.get() + t.area, place_of<C>(-1));
    for (int64_t k = begin; k < end; ++k) {
      const Tile tile = tile_at(p, t, whole, k);
      read_windows(p, t, tile, dout, places, windows, at.get(), divide);
      for (int64_t phase = 0; phase < phases; ++phase)
        each_run(t, tile, 4 * kLanes<C>, [&](int64_t first, int64_t n) {
          back_run<kPlaces>(meetings[phase], windows, at.get(), first, n, buffer.get() + phase * t.area);
        });
      join_tile(p, t, tile, buffer.get(), row, dx);
    }
  });
}

// ---- any windows ----------------------------------------------------------------------------------------------------
// The same for each element by itself; channels side by side.
template <bool kPlaces, class T, class P, class Divisor>
static void back_by_windows(const Pooling& p, const T* dout, const P* places, T* dx, const Divisor& divisor) {
  using C = pool_t<T>;
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  const int64_t rows = depth.in * height.in;
  const int64_t grain = std::max<int64_t>(1, 8192 / (width.in * p.inner + 1));
  parallel_ranges(p.planes * rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t plane = k / rows, i = k % rows / height.in, j = k % height.in;
      const Range wd = depth.windows(i), wh = height.windows(j);
      for (int64_t w = 0; w < width.in; ++w) {
        const Range ww = width.windows(w);
        T* to = dx + ((plane * rows + k % rows) * width.in + w) * p.inner;
        for (int64_t c = 0; c < p.inner; c += kPoolChannels) {
          const int64_t n = std::min(kPoolChannels, p.inner - c);
          C sum[kPoolChannels], line[kPoolChannels];
          for (int64_t e = 0; e < n; ++e) sum[e] = 0;
          // Windows that begin later have the element at an earlier position: from the last to the first.
          for (int64_t od = wd.last - 1; od >= wd.first; --od)
            for (int64_t oh = wh.last - 1; oh >= wh.first; --oh)
              for (int64_t ow = ww.last - 1; ow >= ww.first; --ow) {
                const int64_t a = depth.position(od, i), b = height.position(oh, j), g = width.position(ow, w);
                if (a < 0 || b < 0 || g < 0) continue;
                const int64_t at = (((plane * depth.out + od) * height.out + oh) * width.out + ow) * p.inner + c;
                const int64_t position = (a * height.widest() + b) * width.widest() + g;
                read(line, dout + at, n);
                if constexpr (kPlaces)
                  for (int64_t e = 0; e < n; ++e) sum[e] += places[at + e] == position ? line[e] : C(0);
                else
                  for (int64_t e = 0; e < n; ++e) sum[e] += line[e] / divisor(od, oh, ow);
              }
          write(to + c, sum, n);
        }
      }
    }
  });
}

#endif  // DLCORE_POOL_BACK
