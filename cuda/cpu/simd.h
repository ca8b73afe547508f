// The whole SIMD surface of the kernels: `F` is a vector of W reals, `M` a mask of W lanes.
//
// This header is compiled once per instruction set into its own namespace (SPLAT_ISA). Every
// function is static and inlined, so that the linker can never keep an AVX-512 copy for everybody.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(SPLAT_SIMD_AVX512) || defined(SPLAT_SIMD_AVX2)
#if defined(SPLAT_EMULATE_AVX512)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif
#endif

#if defined(_MSC_VER)
#define SPLAT_INLINE static __forceinline
#define SPLAT_RESTRICT __restrict
#else
#define SPLAT_INLINE static inline __attribute__((always_inline))
#define SPLAT_RESTRICT __restrict__
#endif

namespace splat::SPLAT_ISA {

#if defined(SPLAT_SIMD_AVX512)

using real = float;
constexpr int W = 16;
struct M {
  __mmask16 m;
};
struct F {
  __m512 v;
};

SPLAT_INLINE F load(const real* p) { return {_mm512_loadu_ps(p)}; }
SPLAT_INLINE void store(real* p, F a) { _mm512_storeu_ps(p, a.v); }
SPLAT_INLINE F set1(real a) { return {_mm512_set1_ps(a)}; }
SPLAT_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
SPLAT_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
SPLAT_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
SPLAT_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
SPLAT_INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
SPLAT_INLINE F fnma(F a, F b, F c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
SPLAT_INLINE F mn(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
SPLAT_INLINE F mx(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
SPLAT_INLINE F sqrt(F a) { return {_mm512_sqrt_ps(a.v)}; }
SPLAT_INLINE F abs(F a) { return {_mm512_abs_ps(a.v)}; }
SPLAT_INLINE F floor(F a) { return {_mm512_floor_ps(a.v)}; }
SPLAT_INLINE F recip(F a) {
  // Estimate and one Newton step: relative error below 2^-23.
  const __m512 r = _mm512_rcp14_ps(a.v);
  return {_mm512_mul_ps(r, _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(2.f)))};
}
SPLAT_INLINE M operator<(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
SPLAT_INLINE M operator<=(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
SPLAT_INLINE M operator>(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
SPLAT_INLINE M operator>=(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
SPLAT_INLINE M operator&(M a, M b) { return {(__mmask16)(a.m & b.m)}; }
SPLAT_INLINE M operator|(M a, M b) { return {(__mmask16)(a.m | b.m)}; }
SPLAT_INLINE M operator!(M a) { return {(__mmask16)~a.m}; }
SPLAT_INLINE F sel(M m, F a, F b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }  // m ? a : b
SPLAT_INLINE F zero_unless(M m, F a) { return {_mm512_maskz_mov_ps(m.m, a.v)}; }
SPLAT_INLINE uint32_t bits(M m) { return m.m; }
SPLAT_INLINE M lanes(uint32_t b) { return {(__mmask16)b}; }
SPLAT_INLINE F scale_by_power(F mantissa, F p) { return {_mm512_scalef_ps(mantissa.v, p.v)}; }
SPLAT_INLINE uint64_t low_bytes(F a) {  // the first 8 lanes, whole numbers below 256, as bytes
  return (uint64_t)_mm_cvtsi128_si64(_mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a.v)));
}
SPLAT_INLINE real sum(F a) {
  const __m256 o = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 h = _mm_add_ps(_mm256_castps256_ps128(o), _mm256_extractf128_ps(o, 1));
  const __m128 q = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
SPLAT_INLINE void sum8(const F* v, real* out) {  // out[i] = sum(v[i]), halving vectors and widths alike
  __m512 a[4], b[2];
  for (int i = 0; i < 4; ++i)
    a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i].v, v[2 * i + 1].v, 0x44),
                         _mm512_shuffle_f32x4(v[2 * i].v, v[2 * i + 1].v, 0xEE));
  for (int i = 0; i < 2; ++i)
    b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x88),
                         _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xDD));
  const __m512 c = _mm512_add_ps(_mm512_shuffle_ps(b[0], b[1], 0x44), _mm512_shuffle_ps(b[0], b[1], 0xEE));
  // Quarter q holds two parts of the sum q, then two of the sum 4 + q.
  const __m512 d = _mm512_add_ps(c, _mm512_permute_ps(c, 0xB1));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(order, d)));
}
SPLAT_INLINE void transpose(F* v) {  // v[i] lane j <-> v[j] lane i
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(v[i].v, v[i + 1].v);
    a[i + 1] = _mm512_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xEE);
    b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
  }
  // Quarter q of b[4 g + r] holds lane 4 q + r of the four vectors of group g.
  for (int r = 0; r < 4; ++r) {
    const __m512 low01 = _mm512_shuffle_f32x4(b[r], b[4 + r], 0x44);
    const __m512 high01 = _mm512_shuffle_f32x4(b[r], b[4 + r], 0xEE);
    const __m512 low23 = _mm512_shuffle_f32x4(b[8 + r], b[12 + r], 0x44);
    const __m512 high23 = _mm512_shuffle_f32x4(b[8 + r], b[12 + r], 0xEE);
    v[r].v = _mm512_shuffle_f32x4(low01, low23, 0x88);
    v[4 + r].v = _mm512_shuffle_f32x4(low01, low23, 0xDD);
    v[8 + r].v = _mm512_shuffle_f32x4(high01, high23, 0x88);
    v[12 + r].v = _mm512_shuffle_f32x4(high01, high23, 0xDD);
  }
}

