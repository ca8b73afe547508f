// What happens per Gaussian on the way out: the gradients of everything that made its record. A thread has
// one Gaussian.
#include "backward.h"
#include "launch.h"
#include "row.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 128;

// Gradient of the colours with respect to coefficients (written) and direction (returned).
__device__ void colour_backward(const Backward& call, const Pinhole<float>& cam, const Row& row, const Record& record,
                                int64_t i, const float* v, float* v_direction) {
  const Scene& scene = call.frame.scene;
  if (scene.sh_degree < 0) {
    for (int c = 0; c < 3; ++c) call.v_colors[3 * i + c] = v[c];
    return;
  }
  float basis[kMostCoefficients], e[kMostCoefficients], d[3], inverse;
  direction(cam, row.mean, d, inverse);
  // A colour clamped at zero passes no gradient.
  const float w[3] = {record.r > 0 ? v[0] : 0.f, record.g > 0 ? v[1] : 0.f, record.b > 0 ? v[2] : 0.f};
  const int used = (scene.sh_degree + 1) * (scene.sh_degree + 1);
#pragma unroll
  for (int k = 0; k < kMostCoefficients; ++k)
    e[k] = k < used ? fma(w[0], coefficient(scene, i, k, 0),
                          fma(w[1], coefficient(scene, i, k, 1), w[2] * coefficient(scene, i, k, 2)))
                    : 0.f;
  if (call.v_factors)
    for (int c = 0; c < 3; ++c) call.v_factors[6 * i + c] = w[c], call.v_factors[6 * i + 3 + c] = d[c];
  if (call.v_colors) {
    sh_basis(scene.sh_degree, d[0], d[1], d[2], basis, 0.f);
    float* out = call.v_colors + i * 3 * scene.coefficients;
#pragma unroll
    for (int k = 0; k < kMostCoefficients; ++k)
      if (k < scene.coefficients)
        for (int c = 0; c < 3; ++c) out[3 * k + c] = k < used ? basis[k] * w[c] : 0.f;
    for (int k = 3 * kMostCoefficients; k < 3 * scene.coefficients; ++k) out[k] = 0;
  }
  float g[3] = {0, 0, 0};
  sh_gradient(scene.sh_degree, d[0], d[1], d[2], e, g[0], g[1], g[2], 0.f);
  const float along = fma(d[0], g[0], fma(d[1], g[1], d[2] * g[2]));
  for (int k = 0; k < 3; ++k) v_direction[k] = fnma(d[k], along, g[k]) * inverse;
}

__device__ void fill(float* base, int64_t i, int columns) {
  if (base)
    for (int k = 0; k < columns; ++k) base[i * columns + k] = 0;
}

// Gradients of a row that was not drawn.
__device__ void clear(const Backward& call, int64_t i) {
  const Scene& scene = call.frame.scene;
  fill(call.v_means, i, 3), fill(call.v_quats, i, 4), fill(call.v_scales, i, 3), fill(call.v_opacities, i, 1);
  fill(call.v_colors, i, scene.sh_degree < 0 ? 3 : 3 * scene.coefficients);
  fill(call.v_factors, i, 6), fill(call.v_means2d, i, 2), fill(call.v_means2d_absolute, i, 2);
}

// `view` gets the camera's share.
__device__ void differentiate(const Backward& call, const Pinhole<float>& cam, const Record& record, int64_t i,
                              const float* moments, float gz, float* view) {
  const Settings& settings = call.frame.settings;
  const Row row(call.frame.scene, settings, cam, i);
  const Projected<float>& p = row.p;
  const float du = float(kKappa) * p.n[0] * moments[1], dv = float(kKappa) * fma(p.n[1], moments[1], p.n[2] * moments[2]);
  float v_mean[3], v_quat[4], v_scale[3], v_direction[3] = {0, 0, 0};
  project_backward(cam, p, row.mean, row.scale, du, dv, gz, moments + 3, settings.antialiased, moments[0], v_mean,
                   v_quat, v_scale, view);
  colour_backward(call, cam, row, record, i, moments + 6, v_direction);
  for (int k = 0; k < 3; ++k) call.v_means[3 * i + k] = v_mean[k] + v_direction[k], call.v_scales[3 * i + k] = v_scale[k];
  for (int k = 0; k < 4; ++k) call.v_quats[4 * i + k] = v_quat[k];
  call.v_opacities[i] = moments[0] / row.opacity;
  call.v_means2d[2 * i] = du, call.v_means2d[2 * i + 1] = dv;
  if (call.v_means2d_absolute && settings.absolute)
    for (int k = 0; k < 2; ++k) call.v_means2d_absolute[2 * i + k] = float(kKappa) * moments[kAbsolute + k];
  for (int k = 0; k < 3; ++k) view[12 + k] = -v_direction[k];
}

