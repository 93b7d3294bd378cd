// Which elements of one array are among those of another.
//
// Elements become integers first, a block at a time, so that all else is compiled once. Where few integers lie between
// the smallest and the largest of those asked for, a table has a byte for each; else they go into a hash table of twice
// to four times their number, searched from place to place. Bound by memory: each element is read once, and what is
// looked up lies anywhere in the table.
#include "common/dtypes.inl"
#include "common/simd.inl"

constexpr int64_t kAmongBlock = 1024, kAmongGrain = 16 * 1024;  // elements: 10 us of look-ups
constexpr int64_t kMostSteps = 4;  // from place to place, for a key on average: random ones take less than 1
// Any one sends some evenly spaced keys all to neighbouring places, as 2^64 / the golden ratio, the first, does with
// multiples of a large Fibonacci number: 200,000 took minutes. Then the next one is tried.
constexpr uint64_t kMultipliers[] = {0x9E3779B97F4A7C15u, 0xD6E8FEB86659FD93u, 0xC2B2AE3D27D4EB4Fu};
constexpr int64_t kNoKey = std::numeric_limits<int64_t>::min();

// Equal numbers have equal keys; of floats NaN alone has kNoKey.
template <class T> static void find_keys(const void* from, int64_t n, int64_t* keys) {
  const T* x = static_cast<const T*>(from);
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_integral_v<T>) {
      keys[i] = static_cast<int64_t>(x[i]);
    } else {
      using Bits = std::conditional_t<sizeof(T) == 8, int64_t, std::conditional_t<sizeof(T) == 4, int32_t, int16_t>>;
      const auto value = load(x + i);
      keys[i] = value != value ? kNoKey : value == 0 ? 0 : __builtin_bit_cast(Bits, x[i]);
    }
  }
}

class Keys {
 public:
  explicit Keys(const Array& x) : x_(x) {
    with_dtype(x.dtype, [&]<class T>() { find_ = find_keys<T>; });
  }
  // f(first, keys, n) for blocks of the elements [begin, end).
  template <class F> void each(int64_t begin, int64_t end, F&& f) const {
    int64_t keys[kAmongBlock];
    for (int64_t i = begin; i < end; i += kAmongBlock) {
      const int64_t n = std::min(kAmongBlock, end - i);
      find_(x_.as<const char>() + i * item_size(x_.dtype), n, keys);
      f(i, keys, n);
    }
  }

 private:
  const Array& x_;
  void (*find_)(const void*, int64_t, int64_t*);
};

// A quarter full at most where that stays in the second-level cache, else half.
struct HashTable {
  Scratch<int64_t> room;
  int64_t* places = room.get();
  int shift;
  uint64_t last;
  uint64_t multiplier = 0;
  bool no_key = false;  // whether that is among the integers

  static int bits(int64_t count) {
    return 64 - __builtin_clzll(static_cast<uint64_t>(count) * (count < 16 * 1024 ? 4 : 2));
  }
  explicit HashTable(int64_t count)
      : room(int64_t{1} << bits(count)), shift(64 - bits(count)), last((uint64_t{1} << bits(count)) - 1) {}

  // False, with only some of the keys, where they took more than `left` steps to a place of their own.
  bool hold(const Keys& keys, int64_t count, uint64_t factor, int64_t left) {
    multiplier = factor;
    for (uint64_t i = 0; i <= last; ++i) places[i] = kNoKey;
    keys.each(0, count, [&, this](int64_t, const int64_t* block, int64_t n) {
      if (left < 0) return;
      int64_t* const to = places;  // in registers: what is written may lie over anything
      const uint64_t end = last;
      const int by = shift;
      uint64_t steps = 0;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t key = block[i];
        if (key == kNoKey) continue;
        uint64_t at = home(by, factor, key);
        for (; to[at] != key && to[at] != kNoKey; at = (at + 1) & end) ++steps;
        to[at] = key;
      }
      left -= static_cast<int64_t>(steps);
    });
    return left >= 0;
  }

  static uint64_t home(int shift, uint64_t multiplier, int64_t key) {
    return static_cast<uint64_t>(key) * multiplier >> shift;
  }
  // The place of a key, or the empty one where it belongs.
  static int64_t* hashed(int64_t* places, int shift, uint64_t last, uint64_t multiplier, int64_t key) {
    uint64_t at = home(shift, multiplier, key);
    while (places[at] != key && places[at] != kNoKey) at = (at + 1) & last;
    return places + at;
  }
};

// f(first, keys, n, out) for blocks of x, by several threads.
template <class F> static void look_up(const Array& x, const Array& out, F&& f) {
  const Keys keys(x);
  parallel_ranges(x.size(), kAmongGrain, [&](int64_t begin, int64_t end) {
    keys.each(begin, end, [&](int64_t first, const int64_t* block, int64_t n) { f(block, n, out.as<bool>() + first); });
  });
}

// out[i] = whether in(0)[i] is among in(1); NaN is not
static void is_among(const Args& a) {
  const Array &x = a.in(0), &tests = a.in(1), &out = a.out();
  const int64_t count = tests.size();
  if (count == 0) return static_cast<void>(memset(out.data, 0, x.size()));
  const Keys keys(tests);
  int64_t low = std::numeric_limits<int64_t>::max(), high = kNoKey;
  keys.each(0, count, [&](int64_t, const int64_t* block, int64_t n) {
    int64_t least = low, most = high;
    for (int64_t i = 0; i < n; ++i) least = std::min(least, block[i]), most = std::max(most, block[i]);
    low = least, high = most;
  });
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  if (low != kNoKey && range < static_cast<uint64_t>(4 * (count + x.size()))) {
    const Scratch<bool> table(static_cast<int64_t>(range) + 2);  // the last place is that of what lies outside
    memset(table.get(), 0, range + 2);
    keys.each(0, count, [&](int64_t, const int64_t* block, int64_t n) {
      bool* const among = table.get();
      const int64_t least = low;  // in a register: bools may lie over anything
      for (int64_t i = 0; i < n; ++i) among[block[i] - least] = true;
    });
    return look_up(x, out, [found = table.get(), first = static_cast<uint64_t>(low), outside = range + 1](
                               const int64_t* block, int64_t n, bool* to) {
      const bool* const among = found;
      const uint64_t least = first, most = outside;
      for (int64_t i = 0; i < n; ++i) to[i] = among[std::min(static_cast<uint64_t>(block[i]) - least, most)];
    });
  }
  HashTable table(count);
  table.no_key = low == kNoKey && !is_float(tests.dtype);
  const bool spread = table.hold(keys, count, kMultipliers[0], kMostSteps * count) ||
                      table.hold(keys, count, kMultipliers[1], kMostSteps * count);
  if (!spread) table.hold(keys, count, kMultipliers[2], std::numeric_limits<int64_t>::max());
  look_up(x, out, [&](const int64_t* block, int64_t n, bool* to) {
    int64_t* const places = table.places;
    const uint64_t last = table.last, multiplier = table.multiplier;
    const int shift = table.shift;
    const bool no_key = table.no_key;
    for (int64_t i = 0; i < n; ++i)
      to[i] = block[i] == kNoKey ? no_key : *HashTable::hashed(places, shift, last, multiplier, block[i]) == block[i];
  });
}

static const Kernel kernels[] = {
    {"order:is_among", is_among, kAllContiguous},
};
