// The random walk of 3DGS-MCMC (Kheradmand et al. 2024): Sigma e, e normal, times a gate that lets
// nearly dead Gaussians wander and holds the others.
#pragma once

#include <splat/random.h>

#include "activate.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kWalkRows = 512;  // of a work item; a multiple of every W

// Two standard normal numbers for each of W rows (Box and Muller 1958).
SPLAT_INLINE void normals(const Walk& w, std::ptrdiff_t row, uint32_t pair, F& a, F& b) {
  alignas(64) real u[W], turn[W], quarter[W];
  for (int lane = 0; lane < W; ++lane) {
    const uint32_t counter = uint32_t(row + lane) * 4u + 2u * pair;
    const uint32_t first = drawn(w.seed, counter), second = drawn(w.seed, counter + 1u);
    u[lane] = (real(first >> 8) + real(0.5)) * real(1.0 / (1 << 24));
    quarter[lane] = real(second >> 30);
    turn[lane] = (real(second >> 6 & 0xffffff) + real(0.5)) * real(1.0 / (1 << 24)) - real(0.5);
  }
  const F radius = sqrt(set1(real(-1.3862943611198906)) * log2(load(u)));
  // Sine and cosine of up to an eighth of a turn by their series, then by quarters of a turn.
  const F angle = load(turn) * set1(real(1.5707963267948966)), square = angle * angle;
  F sine = fma(square, set1(real(1.0 / 362880)), set1(real(-1.0 / 5040)));
  sine = fma(square, sine, set1(real(1.0 / 120)));
  sine = fma(square, sine, set1(real(-1.0 / 6)));
  sine = fma(square * angle, sine, angle);
  F cosine = fma(square, set1(real(1.0 / 40320)), set1(real(-1.0 / 720)));
  cosine = fma(square, cosine, set1(real(1.0 / 24)));
  cosine = fma(square, cosine, set1(real(-0.5)));
  cosine = fma(square, cosine, set1(1));
  const F q = load(quarter);
  const M odd = ((q > set1(real(0.5))) & (q < set1(real(1.5)))) | (q > set1(real(2.5)));
  const F x = sel(odd, -sine, cosine), y = sel(odd, cosine, sine);
  const M back = q > set1(real(1.5));
  a = radius * sel(back, -x, x);
  b = radius * sel(back, -y, y);
}

static void walk(const Walk& w) {
  StageClock clock;
  const auto *quats = static_cast<const real*>(w.quats), *logs = static_cast<const real*>(w.log_scales);
  const auto* logits = static_cast<const real*>(w.logits);
  auto* delta = static_cast<real*>(w.delta);
  parallel_for((w.n + kWalkRows - 1) / kWalkRows, [&](std::ptrdiff_t item) {
    const std::ptrdiff_t end = least<std::ptrdiff_t>(w.n, (item + 1) * kWalkRows);
    for (std::ptrdiff_t i = item * kWalkRows; i < end; i += W) {
      const int here = (int)least<std::ptrdiff_t>(W, end - i);
      const F logit = load_some(logits + i, here);
      alignas(64) real turn[W];
      for (int lane = 0; lane < W; ++lane) turn[lane] = lane < here && (i + lane) % w.every == w.phase;
      const M moves = (logit < set1(real(w.quiet))) & (load(turn) > set1(real(0.5)));
      F moved[3] = {set1(0), set1(0), set1(0)};
      if (any(moves)) {
        F q[4], s[3], e[4];
        load_columns(quats + 4 * i, 4, 4, here, q);
        load_columns(logs + 3 * i, 3, 3, here, s);
        normals(w, i, 0, e[0], e[1]);
        normals(w, i, 1, e[2], e[3]);
        const F gate = logistic(set1(real(w.steepness)) * (set1(real(w.dead)) - logistic(logit)));
        const F reach = gate * real(w.reach);
        // R^T e is distributed as e: Sigma e = R diag(s^2) R^T e is R diag(s^2) e with one rotation less.
        for (int k = 0; k < 3; ++k) e[k] = e[k] * exp(s[k] + s[k]) * reach;
        const F inverse = set1(1) / (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        // v + 2 u x (u x v + w v), over |q|^2, is v turned by the quaternion (w, u).
        const F t[3] = {q[2] * e[2] - q[3] * e[1] + q[0] * e[0], q[3] * e[0] - q[1] * e[2] + q[0] * e[1],
                        q[1] * e[1] - q[2] * e[0] + q[0] * e[2]};
        const F two = inverse * real(2);
        moved[0] = zero_unless(moves, fma(two, q[2] * t[2] - q[3] * t[1], e[0]));
        moved[1] = zero_unless(moves, fma(two, q[3] * t[0] - q[1] * t[2], e[1]));
        moved[2] = zero_unless(moves, fma(two, q[1] * t[1] - q[2] * t[0], e[2]));
      }
      store_columns(moved, 3, here, delta + 3 * i, 3);
    }
  });
  clock.done(kOther);
}

static void add(const Addition& a) {
  StageClock clock;
  auto* to = static_cast<real*>(a.values);
  const auto* by = static_cast<const real*>(a.delta);
  in_vectors(a.n, [=](std::ptrdiff_t i, int count) { store_some(to + i, load_some(to + i, count) + load_some(by + i, count), count); });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
