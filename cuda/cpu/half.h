// Vectors into memory: as they are, or rounded to bfloat16 at random. `load` takes both.
#pragma once

#include <splat/half.h>

#include "simd.h"

namespace splat::SPLAT_ISA {

SPLAT_INLINE void store_rounded(real* p, F value, uint32_t) { store(p, value); }
SPLAT_INLINE void store_rounded(Half* p, F values, uint32_t key) {
  alignas(64) real t[W];
  store(t, values);
  for (int i = 0; i < W; ++i) p[i] = to_half(float(t[i]), key + 2u * uint32_t(i));
}

}  // namespace splat::SPLAT_ISA
