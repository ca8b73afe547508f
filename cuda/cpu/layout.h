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
// whole pixels (u, v) and the rest (du, dv) are apart; a tile adds them up relative to its middle.
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

// One step of transposing: blocks of kWidth x kWidth bits off the diagonal change places.
template <int kWidth>
SPLAT_INLINE void swap_bits(uint64_t* rows, uint64_t mask) {
  for (int first = 0; first < 64; first += 2 * kWidth)
    for (int i = first; i < first + kWidth; ++i) {
      const uint64_t swap = ((rows[i] >> kWidth) ^ rows[i + kWidth]) & mask;
      rows[i] ^= swap << kWidth;
      rows[i + kWidth] ^= swap;
    }
}

// Transpose a 64 x 64 bit matrix: bit j of rows[i] becomes bit i of rows[j].
SPLAT_INLINE void transpose_bits(uint64_t* rows) {
  swap_bits<32>(rows, 0x00000000FFFFFFFFull);
  swap_bits<16>(rows, 0x0000FFFF0000FFFFull);
  swap_bits<8>(rows, 0x00FF00FF00FF00FFull);
  swap_bits<4>(rows, 0x0F0F0F0F0F0F0F0Full);
  swap_bits<2>(rows, 0x3333333333333333ull);
  swap_bits<1>(rows, 0x5555555555555555ull);
}

}  // namespace splat::SPLAT_ISA
