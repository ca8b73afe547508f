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

template <class Call>
void enqueue(const char* (*kernel)(const Call&, std::uintptr_t), const Call& call, Fields& fields) {
  const std::uintptr_t stream = fields[SPLAT_NAME(stream)];
  fields.done();
  if (const char* error = kernel(call, stream)) throw std::runtime_error(std::string("CUDA: ") + error);
}

void enqueue_photometric(const nb::dict& given) {
  Fields fields("photometric", given);
  const Photometric call{SPLAT_FIELD(image), SPLAT_FIELD(target), SPLAT_FIELD(bytes),
                         SPLAT_FIELD(v_image), SPLAT_FIELD(scratch), SPLAT_FIELD(loss),
                         SPLAT_FIELD(width), SPLAT_FIELD(height), SPLAT_FIELD(ssim_weight)};
  enqueue(photometric, call, fields);
}

void enqueue_adam(const nb::dict& given) {
  Fields fields("adam", given);
  const Adam call{SPLAT_FIELD(values),      SPLAT_FIELD(gradient),    SPLAT_FIELD(first),
                  SPLAT_FIELD(second),      SPLAT_FIELD(rows),        SPLAT_FIELD(columns),
                  SPLAT_FIELD(head),        SPLAT_FIELD(begin),       SPLAT_FIELD(end),
                  SPLAT_FIELD(rate),        SPLAT_FIELD(tail_rate),   SPLAT_FIELD(beta1),
                  SPLAT_FIELD(beta2),       SPLAT_FIELD(epsilon),     SPLAT_FIELD(correction1),
                  SPLAT_FIELD(correction2), SPLAT_FIELD(factors),     SPLAT_FIELD(degree),
                  SPLAT_FIELD(visible),     SPLAT_FIELD(half),        SPLAT_FIELD(seed),
                  SPLAT_FIELD(half_values)};
  enqueue(adam, call, fields);
}

void enqueue_walk(const nb::dict& given) {
  Fields fields("walk", given);
  const Walk call{SPLAT_FIELD(quats), SPLAT_FIELD(log_scales), SPLAT_FIELD(logits), SPLAT_FIELD(delta),
                  SPLAT_FIELD(n),     SPLAT_FIELD(every),      SPLAT_FIELD(phase),  SPLAT_FIELD(quiet),
                  SPLAT_FIELD(dead),  SPLAT_FIELD(steepness),  SPLAT_FIELD(reach),  SPLAT_FIELD(seed)};
  enqueue(walk, call, fields);
}

Scene scene_of(Fields& fields) {
  return {SPLAT_FIELD(means),        SPLAT_FIELD(quats),     SPLAT_FIELD(scales),       SPLAT_FIELD(opacities),
          SPLAT_FIELD(colors),       SPLAT_FIELD(features),  SPLAT_FIELD(n),            SPLAT_FIELD(sh_degree),
          SPLAT_FIELD(coefficients), SPLAT_FIELD(feature_count), SPLAT_FIELD(half_colors)};
}

Frame frame_of(Fields& fields) {
  return {.scene = scene_of(fields), .view = view_of(fields), .settings = settings_of(fields),
          SPLAT_FIELD(rows),         SPLAT_FIELD(pairs_kept), SPLAT_FIELD(visible),
          SPLAT_FIELD(pairs),        SPLAT_FIELD(differentiable)};
}

void enqueue_project(const nb::dict& given) {
  Fields fields("project", given);
  const Project call{.scene = scene_of(fields), .view = view_of(fields), .settings = settings_of(fields),
                     SPLAT_FIELD(radii),        SPLAT_FIELD(rows),       SPLAT_FIELD(counts)};
  enqueue(project, call, fields);
}

void enqueue_draw(const nb::dict& given) {
  Fields fields("draw", given);
  const Draw call{.frame = frame_of(fields), SPLAT_FIELD(sorting), SPLAT_FIELD(background), SPLAT_FIELD(image),
                  SPLAT_FIELD(alpha),        SPLAT_FIELD(extra)};
  enqueue(draw, call, fields);
}

void enqueue_backward(const nb::dict& given) {
  Fields fields("backward", given);
  const Backward call{.frame = frame_of(fields), SPLAT_FIELD(scratch),    SPLAT_FIELD(image),
                      SPLAT_FIELD(alpha),        SPLAT_FIELD(extra),      SPLAT_FIELD(v_image),
                      SPLAT_FIELD(v_alpha),      SPLAT_FIELD(v_extra),    SPLAT_FIELD(v_means),
                      SPLAT_FIELD(v_quats),      SPLAT_FIELD(v_scales),   SPLAT_FIELD(v_opacities),
                      SPLAT_FIELD(v_colors),     SPLAT_FIELD(v_factors),  SPLAT_FIELD(v_features),
                      SPLAT_FIELD(v_means2d),    SPLAT_FIELD(v_means2d_absolute), SPLAT_FIELD(v_view),
                      SPLAT_FIELD(v_background), SPLAT_FIELD(maps),       SPLAT_FIELD(map_count),
                      SPLAT_FIELD(sums)};
  enqueue(backward, call, fields);
}

void enqueue_survey(const nb::dict& given) {
  Fields fields("survey", given);
  const Survey call{.frame = frame_of(fields), SPLAT_FIELD(scratch), SPLAT_FIELD(image),   SPLAT_FIELD(maps),
                    SPLAT_FIELD(map_count),    SPLAT_FIELD(scores), SPLAT_FIELD(strongest)};
  enqueue(survey, call, fields);
}

}  // namespace

NB_MODULE(_gpu, m) {
  m.def("photometric_scratch_bytes", &photometric_scratch_bytes, nb::arg("width"), nb::arg("height"));
  m.def("photometric", &enqueue_photometric);
  m.def("adam", &enqueue_adam);
  m.def("walk", &enqueue_walk);
  m.attr("most_pairs") = kMostPairs;
  m.def("rows_bytes", &rows_bytes, nb::arg("n"));
  m.def("project", &enqueue_project);
  m.def("pairs_bytes", &pairs_bytes, nb::arg("pairs"), nb::arg("width"), nb::arg("height"), nb::arg("extra"),
        nb::arg("differentiable"));
  m.def("sorting_bytes", &sorting_bytes, nb::arg("visible"), nb::arg("pairs"), nb::arg("width"), nb::arg("height"));
  m.def("draw", &enqueue_draw);
  m.def("sums_bytes", &sums_bytes, nb::arg("n"), nb::arg("pairs"), nb::arg("columns"));
  m.def("backward", &enqueue_backward);
  m.def("survey", &enqueue_survey);
}
