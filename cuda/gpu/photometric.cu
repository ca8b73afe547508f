// The photometric loss (1 - w) L1 + w (1 - SSIM) and its gradient by the image.
//
// A row of pixels is taken as the 3 w floats that it is: neighbours of a channel are three apart, and
// loads are whole cache lines. Two kernels, since the gradient needs the derivatives of SSIM around
// every pixel; a third adds up the blocks' losses in a fixed order.
#define SPLAT_ISA gpu
#include <cuda_runtime.h>

#include "gpu.h"
#include "launch.h"
#include "splat/losses.h"

namespace splat::gpu {
namespace {

constexpr int kColumns = 64, kRows = 16;  // of a block's tile, in floats
constexpr int kPerThread = 4;             // rows
constexpr int kThreads = kColumns * kRows / kPerThread;
constexpr int kReach = 3 * kRadius;       // of the window along a row, in floats
constexpr int kWide = kColumns + 2 * kReach, kHigh = kRows + 2 * kRadius;

struct Shape {
  int columns, rows;  // of the picture, in floats

  __device__ bool holds(int row, int column) const {
    return row >= 0 && row < rows && column >= 0 && column < columns;
  }
  __device__ size_t at(int row, int column) const { return size_t(row) * columns + column; }
};

struct Scales {
  float l1, ssim;
};

__device__ float value_of(float value) { return value; }
// A product, as torch divides by a number on this device: masked pixels must match exactly.
__device__ float value_of(uint8_t byte) { return float(byte) * (1.f / 255.f); }

// The tile and what the windows reach around it; zeros beyond the picture.
template <class Value>
__device__ void load_tile(float (*tile)[kWide], const Value* values, Shape shape) {
  const int top = blockIdx.y * kRows - kRadius, left = blockIdx.x * kColumns - kReach;
  for (int i = threadIdx.x; i < kHigh * kWide; i += kThreads) {
    const int row = i / kWide, column = i % kWide;
    const bool inside = shape.holds(top + row, left + column);
    tile[row][column] = inside ? value_of(values[shape.at(top + row, left + column)]) : 0.f;
  }
}

// Window sums along rows of value(row, column), for all rows that the columns' windows reach.
template <class At>
__device__ void sum_rows(float (*sums)[kColumns], At value) {
  for (int i = threadIdx.x; i < kHigh * kColumns; i += kThreads) {
    const int row = i / kColumns, column = i % kColumns + kReach;
    float sum = float(window_weight(0)) * value(row, column);
#pragma unroll
    for (int k = 1; k <= kRadius; ++k)
      sum += float(window_weight(k)) * (value(row, column - 3 * k) + value(row, column + 3 * k));
    sums[row][i % kColumns] = sum;
  }
}

// Window sums along this thread's column, for its rows.
__device__ void sum_columns(float* means, float (*sums)[kColumns], int first_row, int column) {
  float around[kPerThread + 2 * kRadius];
#pragma unroll
  for (int i = 0; i < kPerThread + 2 * kRadius; ++i) around[i] = sums[first_row + i][column];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    means[i] = float(window_weight(0)) * around[i + kRadius];
#pragma unroll
    for (int k = 1; k <= kRadius; ++k)
      means[i] += float(window_weight(k)) * (around[i + kRadius - k] + around[i + kRadius + k]);
  }
}

// The sum over the block, in thread 0; always added up in the same order.
template <class Number>
__device__ Number block_sum(Number value) {
  __shared__ Number kept[kThreads];
  kept[threadIdx.x] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) kept[threadIdx.x] += kept[threadIdx.x + half];
    __syncthreads();
  }
  return kept[0];
}

