// Python front of the CUDA kernels. Like `_cpu` it takes addresses as integers: `splat/kernels.py`,
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
      [](Address values, Address gradient, Address first, Address second, int64_t rows, int columns,
         int head, const std::array<double, 7>& numbers, Address stream) {
        check(adam({at<float>(values), at<float>(gradient), at<float>(first), at<float>(second),
                    rows, columns, head, numbers[0], numbers[1], numbers[2], numbers[3],
                    numbers[4], numbers[5], numbers[6]},
                   stream));
      },
      nb::arg("values"), nb::arg("gradient"), nb::arg("first"), nb::arg("second"), nb::arg("rows"),
      nb::arg("columns"), nb::arg("head"), nb::arg("numbers"), nb::arg("stream"));
}
