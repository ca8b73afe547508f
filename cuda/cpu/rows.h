// What happens per Gaussian: projection and colour on the way in, their gradients on the way out.
#pragma once

#include <splat/sh.h>

#include "kernels.h"
#include "order.h"

namespace splat::SPLAT_ISA {

constexpr int kMoments = 9;  // per pair: sums of g, g x, g y, g x^2, g x y, g y^2, and w v_rgb
constexpr int kMaxCoefficients = (kMaxShDegree + 1) * (kMaxShDegree + 1);
constexpr double kLn2 = 0.6931471805599453, kLog2Of255 = 7.994353436858858;

// Columns of W consecutive rows as vectors; lanes beyond the end repeat the first row.
SPLAT_INLINE void load_columns(const real* base, int64_t stride, int columns, int lanes, F* out) {
  if (columns % W == 0) {
    for (int k = 0; k < columns; k += W) {
      for (int lane = 0; lane < W; ++lane) out[k + lane] = load(base + (lane < lanes ? lane : 0) * stride + k);
      transpose(out + k);
    }
    return;
  }
  alignas(64) real t[3 * kMaxCoefficients * W];
  for (int lane = 0; lane < W; ++lane) {
    const real* row = base + (lane < lanes ? lane : 0) * stride;
    for (int k = 0; k < columns; ++k) t[k * W + lane] = row[k];
  }
  for (int k = 0; k < columns; ++k) out[k] = load(t + k * W);
}

SPLAT_INLINE void store_columns(const F* values, int columns, int lanes, real* base, int64_t stride) {
  if (columns % W == 0) {
    for (int k = 0; k < columns; k += W) {
      F rows[W];
      for (int c = 0; c < W; ++c) rows[c] = values[k + c];
      transpose(rows);
      for (int lane = 0; lane < lanes; ++lane) store(base + lane * stride + k, rows[lane]);
    }
    return;
  }
  alignas(64) real t[3 * kMaxCoefficients * W];
  for (int k = 0; k < columns; ++k) store(t + k * W, values[k]);
  for (int lane = 0; lane < lanes; ++lane)
    for (int k = 0; k < columns; ++k) base[lane * stride + k] = t[k * W + lane];
}

struct Group {
  Projected<F> p;
  F mean[3], scale[3], opacity;  // as given
  F drawn_opacity;               // with the antialiasing compensation
  M visible;
};

SPLAT_INLINE void project_group(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                                int64_t i, int lanes_here, Group& g) {
  F quat[4];
  load_columns(static_cast<const real*>(scene.means) + 3 * i, 3, 3, lanes_here, g.mean);
  load_columns(static_cast<const real*>(scene.quats) + 4 * i, 4, 4, lanes_here, quat);
  load_columns(static_cast<const real*>(scene.scales) + 3 * i, 3, 3, lanes_here, g.scale);
  load_columns(static_cast<const real*>(scene.opacities) + i, 1, 1, lanes_here, &g.opacity);
  project(cam, g.mean, quat, g.scale, real(settings.eps2d), g.p);
  g.drawn_opacity = g.opacity;
  if (settings.antialiased) g.drawn_opacity = g.opacity * sqrt(g.p.det0 / g.p.det1);
  // Every test is written so that a NaN fails it.
  const F far_off = set1(real(1e9)), huge = set1(real(1e15));
  g.visible = (g.p.z >= set1(real(settings.near))) & (g.p.z <= set1(real(settings.far))) &
              (g.p.det1 > set1(0)) & (g.drawn_opacity >= set1(real(kAlphaThreshold))) &
              (abs(g.p.u) < far_off) & (abs(g.p.v) < far_off) & (g.p.a < huge) & (g.p.c < huge) &
              lanes(lanes_here == W ? (1u << W) - 1 : (1u << lanes_here) - 1);
}

SPLAT_INLINE void direction(const Pinhole<real>& cam, const Group& g, F* d, F& inverse) {
  for (int k = 0; k < 3; ++k) d[k] = g.mean[k] - set1(cam.centre[k]);
  inverse = set1(1) / sqrt(fma(d[0], d[0], fma(d[1], d[1], d[2] * d[2])));
  for (int k = 0; k < 3; ++k) d[k] = d[k] * inverse;
}

SPLAT_INLINE void colors_of(const Scene& scene, const Pinhole<real>& cam, int64_t i, int lanes_here,
                            const Group& g, F* rgb) {
  const real* colors = static_cast<const real*>(scene.colors);
  if (scene.sh_degree < 0) {
    load_columns(colors + 3 * i, 3, 3, lanes_here, rgb);
    return;
  }
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
  const int64_t stride = 3 * int64_t(scene.coefficients);
  F sh[3 * kMaxCoefficients], basis[kMaxCoefficients], d[3], inverse;
  load_columns(colors + stride * i, stride, 3 * used, lanes_here, sh);
  direction(cam, g, d, inverse);
  sh_basis(scene.sh_degree, d[0], d[1], d[2], basis, real(0));
  for (int c = 0; c < 3; ++c) {
    F value = set1(real(0.5));
    for (int k = 0; k < used; ++k) value = fma(basis[k], sh[3 * k + c], value);
    rgb[c] = mx(value, set1(0));
  }
}

// Where a mean lies on screen, pixels, free of float's rounding.
SPLAT_INLINE void screen_position(const Pinhole<real>& cam, const real* mean, double& u, double& v) {
  double p[3];
  for (int k = 0; k < 3; ++k)
    p[k] = double(cam.R[3 * k]) * mean[0] + double(cam.R[3 * k + 1]) * mean[1] +
           double(cam.R[3 * k + 2]) * mean[2] + double(cam.t[k]);
  u = double(cam.fx) * (p[0] / p[2]) + double(cam.cx);
  v = double(cam.fy) * (p[1] / p[2]) + double(cam.cy);
}

// Fills records and tiles of all rows, and their radii [n, 2].
static void project_rows(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                         const Grid& grid, Buffer<Record>& records, Buffer<Rect>& rects,
                         real* radii) {
  const int64_t n = scene.n;
  records.resize(n);
  rects.resize(n);
  parallel_for((n + kRowChunk - 1) / kRowChunk, [&](std::ptrdiff_t chunk) {
    for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; i += W) {
      const int lanes_here = (int)least<int64_t>(W, last - i);
      Group g;
      project_group(scene, settings, cam, i, lanes_here, g);
      const uint32_t visible = bits(g.visible);
      for (int lane = 0; lane < lanes_here; ++lane) {
        rects[i + lane] = {0, 0, 0, 0};
        radii[2 * (i + lane)] = radii[2 * (i + lane) + 1] = 0;
      }
      if (!visible) continue;
      F rgb[3];
      colors_of(scene, cam, i, lanes_here, g, rgb);
      alignas(64) real t[12][W], opacity[W];
      for (int k = 0; k < 3; ++k) store(t[2 + k], g.p.n[k]);
      store(t[5], rgb[0]), store(t[6], rgb[1]), store(t[7], rgb[2]), store(t[8], g.p.z);
      store(t[9], sqrt(g.p.a)), store(t[10], sqrt(g.p.c));
      store(opacity, g.drawn_opacity);
      for (int lane = 0; lane < lanes_here; ++lane) {
        if (!(visible >> lane & 1)) continue;
        const real lo = std::log2(opacity[lane]);
        const real extent = least(std::sqrt(real(2 * kLn2) * most(lo + real(kLog2Of255), real(0))), real(kGaussianExtent));
        const real hx = extent * t[9][lane], hy = extent * t[10][lane];
        const real rx = std::ceil(hx), ry = std::ceil(hy);
        if (rx <= real(settings.radius_clip) && ry <= real(settings.radius_clip)) continue;
        double exact_u, exact_v;
        screen_position(cam, static_cast<const real*>(scene.means) + 3 * (i + lane), exact_u, exact_v);
        const real u = real(exact_u), v = real(exact_v);
        const bool across = u + rx > 0 && u - rx < real(grid.width), along = v + ry > 0 && v - ry < real(grid.height);
        if (!(across && along)) continue;  // nor where one of them is not a number
        const real whole_u = real(std::floor(exact_u)), whole_v = real(std::floor(exact_v));
        records[i + lane] = {whole_u, whole_v, real(exact_u - whole_u), real(exact_v - whole_v),
                             t[2][lane], t[3][lane], t[4][lane], lo,
                             t[5][lane], t[6][lane], t[7][lane], t[8][lane]};
        const Record& r = records[i + lane];
        rects[i + lane] = grid.touched(r.u + r.du, r.v + r.dv, hx, hy);
        radii[2 * (i + lane)] = rx, radii[2 * (i + lane) + 1] = ry;
      }
    }
  });
}

