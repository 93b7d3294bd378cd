// Whole arrays moved: copies, concatenation, assignment to a slice and its adjoint.
// Bound by memory; see common/strided_copy.inl for how a copy is walked.
#include "common/strided_copy.inl"

// out = x
static void copy(const Args& a) { copy_array(a.out(), a.in(0)); }

// out = in(1), broadcast; in(0) gives shape and dtype
static void assign(const Args& a) { copy_array(a.out(), a.in(1)); }

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

// out = x, except for the view described by params, which is value (broadcast)
static void slice_assign(const Args& a) {
  copy_array(a.out(), a.in(0));
  copy_array(view_of(a.out(), a), a.in(1));
}

// out = 0, except for the view described by params, which is dout
static void slice_backward(const Args& a) {
  memset(a.out().data, 0, a.out().size() * item_size(a.out().dtype));
  copy_array(view_of(a.out(), a), a.in(0));
}

static const Kernel kernels[] = {
    {"movement:copy", copy, 0},
    {"movement:assign", assign, 0},
    {"movement:concat", concat, 0},
    {"movement:slice_assign", slice_assign, 0},
    {"movement:slice_backward", slice_backward, 0},
};
