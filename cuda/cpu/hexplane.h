// Planes over space and time that move points: HexPlane (Cao and Johnson 2023) as 4DGaussians (Wu et
// al. 2024) reads it.
//
// At one instant the planes of time are lines. With p_0, p_1, p_2 the values of the planes of space at
// a point and l_0, l_1, l_2 those of the lines, the features of a scale are their product, channel by
// channel; phi = [features of all scales, 1], h = relu(phi W1), k = relu([h, 1] W2), and the outputs of
// head i are its part of k, and 1, times its columns of W3. Points go in blocks, so that the matrices
// stay in the cache; in planes and lines the channels are the lanes.
#pragma once

#include "activate.h"
#include "field_layout.h"
#include "product.h"

namespace splat::SPLAT_ISA {

constexpr int kHexPoints = 32;  // of a block; a multiple of every W
constexpr int kOnes = 16;       // columns behind a matrix of which the first is 1, so that biases are rows
constexpr int kFactors = 6;     // of a feature: three planes, three lines

struct HexLayout {
  int scales, channels, features, width, heads, units;  // S, C, S C, D, H, H D
  int seen_row, first_row, second_row;                  // what rows of phi, h and k take
  int outputs, padded;                                  // O, and as whole vectors
  std::ptrdiff_t hidden, last, size;  // of the gradients of a chunk: the trunk's come first

  void set(const HexPoints& p) {
    scales = p.scales, channels = p.channels, features = scales * channels;
    width = p.width, heads = p.heads, units = heads * width;
    seen_row = features + kOnes, first_row = width + kOnes, second_row = units + kOnes;
    outputs = 0;
    for (int i = 0; i < heads; ++i) outputs += p.outputs[i];
    padded = rounded_up(outputs, W);
    hidden = std::ptrdiff_t(features + 1) * width, last = hidden + std::ptrdiff_t(width + 1) * units;
    size = last + std::ptrdiff_t(units + 1) * padded;
  }
};

// Scratch of one thread.
struct HexScratch {
  alignas(64) real at[3][kHexPoints], part[3][kHexPoints];  // coordinates; where in a cell
  int cell[3][kHexPoints];
  Buffer<real> seen, first, second, last;  // [block, row] phi, h, k and the outputs
  Buffer<real> by_seen, by_first, by_second;
  Buffer<real> parts;  // [S, block, 6, C] factors of the features

  void fit(const HexLayout& l) {
    constexpr std::size_t n = kHexPoints;
    seen.resize(n * l.seen_row), first.resize(n * l.first_row), second.resize(n * l.second_row);
    last.resize(n * l.padded), parts.resize(n * kFactors * l.features);
    by_seen.resize(n * l.seen_row), by_first.resize(n * l.first_row), by_second.resize(n * l.second_row);
  }
};

class HexPlane {
 public:
  void forward(const HexPoints& points) {
    StageClock clock;
    points_ = points;
    layout_.set(points);
    blocks_ = (points.n + kHexPoints - 1) / kHexPoints;
    spread();
    if (points.keep)
      first_.resize(std::size_t(blocks_) * kHexPoints * layout_.first_row),
          second_.resize(std::size_t(blocks_) * kHexPoints * layout_.second_row);
    parallel_for(blocks_, [&](std::ptrdiff_t block) {
      HexScratch& s = own<HexScratch>();
      const int here = points_of(block), rows = rounded_up(here, kProductRows);
      look<false>(s, block);
      layers(s, block, rows);
      auto* out = static_cast<real*>(points_.out) + block * kHexPoints * layout_.outputs;
      const real* found = s.last.data();
      for (int i = 0; i < here; ++i, out += layout_.outputs, found += layout_.padded)
        std::memcpy(out, found, layout_.outputs * sizeof(real));
    });
    clock.done(kOther);
  }

  void backward(const HexGradients& g);  // in hexplane_backward.h

  int64_t bytes() const {
    return first_.bytes() + second_.bytes() + last_.bytes() + turned_.bytes() + hidden_turned_.bytes() + trunk_turned_.bytes() + sums_.bytes() + by_.bytes();
  }

 private:
  const real* trunk() const { return static_cast<const real*>(points_.trunk); }
  const real* hidden() const { return static_cast<const real*>(points_.hidden); }
  const real* space(int scale) const { return static_cast<const real*>(points_.space[scale]); }
  const real* lines(int scale) const { return static_cast<const real*>(points_.lines[scale]); }
  int points_of(std::ptrdiff_t block) const { return (int)least<int64_t>(kHexPoints, points_.n - block * kHexPoints); }

  // The last layer for all units at once, those of other heads with weight 0; its row of biases behind.
  void spread() {
    const HexLayout& l = layout_;
    real* to = last_.resize(std::size_t(l.units + 1) * l.padded, real(0));
    const auto* from = static_cast<const real*>(points_.last);
    for (int head = 0, begin = 0; head < l.heads; begin += points_.outputs[head++])
      for (int c = begin; c < begin + points_.outputs[head]; ++c) {
        for (int k = 0; k < l.width; ++k) to[(head * l.width + k) * l.padded + c] = from[k * l.outputs + c];
        to[l.units * l.padded + c] = from[l.width * l.outputs + c];
      }
  }

