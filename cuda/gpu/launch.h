// Launching a kernel: `launch(kernel, blocks, threads, stream, arguments...)`.
//
// Without nvcc's triple brackets the sources are C++, which tests/shim compiles for the CPU.
#pragma once

#include <cuda_runtime.h>

namespace splat::gpu {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
            [[maybe_unused]] cudaStream_t stream, Arguments&&... arguments) {
#if defined(SPLAT_SHIM)
  auto body = [&] { kernel(arguments...); };
  shim::run(blocks, threads, [](void* closure) { (*static_cast<decltype(body)*>(closure))(); }, &body);
#else
  kernel<<<blocks, threads, 0, stream>>>(arguments...);
#endif
}

// Null, or what went wrong in a launch before.
inline const char* launch_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace splat::gpu
