// Gradients of planes, lines and layers from those of what they say of points.
//
// Sums of layers belong to chunks of blocks and are added up in order. What planes and lines get is
// first written down point by point; then each plane, or line, collects some of its channels from all
// points, in their order. No number of threads changes a bit of either.
#pragma once

#include "hexplane.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kHexChunkBlocks = 4, kMostHexChunks = 32;
constexpr int kCollected = 16;  // channels that are collected at once; a multiple of every W

inline void HexPlane::turn() {
  const HexLayout& l = layout_;
  const auto transposed = [](const real* from, int rows, int columns, int row, real* to) {
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) to[j * rows + i] = from[i * row + j];
  };
  transposed(last_.data(), l.units, l.outputs, l.padded, turned_.resize(std::size_t(l.outputs) * l.units));
  transposed(hidden(), l.width, l.units, l.units, hidden_turned_.resize(std::size_t(l.units) * l.width));
  transposed(trunk(), l.features, l.width, l.width, trunk_turned_.resize(std::size_t(l.width) * l.features));
}

inline void HexPlane::backward_block(std::ptrdiff_t block, const HexGradients& g, real* sums) const {
  HexScratch& s = own<HexScratch>();
  const HexLayout& l = layout_;
  const int here = points_of(block);
  constexpr int rows = kHexPoints;
  look<true>(s, block);
  real *seen = s.seen.data(), *first = first_of(s, block), *second = second_of(s, block), *out = s.last.data();
  // Rows behind the last point are not written by the forward pass; what they are multiplied by is 0.
  fill(first + here * l.first_row, first + rows * l.first_row, real(0));
  fill(second + here * l.second_row, second + rows * l.second_row, real(0));
  for (int i = 0; i < rows; ++i) first[i * l.first_row + l.width] = 1, second[i * l.second_row + l.units] = 1;
  const auto* v_out = static_cast<const real*>(g.v_out) + block * kHexPoints * l.outputs;
  fill(out, out + rows * l.padded, real(0));
  for (int i = 0; i < here; ++i) std::memcpy(out + i * l.padded, v_out + i * l.outputs, l.outputs * sizeof(real));
  real *by_second = s.by_second.data(), *by_first = s.by_first.data(), *by_seen = s.by_seen.data();

  product<kAdd>({second, 1, l.second_row, out, l.padded, rows, sums + l.last, l.padded}, l.units + 1, l.padded / W);
  product<kMasked>({out, l.padded, 1, turned_.data(), l.units, l.outputs, by_second, l.second_row, second}, rows, l.units / W);
  product<kAdd>({first, 1, l.first_row, by_second, l.second_row, rows, sums + l.hidden, l.units}, l.width + 1, l.units / W);
  product<kMasked>({by_second, l.second_row, 1, hidden_turned_.data(), l.width, l.units, by_first, l.first_row, first}, rows,
                   l.width / W);
  product<kAdd>({seen, 1, l.seen_row, by_first, l.first_row, rows, sums, l.width}, l.features + 1, l.width / W);
  product<kPlain>({by_first, l.first_row, 1, trunk_turned_.data(), l.features, l.width, by_seen, l.seen_row}, rows,
                  l.features / W);
  by_factors(s, block);
}

// Gradients by each factor of a block's features: those by the feature, times the other five.
inline void HexPlane::by_factors(HexScratch& s, std::ptrdiff_t block) const {
  const HexLayout& l = layout_;
  const int here = points_of(block), channels = l.channels;
  const std::ptrdiff_t start = block * kHexPoints, apart = points_.n * channels;
  for (int scale = 0; scale < l.scales; ++scale) {
    const real *by = s.by_seen.data() + scale * channels, *parts = s.parts.data() + scale * kHexPoints * kFactors * channels;
    real* to = by_.data() + scale * kFactors * apart + start * channels;
    for (int i = 0; i < here; ++i, by += l.seen_row, parts += kFactors * channels, to += channels)
      for (int v = 0; v < channels; v += W) {
        F factor[kFactors];
        for (int f = 0; f < kFactors; ++f) factor[f] = load(parts + f * channels + v);
        const F v_feature = load(by + v);
        for (int half = 0; half < 2; ++half) {
          const F *own = factor + 3 * half, *other = factor + 3 - 3 * half;
          const F rest = v_feature * (other[0] * other[1] * other[2]);
          for (int a = 0; a < 3; ++a) store(to + (3 * half + a) * apart + v, rest * (own[(a + 1) % 3] * own[(a + 2) % 3]));
        }
      }
  }
}

