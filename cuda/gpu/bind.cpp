// Python front of the CUDA kernels. Like `_cpu` it takes addresses as integers: `splat/kernels`,
// its only caller, checks types, shapes, contiguity and the device first. Nothing waits for the GPU.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "gpu.h"

namespace nb = nanobind;
using namespace splat::gpu;
using Address = std::uintptr_t;

namespace {

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

void check(const char* error) {
  if (error) throw std::runtime_error(std::string("CUDA: ") + error);
}

}  // namespace

NB_MODULE(_gpu, m) {
  m.def("photometric_scratch_bytes", &photometric_scratch_bytes, nb::arg("width"), nb::arg("height"));
  m.def(
      "photometric",
      [](Address image, Address target, Address bytes, Address v_image, Address scratch,
         Address loss, int width, int height, double ssim_weight, Address stream) {
        check(photometric({at<float>(image), at<float>(target), at<uint8_t>(bytes),
                           at<float>(v_image), at<float>(scratch), at<float>(loss), width, height,
                           ssim_weight},
                          stream));
      },
      nb::arg("image"), nb::arg("target"), nb::arg("bytes"), nb::arg("v_image"), nb::arg("scratch"),
      nb::arg("loss"), nb::arg("width"), nb::arg("height"), nb::arg("ssim_weight"), nb::arg("stream"));
  m.def(
      "adam",
      [](const std::array<Address, 5>& arrays, int64_t rows, int columns, int head,
         const std::array<int, 2>& active, const std::array<double, 7>& numbers, bool half, unsigned seed,
         Address stream) {
        check(adam({at<float>(arrays[0]), at<float>(arrays[1]), at<void>(arrays[2]), at<void>(arrays[3]), rows,
                    columns, head, active[0], active[1], numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
                    numbers[5], numbers[6], at<uint8_t>(arrays[4]), half, seed},
                   stream));
      },
      nb::arg("arrays"), nb::arg("rows"), nb::arg("columns"), nb::arg("head"), nb::arg("active"),
      nb::arg("numbers"), nb::arg("half"), nb::arg("seed"), nb::arg("stream"));
}
