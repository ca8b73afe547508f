// What an instruction set offers: one table of functions, and the plain structs they take.
//
// Pointers are to float, and to double in the table named "f64". All arrays are C-contiguous.
#pragma once

#include <cstdint>

namespace splat {

struct View {
  double world_to_camera[12];  // three rows of four
  double fx, fy, cx, cy;
  int width, height;
};

struct Settings {
  bool antialiased;     // opacity compensated for the low-pass filter (Mip-Splatting, eq. 9 there)
  bool absolute;        // accumulate |d loss / d mean2d| in backward
  bool depth;           // blend camera depth as the first extra channel
  double eps2d;         // added to the projected covariance, pixels^2
  double near, far;     // along the viewing axis
  double radius_clip;   // smaller footprints are skipped, pixels
};

struct Scene {
  const void* means;      // [n, 3]
  const void* quats;      // [n, 4] wxyz
  const void* scales;     // [n, 3]
  const void* opacities;  // [n]
  const void* colors;     // [n, 3], or [n, coefficients, 3]
  const void* features;   // [n, feature_count], or null
  int64_t n;
  int sh_degree;          // -1: colors are RGB
  int coefficients;       // stored per Gaussian; (sh_degree + 1)^2 of them are read
  int feature_count;
};

struct Forward {
  Scene scene;
  View view;
  Settings settings;
  const void* background;  // [3], or null for black
  void* image;             // [h, w, 3]
  void* alpha;             // [h, w]
  void* extra;             // [h, w, depth + feature_count], or null: blended, over zero
  void* radii;             // [n, 2] half extents in pixels, 0 where culled
};

struct Backward {
  Scene scene;  // the arrays of Forward, unchanged
  const void* image;        // as Forward left them
  const void* alpha;
  const void* extra;
  const void* v_image;      // gradients, shapes as above; each may be null
  const void* v_alpha;
  const void* v_extra;
  void* v_means;            // all written, for every row; v_features may be null
  void* v_quats;
  void* v_scales;
  void* v_opacities;
  void* v_colors;
  void* v_features;
  void* v_means2d;          // [n, 2], pixels
  void* v_means2d_absolute; // [n, 2], or null
  void* v_view;             // [12], d loss / d world_to_camera, or null
  void* v_background;       // [3], or null
};

struct Photometric {
  const void* image;     // [h, w, 3]
  const void* target;    // [h, w, 3] of the image's type, or null
  const uint8_t* bytes;  // the target as [h, w, 3] bytes, or null
  void* v_image;         // [h, w, 3] gradient of the loss, or null
  int width, height;
  double ssim_weight;    // (1 - w) L1 + w (1 - SSIM)
};

struct Adam {
  void* values;          // [rows, columns], updated in place like the moments
  const void* gradient;
  void* first;
  void* second;
  int64_t rows;
  int columns;
  int head;              // the first `head` columns move at `rate`, the others at `tail_rate`
  double rate, tail_rate;
  double beta1, beta2, epsilon;
  double correction1, correction2;  // 1 - beta^count
};

struct Table {
  const char* name;
  int lanes;
  void* (*frame_new)();
  void (*frame_delete)(void*);
  int64_t (*frame_bytes)(const void*);           // scratch held
  void (*forward)(void* frame, const Forward&);
  void (*backward)(void* frame, const Backward&);
  double (*photometric)(const Photometric&);     // returns the loss
  void (*adam)(const Adam&);
};

const Table* table(const char* name);  // null where the name is unknown or the CPU lacks it
const Table* best_table();

}  // namespace splat
