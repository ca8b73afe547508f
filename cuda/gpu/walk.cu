// The random walk of 3DGS-MCMC (Kheradmand et al. 2024), as `cuda/cpu/walk.h` has it, draw for draw: a
// thread has a row.
#include "scalar.h"

#include "gpu.h"
#include "launch.h"
#include "splat/random.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 256;

// Two standard normal numbers of a row (Box and Muller 1958).
__device__ void normals(uint64_t seed, int64_t row, uint32_t pair, float& a, float& b) {
  const uint32_t counter = uint32_t(row) * 4u + 2u * pair;
  const uint32_t first = drawn(seed, counter), second = drawn(seed, counter + 1u);
  const float u = (float(first >> 8) + .5f) * float(1.0 / (1 << 24));
  const float turn = (float(second >> 6 & 0xffffff) + .5f) * float(1.0 / (1 << 24)) - .5f;
  const uint32_t quarter = second >> 30;
  const float radius = sqrt(float(-1.3862943611198906) * log2f(u));
  // Sine and cosine of up to an eighth of a turn by their series, then by quarters of a turn.
  const float angle = turn * float(1.5707963267948966), square = angle * angle;
  float sine = fma(square, float(1.0 / 362880), float(-1.0 / 5040));
  sine = fma(square, sine, float(1.0 / 120));
  sine = fma(square, sine, float(-1.0 / 6));
  sine = fma(square * angle, sine, angle);
  float cosine = fma(square, float(1.0 / 40320), float(-1.0 / 720));
  cosine = fma(square, cosine, float(1.0 / 24));
  cosine = fma(square, cosine, -.5f);
  cosine = fma(square, cosine, 1.f);
  const bool odd = quarter & 1, back = quarter >= 2;
  const float x = odd ? -sine : cosine, y = odd ? cosine : sine;
  a = radius * (back ? -x : x), b = radius * (back ? -y : y);
}

__device__ float logistic(float x) { return 1 / (1 + expf(-x)); }

__global__ void __launch_bounds__(kThreads) walk_rows(Walk w) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= w.n) return;
  float* moved = w.delta + 3 * i;
  const float logit = w.logits[i];
  if (!(logit < float(w.quiet)) || i % w.every != w.phase) {
    moved[0] = moved[1] = moved[2] = 0;
    return;
  }
  float e[4];
  normals(w.seed, i, 0, e[0], e[1]);
  normals(w.seed, i, 1, e[2], e[3]);
  const float reach = logistic(float(w.steepness) * (float(w.dead) - logistic(logit))) * float(w.reach);
  // R^T e is distributed as e: Sigma e = R diag(s^2) R^T e is R diag(s^2) e with one rotation less.
  for (int k = 0; k < 3; ++k) e[k] = e[k] * expf(2 * w.log_scales[3 * i + k]) * reach;
  const float* q = w.quats + 4 * i;
  const float inverse = 1 / (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), two = 2 * inverse;
  // v + 2 u x (u x v + w v), over |q|^2, is v turned by the quaternion (w, u).
  const float t[3] = {q[2] * e[2] - q[3] * e[1] + q[0] * e[0], q[3] * e[0] - q[1] * e[2] + q[0] * e[1],
                      q[1] * e[1] - q[2] * e[0] + q[0] * e[2]};
  moved[0] = fma(two, q[2] * t[2] - q[3] * t[1], e[0]);
  moved[1] = fma(two, q[3] * t[0] - q[1] * t[2], e[1]);
  moved[2] = fma(two, q[1] * t[1] - q[2] * t[0], e[2]);
}

}  // namespace

const char* walk(const Walk& call, std::uintptr_t stream) {
  if (!call.n) return nullptr;
  launch(walk_rows, unsigned((call.n + kThreads - 1) / kThreads), kThreads, reinterpret_cast<cudaStream_t>(stream), call);
  return launch_error();
}

}  // namespace splat::gpu
