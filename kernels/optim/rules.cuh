// The update rules of elementwise optimizers, one struct each: what the CPU's kernels (csrc/optim/optim.inl) and the
// GPU's (rule.cu) do to one element. A new optimizer is one struct here, one name in each of the two, and its operation
// with the reference in dlcore/ops/optim.py.
//
// A rule has
//   Setting   the columns of its row of settings, in float64;
//   Factor    what an element needs of settings and step count, made once for a parameter and rounded to the compute type;
//   kMoments, kScalars, kVariants   lists of tensors and of numbers kept for each parameter, ways to update an element;
//   used(v)   how many of the moments variant v reads and writes, the first ones;
//   factors   fills s[kFactors] from settings h, step t (1, 2, ...) and the numbers kept, which it brings up to date, and
//             returns the variant;
//   update    changes parameter p and moments m by gradient g.
// Whoever includes this defines DLCORE_RULE (what stands before a function) and fma_, root, magnitude and larger (the
// maximum, NaN if one is).
//
// Coupled weight decay is added to the gradient; decoupled, it shrinks the parameter: p *= 1 - lr weight_decay.

template <class C> DLCORE_RULE C decayed(C& p, C g, C sign, C decay, C keep) {
  p *= keep;
  return fma_(decay, p, sign * g);
}
template <class C> DLCORE_RULE void average(C& mean, C keep, C x, C weight) { mean = fma_(weight, x, keep * mean); }
DLCORE_RULE double sign_of(double maximize) { return maximize != 0 ? -1 : 1; }

// b = momentum b + (1 - dampening) g, b = g in the first step; p -= lr (nesterov ? g + momentum b : b), without momentum
// p -= lr g. On a GPU sgd.cu does the same.
struct Sgd {
  enum Setting { kLr, kMomentum, kDampening, kDecay, kNesterov, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kKeep, kNew, kMass, kRate, kFactors };
  static constexpr int kMoments = 1, kScalars = 0, kVariants = 3;
  static constexpr int used(int variant) { return variant > 0; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kMass] = h[kMomentum], s[kRate] = -h[kLr];
    s[kKeep] = t == 1 ? 0 : h[kMomentum], s[kNew] = t == 1 ? 1 : 1 - h[kDampening];
    return h[kMomentum] == 0 ? 0 : h[kNesterov] != 0 ? 2 : 1;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    C g = fma_(s[kAdd], p, s[kSign] * gradient);
    if constexpr (variant > 0) {
      average(m[0], s[kKeep], g, s[kNew]);
      g = variant == 2 ? fma_(s[kMass], m[0], g) : m[0];
    }
    p = fma_(s[kRate], g, p);
  }
};

// m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).
// On a GPU adam.cu does the same. Variants: without weight decay, with it, and with m taken from the nearer end, g, as
// PyTorch's lerp does.
struct Adam {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kDecoupled, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kKeep, kWeight1, kBeta, kWeight2, kInverseRoot, kDelta, kRate, kFactors };
  static constexpr int kMoments = 2, kScalars = 0, kVariants = 3;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    const bool decoupled = h[kDecoupled] != 0, near = 1 - h[kBeta1] >= 0.5;
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = decoupled ? 0 : h[kDecay];
    s[kKeep] = decoupled ? 1 - h[kLr] * h[kDecay] : 1, s[kWeight1] = near ? 1 - h[kBeta1] - 1 : 1 - h[kBeta1];
    s[kBeta] = h[kBeta2], s[kWeight2] = 1 - h[kBeta2], s[kInverseRoot] = 1 / sqrt(1 - pow(h[kBeta2], t));
    s[kDelta] = h[kEps], s[kRate] = -h[kLr] / (1 - pow(h[kBeta1], t));
    return near ? 2 : h[kDecay] != 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    C g = s[kSign] * gradient;
    if constexpr (variant > 0) {
      p *= s[kKeep];
      g = fma_(s[kAdd], p, g);
    }
    m[0] = fma_(s[kWeight1], g - m[0], variant == 2 ? g : m[0]);
    m[1] = fma_(s[kWeight2] * g, g, m[1] * s[kBeta]);
    p += s[kRate] * m[0] / fma_(root(m[1]), s[kInverseRoot], s[kDelta]);
  }
};

