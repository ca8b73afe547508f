// A field over space and its gradient: products of planes and lines (the vector-matrix factors of
// TensoRF, Chen et al. 2022), read by a network of one hidden layer.
//
// With phi = [P_0 L_0, P_1 L_1, P_2 L_2, u, 1] of a point u, h = phi W1 and a = softplus(beta h) / beta,
// the value is a . w2 + w2's last; its gradient is J^T W1 (w2 a'), where J = d phi / d u. Points go in
// blocks, so that the matrices stay in the cache; in planes and lines the channels are the lanes.
// Neighbours in space come one after another, so that the control points stay in the cache, too.
#pragma once

#include "field_layout.h"
#include "product.h"

namespace splat::SPLAT_ISA {

class Field {
 public:
  void forward(const FieldPoints& points) {
    StageClock clock;
    points_ = points;
    layout_.set(points);
    blocks_ = (points.n + kFieldPoints - 1) / kFieldPoints;
    if (points.n && !points.gradient) {
      parallel_for(blocks_, [&](std::ptrdiff_t block) { forward_block<false>(block); });
    } else {
      turn(), sort();
      parallel_for(blocks_, [&](std::ptrdiff_t block) { forward_block<true>(block); });
    }
    clock.done(kOther);
  }

  void backward(const FieldGradients& g);  // in field_backward.h

  int64_t bytes() const {
    return turned_.bytes() + boxes_.bytes() + order_.bytes() + starts_.bytes() + sums_.bytes() + by_planes_.bytes() +
           edges_.bytes();
  }

 private:
  const real* planes() const { return static_cast<const real*>(points_.planes); }
  const real* lines() const { return static_cast<const real*>(points_.lines); }
  const real* first() const { return static_cast<const real*>(points_.first); }
  const real* second() const { return static_cast<const real*>(points_.second); }
  int points_of(std::ptrdiff_t block) const { return (int)least<int64_t>(kFieldPoints, points_.n - block * kFieldPoints); }
  real* edge_at(int axis, int slab) const {
    return edges_.data() + (std::ptrdiff_t(axis) * layout_.slabs + slab) * 2 * layout_.side * layout_.channels;
  }

  // The part of the first layer that reads features, transposed.
  void turn() {
    const int width = layout_.features, hidden = layout_.hidden;
    real* to = turned_.resize(std::size_t(width) * hidden);
    for (int k = 0; k < hidden; ++k)
      for (int j = 0; j < width; ++j) to[k * width + j] = first()[j * hidden + k];
  }

  // Columns of `here` rows of an array [n, 3], zeros behind the last. Without `rows` it is those from `first` on.
  static void fetch(const void* array, const int32_t* rows, std::ptrdiff_t first, int here, real (*out)[kFieldPoints]) {
    for (int i = 0; i < here; ++i) {
      const real* from = static_cast<const real*>(array) + 3 * (rows ? std::ptrdiff_t(rows[i]) : first + i);
      for (int a = 0; a < 3; ++a) out[a][i] = from[a];
    }
    for (int a = 0; a < 3; ++a) fill(out[a] + here, out[a] + kFieldPoints, real(0));
  }

  // A row of what the network reads, but for the features.
  void rest_of_row(real* row, real x, real y, real z, real one) const {
    row += layout_.features;
    row[0] = x, row[1] = y, row[2] = z, row[3] = one;
  }

  void sort();
  template <bool kSlopes>
  void forward_block(std::ptrdiff_t block) const;
  template <bool kSlopes>
  void features(FieldScratch& s, int here) const;
  void backward_block(std::ptrdiff_t block, const FieldGradients& g, real* sums) const;
  void features_along(FieldScratch& s, int here) const;
  void by_layers(FieldScratch& s, const real* v_values, real* sums) const;
  void by_taps(FieldScratch& s, int here, std::ptrdiff_t start, real* sums) const;
  void collect(int axis, int slab, const FieldGradients& g) const;
  void scatter(int axis, int begin, int end, const int32_t* places, int here, const FieldGradients& g) const;
  void join(int axis, int slab, const FieldGradients& g) const;
  void sum_up(const FieldGradients& g, std::ptrdiff_t chunks) const;

