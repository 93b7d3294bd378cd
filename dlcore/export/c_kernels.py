"""The C functions that an exported program may need: the plain kernels of csrc/ once more, element by element.

They round as those do that are compiled for every x86-64 processor (``DLCORE_ISA=v1``): nothing is contracted, and sums
run in the same order. `functions` gives those that are asked for, and what these need. In the texts $T is the type, $S
the suffix of its functions ("f32"), $U its bits, and $f the suffix of its literals and of libm's functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dlcore.export.c_layer_kernels import LAYER_TEXTS

__all__ = ["functions"]

_TYPES = {
    "f32": {
        "T": "float", "U": "uint32_t", "f": "f", "ONE_BIT": "UINT32_C(1)", "MANTISSA": "23", "BIAS": "127",
        "SQRT_HALF": "UINT32_C(0x3f3504f3)", "ROUND": "0x1.8p23f", "INTEGER": "0x1p23f", "SMALLEST": "0x1p-126f",
        "EXP_MIN": "-104.0f", "EXP_MAX": "89.0f", "LN2_HIGH": "0x1.63p-1f", "LN2_LOW": "-0x1.bd0106p-13f",
        "ONE": "10.0f", "TAIL_ERF": "13.2f", "TAIL_TANH": "10.01f", "LOW_HALF": "UINT32_C(0xfff)",
        "LANES": "4", "WIDE": "64", "LARGEST": "0x1.fffffep127f",
    },
    "f64": {
        "T": "double", "U": "uint64_t", "f": "", "ONE_BIT": "UINT64_C(1)", "MANTISSA": "52", "BIAS": "1023",
        "SQRT_HALF": "UINT64_C(0x3fe6a09e667f3bcd)", "ROUND": "0x1.8p52", "INTEGER": "0x1p52",
        "SMALLEST": "0x1p-1022", "EXP_MIN": "-746.0", "EXP_MAX": "710.0", "LN2_HIGH": "0x1.62e42feep-1",
        "LN2_LOW": "0x1.a39ef35793c76p-33", "ONE": "20.0", "TAIL_ERF": "37.6", "TAIL_TANH": "21.14",
        "LOW_HALF": "UINT64_C(0x7ffffff)", "LANES": "2", "WIDE": "32", "LARGEST": "0x1.fffffffffffffp1023",
    },
}  # fmt: skip

_POLYNOMIALS = {  # name -> type -> coefficients, those of csrc/common/math.inl and log1p.inl
    "EXPM1": {
        "f32": "0.5f, 0.16666542f, 0.041666277f, 0.008366642f, 0.001394671f",
        "f64": "0.5000000000000006, 0.16666666666666685, 0.04166666666657295, 0.00833333333331445, "
               "0.0013888888932615678, 0.00019841269903369735, 2.480150414517628e-05, 2.755722762571203e-06, "
               "2.76264516753643e-07, 2.5114583997541123e-08",
    },
    "LOG1P": {
        "f32": "0.08333347f, 0.012492996f, 0.002333648f",
        "f64": "0.08333333333333419, 0.012499999999816004, 0.0022321428705467756, 0.0004340273148590509, "
               "8.878694671182253e-05, 1.8693843705500926e-05, 4.515514918534701e-06",
    },
    "LOG": {
        "f32": "0xaaaaaa.0p-24f, 0xccce13.0p-25f, 0x91e9ee.0p-25f, 0xf89e26.0p-26f",
        "f64": "6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, "
               "2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01",
    },
    "TAIL": {
        "f32": "0.7595542f, -0.6251298f, 0.41822752f, -0.22051528f, 0.0852723f, -0.019366443f, -0.0007510003f, "
               "0.0021831284f, -0.0003662345f, -0.00023480611f",
        "f64": "0.7595542082672071, -0.6251297770834476, 0.41822752582252837, -0.22051601745288732, "
               "0.08527207614574309, -0.019358324074715175, -0.0007453379458436223, 0.002149382644959385, "
               "-0.00040445620206944704, -0.00019212265482555703, 7.800520329752777e-05, 2.0647431040298886e-05, "
               "-1.2619099698425858e-05, -3.1919909399442503e-06, 2.003129846474575e-06, 6.684375790346579e-07, "
               "-2.974952095696937e-07, -1.4938008843107702e-07, 3.4090230316038835e-08, 2.673636983157589e-08, "
               "-1.7046098391235698e-09, -2.401622613659818e-09",
    },
}  # fmt: skip

_TEXTS = {
    "bits": """static $U bits_$S($T x) {
  $U b;
  memcpy(&b, &x, sizeof b);
  return b;
}""",
    "of_bits": """static $T of_bits_$S($U b) {
  $T x;
  memcpy(&x, &b, sizeof x);
  return x;
}""",
    "copysign": """static $T copysign_$S($T magnitude, $T sign) {
  const $U top = bits_$S(-0.0$f);
  return of_bits_$S((bits_$S(magnitude) & ~top) | (bits_$S(sign) & top));
}""",
    "power_of_two": """/* 2^n, n given with the exponent's bias and the rounding constant on top. */
