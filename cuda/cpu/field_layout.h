// What a field of planes and lines works on: sizes, where points lie among the control points, scratch.
#pragma once

#include "activate.h"
#include "buffer.h"
#include "kernels.h"

namespace splat::SPLAT_ISA {

constexpr int kFieldPoints = 32;  // of a block; a multiple of every W
constexpr int kMostSlabs = 16;    // along an axis

struct FieldLayout {
  int side, channels, hidden;  // R, C, H
  int features, read, row;     // 3 C, 3 C + 4, and what a row of them takes
  int slab_rows, slabs;        // points are sorted by boxes of so many control points along each axis
  std::ptrdiff_t lines, second, size;  // of the gradients of a chunk: the first layer's come first

  void set(const FieldPoints& f) {
    side = f.side, channels = f.channels, hidden = f.hidden;
    features = 3 * channels, read = features + 4, row = features + 16;
    slab_rows = most(8, (side - 2 + kMostSlabs - 1) / kMostSlabs), slabs = (side - 2 + slab_rows - 1) / slab_rows;
    lines = std::ptrdiff_t(read) * hidden, second = lines + 3 * std::ptrdiff_t(side) * channels;
    size = second + hidden + 16;  // the bias has whole vectors of its own
  }
};

// Coordinates beyond -1 and 1 count as those, and what is no number as -1.
SPLAT_INLINE F within(F u) { return mn(mx(u, set1(-1)), set1(1)); }
// The first of the three control points that such a coordinate reads along its axis.
SPLAT_INLINE F first_of_three(F inside, int side) {
  return mn(floor((inside + set1(1)) * set1(real(0.5) * real(side - 2))), set1(real(side - 3)));
}

// Weights and derivatives of one axis: of a control point for a point of the block.
struct FieldAxis {
  const real (*weight)[kFieldPoints], (*slope)[kFieldPoints];

  SPLAT_MEMBER F w(int tap, int i) const { return set1(weight[tap][i]); }
  SPLAT_MEMBER F d(int tap, int i) const { return set1(slope[tap][i]); }
};

// The control points that a block reads along each axis: the first of three, their weights, and the
// weights' derivatives times a factor. Quadratic B-splines, so that both are continuous.
struct FieldTaps {
  alignas(64) real at[3][kFieldPoints];      // coordinates, to be filled in
  alignas(64) real factor[3][kFieldPoints];  // of the derivatives, likewise
  alignas(64) real weight[3][3][kFieldPoints], slope[3][3][kFieldPoints];  // [axis][control point]
  int cell[3][kFieldPoints];
  std::ptrdiff_t plane[3][kFieldPoints], line[3][kFieldPoints];  // where the first control points lie

  // Along one axis. Where a coordinate is beyond -1 or 1 there is no derivative.
  void place(int a, int side) {
    const F half = set1(real(0.5)), one = set1(1), scale = set1(real(0.5) * real(side - 2));
    alignas(64) real cells[kFieldPoints];
    for (int i = 0; i < kFieldPoints; i += W) {
      const F u = load(at[a] + i), inside = within(u), first = first_of_three(inside, side);
      // Not the difference of two numbers as large as R, of which one is rounded.
      const F t = fma(inside, scale, scale - first), rest = one - t;
      store(cells + i, first);
      store(weight[a][0] + i, half * rest * rest);
      store(weight[a][1] + i, fma(t, rest, half));
      store(weight[a][2] + i, half * t * t);
      const F by = zero_unless((u >= -one) & (u <= one), load(factor[a] + i) * scale);
      store(slope[a][0] + i, -(by * rest));
      store(slope[a][1] + i, by * (rest - t));
      store(slope[a][2] + i, by * t);
    }
    for (int i = 0; i < kFieldPoints; ++i) cell[a][i] = (int)cells[i];
  }
  // Along all axes, with the places in planes and lines.
  void place(const FieldLayout& l) {
    for (int a = 0; a < 3; ++a) place(a, l.side);
    for (int a = 0; a < 3; ++a)
      for (int i = 0, b = (a + 1) % 3, c = (a + 2) % 3; i < kFieldPoints; ++i) {
        const std::ptrdiff_t row = std::ptrdiff_t(a) * l.side;
        plane[a][i] = ((row + cell[b][i]) * l.side + cell[c][i]) * l.channels;
        line[a][i] = (row + cell[a][i]) * l.channels;
      }
  }
  SPLAT_MEMBER FieldAxis axis(int a) const { return {weight[a], slope[a]}; }
};

// log(1 + e^(beta h)) / beta and its derivative, a logistic function; errors of 1e-7 of the largest term.
struct Softplus {
  F by_half, shrink;  // powers of 2 a unit, and 1 / beta

  explicit Softplus(double beta) : by_half(set1(real(1.4426950408889634 * beta))), shrink(set1(real(1 / beta))) {}

  SPLAT_MEMBER void operator()(F h, F& value, F& slope) const {
    const F p = by_half * h, z = exp2(mx(set1(kLeastPower), -abs(p))), low = set1(1) + z;
#if defined(SPLAT_SIMD_DOUBLE)
    alignas(64) real t[W];
    store(t, z);
    for (int i = 0; i < W; ++i) t[i] = std::log1p(t[i]);
    const F log = load(t), part = set1(1) / low;
#else
    // log(1 + z) = 2 atanh(z / (2 + z)); one reciprocal serves both quotients.
    const F high = set1(2) + z, both = recip(low * high), part = both * high, s = both * low * z, s2 = s * s;
    F series = fma(s2, set1(2.f / 13), set1(2.f / 11));
    series = fma(s2, series, set1(2.f / 9));
    series = fma(s2, series, set1(2.f / 7));
    series = fma(s2, series, set1(2.f / 5));
    series = fma(s2, series, set1(2.f / 3));
    const F log = s * fma(s2, series, set1(2));
#endif
    // Of what is no number it stays none: `mx` gives its second operand then.
    value = fma(log, shrink, mx(set1(0), h));
    slope = sel(h >= set1(0), part, z * part);
  }

 private:
#if defined(SPLAT_SIMD_DOUBLE)
  static constexpr real kLeastPower = -1022;
#else
  static constexpr real kLeastPower = -126;
#endif
};

// Scratch of one thread.
struct FieldScratch {
  FieldTaps taps;
  Buffer<real> seen, hidden;  // [2 blocks, row], [2 blocks, H]: values, then derivatives along a direction
  Buffer<real> features;      // [2 blocks, 3 C] gradients by the features
  Buffer<real> parts;         // [block, 4, 3 C] of planes and lines
  Buffer<real> sums;          // [block, 4, W] of value and gradient, lane by lane

  void fit(const FieldLayout& l) {
    const std::size_t rows = 2 * kFieldPoints;
    seen.resize(rows * l.row), hidden.resize(rows * l.hidden), features.resize(rows * l.features);
    parts.resize(2 * rows * l.features), sums.resize(2 * rows * W);
  }
};

}  // namespace splat::SPLAT_ISA
