// GRU: r, z = sigmoid of gates + h W_hh^T + b_hh;  n = tanh(its gate + r hn), hn = h W_hn^T + b_hn;
// h' = n + z (h - n).

template <class S> static void gru_forward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  using F = GateFunctions<C>;
  constexpr int L = kLanes<C>;
  const Array &gates = a.in(0), &weight = a.in(1), &bias = a.in(2), &h0 = a.in(3);
  const Sequence q = sequence_of(gates, a.in(4), a.integer(0));
  const int64_t units = weight.shape[1], batch = q.batch;
  check_lengths("gru_forward", q);
  S* y = a.out(0).as<S>();
  C* activated = a.out(2).as<C>();
  const GatePanels<S, 3> panels(weight.as<S>(), units, units);
  const State<C> h(batch, units);
  load_state<S>(h.at(0), h.pitch, h0, batch, units);

  const auto unit = [&](int64_t s, int64_t row, int64_t u, const C* pre, const C* b) {
    const int64_t t = q.at(s), first = u * L, place = t * batch + row;
    const int count = panels.count(u);
    const C* before = h.at(s) + row * h.pitch + first;
    C* next = h.at(s + 1) + row * h.pitch + first;
    C* to = activated + place * 4 * units + first;
    if (!q.active(t, row)) {
      vstore(next, vload(before));
      store_lanes(y + place * units + first, V{}, count);
      for (int g = 0; activated && g < 4; ++g) store_lanes(to + g * units, V{}, count);
      return;
    }
    const S* x = gates.as<S>() + place * 3 * units + first;
    const V reset = F::sigmoid(load_lanes(x, count) + (vload(pre) + vload(b)));
    const V update = F::sigmoid(load_lanes(x + units, count) + (vload(pre + L) + vload(b + L)));
    const V hn = vload(pre + 2 * L) + vload(b + 2 * L);
    const V value = F::tanh(vfma(reset, hn, load_lanes(x + 2 * units, count)));
    const V out = vfma(update, vload(before) - value, value);
    vstore(next, out);
    store_lanes(y + place * units + first, out, count);
    if (activated) {
      store_lanes(to, reset, count), store_lanes(to + units, update, count);
      store_lanes(to + 2 * units, value, count), store_lanes(to + 3 * units, hn, count);
    }
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    C pre[most_rows(3) * 3 * L], b[3 * L];
    for (int64_t u = u0; u < u1; ++u) {
      for (int g = 0; g < 3; ++g)
        vstore(b + g * L, lanes_or_zero(bias.as<S>(), g * units + u * L, panels.count(u)));
      each_tile(r0, r1, most_rows(3), [&](int64_t row, int rows) {
        multiply<3>(h.at(s) + row * h.pitch, h.pitch, rows, panels.group(u), units, pre, 3 * L, false);
        for (int r = 0; r < rows; ++r) unit(s, row + r, u, pre + r * 3 * L, b);
      });
    }
  };
  const int64_t work = 3 * units * units;
  walk<C>(q, work, Stage{panels.groups, work, step});
  store_state<S>(a.out(1), h.at(q.steps), h.pitch, batch, units);
}
static void gru_forward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class S>() { gru_forward_of<S>(a); });
}

template <class S> static void gru_backward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  constexpr int L = kLanes<C>;
  const Array &weight = a.in(2), &h0 = a.in(3);
  const Sequence q = sequence_of(a.in(5), a.in(4), a.integer(0));
  const int64_t units = weight.shape[1], batch = q.batch;
  const S *dy = a.in(0).as<S>(), *y = a.in(5).as<S>();
  const C* activated = a.in(6).as<C>();
  S *dgates = a.out(0).as<S>(), *dhidden = a.out(2).as<S>();
  const ColumnPanels<S> back(weight.as<S>(), units, 1, 3 * units, units);
  const State<C> dh(batch, units);
  const int64_t long_pitch = pitch_of<C>(3 * units);
  const Scratch<C> dpre(batch * long_pitch);
  load_state<S>(dh.at(q.steps), dh.pitch, a.in(1), batch, units);

  const auto unit = [&](int64_t s, int64_t row, int64_t u) {
    const int64_t t = q.at(s), first = u * L, place = t * batch + row;
    const int count = static_cast<int>(std::min<int64_t>(L, units - first));
    C *before = dh.at(s) + row * dh.pitch + first, *to = dpre.get() + row * long_pitch + first;
    const C* carried = dh.at(s + 1) + row * dh.pitch + first;
    S *out = dgates + place * 3 * units + first, *of_hidden = dhidden + place * units + first;
    if (!q.active(t, row)) {
      vstore(before, vload(carried));
      store_lanes(of_hidden, V{}, count);
      for (int g = 0; g < 3; ++g) store_lanes(to + g * units, V{}, count), store_lanes(out + g * units, V{}, count);
      return;
    }
    const C* x = activated + place * 4 * units + first;
    const V reset = load_lanes(x, count), update = load_lanes(x + units, count), one = vset(C(1));
    const V value = load_lanes(x + 2 * units, count), hn = load_lanes(x + 3 * units, count);
    const V previous = s && q.active(q.at(s - 1), row)
                           ? load_lanes(y + (q.at(s - 1) * batch + row) * units + first, count)
                           : lanes_or_zero(h0.as<S>(), row * units + first, count);
    const V dout = lanes_or_zero(dy, place * units + first, count) + vload(carried);
    const V dvalue = dout * (one - update) * (one - value * value), dhn = dvalue * reset;
    const V dreset = dvalue * hn * (reset * (one - reset));
    const V dupdate = dout * (previous - value) * (update * (one - update));
    if (s) {  // what the step before reads and writes comes from memory while this one's products run
      const int64_t next = q.at(s - 1) * batch + row;
      for (int g = 0; g < 4; ++g) __builtin_prefetch(activated + (next * 4 + g) * units + first, 0, 2);
      for (int g = 0; g < 3; ++g) __builtin_prefetch(dgates + (next * 3 + g) * units + first, 1, 2);
      if (dy) __builtin_prefetch(dy + next * units + first, 0, 2);
      __builtin_prefetch(dhidden + next * units + first, 1, 2);
    }
    vstore(before, dout * update);
    store_lanes(to, dreset, count), store_lanes(to + units, dupdate, count), store_lanes(to + 2 * units, dhn, count);
    store_lanes(out, dreset, count), store_lanes(out + units, dupdate, count);
    store_lanes(out + 2 * units, dvalue, count), store_lanes(of_hidden, dhn, count);
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    for (int64_t row = r0; row < r1; ++row)
      for (int64_t u = u0; u < u1; ++u) unit(s, row, u);
  };
  const auto carry = [&](int64_t s, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    if (s == 0 && !a.out(1)) return;
    back.product(dpre.get(), long_pitch, r0, r1, p0, p1, dh.at(s), dh.pitch, true);
  };
  const int64_t work = 3 * units * units, groups = ceil_div(units, L);
  walk<C, true>(q, work, Stage{groups, groups * kGatesWork, step}, Stage{back.panels, work, carry});
  store_state<S>(a.out(1), dh.at(0), dh.pitch, batch, units);
}
static void gru_backward(const Args& a) {
  with_float(a.in(2).dtype, [&]<class S>() { gru_backward_of<S>(a); });
}
