// A camera and how to draw with it, as Python hands them to the kernels of both devices.
#pragma once

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
  bool beside;          // draw those, too, that lie so far beside the picture that the Jacobian is clamped
  double eps2d;         // added to the projected covariance, pixels^2
  double near, far;     // along the viewing axis
  double radius_clip;   // smaller footprints are skipped, pixels
};

}  // namespace splat
