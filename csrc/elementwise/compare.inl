// Comparisons, tests and choices: eq ne lt le gt ge, logical_and/or/xor/not, isnan, isfinite, isclose, where. Bound by
// memory.
#include "common/numbers.inl"

struct Equal {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T a, T b) const { return a == b; }
};
struct NotEqual {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T a, T b) const { return a != b; }
};
struct Less {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T a, T b) const { return a < b; }
};
struct LessEqual {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T a, T b) const { return a <= b; }
};
struct And {  // numbers hold where they are not 0, NaN too
  static constexpr int64_t kGrain = 1 << 16;
  bool operator()(bool a, bool b) const { return a & b; }
  template <class T> bool operator()(T a, T b) const { return (a != T(0)) & (b != T(0)); }
};
struct Or {
  static constexpr int64_t kGrain = 1 << 16;
  bool operator()(bool a, bool b) const { return a | b; }
  template <class T> bool operator()(T a, T b) const { return (a != T(0)) | (b != T(0)); }
};
struct Xor {
  static constexpr int64_t kGrain = 1 << 16;
  bool operator()(bool a, bool b) const { return a ^ b; }
  template <class T> bool operator()(T a, T b) const { return (a != T(0)) ^ (b != T(0)); }
};
struct Not {  // of bytes 0 and 1: a loop over negated bools stays scalar
  static constexpr int64_t kGrain = 1 << 18;
  uint8_t operator()(uint8_t a) const { return a ^ 1; }
};
struct IsZero {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T x) const { return x == T(0); }
};
struct IsNan {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T x) const { return x != x; }
};
struct IsFinite {
  static constexpr int64_t kGrain = 1 << 16;
  template <class T> bool operator()(T x) const { return abs_(x) < std::numeric_limits<T>::infinity(); }
};
// |a - b| <= absolute + relative |b|, each step rounded as by the operations one by one.
template <class C> struct Close {
  static constexpr int64_t kGrain = 1 << 16;
  C relative, absolute;
  bool nan;
  explicit Close(const Param* p) : relative(static_cast<C>(p[0].f)), absolute(static_cast<C>(p[1].f)), nan(p[2].i) {}
  DLCORE_MAP bool operator()(C a, C b) const {
    const C size = abs_(b);
    const bool near = (abs_(a - b) <= absolute + relative * size) & (size < std::numeric_limits<C>::infinity());
    return near | (a == b) | (nan & (a != a) & (b != b));  // of infinities the difference is NaN
  }
};
struct Choose {
  static constexpr int64_t kGrain = 1 << 16;
  // Of the condition's byte, 0 or 1, a mask: a choice becomes a branch, and where it is not foreseen costs 4 ns.
  template <class T> T operator()(uint8_t condition, T a, T b) const {
    return static_cast<T>(b ^ ((a ^ b) & static_cast<T>(-static_cast<T>(condition))));
  }
};

// `swapped`: a > b is b < a.
template <class F, bool swapped = false> static void compare(const Args& a) {
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<F, bool, T, T>(a.out(), a.in(swapped), a.in(!swapped)); });
}
template <class F> static void logical(const Args& a) {
  if (a.in(0).dtype == DType::bool_) return pointwise<F, bool, bool, bool>(a.out(), a.in(0), a.in(1));
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<F, bool, T, T>(a.out(), a.in(0), a.in(1)); });
}
static void logical_not(const Args& a) {
  if (a.in(0).dtype == DType::bool_) return pointwise<Not, uint8_t, uint8_t>(a.out(), a.in(0));
  with_dtype(a.in(0).dtype, [&]<class T>() { pointwise<IsZero, bool, T>(a.out(), a.in(0)); });
}
template <class F> static void test(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise<F, bool, T>(a.out(), a.in(0)); });
}
static void isclose(const Args& a) {
  with_float(a.in(0).dtype, [&]<class T>() { pointwise_with<Close, T, 2, bool>(a); });
}
static void where(const Args& a) {
  with_bits(a.out().dtype,
            [&]<class T>() { pointwise<Choose, T, uint8_t, T, T>(a.out(), a.in(0), a.in(1), a.in(2)); });
}

static const Kernel kernels[] = {
    {"elementwise:eq", compare<Equal>, 0},
    {"elementwise:ne", compare<NotEqual>, 0},
    {"elementwise:lt", compare<Less>, 0},
    {"elementwise:le", compare<LessEqual>, 0},
    {"elementwise:gt", compare<Less, true>, 0},
    {"elementwise:ge", compare<LessEqual, true>, 0},
    {"elementwise:logical_and", logical<And>, 0},
    {"elementwise:logical_or", logical<Or>, 0},
    {"elementwise:logical_xor", logical<Xor>, 0},
    {"elementwise:logical_not", logical_not, 0},
    {"elementwise:isnan", test<IsNan>, 0},
    {"elementwise:isfinite", test<IsFinite>, 0},
    {"elementwise:isclose", isclose, 0},
    {"elementwise:where", where, 0},
};
