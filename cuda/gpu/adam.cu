// Adam over every row (Kingma and Ba 2015, as torch.optim.Adam computes it), fused into one pass.
#define SPLAT_ISA gpu
#include <cuda_runtime.h>

#include <cmath>

#include "gpu.h"
#include "splat/losses.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 4 * kThreads;  // values of a block

struct Rates {
  unsigned columns, head;
  float rate, tail_rate;
};

__global__ void __launch_bounds__(kThreads)
    step_values(float* values, const float* gradient, float* first, float* second, int64_t count,
                Rates rates, AdamNumbers<float> numbers) {
  const int64_t begin = int64_t(blockIdx.x) * kChunk;
  const unsigned begin_column = unsigned(begin % rates.columns);
#pragma unroll
  for (int k = 0; k < kChunk / kThreads; ++k) {
    const unsigned offset = threadIdx.x + k * kThreads;
    const int64_t i = begin + offset;
    if (i >= count) return;
    float m = first[i], v = second[i];
    const float change = adam_step(numbers, gradient[i], m, v);
    const bool in_head = (begin_column + offset) % rates.columns < rates.head;
    first[i] = m;
    second[i] = v;
    values[i] -= (in_head ? rates.rate : rates.tail_rate) * change;
  }
}

}  // namespace

const char* adam(const Adam& step, std::uintptr_t stream) {
  const int64_t count = step.rows * step.columns;
  if (count == 0) return nullptr;
  const AdamNumbers<float> numbers{
      float(1 - step.beta1), float(1 - step.beta2), float(1 / step.correction1),
      float(1 / std::sqrt(step.correction2)), float(step.epsilon)};
  const Rates rates{unsigned(step.columns), unsigned(step.head), float(step.rate),
                    float(step.tail_rate)};
  const unsigned blocks = unsigned((count + kChunk - 1) / kChunk);
  step_values<<<blocks, kThreads, 0, reinterpret_cast<cudaStream_t>(stream)>>>(
      step.values, step.gradient, step.first, step.second, count, rates, numbers);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace splat::gpu
