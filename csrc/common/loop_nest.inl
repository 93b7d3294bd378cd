// Walks over several strided arrays at once: what pointwise kernels, copies, reductions and indexing stand on.
//
// A loop nest has the axes of the walk, outermost first, each with the stride of every array along it. A kernel builds
// one from its operands, sorts and merges the axes as its result allows, works on the innermost ones itself and lets a
// cursor go over the rest.
#ifndef DLCORE_COMMON_LOOP_NEST
#define DLCORE_COMMON_LOOP_NEST

template <int N> struct LoopAxis {
  int64_t length;
  int64_t strides[N];  // of each array, in elements

  // Whether this axis and the next further in can be walked as one.
  bool continues(const LoopAxis& inner) const {
    bool all = true;
    for (int k = 0; k < N; ++k) all = all && strides[k] == inner.strides[k] * inner.length;
    return all;
  }
};

template <int N> struct LoopNest {
  int count = 0;
  LoopAxis<N> axes[kMaxDims + 1];
  int64_t start[N] = {};  // offset of each array's first element

  void push(const LoopAxis<N>& axis) { axes[count++] = axis; }
  LoopAxis<N> pop() { return axes[--count]; }
  LoopAxis<N> remove(int d) {
    const LoopAxis<N> axis = axes[d];
    for (--count; d < count; ++d) axes[d] = axes[d + 1];
    return axis;
  }
  const LoopAxis<N>& innermost() const { return axes[count - 1]; }

  // Iterations of all axes, or of the first few.
  int64_t size() const { return size(count); }
  int64_t size(int outer) const {
    int64_t product = 1;
    for (int d = 0; d < outer; ++d) product *= axes[d].length;
    return product;
  }

  // By descending key(axis); equal ones keep their order.
  template <class Key> void sort(Key key) {
    for (int i = 1; i < count; ++i) {
      const LoopAxis<N> axis = axes[i];
      const int64_t k = key(axis);
      int j = i;
      for (; j > 0 && key(axes[j - 1]) < k; --j) axes[j] = axes[j - 1];
      axes[j] = axis;
    }
  }
  // Makes one axis of neighbours that allow it.
  void merge() {
    int merged = 0;
    for (int d = 1; d < count; ++d) {
      if (axes[merged].continues(axes[d])) {
        const int64_t length = axes[merged].length * axes[d].length;
        axes[merged] = axes[d];
        axes[merged].length = length;
      } else {
        axes[++merged] = axes[d];
      }
    }
    if (count > 0) count = merged + 1;
  }

  // Offsets of the arrays at iteration `index`, in row-major order.
  void locate(int64_t index, int64_t (&offsets)[N]) const {
    for (int k = 0; k < N; ++k) offsets[k] = start[k];
    for (int d = count - 1; d >= 0; --d) {
      const int64_t outer = d > 0 ? index / axes[d].length : 0;  // divisions are slow: one less than there are axes
      const int64_t i = index - outer * axes[d].length;
      for (int k = 0; k < N; ++k) offsets[k] += i * axes[d].strides[k];
      index = outer;
    }
  }
};

// Goes through the first `count` axes of a loop nest, which must outlive it, in row-major order.
template <int N> struct LoopCursor {
  const LoopAxis<N>* axes;
  int count;
  int64_t offsets[N];
  int64_t index[kMaxDims + 1];

  LoopCursor(const LoopNest<N>& nest, int outer, int64_t position) : axes(nest.axes), count(outer) {
    for (int k = 0; k < N; ++k) offsets[k] = nest.start[k];
    for (int d = count - 1; d >= 0; --d) {
      const int64_t rest = position == 0 ? 0 : position / axes[d].length;
      index[d] = position - rest * axes[d].length;
      position = rest;
      for (int k = 0; k < N; ++k) offsets[k] += index[d] * axes[d].strides[k];
    }
  }
  // Iterations left to the end of the innermost axis.
  int64_t left() const { return count > 0 ? axes[count - 1].length - index[count - 1] : 1; }
  // `steps` on, at most to that end.
  void next(int64_t steps = 1) {
    for (int d = count - 1; d >= 0; --d, steps = 1) {
      index[d] += steps;
      for (int k = 0; k < N; ++k) offsets[k] += steps * axes[d].strides[k];
      if (index[d] < axes[d].length) return;
      index[d] = 0;
      for (int k = 0; k < N; ++k) offsets[k] -= axes[d].length * axes[d].strides[k];
    }
  }
};

// The loop over the elements of arrays[0]; the others, `count` arrays in all, are broadcast to its shape. Axes of
// length 1 are left out.
template <int N> static inline LoopNest<N> loop_over(const Array* const* arrays, int count = N) {
  LoopNest<N> nest;
  const Array& full = *arrays[0];
  for (int d = 0; d < full.ndim; ++d) {
    if (full.shape[d] == 1) continue;
    LoopAxis<N> axis = {full.shape[d], {}};
    for (int k = 0; k < count; ++k) {
      const Array& a = *arrays[k];
      const int own = d - (full.ndim - a.ndim);
      axis.strides[k] = own < 0 || a.shape[own] == 1 ? 0 : a.strides[own];
    }
    nest.push(axis);
  }
  return nest;
}

// Whether `a` is dense and of the output's shape, so that both can be walked by one index.
static inline bool same_layout(const Array& a, const Array& out) {
  if (a.ndim != out.ndim) return false;
  for (int d = 0; d < out.ndim; ++d)
    if (a.shape[d] != out.shape[d]) return false;
  return a.contiguous();
}

#endif  // DLCORE_COMMON_LOOP_NEST
