// Which Gaussians a tile draws, front to back.
//
// The visible Gaussians are sorted by depth once; a stable counting sort then deals them to the
// tiles. Both are stable, so that the outcome depends on nothing but the depths: neither on the
// threads nor on the ranges of items that these take.
#pragma once

#if defined(SPLAT_SIMD_DOUBLE)
#include <algorithm>
#endif
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

#include "buffer.h"
#include "layout.h"
#include "pool.h"

namespace splat::SPLAT_ISA {

constexpr int64_t kRowChunk = 512;   // rows per work item; a multiple of every W
constexpr int kMostRanges = 16;      // of the sorts: as many threads have something to do
constexpr int64_t kRangeItems = 4096;  // in a range at least, or its histograms cost more than it does
// Pairs are counted in 32 bits, whose traffic a step is made of; loops over them look this far ahead.
constexpr int64_t kMostPairs = (int64_t(1) << 32) - (1 << 12);

// Tiles that a Gaussian touches, end exclusive; none where it is not visible.
struct Rect {
  uint16_t x0, y0, x1, y1;

  uint32_t count() const { return uint32_t(x1 - x0) * uint32_t(y1 - y0); }
};

// The picture and its tiles.
struct Grid {
  int width, height, columns, rows;

  Grid(int w, int h)
      : width(w), height(h), columns((w + kTileW - 1) / kTileW), rows((h + kTileH - 1) / kTileH) {}
  int64_t tiles() const { return int64_t(columns) * rows; }
};

class Order {
 public:
  // The visible Gaussians by depth; then the tiles they touch.
  void sort(const Buffer<Record>& records, const Buffer<Rect>& rects, int64_t n) {
    collect(records, rects, n);
    sort_by_depth();
  }
  void deal(const Buffer<Rect>& rects, const Grid& grid) {
    const int64_t tiles = grid.tiles();
    const int parts = ranges();
    pair_rows_.resize(pairs_);
    hits_.resize(pairs_);
    slots_.resize(pairs_);
    tile_start_.resize(tiles + 1);
    histogram_.resize(tiles * parts);
    parallel_for(parts, [&](std::ptrdiff_t k) {
      uint32_t* mine = &histogram_[k * tiles];
      fill(mine, mine + tiles, 0u);
      for (int64_t i = range(k); i < range(k + 1); ++i) {
        const Rect rect = rects[keys_[i].row];
        for (int y = rect.y0; y < rect.y1; ++y)
          for (int x = rect.x0; x < rect.x1; ++x) ++mine[y * grid.columns + x];
      }
    });
    uint32_t total = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      tile_start_[tile] = total;
      for (int k = 0; k < parts; ++k) {
        const uint32_t here = histogram_[k * tiles + tile];
        histogram_[k * tiles + tile] = total;
        total += here;
      }
    }
    tile_start_[tiles] = total;
    parallel_for(parts, [&](std::ptrdiff_t k) {
      uint32_t* mine = &histogram_[k * tiles];
      for (int64_t i = range(k); i < range(k + 1); ++i) {
        const uint32_t row = keys_[i].row;
        const Rect rect = rects[row];
        uint32_t slot = first_[row];
        for (int y = rect.y0; y < rect.y1; ++y)
          for (int x = rect.x0; x < rect.x1; ++x) {
            const uint32_t place = mine[y * grid.columns + x]++;
            pair_rows_[place] = row;
            slots_[place] = slot++;
          }
      }
    });
  }

  uint32_t begin(int64_t tile) const { return tile_start_[tile]; }
  uint32_t end(int64_t tile) const { return tile_start_[tile + 1]; }
  // Past the last pair that was drawn: what lies behind an opaque surface comes last.
  uint32_t drawn_end(int64_t tile) const {
    uint32_t found = end(tile);
    while (found > begin(tile) && !hits_[found - 1]) --found;
    return found;
  }
  int64_t pairs() const { return pairs_; }
  const uint32_t* rows() const { return pair_rows_.data(); }       // [pairs] in tile order
  uint64_t* hits() const { return hits_.data(); }                  // [pairs] blocks really drawn
  // The same pairs in the order of rows: pair k of a row is first(row) + k. What backward finds
  // for a pair it leaves there, so that a row's sum is one sequential read.
  const uint32_t* slots() const { return slots_.data(); }          // [pairs] of each pair in tile order
  uint32_t first(int64_t row) const { return first_[row]; }

  int64_t bytes() const {
    return keys_.bytes() + spare_.bytes() + pair_rows_.bytes() + hits_.bytes() + slots_.bytes() +
           first_.bytes() + tile_start_.bytes() + histogram_.bytes();
  }