struct RowGradients {
  real *means, *quats, *scales, *opacities, *colors, *features, *means2d, *absolute;

  explicit RowGradients(const Backward& b)
      : means(static_cast<real*>(b.v_means)), quats(static_cast<real*>(b.v_quats)),
        scales(static_cast<real*>(b.v_scales)), opacities(static_cast<real*>(b.v_opacities)),
        colors(static_cast<real*>(b.v_colors)), features(static_cast<real*>(b.v_features)),
        means2d(static_cast<real*>(b.v_means2d)), absolute(static_cast<real*>(b.v_means2d_absolute)) {}

  void clear(const Scene& scene, int64_t i, int rows) const {
    const int64_t color = scene.sh_degree < 0 ? 3 : 3 * int64_t(scene.coefficients);
    const auto zero = [&](real* base, int64_t columns) {
      if (base) fill(base + i * columns, base + (i + rows) * columns, real(0));
    };
    zero(means, 3), zero(quats, 4), zero(scales, 3), zero(opacities, 1), zero(colors, color);
    zero(features, scene.feature_count), zero(means2d, 2), zero(absolute, 2);
  }
};

// Gradient of the colours with respect to coefficients (written) and direction (returned in g_d).
SPLAT_INLINE void color_backward(const Scene& scene, const Pinhole<real>& cam, const Record* records,
                                 int64_t i, int lanes_here, const Group& g, const F* v, real* v_colors,
                                 F* v_direction) {
  if (scene.sh_degree < 0) {
    F masked[3];
    for (int c = 0; c < 3; ++c) masked[c] = zero_unless(g.visible, v[c]);
    store_columns(masked, 3, lanes_here, v_colors + 3 * i, 3);
    return;
  }
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
  const int64_t stride = 3 * int64_t(scene.coefficients);
  F sh[3 * kMaxCoefficients], basis[kMaxCoefficients], e[kMaxCoefficients], d[3], inverse, w[3];
  load_columns(static_cast<const real*>(scene.colors) + stride * i, stride, 3 * used, lanes_here, sh);
  direction(cam, g, d, inverse);
  sh_basis(scene.sh_degree, d[0], d[1], d[2], basis, real(0));
  alignas(64) real drawn[3][W] = {};
  for (int lane = 0; lane < lanes_here; ++lane)
    if (bits(g.visible) >> lane & 1) {
      const Record& r = records[i + lane];
      drawn[0][lane] = r.r, drawn[1][lane] = r.g, drawn[2][lane] = r.b;
    }
  // A colour clamped at zero passes no gradient.
  for (int c = 0; c < 3; ++c) w[c] = zero_unless(g.visible & (load(drawn[c]) > set1(0)), v[c]);
  for (int k = 0; k < used; ++k) {
    e[k] = fma(w[0], sh[3 * k], fma(w[1], sh[3 * k + 1], w[2] * sh[3 * k + 2]));
    for (int c = 0; c < 3; ++c) sh[3 * k + c] = zero_unless(g.visible, basis[k] * w[c]);
  }
  store_columns(sh, 3 * used, lanes_here, v_colors + stride * i, stride);
  for (int lane = 0; lane < lanes_here; ++lane) {
    real* row = v_colors + stride * (i + lane);
    fill(row + 3 * used, row + stride, real(0));
  }
  F gd[3] = {set1(0), set1(0), set1(0)};
  sh_gradient(scene.sh_degree, d[0], d[1], d[2], e, gd[0], gd[1], gd[2], real(0));
  const F along = fma(d[0], gd[0], fma(d[1], gd[1], d[2] * gd[2]));
  for (int k = 0; k < 3; ++k) v_direction[k] = fnma(d[k], along, gd[k]) * inverse;
}

