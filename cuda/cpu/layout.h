// Tiles, blocks and records: the geometry that sorting and blending agree on.
#pragma once

#include "simd.h"

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace splat::SPLAT_ISA {

// A block is the pixels of one vector. A tile is always 8 x 8 blocks, so that one 64-bit word says
// which blocks of it a Gaussian touches.
constexpr int kBlockW = W == 4 ? 2 : 4;
constexpr int kBlockH = W / kBlockW;
constexpr int kTileW = 8 * kBlockW;
constexpr int kTileH = 8 * kBlockH;

// What blending reads of a Gaussian. At offset (dx, dy) from (u, v), log2(alpha) is
// lo - (n0 dx + n1 dy)^2 - (n2 dy)^2; `projection.h` says why in this form.
// A float cannot hold a screen position to better than 1e-4 of a pixel in a large picture, so the
// whole pixels (u, v) and the rest (du, dv) are apart; a tile adds them up relative to its corner.
struct Record {
  real u, v, du, dv, n0, n1, n2, lo, r, g, b, z;
};
constexpr int kRecordReals = sizeof(Record) / sizeof(real);

SPLAT_INLINE int lowest_bit(uint64_t word) {
#if defined(_MSC_VER)
  unsigned long index;
  _BitScanForward64(&index, word);
  return (int)index;
#else
  return __builtin_ctzll(word);
#endif
}

// Transpose a 64 x 64 bit matrix: bit j of rows[i] becomes bit i of rows[j].
SPLAT_INLINE void transpose_bits(uint64_t* rows) {
  uint64_t mask = 0x00000000FFFFFFFFull;
  for (int width = 32; width; width >>= 1, mask ^= mask << width)
    for (int i = 0; i < 64; i = ((i | width) + 1) & ~width) {
      const uint64_t swap = ((rows[i] >> width) ^ rows[i | width]) & mask;
      rows[i] ^= swap << width;
      rows[i | width] ^= swap;
    }
}

}  // namespace splat::SPLAT_ISA
