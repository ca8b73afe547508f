// Products of small matrices that lie in the cache: C = A B, with what comes before and after.
//
// A block of a few rows by up to three vectors of C stays in registers; rows of B pass as vectors,
// elements of A as scalars, so that A may be transposed for nothing.
#pragma once

#include "simd.h"

namespace splat::SPLAT_ISA {

#if defined(_MSC_VER)
#define SPLAT_NOINLINE static __declspec(noinline)
#else
#define SPLAT_NOINLINE static __attribute__((noinline))
#endif

#if defined(SPLAT_SIMD_AVX512) || defined(SPLAT_SIMD_NEON)
constexpr int kProductRows = 8;  // with their vectors they fill 32 registers
#else
constexpr int kProductRows = 4;  // or 16
#endif
constexpr int kProductVectors = 3;

enum ProductEnd {
  kPlain,   // C = A B
  kAffine,  // C = A B + extra, a row for all
  kRelu,    // C = max(0, A B + extra)
  kMasked,  // C = A B where extra, shaped as C, is positive, else 0
  kAdd,     // C += A B
};

struct Product {
  const real* a;          // element (i, p) is a[i * row + p * step]
  std::ptrdiff_t row, step;
  const real* b;          // element (p, j) is b[p * b_row + j]
  std::ptrdiff_t b_row;
  int inner;              // columns of A, rows of B
  real* c;                // element (i, j) is c[i * c_row + j]
  std::ptrdiff_t c_row;
  const real* extra = nullptr;
};

// Never inlined: it needs all registers for itself.
template <ProductEnd kEnd, int R, int V>
SPLAT_NOINLINE void product_block(const Product& t, int i, int j) {
  F sums[R][V];
  real* c = t.c + i * t.c_row + j * W;
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v)
      sums[r][v] = kEnd == kAffine || kEnd == kRelu ? load(t.extra + (j + v) * W)
                   : kEnd == kAdd                   ? load(c + r * t.c_row + v * W)
                                                    : set1(0);
  const std::ptrdiff_t row = t.row, step = t.step, b_row = t.b_row;
  const real *a = t.a + i * row, *b = t.b + j * W;
  for (int p = t.inner; p > 0; --p, a += step, b += b_row) {
    F weights[V];
    for (int v = 0; v < V; ++v) weights[v] = load(b + v * W);
    for (int r = 0; r < R; ++r) {
      const F value = set1(a[r * row]);
      for (int v = 0; v < V; ++v) sums[r][v] = fma(value, weights[v], sums[r][v]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      F value = sums[r][v];
      if (kEnd == kRelu) value = mx(set1(0), value);
      if (kEnd == kMasked) value = zero_unless(load(t.extra + (i + r) * t.c_row + (j + v) * W) > set1(0), value);
      store(c + r * t.c_row + v * W, value);
    }
}

template <ProductEnd kEnd, int V>
static void product_columns(const Product& t, int rows, int j) {
  int i = 0;
  for (; i + kProductRows <= rows; i += kProductRows) product_block<kEnd, kProductRows, V>(t, i, j);
  if (kProductRows > 4 && i + 4 <= rows) product_block<kEnd, 4, V>(t, i, j), i += 4;
  if (i + 2 <= rows) product_block<kEnd, 2, V>(t, i, j), i += 2;
  if (i < rows) product_block<kEnd, 1, V>(t, i, j);
}

// `vectors` of W columns of C.
template <ProductEnd kEnd>
static void product(const Product& t, int rows, int vectors) {
  for (int j = 0; j < vectors;) {
    const int left = vectors - j;
    if (left == 1) {
      product_columns<kEnd, 1>(t, rows, j), j += 1;
    } else if (left == 2 || left == 4) {
      product_columns<kEnd, 2>(t, rows, j), j += 2;
    } else {
      product_columns<kEnd, 3>(t, rows, j), j += 3;
    }
  }
}

}  // namespace splat::SPLAT_ISA
