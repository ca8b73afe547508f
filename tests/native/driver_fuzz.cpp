// Fuzzing of one table: broken scenes, cameras, pictures and gradients, in arrays that are watched.
//
// Half of the scenes break the geometry of some rows and nothing else; then the picture and what the
// other rows get must stay finite. In the other half anything may be broken. In neither may a kernel
// crash, hang, write elsewhere, leave an output unwritten, hold more than rows times tiles need, or
// give a gradient to a row that it did not draw.
#include "driver_decode.h"
#include "driver_field.h"
#include "driver_hexplane.h"
#include "driver_fuzz.h"
#include "driver_fuzz_rows.h"

#include <chrono>
#include <cmath>

#include "pool.h"

namespace splat {
namespace fuzz {
namespace {

enum Array { kMeans, kQuats, kScales, kOpacities, kColors, kFeatures, kArrays };

View random_view(Dice& dice, bool broken) {
  View view{};
  view.width = dice.size(300), view.height = dice.size(200);
  const double angle = dice.between(-0.4, 0.4), c = std::cos(angle), s = std::sin(angle);
  const double rotation[9] = {c, 0, s, 0, 1, 0, -s, 0, c};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) view.world_to_camera[4 * i + j] = rotation[3 * i + j];
    view.world_to_camera[4 * i + 3] = dice.between(-0.3, 0.3) + (i == 2 ? dice.between(0, 4) : 0);
  }
  view.fx = view.width * dice.between(0.4, 2), view.fy = view.height * dice.between(0.4, 2);
  view.cx = view.width * dice.between(0.3, 0.7), view.cy = view.height * dice.between(0.3, 0.7);
  if (!broken) return view;
  for (int k = dice.below(4); k > 0; --k) view.world_to_camera[dice.below(12)] = dice.broken();
  if (dice.chance(0.2))
    for (double& value : view.world_to_camera) value = 0;
  double* const lens[] = {&view.fx, &view.fy, &view.cx, &view.cy};
  for (int k = dice.below(3); k > 0; --k) *lens[dice.below(4)] = dice.broken();
  return view;
}

Settings random_settings(Dice& dice, bool broken) {
  Settings s{.antialiased = dice.chance(0.5),
             .absolute = dice.chance(0.5),
             .depth = dice.chance(0.5),
             .beside = dice.chance(0.5),
             .eps2d = 0.3,
             .near = 0.01,
             .far = 1e10,
             .radius_clip = 0};
  if (dice.chance(0.2)) s.radius_clip = dice.between(0, 5);
  if (dice.chance(0.2)) s.eps2d = dice.between(0, 0.3);
  double* const numbers[] = {&s.eps2d, &s.near, &s.far, &s.radius_clip};
  if (broken && dice.chance(0.4)) *numbers[dice.below(4)] = dice.broken();
  return s;
}

template <class Real>
struct Arrays {
  Guarded<Real> of[kArrays];
  int columns[kArrays];
  std::vector<bool> healthy;
};

template <class Real>
Arrays<Real> random_rows(Dice& dice, int n, const int (&columns)[kArrays], bool broken_colors) {
  Arrays<Real> a;
  const double size = dice.between(-6, 0), depth = dice.between(0.2, 4);
  for (int k = 0; k < kArrays; ++k) {
    a.columns[k] = columns[k];
    a.of[k] = Guarded<Real>(std::size_t(n) * columns[k]);
    for (std::size_t i = 0; i < a.of[k].size(); ++i) {
      const double normal = dice.normal();
      const double value[] = {depth * dice.between(-1, 1), normal, std::exp(0.7 * normal + size),
                              1 / (1 + std::exp(-3 * normal)), 0.3 * normal, normal};
      a.of[k][i] = Real(float(value[k]));
    }
  }
  a.healthy.assign(n, true);
  const double share = dice.chance(0.2) ? 1 : dice.uniform() * dice.uniform();
  for (int i = 0; i < n; ++i) {
    if (!dice.chance(share)) continue;
    a.healthy[i] = false;
    for (int k = 1 + dice.below(3); k > 0; --k) {
      const int which = dice.below(broken_colors ? kArrays : kColors);
      if (!columns[which]) continue;
      a.of[which][std::size_t(i) * columns[which] + dice.below(columns[which])] = Real(dice.broken());
    }
    const auto whole = [&](int which, double value) {
      for (int c = 0; c < columns[which]; ++c) a.of[which][std::size_t(i) * columns[which] + c] = Real(value);
    };
    if (dice.chance(0.1)) whole(kQuats, 0);
    if (dice.chance(0.2)) whole(kScales, dice.broken());
    if (dice.chance(0.1)) whole(kMeans, dice.broken());
    if (dice.chance(0.1) && broken_colors) whole(kColors, dice.broken());
  }
  return a;
}

// As bfloat16: the upper halves of floats.
template <class Real>
Guarded<uint16_t> upper_halves(Guarded<Real>& values) {
  Guarded<uint16_t> halves(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = float(values[i]);
    uint32_t word;
    std::memcpy(&word, &value, 4);
    halves[i] = uint16_t(word >> 16);
  }
  return halves;
}

// Forward and backward; `frame` may have drawn other pictures before.
template <class Real>
void draw(const Table& table, void* frame, Dice& dice, int64_t& bytes_allowed, Report& report) {
  const bool anything = dice.chance(0.5), features_wanted = dice.chance(0.5);
  const int n = dice.size(3000) - 1, degree = dice.below(5) - 1, used = (degree + 1) * (degree + 1);
  const int coefficients = degree < 0 ? 1 : used + dice.below(4), features = features_wanted ? 1 + dice.below(4) : 0;
  const int columns[kArrays] = {3, 4, 3, 1, 3 * coefficients, features};
  Arrays<Real> rows = random_rows<Real>(dice, n, columns, anything);
  const bool broken_settings = anything && dice.chance(0.3);
  Forward f{};
  f.scene = {.means = rows.of[kMeans].data(),
             .quats = rows.of[kQuats].data(),
             .scales = rows.of[kScales].data(),
             .opacities = rows.of[kOpacities].data(),
             .colors = rows.of[kColors].data(),
             .features = features ? rows.of[kFeatures].data() : nullptr,
             .n = n,
             .sh_degree = degree,
             .coefficients = coefficients,
             .feature_count = features,
             .half_colors = false};
  Guarded<uint16_t> halves = upper_halves(rows.of[kColors]);
  if (degree >= 0 && dice.chance(0.3)) f.scene.colors = halves.data(), f.scene.half_colors = true;
  f.view = random_view(dice, anything && dice.chance(0.5));
  f.settings = random_settings(dice, broken_settings);
  const std::size_t pixels = std::size_t(f.view.width) * f.view.height;
  const int channels = f.settings.depth + features;
  Guarded<Real> background = random_numbers<Real>(dice, 3, anything ? 0.1 : 0), radii{std::size_t(n)};
  Guarded<Real> drawn[] = {Guarded<Real>(3 * pixels), Guarded<Real>(pixels), Guarded<Real>(pixels * channels)};
  f.background = dice.chance(0.5) ? background.data() : nullptr;
  f.image = drawn[0].data(), f.alpha = drawn[1].data(), f.extra = channels ? drawn[2].data() : nullptr;
  f.radii = radii.data();
  table.forward(frame, f);

  const double spoiled = anything && dice.chance(0.5) ? 0.02 : 0;
  Guarded<Real> given[3];
  for (int k = 0; k < 3; ++k) given[k] = random_numbers<Real>(dice, drawn[k].size(), spoiled);
  Guarded<Real> gradients[9];
  for (int k = 0; k < kArrays; ++k) gradients[k] = Guarded<Real>(std::size_t(n) * columns[k]);
  for (int k = kArrays; k < kArrays + 2; ++k) gradients[k] = Guarded<Real>(2 * std::size_t(n));
  gradients[8] = Guarded<Real>(12);
  Guarded<Real> v_background(3);
  Backward b{};
  b.scene = f.scene;
  b.image = f.image, b.alpha = f.alpha, b.extra = f.extra;
  b.v_image = dice.chance(0.9) ? given[0].data() : nullptr;
  b.v_alpha = dice.chance(0.5) ? given[1].data() : nullptr;
  b.v_extra = channels && dice.chance(0.7) ? given[2].data() : nullptr;
  b.v_means = gradients[kMeans].data(), b.v_quats = gradients[kQuats].data();
  b.v_scales = gradients[kScales].data(), b.v_opacities = gradients[kOpacities].data();
  b.v_colors = gradients[kColors].data(), b.v_means2d = gradients[kArrays].data();
  const bool wanted[9] = {true, true, true, true, true, features && dice.chance(0.7), true, f.settings.absolute,
                          dice.chance(0.7)};
  b.v_features = wanted[kFeatures] ? gradients[kFeatures].data() : nullptr;
  b.v_means2d_absolute = wanted[7] ? gradients[7].data() : nullptr;
  b.v_view = wanted[8] ? gradients[8].data() : nullptr;
  b.v_background = v_background.data();
  const int map_count = dice.chance(0.5) ? dice.below(5) : 0;
  Guarded<Real> maps = random_numbers<Real>(dice, pixels * map_count, spoiled), sums(std::size_t(n) * map_count);
  b.maps = maps.data(), b.map_count = map_count, b.sums = sums.data();
  const bool before = dice.chance(0.5);  // either order of the two
  Guarded<Real> scores(std::size_t(n) * (5 + map_count));
  Guarded<int32_t> strongest(pixels);
  const Survey survey{.image = f.image,
                      .maps = maps.data(),
                      .map_count = map_count,
                      .scores = scores.data(),
                      .strongest = strongest.data()};
  if (before) table.survey(frame, survey);
  table.backward(frame, b);
  if (!before) table.survey(frame, survey);

  const int64_t tiles = int64_t(f.view.width / 8 + 1) * (f.view.height / 8 + 1);  // at most
  const int64_t of_pair = 40 + int64_t(sizeof(Real)) * (11 + channels + map_count);
  bytes_allowed += (1 << 21) + 400 * int64_t(n) + 200 * tiles + n * tiles * of_pair;
  report.expect(table.frame_bytes(frame) <= bytes_allowed, "scratch of " + std::to_string(table.frame_bytes(frame)));

  bool intact = halves.intact() && background.intact() && radii.intact() && v_background.intact() && maps.intact() && sums.intact() &&
                scores.intact() && strongest.intact();
  bool written = radii.written() && v_background.written() && sums.written() && scores.written() && strongest.written();
  for (auto& array : rows.of) intact = intact && array.intact();
  for (auto& array : given) intact = intact && array.intact();
  for (auto& array : drawn) intact = intact && array.intact(), written = written && array.written();
  for (int k = 0; k < 9; ++k) {
    intact = intact && gradients[k].intact();
    if (wanted[k]) written = written && gradients[k].written();
  }
  report.expect(intact, "wrote outside of an array");
  report.expect(written, "left an output unwritten");
  const auto width = [&](int k) { return std::size_t(k < kArrays ? columns[k] : 2); };
  for (int k = 0; k < 8; ++k)
    for (int i = 0; i < n && wanted[k]; ++i)
      if (radii[i] == 0 && !gradients[k].zero(i * width(k), width(k))) {
        report.expect(false, "row " + std::to_string(i) + ", not drawn, has a gradient " + std::to_string(k));
        break;
      }
  const auto score = [&](int k, int i) { return std::size_t(k) * n + i; };
  for (int i = 0; i < n; ++i) {
    bool zero = sums.zero(std::size_t(i) * map_count, map_count);
    for (int k = 0; k < 5 + map_count; ++k) zero = zero && scores.zero(score(k, i), 1);
    if (radii[i] == 0) report.expect(zero, "row " + std::to_string(i) + ", not drawn, has scores");
  }
  for (std::size_t p = 0; p < pixels; ++p)
    report.expect(strongest[p] >= -1 && strongest[p] < n && (strongest[p] < 0 || radii[strongest[p]] != 0),
                  "a pixel's strongest row is not drawn");
  if (anything) return;
  for (int i = 0; i < n; ++i) {
    bool finite = sums.finite(std::size_t(i) * map_count, map_count);
    for (int k = 0; k < 5 + map_count; ++k) finite = finite && scores.finite(score(k, i), 1);
    if (rows.healthy[i]) report.expect(finite, "row " + std::to_string(i) + " has scores that are not finite");
  }
  for (auto& picture : drawn) report.expect(picture.finite(0, picture.size()), "broken rows reach the picture");
  report.expect(radii.finite(0, radii.size()), "radii are not finite");
  for (int k = 0; k < 8; ++k)
    for (int i = 0; i < n && wanted[k]; ++i)
      if (rows.healthy[i] && !gradients[k].finite(i * width(k), width(k))) {
        report.expect(false, "row " + std::to_string(i) + " of gradient " + std::to_string(k) + " is not finite");
        break;
      }
}

template <class Real>
void lose(const Table& table, Dice& dice, Report& report) {
  const int width = dice.size(300), height = dice.size(150);
  const std::size_t count = std::size_t(width) * height * 3;
  Guarded<Real> image(count), target(count), gradient(count);
  Guarded<uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i)
    image[i] = Real(dice.uniform()), target[i] = Real(dice.uniform()), bytes[i] = uint8_t(dice.next());
  std::vector<int> broken;  // pixels
  if (dice.chance(0.7))
    for (int k = dice.below(4); k > 0; --k) {
      broken.push_back(dice.below(width * height));
      (dice.chance(0.5) ? image : target)[std::size_t(broken.back()) * 3 + dice.below(3)] = Real(dice.broken());
    }
  Photometric call{.image = image.data(),
                   .target = target.data(),
                   .bytes = nullptr,
                   .v_image = gradient.data(),
                   .width = width,
                   .height = height,
                   .ssim_weight = dice.uniform()};
  if (dice.chance(0.4)) call.target = nullptr, call.bytes = bytes.data();
  const bool wanted = dice.chance(0.8);
  if (!wanted) call.v_image = nullptr;
  const double loss = table.photometric(call);
  report.expect(image.intact() && target.intact() && bytes.intact() && gradient.intact(), "loss wrote outside");
  if (broken.empty()) report.expect(std::isfinite(loss), "loss of finite pictures");
  if (!wanted) return;
  report.expect(gradient.written(), "left a gradient of the loss unwritten");
  bool near_only = true;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      bool reached = false;
      for (int p : broken) reached |= std::abs(p % width - x) <= 10 && std::abs(p / width - y) <= 10;
      if (!reached) near_only &= gradient.finite((std::size_t(y) * width + x) * 3, 3);
    }
  report.expect(near_only, "a broken pixel reaches further than the window");
}

