// Uniform and normal numbers, integers, masks, dropout, permutations, from the words of philox.inl. Bound by the
// generator, normals by arithmetic, permutations by memory.
#include "order/words.inl"
#include "random/philox.inl"

// Bits of a uniform number: as many as the dtype's spacing just below 1 holds.
template <class T> constexpr int kUniformBits = 24;
template <> constexpr int kUniformBits<half_t> = 11;
template <> constexpr int kUniformBits<bfloat16_t> = 8;

// low + (high - low) u, u a multiple of 2^-bits in [0, 1); rounding to `high` itself is prevented. params: low, high,
// and the largest number of the dtype below high.
template <class T> static void uniform_as(const Args& a, T* to) {
  using C = compute_t<T>;
  const C low = static_cast<C>(a.number(0)), width = static_cast<C>(a.number(1)) - low,
          last = static_cast<C>(a.number(2));
  const int64_t n = a.out().size();
  if constexpr (std::is_same_v<T, double>) {
    fill_random<T, 2>(advance(a.in(0), n, 2), to, n, [=](const Group& g, T* out, int64_t) {
      for (int half = 0; half < 2; ++half) {
#pragma omp simd
        for (int j = 0; j < kBlocks; ++j) {
          const double x = low + width * (exact_double(long_word(g, half, j) >> 11) * 0x1p-53);
          out[half * kBlocks + j] = at_most(x, last);
        }
      }
    });
  } else {
    constexpr int bits = kUniformBits<T>;
    constexpr float unit = 1.0f / (1 << bits);
    fill_random<T, 1>(advance(a.in(0), n, 1), to, n, [=](const Group& g, T* out, int64_t) {
      float x[kGroupWords];
#pragma omp simd
      for (int i = 0; i < kGroupWords; ++i) {
        const int32_t k = static_cast<int32_t>(g.words[i] >> (32 - bits));
        x[i] = at_most(low + width * (static_cast<float>(k) * unit), last);
      }
      store_block(out, x, kGroupWords);
    });
  }
}

// Box-Muller: sqrt(-2 log u) (cos 2 pi v, sin 2 pi v), u in (0, 1]. A pair of words gives two numbers in the places of
// its words. params: mean, standard deviation.
template <class T> static void normal_as(const Args& a, T* to) {
  using C = compute_t<T>;
  const C mean = static_cast<C>(a.number(0)), deviation = static_cast<C>(a.number(1));
  const int64_t n = a.out().size();
  if constexpr (std::is_same_v<T, double>) {
    fill_random<T, 2>(advance(a.in(0), n, 2), to, n, [=](const Group& g, T* out, int64_t) {
      double u[kBlocks], v[kBlocks];
#pragma omp simd
      for (int j = 0; j < kBlocks; ++j) {
        u[j] = exact_double((long_word(g, 0, j) >> 11) + 1) * 0x1p-53;
        v[j] = exact_double(long_word(g, 1, j) >> 11) * 0x1p-53;
      }
#pragma omp simd
      for (int j = 0; j < kBlocks; ++j) {
        const double r = __builtin_sqrt(-2.0 * log_(u[j])) * deviation;
        out[j] = r * cos2pi_(v[j]) + mean;
        out[j + kBlocks] = r * sin2pi_(v[j]) + mean;
      }
    });
  } else {
    fill_random<T, 1>(advance(a.in(0), n, 1), to, n, [=](const Group& g, T* out, int64_t) {
      float x[kGroupWords];
      for (int pair = 0; pair < 2; ++pair) {
#pragma omp simd
        for (int j = 0; j < kBlocks; ++j) {
          // All 32 bits, though float holds 24: small u are the tail, which reaches 6.6 deviations.
          const float u = static_cast<float>(g.word(2 * pair, j)) * 0x1p-32f + 0x1p-33f;
          const float v = static_cast<float>(static_cast<int32_t>(g.word(2 * pair + 1, j) >> 8)) * 0x1p-24f;
          const float r = __builtin_sqrtf(-2.0f * log_(u)) * deviation;
          x[2 * pair * kBlocks + j] = r * cos2pi_(v) + mean;
          x[(2 * pair + 1) * kBlocks + j] = r * sin2pi_(v) + mean;
        }
      }
      store_block(out, x, kGroupWords);
    });
  }
}

static void uniform(const Args& a) {
  with_float(a.out().dtype, [&]<class T>() { uniform_as(a, a.out().as<T>()); });
}
static void normal(const Args& a) {
  with_float(a.out().dtype, [&]<class T>() { normal_as(a, a.out().as<T>()); });
}

