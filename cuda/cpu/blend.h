// Alpha blending, front to back, block by block: a block keeps its transmittance and colour in
// registers and walks the list of Gaussians that touch it.
#pragma once

#include "tile.h"

namespace splat::SPLAT_ISA {

// What a block of pixels carries through its tile's Gaussians.
struct ForwardBlock {
  alignas(64) real T[W], kept[W], rgb[3][W];
};

struct ForwardState {
  ForwardBlock blocks[64];
  Batch batch;
  alignas(64) real alphas[kBatch][W];  // those of a block
  alignas(64) uint64_t touched[kBatch], drawn[kBatch];
  Buffer<real> extra;      // [kBatch][count]
  Buffer<real> extra_sum;  // [64][count][W]
};

// First what Gaussians are at the block's pixels, then what they add up to: the processor has more
// of two short chains on its way than of one long one. Nothing here branches on a pixel. T goes on
// falling in a finished pixel, so that being above the stop is all there is to being unfinished,
// and what the picture shows (`kept`) leaves T's chain of products alone.
template <bool kExtra>
SPLAT_INLINE bool walk_block(const ExtraChannels& extra, ForwardState& s, int block) {
  const F px = load(kCentres.x[block]), py = load(kCentres.y[block]);
  const F threshold = set1(real(kThresholdLog2)), stop = set1(real(kTransmittanceStop)), cap = set1(real(kMaxAlpha));
  real* alphas = s.alphas[0];
  for (uint64_t todo = s.touched[block]; todo; todo &= todo - 1, alphas += W) {
    const F p = Offset(s.batch.at(lowest_bit(todo)), px, py).log2_alpha;
    store(alphas, zero_unless(p >= threshold, mn(exp2(p), cap)));
  }
  ForwardBlock& state = s.blocks[block];
  F T = load(state.T), kept = load(state.kept);
  F red = load(state.rgb[0]), green = load(state.rgb[1]), blue = load(state.rgb[2]);
  uint64_t drawn = 0;
  alphas = s.alphas[0];
  for (uint64_t todo = s.touched[block]; todo; todo &= todo - 1, alphas += W) {
    const int j = lowest_bit(todo);
    const Placed g = s.batch.at(j);
    const F alpha = load(alphas), left = fnma(alpha, T, T);
    const F w = zero_unless(left > stop, alpha * T);
    kept -= w;
    T = left;
    red = fma(w, set1(g.r), red);
    green = fma(w, set1(g.g), green);
    blue = fma(w, set1(g.b), blue);
    if constexpr (kExtra) {
      const real* values = &s.extra[std::size_t(j) * extra.count];
      real* sums = &s.extra_sum[std::size_t(block) * extra.count * W];
      for (int e = 0; e < extra.count; ++e) store(sums + e * W, fma(w, set1(values[e]), load(sums + e * W)));
    }
    drawn |= uint64_t(any(w > set1(0))) << j;
  }
  s.drawn[block] = drawn;
  store(state.T, T), store(state.kept, kept);
  store(state.rgb[0], red), store(state.rgb[1], green), store(state.rgb[2], blue);
  return any(T > stop);
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
    const int count = tile.place(records, order.rows() + first, end - first, s.batch);
    for (int j = 0; j < count; j += W) touched_blocks(s.batch, j, s.touched + j);
    if constexpr (kExtra)
      for (int j = 0; j < count; ++j) {
        const uint32_t row = order.rows()[first + j];
        extra.gather(records[row], row, &s.extra[std::size_t(j) * extra.count]);
      }
    for (int j = 0; j < kBatch; ++j) s.touched[j] = j < count ? s.touched[j] & open : 0;
    transpose_bits(s.touched);
    fill(s.drawn, s.drawn + kBatch, uint64_t(0));
    for (uint64_t todo = open; todo; todo &= todo - 1) {
      const int b = lowest_bit(todo);
      if (!walk_block<kExtra>(extra, s, b)) open &= ~(uint64_t(1) << b);
    }
    transpose_bits(s.drawn);
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

}  // namespace splat::SPLAT_ISA