// Some channels of the gradient of a plane (factors 0 to 2) or a line.
inline void HexPlane::collect(int scale, int factor, int channel, const HexGradients& g) const {
  const bool line = factor >= 3;
  const int a = factor % 3, b = (a + 1) % 3, c = (a + 2) % 3, side = points_.sides[scale], channels = layout_.channels;
  const std::ptrdiff_t row = std::ptrdiff_t(side) * channels, values = line ? side : std::ptrdiff_t(side) * side;
  auto* base = static_cast<real*>(line ? g.v_lines[scale] : g.v_space[scale]);
  if (!base) return;
  real* to = base + a * values * channels + channel;
  for (std::ptrdiff_t i = 0; i < values; ++i) fill(to + i * channels, to + i * channels + kCollected, real(0));
  HexScratch& s = own<HexScratch>();
  const real* from = by_.data() + (scale * kFactors + factor) * points_.n * channels + channel;
  for (std::ptrdiff_t block = 0; block < blocks_; ++block) {
    const int here = points_of(block);
    fetch(s, block * kHexPoints, here);
    place(s, side);
    for (int i = 0; i < here; ++i, from += channels) {
      if (line) {
        const F high = set1(s.part[a][i]), low = set1(1) - high;
        real* p = to + s.cell[a][i] * channels;
        for (int v = 0; v < kCollected; v += W) {
          const F value = load(from + v);
          store(p + v, fma(low, value, load(p + v))), store(p + channels + v, fma(high, value, load(p + channels + v)));
        }
        continue;
      }
      const F y = set1(s.part[b][i]), x = set1(s.part[c][i]), below = set1(1) - y, before = set1(1) - x;
      const F weight[4] = {below * before, below * x, y * before, y * x};
      real* p = to + s.cell[b][i] * row + s.cell[c][i] * channels;
      real* corner[4] = {p, p + channels, p + row, p + row + channels};
      for (int v = 0; v < kCollected; v += W) {
        const F value = load(from + v);
        for (int k = 0; k < 4; ++k) store(corner[k] + v, fma(weight[k], value, load(corner[k] + v)));
      }
    }
  }
}

// Adds up what the chunks found for the layers, and writes it as they lie.
inline void HexPlane::sum_up(const HexGradients& g, std::ptrdiff_t chunks) {
  constexpr std::ptrdiff_t kPart = 1024;
  const HexLayout& l = layout_;
  real* sums = sums_.data();
  parallel_for((l.size + kPart - 1) / kPart, [&](std::ptrdiff_t part) {
    for (std::ptrdiff_t i = part * kPart, end = least(l.size, i + kPart); i < end; i += W) {
      F sum = load(sums + i);
      for (std::ptrdiff_t c = 1; c < chunks; ++c) sum += load(sums + c * l.size + i);
      store_some(sums + i, sum, (int)least<std::ptrdiff_t>(W, end - i));
    }
  });
  if (g.v_trunk) std::memcpy(g.v_trunk, sums, l.hidden * sizeof(real));
  if (g.v_hidden) std::memcpy(g.v_hidden, sums + l.hidden, (l.last - l.hidden) * sizeof(real));
  if (auto* to = static_cast<real*>(g.v_last))
    for (int head = 0, begin = 0; head < l.heads; begin += points_.outputs[head++])
      for (int c = begin; c < begin + points_.outputs[head]; ++c)
        for (int k = 0; k <= l.width; ++k) {
          const int unit = k < l.width ? head * l.width + k : l.units;
          to[k * l.outputs + c] = sums[l.last + std::ptrdiff_t(unit) * l.padded + c];
        }
}

inline void HexPlane::backward(const HexGradients& g) {
  StageClock clock;
  const HexLayout& l = layout_;
  turn();
  by_.resize(std::size_t(kFactors) * points_.n * l.features);
  const std::ptrdiff_t per = most<std::ptrdiff_t>(kHexChunkBlocks, (blocks_ + kMostHexChunks - 1) / kMostHexChunks);
  const std::ptrdiff_t chunks = most<std::ptrdiff_t>(1, (blocks_ + per - 1) / per);
  sums_.resize(chunks * l.size + kOnes);
  parallel_for(chunks, [&](std::ptrdiff_t chunk) {
    real* sums = sums_.data() + chunk * l.size;
    fill(sums, sums + l.size, real(0));
    for (std::ptrdiff_t block = chunk * per; block < least(blocks_, (chunk + 1) * per); ++block)
      backward_block(block, g, sums);
  });
  sum_up(g, chunks);
  const int groups = l.channels / kCollected;
  parallel_for(std::ptrdiff_t(l.scales) * kFactors * groups, [&](std::ptrdiff_t item) {
    const int group = int(item % groups), factor = int(item / groups) % kFactors, scale = int(item / groups / kFactors);
    collect(scale, factor, group * kCollected, g);
  });
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
