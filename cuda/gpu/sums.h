// What a walk over the tiles leaves for each pair that was drawn, and its sum over a Gaussian's pairs:
// in a fixed order, where atomic additions of floats would make each run another.
#pragma once

#include "layout.h"

namespace splat::gpu {

// Per pair: sums of g, g x, g y, g x^2, g x y, g y^2, w v_rgb, and of absolute values (two), one unused.
constexpr int kMoments = 9, kAbsolute = 9, kHead = 12;
constexpr int kView = 15;  // gradients of a camera: [R | t], then its centre

struct PairSums {
  int stride;       // floats of a record
  float* records;   // [pairs, stride] by slot, written where drawn
  uint8_t* drawn;   // [pairs] by slot
  float* views;     // [warps of rows, kView]
  double* lines;    // [kLines, 3] of the background's gradient

  static constexpr int kLines = 256;

  PairSums(Carve& carve, int64_t n, int64_t pairs, int columns)
      : stride(kHead + (columns + 3) / 4 * 4), records(carve.take<float>(pairs * stride)),
        drawn(carve.take<uint8_t>(pairs)), views(carve.take<float>((n + 31) / 32 * kView)),
        lines(carve.take<double>(3 * kLines)) {}
};

// Eight sums over a warp by ten shuffles; lane 4 k has the k-th.
__device__ __forceinline__ float sum8(float* s, int lane) {
#pragma unroll
  for (int half = 4, bit = 16; half; half /= 2, bit /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const bool upper = lane & bit;
      const float send = upper ? s[i] : s[i + half], keep = upper ? s[i + half] : s[i];
      s[i] = keep + __shfl_xor_sync(kEveryLane, send, bit);
    }
  s[0] += __shfl_xor_sync(kEveryLane, s[0], 2);
  s[0] += __shfl_xor_sync(kEveryLane, s[0], 1);
  return s[0];
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int bit = 16; bit; bit /= 2) value += __shfl_xor_sync(kEveryLane, value, bit);
  return value;
}

// The sums of kCount columns from `column` on over the pairs of each lane's row, whose slots begin at
// `first`; whether any was drawn. Rows of few pairs are added up by their lane, one pair after the other,
// those of many by the warp. All lanes call.
template <int kCount>
__device__ bool row_sums(const PairSums& sums, uint32_t first, uint32_t count, int column, float* total) {
  constexpr uint32_t kFew = 32;
  const int lane = threadIdx.x % 32;
  bool drawn = false;
#pragma unroll
  for (int c = 0; c < kCount; ++c) total[c] = 0;
  const auto add = [&](uint32_t slot, float* to) {
    if (!sums.drawn[slot]) return false;
    const float* record = sums.records + int64_t(slot) * sums.stride + column;
#pragma unroll
    for (int c = 0; c < kCount; ++c) to[c] += record[c];
    return true;
  };
  if (count <= kFew)
    for (uint32_t k = 0; k < count; ++k) drawn |= add(first + k, total);
  for (uint32_t todo = __ballot_sync(kEveryLane, count > kFew); todo; todo &= todo - 1) {
    const int whose = __ffs(int(todo)) - 1;
    const uint32_t from = __shfl_sync(kEveryLane, first, whose), many = __shfl_sync(kEveryLane, count, whose);
    float part[kCount] = {};
    bool some = false;
    for (uint32_t k = lane; k < many; k += 32) some |= add(from + k, part);
    some = __any_sync(kEveryLane, some);
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const float whole = warp_sum(part[c]);
      if (lane == whose) total[c] = whole;
    }
    if (lane == whose) drawn = some;
  }
  return drawn;
}

}  // namespace splat::gpu
