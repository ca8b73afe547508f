// Rows of a matrix as vectors of W rows, and back: lane l of vector k is column k of row l.
#pragma once

#include <splat/half.h>

#include <type_traits>

#include "buffer.h"
#include "simd.h"

namespace splat::SPLAT_ISA {

SPLAT_INLINE real as_real(real value) { return value; }
SPLAT_INLINE real as_real(Half value) { return real(from_half(value)); }

// Of reals or of bfloat16. Lanes beyond the end repeat the first row. `out` has room for whole vectors of columns.
template <class T>
SPLAT_INLINE void load_columns(const T* base, int64_t stride, int columns, int lanes, F* out) {
  if constexpr (std::is_same<T, real>::value) {
    if (lanes == W && stride == columns) {
      if (columns == 1) return void(out[0] = load(base));
      if (columns == 3) return split3(base, out);
      if (columns == 4) return split4(base, out);
    }
  }
  const int whole = (columns + W - 1) / W * W;
  if (columns > 4 && whole <= stride) {  // what is read beyond a row's columns is the row's own
    for (int k = 0; k < whole; k += W) {
      for (int lane = 0; lane < W; ++lane) out[k + lane] = load(base + (lane < lanes ? lane : 0) * stride + k);
      transpose(out + k);
    }
    return;
  }
  for (int k = 0; k < columns; ++k) {
    alignas(64) real t[W];
    for (int lane = 0; lane < W; ++lane) t[lane] = as_real(base[(lane < lanes ? lane : 0) * stride + k]);
    out[k] = load(t);
  }
}

SPLAT_INLINE void store_columns(const F* values, int columns, int lanes, real* base, int64_t stride) {
  if (lanes == W && stride == columns) {
    if (columns == 1) return store(base, values[0]);
    if (columns == 3) return merge3(values, base);
    if (columns == 4) return merge4(values, base);
  }
  if (columns > 4) {
    for (int k = 0; k < columns; k += W) {
      F rows[W];
      for (int c = 0; c < W; ++c) rows[c] = values[least(k + c, columns - 1)];
      transpose(rows);
      if (k + W <= columns) {
        for (int lane = 0; lane < lanes; ++lane) store(base + lane * stride + k, rows[lane]);
      } else {
        alignas(64) real t[W];
        for (int lane = 0; lane < lanes; ++lane) {
          store(t, rows[lane]);
          std::memcpy(base + lane * stride + k, t, (columns - k) * sizeof(real));
        }
      }
    }
    return;
  }
  for (int k = 0; k < columns; ++k) {
    alignas(64) real t[W];
    store(t, values[k]);
    for (int lane = 0; lane < lanes; ++lane) base[lane * stride + k] = t[lane];
  }
}

}  // namespace splat::SPLAT_ISA
