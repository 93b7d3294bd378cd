// The plain RNN: h' = tanh or relu of gates + h W_hh^T. Units in groups of two vectors, so that tiles have as many sums
// as those of other layers.

struct TanhUnit {
  template <class C> DLCORE_LANES vec<C> value(vec<C> x) { return GateFunctions<C>::tanh(x); }
  template <class C> DLCORE_LANES vec<C> gradient(vec<C> dout, vec<C> out) { return dout * (vset(C(1)) - out * out); }
};
struct ReluUnit {
  template <class C> DLCORE_LANES vec<C> value(vec<C> x) { return x <= vec<C>{} ? vec<C>{} : x; }  // NaN stays
  template <class C> DLCORE_LANES vec<C> gradient(vec<C> dout, vec<C> out) { return out > vec<C>{} ? dout : vec<C>{}; }
};
template <class F> static void with_unit(int64_t code, F&& f) {
  if (code) f(ReluUnit{});
  else f(TanhUnit{});
}

template <class S, class A> static void rnn_forward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  constexpr int L = kLanes<C>;
  const Array &gates = a.in(0), &weight = a.in(1);
  const Sequence q = sequence_of(gates, a.in(3), a.integer(1));
  const int64_t units = weight.shape[1], batch = q.batch;
  check_lengths("rnn_forward", q);
  S* y = a.out(0).as<S>();
  const ColumnPanels<S> panels(weight.as<S>(), 1, units, units, units);
  const State<C> h(batch, units);
  load_state<S>(h.at(0), h.pitch, a.in(2), batch, units);
  const auto lanes = [&](int64_t s, int64_t row, int64_t first) {
    const int64_t t = q.at(s), place = (t * batch + row) * units + first;
    const int count = static_cast<int>(std::min<int64_t>(L, units - first));
    C* next = h.at(s + 1) + row * h.pitch + first;
    if (!q.active(t, row)) {
      vstore(next, vload(h.at(s) + row * h.pitch + first));
      return store_lanes(y + place, V{}, count);
    }
    const V out = A::template value<C>(load_lanes(gates.as<S>() + place, count) + vload(next));
    vstore(next, out);
    store_lanes(y + place, out, count);
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    for (int64_t p = p0; p < p1; ++p)
      each_tile(r0, r1, most_rows(2), [&](int64_t row, int rows) {
        panels.product(h.at(s), h.pitch, row, row + rows, p, p + 1, h.at(s + 1), h.pitch, false);
        const int64_t begin = p * panels.kWidth, end = std::min<int64_t>(units, begin + panels.kWidth);
        for (int r = 0; r < rows; ++r)
          for (int64_t first = begin; first < end; first += L) lanes(s, row + r, first);
      });
  };
  const int64_t work = units * units;
  walk<C>(q, work, Stage{panels.panels, work, step});
  store_state<S>(a.out(1), h.at(q.steps), h.pitch, batch, units);
}
static void rnn_forward(const Args& a) {
  with_unit(a.integer(0), [&](auto unit) {
    with_float(a.in(0).dtype, [&]<class S>() { rnn_forward_of<S, decltype(unit)>(a); });
  });
}

template <class S, class A> static void rnn_backward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  constexpr int L = kLanes<C>;
  const Array& weight = a.in(2);
  const Sequence q = sequence_of(a.in(4), a.in(3), a.integer(1));
  const int64_t units = weight.shape[1], batch = q.batch;
  const S *dy = a.in(0).as<S>(), *y = a.in(4).as<S>();
  S* dgates = a.out(0).as<S>();
  const ColumnPanels<S> back(weight.as<S>(), units, 1, units, units);
  const State<C> dh(batch, units);
  const Scratch<C> dpre(batch * dh.pitch);
  load_state<S>(dh.at(q.steps), dh.pitch, a.in(1), batch, units);
  const auto unit = [&](int64_t s, int64_t row, int64_t u) {
    const int64_t t = q.at(s), first = u * L, place = (t * batch + row) * units + first;
    const int count = static_cast<int>(std::min<int64_t>(L, units - first));
    C *before = dh.at(s) + row * dh.pitch + first, *to = dpre.get() + row * dh.pitch + first;
    const V carried = vload(dh.at(s + 1) + row * dh.pitch + first);
    const bool active = q.active(t, row);
    const V arrived = active ? lanes_or_zero(dy, place, count) + carried : V{};
    const V dout = active ? A::template gradient<C>(arrived, load_lanes(y + place, count)) : V{};
    vstore(before, active ? V{} : carried);
    vstore(to, dout);
    store_lanes(dgates + place, dout, count);
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    for (int64_t row = r0; row < r1; ++row)
      for (int64_t u = u0; u < u1; ++u) unit(s, row, u);
  };
  const auto carry = [&](int64_t s, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    if (s == 0 && !a.out(1)) return;
    back.product(dpre.get(), dh.pitch, r0, r1, p0, p1, dh.at(s), dh.pitch, true);
  };
  const int64_t work = units * units, groups = ceil_div(units, L);
  walk<C, true>(q, work, Stage{groups, groups * kGatesWork, step}, Stage{back.panels, work, carry});
  store_state<S>(a.out(1), dh.at(0), dh.pitch, batch, units);
}
static void rnn_backward(const Args& a) {
  with_unit(a.integer(0), [&](auto unit) {
    with_float(a.in(2).dtype, [&]<class S>() { rnn_backward_of<S, decltype(unit)>(a); });
  });
}
