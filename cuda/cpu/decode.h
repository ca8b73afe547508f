// Anchors decoded into Gaussians, as Scaffold-GS does it (Lu et al. 2024).
//
// Three networks of two layers read a row of numbers per anchor. The opacities come first, for they
// say how many Gaussians there are; then, where to put them being known, the rest. Anchors go in
// items whose matrices stay in the cache, and the Gaussians of an item lie side by side.
#pragma once

#include "activate.h"
#include "bits.h"
#include "decode_layout.h"
#include "layout.h"
#include "product.h"

namespace splat::SPLAT_ISA {

// Relative error 3e-7 (the double build: to rounding); NaN of NaN.
SPLAT_INLINE F tanh(F x) {
#if defined(SPLAT_SIMD_DOUBLE)
  alignas(64) real t[W];
  store(t, x);
  for (int i = 0; i < W; ++i) t[i] = std::tanh(t[i]);
  return load(t);
#else
  const F size = abs(x), square = x * x;
  F series = fma(square, set1(-0.00570497446f), set1(0.0206390754f));  // minimax up to 0.625
  series = fma(square, series, set1(-0.0537397112f));
  series = fma(square, series, set1(0.133314421f));
  series = fma(square, series, set1(-0.333332819f));
  const F large = set1(1) - set1(2) / (exp(size + size) + set1(1));
  return sel(size < set1(0.625f), fma(square * x, series, x), sel(x < set1(0), -large, large));
#endif
}

class Decoding {
 public:
  // Reads what the networks read, decides which slots make a Gaussian, and says how many do.
  int64_t count(const Anchors& anchors) {
    StageClock clock;
    anchors_ = anchors;
    layout_.set(anchors);
    weights_.set(layout_, anchors);
    items_ = (anchors.count + kAnchors - 1) / kAnchors;
    const std::size_t room = std::size_t(items_) * kAnchors;
    seen_.resize(room * layout_.row), opacities_.resize(room * layout_.padded[kOpacityHead]);
    if (anchors.keep) hidden_.resize(room * layout_.units);
    kept_.resize(room), starts_.resize(items_ + 1);
    parallel_for(items_, [&](std::ptrdiff_t item) { starts_[item + 1] = opacities_of(item); });
    starts_[0] = 0;
    for (int64_t item = 0; item < items_; ++item) starts_[item + 1] += starts_[item];
    clock.done(kDecode);
    return starts_[items_];
  }

  // Writes the Gaussians that were counted.
  void write(const DecodedRows& out) {
    StageClock clock;
    if (anchors_.keep) inverse_.resize(starts_[items_]), shares_.resize(3 * starts_[items_]);
    parallel_for(items_, [&](std::ptrdiff_t item) { write_item(item, out); });
    clock.done(kDecode);
  }

  void backward(const DecodedGradients& g);  // in decode_backward.h

  int64_t bytes() const {
    return seen_.bytes() + hidden_.bytes() + opacities_.bytes() + kept_.bytes() + starts_.bytes() + inverse_.bytes() +
           shares_.bytes() + sums_.bytes();
  }

 private:
  int anchors_of(std::ptrdiff_t item) const { return (int)least<int64_t>(kAnchors, anchors_.count - item * kAnchors); }
  const int64_t* rows_of(std::ptrdiff_t item) const { return anchors_.rows + item * kAnchors; }
  real* seen_of(std::ptrdiff_t item) const { return seen_.data() + item * kAnchors * layout_.row; }
  real* hidden_of(std::ptrdiff_t item, DecodeScratch& s) const {
    return anchors_.keep ? hidden_.data() + item * kAnchors * layout_.units : s.hidden.data();
  }

  // [feature, direction, distance, 1] of an item's anchors, zeros behind the last.
  void look(std::ptrdiff_t item) const {
    const int here = anchors_of(item), f = layout_.features;
    const int64_t* rows = rows_of(item);
    const auto *positions = static_cast<const real*>(anchors_.positions);
    const auto *features = static_cast<const real*>(anchors_.features);
    real* seen = seen_of(item);
    alignas(64) real way[4][kAnchors] = {};
    for (int i = 0; i < here; ++i)
      for (int k = 0; k < 3; ++k) way[k][i] = positions[3 * rows[i] + k] - real(anchors_.centre[k]);
    for (int i = 0; i < here; i += W) {
      const F x = load(way[0] + i), y = load(way[1] + i), z = load(way[2] + i);
      const F length = sqrt(x * x + y * y + z * z), inverse = set1(1) / mx(length, set1(real(kTinyLength)));
      store(way[0] + i, x * inverse), store(way[1] + i, y * inverse), store(way[2] + i, z * inverse);
      store(way[3] + i, anchors_.distance ? length : set1(0));
    }
    for (int i = 0; i < here; ++i, seen += layout_.row) {
      const real* from = features + rows[i] * f;
      int p = 0;
      for (; p + W <= f; p += W) store(seen + p, load(from + p));
      for (; p < f; ++p) seen[p] = from[p];
      for (int k = 0; k < 4; ++k) seen[f + k] = way[k][i];
      seen[f + 4] = 1;
      for (p = f + kSeen; p < layout_.row; ++p) seen[p] = 0;
    }
    fill(seen, seen + (rounded_up(here, kProductRows) - here) * layout_.row, real(0));
  }

