// Gradients of decoding: from the Gaussians to anchors and weights.
//
// Items go in chunks whose number depends on the anchors alone. Each chunk has its own sums of the
// weights' gradients, which are added up in order: no number of threads changes a bit of them.
#pragma once

#include "decode.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kChunkItems = 8, kMostChunks = 64;

// Gradients that need only a Gaussian's own numbers: by the outputs of colour, scale and quaternion,
// and by the logarithm of the scale.
inline void Decoding::by_run(std::ptrdiff_t item, const DecodedGradients& g, DecodeScratch& s) const {
  const int64_t start = starts_[item];
  const int n = int(starts_[item + 1] - start);
  const auto at = [start](const void* p, int columns) { return static_cast<const real*>(p) + columns * start; };
  real *colors = s.run[0].data(), *scales = s.run[1].data(), *turns = s.run[2].data(), *logs = s.run[3].data();
  if (!g.v_colors) fill(colors, colors + 3 * n, real(0));
  if (!g.v_scales) fill(scales, scales + 3 * n, real(0)), fill(logs, logs + 3 * n, real(0));
  if (!g.v_quats) fill(turns, turns + 4 * n, real(0));
  const auto in_run = [n](int columns, auto&& fn) {
    for (int t = 0; t < columns * n; t += W) fn(t, (int)least(W, columns * n - t));
  };
  if (g.v_colors)
    in_run(3, [&, c = at(g.colors, 3), v = at(g.v_colors, 3)](int t, int some) {
      const F color = load_some(c + t, some);
      store(colors + t, load_some(v + t, some) * (color * (set1(1) - color)));
    });
  if (g.v_scales)
    in_run(3, [&, c = at(g.scales, 3), v = at(g.v_scales, 3)](int t, int some) {
      const F log = load_some(v + t, some) * load_some(c + t, some);
      store(logs + t, log);
      store(scales + t, log * (set1(1) - load_some(shares_.data() + 3 * start + t, some)));
    });
  if (!g.v_quats) return;
  const real *quats = at(g.quats, 4), *v_quats = at(g.v_quats, 4);
  in_run(1, [&](int t, int some) {
    F q[4], v[4];
    load_columns(quats + 4 * t, 4, 4, some, q);
    load_columns(v_quats + 4 * t, 4, 4, some, v);
    const F inverse = load_some(inverse_.data() + start + t, some);
    const F along = fma(q[0], v[0], fma(q[1], v[1], fma(q[2], v[2], q[3] * v[3])));
    // One shorter than the least that is divided by was not brought to length 1.
    const F turned = zero_unless(inverse < set1(real(0.999999 / kTinyLength)), along);
    for (int k = 0; k < 4; ++k) v[k] = fnma(turned, q[k], v[k]) * inverse;
    store_columns(v, 4, W, turns + 4 * t, 4);
  });
}

