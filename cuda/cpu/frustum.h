// Which anchors may show in a picture: those whose offsets reach into what the camera sees.
#pragma once

#include "activate.h"
#include "bits.h"
#include "layout.h"

namespace splat::SPLAT_ISA {

constexpr int64_t kFrustumWords = 64;  // of 64 rows each, of a work item

// Bits of W rows from `row` on, of which `here` exist.
SPLAT_INLINE uint64_t seen_rows(const Frustum& s, int64_t row, int here) {
  const double* m = s.view.world_to_camera;
  F p[3], of_camera[3], reach[3];
  load_columns(static_cast<const real*>(s.positions) + 3 * row, 3, 3, here, p);
  for (int k = 0; k < 3; ++k, m += 4)
    of_camera[k] = fma(set1(real(m[0])), p[0], fma(set1(real(m[1])), p[1], fma(set1(real(m[2])), p[2], set1(real(m[3])))));
  const F z = of_camera[2], zero = set1(0);
  const M before = (z > set1(real(s.near))) & lanes(here == W ? (1u << W) - 1 : (1u << here) - 1);
  if (!any(before)) return 0;
  load_columns(static_cast<const real*>(s.reach) + 6 * row, 6, 3, here, reach);
  const F longest = mx(reach[0], mx(reach[1], reach[2]));
  // All of it times z: none of the comparisons needs the quotient.
  const F pad = real(3 * (s.view.fx > s.view.fy ? s.view.fx : s.view.fy)) * exp(longest);
  const F u = fma(set1(real(s.view.fx)), of_camera[0], real(s.view.cx) * z) + pad;
  const F v = fma(set1(real(s.view.fy)), of_camera[1], real(s.view.cy) * z) + pad;
  const F twice = pad + pad, width = set1(real(s.view.width)), height = set1(real(s.view.height));
  return bits(before & (u >= zero) & (v >= zero) & (u <= fma(width, z, twice)) & (v <= fma(height, z, twice)));
}

static int64_t in_frustum(const Frustum& s) {
  StageClock clock;
  const int64_t words = (s.n + 63) / 64, items = (words + kFrustumWords - 1) / kFrustumWords;
  parallel_for(items, [&](std::ptrdiff_t item) {
    for (int64_t word = item * kFrustumWords; word < least(words, (item + 1) * kFrustumWords); ++word) {
      uint64_t seen = 0;
      for (int k = 0; k < 64; k += W) {
        const int64_t row = 64 * word + k;
        if (row < s.n) seen |= seen_rows(s, row, (int)least<int64_t>(W, s.n - row)) << k;
      }
      s.seen[word] = seen;
    }
  });
  int64_t count = 0;
  for (int64_t word = 0; word < words; ++word) count += count_bits(s.seen[word]);
  clock.done(kDecode);
  return count;
}

// The rows whose bits are set, in order.
static void frustum_rows(const FrustumRows& f) {
  StageClock clock;
  int64_t* next = f.rows;
  for (int64_t word = 0; word < (f.n + 63) / 64; ++word)
    for (uint64_t rest = f.seen[word]; rest; rest &= rest - 1) *next++ = 64 * word + lowest_bit(rest);
  clock.done(kDecode);
}

}  // namespace splat::SPLAT_ISA
