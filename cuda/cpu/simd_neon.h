// AArch64 NEON: 4 floats. Included by simd.h, which says what every set offers.
#pragma once

#include <arm_neon.h>

namespace splat::SPLAT_ISA {

using real = float;
constexpr int W = 4;
constexpr bool kManyRegisters = true;
struct M {
  uint32x4_t m;  // all ones or all zeros
};
struct F {
  float32x4_t v;
};

SPLAT_INLINE F load(const real* p) { return {vld1q_f32(p)}; }
SPLAT_INLINE F load(const uint16_t* p) { return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))}; }
SPLAT_INLINE void store(real* p, F a) { vst1q_f32(p, a.v); }
SPLAT_INLINE F set1(real a) { return {vdupq_n_f32(a)}; }
SPLAT_INLINE F operator+(F a, F b) { return {vaddq_f32(a.v, b.v)}; }
SPLAT_INLINE F operator-(F a, F b) { return {vsubq_f32(a.v, b.v)}; }
SPLAT_INLINE F operator*(F a, F b) { return {vmulq_f32(a.v, b.v)}; }
SPLAT_INLINE F operator/(F a, F b) { return {vdivq_f32(a.v, b.v)}; }
SPLAT_INLINE F fma(F a, F b, F c) { return {vfmaq_f32(c.v, a.v, b.v)}; }   // a b + c
SPLAT_INLINE F fnma(F a, F b, F c) { return {vfmsq_f32(c.v, a.v, b.v)}; }  // c - a b
SPLAT_INLINE M operator<(F a, F b) { return {vcltq_f32(a.v, b.v)}; }
SPLAT_INLINE M operator<=(F a, F b) { return {vcleq_f32(a.v, b.v)}; }
SPLAT_INLINE M operator>(F a, F b) { return {vcgtq_f32(a.v, b.v)}; }
SPLAT_INLINE M operator>=(F a, F b) { return {vcgeq_f32(a.v, b.v)}; }
SPLAT_INLINE M operator&(M a, M b) { return {vandq_u32(a.m, b.m)}; }
SPLAT_INLINE M operator|(M a, M b) { return {vorrq_u32(a.m, b.m)}; }
SPLAT_INLINE M operator!(M a) { return {vmvnq_u32(a.m)}; }
SPLAT_INLINE F sel(M m, F a, F b) { return {vbslq_f32(m.m, a.v, b.v)}; }  // m ? a : b
SPLAT_INLINE F zero_unless(M m, F a) {
  return {vreinterpretq_f32_u32(vandq_u32(m.m, vreinterpretq_u32_f32(a.v)))};
}
// NEON's own minimum keeps what is not a number; the kernels count on x86's, which drops it.
SPLAT_INLINE F mn(F a, F b) { return sel(a < b, a, b); }
SPLAT_INLINE F mx(F a, F b) { return sel(a > b, a, b); }
SPLAT_INLINE F sqrt(F a) { return {vsqrtq_f32(a.v)}; }
SPLAT_INLINE F abs(F a) { return {vabsq_f32(a.v)}; }
SPLAT_INLINE F floor(F a) { return {vrndmq_f32(a.v)}; }
SPLAT_INLINE F recip(F a) {
  // The estimate has 8 bits, and each Newton step doubles them: relative error below 2^-22.
  float32x4_t r = vrecpeq_f32(a.v);
  r = vmulq_f32(r, vrecpsq_f32(a.v, r));
  return {vmulq_f32(r, vrecpsq_f32(a.v, r))};
}
SPLAT_INLINE uint32x4_t lane_bits() {
  const uint32_t bit[W] = {1, 2, 4, 8};
  return vld1q_u32(bit);
}
SPLAT_INLINE uint32_t bits(M m) { return vaddvq_u32(vandq_u32(m.m, lane_bits())); }
SPLAT_INLINE M lanes(uint32_t b) { return {vtstq_u32(vdupq_n_u32(b), lane_bits())}; }
SPLAT_INLINE F scale_by_power(F mantissa, F p) {
  const int32x4_t power = vshlq_n_s32(vcvtmq_s32_f32(p.v), 23);
  return {vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(mantissa.v), power))};
}
SPLAT_INLINE real sum(F a) { return vaddvq_f32(a.v); }
SPLAT_INLINE void sum8(const F* v, real* out) {  // out[i] = sum(v[i]), four at a time
  for (int i = 0; i < 8; i += 4)
    vst1q_f32(out + i, vpaddq_f32(vpaddq_f32(v[i].v, v[i + 1].v), vpaddq_f32(v[i + 2].v, v[i + 3].v)));
}
SPLAT_INLINE void transpose(F* v) {  // v[i] lane j <-> v[j] lane i
  float64x2_t a[W];
  for (int i = 0; i < W; i += 2) {
    a[i] = vreinterpretq_f64_f32(vtrn1q_f32(v[i].v, v[i + 1].v));
    a[i + 1] = vreinterpretq_f64_f32(vtrn2q_f32(v[i].v, v[i + 1].v));
  }
  for (int i = 0; i < 2; ++i) {
    v[i].v = vreinterpretq_f32_f64(vtrn1q_f64(a[i], a[i + 2]));
    v[i + 2].v = vreinterpretq_f32_f64(vtrn2q_f64(a[i], a[i + 2]));
  }
}

#define SPLAT_OWN_SPLIT
SPLAT_INLINE void split3(const real* p, F* out) {
  const float32x4x3_t v = vld3q_f32(p);
  for (int k = 0; k < 3; ++k) out[k].v = v.val[k];
}
// In Clang's header the stores are macros, which commas in braces would part.
SPLAT_INLINE void merge3(const F* v, real* p) {
  const float32x4x3_t parts = {{v[0].v, v[1].v, v[2].v}};
  vst3q_f32(p, parts);
}
SPLAT_INLINE void split4(const real* p, F* out) {
  const float32x4x4_t v = vld4q_f32(p);
  for (int k = 0; k < 4; ++k) out[k].v = v.val[k];
}
SPLAT_INLINE void merge4(const F* v, real* p) {
  const float32x4x4_t parts = {{v[0].v, v[1].v, v[2].v, v[3].v}};
  vst4q_f32(p, parts);
}

}  // namespace splat::SPLAT_ISA
