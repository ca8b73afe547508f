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
  kAside,           // Adam of harmonics while its caller goes on with what is no kernel
  kDecode,          // anchors into Gaussians, and back
  kOther,           // random walks, statistics
  kStages
};
constexpr const char* kStageNames[kStages] = {
    "project", "sort", "bin", "blend", "loss", "blend_backward", "rows_backward", "adam", "aside", "decode", "other"};

int64_t stage_nanoseconds(Stage stage);
void add_nanoseconds(Stage stage, int64_t time);
int64_t nanoseconds_now();

// A loop aside (`pool.h`) from its beginning to its end: what of that is booked for no other stage is
// booked for kAside, so that the stages remain parts of the wall-clock time.
void aside_begins(int64_t now);
void aside_ends(int64_t now);
void book_aside(int64_t now);  // up to now, by the thread that began it
void skip_aside(int64_t now);  // what there was up to now is booked already

// Books the time from one call to the next.
class StageClock {
 public:
  StageClock() : last_(nanoseconds_now()) { book_aside(last_); }
  void done(Stage stage) {
    const int64_t now = nanoseconds_now();
    add_nanoseconds(stage, now - last_);
    last_ = now;
    skip_aside(now);
  }

 private:
  int64_t last_;
};

}  // namespace splat