  // Where `here` points lie in the cells of planes whose sides have `side` values.
  static void place(HexScratch& s, int side) {
    const F scale = set1(real(0.5) * real(side - 1)), most = set1(real(side - 2));
    alignas(64) real cells[kHexPoints];
    for (int a = 0; a < 3; ++a) {
      for (int i = 0; i < kHexPoints; i += W) {
        const F inside = (within(load(s.at[a] + i)) + set1(1)) * scale, cell = mn(floor(inside), most);
        store(cells + i, cell), store(s.part[a] + i, inside - cell);
      }
      for (int i = 0; i < kHexPoints; ++i) s.cell[a][i] = (int)cells[i];
    }
  }
  void fetch(HexScratch& s, std::ptrdiff_t start, int here) const {
    const real* from = static_cast<const real*>(points_.points) + 3 * start;
    for (int i = 0; i < here; ++i, from += 3)
      for (int a = 0; a < 3; ++a) s.at[a][i] = from[a];
    for (int a = 0; a < 3; ++a) fill(s.at[a] + here, s.at[a] + kHexPoints, real(0));
  }

  // Features of a block; with `kKeep` their factors, too.
  template <bool kKeep>
  void look(HexScratch& s, std::ptrdiff_t block) const {
    const HexLayout& l = layout_;
    const int here = points_of(block), channels = l.channels;
    s.fit(l);
    fetch(s, block * kHexPoints, here);
    for (int scale = 0; scale < l.scales; ++scale) {
      const int side = points_.sides[scale];
      const std::ptrdiff_t row = std::ptrdiff_t(side) * channels;
      const real *planes = space(scale), *along = lines(scale);
      place(s, side);
      real *seen = s.seen.data() + scale * channels, *parts = s.parts.data() + scale * kHexPoints * kFactors * channels;
      for (int i = 0; i < here; ++i, seen += l.seen_row, parts += kFactors * channels) {
        const real* corner[3];
        const real* end[3];
        F weight[3];
        for (int a = 0; a < 3; ++a) {
          const int b = (a + 1) % 3, c = (a + 2) % 3;
          corner[a] = planes + (std::ptrdiff_t(a) * side + s.cell[b][i]) * row + s.cell[c][i] * channels;
          end[a] = along + (std::ptrdiff_t(a) * side + s.cell[a][i]) * channels;
          weight[a] = set1(s.part[a][i]);
        }
        for (int v = 0; v < channels; v += W) {
          F factor[kFactors];
          for (int a = 0; a < 3; ++a) {
            const real *p = corner[a] + v, *q = end[a] + v;
            const F y = weight[(a + 1) % 3], x = weight[(a + 2) % 3];
            const F low = mixed(load(p), load(p + channels), x), high = mixed(load(p + row), load(p + row + channels), x);
            factor[a] = mixed(low, high, y);
            factor[3 + a] = mixed(load(q), load(q + channels), weight[a]);
          }
          store(seen + v, factor[0] * factor[1] * factor[2] * (factor[3] * factor[4] * factor[5]));
          if (kKeep)
            for (int f = 0; f < kFactors; ++f) store(parts + f * channels + v, factor[f]);
        }
      }
    }
    real* ones = s.seen.data() + l.features;
    for (int i = 0; i < here; ++i, ones += l.seen_row) ones[0] = 1, fill(ones + 1, ones + kOnes, real(0));
    fill(s.seen.data() + here * l.seen_row, s.seen.data() + kHexPoints * l.seen_row, real(0));
  }
  SPLAT_INLINE F mixed(F a, F b, F weight) { return fma(weight, b - a, a); }

  // Where h and k of a block lie: kept for a backward, or scratch.
  real* first_of(HexScratch& s, std::ptrdiff_t block) const {
    return points_.keep ? first_.data() + block * kHexPoints * layout_.first_row : s.first.data();
  }
  real* second_of(HexScratch& s, std::ptrdiff_t block) const {
    return points_.keep ? second_.data() + block * kHexPoints * layout_.second_row : s.second.data();
  }

  // h, k and the outputs of some rows of phi.
  void layers(HexScratch& s, std::ptrdiff_t block, int rows) const {
    const HexLayout& l = layout_;
    real *seen = s.seen.data(), *first = first_of(s, block), *second = second_of(s, block);
    product<kRelu>({seen, l.seen_row, 1, trunk(), l.width, l.features, first, l.first_row, trunk() + l.features * l.width}, rows,
                   l.width / W);
    product<kRelu>({first, l.first_row, 1, hidden(), l.units, l.width, second, l.second_row, hidden() + l.width * l.units}, rows,
                   l.units / W);
    product<kAffine>({second, l.second_row, 1, last_.data(), l.padded, l.units, s.last.data(), l.padded,
                      last_.data() + l.units * l.padded}, rows, l.padded / W);
  }

  void turn();
  void backward_block(std::ptrdiff_t block, const HexGradients& g, real* sums) const;
  void by_factors(HexScratch& s, std::ptrdiff_t block) const;
  void collect(int scale, int factor, int channel, const HexGradients& g) const;
  void sum_up(const HexGradients& g, std::ptrdiff_t chunks);

  HexPoints points_{};
  HexLayout layout_{};
  std::ptrdiff_t blocks_ = 0;
  Buffer<real> first_, second_;  // [blocks of points, row] h and k, if kept
  Buffer<real> last_;            // [H D + 1, O as whole vectors]
  Buffer<real> turned_;         // [O, H D] of it, transposed
  Buffer<real> hidden_turned_;  // [H D, D]
  Buffer<real> trunk_turned_;   // [D, S C]
  Buffer<real> sums_;           // [chunks, size] gradients of layers
  Buffer<real> by_;             // [S, 6, n, C] gradients by the factors
};

}  // namespace splat::SPLAT_ISA