template <class Real>
void step(const Table& table, Dice& dice, Report& report) {
  const int rows = dice.size(3000) - 1, columns = dice.size(60), head = dice.below(columns + 2);
  const std::size_t count = std::size_t(rows) * columns;
  Guarded<Real> arrays[4];  // values, gradient, moments
  for (auto& array : arrays) array = random_numbers<Real>(dice, count, dice.chance(0.5) ? 0.05 : 0);
  for (std::size_t i = 0; i < count; ++i) arrays[3][i] = std::fabs(arrays[3][i]);
  std::vector<bool> healthy(count, true);
  for (std::size_t i = 0; i < count; ++i)
    for (auto& array : arrays) healthy[i] = healthy[i] && std::fabs(array[i]) < 1e15;
  table.adam({.values = arrays[0].data(),
              .gradient = arrays[1].data(),
              .first = arrays[2].data(),
              .second = arrays[3].data(),
              .rows = rows,
              .columns = columns,
              .head = head,
              .begin = 0,
              .end = columns,
              .rate = 0.1,
              .tail_rate = 0.01,
              .beta1 = 0.9,
              .beta2 = 0.999,
              .epsilon = 1e-15,
              .correction1 = 1 - std::pow(0.9, 3),
              .correction2 = 1 - std::pow(0.999, 3)});
  bool finite = true, intact = true;
  for (auto& array : arrays) intact &= array.intact();
  for (std::size_t i = 0; i < count; ++i)
    if (healthy[i]) finite &= arrays[0].finite(i, 1) && arrays[2].finite(i, 1) && arrays[3].finite(i, 1);
  report.expect(intact, "adam wrote outside of an array");
  report.expect(finite, "adam: a broken entry reaches others");
}

