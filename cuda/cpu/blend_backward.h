// The gradients of blending, front to back again, Gaussian by Gaussian within a tile, so that the
// sums over pixels that make up a Gaussian's gradient stay in registers. The only state beyond
// transmittance is S = what is still to come of v . (colour behind).
#pragma once

#include "tile.h"
#include "pairs.h"

namespace splat::SPLAT_ISA {

struct BackwardBlock {
  alignas(64) real T[W], S[W], v[3][W];
};

// What one Gaussian is at the pixels of a block: its alpha and blending weight there, the offset in
// units of its shape, and d loss / d ln(alpha).
struct Meeting {
  alignas(64) real alpha[W], x[W], y[W], w[W], g[W];
  BackwardBlock* block;
};

struct BackwardState {
  BackwardBlock blocks[64];
  Meeting meetings[64];
  Batch batch;
  Buffer<real> v_extra;  // [64][count][W]
  Buffer<real> values;   // [count] of one Gaussian
  Buffer<real> sums;     // [count][W]
  Buffer<real> maps;     // [64][maps][W]
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

constexpr int kHeldMaps = 2;  // of which the sums lie in registers beside the gradient's

// A Gaussian of a tile on its way to a gradient record: what it is at each of its blocks, then what
// follows from that, then the sums over lanes. Loops of short chains keep the processor busier than
// one of long chains, and the sums wait until the next Gaussian has begun. What follows and its sums
// over blocks are one loop where registers hold both (sixteen do not). `kMaps` is the number of maps
// up to `kHeldMaps`, which stands for more as well.
template <bool kExtra, bool kAbsolute, int kMaps>
struct PairBackward {
  const ExtraChannels& extra;
  const PixelMaps& maps;
  BackwardState& s;
  F sums[kMoments + 2], weighed[kHeldMaps];
  real* out = nullptr;  // the record that the sums are of

  SPLAT_MEMBER Meeting* meet(const Placed& g, uint64_t hits) const {
    const F threshold = set1(real(kThresholdLog2)), cap = set1(real(kMaxAlpha));
    Meeting* end = s.meetings;
    for (; hits; hits &= hits - 1, ++end) {
      const int b = lowest_bit(hits);
      const Offset d(g, load(kCentres.x[b]), load(kCentres.y[b]));
      store(end->alpha, zero_unless(d.log2_alpha >= threshold, mn(exp2(d.log2_alpha), cap)));
      store(end->x, d.x), store(end->y, d.y);
      end->block = &s.blocks[b];
    }
    return end;
  }

  SPLAT_MEMBER void accumulate(const Placed& g, Meeting* end) {
    const F stop = set1(real(kTransmittanceStop)), cap = set1(real(kMaxAlpha));
    for (F& value : sums) value = set1(0);
    for (F& value : weighed) value = set1(0);
    if constexpr (kExtra) fill(s.sums.data(), s.sums.data() + extra.count * W, real(0));
    for (Meeting* m = s.meetings; m != end; ++m) {
      BackwardBlock& state = *m->block;
      const F alpha = load(m->alpha), T = load(state.T), left = fnma(alpha, T, T);
      const M unfinished = left > stop;
      const F w = zero_unless(unfinished, alpha * T);
      store(state.T, left);
      if constexpr (kMaps > 0) {
        const real* map = &s.maps[std::size_t(m->block - s.blocks) * maps.count * W];
        for (int k = 0; k < kMaps; ++k) weighed[k] = fma(w, load(map + k * W), weighed[k]);
      }
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
      // Nothing where alpha was capped.
      const F g_log = zero_unless(unfinished & (alpha < cap), alpha * fnma(S, recip(set1(1) - alpha), T * D));
      if constexpr (kManyRegisters) add(g, *m, g_log, w);
      if constexpr (!kManyRegisters) store(m->g, g_log);
      if constexpr (!kManyRegisters || kMaps == kHeldMaps) store(m->w, w);
    }
    if constexpr (!kManyRegisters)
      for (const Meeting* m = s.meetings; m != end; ++m) add(g, *m, load(m->g), load(m->w));
    if constexpr (kExtra)
      for (int e = 0; e < extra.count; ++e) out[kMoments + e] = sum(load(&s.sums[e * W]));
    if constexpr (kMaps == kHeldMaps)
      for (int k = kHeldMaps; k < maps.count; ++k) {
        F total = set1(0);
        for (const Meeting* m = s.meetings; m != end; ++m)
          total = fma(load(m->w), load(&s.maps[(std::size_t(m->block - s.blocks) * maps.count + k) * W]), total);
        mapped()[k] = sum(total);
      }
  }