// p = p + max(1 - decay, 1 / n) (g - p), n = t - start, and p = g until then: p is an average of the weights g.
struct WeightAverage {
  enum Setting { kDecay, kStart, kSettings };
  enum Factor { kShare, kFactors };
  static constexpr int kMoments = 0, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 0; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    const double n = t - h[kStart], least = 1 - h[kDecay];
    s[kShare] = n <= 1 ? 1 : 1 / n > least ? 1 / n : least;
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C g, C*, const C* s) {
    p = s[kShare] == 1 ? g : fma_(s[kShare], g - p, p);  // infinity is not left with NaN
  }
};

// u = sign(beta1 m + (1 - beta1) g); p -= lr u; m = beta2 m + (1 - beta2) g
struct Lion {
  enum Setting { kLr, kBeta1, kBeta2, kDecay, kMaximize, kSettings };
  enum Factor { kSign, kKeep, kOld, kNew, kKeepMean, kAddMean, kRate, kFactors };
  static constexpr int kMoments = 1, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 1; }
  DLCORE_RULE static int factors(const double* h, double, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kKeep] = 1 - h[kLr] * h[kDecay];
    s[kOld] = h[kBeta1], s[kNew] = 1 - h[kBeta1], s[kKeepMean] = h[kBeta2], s[kAddMean] = 1 - h[kBeta2];
    s[kRate] = h[kLr];
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = decayed(p, gradient, s[kSign], C(0), s[kKeep]), u = fma_(s[kNew], g, s[kOld] * m[0]);
    average(m[0], s[kKeepMean], g, s[kAddMean]);
    p -= u > 0 ? s[kRate] : u < 0 ? -s[kRate] : u;  // NaN stays
  }
};

// v = alpha v + (1 - alpha) g^2; centered: a = alpha a + (1 - alpha) g, d = v - a^2, else d = v; u = g / (sqrt(d) + eps);
// with momentum b = momentum b + u, u = b; p -= lr u
template <bool centered> struct RmspropRule {
  enum Setting { kLr, kAlpha, kEps, kDecay, kMomentum, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kKeep, kNew, kDelta, kMass, kRate, kFactors };
  static constexpr int kMoments = centered ? 3 : 2, kScalars = 0, kVariants = 2;
  static constexpr int used(int variant) { return kMoments - 1 + variant; }
  DLCORE_RULE static int factors(const double* h, double, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kKeep] = h[kAlpha], s[kNew] = 1 - h[kAlpha];
    s[kDelta] = h[kEps], s[kMass] = h[kMomentum], s[kRate] = h[kLr];
    return h[kMomentum] != 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = decayed(p, gradient, s[kSign], s[kAdd], C(1));
    average(m[0], s[kKeep], g * g, s[kNew]);
    C below = m[0];
    if constexpr (centered) {
      average(m[1], s[kKeep], g, s[kNew]);
      below = fma_(-m[1], m[1], below);
    }
    C u = g / (root(below) + s[kDelta]);
    if constexpr (variant == 1) u = m[kMoments - 1] = fma_(s[kMass], m[kMoments - 1], u);
    p = fma_(-s[kRate], u, p);
  }
};
using Rmsprop = RmspropRule<false>;
using RmspropCentered = RmspropRule<true>;

