// Windows of 2, or 2 by 2, side by side, in NCHW: what most networks have. Rows follow each other without a gap, so
// that neighbours are told apart by two shuffles, in full vectors however narrow an image is, then rows in pairs.
#ifndef DLCORE_POOL_HALVES
#define DLCORE_POOL_HALVES
#include "pool/channels.inl"

constexpr int64_t kHalvesTile = 4096;  // elements of the input at once

static bool by_halves(const Pooling& p) {
  const auto halved = [](const Axis& a) {
    return a.kernel == 2 && a.stride == 2 && a.before == 0 && a.dilation == 1 && a.in == 2 * a.out;
  };
  const auto kept = [](const Axis& a) { return a.kernel == 1 && a.stride == 1 && a.before == 0 && a.in == a.out; };
  return p.inner == 1 && halved(p.axis[2]) && (halved(p.axis[1]) || kept(p.axis[1])) && kept(p.axis[0]);
}

// Groups of rows (pairs of them where rows are halved too): f(first group, groups), each of `length` elements.
struct Halves {
  int64_t width, rows, groups, tile;  // of an output row; rows of a group; of all planes; groups at once
  explicit Halves(const Pooling& p) : width(p.axis[2].out), rows(p.axis[1].kernel) {
    groups = p.planes * p.axis[0].out * p.axis[1].out;
    tile = std::max<int64_t>(1, kHalvesTile / length());
  }
  int64_t length() const { return 2 * width * rows; }
  template <class F> void each(F&& f) const {
    const int64_t tiles = (groups + tile - 1) / tile;
    parallel_ranges(tiles, 4, [&](int64_t begin, int64_t end) {
      f(begin * tile, std::min(end * tile, groups));
    });
  }
};

template <class C> static inline place_vector<C> every_second(int first) {
  place_vector<C> v{};
  for (int l = 0; l < kLanes<C>; ++l) v[l] = 2 * l + first;
  return v;
}
template <class C> static inline place_vector<C> alternating(int first) {
  place_vector<C> v{};
  for (int l = 0; l < kLanes<C>; ++l) v[l] = first + l / 2 + (l % 2) * kLanes<C>;
  return v;
}

// f(index of the output, left, right) for n pairs of neighbours; x may be read up to two vectors behind.
template <class C, class F> static inline void each_pair(const C* x, int64_t n, F&& f) {
  const place_vector<C> left = every_second<C>(0), right = every_second<C>(1);
  for (int64_t i = 0; i < n; i += kLanes<C>) {
    const vec<C> a = vload(x + 2 * i), b = vload(x + 2 * i + kLanes<C>);
    f(i, __builtin_shuffle(a, b, left), __builtin_shuffle(a, b, right));
  }
}

// n elements in the compute type, with room behind them; `last`: they have none where they are.
template <class T> static const pool_t<T>* readable(const T* x, int64_t n, pool_t<T>* buffer, bool last) {
  if constexpr (std::is_same_v<T, pool_t<T>>)
    if (!last) return x;
  read(buffer, x, n);
  return buffer;
}

template <class T, class P> static void max_by_halves(const Pooling& p, const T* x, T* out, P* places) {
  using C = pool_t<T>;
  using I = place_of<C>;
  const Halves h(p);
  h.each([&](int64_t begin, int64_t end) {
    const int64_t most = h.tile * h.length(), slack = 2 * kLanes<C>;
    Scratch<C> buffer(2 * most + 3 * slack);
    Scratch<I> where(most / 2 + slack);
    Scratch<P> at(most / 2 + slack);
    C *input = buffer.get(), *across = input + most + slack, *found = across + most / 2 + slack;
    for (int64_t g = begin; g < end; g += h.tile) {
      const int64_t count = std::min(h.tile, end - g), n = count * h.length(), size = count * h.width;
      const C* from = readable(x + g * h.length(), n, input, (h.groups - g - count) * h.length() < slack);
      const bool flat = h.rows == 1;
      each_pair(from, n / 2, [&](int64_t i, vec<C> left, vec<C> right) {
        const auto better = (right > left) | (right != right);
        vstore((flat ? found : across) + i, better ? right : left);
        const place_vector<C> k = better ? place_vector<C>{} + I(1) : place_vector<C>{};
        if (flat) store_places<C>(at.get() + i, k);
        else vstore(where.get() + i, k);
      });
      for (int64_t r = 0; r < (flat ? 0 : count); ++r) {
        const C *top = across + 2 * r * h.width, *bottom = top + h.width;
        const I* place = where.get() + 2 * r * h.width;
        for (int64_t j = 0; j < h.width; j += kLanes<C>) {
          const vec<C> a = vload(top + j), b = vload(bottom + j);
          const auto better = (b > a) | (b != b);
          vstore(found + r * h.width + j, better ? b : a);
          const place_vector<C> k = better ? vload(place + h.width + j) + I(2) : vload(place + j);
          store_places<C>(at.get() + r * h.width + j, k);
        }
      }
      write(out + g * h.width, found, size);
      if (places) std::copy(at.get(), at.get() + size, places + g * h.width);
    }
  });
}

