// Products whose A has many zeros, as behind a ReLU and in its gradients: what is multiplied with 0 is left out.
//
// A word of bits tells which of 64 steps of k a row of A has. Each row of C is then a sum of rows of B, up to eight
// vectors of it at a time; so much of 64 rows of B stays in the first-level cache for all rows of A. That is a load for
// each multiply-add and one of A for eight, of which Zen 4 does one each a cycle, and 15 cycles for a word, whose end
// nobody can foretell. Microseconds on one core of a Zen 4 by the share of A that is not 0, tiles beside; a T stands by
// the operand that is a transposed one:
//                   tiles    0.6    0.5   0.25
//   T 256x128x784     459    356    304    176
//   128x128x256        77     59     51     30
//   128x256x128 T      77     65     56     35
//   64x64x128         9.9    8.3    7.2    4.7
//   128x784x256 T     473           354
//   T 256x1024x784   4002   3124   2742
//
// The slices of k and the chains are those of the tiles, without the terms that add 0; only a zero that an underflow
// has left may have the other sign. So B must be finite, for 0 * infinity is not 0, which is seen while it is packed;
// and A is judged as a whole, for the number of threads must not show. An Intel core does two multiply-adds a cycle:
// where broad tiles are the faster ones, these are not used, as nobody has measured them there.
#if DLCORE_ISA == 4
constexpr int64_t kSparseWork = int64_t{1} << 19;  // multiply-adds of a product that is looked at: 9 us
constexpr int64_t kSparseLeast = 64;               // rows, columns and steps of k, at least

// Whether 16 parts of A along a diagonal have so many zeros that all of it is worth looking at.
static bool many_zeros(const Product<float>& p) {
  constexpr int64_t kParts = 16, kPart = 64;
  const bool rows = p.a_col == 1;
  const int64_t length = rows ? p.k : p.m, lines = rows ? p.m : p.k, step = rows ? p.a_row : p.a_col;
  int zeros = 0;
  for (int64_t t = 0; t < kParts; ++t) {
    const float* from = p.a + lines * t / kParts * step + (length - kPart) * t / (kParts - 1);
    for (int l = 0; l < kPart; l += kLanes<float>)
      zeros += __builtin_popcount(_mm512_cmp_ps_mask((__m512)vload(from + l), _mm512_setzero_ps(), _CMP_EQ_OQ));
  }
  return zeros * 8 >= 3 * kParts * kPart;
}

class SparseRows {
 public:
  explicit SparseRows(const Product<float>& product) : p(product) {}

  // Notes what is not 0; whether that is few enough.
  bool look() const {
    const int64_t shares = std::min<int64_t>(thread_count(), p.m * p.k / kShare + 1);
    parallel_for(shares, [&](int64_t s) { look_at(p.m * s / shares, p.m * (s + 1) / shares); });
    before_[0] = 0;
    for (int64_t i = 0; i < p.m; ++i) {
      before_[i + 1] = before_[i];
      for (int64_t w = 0; w < slices_ * words_; ++w)
        before_[i + 1] += __builtin_popcountll(kept_[i * slices_ * words_ + w]);
    }
    return before_[p.m] * 8 <= p.m * p.k * 5;
  }

  // Computes C; false, with anything in it, where B is not finite.
  bool run() const {
    const int64_t shares = thread_count();
    std::atomic<bool> finite{true};
    parallel_for(shares, [&](int64_t s) {
      if (!run_rows(begin(s, shares), begin(s + 1, shares))) finite = false;
    });
    return finite;
  }

 private:
  static constexpr int L = kLanes<float>;
  static constexpr int64_t kWord = 64;        // steps of k
  static constexpr int kMostVectors = 8;      // of a row of C
  static constexpr int64_t kRows = 256;       // of which sums are kept apart from C at a time
  static constexpr int64_t kShare = 1 << 14;  // elements of A that a thread looks at: a microsecond

  const Product<float>& p;
  const int64_t slices_ = slices_of<float>(p.k), words_ = ceil_div(longest_slice<float>(p.k), kWord);  // of each slice
  const int64_t pitch_ = ceil_div(p.k, 2 * L) * 2 * L + L;  // an odd number of lines
  const Scratch<uint64_t> kept_{p.m * slices_ * words_};
  const Scratch<int64_t> before_{p.m + 1};  // not 0 in the rows before each: rows are shared out by what is to be done
  const Scratch<float> copy_{p.a_col == 1 ? 0 : p.m * pitch_};  // of A^T
  const float* const a_ = p.a_col == 1 ? p.a : copy_.get();
  const int64_t row_ = p.a_col == 1 ? p.a_row : pitch_;

  // f(word, first step of k, the one behind the last) for the words of a slice.
  template <class F> void each_word(int64_t slice, F f) const {
    const int64_t begin = slice_begin(p.k, slices_, slice), end = slice_begin(p.k, slices_, slice + 1);
    for (int64_t w = 0; w < words_; ++w)
      f(slice * words_ + w, begin + w * kWord, std::max(begin + w * kWord, std::min(begin + (w + 1) * kWord, end)));
  }

  void look_at(int64_t i0, int64_t i1) const {
    for (int64_t k = 0; k < p.k && p.a_col != 1; k += L)
      pack_transposed(p.a + i0 + k * p.a_col, p.a_col, static_cast<int>(std::min<int64_t>(L, p.k - k)), i1 - i0,
                      copy_.get() + i0 * pitch_ + k, pitch_, L);
    for (int64_t i = i0; i < i1; ++i) {
      for (int64_t s = 0; s < slices_; ++s) {
        each_word(s, [&](int64_t word, int64_t begin, int64_t end) {
          uint64_t bits = 0;
          for (int64_t k = begin; k < end; k += L) {
            const vec<float> x = vload_first(a_ + i * row_ + k, static_cast<int>(std::min<int64_t>(L, end - k)));
            const uint64_t kept = _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
            bits |= kept << (k - begin);
          }
          kept_[i * slices_ * words_ + word] = bits;
        });
      }
    }
  }

