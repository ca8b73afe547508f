// What each Gaussian did in a picture that has been drawn: front to back again, Gaussian by Gaussian
// within a tile as in `blend_backward.h`, so that the sums over its pixels stay in registers.
#pragma once

#include "tile.h"
#include "pairs.h"

namespace splat::SPLAT_ISA {

// Over the pixels in which blending draws it, with w = alpha T: the rows of Survey::scores.
enum Score {
  kMass,         // sum of w
  kHits,         // their number
  kTransmitted,  // sum of T
  kSquared,      // sum over channels, too, of (d colour / d G)^2 with alpha = opacity G before its cap
  kMost,         // largest w
  kScores        // from here on, sums of the maps times w
};

// A row's number as the bits of a real: lanes choose among such, and no row is rounded.
SPLAT_INLINE real as_mark(uint32_t row) {
  real mark = 0;
  std::memcpy(&mark, &row, sizeof row);
  return mark;
}
SPLAT_INLINE uint32_t of_mark(real mark) {
  uint32_t row;
  std::memcpy(&row, &mark, sizeof row);
  return row;
}

SPLAT_INLINE real largest(F a) {
  alignas(64) real t[W];
  store(t, a);
  for (int half = W / 2; half; half /= 2)
    for (int l = 0; l < half; ++l) t[l] = t[l] < t[l + half] ? t[l + half] : t[l];
  return t[0];
}

// `rest` is what is still to come of the colour, background and all; `mark` is 1 + the row of `most`.
struct SurveyBlock {
  alignas(64) real T[W], rest[3][W], most[W], mark[W];
};

struct SurveyMeeting {
  alignas(64) real alpha[W];  // then w
  int block;
};

struct SurveyState {
  SurveyBlock blocks[64];
  SurveyMeeting meetings[64];
  Batch batch;
  Buffer<real> maps;  // [64][count][W]
};

struct PairSurvey {
  SurveyState& s;
  int maps;

  SPLAT_MEMBER SurveyMeeting* meet(const Placed& g, uint64_t hits) const {
    const F threshold = set1(real(kThresholdLog2)), cap = set1(real(kMaxAlpha));
    SurveyMeeting* end = s.meetings;
    for (; hits; hits &= hits - 1, ++end) {
      end->block = lowest_bit(hits);
      const F p = Offset(g, load(kCentres.x[end->block]), load(kCentres.y[end->block])).log2_alpha;
      store(end->alpha, zero_unless(p >= threshold, mn(exp2(p), cap)));
    }
    return end;
  }

  SPLAT_MEMBER void accumulate(const Placed& g, uint32_t row, SurveyMeeting* end, real* out) const {
    const F stop = set1(real(kTransmittanceStop)), cap = set1(real(kMaxAlpha)), zero = set1(0), one = set1(1);
    const F rgb[3] = {set1(g.r), set1(g.g), set1(g.b)}, mark = set1(as_mark(row + 1));
    F mass = zero, hits = zero, transmitted = zero, squared = zero, most = zero;
    for (SurveyMeeting* m = s.meetings; m != end; ++m) {
      SurveyBlock& state = s.blocks[m->block];
      const F alpha = load(m->alpha), T = load(state.T), left = fnma(alpha, T, T);
      const M hit = (left > stop) & (alpha > zero);
      const F w = zero_unless(hit, alpha * T);
      store(state.T, left), store(m->alpha, w);
      mass += w;
      hits += zero_unless(hit, one);
      transmitted += zero_unless(hit, T);
      most = mx(most, w);
      const F before = load(state.most);
      const M stronger = w > before;  // of equals the nearest one stays
      store(state.most, sel(stronger, w, before));
      store(state.mark, sel(stronger, mark, load(state.mark)));
      // d colour / d alpha = T (its own - what lies behind); the rest is T (1 - alpha) x what lies behind.
      const F left_over = recip(one - alpha);
      F square = zero;
      for (int c = 0; c < 3; ++c) {
        const F rest = fnma(w, rgb[c], load(state.rest[c]));
        store(state.rest[c], rest);
        const F slope = fnma(rest, left_over, T * rgb[c]);
        square = fma(slope, slope, square);
      }
      squared += zero_unless(hit & (alpha < cap), square);
    }
    const F opacity = exp2(set1(g.lo));  // as drawn: with the antialiasing compensation
    out[kMass] = sum(mass), out[kHits] = sum(hits), out[kTransmitted] = sum(transmitted);
    out[kSquared] = sum(opacity * opacity * squared);
    out[kMost] = largest(most);
    for (int k = 0; k < maps; ++k) {
      F total = zero;
      for (const SurveyMeeting* m = s.meetings; m != end; ++m)
        total = fma(load(m->alpha), load(&s.maps[(std::size_t(m->block) * maps + k) * W]), total);
      out[kScores + k] = sum(total);
    }
  }
};

static void survey_tile(const PixelMaps& maps, const Order& order, const Buffer<Record>& records, const Grid& grid,
                        int64_t index, const real* image, int32_t* strongest, PairSums& out) {
  SurveyState& s = own<SurveyState>();
  const ScreenTile tile(grid, index);
  for (int b = 0; b < 64; ++b) {
    SurveyBlock& state = s.blocks[b];
    store(state.T, sel(tile.inside(grid, b), set1(1), set1(0)));
    store(state.most, set1(0)), store(state.mark, set1(0));
    for (int c = 0; c < 3; ++c) store(state.rest[c], set1(0));
    tile.pixels(grid, b, [&](int l, int64_t pixel) {
      for (int c = 0; c < 3; ++c) state.rest[c][l] = image[3 * pixel + c];
    });
  }
  if (maps.count) maps.load(grid, tile, s.maps);
  const PairSurvey pairs{s, maps.count};
  each_drawn(order, records, tile, index, out, s.batch, [&](uint32_t pair, const Placed& g, uint64_t hits) {
    pairs.accumulate(g, order.rows()[pair], pairs.meet(g, hits), out.record(out.place(order.slots()[pair])));
  });
  for (int b = 0; b < 64; ++b)
    tile.pixels(grid, b, [&](int l, int64_t pixel) {
      strongest[pixel] = int32_t(of_mark(s.blocks[b].mark[l])) - 1;
    });
}

static void survey_tiles(const Order& order, const Buffer<Record>& records, const Grid& grid, const Survey& call,
                         PairSums& out) {
  const PixelMaps maps{static_cast<const real*>(call.maps), call.map_count};
  out.fit(order, kScores + maps.count);
  parallel_for(grid.tiles(), [&](std::ptrdiff_t index) {
    survey_tile(maps, order, records, grid, index, static_cast<const real*>(call.image), call.strongest, out);
  });
}

// A row's scores over its tiles, in their order: sums, and the largest of `kMost`.
static void survey_rows(const Order& order, const Buffer<Rect>& rects, const PairSums& pairs, int64_t n, real* scores) {
  parallel_for((n + kRowChunk - 1) / kRowChunk, [&](std::ptrdiff_t chunk) {
    for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; ++i) {
      const uint32_t count = rects[i].count(), first = count ? order.first(i) : 0;
      const uint32_t begin = count ? pairs.place(first) : 0, end = count ? pairs.place(first + count) : 0;
      for (int k = 0; k < pairs.stride; ++k) {
        real total = 0;
        for (uint32_t pair = begin; pair < end; ++pair) {
          const real value = pairs.record(pair)[k];
          total = k == kMost ? most(total, value) : total + value;
        }
        scores[k * n + i] = total;
      }
    }
  });
}

}  // namespace splat::SPLAT_ISA