  FieldPoints points_{};
  FieldLayout layout_{};
  std::ptrdiff_t blocks_ = 0;
  Buffer<real> turned_;     // [H, 3 C]
  Buffer<int32_t> boxes_;   // [n] box of a point
  Buffer<int32_t> order_;   // [n] points by box, then as they came
  Buffer<int32_t> starts_;  // [boxes + 1] where a box begins there
  Buffer<real> sums_;       // [chunks, size] gradients of layers and lines
  Buffer<real> by_planes_;  // [3, n, 2, C] gradients by a plane's value and its derivative, in that order
  Buffer<real> edges_;      // [3, slabs, 2, R, C] what a slab found for two rows of the next
};

// Points by boxes of control points. It is a counting sort: short beside the rest, and stable.
inline void Field::sort() {
  const FieldLayout& l = layout_;
  const int boxes = l.slabs * l.slabs * l.slabs;
  int32_t *box = boxes_.resize(points_.n), *order = order_.resize(points_.n), *starts = starts_.resize(boxes + 1, 0);
  parallel_for(blocks_, [&](std::ptrdiff_t block) {
    alignas(64) real at[3][kFieldPoints];
    const int here = points_of(block);
    const std::ptrdiff_t start = block * kFieldPoints;
    fetch(points_.points, nullptr, start, here, at);
    const F scale = set1(1 / real(l.slab_rows));
    for (int i = 0; i < kFieldPoints; i += W) {
      F index = set1(0);
      for (int a = 0; a < 3; ++a) {
        const F slab = floor((first_of_three(within(load(at[a] + i)), l.side) + real(0.5)) * scale);
        index = fma(index, set1(real(l.slabs)), slab);
      }
      store(at[0] + i, index);
    }
    for (int i = 0; i < here; ++i) box[start + i] = (int32_t)at[0][i];
  });
  for (int64_t i = 0; i < points_.n; ++i) ++starts[box[i]];
  int32_t before = 0;
  for (int b = 0; b <= boxes; ++b) {
    const int32_t here = starts[b];
    starts[b] = before, before += here;
  }
  for (int64_t i = 0; i < points_.n; ++i) order[starts[box[i]]++] = int32_t(i);
  for (int b = boxes; b > 0; --b) starts[b] = starts[b - 1];
  starts[0] = 0;
}

// Features of a block, and if wanted their derivatives by x, y and z.
template <bool kSlopes>
inline void Field::features(FieldScratch& s, int here) const {
  const FieldLayout& l = layout_;
  const FieldTaps& t = s.taps;
  const int channels = l.channels, width = l.features;
  const std::ptrdiff_t row = std::ptrdiff_t(l.side) * channels;
  for (int a = 0; a < 3; ++a) {
    const int b = (a + 1) % 3, c = (a + 2) % 3;
    const FieldAxis x = t.axis(a), y = t.axis(b), z = t.axis(c);
    const real *plane = planes(), *line = lines();
    real *seen = s.seen.data() + a * channels, *slopes = s.parts.data() + a * channels;
    for (int i = 0; i < here; ++i, seen += l.row, slopes += 3 * width) {
      for (int v = 0; v < channels; v += W) {
        const real *p = plane + t.plane[a][i] + v, *q = line + t.line[a][i] + v;
        F value = set1(0), by_row = set1(0), by_column = set1(0), along = set1(0), slope = set1(0);
        for (int j = 0; j < 3; ++j, p += row, q += channels) {
          F across = set1(0), turned = set1(0);
          for (int k = 0; k < 3; ++k) {
            const F point = load(p + k * channels);
            across = fma(z.w(k, i), point, across);
            if (kSlopes) turned = fma(z.d(k, i), point, turned);
          }
          value = fma(y.w(j, i), across, value);
          if (kSlopes) by_row = fma(y.d(j, i), across, by_row), by_column = fma(y.w(j, i), turned, by_column);
          along = fma(x.w(j, i), load(q), along);
          if (kSlopes) slope = fma(x.d(j, i), load(q), slope);
        }
        store(seen + v, value * along);
        if (!kSlopes) continue;
        store(slopes + a * width + v, value * slope);
        store(slopes + b * width + v, by_row * along);
        store(slopes + c * width + v, by_column * along);
      }
    }
  }
  for (int i = 0; i < here; ++i) rest_of_row(s.seen.data() + i * l.row, t.at[0][i], t.at[1][i], t.at[2][i], 1);
}

template <bool kSlopes>
inline void Field::forward_block(std::ptrdiff_t block) const {
  FieldScratch& s = own<FieldScratch>();
  const FieldLayout& l = layout_;
  s.fit(l);
  const int here = points_of(block), rows = rounded_up(here, kProductRows);
  const std::ptrdiff_t start = block * kFieldPoints;
  const int32_t* order = kSlopes ? order_.data() + start : nullptr;
  fetch(points_.points, order, start, here, s.taps.at);
  if (kSlopes)
    for (auto& factor : s.taps.factor) fill(factor, factor + kFieldPoints, real(1));
  s.taps.place(l);
  real *seen = s.seen.data(), *hidden = s.hidden.data(), *sums = s.sums.data();
  features<kSlopes>(s, here);
  fill(seen + here * l.row, seen + rows * l.row, real(0));
  product<kAffine>({seen, l.row, 1, first(), l.hidden, l.features + 3, hidden, l.hidden, first() + (l.features + 3) * l.hidden},
                   rows, l.hidden / W);

  const Softplus softplus(points_.beta);
  const real* coordinates = first() + l.features * l.hidden;
  for (int i = 0; i < here; ++i, hidden += l.hidden, sums += 4 * W) {
    F sum[4] = {set1(0), set1(0), set1(0), set1(0)};
    for (int k = 0; k < l.hidden; k += W) {
      F value, slope;
      softplus(load(hidden + k), value, slope);
      const F weight = load(second() + k);
      sum[0] = fma(weight, value, sum[0]);
      if (!kSlopes) continue;
      slope = weight * slope;
      store(hidden + k, slope);
      for (int d = 0; d < 3; ++d) sum[1 + d] = fma(slope, load(coordinates + d * l.hidden + k), sum[1 + d]);
    }
    store(sums, sum[0]);
    if (kSlopes)
      for (int d = 1; d < 4; ++d) store(sums + d * W, sum[d]);
  }
  sums = s.sums.data(), hidden = s.hidden.data();
  const real bias = second()[l.hidden];
  auto* values = static_cast<real*>(points_.value);
  if (!kSlopes) {
    for (int i = 0; i < here; ++i) values[start + i] = sum(load(sums + 4 * W * i)) + bias;
    return;
  }
  real* by = s.features.data();
  product<kPlain>({hidden, l.hidden, 1, turned_.data(), l.features, l.hidden, by, l.features}, rows, l.features / W);
  const real* slopes = s.parts.data();
  auto* gradient = static_cast<real*>(points_.gradient);
  for (int i = 0; i < here; i += 2) {
    F sum[8];
    real found[8];
    for (int k = 0; k < 2; ++k, sums += 4 * W) {
      F* to = sum + 4 * k;
      for (int d = 0; d < 4; ++d) to[d] = load(sums + d * W);
      for (int v = 0; v < l.features; v += W, by += W, slopes += W)
        for (int d = 0; d < 3; ++d) to[1 + d] = fma(load(by), load(slopes + d * l.features), to[1 + d]);
      slopes += 2 * l.features;
    }
    sum8(sum, found);
    for (int k = 0; k < 2 && i + k < here; ++k) {
      const std::ptrdiff_t to = order[i + k];
      values[to] = found[4 * k] + bias;
      for (int d = 0; d < 3; ++d) gradient[3 * to + d] = found[4 * k + 1 + d];
    }
  }
}

}  // namespace splat::SPLAT_ISA