// Three maps of SSIM's derivatives, the picture's size each, unless null; a loss for each block.
template <class Value>
__global__ void __launch_bounds__(kThreads)
    compare(const float* image, const Value* target, Shape shape, Scales scales, float* maps,
            float* losses) {
  __shared__ float x[kHigh][kWide], y[kHigh][kWide], sums[kHigh][kColumns];
  const int column = threadIdx.x % kColumns, first_row = threadIdx.x / kColumns * kPerThread;
  load_tile(x, image, shape);
  load_tile(y, target, shape);
  __syncthreads();

  float means[4][kPerThread];
  const auto blur = [&](int map, auto value) {
    sum_rows(sums, value);
    __syncthreads();
    sum_columns(means[map], sums, first_row, column);
    __syncthreads();  // before the next map's sums replace these
  };
  blur(0, [&](int i, int j) { return x[i][j]; });
  blur(1, [&](int i, int j) { return y[i][j]; });
  blur(2, [&](int i, int j) { return x[i][j] * x[i][j] + y[i][j] * y[i][j]; });
  blur(3, [&](int i, int j) { return x[i][j] * y[i][j]; });

  float loss = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int row = blockIdx.y * kRows + first_row + i, at_column = blockIdx.x * kColumns + column;
    if (!shape.holds(row, at_column)) continue;
    const auto point = similarity<float>(means[0][i], means[1][i], means[2][i], means[3][i], 1.f);
    const float difference =
        x[first_row + i + kRadius][column + kReach] - y[first_row + i + kRadius][column + kReach];
    loss += scales.l1 * fabsf(difference) + scales.ssim * (1.f - point.value);
    if (!maps) continue;
    const size_t at = shape.at(row, at_column), size = shape.at(shape.rows, 0);
    maps[at] = point.by_mean;
    maps[at + size] = point.by_square;
    maps[at + 2 * size] = point.by_cross;
  }
  loss = block_sum(loss);
  if (threadIdx.x == 0) losses[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = loss;
}

template <class Value>
__global__ void __launch_bounds__(kThreads)
    differentiate(const float* image, const Value* target, Shape shape, Scales scales,
                  const float* maps, float* gradient) {
  __shared__ float tile[kHigh][kWide], sums[kHigh][kColumns];
  const int column = threadIdx.x % kColumns, first_row = threadIdx.x / kColumns * kPerThread;
  const size_t size = shape.at(shape.rows, 0);
  float means[3][kPerThread];
#pragma unroll
  for (int map = 0; map < 3; ++map) {
    load_tile(tile, maps + map * size, shape);
    __syncthreads();  // also: everyone has read the sums of the map before
    sum_rows(sums, [&](int i, int j) { return tile[i][j]; });
    __syncthreads();  // also: everyone has read the tile
    sum_columns(means[map], sums, first_row, column);
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int row = blockIdx.y * kRows + first_row + i, at_column = blockIdx.x * kColumns + column;
    if (!shape.holds(row, at_column)) continue;
    const size_t at = shape.at(row, at_column);
    const float x = image[at], y = value_of(target[at]);
    const float sign = float(x > y) - float(x < y);
    const float pull = means[0][i] - x * means[1][i] + y * means[2][i];
    gradient[at] = scales.l1 * sign - 2.f * scales.ssim * pull;
  }
}

__global__ void __launch_bounds__(kThreads)
    add_up(const float* losses, size_t count, double samples, float* loss) {
  double sum = 0;
  for (size_t i = threadIdx.x; i < count; i += kThreads) sum += double(losses[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = float(sum / samples);
}

dim3 blocks(Shape shape) {
  return dim3((shape.columns + kColumns - 1) / kColumns, (shape.rows + kRows - 1) / kRows);
}

template <class Value>
void compute(const Photometric& loss, const Value* target, cudaStream_t stream) {
  const Shape shape{3 * loss.width, loss.height};
  const dim3 grid = blocks(shape);
  const size_t samples = size_t(shape.columns) * shape.rows;
  float *const maps = loss.scratch, *const losses = maps + 3 * samples;
  const float w = float(loss.ssim_weight), rest = float(1 - loss.ssim_weight);
  launch(compare<Value>, grid, kThreads, stream, loss.image, target, shape, Scales{rest, w},
         loss.v_image ? maps : nullptr, losses);
  launch(add_up, 1, kThreads, stream, losses, size_t(grid.x) * grid.y, double(samples), loss.loss);
  if (!loss.v_image) return;
  const Scales each{float((1 - loss.ssim_weight) / samples), float(loss.ssim_weight / samples)};
  launch(differentiate<Value>, grid, kThreads, stream, loss.image, target, shape, each, maps, loss.v_image);
}

}  // namespace

int64_t photometric_scratch_bytes(int width, int height) {
  const Shape shape{3 * width, height};
  const dim3 grid = blocks(shape);
  return (3 * int64_t(shape.columns) * shape.rows + int64_t(grid.x) * grid.y) * int64_t(sizeof(float));
}

const char* photometric(const Photometric& loss, std::uintptr_t stream) {
  const auto queue = reinterpret_cast<cudaStream_t>(stream);
  if (loss.bytes)
    compute(loss, loss.bytes, queue);
  else
    compute(loss, loss.target, queue);
  return launch_error();
}

}  // namespace splat::gpu