// low + floor(range w / 2^64), w a 64-bit word: a value's probability is off by at most 2^-64. params: low, range (as
// an unsigned number; 0 stands for 2^64).
template <class T> static void randint_as(const Args& a, T* to) {
  const uint64_t low = static_cast<uint64_t>(a.integer(0)), range = static_cast<uint64_t>(a.integer(1));
  const int64_t n = a.out().size();
  const State s = advance(a.in(0), n, 2);
  if (range != 0 && range >> 32 == 0) {
    fill_random<T, 2>(s, to, n, [=](const Group& g, T* out, int64_t) {
      for (int half = 0; half < 2; ++half) {
#pragma omp simd
        for (int j = 0; j < kBlocks; ++j) {  // two 32-bit products, which vectors have
          const uint64_t below = (g.word(2 * half, j) * range) >> 32;
          out[half * kBlocks + j] = static_cast<T>(low + ((g.word(2 * half + 1, j) * range + below) >> 32));
        }
      }
    });
    return;
  }
  fill_random<T, 2>(s, to, n, [=](const Group& g, T* out, int64_t) {
    for (int i = 0; i < 2 * kBlocks; ++i) {
      const uint64_t w = long_word(g, i / kBlocks, i % kBlocks);
      out[i] = static_cast<T>(
          low + (range == 0 ? w : static_cast<uint64_t>((static_cast<unsigned __int128>(w) * range) >> 64)));
    }
  });
}

static void randint(const Args& a) {
  with_integer(a.out().dtype, [&]<class T>() { randint_as(a, a.out().as<std::make_unsigned_t<T>>()); });
}

// ---- masks --------------------------------------------------------------------------------------------------------
// A word below `threshold` (p 2^32, rounded; params hold it, so that no device rounds differently) is an event.
static void bernoulli(const Args& a) {
  const int64_t threshold = a.integer(0), n = a.out().size();
  const State s = advance(a.in(0), n, 1);
  if (threshold == 0) return void(memset(a.out().data, 0, n));
  const uint32_t last = static_cast<uint32_t>(threshold - 1);  // 2^32 does not fit into a word
  fill_random<uint8_t, 1>(s, a.out().as<uint8_t>(), n, [=](const Group& g, uint8_t* out, int64_t) {
#pragma omp simd
    for (int i = 0; i < kGroupWords; ++i) out[i] = g.words[i] <= last;
  });
}

// out[i] = x[i] scale unless word i is below the threshold, then 0, also for infinite x. params: threshold, scale
template <class T> static void scale_kept(const Args& a, State s, T* to) {
  using C = compute_t<T>;
  const int64_t threshold = a.integer(0), n = a.out().size();
  const T* x = a.in(0).as<const T>();
  if (threshold == 0) {
    if (to != x) memcpy(to, x, n * sizeof(T));
    return;
  }
  const uint32_t last = static_cast<uint32_t>(threshold - 1);
  const C scale = static_cast<C>(a.number(1));
  fill_random<T, 1>(s, to, n, [=](const Group& g, T* out, int64_t first) {
    C block[kGroupWords];
    const int64_t left = n - first;
    load_block(block, x + first, left < kGroupWords ? left : kGroupWords);
#pragma omp simd
    for (int i = 0; i < kGroupWords; ++i) {  // by bits: of a choice the compiler makes a branch, mostly mispredicted
      const auto kept = -static_cast<typename Real<C>::Bits>(g.words[i] > last);
      block[i] = of_bits<C>(bits_of(block[i] * scale) & kept);
    }
    store_block(out, block, kGroupWords);
  });
}

// The state as it was is kept for the backward pass, which draws the same mask.
static void dropout(const Args& a) {
  const State s = advance(a.in(1), a.out().size(), 1);
  if (const Array& saved = a.out(1)) memcpy(saved.data, &s, sizeof s);
  with_float(a.out().dtype, [&]<class T>() { scale_kept(a, s, a.out().as<T>()); });
}

static void dropout_backward(const Args& a) {
  const State s = read_state(a.in(1));
  with_float(a.out().dtype, [&]<class T>() { scale_kept(a, s, a.out().as<T>()); });
}

// A copy of the state, which moves on. params: by how many blocks
static void reserve(const Args& a) {
  const State s = read_state(a.in(0));
  memcpy(a.out().data, &s, sizeof s);
  a.in(0).as<uint64_t>()[a.in(0).strides[0]] += static_cast<uint64_t>(a.integer(0));
}

// ---- permutation --------------------------------------------------------------------------------------------------
// The indices 0 ... n - 1 in the order of their 64-bit words (equal words: smaller index first), hence what any stable
// sort gives. Here: by the leading bits into buckets, of which one or a few fit registers, then these as words. While
// it moves, an element is 8 bytes: the 32 bits of its word behind those that chose the bucket, above its index; where
// these are equal the words decide.
constexpr int64_t kMostPermuted = int64_t{1} << 32, kPermutedTogether = 8192;

