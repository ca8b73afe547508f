// Fuzzing of what works row by row beside Adam on plain gradients: parts of columns, rows in sight,
// factors of harmonics, bfloat16 values and moments; activations; the random walk; and pixel by pixel,
// maps of colours and of errors.
#pragma once

#include <cmath>

#include "driver_fuzz.h"

namespace splat::fuzz {

template <class Real, class Moment, class Value = Real>
void step_harmonics(const Table& table, Dice& dice, Report& report) {
  const int rows = dice.size(1500) - 1, degree = dice.below(4), stored = degree + dice.below(4 - degree);
  const int columns = 3 * (stored + 1) * (stored + 1);
  const std::size_t count = std::size_t(rows) * columns;
  Guarded<Real> numbers = random_numbers<Real>(dice, count, 0.02), factors = random_numbers<Real>(dice, std::size_t(rows) * 6, 0.02);
  Guarded<Value> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = sizeof(Value) == 2 ? Value(dice.below(65536)) : Value(numbers[i]);
  Guarded<Moment> first(count), second(count);
  for (std::size_t i = 0; i < count; ++i) first[i] = Moment(dice.below(16000)), second[i] = Moment(dice.below(16000));
  Guarded<uint8_t> visible(rows);
  for (int i = 0; i < rows; ++i) visible[i] = dice.chance(0.5);
  const bool some = dice.chance(0.7);
  const int begin = dice.chance(0.5) ? 0 : 3, end = dice.chance(0.5) ? columns : 3 * (degree + 1) * (degree + 1);
  table.adam({.values = values.data(),
              .gradient = nullptr,
              .first = first.data(),
              .second = second.data(),
              .rows = rows,
              .columns = columns,
              .head = 3,
              .begin = begin,
              .end = end,
              .rate = 0.1,
              .tail_rate = 0.01,
              .beta1 = 0.9,
              .beta2 = 0.999,
              .epsilon = 1e-15,
              .correction1 = 1 - std::pow(0.9, 3),
              .correction2 = 1 - std::pow(0.999, 3),
              .factors = factors.data(),
              .degree = degree,
              .visible = some ? visible.data() : nullptr,
              .half = sizeof(Moment) == 2,
              .seed = uint32_t(dice.next()),
              .half_values = sizeof(Value) == 2});
  report.expect(values.intact() && factors.intact() && first.intact() && second.intact() && visible.intact(),
                "adam on harmonics wrote outside of an array");
}

template <class Real>
void walk_and_activate(const Table& table, Dice& dice, Report& report) {
  const int rows = dice.size(3000);
  const std::size_t n = rows;
  Guarded<Real> quats = random_numbers<Real>(dice, 4 * n, 0.02), logs = random_numbers<Real>(dice, 3 * n, 0.02);
  Guarded<Real> logits = random_numbers<Real>(dice, n, 0.02), delta(3 * n), scales(3 * n), opacities(n);
  table.walk({.quats = quats.data(),
              .log_scales = logs.data(),
              .logits = logits.data(),
              .delta = delta.data(),
              .n = rows,
              .every = 1 + dice.below(4),
              .phase = 0,
              .quiet = 3.0,
              .dead = 0.005,
              .steepness = 100,
              .reach = 0.1,
              .seed = dice.next()});
  table.add({.values = logs.data(), .delta = delta.data(), .n = 3 * rows});
  double means[2];
  table.activate({.log_scales = logs.data(),
                  .logits = logits.data(),
                  .scales = scales.data(),
                  .opacities = opacities.data(),
                  .n = rows,
                  .means = means});
  Guarded<Real> v_scales = random_numbers<Real>(dice, 3 * n, 0.02), v_opacities = random_numbers<Real>(dice, n, 0.02);
  Guarded<Real> of_logs(3 * n), of_logits(n);
  table.activate_backward({.scales = scales.data(),
                           .opacities = opacities.data(),
                           .v_scales = v_scales.data(),
                           .v_opacities = v_opacities.data(),
                           .v_log_scales = of_logs.data(),
                           .v_logits = of_logits.data(),
                           .n = rows,
                           .v_mean_scale = 0.5,
                           .v_mean_opacity = -0.5});
  bool intact = true, written = true;
  for (auto* array : {&quats, &logs, &logits, &delta, &scales, &opacities, &v_scales, &v_opacities, &of_logs, &of_logits})
    intact &= array->intact();
  for (auto* array : {&delta, &scales, &opacities, &of_logs, &of_logits}) written &= array->written();
  report.expect(intact, "walk or activation wrote outside of an array");
  report.expect(written, "walk or activation left something unwritten");
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i)
    if (std::fabs(logits[i]) < 1e15) finite &= opacities.finite(i, 1) && opacities[i] >= 0 && opacities[i] <= 1;
  report.expect(finite, "an opacity is not within 0 and 1");
}

