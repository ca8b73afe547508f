// Python front of the CPU kernels: each takes a struct of `kernels.h` as a dictionary of its fields.
// Addresses are integers, which serves float and double with one binding; `splat/kernels/crossing.py`,
// where tensors become addresses, checks type, shape, device and contiguity. The interpreter lock is
// released while a kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "clock.h"
#include "fields.h"
#include "kernels.h"
#include "pool.h"

namespace nb = nanobind;
using namespace splat;

namespace {

const Table& named(const std::string& isa) {
  const Table* found = table(isa.c_str());
  if (!found) throw std::invalid_argument("instruction set '" + isa + "' is not available on this machine");
  return *found;
}

// The kernel itself: nothing of Python's is touched any more, and others may go on.
template <class Fn>
auto alone(const Fields& fields, Fn&& kernel) {
  fields.done();
  const nb::gil_scoped_release release;
  return kernel();
}

// What passes over some rows leave for others, kept by functions of an instruction set's table.
template <void* (*Table::*make)(), void (*Table::*drop)(void*), int64_t (*Table::*held)(const void*)>
class Kept {
 public:
  explicit Kept(const std::string& isa) : table_(named(isa)), kept_((table_.*make)()) {}
  ~Kept() { (table_.*drop)(kept_); }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

  int64_t bytes() const { return (table_.*held)(kept_); }

 protected:
  const Table& table_;
  void* kept_;
};

// What one forward pass leaves for its backward.
class Frame : public Kept<&Table::frame_new, &Table::frame_delete, &Table::frame_bytes> {
 public:
  using Kept::Kept;

  void forward(const nb::dict& given) {
    Fields fields("Frame.forward", given);
    const Forward call{.scene = {SPLAT_FIELD(means),
                                 SPLAT_FIELD(quats),
                                 SPLAT_FIELD(scales),
                                 SPLAT_FIELD(opacities),
                                 SPLAT_FIELD(colors),
                                 SPLAT_FIELD(features),
                                 SPLAT_FIELD(n),
                                 SPLAT_FIELD(sh_degree),
                                 SPLAT_FIELD(coefficients),
                                 SPLAT_FIELD(feature_count),
                                 SPLAT_FIELD(half_colors)},
                       .view = view_of(fields),
                       .settings = settings_of(fields),
                       SPLAT_FIELD(background),
                       SPLAT_FIELD(image),
                       SPLAT_FIELD(alpha),
                       SPLAT_FIELD(extra),
                       SPLAT_FIELD(radii)};
    scene_ = call.scene;
    alone(fields, [&] { table_.forward(kept_, call); });
  }

  void backward(const nb::dict& given) {
    Fields fields("Frame.backward", given);
    const Backward call{.scene = scene_,
                        SPLAT_FIELD(image),
                        SPLAT_FIELD(alpha),
                        SPLAT_FIELD(extra),
                        SPLAT_FIELD(v_image),
                        SPLAT_FIELD(v_alpha),
                        SPLAT_FIELD(v_extra),
                        SPLAT_FIELD(v_means),
                        SPLAT_FIELD(v_quats),
                        SPLAT_FIELD(v_scales),
                        SPLAT_FIELD(v_opacities),
                        SPLAT_FIELD(v_colors),
                        SPLAT_FIELD(v_factors),
                        SPLAT_FIELD(v_features),
                        SPLAT_FIELD(v_means2d),
                        SPLAT_FIELD(v_means2d_absolute),
                        SPLAT_FIELD(v_view),
                        SPLAT_FIELD(v_background),
                        SPLAT_FIELD(maps),
                        SPLAT_FIELD(map_count),
                        SPLAT_FIELD(sums)};
    alone(fields, [&] { table_.backward(kept_, call); });
  }

  void survey(const nb::dict& given) {
    Fields fields("Frame.survey", given);
    const Survey call{SPLAT_FIELD(image), SPLAT_FIELD(maps), SPLAT_FIELD(map_count), SPLAT_FIELD(scores),
                      SPLAT_FIELD(strongest)};
    alone(fields, [&] { table_.survey(kept_, call); });
  }

 private:
  Scene scene_{};
};

// Anchors as Gaussians: what the forward passes leave for a backward.
class Decoding : public Kept<&Table::decoding_new, &Table::decoding_delete, &Table::decoding_bytes> {
 public:
  using Kept::Kept;

