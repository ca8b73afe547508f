// AVX2 with FMA: 8 floats. Included by simd.h, which says what every set offers.
#pragma once

#include <immintrin.h>

namespace splat::SPLAT_ISA {

using real = float;
constexpr int W = 8;
constexpr bool kManyRegisters = false;
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

#define SPLAT_OWN_SPLIT
// Half a vector holds four neighbouring rows: the other four go the same way beside them.
SPLAT_INLINE __m256 halves(const real* low, const real* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
SPLAT_INLINE void split3(const real* p, F* out) {
  const __m256 a = halves(p, p + 12);          // x0 y0 z0 x1
  const __m256 b = halves(p + 4, p + 16);      // y1 z1 x2 y2
  const __m256 c = halves(p + 8, p + 20);      // z2 x3 y3 z3
  const __m256 yz = _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 2, 1));  // y0 z0 y1 z1
  const __m256 xy = _mm256_shuffle_ps(b, c, _MM_SHUFFLE(2, 1, 3, 2));  // x2 y2 x3 y3
  out[0].v = _mm256_shuffle_ps(a, xy, _MM_SHUFFLE(2, 0, 3, 0));
  out[1].v = _mm256_shuffle_ps(yz, xy, _MM_SHUFFLE(3, 1, 2, 0));
  out[2].v = _mm256_shuffle_ps(yz, c, _MM_SHUFFLE(3, 0, 3, 1));
}
SPLAT_INLINE void merge3(const F* v, real* p) {
  const __m256 x = v[0].v, y = v[1].v, z = v[2].v;
  const __m256 xy = _mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0));  // x0 x2 y0 y2
  const __m256 yz = _mm256_shuffle_ps(y, z, _MM_SHUFFLE(3, 1, 3, 1));  // y1 y3 z1 z3
  const __m256 zx = _mm256_shuffle_ps(z, x, _MM_SHUFFLE(3, 1, 2, 0));  // z0 z2 x1 x3
  const __m256 a = _mm256_shuffle_ps(xy, zx, _MM_SHUFFLE(2, 0, 2, 0));
  const __m256 b = _mm256_shuffle_ps(yz, xy, _MM_SHUFFLE(3, 1, 2, 0));
  const __m256 c = _mm256_shuffle_ps(zx, yz, _MM_SHUFFLE(3, 1, 3, 1));
  for (int half = 0; half < 2; ++half) {
    const auto part = [half](__m256 from) { return half ? _mm256_extractf128_ps(from, 1) : _mm256_castps256_ps128(from); };
    _mm_storeu_ps(p + 12 * half, part(a));
    _mm_storeu_ps(p + 12 * half + 4, part(b));
    _mm_storeu_ps(p + 12 * half + 8, part(c));
  }
}
SPLAT_INLINE void transpose_halves(__m256* v) {  // in each half v[i] lane j <-> v[j] lane i
  const __m256 ab = _mm256_unpacklo_ps(v[0], v[1]), cd = _mm256_unpacklo_ps(v[2], v[3]);
  const __m256 ab_high = _mm256_unpackhi_ps(v[0], v[1]), cd_high = _mm256_unpackhi_ps(v[2], v[3]);
  v[0] = _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0));
  v[1] = _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2));
  v[2] = _mm256_shuffle_ps(ab_high, cd_high, _MM_SHUFFLE(1, 0, 1, 0));
  v[3] = _mm256_shuffle_ps(ab_high, cd_high, _MM_SHUFFLE(3, 2, 3, 2));
}
SPLAT_INLINE void split4(const real* p, F* out) {
  __m256 v[4];
  for (int k = 0; k < 4; ++k) v[k] = halves(p + 4 * k, p + 4 * k + 16);
  transpose_halves(v);
  for (int k = 0; k < 4; ++k) out[k].v = v[k];
}
SPLAT_INLINE void merge4(const F* from, real* p) {
  __m256 v[4];
  for (int k = 0; k < 4; ++k) v[k] = from[k].v;
  transpose_halves(v);
  for (int k = 0; k < 4; ++k) {
    _mm_storeu_ps(p + 4 * k, _mm256_castps256_ps128(v[k]));
    _mm_storeu_ps(p + 4 * k + 16, _mm256_extractf128_ps(v[k], 1));
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
