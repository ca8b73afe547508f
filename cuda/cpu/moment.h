// Moving Gaussians at an instant (FreeTimeGS, Wang et al. 2025): means along a line, opacities fading.
#pragma once

#include "activate.h"

namespace splat::SPLAT_ISA {

constexpr real kLasting = real(11.512925464970229);  // log of `splat.math.LASTING`: always there, standing still
constexpr real kFarthest = 80;                       // (apart / duration)^2 up to which opacity fades

// Of W rows: time apart (0 of what lasts), one over the variance in time, its square in variances, the factor.
struct Fade {
  F apart, inverse, far, factor;
};
SPLAT_INLINE Fade fade(F time, F log_duration, F at, F least2) {
  const F own = exp(log_duration);
  const F apart = sel(log_duration < set1(kLasting), at - time, set1(0));
  const F inverse = set1(1) / fma(own, own, least2), far = mn(set1(kFarthest), apart * apart * inverse);
  return {apart, inverse, far, exp(far * set1(real(-0.5)))};
}

// fn(c, offset of W values, W of one value a row) for the three vectors that the triples of W rows are.
template <class Fn>
SPLAT_INLINE void in_triples(F of_rows, int rows, Fn&& fn) {
  alignas(64) real one[W], three[3 * W];
  store(one, of_rows);
  for (int i = 0; i < W; ++i) three[3 * i] = three[3 * i + 1] = three[3 * i + 2] = one[i];
  for (int c = 0; c < 3; ++c)
    if (const int count = least(W, 3 * rows - c * W); count > 0) fn(c * W, load(three + c * W), count);
}

static void moment(const Moment& m) {
  StageClock clock;
  const auto *means = static_cast<const real*>(m.means), *opacities = static_cast<const real*>(m.opacities);
  const auto *times = static_cast<const real*>(m.times), *logs = static_cast<const real*>(m.log_durations);
  const auto* velocities = static_cast<const real*>(m.velocities);
  auto *moved = static_cast<real*>(m.moved), *faded = static_cast<real*>(m.faded);
  const F at = set1(real(m.at)), least2 = set1(real(m.least * m.least));
  in_vectors(m.n, [=](std::ptrdiff_t i, int rows) {
    const Fade f = fade(load_some(times + i, rows), load_some(logs + i, rows), at, least2);
    store_some(faded + i, load_some(opacities + i, rows) * f.factor, rows);
    in_triples(f.apart, rows, [=](int offset, F apart, int count) {
      const std::ptrdiff_t k = 3 * i + offset;
      store_some(moved + k, fma(load_some(velocities + k, count), apart, load_some(means + k, count)), count);
    });
  });
  clock.done(kOther);
}

// Gradients from those by what is drawn, each of which may be missing. That by the means is the one given.
static void moment_backward(const MomentGradients& g) {
  StageClock clock;
  const auto *opacities = static_cast<const real*>(g.opacities), *times = static_cast<const real*>(g.times);
  const auto* logs = static_cast<const real*>(g.log_durations);
  const auto *v_moved = static_cast<const real*>(g.v_moved), *v_faded = static_cast<const real*>(g.v_faded);
  auto *v_opacities = static_cast<real*>(g.v_opacities), *v_times = static_cast<real*>(g.v_times);
  auto *v_logs = static_cast<real*>(g.v_log_durations), *v_velocities = static_cast<real*>(g.v_velocities);
  const F at = set1(real(g.at)), least2 = set1(real(g.least * g.least));
  in_vectors(g.n, [=](std::ptrdiff_t i, int rows) {
    const F log_duration = load_some(logs + i, rows);
    const Fade f = fade(load_some(times + i, rows), log_duration, at, least2);
    const F pull = v_faded ? load_some(v_faded + i, rows) : set1(0);
    // d faded / d far is -faded / 2, and nothing where far has reached its end.
    const F faded = zero_unless(f.far < set1(kFarthest), load_some(opacities + i, rows) * f.factor * pull);
    store_some(v_opacities + i, f.factor * pull, rows);
    store_some(v_times + i, faded * f.apart * f.inverse, rows);
    const F own = exp(log_duration);
    store_some(v_logs + i, zero_unless(log_duration < set1(kLasting), faded * f.far * (own * own * f.inverse)), rows);
    in_triples(f.apart, rows, [=](int offset, F apart, int count) {
      const std::ptrdiff_t k = 3 * i + offset;
      store_some(v_velocities + k, v_moved ? load_some(v_moved + k, count) * apart : set1(0), count);
    });
  });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
