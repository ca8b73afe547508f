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

// target[i] = fn(source[i]) for `count` values; returns their sum, in an order that no thread changes.
template <class Fn>
static double mapped(const real* source, real* target, std::ptrdiff_t count, Fn&& fn) {
  const std::ptrdiff_t items = (count + kActivateChunk - 1) / kActivateChunk;
  thread_local Buffer<double> kept;
  double* const parts = kept.resize(items);
  parallel_for(items, [&](std::ptrdiff_t item) {
    const std::ptrdiff_t end = least(count, (item + 1) * kActivateChunk), whole = end - (end - item * kActivateChunk) % W;
    F total = set1(0);
    for (std::ptrdiff_t i = item * kActivateChunk; i < whole; i += W) {
      const F value = fn(load(source + i));
      store(target + i, value);
      total += value;
    }
    double rest = 0;
    if (whole < end) {
      store_some(target + whole, fn(load_some(source + whole, int(end - whole))), int(end - whole));
      for (std::ptrdiff_t i = whole; i < end; ++i) rest += double(target[i]);
    }
    parts[item] = double(sum(total)) + rest;
  });
  double total = 0;
  for (std::ptrdiff_t item = 0; item < items; ++item) total += parts[item];
  return total;
}

static void activate(const Activation& a) {
  StageClock clock;
  const double scales = mapped(static_cast<const real*>(a.log_scales), static_cast<real*>(a.scales), 3 * a.n,
                               [](F x) { return exp(x); });
  const double opacities = mapped(static_cast<const real*>(a.logits), static_cast<real*>(a.opacities), a.n,
                                  [](F x) { return logistic(x); });
  a.means[0] = scales / double(3 * a.n), a.means[1] = opacities / double(a.n);
  clock.done(kOther);
}

// Gradients by what is stored, from those by what is drawn and by its means.
static void activate_backward(const ActivationGradients& a) {
  StageClock clock;
  const auto *scales = static_cast<const real*>(a.scales), *opacities = static_cast<const real*>(a.opacities);
  const auto *v_scales = static_cast<const real*>(a.v_scales), *v_opacities = static_cast<const real*>(a.v_opacities);
  auto *v_logs = static_cast<real*>(a.v_log_scales), *v_logits = static_cast<real*>(a.v_logits);
  const F of_scale = set1(real(a.v_mean_scale / double(3 * a.n))), of_opacity = set1(real(a.v_mean_opacity / double(a.n)));
  const auto given = [](const real* v, std::ptrdiff_t i, int count) { return v ? load_some(v + i, count) : set1(0); };
  if (v_logs)
    in_vectors(3 * a.n, [=](std::ptrdiff_t i, int count) {
      store_some(v_logs + i, (given(v_scales, i, count) + of_scale) * load_some(scales + i, count), count);
    });
  if (v_logits)
    in_vectors(a.n, [=](std::ptrdiff_t i, int count) {
      const F o = load_some(opacities + i, count);
      store_some(v_logits + i, (given(v_opacities, i, count) + of_opacity) * (o * (set1(1) - o)), count);
    });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
