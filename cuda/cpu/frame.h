// One picture: projection, order, blending, and the way back. Holds the scratch in between.
#pragma once

#include "blend.h"
#include "blend_backward.h"
#include "clock.h"
#include "order.h"
#include "gradients.h"
#include "survey.h"

namespace splat::SPLAT_ISA {

class Frame {
 public:
  void forward(const Forward& f) {
    scene_ = f.scene;
    settings_ = f.settings;
    cam_.set(f.view);
    grid_ = Grid(f.view.width, f.view.height);
    for (int k = 0; k < 3; ++k)
      background_[k] = f.background ? static_cast<const real*>(f.background)[k] : real(0);
    StageClock clock;
    project_rows(scene_, settings_, cam_, grid_, records_, rects_, static_cast<real*>(f.radii));
    clock.done(kProject);
    order_.sort(records_, rects_, scene_.n);
    clock.done(kSort);
    order_.deal(rects_, grid_);
    clock.done(kBin);
    blend_forward(extra_channels(), order_, records_, grid_, background_,
                  static_cast<real*>(f.image), static_cast<real*>(f.alpha),
                  static_cast<real*>(f.extra));
    clock.done(kBlend);
  }

  void backward(const Backward& b) {
    StageClock clock;
    blend_backward(extra_channels(), order_, records_, grid_, settings_.absolute, b, pairs_);
    if (b.v_background) background_gradient(grid_, b);
    clock.done(kBlendBackward);
    rows_backward(scene_, settings_, cam_, rects_, records_, order_, pairs_, b);
    clock.done(kRowsBackward);
  }

  void survey(const Survey& s) {
    StageClock clock;
    survey_tiles(order_, records_, grid_, s, pairs_);
    survey_rows(order_, rects_, pairs_, scene_.n, static_cast<real*>(s.scores));
    clock.done(kOther);
  }

  int64_t bytes() const {
    return records_.bytes() + rects_.bytes() + order_.bytes() + pairs_.bytes();
  }

 private:
  ExtraChannels extra_channels() const {
    return {settings_.depth, scene_.feature_count, (settings_.depth ? 1 : 0) + scene_.feature_count,
            static_cast<const real*>(scene_.features)};
  }

  Scene scene_{};
  Settings settings_{};
  Pinhole<real> cam_{};
  Grid grid_{0, 0};
  real background_[3]{};
  Buffer<Record> records_;    // [n], written where visible
  Buffer<Rect> rects_;        // [n], tiles touched
  Order order_;
  PairSums pairs_;
};

}  // namespace splat::SPLAT_ISA
