// What decoding works on: sizes and places, the weights as its products read them, and scratch.
#pragma once

#include "buffer.h"
#include "kernels.h"

namespace splat::SPLAT_ISA {

constexpr int kAnchors = 64;     // of an item; a multiple of every W
constexpr int kMaxSlots = 16;    // per anchor
constexpr int kSeen = 5;         // what a network reads beside the feature: direction, distance, 1
constexpr double kTinyLength = 1e-12;

enum Head { kOpacityHead, kColorHead, kCovarianceHead, kHeads };

SPLAT_INLINE Layers<const void*> layers_of(const Anchors& a, int head) {
  return head == kOpacityHead ? a.opacity : head == kColorHead ? a.color : a.covariance;
}
SPLAT_INLINE Layers<void*> layers_of(const DecodedGradients& g, int head) {
  return head == kOpacityHead ? g.v_opacity : head == kColorHead ? g.v_color : g.v_covariance;
}

// Where everything of a call lies; matrices of weights are padded to whole vectors.
struct DecodeLayout {
  int features, slots, hidden;  // F, k, H
  int read, row;                // F + 5, and what a row of them takes
  int units;                    // 3 H: hidden units of all heads, side by side
  int outputs[kHeads], padded[kHeads], begin[kHeads];  // columns of the second layers, side by side
  int columns;
  int feature_row;              // F as whole vectors
  std::ptrdiff_t second[kHeads], size;  // of the gradients of a chunk: first layers, then the second ones

  void set(const Anchors& a) {
    features = a.feature_count, slots = a.slots, hidden = a.hidden;
    read = features + kSeen, row = rounded_up(read, 8), units = kHeads * hidden;
    feature_row = rounded_up(features, W);
    size = std::ptrdiff_t(read) * units, columns = 0;
    for (int h = 0; h < kHeads; ++h) {
      outputs[h] = slots * (h == kOpacityHead ? 1 : h == kColorHead ? 3 : 7);
      padded[h] = rounded_up(outputs[h], W);
      begin[h] = columns, columns += padded[h];
      second[h] = size, size += std::ptrdiff_t(hidden + 1) * padded[h];
    }
  }
  // Which output of a head is in a column: those of the covariance lie by kind, scales before turns.
  int output(int head, int column) const {
    if (head != kCovarianceHead) return column;
    const int turn = column - 3 * slots;
    return turn < 0 ? column / 3 * 7 + column % 3 : turn / 4 * 7 + 3 + turn % 4;
  }
};

// The weights as the products read them.
struct DecodeWeights {
  Buffer<real> first;           // [F + 5, 3 H]
  Buffer<real> second[kHeads];  // [H + 1, padded]
  Buffer<real> first_turned;    // [3 H, F as whole vectors], the feature's part alone
  Buffer<real> second_turned[kHeads];  // [outputs, H]

  void set(const DecodeLayout& l, const Anchors& a) {
    real* to = first.resize(std::size_t(l.read) * l.units);
    for (int h = 0; h < kHeads; ++h) {
      const auto* from = static_cast<const real*>(layers_of(a, h).first);
      for (int i = 0; i < l.read; ++i)
        std::memcpy(to + std::ptrdiff_t(i) * l.units + h * l.hidden, from + i * l.hidden, l.hidden * sizeof(real));
    }
    for (int h = 0; h < kHeads; ++h) {
      const auto* from = static_cast<const real*>(layers_of(a, h).second);
      real* there = second[h].resize(std::size_t(l.hidden + 1) * l.padded[h], real(0));
      for (int c = 0; c < l.outputs[h]; ++c)
        for (int i = 0, column = l.output(h, c); i <= l.hidden; ++i)
          there[i * l.padded[h] + c] = from[i * l.outputs[h] + column];
    }
  }
  void turn(const DecodeLayout& l) {
    real* to = first_turned.resize(std::size_t(l.units) * l.feature_row, real(0));
    for (int i = 0; i < l.features; ++i)
      for (int j = 0; j < l.units; ++j) to[j * l.feature_row + i] = first[i * l.units + j];
    for (int h = 0; h < kHeads; ++h) {
      real* there = second_turned[h].resize(std::size_t(l.outputs[h]) * l.hidden);
      for (int i = 0; i < l.hidden; ++i)
        for (int c = 0; c < l.outputs[h]; ++c) there[c * l.hidden + i] = second[h][i * l.padded[h] + c];
    }
  }
};

// Scratch of one thread: outputs of the second layers, and what belongs to the Gaussians of an item.
struct DecodeScratch {
  Buffer<real> hidden, outputs, reach, features;
  Buffer<real> run[4];  // [kAnchors * kMaxSlots, 4] each

  void fit(const DecodeLayout& l) {
    hidden.resize(std::size_t(kAnchors) * l.units), outputs.resize(std::size_t(kAnchors) * l.columns);
    reach.resize(8 * kAnchors), features.resize(std::size_t(kAnchors) * l.feature_row);
    for (Buffer<real>& each : run) each.resize(4 * kAnchors * kMaxSlots);
  }
};

}  // namespace splat::SPLAT_ISA
