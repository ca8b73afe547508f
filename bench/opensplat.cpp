// A training step of OpenSplat's CPU path, for opensplat.py: its projection, harmonics, rasterizer and
// loss, in the order in which its trainer calls them, and torch's Adam on all columns at every step
// (learning rate 0, as in step.py; its trainer moves some of them more rarely). Compiled against a
// checkout of OpenSplat, of which nothing is kept here.
#include <torch/extension.h>

#include <chrono>
#include <vector>

#include "project_gaussians.hpp"
#include "rasterize_gaussians.hpp"
#include "spherical_harmonics.hpp"
#include "ssim.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

struct View {
  torch::Tensor world_to_camera, projection;  // [4, 4] each, the second of the first and the lens
  float fx, fy, cx, cy;
  int width, height;
};

torch::Tensor drawn(const std::vector<torch::Tensor>& columns, const View& view, int degree) {
  const auto &means = columns[0], &log_scales = columns[1], &quats = columns[2];
  const auto projected = ProjectGaussiansCPU::apply(
      means, torch::exp(log_scales), 1, quats / quats.norm(2, {-1}, true), view.world_to_camera,
      view.projection, view.fx, view.fy, view.cx, view.cy, view.height, view.width);
  const auto turn = view.world_to_camera.narrow(0, 0, 3).narrow(1, 0, 3);
  const auto shift = view.world_to_camera.narrow(0, 0, 3).narrow(1, 3, 1);
  auto towards = means.detach() + torch::matmul(turn.t(), shift).t();
  towards = towards / towards.norm(2, {-1}, true);
  const auto harmonics = torch::cat({columns[4].unsqueeze(1), columns[5]}, 1);
  const auto colours = torch::clamp_min(SphericalHarmonicsCPU::apply(degree, towards, harmonics) + 0.5f, 0.0f);
  const auto found = RasterizeGaussiansCPU::apply(projected[0], projected[1], projected[2], colours,
                                                  torch::sigmoid(columns[3]), projected[3], projected[4],
                                                  view.height, view.width, torch::zeros({3}));
  return torch::clamp_max(found[0], 1.0f);
}

// For each of `steps` steps: milliseconds of all of it, of its forward pass, and the loss. `columns`:
// means [n, 3], log scales [n, 3], quaternions [n, 4], opacity logits [n, 1], harmonics of degree 0
// [n, 3] and those above [n, k, 3].
std::vector<std::vector<double>> timed(std::vector<torch::Tensor> columns, torch::Tensor world_to_camera,
                                       torch::Tensor projection, std::vector<double> lens, int width,
                                       int height, torch::Tensor target, int degree, int steps) {
  const View view{world_to_camera, projection, float(lens[0]), float(lens[1]), float(lens[2]),
                  float(lens[3]), width, height};
  std::vector<torch::optim::Adam> optimizers;
  for (auto& column : columns) {
    column = column.clone().set_requires_grad(true);
    optimizers.emplace_back(std::vector<torch::Tensor>{column}, torch::optim::AdamOptions(0.0).eps(1e-15));
  }
  std::vector<std::vector<double>> found;
  for (int step = 0; step < steps; ++step) {
    const auto start = Clock::now();
    const auto loss = fusedL1SsimLoss(drawn(columns, view, degree), target, torch::empty({0}), 0.2f, false);
    const double forward = milliseconds(start);
    loss.backward();
    for (auto& optimizer : optimizers) optimizer.step(), optimizer.zero_grad(true);
    found.push_back({milliseconds(start), forward, loss.item<double>()});
  }
  return found;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("timed", &timed, pybind11::call_guard<pybind11::gil_scoped_release>());
}