  SPLAT_MEMBER void add(const Placed& g, const Meeting& m, F g_log, F w) {
    const F x = load(m.x), y = load(m.y), gx = g_log * x, gy = g_log * y;
    sums[0] += g_log;
    sums[1] += gx;
    sums[2] += gy;
    sums[3] = fma(gx, x, sums[3]);
    sums[4] = fma(gx, y, sums[4]);
    sums[5] = fma(gy, y, sums[5]);
    for (int c = 0; c < 3; ++c) sums[6 + c] = fma(w, load(m.block->v[c]), sums[6 + c]);
    if constexpr (kAbsolute) {
      sums[9] += abs(gx * set1(g.n0));
      sums[10] += abs(fma(gx, set1(g.n1), gy * set1(g.n2)));
    }
  }

  SPLAT_MEMBER void finish() const {
    if (!out) return;
    static_assert(kMoments == 9, "eight sums at once and one alone");
    sum8(sums, out);
    out[8] = sum(sums[8]);
    if constexpr (kAbsolute)
      for (int k = 0; k < 2; ++k) out[kMoments + extra.count + k] = sum(sums[kMoments + k]);
    for (int k = 0; k < kMaps; ++k) mapped()[k] = sum(weighed[k]);
  }

  // Where the record has the maps' sums.
  SPLAT_MEMBER real* mapped() const { return out + kMoments + extra.count + (kAbsolute ? 2 : 0); }
};

template <bool kExtra, bool kAbsolute, int kMaps>
static void backward_tile(const ExtraChannels& extra, const PixelMaps& maps, const Order& order,
                          const Buffer<Record>& records, const Grid& grid, int64_t index, const Backward& b,
                          PairSums& out) {
  BackwardState& s = own<BackwardState>();
  const ScreenTile tile(grid, index);
  load_tile<kExtra>(extra, b, grid, tile, s);
  if constexpr (kExtra) s.values.resize(extra.count), s.sums.resize(std::size_t(extra.count) * W);
  if constexpr (kMaps > 0) maps.load(grid, tile, s.maps);
  PairBackward<kExtra, kAbsolute, kMaps> pairs{extra, maps, s, {}, {}};
  each_drawn(order, records, tile, index, out, s.batch, [&](uint32_t pair, const Placed& g, uint64_t hits) {
    Meeting* met = pairs.meet(g, hits);
    pairs.finish();
    if constexpr (kExtra) {
      const uint32_t row = order.rows()[pair];
      extra.gather(records[row], row, s.values.data());
    }
    pairs.out = out.record(out.place(order.slots()[pair]));
    pairs.accumulate(g, met);
  });
  pairs.finish();
}

template <bool kExtra, bool kAbsolute>
static void backward_tiles(const ExtraChannels& extra, const PixelMaps& maps, const Order& order,
                           const Buffer<Record>& records, const Grid& grid, const Backward& b, PairSums& out) {
  parallel_for(grid.tiles(), [&](std::ptrdiff_t index) {
    if (maps.count >= kHeldMaps)
      backward_tile<kExtra, kAbsolute, kHeldMaps>(extra, maps, order, records, grid, index, b, out);
    else if (maps.count)
      backward_tile<kExtra, kAbsolute, 1>(extra, maps, order, records, grid, index, b, out);
    else
      backward_tile<kExtra, kAbsolute, 0>(extra, maps, order, records, grid, index, b, out);
  });
}

static void blend_backward(const ExtraChannels& extra, const Order& order, const Buffer<Record>& records,
                           const Grid& grid, bool absolute, const Backward& b, PairSums& out) {
  const PixelMaps maps{static_cast<const real*>(b.maps), b.map_count};
  out.fit(order, kMoments + extra.count + (absolute ? 2 : 0) + maps.count);
  if (extra.count && absolute)
    backward_tiles<true, true>(extra, maps, order, records, grid, b, out);
  else if (extra.count)
    backward_tiles<true, false>(extra, maps, order, records, grid, b, out);
  else if (absolute)
    backward_tiles<false, true>(extra, maps, order, records, grid, b, out);
  else
    backward_tiles<false, false>(extra, maps, order, records, grid, b, out);
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
