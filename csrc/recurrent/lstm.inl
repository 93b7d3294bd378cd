// LSTM: i, f, o = sigmoid, g = tanh of gates + h W_hh^T;  c' = f c + i g;  h' = o tanh(c'), projected by W_hr if given.

template <class S> static void lstm_forward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  using F = GateFunctions<C>;
  constexpr int L = kLanes<C>;
  const Array &gates = a.in(0), &weight = a.in(1), &h0 = a.in(2), &c0 = a.in(3), &projection = a.in(5);
  const Sequence q = sequence_of(gates, a.in(4), a.integer(0));
  const int64_t units = gates.shape[2] / 4, width = weight.shape[1], batch = q.batch;
  check_lengths("lstm_forward", q);
  S* y = a.out(0).as<S>();
  C *activated = a.out(3).as<C>(), *cells = a.out(4).as<C>();
  const GatePanels<S, 4> panels(weight.as<S>(), units, width);
  const bool projects = static_cast<bool>(projection);
  const ColumnPanels<S> narrow(projection.as<S>(), 1, units, projects ? units : 0, projects ? width : 0);
  const State<C> h(batch, width), raw(projects ? batch : 0, units);
  const int64_t pitch = pitch_of<C>(units);
  const Scratch<C> cell(batch * pitch);
  load_state<S>(h.at(0), h.pitch, h0, batch, width);
  load_state<S>(cell.get(), pitch, c0, batch, units);

  const auto unit = [&](int64_t s, int64_t row, int64_t u, const C* pre) {
    const int64_t t = q.at(s), first = u * L, place = t * batch + row;
    const int count = panels.count(u);
    C* c = cell.get() + row * pitch + first;
    C* next = projects ? raw.at(0) + row * raw.pitch + first : h.at(s + 1) + row * h.pitch + first;
    if (!q.active(t, row)) {
      if (!projects) {
        vstore(next, vload(h.at(s) + row * h.pitch + first));
        store_lanes(y + place * units + first, V{}, count);
      }
      for (int g = 0; activated && g < 4; ++g) store_lanes(activated + (place * 4 + g) * units + first, V{}, count);
      if (cells) store_lanes(cells + place * units + first, vload(c), count);
      return;
    }
    const S* x = gates.as<S>() + place * 4 * units + first;
    if (s + 1 < q.steps) {  // what the next step reads and writes comes from memory while this one's products run
      const int64_t later = (q.at(s + 1) * batch + row) * 4 * units + first;
      for (int g = 0; g < 4; ++g) {
        __builtin_prefetch(gates.as<S>() + later + g * units, 0, 2);
        if (activated) __builtin_prefetch(activated + later + g * units, 1, 2);
      }
    }
    const V in = F::sigmoid(load_lanes(x, count) + vload(pre));
    const V forget = F::sigmoid(load_lanes(x + units, count) + vload(pre + L));
    const V value = F::tanh(load_lanes(x + 2 * units, count) + vload(pre + 2 * L));
    const V open = F::sigmoid(load_lanes(x + 3 * units, count) + vload(pre + 3 * L));
    const V kept = vfma(forget, vload(c), in * value), out = open * F::tanh(kept);
    vstore(c, kept);
    vstore(next, out);
    if (!projects) store_lanes(y + place * units + first, out, count);
    if (activated) {
      C* to = activated + place * 4 * units + first;
      store_lanes(to, in, count), store_lanes(to + units, forget, count);
      store_lanes(to + 2 * units, value, count), store_lanes(to + 3 * units, open, count);
    }
    if (cells) store_lanes(cells + place * units + first, kept, count);
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    C pre[most_rows(4) * 4 * L];
    for (int64_t u = u0; u < u1; ++u)
      each_tile(r0, r1, most_rows(4), [&](int64_t row, int rows) {
        multiply<4>(h.at(s) + row * h.pitch, h.pitch, rows, panels.group(u), width, pre, 4 * L, false);
        for (int r = 0; r < rows; ++r) unit(s, row + r, u, pre + r * 4 * L);
      });
  };
  const auto project = [&](int64_t s, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    const int64_t begin = p0 * narrow.kWidth, end = std::min(width, p1 * narrow.kWidth), t = q.at(s);
    narrow.product(raw.at(0), raw.pitch, r0, r1, p0, p1, h.at(s + 1), h.pitch, false);
    for (int64_t row = r0; row < r1; ++row) {
      C* next = h.at(s + 1) + row * h.pitch;
      S* to = y + (t * batch + row) * width;
      if (q.active(t, row)) {
        store_block(to + begin, next + begin, end - begin);
      } else {
        std::copy_n(h.at(s) + row * h.pitch + begin, end - begin, next + begin);
        for (int64_t j = begin; j < end; ++j) store(to + j, C(0));
      }
    }
  };
  const int64_t work = 4 * units * width + (projects ? units * width : 0);
  const Stage steps{panels.groups, 4 * units * width, step};
  if (projects) walk<C>(q, work, steps, Stage{narrow.panels, units * width, project});
  else walk<C>(q, work, steps);
  store_state<S>(a.out(1), h.at(q.steps), h.pitch, batch, width);
  store_state<S>(a.out(2), cell.get(), pitch, batch, units);
}
static void lstm_forward(const Args& a) {
  with_float(a.in(0).dtype, [&]<class S>() { lstm_forward_of<S>(a); });
}

