// What happens per Gaussian on the way out: the gradients of everything that made its record.
#pragma once

#include "pairs.h"
#include "project.h"

namespace splat::SPLAT_ISA {

struct RowGradients {
  real *means, *quats, *scales, *opacities, *colors, *factors, *features, *means2d, *absolute, *sums;
  int maps;

  explicit RowGradients(const Backward& b)
      : means(static_cast<real*>(b.v_means)), quats(static_cast<real*>(b.v_quats)),
        scales(static_cast<real*>(b.v_scales)), opacities(static_cast<real*>(b.v_opacities)),
        colors(static_cast<real*>(b.v_colors)), factors(static_cast<real*>(b.v_factors)), features(static_cast<real*>(b.v_features)),
        means2d(static_cast<real*>(b.v_means2d)), absolute(static_cast<real*>(b.v_means2d_absolute)),
        sums(static_cast<real*>(b.sums)), maps(b.map_count) {}

  void clear(const Scene& scene, int64_t i, int rows) const {
    const int64_t color = scene.sh_degree < 0 ? 3 : 3 * int64_t(scene.coefficients);
    const auto zero = [&](real* base, int64_t columns) {
      if (base) fill(base + i * columns, base + (i + rows) * columns, real(0));
    };
    zero(means, 3), zero(quats, 4), zero(scales, 3), zero(opacities, 1), zero(colors, color);
    zero(factors, 6), zero(features, scene.feature_count), zero(means2d, 2), zero(absolute, 2);
    zero(sums, maps);
  }
};

// Gradient of the colours with respect to coefficients (written) and direction (returned in g_d).
SPLAT_INLINE void color_backward(const Scene& scene, const Pinhole<real>& cam, const Record* records,
                                 int64_t i, int lanes_here, const Group& g, const F* v, const RowGradients& out,
                                 F* v_direction) {
  if (scene.sh_degree < 0) {
    F masked[3];
    for (int c = 0; c < 3; ++c) masked[c] = zero_unless(g.visible, v[c]);
    store_columns(masked, 3, lanes_here, out.colors + 3 * i, 3);
    return;
  }
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
  const int64_t stride = 3 * int64_t(scene.coefficients);
  F sh[3 * kMaxCoefficients], basis[kMaxCoefficients], e[kMaxCoefficients], d[3], inverse, w[3];
  load_harmonics(scene, i, lanes_here, used, sh);
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
  for (int k = 0; k < used; ++k) e[k] = fma(w[0], sh[3 * k], fma(w[1], sh[3 * k + 1], w[2] * sh[3 * k + 2]));
  if (out.factors) {
    F factors[6];
    for (int c = 0; c < 3; ++c) factors[c] = w[c], factors[3 + c] = zero_unless(g.visible, d[c]);
    store_columns(factors, 6, lanes_here, out.factors + 6 * i, 6);
  }
  if (out.colors) {
    for (int k = 0; k < used; ++k)
      for (int c = 0; c < 3; ++c) sh[3 * k + c] = zero_unless(g.visible, basis[k] * w[c]);
    const int written = (int)least<int64_t>(stride, 3 * kMaxCoefficients);
    for (int k = 3 * used; k < written; ++k) sh[k] = set1(0);
    store_columns(sh, written, lanes_here, out.colors + stride * i, stride);
    for (int lane = 0; lane < lanes_here; ++lane)
      fill(out.colors + stride * (i + lane) + written, out.colors + stride * (i + lane + 1), real(0));
  }
  F gd[3] = {set1(0), set1(0), set1(0)};
  sh_gradient(scene.sh_degree, d[0], d[1], d[2], e, gd[0], gd[1], gd[2], real(0));
  const F along = fma(d[0], gd[0], fma(d[1], gd[1], d[2] * gd[2]));
  for (int k = 0; k < 3; ++k) v_direction[k] = fnma(d[k], along, gd[k]) * inverse;
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
  color_backward(scene, cam, records, i, lanes_here, g, v_rgb, out, v_direction);
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
    if (out.absolute && settings.absolute)  // blending has kept no such sums otherwise
      for (int k = 0; k < 2; ++k)
        out.absolute[2 * (i + lane) + k] = real(kKappa) * moments[first + scene.feature_count + k][lane];
    const int weighed = first + scene.feature_count + (settings.absolute ? 2 : 0);
    for (int k = 0; k < out.maps; ++k) out.sums[(i + lane) * out.maps + k] = moments[weighed + k][lane];
  }
}

static void rows_backward(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                          const Buffer<Rect>& rects, const Buffer<Record>& records,
                          const Order& order, const PairSums& pairs, const Backward& b) {
  const int64_t n = scene.n, chunks = (n + kRowChunk - 1) / kRowChunk;
  const RowGradients out(b);
  Buffer<double> shares;
  shares.resize(std::size_t(chunks) * 15);
  parallel_for(chunks, [&](std::ptrdiff_t chunk) {
    F view[15];
    for (F& value : view) value = set1(0);
    MomentSums& sums = own<MomentSums>();
    for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; i += W) {
      const int lanes_here = (int)least<int64_t>(W, last - i);
      const uint32_t drawn = sums.gather(order, rects, pairs, i, lanes_here);
      if (drawn)
        backward_group(scene, settings, cam, records.data(), out, i, lanes_here, drawn, sums.moments(), view);
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