// v += g^2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps)
struct Adagrad {
  enum Setting { kLr, kLrDecay, kDecay, kEps, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kDelta, kRate, kFactors };
  static constexpr int kMoments = 1, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 1; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kDelta] = h[kEps];
    s[kRate] = h[kLr] / (1 + (t - 1) * h[kLrDecay]);
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = decayed(p, gradient, s[kSign], s[kAdd], C(1));
    m[0] = fma_(g, g, m[0]);
    p -= s[kRate] * g / (root(m[0]) + s[kDelta]);
  }
};

// v = rho v + (1 - rho) g^2; u = sqrt(a + eps) / sqrt(v + eps) g; a = rho a + (1 - rho) u^2; p -= lr u
struct Adadelta {
  enum Setting { kLr, kRho, kEps, kDecay, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kKeep, kNew, kDelta, kRate, kFactors };
  static constexpr int kMoments = 2, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static int factors(const double* h, double, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kKeep] = h[kRho], s[kNew] = 1 - h[kRho];
    s[kDelta] = h[kEps], s[kRate] = h[kLr];
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = decayed(p, gradient, s[kSign], s[kAdd], C(1));
    average(m[0], s[kKeep], g * g, s[kNew]);
    const C u = root(m[1] + s[kDelta]) / root(m[0] + s[kDelta]) * g;
    average(m[1], s[kKeep], u * u, s[kNew]);
    p = fma_(-s[kRate], u, p);
  }
};

// m = beta1 m + (1 - beta1) g; u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1^t) m / u
struct Adamax {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kMaximize, kSettings };
  enum Factor { kSign, kAdd, kKeep, kNew, kFade, kDelta, kRate, kFactors };
  static constexpr int kMoments = 2, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kKeep] = h[kBeta1], s[kNew] = 1 - h[kBeta1];
    s[kFade] = h[kBeta2], s[kDelta] = h[kEps], s[kRate] = h[kLr] / (1 - pow(h[kBeta1], t));
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = decayed(p, gradient, s[kSign], s[kAdd], C(1));
    average(m[0], s[kKeep], g, s[kNew]);
    m[1] = larger(s[kFade] * m[1], magnitude(g) + s[kDelta]);
    p -= s[kRate] * m[0] / m[1];
  }
};

// The moments of Adam: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2.
struct Moments {
  enum Factor { kSign, kAdd, kShrink, kKeep1, kNew1, kKeep2, kNew2, kDelta, kMomentFactors };
  DLCORE_RULE static void factors(double maximize, double decoupled, double decay, double lr, double beta1,
                                  double beta2, double eps, double* s) {
    s[kSign] = sign_of(maximize), s[kAdd] = decoupled != 0 ? 0 : decay;
    s[kShrink] = decoupled != 0 ? 1 - lr * decay : 1, s[kKeep1] = beta1, s[kNew1] = 1 - beta1;
    s[kKeep2] = beta2, s[kNew2] = 1 - beta2, s[kDelta] = eps;
  }
  template <class C> DLCORE_RULE static C step(C& p, C gradient, C& m, C& v, const C* s) {
    const C g = decayed(p, gradient, s[kSign], s[kAdd], s[kShrink]);
    average(m, s[kKeep1], g, s[kNew1]);
    average(v, s[kKeep2], g * g, s[kNew2]);
    return g;
  }
};

// w = max(w, v); p -= lr / (1 - beta1^t) m / (sqrt(w / (1 - beta2^t)) + eps)
struct Amsgrad {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kDecoupled, kMaximize, kSettings };
  enum Factor { kRate = Moments::kMomentFactors, kInverseRoot, kFactors };
  static constexpr int kMoments = 3, kScalars = 0, kVariants = 1;
  static constexpr int used(int) { return 3; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    Moments::factors(h[kMaximize], h[kDecoupled], h[kDecay], h[kLr], h[kBeta1], h[kBeta2], h[kEps], s);
    s[kRate] = h[kLr] / (1 - pow(h[kBeta1], t)), s[kInverseRoot] = 1 / sqrt(1 - pow(h[kBeta2], t));
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    Moments::step(p, gradient, m[0], m[1], s);
    m[2] = larger(m[2], m[1]);
    p -= s[kRate] * m[0] / fma_(root(m[2]), s[kInverseRoot], s[Moments::kDelta]);
  }
};

// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), M = the product of mu_1 ... mu_t; d = sqrt(v / (1 - beta2^t)) + eps;
// p -= lr ((1 - mu_t) / (1 - M) g + mu_{t+1} / (1 - M mu_{t+1}) m) / d
struct Nadam {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kMomentumDecay, kDecoupled, kMaximize, kSettings };
  enum Factor { kGradientRate = Moments::kMomentFactors, kMeanRate, kInverseRoot, kFactors };
  static constexpr int kMoments = 2, kScalars = 1, kVariants = 1;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static double mass(const double* h, double t) {
    return h[kBeta1] * (1 - 0.5 * pow(0.96, t * h[kMomentumDecay]));
  }
  DLCORE_RULE static int factors(const double* h, double t, double* product, double* s) {
    Moments::factors(h[kMaximize], h[kDecoupled], h[kDecay], h[kLr], h[kBeta1], h[kBeta2], h[kEps], s);
    const double now = mass(h, t), next = mass(h, t + 1);
    product[0] *= now;
    s[kGradientRate] = h[kLr] * (1 - now) / (1 - product[0]);
    s[kMeanRate] = h[kLr] * next / (1 - product[0] * next);
    s[kInverseRoot] = 1 / sqrt(1 - pow(h[kBeta2], t));
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = Moments::step(p, gradient, m[0], m[1], s);
    p -= fma_(s[kGradientRate], g, s[kMeanRate] * m[0]) / fma_(root(m[1]), s[kInverseRoot], s[Moments::kDelta]);
  }
};

// r = 2 / (1 - beta2) - 1, r_t = r - 2 t beta2^t / (1 - beta2^t); p -= lr / (1 - beta1^t) m, where r_t > 5 times
// sqrt((r_t - 4) (r_t - 2) r / ((r - 4) (r - 2) r_t)) sqrt(1 - beta2^t) / (sqrt(v) + eps)
struct Radam {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kDecoupled, kMaximize, kSettings };
  enum Factor { kRate = Moments::kMomentFactors, kFactors };
  static constexpr int kMoments = 2, kScalars = 0, kVariants = 2;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static int factors(const double* h, double t, double*, double* s) {
    Moments::factors(h[kMaximize], h[kDecoupled], h[kDecay], h[kLr], h[kBeta1], h[kBeta2], h[kEps], s);
    const double power = pow(h[kBeta2], t), limit = 2 / (1 - h[kBeta2]) - 1, r = limit - 2 * t * power / (1 - power);
    s[kRate] = h[kLr] / (1 - pow(h[kBeta1], t));
    if (r > 5) s[kRate] *= sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r) * (1 - power));
    return r > 5;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    Moments::step(p, gradient, m[0], m[1], s);
    if constexpr (variant == 1) p -= s[kRate] * m[0] / (root(m[1]) + s[Moments::kDelta]);
    else p = fma_(-s[kRate], m[0], p);
  }
};

// Schedule-free averaging: weight w = t^r lr_max^power, W += w, c = w / W; y = p is where gradients are taken:
// p = (1 - c) p + c z - lr (1 - beta (1 - c)) u; z -= lr u. Kept for each parameter: lr_max and W.
struct Averaging {
  enum Factor { kShare, kStep, kRate, kAveragingFactors };
  DLCORE_RULE static void factors(double lr, double beta, double r, double power, double t, double* kept, double* s) {
    kept[0] = lr > kept[0] ? lr : kept[0];
    const double weight = pow(t, r) * pow(kept[0], power);
    kept[1] += weight;
    s[kShare] = kept[1] > 0 ? weight / kept[1] : 0;
    s[kStep] = lr * (beta * (1 - s[kShare]) - 1), s[kRate] = -lr;
  }
  template <class C> DLCORE_RULE static void step(C& p, C& z, C u, const C* s) {
    p = fma_(s[kStep], u, fma_(s[kShare], z - p, p));
    z = fma_(s[kRate], u, z);
  }
};

