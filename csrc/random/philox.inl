// The generator: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Bound by arithmetic: 60 vector instructions give 8 blocks of 16 bytes, 8 GB/s a thread.
//
// A generator is two int64 in memory: seed (the key) and offset (blocks used up so far). A draw of n elements uses the
// blocks offset, offset + 1, ... and advances the offset by a count that follows from n and the element's width alone.
// Element i depends on (seed, offset, i) only, whoever computes it. Blocks come in groups of 16, laid out so that words
// of one kind are adjacent and vectors are stored whole:
//   32-bit draws: element i is word i / 16 % 4 of block 16 (i / 64) + i % 16
//   64-bit draws: element i is words 2 h, 2 h + 1 (low, high), h = i / 16 % 2, of block 16 (i / 32) + i % 16
// Integers and uniforms use exact operations only: the same bits on every device.
#include "common/dtypes.inl"
#include "common/math.inl"

typedef uint64_t Lanes __attribute__((vector_size(kVectorBytes)));
constexpr int kBlocks = 16;              // of a group
constexpr int kHalf = kVectorBytes / 8;  // blocks in one vector: a 32-bit word in each 64-bit lane
constexpr int kGroupWords = 4 * kBlocks;

// Products of the low halves of the lanes.
static inline Lanes multiply_low(Lanes a, uint64_t b) {
#if DLCORE_ISA == 4
  // maskz: the plain form reads an undefined register, of which GCC 12 warns (gcc.gnu.org/PR105593)
  return (Lanes)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(static_cast<long long>(b)));
#elif DLCORE_ISA == 3
  return (Lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(static_cast<long long>(b)));
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(static_cast<long long>(b)));
#else
  return (a & 0xffffffffu) * b;
#endif
}

struct Words {
  Lanes word[4];  // upper halves of the lanes are of no meaning
};

// The keys of the rounds, kept as vectors: making them anew for each block would take as long as the rounds.
struct Keys {
  Lanes key[10][2];
  explicit Keys(uint64_t seed) {
    uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
    for (auto& round : key) {
      round[0] = Lanes{} + low;
      round[1] = Lanes{} + high;
      low += 0x9E3779B9u;
      high += 0xBB67AE85u;
    }
  }
};

static inline __attribute__((always_inline)) Words philox(Words c, const Keys& keys) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Lanes p0 = multiply_low(c.word[0], 0xD2511F53u), p1 = multiply_low(c.word[2], 0xCD9E8D57u);
    c = {{(p1 >> 32) ^ c.word[1] ^ keys.key[round][0], p1, (p0 >> 32) ^ c.word[3] ^ keys.key[round][1], p0}};
  }
  return c;
}

// The 64 words of 16 blocks, in the order in which 32-bit draws use them.
struct Group {
  alignas(64) uint32_t words[kGroupWords];
  uint32_t word(int w, int j) const { return words[w * kBlocks + j]; }  // word w of block j
};

static inline __attribute__((always_inline)) void draw_group(const Keys& keys, uint64_t block, Group& group) {
  Lanes even;
  for (int j = 0; j < kHalf; ++j) even[j] = 2 * j;
#pragma GCC unroll 4
  for (int first = 0; first < kBlocks; first += 2 * kHalf) {
    const Lanes b = even + (block + first), after = b + 1;  // even and odd blocks: packing them needs no permutation
    const Words x = philox({{b, b >> 32, Lanes{}, Lanes{}}}, keys),
                y = philox({{after, after >> 32, Lanes{}, Lanes{}}}, keys);
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) {
      const Lanes packed = (x.word[w] & 0xffffffffu) | (y.word[w] << 32);
      memcpy(group.words + w * kBlocks + first, &packed, sizeof packed);
    }
  }
}

// ---- draws --------------------------------------------------------------------------------------------------------
struct State {
  uint64_t seed, offset;
};

static State read_state(const Array& state) {
  const uint64_t* s = state.as<const uint64_t>();
  return {s[0], s[state.strides[0]]};
}

// The state before a draw of n elements, `words` 32-bit words each; the stored offset moves past the draw.
static inline State advance(const Array& state, int64_t n, int words) {
  const State before = read_state(state);
  state.as<uint64_t>()[state.strides[0]] +=
      static_cast<uint64_t>((n * words + kGroupWords - 1) / kGroupWords) * kBlocks;
  return before;
}

constexpr int64_t kRandomGrain = 32768;  // elements: 10-30 us

// to[i] = make(group, j) stored for all i: `make` fills a buffer with the elements of a group, the last one in part.
template <class T, int words, class F> static void fill_random(State s, T* to, int64_t n, F make) {
  constexpr int64_t per_group = kGroupWords / words;
  parallel_ranges(n, kRandomGrain, [&](int64_t begin, int64_t end) {
    const Keys keys(s.seed);
    Group group;
    uint64_t block = s.offset + static_cast<uint64_t>(begin / per_group) * kBlocks;
    for (int64_t i = begin; i < end; i += per_group, block += kBlocks) {
      draw_group(keys, block, group);
      if (end - i >= per_group) {
        make(group, to + i, i);
      } else {
        T rest[per_group];
        make(group, rest, i);
        memcpy(to + i, rest, (end - i) * sizeof(T));
      }
    }
  });
}

static inline __attribute__((always_inline)) uint64_t long_word(const Group& g, int half, int j) {
  return g.word(2 * half, j) | static_cast<uint64_t>(g.word(2 * half + 1, j)) << 32;
}

// k < 2^53, exactly: by its halves, as AVX2 has no conversion of 64-bit integers.
static inline __attribute__((always_inline)) double exact_double(uint64_t k) {
  const double high = of_bits<double>((k >> 32) | 0x4530000000000000u),
               low = of_bits<double>((k & 0xffffffffu) | 0x4330000000000000u);
  return (high - 0x1.00000001p84) + low;  // (high 2^32 + 2^84 - 2^84 - 2^52) + (low + 2^52)
}