  int64_t count(const nb::dict& given) {
    Fields fields("Decoding.count", given);
    Anchors call{SPLAT_FIELD(positions),
                 SPLAT_FIELD(features),
                 SPLAT_FIELD(reach),
                 SPLAT_FIELD(offsets),
                 SPLAT_FIELD(masks),
                 SPLAT_FIELD(rows),
                 SPLAT_FIELD(n),
                 SPLAT_FIELD(count),
                 SPLAT_FIELD(feature_count),
                 SPLAT_FIELD(slots),
                 SPLAT_FIELD(hidden),
                 .opacity = {.first = fields[SPLAT_NAME(opacity_first)], .second = fields[SPLAT_NAME(opacity_second)]},
                 .color = {.first = fields[SPLAT_NAME(color_first)], .second = fields[SPLAT_NAME(color_second)]},
                 .covariance = {.first = fields[SPLAT_NAME(covariance_first)],
                                .second = fields[SPLAT_NAME(covariance_second)]},
                 .centre = {},
                 SPLAT_FIELD(distance),
                 SPLAT_FIELD(keep)};
    fields.read(SPLAT_NAME(centre), call.centre);
    return alone(fields, [&] { return table_.decode_count(kept_, call); });
  }

  void write(const nb::dict& given) {
    Fields fields("Decoding.write", given);
    const DecodedRows call{SPLAT_FIELD(means),     SPLAT_FIELD(quats),  SPLAT_FIELD(scales),
                           SPLAT_FIELD(opacities), SPLAT_FIELD(colors), SPLAT_FIELD(source)};
    alone(fields, [&] { table_.decode(kept_, call); });
  }

  void backward(const nb::dict& given) {
    Fields fields("Decoding.backward", given);
    const DecodedGradients call{
        SPLAT_FIELD(quats),
        SPLAT_FIELD(scales),
        SPLAT_FIELD(colors),
        SPLAT_FIELD(v_means),
        SPLAT_FIELD(v_quats),
        SPLAT_FIELD(v_scales),
        SPLAT_FIELD(v_opacities),
        SPLAT_FIELD(v_colors),
        SPLAT_FIELD(v_features),
        SPLAT_FIELD(v_reach),
        SPLAT_FIELD(v_offsets),
        SPLAT_FIELD(v_masks),
        .v_opacity = {.first = fields[SPLAT_NAME(v_opacity_first)], .second = fields[SPLAT_NAME(v_opacity_second)]},
        .v_color = {.first = fields[SPLAT_NAME(v_color_first)], .second = fields[SPLAT_NAME(v_color_second)]},
        .v_covariance = {.first = fields[SPLAT_NAME(v_covariance_first)],
                         .second = fields[SPLAT_NAME(v_covariance_second)]}};
    alone(fields, [&] { table_.decode_backward(kept_, call); });
  }
};

// A field of planes and lines: what its forward pass leaves for a backward.
class Field : public Kept<&Table::field_new, &Table::field_delete, &Table::field_bytes> {
 public:
  using Kept::Kept;

  void forward(const nb::dict& given) {
    Fields fields("Field.forward", given);
    const FieldPoints call{SPLAT_FIELD(points), SPLAT_FIELD(planes),   SPLAT_FIELD(lines),  SPLAT_FIELD(first),
                           SPLAT_FIELD(second), SPLAT_FIELD(n),        SPLAT_FIELD(side),   SPLAT_FIELD(channels),
                           SPLAT_FIELD(hidden), SPLAT_FIELD(beta),     SPLAT_FIELD(value),  SPLAT_FIELD(gradient)};
    alone(fields, [&] { table_.field(kept_, call); });
  }

  void backward(const nb::dict& given) {
    Fields fields("Field.backward", given);
    const FieldGradients call{SPLAT_FIELD(v_value), SPLAT_FIELD(v_gradient), SPLAT_FIELD(v_planes),
                              SPLAT_FIELD(v_lines), SPLAT_FIELD(v_first),    SPLAT_FIELD(v_second)};
    alone(fields, [&] { table_.field_backward(kept_, call); });
  }
};

// A field over space and time: what its forward pass leaves for a backward.
class HexPlane : public Kept<&Table::hexplane_new, &Table::hexplane_delete, &Table::hexplane_bytes> {
 public:
  using Kept::Kept;