static void order_bucket(uint64_t* bucket, int64_t n, const uint64_t* words, int64_t* out) {
  if (n == 0) return;
  sort_words(bucket, reinterpret_cast<uint64_t*>(out), n, n, 0, false);
  bool tied = false;
  for (int64_t i = 1; i < n; ++i) tied |= (bucket[i - 1] ^ bucket[i]) >> 32 == 0;
  const auto behind = [=](uint64_t a, uint64_t b) {
    return (a ^ b) >> 32 == 0 && words[a & 0xffffffffu] > words[b & 0xffffffffu];
  };
  for (int64_t i = 1; i < n && tied; ++i) {
    const uint64_t x = bucket[i];
    int64_t k = i;
    for (; k > 0 && behind(bucket[k - 1], x); --k) bucket[k] = bucket[k - 1];
    bucket[k] = x;
  }
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int64_t>(bucket[i] & 0xffffffffu);
}

static void permutation(const Args& a) {
  const int64_t n = a.out().size();
  if (n > kMostPermuted) throw ValueFault("permutation: of at most 2^32 elements, not " + std::to_string(n));
  const State s = advance(a.in(0), n, 2);
  if (n == 0) return;
  const Scratch<uint64_t> words(n);
  fill_random<uint64_t, 2>(s, words.get(), n, [](const Group& g, uint64_t* out, int64_t) {
    for (int i = 0; i < 2 * kBlocks; ++i) out[i] = long_word(g, i / kBlocks, i % kBlocks);
  });
  int used = 0;
  while (used < 10 && n >> used > 64) ++used;
  const int64_t buckets = int64_t{1} << used, part = n < 32 << 14 ? 1 << 14 : 1 << 16, parts = (n + part - 1) / part;
  const auto bucket = [used, w = words.get()](int64_t i) { return static_cast<int64_t>(w[i] >> 1 >> (63 - used)); };
  // Where the next element of each part goes in each bucket; a row of buckets for each part, and their ends.
  const Scratch<int64_t> next(parts * buckets), ends(buckets);
  parallel_for(parts, [&](int64_t p) {
    int64_t* count = next.get() + p * buckets;
    const int64_t end = n - p * part < part ? n : (p + 1) * part;
    memset(count, 0, buckets * sizeof(int64_t));
    for (int64_t i = p * part; i < end; ++i) ++count[bucket(i)];
  });
  int64_t before = 0;
  for (int64_t b = 0; b < buckets; ++b) {
    for (int64_t p = 0; p < parts; ++p) before += std::exchange(next[p * buckets + b], before);
    ends[b] = before;
  }
  const Scratch<uint64_t> split(n);
  parallel_for(parts, [&](int64_t p) {
    int64_t* to = next.get() + p * buckets;
    const int64_t end = n - p * part < part ? n : (p + 1) * part;
    for (int64_t i = p * part; i < end; ++i)
      split[to[bucket(i)]++] = (words[i] << used) >> 32 << 32 | static_cast<uint64_t>(i);
  });
  int64_t* out = a.out().as<int64_t>();
  parallel_ranges(buckets, buckets * kPermutedTogether / n + 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b > 0 ? ends[b - 1] : 0;
      order_bucket(split.get() + first, ends[b] - first, words.get(), out + first);
    }
  });
}

// out[i] = the four words of Philox for counter in(0)[i] and key in(1), all as int64 holding 32-bit words
static void philox_words(const Args& a) {
  const int64_t *counters = a.in(0).as<const int64_t>(), *key = a.in(1).as<const int64_t>();
  int64_t* out = a.out().as<int64_t>();
  const Keys keys((static_cast<uint64_t>(key[0]) & 0xffffffffu) | static_cast<uint64_t>(key[1]) << 32);
  const int64_t n = a.out().size() / 4;
  for (int64_t i = 0; i < n; i += kHalf) {
    const int count = n - i < kHalf ? static_cast<int>(n - i) : kHalf;
    Words words = {};
    for (int j = 0; j < count; ++j)
      for (int w = 0; w < 4; ++w) words.word[w][j] = static_cast<uint64_t>(counters[4 * (i + j) + w]);
    words = philox(words, keys);
    for (int j = 0; j < count; ++j)
      for (int w = 0; w < 4; ++w) out[4 * (i + j) + w] = static_cast<int64_t>(words.word[w][j] & 0xffffffffu);
  }
}

static const Kernel kernels[] = {
    {"random:philox", philox_words, kAllContiguous},
    {"random:uniform", uniform, 0},
    {"random:normal", normal, 0},
    {"random:randint", randint, 0},
    {"random:bernoulli", bernoulli, 0},
    {"random:permutation", permutation, 0},
    {"random:reserve", reserve, 0},
    {"random:dropout", dropout, 0b1},
    {"random:dropout_backward", dropout_backward, 0b1},
};
