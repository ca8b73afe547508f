// MSVC's header, as far as the kernels ask for it.
#pragma once

#include <cstdint>

inline unsigned char _BitScanForward64(unsigned long* index, uint64_t word) {
  if (word == 0) return 0;
  *index = (unsigned long)__builtin_ctzll(word);
  return 1;
}
