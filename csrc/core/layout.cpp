#include "core/layout.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

namespace dlcore {

bool count_elements(const int64_t* shape, int ndim, int64_t item, int64_t* size) {
  int64_t bytes = item;
  bool empty = false;
  for (int d = 0; d < ndim; ++d) {
    empty = empty || shape[d] == 0;
    if (shape[d] != 0 && __builtin_mul_overflow(bytes, shape[d], &bytes)) return false;
  }
  *size = empty ? 0 : bytes / item;
  return true;
}

// Whether every element has an address; no memory is longer than kMostBytes.
static bool addressable(const Array& a) {
  const int64_t item = item_size(a.dtype);
  int64_t low = 0, high = item;
  for (int d = 0; d < a.ndim; ++d) {
    int64_t reach;
    if (__builtin_mul_overflow(a.shape[d] - 1, a.strides[d], &reach) || __builtin_mul_overflow(reach, item, &reach) ||
        __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high)) {
      return false;
    }
  }
  const auto data = reinterpret_cast<uintptr_t>(a.data);
  return low >= -kMostBytes && high <= kMostBytes && data > static_cast<uintptr_t>(-low) &&
         data <= std::numeric_limits<uintptr_t>::max() - static_cast<uintptr_t>(high);
}

const char* mend_layout(Array& a) {
  static int64_t nothing = 0;
  const int64_t item = item_size(a.dtype);
  int64_t size, stride = 1;
  if (std::any_of(a.shape, a.shape + a.ndim, [](int64_t n) { return n < 0; })) return "a length is negative";
  if (!count_elements(a.shape, a.ndim, item, &size)) return "it has more elements than can be counted";
  for (int d = a.ndim - 1; d >= 0; --d) {
    if (size == 0 || a.shape[d] == 1) a.strides[d] = stride;
    if (a.shape[d] != 0) stride *= a.shape[d];
  }
  if (size == 0) {
    if (!a.data) a.data = &nothing;
    return nullptr;
  }
  if (!a.data) return "there is no memory behind it";
  if (reinterpret_cast<uintptr_t>(a.data) % static_cast<uintptr_t>(item)) return "its memory is not aligned";
  return addressable(a) ? nullptr : "its strides reach outside of memory";
}

std::pair<const char*, const char*> extent(const Array& a) {
  const char *low = static_cast<const char*>(a.data), *high = low;
  const int64_t item = item_size(a.dtype);
  for (int d = 0; d < a.ndim; ++d) {
    if (a.shape[d] == 0) return {low, low};
    const int64_t reach = (a.shape[d] - 1) * a.strides[d] * item;
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + item};
}

bool share_memory(const Array& a, const Array& b) {
  const auto [low, high] = extent(a);
  const auto [from, to] = extent(b);
  return low < to && from < high;
}

bool same_array(const Array& a, const Array& b) {
  const size_t bytes = sizeof(int64_t) * a.ndim;
  return a.data == b.data && a.dtype == b.dtype && a.ndim == b.ndim && !std::memcmp(a.shape, b.shape, bytes) &&
         !std::memcmp(a.strides, b.strides, bytes);
}

// Axes in the order of their strides, each longer than all that lies within: no two elements meet. Where that does not
// tell (strides such as 2 and 3), all offsets are compared; where there is no room for that, the answer is yes.
bool overlaps_itself(const Array& a) {
  if (a.contiguous()) return false;
  std::pair<int64_t, int64_t> axes[kMaxDims];  // stride, length
  int n = 0;
  int64_t within = 0, size = 1;
  for (int d = 0; d < a.ndim; ++d) {
    if (a.shape[d] == 0) return false;
    if (a.shape[d] == 1) continue;
    const std::pair<int64_t, int64_t> axis = {a.strides[d] < 0 ? -a.strides[d] : a.strides[d], a.shape[d]};
    int k = n++;
    for (; k > 0 && axes[k - 1] > axis; --k) axes[k] = axes[k - 1];
    axes[k] = axis;
  }
  bool apart = true;
  for (int k = 0; k < n; ++k) {
    apart = apart && axes[k].first > within;
    within += axes[k].first * (axes[k].second - 1);
    size *= axes[k].second;
  }
  if (apart) return false;
  if (axes[0].first == 0 || size > within + 1) return true;
  try {
    std::vector<int64_t> offsets = {0};
    for (int k = 0; k < n; ++k) {
      const size_t before = offsets.size();
      for (int64_t i = 1; i < axes[k].second; ++i)
        for (size_t j = 0; j < before; ++j) offsets.push_back(offsets[j] + i * axes[k].first);
    }
    std::sort(offsets.begin(), offsets.end());
    return std::adjacent_find(offsets.begin(), offsets.end()) != offsets.end();
  } catch (const std::bad_alloc&) {
    return true;
  }
}

}  // namespace dlcore