template <class Real>
void move_and_fade(const Table& table, Dice& dice, Report& report) {
  const int rows = dice.size(3000);
  const std::size_t n = rows;
  Guarded<Real> means = random_numbers<Real>(dice, 3 * n, 0.02), velocities = random_numbers<Real>(dice, 3 * n, 0.02);
  Guarded<Real> opacities = random_numbers<Real>(dice, n, 0.02), times = random_numbers<Real>(dice, n, 0.02);
  Guarded<Real> logs = random_numbers<Real>(dice, n, 0.02), moved(3 * n), faded(n);
  table.moment({.means = means.data(),
                .opacities = opacities.data(),
                .times = times.data(),
                .log_durations = logs.data(),
                .velocities = velocities.data(),
                .moved = moved.data(),
                .faded = faded.data(),
                .n = rows,
                .at = 0.5,
                .least = 0.02});
  const bool pulled = dice.chance(0.8), dimmed = dice.chance(0.8);
  Guarded<Real> v_moved = random_numbers<Real>(dice, 3 * n, 0.02), v_faded = random_numbers<Real>(dice, n, 0.02);
  Guarded<Real> of_opacities(n), of_times(n), of_logs(n), of_velocities(3 * n);
  table.moment_backward({.opacities = opacities.data(),
                         .times = times.data(),
                         .log_durations = logs.data(),
                         .v_moved = pulled ? v_moved.data() : nullptr,
                         .v_faded = dimmed ? v_faded.data() : nullptr,
                         .v_opacities = of_opacities.data(),
                         .v_times = of_times.data(),
                         .v_log_durations = of_logs.data(),
                         .v_velocities = of_velocities.data(),
                         .n = rows,
                         .at = 0.5,
                         .least = 0.02});
  bool intact = true, written = true;
  for (auto* array : {&means, &velocities, &opacities, &times, &logs, &moved, &faded, &v_moved, &v_faded, &of_opacities,
                      &of_times, &of_logs, &of_velocities})
    intact &= array->intact();
  for (auto* array : {&moved, &faded, &of_opacities, &of_times, &of_logs, &of_velocities}) written &= array->written();
  report.expect(intact, "an instant wrote outside of an array");
  report.expect(written, "an instant left something unwritten");
}