  void forward(const nb::dict& given) {
    Fields fields("HexPlane.forward", given);
    const HexPoints call{SPLAT_FIELD(points),
                         .space = {fields[SPLAT_NAME(space0)], fields[SPLAT_NAME(space1)], fields[SPLAT_NAME(space2)],
                                   fields[SPLAT_NAME(space3)]},
                         .lines = {fields[SPLAT_NAME(lines0)], fields[SPLAT_NAME(lines1)], fields[SPLAT_NAME(lines2)],
                                   fields[SPLAT_NAME(lines3)]},
                         SPLAT_FIELD(trunk),
                         SPLAT_FIELD(hidden),
                         SPLAT_FIELD(last),
                         SPLAT_FIELD(n),
                         SPLAT_FIELD(scales),
                         .sides = {fields[SPLAT_NAME(side0)], fields[SPLAT_NAME(side1)], fields[SPLAT_NAME(side2)],
                                   fields[SPLAT_NAME(side3)]},
                         SPLAT_FIELD(channels),
                         SPLAT_FIELD(width),
                         SPLAT_FIELD(heads),
                         .outputs = {fields[SPLAT_NAME(outputs0)], fields[SPLAT_NAME(outputs1)],
                                     fields[SPLAT_NAME(outputs2)], fields[SPLAT_NAME(outputs3)]},
                         SPLAT_FIELD(out),
                         SPLAT_FIELD(keep)};
    alone(fields, [&] { table_.hexplane(kept_, call); });
  }

