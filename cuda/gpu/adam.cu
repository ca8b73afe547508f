// Adam over every row (Kingma and Ba 2015, as torch.optim.Adam computes it), fused into one pass.
#define SPLAT_ISA gpu
#include <cuda_runtime.h>

#include <cmath>

#include "gpu.h"
#include "launch.h"
#include "splat/half.h"
#include "splat/losses.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 4 * kThreads;  // values of a block

struct Rates {
  unsigned columns, head, begin, end;
  float rate, tail_rate;
  const uint8_t* visible;
  unsigned seed;
};

__device__ float loaded(const float* p) { return *p; }
__device__ float loaded(const Half* p) { return from_half(*p); }
__device__ void stored(float* p, float value, unsigned) { *p = value; }
__device__ void stored(Half* p, float value, unsigned key) { *p = to_half(value, key); }

template <class Moment>
__global__ void __launch_bounds__(kThreads)
    step_values(float* values, const float* gradient, Moment* first, Moment* second, int64_t count,
                Rates rates, AdamNumbers<float> numbers) {
  const int64_t begin = int64_t(blockIdx.x) * kChunk;
  const unsigned begin_column = unsigned(begin % rates.columns);
#pragma unroll
  for (int k = 0; k < kChunk / kThreads; ++k) {
    const unsigned offset = threadIdx.x + k * kThreads;
    const int64_t i = begin + offset;
    if (i >= count) return;
    const unsigned column = (begin_column + offset) % rates.columns;
    if (column < rates.begin || column >= rates.end) continue;
    if (rates.visible && !rates.visible[i / rates.columns]) continue;
    float m = loaded(first + i), v = loaded(second + i);
    const float change = adam_step(numbers, gradient[i], m, v);
    const unsigned key = rates.seed + 2u * unsigned(i);
    stored(first + i, m, key);
    stored(second + i, v, key + 1u);
    values[i] -= (column < rates.head ? rates.rate : rates.tail_rate) * change;
  }
}

}  // namespace

const char* adam(const Adam& step, std::uintptr_t stream) {
  const int64_t count = step.rows * step.columns;
  if (count == 0) return nullptr;
  const AdamNumbers<float> numbers{
      float(1 - step.beta1), float(1 - step.beta2), float(1 / step.correction1),
      float(1 / std::sqrt(step.correction2)), float(step.epsilon)};
  const Rates rates{unsigned(step.columns), unsigned(step.head), unsigned(step.begin),
                    unsigned(step.end), float(step.rate), float(step.tail_rate), step.visible, step.seed};
  const unsigned blocks = unsigned((count + kChunk - 1) / kChunk);
  const auto queue = reinterpret_cast<cudaStream_t>(stream);
  if (step.half)
    launch(step_values<Half>, blocks, kThreads, queue, step.values, step.gradient, static_cast<Half*>(step.first),
           static_cast<Half*>(step.second), count, rates, numbers);
  else
    launch(step_values<float>, blocks, kThreads, queue, step.values, step.gradient, static_cast<float*>(step.first),
           static_cast<float*>(step.second), count, rates, numbers);
  return launch_error();
}

}  // namespace splat::gpu
