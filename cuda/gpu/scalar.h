// One float of a thread as the shared headers' number. Included before them.
#pragma once

#define SPLAT_ISA gpu
#include <cuda_runtime.h>

#include <cmath>

namespace splat::gpu {

template <class T>
__host__ __device__ __forceinline__ float set1(T value) {
  return float(value);
}
__host__ __device__ __forceinline__ float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
__host__ __device__ __forceinline__ float fnma(float a, float b, float c) { return ::fmaf(-a, b, c); }
__host__ __device__ __forceinline__ float mn(float a, float b) { return ::fminf(a, b); }
__host__ __device__ __forceinline__ float mx(float a, float b) { return ::fmaxf(a, b); }
__host__ __device__ __forceinline__ float sel(bool mask, float a, float b) { return mask ? a : b; }
__host__ __device__ __forceinline__ float sqrt(float a) { return ::sqrtf(a); }

}  // namespace splat::gpu