static $T power_of_two_$S($T rounded) { return of_bits_$S(bits_$S(rounded) << $MANTISSA); }""",
    "expm1_reduced": """/* exp(r) - 1 for |r| <= ln(2) / 2. */
static $T expm1_reduced_$S($T r) { return (r * r) * $POLY(EXPM1, r) + r; }""",
    "reduce_exp": """/* x - n ln 2, and n as power_of_two wants it. */
static $T reduce_exp_$S($T x, $T *rounded) {
  const $T zero = $ROUND + $BIAS.0$f;
  $T n;
  *rounded = x * ($T)1.4426950408889634 + zero;
  n = *rounded - zero;
  return n * -($LN2_LOW) + (n * -($LN2_HIGH) + x);
}""",
    "scale_exp": """static $T scale_exp_$S($T r, $T rounded) {
  const $T zero = $ROUND + $BIAS.0$f, n = rounded - zero;
  const $T half = n * 0.5$f + zero, rest = (n - (half - zero)) + zero;
  return (expm1_reduced_$S(r) + 1.0$f) * power_of_two_$S(half) * power_of_two_$S(rest);
}""",
    "exp": """static $T exp_$S($T x) {
  const $T low = x < $EXP_MIN ? $EXP_MIN : x;
  $T rounded;
  const $T r = reduce_exp_$S(x > $EXP_MAX ? $EXP_MAX : low, &rounded);
  return scale_exp_$S(r, rounded);
}""",
    "exp_normal": """static $T exp_normal_$S($T x, $T low) {
  $T rounded;
  const $T r = reduce_exp_$S(x, &rounded);
  return (expm1_reduced_$S(r + low) + 1.0$f) * power_of_two_$S(rounded);
}""",
    "exp_below": """/* exp(x) for x <= 0. */
static $T exp_below_$S($T x) {
  const $T lowest = -$BIAS.0$f * ($T)0.6931471805599453;
  $T rounded, power;
  const $T r = reduce_exp_$S(x < lowest ? lowest : x, &rounded);
  power = power_of_two_$S(rounded);
  return expm1_reduced_$S(r) * power + power;
}""",
    "expm1_inside": """static $T expm1_inside_$S($T x) {
  $T rounded, half;
  const $T r = reduce_exp_$S(x, &rounded);
  half = power_of_two_$S(rounded - 1.0$f);
  return 2.0$f * (half * expm1_reduced_$S(r) + (half - 0.5$f));
}""",
    "expm1": """static $T expm1_$S($T x) {
  const $T low = x < -4.0$f * $ONE ? -4.0$f * $ONE : x;
  return copysign_$S(expm1_inside_$S(x > $EXP_MAX ? $EXP_MAX : low), x);
}""",
    "tanh": """static $T tanh_$S($T x) {
  const $T a = fabs$f(x), e = expm1_inside_$S(2.0$f * (a > $ONE ? $ONE : a));
  return copysign_$S(e / (e + 2.0$f), x);
}""",
    "sigmoid": """static $T sigmoid_$S($T x) {
  const $T a = fabs$f(x);
  $T rounded, e;
  const $T r = reduce_exp_$S(-(a > -($EXP_MIN) ? -($EXP_MIN) : a), &rounded);
  e = scale_exp_$S(r, rounded);
  return (x < 0.0$f ? e : 1.0$f) / (1.0$f + e);
}""",
    "split_exponent": """/* m in [sqrt(1/2), sqrt(2)) and e with x = m 2^e, for positive normal x. */
