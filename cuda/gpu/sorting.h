// Sorting and prefix sums of whole arrays. `sorting.cu` has them from CUB, which comes with nvcc;
// tests/shim has them for the CPU. All are stable and exact: their outcome depends on nothing but
// what they are given. They return null, or what went wrong.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace splat::gpu {

// Memory that the calls need.
int64_t sum_bytes(int64_t count);
int64_t sort_bytes(int64_t count, bool narrow);  // of keys of 16 bits where `narrow`

// Each value becomes the sum of those before it.
const char* exclusive_sum(void* memory, int64_t bytes, uint32_t* values, int64_t count, cudaStream_t stream);

// By the lowest `bits` of the keys.
const char* sort_pairs(void* memory, int64_t bytes, const uint32_t* keys, uint32_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t stream);
const char* sort_pairs(void* memory, int64_t bytes, const uint16_t* keys, uint16_t* sorted_keys,
                       const uint32_t* values, uint32_t* sorted_values, int64_t count, int bits, cudaStream_t stream);

}  // namespace splat::gpu
