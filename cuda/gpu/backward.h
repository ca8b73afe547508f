// The two halves of the way back.
#pragma once

#include "gpu.h"
#include "sums.h"

namespace splat::gpu {

// Fills the sums of pairs (`blend_backward.cu`), and what rows get of them (`rows_backward.cu`).
const char* blend_backward(const Backward& call, const Rows& rows, const Pairs& pairs, const PairSums& sums,
                           cudaStream_t queue);
const char* rows_backward(const Backward& call, const Rows& rows, const PairSums& sums, cudaStream_t queue);

}  // namespace splat::gpu
