// CUDA C++ as plain C++: what our kernels use of it, with the threads of a block as fibers.
//
// A block's threads take turns on one thread of the machine and give way where they wait for each
// other: at barriers and at what a warp does together. Shared memory begins as NaN. In which order
// they take turns is `shim::order`: 0 from the first to the last, 1 backwards, any other the seed of a
// shuffle. What is right gives the same bytes in each; a race does not.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#define SPLAT_SHIM
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
// All of a launch lies between two symbols of the linker's, so that each block can begin afresh.
#define __shared__ static __attribute__((section("shim_shared")))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct float2 {
  float x, y;
};
struct float3 {
  float x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
using std::abs;

namespace shim {

void barrier();
int barrier_count(bool value);  // how many threads of the block gave true
struct Seen {
  uint64_t words[32];
  unsigned votes;  // lanes that took part and whose word is not 0
};
// Each lane of the mask gives a word and sees those of all 32; of lanes that have returned, old ones.
const Seen& exchange(unsigned mask, uint64_t word);
unsigned lane();
void run(dim3 grid, dim3 block, void (*body)(void*), void* closure);

template <class T>
uint64_t packed(T value) {
  static_assert(sizeof(T) <= 8, "a warp exchanges words of 64 bits");
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  return word;
}
template <class T>
T unpacked(uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

}  // namespace shim

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

inline void __syncthreads() { shim::barrier(); }
inline int __syncthreads_count(int p) { return shim::barrier_count(p != 0); }
inline int __syncthreads_or(int p) { return shim::barrier_count(p != 0) > 0; }
inline void __syncwarp(unsigned mask = ~0u) { shim::exchange(mask, 0); }
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return shim::unpacked<T>(shim::exchange(mask, shim::packed(value)).words[from & 31]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return shim::unpacked<T>(shim::exchange(mask, shim::packed(value)).words[shim::lane() ^ unsigned(bits)]);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const unsigned lane = shim::lane();
  return shim::unpacked<T>(shim::exchange(mask, shim::packed(value)).words[lane + by < 32 ? lane + by : lane]);
}
inline unsigned __ballot_sync(unsigned mask, int p) { return shim::exchange(mask, p != 0).votes; }
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }

// Only one fiber runs at a time.
template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = T(old + value);
  return old;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}

// Rounded once each: the build forbids the compiler to contract them.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float a) { return 1 / std::sqrt(a); }
inline int __float_as_int(float v) { return shim::unpacked<int>(shim::packed(v)); }
inline unsigned __float_as_uint(float v) { return shim::unpacked<unsigned>(shim::packed(v)); }
inline float __int_as_float(int v) { return shim::unpacked<float>(shim::packed(v)); }
inline float __uint_as_float(unsigned v) { return shim::unpacked<float>(shim::packed(v)); }
template <class A, class B>
auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}
