// What happens per Gaussian on the way in: projection, colour, and which tiles it touches.
#pragma once

#include <splat/sh.h>

#include "columns.h"
#include "kernels.h"
#include "order.h"

namespace splat::SPLAT_ISA {

constexpr int kMaxCoefficients = (kMaxShDegree + 1) * (kMaxShDegree + 1);
constexpr double kLn2 = 0.6931471805599453, kLog2Of255 = 7.994353436858858;

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
  if (!settings.beside)
    g.visible = g.visible & (g.p.x >= set1(-cam.left) * g.p.z) & (g.p.x <= set1(cam.right) * g.p.z) &
                (g.p.y >= set1(-cam.up) * g.p.z) & (g.p.y <= set1(cam.down) * g.p.z);
}

SPLAT_INLINE void direction(const Pinhole<real>& cam, const Group& g, F* d, F& inverse) {
  for (int k = 0; k < 3; ++k) d[k] = g.mean[k] - set1(cam.centre[k]);
  inverse = set1(1) / sqrt(fma(d[0], d[0], fma(d[1], d[1], d[2] * d[2])));
  for (int k = 0; k < 3; ++k) d[k] = d[k] * inverse;
}

// Ask for the next W rows now: rows of harmonics are too long for the processor to see them coming.
template <class T>
SPLAT_INLINE void prefetch_rows(const T* base, int64_t stride, int64_t i, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t k = i * stride, last = least(i + W, n) * stride; k < last; k += kLine) SPLAT_PREFETCH(base + k);
}

// The first `used` coefficients of the rows [i, i + lanes_here), whatever they are kept as.
SPLAT_INLINE void load_harmonics(const Scene& scene, int64_t i, int lanes_here, int used, F* sh) {
  const int64_t stride = 3 * int64_t(scene.coefficients);
  if (scene.half_colors) {
    const Half* halves = static_cast<const Half*>(scene.colors);
    prefetch_rows(halves, stride, i + W, scene.n);
    return load_columns(halves + stride * i, stride, 3 * used, lanes_here, sh);
  }
  const real* colors = static_cast<const real*>(scene.colors);
  prefetch_rows(colors, stride, i + W, scene.n);
  load_columns(colors + stride * i, stride, 3 * used, lanes_here, sh);
}

SPLAT_INLINE void colors_of(const Scene& scene, const Pinhole<real>& cam, int64_t i, int lanes_here,
                            const Group& g, F* rgb) {
  if (scene.sh_degree < 0) {
    load_columns(static_cast<const real*>(scene.colors) + 3 * i, 3, 3, lanes_here, rgb);
    return;
  }
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
  F sh[3 * kMaxCoefficients], basis[kMaxCoefficients], d[3], inverse;
  load_harmonics(scene, i, lanes_here, used, sh);
  direction(cam, g, d, inverse);
  sh_basis(scene.sh_degree, d[0], d[1], d[2], basis, real(0));
  for (int c = 0; c < 3; ++c) {
    F value = set1(real(0.5));
    for (int k = 0; k < used; ++k) value = fma(basis[k], sh[3 * k + c], value);
    rgb[c] = mx(value, set1(0));
  }
}

// Where means lie on screen, pixels, free of float's rounding: whole pixels and the rest.
SPLAT_INLINE void screen_positions(const Pinhole<real>& cam, const F* mean, F* whole, F* rest) {
  alignas(64) real m[3][W], w[2][W], r[2][W];
  for (int k = 0; k < 3; ++k) store(m[k], mean[k]);
  for (int lane = 0; lane < W; ++lane) {
    double p[3];
    for (int k = 0; k < 3; ++k)
      p[k] = double(cam.R[3 * k]) * m[0][lane] + double(cam.R[3 * k + 1]) * m[1][lane] +
             double(cam.R[3 * k + 2]) * m[2][lane] + double(cam.t[k]);
    const double inverse = 1 / p[2];
    const double u = double(cam.fx) * (p[0] * inverse) + double(cam.cx);
    const double v = double(cam.fy) * (p[1] * inverse) + double(cam.cy);
    const double whole_u = std::floor(u), whole_v = std::floor(v);
    w[0][lane] = real(whole_u), w[1][lane] = real(whole_v);
    r[0][lane] = real(u - whole_u), r[1][lane] = real(v - whole_v);
  }
  for (int k = 0; k < 2; ++k) whole[k] = load(w[k]), rest[k] = load(r[k]);
}

