// AVX2 with FMA: 8 floats. Included by simd.h, which says what every set offers.
#pragma once

#include <immintrin.h>

namespace splat::SPLAT_ISA {

using real = float;
constexpr int W = 8;
struct M {
  __m256 m;
};
struct F {
  __m256 v;
};

SPLAT_INLINE F load(const real* p) { return {_mm256_loadu_ps(p)}; }
SPLAT_INLINE F load(const uint16_t* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))};
}
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

#define SPLAT_OWN_EXP2
// As simd_avx512.h says, with 8ths from the table and a cubic. Relative error 1e-7.
SPLAT_INLINE F exp2(F p) {
  const __m256 whole = _mm256_set1_ps(1572864.f);  // 1.5 * 2^20
  const __m256i entries = _mm256_setr_epi32(0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3,
                                            0x3f75672a, 0x3f7744fd, 0x3f7ac0c7);
  const __m256 sum = _mm256_add_ps(p.v, whole);
  const __m256 rest = _mm256_sub_ps(p.v, _mm256_sub_ps(sum, whole));
  const __m256i steps = _mm256_castps_si256(sum);
  const __m256 power = _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_permutevar8x32_epi32(entries, steps), _mm256_slli_epi32(steps, 20)));
  const __m256 bend = _mm256_fmadd_ps(rest, _mm256_set1_ps(0.055509317f), _mm256_set1_ps(0.24025469f));
  const __m256 slope = _mm256_fmadd_ps(rest, bend, _mm256_set1_ps(0.69314718f));
  return {_mm256_fmadd_ps(_mm256_mul_ps(power, rest), slope, power)};
}

}  // namespace splat::SPLAT_ISA
