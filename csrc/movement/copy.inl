// Whole arrays moved: copies (contiguous or into a view), constants, ranges, concatenation, assignment to a slice.
// Bound by memory; see strided.inl for how a copy is walked.
#include "movement/strided.inl"

// out = x
static void copy(const Args& a) { copy_array(a.out(), a.in(0)); }

// target[...] = source
static void copy_into(const Args& a) { copy_array(a.in(0), Apart(a.in(1), a.in(0)).array); }

// A Python number as one element of `dtype`: floats come as .f, integers and bools as .i.
static uint64_t element_bits(DType dtype, Param value) {
  uint64_t bits = 0;
  const auto put = [&](auto x) { memcpy(&bits, &x, sizeof x); };
  switch (dtype) {
    case DType::float16: put(to_half(static_cast<float>(value.f))); break;
    case DType::bfloat16: put(to_bfloat16(static_cast<float>(value.f))); break;
    case DType::float32: put(static_cast<float>(value.f)); break;
    case DType::float64: put(value.f); break;
    case DType::bool_: put(static_cast<uint8_t>(value.i != 0)); break;
    default: put(value.i);
  }
  return bits;
}

// target[...] = params[0]
static void fill(const Args& a) {
  uint64_t bits = element_bits(a.in(0).dtype, a.params[0]);
  Array value;
  value.data = &bits;  // little endian: its first bytes are the element
  value.dtype = a.in(0).dtype;
  copy_array(a.in(0), value);
}

// target[i] = start + i * step (target: 1-d); floats are computed in float64 and rounded once.
static void arange(const Args& a) {
  const Array& target = a.in(0);
  const int64_t n = target.shape[0], stride = target.strides[0];
  const auto write = [&](auto* to, auto start, auto step) {
    using T = std::remove_pointer_t<decltype(to)>;
    for (int64_t i = 0; i < n; ++i) {
      const auto x = start + static_cast<decltype(step)>(i) * step;
      if constexpr (std::is_same_v<decltype(step), double>) store<T>(to + i * stride, static_cast<compute_t<T>>(x));
      else to[i * stride] = static_cast<T>(x);
    }
  };
  const double start = a.number(0), step = a.number(1);
  switch (target.dtype) {
    case DType::float16: return write(target.as<half_t>(), start, step);
    case DType::bfloat16: return write(target.as<bfloat16_t>(), start, step);
    case DType::float32: return write(target.as<float>(), start, step);
    case DType::float64: return write(target.as<double>(), start, step);
    case DType::int64: return write(target.as<int64_t>(), a.integer(0), a.integer(1));
    case DType::int32: return write(target.as<int32_t>(), a.integer(0), a.integer(1));
    case DType::int16: return write(target.as<int16_t>(), a.integer(0), a.integer(1));
    default: return write(target.as<uint8_t>(), a.integer(0), a.integer(1));
  }
}

// out = the inputs one after another along axis params[0]
static void concat(const Args& a) {
  const int64_t axis = a.integer(0);
  Array part = a.out();
  for (int k = 0; k < a.n_inputs; ++k) {
    part.shape[axis] = a.in(k).shape[axis];
    copy_array(part, a.in(k));
    part.data = part.as<char>() + part.shape[axis] * part.strides[axis] * item_size(part.dtype);
  }
}

// The view of `whole` that params describe: the start on each of its axes, the view's number of axes, and for each of
// these the axis it runs along (-1: a new one), its step and its length.
static Array view_of(const Array& whole, const Args& a) {
  Array view = whole;
  int64_t offset = 0;
  int p = 0;
  for (int d = 0; d < whole.ndim; ++d) offset += a.integer(p++) * whole.strides[d];
  view.data = whole.as<char>() + offset * item_size(whole.dtype);
  view.ndim = static_cast<uint8_t>(a.integer(p++));
  for (int d = 0; d < view.ndim; ++d, p += 3) {
    view.strides[d] = a.integer(p) < 0 ? 0 : whole.strides[a.integer(p)] * a.integer(p + 1);
    view.shape[d] = a.integer(p + 2);
  }
  return view;
}

// out = x, except for the view described by params, which is value (broadcast). In place (`x[index] = value`), out is x.
static void slice_assign(const Args& a) {
  if (a.out().data != a.in(0).data) copy_array(a.out(), a.in(0));
  copy_array(view_of(a.out(), a), Apart(a.in(1), a.out()).array);
}

// out = 0, except for the view described by params, which is dout
static void slice_backward(const Args& a) {
  memset(a.out().data, 0, a.out().size() * item_size(a.out().dtype));
  copy_array(view_of(a.out(), a), a.in(0));
}

static const Kernel kernels[] = {
    {"movement:copy", copy, 0},
    {"movement:copy_", copy_into, 0},
    {"movement:fill_", fill, 0},
    {"movement:arange_", arange, 0},
    {"movement:concat", concat, 0},
    {"movement:slice_assign", slice_assign, 0},
    {"movement:slice_backward", slice_backward, 0},
};