// The gradients by the outputs of all heads, 0 where a slot makes no Gaussian; and those of an
// anchor's reach, offsets and masks.
inline void Decoding::by_outputs(std::ptrdiff_t item, const DecodedGradients& g, DecodeScratch& s) const {
  static constexpr real zeros[3] = {};
  const DecodeLayout& l = layout_;
  const int here = anchors_of(item), slots = l.slots;
  const int64_t start = starts_[item], *rows = rows_of(item);
  real *out = s.outputs.data(), *reach = s.reach.data();
  fill(out, out + rounded_up(here, kProductRows) * l.columns, real(0));
  reaches(item, reach);
  const auto* masks = static_cast<const real*>(anchors_.masks);
  const auto* v_opacities = static_cast<const real*>(g.v_opacities) + (g.v_opacities ? start : 0);
  const real* v_mean = g.v_means ? static_cast<const real*>(g.v_means) + 3 * start : zeros;
  const int next_mean = g.v_means ? 3 : 0;
  const real *colors = s.run[0].data(), *scales = s.run[1].data(), *turns = s.run[2].data(), *logs = s.run[3].data();
  const real* tanhs = opacities_.data() + item * kAnchors * l.padded[kOpacityHead];
  for (int i = 0; i < here; ++i, out += l.columns, reach += 8, tanhs += l.padded[kOpacityHead]) {
    const int64_t first = rows[i] * slots;
    real *to_colors = out + l.begin[kColorHead], *to_scales = out + l.begin[kCovarianceHead], *to_turns = to_scales + 3 * slots;
    const real* offsets = static_cast<const real*>(anchors_.offsets) + 3 * first;
    real* v_offsets = g.v_offsets ? static_cast<real*>(g.v_offsets) + 3 * first : nullptr;
    real* v_masks = g.v_masks ? static_cast<real*>(g.v_masks) + first : nullptr;
    if (v_offsets) fill(v_offsets, v_offsets + 3 * slots, real(0));
    if (v_masks) fill(v_masks, v_masks + slots, real(0));
    const real by_x = reach[0], by_y = reach[1], by_z = reach[2];
    real x = 0, y = 0, z = 0, log_x = 0, log_y = 0, log_z = 0;
    for (uint32_t rest = kept_[item * kAnchors + i]; rest; rest &= rest - 1) {
      const int j = lowest_bit(rest);
      std::memcpy(to_colors + 3 * j, colors, 3 * sizeof(real));
      std::memcpy(to_scales + 3 * j, scales, 3 * sizeof(real));
      std::memcpy(to_turns + 4 * j, turns, 4 * sizeof(real));
      const real along_x = v_mean[0] * by_x, along_y = v_mean[1] * by_y, along_z = v_mean[2] * by_z;
      x += along_x * offsets[3 * j], y += along_y * offsets[3 * j + 1], z += along_z * offsets[3 * j + 2];
      log_x += logs[0], log_y += logs[1], log_z += logs[2];
      if (v_offsets) v_offsets[3 * j] = along_x, v_offsets[3 * j + 1] = along_y, v_offsets[3 * j + 2] = along_z;
      if (v_opacities) {
        const real value = tanhs[j], v = *v_opacities++;
        out[j] = (masks ? v * masks[first + j] : v) * (1 - value * value);
        if (v_masks) v_masks[j] = v * value;
      }
      colors += 3, scales += 3, turns += 4, logs += 3, v_mean += next_mean;
    }
    if (g.v_reach) {
      real* to = static_cast<real*>(g.v_reach) + 6 * rows[i];
      to[0] = x, to[1] = y, to[2] = z, to[3] = log_x, to[4] = log_y, to[5] = log_z;
    }
  }
}

inline void Decoding::backward_item(std::ptrdiff_t item, const DecodedGradients& g, real* sums) const {
  DecodeScratch& s = own<DecodeScratch>();
  s.fit(layout_);
  by_run(item, g, s);
  by_outputs(item, g, s);
  const DecodeLayout& l = layout_;
  const int here = anchors_of(item), padded = rounded_up(here, kProductRows);
  const real *hidden = hidden_.data() + item * kAnchors * l.units, *seen = seen_of(item), *out = s.outputs.data();
  static constexpr real one = 1;
  real* by_hidden = s.hidden.data();
  for (int h = 0; h < kHeads; ++h) {
    const real *units = hidden + h * l.hidden, *by_output = out + l.begin[h];
    const int vectors = l.padded[h] / W;
    product<kMasked>({by_output, l.columns, 1, weights_.second_turned[h].data(), l.hidden, l.outputs[h],
                      by_hidden + h * l.hidden, l.units, units}, padded, l.hidden / W);
    real* to = sums + l.second[h];
    product<kAdd>({units, 1, l.units, by_output, l.columns, here, to, l.padded[h]}, l.hidden, vectors);
    product<kAdd>({&one, 0, 0, by_output, l.columns, here, to + l.hidden * l.padded[h], l.padded[h]}, 1, vectors);
  }
  product<kAdd>({seen, 1, l.row, by_hidden, l.units, here, sums, l.units}, l.read, l.units / W);
  if (!g.v_features) return;
  real* found = s.features.data();
  product<kPlain>({by_hidden, l.units, 1, weights_.first_turned.data(), l.feature_row, l.units, found, l.feature_row},
                  padded, l.feature_row / W);
  for (int i = 0; i < here; ++i, found += l.feature_row) {
    real* to = static_cast<real*>(g.v_features) + rows_of(item)[i] * l.features;
    int p = 0;
    for (; p + W <= l.features; p += W) store(to + p, load(found + p));
    for (; p < l.features; ++p) to[p] = found[p];
  }
}

