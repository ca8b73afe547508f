// Plain C++: the baseline of every machine (4 floats), and the double build that gradients are tested
// with. Included by simd.h, which says what every set offers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace splat::SPLAT_ISA {

#if defined(SPLAT_SIMD_DOUBLE)
using real = double;
using lane_bits = uint64_t;
#else
using real = float;
using lane_bits = uint32_t;
#endif
constexpr int W = 4;
constexpr bool kManyRegisters = false;
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

SPLAT_INLINE F load(const uint16_t* p) {
  real t[W];
  SPLAT_LANES {
    const uint32_t word = uint32_t(p[i]) << 16;
    float value;
    std::memcpy(&value, &word, 4);
    t[i] = real(value);
  }
  return load(t);
}
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
  // Lanes that do not count hold anything, and C++ leaves open what becomes of those that fit no int.
  p = mn(mx(p, set1(-127)), set1(127));
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

}  // namespace splat::SPLAT_ISA