  // Hidden units of the heads from `head` up to `end`.
  void first_layers(std::ptrdiff_t item, real* hidden, int head, int end) const {
    const int from = head * layout_.hidden, units = (end - head) * layout_.hidden;
    const real* weights = weights_.first.data() + from;
    const int inner = layout_.features + (anchors_.distance ? 4 : 3);
    product<kRelu>({seen_of(item), layout_.row, 1, weights, layout_.units, inner, hidden + from, layout_.units,
                    weights + std::ptrdiff_t(layout_.read - 1) * layout_.units},
                   rounded_up(anchors_of(item), kProductRows), units / W);
  }
  void second_layer(std::ptrdiff_t item, const real* hidden, int head, real* out, int out_row) const {
    const real* weights = weights_.second[head].data();
    const int padded = layout_.padded[head];
    product<kAffine>({hidden + head * layout_.hidden, layout_.units, 1, weights, padded, layout_.hidden, out, out_row,
                      weights + layout_.hidden * padded},
                     rounded_up(anchors_of(item), kProductRows), padded / W);
  }

  int64_t opacities_of(std::ptrdiff_t item) const {
    DecodeScratch& s = own<DecodeScratch>();
    s.fit(layout_);
    const int here = anchors_of(item), slots = layout_.slots, padded = layout_.padded[kOpacityHead];
    real *hidden = hidden_of(item, s), *out = opacities_.data() + item * kAnchors * padded;
    look(item);
    first_layers(item, hidden, kOpacityHead, kColorHead);
    second_layer(item, hidden, kOpacityHead, out, padded);
    const auto* masks = static_cast<const real*>(anchors_.masks);
    int64_t total = 0;
    for (int i = 0; i < here; ++i, out += padded) {
      uint32_t bits_here = 0;
      const real* mask = masks ? masks + rows_of(item)[i] * slots : nullptr;
      for (int j = 0; j < slots; j += W) {
        const F value = tanh(load(out + j));
        store(out + j, value);
        const F opacity = mask ? value * load_some(mask + j, (int)least(W, slots - j)) : value;
        bits_here |= bits(opacity > set1(0)) << j;
      }
      bits_here &= (1u << slots) - 1;
      kept_[item * kAnchors + i] = bits_here;
      total += count_bits(bits_here);
    }
    return total;
  }

  // e to the power of what anchors reach, eight numbers each of which six count.
  void reaches(std::ptrdiff_t item, real* out) const {
    const int here = anchors_of(item);
    const auto* reach = static_cast<const real*>(anchors_.reach);
    for (int i = 0; i < here; ++i) {
      const real* from = reach + 6 * rows_of(item)[i];
      for (int k = 0; k < 8; ++k) out[8 * i + k] = k < 6 ? from[k] : real(0);
    }
    fill(out + 8 * here, out + rounded_up(8 * here, W), real(0));
    for (int i = 0; i < 8 * here; i += W) store(out + i, exp(load(out + i)));
  }

  void write_item(std::ptrdiff_t item, const DecodedRows& o) const;
  void backward_item(std::ptrdiff_t item, const DecodedGradients& g, real* sums) const;
  void by_run(std::ptrdiff_t item, const DecodedGradients& g, DecodeScratch& s) const;
  void by_outputs(std::ptrdiff_t item, const DecodedGradients& g, DecodeScratch& s) const;
  void clear(const DecodedGradients& g, int64_t first, int64_t end) const;
  void clear_others(std::ptrdiff_t item, const DecodedGradients& g) const;
  void sum_up(const DecodedGradients& g, std::ptrdiff_t chunks);

