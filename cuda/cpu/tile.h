// A tile as blending works on it, in both directions: its pixels, a Gaussian's value at them, and
// which blocks of the tile it reaches.
#pragma once

#include "kernels.h"
#include "project.h"

namespace splat::SPLAT_ISA {

constexpr uint32_t kAhead = 32, kAheadOut = 6;  // pairs whose records, and sums, are asked for before their turn
constexpr int kBatch = 64;                      // Gaussians of a tile handled at a time: the bits of a word
constexpr double kThresholdLog2 = -kLog2Of255;  // log2 of kAlphaThreshold
constexpr double kSlack = 1e-4, kSlackPixels = 1e-2;  // blocks this close are kept: log2(alpha), x

// Channels beyond RGB: depth (if asked for), then features.
struct ExtraChannels {
  bool depth;
  int features;
  int count;
  const real* values;  // [n, features]

  void gather(const Record& record, int64_t row, real* out) const {
    if (depth) *out++ = record.z;
    for (int f = 0; f < features; ++f) out[f] = values[row * features + f];
  }
};

// Pixels are told from the middle of their tile: what is small has more digits.
constexpr int kMiddleX = kTileW / 2, kMiddleY = kTileH / 2;

// Centres of a tile's pixels, block by block.
struct Centres {
  alignas(64) real x[64][W]{}, y[64][W]{};

  constexpr Centres() {
    for (int b = 0; b < 64; ++b)
      for (int l = 0; l < W; ++l) {
        x[b][l] = real(b % 8 * kBlockW + l % kBlockW - kMiddleX) + real(0.5);
        y[b][l] = real(b / 8 * kBlockH + l / kBlockW - kMiddleY) + real(0.5);
      }
  }
};
// A constant of the compiler: nothing of an instruction set may run when the module is loaded.
static constexpr Centres kCentres{};

// A Gaussian as the pixels of a tile have it: a pixel's offset from the mean in units of the
// Gaussian's own shape is (n0 px + n1 py + x0, n2 py + y0).
struct Placed {
  real x0, y0, n0, n1, n2, lo, r, g, b;
};

// That offset, and log2(alpha) there. Both directions use this one expression: a lane near the
// threshold must fall on the same side each time.
struct Offset {
  F x, y, log2_alpha;

  Offset(const Placed& g, F px, F py) {
    x = fma(set1(g.n0), px, fma(set1(g.n1), py, set1(g.x0)));
    y = fma(set1(g.n2), py, set1(g.y0));
    log2_alpha = fnma(x, x, fnma(y, y, set1(g.lo)));
  }
};

// Many of them, number by number, with their means (u, v): culling reads vectors, blending one.
struct Batch {
  alignas(64) real u[kBatch], v[kBatch], x0[kBatch], y0[kBatch], n0[kBatch], n1[kBatch], n2[kBatch], lo[kBatch];
  alignas(64) real r[kBatch], g[kBatch], b[kBatch];

  Placed at(int j) const { return {x0[j], y0[j], n0[j], n1[j], n2[j], lo[j], r[j], g[j], b[j]}; }
};

// The numbers of W records, number by number.
SPLAT_INLINE void columns_of(const Record* const* records, F* columns) {
  for (int first = 0; first < kRecordReals; first += W) {
    // The last read of narrow vectors overlaps the one before, that of wide ones the next record.
    const int from = most(0, least(first, kRecordReals - W));
    F rows[W];
    for (int lane = 0; lane < W; ++lane) rows[lane] = load(reinterpret_cast<const real*>(records[lane]) + from);
    transpose(rows);
    for (int k = 0; k < W && from + k < kRecordReals; ++k) columns[from + k] = rows[k];
  }
}

// Which of a tile's 64 blocks hold a point where a Gaussian reaches the threshold, for W of them.
// Each row of blocks cuts a convex piece out of the ellipse; the blocks that the piece's extent in
// x meets are the ones. The ellipse is farthest to the right at dy = lean, to the left at
// dy = -lean, and falls off above and below: within a row of blocks it is farthest at the dy of the
// row nearest to that.
SPLAT_INLINE void touched_blocks(const Batch& g, int j, uint64_t* words) {
  const F u = load(g.u + j), v = load(g.v + j), n1 = load(g.n1 + j), n2 = load(g.n2 + j), zero = set1(0);
  const F reach = load(g.lo + j) - real(kThresholdLog2 - kSlack);  // |N d|^2 where the threshold is met
  const F lean = -(n1 / n2) * sqrt(reach / fma(n1, n1, n2 * n2)), per_n0 = set1(1) / load(g.n0 + j);
  const F first = set1(real(kBlockW - kMiddleX) - real(0.5)), per_block = set1(real(1) / kBlockW);
  // Eight rows of eight columns: 24, 24 and 16 bits, which floats hold exactly.
  constexpr int kRowsAPart = 3;
  F parts[3] = {zero, zero, zero};
  for (int row = 0; row < 8; ++row) {
    const F above = set1(real(row * kBlockH - kMiddleY) + real(0.5)) - v, below = above + real(kBlockH - 1);
    const F nearest = n2 * mn(mx(zero, above), below);
    const F right_y = mn(mx(lean, above), below), left_y = mn(mx(-lean, above), below);
    const auto half = [&](F y) { return sqrt(mx(fnma(n2 * y, n2 * y, reach), zero)); };
    const F right = fma(per_n0, fnma(n1, right_y, half(right_y)), u) + real(kSlackPixels);
    const F left = fnma(per_n0, fma(n1, left_y, half(left_y)), u) - real(kSlackPixels);
    const F last_column = mn(floor((right + real(kMiddleX - 0.5)) * per_block), set1(7));
    const F column = mn(mx(-floor((first - left) * per_block), zero), set1(8));
    const M any_column = (nearest * nearest <= reach) & (column <= last_column);
    const F columns = scale_by_power(set1(1), last_column + real(1)) - scale_by_power(set1(1), column);
    F& part = parts[row / kRowsAPart];
    part = fma(zero_unless(any_column, columns), set1(real(1 << 8 * (row % kRowsAPart))), part);
  }
  alignas(64) real bits[3][W];
  for (int k = 0; k < 3; ++k) store(bits[k], parts[k]);
  for (int lane = 0; lane < W; ++lane)
    words[lane] = uint64_t(uint32_t(bits[0][lane])) | uint64_t(uint32_t(bits[1][lane])) << 24 |
                  uint64_t(uint32_t(bits[2][lane])) << 48;
}

struct ScreenTile {
  int left, top;  // its first pixel

