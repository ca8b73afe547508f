// What the CUDA kernels offer, free of CUDA's headers. Arrays are C-contiguous floats on the
// current device. Calls only enqueue work on the stream; they return null, or what went wrong.
#pragma once

#include <cstdint>

namespace splat::gpu {

struct Photometric {
  const float* image;    // [h, w, 3]
  const float* target;   // [h, w, 3], or null
  const uint8_t* bytes;  // the target as [h, w, 3] bytes, or null
  float* v_image;        // [h, w, 3] gradient of the loss, or null
  float* scratch;        // of photometric_scratch_bytes
  float* loss;           // [1]
  int width, height;
  double ssim_weight;    // (1 - w) L1 + w (1 - SSIM)
};

struct Adam {
  float* values;  // [rows, columns], updated in place like the moments
  const float* gradient;
  void* first;    // m and v of the paper: float, or bfloat16 where `half`
  void* second;
  int64_t rows;
  int columns;
  int head;       // the first `head` columns move at `rate`, the others at `tail_rate`
  int begin, end; // the columns that move at all
  double rate, tail_rate;
  double beta1, beta2, epsilon;
  double correction1, correction2;  // 1 - beta^count: what m and v are divided by, as m^ and v^
  const uint8_t* visible;  // [rows], or null: rows where it is 0 keep their values and moments
  bool half;               // the moments are bfloat16, rounded at random
  unsigned seed;           // of the rounding
};

int64_t photometric_scratch_bytes(int width, int height);
const char* photometric(const Photometric& loss, std::uintptr_t stream);
const char* adam(const Adam& step, std::uintptr_t stream);

}  // namespace splat::gpu
