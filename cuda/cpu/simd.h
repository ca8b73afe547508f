// The whole SIMD surface of the kernels: `F` is a vector of W reals, `M` a mask of W lanes.
//
// This header is compiled once per instruction set into its own namespace (SPLAT_ISA). Every
// function is static and inlined, so that the linker can never keep an AVX-512 copy for everybody.
// What the sets share is below. The file of the one chosen defines real, W, M and F, and for them:
// load, store, set1, + - * /, fma (a b + c), fnma (c - a b), mn and mx (the second operand where one
// is not a number), sqrt, abs, floor, recip (to 2^-22), < <= > >= (false for what is not a number),
// & | !, sel (m ? a : b), zero_unless, bits, lanes, scale_by_power (by 2^floor(p)), low_bytes, sum,
// sum8 and transpose.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#define SPLAT_INLINE static __forceinline
#define SPLAT_RESTRICT __restrict
#else
#define SPLAT_INLINE static inline __attribute__((always_inline))
#define SPLAT_RESTRICT __restrict__
#endif

#if defined(SPLAT_SIMD_AVX512)
#include "simd_avx512.h"
#elif defined(SPLAT_SIMD_AVX2)
#include "simd_avx2.h"
#elif defined(SPLAT_SIMD_NEON)
#include "simd_neon.h"
#else
#include "simd_base.h"
#endif

namespace splat::SPLAT_ISA {

SPLAT_INLINE F operator-(F a) { return set1(0) - a; }
SPLAT_INLINE F operator*(real a, F b) { return set1(a) * b; }
SPLAT_INLINE F operator*(F a, real b) { return a * set1(b); }
SPLAT_INLINE F operator+(F a, real b) { return a + set1(b); }
SPLAT_INLINE F operator-(F a, real b) { return a - set1(b); }
SPLAT_INLINE F& operator+=(F& a, F b) { return a = a + b; }
SPLAT_INLINE F& operator-=(F& a, F b) { return a = a - b; }
SPLAT_INLINE bool any(M m) { return bits(m) != 0; }

// 2^p for p in [-126, 127]; relative error 2e-7 (exact to rounding in the double build).
SPLAT_INLINE F exp2(F p) {
#if defined(SPLAT_SIMD_DOUBLE)
  F r;
  for (int i = 0; i < W; ++i) r.v[i] = std::exp2(p.v[i]);
  return r;
#else
  // Minimax on [0, 1), Estrin's order: short chains matter more than the two extra products.
  const F f = p - floor(p), f2 = f * f;
  const F low = fma(set1(6.9315308e-1f), f, set1(0.99999994f));
  const F mid = fma(set1(5.5826318e-2f), f, set1(2.4015361e-1f));
  const F high = fma(set1(1.8775767e-3f), f, set1(8.9893397e-3f));
  return scale_by_power(fma(fma(high, f2, mid), f2, low), p);
#endif
}

}  // namespace splat::SPLAT_ISA
