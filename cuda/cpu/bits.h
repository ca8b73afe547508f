// Bits of a word, counted without an instruction that not every processor has.
#pragma once

#include "simd.h"

namespace splat::SPLAT_ISA {

SPLAT_INLINE int count_bits(uint64_t word) {
  word -= word >> 1 & 0x5555555555555555ull;
  word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
  return int(word * 0x0101010101010101ull >> 56);
}

}  // namespace splat::SPLAT_ISA
