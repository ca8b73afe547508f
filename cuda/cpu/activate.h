// From what is stored to what is drawn, and back: scales are exp, opacities the logistic function.
#pragma once

#include "clock.h"
#include "columns.h"
#include "kernels.h"
#include "pool.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kActivateChunk = 4096;  // values of a work item; a multiple of every W

// e^x, relative error 2e-7 (the double build: to rounding); 0 below -87, capped above 88, NaN of NaN.
SPLAT_INLINE F exp(F x) {
#if defined(SPLAT_SIMD_DOUBLE)
  alignas(64) real t[W];
  store(t, x);
  for (int i = 0; i < W; ++i) t[i] = std::exp(t[i]);
  return load(t);
#else
  // x = p ln 2 + rest, p a multiple of 1/32: the upper half of ln 2 has so few bits that its product
  // and the difference are exact, whether or not the compiler fuses them. The logarithm rounded to a
  // float would be off by half of its last bit, and that times |x| is a relative error.
  const F within = mn(set1(88.f), mx(set1(-87.f), x)), whole = set1(393216.f);  // 1.5 * 2^18
  const F p = (within * set1(1.44269504f) + whole) - whole;
  const F rest = fnma(p, set1(3.19461850e-5f), fnma(p, set1(0.693115234375f), within));
  const F series = fma(rest, fma(rest, set1(1.f / 6), set1(0.5f)), set1(1)), value = exp2(p);
  return zero_unless(!(x <= set1(-87.f)), fma(value * rest, series, value));
#endif
}
SPLAT_INLINE F logistic(F x) { return set1(1) / (set1(1) + exp(-x)); }

// fn(offset, count) over `count` values, W at a time; the last ones may be fewer.
template <class Fn>
static void in_vectors(std::ptrdiff_t count, Fn&& fn) {
  parallel_for((count + kActivateChunk - 1) / kActivateChunk, [&](std::ptrdiff_t item) {
    const std::ptrdiff_t end = least(count, (item + 1) * kActivateChunk);
    for (std::ptrdiff_t i = item * kActivateChunk; i < end; i += W) fn(i, (int)least<std::ptrdiff_t>(W, end - i));
  });
}

SPLAT_INLINE F load_some(const real* p, int count) {
  if (count == W) return load(p);
  alignas(64) real t[W] = {};
  std::memcpy(t, p, count * sizeof(real));
  return load(t);
}
SPLAT_INLINE void store_some(real* p, F value, int count) {
  if (count == W) return store(p, value);
  alignas(64) real t[W];
  store(t, value);
  std::memcpy(p, t, count * sizeof(real));
}

static void activate(const Activation& a) {
  StageClock clock;
  const auto *logs = static_cast<const real*>(a.log_scales), *logits = static_cast<const real*>(a.logits);
  auto *scales = static_cast<real*>(a.scales), *opacities = static_cast<real*>(a.opacities);
  in_vectors(3 * a.n, [=](std::ptrdiff_t i, int count) { store_some(scales + i, exp(load_some(logs + i, count)), count); });
  in_vectors(a.n, [=](std::ptrdiff_t i, int count) {
    store_some(opacities + i, logistic(load_some(logits + i, count)), count);
  });
  clock.done(kOther);
}

// Gradients by what is stored, from those by what is drawn.
static void activate_backward(const ActivationGradients& a) {
  StageClock clock;
  const auto *scales = static_cast<const real*>(a.scales), *opacities = static_cast<const real*>(a.opacities);
  const auto *v_scales = static_cast<const real*>(a.v_scales), *v_opacities = static_cast<const real*>(a.v_opacities);
  auto *v_logs = static_cast<real*>(a.v_log_scales), *v_logits = static_cast<real*>(a.v_logits);
  if (v_logs)
    in_vectors(3 * a.n, [=](std::ptrdiff_t i, int count) {
      store_some(v_logs + i, load_some(v_scales + i, count) * load_some(scales + i, count), count);
    });
  if (v_logits)
    in_vectors(a.n, [=](std::ptrdiff_t i, int count) {
      const F o = load_some(opacities + i, count);
      store_some(v_logits + i, load_some(v_opacities + i, count) * (o * (set1(1) - o)), count);
    });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
