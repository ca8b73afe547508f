// Which tiles a Gaussian touches: those in which a pixel's centre lies within the ellipse at which its
// alpha meets the threshold.
#pragma once

#include "layout.h"

namespace splat::gpu {

struct Span {
  int first, end;  // columns of tiles
};

// Those in one row of tiles of the bounding box. A row cuts a convex piece out of the ellipse, and the
// tiles that the piece's extent in x meets are the ones (`cuda/cpu/tile.h` has it for blocks).
// Two kernels ask, and must get the same answer: each operation is rounded once, whatever is around it.
__device__ __forceinline__ Span span_of(const Record& g, const Rect& rect, int row) {
  const float u = __fadd_rn(__fsub_rn(g.u, float(rect.x0 * kTile)), g.du);
  const float v = __fadd_rn(__fsub_rn(g.v, float(row * kTile)), g.dv);
  const float reach = __fadd_rn(g.lo, float(kLog2Of255) + kSlack);  // |N d|^2 where the threshold is met
  const float shape = __fmaf_rn(g.n1, g.n1, __fmul_rn(g.n2, g.n2));
  const float lean = __fmul_rn(__fdiv_rn(-g.n1, g.n2), __fsqrt_rn(mx(__fdiv_rn(reach, shape), 0.f)));
  const float above = __fsub_rn(.5f, v), below = __fadd_rn(above, float(kTile - 1));
  const float nearest = __fmul_rn(g.n2, mn(mx(0.f, above), below));
  if (!(__fmul_rn(nearest, nearest) <= reach)) return {0, 0};
  const float right_y = mn(mx(lean, above), below), left_y = mn(mx(-lean, above), below);
  const auto half = [&](float y) {
    const float at = __fmul_rn(g.n2, y);
    return __fsqrt_rn(mx(__fmaf_rn(-at, at, reach), 0.f));
  };
  const float right = __fadd_rn(__fadd_rn(u, __fdiv_rn(__fmaf_rn(-g.n1, right_y, half(right_y)), g.n0)), kSlackPixels);
  const float left = __fsub_rn(__fsub_rn(u, __fdiv_rn(__fmaf_rn(g.n1, left_y, half(left_y)), g.n0)), kSlackPixels);
  // What is no number keeps the tile: it is the bounds that a comparison chooses then.
  const float most = float(rect.x1 - rect.x0), per_tile = 1.f / kTile;
  const float first = mn(mx(ceilf(__fmul_rn(__fsub_rn(left, float(kTile) - .5f), per_tile)), 0.f), most);
  const float end = mx(mn(__fadd_rn(floorf(__fmul_rn(__fsub_rn(right, .5f), per_tile)), 1.f), most), 0.f);
  return {rect.x0 + int(first), rect.x0 + int(end)};
}

__device__ __forceinline__ uint32_t tiles_of(const Record& g, const Rect& rect) {
  uint32_t count = 0;
  for (int row = rect.y0; row < rect.y1; ++row) {
    const Span span = span_of(g, rect, row);
    if (span.first < span.end) count += uint32_t(span.end - span.first);
  }
  return count;
}

}  // namespace splat::gpu
