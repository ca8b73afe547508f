// What the CUDA kernels offer, free of CUDA's headers. Arrays are C-contiguous floats on the
// current device. Calls only enqueue work on the stream; they return null, or what went wrong.
// The names of fields are those by which Python hands them over (`bind.cpp`).
#pragma once

#include <cstdint>

#include "splat/view.h"

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
  void* values;   // [rows, columns], updated in place like the moments; bfloat16 where `half_values`
  const float* gradient;  // null where factors are given
  void* first;    // m and v of the paper: float, or bfloat16 where `half`
  void* second;
  int64_t rows;
  int columns;
  int head;       // the first `head` columns move at `rate`, the others at `tail_rate`
  int begin, end; // the columns that move at all
  double rate, tail_rate;
  double beta1, beta2, epsilon;
  double correction1, correction2;  // 1 - beta^count: what m and v are divided by, as m^ and v^
  const float* factors;    // [rows, 6] of harmonics of this degree, as backward leaves them, or null
  int degree;
  const uint8_t* visible;  // [rows], or null: rows where it is 0 keep their values and moments
  bool half;               // the moments are bfloat16, rounded at random
  unsigned seed;           // of the rounding
  bool half_values;        // the values are bfloat16, rounded as the moments
};

struct Walk {
  const float* quats;       // [n, 4]
  const float* log_scales;  // [n, 3]
  const float* logits;      // [n]
  float* delta;             // [n, 3] what the means move by; 0 where a row stays
  int64_t n;
  int64_t every, phase;     // rows move whose number is `phase` modulo `every`
  double quiet;             // and whose logit is below this
  double dead, steepness, reach;  // reach logistic(steepness (dead - opacity)) is how far
  uint64_t seed;
};

// Drawing goes by two calls, because nobody knows beforehand how many pairs of a Gaussian and a tile
// there will be: `project` counts them, who calls it reads the counts and makes room, `draw` goes on.
// The structs have the fields of those in `cuda/cpu/kernels.h`.

struct Scene {
  const float* means;      // [n, 3]
  const float* quats;      // [n, 4] wxyz
  const float* scales;     // [n, 3]
  const float* opacities;  // [n]
  const void* colors;      // [n, 3], or [n, coefficients, 3], these perhaps bfloat16
  const float* features;   // [n, feature_count], or null
  int64_t n;
  int sh_degree;           // -1: colors are RGB
  int coefficients;        // stored per Gaussian; (sh_degree + 1)^2 of them are read
  int feature_count;
  bool half_colors;        // harmonics are bfloat16
};

struct Project {
  Scene scene;
  View view;
  Settings settings;
  float* radii;      // [n] larger half extent in whole pixels, 0 where culled
  void* rows;        // of rows_bytes: kept until backward is done
  uint64_t* counts;  // [2]: Gaussians that touch a tile, and pairs of such a one and a tile
};

// What a picture's kernels share: the outcome of `project`, and the room that was made for its pairs.
struct Frame {
  Scene scene;
  View view;
  Settings settings;
  void* rows;
  void* pairs_kept;  // of pairs_bytes: kept until backward is done
  int64_t visible, pairs;
  bool differentiable;  // keep what backward takes tiles up from, within their lists
};

struct Draw {
  Frame frame;
  void* sorting;            // of sorting_bytes: free once the call is done
  const float* background;  // [3], or null for black
  float* image;             // [h, w, 3]
  float* alpha;             // [h, w]
  float* extra;             // [h, w, depth + feature_count], or null: blended, over zero
};

struct Backward {
  Frame frame;
  void* scratch;            // of sums_bytes: free once the call is done
  const float* image;       // as Draw left them
  const float* alpha;
  const float* extra;
  const float* v_image;     // gradients, shapes as above; each may be null
  const float* v_alpha;
  const float* v_extra;
  float* v_means;           // all written, for every row
  float* v_quats;
  float* v_scales;
  float* v_opacities;
  float* v_colors;          // null where the gradient of harmonics is wanted as factors
  float* v_factors;         // [n, 6] gradient of the colour and unit direction of view, or null
  float* v_features;        // or null
  float* v_means2d;         // [n, 2], pixels
  float* v_means2d_absolute;  // [n, 2], or null; written where `absolute` was set
  float* v_view;            // [12], d loss / d world_to_camera, or null
  float* v_background;      // [3], or null
  const float* maps;        // [h, w, map_count], or null with 0 of them
  int map_count;
  float* sums;              // [n, map_count] of map x blending weight over the picture
};

struct Survey {
  Frame frame;
  void* scratch;       // of sums_bytes
  const float* image;  // as Draw left it
  const float* maps;   // [h, w, map_count], or null with 0 of them
  int map_count;
  float* scores;       // [5 + map_count, n]: `survey.cu` lists them
  int32_t* strongest;  // [h, w] the row with the largest blending weight, -1 where none is drawn
};

constexpr int64_t kMostPairs = (int64_t(1) << 32) - (1 << 12);  // they are counted in 32 bits

constexpr int kLeastFactored = 12;  // columns of harmonics whose gradient may be given as factors

int64_t photometric_scratch_bytes(int width, int height);
const char* photometric(const Photometric& loss, std::uintptr_t stream);
const char* adam(const Adam& step, std::uintptr_t stream);
const char* walk(const Walk& call, std::uintptr_t stream);

int64_t rows_bytes(int64_t n);
const char* project(const Project& call, std::uintptr_t stream);
int64_t pairs_bytes(int64_t pairs, int width, int height, int extra, bool differentiable);
int64_t sorting_bytes(int64_t visible, int64_t pairs, int width, int height);
const char* draw(const Draw& call, std::uintptr_t stream);
// `columns` are those beyond the moments: extra channels and maps, of a survey maps only.
int64_t sums_bytes(int64_t n, int64_t pairs, int columns);
const char* backward(const Backward& call, std::uintptr_t stream);
const char* survey(const Survey& call, std::uintptr_t stream);

}  // namespace splat::gpu