  ScreenTile(const Grid& grid, int64_t index)
      : left(int(index % grid.columns) * kTileW), top(int(index / grid.columns) * kTileH) {}

  // Places the first `kBatch` of `total` rows, or all where there are fewer, and says how many; asks
  // for those that follow.
  int place(const Buffer<Record>& records, const uint32_t* rows, uint32_t total, Batch& batch) const {
    const int count = (int)least<uint32_t>(kBatch, total);
    for (int j = 0; j < count; j += W) {
      const Record* some[W];
      for (int lane = 0; lane < W; ++lane) {
        SPLAT_PREFETCH(&records[rows[least<uint32_t>(j + lane + kAhead, total - 1)]]);
        some[lane] = &records[rows[least<uint32_t>(j + lane, total - 1)]];
      }
      place(some, j, batch);
    }
    return count;
  }
  // Lanes of a block that lie inside the picture.
  M inside(const Grid& grid, int block) const {
    return (load(kCentres.x[block]) < set1(real(grid.width - left - kMiddleX))) &
           (load(kCentres.y[block]) < set1(real(grid.height - top - kMiddleY)));
  }
  // Visit the pixels of a block: fn(lane, index of the pixel in the picture).
  template <class Fn>
  void pixels(const Grid& grid, int block, Fn&& fn) const {
    const int bx = left + block % 8 * kBlockW, by = top + block / 8 * kBlockH;
    const int columns = least(kBlockW, grid.width - bx), rows = least(kBlockH, grid.height - by);
    const int64_t first = int64_t(by) * grid.width + bx;
    if (columns == kBlockW && rows == kBlockH) {  // bounds that the compiler knows
      for (int y = 0; y < kBlockH; ++y)
        for (int x = 0; x < kBlockW; ++x) fn(y * kBlockW + x, first + int64_t(y) * grid.width + x);
      return;
    }
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x) fn(y * kBlockW + x, first + int64_t(y) * grid.width + x);
  }

 private:
  void place(const Record* const* records, int j, Batch& batch) const {
    F c[kRecordReals];
    columns_of(records, c);
    const F u = (c[0] - real(left + kMiddleX)) + c[2], v = (c[1] - real(top + kMiddleY)) + c[3];
    const F n0 = c[4], n1 = c[5], n2 = c[6];
    store(batch.u + j, u), store(batch.v + j, v);
    store(batch.x0 + j, -fma(n0, u, n1 * v)), store(batch.y0 + j, -(n2 * v));
    store(batch.n0 + j, n0), store(batch.n1 + j, n1), store(batch.n2 + j, n2), store(batch.lo + j, c[7]);
    store(batch.r + j, c[8]), store(batch.g + j, c[9]), store(batch.b + j, c[10]);
  }
};

// Weights of a picture's pixels, by which blending weights are multiplied before they are summed.
struct PixelMaps {
  const real* values;  // [h, w, count]
  int count;

  // Those of a tile as [64][count][W], 0 outside of the picture.
  void load(const Grid& grid, const ScreenTile& tile, Buffer<real>& out) const {
    out.resize(std::size_t(64) * count * W, real(0));
    for (int block = 0; block < 64; ++block)
      tile.pixels(grid, block, [&](int l, int64_t pixel) {
        for (int k = 0; k < count; ++k)
          out[(std::size_t(block) * count + k) * W + l] = values[pixel * count + k];
      });
  }
};

}  // namespace splat::SPLAT_ISA
