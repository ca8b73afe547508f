// AVX-512 (F, DQ, BW, VL): 16 floats. Included by simd.h, which says what every set offers.
#pragma once

#if defined(SPLAT_EMULATE_AVX512)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif

namespace splat::SPLAT_ISA {

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

}  // namespace splat::SPLAT_ISA
