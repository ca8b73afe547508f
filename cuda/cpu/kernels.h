// What an instruction set offers: one table of functions, and the plain structs they take.
//
// Pointers are to float, and to double in the table named "f64". All arrays are C-contiguous. The
// names of fields are those by which Python hands them over (`bind.cpp`).
#pragma once

#include <cstdint>

#include "splat/view.h"

namespace splat {

struct Scene {
  const void* means;      // [n, 3]
  const void* quats;      // [n, 4] wxyz
  const void* scales;     // [n, 3]
  const void* opacities;  // [n]
  const void* colors;     // [n, 3], or [n, coefficients, 3], these perhaps bfloat16
  const void* features;   // [n, feature_count], or null
  int64_t n;
  int sh_degree;          // -1: colors are RGB
  int coefficients;       // stored per Gaussian; (sh_degree + 1)^2 of them are read
  int feature_count;
  bool half_colors;       // harmonics are bfloat16
};

struct Forward {
  Scene scene;
  View view;
  Settings settings;
  const void* background;  // [3], or null for black
  void* image;             // [h, w, 3]
  void* alpha;             // [h, w]
  void* extra;             // [h, w, depth + feature_count], or null: blended, over zero
  void* radii;             // [n] larger half extent in whole pixels, 0 where culled
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
  void* v_colors;           // null where the gradient of harmonics is wanted as factors
  void* v_factors;          // [n, 6] gradient of the colour and unit direction of view, or null
  void* v_features;
  void* v_means2d;          // [n, 2], pixels
  void* v_means2d_absolute; // [n, 2], or null; written where `absolute` was set
  void* v_view;             // [12], d loss / d world_to_camera, or null
  void* v_background;       // [3], or null
  const void* maps;         // [h, w, map_count], or null with 0 of them
  int map_count;
  void* sums;               // [n, map_count] of map x blending weight over the picture
};

struct Survey {  // of the picture that was drawn last
  const void* image;      // as Forward left it
  const void* maps;       // [h, w, map_count], or null with 0 of them
  int map_count;
  void* scores;           // [5 + map_count, n]: `survey.h` lists them
  int32_t* strongest;     // [h, w] the row with the largest blending weight, -1 where none is drawn
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
  const void* gradient;  // null where factors are given
  void* first;           // the moments, m and v of the paper
  void* second;
  int64_t rows;
  int columns;
  int head;              // the first `head` columns move at `rate`, the others at `tail_rate`
  int begin, end;        // the columns that move at all
  double rate, tail_rate;
  double beta1, beta2, epsilon;
  double correction1, correction2;  // 1 - beta^count: what m and v are divided by, as m^ and v^
  const void* factors = nullptr;  // [rows, 6] of harmonics of this degree, as backward leaves them
  int degree = 0;
  const uint8_t* visible = nullptr;  // [rows], or null: rows where it is 0 keep their values and moments
  bool half = false;              // the moments are bfloat16, rounded at random
  uint32_t seed = 0;              // of the rounding
  bool half_values = false;       // the values are bfloat16, rounded likewise
};

struct Activation {
  const void* log_scales;  // [n, 3]
  const void* logits;      // [n]
  void* scales;            // [n, 3]
  void* opacities;         // [n]
  int64_t n;
  double* means;           // [2] of all scales, of all opacities; written
};

struct ActivationGradients {
  const void* scales;
  const void* opacities;
  const void* v_scales;     // null where there is none
  const void* v_opacities;
  void* v_log_scales;       // null where it is not wanted
  void* v_logits;
  int64_t n;
  double v_mean_scale;      // gradients by the means, 0 where there is none
  double v_mean_opacity;
};

struct Moment {
  const void* means;          // [n, 3] at each row's own time
  const void* opacities;      // [n]
  const void* times;          // [n]
  const void* log_durations;  // [n]
  const void* velocities;     // [n, 3]
  void* moved;                // [n, 3] means and opacities at the instant
  void* faded;                // [n]
  int64_t n;
  double at;                  // the instant
  double least;               // duration whose square is added to that of each
};

struct MomentGradients {
  const void* opacities;
  const void* times;
  const void* log_durations;
  const void* v_moved;        // null where there is none
  const void* v_faded;
  void* v_opacities;
  void* v_times;
  void* v_log_durations;
  void* v_velocities;
  int64_t n;
  double at;
  double least;
};

struct Tone {
  const void* image;       // [pixels, 3]
  int64_t pixels;
  double map[12];          // [3, 4]: out = map[:, :3] rgb + map[:, 3]
  void* out;               // [pixels, 3]
};

struct ToneGradients {
  const void* image;       // as Tone had it
  const void* v_out;       // [pixels, 3]
  int64_t pixels;
  double map[12];
  void* v_image;           // [pixels, 3], or null
  double* v_map;           // [12]
};

struct Errors {
  const void* image;       // [pixels, 3]
  const void* target;      // [pixels, 3], or null
  const uint8_t* bytes;    // the target as bytes, or null
  int64_t pixels;
  void* out;               // [pixels] mean over channels of |image - target|
};

struct Walk {
  const void* quats;       // [n, 4] wxyz, of any length
  const void* log_scales;  // [n, 3]
  const void* logits;      // [n]
  void* delta;             // [n, 3], written; 0 where a row stays
  int64_t n;
  int64_t every, phase;    // rows whose number is `phase` modulo `every` move
  double quiet;            // logit from which a row stays where it is
  double dead, steepness;  // gate = logistic(steepness (dead - opacity))
  double reach;            // factor on everything
  uint64_t seed;
};

struct Addition {
  void* values;            // [n], to each of which delta is added
  const void* delta;       // [n]
  int64_t n;
};

template <class Pointer>
struct Layers {                 // of a network; the last row of each is the bias
  Pointer first, second;
};

struct Anchors {
  const void* positions;      // [n, 3]
  const void* features;       // [n, feature_count]
  const void* reach;          // [n, 6] log scales: of the offsets, of the sizes
  const void* offsets;        // [n, slots, 3]
  const void* masks;          // [n, slots], or null
  const int64_t* rows;        // [count] those to decode, each at most once
  int64_t n, count;
  int feature_count;          // 1 to 64
  int slots;                  // 1 to 16
  int hidden;                 // 16 to 64, in steps of 16
  Layers<const void*> opacity;     // [feature_count + 5, hidden], then [hidden + 1, outputs]:
  Layers<const void*> color;       // one output for each slot, three,
  Layers<const void*> covariance;  // and seven
  double centre[3];           // of the camera
  bool distance;              // whether the networks read it
  bool keep;                  // for a backward
};

struct DecodedRows {          // as many rows as were counted
  void* means;                // [., 3]
  void* quats;                // [., 4] wxyz, of length 1
  void* scales;               // [., 3]
  void* opacities;            // [.]
  void* colors;               // [., 3]
  int64_t* source;            // [.] anchor's row times slots, plus the slot
};

struct DecodedGradients {
  const void* quats;          // as decoded
  const void* scales;
  const void* colors;
  const void* v_means;        // each may be null
  const void* v_quats;
  const void* v_scales;
  const void* v_opacities;
  const void* v_colors;
  void* v_features;           // written for every row of the cloud; each may be null, as those that follow
  void* v_reach;
  void* v_offsets;
  void* v_masks;
  Layers<void*> v_opacity;
  Layers<void*> v_color;
  Layers<void*> v_covariance;
};

struct Frustum {
  const void* positions;   // [n, 3]
  const void* reach;       // [n, 6]
  int64_t n;
  View view;
  double near;             // 0 or more
  uint64_t* seen;          // [(n + 63) / 64] a bit for each row, written
};

struct FrustumRows {
  const uint64_t* seen;    // as Frustum left it
  int64_t n;
  int64_t* rows;           // as many as were seen, ascending; written
};

struct FieldPoints {
  const void* points;      // [n, 3]
  const void* planes;      // [3, side, side, channels]
  const void* lines;       // [3, side, channels]
  const void* first;       // [3 channels + 4, hidden]
  const void* second;      // [hidden + 1]
  int64_t n;               // below 2^31
  int side;                // 3 or more
  int channels;            // 16, 32 or 48
  int hidden;              // 16 to 128, in steps of 16
  double beta;             // above 0
  void* value;             // [n]
  void* gradient;          // [n, 3] by the coordinates; null where there is no backward
};

struct FieldGradients {
  const void* v_value;     // each may be null
  const void* v_gradient;
  void* v_planes;          // all written; each may be null
  void* v_lines;
  void* v_first;
  void* v_second;
};

struct HexPoints {
  const void* points;      // [n, 3]
  const void* space[4];    // [3, side, side, channels] by scale; null beyond the last, as the lines
  const void* lines[4];    // [3, side, channels] at the instant
  const void* trunk;       // [scales channels + 1, width]
  const void* hidden;      // [width + 1, heads width]
  const void* last;        // [width + 1, sum of outputs]
  int64_t n;               // below 2^31
  int scales;              // 1 to 4
  int sides[4];            // 2 or more
  int channels;            // 16, 32 or 48
  int width;               // 16 to 64, in steps of 16
  int heads;               // 1 to 4
  int outputs[4];          // of each head; 16 in all at most
  void* out;               // [n, sum of outputs]
  bool keep;               // for a backward
};

struct HexGradients {
  const void* v_out;       // [n, sum of outputs]
  void* v_space[4];        // all written; each may be null
  void* v_lines[4];
  void* v_trunk;
  void* v_hidden;
  void* v_last;
};

struct Surprises {
  const void* apart;       // [n] numbers less what is expected, in steps
  const void* deviation;   // [n] above 0
  void* bits;              // [n]
  int64_t n;
};

struct SurpriseGradients {
  const void* apart;
  const void* deviation;
  const void* v_bits;
  void* v_apart;
  void* v_deviation;
  int64_t n;
};

constexpr int kMostSigns = 8;  // channels of a table of signs

struct Signs {
  const void* table;       // [entries, channels] numbers whose signs count
  const void* positions;   // [n, 3]
  double box[6];           // the middle, half the sides
  const int64_t* grids;    // [grid_count, 8]: number of axes, these (three), cells along one, entries, the first of
                           // them, and whether every corner has one of its own, else they are hashed
  int64_t n;
  int grid_count;
  int channels;            // 1 to kMostSigns
  void* out;               // [n, grid_count, channels]
};

struct SignsGradients {
  const void* table;
  const void* positions;
  double box[6];
  const int64_t* grids;    // whose entries are all of the table
  int64_t n;
  int grid_count;
  int channels;
  const void* v_out;
  void* v_table;
};

struct Table {
  const char* name;
  int lanes;
  void* (*frame_new)();
  void (*frame_delete)(void*);
  int64_t (*frame_bytes)(const void*);           // scratch held
  void (*forward)(void* frame, const Forward&);
  void (*backward)(void* frame, const Backward&);
  void (*survey)(void* frame, const Survey&);    // between forward and backward, or after it
  double (*photometric)(const Photometric&);     // returns the loss
  void (*adam)(const Adam&);
  uint64_t (*adam_aside)(const Adam&);           // returns what to `finish` it by (`pool.h`)
  void (*activate)(const Activation&);
  void (*activate_backward)(const ActivationGradients&);
  void (*moment)(const Moment&);
  void (*moment_backward)(const MomentGradients&);
  void (*surprises)(const Surprises&);
  void (*surprises_backward)(const SurpriseGradients&);
  void (*signs)(const Signs&);
  void (*signs_backward)(const SignsGradients&);
  void (*tone)(const Tone&);
  void (*tone_backward)(const ToneGradients&);
  void (*errors)(const Errors&);
  void (*walk)(const Walk&);
  void (*add)(const Addition&);
  void* (*decoding_new)();
  void (*decoding_delete)(void*);
  int64_t (*decoding_bytes)(const void*);
  int64_t (*decode_count)(void* decoding, const Anchors&);  // Gaussians that there will be
  void (*decode)(void* decoding, const DecodedRows&);       // what was counted last
  void (*decode_backward)(void* decoding, const DecodedGradients&);  // as often as wanted
  int64_t (*in_frustum)(const Frustum&);                    // returns how many are seen
  void (*frustum_rows)(const FrustumRows&);
  void* (*field_new)();
  void (*field_delete)(void*);
  int64_t (*field_bytes)(const void*);
  void (*field)(void* field, const FieldPoints&);
  void (*field_backward)(void* field, const FieldGradients&);  // of the points last given, as often as wanted
  void* (*hexplane_new)();
  void (*hexplane_delete)(void*);
  int64_t (*hexplane_bytes)(const void*);
  void (*hexplane)(void* hexplane, const HexPoints&);
  void (*hexplane_backward)(void* hexplane, const HexGradients&);  // of the points last given, as often as wanted
};

const Table* table(const char* name);  // null where the name is unknown or the CPU lacks it
const Table* best_table();

}  // namespace splat
