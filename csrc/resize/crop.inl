// A part of each image from a place of its own, mirrored or not, with zeros where it leaves the image.
//
// Memory bounds it: a row of the part is one copy of bytes, or one of pixels in the other order.
//
// Parameters: 0, 1 height and width of the part; 2 layout (NCHW, NHWC). Operands: x, start (N, 2), flip (N) or none.
#include "common/dtypes.inl"
#include "common/simd.inl"

constexpr int64_t kCropGrain = 64 * 1024;  // bytes a thread writes at once

struct Cropping {
  int64_t height, width, rows, columns;  // of the image, of the part
  int64_t pixel;                         // bytes
};

// n pixels to `to` from those that end before `end`, in the other order.
template <class T> static inline void copy_mirrored(char* to, const char* end, int64_t n) {
  T* target = reinterpret_cast<T*>(to);
  const T* source = reinterpret_cast<const T*>(end);
  for (int64_t j = 0; j < n; ++j) target[j] = source[-1 - j];
}
static inline void copy_mirrored(char* to, const char* end, int64_t n, int64_t pixel) {
  switch (pixel) {
    case 1: return copy_mirrored<uint8_t>(to, end, n);
    case 2: return copy_mirrored<uint16_t>(to, end, n);
    case 4: return copy_mirrored<uint32_t>(to, end, n);
    case 8: return copy_mirrored<uint64_t>(to, end, n);
    default:
      for (int64_t j = 0; j < n; ++j) std::memcpy(to + j * pixel, end - (1 + j) * pixel, static_cast<size_t>(pixel));
  }
}

static void crop_plane(char* out, const char* x, int64_t top, int64_t left, bool flip, const Cropping& c) {
  // columns [first, last) of the part lie in the image; mirrored, column j is the image's left + columns - 1 - j
  int64_t first = left < 0 ? -left : 0, last = c.width - left < c.columns ? c.width - left : c.columns;
  if (flip) {
    const int64_t begin = c.columns - last;
    last = c.columns - first;
    first = begin;
  }
  first = first < c.columns ? first : c.columns;
  last = last < first ? first : last;
  const size_t before = static_cast<size_t>(first * c.pixel), bytes = static_cast<size_t>((last - first) * c.pixel);
  const size_t after = static_cast<size_t>((c.columns - last) * c.pixel);
  for (int64_t i = 0; i < c.rows; ++i, out += c.columns * c.pixel) {
    const int64_t y = top + i;
    if (y < 0 || y >= c.height || bytes == 0) {
      std::memset(out, 0, static_cast<size_t>(c.columns * c.pixel));
      continue;
    }
    std::memset(out, 0, before);
    const char* row = x + y * c.width * c.pixel;
    if (flip) copy_mirrored(out + before, row + (left + c.columns - first) * c.pixel, last - first, c.pixel);
    else std::memcpy(out + before, row + (left + first) * c.pixel, bytes);
    std::memset(out + before + bytes, 0, after);
  }
}

static void crop(const Args& a) {
  const Array &x = a.in(0), &start = a.in(1), &flip = a.in(2), &out = a.out();
  if (out.size() == 0) return;
  const bool last = a.integer(2);
  const int64_t item = item_size(x.dtype), channels = last ? x.shape[x.ndim - 1] : 1;
  const int at = x.ndim - (last ? 3 : 2);
  const Cropping c{x.shape[at], x.shape[at + 1], a.integer(0), a.integer(1), channels * item};
  const int64_t bytes = c.rows * c.columns * c.pixel, planes = out.size() * item / bytes, each = planes / x.shape[0];
  const auto place = [&](int64_t n, int64_t d, int64_t size, int64_t part) {  // beyond the image it is all the same
    const int64_t v = start.as<const int64_t>()[2 * n + d];
    return v < -part ? -part : v > size ? size : v;
  };
  parallel_ranges(planes, bytes < kCropGrain ? kCropGrain / bytes : 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t n = p / each;
      crop_plane(out.as<char>() + p * bytes, x.as<const char>() + p * c.height * c.width * c.pixel,
                 place(n, 0, c.height, c.rows), place(n, 1, c.width, c.columns),
                 flip && flip.as<const uint8_t>()[n] != 0, c);
    }
  });
}

static const Kernel kernels[] = {{"resize:crop", crop, kAllContiguous}};