#elif defined(SPLAT_SIMD_AVX2)

using real = float;
constexpr int W = 8;
struct M {
  __m256 m;
};
struct F {
  __m256 v;
};

SPLAT_INLINE F load(const real* p) { return {_mm256_loadu_ps(p)}; }
SPLAT_INLINE void store(real* p, F a) { _mm256_storeu_ps(p, a.v); }
SPLAT_INLINE F set1(real a) { return {_mm256_set1_ps(a)}; }
SPLAT_INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
SPLAT_INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
SPLAT_INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
SPLAT_INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
SPLAT_INLINE F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
SPLAT_INLINE F fnma(F a, F b, F c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
SPLAT_INLINE F mn(F a, F b) { return {_mm256_min_ps(a.v, b.v)}; }
SPLAT_INLINE F mx(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
SPLAT_INLINE F sqrt(F a) { return {_mm256_sqrt_ps(a.v)}; }
SPLAT_INLINE F abs(F a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.f), a.v)}; }
SPLAT_INLINE F floor(F a) { return {_mm256_floor_ps(a.v)}; }
SPLAT_INLINE F recip(F a) {
  // Estimate and one Newton step: relative error below 2^-22.
  const __m256 r = _mm256_rcp_ps(a.v);
  return {_mm256_mul_ps(r, _mm256_fnmadd_ps(a.v, r, _mm256_set1_ps(2.f)))};
}
SPLAT_INLINE M operator<(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
SPLAT_INLINE M operator<=(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
SPLAT_INLINE M operator>(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
SPLAT_INLINE M operator>=(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
SPLAT_INLINE M operator&(M a, M b) { return {_mm256_and_ps(a.m, b.m)}; }
SPLAT_INLINE M operator|(M a, M b) { return {_mm256_or_ps(a.m, b.m)}; }
SPLAT_INLINE M operator!(M a) {
  return {_mm256_xor_ps(a.m, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
SPLAT_INLINE F sel(M m, F a, F b) { return {_mm256_blendv_ps(b.v, a.v, m.m)}; }  // m ? a : b
SPLAT_INLINE F zero_unless(M m, F a) { return {_mm256_and_ps(m.m, a.v)}; }
SPLAT_INLINE uint32_t bits(M m) { return (uint32_t)_mm256_movemask_ps(m.m); }
SPLAT_INLINE M lanes(uint32_t b) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return {_mm256_castsi256_ps(
      _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)b), bit), bit))};
}
SPLAT_INLINE F scale_by_power(F mantissa, F p) {
  const __m256i power = _mm256_cvttps_epi32(_mm256_floor_ps(p.v));
  return {_mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(mantissa.v), _mm256_slli_epi32(power, 23)))};
}
SPLAT_INLINE uint64_t low_bytes(F a) {  // all 8 lanes, whole numbers below 256, as bytes
  const __m256i whole = _mm256_cvttps_epi32(a.v);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
SPLAT_INLINE real sum(F a) {
  const __m128 h = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 q = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
SPLAT_INLINE void sum8(const F* v, real* out) {  // out[i] = sum(v[i]), halving vectors and widths alike
  __m256 a[4];
  for (int i = 0; i < 4; ++i)
    a[i] = _mm256_add_ps(_mm256_permute2f128_ps(v[i].v, v[i + 4].v, 0x20),
                         _mm256_permute2f128_ps(v[i].v, v[i + 4].v, 0x31));
  const __m256 b = _mm256_hadd_ps(a[0], a[1]), c = _mm256_hadd_ps(a[2], a[3]);
  _mm256_storeu_ps(out, _mm256_hadd_ps(b, c));
}
SPLAT_INLINE void transpose(F* v) {  // v[i] lane j <-> v[j] lane i
  __m256 a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm256_permute2f128_ps(v[i].v, v[i + 4].v, 0x20);
    a[i + 4] = _mm256_permute2f128_ps(v[i].v, v[i + 4].v, 0x31);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      b[i + 2 * k] = _mm256_unpacklo_ps(a[i + k], a[i + k + 2]);
      b[i + 2 * k + 1] = _mm256_unpackhi_ps(a[i + k], a[i + k + 2]);
    }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      v[i + 2 * k].v = _mm256_unpacklo_ps(b[i + k], b[i + k + 2]);
      v[i + 2 * k + 1].v = _mm256_unpackhi_ps(b[i + k], b[i + k + 2]);
    }
}

