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
constexpr bool kManyRegisters = true;
struct M {
  __mmask16 m;
};
struct F {
  __m512 v;
};

SPLAT_INLINE F load(const real* p) { return {_mm512_loadu_ps(p)}; }
SPLAT_INLINE F load(const uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}
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
  const __m512 d = _mm512_add_ps(c, _mm512_shuffle_ps(c, c, 0xB1));
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

#define SPLAT_OWN_SPLIT
// Which of two neighbouring vectors (element 16 on is the second's) holds what: element e of the
// whole is picked where it lies in the first two, and lane l is kept or taken from a third.
struct Picks {
  alignas(64) int split3[3][2][16]{}, split4[4][16]{}, merge3[3][2][16]{}, merge4[4][16]{};

  constexpr Picks() {
    for (int k = 0; k < 3; ++k)
      for (int l = 0; l < 16; ++l) {
        const int e = 3 * l + k, from = (16 * k + l) % 3, lane = (16 * k + l) / 3;
        split3[k][0][l] = e < 32 ? e : 0, split3[k][1][l] = e < 32 ? l : e - 16;
        merge3[k][0][l] = from < 2 ? 16 * from + lane : 0, merge3[k][1][l] = from < 2 ? l : 16 + lane;
      }
    for (int k = 0; k < 4; ++k)
      for (int l = 0; l < 16; ++l) {
        split4[k][l] = (4 * l + k) % 32;
        merge4[k][l] = l % 2 * 16 + 4 * k + l / 4;
      }
  }
};
static constexpr Picks kPicks{};

SPLAT_INLINE __m512 pick(__m512 a, const int* from, __m512 b) {
  return _mm512_permutex2var_ps(a, _mm512_load_si512(from), b);
}
SPLAT_INLINE void split3(const real* p, F* out) {
  const __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16), c = _mm512_loadu_ps(p + 32);
  for (int k = 0; k < 3; ++k) out[k].v = pick(pick(a, kPicks.split3[k][0], b), kPicks.split3[k][1], c);
}
SPLAT_INLINE void merge3(const F* v, real* p) {
  for (int k = 0; k < 3; ++k)
    _mm512_storeu_ps(p + 16 * k, pick(pick(v[0].v, kPicks.merge3[k][0], v[1].v), kPicks.merge3[k][1], v[2].v));
}
SPLAT_INLINE void split4(const real* p, F* out) {
  const __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16), c = _mm512_loadu_ps(p + 32), d = _mm512_loadu_ps(p + 48);
  for (int k = 0; k < 4; ++k)
    out[k].v = _mm512_mask_blend_ps(0xFF00, pick(a, kPicks.split4[k], b), pick(c, kPicks.split4[k], d));
}
SPLAT_INLINE void merge4(const F* v, real* p) {
  for (int k = 0; k < 4; ++k)
    _mm512_storeu_ps(p + 16 * k, _mm512_mask_blend_ps(0xCCCC, pick(v[0].v, kPicks.merge4[k], v[1].v),
                                                      pick(v[2].v, kPicks.merge4[k], v[3].v)));
}

#define SPLAT_OWN_EXP2
// 2^p for p in [-126, 127]: to the nearest 32nd from a table that two registers hold, the rest (at
// most a 64th) by a quadratic. Relative error 2e-7. Adding `whole` rounds to 32nds: they become
// the lowest bits of the sum, so that a shift moves them into the exponent. The five that also
// choose the entry would spill into the mantissa; the entries have that taken off.
SPLAT_INLINE F exp2(F p) {
  const __m512 whole = _mm512_set1_ps(393216.f);  // 1.5 * 2^18
  const __m512i low = _mm512_setr_epi32(0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
                                        0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6);
  const __m512i high = _mm512_setr_epi32(0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
                                         0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3);
  const __m512 sum = _mm512_add_ps(p.v, whole);
  const __m512 rest = _mm512_sub_ps(p.v, _mm512_sub_ps(sum, whole));
  const __m512i steps = _mm512_castps_si512(sum);
  const __m512 power = _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_permutex2var_epi32(low, steps, high), _mm512_slli_epi32(steps, 18)));
  const __m512 slope = _mm512_fmadd_ps(rest, _mm512_set1_ps(0.24022651f), _mm512_set1_ps(0.69315734f));
  return {_mm512_fmadd_ps(_mm512_mul_ps(power, rest), slope, power)};
}

}  // namespace splat::SPLAT_ISA