SPLAT_INLINE F ceil(F a) { return -floor(-a); }

// Tiles with a pixel centre within the half extents of W Gaussians, clamped to the grid.
SPLAT_INLINE void touched_tiles(const Grid& grid, F u, F v, F hx, F hy, M visible, int lanes_here, Rect* out) {
  const F half = set1(real(0.5)), zero = set1(0), one = set1(1);
  const auto last = [&](F value, int top) { return mn(mx(floor(value), -one), set1(real(top - 1))); };
  const F left = mx(mn(ceil(u - hx - half), set1(real(grid.width))), zero), right = last(u + hx - half, grid.width);
  const F top = mx(mn(ceil(v - hy - half), set1(real(grid.height))), zero), bottom = last(v + hy - half, grid.height);
  const M some = visible & (left <= right) & (top <= bottom);
  const F per_w = set1(real(1) / kTileW), per_h = set1(real(1) / kTileH);
  alignas(64) real x0[W], y0[W], x1[W], y1[W];
  store(x0, zero_unless(some, floor(left * per_w)));
  store(y0, zero_unless(some, floor(top * per_h)));
  store(x1, zero_unless(some, floor(right * per_w) + one));
  store(y1, zero_unless(some, floor(bottom * per_h) + one));
  for (int lane = 0; lane < lanes_here; ++lane)
    out[lane] = {uint16_t(x0[lane]), uint16_t(y0[lane]), uint16_t(x1[lane]), uint16_t(y1[lane])};
}

// Records, tiles and radii [n] of the rows [i, i + lanes_here).
SPLAT_INLINE void project_lanes(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                                const Grid& grid, int64_t i, int lanes_here, Record* records, Rect* rects,
                                real* radii) {
  Group g;
  project_group(scene, settings, cam, i, lanes_here, g);
  if (!any(g.visible)) {
    fill(rects, rects + lanes_here, Rect{0, 0, 0, 0});
    fill(radii, radii + lanes_here, real(0));
    return;
  }
  F rgb[3], whole[2], rest[2];
  colors_of(scene, cam, i, lanes_here, g, rgb);
  screen_positions(cam, g.mean, whole, rest);
  const F u = whole[0] + rest[0], v = whole[1] + rest[1], zero = set1(0);
  const F lo = log2(g.drawn_opacity);
  const F reach = sqrt(set1(real(2 * kLn2)) * mx(lo + real(kLog2Of255), zero));
  const F extent = mn(reach, set1(real(kGaussianExtent)));
  const F hx = extent * sqrt(g.p.a), hy = extent * sqrt(g.p.c), rx = ceil(hx), ry = ceil(hy);
  const F clip = set1(real(settings.radius_clip)), width = set1(real(grid.width)), height = set1(real(grid.height));
  const M seen = g.visible & ((rx > clip) | (ry > clip)) & (u + rx > zero) & (u - rx < width) &
                 (v + ry > zero) & (v - ry < height);
  touched_tiles(grid, u, v, hx, hy, seen, lanes_here, rects);
  const F fields[kRecordReals] = {whole[0], whole[1], rest[0], rest[1], g.p.n[0], g.p.n[1],
                                  g.p.n[2], lo,       rgb[0],  rgb[1],  rgb[2],   g.p.z};
  store_columns(fields, kRecordReals, lanes_here, reinterpret_cast<real*>(records), kRecordReals);
  const F radius = zero_unless(seen, mx(rx, ry));
  store_columns(&radius, 1, lanes_here, radii, 1);
}

// Fills records and tiles of all rows, and their radii [n]. Records of rows out of sight mean nothing.
static void project_rows(const Scene& scene, const Settings& settings, const Pinhole<real>& cam,
                         const Grid& grid, Buffer<Record>& records, Buffer<Rect>& rects,
                         real* radii) {
  const int64_t n = scene.n;
  records.resize(n + 1);  // wide vectors read beyond the last one's end
  rects.resize(n);
  parallel_for((n + kRowChunk - 1) / kRowChunk, [&](std::ptrdiff_t chunk) {
    for (int64_t i = chunk * kRowChunk, last = least(n, i + kRowChunk); i < last; i += W)
      project_lanes(scene, settings, cam, grid, i, (int)least<int64_t>(W, last - i), &records[i], &rects[i],
                    radii + i);
  });
}

}  // namespace splat::SPLAT_ISA
