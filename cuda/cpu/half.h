// Adam's moments in memory as vectors: as they are, or as bfloat16.
#pragma once

#include <splat/half.h>

#include "simd.h"

namespace splat::SPLAT_ISA {

SPLAT_INLINE F load_moments(const real* p) { return load(p); }
SPLAT_INLINE void store_moments(real* p, F value, uint32_t) { store(p, value); }

SPLAT_INLINE F load_moments(const Half* p) {
  alignas(64) real t[W];
  for (int i = 0; i < W; ++i) t[i] = real(from_half(p[i]));
  return load(t);
}
SPLAT_INLINE void store_moments(Half* p, F values, uint32_t key) {
  alignas(64) real t[W];
  store(t, values);
  for (int i = 0; i < W; ++i) p[i] = to_half(float(t[i]), key + 2u * uint32_t(i));
}

}  // namespace splat::SPLAT_ISA
