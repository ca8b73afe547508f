// Constants of the image formation model. They are those of gsplat 1.5.3 (Apache-2.0), so that a
// scene trained on one backend draws the same on the other; nowhere else are they written down.
#pragma once

namespace splat {

constexpr double kMaxAlpha = 0.999;             // alpha of one Gaussian at one pixel is capped
constexpr double kAlphaThreshold = 1.0 / 255;   // a smaller alpha is skipped
constexpr double kTransmittanceStop = 1e-4;     // a pixel is finished before it falls to this
constexpr double kGaussianExtent = 3.33;        // standard deviations that a footprint may reach
constexpr double kBorder = 0.3;                 // of half the field of view: Jacobian clamp beyond it
constexpr int kMaxShDegree = 3;

}  // namespace splat
