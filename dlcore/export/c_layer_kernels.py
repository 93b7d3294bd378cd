"""The C functions of whole layers: windows, normalised rows, attention. See `c_kernels`, which puts them into files.

Sums are in double and rounded once, so that they differ from dlcore's in the last bits, the largest of a window apart.
"""

from __future__ import annotations

__all__ = ["LAYER_TEXTS"]

LAYER_TEXTS = {
    "pool": """/* The largest, or the mean, of each window. p: whether the mean, whether padding counts in it, a
   divisor or 0, images, channels; lengths of input, output and windows (0: shares of the input), strides, padding and
   dilations, of three axes each; strides of x and out in memory. */
static void pool_$S(const int *p, const $T *x, $T *out) {
  const int *size = p + 5, *made = p + 8, *kernel = p + 11, *stride = p + 14, *before = p + 17, *dilation = p + 20;
  const int *in = p + 23, *to = p + 28;
  int n, c, i, k, a;
  for (n = 0; n < p[3]; ++n)
    for (c = 0; c < p[4]; ++c)
      for (i = 0; i < made[0] * made[1] * made[2]; ++i) {
        const int at[3] = {i / (made[1] * made[2]), i / made[2] % made[1], i % made[2]};
        int first[3], length[3], padded = 1, count = 0;
        $T best = 0;
        double sum = 0;
        for (a = 0; a < 3; ++a) {
          const int end = size[a] + before[a];
          const int64_t share = (int64_t)at[a] * size[a], next = share + size[a] + made[a] - 1;
          first[a] = kernel[a] ? at[a] * stride[a] - before[a] : (int)(share / made[a]);
          length[a] = kernel[a] ? kernel[a] : (int)(next / made[a]) - first[a];
          padded *= (first[a] + length[a] < end ? first[a] + length[a] : end) - first[a];
        }
        for (k = 0; k < length[0] * length[1] * length[2]; ++k) {
          const int tap[3] = {k / (length[1] * length[2]), k / length[2] % length[1], k % length[2]};
          int from = n * in[0] + c * in[1], inside = 1;
          for (a = 0; a < 3; ++a) {
            const int place = first[a] + tap[a] * (kernel[a] ? dilation[a] : 1);
            inside &= place >= 0 && place < size[a];
            from += place * in[2 + a];
          }
          if (!inside) continue;
          sum += x[from];
          if (!count++ || (best == best && (x[from] > best || x[from] != x[from]))) best = x[from];
        }
        out[n * to[0] + c * to[1] + at[0] * to[2] + at[1] * to[3] + at[2] * to[4]] =
            p[0] ? ($T)(sum / (p[2] ? p[2] : p[1] ? padded : count)) : best;
      }
}""",
    "normalise": """/* x by its mean (where `centred`) and the root of its mean square, times w plus b of each channel,
   which may be null: channels and places with their steps in memory. */
static void normalise_$S(const $T *x, $T *out, int channels, int places, int to_channel, int to_place, const $T *w,
                         const $T *b, int centred, double eps) {
  const double count = (double)channels * places;
  double mean = 0, lost = 0, squares = 0, scale;
  int c, i;
  for (c = 0; centred && c < channels; ++c)
    for (i = 0; i < places; ++i) mean += x[c * to_channel + i * to_place] / count;
  for (c = 0; centred && c < channels; ++c)
    for (i = 0; i < places; ++i) lost += (x[c * to_channel + i * to_place] - mean) / count;
  for (c = 0; c < channels; ++c)
    for (i = 0; i < places; ++i) {
      const double rest = x[c * to_channel + i * to_place] - mean - lost;
      squares += rest * rest;
    }
  scale = 1 / sqrt(squares / count + eps);
  for (c = 0; c < channels; ++c)
    for (i = 0; i < places; ++i) {
      const int at = c * to_channel + i * to_place;
      out[at] = ($T)((x[at] - mean - lost) * scale * (w ? w[c] : 1) + (b ? b[c] : 0));
    }
}""",
    "attend": """/* Each query's mean of the values. p: examples, heads, heads of keys, queries, keys, numbers of a key
   and of a value, how many keys before and behind its own place a query sees (-1: all), the place of the first query;
   strides of example, head, time and number of q, k, v and out, and of example, head, query and key of the masks:
   `added` to the scores, or `seen` where not 0; both may be null. room: numbers for all keys and for a value. */
static void attend_$S(const int *p, double scale, const $T *q, const $T *k, const $T *v, const $T *added,
                      const uint8_t *seen, $T *out, double *room) {
  const int groups = p[1] / p[2], keys = p[4], *sq = p + 10, *sk = p + 14, *sv = p + 18, *so = p + 22, *sm = p + 26;
  double *sums = room + keys;
  int n, h, i, j, d;
  for (n = 0; n < p[0]; ++n)
    for (h = 0; h < p[1]; ++h)
      for (i = 0; i < p[3]; ++i) {
        const $T *query = q + n * sq[0] + h * sq[1] + i * sq[2];
        const int place = i + p[9], left = p[7] < 0 ? 0 : place - p[7], right = p[8] < 0 ? keys : place + p[8] + 1;
        const int first = left > 0 ? left : 0, end = right < keys ? right : keys, last = end < first ? first : end;
        double most = -INFINITY, total = 0;
        for (j = first; j < last; ++j) {
          const $T *key = k + n * sk[0] + h / groups * sk[1] + j * sk[2];
          const int m = n * sm[0] + h * sm[1] + i * sm[2] + j * sm[3];
          double score = 0;
          for (d = 0; d < p[5]; ++d) score += (double)query[d * sq[3]] * key[d * sk[3]];
          room[j] = seen && !seen[m] ? -INFINITY : score * scale + (added ? added[m] : 0);
          if (room[j] > most || room[j] != room[j]) most = room[j];
        }
        for (d = 0; d < p[6]; ++d) sums[d] = 0;
        for (j = first; j < last && most > -INFINITY; ++j) {
          const $T *value = v + n * sv[0] + h / groups * sv[1] + j * sv[2];
          const double weight = exp(room[j] - most);
          total += weight;
          for (d = 0; d < p[6]; ++d) sums[d] += weight > 0 ? weight * value[d * sv[3]] : 0;
        }
        for (d = 0; d < p[6]; ++d)
          out[n * so[0] + h * so[1] + i * so[2] + d * so[3]] = total > 0 ? ($T)(sums[d] / total) : 0;
      }
}""",
    "turn": """/* Pairs of numbers `step` apart, `next` to the next one, turned by angles of these cosines and sines. */
static void turn_$S(const $T *x, $T *out, int pairs, int step, int next, int along, int to, const $T *c, const $T *s,
                    $T sign) {
  int i;
  for (i = 0; i < pairs; ++i) {
    const $T a = x[i * next * along], b = x[(i * next + step) * along], sine = sign * s[i];
    out[i * next * to] = a * c[i] - b * sine;
    out[(i * next + step) * to] = b * c[i] + a * sine;
  }
}""",
}