  void backward(const nb::dict& given) {
    Fields fields("HexPlane.backward", given);
    const HexGradients call{SPLAT_FIELD(v_out),
                            .v_space = {fields[SPLAT_NAME(v_space0)], fields[SPLAT_NAME(v_space1)],
                                        fields[SPLAT_NAME(v_space2)], fields[SPLAT_NAME(v_space3)]},
                            .v_lines = {fields[SPLAT_NAME(v_lines0)], fields[SPLAT_NAME(v_lines1)],
                                        fields[SPLAT_NAME(v_lines2)], fields[SPLAT_NAME(v_lines3)]},
                            SPLAT_FIELD(v_trunk),
                            SPLAT_FIELD(v_hidden),
                            SPLAT_FIELD(v_last)};
    alone(fields, [&] { table_.hexplane_backward(kept_, call); });
  }
};

double photometric(const std::string& isa, const nb::dict& given) {
  Fields fields("photometric", given);
  const Photometric call{SPLAT_FIELD(image), SPLAT_FIELD(target), SPLAT_FIELD(bytes),      SPLAT_FIELD(v_image),
                         SPLAT_FIELD(width), SPLAT_FIELD(height), SPLAT_FIELD(ssim_weight)};
  return alone(fields, [&] { return named(isa).photometric(call); });
}

uint64_t adam(const std::string& isa, const nb::dict& given) {
  Fields fields("adam", given);
  const Adam call{SPLAT_FIELD(values),
                  SPLAT_FIELD(gradient),
                  SPLAT_FIELD(first),
                  SPLAT_FIELD(second),
                  SPLAT_FIELD(rows),
                  SPLAT_FIELD(columns),
                  SPLAT_FIELD(head),
                  SPLAT_FIELD(begin),
                  SPLAT_FIELD(end),
                  SPLAT_FIELD(rate),
                  SPLAT_FIELD(tail_rate),
                  SPLAT_FIELD(beta1),
                  SPLAT_FIELD(beta2),
                  SPLAT_FIELD(epsilon),
                  SPLAT_FIELD(correction1),
                  SPLAT_FIELD(correction2),
                  SPLAT_FIELD(factors),
                  SPLAT_FIELD(degree),
                  SPLAT_FIELD(visible),
                  SPLAT_FIELD(half),
                  SPLAT_FIELD(seed),
                  SPLAT_FIELD(half_values)};
  const bool aside = fields[SPLAT_NAME(aside)];
  return alone(fields, [&] {
    if (aside) return named(isa).adam_aside(call);
    named(isa).adam(call);
    return uint64_t(0);
  });
}

std::array<double, 2> activate(const std::string& isa, const nb::dict& given) {
  Fields fields("activate", given);
  std::array<double, 2> means;
  const Activation call{SPLAT_FIELD(log_scales), SPLAT_FIELD(logits), SPLAT_FIELD(scales),
                        SPLAT_FIELD(opacities),  SPLAT_FIELD(n),      .means = means.data()};
  alone(fields, [&] { named(isa).activate(call); });
  return means;
}

void activate_backward(const std::string& isa, const nb::dict& given) {
  Fields fields("activate_backward", given);
  const ActivationGradients call{SPLAT_FIELD(scales),       SPLAT_FIELD(opacities), SPLAT_FIELD(v_scales),
                                 SPLAT_FIELD(v_opacities),  SPLAT_FIELD(v_log_scales), SPLAT_FIELD(v_logits),
                                 SPLAT_FIELD(n),            SPLAT_FIELD(v_mean_scale), SPLAT_FIELD(v_mean_opacity)};
  alone(fields, [&] { named(isa).activate_backward(call); });
}

void moment(const std::string& isa, const nb::dict& given) {
  Fields fields("moment", given);
  const Moment call{SPLAT_FIELD(means), SPLAT_FIELD(opacities), SPLAT_FIELD(times), SPLAT_FIELD(log_durations),
                    SPLAT_FIELD(velocities), SPLAT_FIELD(moved), SPLAT_FIELD(faded), SPLAT_FIELD(n),
                    SPLAT_FIELD(at), SPLAT_FIELD(least)};
  alone(fields, [&] { named(isa).moment(call); });
}

void moment_backward(const std::string& isa, const nb::dict& given) {
  Fields fields("moment_backward", given);
  const MomentGradients call{SPLAT_FIELD(opacities),   SPLAT_FIELD(times),           SPLAT_FIELD(log_durations),
                             SPLAT_FIELD(v_moved),     SPLAT_FIELD(v_faded),         SPLAT_FIELD(v_opacities),
                             SPLAT_FIELD(v_times),     SPLAT_FIELD(v_log_durations), SPLAT_FIELD(v_velocities),
                             SPLAT_FIELD(n),           SPLAT_FIELD(at),              SPLAT_FIELD(least)};
  alone(fields, [&] { named(isa).moment_backward(call); });
}

void surprises(const std::string& isa, const nb::dict& given) {
  Fields fields("surprises", given);
  const Surprises call{SPLAT_FIELD(apart), SPLAT_FIELD(deviation), SPLAT_FIELD(bits), SPLAT_FIELD(n)};
  alone(fields, [&] { named(isa).surprises(call); });
}

void surprises_backward(const std::string& isa, const nb::dict& given) {
  Fields fields("surprises_backward", given);
  const SurpriseGradients call{SPLAT_FIELD(apart),   SPLAT_FIELD(deviation),   SPLAT_FIELD(v_bits),
                               SPLAT_FIELD(v_apart), SPLAT_FIELD(v_deviation), SPLAT_FIELD(n)};
  alone(fields, [&] { named(isa).surprises_backward(call); });
}

void signs(const std::string& isa, const nb::dict& given) {
  Fields fields("signs", given);
  Signs call{SPLAT_FIELD(table), SPLAT_FIELD(positions),  .box = {},             SPLAT_FIELD(grids),
             SPLAT_FIELD(n),     SPLAT_FIELD(grid_count), SPLAT_FIELD(channels), SPLAT_FIELD(out)};
  fields.read(SPLAT_NAME(box), call.box);
  alone(fields, [&] { named(isa).signs(call); });
}

void signs_backward(const std::string& isa, const nb::dict& given) {
  Fields fields("signs_backward", given);
  SignsGradients call{SPLAT_FIELD(table), SPLAT_FIELD(positions),  .box = {},             SPLAT_FIELD(grids),
                      SPLAT_FIELD(n),     SPLAT_FIELD(grid_count), SPLAT_FIELD(channels), SPLAT_FIELD(v_out),
                      SPLAT_FIELD(v_table)};
  fields.read(SPLAT_NAME(box), call.box);
  alone(fields, [&] { named(isa).signs_backward(call); });
}

void tone(const std::string& isa, const nb::dict& given) {
  Fields fields("tone", given);
  Tone call{SPLAT_FIELD(image), SPLAT_FIELD(pixels), .map = {}, SPLAT_FIELD(out)};
  fields.read(SPLAT_NAME(map), call.map);
  alone(fields, [&] { named(isa).tone(call); });
}

std::array<double, 12> tone_backward(const std::string& isa, const nb::dict& given) {
  Fields fields("tone_backward", given);
  std::array<double, 12> v_map;
  ToneGradients call{SPLAT_FIELD(image), SPLAT_FIELD(v_out),   SPLAT_FIELD(pixels),
                     .map = {},          SPLAT_FIELD(v_image), .v_map = v_map.data()};
  fields.read(SPLAT_NAME(map), call.map);
  alone(fields, [&] { named(isa).tone_backward(call); });
  return v_map;
}

void errors(const std::string& isa, const nb::dict& given) {
  Fields fields("errors", given);
  const Errors call{SPLAT_FIELD(image), SPLAT_FIELD(target), SPLAT_FIELD(bytes), SPLAT_FIELD(pixels), SPLAT_FIELD(out)};
  alone(fields, [&] { named(isa).errors(call); });
}

void walk(const std::string& isa, const nb::dict& given) {
  Fields fields("walk", given);
  const Walk call{SPLAT_FIELD(quats), SPLAT_FIELD(log_scales), SPLAT_FIELD(logits), SPLAT_FIELD(delta),
                  SPLAT_FIELD(n),     SPLAT_FIELD(every),      SPLAT_FIELD(phase),  SPLAT_FIELD(quiet),
                  SPLAT_FIELD(dead),  SPLAT_FIELD(steepness),  SPLAT_FIELD(reach),  SPLAT_FIELD(seed)};
  alone(fields, [&] { named(isa).walk(call); });
}

void add(const std::string& isa, const nb::dict& given) {
  Fields fields("add", given);
  const Addition call{SPLAT_FIELD(values), SPLAT_FIELD(delta), SPLAT_FIELD(n)};
  alone(fields, [&] { named(isa).add(call); });
}

int64_t in_frustum(const std::string& isa, const nb::dict& given) {
  Fields fields("in_frustum", given);
  const Frustum call{SPLAT_FIELD(positions),    SPLAT_FIELD(reach), SPLAT_FIELD(n),
                     .view = view_of(fields), SPLAT_FIELD(near),  SPLAT_FIELD(seen)};
  return alone(fields, [&] { return named(isa).in_frustum(call); });
}

void frustum_rows(const std::string& isa, const nb::dict& given) {
  Fields fields("frustum_rows", given);
  const FrustumRows call{SPLAT_FIELD(seen), SPLAT_FIELD(n), SPLAT_FIELD(rows)};
  alone(fields, [&] { named(isa).frustum_rows(call); });
}

}  // namespace