template <class Real>
int cases(const Table& table, uint64_t seed, int count) {
  int failures = 0;
  for (int i = 0; i < count; ++i) {
    Dice dice(seed + i);
    Report report(table, seed + i);
    const auto start = std::chrono::steady_clock::now();
    set_threads(1 + dice.below(3));
    void* frame = table.frame_new();
    int64_t bytes_allowed = 0;
    for (int pictures = 1 + dice.below(2); pictures > 0; --pictures)
      draw<Real>(table, frame, dice, bytes_allowed, report);
    table.frame_delete(frame);
    lose<Real>(table, dice, report);
    step<Real>(table, dice, report);
    step_harmonics<Real, Real>(table, dice, report);
    step_harmonics<Real, uint16_t>(table, dice, report);
    step_harmonics<Real, Real, uint16_t>(table, dice, report);
    step_harmonics<Real, uint16_t, uint16_t>(table, dice, report);
    walk_and_activate<Real>(table, dice, report);
    move_and_fade<Real>(table, dice, report);
    expect_numbers<Real>(table, dice, report);
    map_colours<Real>(table, dice, report);
    anchors::broken<Real>(table, dice, report);
    fields::broken<Real>(table, dice, report);
    hexplanes::broken<Real>(table, dice, report);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    report.expect(seconds.count() < 60, "took " + std::to_string(seconds.count()) + " s");
    failures += report.failures;
  }
  return failures;
}

}  // namespace
}  // namespace fuzz

int fuzz_table(const Table& table, uint64_t seed, int count) {
  const bool wide = std::strcmp(table.name, "f64") == 0;
  return wide ? fuzz::cases<double>(table, seed, count) : fuzz::cases<float>(table, seed, count);
}

}  // namespace splat