static $T split_exponent_$S($T x, $T *e) {
  const $U mask = ($ONE_BIT << $MANTISSA) - 1, bias = $BIAS, b = bits_$S(x) - $SQRT_HALF;
  *e = of_bits_$S(bits_$S($INTEGER) | ((b + (bias << $MANTISSA)) >> $MANTISSA)) - ($INTEGER + $BIAS.0$f);
  return of_bits_$S((b & mask) + $SQRT_HALF);
}""",
    "log_reduced": """static $T log_reduced_$S($T f, $T e) {
  const $T s = f / (2.0$f + f), z = s * s, half_square = 0.5$f * f * f, R = z * $POLY(LOG, z);
  const $T tail = (s * (half_square + R) + e * $LN2_LOW) - half_square;
  return e * $LN2_HIGH + (tail + f);
}""",
    "log": """static $T log_$S($T x) {
  const int subnormal = x < $SMALLEST;
  $T e, y, m;
  m = split_exponent_$S(subnormal ? x * ($T)(UINT64_C(1) << ($MANTISSA + 2)) : x, &e);
  y = log_reduced_$S(m - 1.0$f, subnormal ? e - ($T)($MANTISSA + 2) : e);
  y = x < ($T)INFINITY ? y : x;
  return x > 0.0$f ? y : x == 0.0$f ? -($T)INFINITY : ($T)NAN;
}""",
    "log1p": """static $T log1p_$S($T x) {
  const $T u = 1.0$f + x, back = u - 1.0$f, lost = (1.0$f - (u - back)) + (x - back);
  $T e, m, scale, y;
  m = split_exponent_$S(u, &e);
  scale = power_of_two_$S(($ROUND + $BIAS.0$f) - (e > $BIAS.0$f - 1.0$f ? $BIAS.0$f - 1.0$f : e));
  y = copysign_$S(log_reduced_$S(lost * scale + (m - 1.0$f), e), x);
  y = x < ($T)INFINITY ? y : x;
  return x > -1.0$f ? y : x == -1.0$f ? -($T)INFINITY : ($T)NAN;
}""",
    "log1p_below_one": """/* log(1 + e) for 0 <= e <= 1. */
static $T log1p_below_one_$S($T e) {
  const int large = e > ($T)0.41421356237309503;
  const $T over = large ? e - 1.0$f : e, under = e + (large ? 3.0$f : 2.0$f), s = (over + over) / under, z = s * s;
  return (large ? ($T)0.6931471805599453 : 0.0$f) + ((s * z) * $POLY(LOG1P, z) + s);
}""",
    "product_error": """/* x * y - product exactly, for product = x * y rounded. */
static $T product_error_$S($T x, $T y, $T product) {
  const $U low_half = $LOW_HALF;
  const $T x_high = of_bits_$S(bits_$S(x) & ~low_half), x_low = x - x_high;
  const $T y_high = of_bits_$S(bits_$S(y) & ~low_half), y_low = y - y_high;
  return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low;
}""",
    "gelu": """static $T gelu_$S($T x) {
  const $T a = fabs$f(x), positive = x <= 0.0$f ? 0.0$f : x, half = 0.5$f * a, square = a * half;
  const $T exponential = exp_normal_$S(-square, -product_error_$S(a, half, square));
  const $T q = 1.0$f / (a + 4.25$f), t = q * -8.5$f + 1.0$f, tail = q * $POLY(TAIL, t);
  return copysign_$S(a > $TAIL_ERF ? positive : (-a * exponential) * tail + positive, x);
}""",
    "gelu_tanh": """static $T gelu_tanh_$S($T x) {
  const double slope = 1.5957691216057308, cubic = slope * 0.044715;
  const $T a = fabs$f(x), positive = x <= 0.0$f ? 0.0$f : x;
  $T rounded, e;
  const $T r = reduce_exp_$S(-a * ((a * a) * ($T)cubic + ($T)slope), &rounded);
  e = (expm1_reduced_$S(r) + 1.0$f) * power_of_two_$S(rounded);
  return copysign_$S(a > $TAIL_TANH ? positive : -a * (e / (1.0$f + e)) + positive, x);
}""",
    "decay": """/* exp(-|x|) = s r: a product with s and then r is rounded once. */
