// Gradients of a field by its parameters, from those of its values and of its gradients.
//
// Gradients v of the values and v' of the gradients make v f + v'. grad f, and v'. grad f is what f
// changes by along v': with p = J v' and q = p W1 it is the sum of w2 a' q. By dh = w2 (v a' + a'' q)
// and dq = w2 a', the layers get phi^T dh + p^T dq and v a + a' q, the features W1 dh and W1 dq.
// Sums of layers and lines belong to chunks of blocks and are added up in order. What the planes get
// is first written down point by point; then slabs of rows collect what falls on them and the next two
// rows, their points in the same order always. No number of threads changes a bit of either.
#pragma once

#include "field.h"

namespace splat::SPLAT_ISA {

constexpr std::ptrdiff_t kChunkBlocks = 4, kMostFieldChunks = 32;

// Features of a block in its first rows of `seen`, and in its second what they change by along v';
// of planes and lines, the same side by side in `parts`.
inline void Field::features_along(FieldScratch& s, int here) const {
  const FieldLayout& l = layout_;
  const FieldTaps& t = s.taps;
  const int channels = l.channels;
  const std::ptrdiff_t row = std::ptrdiff_t(l.side) * channels, half = kFieldPoints * l.row;
  real* parts = s.parts.data();
  for (int a = 0; a < 3; ++a) {
    const FieldAxis x = t.axis(a), y = t.axis((a + 1) % 3), z = t.axis((a + 2) % 3);
    const real *plane = planes(), *line = lines();
    real* seen = s.seen.data() + a * channels;
    for (int i = 0; i < here; ++i, seen += l.row) {
      for (int v = 0; v < channels; v += W, parts += 4 * W) {
        const real *p = plane + t.plane[a][i] + v, *q = line + t.line[a][i] + v;
        F value = set1(0), change = set1(0), along = set1(0), slope = set1(0);
        for (int j = 0; j < 3; ++j, p += row, q += channels) {
          F across = set1(0), turned = set1(0);
          for (int k = 0; k < 3; ++k) {
            const F point = load(p + k * channels);
            across = fma(z.w(k, i), point, across), turned = fma(z.d(k, i), point, turned);
          }
          value = fma(y.w(j, i), across, value);
          change = fma(y.d(j, i), across, fma(y.w(j, i), turned, change));
          along = fma(x.w(j, i), load(q), along), slope = fma(x.d(j, i), load(q), slope);
        }
        store(seen + v, value * along);
        store(seen + half + v, fma(change, along, value * slope));
        store(parts, value), store(parts + W, change), store(parts + 2 * W, along), store(parts + 3 * W, slope);
      }
    }
  }
  for (int i = 0; i < here; ++i) {
    real* seen = s.seen.data() + i * l.row;
    rest_of_row(seen, t.at[0][i], t.at[1][i], t.at[2][i], 1);
    rest_of_row(seen + half, t.factor[0][i], t.factor[1][i], t.factor[2][i], 0);
  }
  real* seen = s.seen.data();
  fill(seen + here * l.row, seen + half, real(0)), fill(seen + half + here * l.row, seen + 2 * half, real(0));
}

// The layers' gradients, added to a chunk's; and those by the features.
inline void Field::by_layers(FieldScratch& s, const real* v_values, real* sums) const {
  const FieldLayout& l = layout_;
  constexpr int rows = kFieldPoints;
  real *seen = s.seen.data(), *hidden = s.hidden.data(), *changed = hidden + rows * l.hidden;
  const real* bias = first() + (l.features + 3) * l.hidden;
  product<kAffine>({seen, l.row, 1, first(), l.hidden, l.features + 3, hidden, l.hidden, bias}, rows, l.hidden / W);
  product<kPlain>({seen + rows * l.row, l.row, 1, first(), l.hidden, l.features + 3, changed, l.hidden}, rows, l.hidden / W);

  const F beta = set1(real(points_.beta));
  const Softplus softplus(points_.beta);
  real* by_second = sums + l.second;
  for (int k = 0; k < l.hidden; k += W) {
    const F weight = load(second() + k);
    F sum = load(by_second + k);
    for (int i = 0; i < rows; ++i) {
      real *h = hidden + i * l.hidden + k, *q = changed + i * l.hidden + k;
      F value, slope;
      softplus(load(h), value, slope);
      const F v = set1(v_values[i]), change = load(q), bend = beta * slope * (set1(1) - slope);
      sum += fma(v, value, slope * change);
      store(h, weight * fma(v, slope, bend * change));
      store(q, weight * slope);
    }
    store(by_second + k, sum);
  }
  for (int i = 0; i < rows; ++i) by_second[l.hidden] += v_values[i];
  product<kAdd>({seen, 1, l.row, hidden, l.hidden, 2 * rows, sums, l.hidden}, l.read, l.hidden / W);
  product<kPlain>({hidden, l.hidden, 1, turned_.data(), l.features, l.hidden, s.features.data(), l.features}, 2 * rows,
                  l.features / W);
}

// The lines' gradients, added to a chunk's; and those by what planes give, written down.
inline void Field::by_taps(FieldScratch& s, int here, std::ptrdiff_t start, real* sums) const {
  const FieldLayout& l = layout_;
  const int channels = l.channels, width = l.features;
  const real* parts = s.parts.data();
  real* lines = sums + l.lines;
  for (int a = 0; a < 3; ++a) {
    const FieldAxis x = s.taps.axis(a);
    const real *by = s.features.data() + a * channels, *by_change = by + kFieldPoints * width;
    real* plane = by_planes_.data() + 2 * (a * points_.n + start) * channels;
    for (int i = 0; i < here; ++i, by += width, by_change += width, plane += 2 * channels) {
      real* line = lines + s.taps.line[a][i];
      for (int v = 0; v < channels; v += W, parts += 4 * W) {
        const F d = load(by + v), e = load(by_change + v), along = load(parts + 2 * W);
        store(plane + v, fma(d, along, e * load(parts + 3 * W)));
        store(plane + channels + v, e * along);
        const F value = load(parts), line_value = fma(d, value, e * load(parts + W)), line_slope = e * value;
        for (int k = 0; k < 3; ++k) {
          real* to = line + k * channels + v;
          store(to, fma(x.w(k, i), line_value, fma(x.d(k, i), line_slope, load(to))));
        }
      }
    }
  }
}

inline void Field::backward_block(std::ptrdiff_t block, const FieldGradients& g, real* sums) const {
  FieldScratch& s = own<FieldScratch>();
  s.fit(layout_);
  const int here = points_of(block);
  const std::ptrdiff_t start = block * kFieldPoints;
  const int32_t* order = order_.data() + start;
  fetch(points_.points, order, start, here, s.taps.at);
  fetch(g.v_gradient, order, start, g.v_gradient ? here : 0, s.taps.factor);
  real v_values[kFieldPoints] = {};
  if (g.v_value)
    for (int i = 0; i < here; ++i) v_values[i] = static_cast<const real*>(g.v_value)[order[i]];
  s.taps.place(layout_);
  features_along(s, here);
  by_layers(s, v_values, sums);
  by_taps(s, here, start, sums);
}

// What some points, given by their places in the order, add to the rows from `begin` to `end` of a
// plane and to two beyond, which are kept apart.
inline void Field::scatter(int axis, int begin, int end, const int32_t* places, int here, const FieldGradients& g) const {
  FieldTaps& t = own<FieldScratch>().taps;
  const FieldLayout& l = layout_;
  const int b = (axis + 1) % 3, c = (axis + 2) % 3;
  const std::ptrdiff_t row = std::ptrdiff_t(l.side) * l.channels, point = 2 * l.channels;
  const real* from = by_planes_.data() + axis * points_.n * point;
  int32_t rows[kFieldPoints];
  for (int i = 0; i < here; ++i) {
    rows[i] = order_[places[i]];
    for (int v = 0; v < point; v += int(64 / sizeof(real))) SPLAT_PREFETCH(from + places[i] * point + v);
  }
  fetch(points_.points, rows, 0, here, t.at);
  fetch(g.v_gradient, rows, 0, g.v_gradient ? here : 0, t.factor);
  t.place(b, l.side), t.place(c, l.side);
  const FieldAxis y = t.axis(b), z = t.axis(c);
  real *plane = static_cast<real*>(g.v_planes) + axis * l.side * row, *edge = edge_at(axis, begin / l.slab_rows);
  const int channels = l.channels;
  for (int i = 0; i < here; ++i)
    for (int v = 0; v < channels; v += W) {
      const real* by = from + places[i] * point + v;
      const F value = load(by), change = load(by + channels);
      for (int j = 0, r = t.cell[b][i]; j < 3; ++j, ++r) {
        const F across = fma(y.w(j, i), value, y.d(j, i) * change), turned = y.w(j, i) * change;
        real* to = (r < end ? plane + r * row : edge + (r - end) * row) + t.cell[c][i] * channels + v;
        for (int k = 0; k < 3; ++k, to += channels)
          store(to, fma(z.w(k, i), across, fma(z.d(k, i), turned, load(to))));
      }
    }
}

// The gradient of a slab's rows, but for what the slab before has for them.
inline void Field::collect(int axis, int slab, const FieldGradients& g) const {
  const FieldLayout& l = layout_;
  const std::ptrdiff_t row = std::ptrdiff_t(l.side) * l.channels;
  const int begin = slab * l.slab_rows, end = slab + 1 < l.slabs ? begin + l.slab_rows : l.side;
  real *plane = static_cast<real*>(g.v_planes) + axis * l.side * row, *edge = edge_at(axis, slab);
  fill(plane + begin * row, plane + end * row, real(0));
  fill(edge, edge + 2 * row, real(0));
  // Boxes lie by x, then y, then z; those of a slab have the plane's first axis in common.
  const int strides[3] = {l.slabs * l.slabs, l.slabs, 1}, fixed = (axis + 1) % 3;
  const int outer = strides[fixed == 0 ? 1 : 0], inner = strides[fixed == 2 ? 1 : 2];
  int32_t places[kFieldPoints];
  int here = 0;
  for (int i = 0; i < l.slabs; ++i)
    for (int k = 0; k < l.slabs; ++k) {
      const int32_t* box = starts_.data() + slab * strides[fixed] + i * outer + k * inner;
      for (int32_t p = box[0]; p < box[1]; ++p) {
        places[here++] = p;
        if (here == kFieldPoints) scatter(axis, begin, end, places, here, g), here = 0;
      }
    }
  scatter(axis, begin, end, places, here, g);
}

// Adds what a slab kept apart to the rows of the next.
inline void Field::join(int axis, int slab, const FieldGradients& g) const {
  const std::ptrdiff_t row = std::ptrdiff_t(layout_.side) * layout_.channels;
  const real* edge = edge_at(axis, slab);
  real* plane = static_cast<real*>(g.v_planes) + (std::ptrdiff_t(axis) * layout_.side + (slab + 1) * layout_.slab_rows) * row;
  for (std::ptrdiff_t i = 0; i < 2 * row; i += W) store(plane + i, load(plane + i) + load(edge + i));
}

// Adds up what the chunks found for layers and lines.
inline void Field::sum_up(const FieldGradients& g, std::ptrdiff_t chunks) const {
  constexpr std::ptrdiff_t kPart = 1024;
  const FieldLayout& l = layout_;
  const auto write = [&](void* out, std::ptrdiff_t begin, std::ptrdiff_t count) {
    if (!out) return;
    parallel_for((count + kPart - 1) / kPart, [&](std::ptrdiff_t part) {
      for (std::ptrdiff_t i = part * kPart, end = least(count, i + kPart); i < end; i += W) {
        F sum = set1(0);
        for (std::ptrdiff_t c = 0; c < chunks; ++c) sum += load(sums_.data() + c * l.size + begin + i);
        store_some(static_cast<real*>(out) + i, sum, (int)least<std::ptrdiff_t>(W, count - i));
      }
    });
  };
  write(g.v_first, 0, l.lines);
  write(g.v_lines, l.lines, l.second - l.lines);
  write(g.v_second, l.second, l.hidden + 1);
}

inline void Field::backward(const FieldGradients& g) {
  StageClock clock;
  const FieldLayout& l = layout_;
  turn();
  by_planes_.resize(std::size_t(6) * points_.n * l.channels);
  const std::ptrdiff_t per = most<std::ptrdiff_t>(kChunkBlocks, (blocks_ + kMostFieldChunks - 1) / kMostFieldChunks);
  const std::ptrdiff_t chunks = (blocks_ + per - 1) / per;
  sums_.resize(chunks * l.size);
  parallel_for(chunks, [&](std::ptrdiff_t chunk) {
    real* sums = sums_.data() + chunk * l.size;
    fill(sums, sums + l.size, real(0));
    for (std::ptrdiff_t block = chunk * per; block < least(blocks_, (chunk + 1) * per); ++block)
      backward_block(block, g, sums);
  });
  sum_up(g, chunks);
  if (g.v_planes) {
    edges_.resize(std::size_t(6) * l.slabs * l.side * l.channels);
    parallel_for(3 * l.slabs, [&](std::ptrdiff_t item) { collect(int(item / l.slabs), int(item % l.slabs), g); });
    parallel_for(3 * l.slabs, [&](std::ptrdiff_t item) {
      if (item % l.slabs + 1 < l.slabs) join(int(item / l.slabs), int(item % l.slabs), g);
    });
  }
  clock.done(kOther);
}

}  // namespace splat::SPLAT_ISA