#else  // plain C++: the baseline of every machine, and the double build that gradients are tested with

#if defined(SPLAT_SIMD_DOUBLE)
using real = double;
using lane_bits = uint64_t;
#else
using real = float;
using lane_bits = uint32_t;
#endif
constexpr int W = 4;
#define SPLAT_LANES for (int i = 0; i < W; ++i)
#if defined(__GNUC__)  // GCC and Clang turn these into vectors of whatever the machine has

typedef real Reals __attribute__((vector_size(W * sizeof(real))));
typedef decltype(Reals{} < Reals{}) Lanes;
struct M {
  Lanes m;  // all ones or all zeros
};
struct F {
  Reals v;
};

SPLAT_INLINE F load(const real* p) {
  F r;
  std::memcpy(&r.v, p, sizeof r.v);
  return r;
}
SPLAT_INLINE void store(real* p, F a) { std::memcpy(p, &a.v, sizeof a.v); }
SPLAT_INLINE F set1(real a) { return {Reals{a, a, a, a}}; }
SPLAT_INLINE F operator+(F a, F b) { return {a.v + b.v}; }
SPLAT_INLINE F operator-(F a, F b) { return {a.v - b.v}; }
SPLAT_INLINE F operator*(F a, F b) { return {a.v * b.v}; }
SPLAT_INLINE F operator/(F a, F b) { return {a.v / b.v}; }
SPLAT_INLINE F mn(F a, F b) { return {a.v < b.v ? a.v : b.v}; }
SPLAT_INLINE F mx(F a, F b) { return {a.v > b.v ? a.v : b.v}; }
SPLAT_INLINE M operator<(F a, F b) { return {a.v < b.v}; }
SPLAT_INLINE M operator<=(F a, F b) { return {a.v <= b.v}; }
SPLAT_INLINE M operator>(F a, F b) { return {a.v > b.v}; }
SPLAT_INLINE M operator>=(F a, F b) { return {a.v >= b.v}; }
SPLAT_INLINE M operator&(M a, M b) { return {a.m & b.m}; }
SPLAT_INLINE M operator|(M a, M b) { return {a.m | b.m}; }
SPLAT_INLINE M operator!(M a) { return {~a.m}; }
SPLAT_INLINE F sel(M m, F a, F b) { return {m.m ? a.v : b.v}; }  // m ? a : b
SPLAT_INLINE F zero_unless(M m, F a) { return {(Reals)(m.m & (Lanes)a.v)}; }

#else

struct M {
  lane_bits m[W];  // all ones or all zeros
};
struct F {
  real v[W];
};

SPLAT_INLINE F load(const real* p) {
  F r;
  SPLAT_LANES r.v[i] = p[i];
  return r;
}
SPLAT_INLINE void store(real* p, F a) { SPLAT_LANES p[i] = a.v[i]; }
SPLAT_INLINE F set1(real a) {
  F r;
  SPLAT_LANES r.v[i] = a;
  return r;
}
#define SPLAT_MAP2(name, expression)   \
  SPLAT_INLINE F name(F a, F b) {      \
    F r;                               \
    SPLAT_LANES r.v[i] = (expression); \
    return r;                          \
  }