static $T decay_$S($T x, $T *s, $T *r) {
  const $T zero = $ROUND + $BIAS.0$f, a = fabs$f(x), low = -($EXP_MIN) * 1.25$f;
  $T rounded, n, half;
  const $T reduced = reduce_exp_$S(-(a > low ? low : a), &rounded);
  n = rounded - zero;
  half = n * 0.5$f + zero;
  *s = (expm1_reduced_$S(reduced) + 1.0$f) * power_of_two_$S(half);
  *r = power_of_two_$S((n - (half - zero)) + zero);
  return *s * *r;
}""",
    "silu": """static $T silu_$S($T x) {
  $T s, r;
  const $T e = decay_$S(x, &s, &r), y = x < -1e4$f ? -1e4$f : x;
  return (x < 0.0$f ? s * y * r : x) / (1.0$f + e);
}""",
    "mish": """static $T mish_$S($T x) {
  $T s, r;
  const $T e = decay_$S(x, &s, &r), y = x < -1e4$f ? -1e4$f : x, up = 2.0$f * e + 1.0$f, down = e + 2.0$f;
  return (x < 0.0$f ? s * y * r * down : x * up) / (x < 0.0$f ? e * down + 2.0$f : 2.0$f * e * e + up);
}""",
    "softsign": """static $T softsign_$S($T x) {
  const $T a = fabs$f(x) > $LARGEST ? $LARGEST : fabs$f(x);
  return copysign_$S(a / (1.0$f + a), x);
}""",
    "logsigmoid": """static $T logsigmoid_$S($T x) {
  $T s, r;
  return (x > 0.0$f ? 0.0$f : x) - log1p_below_one_$S(decay_$S(x, &s, &r));
}""",
    "softplus": """static $T softplus_$S($T x, $T beta, $T threshold) {
  $T s, r;
  const $T y = x * beta, soft = (y > 0.0$f ? y : 0.0$f) + log1p_below_one_$S(decay_$S(y, &s, &r));
  return y > threshold ? x : soft / beta;
}""",
    "relu": "static $T relu_$S($T x) { return x <= 0.0$f ? 0.0$f : x; }",
    "sign": "static $T sign_$S($T x) { return x > 0.0$f ? 1.0$f : x < 0.0$f ? -1.0$f : x == 0.0$f ? 0.0$f : x; }",
    "floor_divide": """static $T floor_divide_$S($T a, $T b) {
  $T rest, quotient, low;
  if (b == 0.0$f) return a / b;
  rest = fmod$f(a, b);
  quotient = (a - rest) / b - ($T)((rest != 0.0$f) & ((rest < 0.0$f) != (b < 0.0$f)));
  if (quotient == 0.0$f) return copysign_$S(0.0$f, a / b);
  low = floor$f(quotient);
  return quotient - low > 0.5$f ? low + 1.0$f : low;
}""",
    "remainder": """static $T remainder_$S($T a, $T b) {
  const $T rest = fmod$f(a, b);
  if (rest == 0.0$f) return copysign_$S(0.0$f, b);
  return (rest < 0.0$f) != (b < 0.0$f) ? rest + b : rest;
}""",
    "fold": """/* The sum of n <= 4096 elements, in $WIDE lanes that are then joined. */
