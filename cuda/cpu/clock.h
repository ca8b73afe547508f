// Where the time of the kernels goes: wall-clock time by stage since the process began.
//
// A few clock reads a step, so they are always on; benchmarks and profiles take differences.
#pragma once

#include <cstdint>

namespace splat {

enum Stage {
  kProject,         // projection, harmonics, culling
  kSort,            // by depth
  kBin,             // into tiles
  kBlend,
  kLoss,            // photometric, with its gradient
  kBlendBackward,
  kRowsBackward,    // projection and harmonics backward
  kAdam,
  kDecode,          // anchors into Gaussians, and back
  kOther,           // random walks, statistics
  kStages
};
constexpr const char* kStageNames[kStages] = {
    "project", "sort", "bin", "blend", "loss", "blend_backward", "rows_backward", "adam", "decode", "other"};

int64_t stage_nanoseconds(Stage stage);
void add_nanoseconds(Stage stage, int64_t time);
int64_t nanoseconds_now();

// Books the time from one call to the next.
class StageClock {
 public:
  StageClock() : last_(nanoseconds_now()) {}
  void done(Stage stage) {
    const int64_t now = nanoseconds_now();
    add_nanoseconds(stage, now - last_);
    last_ = now;
  }

 private:
  int64_t last_;
};

}  // namespace splat
