// What happens per Gaussian on the way in: projection, colour, and which tiles it touches. A thread has
// one Gaussian.
#include "row.h"

#include "launch.h"
#include "spans.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 128;

__device__ void colour_of(const Scene& scene, const Pinhole<float>& cam, int64_t i, const Row& row, float* rgb) {
  if (scene.sh_degree < 0) {
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<const float*>(scene.colors)[3 * i + c];
    return;
  }
  float basis[kMostCoefficients], d[3], inverse;
  direction(cam, row.mean, d, inverse);
  sh_basis(scene.sh_degree, d[0], d[1], d[2], basis, 0.f);
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
  for (int c = 0; c < 3; ++c) rgb[c] = .5f;
#pragma unroll
  for (int k = 0; k < kMostCoefficients; ++k)
    if (k < used)
      for (int c = 0; c < 3; ++c) rgb[c] = fma(basis[k], coefficient(scene, i, k, c), rgb[c]);
  for (int c = 0; c < 3; ++c) rgb[c] = mx(rgb[c], 0.f);
}

// Where a mean lies on screen, pixels, free of float's rounding: whole pixels and the rest.
__device__ void screen_position(const Pinhole<float>& cam, const float* mean, Record& record) {
  double p[3];
  for (int k = 0; k < 3; ++k)
    p[k] = double(cam.R[3 * k]) * mean[0] + double(cam.R[3 * k + 1]) * mean[1] + double(cam.R[3 * k + 2]) * mean[2] +
           double(cam.t[k]);
  const double inverse = 1 / p[2];
  const double u = double(cam.fx) * (p[0] * inverse) + double(cam.cx);
  const double v = double(cam.fy) * (p[1] * inverse) + double(cam.cy);
  const double whole_u = floor(u), whole_v = floor(v);
  record.u = float(whole_u), record.du = float(u - whole_u);
  record.v = float(whole_v), record.dv = float(v - whole_v);
}

// Tiles with a pixel centre within the half extents, clamped to the picture.
__device__ Rect touched_tiles(const Picture& picture, float u, float v, float hx, float hy) {
  const auto first = [](float value, int side) { return mx(mn(ceilf(value), float(side)), 0.f); };
  const auto last = [](float value, int side) { return mn(mx(floorf(value), -1.f), float(side - 1)); };
  const float left = first(u - hx - .5f, picture.width), right = last(u + hx - .5f, picture.width);
  const float top = first(v - hy - .5f, picture.height), bottom = last(v + hy - .5f, picture.height);
  if (!(left <= right && top <= bottom)) return {0, 0, 0, 0};
  return {uint16_t(int(left) / kTile), uint16_t(int(top) / kTile), uint16_t(int(right) / kTile + 1),
          uint16_t(int(bottom) / kTile + 1)};
}

// The record, tiles and radius of a row; how many tiles.
__device__ uint32_t project_row(const Scene& scene, const Settings& settings, const Pinhole<float>& cam,
                                const Picture& picture, int64_t i, Record* records, Rect* rects, float& radius) {
  radius = 0;
  rects[i] = {0, 0, 0, 0};
  const Row row(scene, settings, cam, i);
  if (!row.visible) return 0;
  Record record;
  screen_position(cam, row.mean, record);
  record.lo = log2f(row.drawn_opacity), record.z = row.p.z;
  record.n0 = row.p.n[0], record.n1 = row.p.n[1], record.n2 = row.p.n[2];
  const float u = record.u + record.du, v = record.v + record.dv;
  const float reach = sqrt(float(kKappa) * mx(record.lo + float(kLog2Of255), 0.f));
  const float extent = mn(reach, float(kGaussianExtent));
  const float hx = extent * sqrt(row.p.a), hy = extent * sqrt(row.p.c), rx = ceilf(hx), ry = ceilf(hy);
  const float clip = float(settings.radius_clip);
  if (!((rx > clip || ry > clip) && u + rx > 0 && u - rx < picture.width && v + ry > 0 && v - ry < picture.height))
    return 0;
  radius = mx(rx, ry);
  const Rect rect = touched_tiles(picture, u, v, hx, hy);
  const uint32_t count = tiles_of(record, rect);
  if (!count) return 0;
  float rgb[3];
  colour_of(scene, cam, i, row, rgb);
  record.r = rgb[0], record.g = rgb[1], record.b = rgb[2];
  rects[i] = rect;
  records[i] = record;
  return count;
}

__global__ void __launch_bounds__(kThreads)
    project_rows(Scene scene, Settings settings, Pinhole<float> cam, Picture picture, Rows rows, float* radii,
                 unsigned long long* totals) {
  __shared__ unsigned long long pairs;
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (threadIdx.x == 0) pairs = 0;
  uint32_t count = 0;
  if (i < scene.n) {
    float radius;
    count = project_row(scene, settings, cam, picture, i, rows.records, rows.rects, radius);
    radii[i] = radius;
    rows.counts[i] = count;
    rows.places[i] = count ? 1 : 0;
  }
  // Sums of whole numbers, which are the same in any order.
  const int visible = __syncthreads_count(count > 0);
  if (!visible) return;
  if (count) atomicAdd(&pairs, static_cast<unsigned long long>(count));
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(totals, static_cast<unsigned long long>(visible));
    atomicAdd(totals + 1, pairs);
  }
}

}  // namespace

int64_t rows_bytes(int64_t n) {
  Carve carve(nullptr);
  Rows rows(carve, n);
  return carve.bytes();
}

const char* project(const Project& call, std::uintptr_t stream) {
  const cudaStream_t queue = queue_of(stream);
  Carve carve(call.rows);
  const Rows rows(carve, call.scene.n);
  cudaMemsetAsync(call.counts, 0, 2 * sizeof(uint64_t), queue);
  if (!call.scene.n) return launch_error();
  Pinhole<float> cam;
  cam.set(call.view);
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  launch(project_rows, blocks_of(call.scene.n, kThreads), kThreads, queue, call.scene, call.settings, cam,
         Picture(call.view.width, call.view.height), rows, call.radii,
         reinterpret_cast<unsigned long long*>(call.counts));
  if (const char* error = exclusive_sum(rows.memory, rows.room, rows.places, call.scene.n, queue)) return error;
  return launch_error();
}

}  // namespace splat::gpu