static $T fold_$S(const $T *x, int n, int stride) {
  enum { wide = $WIDE, narrow = wide / 4 };
  $T lanes[wide];
  int i = 0, j, w;
  if (n >= wide) {
    for (j = 0; j < wide; ++j) lanes[j] = x[j * stride];
    for (i = wide; i + wide <= n; i += wide)
      for (j = 0; j < wide; ++j) lanes[j] += x[(i + j) * stride];
    for (w = wide / 2; w >= narrow; w /= 2)
      for (j = 0; j < w; ++j) lanes[j] += lanes[j + w];
  } else {
    for (j = 0; j < narrow; ++j) lanes[j] = 0;
  }
  for (; i + narrow <= n; i += narrow)
    for (j = 0; j < narrow; ++j) lanes[j] += x[(i + j) * stride];
  if (i < n && n >= narrow) {
    const int counted = narrow - (n - i);
    for (j = 0; j < narrow; ++j) lanes[j] += j >= counted ? x[(n - narrow + j) * stride] : 0;
  } else {
    for (j = 0; i < n; ++i, ++j) lanes[j] += x[i * stride];
  }
  for (w = narrow / 2; w > 0; w /= 2)
    for (j = 0; j < w; ++j) lanes[j] += lanes[j + w];
  return lanes[0];
}""",
    "sum_run": """/* Adds n elements to a sum in double, 4096 at a time. */
static double sum_run_$S(double sum, const $T *x, int n, int stride) {
  int i;
  for (i = 0; i < n; i += 4096) sum += fold_$S(x + i * stride, n - i < 4096 ? n - i : 4096, stride);
  return sum;
}""",
    "sum_column": """/* Adds n elements to a sum in double, `block` at a time and four by four. */
static double sum_column_$S(double sum, const $T *x, int n, int stride, int block) {
  int i, r;
  for (i = 0; i < n; i += block) {
    const int end = n - i < block ? n : i + block;
    const $T *y = x + i * stride;
    $T lane = 0;
    for (r = i; r + 4 <= end; r += 4, y += 4 * stride) lane += (y[0] + y[stride]) + (y[2 * stride] + y[3 * stride]);
    for (; r < end; ++r, y += stride) lane += *y;
    sum += lane;
  }
  return sum;
}""",
    "exponentials": """/* out = exp(x - the largest), along n elements; their sum and the largest. */
static double exponentials_$S(const $T *x, $T *out, int n, int stride, int columns, $T *largest) {
  $T max = -($T)INFINITY;
  int i;
  for (i = 0; i < n; ++i) max = max > x[i * stride] ? max : x[i * stride];
  *largest = max;
  for (i = 0; i < n; ++i) out[i * stride] = exp_below_$S(x[i * stride] - max);
  return columns ? sum_chain_$S(out, n, stride, 64) : sum_run_$S(0, out, n, stride);
}""",
    "sum_chain": """/* The sum of n elements, one after the other: `block` of them in their type, these in double. */
static double sum_chain_$S(const $T *x, int n, int stride, int block) {
  double sum = 0;
  int i, j;
  for (i = 0; i < n; i += block) {
    $T part = 0;
    for (j = i; j < n && j < i + block; ++j) part += x[j * stride];
    sum += part;
  }
  return sum;
}""",
    "softmax": """static void softmax_$S(const $T *x, $T *out, int outer, int n, int inner) {
  int o, c, i;
  const int columns = inner >= 16 || n <= 32;
  for (o = 0; o < outer; ++o)
    for (c = 0; c < inner; ++c) {
      const int at = o * n * inner + c;
      $T max;
      const $T scale = ($T)(1 / exponentials_$S(x + at, out + at, n, inner, columns, &max));
      for (i = 0; i < n; ++i) out[at + i * inner] *= scale;
    }
}""",
    "log_softmax": """static void log_softmax_$S(const $T *x, $T *out, int outer, int n, int inner) {
  int o, c, i;
  const int columns = inner >= 16 || n <= 32;
  for (o = 0; o < outer; ++o)
    for (c = 0; c < inner; ++c) {
      const int at = o * n * inner + c;
      $T max, log_sum;
      log_sum = log_$S(($T)exponentials_$S(x + at, out + at, n, inner, columns, &max));
      for (i = 0; i < n; ++i) out[at + i * inner] = (x[at + i * inner] - max) - log_sum;
    }
}""",
    "conv": """/* out = conv(x, w) + bias, which may be null. p: images, groups, channels of a group, whether a
   sum begins with the bias and goes through the channels first, the bias's stride; lengths of input, output and
   kernel, strides, padding before and dilations, of three axes each; strides of x, out and w in memory. */