NB_MODULE(_cpu, m) {
  nb::set_leak_warnings(false);  // idle frames live until the process ends
  m.def("threads", &threads, "Threads that the kernels use.");
  m.def("set_threads", &set_threads, nb::arg("count"));
  m.def("forget_threads", &forget_threads);
  m.def(
      "finish",
      [](uint64_t number) {
        StageClock clock;
        finish(number);
        clock.done(kAdam);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("finish_all", &finish_all, nb::call_guard<nb::gil_scoped_release>());
  m.def("stage_seconds", [] {
    book_aside(nanoseconds_now());
    std::vector<std::pair<std::string, double>> found;
    for (int k = 0; k < kStages; ++k) found.emplace_back(kStageNames[k], 1e-9 * double(stage_nanoseconds(Stage(k))));
    return found;
  });
  m.def("seconds", [] {
    book_aside(nanoseconds_now());
    int64_t sum = 0;
    for (int k = 0; k < kStages; ++k) sum += stage_nanoseconds(Stage(k));
    return 1e-9 * double(sum);
  });
  m.def("best_isa", [] { return std::string(best_table()->name); });
  m.def("has_isa", [](const std::string& isa) { return table(isa.c_str()) != nullptr; });
  nb::class_<Frame>(m, "Frame")
      .def(nb::init<const std::string&>())
      .def("forward", &Frame::forward)
      .def("backward", &Frame::backward)
      .def("survey", &Frame::survey)
      .def_prop_ro("bytes", &Frame::bytes);
  nb::class_<Decoding>(m, "Decoding")
      .def(nb::init<const std::string&>())
      .def("count", &Decoding::count)
      .def("write", &Decoding::write)
      .def("backward", &Decoding::backward)
      .def_prop_ro("bytes", &Decoding::bytes);
  nb::class_<Field>(m, "Field")
      .def(nb::init<const std::string&>())
      .def("forward", &Field::forward)
      .def("backward", &Field::backward)
      .def_prop_ro("bytes", &Field::bytes);
  nb::class_<HexPlane>(m, "HexPlane")
      .def(nb::init<const std::string&>())
      .def("forward", &HexPlane::forward)
      .def("backward", &HexPlane::backward)
      .def_prop_ro("bytes", &HexPlane::bytes);
  m.def("photometric", &photometric);
  m.def("adam", &adam);
  m.def("activate", &activate);
  m.def("activate_backward", &activate_backward);
  m.def("moment", &moment);
  m.def("moment_backward", &moment_backward);
  m.def("surprises", &surprises);
  m.def("surprises_backward", &surprises_backward);
  m.def("signs", &signs);
  m.def("signs_backward", &signs_backward);
  m.def("tone", &tone);
  m.def("tone_backward", &tone_backward);
  m.def("errors", &errors);
  m.def("walk", &walk);
  m.def("add", &add);
  m.def("in_frustum", &in_frustum);
  m.def("frustum_rows", &frustum_rows);
}