template <bool kPose>
__global__ void __launch_bounds__(kThreads, 5)
    gather(Backward call, Pinhole<float> cam, Rows rows, PairSums sums) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x, n = call.frame.scene.n;
  const int features = call.frame.scene.feature_count, depth = call.frame.settings.depth ? 1 : 0;
  const uint32_t count = i < n ? rows.counts[i] : 0, first = count ? rows.places[i] : 0;
  float moments[kAbsolute + 2], gz = 0, view[kView] = {};
  const bool drawn = row_sums<kAbsolute + 2>(sums, first, count, 0, moments);
  for (int column = 0; column < depth + features + call.map_count; ++column) {
    float total;
    row_sums<1>(sums, first, count, kHead + column, &total);
    if (i >= n) continue;
    if (column < depth)
      gz = total;
    else if (column >= depth + features)
      call.sums[i * call.map_count + column - depth - features] = total;
    else if (call.v_features)
      call.v_features[i * features + column - depth] = total;
  }
  if (drawn)
    differentiate(call, cam, rows.records[i], i, moments, gz, view);
  else if (i < n)
    clear(call, i);
  if constexpr (kPose) {
#pragma unroll
    for (int k = 0; k < kView; ++k) {
      const float total = warp_sum(view[k]);
      if (threadIdx.x % 32 == 0 && i < n) sums.views[i / 32 * kView + k] = total;
    }
  }
}

constexpr int kViewThreads = 32 * kView;

// A warp has one number of the camera's; the first thread then makes the pose's gradient of them.
__global__ void __launch_bounds__(kViewThreads) finish_view(PairSums sums, int64_t warps, Pinhole<float> cam, float* v) {
  __shared__ double total[kView];
  const int k = threadIdx.x / 32, lane = threadIdx.x % 32;
  double sum = 0;
  for (int64_t w = lane; w < warps; w += 32) sum += double(sums.views[w * kView + k]);
#pragma unroll
  for (int bit = 16; bit; bit /= 2) sum += __shfl_xor_sync(kEveryLane, sum, bit);
  if (lane == 0) total[k] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  // The camera's centre is -R^T t.
  for (int i = 0; i < 3; ++i) {
    double along = 0;
    for (int j = 0; j < 3; ++j) {
      along += double(cam.R[3 * i + j]) * total[12 + j];
      v[4 * i + j] = float(total[4 * i + j] - double(cam.t[i]) * total[12 + j]);
    }
    v[4 * i + 3] = float(total[4 * i + 3] - along);
  }
}

// d loss / d background = sum of v_image T over the pixels: of each block's, then of all.
__device__ void add_blocks(double* sum, double* out) {
  __shared__ double parts[3][kThreads];
  for (int c = 0; c < 3; ++c) parts[c][threadIdx.x] = sum[c];
  __syncthreads();
  for (int half = kThreads / 2; half; half /= 2) {
    if (int(threadIdx.x) < half)
      for (int c = 0; c < 3; ++c) parts[c][threadIdx.x] += parts[c][threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0)
    for (int c = 0; c < 3; ++c) out[c] = parts[c][0];
}

__global__ void __launch_bounds__(kThreads)
    background_lines(const float* alpha, const float* v_image, int64_t pixels, double* lines) {
  double sum[3] = {0, 0, 0};
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < pixels; i += int64_t(PairSums::kLines) * kThreads)
    for (int c = 0; c < 3; ++c) sum[c] += double(v_image[3 * i + c]) * double(1 - alpha[i]);
  add_blocks(sum, lines + 3 * blockIdx.x);
}

__global__ void __launch_bounds__(kThreads) background_total(const double* lines, float* v_background) {
  __shared__ double total[3];
  double sum[3] = {0, 0, 0};
  for (int i = threadIdx.x; i < PairSums::kLines; i += kThreads)
    for (int c = 0; c < 3; ++c) sum[c] += lines[3 * i + c];
  add_blocks(sum, total);
  if (threadIdx.x == 0)
    for (int c = 0; c < 3; ++c) v_background[c] = float(total[c]);
}

}  // namespace

const char* rows_backward(const Backward& call, const Rows& rows, const PairSums& sums, cudaStream_t queue) {
  const int64_t n = call.frame.scene.n;
  Pinhole<float> cam;
  cam.set(call.frame.view);
  if (n) launch(call.v_view ? gather<true> : gather<false>, blocks_of(n, kThreads), kThreads, queue, call, cam, rows, sums);
  if (call.v_view) launch(finish_view, 1, kViewThreads, queue, sums, (n + 31) / 32, cam, call.v_view);
  if (call.v_background && call.v_image) {
    launch(background_lines, PairSums::kLines, kThreads, queue, call.alpha, call.v_image,
           int64_t(call.frame.view.width) * call.frame.view.height, sums.lines);
    launch(background_total, 1, kThreads, queue, sums.lines, call.v_background);
  } else if (call.v_background) {
    cudaMemsetAsync(call.v_background, 0, 3 * sizeof(float), queue);
  }
  return launch_error();
}

int64_t sums_bytes(int64_t n, int64_t pairs, int columns) {
  Carve carve(nullptr);
  PairSums(carve, n, pairs, columns);
  return carve.bytes();
}

const char* backward(const Backward& call, std::uintptr_t stream) {
  const cudaStream_t queue = queue_of(stream);
  const Frame& frame = call.frame;
  if (!frame.differentiable) return "the picture was drawn without keeping what its backward needs";
  const int extra = extra_of(frame.settings, frame.scene);
  Carve of_rows(frame.rows), of_pairs(frame.pairs_kept), of_sums(call.scratch);
  const Rows rows(of_rows, frame.scene.n);
  const Pairs pairs(of_pairs, frame.pairs, Picture(frame.view.width, frame.view.height).tiles(), extra, true);
  const PairSums sums(of_sums, frame.scene.n, frame.pairs, extra + call.map_count);
  if (const char* error = blend_backward(call, rows, pairs, sums, queue)) return error;
  return rows_backward(call, rows, sums, queue);
}

}  // namespace splat::gpu