static void conv_$S(const int *p, const $T *x, const $T *w, const $T *bias, $T *out) {
  enum { depth = 2048 / (int)sizeof($T) };
  const int inputs = p[2], outputs = p[3], direct = p[4], *size = p + 6, *made = p + 9, *kernel = p + 12;
  const int *stride = p + 15, *before = p + 18, *dilation = p + 21, *in = p + 24, *to = p + 29, *of = p + 34;
  const int points = kernel[0] * kernel[1] * kernel[2], terms = points * inputs;
  const int slices = direct || terms <= depth ? 1 : (terms + depth - 1) / depth;
  int n, d, i, l, s;
  for (n = 0; n < p[0]; ++n)
    for (d = 0; d < p[1] * outputs; ++d)
      for (i = 0; i < made[0] * made[1] * made[2]; ++i) {
        const int at[3] = {i / (made[1] * made[2]), i / made[2] % made[1], i % made[2]};
        const int group = d / outputs * inputs;
        $T total = direct && bias ? bias[d * p[5]] : 0;
        for (s = 0; s < slices; ++s) {
          const int end = (int)((int64_t)terms * (s + 1) / slices);
          $T sum = direct ? total : 0;
          for (l = (int)((int64_t)terms * s / slices); l < end; ++l) {
            const int c = direct ? l / points : l % inputs, k = direct ? l % points : l / inputs;
            const int tap[3] = {k / (kernel[1] * kernel[2]), k / kernel[2] % kernel[1], k % kernel[2]};
            int a, inside = 1, from = n * in[0] + (group + c) * in[1], of_w = d * of[0] + c * of[1];
            for (a = 0; a < 3; ++a) {
              const int place = at[a] * stride[a] - before[a] + tap[a] * dilation[a];
              inside &= place >= 0 && place < size[a];
              from += place * in[2 + a];
              of_w += tap[a] * of[2 + a];
            }
            sum += (inside ? x[from] : 0) * w[of_w];
          }
          total = s ? total + sum : sum;
        }
        out[n * to[0] + d * to[1] + at[0] * to[2] + at[1] * to[3] + at[2] * to[4]] =
            bias && !direct ? total + bias[d * p[5]] : total;
      }
}""",
    "matmul": """/* c (m, n) = a (m, k) @ b (k, n) + bias (n,), which may be null. */
