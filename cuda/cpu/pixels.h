// What is done pixel by pixel: colours through an affine map, as a photo's exposure changes them, and
// the way back; where a picture is wrong.
#pragma once

#include "clock.h"
#include "columns.h"
#include "kernels.h"
#include "pool.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kPixels = 4096;  // of a work item; a multiple of every W

// fn(pixel, count) W pixels at a time, in work items; the last ones may be fewer.
template <class Fn>
SPLAT_INLINE void pixel_item(std::ptrdiff_t item, int64_t pixels, Fn&& fn) {
  const int64_t end = least<int64_t>(pixels, (item + 1) * kPixels);
  for (int64_t i = item * kPixels; i < end; i += W) fn(i, (int)least<int64_t>(W, end - i));
}

static void tone(const Tone& t) {
  StageClock clock;
  const auto* image = static_cast<const real*>(t.image);
  auto* out = static_cast<real*>(t.out);
  F map[12];
  for (int k = 0; k < 12; ++k) map[k] = set1(real(t.map[k]));
  parallel_for((t.pixels + kPixels - 1) / kPixels, [&](std::ptrdiff_t item) {
    pixel_item(item, t.pixels, [&](int64_t i, int count) {
      F x[3], y[3];
      load_columns(image + 3 * i, 3, 3, count, x);
      for (int c = 0; c < 3; ++c) {
        y[c] = map[4 * c + 3];
        for (int k = 2; k >= 0; --k) y[c] = fma(map[4 * c + k], x[k], y[c]);
      }
      store_columns(y, 3, count, out + 3 * i, 3);
    });
  });
  clock.done(kOther);
}

static void tone_backward(const ToneGradients& t) {
  StageClock clock;
  const auto *image = static_cast<const real*>(t.image), *v_out = static_cast<const real*>(t.v_out);
  auto* v_image = static_cast<real*>(t.v_image);
  F map[12];
  for (int k = 0; k < 12; ++k) map[k] = set1(real(t.map[k]));
  const std::ptrdiff_t items = (t.pixels + kPixels - 1) / kPixels;
  thread_local Buffer<double> kept;
  double* const parts = kept.resize(std::size_t(items) * 12);
  parallel_for(items, [&](std::ptrdiff_t item) {
    F sums[12];
    for (F& total : sums) total = set1(0);
    pixel_item(item, t.pixels, [&](int64_t i, int count) {
      F x[3], v[3], back[3];
      load_columns(image + 3 * i, 3, 3, count, x);
      load_columns(v_out + 3 * i, 3, 3, count, v);
      if (count < W)
        for (F& value : v) value = zero_unless(lanes((1u << count) - 1), value);
      for (int k = 0; k < 3; ++k) back[k] = fma(map[k], v[0], fma(map[4 + k], v[1], map[8 + k] * v[2]));
      if (v_image) store_columns(back, 3, count, v_image + 3 * i, 3);
      for (int c = 0; c < 3; ++c) {
        for (int k = 0; k < 3; ++k) sums[4 * c + k] = fma(v[c], x[k], sums[4 * c + k]);
        sums[4 * c + 3] += v[c];
      }
    });
    for (int k = 0; k < 12; ++k) parts[item * 12 + k] = double(sum(sums[k]));
  });
  for (int k = 0; k < 12; ++k) t.v_map[k] = 0;
  for (std::ptrdiff_t item = 0; item < items; ++item)
    for (int k = 0; k < 12; ++k) t.v_map[k] += parts[item * 12 + k];
  clock.done(kOther);
}

static void errors(const Errors& e) {
  StageClock clock;
  const auto *image = static_cast<const real*>(e.image), *target = static_cast<const real*>(e.target);
  auto* out = static_cast<real*>(e.out);
  const F third = set1(real(1.0 / 3));
  parallel_for((e.pixels + kPixels - 1) / kPixels, [&](std::ptrdiff_t item) {
    alignas(64) real line[3 * W];
    pixel_item(item, e.pixels, [&](int64_t i, int count) {
      F x[3], y[3];
      load_columns(image + 3 * i, 3, 3, count, x);
      if (e.bytes) {
        if (count < W) fill(line, line + 3 * W, real(0));
        for (int k = 0; k < 3 * count; ++k) line[k] = real(e.bytes[3 * i + k]) / real(255);
        load_columns(line, 3, 3, W, y);
      } else {
        load_columns(target + 3 * i, 3, 3, count, y);
      }
      const F error = (abs(x[0] - y[0]) + abs(x[1] - y[1]) + abs(x[2] - y[2])) * third;
      store_columns(&error, 1, count, out + i, 1);
    });
  });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
