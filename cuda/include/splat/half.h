// bfloat16, the upper half of a float, rounded up or down at random so that the mean is right.
//
// It has 8 bits of mantissa, and Adam's second moment moves by a thousandth of itself at a step:
// rounded to the nearest it would never move. The draw depends on a key alone, never on threads.
#pragma once

#include <cstdint>
#include <cstring>

#include "losses.h"

namespace splat::SPLAT_ISA {

using Half = uint16_t;

// What sets Adam's draws for values apart from those for moments.
constexpr uint32_t kValueKeys = 0x6A09E667u;

// Sixteen random bits of a key (a multiply-xorshift hash).
SPLAT_HD uint32_t random_bits(uint32_t key) {
  key *= 0x9E3779B1u;
  key ^= key >> 15;
  key *= 0x85EBCA77u;
  return key >> 16;
}
SPLAT_HD float from_half(Half half) {
  const uint32_t word = uint32_t(half) << 16;
  float value;
  memcpy(&value, &word, 4);
  return value;
}
SPLAT_HD Half to_half(float value, uint32_t key) {
  uint32_t word;
  memcpy(&word, &value, 4);
  return Half((word + random_bits(key)) >> 16);
}

}  // namespace splat::SPLAT_ISA
