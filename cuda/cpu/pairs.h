// What a walk over the tiles leaves for each pair of a Gaussian and a tile, and its sum over a
// Gaussian's pairs.
#pragma once

#include "columns.h"
#include "tile.h"
#include "order.h"

namespace splat::SPLAT_ISA {

constexpr int kMoments = 9;  // per pair: sums of g, g x, g y, g x^2, g x y, g y^2, and w v_rgb

// What a walk leaves for each pair that was drawn (in a dense picture, one in three), in the order
// of rows.
class PairSums {
 public:
  int stride = 0;

  // Room for the pairs of a picture that has been drawn.
  void fit(const Order& order, int stride_) {
    stride = stride_;
    constexpr int64_t kChunk = 1 << 14;
    const int64_t pairs = order.pairs(), chunks = (pairs + kChunk - 1) / kChunk;
    place_.resize(pairs + 1);
    starts_.resize(chunks + 1);
    const auto over = [&](auto&& visit) {
      parallel_for(chunks, [&](std::ptrdiff_t c) { visit(c, c * kChunk, least(pairs, (c + 1) * kChunk)); });
    };
    over([&](int64_t, int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) place_[order.slots()[p]] = order.hits()[p] != 0;
    });
    over([&](int64_t c, int64_t first, int64_t last) {
      int64_t drawn = 0;
      for (int64_t slot = first; slot < last; ++slot) drawn += place_[slot];
      starts_[c + 1] = drawn;
    });
    starts_[0] = 0;
    for (int64_t c = 0; c < chunks; ++c) starts_[c + 1] += starts_[c];
    over([&](int64_t c, int64_t first, int64_t last) {
      uint32_t next = (uint32_t)starts_[c];
      for (int64_t slot = first; slot < last; ++slot) {
        const uint32_t drawn = place_[slot];
        place_[slot] = next;
        next += drawn;
      }
    });
    place_[pairs] = (uint32_t)starts_[chunks];
    sums_.resize(std::size_t(starts_[chunks]) * stride + W);  // the last record may be read as whole vectors
  }

  // Records before that of a slot; those of the slots [a, b) are [place(a), place(b)).
  uint32_t place(int64_t slot) const { return place_[slot]; }
  void prefetch(int64_t slot) const { SPLAT_PREFETCH(&place_[slot]); }
  real* record(int64_t place) const { return sums_.data() + place * stride; }
  int64_t bytes() const { return sums_.bytes() + place_.bytes() + starts_.bytes(); }

 private:
  Buffer<real> sums_;       // [drawn pairs, stride]
  Buffer<uint32_t> place_;  // [pairs + 1]
  Buffer<int64_t> starts_;
};

// The sum of the records of each row's pairs, in the order of tiles: moments[k] of W rows, for as
// many k as `stride` and up to a whole vector. Which lanes have a pair is returned as bits.
class MomentSums {
 public:
  uint32_t gather(const Order& order, const Buffer<Rect>& rects, const PairSums& pairs, int64_t i, int lanes_here) {
    const int vectors = (pairs.stride + W - 1) / W, columns = vectors * W;
    real* rows = rows_.resize(std::size_t(columns) * W);
    uint32_t drawn = 0;
    for (int lane = 0; lane < W; ++lane) {
      real* row = rows + lane * columns;
      for (int k = 0; k < vectors; ++k) store(row + k * W, set1(0));
      const uint32_t count = lane < lanes_here ? rects[i + lane].count() : 0;
      if (!count) continue;
      const uint32_t first = order.first(i + lane);
      const uint32_t begin = pairs.place(first), end = pairs.place(first + count);
      if (begin == end) continue;
      drawn |= 1u << lane;
      for (int k = 0; k < vectors; ++k) {
        F sum = set1(0);
        for (uint32_t pair = begin; pair < end; ++pair) sum += load(pairs.record(pair) + k * W);
        store(row + k * W, sum);
      }
    }
    if (!drawn) return 0;
    real* sums = moments_.resize(std::size_t(columns) * W);
    for (int k = 0; k < columns; k += W) {
      F v[W];
      for (int lane = 0; lane < W; ++lane) v[lane] = load(rows + lane * columns + k);
      transpose(v);
      for (int c = 0; c < W; ++c) store(sums + (k + c) * W, v[c]);
    }
    return drawn;
  }
  const real (*moments() const)[W] { return reinterpret_cast<const real(*)[W]>(moments_.data()); }

 private:
  Buffer<real> rows_;     // [W][columns]
  Buffer<real> moments_;  // [columns][W]
};

// fn(pair, its Gaussian, the blocks it was drawn on) for what was drawn in a tile, front to back.
template <class Fn>
SPLAT_INLINE void each_drawn(const Order& order, const Buffer<Record>& records, const ScreenTile& tile,
                             int64_t index, const PairSums& sums, Batch& batch, Fn&& fn) {
  const uint32_t end = order.drawn_end(index);
  for (uint32_t first = order.begin(index); first < end; first += kBatch) {
    const int count = tile.place(records, order.rows() + first, end - first, batch);
    for (int j = 0; j < count; ++j) {
      const uint32_t pair = first + j;
      sums.prefetch(order.slots()[least(pair + kAheadOut, end - 1)]);
      if (const uint64_t hits = order.hits()[pair]) fn(pair, batch.at(j), hits);
    }
  }
}

}  // namespace splat::SPLAT_ISA