// u = g + weight_decay p
struct ScheduleFreeSgd {
  enum Setting { kLr, kMomentum, kDecay, kR, kPower, kMaximize, kSettings };
  enum Factor { kSign = Averaging::kAveragingFactors, kAdd, kFactors };
  static constexpr int kMoments = 1, kScalars = 2, kVariants = 1;
  static constexpr int used(int) { return 1; }
  DLCORE_RULE static int factors(const double* h, double t, double* kept, double* s) {
    Averaging::factors(h[kLr], h[kMomentum], h[kR], h[kPower], t, kept, s);
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay];
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    Averaging::step(p, m[0], decayed(p, gradient, s[kSign], s[kAdd], C(1)), s);
  }
};

// v = beta2 v + (1 - beta2) g^2; u = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p
struct ScheduleFreeAdamw {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kR, kPower, kMaximize, kSettings };
  enum Factor { kSign = Averaging::kAveragingFactors, kAdd, kKeep, kNew, kInverseRoot, kDelta, kFactors };
  static constexpr int kMoments = 2, kScalars = 2, kVariants = 1;
  static constexpr int used(int) { return 2; }
  DLCORE_RULE static int factors(const double* h, double t, double* kept, double* s) {
    Averaging::factors(h[kLr], h[kBeta1], h[kR], h[kPower], t, kept, s);
    s[kSign] = sign_of(h[kMaximize]), s[kAdd] = h[kDecay], s[kKeep] = h[kBeta2], s[kNew] = 1 - h[kBeta2];
    s[kInverseRoot] = 1 / sqrt(1 - pow(h[kBeta2], t)), s[kDelta] = h[kEps];
    return 0;
  }
  template <int variant, class C> DLCORE_RULE static void update(C& p, C gradient, C* m, const C* s) {
    const C g = s[kSign] * gradient;
    average(m[1], s[kKeep], g * g, s[kNew]);
    Averaging::step(p, m[0], fma_(s[kAdd], p, g / fma_(root(m[1]), s[kInverseRoot], s[kDelta])), s);
  }
};

// LAMB, in two passes: m and v, and the norms of p and u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) +
// weight_decay p over each parameter; then p -= lr |p| / |u| u, where a norm is 0 with the factor 1. No rule as the
// others: lamb in csrc/optim/optim.inl and lamb.cu use it.
struct Lamb {
  enum Setting { kLr, kBeta1, kBeta2, kEps, kDecay, kMaximize, kSettings };
  enum Factor { kUnbiased = Moments::kMomentFactors, kInverseRoot, kAddParameter, kFactors };
  DLCORE_RULE static void factors(const double* h, double t, double* s) {
    Moments::factors(h[kMaximize], 0, 0, h[kLr], h[kBeta1], h[kBeta2], h[kEps], s);
    s[kUnbiased] = 1 / (1 - pow(h[kBeta1], t)), s[kInverseRoot] = 1 / sqrt(1 - pow(h[kBeta2], t));
    s[kAddParameter] = h[kDecay];
  }
  template <class C> DLCORE_RULE static C direction(C p, C m, C v, const C* s) {
    return fma_(s[kAddParameter], p, s[kUnbiased] * m / fma_(root(v), s[kInverseRoot], s[Moments::kDelta]));
  }
  DLCORE_RULE static double rate(double lr, double parameter_squares, double direction_squares) {
    const bool known = parameter_squares > 0 && direction_squares > 0;
    const double ratio = known ? sqrt(parameter_squares) / sqrt(direction_squares) : 1;
    return lr * (ratio > 1e30 ? 1e30 : ratio);  // finite in float32; NaN stays
  }
};
