// What all kernels of this family compute: C = activation(A @ B + bias).

template <class S, class C = S> struct Product {
  int64_t m, n, k;
  const S* a;
  int64_t a_row, a_col;  // strides in elements, any sign
  const S* b;
  int64_t b_row, b_col;
  C* c;
  int64_t c_row;  // columns of C are adjacent
  const S* bias = nullptr;  // (n,)
  Activation activation = Activation::none;
  S* pre = nullptr;  // where the values before the activation go, if its gradient needs them; strides as C
};
