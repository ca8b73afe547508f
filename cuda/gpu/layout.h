// Tiles, blocks and records: the geometry that sorting and blending agree on, and where what lies in
// the memory that is handed over.
#pragma once

#include "scalar.h"

#include <cstddef>
#include <cstdint>

#include "gpu.h"
#include "sorting.h"
#include "splat/projection.h"

namespace splat::gpu {

constexpr int kTile = 16;                  // pixels along a side of a tile
constexpr int kBlockW = 8, kBlockH = 4;    // a block is the pixels of a warp
constexpr int kBlocks = kTile * kTile / (kBlockW * kBlockH);
constexpr int kPixels = kTile * kTile;
constexpr int kChunk = 256;                // pairs of a tile that a warp takes back at a time
constexpr double kLog2Of255 = 7.994353436858858;
constexpr float kThresholdLog2 = float(-kLog2Of255);          // log2 of kAlphaThreshold
constexpr float kSlack = 1e-4f, kSlackPixels = 1e-2f;         // what is this close is kept: log2(alpha), x
constexpr unsigned kEveryLane = ~0u;

// What blending reads of a Gaussian. At offset (dx, dy) from (u, v), log2(alpha) is
// lo - (n0 dx + n1 dy)^2 - (n2 dy)^2; `projection.h` says why in this form.
// A float cannot hold a screen position to better than 1e-4 of a pixel in a large picture, so the
// whole pixels (u, v) and the rest (du, dv) are apart; a tile adds them up relative to its middle.
struct alignas(16) Record {
  float u, v, du, dv, n0, n1, n2, lo, r, g, b, z;
};

// Tiles that a Gaussian's bounding box touches, end exclusive; none where it is not visible.
struct alignas(8) Rect {
  uint16_t x0, y0, x1, y1;
};

struct Picture {
  int width, height, columns, rows;  // of pixels; of tiles

  __host__ __device__ Picture(int w, int h)
      : width(w), height(h), columns((w + kTile - 1) / kTile), rows((h + kTile - 1) / kTile) {}
  __host__ __device__ int tiles() const { return columns * rows; }
};

// Arrays in one piece of memory, one after the other; with none to begin with it says their size.
class Carve {
 public:
  explicit Carve(void* memory) : first_(static_cast<char*>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    T* found = first_ ? reinterpret_cast<T*>(first_ + bytes_) : nullptr;
    bytes_ += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return found;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* first_;
  int64_t bytes_ = 0;
};

struct Rows {
  Record* records;   // [n], written where visible
  Rect* rects;       // [n]
  uint32_t* counts;  // [n] tiles touched
  uint32_t* places;  // [n] visible ones before it; once drawn, the first of its slots
  char* memory;      // for the sum that makes places
  int64_t room;

  Rows(Carve& carve, int64_t n)
      : records(carve.take<Record>(n)), rects(carve.take<Rect>(n)), counts(carve.take<uint32_t>(n)),
        places(carve.take<uint32_t>(n)), room(sum_bytes(n)) {
    memory = carve.take<char>(room);
  }
};

// Pairs of a Gaussian and a tile that it touches, those of a tile together, front to back. A pair's slot
// is its place among those of its Gaussian: what backward finds for it lies there, so that a row's sum is
// one sequential read.
struct Pairs {
  uint32_t* rows;    // [pairs]
  uint32_t* slots;   // [pairs]
  uint8_t* hits;     // [pairs] blocks of the tile in which it was drawn
  uint32_t* starts;  // [tiles + 1] first pair of each tile
  // Chunks of a tile's list after the first, and what blending had reached at the start of each:
  // transmittance, colour and extra channels of every pixel.
  uint32_t* chunk_starts;  // [tiles + 1]
  uint32_t* chunk_tiles;   // [most_chunks]
  float* states;           // [most_chunks, 4 + extra, kPixels]

  Pairs(Carve& carve, int64_t pairs, int tiles, int extra, bool differentiable)
      : rows(carve.take<uint32_t>(pairs)), slots(carve.take<uint32_t>(pairs)), hits(carve.take<uint8_t>(pairs)),
        starts(carve.take<uint32_t>(tiles + 1)), chunk_starts(carve.take<uint32_t>(tiles + 1)),
        chunk_tiles(carve.take<uint32_t>(differentiable ? most_chunks(pairs) : 0)),
        states(carve.take<float>(differentiable ? most_chunks(pairs) * (4 + extra) * kPixels : 0)) {}

  static int64_t most_chunks(int64_t pairs) { return pairs / kChunk; }
};

inline int extra_of(const Settings& settings, const Scene& scene) {
  return (settings.depth ? 1 : 0) + scene.feature_count;
}
inline unsigned blocks_of(int64_t items, int threads) { return unsigned((items + threads - 1) / threads); }
inline cudaStream_t queue_of(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

}  // namespace splat::gpu