template <class T> static void means_by_halves(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  using C = pool_t<T>;
  const Halves h(p);
  const C by = static_cast<C>(divisors.of(0, 0, 0));
  h.each([&](int64_t begin, int64_t end) {
    const int64_t most = h.tile * h.length(), slack = 2 * kLanes<C>;
    Scratch<C> buffer(2 * most + 3 * slack);
    C *input = buffer.get(), *across = input + most + slack, *found = across + most / 2 + slack;
    for (int64_t g = begin; g < end; g += h.tile) {
      const int64_t count = std::min(h.tile, end - g), n = count * h.length();
      const C* from = readable(x + g * h.length(), n, input, (h.groups - g - count) * h.length() < slack);
      const bool flat = h.rows == 1;
      each_pair(from, n / 2, [&](int64_t i, vec<C> left, vec<C> right) {
        const vec<C> sum = plus(left, right);
        vstore((flat ? found : across) + i, flat ? sum / by : sum);
      });
      for (int64_t r = 0; r < (flat ? 0 : count); ++r)
        for (int64_t j = 0; j < h.width; j += kLanes<C>) {
          const C* top = across + 2 * r * h.width + j;
          vstore(found + r * h.width + j, plus(vload(top), vload(top + h.width)) / by);
        }
      write(out + g * h.width, found, count * h.width);
    }
  });
}

// Each gradient goes to the place chosen, or, divided, to all of its window.
template <bool kPlaces, class T, class P>
static void back_by_halves(const Pooling& p, const T* dout, const P* places, T* dx, const Divisors& divisors) {
  using C = pool_t<T>;
  using I = place_of<C>;
  const Halves h(p);
  const C by = kPlaces ? C(1) : static_cast<C>(divisors.of(0, 0, 0));
  const place_vector<C> low = alternating<C>(0), high = alternating<C>(kLanes<C> / 2);
  h.each([&](int64_t begin, int64_t end) {
    const int64_t most = h.tile * h.length(), slack = 2 * kLanes<C>;
    Scratch<C> buffer(most + most / 2 + 2 * slack);
    Scratch<P> at(kPlaces ? most / 2 + slack : 0);
    C *given = buffer.get(), *found = given + most / 2 + slack;
    for (int64_t g = begin; g < end; g += h.tile) {
      const int64_t count = std::min(h.tile, end - g), size = count * h.width;
      read(given, dout + g * h.width, size);
      if (kPlaces) std::copy(places + g * h.width, places + g * h.width + size, at.get());
      for (int64_t r = 0; r < count; ++r)
        for (int64_t row = 0; row < h.rows; ++row)
          for (int64_t j = 0; j < h.width; j += kLanes<C>) {
            vec<C> left = vload(given + r * h.width + j), right;
            if constexpr (kPlaces) {
              const place_vector<C> k = load_places<C>(at.get() + r * h.width + j) - static_cast<I>(2 * row);
              right = k == 1 ? left : vec<C>{};
              left = k == 0 ? left : vec<C>{};
            } else {
              left = left / by, right = left;
            }
            C* to = found + (r * h.rows + row) * 2 * h.width + 2 * j;
            vstore(to, __builtin_shuffle(left, right, low));
            vstore(to + kLanes<C>, __builtin_shuffle(left, right, high));
          }
      write(dx + g * h.length(), found, count * h.length());
    }
  });
}

// ---- row by row -----------------------------------------------------------------------------------------------------
// Windows of a row while all rows of the input that they hold are in registers, along one to three axes. Where a length
// is odd its last element is of no window.

