// Alpha blending, front to back in both directions.
//
// Forward goes block by block: a block keeps its transmittance and colour in registers and walks
// the list of Gaussians that touch it. Backward goes Gaussian by Gaussian within a tile, so that
// the sums over pixels that make up a Gaussian's gradient stay in registers, too; it again runs
// front to back, with S = what is still to come of v . (colour behind) as its only extra state.
#pragma once

#include "kernels.h"
#include "order.h"
#include "pairs.h"
#include "project.h"

namespace splat::SPLAT_ISA {

constexpr uint32_t kAhead = 6;                  // pairs whose records are asked for before their turn
constexpr int kBatch = 256;                     // Gaussians of a tile handled at a time
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

// Centres of a block's pixels from its corner, and corners of the blocks from the tile's.
struct Offsets {
  alignas(64) real lane_x[W]{}, lane_y[W]{}, block_x[64]{}, block_y[64]{};

  constexpr Offsets() {
    for (int l = 0; l < W; ++l) lane_x[l] = real(l % kBlockW) + real(0.5), lane_y[l] = real(l / kBlockW) + real(0.5);
    for (int b = 0; b < 64; ++b) block_x[b] = real(b % 8 * kBlockW), block_y[b] = real(b / 8 * kBlockH);
  }
};
// A constant of the compiler: nothing of an instruction set may run when the module is loaded.
static constexpr Offsets kOffsets{};

// Offset from a Gaussian's mean in units of its own shape, (x, y) = N (dx, dy), and log2(alpha)
// there. Both directions use this one expression: a lane near the threshold must fall on the same
// side each time.
struct Offset {
  F x, y, log2_alpha;

  Offset(const Record& g, F px, F py) {
    const F dy = py - set1(g.v);
    x = fma(set1(g.n0), px - set1(g.u), set1(g.n1) * dy);
    y = set1(g.n2) * dy;
    log2_alpha = fnma(x, x, fnma(y, y, set1(g.lo)));
  }
};

// What culling reads of a batch of records.
struct Outlines {
  alignas(64) real u[kBatch], v[kBatch], n0[kBatch], n1[kBatch], n2[kBatch], lo[kBatch];