// What blending leaves for each pair that was drawn (in a dense picture, one in three), in the
// order of rows.
class PairGradients {
 public:
  int stride = 0;

  // Room for the pairs of a picture that has been drawn.
  void fit(const Order& order, int stride_) {
    stride = stride_;
    constexpr int64_t kChunk = 1 << 14;
    const int64_t pairs = order.pairs(), chunks = (pairs + kChunk - 1) / kChunk;
    place_.resize(pairs + 1);
    starts_.resize(chunks + 1);
    const auto over = [&](auto&& visit) {
      parallel_for(chunks, [&](std::ptrdiff_t c) { visit(c, c * kChunk, least(pairs, (c + 1) * kChunk)); });
    };
    over([&](int64_t, int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) place_[order.slots()[p]] = order.hits()[p] != 0;
    });
    over([&](int64_t c, int64_t first, int64_t last) {
      int64_t drawn = 0;
      for (int64_t slot = first; slot < last; ++slot) drawn += place_[slot];
      starts_[c + 1] = drawn;
    });
    starts_[0] = 0;
    for (int64_t c = 0; c < chunks; ++c) starts_[c + 1] += starts_[c];
    over([&](int64_t c, int64_t first, int64_t last) {
      uint32_t next = (uint32_t)starts_[c];
      for (int64_t slot = first; slot < last; ++slot) {
        const uint32_t drawn = place_[slot];
        place_[slot] = next;
        next += drawn;
      }
    });
    place_[pairs] = (uint32_t)starts_[chunks];
    sums_.resize(std::size_t(starts_[chunks]) * stride);
  }

  // Records before that of a slot; those of the slots [a, b) are [place(a), place(b)).
  uint32_t place(int64_t slot) const { return place_[slot]; }
  real* record(int64_t place) const { return sums_.data() + place * stride; }
  int64_t bytes() const { return sums_.bytes() + place_.bytes() + starts_.bytes(); }

 private:
  Buffer<real> sums_;       // [drawn pairs, stride]
  Buffer<uint32_t> place_;  // [pairs + 1]
  Buffer<int64_t> starts_;
};