// Zeros for the rows from `first` up to `end`.
inline void Decoding::clear(const DecodedGradients& g, int64_t first, int64_t end) const {
  const auto zero = [=](void* p, int64_t columns) {
    if (p && first < end) std::memset(static_cast<real*>(p) + first * columns, 0, (end - first) * columns * sizeof(real));
  };
  zero(g.v_features, layout_.features);
  zero(g.v_reach, 6);
  zero(g.v_offsets, 3 * layout_.slots);
  zero(g.v_masks, layout_.slots);
}

// Zeros for the rows between an item's, and before the next one's.
inline void Decoding::clear_others(std::ptrdiff_t item, const DecodedGradients& g) const {
  const int64_t* rows = anchors_.rows;
  if (item == 0) clear(g, 0, rows[0]);
  for (int64_t i = item * kAnchors, end = i + anchors_of(item); i < end; ++i) {
    const int64_t next = i + 1 < anchors_.count ? rows[i + 1] : anchors_.n;
    if (next > rows[i] + 1) clear(g, rows[i] + 1, next);
  }
}

// Adds the chunks' sums into the first one's place, and writes them as the weights lie.
inline void Decoding::sum_up(const DecodedGradients& g, std::ptrdiff_t chunks) {
  const DecodeLayout& l = layout_;
  constexpr std::ptrdiff_t kPart = 512;
  real* sums = sums_.data();
  parallel_for((l.size + kPart - 1) / kPart, [&](std::ptrdiff_t part) {
    for (std::ptrdiff_t i = part * kPart, end = least(l.size, i + kPart); i < end; i += W) {
      F sum = load(sums + i);
      for (std::ptrdiff_t c = 1; c < chunks; ++c) sum += load(sums + c * l.size + i);
      store(sums + i, sum);
    }
  });
  for (int h = 0; h < kHeads; ++h) {
    if (auto* to = static_cast<real*>(layers_of(g, h).first))
      for (int i = 0; i < l.read; ++i)
        std::memcpy(to + i * l.hidden, sums + i * l.units + h * l.hidden, l.hidden * sizeof(real));
    if (auto* to = static_cast<real*>(layers_of(g, h).second))
      for (int c = 0; c < l.outputs[h]; ++c)
        for (int i = 0, column = l.output(h, c); i <= l.hidden; ++i)
          to[i * l.outputs[h] + column] = sums[l.second[h] + i * l.padded[h] + c];
  }
}

inline void Decoding::backward(const DecodedGradients& g) {
  StageClock clock;
  weights_.turn(layout_);
  bool ascending = anchors_.count > 0;
  for (int64_t i = 1; i < anchors_.count; ++i) ascending &= anchors_.rows[i - 1] < anchors_.rows[i];
  if (!ascending) {
    constexpr int64_t kRows = 1024;
    parallel_for((anchors_.n + kRows - 1) / kRows,
                 [&](std::ptrdiff_t i) { clear(g, i * kRows, least(anchors_.n, (i + 1) * kRows)); });
  }
  const std::ptrdiff_t per = most<std::ptrdiff_t>(kChunkItems, (items_ + kMostChunks - 1) / kMostChunks);
  const std::ptrdiff_t chunks = most<std::ptrdiff_t>(1, (items_ + per - 1) / per);
  sums_.resize(chunks * layout_.size);
  parallel_for(chunks, [&](std::ptrdiff_t chunk) {
    real* sums = sums_.data() + chunk * layout_.size;
    fill(sums, sums + layout_.size, real(0));
    for (std::ptrdiff_t item = chunk * per; item < least<std::ptrdiff_t>(items_, (chunk + 1) * per); ++item) {
      backward_item(item, g, sums);
      if (ascending) clear_others(item, g);
    }
  });
  sum_up(g, chunks);
  clock.done(kDecode);
}

}  // namespace splat::SPLAT_ISA
