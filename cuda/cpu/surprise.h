// Bits of numbers that a normal distribution expects: -log2 of its mass over a step of one around each.
#pragma once

#include <initializer_list>

#include "activate.h"

namespace splat::SPLAT_ISA {

constexpr real kLog2E = real(1.4426950408889634);
constexpr real kLeastMass = real(1e-6);  // of what the nearer tail holds, what a step has at least

#if defined(SPLAT_SIMD_DOUBLE)
// log2(erfc(z) exp(z^2) / 2) of z from 0 on; a series where erfc is no number any more.
static inline double log2_tail(double z) {
  if (z < 25) return std::log2(std::erfc(z) / 2) + z * z * double(kLog2E);
  const double s = 1 / (2 * z * z);
  return std::log2((1 - s * (1 - 3 * s * (1 - 5 * s * (1 - 7 * s)))) / (2 * z * 1.7724538509055160));
}
#endif

// log2 of a normal distribution's tail beyond x, from 0 on, without -x^2 / 2: log2(tail) = this - x^2 / (2 ln 2).
SPLAT_INLINE F tail(F x) {
#if defined(SPLAT_SIMD_DOUBLE)
  alignas(64) real t[W];
  store(t, x);
  for (int i = 0; i < W; ++i) t[i] = real(log2_tail(double(t[i]) * 0.70710678118654752));
  return load(t);
#else
  // With t = 1 / (1 + z / 2), z = x / sqrt(2), the rest over log2 t is smooth in t; fitted at Chebyshev's points
  // (1.5e-7, and 3e-7 as floats).
  const F under = fma(x, set1(0.35355339f), set1(1)), t = set1(1) / under;
  F series = fma(t, set1(0.246517315f), set1(-1.18611498f));
  for (const float next : {2.14747454f, -1.63775324f, 0.402321639f, -0.268756877f, 0.139630073f, 0.539700615f,
                           1.4427292f, -2.82574821f})
    series = fma(t, series, set1(next));
  return series - log2(under);
#endif
}

// Of W numbers: their bits, and how these change with the two ends of the step, divided by log2 e.
struct Surprise {
  F bits, near, far;
};
SPLAT_INLINE Surprise surprise(F apart, F inverse) {
  const F far = abs(apart) * inverse, half = inverse * real(0.5);
  const F a = half - far, b = half + far, size = abs(a);  // the mass between -b and a
  const M beyond = a <= set1(0);                          // all of the step is on one side of the mean
  const F a2 = a * a * (kLog2E / 2), b2 = b * b * (kLog2E / 2);
  const F apart2 = sel(beyond, half * far * (2 * kLog2E), b2);  // b2 - a2, without what cancels
  const F inner = tail(size), outer = tail(b), least = set1(-126);
  const F lost = sel(beyond, exp2(mx(least, outer - inner - apart2)),
                     exp2(mx(least, inner - a2)) + exp2(mx(least, outer - b2)));
  const F mass = log2(mx(set1(1) - lost, set1(kLeastMass)));
  const F bits = sel(beyond, a2 - inner, set1(0)) - mass, base = set1(real(-1.3257480647361594)) - mass;  // log2 of 1 / sqrt(2 pi)
  const F edge = sel(beyond, base - inner, base - a2), end = sel(beyond, base - inner - apart2, base - b2);
  return {bits, exp2(mx(least, edge)), exp2(mx(least, end))};
}

static void surprises(const Surprises& s) {
  StageClock clock;
  const auto *apart = static_cast<const real*>(s.apart), *deviation = static_cast<const real*>(s.deviation);
  auto* bits = static_cast<real*>(s.bits);
  in_vectors(s.n, [=](std::ptrdiff_t i, int count) {
    const F inverse = set1(1) / load_some(deviation + i, count);
    store_some(bits + i, surprise(load_some(apart + i, count), inverse).bits, count);
  });
  clock.done(kOther);
}

static void surprises_backward(const SurpriseGradients& g) {
  StageClock clock;
  const auto *aparts = static_cast<const real*>(g.apart), *deviations = static_cast<const real*>(g.deviation);
  const auto* v_bits = static_cast<const real*>(g.v_bits);
  auto *v_apart = static_cast<real*>(g.v_apart), *v_deviation = static_cast<real*>(g.v_deviation);
  in_vectors(g.n, [=](std::ptrdiff_t i, int count) {
    const F apart = load_some(aparts + i, count), inverse = set1(1) / load_some(deviations + i, count);
    const Surprise s = surprise(apart, inverse);
    const F pull = load_some(v_bits + i, count) * kLog2E;
    const F by_far = (s.near - s.far) * pull, by_half = -(s.near + s.far) * pull;
    const F slope = by_far * inverse;
    store_some(v_apart + i, sel(apart < set1(0), -slope, slope), count);
    const F by_inverse = fma(by_far, abs(apart), by_half * real(0.5));
    store_some(v_deviation + i, -(by_inverse * inverse * inverse), count);
  });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