// Sum the records of each row's pairs, in the order of tiles: moments[k][lane].
SPLAT_INLINE uint32_t gather_moments(const Order& order, const Buffer<Rect>& rects,
                                     const PairGradients& pairs, int64_t i, int lanes_here,
                                     real (*moments)[W]) {
  uint32_t drawn = 0;
  for (int lane = 0; lane < lanes_here; ++lane) {
    const uint32_t count = rects[i + lane].count();
    if (!count) continue;
    const uint32_t first = order.first(i + lane);
    for (uint32_t k = pairs.place(first), last = pairs.place(first + count); k < last; ++k) {
      drawn |= 1u << lane;
      const real* pair = pairs.record(k);
      for (int m = 0; m < pairs.stride; ++m) moments[m][lane] += pair[m];
    }
  }
  return drawn;
}

// Everything that belongs to the rows [i, i + lanes_here); view[15] gets the camera's share.
static void backward_group(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                           const Record* records, const RowGradients& out, int64_t i, int lanes_here,
                           uint32_t drawn, const real (*moments)[W], F* view) {
  Group g;
  project_group(scene, settings, cam, i, lanes_here, g);
  g.visible = g.visible & lanes(drawn);
  const Projected<F>& p = g.p;
  const F m0 = load(moments[0]), x = load(moments[1]), y = load(moments[2]);
  const F du = real(kKappa) * p.n[0] * x, dv = real(kKappa) * fma(p.n[1], x, p.n[2] * y);
  const F shape[3] = {load(moments[3]), load(moments[4]), load(moments[5])};
  const int extras = kMoments;
  const F gz = settings.depth ? load(moments[extras]) : set1(0);
  F v_mean[3], v_quat[4], v_scale[3], v_direction[3] = {set1(0), set1(0), set1(0)}, v_view[12];
  for (F& value : v_view) value = set1(0);
  project_backward(cam, p, g.mean, g.scale, du, dv, gz, shape, settings.antialiased, m0, v_mean,
                   v_quat, v_scale, v_view);
  const F v_rgb[3] = {load(moments[6]), load(moments[7]), load(moments[8])};
  color_backward(scene, cam, records, i, lanes_here, g, v_rgb, out.colors, v_direction);
  for (int k = 0; k < 3; ++k) v_mean[k] = zero_unless(g.visible, v_mean[k] + v_direction[k]);
  for (int k = 0; k < 3; ++k) v_scale[k] = zero_unless(g.visible, v_scale[k]);
  for (int k = 0; k < 4; ++k) v_quat[k] = zero_unless(g.visible, v_quat[k]);
  const F v_opacity = zero_unless(g.visible, m0 / g.opacity);
  const F screen[2] = {zero_unless(g.visible, du), zero_unless(g.visible, dv)};
  store_columns(v_mean, 3, lanes_here, out.means + 3 * i, 3);
  store_columns(v_quat, 4, lanes_here, out.quats + 4 * i, 4);
  store_columns(v_scale, 3, lanes_here, out.scales + 3 * i, 3);
  store_columns(&v_opacity, 1, lanes_here, out.opacities + i, 1);
  store_columns(screen, 2, lanes_here, out.means2d + 2 * i, 2);
  for (int k = 0; k < 12; ++k) view[k] += zero_unless(g.visible, v_view[k]);
  for (int k = 0; k < 3; ++k) view[12 + k] -= zero_unless(g.visible, v_direction[k]);
  const int first = extras + (settings.depth ? 1 : 0);
  for (int lane = 0; lane < lanes_here; ++lane) {
    if (out.features)
      for (int f = 0; f < scene.feature_count; ++f)
        out.features[(i + lane) * scene.feature_count + f] = moments[first + f][lane];
    if (out.absolute)
      for (int k = 0; k < 2; ++k)
        out.absolute[2 * (i + lane) + k] = real(kKappa) * moments[first + scene.feature_count + k][lane];
  }
}

