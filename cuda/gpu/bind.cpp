// Python front of the CUDA kernels: each takes a struct of `gpu.h` as a dictionary of its fields, and
// the stream beside them. Like `_cpu` it takes addresses as integers: `splat/kernels/crossing.py`, where
// tensors become addresses, checks type, shape, device and contiguity. Nothing waits for the GPU.
#include <nanobind/nanobind.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "fields.h"
#include "gpu.h"

namespace nb = nanobind;
using namespace splat::gpu;
using splat::Fields;

namespace {

void check(const char* error) {
  if (error) throw std::runtime_error(std::string("CUDA: ") + error);
}

void enqueue_photometric(const nb::dict& given) {
  Fields fields("photometric", given);
  const Photometric call{SPLAT_FIELD(image), SPLAT_FIELD(target), SPLAT_FIELD(bytes),
                         SPLAT_FIELD(v_image), SPLAT_FIELD(scratch), SPLAT_FIELD(loss),
                         SPLAT_FIELD(width), SPLAT_FIELD(height), SPLAT_FIELD(ssim_weight)};
  const std::uintptr_t stream = fields[SPLAT_NAME(stream)];
  fields.done();
  check(photometric(call, stream));
}

void enqueue_adam(const nb::dict& given) {
  Fields fields("adam", given);
  const Adam call{SPLAT_FIELD(values),      SPLAT_FIELD(gradient),    SPLAT_FIELD(first),
                  SPLAT_FIELD(second),      SPLAT_FIELD(rows),        SPLAT_FIELD(columns),
                  SPLAT_FIELD(head),        SPLAT_FIELD(begin),       SPLAT_FIELD(end),
                  SPLAT_FIELD(rate),        SPLAT_FIELD(tail_rate),   SPLAT_FIELD(beta1),
                  SPLAT_FIELD(beta2),       SPLAT_FIELD(epsilon),     SPLAT_FIELD(correction1),
                  SPLAT_FIELD(correction2), SPLAT_FIELD(visible),     SPLAT_FIELD(half),
                  SPLAT_FIELD(seed)};
  const std::uintptr_t stream = fields[SPLAT_NAME(stream)];
  fields.done();
  check(adam(call, stream));
}

}  // namespace

NB_MODULE(_gpu, m) {
  m.def("photometric_scratch_bytes", &photometric_scratch_bytes, nb::arg("width"), nb::arg("height"));
  m.def("photometric", &enqueue_photometric);
  m.def("adam", &enqueue_adam);
}
