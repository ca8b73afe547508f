// A tile as blending works on it, in both directions: its pixels, a Gaussian's value at them, and which
// blocks of the tile it reaches.
#pragma once

#include "layout.h"

namespace splat::gpu {

// A Gaussian as the pixels of a tile have it: a pixel's offset from the mean in units of the Gaussian's
// own shape is (n0 px + n1 py + x0, n2 py + y0), pixels being told from the middle of the tile: what is
// small has more digits.
struct Placed {
  float x0, y0, n0, n1, n2, lo, r, g, b;
};

struct ScreenTile {
  int left, top;  // its first pixel

  __device__ ScreenTile(const Picture& picture, int index)
      : left(index % picture.columns * kTile), top(index / picture.columns * kTile) {}

  __device__ Placed place(const Record& g) const {
    const float u = (g.u - float(left + kTile / 2)) + g.du, v = (g.v - float(top + kTile / 2)) + g.dv;
    return {-fma(g.n0, u, g.n1 * v), -(g.n2 * v), g.n0, g.n1, g.n2, g.lo, g.r, g.g, g.b};
  }
};

// A lane's pixel of a block: from the tile's first pixel, and its centre from the tile's middle.
__device__ __forceinline__ int column_of(int block, int lane) { return block % 2 * kBlockW + lane % kBlockW; }
__device__ __forceinline__ int row_of(int block, int lane) { return block / 2 * kBlockH + lane / kBlockW; }
__device__ __forceinline__ float centre(int pixel) { return float(pixel - kTile / 2) + .5f; }

// The pixel of each block that a lane has, as numbers in the picture.
struct LanePixels {
  uint32_t first;   // of the first block; a picture of 2^32 pixels fits no card with its gradient
  int width;        // of the picture
  uint32_t inside;  // a bit a block: whether the pixel is one of the picture's

  __device__ LanePixels(const Picture& picture, const ScreenTile& tile, int lane)
      : first(uint32_t(tile.top + row_of(0, lane)) * uint32_t(picture.width) + uint32_t(tile.left + column_of(0, lane))),
        width(picture.width), inside(0) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
      inside |= uint32_t(tile.left + column_of(b, lane) < picture.width && tile.top + row_of(b, lane) < picture.height) << b;
  }
  __device__ bool has(int block) const { return inside >> block & 1; }
  __device__ int64_t at(int block) const {
    return first + uint32_t(row_of(block, 0)) * uint32_t(width) + uint32_t(column_of(block, 0));
  }
};

// The offset of a pixel, and log2(alpha) there. All kernels use this one expression: a pixel near the threshold
// must fall on the same side each time.
struct Offset {
  float x, y, log2_alpha;

  __device__ Offset(const Placed& g, float px, float py) {
    x = fma(g.n0, px, fma(g.n1, py, g.x0));
    y = fma(g.n2, py, g.y0);
    log2_alpha = fnma(x, x, fnma(y, y, g.lo));
  }
  __device__ float alpha() const {
    return log2_alpha >= kThresholdLog2 ? mn(exp2f(log2_alpha), float(kMaxAlpha)) : 0.f;
  }
};

// Whether the ellipse at which alpha meets the threshold may reach a pixel's centre of a block
// (`spans.h` has it for tiles).
__device__ __forceinline__ bool reaches(const Placed& g, int block) {
  const float xa = centre(column_of(block, 0)), ya = centre(row_of(block, 0));
  const float reach = g.lo + (float(kLog2Of255) + kSlack), per_n0 = 1 / g.n0, per_n2 = 1 / g.n2;
  const float v = -g.y0 * per_n2, u = -fma(g.n1, v, g.x0) * per_n0;
  const float above = ya - v, below = above + float(kBlockH - 1);
  const float lean = -(g.n1 * per_n2) * sqrt(mx(reach / fma(g.n1, g.n1, g.n2 * g.n2), 0.f));
  const float nearest = g.n2 * mn(mx(0.f, above), below);
  const float right_y = mn(mx(lean, above), below), left_y = mn(mx(-lean, above), below);
  const auto half = [&](float y) { return sqrt(mx(fnma(g.n2 * y, g.n2 * y, reach), 0.f)); };
  const float right = fma(per_n0, fnma(g.n1, right_y, half(right_y)), u) + kSlackPixels;
  const float left = u - per_n0 * fma(g.n1, left_y, half(left_y)) - kSlackPixels;
  return nearest * nearest <= reach && !(left > xa + float(kBlockW - 1)) && !(right < xa);
}

// Channels beyond RGB: depth (if asked for), then features.
struct ExtraChannels {
  bool depth;
  int features, count;
  const float* values;  // [n, features]

  __host__ __device__ ExtraChannels(const Settings& settings, const Scene& scene)
      : depth(settings.depth), features(scene.feature_count), count(scene.feature_count + (settings.depth ? 1 : 0)),
        values(scene.features) {}
  __device__ float value(const Record& record, int64_t row, int channel) const {
    if (depth && channel == 0) return record.z;
    return values[row * features + channel - (depth ? 1 : 0)];
  }
};

}  // namespace splat::gpu