  void set(int j, const Record& g) {
    u[j] = g.u, v[j] = g.v, n0[j] = g.n0, n1[j] = g.n1, n2[j] = g.n2, lo[j] = g.lo;
  }
};

// Which of a tile's 64 blocks hold a point where a Gaussian reaches the threshold, for W of them.
// Each row of blocks cuts a convex piece out of the ellipse; the blocks that the piece's extent in
// x meets are the ones. The ellipse is farthest to the right at dy = lean, to the left at
// dy = -lean, and falls off above and below: within a row of blocks it is farthest at the dy of the
// row nearest to that.
SPLAT_INLINE void touched_blocks(const Outlines& g, int j, uint64_t* words) {
  const F u = load(g.u + j), v = load(g.v + j), n1 = load(g.n1 + j), n2 = load(g.n2 + j), zero = set1(0);
  const F reach = load(g.lo + j) - real(kThresholdLog2 - kSlack);  // |N d|^2 where the threshold is met
  const F lean = -(n1 / n2) * sqrt(reach / fma(n1, n1, n2 * n2)), per_n0 = set1(1) / load(g.n0 + j);
  const F first = set1(real(kBlockW) - real(0.5)), per_block = set1(real(1) / kBlockW);
  // Eight rows of eight columns: 24, 24 and 16 bits, which floats hold exactly.
  constexpr int kRowsAPart = 3;
  F parts[3] = {zero, zero, zero};
  for (int row = 0; row < 8; ++row) {
    const F above = set1(real(row * kBlockH) + real(0.5)) - v, below = above + real(kBlockH - 1);
    const F nearest = n2 * mn(mx(zero, above), below);
    const F right_y = mn(mx(lean, above), below), left_y = mn(mx(-lean, above), below);
    const auto half = [&](F y) { return sqrt(mx(fnma(n2 * y, n2 * y, reach), zero)); };
    const F right = fma(per_n0, fnma(n1, right_y, half(right_y)), u) + real(kSlackPixels);
    const F left = fnma(per_n0, fma(n1, left_y, half(left_y)), u) - real(kSlackPixels);
    const F last_column = mn(floor((right - real(0.5)) * per_block), set1(7));
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

  // The record with its position relative to the tile's corner.
  Record placed(Record g) const {
    g.u = (g.u - real(left)) + g.du;
    g.v = (g.v - real(top)) + g.dv;
    return g;
  }
  // Lanes of a block that lie inside the picture.
  M inside(const Grid& grid, int block) const {
    const F x = load(kOffsets.lane_x) + kOffsets.block_x[block];
    const F y = load(kOffsets.lane_y) + kOffsets.block_y[block];
    return (x < set1(real(grid.width - left))) & (y < set1(real(grid.height - top)));
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
};

// What a block of pixels carries through its tile's Gaussians.
struct ForwardBlock {
  alignas(64) real T[W], kept[W], rgb[3][W];
};

struct ForwardState {
  ForwardBlock blocks[64];
  alignas(64) Record records[kBatch];
  Outlines outlines;
  alignas(64) uint64_t touched[kBatch], drawn[kBatch];
  Buffer<real> extra;      // [kBatch][count]
  Buffer<real> extra_sum;  // [64][count][W]
};

// Nothing here branches on a pixel. T goes on falling in a finished pixel, so that being above the
// stop is all there is to being unfinished, and what the picture shows (`kept`) leaves T's chain of
// products alone: that chain, and mispredicted branches, are what blending waits for.
template <bool kExtra>
SPLAT_INLINE bool walk_block(const ExtraChannels& extra, ForwardState& s, int block) {
  const F px = load(kOffsets.lane_x) + kOffsets.block_x[block];
  const F py = load(kOffsets.lane_y) + kOffsets.block_y[block];
  const F threshold = set1(real(kThresholdLog2)), stop = set1(real(kTransmittanceStop)), cap = set1(real(kMaxAlpha));
  ForwardBlock& state = s.blocks[block];
  F T = load(state.T), kept = load(state.kept);
  F red = load(state.rgb[0]), green = load(state.rgb[1]), blue = load(state.rgb[2]);
  bool open = true;
  for (int word = 0; word < kBatch / 64; ++word) {
    uint64_t drawn = 0;
    for (uint64_t todo = open ? s.touched[word * 64 + block] : 0; todo; todo &= todo - 1) {
      const int j = lowest_bit(todo);
      const Record& g = s.records[word * 64 + j];
      const F p = Offset(g, px, py).log2_alpha;
      const M hit = p >= threshold;
      const F alpha = zero_unless(hit, mn(exp2(p), cap));
      const F left = fnma(alpha, T, T);
      const M unfinished = left > stop;
      const F w = zero_unless(unfinished, alpha * T);
      kept = sel(unfinished, left, kept);
      T = left;
      red = fma(w, set1(g.r), red);
      green = fma(w, set1(g.g), green);
      blue = fma(w, set1(g.b), blue);
      if constexpr (kExtra) {
        const real* values = &s.extra[std::size_t(word * 64 + j) * extra.count];
        real* sums = &s.extra_sum[std::size_t(block) * extra.count * W];
        for (int e = 0; e < extra.count; ++e) store(sums + e * W, fma(w, set1(values[e]), load(sums + e * W)));
      }
      drawn |= uint64_t(any(hit & unfinished)) << j;
    }
    s.drawn[word * 64 + block] = drawn;
    open = open && any(T > stop);
  }
  store(state.T, T), store(state.kept, kept);
  store(state.rgb[0], red), store(state.rgb[1], green), store(state.rgb[2], blue);
  return open;
}

template <bool kExtra>
static void forward_tile(const ExtraChannels& extra, const Order& order, const Buffer<Record>& records,
                         const Grid& grid, int64_t index, const real* background, real* image,
                         real* alpha, real* extra_out) {
  ForwardState& s = own<ForwardState>();
  const ScreenTile tile(grid, index);
  if constexpr (kExtra) {
    s.extra.resize(std::size_t(kBatch) * extra.count);
    s.extra_sum.resize(std::size_t(64) * extra.count * W, real(0));
  }
  uint64_t open = 0;
  for (int b = 0; b < 64; ++b) {
    const M inside = tile.inside(grid, b);
    if (any(inside)) open |= uint64_t(1) << b;
    store(s.blocks[b].T, sel(inside, set1(1), set1(0))), store(s.blocks[b].kept, set1(1));
    for (int c = 0; c < 3; ++c) store(s.blocks[b].rgb[c], set1(0));
  }
  const uint32_t end = order.end(index);
  uint32_t first = order.begin(index);
  for (; first < end && open; first += kBatch) {
    const int count = (int)least<uint32_t>(kBatch, end - first);
    for (int j = 0; j < count; ++j) {
      const uint32_t row = order.rows()[first + j];
      SPLAT_PREFETCH(&records[order.rows()[least(first + j + kAhead, end - 1)]]);
      s.records[j] = tile.placed(records[row]);
      s.outlines.set(j, s.records[j]);
      if constexpr (kExtra) extra.gather(records[row], row, &s.extra[std::size_t(j) * extra.count]);
    }
    for (int j = 0; j < count; j += W) touched_blocks(s.outlines, j, s.touched + j);
    for (int j = 0; j < kBatch; ++j) s.touched[j] = j < count ? s.touched[j] & open : 0;
    for (int word = 0; word < kBatch; word += 64) transpose_bits(s.touched + word);
    fill(s.drawn, s.drawn + kBatch, uint64_t(0));
    for (uint64_t todo = open; todo; todo &= todo - 1) {
      const int b = lowest_bit(todo);
      if (!walk_block<kExtra>(extra, s, b)) open &= ~(uint64_t(1) << b);
    }
    for (int word = 0; word < kBatch; word += 64) transpose_bits(s.drawn + word);
    for (int j = 0; j < count; ++j) order.hits()[first + j] = s.drawn[j];
  }
  for (; first < end; ++first) order.hits()[first] = 0;
  for (int b = 0; b < 64; ++b) {
    ForwardBlock& state = s.blocks[b];
    const F T = load(state.kept);
    for (int c = 0; c < 3; ++c) store(state.rgb[c], fma(T, set1(background[c]), load(state.rgb[c])));
    store(state.kept, set1(1) - T);
    tile.pixels(grid, b, [&](int l, int64_t pixel) {
      for (int c = 0; c < 3; ++c) image[3 * pixel + c] = state.rgb[c][l];
      alpha[pixel] = state.kept[l];
      if constexpr (kExtra)
        for (int e = 0; e < extra.count; ++e)
          extra_out[pixel * extra.count + e] = s.extra_sum[(std::size_t(b) * extra.count + e) * W + l];
    });
  }
}

static void blend_forward(const ExtraChannels& extra, const Order& order, const Buffer<Record>& records,
                          const Grid& grid, const real* background, real* image, real* alpha,
                          real* extra_out) {
  parallel_for(grid.tiles(), [&](std::ptrdiff_t index) {
    if (extra.count)
      forward_tile<true>(extra, order, records, grid, index, background, image, alpha, extra_out);
    else
      forward_tile<false>(extra, order, records, grid, index, background, image, alpha, extra_out);
  });
}

struct BackwardBlock {
  alignas(64) real T[W], S[W], v[3][W];
};

// What one Gaussian is at the pixels of a block.
struct Meeting {
  alignas(64) real alpha[W], x[W], y[W];
  BackwardBlock* block;
};

struct BackwardState {
  BackwardBlock blocks[64];
  Meeting meetings[64];
  Buffer<real> v_extra;  // [64][count][W]
  Buffer<real> values;   // [count] of one Gaussian
  Buffer<real> sums;     // [count][W]
};

// d loss / d pixel of a tile, and S = v . colour - v_alpha T at its start.
template <bool kExtra>
static void load_tile(const ExtraChannels& extra, const Backward& b, const Grid& grid, const ScreenTile& tile,
                      BackwardState& s) {
  const auto *image = static_cast<const real*>(b.image), *alpha = static_cast<const real*>(b.alpha);
  const auto *v_image = static_cast<const real*>(b.v_image), *v_alpha = static_cast<const real*>(b.v_alpha);
  const auto *out = static_cast<const real*>(b.extra), *v_out = static_cast<const real*>(b.v_extra);
  if constexpr (kExtra) s.v_extra.resize(std::size_t(64) * extra.count * W, real(0));
  for (int block = 0; block < 64; ++block) {
    BackwardBlock& state = s.blocks[block];
    store(state.T, sel(tile.inside(grid, block), set1(1), set1(0)));
    alignas(64) real colour[3][W] = {};
    for (int c = 0; c < 3; ++c) store(state.v[c], set1(0));
    if (v_image)
      tile.pixels(grid, block, [&](int l, int64_t pixel) {
        for (int c = 0; c < 3; ++c) state.v[c][l] = v_image[3 * pixel + c], colour[c][l] = image[3 * pixel + c];
      });
    F rest = load(state.v[0]) * load(colour[0]);
    for (int c = 1; c < 3; ++c) rest = fma(load(state.v[c]), load(colour[c]), rest);
    store(state.S, rest);
    if (v_alpha)
      tile.pixels(grid, block, [&](int l, int64_t pixel) { state.S[l] -= v_alpha[pixel] * (1 - alpha[pixel]); });
    if constexpr (kExtra)
      if (v_out)
        tile.pixels(grid, block, [&](int l, int64_t pixel) {
          for (int e = 0; e < extra.count; ++e) {
            const real v = v_out[pixel * extra.count + e];
            s.v_extra[(std::size_t(block) * extra.count + e) * W + l] = v;
            state.S[l] += v * out[pixel * extra.count + e];
          }
        });
  }
}

// A Gaussian of a tile on its way to a gradient record: what it is at each of its blocks, then what
// follows from that, then the sums over lanes. Loops of short chains keep the processor busier than
// one of long chains, and the sums wait until the next Gaussian has begun.
template <bool kExtra, bool kAbsolute>
struct PairBackward {
  const ExtraChannels& extra;
  BackwardState& s;
  F sums[kMoments + 2];
  real* out = nullptr;  // the record that the sums are of

  SPLAT_MEMBER Meeting* meet(const Record& g, uint64_t hits) const {
    const F threshold = set1(real(kThresholdLog2)), cap = set1(real(kMaxAlpha));
    Meeting* end = s.meetings;
    for (; hits; hits &= hits - 1, ++end) {
      const int b = lowest_bit(hits);
      const F px = load(kOffsets.lane_x) + kOffsets.block_x[b];
      const F py = load(kOffsets.lane_y) + kOffsets.block_y[b];
      const Offset d(g, px, py);
      store(end->alpha, zero_unless(d.log2_alpha >= threshold, mn(exp2(d.log2_alpha), cap)));
      store(end->x, d.x), store(end->y, d.y);
      end->block = &s.blocks[b];
    }
    return end;
  }

  SPLAT_MEMBER void accumulate(const Record& g, const Meeting* end) {
    const F stop = set1(real(kTransmittanceStop)), cap = set1(real(kMaxAlpha));
    for (F& value : sums) value = set1(0);
    if constexpr (kExtra) fill(s.sums.data(), s.sums.data() + extra.count * W, real(0));
    for (const Meeting* m = s.meetings; m != end; ++m) {
      BackwardBlock& state = *m->block;
      const F alpha = load(m->alpha), T = load(state.T), left = fnma(alpha, T, T);
      const M unfinished = left > stop;
      const F w = zero_unless(unfinished, alpha * T);
      store(state.T, left);
      const F v0 = load(state.v[0]), v1 = load(state.v[1]), v2 = load(state.v[2]);
      F D = fma(v0, set1(g.r), fma(v1, set1(g.g), v2 * set1(g.b)));
      if constexpr (kExtra) {
        const real* v = &s.v_extra[std::size_t(m->block - s.blocks) * extra.count * W];
        for (int e = 0; e < extra.count; ++e) {
          const F ve = load(v + e * W);
          D = fma(ve, set1(s.values[e]), D);
          store(&s.sums[e * W], fma(w, ve, load(&s.sums[e * W])));
        }
      }
      const F S = fnma(w, D, load(state.S));
      store(state.S, S);
      // d loss / d ln(alpha); nothing where alpha was capped.
      const F g_log = zero_unless(unfinished & (alpha < cap), alpha * fnma(S, recip(set1(1) - alpha), T * D));
      const F x = load(m->x), y = load(m->y), gx = g_log * x, gy = g_log * y;
      sums[0] += g_log;
      sums[1] += gx;
      sums[2] += gy;
      sums[3] = fma(gx, x, sums[3]);
      sums[4] = fma(gx, y, sums[4]);
      sums[5] = fma(gy, y, sums[5]);
      sums[6] = fma(w, v0, sums[6]);
      sums[7] = fma(w, v1, sums[7]);
      sums[8] = fma(w, v2, sums[8]);
      if constexpr (kAbsolute) {
        sums[9] += abs(gx * set1(g.n0));
        sums[10] += abs(fma(gx, set1(g.n1), gy * set1(g.n2)));
      }
    }
    if constexpr (kExtra)
      for (int e = 0; e < extra.count; ++e) out[kMoments + e] = sum(load(&s.sums[e * W]));
  }

  SPLAT_MEMBER void finish() const {
    if (!out) return;
    static_assert(kMoments == 9, "eight sums at once and one alone");
    sum8(sums, out);
    out[8] = sum(sums[8]);
    if constexpr (kAbsolute)
      for (int k = 0; k < 2; ++k) out[kMoments + extra.count + k] = sum(sums[kMoments + k]);
  }
};

template <bool kExtra, bool kAbsolute>
static void backward_tile(const ExtraChannels& extra, const Order& order, const Buffer<Record>& records,
                          const Grid& grid, int64_t index, const Backward& b, PairGradients& out) {
  BackwardState& s = own<BackwardState>();
  const ScreenTile tile(grid, index);
  load_tile<kExtra>(extra, b, grid, tile, s);
  if constexpr (kExtra) s.values.resize(extra.count), s.sums.resize(std::size_t(extra.count) * W);
  PairBackward<kExtra, kAbsolute> pairs{extra, s, {}};
  const uint32_t end = order.end(index);
  for (uint32_t pair = order.begin(index); pair < end; ++pair) {
    const uint32_t ahead = least(pair + kAhead, end - 1);
    SPLAT_PREFETCH(&records[order.rows()[ahead]]);
    out.prefetch(order.slots()[ahead]);
    const uint64_t hits = order.hits()[pair];
    if (!hits) continue;
    const uint32_t row = order.rows()[pair];
    const Record g = tile.placed(records[row]);
    const Meeting* met = pairs.meet(g, hits);
    pairs.finish();
    if constexpr (kExtra) extra.gather(records[row], row, s.values.data());
    pairs.out = out.record(out.place(order.slots()[pair]));
    pairs.accumulate(g, met);
  }
  pairs.finish();
}

static void blend_backward(const ExtraChannels& extra, const Order& order, const Buffer<Record>& records,
                           const Grid& grid, bool absolute, const Backward& b, PairGradients& out) {
  out.fit(order, kMoments + extra.count + (absolute ? 2 : 0));
  parallel_for(grid.tiles(), [&](std::ptrdiff_t index) {
    if (extra.count && absolute)
      backward_tile<true, true>(extra, order, records, grid, index, b, out);
    else if (extra.count)
      backward_tile<true, false>(extra, order, records, grid, index, b, out);
    else if (absolute)
      backward_tile<false, true>(extra, order, records, grid, index, b, out);
    else
      backward_tile<false, false>(extra, order, records, grid, index, b, out);
  });
}

// d loss / d background = sum of v_image T over the pixels, row by row.
static void background_gradient(const Grid& grid, const Backward& b) {
  const auto *alpha = static_cast<const real*>(b.alpha), *v_image = static_cast<const real*>(b.v_image);
  double total[3] = {};
  for (int y = 0; y < grid.height && v_image; ++y) {
    double line[3] = {};
    for (int64_t i = int64_t(y) * grid.width, last = i + grid.width; i < last; ++i)
      for (int c = 0; c < 3; ++c) line[c] += double(v_image[3 * i + c]) * double(1 - alpha[i]);
    for (int c = 0; c < 3; ++c) total[c] += line[c];
  }
  for (int c = 0; c < 3; ++c) static_cast<real*>(b.v_background)[c] = real(total[c]);
}

}  // namespace splat::SPLAT_ISA