 private:
#if defined(SPLAT_SIMD_DOUBLE)
  struct Key {
    double depth;
    uint32_t row;
  };
#else
  struct Key {
    uint32_t depth, row;  // the bits of a positive float sort like the float
  };
#endif

  void collect(const Buffer<Record>& records, const Buffer<Rect>& rects, int64_t n) {
    const int64_t chunks = (n + kRowChunk - 1) / kRowChunk;
    visible_.resize(chunks + 1, 0);
    emitted_.resize(chunks + 1, 0);
    parallel_for(chunks, [&](std::ptrdiff_t chunk) {
      int64_t visible = 0, emitted = 0;
      for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; ++i)
        if (const uint32_t count = rects[i].count()) ++visible, emitted += count;
      visible_[chunk + 1] = visible;
      emitted_[chunk + 1] = emitted;
    });
    for (int64_t c = 0; c < chunks; ++c) {
      visible_[c + 1] += visible_[c];
      emitted_[c + 1] += emitted_[c];
    }
    // Before anything is kept that a smaller number of pairs would have to fit.
    if (emitted_[chunks] > kMostPairs) refuse(emitted_[chunks]);
    pairs_ = emitted_[chunks];
    count_ = visible_[chunks];
    keys_.resize(count_);
    first_.resize(n);
    parallel_for(chunks, [&](std::ptrdiff_t chunk) {
      int64_t slot = visible_[chunk], emitted = emitted_[chunk];
      for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; ++i) {
        const uint32_t count = rects[i].count();
        if (!count) continue;
        first_[i] = (uint32_t)emitted;
        emitted += count;
        Key& key = keys_[slot++];
        key.row = (uint32_t)i;
#if defined(SPLAT_SIMD_DOUBLE)
        key.depth = records[i].z;
#else
        std::memcpy(&key.depth, &records[i].z, 4);
#endif
      }
    });
  }

  [[noreturn]] void refuse(int64_t pairs) {
    pairs_ = count_ = 0;
    char words[200];
    std::snprintf(words, sizeof words,
                  "the picture has %lld pairs of a Gaussian and a tile that it touches; expected at most %lld:"
                  " draw it smaller or in parts, or with smaller or fewer Gaussians",
                  (long long)pairs, (long long)kMostPairs);
    throw std::length_error(words);
  }

  int ranges() const { return (int)least<int64_t>(most<int64_t>(count_ / kRangeItems, 1), kMostRanges); }
  int64_t range(int64_t k) const { return count_ * k / ranges(); }

#if defined(SPLAT_SIMD_DOUBLE)
  void sort_by_depth() {
    std::stable_sort(keys_.data(), keys_.data() + count_,
                     [](const Key& a, const Key& b) { return a.depth < b.depth; });
  }
#else
  void sort_by_depth() {
    // A stride of a power of two would map the histograms of all ranges to one set of the cache.
    constexpr int kDigits = 1 << 11, kStride = kDigits + 16;
    spare_.resize(count_);
    const int parts = ranges();
    uint32_t* place = digits_.resize(std::size_t(parts) * kStride);
    for (int shift = 0; shift < 33; shift += 11) {
      const Key* from = keys_.data();
      Key* to = spare_.data();
      parallel_for(parts, [&](std::ptrdiff_t k) {
        uint32_t* mine = &place[k * kStride];
        fill(mine, mine + kDigits, 0u);
        for (int64_t i = range(k); i < range(k + 1); ++i) ++mine[from[i].depth >> shift & (kDigits - 1)];
      });
      uint32_t total = 0;
      for (int digit = 0; digit < kDigits; ++digit)
        for (int k = 0; k < parts; ++k) {
          const uint32_t here = place[k * kStride + digit];
          place[k * kStride + digit] = total;
          total += here;
        }
      parallel_for(parts, [&](std::ptrdiff_t k) {
        uint32_t* mine = &place[k * kStride];
        for (int64_t i = range(k); i < range(k + 1); ++i) to[mine[from[i].depth >> shift & (kDigits - 1)]++] = from[i];
      });
      keys_.swap(spare_);
    }
  }
#endif

  int64_t count_ = 0, pairs_ = 0;
  Buffer<Key> keys_, spare_;
  Buffer<uint32_t> pair_rows_, slots_, first_, tile_start_, histogram_;
  Buffer<uint64_t> hits_;
  Buffer<int64_t> visible_, emitted_;
  Buffer<uint32_t> digits_;
};

}  // namespace splat::SPLAT_ISA