// Whether windows are found this way: rows so long that vectors are half full, or what the way above does not take.
template <class T> static bool by_pairs(const Pooling& p) {
  const auto halved = [](const Axis& a) {
    return a.kernel == 2 && a.stride == 2 && a.before == 0 && a.dilation == 1 && a.in / 2 == a.out;
  };
  const auto kept = [](const Axis& a) { return a.kernel == 1 && a.stride == 1 && a.before == 0 && a.in == a.out; };
  return p.inner == 1 && halved(p.axis[2]) && (halved(p.axis[1]) || kept(p.axis[1])) &&
         (halved(p.axis[0]) || kept(p.axis[0])) && (2 * p.axis[2].out >= kLanes<pool_t<T>> || !by_halves(p));
}

struct Pairs {
  int64_t in, out;              // lengths of rows
  int64_t height, down, rows;   // rows of a slice; rows of windows in it; rows of a window
  int64_t depth, deep, slices;  // the same of slices of a plane
  int64_t groups;               // rows of windows in all
  int64_t lines, line[4];       // rows of the input that a window holds: 1, 2 or 4; elements from its first row to each
  explicit Pairs(const Pooling& p)
      : in(p.axis[2].in), out(p.axis[2].out), height(p.axis[1].in), down(p.axis[1].out), rows(p.axis[1].kernel),
        depth(p.axis[0].in), deep(p.axis[0].out), slices(p.axis[0].kernel), groups(p.planes * deep * down),
        lines(rows * slices) {
    for (int64_t k = 0; k < lines; ++k) line[k] = (k / rows * height + k % rows) * in;
  }
  // f(row of windows, the first row of the input that it holds, whether it is the last of its slice, and the last slice
  // of its plane), in order
  template <class F> void each(int64_t begin, int64_t end, F&& f) const {
    int64_t h = begin % down, d = begin / down % deep, plane = begin / down / deep;
    for (int64_t g = begin; g < end; ++g) {
      f(g, (plane * depth + d * slices) * height + h * rows, h + 1 == down, d + 1 == deep);
      if (++h < down) continue;
      h = 0;
      if (++d == deep) d = 0, ++plane;
    }
  }
  // f.operator()<lines>(begin, end), of a number that the compiler knows, for shares of the rows of windows
  template <class F> void share(F&& f) const {
    parallel_ranges(groups, std::max<int64_t>(1, 4 * kHalvesTile / (in * lines)), [&](int64_t begin, int64_t end) {
      if (lines == 1) f.template operator()<1>(begin, end);
      else if (lines == 2) f.template operator()<2>(begin, end);
      else f.template operator()<4>(begin, end);
    });
  }
  // Zeros in what no row of windows holds: the last column, row or slice behind one whose first row is `to`.
  template <class T> void clear(T* to, bool last_row, bool last_slice) const {
    for (int64_t k = 0; in > 2 * out && k < lines; ++k) to[line[k] + in - 1] = 0;
    if (!last_row) return;
    const int64_t below = height - down * rows, until = last_slice ? depth - (deep - 1) * slices : slices;
    for (int64_t d = 0; d < slices; ++d) {
      T* end = to + (d * height + rows) * in;
      std::fill(end, end + below * in, T(0));
    }
    T* slice = to - (height - below - rows) * in;
    std::fill(slice + slices * height * in, slice + until * height * in, T(0));
  }
};

template <class C> static inline vec<C> vload_part(const C* p, int n) {
  return n >= kLanes<C> ? vload(p) : vload_first(p, n < 0 ? 0 : n);
}
template <class C> static inline void vstore_part(C* p, vec<C> v, int n) {
  if (n >= kLanes<C>) vstore(p, v);
  else if (n > 0) vstore_first(p, v, n);
}

// The larger of each of n pairs of neighbours, and whether it is the right one; a NaN is larger than a number.
template <class C> static inline vec<C> larger_of_pairs(const C* x, int n, place_vector<C>& right_one) {
  constexpr int L = kLanes<C>;
  const vec<C> a = vload_part(x, 2 * n), b = vload_part(x + L, 2 * n - L);
  const vec<C> left = __builtin_shuffle(a, b, every_second<C>(0)), right = __builtin_shuffle(a, b, every_second<C>(1));
  const auto better = (right > left) | (right != right);
  right_one = better ? place_vector<C>{} + 1 : place_vector<C>{};
  return better ? right : left;
}

