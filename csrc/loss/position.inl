// Where an element stands, for errors: "3", or "(1, 0)" of several axes. A body includes it once.
static std::string position(const Array& a, int64_t i) {
  std::string text;
  for (int d = a.ndim - 1; d >= 0; --d, text = d >= 0 ? ", " + text : text) {
    text = std::to_string(i % a.shape[d]) + text;
    i /= a.shape[d];
  }
  return a.ndim == 1 ? text : "(" + text + ")";
}
