// Adam over every row (Kingma and Ba 2015, as torch.optim.Adam computes it), fused into one pass.
#pragma once

#include <cmath>
#include <cstring>

#include "buffer.h"
#include "clock.h"
#include "kernels.h"
#include "pool.h"
#include "simd.h"
#include "splat/losses.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kAdamChunk = 8192;  // values of a work item; a multiple of every W

SPLAT_INLINE void adam_vector(const AdamNumbers<real>& numbers, const real* rate,
                              const real* gradient, real* value, real* first, real* second) {
  F m = load(first), v = load(second);
  const F change = adam_step(numbers, load(gradient), m, v);
  store(first, m);
  store(second, v);
  store(value, fnma(load(rate), change, load(value)));
}

static void adam(const Adam& step) {
  StageClock clock;
  const std::ptrdiff_t count = step.rows * step.columns, columns = step.columns;
  const AdamNumbers<real> numbers = {
      real(1 - step.beta1), real(1 - step.beta2), real(1 / step.correction1),
      real(1 / std::sqrt(step.correction2)), real(step.epsilon)};
  // A vector that begins at column c finds its rates at c.
  thread_local Buffer<real> kept;
  real* const rates = kept.resize(columns + W);
  for (std::ptrdiff_t i = 0; i < columns + W; ++i)
    rates[i] = real(i % columns < step.head ? step.rate : step.tail_rate);

  real* const values = static_cast<real*>(step.values);
  const real* const gradient = static_cast<const real*>(step.gradient);
  real* const first = static_cast<real*>(step.first);
  real* const second = static_cast<real*>(step.second);
  parallel_for((count + kAdamChunk - 1) / kAdamChunk, [=](std::ptrdiff_t item) {
    std::ptrdiff_t i = item * kAdamChunk, column = i % columns;
    const std::ptrdiff_t end = least(i + kAdamChunk, count);
    for (const std::ptrdiff_t advance = W % columns; i + W <= end; i += W) {
      adam_vector(numbers, rates + column, gradient + i, values + i, first + i, second + i);
      column += advance;
      if (column >= columns) column -= columns;
    }
    if (i < end) {
      real rest[4][W] = {};
      const real* const from[4] = {gradient + i, values + i, first + i, second + i};
      const std::size_t bytes = (end - i) * sizeof(real);
      for (int k = 0; k < 4; ++k) std::memcpy(rest[k], from[k], bytes);
      adam_vector(numbers, rates + column, rest[0], rest[1], rest[2], rest[3]);
      std::memcpy(values + i, rest[1], bytes);
      std::memcpy(first + i, rest[2], bytes);
      std::memcpy(second + i, rest[3], bytes);
    }
  });
  clock.done(kAdam);
}

}  // namespace splat::SPLAT_ISA