// Back in time: the gradients that arrive at h and c make those of the gates, whose product with W_hh goes on to the
// step before.
template <class S> static void lstm_backward_of(const Args& a) {
  using C = compute_t<S>;
  using V = vec<C>;
  using F = GateFunctions<C>;
  constexpr int L = kLanes<C>;
  const Array &weight = a.in(3), &c0 = a.in(4), &projection = a.in(6);
  const Sequence q = sequence_of(a.in(8), a.in(5), a.integer(0));
  const int64_t units = weight.shape[0] / 4, width = weight.shape[1], batch = q.batch;
  const S* dy = a.in(0).as<S>();
  const C *activated = a.in(7).as<C>(), *cells = a.in(8).as<C>();
  S *dgates = a.out(0).as<S>(), *dprojected = a.out(3).as<S>();
  const bool projects = static_cast<bool>(projection);
  const ColumnPanels<S> back(weight.as<S>(), width, 1, 4 * units, width);
  const ColumnPanels<S> wide(projection.as<S>(), units, 1, projects ? width : 0, projects ? units : 0);
  const State<C> dh(batch, width), dp(projects ? batch : 0, width), dm(projects ? batch : 0, units);
  const int64_t pitch = pitch_of<C>(units), long_pitch = pitch_of<C>(4 * units);
  const Scratch<C> dcell(batch * pitch), dpre(batch * long_pitch);
  load_state<S>(dh.at(q.steps), dh.pitch, a.in(1), batch, width);
  load_state<S>(dcell.get(), pitch, a.in(2), batch, units);

  // What arrives at a projected state.
  const auto arrive = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    for (int64_t row = r0; row < r1; ++row) {
      const int64_t t = q.at(s), place = (t * batch + row) * width;
      for (int64_t u = u0; u < u1; ++u) {
        const int64_t first = u * L;
        const int count = static_cast<int>(std::min<int64_t>(L, width - first));
        const V carried = vload(dh.at(s + 1) + row * dh.pitch + first);
        const bool active = q.active(t, row);
        const V arrived = active ? lanes_or_zero(dy, place + first, count) + carried : V{};
        vstore(dp.at(0) + row * dp.pitch + first, arrived);
        vstore(dh.at(s) + row * dh.pitch + first, active ? V{} : carried);
        if (dprojected) store_lanes(dprojected + place + first, arrived, count);
      }
    }
  };
  const auto widen_back = [&](int64_t, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    wide.product(dp.at(0), dp.pitch, r0, r1, p0, p1, dm.at(0), dm.pitch, false);
  };
  const auto unit = [&](int64_t s, int64_t row, int64_t u) {
    const int64_t t = q.at(s), first = u * L, place = t * batch + row;
    const int count = static_cast<int>(std::min<int64_t>(L, units - first));
    C *dc = dcell.get() + row * pitch + first, *to = dpre.get() + row * long_pitch + first;
    S* out = dgates + place * 4 * units + first;
    C* before = dh.at(s) + row * dh.pitch + first;
    const C* carried = dh.at(s + 1) + row * dh.pitch + first;
    if (!q.active(t, row)) {
      if (!projects) vstore(before, vload(carried));
      for (int g = 0; g < 4; ++g) store_lanes(to + g * units, V{}, count), store_lanes(out + g * units, V{}, count);
      return;
    }
    const C* x = activated + place * 4 * units + first;
    const V in = load_lanes(x, count), forget = load_lanes(x + units, count), one = vset(C(1));
    const V value = load_lanes(x + 2 * units, count), open = load_lanes(x + 3 * units, count);
    const V squashed = F::tanh(load_lanes(cells + place * units + first, count));
    const V previous = s ? load_lanes(cells + (q.at(s - 1) * batch + row) * units + first, count)
                         : lanes_or_zero(c0.as<S>(), row * units + first, count);
    const V dout = projects ? vload(dm.at(0) + row * dm.pitch + first)
                            : lanes_or_zero(dy, place * units + first, count) + vload(carried);
    const V dkept = vfma(dout * open, one - squashed * squashed, vload(dc));
    if (s) {  // what the step before reads and writes comes from memory while this one's products run
      const int64_t next = q.at(s - 1) * batch + row;
      for (int g = 0; g < 4; ++g) {
        __builtin_prefetch(activated + (next * 4 + g) * units + first, 0, 2);
        __builtin_prefetch(dgates + (next * 4 + g) * units + first, 1, 2);
      }
      if (dy) __builtin_prefetch(dy + next * units + first, 0, 2);
      if (s > 1) __builtin_prefetch(cells + (q.at(s - 2) * batch + row) * units + first, 0, 2);
    }
    const V parts[] = {dkept * value * (in * (one - in)), dkept * previous * (forget * (one - forget)),
                       dkept * in * (one - value * value), dout * squashed * (open * (one - open))};
    vstore(dc, dkept * forget);
    if (!projects) vstore(before, V{});
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      store_lanes(to + g * units, parts[g], count);
      store_lanes(out + g * units, parts[g], count);
    }
  };
  const auto step = [&](int64_t s, int64_t r0, int64_t r1, int64_t u0, int64_t u1) {
    for (int64_t row = r0; row < r1; ++row)
      for (int64_t u = u0; u < u1; ++u) unit(s, row, u);
  };
  const auto carry = [&](int64_t s, int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
    if (s == 0 && !a.out(1)) return;
    back.product(dpre.get(), long_pitch, r0, r1, p0, p1, dh.at(s), dh.pitch, true);
  };
  const int64_t work = 4 * units * width + (projects ? units * width : 0), groups = ceil_div(units, L);
  const Stage gates{groups, groups * kGatesWork, step}, carries{back.panels, 4 * units * width, carry};
  if (projects) {
    const int64_t arriving = ceil_div(width, L);
    walk<C, true>(q, work, Stage{arriving, arriving * kGatesWork, arrive},
                  Stage{wide.panels, units * width, widen_back}, gates, carries);
  } else {
    walk<C, true>(q, work, gates, carries);
  }
  store_state<S>(a.out(1), dh.at(0), dh.pitch, batch, width);
  store_state<S>(a.out(2), dcell.get(), pitch, batch, units);
}
static void lstm_backward(const Args& a) {
  with_float(a.in(3).dtype, [&]<class S>() { lstm_backward_of<S>(a); });
}