static void matmul_$S(int m, int n, int k, const $T *a, int a_row, int a_col, const $T *b, int b_row, int b_col,
                      $T *c, const $T *bias) {
  enum { lanes = $LANES, depth = 2048 / (int)sizeof($T) };
  const int narrow = k >= 2 * lanes && (m <= 4 || n <= 4);
  const int dots = narrow && (m <= 4 ? b_row : a_col) == 1;
  const int chain = narrow && !dots && (m <= 4 ? b_col == 1 : a_row == 1 && n == 1);
  const int slices = chain || k <= depth ? 1 : (k + depth - 1) / depth;
  int i, j, l, s, h;
  for (i = 0; i < m; ++i)
    for (j = 0; j < n; ++j) {
      const $T *x = a + i * a_row, *y = b + j * b_col;
      $T total = 0;
      if (dots) {
        $T sums[lanes] = {0};
        for (l = 0; l < k; ++l) sums[l % lanes] += x[l * a_col] * y[l * b_row];
        for (h = lanes / 2; h > 0; h /= 2)
          for (l = 0; l < h; ++l) sums[l] += sums[l + h];
        total = sums[0];
      } else {
        for (s = 0; s < slices; ++s) {
          const int end = (int)((int64_t)k * (s + 1) / slices);
          $T sum = 0;
          for (l = (int)((int64_t)k * s / slices); l < end; ++l) sum += x[l * a_col] * y[l * b_row];
          total = s ? total + sum : sum;
        }
      }
      c[i * n + j] = bias ? total + bias[j] : total;
    }
}""",
    "sin_near": """static float sin_near_$S(float x, unsigned quarter) {
  const double rounded = (double)x * 0.6366197723675814 + 0x1.8p52, n = rounded - 0x1.8p52;
  const double first = n * -1.57079632673412561417e+00 + (double)x;
  const double r = n * -2.02226624879595063154e-21 + (n * -6.07710050630396597660e-11 + first), z = r * r;
  const double s = r * (z * (((2.7182758931484836e-06 * z + -0.00019839332123549865) * z + 0.008333329382379977) * z
                             + -0.1666666664167099) + 1.0);
  const double c = (z * z) * (((-2.7211131614379425e-07 * z + 2.4799533935083498e-05) * z + -0.0013888883822446877) * z
                              + 0.04166666662390772) + (z * -0.5 + 1.0);
  uint64_t k, v;
  double value;
  memcpy(&k, &rounded, sizeof k);
  k += quarter;
  value = k & 1 ? c : s;
  memcpy(&v, &value, sizeof v);
  v ^= (k & 2) << 62;
  memcpy(&value, &v, sizeof value);
  return (float)value;
}""",
    "pow_near": """static float pow_near_$S(float base, float exponent) {
  const double x = base, y = exponent, a = fabs(x);
  double e, rounded;
  const double m = split_exponent_f64(a, &e), s = (m - 1.0) / (m + 1.0), z = s * s;
  const double series = ((((0.19580873951908767 * z + 0.22176441624650203) * z + 0.28572102286416945) * z
                          + 0.39999995698006585) * z + 0.6666666667552095) * z + 2.0;
  const double finite = e * 0.6931471805599453 + s * series, not_zero = a < (double)INFINITY ? finite : a;
  const double logarithm = a == 0.0 ? -(double)INFINITY : not_zero;
  const double product = logarithm == 0.0 ? 0.0 : y * logarithm;
  const double power = y == 0.0 ? 0.0 : product;
  const double low = power < -110.0 ? -110.0 : power, r = reduce_exp_f64(power > 90.0 ? 90.0 : low, &rounded);
  const double q = ((((0.0001979003253687571 * r + 0.0013944736637650668) * r + 0.008333498120910993) * r
                     + 0.04166629404783285) * r + 0.16666665862244623) * r + 0.500000006785065;
  const double value = (((r * r) * q + r) + 1.0) * power_of_two_f64(rounded);
  const double size = fabs(y) > 0x1p31 ? 0x1p31 : fabs(y), half = 0.5 * size;
  const double whole = (size + 0x1.8p52) - 0x1.8p52, whole_half = (half + 0x1.8p52) - 0x1.8p52;
  const double of_integer = half == whole_half ? 1.0 : -1.0;
  const double of_others = fabs(logarithm) < INFINITY ? NAN : 1.0;
  const double of_negative = whole == size ? of_integer : of_others;
  return (float)(value * (copysign_f64(1.0, x) < 0.0 ? of_negative : 1.0));
}""",
}


def functions(names: Iterable[str]) -> str:
    """The text of the functions called ``names`` ("gelu_f32") and of all that they call, each once, callees first."""
    made: dict[str, str] = {}

    def make(name: str) -> None:
        if name in made:
            return
        stem, _, suffix = name.rpartition("_")
        text = _filled(_TEXTS[stem] if stem in _TEXTS else LAYER_TEXTS[stem], suffix)
        for called in re.findall(r"\b(\w+_f(?:32|64))\(", text):
            if called != name:
                make(called)
        made[name] = text

    for name in sorted(set(names)):
        make(name)
    return "\n\n".join(made.values())


def _filled(text: str, suffix: str) -> str:
    def polynomial(found: re.Match[str]) -> str:
        numbers = [n.strip() for n in _POLYNOMIALS[found[1]][suffix].split(",")]
        inner = numbers[-1]
        for number in reversed(numbers[:-1]):
            inner = f"({inner} * {found[2]} + {number})"
        return inner

    text = re.sub(r"\$POLY\((\w+), (\w+)\)", polynomial, text)
    words = {**_TYPES[suffix], "S": suffix}
    return re.sub(r"\$([A-Z][A-Z0-9_]*|f)", lambda found: words[found[1]], text)