  Anchors anchors_{};
  DecodeLayout layout_{};
  DecodeWeights weights_;
  int64_t items_ = 0;
  Buffer<real> seen_, hidden_;  // [anchors, F + 5 and padding], [anchors, 3 H]
  Buffer<real> opacities_;      // [anchors, slots and padding] before the masks
  Buffer<uint32_t> kept_;       // [anchors] bit j: slot j makes a Gaussian
  Buffer<int64_t> starts_;      // [items + 1] Gaussians of the items before
  Buffer<real> inverse_;        // [n] 1 / length of the quaternions
  Buffer<real> shares_;         // [n, 3] of the anchors' sizes that the scales are
  Buffer<real> sums_;           // [chunks, size] gradients of the weights
};

inline void Decoding::write_item(std::ptrdiff_t item, const DecodedRows& o) const {
  DecodeScratch& s = own<DecodeScratch>();
  s.fit(layout_);
  const DecodeLayout& l = layout_;
  real *hidden = hidden_of(item, s), *out = s.outputs.data();
  first_layers(item, hidden, kColorHead, kHeads);
  second_layer(item, hidden, kColorHead, out + l.begin[kColorHead], l.columns);
  second_layer(item, hidden, kCovarianceHead, out + l.begin[kCovarianceHead], l.columns);
  const int n = int(starts_[item + 1] - starts_[item]), here = anchors_of(item), slots = l.slots;
  const int64_t start = starts_[item], *rows = rows_of(item);
  real *reach = s.reach.data(), *color = s.run[0].data(), *scale = s.run[1].data(), *size = s.run[2].data();
  reaches(item, reach);
  const auto* masks = static_cast<const real*>(anchors_.masks);
  real *means = static_cast<real*>(o.means) + 3 * start, *quats = static_cast<real*>(o.quats) + 4 * start;
  real* opacities = static_cast<real*>(o.opacities) + start;
  int64_t* source = o.source + start;
  const real* tanhs = opacities_.data() + item * kAnchors * l.padded[kOpacityHead];
  for (int i = 0, t = 0; i < here; ++i, out += l.columns, reach += 8, tanhs += l.padded[kOpacityHead]) {
    const int64_t first = rows[i] * slots;
    const real *position = static_cast<const real*>(anchors_.positions) + 3 * rows[i];
    const real *offsets = static_cast<const real*>(anchors_.offsets) + 3 * first;
    const real *colors = out + l.begin[kColorHead], *shares = out + l.begin[kCovarianceHead], *turns = shares + 3 * slots;
    const real x = position[0], y = position[1], z = position[2], by_x = reach[0], by_y = reach[1], by_z = reach[2];
    for (uint32_t rest = kept_[item * kAnchors + i]; rest; rest &= rest - 1, ++t) {
      const int j = lowest_bit(rest);
      // Four at once where three are meant: the next one's come over the fourth.
      std::memcpy(color + 3 * t, colors + 3 * j, 4 * sizeof(real));
      std::memcpy(scale + 3 * t, shares + 3 * j, 4 * sizeof(real));
      std::memcpy(size + 3 * t, reach + 3, 4 * sizeof(real));
      std::memcpy(quats + 4 * t, turns + 4 * j, 4 * sizeof(real));
      const real *offset = offsets + 3 * j, value = tanhs[j];
      real* mean = means + 3 * t;
      mean[0] = x + offset[0] * by_x, mean[1] = y + offset[1] * by_y, mean[2] = z + offset[2] * by_z;
      opacities[t] = masks ? value * masks[first + j] : value;
      source[t] = first + j;
    }
  }
  for (int k = 0; k < 3; ++k) fill(&s.run[k][3 * n], &s.run[k][rounded_up(3 * n, W)], real(0));
  real *colors = static_cast<real*>(o.colors) + 3 * start, *scales = static_cast<real*>(o.scales) + 3 * start;
  real* shares = shares_.data() + 3 * start;
  for (int t = 0; t < 3 * n; t += W) {
    const int some = (int)least(W, 3 * n - t);
    store_some(colors + t, logistic(load(color + t)), some);
    const F share = logistic(load(scale + t));
    if (anchors_.keep) store_some(shares + t, share, some);
    store_some(scales + t, load(size + t) * share, some);
  }
  for (int t = 0; t < n; t += W) {
    const int some = (int)least(W, n - t);
    F q[4];
    load_columns(quats + 4 * t, 4, 4, some, q);
    const F length = sqrt(fma(q[0], q[0], fma(q[1], q[1], fma(q[2], q[2], q[3] * q[3]))));
    const F inverse = set1(1) / mx(set1(real(kTinyLength)), length);
    for (F& part : q) part = part * inverse;
    store_columns(q, 4, some, quats + 4 * t, 4);
    if (anchors_.keep) store_some(inverse_.data() + start + t, inverse, some);
  }
}

}  // namespace splat::SPLAT_ISA