template <class T, class P> static void max_by_pairs(const Pooling& p, const T* x, T* out, P* places) {
  const Pairs k(p);
  constexpr int L = kLanes<T>;
  k.share([&]<int lines>(int64_t begin, int64_t end) {
    Scratch<P> room(places ? (end - begin) * k.out + L : 1);
    P* at = room.get();
    k.each(begin, end, [&](int64_t g, int64_t row, bool, bool) {
      const T* from = x + row * k.in;
      for (int64_t j = 0; j < k.out; j += L) {
        const int n = static_cast<int>(std::min<int64_t>(L, k.out - j));
        place_vector<T> place;
        vec<T> most = larger_of_pairs(from + 2 * j, n, place);
#pragma GCC unroll 4
        for (int line = 1; line < lines; ++line) {
          place_vector<T> here;
          const vec<T> other = larger_of_pairs(from + k.line[line] + 2 * j, n, here);
          const auto better = (other > most) | (other != other);
          most = better ? other : most, place = better ? here + static_cast<place_of<T>>(2 * line) : place;
        }
        vstore_part(out + g * k.out + j, most, n);
        if (places) store_places<T>(at + j, place);
      }
      if (places) at += k.out;
    });
    if (places) std::copy(room.get(), at, places + begin * k.out);
  });
}

template <class T> static void means_by_pairs(const Pooling& p, const T* x, T* out, const Divisors& divisors) {
  const Pairs k(p);
  constexpr int L = kLanes<T>;
  const T by = static_cast<T>(divisors.of(0, 0, 0));
  const place_vector<T> even = every_second<T>(0), odd = every_second<T>(1);
  k.share([&]<int lines>(int64_t begin, int64_t end) {
    k.each(begin, end, [&](int64_t g, int64_t row, bool, bool) {
      const T* from = x + row * k.in;
      for (int64_t j = 0; j < k.out; j += L) {
        const int n = static_cast<int>(std::min<int64_t>(L, k.out - j));
        vec<T> sum{};
#pragma GCC unroll 4
        for (int line = 0; line < lines; ++line) {
          const T* at = from + k.line[line] + 2 * j;
          const vec<T> a = vload_part(at, 2 * n), b = vload_part(at + L, 2 * n - L);
          const vec<T> pair = __builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, odd);
          sum = line ? sum + pair : pair;
        }
        vstore_part(out + g * k.out + j, sum / by, n);
      }
    });
  });
}

// Gradients: each goes to the place chosen, or, divided, to all of its window. `maxima`: where it is not null, those of
// maxima that are not above 0 are zero, as behind a ReLU.
template <bool kPlaces, class T, class P>
static void back_by_pairs(const Pooling& p, const T* dout, const P* places, const T* maxima, T* dx,
                          const Divisors& divisors) {
  const Pairs k(p);
  constexpr int L = kLanes<T>;
  const T by = kPlaces ? T(1) : static_cast<T>(divisors.of(0, 0, 0));
  const place_vector<T> low = alternating<T>(0), high = alternating<T>(L / 2);
  k.share([&]<int lines>(int64_t begin, int64_t end) {
    Scratch<P> room(kPlaces ? (end - begin) * k.out + L : 1);
    if (kPlaces) std::copy(places + begin * k.out, places + end * k.out, room.get());
    const P* at = room.get();
    k.each(begin, end, [&](int64_t g, int64_t row, bool last_row, bool last_slice) {
      T* to = dx + row * k.in;
      for (int64_t j = 0; j < k.out; j += L) {
        const int n = static_cast<int>(std::min<int64_t>(L, k.out - j));
        vec<T> given = vload_part(dout + g * k.out + j, n);
        if (kPlaces && maxima) given = vload_part(maxima + g * k.out + j, n) <= T(0) ? vec<T>{} : given;
        place_vector<T> place;
        if constexpr (kPlaces) place = load_places<T>(at + j);
#pragma GCC unroll 4
        for (int line = 0; line < lines; ++line) {
          vec<T> left = given, right = given;
          if constexpr (kPlaces) {
            const auto here = place - static_cast<place_of<T>>(2 * line);
            left = here == 0 ? given : vec<T>{}, right = here == 1 ? given : vec<T>{};
          } else {
            left = given / by, right = left;
          }
          T* target = to + k.line[line] + 2 * j;
          vstore_part(target, __builtin_shuffle(left, right, low), 2 * n);
          vstore_part(target + L, __builtin_shuffle(left, right, high), 2 * n - L);
        }
      }
      if (kPlaces) at += k.out;
      k.clear(to, last_row, last_slice);
    });
  });
}

#endif  // DLCORE_POOL_HALVES
