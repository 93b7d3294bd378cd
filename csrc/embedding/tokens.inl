// Contiguous tokens as positions in a table of `size` rows; one outside of it is a fault. A body includes this once,
// behind loss/position.inl.
static void find_tokens(const char* operation, const Array& tokens, int64_t size, int64_t* positions) {
  with_integer(tokens.dtype, [&]<class T>() {
    const T* token = tokens.as<const T>();
    const int64_t n = tokens.size();
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t k = static_cast<int64_t>(token[i]);  // of a uint64 beyond int64 negative, and out of range
      positions[i] = k;
      wrong |= static_cast<uint64_t>(k) >= static_cast<uint64_t>(size);
    }
    if (!wrong) return;
    int64_t i = 0;
    while (static_cast<uint64_t>(positions[i]) < static_cast<uint64_t>(size)) ++i;
    throw IndexFault(std::string(operation) + ": token " + std::to_string(token[i]) + " at position " +
                     position(tokens, i) + " is outside of the vocabulary of " + std::to_string(size));
  });
}