template <class Real>
void map_colours(const Table& table, Dice& dice, Report& report) {
  const int pixels = dice.size(10000);
  const std::size_t n = pixels;
  Guarded<Real> image = random_numbers<Real>(dice, 3 * n, 0.02), v_out = random_numbers<Real>(dice, 3 * n, 0.02);
  Guarded<Real> out(3 * n), v_image(3 * n);
  Tone t{.image = image.data(), .pixels = pixels, .map = {}, .out = out.data()};
  Guarded<double> map = random_numbers<double>(dice, 12, 0.02), v_map(12);
  for (int k = 0; k < 12; ++k) t.map[k] = map[k];
  table.tone(t);
  ToneGradients g{.image = image.data(),
                  .v_out = v_out.data(),
                  .pixels = pixels,
                  .map = {},
                  .v_image = dice.chance(0.8) ? v_image.data() : nullptr,
                  .v_map = v_map.data()};
  for (int k = 0; k < 12; ++k) g.map[k] = map[k];
  table.tone_backward(g);
  Guarded<uint8_t> bytes(3 * n);
  for (std::size_t i = 0; i < 3 * n; ++i) bytes[i] = uint8_t(dice.below(256));
  const bool photo = dice.chance(0.5);
  Guarded<Real> wrong(n);
  table.errors({.image = image.data(),
                .target = photo ? nullptr : v_out.data(),
                .bytes = photo ? bytes.data() : nullptr,
                .pixels = pixels,
                .out = wrong.data()});
  bool intact = map.intact() && v_map.intact() && bytes.intact();
  for (auto* array : {&image, &v_out, &out, &v_image, &wrong}) intact &= array->intact();
  report.expect(intact, "a map of colours or of errors wrote outside of an array");
  report.expect(out.written() && wrong.written() && (!g.v_image || v_image.written()),
                "a map of colours or of errors left something unwritten");
}

template <class Real>
void expect_numbers(const Table& table, Dice& dice, Report& report) {
  const int count = dice.size(3000);
  const std::size_t n = count;
  Guarded<Real> apart = random_numbers<Real>(dice, n, 0.02), deviation = random_numbers<Real>(dice, n, 0.02);
  Guarded<Real> v_bits = random_numbers<Real>(dice, n, 0.02), bits(n), v_apart(n), v_deviation(n);
  table.surprises({.apart = apart.data(), .deviation = deviation.data(), .bits = bits.data(), .n = count});
  table.surprises_backward({.apart = apart.data(),
                            .deviation = deviation.data(),
                            .v_bits = v_bits.data(),
                            .v_apart = v_apart.data(),
                            .v_deviation = v_deviation.data(),
                            .n = count});
  const int channels = 1 + dice.below(kMostSigns), side = 1 + dice.below(9);
  // One grid in space, whose corners have their own entries, and one on a plane, whose corners are hashed.
  const int64_t own = int64_t(side + 1) * (side + 1) * (side + 1), shared = 1 + dice.below(50);
  Guarded<int64_t> grids(16);
  const int64_t told[16] = {3, 0, 1, 2, side, own, 0, 1, 2, 2, 0, 0, 2 * side, shared, own, 0};
  for (int i = 0; i < 16; ++i) grids[i] = told[i];
  const std::size_t entries = std::size_t(own + shared) * channels;
  Guarded<Real> values = random_numbers<Real>(dice, entries, 0.02), places = random_numbers<Real>(dice, 3 * n, 0.02);
  Guarded<Real> said(2 * n * channels), v_said = random_numbers<Real>(dice, 2 * n * channels, 0.02), v_values(entries);
  table.signs({.table = values.data(),
               .positions = places.data(),
               .box = {0, 0.1, -0.1, 1, 2, 0.5},
               .grids = grids.data(),
               .n = count,
               .grid_count = 2,
               .channels = channels,
               .out = said.data()});
  table.signs_backward({.table = values.data(),
                        .positions = places.data(),
                        .box = {0, 0.1, -0.1, 1, 2, 0.5},
                        .grids = grids.data(),
                        .n = count,
                        .grid_count = 2,
                        .channels = channels,
                        .v_out = v_said.data(),
                        .v_table = v_values.data()});
  bool intact = grids.intact(), written = true;
  for (auto* array : {&apart, &deviation, &v_bits, &bits, &v_apart, &v_deviation, &values, &places, &said, &v_said, &v_values})
    intact &= array->intact();
  for (auto* array : {&bits, &v_apart, &v_deviation, &said, &v_values}) written &= array->written();
  report.expect(intact, "expected numbers wrote outside of an array");
  report.expect(written, "expected numbers left something unwritten");
}

}  // namespace splat::fuzz