SPLAT_MAP2(operator+, a.v[i] + b.v[i])
SPLAT_MAP2(operator-, a.v[i] - b.v[i])
SPLAT_MAP2(operator*, a.v[i] * b.v[i])
SPLAT_MAP2(operator/, a.v[i] / b.v[i])
SPLAT_MAP2(mn, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
SPLAT_MAP2(mx, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
#undef SPLAT_MAP2
#define SPLAT_COMPARE(op)                                                 \
  SPLAT_INLINE M operator op(F a, F b) {                                  \
    M r;                                                                  \
    SPLAT_LANES r.m[i] = a.v[i] op b.v[i] ? ~lane_bits(0) : lane_bits(0); \
    return r;                                                             \
  }
SPLAT_COMPARE(<)
SPLAT_COMPARE(<=)
SPLAT_COMPARE(>)
SPLAT_COMPARE(>=)
#undef SPLAT_COMPARE
SPLAT_INLINE M operator&(M a, M b) {
  SPLAT_LANES a.m[i] &= b.m[i];
  return a;
}
SPLAT_INLINE M operator|(M a, M b) {
  SPLAT_LANES a.m[i] |= b.m[i];
  return a;
}
SPLAT_INLINE M operator!(M a) {
  SPLAT_LANES a.m[i] = ~a.m[i];
  return a;
}
SPLAT_INLINE F sel(M m, F a, F b) {  // m ? a : b
  F r;
  SPLAT_LANES r.v[i] = m.m[i] ? a.v[i] : b.v[i];
  return r;
}
SPLAT_INLINE F zero_unless(M m, F a) {
  F r;
  SPLAT_LANES r.v[i] = m.m[i] ? a.v[i] : real(0);
  return r;
}

#endif

#define SPLAT_MAP1(name, expression)   \
  SPLAT_INLINE F name(F a) {           \
    F r;                               \
    SPLAT_LANES r.v[i] = (expression); \
    return r;                          \
  }
SPLAT_MAP1(sqrt, std::sqrt(a.v[i]))
SPLAT_MAP1(abs, std::fabs(a.v[i]))
SPLAT_MAP1(floor, std::floor(a.v[i]))
#undef SPLAT_MAP1
SPLAT_INLINE F recip(F a) { return set1(1) / a; }
SPLAT_INLINE F fma(F a, F b, F c) { return a * b + c; }
SPLAT_INLINE F fnma(F a, F b, F c) { return c - a * b; }
SPLAT_INLINE uint32_t bits(M m) {
  uint32_t b = 0;
  SPLAT_LANES b |= (uint32_t)(m.m[i] & 1) << i;
  return b;
}
SPLAT_INLINE M lanes(uint32_t b) {
  M r;
  SPLAT_LANES r.m[i] = (b >> i & 1) ? ~lane_bits(0) : lane_bits(0);
  return r;
}
SPLAT_INLINE F scale_by_power(F mantissa, F p) {
  F r;
#if defined(SPLAT_SIMD_DOUBLE)
  SPLAT_LANES r.v[i] = std::ldexp(mantissa.v[i], (int)std::floor(p.v[i]));
#else
  SPLAT_LANES {
    // A lane of a vector has no address (Clang refuses to take one).
    real lane = mantissa.v[i];
    uint32_t u;
    std::memcpy(&u, &lane, 4);
    u += (uint32_t)(int32_t)std::floor(p.v[i]) << 23;
    std::memcpy(&lane, &u, 4);
    r.v[i] = lane;
  }
#endif
  return r;
}
SPLAT_INLINE uint64_t low_bytes(F a) {  // all lanes, whole numbers below 256, as bytes
  uint64_t word = 0;
  SPLAT_LANES word |= (uint64_t)a.v[i] << (8 * i);
  return word;
}
SPLAT_INLINE real sum(F a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
SPLAT_INLINE void sum8(const F* v, real* out) {  // out[i] = sum(v[i])
  for (int i = 0; i < 8; ++i) out[i] = sum(v[i]);
}
SPLAT_INLINE void transpose(F* v) {  // v[i] lane j <-> v[j] lane i
  for (int j = 0; j < W; ++j)
    for (int i = 0; i < j; ++i) {
      const real kept = v[i].v[j];
      v[i].v[j] = v[j].v[i];
      v[j].v[i] = kept;
    }
}
#undef SPLAT_LANES

#endif

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