struct RowScratch {
  Buffer<real> moments;  // [stride][W]
};

static void rows_backward(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                          const Buffer<Rect>& rects, const Buffer<Record>& records,
                          const Order& order, const PairGradients& pairs, const Backward& b) {
  const int64_t n = scene.n, chunks = (n + kRowChunk - 1) / kRowChunk;
  const RowGradients out(b);
  Buffer<double> shares;
  shares.resize(std::size_t(chunks) * 15);
  parallel_for(chunks, [&](std::ptrdiff_t chunk) {
    F view[15];
    for (F& value : view) value = set1(0);
    Buffer<real>& scratch = own<RowScratch>().moments;
    scratch.resize(std::size_t(pairs.stride) * W);
    real(*moments)[W] = reinterpret_cast<real(*)[W]>(scratch.data());
    for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; i += W) {
      const int lanes_here = (int)least<int64_t>(W, last - i);
      fill(scratch.data(), scratch.data() + pairs.stride * W, real(0));
      const uint32_t drawn = gather_moments(order, rects, pairs, i, lanes_here, moments);
      if (drawn)
        backward_group(scene, settings, cam, records.data(), out, i, lanes_here, drawn, moments, view);
      else
        out.clear(scene, i, lanes_here);
    }
    for (int k = 0; k < 15; ++k) shares[chunk * 15 + k] = sum(view[k]);
  });
  if (!b.v_view) return;
  double total[15] = {};
  for (int64_t c = 0; c < chunks; ++c)
    for (int k = 0; k < 15; ++k) total[k] += shares[c * 15 + k];
  // The camera's centre is -R^T t.
  real* v = static_cast<real*>(b.v_view);
  for (int i = 0; i < 3; ++i) {
    double along = 0;
    for (int j = 0; j < 3; ++j) {
      along += double(cam.R[3 * i + j]) * total[12 + j];
      v[4 * i + j] = real(total[4 * i + j] - double(cam.t[i]) * total[12 + j]);
    }
    v[4 * i + 3] = real(total[4 * i + 3] - along);
  }
}

}  // namespace splat::SPLAT_ISA
