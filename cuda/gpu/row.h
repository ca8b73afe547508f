// A row of the scene as a thread reads it: projected, in front of the camera, and its colour.
#pragma once

#include "layout.h"
#include "splat/half.h"
#include "splat/sh.h"

namespace splat::gpu {

constexpr int kMostCoefficients = (kMaxShDegree + 1) * (kMaxShDegree + 1);

struct Row {
  Projected<float> p;
  float mean[3], scale[3], opacity;  // as given
  float drawn_opacity;               // with the antialiasing compensation
  bool visible;

  __device__ Row(const Scene& scene, const Settings& settings, const Pinhole<float>& cam, int64_t i) {
    float quat[4];
    for (int k = 0; k < 3; ++k) mean[k] = scene.means[3 * i + k], scale[k] = scene.scales[3 * i + k];
    for (int k = 0; k < 4; ++k) quat[k] = scene.quats[4 * i + k];
    opacity = scene.opacities[i];
    project(cam, mean, quat, scale, float(settings.eps2d), p);
    drawn_opacity = settings.antialiased ? opacity * sqrt(p.det0 / p.det1) : opacity;
    // Every test is written so that a NaN fails it.
    visible = p.z >= float(settings.near) && p.z <= float(settings.far) && p.det1 > 0 &&
              drawn_opacity >= float(kAlphaThreshold) && fabsf(p.u) < 1e9f && fabsf(p.v) < 1e9f && p.a < 1e15f &&
              p.c < 1e15f;
    if (!settings.beside)
      visible = visible && p.x >= -cam.left * p.z && p.x <= cam.right * p.z && p.y >= -cam.up * p.z &&
                p.y <= cam.down * p.z;
  }
};

// Unit vector from the camera's centre to a mean; `inverse` of its length before.
__device__ __forceinline__ void direction(const Pinhole<float>& cam, const float* mean, float* d, float& inverse) {
  for (int k = 0; k < 3; ++k) d[k] = mean[k] - cam.centre[k];
  inverse = 1 / sqrt(fma(d[0], d[0], fma(d[1], d[1], d[2] * d[2])));
  for (int k = 0; k < 3; ++k) d[k] *= inverse;
}

// The k-th harmonic's coefficient of a channel, whatever it is kept as.
__device__ __forceinline__ float coefficient(const Scene& scene, int64_t i, int k, int channel) {
  const int64_t at = (i * scene.coefficients + k) * 3 + channel;
  return scene.half_colors ? from_half(static_cast<const Half*>(scene.colors)[at])
                           : static_cast<const float*>(scene.colors)[at];
}

}  // namespace splat::gpu
