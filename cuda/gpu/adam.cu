// Adam over every row (Kingma and Ba 2015, as torch.optim.Adam computes it), fused into one pass.
#include "scalar.h"

#include "gpu.h"
#include "launch.h"
#include "splat/half.h"
#include "splat/losses.h"
#include "splat/sh.h"

namespace splat::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 4 * kThreads;  // values of a block
constexpr int kCoefficients = (kMaxShDegree + 1) * (kMaxShDegree + 1);
constexpr int kRows = kChunk / kLeastFactored + 2;  // that a block's values may be of

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

// The gradient of harmonics out of its factors: basis of the direction times gradient of the colour.
struct Harmonics {
  float basis[kRows][kCoefficients], colour[kRows][3];

  // Those of the rows that the block's values are of. All threads call.
  __device__ void read(const float* factors, int64_t row, int64_t last, int degree) {
    for (int64_t i = row + threadIdx.x; i <= last; i += kThreads) {
      const float* given = factors + 6 * i;
      float found[kCoefficients];
      sh_basis(degree, given[3], given[4], given[5], found, 0.f);
#pragma unroll
      for (int k = 0; k < kCoefficients; ++k)
        if (k < (degree + 1) * (degree + 1)) basis[i - row][k] = found[k];
      for (int c = 0; c < 3; ++c) colour[i - row][c] = given[c];
    }
    __syncthreads();
  }
  __device__ float operator()(unsigned row, unsigned column) const { return basis[row][column / 3] * colour[row][column % 3]; }
};

template <class Value, class Moment, bool kFactored>
__global__ void __launch_bounds__(kThreads)
    step_values(Value* values, const float* gradient, Moment* first, Moment* second, int64_t count,
                Rates rates, AdamNumbers<float> numbers, const float* factors, int degree) {
  const int64_t begin = int64_t(blockIdx.x) * kChunk, begin_row = begin / rates.columns;
  const unsigned begin_column = unsigned(begin % rates.columns);
  __shared__ Harmonics harmonics;
  if (kFactored) harmonics.read(factors, begin_row, (min(begin + kChunk, count) - 1) / rates.columns, degree);
#pragma unroll
  for (int k = 0; k < kChunk / kThreads; ++k) {
    const unsigned offset = threadIdx.x + k * kThreads;
    const int64_t i = begin + offset;
    if (i >= count) return;
    const unsigned column = (begin_column + offset) % rates.columns;
    if (column < rates.begin || column >= rates.end) continue;
    if (rates.visible && !rates.visible[i / rates.columns]) continue;
    float m = loaded(first + i), v = loaded(second + i);
    const float g = kFactored ? harmonics((begin_column + offset) / rates.columns, column) : gradient[i];
    const float change = adam_step(numbers, g, m, v);
    const unsigned key = rates.seed + 2u * unsigned(i);
    stored(first + i, m, key);
    stored(second + i, v, key + 1u);
    const float rate = column < rates.head ? rates.rate : rates.tail_rate;
    stored(values + i, loaded(values + i) - rate * change, key + kValueKeys);
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
  const auto begin = [&](auto value, auto moment) {
    using Value = decltype(value);
    using Moment = decltype(moment);
    const auto kernel = step.factors ? step_values<Value, Moment, true> : step_values<Value, Moment, false>;
    launch(kernel, blocks, kThreads, queue, static_cast<Value*>(step.values), step.gradient,
           static_cast<Moment*>(step.first), static_cast<Moment*>(step.second), count, rates, numbers, step.factors,
           step.degree);
  };
  if (step.factors && step.columns < kLeastFactored) return "factors are of 12 columns or more";
  if (step.half_values)
    step.half ? begin(Half(), Half()) : begin(Half(), 0.f);
  else
    step.half ? begin(0.f, Half()) : begin(0.f, 0.f);
  return launch_error();
}

}  // namespace splat::gpu
