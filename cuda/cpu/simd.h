// The whole SIMD surface of the kernels: `F` is a vector of W reals, `M` a mask of W lanes.
//
// This header is compiled once per instruction set into its own namespace (SPLAT_ISA). Every
// function is static and inlined, so that the linker can never keep an AVX-512 copy for everybody.
// What the sets share is below. The file of the one chosen defines real, W, M and F, kManyRegisters
// (32 of them, not 16), and for them: load (of reals, or of bfloat16 in their 16 bits), store, set1,
// + - * /, fma (a b + c), fnma (c - a b), mn and mx (the second operand where one is not a number),
// sqrt, abs, floor, recip (to 2^-22), < <= > >= (false for what is not a number), & | !, sel (m ? a :
// b), zero_unless, bits, lanes, scale_by_power (by 2^floor(p)), sum, sum8 and transpose; and, where it
// has better ones than those below, exp2, split3 and its kin.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#define SPLAT_INLINE static __forceinline
#define SPLAT_MEMBER __forceinline
#define SPLAT_PREFETCH(address) (void)(address)
#else
#define SPLAT_INLINE static inline __attribute__((always_inline))
#define SPLAT_MEMBER inline __attribute__((always_inline))
#define SPLAT_PREFETCH(address) __builtin_prefetch(address)
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

#if !defined(SPLAT_OWN_SPLIT)
// out[k] = p[k], p[K + k], ... p[K (W - 1) + k], and back, for K columns.
template <int K>
SPLAT_INLINE void split(const real* p, F* out) {
  for (int k = 0; k < K; ++k) {
    alignas(64) real t[W];
    for (int lane = 0; lane < W; ++lane) t[lane] = p[K * lane + k];
    out[k] = load(t);
  }
}
template <int K>
SPLAT_INLINE void merge(const F* v, real* p) {
  for (int k = 0; k < K; ++k) {
    alignas(64) real t[W];
    store(t, v[k]);
    for (int lane = 0; lane < W; ++lane) p[K * lane + k] = t[lane];
  }
}
SPLAT_INLINE void split3(const real* p, F* out) { split<3>(p, out); }
SPLAT_INLINE void split4(const real* p, F* out) { split<4>(p, out); }
SPLAT_INLINE void merge3(const F* v, real* p) { merge<3>(v, p); }
SPLAT_INLINE void merge4(const F* v, real* p) { merge<4>(v, p); }
#endif

// log2 of a normal positive number; relative error 2e-7 (exact to rounding in the double build).
SPLAT_INLINE F log2(F x) {
  alignas(64) real power[W], mantissa[W];
#if defined(SPLAT_SIMD_DOUBLE)
  store(mantissa, x);
  for (int i = 0; i < W; ++i) power[i] = std::log2(mantissa[i]);
  return load(power);
#else
  // x = 2^power m with m from sqrt(1/2) to sqrt(2); atanh's series in (m - 1) / (m + 1).
  store(mantissa, x);
  for (int i = 0; i < W; ++i) {
    uint32_t word;
    std::memcpy(&word, &mantissa[i], 4);
    const int32_t exponent = int32_t(word - 0x3f3504f3u) >> 23;
    word -= uint32_t(exponent) << 23;
    std::memcpy(&mantissa[i], &word, 4);
    power[i] = real(exponent);
  }
  const F m = load(mantissa), s = (m - set1(1)) / (m + set1(1)), s2 = s * s;
  const real scale = real(2.8853900817779268);  // 2 / ln 2
  F series = fma(s2, set1(scale / 9), set1(scale / 7));
  series = fma(s2, series, set1(scale / 5));
  series = fma(s2, series, set1(scale / 3));
  return fma(s, fma(s2, series, set1(scale)), load(power));
#endif
}

#if !defined(SPLAT_OWN_EXP2)
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
#endif

}  // namespace splat::SPLAT_ISA
