// Random bits out of a counter: a draw depends on its key alone, never on threads.
#pragma once

#include <cstdint>

#include "losses.h"

namespace splat::SPLAT_ISA {

// Thirty-two bits out of a key and a counter (two rounds of MurmurHash3's finalizer).
SPLAT_HD uint32_t mixed(uint32_t x) {
  x ^= x >> 16, x *= 0x85ebca6bu;
  x ^= x >> 13, x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}
SPLAT_HD uint32_t drawn(uint64_t seed, uint32_t counter) {
  return mixed(mixed(counter * 0x9E3779B1u + uint32_t(seed)) + uint32_t(seed >> 32));
}

}  // namespace splat::SPLAT_ISA