  // Where the rows of a share begin.
  int64_t begin(int64_t share, int64_t shares) const {
    if (share == shares) return p.m;
    return std::lower_bound(before_.get(), before_.get() + p.m, before_[p.m] * share / shares) - before_.get();
  }

  bool run_rows(int64_t i0, int64_t i1) const {
    const int64_t vectors = ceil_div(p.n, L), panels = ceil_div(vectors, kMostVectors);
    const Scratch<float> panel(kWord * kMostVectors * L), sums(slices_ > 1 ? kRows * kMostVectors * L : 0);
    vec<float> finite = {};
    for (int64_t q = 0; q < panels; ++q) {
      const int64_t j0 = vectors * q / panels * L, j1 = std::min(p.n, vectors * (q + 1) / panels * L);
      switch (ceil_div(j1 - j0, L)) {  // 4 at least, however many there are
        case 4: run_panel<4>(i0, i1, j0, j1, panel.get(), sums.get(), finite); break;
        case 5: run_panel<5>(i0, i1, j0, j1, panel.get(), sums.get(), finite); break;
        case 6: run_panel<6>(i0, i1, j0, j1, panel.get(), sums.get(), finite); break;
        case 7: run_panel<7>(i0, i1, j0, j1, panel.get(), sums.get(), finite); break;
        default: run_panel<8>(i0, i1, j0, j1, panel.get(), sums.get(), finite);
      }
      finish_block(p, p.c + i0 * p.c_row + j0, p.c_row, i0, i1, j0, j1);
    }
    return _mm512_cmp_ps_mask((__m512)finite, (__m512)finite, _CMP_UNORD_Q) == 0;
  }

  // Rows [i0, i1) and columns [j0, j1) of C. What is not finite leaves NaN in `finite`. Slices behind the first have
  // sums of their own, which are added to C.
  template <int NV>
  void run_panel(int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* panel, float* sums, vec<float>& finite) const {
    const int tail = static_cast<int>(j1 - j0 - (NV - 1) * L);
    const int64_t most = slices_ > 1 ? kRows : p.m;
    for (int64_t i = i0; i < i1; i += most) {
      float* const c = p.c + i * p.c_row + j0;
      for (int64_t s = 0; s < slices_; ++s) {
        float* const to = s > 0 ? sums : c;
        const int64_t to_row = s > 0 ? NV * L : p.c_row, rows = std::min(most, i1 - i);
        each_word(s, [&](int64_t word, int64_t k0, int64_t k1) {
          pack_panel<NV>(p.b + k0 * p.b_row + j0 * p.b_col, k1 - k0, tail, panel, finite);
          for (int64_t r = 0; r < rows; ++r)
            add_row<NV>(a_ + (i + r) * row_ + k0, kept_[(i + r) * slices_ * words_ + word], panel, to + r * to_row,
                        tail, word > s * words_);
        });
        for (int64_t r = 0; s > 0 && r < rows; ++r)
          for (int64_t j = 0; j < j1 - j0; ++j) c[r * p.c_row + j] += sums[r * to_row + j];
      }
    }
  }

  template <int NV>
  void pack_panel(const float* b, int64_t steps, int tail, float* panel, vec<float>& finite) const {
    vec<float> sum[NV] = {};
    if (p.b_col != 1) pack_columns(b, p.b_row, p.b_col, steps, (NV - 1) * L + tail, panel, NV * L, int64_t{0});
    for (int64_t k = 0; k < steps; ++k, b += p.b_row, panel += NV * L) {
      const float* const from = p.b_col == 1 ? b : panel;
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        const vec<float> x = v + 1 < NV ? vload(from + v * L) : vload_first(from + v * L, tail);
        sum[v] = vfma(x, vec<float>{}, sum[v]);
        vstore(panel + v * L, x);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) finite += sum[v];
  }

  template <int NV>
  static inline DLCORE_MAP void add_row(const float* a, uint64_t kept, const float* panel, float* c, int tail,
                                        bool accumulate) {
    vec<float> sum[NV] = {};
    if (accumulate) {
#pragma GCC unroll 8
      for (int v = 0; v + 1 < NV; ++v) sum[v] = vload(c + v * L);
      sum[NV - 1] = vload_first(c + (NV - 1) * L, tail);
    }
    for (; kept; kept &= kept - 1) {
      const int64_t k = __builtin_ctzll(kept);
      const vec<float> x = vset(a[k]);
      const float* const b = panel + k * (NV * L);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) sum[v] = vfma(x, vload(b + v * L), sum[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v + 1 < NV; ++v) vstore(c + v * L, sum[v]);
    vstore_first(c + (NV - 1) * L, sum[NV - 1], tail);
  }
};
#endif

// Whether a product was one with many zeros in A, and was computed without them.
template <class S> static bool multiply_without_zeros([[maybe_unused]] const Product<S>& p) {
#if DLCORE_ISA == 4
  if constexpr (std::is_same_v<S, float>) {
    const bool fits = p.m >= kSparseLeast && p.n >= kSparseLeast && p.k >= kSparseLeast &&
                      p.m * p.n * p.k >= kSparseWork && (p.a_row == 1 || p.a_col == 1);
    if (!fits || product_tiles() != Tiles::mixed || !many_zeros(p)) return false;
    const SparseRows rows(p);
    return rows.look() && rows.run();
  }
#endif
  return false;
}
